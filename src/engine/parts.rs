//! The running parts: receivers, services and exporters, each with the handle that stops it, so
//! that a reload can remove one while the others run on.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    sync::watch,
    task::{AbortHandle, JoinHandle},
};

use crate::{
    component::{ComponentId, Extension, Stop},
    engine::{
        export::queue::ExportQueue,
        identity::Identity,
        intake::{
            inlet::{InletDeps, ReceiverInlet},
            journal::Journal,
            replay,
            route::Routes,
        },
    },
    net::server::Held,
    otlp::Signal,
    telemetry::{ExporterStats, Telemetry},
};

use super::{
    panics::Panics,
    plan::{PlannedExporter, PlannedReceiver},
};

/// How long senders may take to finish their requests after a reload has stopped their receiver.
const PATIENCE: Duration = Duration::from_mins(1);

/// A service beside the pipelines: an extension, the metrics page, the control plane.
pub struct Service {
    /// `health_check`.
    pub id: String,
    /// `extension health_check`.
    pub label: String,
    /// Identity for a reload; `None` counts as changed.
    pub identity: Option<Identity>,
    /// The service itself.
    pub extension: Box<dyn Extension>,
}

/// How logs and the control plane name a receiver.
pub(super) fn receiver_label(id: &str) -> String {
    format!("receiver {id}")
}

/// The task of a part that listens, until it is told to stop.
pub(super) struct Serving {
    stop: watch::Sender<bool>,
    /// They stay open as long as these handles exist or the task runs.
    pub(super) sockets: Vec<Arc<Held>>,
    task: JoinHandle<()>,
}

impl Serving {
    /// Whether it has ended by itself, because its port was taken or because it has panicked.
    pub(super) fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Closes its sockets, unless another part shares them, and tells it to finish.
    fn leave(self) -> Leaving {
        let successors = self.sockets.iter().map(|held| held.successor()).collect();
        drop(self.sockets);
        let _ = self.stop.send(true);
        let abort = self.task.abort_handle();
        Leaving { successors, abort, task: self.task }
    }
}

/// A part that was told to stop.
pub(super) struct Leaving {
    successors: Vec<Arc<watch::Sender<bool>>>,
    abort: AbortHandle,
    task: JoinHandle<()>,
}

impl Leaving {
    /// Makes it end as fast as if it had no successor.
    pub(super) fn hurry(&self) {
        for successor in &self.successors {
            successor.send_replace(false);
        }
    }

