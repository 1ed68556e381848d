//! The graph of components with its traffic, and what each of them did not pass on: `Topology`.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use super::proto::{Edge, Node, TopologyResponse};
use crate::{
    otlp::Signal,
    telemetry::{
        Telemetry,
        words::{per_second, unix_millis},
    },
};

/// What rates are of.
const RATE: Duration = Duration::from_secs(10);

/// The answer to `Topology`; `pipeline` empty means all.
pub(crate) fn topology(telemetry: &Telemetry, pipeline: &str, now: SystemTime) -> TopologyResponse {
    let mut nodes = BTreeSet::new();
    let mut edges = Vec::new();
    let past = telemetry.history.before(RATE, tokio::time::Instant::now());
    for edge in telemetry.edges() {
        if !pipeline.is_empty() && edge.pipeline != pipeline {
            continue;
        }
        for end in [&edge.from, &edge.to] {
            let (kind, id) = end.split_once(' ').unwrap_or(("", end));
            nodes.insert((edge.pipeline.clone(), kind.to_owned(), id.to_owned()));
        }
        edges.push(Edge {
            pipeline: edge.pipeline.clone(),
            from: edge.from.clone(),
            to: edge.to.clone(),
            payloads: edge.payloads.read(),
            items: edge.items.read(),
            bytes: edge.bytes.read(),
            items_per_second: per_second(past.edge(&edge).items, past.span),
            bytes_per_second: per_second(past.edge(&edge).bytes, past.span),
        });
    }
    let mut nodes: Vec<Node> = nodes
        .into_iter()
        .map(|(pipeline, kind, id)| Node { pipeline, kind, id, ..Node::default() })
        .collect();
    count(telemetry, &mut nodes);
    TopologyResponse { read_at_unix_ms: unix_millis(now), nodes, edges }
}

/// Adds what each component did not pass on. A receiver or an exporter counts by signal, so in two
/// pipelines of one signal it shows the same numbers.
fn count(telemetry: &Telemetry, nodes: &mut [Node]) {
    let of = |node: &Node, kind: &str, id: &str, signal: Signal| {
        let of_pipeline = node.pipeline.split('/').next().unwrap_or_default();
        node.kind == kind && node.id == id && of_pipeline == signal.name()
    };
    for stats in telemetry.receivers() {
        for node in nodes.iter_mut().filter(|node| of(node, "receiver", &stats.id, stats.signal)) {
            node.lost_items += stats.refused.read();
            node.rejected_requests += stats.rejected_requests.read();
        }
    }
    for stats in telemetry.processors() {
        let is_it = |node: &&mut Node| {
            node.kind == "processor" && node.id == stats.id && node.pipeline == stats.pipeline
        };
        for node in nodes.iter_mut().filter(is_it) {
            node.lost_items += stats.refused.read();
            node.filtered_items += stats.filtered.read();
        }
    }
    for stats in telemetry.exporters() {
        for node in nodes.iter_mut().filter(|node| of(node, "exporter", &stats.id, stats.signal)) {
            let lost = [&stats.failed, &stats.enqueue_failed, &stats.rejected];
            for counter in lost {
                node.lost_items += counter.read();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_component_shows_what_it_did_not_pass_on() {
        let telemetry = Telemetry::default();
        telemetry.edge("traces/a", "receiver otlp", "processor filter").items.add(9);
        telemetry.edge("traces/a", "processor filter", "exporter b").items.add(5);
        telemetry.receiver("otlp", Signal::Traces, "grpc").refused.add(2);
        telemetry.receiver("otlp", Signal::Traces, "http").rejected_requests.add(1);
        telemetry.receiver("otlp", Signal::Logs, "http").refused.add(100);
        let processor = telemetry.processor("filter", "traces/a", Signal::Traces);
        processor.filtered.add(4);
        processor.refused.add(1);
        telemetry.processor("filter", "traces/b", Signal::Traces).filtered.add(100);
        let exporter = telemetry.exporter("b", Signal::Traces, "x");
        exporter.failed.add(3);
        exporter.enqueue_failed.add(4);
        telemetry.exporter("b", Signal::Logs, "x").failed.add(100);

        let found = topology(&telemetry, "", SystemTime::now());
        let numbers: Vec<_> = found
            .nodes
            .iter()
            .map(|n| (&*n.id, n.lost_items, n.filtered_items, n.rejected_requests))
            .collect();
        assert_eq!(numbers, [("b", 7, 0, 0), ("filter", 1, 4, 0), ("otlp", 2, 0, 1)]);
        assert!(topology(&telemetry, "logs", SystemTime::now()).nodes.is_empty());
    }
}
