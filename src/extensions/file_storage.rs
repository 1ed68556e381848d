//! Keeps queues of exporters, journals of receivers and dead letters in files.
//!
//! ```yaml
//! file_storage:
//!   directory: /var/lib/skep
//!   create_directory: true
//!   max_size_mib: 8192
//! ```
//!
//! An exporter uses it for its queue with `sending_queue: {storage: file_storage}`, and with
//! `dead_letters: file_storage` for data that its backend refuses (`skep dlq`). A receiver uses it
//! with `journal: {storage: file_storage}`. Each of them has a folder in `directory` with an
//! append-only log.
//!
//! Written data survives a crash of the process at once, and a crash of the machine after half a
//! second. With `fsync: true` a queue accepts data only once it survives both; a journal does with
//! its own `fsync: always`.
//!
//! `max_size_mib` limits all logs together. At the limit, `overflow: block` refuses new data, so
//! that senders keep it; `overflow: drop_oldest` removes the oldest file and counts the items that
//! were not delivered.
//!
//! Only one process can use a directory: it is locked while skep runs, and another skep waits for
//! `timeout` and then fails to start.
//!
//! Damaged records are skipped and counted (`skep_storage_damaged_records`), and the rest is read.
//! Damaged bytes, and files that cannot be read at all, are kept as `damaged-...` for you to look
//! at. skep never removes them, and they do not count towards `max_size_mib`. The file `settled`
//! says what was delivered. Older versions of skep cannot read its version 2: they deliver
//! everything that is stored again.
//!
//! A record whose processing panics is kept as `panicked-...` once it is found; skep never removes
//! such files either.
//!
//! Do not remove the directory, or files in it, while skep runs. skep checks this at each sync, at
//! most half a second after a write, and every five seconds otherwise. If the directory is gone,
//! skep says so in the log and in `skep_storage_missing`, `health_check` answers 503, and new data
//! is refused until the directory is back or skep is restarted. If only the current file of a log
//! is gone, the log begins a new one. Ledgers of budgets are made again with all that skep knows.
//! Requests that a journal or a queue has answered with success since the removal are lost
//! if skep ends before they are delivered. With `fsync: always` of the journal, or `fsync: true`
//! here for queues, a request is answered only after the check, so none is lost. If undelivered
//! data is gone when skep ends, it logs `lost_items` and exits with code 74.
//!
//! Differs from the Collector: the files are logs of OTLP requests and not a database. So
//! `compaction` has no effect, and neither has `recreate`, because damaged records are always
//! skipped. Both cause a warning. There is a limit of the size by default.

use std::{path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    component::{BuildContext, Entry, Extension, ExtensionConfig, Passive, StartError, Storage},
    config::{Ignored, Interval, Node, Problems},
    otlp::Signal,
    storage::Overflow,
};

/// Keeps data in files.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The directory that holds a folder for each log.
    pub directory: String,
    /// How long to wait at the start while another process has the directory.
    pub timeout: Interval,
    /// Create the directory if it does not exist.
    pub create_directory: bool,
    /// Permissions of new directories, in octal.
    pub directory_permissions: String,
    /// Accept data only once it survives a crash of the machine; otherwise it does within half a
    /// second.
    pub fsync: bool,
    /// Has no effect: damaged records are always left out.
    pub recreate: Ignored<bool>,
    /// Has no effect: disk space is freed by removing whole files.
    pub compaction: Ignored<Compaction>,
    /// Limit of all logs together, in mebibytes.
    pub max_size_mib: u64,
    /// What happens at the limit.
    pub overflow: OverflowPolicy,
    /// Size at which a log begins a new file, in mebibytes. Disk space is freed a file at a time.
    pub segment_size_mib: u64,
}

/// The keys of `compaction`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Compaction {
    pub on_start: bool,
    pub on_rebound: bool,
    pub directory: String,
    pub max_transaction_size: u64,
    pub rebound_needed_threshold_mib: u64,
    pub rebound_trigger_threshold_mib: u64,
    pub check_interval: Interval,
    pub cleanup_on_start: bool,
}

/// What happens at the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OverflowPolicy {
    /// New data is refused, so that its sender keeps it.
    #[default]
    Block,
    /// The oldest file is removed, with the undelivered data in it.
    DropOldest,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            directory: "/var/lib/otelcol/file_storage".to_owned(),
            timeout: Interval(Duration::from_secs(1)),
            create_directory: false,
            directory_permissions: "0750".to_owned(),
            fsync: false,
            recreate: Ignored::default(),
            compaction: Ignored::default(),
            max_size_mib: 4096,
            overflow: OverflowPolicy::Block,
            segment_size_mib: 64,
        }
    }
}

pub(super) const ENTRY: Entry<dyn ExtensionConfig> =
    Entry::of::<Config>("file_storage", &[], &Signal::ALL, include_str!("file_storage.rs"));

impl Config {
    fn mode(&self) -> Option<u32> {
        u32::from_str_radix(&self.directory_permissions, 8).ok().filter(|mode| *mode <= 0o777)
    }
}

impl ExtensionConfig for Config {
    fn validate(&self, at: &Node, problems: &mut Problems) {
        if self.directory.is_empty() {
            problems
                .error(at.at("directory"), "`directory` is empty")
                .help("write the path of a directory on a persistent disk");
        }
        if self.mode().is_none_or(|mode| mode & 0o700 != 0o700) {
            let message = format!("`{}` is not a valid permission", self.directory_permissions);
            problems
                .error(at.at("directory_permissions"), message)
                .help("write it in octal, with all rights for the owner: \"0750\"");
        }
        if self.segment_size_mib == 0 || self.segment_size_mib > 1024 {
            problems
                .error(at.at("segment_size_mib"), "`segment_size_mib` must be within [1, 1024]")
                .help("write 64");
        }
        if self.max_size_mib < 2 * self.segment_size_mib {
            problems.error(at.at("max_size_mib"), "`max_size_mib` is less than two segments").help(
                "raise it, or lower `segment_size_mib`: disk space is freed a file at a time",
            );
        }
    }

    fn storage(&self) -> Option<Storage> {
        Some(Storage {
            directory: PathBuf::from(&self.directory),
            creates_directory: self.create_directory,
            mode: self.mode().unwrap_or(0o750),
            timeout: self.timeout.0,
            limit: self.max_size_mib << 20,
            segment_size: self.segment_size_mib << 20,
            overflow: match self.overflow {
                OverflowPolicy::Block => Overflow::Block,
                OverflowPolicy::DropOldest => Overflow::DropOldest,
            },
            fsync: self.fsync,
        })
    }

    fn build(&self, _: &BuildContext) -> Result<Box<dyn Extension>, StartError> {
        Ok(Box::new(Passive))
    }
}
