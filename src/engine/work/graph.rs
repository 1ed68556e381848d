//! The graph that workers run: pipelines as chains of stages, and their ends. It is built by `plan`
//! and shared read-only, so it needs no lock; a reload replaces it.

use std::sync::Arc;

use crate::{
    component::{Partition, Processor, StartError},
    engine::{export::queue::ExportQueue, identity::Identity},
    otlp::Signal,
    telemetry::{EdgeStats, ProcessorStats},
};

/// Everything between the routes of receivers and the exporter queues.
#[derive(Default)]
pub struct Graph {
    /// Pipelines in the order of the file.
    pub pipelines: Vec<Pipeline>,
    /// Connector instances: one per id and pair of signals.
    pub connectors: Vec<Connector>,
    /// One queue per exporter and signal.
    pub queues: Vec<Arc<ExportQueue>>,
    /// Pipelines in an order in which each comes before those that it feeds through connectors.
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
    /// Worker that owns the instance if the partition is `Single`.
    pub owner: usize,
    /// Counters.
    pub stats: Arc<ProcessorStats>,
    /// Traffic from the stage before; traffic into the first stage is counted by its source.
    pub edge: Option<Arc<EdgeStats>>,
    /// Builds its replicas.
    pub build: BuildReplicas,
    /// Identity for a reload, which keeps the replicas if it is the same; `None` counts as changed.
    pub identity: Option<Identity>,
}

/// Builds the given number of replicas, one for each worker that runs the stage.
pub type BuildReplicas =
    Box<dyn Fn(usize) -> Result<Vec<Box<dyn Processor>>, StartError> + Send + Sync>;

/// One connector instance.
pub struct Connector {
    /// Component id.
    pub id: String,
    /// The worker that owns the only replica; `None` if each worker has one.
    pub owner: Option<usize>,
    /// Builds its replicas.
    pub build: BuildReplicas,
    /// See [`Stage::identity`].
    pub identity: Option<Identity>,
    /// Pipelines that it feeds, with the traffic into each.
    pub targets: Vec<(usize, Option<Arc<EdgeStats>>)>,
}

/// One end of a pipeline.
pub struct End {
    /// The queue or connector.
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

impl Graph {
    /// The connectors at the ends of a pipeline that no pipeline after it in the
    /// [order](Self::downstream_order) feeds: once it has been drained, they can be.
    pub fn fed_last_by(&self, pipeline: usize) -> Vec<usize> {
        let rest = self.downstream_order.iter().skip_while(|at| **at != pipeline).skip(1);
        let feeds = |pipeline: usize, connector: usize| {
            let mut ends = self.pipelines[pipeline].ends.iter();
            ends.any(|end| end.target == Target::Connector(connector))
        };
        (0..self.connectors.len())
            .filter(|connector| feeds(pipeline, *connector))
            .filter(|connector| !rest.clone().any(|later| feeds(*later, *connector)))
            .collect()
    }
}

impl Connector {
    /// Whether a worker has a replica.
    pub fn is_on(&self, worker: usize) -> bool {
        self.owner.is_none_or(|owner| owner == worker)
    }

    /// How many replicas there are.
    pub fn replicas(&self, workers: usize) -> usize {
        if self.owner.is_none() { workers } else { 1 }
    }
}

impl Stage {
    /// Whether every worker has a replica.
    pub fn is_replicated(&self) -> bool {
        self.partition != Partition::Single
    }

    /// Whether each worker gets its share of a payload.
    pub fn is_shared_out(&self) -> bool {
        self.partition == Partition::ByTrace
    }
}
