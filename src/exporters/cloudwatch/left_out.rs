//! What exporters of CloudWatch Logs cannot deliver, by reason, and what they count.

use crate::telemetry::{Counter, Desc, Meter};

const LEFT_OUT: Desc = Desc::new(
    "otelcol_exporter_awscloudwatch_left_out_events",
    "{event}",
    "Log events that were left out, by reason",
);
const RENAMED: Desc = Desc::new(
    "otelcol_exporter_awscloudwatch_renamed",
    "{name}",
    "Labels and metrics that were renamed because their name was taken",
);
const SHORTENED: Desc = Desc::new(
    "otelcol_exporter_awscloudwatch_shortened_events",
    "{event}",
    "Log events that were truncated because they, or the fields that they share, were too long",
);
const CREATED_STREAMS: Desc = Desc::new(
    "otelcol_exporter_awscloudwatch_created_streams",
    "{stream}",
    "Log streams that were created",
);

/// Why an event was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum LeftOut {
    /// A record without a message.
    Empty,
    /// Older than 14 days.
    TooOld,
    /// More than two hours ahead.
    TooNew,
    /// Older than its group keeps events.
    Expired,
    /// In a batch that was refused whole.
    Refused,
    /// A point without a value, or with one that is no number or that CloudWatch does not take.
    NoNumber,
    /// A metric without a name, or with one that is too long.
    Name,
    /// A point whose labels alone are larger than an event.
    TooLarge,
    /// A total that is older than the last one of its series.
    OutOfOrder,
    /// A total of one more series than are remembered.
    TooManySeries,
    /// The first total of a series: how much of it is new is not known.
    First,
    /// A total that has not grown, or a histogram of nothing.
    Unchanged,
}

impl LeftOut {
    /// All reasons, by their place in [`EventStats`].
    pub(in super::super) const ALL: [LeftOut; 12] = [
        LeftOut::Empty,
        LeftOut::TooOld,
        LeftOut::TooNew,
        LeftOut::Expired,
        LeftOut::Refused,
        LeftOut::NoNumber,
        LeftOut::Name,
        LeftOut::TooLarge,
        LeftOut::OutOfOrder,
        LeftOut::TooManySeries,
        LeftOut::First,
        LeftOut::Unchanged,
    ];

    /// The value of the label `reason`.
    pub(super) fn name(self) -> &'static str {
        match self {
            LeftOut::Empty => "empty",
            LeftOut::TooOld => "too_old",
            LeftOut::TooNew => "too_new",
            LeftOut::Expired => "expired",
            LeftOut::Refused => "refused",
            LeftOut::NoNumber => "no_number",
            LeftOut::Name => "name",
            LeftOut::TooLarge => "too_large",
            LeftOut::OutOfOrder => "out_of_order",
            LeftOut::TooManySeries => "too_many_series",
            LeftOut::First => "first_of_series",
            LeftOut::Unchanged => "unchanged",
        }
    }

    /// For people, after "events were left out,".
    pub(super) fn words(self) -> &'static str {
        match self {
            LeftOut::Empty => "without anything that can be sent",
            LeftOut::TooOld => "older than 14 days",
            LeftOut::TooNew => "more than 2 hours ahead",
            LeftOut::Expired => "older than their group keeps events",
            LeftOut::Refused => "in a batch that was refused",
            LeftOut::NoNumber => "without a value that CloudWatch accepts",
            LeftOut::Name => "whose metric has no name or one of more than 1024 characters",
            LeftOut::TooLarge => "whose labels exceed the size limit of an event",
            LeftOut::OutOfOrder => "older than the last total of their series",
            LeftOut::TooManySeries => "of more series than skep remembers",
            LeftOut::First => "the first totals of their series",
            LeftOut::Unchanged => "without a change",
        }
    }

    /// Whether data is lost by it. What was in a first total is sent with
    /// `retain_initial_value_of_delta_metric`.
    pub(super) fn is_loss(self) -> bool {
        !matches!(self, LeftOut::First | LeftOut::Unchanged)
    }
}

/// Counters of one exporter.
#[derive(Debug)]
pub(in super::super) struct EventStats {
    left_out: [Counter; LeftOut::ALL.len()],
    /// Labels and metrics that were renamed because their name was taken.
    pub(super) renamed: Counter,
    /// Events that were sent without a part because they, or the fields that they share, were too
    /// long.
    pub(super) shortened: Counter,
    /// Streams that were created.
    pub(super) created_streams: Counter,
}

impl EventStats {
    pub(super) fn new(meter: &Meter) -> Self {
        let left_out = |reason: LeftOut| meter.counter(&LEFT_OUT, &[("reason", reason.name())]);
        EventStats {
            left_out: LeftOut::ALL.map(left_out),
            renamed: meter.counter(&RENAMED, &[]),
            shortened: meter.counter(&SHORTENED, &[]),
            created_streams: meter.counter(&CREATED_STREAMS, &[]),
        }
    }

    /// Counts events that were left out.
    pub(super) fn leave_out(&self, reason: LeftOut, count: u64) {
        self.left_out[reason as usize].add(count);
    }

    /// Events that were left out.
    pub(super) fn left_out(&self, reason: LeftOut) -> u64 {
        self.left_out[reason as usize].read()
    }
}
