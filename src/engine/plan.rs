//! From a document to a graph: which processors run in which pipeline, where each chain ends,
//! which receiver feeds what. Building opens no socket, so `validate` builds the same graph.
//!
//! A reload plans with what runs ([`Kept`]): an exporter or receiver that is the same is not built
//! again, its place in the graph is taken by the one that runs.

mod kept;
mod storage;

use std::{collections::HashMap, sync::Arc};

use crate::{
    component::{
        BuildContext, ClientAuth, ComponentId, ConnectorConfig, ExporterConfig, Kind,
        ProcessorConfig, Receiver, ReceiverConfig, StartError, Storage,
    },
    document::{Component, Document},
    otlp::Signal,
    telemetry::{EdgeStats, Telemetry},
};

use super::{
    admission::Route,
    budget::Budget,
    door::SignalRoutes,
    graph::{BuildReplicas, Connector, End, Graph, Pipeline, Stage, Target},
    journal::Journal,
    pool::{Offload, Ways},
    queue::{Dispatcher, ExportQueue, Surroundings},
    routes::BySignal,
    storages::Storages,
};

use kept::version;
pub use kept::{Kept, KeptReceiver};

/// Share of the byte budget that all exporter queues may hold together; the rest is for requests
/// on their way in and for batches in the making.
const QUEUES_SHARE: f64 = 0.8;

/// Configurations of components as text.
pub type Texts = HashMap<(Kind, ComponentId), String>;

/// Components and pipelines as the document names them, configurations decoded.
#[derive(Default, Clone)]
pub struct Blueprint {
    /// By id.
    pub receivers: HashMap<ComponentId, Arc<dyn ReceiverConfig>>,
    /// By id.
    pub processors: HashMap<ComponentId, Arc<dyn ProcessorConfig>>,
    /// By id.
    pub exporters: HashMap<ComponentId, Arc<dyn ExporterConfig>>,
    /// By id.
    pub connectors: HashMap<ComponentId, Arc<dyn ConnectorConfig>>,
    /// What exporters' `auth` names, by the exporter's id.
    pub auths: HashMap<ComponentId, Arc<dyn ClientAuth>>,
    /// What queues and journals name as their storage.
    pub storages: HashMap<String, Storage>,
    /// In the order of the file.
    pub pipelines: Vec<PipelineBlueprint>,
    /// Each component's configuration as one text, by which a reload finds what has changed; where
    /// there is none it counts as changed.
    pub texts: Texts,
}

impl From<Document> for Blueprint {
    fn from(document: Document) -> Self {
        let pipelines = document.pipelines.into_iter().map(|pipeline| PipelineBlueprint {
            id: pipeline.id,
            signal: pipeline.signal,
            receivers: pipeline.receivers,
            processors: pipeline.processors,
            exporters: pipeline.exporters,
        });
        Blueprint {
            receivers: configs(document.receivers),
            processors: configs(document.processors),
            exporters: configs(document.exporters),
            connectors: configs(document.connectors),
            auths: document.auths,
            storages: document.storages,
            pipelines: pipelines.collect(),
            texts: Texts::default(),
        }
    }
}

fn configs<C: ?Sized>(
    components: HashMap<ComponentId, Component<C>>,
) -> HashMap<ComponentId, Arc<C>> {
    components.into_iter().map(|(id, component)| (id, component.config)).collect()
}

/// One pipeline of the document. Every id is known to be defined.
#[derive(Debug, Clone)]
pub struct PipelineBlueprint {
    /// `traces/backend`.
    pub id: String,
    /// Before the slash.
    pub signal: Signal,
    /// Receivers, and connectors used as receivers.
    pub receivers: Vec<ComponentId>,
    /// In order.
    pub processors: Vec<ComponentId>,
    /// Exporters, and connectors used as exporters.
    pub exporters: Vec<ComponentId>,
}

/// What building needs to know of the process.
#[derive(Clone)]
pub struct Site {
    /// Workers that replicas are spread over.
    pub workers: usize,
    /// The byte budget.
    pub budget: Arc<Budget>,
    /// What is on disk.
    pub storages: Arc<Storages>,
    /// Whether the process runs in a container.
    pub in_container: bool,
    /// Counters.
    pub telemetry: Arc<Telemetry>,
}

/// Everything built and connected, nothing running.
pub struct Plan {
    /// What is to run.
    pub draft: Draft,
    /// Queues of the workers, not yet taken.
    pub ways: Ways,
}

