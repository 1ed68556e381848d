//! What a reload keeps: the running parts, and the identity by which it knows them.

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use super::{PipelineBlueprint, PlannedReceiver, Planner};
use crate::{
    component::{ComponentId, ExporterConfig, Kind, ReceiverConfig},
    engine::{
        export::queue::ExportQueue,
        intake::{journal::Journal, route::BySignal},
    },
    otlp::Signal,
};

/// The running parts that a plan may keep.
#[derive(Default)]
pub struct Kept {
    /// The identity and the queue of each exporter.
    pub exporters: HashMap<(ComponentId, Signal), (Option<String>, Arc<ExportQueue>)>,
    /// Receivers by id.
    pub receivers: HashMap<String, KeptReceiver>,
}

/// A receiver that runs.
pub struct KeptReceiver {
    /// Identity for a reload; `None` counts as changed.
    pub identity: Option<String>,
    /// Pipelines that it feeds.
    pub feeds: Vec<String>,
    /// Where its requests are written before they are answered.
    pub journal: Option<Arc<Journal>>,
}

impl Planner<'_> {
    /// The configuration of the exporter and that of its authenticator.
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

    /// The configuration of the receiver and those of its authenticators.
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
        let is_wanted = |((kind, id), _): &(&(Kind, ComponentId), &String)| {
            *kind == Kind::Extension && id.to_string() == wanted.trim()
        };
        texts.find(is_wanted).map(|(_, text)| &**text)
    }

    /// Routes from receivers that are to be removed into those of their pipelines that are left, so
    /// that requests that they have begun to read are not lost.
    pub(super) fn last_routes(&self, receivers: &[PlannedReceiver]) -> Vec<(String, BySignal)> {
        let gone = self.kept.receivers.iter();
        let gone = gone.filter(|(id, _)| receivers.iter().all(|planned| planned.id != **id));
        gone.map(|(id, runs)| {
            let feeds = |pipeline: &PipelineBlueprint| runs.feeds.contains(&pipeline.id);
            let journal = runs.journal.as_ref();
            let route = |signal| self.route(id, signal, &feeds, journal);
            (id.clone(), Signal::ALL.map(route))
        })
        .collect()
    }
}

/// When a file was written last, and how long it is.
pub(super) fn version(file: &str) -> Option<(SystemTime, u64)> {
    let about = std::fs::metadata(file).ok()?;
    Some((about.modified().ok()?, about.len()))
}
