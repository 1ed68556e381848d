//! Keeps queues of exporters, journals of receivers and dead letters in files.
//!
//! ```yaml
//! file_storage:
//!   directory: /var/lib/skep
//!   create_directory: true
//!   max_size_mib: 8192
//! ```
//!
//! An exporter names it with `sending_queue: {storage: file_storage}` for its queue, and with `dead_letters: file_storage`
//! for what its backend refuses (`skep dlq`); a receiver with `journal: {storage: file_storage}`. Each has a folder of its own in `directory`, with an append-only log in
//! it. What was written survives the process at once, and the machine after half a second; with
//! `fsync: true` a queue takes data only once it is safe from both.
//!
//! `max_size_mib` is for all of them together. Where it is reached, `overflow: block` refuses new data, so that senders
//! keep it, and `overflow: drop_oldest` drops the oldest file, which is counted.
//!
//! Differs from the Collector: the files are logs of OTLP requests and not a database, so `compaction` has
//! nothing to do, and `recreate` neither, since damaged records are left out and the rest is read. Both are
//! warned of. A limit of the size is there by default.

use std::{path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

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
    /// Where the folders are.
    pub directory: String,
    /// How long to wait for another process that has the directory.
    pub timeout: Interval,
    /// Make the directory where it is not there.
    pub create_directory: bool,
    /// Permissions of what is made, in octal.
    pub directory_permissions: String,
    /// Take data only once it survives the machine; otherwise it does within half a second.
    pub fsync: bool,
    /// Has no effect: damaged records are always left out.
    pub recreate: Ignored<bool>,
    /// Has no effect: files are removed as a whole.
    pub compaction: Compaction,
    /// Mebibytes that all logs together may have.
    pub max_size_mib: u64,
    /// What happens at the limit.
    pub overflow: OverflowPolicy,
    /// Mebibytes after which a log begins a new file. Room is given back a file at a time.
    pub segment_size_mib: u64,
}

/// `compaction`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Compaction {
    /// Without effect.
    pub on_start: bool,
    /// Without effect.
    pub on_rebound: bool,
    /// Without effect.
    pub directory: String,
    /// Without effect.
    pub max_transaction_size: u64,
    /// Without effect.
    pub rebound_needed_threshold_mib: u64,
    /// Without effect.
    pub rebound_trigger_threshold_mib: u64,
    /// Without effect.
    pub check_interval: Interval,
    /// Without effect.
    pub cleanup_on_start: bool,
}

/// What happens where there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OverflowPolicy {
    /// New data is refused, so that its sender keeps it.
    #[default]
    Block,
    /// The oldest file goes, with what was not delivered of it.
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
            compaction: Compaction::default(),
            max_size_mib: 4096,
            overflow: OverflowPolicy::Block,
            segment_size_mib: 64,
        }
    }
}

pub(super) const ENTRY: Entry<dyn ExtensionConfig> = Entry {
    name: "file_storage",
    aliases: &[],
    signals: &Signal::ALL,
    source: include_str!("file_storage.rs"),
    decode: |node, problems| {
        crate::config::decode::<Config>(node, problems)
            .map(|config| Box::new(config) as Box<dyn ExtensionConfig>)
    },
    schema: |generator| generator.subschema_for::<Config>(),
};

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
                .help("write the path of a folder on a disk that outlives the process");
        }
        if self.mode().is_none_or(|mode| mode & 0o700 != 0o700) {
            let message = format!("`{}` are no permissions", self.directory_permissions);
            problems
                .error(at.at("directory_permissions"), message)
                .help("write them in octal, with all rights for the owner: \"0750\"");
        }
        if self.segment_size_mib == 0 || self.segment_size_mib > 1024 {
            problems
                .error(at.at("segment_size_mib"), "`segment_size_mib` must be within [1, 1024]")
                .help("write 64");
        }
        if self.max_size_mib < 2 * self.segment_size_mib {
            problems
                .error(at.at("max_size_mib"), "`max_size_mib` is less than two files")
                .help("raise it, or lower `segment_size_mib`: room is given back a file at a time");
        }
        let always = "damaged records are always left out";
        self.recreate.warn("recreate", always, at, problems);
        if self.compaction.on_start || self.compaction.on_rebound {
            let message = "`compaction` has no effect: files are removed as a whole";
            problems.warning(at.at("compaction"), message).help("remove it");
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
