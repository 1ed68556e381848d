//! The families of exporters of X-Ray.

use super::{Sums, Writer};
use crate::telemetry::{Telemetry, segments::SegmentStats};

/// Appends them; nothing where there is no such exporter.
pub(super) fn families(page: &mut Writer, telemetry: &Telemetry) {
    let (mut unprocessed, mut untranslated) = (Sums::new(), Sums::new());
    for stats in telemetry.segments() {
        for (code, count) in stats.unprocessed() {
            let labels = vec![("exporter", stats.id.clone()), ("error_code", code)];
            unprocessed.insert(labels, count);
        }
        for (reason, count) in SegmentStats::REASONS.into_iter().zip(&stats.untranslated) {
            let labels = vec![("exporter", stats.id.clone()), ("reason", reason.to_owned())];
            untranslated.insert(labels, count.read());
        }
    }
    let help = "Segments that X-Ray did not take, by its code";
    page.counters("otelcol_exporter_awsxray_unprocessed_segments", help, unprocessed);
    let help = "Spans of which no segment could be made";
    page.counters("otelcol_exporter_awsxray_untranslated_spans", help, untranslated);
}
