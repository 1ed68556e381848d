//! Makes metrics of how many spans, span events, metrics, data points and log records there are.
//!
//! ```yaml
//! count:
//!   spans:
//!     orders.failed:
//!       description: Failed orders by region
//!       conditions:
//!         - status.code == STATUS_CODE_ERROR and attributes["http.route"] == "/orders"
//!       attributes:
//!         - key: cloud.region
//!           default_value: unknown
//!   logs:
//!     log.errors:
//!       conditions: [severity_number >= SEVERITY_NUMBER_ERROR]
//! ```
//!
//! Without settings everything is counted: `trace.span.count`, `trace.span.event.count`,
//! `metric.count`, `metric.datapoint.count` and `log.record.count`, as far as pipelines of these
//! signals lead here. A section with metrics replaces the ones of its kind that are there by
//! default.
//!
//! An item is counted if one of the `conditions` holds or there are none; they are written in
//! [OTTL](../ottl.md), and paths without a context are those of the item. With `attributes` there
//! is a point for each combination of their values; an item that lacks one that has no
//! `default_value` is not counted. Attributes are looked for in the item, then in its scope, then
//! in its resource. Numbers keep their type, other values become text.
//!
//! Each request becomes metrics at once: sums with delta temporality, one resource for each
//! resource that has items, from the first to the last time of the items that were counted.
//! Prometheus needs cumulative sums. Metrics of a request carry its receipts, so a sender with
//! `wait_for_export` waits for them, too. A condition that fails on an item does not hold; that is
//! counted in `skep_statement_failures`, and the first of each kind is logged.
//!
//! Differs from the Collector:
//!
//! - A condition that fails, or a metric without data, does not refuse the request.
//! - A `default_value` of 0 or of an empty text is a default.
//! - A metric has at most `aggregation_cardinality_limit` points for a resource. What goes beyond
//!   is counted in one with the attribute `otel.metric.overflow`, and in
//!   `skep_connector_overflow_items`. Values of more than 4 KiB are as if they were absent.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    series::LIMIT,
    tally::{self, Attribute, Definition, SECTIONS, Tally, check},
};
use crate::{
    component::{BuildContext, ConnectorConfig, Entry, Needs, Outlets, Processor, StartError},
    config::{Anything, Node, Problems},
    otlp::Signal,
    statements::Texts,
};

/// Counts items.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Metrics about spans, by their names.
    pub spans: Option<BTreeMap<String, Metric>>,
    /// Metrics about span events.
    pub spanevents: Option<BTreeMap<String, Metric>>,
    /// Metrics about metrics; they have no `attributes`.
    pub metrics: Option<BTreeMap<String, Metric>>,
    /// Metrics about data points.
    pub datapoints: Option<BTreeMap<String, Metric>>,
    /// Metrics about log records.
    pub logs: Option<BTreeMap<String, Metric>>,
    /// Refused: skep has no profiles.
    pub profiles: Option<Anything>,
    /// Most points of a metric for one resource in one request; 0: no limit. Not known to the
    /// Collector.
    pub aggregation_cardinality_limit: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            spans: None,
            spanevents: None,
            metrics: None,
            datapoints: None,
            logs: None,
            profiles: None,
            aggregation_cardinality_limit: LIMIT,
        }
    }
}

/// A metric.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Metric {
    /// What it is, for people.
    pub description: String,
    /// Which items count: those for which one of these holds, or all.
    pub conditions: Texts,
    /// By which attributes the count is split.
    pub attributes: Vec<Attribute>,
}

pub(super) const ENTRY: Entry<dyn ConnectorConfig> =
    Entry::of::<Config>("count", &[], &Signal::ALL, include_str!("count.rs"));

/// Name and description of the metric that a section has without settings.
const fn default_of(section: &str) -> (&'static str, &'static str) {
    match section.as_bytes() {
        b"spans" => ("trace.span.count", "The number of spans observed."),
        b"spanevents" => ("trace.span.event.count", "The number of span events observed."),
        b"metrics" => ("metric.count", "The number of metrics observed."),
        b"datapoints" => ("metric.datapoint.count", "The number of data points observed."),
        _ => ("log.record.count", "The number of log records observed."),
    }
}

impl Config {
    fn definitions(&self) -> Vec<Definition<'_>> {
        let given = [&self.spans, &self.spanevents, &self.metrics, &self.datapoints, &self.logs];
        let mut all = Vec::new();
        for (section, given) in SECTIONS.iter().zip(given) {
            let Some(metrics) = given else {
                let (name, description) = default_of(section.key);
                let (conditions, attributes, sums) = (None, &[][..], None);
                all.push(Definition { section, name, description, conditions, attributes, sums });
                continue;
            };
            all.extend(metrics.iter().map(|(name, metric)| Definition {
                section,
                name,
                description: &metric.description,
                conditions: Some(&metric.conditions),
                attributes: &metric.attributes,
                sums: None,
            }));
        }
        all
    }
}

impl ConnectorConfig for Config {
    fn outputs(&self, _input: Signal) -> &'static [Signal] {
        Signal::Metrics.only()
    }

    fn needs(&self) -> Needs<'_> {
        tally::needs(&self.definitions())
    }

    fn validate(&self, at: &Node, problems: &mut Problems) {
        for definition in self.definitions() {
            check(&definition, at, problems);
        }
        for (name, metric) in self.metrics.iter().flatten() {
            if !metric.attributes.is_empty() {
                problems
                    .error(
                        at.at(&format!("metrics::{name}::attributes")),
                        "attributes not supported for metrics",
                    )
                    .help("count data points: `datapoints` can be split by attributes");
            }
        }
        if self.profiles.is_some() {
            problems.error(at.at("profiles"), "skep has no profiles").help("remove it");
        }
    }

    fn build(&self, cx: &BuildContext, _: &Outlets) -> Result<Box<dyn Processor>, StartError> {
        let limit = self.aggregation_cardinality_limit;
        let tally = Tally::new("otelcol/countconnector", limit, &self.definitions(), cx)?;
        Ok(Box::new(tally))
    }
}

#[cfg(test)]
mod tests;
