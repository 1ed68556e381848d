//! Which queues and receivers have a log on disk.

use std::{collections::HashSet, sync::Arc};

use super::Planner;
use crate::{
    component::{BudgetUse, ComponentId, Delivery, Kind, ReceiverConfig, StartError, Storage},
    engine::{
        disk::{
            storages::{Owner, ledger_of, letters_part},
            stored::Store,
        },
        export::{
            dead_letters::{DeadLetters, Kept},
            queue::Monthly,
            spool::{Spool, Spooling},
        },
        intake::journal::Journal,
    },
    otlp::Signal,
    telemetry::ExporterStats,
};

impl Planner<'_> {
    /// The spool of a queue, and whether all data that reaches the queue is on disk somewhere.
    pub(super) fn spool(
        &self,
        id: &ComponentId,
        signal: Signal,
        delivery: &Delivery,
    ) -> Result<(Option<Spool>, bool), StartError> {
        let mut senders = HashSet::new();
        self.receivers_of(id, signal, &mut senders);
        let journals: Vec<String> = senders.iter().filter_map(|id| self.journal_of(id)).collect();
        let is_journaled = !senders.is_empty() && journals.len() == senders.len();
        let Some(queue) = &delivery.queue else { return Ok((None, is_journaled)) };
        let (name, spools_all) = match (&queue.storage, journals.iter().min()) {
            (Some(name), _) => (name, true),
            (None, Some(name)) => (name, false),
            (None, None) => return Ok((None, false)),
        };
        let owner = Owner { kind: Kind::Exporter, id, signal: Some(signal), part: signal.name() };
        let Some(store) = self.store(name, owner)? else { return Ok((None, true)) };
        let fsync = self.document.storages.get(name).is_some_and(|storage| storage.fsync);
        let spooling = if spools_all { Spooling::All { fsync } } else { Spooling::Overflow };
        let spool = Spool { store, spooling, budget: Arc::clone(&self.site.budget) };
        Ok((Some(spool), spools_all || is_journaled))
    }

    /// Where an exporter keeps data that its backend refuses for good; `None` if this is not
    /// configured, or in a dry run.
    pub(super) fn dead_letters(
        &self,
        id: &ComponentId,
        signal: Signal,
        delivery: &Delivery,
        stats: &Arc<ExporterStats>,
        keeps_left_out: bool,
    ) -> Result<Option<Arc<DeadLetters>>, StartError> {
        let Some(queue) = &delivery.queue else { return Ok(None) };
        let Some(name) = &queue.dead_letters else { return Ok(None) };
        let part = letters_part(signal);
        let owner = Owner { kind: Kind::Exporter, id, signal: Some(signal), part: &part };
        let Some(store) = self.store(name, owner)? else { return Ok(None) };
        let letterboxes = &self.site.storages.letterboxes;
        let letterbox = letterboxes.open(&id.to_string(), signal, store.log());
        let (budget, stats) = (Arc::clone(&self.site.budget), Arc::clone(stats));
        let kept = Kept { senders_wait: queue.wait_for_result, keeps_left_out };
        Ok(Some(DeadLetters::new(store, letterbox, budget, stats, kept)))
    }

    /// The monthly budget of an exporter: one for all of its signals.
    pub(super) fn monthly(
        &self,
        id: &ComponentId,
        budget: Option<BudgetUse>,
    ) -> Result<Option<Monthly>, StartError> {
        let Some(budget) = budget else { return Ok(None) };
        let owner = ledger_of(id);
        let folder = match &budget.storage {
            Some(name) => {
                let settings = self.storage(name)?;
                self.site.storages.folder(name, settings, owner)?
            }
            None => None,
        };
        let (budgets, telemetry) = (&self.site.budgets, &self.site.telemetry);
        let allowance = budgets.of(&id.to_string(), &budget.settings, folder, telemetry)?;
        Ok(Some(Monthly { allowance, budget }))
    }

    /// The journal of a receiver.
    pub(super) fn journal(
        &self,
        id: &ComponentId,
        config: &dyn ReceiverConfig,
    ) -> Result<Option<Arc<Journal>>, StartError> {
        let Some(asked) = config.journal() else { return Ok(None) };
        let owner = Owner { kind: Kind::Receiver, id, signal: None, part: "journal" };
        let store = self.store(&asked.storage, owner)?;
        Ok(store.map(|store| Journal::new(store, asked.fsync)))
    }

    /// The log of an owner; `None` in a dry run.
    fn store(&self, name: &str, owner: Owner<'_>) -> Result<Option<Arc<Store>>, StartError> {
        let settings = self.storage(name)?;
        self.site.storages.store(name, settings, owner, self.offload.panics())
    }

    fn storage(&self, name: &str) -> Result<&Storage, StartError> {
        self.document.storages.get(name).ok_or_else(|| StartError {
            component: format!("extension `{name}`"),
            message: "a queue, a journal or a budget refers to it, but it is no storage".to_owned(),
        })
    }

    fn journal_of(&self, id: &ComponentId) -> Option<String> {
        let journal = self.document.receivers.get(id)?.config.journal()?;
        Some(journal.storage)
    }

    /// Adds the receivers whose data may reach an exporter or connector. The document has no
    /// cycles.
    fn receivers_of(&self, id: &ComponentId, signal: Signal, found: &mut HashSet<ComponentId>) {
        let pipelines = self.document.pipelines.iter();
        for pipeline in pipelines.filter(|p| p.signal == signal && p.exporters.contains(id)) {
            for sender in &pipeline.receivers {
                if self.document.receivers.contains_key(sender) {
                    found.insert(sender.clone());
                } else if let Some(connector) = self.document.connectors.get(sender) {
                    for input in Signal::ALL {
                        if connector.config.outputs(input).contains(&signal) {
                            self.receivers_of(sender, input, found);
                        }
                    }
                }
            }
        }
    }
}
