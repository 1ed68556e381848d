//! Makes metrics of which service calls which, and how that goes: the edges of a service graph, as
//! Grafana shows it.
//!
//! ```yaml
//! servicegraph:
//!   latency_histogram_buckets: [5ms, 25ms, 100ms, 500ms, 2s, 10s]
//!   dimensions: [deployment.environment.name]
//!   database_name_attributes: [db.namespace, db.name]
//!   store:
//!     ttl: 10s
//!     max_items: 10000
//!   metrics_flush_interval: 15s
//! ```
//!
//! A call is a client span and the server span whose parent it is, or a producer and a consumer
//! span; the first of the two waits for the other for `store: ttl`. A consumer span belongs to its
//! parent and to the spans that it links to, each of which is a call if it is a producer; for
//! messages that wait in their queue for long, raise `ttl`. A client span with a database's name is
//! a call by itself. For each pair of services there are, with cumulative temporality:
//!
//! | Metric | |
//! |---|---|
//! | `traces_service_graph_request_total` | a sum: calls |
//! | `traces_service_graph_request_failed_total` | a sum: calls of which a span has the status `ERROR` |
//! | `traces_service_graph_request_server` | a histogram: how long the server took, in seconds |
//! | `traces_service_graph_request_client` | a histogram: how long the client took, in seconds |
//!
//! Their points have the attributes `client`, `server`, `connection_type` (`messaging_system`,
//! `database`, `virtual_node`, or nothing) and `failed`; and for each of `dimensions` that a span
//! or its resource has, `client_...` and `server_...`.
//!
//! If the other span does not come, what is known makes a **virtual node**: a server span without a
//! parent was called by `user`, and the server of a client span is what the first of
//! `virtual_node_peer_attributes` says that it has, or `unknown`. With
//! `virtual_node_extra_label` the attribute `virtual_node` says which of the two that is. An empty
//! list turns virtual nodes off.
//!
//! Both spans of a call must come to the same process. Put the connector before sampling. At most
//! `store: max_items` calls wait for their other half; spans beyond that are not counted, and
//! neither are those for which the budget of the process has no room
//! (`otelcol_connector_servicegraph_dropped_spans`). There are at most
//! `aggregation_cardinality_limit` series; what goes beyond is counted in one with the attribute
//! `otel.metric.overflow`. Series that were quiet for 15 minutes are forgotten.
//!
//! Differs from the Collector:
//!
//! - The number of series is limited, and metrics are sent at the end of the process.
//! - A consumer that has links is paired with its parent, too.

mod edges;
mod graph;

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use self::graph::Grapher;
use super::series::LIMIT;
use crate::{
    component::{BuildContext, ConnectorConfig, Entry, Outlets, Processor, StartError},
    config::{Ignored, Interval, Node, Problems, Severity},
    otlp::Signal,
};

/// Makes metrics of calls between services.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Has no effect: metrics go to the pipelines that list the connector as a receiver.
    pub metrics_exporter: Ignored<String>,
    /// Upper bounds of the histograms, ascending.
    pub latency_histogram_buckets: Option<Vec<Interval>>,
    /// Most buckets of exponential histograms; 0: histograms have explicit bounds.
    pub exponential_histogram_max_size: u16,
    /// Attributes of spans and resources by which edges are split.
    pub dimensions: Vec<String>,
    /// Calls that wait for their other half.
    pub store: Store,
    /// How often quiet series are forgotten.
    pub cache_loop: Interval,
    /// How often calls are given up.
    pub store_expiration_loop: Interval,
    /// Attributes of client spans that say who the server is, the most telling first.
    pub virtual_node_peer_attributes: Vec<String>,
    /// Add the attribute `virtual_node`.
    pub virtual_node_extra_label: bool,
    /// Time from one flush to the next; 0: flush after each request.
    pub metrics_flush_interval: Interval,
    /// The older form of `database_name_attributes`.
    pub database_name_attribute: Option<String>,
    /// Attributes that have the name of a database, the most telling first.
    pub database_name_attributes: Vec<String>,
    /// By how much the times of points are before the time of the flush.
    pub metrics_timestamp_offset: Interval,
    /// Most series; 0: no limit. Not known to the Collector.
    pub aggregation_cardinality_limit: usize,
}

