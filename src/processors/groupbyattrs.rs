//! Groups spans, log records and data points by attributes, which become attributes of a resource
//! of their own. Without keys it joins what has equal resources and scopes.
//!
//! ```yaml
//! groupbyattrs:
//!   keys: [host.name, k8s.pod.name]
//! ```
//!
//! An item that has at least one of the keys moves to a resource with the attributes of its own
//! resource and those that it has of the keys, which replace attributes of the resource; it loses
//! them itself. An item that has none stays with its resource. Items of equal resources and scopes
//! come together in one entry, the metrics of one name, unit and kind in one metric. Use it where
//! one sender reports for many things, before exporters that go by resources, and before `batch`.
//!
//! ```yaml
//! groupbyattrs/compact:
//!   keys: []
//! ```
//!
//! After `batch`, this makes one entry of many with equal resources.
//!
//! What comes out has at most as many bytes as the budget of the process has room for: a resource
//! is repeated for each combination of values. A request that does not fit is refused and may be
//! sent again.
//!
//! Differs from the Collector:
//!
//! - Schema URLs, dropped counts and unknown fields of resources, scopes and metrics stay, and
//!   resources or scopes that differ in them are different.
//! - A request in which nothing moves keeps its allocation.

mod gather;
mod regroup;

use schemars::JsonSchema;
use serde::Deserialize;

use self::regroup::{Keys, Regrouped, regroup};
use crate::{
    component::{BuildContext, Entry, Output, Partition, Processor, ProcessorConfig, StartError},
    config::{Node, Problems, Severity},
    otlp::{Payload, Signal, purse::Purse},
    telemetry::{Counter, Desc, Detail, Histogram},
};

// The Collector has the same numbers.
const GROUPED: [Desc; 3] = [
    Desc::new("otelcol_processor_groupbyattrs_num_grouped_spans", "1", "Spans that moved"),
    Desc::new("otelcol_processor_groupbyattrs_num_grouped_metrics", "1", "Data points that moved"),
    Desc::new("otelcol_processor_groupbyattrs_num_grouped_logs", "1", "Log records that moved"),
];
const NOT_GROUPED: [Desc; 3] = [
    Desc::new("otelcol_processor_groupbyattrs_num_non_grouped_spans", "1", "Spans that stayed"),
    Desc::new(
        "otelcol_processor_groupbyattrs_num_non_grouped_metrics",
        "1",
        "Data points that stayed",
    ),
    Desc::new(
        "otelcol_processor_groupbyattrs_num_non_grouped_logs",
        "1",
        "Log records that stayed",
    ),
];
const GROUPS: [Desc; 3] = [
    Desc::new("otelcol_processor_groupbyattrs_span_groups", "1", "Resources of a request of spans"),
    Desc::new(
        "otelcol_processor_groupbyattrs_metric_groups",
        "1",
        "Resources of a request of metrics",
    ),
    Desc::new("otelcol_processor_groupbyattrs_log_groups", "1", "Resources of a request of logs"),
];

/// Bounds of the distribution of groups.
const BOUNDS: [u64; 10] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];

/// Groups items.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Keys of the attributes to group items by. If the list is empty, equal resources are joined.
    pub keys: Vec<String>,
}

pub(super) const ENTRY: Entry<dyn ProcessorConfig> = Entry::of::<Config>(
    "groupbyattrs",
    &["group_by_attrs"],
    &Signal::ALL,
    include_str!("groupbyattrs.rs"),
);

impl ProcessorConfig for Config {
    fn partition(&self) -> Partition {
        Partition::Any
    }

    fn validate(&self, at: &Node, problems: &mut Problems) {
        let at = at.at("keys");
        problems.repeated(Severity::Warning, at, &self.keys, str::to_owned);
        for (i, _) in self.keys.iter().enumerate().filter(|(_, key)| key.is_empty()) {
            problems.error(at.at(&i.to_string()), "the key is empty").help("remove it");
        }
    }

    fn build(&self, cx: &BuildContext) -> Result<Box<dyn Processor>, StartError> {
        let (meter, at) = (cx.metrics("processor"), cx.signal.index());
        Ok(Box::new(GroupByAttributes {
            keys: Keys::new(&self.keys),
            grouped: meter.counter(&GROUPED[at], &[]),
            not_grouped: meter.counter(&NOT_GROUPED[at], &[]),
            groups: meter.histogram(&GROUPS[at].at(Detail::Normal), &BOUNDS, &[]),
        }))
    }
}

struct GroupByAttributes {
    keys: Keys,
    grouped: Counter,
    not_grouped: Counter,
    groups: Histogram,
}

impl Processor for GroupByAttributes {
    fn process(&mut self, mut payload: Payload, out: &mut Output) {
        let mut purse = Purse::for_copy_of(&payload);
        let Regrouped { body, moved, groups } =
            match regroup(payload.signal, &payload.body, &self.keys, &mut purse) {
                Ok(regrouped) => regrouped,
                Err(reason) => return out.refuse(payload, reason),
            };
        self.grouped.add(moved);
        self.not_grouped.add(payload.items.saturating_sub(moved));
        self.groups.record(groups);
        if let Some(body) = body {
            payload.exchange_body(smallvec::smallvec![body.into()], purse.into_permits(), true);
        }
        out.emit(payload);
    }
}

#[cfg(test)]
mod tests;
