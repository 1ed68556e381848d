//! Exporters and the queues before them.

use std::sync::Arc;

use super::{Blueprint, Planner, Site, missing};
use crate::{
    component::{ComponentId, Kind, StartError},
    engine::queue::{Dispatcher, ExportQueue, Surroundings},
    otlp::Signal,
};

/// Share of the byte budget that all exporter queues may hold together; the rest is for requests
/// on their way in and for batches in the making.
const QUEUES_SHARE: f64 = 0.8;

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

impl Planner<'_> {
    /// The queue of an exporter and signal: one, however many pipelines end in it.
    pub(super) fn queue(&mut self, id: &ComponentId, signal: Signal) -> Result<usize, StartError> {
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
