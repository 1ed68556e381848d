//! The families of receivers that take datagrams.

use super::{Labels, Sums, Type, Writer};
use crate::telemetry::{Telemetry, datagrams::DatagramStats};

type Read = fn(&DatagramStats) -> u64;

/// Appends them; nothing where there is no such receiver.
pub(super) fn families(page: &mut Writer, telemetry: &Telemetry) {
    let all = telemetry.datagrams();
    let label = |stats: &DatagramStats| vec![("receiver", stats.id.clone())];
    let sums =
        |read: Read| -> Sums { all.iter().map(|stats| (label(stats), read(stats))).collect() };
    let counters: [(&str, &str, Read); 3] = [
        ("skep_receiver_datagrams", "Datagrams that were read", |s| s.received.read()),
        ("skep_receiver_repaired_fields", "Fields that were mended or left out", |s| {
            s.repaired.read()
        }),
        ("skep_receiver_skipped_subsegments", "Nested subsegments that were left out", |s| {
            s.skipped.read()
        }),
    ];
    for (name, help, read) in counters {
        page.counters(name, help, sums(read));
    }
    let mut dropped = Sums::new();
    let mut decisions = Sums::new();
    for stats in &all {
        for (reason, number) in [
            ("budget", &stats.over_budget),
            ("kernel", &stats.kernel),
            ("malformed", &stats.malformed),
            ("queue", &stats.queue_full),
        ] {
            dropped.insert(with(label(stats), "reason", reason), number.read());
        }
        for rule in &stats.rules {
            for (kind, number) in [
                ("borrowed", &rule.borrowed),
                ("matched", &rule.requests),
                ("sampled", &rule.sampled),
            ] {
                let labels = with(with(label(stats), "rule", &rule.rule), "kind", kind);
                decisions.insert(labels, number.read());
            }
        }
    }
    page.counters("skep_receiver_dropped_datagrams", "Datagrams dropped, by reason", dropped);
    let help = "Requests that clients reported for a sampling rule";
    page.counters("skep_receiver_sampling_requests", help, decisions);
    let name = "skep_receiver_socket_buffer_bytes";
    let help = "Bytes of the socket's buffer, as the kernel counts them";
    page.numbers(name, Type::Gauge, help, sums(|s| s.socket_buffer.read()));
}

fn with(mut labels: Labels, key: &'static str, value: &str) -> Labels {
    labels.push((key, value.to_owned()));
    labels
}
