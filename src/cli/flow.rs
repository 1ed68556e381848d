//! The components of the pipelines of a running skep in the order in which data passes them.

use std::collections::HashMap;

use crate::admin::proto::{Node, TopologyResponse};

/// All components: by pipeline, and in it from the receivers to the exporters.
pub(super) fn in_order(topology: &TopologyResponse) -> Vec<&Node> {
    let mut ranks: HashMap<(&str, String), usize> = HashMap::new();
    // The longest way to a component is its rank. Pipelines have no circles, and none is longer
    // than the number of edges; an answer of something else ends as well.
    for _ in 0..topology.edges.len() {
        let mut is_done = true;
        for edge in &topology.edges {
            let from = ranks.get(&(&*edge.pipeline, edge.from.clone())).copied().unwrap_or(0);
            let to = ranks.entry((&*edge.pipeline, edge.to.clone())).or_insert(0);
            if *to < from + 1 && from < topology.edges.len() {
                (*to, is_done) = (from + 1, false);
            }
        }
        if is_done {
            break;
        }
    }
    let rank = |node: &Node| {
        let name = format!("{} {}", node.kind, node.id);
        ranks.get(&(&*node.pipeline, name)).copied().unwrap_or(0)
    };
    let mut nodes: Vec<&Node> = topology.nodes.iter().collect();
    nodes.sort_by_cached_key(|node| (node.pipeline.clone(), rank(node), node.id.clone()));
    nodes
}

/// Whether a component brings data into its pipeline.
pub(super) fn is_source(topology: &TopologyResponse, node: &Node) -> bool {
    let name = format!("{} {}", node.kind, node.id);
    topology.edges.iter().any(|edge| edge.pipeline == node.pipeline && edge.from == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::proto::Edge;

    #[test]
    fn components_are_in_the_order_of_the_data_and_a_circle_ends() {
        let edge = |from: &str, to: &str| Edge {
            pipeline: "traces".to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
            ..Edge::default()
        };
        let node = |kind: &str, id: &str| Node {
            pipeline: "traces".to_owned(),
            kind: kind.to_owned(),
            id: id.to_owned(),
            ..Node::default()
        };
        let mut topology = TopologyResponse {
            nodes: vec![
                node("exporter", "a"),
                node("processor", "b"),
                node("processor", "c"),
                node("receiver", "z"),
            ],
            edges: vec![
                edge("processor b", "exporter a"),
                edge("processor c", "processor b"),
                edge("receiver z", "processor c"),
            ],
            ..TopologyResponse::default()
        };
        let ids = |topology: &TopologyResponse| {
            in_order(topology).iter().map(|node| node.id.clone()).collect::<Vec<_>>()
        };
        assert_eq!(ids(&topology), ["z", "c", "b", "a"]);
        assert!(is_source(&topology, &topology.nodes[3]));
        assert!(!is_source(&topology, &topology.nodes[0]));
        topology.edges.push(edge("exporter a", "receiver z"));
        assert_eq!(ids(&topology).len(), 4);
    }
}
