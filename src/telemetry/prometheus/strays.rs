//! The family of requests that no receiver takes.

use super::{Sums, Writer};
use crate::telemetry::{Telemetry, strays::Stray};

/// Appends it; a series for each kind of each receiver that serves HTTP.
pub(super) fn families(page: &mut Writer, telemetry: &Telemetry) {
    let mut sums = Sums::new();
    for stats in telemetry.all_strays() {
        for kind in Stray::ALL {
            let labels = vec![("kind", kind.name().to_owned()), ("receiver", stats.id.clone())];
            sums.insert(labels, stats.requests[kind as usize].read());
        }
    }
    let help = "Requests that are not for this receiver, by what they look like";
    page.counters("skep_receiver_stray_requests", help, sums);
}
