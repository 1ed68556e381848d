//! Counters of logs on disk: queues of exporters, journals of receivers, dead letters.

use super::Number;
use crate::otlp::Signal;

/// Whose log it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOwner {
    /// `exporter` or `receiver`.
    pub kind: &'static str,
    /// Component id.
    pub id: String,
    /// Signal of all that is in it; none where it holds several.
    pub signal: Option<Signal>,
    /// What it is of the component: `traces`, `journal`, `dead_letters_traces`.
    pub part: String,
}

/// Counters of one log.
#[derive(Debug, Default)]
pub struct LogStats {
    /// The component and what it is of it: `exporter_otlp_http_traces`.
    pub id: String,
    /// The storage extension.
    pub storage: String,
    /// Whose it is; none where it was opened without a configuration.
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
