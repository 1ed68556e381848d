//! From a document to a graph: which processors run in which pipeline, where each chain ends, and
//! which receiver feeds which pipeline. Building opens no socket, so `validate` builds the same
//! graph.
//!
//! A plan takes the running parts into account ([`Kept`]): an exporter or receiver that is the same
//! is not built again but takes its place in the new graph. At the start there are none.

mod kept;
mod queues;
mod receivers;
mod storage;

use std::{collections::HashMap, sync::Arc};

use crate::{
    component::{BuildContext, ComponentId, Kind, Outlets, Same, StartError},
    document::{self, Document},
    engine::{
        disk::storages::Storages,
        export::{allowance::Allowances, offload::Offload},
        identity::Identity,
        intake::route::BySignal,
        work::graph::{BuildReplicas, Connector, End, Graph, Pipeline, Stage, Target},
    },
    otlp::Signal,
    telemetry::{EdgeStats, Telemetry},
};

use super::budget::Budget;

pub use kept::{Kept, KeptReceiver};
pub use queues::{PlannedExporter, Shares};
pub use receivers::PlannedReceiver;

/// What building needs to know about the process.
#[derive(Clone)]
pub struct Site {
    /// Workers that replicas are spread over.
    pub workers: usize,
    /// The byte budget.
    pub budget: Arc<Budget>,
    /// The logs on disk.
    pub storages: Arc<Storages>,
    /// The monthly budgets of exporters.
    pub budgets: Arc<Allowances>,
    /// Whether the process runs in a container.
    pub in_container: bool,
    /// Counters.
    pub telemetry: Arc<Telemetry>,
}

/// Everything built and connected, nothing running.
pub struct Plan {
    /// The graph for the workers.
    pub graph: Arc<Graph>,
    /// One for each queue of the graph, in its order.
    pub exporters: Vec<PlannedExporter>,
    /// Each exporter's part of the byte budget. New exporters have it already.
    pub shares: Shares,
    /// Receivers with the routes of their signals.
    pub receivers: Vec<PlannedReceiver>,
    /// Routes for the last requests of running receivers that are to be removed, by their id.
    pub last_routes: Vec<(String, BySignal)>,
}

impl Plan {
    /// Builds every replica once and drops it. `validate` does this instead of running.
    pub fn build_replicas(&self) -> Result<(), StartError> {
        for stage in self.graph.pipelines.iter().flat_map(|pipeline| &pipeline.stages) {
            (stage.build)(1)?;
        }
        for connector in &self.graph.connectors {
            (connector.build)(1)?;
        }
        Ok(())
    }
}

/// Builds the plan, or says which component cannot be built. Running parts are not touched.
pub fn plan(
    document: &Document,
    site: &Site,
    offload: &Offload,
    kept: &Kept,
) -> Result<Plan, StartError> {
    let mut planner = Planner {
        document,
        site,
        offload,
        kept,
        exporters: Vec::new(),
        queue_index: HashMap::new(),
        connectors: Vec::new(),
        connector_index: HashMap::new(),
    };
    let mut pipelines = Vec::with_capacity(document.pipelines.len());
    for (index, pipeline) in document.pipelines.iter().enumerate() {
        pipelines.push(planner.pipeline(index, pipeline)?);
    }
    let receivers = planner.receivers()?;
    let last_routes = planner.last_routes(&receivers);
    let Planner { exporters, connectors, .. } = planner;
    let downstream_order = downstream_order(&pipelines, &connectors);
    let shares = Shares::among(&exporters, site.budget.whole());
    for exporter in exporters.iter().filter(|exporter| exporter.dispatcher.is_some()) {
        shares.give(exporter);
    }
    let queues = exporters.iter().map(|exporter| Arc::clone(&exporter.queue)).collect();
    let graph = Arc::new(Graph { pipelines, connectors, queues, downstream_order });
    Ok(Plan { graph, exporters, shares, receivers, last_routes })
}

