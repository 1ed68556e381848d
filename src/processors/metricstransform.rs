//! Renames, copies, combines and regroups metrics, and changes the labels of their data points.
//!
//! ```yaml
//! metrics_transform:
//!   transforms:
//!     - include: system.cpu.usage
//!       action: update
//!       new_name: system.cpu.usage_time
//!       operations:
//!         - { action: update_label, label: cpu, new_label: core }
//!         - { action: add_label, new_label: version, new_value: "skep {{version}}" }
//!         - { action: aggregate_labels, label_set: [state, version], aggregation_type: sum }
//! ```
//!
//! `include` is the name of a metric or, with `match_type: regexp`, a regular expression for names,
//! which matches anywhere unless anchored. `experimental_match_labels` narrows that down to data
//! points. Transforms run in order on the metrics of each scope:
//!
//! - `update` changes metrics in place; `insert` changes copies of them with another name.
//! - `combine` makes one metric of several of the same kind, unit and labels, in which the groups
//!   of the expression are labels (`$1`, or the name of the group), and merges equal points by
//!   `aggregation_type`.
//! - `group` moves metrics to a resource of their own with more attributes.
//!
//! ```yaml
//! metrics_transform/more:
//!   transforms:
//!     - include: ^jvm\.(?P<area>heap|nonheap)\.used$
//!       match_type: regexp
//!       action: combine
//!       new_name: jvm.memory.used
//!     - include: ^host\.(.*)$
//!       match_type: regexp
//!       action: insert
//!       new_name: system.$$1
//!       operations:
//!         - { action: experimental_scale_value, experimental_scale: 0.001 }
//!     - include: ^container\.
//!       match_type: regexp
//!       action: group
//!       group_resource_labels: { resource.type: container }
//! ```
//!
//! Operations, in order: `add_label` (never over one that is there), `update_label` (renames it by
//! `new_label`, its values by `value_actions`), `delete_label_value` (drops points),
//! `toggle_scalar_data_type` (integers to doubles and back), `experimental_scale_value`,
//! `aggregate_labels` (keeps the labels of `label_set` and merges what is equal then),
//! `aggregate_label_values` (makes one value of several and merges). Aggregations are `sum`,
//! `mean`, `min`, `max`, `count` and `median`; histograms know only `sum`, summaries none. A metric
//! without points afterwards goes.
//!
//! The processor [`transform`](processor-transform.md) does the same for single metrics, with
//! conditions; this one is for configurations that have it.
//!
//! Differs from the Collector:
//!
//! - `combine` and `group` of metrics of which only some points match `experimental_match_labels`
//!   leave the other points where they are; the Collector drops them.
//! - A `group` without metrics makes no resource.
//! - Metrics that cannot be combined are counted in `skep_metrics_transform_not_combined`, and the
//!   first is logged.

mod edit;
mod matching;
mod operations;
mod settings;
mod walk;

use schemars::JsonSchema;
use serde::Deserialize;

pub use self::settings::Transform;
use self::walk::Plan;
use super::editing::{edited, walking::count};
use crate::{
    component::{BuildContext, Entry, Output, Partition, Processor, ProcessorConfig, StartError},
    config::{Node, Problems},
    otlp::{Payload, Signal},
    telemetry::{Counter, Desc},
};

const NOT_COMBINED: Desc = Desc::new(
    "skep_metrics_transform_not_combined",
    "{metric}",
    "Metrics that `combine` left alone, because they are of different kinds, units or labels",
);

/// Transforms metrics.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What to do, in order; at least one.
    pub transforms: Vec<Transform>,
}

pub(super) const ENTRY: Entry<dyn ProcessorConfig> = Entry::of::<Config>(
    "metrics_transform",
    &["metricstransform"],
    &[Signal::Metrics],
    include_str!("metricstransform.rs"),
);

impl ProcessorConfig for Config {
    fn partition(&self) -> Partition {
        Partition::Any
    }

    fn validate(&self, at: &Node, problems: &mut Problems) {
        if self.transforms.is_empty() {
            problems
                .error(at.at("transforms"), "there is no transform")
                .help("add `transforms: [{include: ..., action: update, new_name: ...}]`");
        }
        for (i, transform) in self.transforms.iter().enumerate() {
            transform.validate(at.at(&format!("transforms::{i}")), problems);
        }
    }

    fn build(&self, cx: &BuildContext) -> Result<Box<dyn Processor>, StartError> {
        let error = |message| StartError { component: format!("processor `{}`", cx.id), message };
        Ok(Box::new(MetricsTransform {
            plan: Plan::new(&self.transforms).map_err(error)?,
            not_combined: cx.metrics("processor").counter(&NOT_COMBINED, &[]),
            id: cx.id.to_string(),
        }))
    }
}

struct MetricsTransform {
    id: String,
    plan: Plan,
    not_combined: Counter,
}

impl Processor for MetricsTransform {
    fn process(&mut self, payload: Payload, out: &mut Output) {
        let mut left_alone = 0;
        let mut payload = payload;
        let before = payload.items;
        let result =
            edited(&mut payload, |segment, purse| self.plan.run(segment, purse, &mut left_alone));
        if left_alone > 0 {
            if self.not_combined.read() == 0 {
                tracing::warn!(
                    component = self.id,
                    metrics = left_alone,
                    "metrics cannot be combined: they are of different kinds, units or labels"
                );
            }
            self.not_combined.add(left_alone);
        }
        match result {
            Err(reason) => return out.refuse(payload, reason),
            Ok(false) => {}
            Ok(true) => {
                payload.items = count(&payload);
                if payload.items == 0 && before > 0 {
                    payload.items = before;
                    return out.filter(payload);
                }
            }
        }
        out.emit(payload);
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
