//! Which metrics the monthly budget allows: CloudWatch bills each combination of namespace, name
//! and dimensions once. A metric that was sent this month goes on; a new one needs a place in the
//! budget, and is only in the log if there is none.

use std::sync::Arc;

use jiff::Timestamp;
use xxhash_rust::xxh3::Xxh3;

use super::declare::Labels;
use crate::{
    budget::MonthlyBudget,
    telemetry::{Counter, Desc, Meter},
};

const LEFT_OUT: Desc = Desc::new(
    "skep_exporter_budget_left_out_metrics",
    "{metric}",
    "Metrics, each time they came, that the monthly budget left out of a document",
);

/// Admits metrics.
pub(super) struct Admission {
    budget: Arc<MonthlyBudget>,
    left_out: Counter,
}

impl Admission {
    pub(super) fn new(budget: Arc<MonthlyBudget>, meter: &Meter) -> Self {
        Admission { budget, left_out: meter.counter(&LEFT_OUT, &[]) }
    }

    /// Whether a metric may be made with these dimensions, whose values are among `labels`. May
    /// write the ledger, for a metric that is new this month.
    pub(super) fn admits(
        &self,
        namespace: &str,
        name: &str,
        dimensions: &[String],
        labels: &Labels,
    ) -> bool {
        let value = |dimension: &String| {
            labels.iter().find(|(own, _)| own == dimension).map_or("", |(_, value)| value)
        };
        let mut hash = Xxh3::new();
        let dimensions = dimensions.iter().flat_map(|one| [one.as_str(), value(one)]);
        for part in [namespace, name].into_iter().chain(dimensions) {
            hash.update(&part.len().to_le_bytes());
            hash.update(part.as_bytes());
        }
        let is_admitted = self.budget.claim_once(hash.digest(), Timestamp::now());
        if !is_admitted {
            self.left_out.add(1);
        }
        is_admitted
    }
}