struct Planner<'a> {
    document: &'a Document,
    site: &'a Site,
    offload: &'a Offload,
    kept: &'a Kept,
    /// In the order of the queues in the graph.
    exporters: Vec<PlannedExporter>,
    queue_index: HashMap<(ComponentId, Signal), usize>,
    connectors: Vec<Connector>,
    connector_index: HashMap<(ComponentId, Signal), Vec<usize>>,
}

impl Planner<'_> {
    fn context(&self, id: &ComponentId, pipeline: &str, signal: Signal) -> BuildContext {
        BuildContext {
            pipeline: pipeline.to_owned(),
            budget: self.site.budget.whole(),
            in_container: self.site.in_container,
            server_auths: Arc::clone(&self.document.server_auths),
            ..BuildContext::new(id.clone(), signal, Arc::clone(&self.site.telemetry))
        }
    }

    fn pipeline(
        &mut self,
        index: usize,
        planned: &document::Pipeline,
    ) -> Result<Pipeline, StartError> {
        let mut stages = Vec::with_capacity(planned.processors.len());
        let mut before = entry_name(planned);
        for (position, id) in planned.processors.iter().enumerate() {
            let mut stage = self.stage(index, planned, id)?;
            let name = node_name(Kind::Processor, id);
            let telemetry = &self.site.telemetry;
            stage.edge = (position > 0).then(|| telemetry.edge(&planned.id, &before, &name));
            stages.push(stage);
            before = name;
        }
        let mut ends = Vec::with_capacity(planned.exporters.len());
        for id in &planned.exporters {
            ends.extend(self.ends(planned, id, &before)?);
        }
        Ok(Pipeline { id: planned.id.clone(), signal: planned.signal, stages, ends })
    }

    fn stage(
        &self,
        index: usize,
        pipeline: &document::Pipeline,
        id: &ComponentId,
    ) -> Result<Stage, StartError> {
        let processor =
            self.document.processors.get(id).ok_or_else(|| missing(Kind::Processor, id))?;
        let telemetry = &self.site.telemetry;
        let config = Arc::clone(&processor.config);
        let mut cx = self.context(id, &pipeline.id, pipeline.signal);
        cx.wants_weights = config.needs().writes_weights && self.reads_weights(pipeline);
        let same = Arc::clone(&config) as Arc<dyn Same>;
        Ok(Stage {
            identity: Some(Identity::of((id.clone(), cx.wants_weights)).and(same)),
            partition: config.partition(),
            owner: index % self.site.workers,
            stats: telemetry.processor(&id.to_string(), &pipeline.id, pipeline.signal),
            edge: None,
            build: Box::new(move |count| config.replicas(&cx, count)) as BuildReplicas,
        })
    }

    fn ends(
        &mut self,
        pipeline: &document::Pipeline,
        id: &ComponentId,
        before: &str,
    ) -> Result<Vec<End>, StartError> {
        let telemetry = Arc::clone(&self.site.telemetry);
        if self.document.connectors.contains_key(id) {
            let edge = telemetry.edge(&pipeline.id, before, &node_name(Kind::Connector, id));
            let instances = self.connector(id, pipeline.signal)?;
            return Ok(instances
                .into_iter()
                .map(|index| End { target: Target::Connector(index), edge: Arc::clone(&edge) })
                .collect());
        }
        let edge = telemetry.edge(&pipeline.id, before, &node_name(Kind::Exporter, id));
        let queue = self.queue(id, pipeline.signal)?;
        Ok(vec![End { target: Target::Queue(queue), edge }])
    }

    /// Instances of a connector for an input signal: one per output signal that is used.
    fn connector(&mut self, id: &ComponentId, input: Signal) -> Result<Vec<usize>, StartError> {
        if let Some(instances) = self.connector_index.get(&(id.clone(), input)) {
            return Ok(instances.clone());
        }
        let connector =
            self.document.connectors.get(id).ok_or_else(|| missing(Kind::Connector, id))?;
        let config = &connector.config;
        let mut instances = Vec::new();
        for output in config.outputs(input) {
            let mut targets = Vec::new();
            for (index, pipeline) in self.document.pipelines.iter().enumerate() {
                if pipeline.signal == *output && pipeline.receivers.contains(id) {
                    let from = node_name(Kind::Connector, id);
                    targets.push((index, self.edge_into(pipeline, &from)));
                }
            }
            if targets.is_empty() {
                continue;
            }
            let ids = targets.iter().map(|(index, _)| self.document.pipelines[*index].id.clone());
            let outlets = Outlets { signal: *output, pipelines: ids.collect() };
            // One that names pipelines knows them by their position.
            let known = (!config.pipelines().is_empty()).then(|| outlets.clone());
            let same = Arc::clone(config) as Arc<dyn Same>;
            let identity = Some(Identity::of((id.clone(), input, *output, known)).and(same));
            let index = self.connectors.len();
            let owner = config.is_single(*output).then_some(index % self.site.workers);
            let config = Arc::clone(config);
            let cx = self.context(id, "", input);
            let build: BuildReplicas = Box::new(move |count| config.replicas(&cx, &outlets, count));
            self.connectors.push(Connector { id: id.to_string(), owner, build, identity, targets });
            instances.push(index);
        }
        self.connector_index.insert((id.clone(), input), instances.clone());
        Ok(instances)
    }

    /// Whether an exporter that data of a pipeline may end in reads weights.
    fn reads_weights(&self, pipeline: &document::Pipeline) -> bool {
        pipeline.exporters.iter().any(|id| {
            if let Some(exporter) = self.document.exporters.get(id) {
                return exporter.config.reads_weights();
            }
            let mut fed = self.document.pipelines.iter();
            fed.any(|next| next.receivers.contains(id) && self.reads_weights(next))
        })
    }

    /// The edge into the first processor of a pipeline.
    fn edge_into(&self, pipeline: &document::Pipeline, from: &str) -> Option<Arc<EdgeStats>> {
        let first = node_name(Kind::Processor, pipeline.processors.first()?);
        Some(self.site.telemetry.edge(&pipeline.id, from, &first))
    }
}