/// What is to run.
pub struct Draft {
    /// What the workers run.
    pub graph: Arc<Graph>,
    /// One for each queue of the graph, in its order.
    pub exporters: Vec<PlannedExporter>,
    /// Receivers with the routes of their signals.
    pub receivers: Vec<PlannedReceiver>,
    /// Where what still comes from receivers goes that run, and are not to run.
    pub stragglers: Vec<(String, BySignal)>,
}

/// An exporter of one signal with its queue.
pub struct PlannedExporter {
    /// Component id.
    pub id: ComponentId,
    /// Signal of its data.
    pub signal: Signal,
    /// What makes it another one.
    pub identity: Option<String>,
    /// In front of it.
    pub queue: Arc<ExportQueue>,
    /// What empties the queue; none: it runs already.
    pub dispatcher: Option<Dispatcher>,
}

impl Plan {
    /// Builds every replica once and throws it away: what `validate` does instead of running.
    pub fn build_replicas(&self) -> Result<(), StartError> {
        let graph = &self.draft.graph;
        for stage in graph.pipelines.iter().flat_map(|pipeline| &pipeline.stages) {
            (stage.build)(1)?;
        }
        for connector in &graph.connectors {
            (connector.build)(1)?;
        }
        Ok(())
    }
}

/// A receiver that is built and knows where its payloads go.
pub struct PlannedReceiver {
    /// Component id.
    pub id: String,
    /// What makes it another one: its configuration and its signals.
    pub identity: Option<String>,
    /// Pipelines that it feeds.
    pub feeds: Vec<String>,
    /// Labels of its data.
    pub transports: &'static [&'static str],
    /// The receiver; none: it runs already.
    pub receiver: Option<Box<dyn Receiver>>,
    /// Its ways.
    pub routes: BySignal,
    /// Where its requests are written down.
    pub journal: Option<Arc<Journal>>,
}

/// Builds the plan, or says which component cannot be built.
pub fn plan(blueprint: &Blueprint, site: &Site) -> Result<Plan, StartError> {
    let ways = Ways::new(site.workers);
    let draft = draft(blueprint, site, &ways.offload(), &Kept::default())?;
    Ok(Plan { draft, ways })
}

/// The same beside what runs; nothing of that is touched.
pub fn draft(
    blueprint: &Blueprint,
    site: &Site,
    offload: &Offload,
    kept: &Kept,
) -> Result<Draft, StartError> {
    let mut planner = Planner {
        blueprint,
        site,
        offload,
        kept,
        exporters: Vec::new(),
        queue_index: HashMap::new(),
        connectors: Vec::new(),
        connector_index: HashMap::new(),
    };
    let mut pipelines = Vec::with_capacity(blueprint.pipelines.len());
    for (index, pipeline) in blueprint.pipelines.iter().enumerate() {
        pipelines.push(planner.pipeline(index, pipeline)?);
    }
    let receivers = planner.receivers()?;
    let stragglers = planner.stragglers(&receivers);
    let Planner { exporters, connectors, .. } = planner;
    let downstream_order = downstream_order(&pipelines, &connectors);
    let queues = exporters.iter().map(|exporter| Arc::clone(&exporter.queue)).collect();
    let graph = Arc::new(Graph { pipelines, connectors, queues, downstream_order });
    Ok(Draft { graph, exporters, receivers, stragglers })
}

struct Planner<'a> {
    blueprint: &'a Blueprint,
    site: &'a Site,
    offload: &'a Offload,
    kept: &'a Kept,
    /// Their places are those of the queues in the graph.
    exporters: Vec<PlannedExporter>,
    queue_index: HashMap<(ComponentId, Signal), usize>,
    connectors: Vec<Connector>,
    connector_index: HashMap<(ComponentId, Signal), Vec<usize>>,
}

