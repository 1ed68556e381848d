//! Storage extensions, which keep data on disk, and receivers with a journal.

use std::{path::PathBuf, time::Duration};

use crate::storage::Overflow;

/// What a storage extension offers; the engine opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// Where its logs are, one folder each.
    pub directory: PathBuf,
    /// Whether to create the directory if it does not exist.
    pub creates_directory: bool,
    /// Permissions of new files and directories.
    pub mode: u32,
    /// How long to wait for another process to release the directory.
    pub timeout: Duration,
    /// Bytes that all logs together may have.
    pub limit: u64,
    /// Bytes after which a log begins a new file.
    pub segment_size: u64,
    /// What happens at the limit.
    pub overflow: Overflow,
    /// Whether a queue accepts data only once it survives a crash of the machine. Otherwise it
    /// survives one half a second later.
    pub fsync: bool,
}

/// `journal` of a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalUse {
    /// Id of the storage extension.
    pub storage: String,
    /// Whether a request is answered only once it survives a crash of the machine. Otherwise it
    /// survives one half a second after the answer.
    pub fsync: bool,
}