    /// Waits until it has ended.
    pub(super) async fn ended(&mut self) {
        if !self.task.is_finished() {
            let _ = (&mut self.task).await;
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    pub(super) fn abort(&self) {
        self.abort.abort();
    }

    /// Gives it a limited time to end, and forgets its counters then.
    pub(super) fn watched(self, label: String, telemetry: Arc<Telemetry>) -> Self {
        let Leaving { successors, abort, mut task } = self;
        let last = abort.clone();
        let watch = async move {
            if tokio::time::timeout(PATIENCE, &mut task).await.is_err() {
                tracing::warn!(part = label, "some senders did not finish their requests in time");
                last.abort();
                let _ = task.await;
            }
            telemetry.forget_unused();
        };
        Leaving { successors, abort, task: tokio::spawn(watch) }
    }
}

/// A receiver that runs.
pub(super) struct RunningReceiver {
    pub(super) id: String,
    pub(super) identity: Identity,
    pub(super) feeds: Vec<String>,
    pub(super) journal: Option<Arc<Journal>>,
    pub(super) routes: Arc<Routes>,
    pub(super) serving: Serving,
}

impl RunningReceiver {
    /// Starts a receiver whose sockets are open; `None` if it runs already.
    pub(super) fn start(
        planned: PlannedReceiver,
        sockets: Vec<Arc<Held>>,
        routes: Arc<Routes>,
        deps: &InletDeps,
    ) -> Option<Self> {
        let PlannedReceiver { id, identity, feeds, receiver, journal, .. } = planned;
        let receiver = receiver?;
        let (stop, stopped) = Stop::pair();
        let inlet = Arc::new(ReceiverInlet::new(deps.clone(), Arc::clone(&routes)));
        let replay = journal
            .clone()
            .map(|journal| replay::replay(journal, Arc::clone(&inlet), stopped.clone()));
        let running = receiver.run(inlet, stopped);
        let alarm = deps.pool.panics().alarm(receiver_label(&id));
        let task = tokio::spawn(async move {
            let _alarm = alarm;
            let replay = async move {
                if let Some(replay) = replay {
                    replay.await;
                }
            };
            tokio::join!(running, replay);
        });
        let serving = Serving { stop, sockets, task };
        Some(RunningReceiver { id, identity, feeds, journal, routes, serving })
    }

    /// Tells it to stop.
    pub(super) fn leave(self) -> Leaving {
        self.serving.leave()
    }
}

/// A service that runs.
pub(super) struct RunningService {
    pub(super) label: String,
    pub(super) identity: Option<Identity>,
    pub(super) serving: Serving,
}

impl RunningService {
    /// Whether this is the same service as a planned one, and still runs.
    pub(super) fn is_same_as(&self, new: &Service) -> bool {
        let has_same_identity = self.identity.is_some() && self.identity == new.identity;
        self.label == new.label && has_same_identity && !self.serving.has_ended()
    }

    pub(super) fn start(service: Service, sockets: Vec<Arc<Held>>) -> Self {
        let Service { label, identity, extension, .. } = service;
        let (stop, stopped) = Stop::pair();
        let task = tokio::spawn(extension.run(stopped));
        RunningService { label, identity, serving: Serving { stop, sockets, task } }
    }

    pub(super) fn leave(self) -> Leaving {
        self.serving.leave()
    }
}

/// An exporter of one signal that runs.
pub(super) struct RunningExporter {
    pub(super) id: ComponentId,
    pub(super) signal: Signal,
    pub(super) identity: Identity,
    pub(super) queue: Arc<ExportQueue>,
    abandon: Arc<watch::Sender<bool>>,
    task: JoinHandle<u64>,
}

impl RunningExporter {
    /// Starts an exporter that has a dispatcher; `None` if it runs already.
    pub(super) fn start(planned: PlannedExporter, panics: &Panics) -> Option<Self> {
        let PlannedExporter { id, signal, identity, queue, dispatcher, .. } = planned;
        let (abandon, abandoned) = watch::channel(false);
        let running = dispatcher?.run(abandoned);
        let name = id.to_string();
        let alarm = panics.alarm(format!("exporter {id}"));
        let task = tokio::spawn(async move {
            let lost = running.await;
            drop(alarm);
            if lost > 0 {
                tracing::error!(
                    exporter = name,
                    %signal,
                    lost_items = lost,
                    "not everything was delivered"
                );
            }
            lost
        });
        let abandon = Arc::new(abandon);
        Some(RunningExporter { id, signal, identity, queue, abandon, task })
    }

    /// Closes its queue for new data.
    pub(super) fn close(self) -> Departing {
        self.queue.close();
        Departing { abandon: self.abandon, task: self.task }
    }

    /// Closes its queue at a reload. Data that is not delivered within the timeout is given up.
    pub(super) fn depart(self, timeout: Duration, telemetry: Arc<Telemetry>) -> Departing {
        let stats = Arc::downgrade(self.queue.stats());
        let Departing { abandon, mut task } = self.close();
        let raise = Arc::clone(&abandon);
        let watch = async move {
            let lost = if let Ok(ended) = tokio::time::timeout(timeout, &mut task).await {
                ended
            } else {
                raise.send_replace(true);
                task.await
            };
            // Not awaited, because the end of the process need not wait for it.
            tokio::spawn(forget(stats, telemetry));
            lost.unwrap_or(0)
        };
        Departing { abandon, task: tokio::spawn(watch) }
    }
}

/// Forgets the counters of an exporter that has ended. Requests with a route from before hold them
/// for a moment longer.
async fn forget(stats: Weak<ExporterStats>, telemetry: Arc<Telemetry>) {
    loop {
        telemetry.forget_unused();
        if stats.strong_count() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// An exporter whose queue is closed.
pub(super) struct Departing {
    /// Raised when the remaining data is to be given up.
    pub(super) abandon: Arc<watch::Sender<bool>>,
    /// Returns how many items were given up.
    pub(super) task: JoinHandle<u64>,
}
