//! What a reload keeps: what runs already, and by what it is told to be the same.

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use super::{PipelineBlueprint, PlannedReceiver, Planner};
use crate::{
    component::{ComponentId, ExporterConfig, Kind, ReceiverConfig},
    engine::{
        export::queue::ExportQueue,
        intake::{journal::Journal, routes::BySignal},
    },
    otlp::Signal,
};

/// What runs, for a plan that keeps what is the same.
#[derive(Default)]
pub struct Kept {
    /// Queues with the identity of their exporters.
    pub exporters: HashMap<(ComponentId, Signal), (Option<String>, Arc<ExportQueue>)>,
    /// Receivers by id.
    pub receivers: HashMap<String, KeptReceiver>,
}

/// A receiver that runs.
pub struct KeptReceiver {
    /// What makes it another one.
    pub identity: Option<String>,
    /// Pipelines that it feeds.
    pub feeds: Vec<String>,
    /// Labels of its data.
    pub transports: &'static [&'static str],
    /// Where its requests are written down.
    pub journal: Option<Arc<Journal>>,
}

impl Planner<'_> {
    /// Its own configuration and that of its authenticator.
    pub(super) fn exporter_identity(
        &self,
        id: &ComponentId,
        config: &dyn ExporterConfig,
    ) -> Option<String> {
        let mut identity = self.blueprint.texts.get(&(Kind::Exporter, id.clone()))?.clone();
        if let Some(auth) = config.auth() {
            identity.push_str(self.extension_text(&auth.authenticator)?);
        }
        Some(identity)
    }

    /// Its own configuration and that of its authenticators.
    pub(super) fn receiver_text(
        &self,
        id: &ComponentId,
        config: &dyn ReceiverConfig,
    ) -> Option<String> {
        let mut text = self.blueprint.texts.get(&(Kind::Receiver, id.clone()))?.clone();
        for (_, authenticator) in config.auths() {
            text.push_str(self.extension_text(&authenticator)?);
        }
        Some(text)
    }

    fn extension_text(&self, wanted: &str) -> Option<&str> {
        let mut texts = self.blueprint.texts.iter();
        let is_it = |((kind, id), _): &(&(Kind, ComponentId), &String)| {
            *kind == Kind::Extension && id.to_string() == wanted.trim()
        };
        texts.find(is_it).map(|(_, text)| &**text)
    }

    /// The ways of receivers that are not to run any more into the pipelines that are left: what
    /// they have begun to read is not lost.
    pub(super) fn stragglers(&self, receivers: &[PlannedReceiver]) -> Vec<(String, BySignal)> {
        let gone = self.kept.receivers.iter();
        let gone = gone.filter(|(id, _)| receivers.iter().all(|planned| planned.id != **id));
        gone.map(|(id, runs)| {
            let feeds = |pipeline: &PipelineBlueprint| runs.feeds.contains(&pipeline.id);
            let journal = runs.journal.as_ref();
            let routes = |signal| self.routes(id, runs.transports, signal, &feeds, journal);
            (id.clone(), Signal::ALL.map(routes))
        })
        .collect()
    }
}

/// When a file was written last, and how long it is.
pub(super) fn version(file: &str) -> Option<(SystemTime, u64)> {
    let about = std::fs::metadata(file).ok()?;
    Some((about.modified().ok()?, about.len()))
}
