//! The families of exporters of CloudWatch Logs.

use super::{Sums, Writer};
use crate::telemetry::{Telemetry, events::LeftOut};

/// Appends them; nothing where there is no such exporter.
pub(super) fn families(page: &mut Writer, telemetry: &Telemetry) {
    let [mut left_out, mut renamed, mut shortened, mut created] = [(); 4].map(|()| Sums::new());
    for stats in telemetry.events() {
        for reason in LeftOut::ALL {
            let labels = vec![("exporter", stats.id.clone()), ("reason", reason.name().to_owned())];
            left_out.insert(labels, stats.left_out(reason));
        }
        renamed.insert(vec![("exporter", stats.id.clone())], stats.renamed.read());
        shortened.insert(vec![("exporter", stats.id.clone())], stats.shortened.read());
        created.insert(vec![("exporter", stats.id.clone())], stats.created_streams.read());
    }
    let help = "Log events that were left out, by reason";
    page.counters("otelcol_exporter_awscloudwatch_left_out_events", help, left_out);
    let help = "Labels and metrics that were renamed because their name was taken";
    page.counters("otelcol_exporter_awscloudwatch_renamed", help, renamed);
    let help =
        "Log events that were truncated because they, or the fields that they share, were too long";
    page.counters("otelcol_exporter_awscloudwatch_shortened_events", help, shortened);
    let help = "Log streams that were created";
    page.counters("otelcol_exporter_awscloudwatch_created_streams", help, created);
}
