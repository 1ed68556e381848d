//! Makes metrics of the sums of an attribute of spans, span events, data points or log records.
//!
//! ```yaml
//! sum:
//!   logs:
//!     checkout.total:
//!       description: What was paid
//!       source_attribute: total.payment
//!       conditions:
//!         - attributes["payment.state"] == "done"
//!       attributes:
//!         - key: payment.processor
//!           default_value: unknown
//! ```
//!
//! The values of `source_attribute` are added up: numbers, and texts that are numbers. It is an
//! attribute of the item itself. Everything else is as in [`count`](connector-count.md):
//! conditions, attributes, resources, times. The points are doubles.
//!
//! Differs from the Collector:
//!
//! - An item without a number in `source_attribute` is left out; it does not make a point of 0.
//! - With several `attributes` a value is added once.
//! - A condition that fails does not refuse the request.
//! - A `default_value` of 0 or of an empty text is a default.
//! - A metric has at most `aggregation_cardinality_limit` points for a resource. What goes beyond
//!   is added up in one with the attribute `otel.metric.overflow`, and counted in
//!   `skep_connector_overflow_items`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    series::LIMIT,
    tally::{self, Attribute, Definition, SECTIONS, Tally, check},
};
use crate::{
    component::{BuildContext, ConnectorConfig, Entry, Needs, Outlets, Processor, StartError},
    config::{Node, Problems},
    otlp::Signal,
    statements::Texts,
};

/// Adds up attributes.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Metrics about spans, by their names.
    pub spans: BTreeMap<String, Metric>,
    /// Metrics about span events.
    pub spanevents: BTreeMap<String, Metric>,
    /// Refused: metrics have no attributes of their own; `datapoints` have.
    pub metrics: BTreeMap<String, Metric>,
    /// Metrics about data points.
    pub datapoints: BTreeMap<String, Metric>,
    /// Metrics about log records.
    pub logs: BTreeMap<String, Metric>,
    /// Most points of a metric for one resource in one request; 0: no limit. Not known to the
    /// Collector.
    pub aggregation_cardinality_limit: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            spans: BTreeMap::new(),
            spanevents: BTreeMap::new(),
            metrics: BTreeMap::new(),
            datapoints: BTreeMap::new(),
            logs: BTreeMap::new(),
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
    /// The attribute whose values are added up.
    pub source_attribute: String,
    /// Which items count: those for which one of these holds, or all.
    pub conditions: Texts,
    /// By which attributes the sum is split.
    pub attributes: Vec<Attribute>,
}

pub(super) const ENTRY: Entry<dyn ConnectorConfig> =
    Entry::of::<Config>("sum", &[], &Signal::ALL, include_str!("sum.rs"));

impl Config {
    fn definitions(&self) -> Vec<Definition<'_>> {
        let given = [&self.spans, &self.spanevents, &self.metrics, &self.datapoints, &self.logs];
        let sections = SECTIONS.iter().zip(given);
        let all = sections.flat_map(|(section, metrics)| {
            metrics.iter().map(move |(name, metric)| Definition {
                section,
                name,
                description: &metric.description,
                conditions: Some(&metric.conditions),
                attributes: &metric.attributes,
                sums: Some(&metric.source_attribute),
            })
        });
        all.collect()
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
        if self.definitions().is_empty() {
            problems
                .error(at, "there is nothing to add up")
                .help("add `logs: {name: {source_attribute: ...}}`, or `spans`, `datapoints`");
        }
        if !self.metrics.is_empty() {
            problems
                .error(at.at("metrics"), "metrics have no attributes of their own to add up")
                .help("write them under `datapoints`");
        }
        for definition in self.definitions() {
            check(&definition, at, problems);
            if definition.sums == Some("") {
                let path = format!("{}::{}", definition.section.key, definition.name);
                problems
                    .error(at.at(&path), "metric source_attribute missing")
                    .help("add `source_attribute` with the key of the attribute to add up");
            }
        }
    }

    fn build(&self, cx: &BuildContext, _: &Outlets) -> Result<Box<dyn Processor>, StartError> {
        let limit = self.aggregation_cardinality_limit;
        let tally = Tally::new("otelcol/sumconnector", limit, &self.definitions(), cx)?;
        Ok(Box::new(tally))
    }
}

#[cfg(test)]
mod tests;
