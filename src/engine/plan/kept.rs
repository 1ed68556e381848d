//! What a reload keeps: the running parts, and the identity by which it knows them.

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use super::{PlannedReceiver, Planner};
use crate::{
    component::{ComponentId, ExporterConfig, ReceiverConfig, Same},
    document,
    engine::{
        export::queue::ExportQueue,
        identity::Identity,
        intake::{journal::Journal, route::BySignal},
    },
    otlp::Signal,
};

/// The running parts that a plan may keep.
#[derive(Default)]
pub struct Kept {
    /// The identity and the queue of each exporter.
    pub exporters: HashMap<(ComponentId, Signal), (Identity, Arc<ExportQueue>)>,
    /// Receivers by id.
    pub receivers: HashMap<String, KeptReceiver>,
}

/// A receiver that runs.
pub struct KeptReceiver {
    /// `None` if it has ended by itself, so that it is started again.
    pub identity: Option<Identity>,
    /// Pipelines that it feeds.
    pub feeds: Vec<String>,
    /// Where its requests are written before they are answered.
    pub journal: Option<Arc<Journal>>,
}

impl Planner<'_> {
    /// The identity of an exporter: its configuration, where its queue is on disk, and the
    /// configuration of its authenticator.
    pub(super) fn exporter_identity(
        &self,
        config: &Arc<dyn ExporterConfig>,
        on_disk: impl Same,
    ) -> Identity {
        let identity = Identity::of(on_disk).and(Arc::clone(config) as _);
        self.with_authenticators(identity, config.auth().map(|auth| auth.authenticator))
    }

    /// The identity of a receiver: its configuration, its signals, the versions of its files, and
    /// the configurations of its authenticators.
    pub(super) fn receiver_identity(
        &self,
        config: &Arc<dyn ReceiverConfig>,
        signals: &[Signal],
    ) -> Identity {
        let files: Vec<_> = config.files().iter().map(|file| version(file)).collect();
        let identity = Identity::of((signals.to_vec(), files)).and(Arc::clone(config) as _);
        self.with_authenticators(identity, config.auths().into_iter().map(|(_, wanted)| wanted))
    }

    fn with_authenticators(
        &self,
        identity: Identity,
        wanted: impl IntoIterator<Item = String>,
    ) -> Identity {
        let extensions = wanted.into_iter().filter_map(|wanted| self.document.extension(&wanted));
        extensions.fold(identity, |identity, extension| {
            identity.and(Arc::clone(&extension.config) as Arc<dyn Same>)
        })
    }

    /// Routes from receivers that are to be removed into those of their pipelines that are left, so
    /// that requests that they have begun to read are not lost.
    pub(super) fn last_routes(&self, receivers: &[PlannedReceiver]) -> Vec<(String, BySignal)> {
        let gone = self.kept.receivers.iter();
        let gone = gone.filter(|(id, _)| receivers.iter().all(|planned| planned.id != **id));
        gone.map(|(id, runs)| {
            let feeds = |pipeline: &document::Pipeline| runs.feeds.contains(&pipeline.id);
            let journal = runs.journal.as_ref();
            let route = |signal| self.route(id, signal, &feeds, journal);
            (id.clone(), Signal::ALL.map(route))
        })
        .collect()
    }
}

/// When a file was written last, and how long it is.
fn version(file: &str) -> Option<(SystemTime, u64)> {
    let about = std::fs::metadata(file).ok()?;
    Some((about.modified().ok()?, about.len()))
}
