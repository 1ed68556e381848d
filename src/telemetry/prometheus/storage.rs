//! Logs on disk: spools of exporters, journals of receivers, dead letters.

use super::{Telemetry, Type, Writer};
use crate::telemetry::{Number, storage::LogStats};

type Column = (&'static str, Type, &'static str, fn(&LogStats) -> &Number);

const COLUMNS: [Column; 14] = [
    ("skep_storage_size_bytes", Type::Gauge, "Bytes of its files", |s| &s.disk_bytes),
    ("skep_storage_records", Type::Gauge, "Records that are not settled", |s| &s.records),
    ("skep_storage_items", Type::Gauge, "Spans, points or log records in them", |s| &s.items),
    ("skep_storage_body_bytes", Type::Gauge, "Bytes of their bodies", |s| &s.bytes),
    ("skep_storage_oldest_age_ms", Type::Gauge, "Age of the oldest of them", |s| &s.oldest_age),
    ("skep_storage_appended_bytes", Type::Counter, "Bytes written", |s| &s.appended_bytes),
    ("skep_storage_syncs", Type::Counter, "Times that the disk made them durable", |s| &s.syncs),
    ("skep_storage_sync_errors", Type::Counter, "Times that it could not", |s| &s.sync_errors),
    ("skep_storage_write_errors", Type::Counter, "Writes that failed", |s| &s.write_errors),
    ("skep_storage_read_errors", Type::Counter, "Reads that failed", |s| &s.read_errors),
    ("skep_storage_full", Type::Counter, "Records that found no room", |s| &s.full),
    ("skep_storage_dropped_items", Type::Counter, "Items that had to make room", |s| {
        &s.dropped_items
    }),
    ("skep_storage_damaged_records", Type::Counter, "Records that were lost to damage", |s| {
        &s.damaged_records
    }),
    ("skep_storage_damaged_bytes", Type::Counter, "Bytes that were no record", |s| {
        &s.damaged_bytes
    }),
];

/// Appends them; nothing where there is no log.
pub(super) fn families(page: &mut Writer, telemetry: &Telemetry) {
    let logs = telemetry.logs();
    if logs.is_empty() {
        return;
    }
    for (name, kind, help, read) in COLUMNS {
        page.family(name, kind, help);
        for log in &logs {
            let labels = [("log", &*log.id), ("storage", &*log.storage)];
            page.sample(name, &labels, read(log).read());
        }
    }
}
