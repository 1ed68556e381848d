//! Counters of logs on disk: queues of exporters, journals of receivers, dead letters.

use std::sync::Arc;

use super::{
    metric::{Asked, Desc},
    number::Number,
    registry::{Kind, Meter},
};
use crate::otlp::Signal;

type Column = (Desc, Kind, fn(&LogStats) -> &Number);

/// The metrics of a log.
const COLUMNS: [Column; 16] = [
    (Desc::new("skep_storage_size_bytes", "By", "Bytes of its files"), Kind::Gauge, |s| {
        &s.disk_bytes
    }),
    (
        Desc::new("skep_storage_records", "{record}", "Records that are not settled"),
        Kind::Gauge,
        |s| &s.records,
    ),
    (
        Desc::new("skep_storage_items", "{item}", "Spans, points or log records in them"),
        Kind::Gauge,
        |s| &s.items,
    ),
    (Desc::new("skep_storage_body_bytes", "By", "Bytes of their bodies"), Kind::Gauge, |s| {
        &s.bytes
    }),
    (
        Desc::new("skep_storage_oldest_age_ms", "ms", "Age of the oldest of them"),
        Kind::Gauge,
        |s| &s.oldest_age,
    ),
    (Desc::new("skep_storage_appended_bytes", "By", "Bytes written"), Kind::Counter, |s| {
        &s.appended_bytes
    }),
    (
        Desc::new("skep_storage_syncs", "{sync}", "Times that the disk made them durable"),
        Kind::Counter,
        |s| &s.syncs,
    ),
    (
        Desc::new("skep_storage_sync_errors", "{error}", "Times that it could not"),
        Kind::Counter,
        |s| &s.sync_errors,
    ),
    (Desc::new("skep_storage_write_errors", "{error}", "Writes that failed"), Kind::Counter, |s| {
        &s.write_errors
    }),
    (Desc::new("skep_storage_read_errors", "{error}", "Reads that failed"), Kind::Counter, |s| {
        &s.read_errors
    }),
    (
        Desc::new("skep_storage_full", "{record}", "Records that found no room"),
        Kind::Counter,
        |s| &s.full,
    ),
    (
        Desc::new("skep_storage_dropped_items", "{item}", "Items that had to make room"),
        Kind::Counter,
        |s| &s.dropped_items,
    ),
    (
        Desc::new("skep_storage_damaged_records", "{record}", "Records that were lost to damage"),
        Kind::Counter,
        |s| &s.damaged_records,
    ),
    (
        Desc::new("skep_storage_damaged_bytes", "By", "Bytes that were no record"),
        Kind::Counter,
        |s| &s.damaged_bytes,
    ),
    (Desc::new("skep_storage_missing", "1", "1 while its directory is gone"), Kind::Gauge, |s| {
        &s.missing
    }),
    (
        Desc::new(
            "skep_storage_panicked_records",
            "{record}",
            "Records that were set aside because processing them panics",
        ),
        Kind::Counter,
        |s| &s.panicked_records,
    ),
];

/// The component that owns a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOwner {
    /// `exporter` or `receiver`.
    pub kind: &'static str,
    /// Component id.
    pub id: String,
    /// Signal of all that is in it; `None` if it has several.
    pub signal: Option<Signal>,
    /// Its part of the component: `traces`, `journal`, `dead_letters_traces`.
    pub part: String,
}

/// Counters of one log.
#[derive(Debug, Default)]
pub struct LogStats {
    /// The component and its part: `exporter_otlp_http_traces`.
    pub id: String,
    /// The storage extension.
    pub storage: String,
    /// Its owner; `None` if it was opened without a configuration.
    pub owner: Option<LogOwner>,
    /// Bytes of its files.
    pub disk_bytes: Number,
    /// Records that are not settled.
    pub records: Number,
    /// Items in them.
    pub items: Number,
    /// Bytes of their bodies.
    pub bytes: Number,
    /// Milliseconds since the oldest of them was taken; 0: there is none.
    pub oldest_age: Number,
    /// Bytes appended since the start.
    pub appended_bytes: Number,
    /// Times that the disk was told to make them durable.
    pub syncs: Number,
    /// Times that it could not.
    pub sync_errors: Number,
    /// Writes that failed.
    pub write_errors: Number,
    /// Reads that failed.
    pub read_errors: Number,
    /// Records that found no room.
    pub full: Number,
    /// Records that were not read before they had to make room.
    pub dropped_records: Number,
    /// Items in them.
    pub dropped_items: Number,
    /// Records that were lost to damage.
    pub damaged_records: Number,
    /// Bytes that were no record.
    pub damaged_bytes: Number,
    /// 1 while its directory is gone, so that nothing can be written.
    pub missing: Number,
    /// Records that were set aside because processing them panics.
    pub panicked_records: Number,
}

impl LogStats {
    /// Counters of a log that is not open yet.
    pub fn new(storage: &str, id: &str) -> Self {
        LogStats { id: id.to_owned(), storage: storage.to_owned(), ..LogStats::default() }
    }

    /// The same with its owner.
    #[must_use]
    pub fn owned_by(self, owner: LogOwner) -> Self {
        LogStats { owner: Some(owner), ..self }
    }

    /// Registers the metrics of this log. Its numbers are the state of the log, which its owner
    /// works with; metrics only look at them.
    pub(super) fn register(self: &Arc<Self>, meter: &Meter) -> Vec<Asked> {
        let labels = [("log", &*self.id), ("storage", &*self.storage)];
        let column = |(desc, kind, read): Column| {
            let this = Arc::downgrade(self);
            meter.asked(kind, &desc, &labels, move || {
                let stats = this.upgrade()?;
                Some(read(&stats).read())
            })
        };
        COLUMNS.into_iter().map(column).collect()
    }

    /// What is not settled, in a unit of queues: `requests`, `items` or `bytes`.
    pub fn fill(&self, unit: &str) -> u64 {
        match unit {
            "items" => self.items.read(),
            "bytes" => self.bytes.read(),
            _ => self.records.read(),
        }
    }

    /// Whether it belongs to a component of this kind and id, and may hold this signal.
    pub fn is_of(&self, kind: &str, id: &str, signal: Signal) -> bool {
        let is_its = |owner: &LogOwner| {
            owner.kind == kind && owner.id == id && owner.signal.is_none_or(|own| own == signal)
        };
        self.owner.as_ref().is_some_and(is_its)
    }
}
