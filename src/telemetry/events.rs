//! What exporters of CloudWatch Logs could not bring there, by reason.

use std::sync::{Arc, PoisonError};

use super::{Number, Telemetry};

/// Why an event was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftOut {
    /// A record without a message, or a point without a value.
    Empty,
    /// Older than 14 days.
    TooOld,
    /// More than two hours ahead.
    TooNew,
    /// Older than its group keeps events.
    Expired,
    /// In a batch that was refused whole.
    Refused,
}

impl LeftOut {
    /// All reasons, by their place in [`EventStats`].
    pub const ALL: [LeftOut; 5] =
        [LeftOut::Empty, LeftOut::TooOld, LeftOut::TooNew, LeftOut::Expired, LeftOut::Refused];

    /// As it stands in labels.
    pub fn name(self) -> &'static str {
        match self {
            LeftOut::Empty => "empty",
            LeftOut::TooOld => "too_old",
            LeftOut::TooNew => "too_new",
            LeftOut::Expired => "expired",
            LeftOut::Refused => "refused",
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
        }
    }
}

/// Counters of one exporter.
#[derive(Debug, Default)]
pub struct EventStats {
    /// Component id.
    pub id: String,
    left_out: [Number; LeftOut::ALL.len()],
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
    /// Shows the counters of an exporter of events until nobody adds to them any more; of two of the same id the
    /// newer ones.
    pub fn add_events(&self, stats: Arc<EventStats>) {
        let mut all = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(stats);
    }

    /// All exporters of events.
    pub fn events(&self) -> Vec<Arc<EventStats>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
