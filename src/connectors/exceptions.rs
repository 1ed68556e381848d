//! Makes metrics and log records of exceptions: of span events named `exception`, and of log
//! records that have `exception.type` or `exception.message`.
//!
//! ```yaml
//! exceptions:
//!   dimensions:
//!     - name: exception.type
//!     - name: deployment.environment.name
//!       default: unknown
//! ```
//!
//! The connector is fed by pipelines of traces or logs, and feeds pipelines of metrics, of logs or
//! of both.
//!
//! **Metrics.** The sum `exceptions` counts them since the start, by `service.name`, `span.name`,
//! `span.kind`, `status.code` (of spans only) and `dimensions`, every `metrics_flush_interval` and
//! at the end of the process. A dimension is looked for in the span, then in the event, then in the
//! resource. Resources without `service.name` are not counted.
//!
//! **Logs.** Each exception of a span becomes a log record with the time of the event, the severity
//! `ERROR`, the event name `exception`, and the ids of its span, under the same resource and scope.
//! Its attributes are those of the span, `span.name`, `span.kind`, `status.code`, `service.name`,
//! the dimensions, and `exception.type`, `exception.message` and `exception.stacktrace`. Log
//! records that are exceptions already are passed on as they are, and others are left out. These
//! records carry the receipts of the request that they were made of.
//!
//! Messages of exceptions are often all different. Without `exception.message` among the
//! dimensions, as above, the metric stays small. It has at most `aggregation_cardinality_limit`
//! series; what goes beyond is counted in one with the attribute `otel.metric.overflow`, and in
//! `skep_connector_overflow_items`.
//!
//! Differs from the Collector:
//!
//! - Metrics are sent at an interval, not with every request, and their number is limited.
//! - A point has at most 5 exemplars, those of the first exceptions since the last flush.

mod counts;
mod records;

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use self::{counts::Counts, records::Records};
use super::{
    attributes::{Wanted, any_text},
    series::LIMIT,
};
use crate::{
    component::{BuildContext, ConnectorConfig, Entry, Outlets, Processor, StartError},
    config::{Interval, Node, Problems},
    otlp::Signal,
};

/// Makes metrics and log records of exceptions.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Attributes by which exceptions are counted, and which their log records have.
    pub dimensions: Vec<Dimension>,
    /// Spans as examples of points.
    pub exemplars: Exemplars,
    /// Time from one flush of metrics to the next. Not known to the Collector.
    pub metrics_flush_interval: Interval,
    /// Most series; 0: no limit. Not known to the Collector.
    pub aggregation_cardinality_limit: usize,
}

/// An attribute.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Dimension {
    /// Its key.
    pub name: String,
    /// The value for exceptions without it; without a default it is left out.
    pub default: Option<String>,
}

/// Spans as examples of points.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Exemplars {
    /// Add them.
    pub enabled: bool,
}

impl Default for Config {
    fn default() -> Self {
        let dimension = |name: &str| Dimension { name: name.to_owned(), default: None };
        Config {
            dimensions: vec![dimension("exception.type"), dimension("exception.message")],
            exemplars: Exemplars::default(),
            metrics_flush_interval: Interval(Duration::from_secs(15)),
            aggregation_cardinality_limit: LIMIT,
        }
    }
}

pub(super) const ENTRY: Entry<dyn ConnectorConfig> = Entry::of::<Config>(
    "exceptions",
    &[],
    &[Signal::Traces, Signal::Logs],
    include_str!("exceptions.rs"),
);

/// Attributes that points have by themselves.
const OWN: [&str; 4] = ["service.name", "span.name", "span.kind", "status.code"];

impl ConnectorConfig for Config {
    fn outputs(&self, input: Signal) -> &'static [Signal] {
        match input {
            Signal::Traces | Signal::Logs => &[Signal::Metrics, Signal::Logs],
            Signal::Metrics => &[],
        }
    }

    /// The counts must be in one place.
    fn is_single(&self, output: Signal) -> bool {
        output == Signal::Metrics
    }

    fn validate(&self, at: &Node, problems: &mut Problems) {
        for (index, dimension) in self.dimensions.iter().enumerate() {
            let node = at.at(&format!("dimensions::{index}"));
            let before = &self.dimensions[..index];
            if dimension.name.is_empty() {
                problems.error(node, "the dimension has no name").help("write `- name: ...`");
            } else if OWN.contains(&&*dimension.name)
                || before.iter().any(|other| other.name == dimension.name)
            {
                problems
                    .error(node, format!("duplicate dimension name `{}`", dimension.name))
                    .help("remove it: it is there already");
            }
        }
        if self.metrics_flush_interval.0.is_zero() {
            problems
                .error(at.at("metrics_flush_interval"), "`metrics_flush_interval` must not be 0")
                .help("remove it: `15s` is the default");
        }
    }

    fn build(
        &self,
        cx: &BuildContext,
        outlets: &Outlets,
    ) -> Result<Box<dyn Processor>, StartError> {
        let plan = Plan::new(self);
        Ok(match outlets.signal {
            Signal::Logs => Box::new(Records::new(plan, cx)),
            _ => Box::new(Counts::new(plan, cx)),
        })
    }
}

/// The configuration, compiled.
#[derive(Debug)]
struct Plan {
    wanted: Wanted,
    service: usize,
    /// `exception.type`, `exception.message` and `exception.stacktrace`.
    exception: [(&'static str, usize); 3],
    dimensions: Vec<Named>,
    exemplars: usize,
    interval: Duration,
    limit: usize,
}

/// A dimension.
#[derive(Debug)]
struct Named {
    key: Box<[u8]>,
    at: usize,
    default: Option<Vec<u8>>,
}

/// Most exemplars of a point.
const EXEMPLARS: usize = 5;

impl Plan {
    fn new(config: &Config) -> Self {
        let mut wanted = Wanted::default();
        let service = wanted.add("service.name");
        let exception = ["exception.type", "exception.message", "exception.stacktrace"]
            .map(|key| (key, wanted.add(key)));
        let dimensions = config.dimensions.iter().map(|dimension| Named {
            key: dimension.name.as_bytes().into(),
            at: wanted.add(&dimension.name),
            default: dimension.default.as_ref().map(|text| any_text(text.as_bytes())),
        });
        let dimensions = dimensions.collect();
        Plan {
            wanted,
            service,
            exception,
            dimensions,
            exemplars: if config.exemplars.enabled { EXEMPLARS } else { 0 },
            interval: config.metrics_flush_interval.0,
            limit: config.aggregation_cardinality_limit,
        }
    }
}

#[cfg(test)]
mod tests;