impl Planner<'_> {
    fn context(&self, id: &ComponentId, pipeline: &str, signal: Signal) -> BuildContext {
        BuildContext {
            id: id.clone(),
            pipeline: pipeline.to_owned(),
            signal,
            ends_in: Vec::new(),
            budget: self.site.budget.limit(),
            in_container: self.site.in_container,
            telemetry: Arc::clone(&self.site.telemetry),
            auth: None,
        }
    }

    fn pipeline(
        &mut self,
        index: usize,
        blueprint: &PipelineBlueprint,
    ) -> Result<Pipeline, StartError> {
        let mut stages = Vec::with_capacity(blueprint.processors.len());
        let mut before = entry_name(blueprint);
        for (position, id) in blueprint.processors.iter().enumerate() {
            let mut stage = self.stage(index, blueprint, id)?;
            let name = node_name(Kind::Processor, id);
            let telemetry = &self.site.telemetry;
            stage.edge = (position > 0).then(|| telemetry.edge(&blueprint.id, &before, &name));
            stages.push(stage);
            before = name;
        }
        let mut ends = Vec::with_capacity(blueprint.exporters.len());
        for id in &blueprint.exporters {
            ends.extend(self.ends(blueprint, id, &before)?);
        }
        Ok(Pipeline { id: blueprint.id.clone(), signal: blueprint.signal, stages, ends })
    }

    fn stage(
        &self,
        index: usize,
        pipeline: &PipelineBlueprint,
        id: &ComponentId,
    ) -> Result<Stage, StartError> {
        let config =
            self.blueprint.processors.get(id).ok_or_else(|| missing(Kind::Processor, id))?;
        let telemetry = &self.site.telemetry;
        let config = Arc::clone(config);
        let mut cx = self.context(id, &pipeline.id, pipeline.signal);
        self.exporters_of(pipeline, &mut cx.ends_in);
        let text = self.blueprint.texts.get(&(Kind::Processor, id.clone()));
        let identity = text.map(|text| format!("{id}\n{:?}\n{text}", cx.ends_in));
        Ok(Stage {
            identity,
            partition: config.partition(),
            owner: index % self.site.workers,
            stats: telemetry.processor(&id.to_string(), &pipeline.id, pipeline.signal),
            edge: None,
            build: Box::new(move |count| config.replicas(&cx, count)) as BuildReplicas,
        })
    }

    fn ends(
        &mut self,
        pipeline: &PipelineBlueprint,
        id: &ComponentId,
        before: &str,
    ) -> Result<Vec<End>, StartError> {
        let telemetry = Arc::clone(&self.site.telemetry);
        if self.blueprint.connectors.contains_key(id) {
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

    /// The queue of an exporter and signal: one, however many pipelines end in it.
    fn queue(&mut self, id: &ComponentId, signal: Signal) -> Result<usize, StartError> {
        if let Some(index) = self.queue_index.get(&(id.clone(), signal)) {
            return Ok(*index);
        }
        let config = self.blueprint.exporters.get(id).ok_or_else(|| missing(Kind::Exporter, id))?;
        let delivery = config.delivery();
        let (spool, is_guarded) = self.spool(id, signal, &delivery)?;
        let on_disk = spool.as_ref().map(|spool| (&spool.store.stats().storage, spool.spooling));
        let identity = self.exporter_identity(id, config.as_ref());
        let identity = identity.map(|text| format!("{text}\n{on_disk:?} {is_guarded}"));
        let key = (id.clone(), signal);
        let running = self
            .kept
            .exporters
            .get(&key)
            .filter(|(runs, _)| identity.is_some() && *runs == identity);
        if let Some((_, queue)) = running {
            let queue = Arc::clone(queue);
            return Ok(self.add_queue(PlannedExporter {
                id: id.clone(),
                signal,
                identity,
                queue,
                dispatcher: None,
            }));
        }
        let mut cx = self.context(id, "", signal);
        cx.auth = self.blueprint.auths.get(id).cloned();
        let exporter = config.build(&cx)?;
        let stats = self.site.telemetry.exporter(&id.to_string(), signal, &config.destination());
        let dead_letters = self.dead_letters(id, signal, &delivery, &stats)?;
        let around = Surroundings {
            stats,
            telemetry: Arc::clone(&self.site.telemetry),
            offload: self.offload.clone(),
            spool,
            dead_letters,
            is_guarded,
        };
        let share = queue_share(self.blueprint, self.site);
        let (queue, dispatcher) = ExportQueue::new(exporter, delivery, share, around);
        let dispatcher = Some(dispatcher);
        let id = id.clone();
        Ok(self.add_queue(PlannedExporter { id, signal, identity, queue, dispatcher }))
    }

    fn add_queue(&mut self, exporter: PlannedExporter) -> usize {
        let key = (exporter.id.clone(), exporter.signal);
        self.exporters.push(exporter);
        self.queue_index.insert(key, self.exporters.len() - 1);
        self.exporters.len() - 1
    }

    /// Instances of a connector for an input signal: one per output signal that is used.
    fn connector(&mut self, id: &ComponentId, input: Signal) -> Result<Vec<usize>, StartError> {
        if let Some(instances) = self.connector_index.get(&(id.clone(), input)) {
            return Ok(instances.clone());
        }
        let config =
            self.blueprint.connectors.get(id).ok_or_else(|| missing(Kind::Connector, id))?;
        let mut instances = Vec::new();
        if let Some(output) = config.output(input) {
            let mut targets = Vec::new();
            for (index, pipeline) in self.blueprint.pipelines.iter().enumerate() {
                if pipeline.signal == output && pipeline.receivers.contains(id) {
                    let from = node_name(Kind::Connector, id);
                    targets.push((index, self.edge_into(pipeline, &from)));
                }
            }
            let config = Arc::clone(config);
            let cx = self.context(id, "", input);
            let build: BuildReplicas =
                Box::new(move |count| (0..count).map(|_| config.build(&cx)).collect());
            let text = self.blueprint.texts.get(&(Kind::Connector, id.clone()));
            let identity = text.map(|text| format!("{id}\n{input}\n{text}"));
            self.connectors.push(Connector { id: id.to_string(), build, identity, targets });
            instances.push(self.connectors.len() - 1);
        }
        self.connector_index.insert((id.clone(), input), instances.clone());
        Ok(instances)
    }

    fn receivers(&self) -> Result<Vec<PlannedReceiver>, StartError> {
        let mut order: Vec<&ComponentId> = Vec::new();
        for pipeline in &self.blueprint.pipelines {
            for id in &pipeline.receivers {
                if self.blueprint.receivers.contains_key(id) && !order.contains(&id) {
                    order.push(id);
                }
            }
        }
        order.into_iter().map(|id| self.receiver(id)).collect()
    }

    fn receiver(&self, id: &ComponentId) -> Result<PlannedReceiver, StartError> {
        let config = self.blueprint.receivers.get(id).ok_or_else(|| missing(Kind::Receiver, id))?;
        let lists_it = |pipeline: &PipelineBlueprint| pipeline.receivers.contains(id);
        let transports = config.transports();
        let name = id.to_string();
        let journal = self.journal(id, &**config)?;
        let way = |signal| self.routes(&name, transports, signal, &lists_it, journal.as_ref());
        let routes = Signal::ALL.map(way);
        let fed = self.blueprint.pipelines.iter().filter(|pipeline| lists_it(pipeline));
        let feeds = fed.map(|pipeline| pipeline.id.clone()).collect();
        let signals: Vec<Signal> =
            Signal::ALL.into_iter().filter(|signal| routes[signal.index()].is_some()).collect();
        let text = self.blueprint.texts.get(&(Kind::Receiver, id.clone()));
        let files: Vec<_> = config.files().iter().map(|file| version(file)).collect();
        let identity = text.map(|text| format!("{signals:?}\n{files:?}\n{text}"));
        let runs = self.kept.receivers.get(&name);
        let is_kept = identity.is_some() && runs.is_some_and(|runs| runs.identity == identity);
        let receiver = if is_kept {
            None
        } else {
            let signal = signals.first().copied().unwrap_or(Signal::Traces);
            Some(config.build(&self.context(id, "", signal), &signals)?)
        };
        Ok(PlannedReceiver { id: name, identity, feeds, transports, receiver, routes, journal })
    }

    fn routes(
        &self,
        id: &str,
        transports: &[&'static str],
        signal: Signal,
        feeds: &dyn Fn(&PipelineBlueprint) -> bool,
        journal: Option<&Arc<Journal>>,
    ) -> Option<SignalRoutes> {
        let telemetry = &self.site.telemetry;
        let from = format!("{} {id}", Kind::Receiver.name());
        let mut pipelines = Vec::new();
        let mut wants_context = false;
        let mut refuses_above: Option<u64> = None;
        for (index, pipeline) in self.blueprint.pipelines.iter().enumerate() {
            if pipeline.signal == signal && feeds(pipeline) {
                pipelines.push((index, self.edge_into(pipeline, &from)));
                wants_context |= self.wants_context(pipeline);
                let ceiling = self.refuses_above(pipeline);
                refuses_above = [refuses_above, ceiling].into_iter().flatten().min();
            }
        }
        if pipelines.is_empty() {
            return None;
        }
        let by_transport = transports.iter().map(|transport| {
            let stats = telemetry.receiver(id, signal, transport);
            let journal = journal.cloned();
            (*transport, Arc::new(Route { pipelines: pipelines.clone(), stats, journal }))
        });
        let mut queues = Vec::new();
        for (pipeline, _) in &pipelines {
            self.ends_of(&self.blueprint.pipelines[*pipeline], &mut queues);
        }
        let queues =
            queues.into_iter().map(|queue| Arc::clone(&self.exporters[queue].queue)).collect();
        let by_transport = by_transport.collect();
        Some(SignalRoutes { by_transport, wants_context, refuses_above, queues })
    }

    /// Adds the queues that the data of a pipeline may end in. The document has no cycles.
    fn ends_of(&self, pipeline: &PipelineBlueprint, queues: &mut Vec<usize>) {
        for id in &pipeline.exporters {
            match self.queue_index.get(&(id.clone(), pipeline.signal)) {
                Some(queue) if !queues.contains(queue) => queues.push(*queue),
                Some(_) => {}
                None => {
                    let fed = self.blueprint.pipelines.iter();
                    for next in fed.filter(|next| next.receivers.contains(id)) {
                        self.ends_of(next, queues);
                    }
                }
            }
        }
    }

    /// Adds the types of the exporters that the data of a pipeline may end in.
    fn exporters_of(&self, pipeline: &PipelineBlueprint, types: &mut Vec<String>) {
        for id in &pipeline.exporters {
            if self.blueprint.exporters.contains_key(id) {
                types.push(id.kind_name.clone());
                continue;
            }
            for next in self.blueprint.pipelines.iter().filter(|next| next.receivers.contains(id)) {
                self.exporters_of(next, types);
            }
        }
    }

    /// Bytes in use above which the first processor of a pipeline refuses everything. With several
    /// pipelines the lowest counts: what one of them refuses the sender has to send again to all.
    fn refuses_above(&self, pipeline: &PipelineBlueprint) -> Option<u64> {
        let first = self.blueprint.processors.get(pipeline.processors.first()?)?;
        first.refuses_above(self.site.budget.limit())
    }

    /// The edge into the first processor of a pipeline.
    fn edge_into(&self, pipeline: &PipelineBlueprint, from: &str) -> Option<Arc<EdgeStats>> {
        let first = node_name(Kind::Processor, pipeline.processors.first()?);
        Some(self.site.telemetry.edge(&pipeline.id, from, &first))
    }

    /// Whether a processor of the pipeline, or of one that it feeds, asks for the context.
    fn wants_context(&self, pipeline: &PipelineBlueprint) -> bool {
        let processors = pipeline.processors.iter();
        let is_connected =
            pipeline.exporters.iter().any(|id| self.blueprint.connectors.contains_key(id));
        let asks = |id: &ComponentId| {
            self.blueprint.processors.get(id).is_some_and(|config| config.needs_context())
        };
        let batches_by_it = |id: &ComponentId| {
            let queue = self.blueprint.exporters.get(id).and_then(|config| config.delivery().queue);
            queue.and_then(|queue| queue.batch).is_some_and(|batch| !batch.metadata_keys.is_empty())
        };
        if pipeline.exporters.iter().any(batches_by_it) {
            return true;
        }
        processors.clone().any(asks) || (is_connected && self.blueprint.processors.keys().any(asks))
    }
}

/// Bytes that each exporter queue may hold.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a byte count needs no exactness"
)]
pub fn queue_share(blueprint: &Blueprint, site: &Site) -> u64 {
    let mut ends = std::collections::HashSet::new();
    for pipeline in &blueprint.pipelines {
        for id in &pipeline.exporters {
            ends.insert((id, pipeline.signal));
        }
    }
    (site.budget.limit() as f64 * QUEUES_SHARE / ends.len().max(1) as f64) as u64
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

/// What stands before the first processor; with several receivers, all of them together.
fn entry_name(pipeline: &PipelineBlueprint) -> String {
    let ids: Vec<String> = pipeline.receivers.iter().map(ToString::to_string).collect();
    format!("{} {}", Kind::Receiver.name(), ids.join("+"))
}

fn missing(kind: Kind, id: &ComponentId) -> StartError {
    StartError {
        component: format!("{} `{id}`", kind.name()),
        message: format!("a pipeline refers to it, but `{}` does not define it", kind.section()),
    }
}
