//! Makes metrics of spans: how many there are, how many fail, and how long they take.
//!
//! ```yaml
//! span_metrics:
//!   dimensions:
//!     - name: http.request.method
//!     - name: http.route
//!       default: none
//!   histogram:
//!     unit: s
//!     explicit: { buckets: [5ms, 25ms, 100ms, 500ms, 2s, 10s] }
//!   exemplars: { enabled: true }
//!   metrics_flush_interval: 15s
//!   series_expiration: 1h
//! ```
//!
//! Every `metrics_flush_interval`, and at the end of the process, there are for each resource:
//!
//! | Metric | |
//! |---|---|
//! | `traces.span.metrics.calls` | a sum: spans |
//! | `traces.span.metrics.duration` | a histogram: how long they took, in `ms` or `s` |
//! | `traces.span.metrics.events` | a sum: span events, with `events: { enabled: true }` |
//!
//! Their points have the attributes `service.name`, `span.name`, `span.kind` (`SPAN_KIND_SERVER`),
//! `status.code` (`STATUS_CODE_ERROR`) and `collector.instance.id`, a random id of this process
//! that keeps the sums of several gateways apart, unless `exclude_dimensions` names them; and those
//! of `dimensions`, looked for in the span, then in its resource. One that is missing is left out
//! of the point, unless it has a default. A dimension may also be a pattern of keys:
//!
//! ```yaml
//! span_metrics/patterns:
//!   dimensions:
//!     - glob: k8s.*
//!   calls_dimensions:
//!     - name: user_agent.name
//!   exclude_dimensions: [span.name, collector.instance.id]
//!   histogram:
//!     exponential: { max_size: 100 }
//!   events:
//!     enabled: true
//!     dimensions: [{ name: exception.type }]
//! ```
//!
//! Spans of resources without `service.name` are not counted. A span that was sampled counts as
//! many times as its threshold (`ot=th:` in `tracestate`) says, rounded at random, so that sums
//! come close to what they were before sampling. The request is done once its spans are counted; it
//! does not wait for the metrics.
//!
//! **Limits.** A metric has at most `aggregation_cardinality_limit` series for each resource; what
//! goes beyond is counted in one more, which has only the attribute `otel.metric.overflow`. There
//! are at most `resource_metrics_cache_size` resources; above that, those that were quiet for the
//! longest time are sent and forgotten. All series are paid for from the budget of the process; if
//! it has no room for another one, its spans go into that of the overflow as well, and if it has
//! none for another resource they are not counted. `skep_connector_overflow_items`,
//! `skep_span_metrics_dropped_spans` and `skep_connector_series` show this. Cumulative series stay
//! for ever unless there is a `metrics_expiration` or `series_expiration`.
//!
//! Put it before sampling, or after it if spans have thresholds. One worker counts all spans.
//!
//! Differs from the Collector:
//!
//! - `aggregation_cardinality_limit` is 2000 by default, and 0 turns it off.
//! - A new series is sent with its value at once, not first with 0; it has a start time.
//! - What is held is sent at the end of the process.
//! - Points with delta temporality begin where the last interval ended, so there is no cache of
//!   times.
//! - Series are told apart by the name of each value, so a missing dimension does not shift the
//!   others.
//! - Dimensions of events are looked for in the resource, too.
//! - Values of dimensions above 4 KiB are left out, names of spans are cut there, and patterns are
//!   tried on the first 64 attributes of a span.
//! - Buckets that do not ascend are refused.

mod collect;
mod key;
mod plan;
mod resources;
mod settings;
mod weight;

pub use self::settings::{
    Config, Dimension, Events, Exemplars, Explicit, Exponential, Histogram, Temporality, Unit,
};
use self::{collect::Collector, plan::Plan};
use crate::{
    component::{BuildContext, ConnectorConfig, Entry, Outlets, Processor, StartError},
    config::{Node, Problems},
    otlp::Signal,
};

pub(super) const ENTRY: Entry<dyn ConnectorConfig> = Entry::of::<Config>(
    "span_metrics",
    &["spanmetrics"],
    &[Signal::Traces],
    include_str!("span_metrics.rs"),
);

impl ConnectorConfig for Config {
    fn outputs(&self, input: Signal) -> &'static [Signal] {
        if input == Signal::Traces { Signal::Metrics.only() } else { &[] }
    }

    /// Two counters of one series would be two series for the backend.
    fn is_single(&self, _output: Signal) -> bool {
        true
    }

    fn validate(&self, at: &Node, problems: &mut Problems) {
        settings::validate(self, at, problems);
    }

    fn build(&self, cx: &BuildContext, _: &Outlets) -> Result<Box<dyn Processor>, StartError> {
        Ok(Box::new(Collector::new(Plan::new(self, &cx.telemetry.process.instance), cx)))
    }
}

#[cfg(test)]
mod tests;