/// The pipelines, each before those that its connectors feed. The document has no cycles.
fn downstream_order(pipelines: &[Pipeline], connectors: &[Connector]) -> Vec<usize> {
    fn visit(
        index: usize,
        pipelines: &[Pipeline],
        connectors: &[Connector],
        seen: &mut [bool],
        order: &mut Vec<usize>,
    ) {
        if std::mem::replace(&mut seen[index], true) {
            return;
        }
        for end in &pipelines[index].ends {
            if let Target::Connector(connector) = end.target {
                for (target, _) in &connectors[connector].targets {
                    visit(*target, pipelines, connectors, seen, order);
                }
            }
        }
        order.push(index);
    }
    let mut seen = vec![false; pipelines.len()];
    let mut order = Vec::with_capacity(pipelines.len());
    for index in 0..pipelines.len() {
        visit(index, pipelines, connectors, &mut seen, &mut order);
    }
    order.reverse();
    order
}

fn node_name(kind: Kind, id: &ComponentId) -> String {
    format!("{} {id}", kind.name())
}

/// The source of a pipeline: its receivers, joined into one name if there are several.
fn entry_name(pipeline: &document::Pipeline) -> String {
    let ids: Vec<String> = pipeline.receivers.iter().map(ToString::to_string).collect();
    format!("{} {}", Kind::Receiver.name(), ids.join("+"))
}

fn missing(kind: Kind, id: &ComponentId) -> StartError {
    StartError {
        component: format!("{} `{id}`", kind.name()),
        message: format!("a pipeline refers to it, but `{}` does not define it", kind.section()),
    }
}
