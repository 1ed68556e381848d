//! The graph that workers run: pipelines as chains of stages, and where each chain ends. Built
//! by `plan`, shared read-only by everybody, so there is no lock in it; a reload puts another graph
//! in its place.

use std::sync::Arc;

use crate::{
    component::{Partition, Processor, StartError},
    engine::export::queue::ExportQueue,
    otlp::Signal,
    telemetry::{EdgeStats, ProcessorStats},
};

/// Everything between the door and the exporter queues.
pub struct Graph {
    /// Pipelines in the order of the file.
    pub pipelines: Vec<Pipeline>,
    /// Connector instances: one per id and pair of signals.
    pub connectors: Vec<Connector>,
    /// One queue per exporter and signal.
    pub queues: Vec<Arc<ExportQueue>>,
    /// Pipelines in an order in which each stands before those it feeds through connectors.
    pub downstream_order: Vec<usize>,
}

/// One pipeline.
pub struct Pipeline {
    /// `traces/backend`.
    pub id: String,
    /// Signal of its payloads.
    pub signal: Signal,
    /// Processors in order.
    pub stages: Vec<Stage>,
    /// Where its payloads go after the last stage.
    pub ends: Vec<End>,
}

/// One processor of a pipeline.
pub struct Stage {
    /// Where replicas run.
    pub partition: Partition,
    /// Worker that owns the one instance, where the partition wants one.
    pub owner: usize,
    /// Counters.
    pub stats: Arc<ProcessorStats>,
    /// Traffic into it from the stage before; the first stage's is counted where it comes from.
    pub edge: Option<Arc<EdgeStats>>,
    /// Builds so many replicas.
    pub build: BuildReplicas,
    /// What makes it another one; a reload keeps the replicas of one that is the same. None: it is
    /// never the same.
    pub identity: Option<String>,
}

/// Builds replicas, one for each worker that runs the stage.
pub type BuildReplicas =
    Box<dyn Fn(usize) -> Result<Vec<Box<dyn Processor>>, StartError> + Send + Sync>;

/// One connector instance.
pub struct Connector {
    /// Component id.
    pub id: String,
    /// Builds so many replicas.
    pub build: BuildReplicas,
    /// As of a [`Stage`].
    pub identity: Option<String>,
    /// Pipelines that it feeds, with the traffic into each.
    pub targets: Vec<(usize, Option<Arc<EdgeStats>>)>,
}

/// What a pipeline ends in.
pub struct End {
    /// Where.
    pub target: Target,
    /// Traffic into it.
    pub edge: Arc<EdgeStats>,
}

/// An exporter's queue or a connector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Index into [`Graph::queues`].
    Queue(usize),
    /// Index into [`Graph::connectors`].
    Connector(usize),
}

impl Stage {
    /// Whether every worker has a replica.
    pub fn is_replicated(&self) -> bool {
        self.partition != Partition::Single
    }

    /// Whether a payload is shown to every worker, which takes its share of it.
    pub fn is_shared_out(&self) -> bool {
        self.partition == Partition::ByTrace
    }
}
