//! Exporters and the queues before them.

use std::sync::Arc;

use super::{Planner, missing};
use crate::{
    component::{ComponentId, Kind, StartError},
    engine::{
        export::{
            dispatcher::Dispatcher,
            queue::{Deps, ExportQueue, Monthly},
            workspace,
        },
        identity::Identity,
    },
    otlp::Signal,
};

/// Part of the byte budget that all exporter queues may hold together; the rest is for incoming
/// requests and for batches that are being filled.
const QUEUES_SHARE: f64 = 0.8;

/// An exporter of one signal with its queue.
pub struct PlannedExporter {
    /// Component id.
    pub id: ComponentId,
    /// Signal of its data.
    pub signal: Signal,
    /// A reload keeps an exporter that has the same identity.
    pub identity: Identity,
    /// The queue in front of it.
    pub queue: Arc<ExportQueue>,
    /// Empties the queue; `None` if it runs already.
    pub dispatcher: Option<Dispatcher>,
    /// The monthly budget; its settings apply once the exporter runs.
    pub monthly: Option<Monthly>,
}

impl Planner<'_> {
    /// The queue of an exporter and signal: one, however many pipelines end in it.
    pub(super) fn queue(&mut self, id: &ComponentId, signal: Signal) -> Result<usize, StartError> {
        if let Some(index) = self.queue_index.get(&(id.clone(), signal)) {
            return Ok(*index);
        }
        let exporter =
            self.document.exporters.get(id).ok_or_else(|| missing(Kind::Exporter, id))?;
        let config = &exporter.config;
        let delivery = config.delivery();
        let (spool, is_guarded) = self.spool(id, signal, &delivery)?;
        let on_disk =
            spool.as_ref().map(|spool| (spool.store.stats().storage.clone(), spool.spooling));
        let identity = self.exporter_identity(config, (on_disk, is_guarded));
        let running = self.kept.exporters.get(&(id.clone(), signal));
        if let Some((_, queue)) = running.filter(|(runs, _)| *runs == identity) {
            let queue = Arc::clone(queue);
            return Ok(self.add_queue(PlannedExporter {
                id: id.clone(),
                signal,
                identity,
                queue,
                dispatcher: None,
                monthly: None,
            }));
        }
        let mut cx = self.context(id, "", signal);
        cx.auth = self.document.auths.get(id).cloned();
        let monthly = self.monthly(id, config.budget())?;
        cx.monthly = monthly.as_ref().map(|one| Arc::clone(one.allowance.budget()));
        let exporter = config.build(&cx)?;
        let stats = self.site.telemetry.exporter(&id.to_string(), signal, &config.destination());
        let keeps_left_out = monthly.as_ref().is_some_and(|one| one.budget.keeps_left_out);
        let dead_letters = self.dead_letters(id, signal, &delivery, &stats, keeps_left_out)?;
        let deps = Deps {
            stats,
            telemetry: Arc::clone(&self.site.telemetry),
            offload: self.offload.clone(),
            spool,
            dead_letters,
            is_guarded,
            monthly: monthly.clone(),
        };
        // Its share is known once all exporters are planned, see `Shares`.
        let (queue, dispatcher) = Dispatcher::new(exporter, delivery, 0, deps);
        let dispatcher = Some(dispatcher);
        let id = id.clone();
        Ok(self.add_queue(PlannedExporter { id, signal, identity, queue, dispatcher, monthly }))
    }

    fn add_queue(&mut self, exporter: PlannedExporter) -> usize {
        let key = (exporter.id.clone(), exporter.signal);
        self.exporters.push(exporter);
        self.queue_index.insert(key, self.exporters.len() - 1);
        self.exporters.len() - 1
    }
}

/// How exporters and their queues share the byte budget.
#[derive(Debug, Clone, Copy)]
pub struct Shares {
    /// Bytes that each queue may hold.
    queue: u64,
    /// Bytes of the workspace of each exporter that needs one.
    workspace: u64,
    /// Bytes of all workspaces, which payloads cannot use.
    pub aside: u64,
}

impl Shares {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a byte count needs no exactness"
    )]
    pub(super) fn among(exporters: &[PlannedExporter], whole: u64) -> Self {
        let encoders =
            exporters.iter().filter(|one| one.queue.workspace().is_some()).count() as u64;
        let workspace = workspace::size(whole, encoders);
        let aside = workspace * encoders;
        let queues = exporters.len().max(1) as f64;
        let queue = (whole.saturating_sub(aside) as f64 * QUEUES_SHARE / queues) as u64;
        Shares { queue, workspace, aside }
    }

    /// Gives an exporter its shares.
    pub fn give(&self, exporter: &PlannedExporter) {
        exporter.queue.set_share(self.queue);
        if let Some(workspace) = exporter.queue.workspace() {
            workspace.resize(self.workspace);
        }
    }
}
