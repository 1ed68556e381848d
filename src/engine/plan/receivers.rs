//! Receivers and the ways from them into pipelines.

use std::sync::Arc;

use super::{PipelineBlueprint, Planner, kept::version, missing};
use crate::{
    component::{ComponentId, Kind, Receiver, StartError},
    engine::intake::{
        journal::Journal,
        routes::{BySignal, Route, SignalRoutes},
    },
    otlp::Signal,
};

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
    /// The receiver; `None` if it runs already.
    pub receiver: Option<Box<dyn Receiver>>,
    /// Its ways.
    pub routes: BySignal,
    /// Where its requests are written down.
    pub journal: Option<Arc<Journal>>,
}

impl Planner<'_> {
    pub(super) fn receivers(&self) -> Result<Vec<PlannedReceiver>, StartError> {
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
        let text = self.receiver_text(id, &**config);
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

    pub(super) fn routes(
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

    /// Bytes in use above which the first processor of a pipeline refuses everything. With several
    /// pipelines the lowest counts: what one of them refuses the sender has to send again to all.
    fn refuses_above(&self, pipeline: &PipelineBlueprint) -> Option<u64> {
        let first = self.blueprint.processors.get(pipeline.processors.first()?)?;
        first.needs().memory?.refuses_above(self.site.budget.limit())
    }

    /// Whether a processor of the pipeline, or of one that it feeds, asks for the context.
    fn wants_context(&self, pipeline: &PipelineBlueprint) -> bool {
        let processors = pipeline.processors.iter();
        let is_connected =
            pipeline.exporters.iter().any(|id| self.blueprint.connectors.contains_key(id));
        let asks = |id: &ComponentId| {
            self.blueprint.processors.get(id).is_some_and(|config| config.needs().context)
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
