//! Which component somebody means, and what there is.

use std::fmt::Write as _;

use super::Wrong;
use crate::{
    admin::proto::{Node, TapSide, TopologyResponse},
    cli::{control::NOT_FOUND, flow},
    config::{diagnostics::closest, shown::escaped},
};

/// A component of a pipeline, and a side of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) pipeline: String,
    pub(super) component: String,
    pub(super) side: TapSide,
}

/// Finds the component that is meant: `traces/backend/batch:out`, only its id if one pipeline
/// alone has it, or a pipeline, which means what comes into it.
pub(super) fn resolve(point: &str, topology: &TopologyResponse) -> Result<Place, Wrong> {
    let sides = [(":in", TapSide::In), (":out", TapSide::Out), (":both", TapSide::Both)];
    let side = sides.into_iter().find_map(|(end, side)| Some((point.strip_suffix(end)?, side)));
    let (name, side) = side.unwrap_or((point, TapSide::Unspecified));
    let place = |pipeline: &str, component: &str| {
        let (pipeline, component) = (pipeline.to_owned(), component.to_owned());
        Place { pipeline, component, side }
    };
    let nodes = &topology.nodes;
    if let Some(entry) = flow::in_order(topology).into_iter().find(|node| node.pipeline == name) {
        let component = format!("{} {}", entry.kind, entry.id);
        return Ok(Place { side: TapSide::Unspecified, ..place(name, &component) });
    }
    let is_meant = |node: &&Node| {
        let component = name.strip_prefix(&*node.pipeline).and_then(|rest| rest.strip_prefix('/'));
        component.is_some_and(|component| is(node, component))
    };
    if let Some(node) = nodes.iter().find(is_meant) {
        // The kind may be part of the name, where two components have one id.
        let component = &name[node.pipeline.len() + 1..];
        return Ok(place(&node.pipeline, component));
    }
    let mut pipelines: Vec<&str> =
        nodes.iter().filter(|node| is(node, name)).map(|node| &*node.pipeline).collect();
    pipelines.dedup();
    match pipelines[..] {
        [pipeline] => Ok(place(pipeline, name)),
        [] => Err(Wrong(NOT_FOUND, unknown(name, nodes))),
        _ => {
            let all: Vec<String> =
                pipelines.iter().map(|pipeline| format!("`{pipeline}/{name}`")).collect();
            Err(Wrong(super::USAGE, format!("several pipelines have it: {}", all.join(", "))))
        }
    }
}

fn is(node: &Node, component: &str) -> bool {
    node.id == component
        || component.split_once(' ').is_some_and(|(kind, id)| node.kind == kind && node.id == id)
}

fn unknown(name: &str, nodes: &[Node]) -> String {
    let full: Vec<String> =
        nodes.iter().map(|node| format!("{}/{}", node.pipeline, node.id)).collect();
    let pipelines = nodes.iter().map(|node| &*node.pipeline);
    let ids = nodes.iter().map(|node| &*node.id);
    let near = closest(name, full.iter().map(|name| &**name).chain(pipelines).chain(ids));
    let near = near.map_or_else(
        || "`skep tap` lists all components".to_owned(),
        |near| format!("did you mean `{}`?", escaped(near)),
    );
    format!("`{}` is no component of a running pipeline; {near}", escaped(name))
}

/// All that can be tapped.
pub(super) fn listing(topology: &TopologyResponse) -> String {
    let nodes = flow::in_order(topology);
    let name = |node: &Node| {
        let same = |other: &&&Node| (&other.pipeline, &other.id) == (&node.pipeline, &node.id);
        let side = match nodes.iter().filter(same).count() {
            ..2 => "",
            _ if flow::is_source(topology, node) => ":out",
            _ => ":in",
        };
        escaped(&format!("{}/{}{side}", node.pipeline, node.id)).into_owned()
    };
    let width = nodes.iter().map(|node| name(node).chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    let mut before = "";
    for node in &nodes {
        if node.pipeline != before && !before.is_empty() {
            out.push('\n');
        }
        before = &node.pipeline;
        let sides = match &*node.kind {
            "processor" => "in and out, or :in, :out",
            "receiver" => "what it brings",
            "exporter" => "what it gets",
            _ if flow::is_source(topology, node) => "what it brings",
            _ => "what it gets",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{:<width$}  {:<9}  {sides}", name(node), node.kind);
    }
    if out.is_empty() {
        out.push_str("no pipeline runs\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::proto::Edge;

    fn topology() -> TopologyResponse {
        let edges = [
            ("traces", "receiver otlp", "processor filter/health"),
            ("traces", "processor filter/health", "processor batch"),
            ("traces", "processor batch", "exporter otlp"),
            ("logs/a", "receiver otlp", "processor batch"),
            ("logs/a", "processor batch", "connector count"),
        ];
        let mut nodes: Vec<Node> = Vec::new();
        for (pipeline, from, to) in edges {
            for end in [from, to] {
                let (kind, id) = end.split_once(' ').unwrap();
                let (pipeline, kind) = (pipeline.to_owned(), kind.to_owned());
                let node = Node { pipeline, kind, id: id.to_owned(), ..Node::default() };
                if !nodes.contains(&node) {
                    nodes.push(node);
                }
            }
        }
        let edges = edges.map(|(pipeline, from, to)| Edge {
            pipeline: pipeline.to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
            ..Edge::default()
        });
        TopologyResponse { nodes, edges: edges.to_vec(), ..TopologyResponse::default() }
    }

    #[test]
    fn a_component_is_found_by_every_name_that_it_has() {
        use TapSide::{In, Out, Unspecified};
        for (point, pipeline, component, side) in [
            ("traces/batch", "traces", "batch", Unspecified),
            ("traces/filter/health:in", "traces", "filter/health", In),
            ("filter/health", "traces", "filter/health", Unspecified),
            ("logs/a/count", "logs/a", "count", Unspecified),
            ("traces/otlp:out", "traces", "otlp", Out),
            ("traces/exporter otlp", "traces", "exporter otlp", Unspecified),
            ("traces", "traces", "receiver otlp", Unspecified),
            ("logs/a", "logs/a", "receiver otlp", Unspecified),
        ] {
            let found = resolve(point, &topology()).map_err(|Wrong(_, words)| words);
            let (pipeline, component) = (pipeline.to_owned(), component.to_owned());
            assert_eq!(found, Ok(Place { pipeline, component, side }), "{point}");
        }
    }

    #[test]
    fn a_name_that_is_none_or_several_is_told_so() {
        let wrong = |point: &str| resolve(point, &topology()).err().map(|Wrong(_, words)| words);
        assert_eq!(
            wrong("batch").unwrap(),
            "several pipelines have it: `traces/batch`, `logs/a/batch`"
        );
        assert_eq!(
            wrong("traces/bacth").unwrap(),
            "`traces/bacth` is no component of a running pipeline; did you mean `traces/batch`?"
        );
        assert!(wrong("\u{1b}[2Jnothing at all like it").unwrap().starts_with("`\\x1b[2J"));
    }

    #[test]
    fn everything_that_can_be_tapped_is_listed_in_the_order_of_the_data() {
        insta::assert_snapshot!(listing(&topology()), @r"
        logs/a/otlp           receiver   what it brings
        logs/a/batch          processor  in and out, or :in, :out
        logs/a/count          connector  what it gets

        traces/otlp:out       receiver   what it brings
        traces/filter/health  processor  in and out, or :in, :out
        traces/batch          processor  in and out, or :in, :out
        traces/otlp:in        exporter   what it gets
        ");
        assert_eq!(listing(&TopologyResponse::default()), "no pipeline runs\n");
    }
}
