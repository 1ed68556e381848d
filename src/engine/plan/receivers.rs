//! Receivers and the routes from them into pipelines.

use std::sync::Arc;

use super::{Planner, missing};
use crate::{
    component::{ComponentId, Kind, Receiver, StartError},
    document,
    engine::{
        identity::Identity,
        intake::{
            journal::Journal,
            route::{BySignal, Route},
        },
    },
    otlp::Signal,
};

/// A receiver that is built and knows where its payloads go.
pub struct PlannedReceiver {
    /// Component id.
    pub id: String,
    /// A reload keeps a receiver that has the same identity.
    pub identity: Identity,
    /// Pipelines that it feeds.
    pub feeds: Vec<String>,
    /// The receiver; `None` if it runs already.
    pub receiver: Option<Box<dyn Receiver>>,
    /// Its routes.
    pub routes: BySignal,
    /// Where its requests are written before they are answered.
    pub journal: Option<Arc<Journal>>,
}

impl Planner<'_> {
    pub(super) fn receivers(&self) -> Result<Vec<PlannedReceiver>, StartError> {
        let mut order: Vec<&ComponentId> = Vec::new();
        for pipeline in &self.document.pipelines {
            for id in &pipeline.receivers {
                if self.document.receivers.contains_key(id) && !order.contains(&id) {
                    order.push(id);
                }
            }
        }
        order.into_iter().map(|id| self.receiver(id)).collect()
    }

    fn receiver(&self, id: &ComponentId) -> Result<PlannedReceiver, StartError> {
        let receiver =
            self.document.receivers.get(id).ok_or_else(|| missing(Kind::Receiver, id))?;
        let config = &receiver.config;
        let lists_it = |pipeline: &document::Pipeline| pipeline.receivers.contains(id);
        let name = id.to_string();
        let journal = self.journal(id, &**config)?;
        let routes =
            Signal::ALL.map(|signal| self.route(&name, signal, &lists_it, journal.as_ref()));
        let fed = self.document.pipelines.iter().filter(|pipeline| lists_it(pipeline));
        let feeds = fed.map(|pipeline| pipeline.id.clone()).collect();
        let signals: Vec<Signal> =
            Signal::ALL.into_iter().filter(|signal| routes[signal.index()].is_some()).collect();
        let identity = self.receiver_identity(config, &signals);
        let runs = self.kept.receivers.get(&name);
        let is_kept = runs.is_some_and(|runs| runs.identity.as_ref() == Some(&identity));
        let receiver = if is_kept {
            None
        } else {
            let signal = signals.first().copied().unwrap_or(Signal::Traces);
            Some(config.build(&self.context(id, "", signal), &signals)?)
        };
        Ok(PlannedReceiver { id: name, identity, feeds, receiver, routes, journal })
    }

    /// The route from a receiver into the pipelines of a signal that it `feeds`.
    pub(super) fn route(
        &self,
        id: &str,
        signal: Signal,
        feeds: &dyn Fn(&document::Pipeline) -> bool,
        journal: Option<&Arc<Journal>>,
    ) -> Option<Arc<Route>> {
        let from = format!("{} {id}", Kind::Receiver.name());
        let mut pipelines = Vec::new();
        let mut wants_context = false;
        let mut refuses_above: Option<u64> = None;
        for (index, pipeline) in self.document.pipelines.iter().enumerate() {
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
        let mut queues = Vec::new();
        for (pipeline, _) in &pipelines {
            self.ends_of(&self.document.pipelines[*pipeline], &mut queues);
        }
        let queues = queues.into_iter().map(|queue| Arc::clone(&self.exporters[queue].queue));
        Some(Arc::new(Route {
            pipelines,
            journal: journal.cloned(),
            wants_context,
            refuses_above,
            queues: queues.collect(),
            ..Route::default()
        }))
    }

    /// Adds the queues that the data of a pipeline may end in. The document has no cycles.
    fn ends_of(&self, pipeline: &document::Pipeline, queues: &mut Vec<usize>) {
        for id in &pipeline.exporters {
            match self.queue_index.get(&(id.clone(), pipeline.signal)) {
                Some(queue) if !queues.contains(queue) => queues.push(*queue),
                Some(_) => {}
                None => {
                    let fed = self.document.pipelines.iter();
                    for next in fed.filter(|next| next.receivers.contains(id)) {
                        self.ends_of(next, queues);
                    }
                }
            }
        }
    }

    /// Bytes in use above which the first processor of a pipeline refuses every request. With
    /// several pipelines the lowest limit counts: if one refuses, the sender has to send again to
    /// all.
    fn refuses_above(&self, pipeline: &document::Pipeline) -> Option<u64> {
        let first = self.document.processors.get(pipeline.processors.first()?)?;
        first.config.needs().memory?.refuses_above(self.site.budget.limit())
    }

    /// Whether a processor of the pipeline, or of one that it feeds, reads the request's context.
    fn wants_context(&self, pipeline: &document::Pipeline) -> bool {
        let processors = pipeline.processors.iter();
        let is_connected =
            pipeline.exporters.iter().any(|id| self.document.connectors.contains_key(id));
        let asks = |id: &ComponentId| {
            let processor = self.document.processors.get(id);
            processor.is_some_and(|processor| processor.config.needs().context)
        };
        let connector_asks = |id: &ComponentId| {
            let connector = self.document.connectors.get(id);
            connector.is_some_and(|connector| connector.config.needs().context)
        };
        let batches_by_it = |id: &ComponentId| {
            let exporter = self.document.exporters.get(id);
            let queue = exporter.and_then(|exporter| exporter.config.delivery().queue);
            queue.and_then(|queue| queue.batch).is_some_and(|batch| !batch.metadata_keys.is_empty())
        };
        if pipeline.exporters.iter().any(batches_by_it) {
            return true;
        }
        let asked_behind = || {
            self.document.processors.keys().any(asks)
                || self.document.connectors.keys().any(connector_asks)
        };
        processors.clone().any(asks) || (is_connected && asked_behind())
    }
}
