//! Storages: what keeps data on disk, and which components ask for it.

use std::{path::PathBuf, time::Duration};

use crate::storage::Overflow;

/// What a storage extension offers; the engine opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// Where its logs are, one folder each.
    pub directory: PathBuf,
    /// Whether to make the directory where it is not there.
    pub creates_directory: bool,
    /// Permissions of what is made.
    pub mode: u32,
    /// How long to wait for another process to let go of the directory.
    pub timeout: Duration,
    /// Bytes that all logs together may have.
    pub limit: u64,
    /// Bytes after which a log begins a new file.
    pub segment_size: u64,
    /// What happens at the limit.
    pub overflow: Overflow,
    /// Whether a queue takes data only once it survives the machine; otherwise it does within half
    /// a second.
    pub fsync: bool,
}

/// `journal` of a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalUse {
    /// Id of the storage extension.
    pub storage: String,
    /// Whether a request is answered only once it survives the machine; otherwise it does within
    /// half a second of the answer.
    pub fsync: bool,
}