/// Calls that wait for their other half.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// Most of them.
    pub max_items: usize,
    /// For how long they wait.
    pub ttl: Interval,
}

impl Default for Store {
    fn default() -> Self {
        Store { max_items: 1000, ttl: Interval(Duration::from_secs(2)) }
    }
}

impl Default for Config {
    fn default() -> Self {
        let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Config {
            metrics_exporter: Ignored::default(),
            latency_histogram_buckets: None,
            exponential_histogram_max_size: 0,
            dimensions: Vec::new(),
            store: Store::default(),
            cache_loop: Interval(Duration::from_mins(1)),
            store_expiration_loop: Interval(Duration::from_secs(2)),
            virtual_node_peer_attributes: texts(&["peer.service", "db.name", "db.system"]),
            virtual_node_extra_label: false,
            metrics_flush_interval: Interval(Duration::from_mins(1)),
            database_name_attribute: None,
            database_name_attributes: texts(&["db.name"]),
            metrics_timestamp_offset: Interval::default(),
            aggregation_cardinality_limit: LIMIT,
        }
    }
}

pub(super) const ENTRY: Entry<dyn ConnectorConfig> = Entry::of::<Config>(
    "servicegraph",
    &["service_graph"],
    &[Signal::Traces],
    include_str!("servicegraph.rs"),
);

/// Most bounds of a histogram: more is a mistake.
const BOUNDS: usize = 1000;

impl ConnectorConfig for Config {
    fn outputs(&self, input: Signal) -> &'static [Signal] {
        if input == Signal::Traces { Signal::Metrics.only() } else { &[] }
    }

    /// Both spans of a call must come together.
    fn is_single(&self, _output: Signal) -> bool {
        true
    }

    fn validate(&self, at: &Node, problems: &mut Problems) {
        self.validate_histograms(at, problems);
        if self.store.max_items == 0 {
            problems
                .error(at.at("store::max_items"), "`max_items` must be at least 1")
                .help("remove it: 1000 is the default");
        }
        if self.database_name_attribute.is_some() {
            problems
                .warning(
                    at.at("database_name_attribute"),
                    "`database_name_attribute` is the older form of `database_name_attributes`",
                )
                .help("write `database_name_attributes: [...]`");
        }
        for (key, loops) in
            [("cache_loop", self.cache_loop), ("store_expiration_loop", self.store_expiration_loop)]
        {
            if loops.0.is_zero() {
                problems
                    .error(at.at(key), format!("`{key}` must not be 0"))
                    .help("remove it for the default");
            }
        }
        let (names, at) = (&self.dimensions, at.at("dimensions"));
        problems.repeated(Severity::Error, at, names, str::to_owned);
    }

    fn build(&self, cx: &BuildContext, _: &Outlets) -> Result<Box<dyn Processor>, StartError> {
        Ok(Box::new(Grapher::new(self, cx)))
    }
}

impl Config {
    fn validate_histograms(&self, at: &Node, problems: &mut Problems) {
        let size = self.exponential_histogram_max_size;
        if let Some(buckets) = &self.latency_histogram_buckets {
            let node = at.at("latency_histogram_buckets");
            if size > 0 {
                problems
                    .error(
                        at.at("exponential_histogram_max_size"),
                        "use either `latency_histogram_buckets` or `exponential_histogram_max_size`",
                    )
                    .help("remove one of them");
            }
            let is_wrong = |index: &usize| buckets[index - 1] >= buckets[*index];
            if let Some(index) = (1..buckets.len()).find(is_wrong) {
                let (before, this) = (buckets[index - 1], buckets[index]);
                problems
                    .error(
                        node.at(&index.to_string()),
                        format!("the bucket `{this}` comes after `{before}`"),
                    )
                    .help("sort the buckets, and write each once");
            }
            if buckets.len() > BOUNDS {
                let message = format!("a histogram has at most {BOUNDS} buckets");
                problems.error(node, message).help("remove some");
            }
        } else if size == 1 {
            problems
                .error(
                    at.at("exponential_histogram_max_size"),
                    "`exponential_histogram_max_size` must be at least 2",
                )
                .help("160 is usual; 0 is for explicit buckets");
        }
    }
}

#[cfg(test)]
mod tests;
