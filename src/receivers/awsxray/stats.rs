//! What the receiver counts about datagrams and about reports of sampling. Defaults are not
//! registered, for tests.

use super::settings::Rule;
use crate::telemetry::{Counter, Desc, Gauge, Meter};

const DATAGRAMS: Desc =
    Desc::new("skep_receiver_datagrams", "{datagram}", "Datagrams that were read");
const DROPPED: Desc =
    Desc::new("skep_receiver_dropped_datagrams", "{datagram}", "Datagrams dropped, by reason");
const REPAIRED: Desc =
    Desc::new("skep_receiver_repaired_fields", "{field}", "Fields that were mended or left out");
const SKIPPED: Desc = Desc::new(
    "skep_receiver_skipped_subsegments",
    "{subsegment}",
    "Nested subsegments that were left out",
);
const SAMPLING: Desc = Desc::new(
    "skep_receiver_sampling_requests",
    "{request}",
    "Requests that clients reported for a sampling rule",
);
const SOCKET_BUFFER: Desc = Desc::new(
    "skep_receiver_socket_buffer_bytes",
    "By",
    "Bytes of the socket's buffer, as the kernel counts them",
)
.newest();

/// Counters of one receiver of datagrams.
#[derive(Debug, Default)]
pub(super) struct DatagramStats {
    /// Component id.
    pub(super) id: String,
    /// Datagrams that were read from the socket.
    pub(super) received: Counter,
    /// Of these, dropped because the budget had no free bytes.
    pub(super) over_budget: Counter,
    /// Of these, dropped because too many waited, or because the queue of an exporter was full.
    pub(super) queue_full: Counter,
    /// Of these, dropped because they were not what they should be.
    pub(super) malformed: Counter,
    /// Dropped by the kernel before they could be read.
    pub(super) kernel: Counter,
    /// Fields that were mended or left out.
    pub(super) repaired: Counter,
    /// Nested subsegments that were left out.
    pub(super) skipped: Counter,
    /// Bytes of the socket's buffer, as the kernel counts them.
    pub(super) socket_buffer: Gauge,
}

impl DatagramStats {
    pub(super) fn new(id: &str, meter: &Meter) -> Self {
        let counter = |desc| meter.counter(desc, &[]);
        let dropped = |reason| meter.counter(&DROPPED, &[("reason", reason)]);
        DatagramStats {
            id: id.to_owned(),
            received: counter(&DATAGRAMS),
            over_budget: dropped("budget"),
            queue_full: dropped("queue"),
            malformed: dropped("malformed"),
            kernel: dropped("kernel"),
            repaired: counter(&REPAIRED),
            skipped: counter(&SKIPPED),
            socket_buffer: meter.gauge(&SOCKET_BUFFER, &[]),
        }
    }
}

/// What clients reported about one sampling rule.
#[derive(Debug, Clone, Default)]
pub(super) struct RuleStats {
    /// Requests that matched it.
    pub(super) requests: Counter,
    /// Of these, sampled.
    pub(super) sampled: Counter,
    /// Of these, sampled without a quota.
    pub(super) borrowed: Counter,
}

impl RuleStats {
    pub(super) fn new(rule: &Rule, meter: &Meter) -> Self {
        let counter =
            |kind| meter.counter(&SAMPLING, &[("rule", &*rule.rule_name), ("kind", kind)]);
        RuleStats {
            requests: counter("matched"),
            sampled: counter("sampled"),
            borrowed: counter("borrowed"),
        }
    }
}
