//! Counters of receivers that take datagrams: what came, what was lost and to whom.

use std::sync::{Arc, PoisonError};

use super::{Number, Telemetry};

/// Counters of one receiver of datagrams.
#[derive(Debug, Default)]
pub struct DatagramStats {
    /// Component id.
    pub id: String,
    /// Datagrams that were read from the socket.
    pub received: Number,
    /// Of these, dropped since no bytes of the budget were free.
    pub over_budget: Number,
    /// Of these, dropped since too many waited, or since the queue of an exporter is full.
    pub queue_full: Number,
    /// Of these, dropped since they are not what they should be.
    pub malformed: Number,
    /// Dropped by the kernel before they could be read.
    pub kernel: Number,
    /// Fields that were mended or left out.
    pub repaired: Number,
    /// Nested subsegments that were left out.
    pub skipped: Number,
    /// Bytes of the socket's buffer, as the kernel counts them.
    pub socket_buffer: Number,
    /// What clients reported of each sampling rule.
    pub rules: Vec<RuleStats>,
}

/// What clients reported of one sampling rule.
#[derive(Debug, Default)]
pub struct RuleStats {
    /// Name of the rule.
    pub rule: String,
    /// Requests that matched it.
    pub requests: Number,
    /// Of these, sampled.
    pub sampled: Number,
    /// Of these, sampled without a quota.
    pub borrowed: Number,
}

impl Telemetry {
    /// Shows the counters of a receiver until nobody adds to them any more; of two of the same id
    /// the newer ones.
    pub fn add_datagrams(&self, stats: Arc<DatagramStats>) {
        let mut all = self.datagrams.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(stats);
    }

    /// All receivers of datagrams.
    pub fn datagrams(&self) -> Vec<Arc<DatagramStats>> {
        self.datagrams.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
