//! What exporters of CloudWatch Logs could not bring there, by reason.

use std::sync::{Arc, PoisonError};

use super::{Number, Telemetry};

/// Why an event was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftOut {
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
    pub const ALL: [LeftOut; 12] = [
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

    /// As it stands in labels.
    pub fn name(self) -> &'static str {
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

    /// In words.
    pub fn words(self) -> &'static str {
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
    pub fn is_loss(self) -> bool {
        !matches!(self, LeftOut::First | LeftOut::Unchanged)
    }
}

/// Counters of one exporter.
#[derive(Debug, Default)]
pub struct EventStats {
    /// Component id.
    pub id: String,
    left_out: [Number; LeftOut::ALL.len()],
    /// Labels and metrics that were renamed because their name was taken.
    pub renamed: Number,
    /// Events that were sent without a part, since they or what they share were too long.
    pub shortened: Number,
    /// Streams that were created.
    pub created_streams: Number,
}

impl EventStats {
    /// Counters of the exporter `id`.
    pub fn new(id: &str) -> Self {
        EventStats { id: id.to_owned(), ..EventStats::default() }
    }

    /// Counts events that were left out.
    pub fn leave_out(&self, reason: LeftOut, count: u64) {
        self.left_out[reason as usize].add(count);
    }

    /// Events that were left out.
    pub fn left_out(&self, reason: LeftOut) -> u64 {
        self.left_out[reason as usize].read()
    }
}

impl Telemetry {
    /// Shows the counters of an exporter of events until nobody adds to them any more; of two of
    /// the same id the newer ones.
    pub fn add_events(&self, stats: Arc<EventStats>) {
        let mut all = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(stats);
    }

    /// All exporters of events.
    pub fn events(&self) -> Vec<Arc<EventStats>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
