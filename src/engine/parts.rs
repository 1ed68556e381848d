//! What runs, each part with the handle by which it is told to stop, so that a reload can let one
//! go while the others run on.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    sync::watch,
    task::{AbortHandle, JoinHandle},
};

use crate::{
    component::{ComponentId, Ingress, Stop},
    engine::{
        export::queue::ExportQueue,
        intake::{
            door::{EngineDoor, Inside},
            journal::Journal,
            replay,
            routes::Routes,
        },
        work::pool::Pool,
    },
    net::server::Held,
    otlp::Signal,
    telemetry::{ExporterStats, Telemetry},
};

use super::{
    Service,
    budget::Budget,
    panics::Panics,
    plan::{PlannedExporter, PlannedReceiver},
};

/// How long a sender may take for the request that it had begun when its receiver was told to stop.
const PATIENCE: Duration = Duration::from_mins(1);

/// What every receiver has in common.
pub(super) struct Surroundings<'a> {
    pub(super) budget: &'a Arc<Budget>,
    pub(super) pool: &'a Arc<Pool>,
    pub(super) inside: &'a Arc<Inside>,
}

/// Something that listens, until it is told to stop.
pub(super) struct Serving {
    stop: watch::Sender<bool>,
    /// Open as long as these are here, or the task runs.
    pub(super) sockets: Vec<Arc<Held>>,
    task: JoinHandle<()>,
}

impl Serving {
    /// Whether it has ended by itself: a page whose port was taken, or a panic.
    pub(super) fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Closes its ports, unless somebody else has them, and tells it to finish.
    fn leave(self) -> Leaving {
        let heirs = self.sockets.iter().map(|held| held.heir()).collect();
        drop(self.sockets);
        let _ = self.stop.send(true);
        let abort = self.task.abort_handle();
        Leaving { heirs, abort, task: self.task }
    }
}

/// Something that was told to stop.
pub(super) struct Leaving {
    heirs: Vec<Arc<watch::Sender<bool>>>,
    abort: AbortHandle,
    task: JoinHandle<()>,
}

impl Leaving {
    /// From now on it ends as if nobody took its place.
    pub(super) fn hurry(&self) {
        for heir in &self.heirs {
            heir.send_replace(false);
        }
    }

    /// Ends with it.
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

    /// Watches its end, and forgets its counters then.
    pub(super) fn watched(self, words: String, telemetry: Arc<Telemetry>) -> Self {
        let Leaving { heirs, abort, mut task } = self;
        let last = abort.clone();
        let watch = async move {
            if tokio::time::timeout(PATIENCE, &mut task).await.is_err() {
                tracing::warn!(part = words, "some senders did not finish their requests in time");
                last.abort();
                let _ = task.await;
            }
            telemetry.forget_unused();
        };
        Leaving { heirs, abort, task: tokio::spawn(watch) }
    }
}

/// A receiver.
pub(super) struct RunningReceiver {
    pub(super) id: String,
    pub(super) identity: Option<String>,
    pub(super) feeds: Vec<String>,
    pub(super) transports: &'static [&'static str],
    pub(super) journal: Option<Arc<Journal>>,
    pub(super) routes: Arc<Routes>,
    pub(super) serving: Serving,
}

impl RunningReceiver {
    /// Starts one whose sockets are open. None: it runs already.
    pub(super) fn start(
        planned: PlannedReceiver,
        sockets: Vec<Arc<Held>>,
        routes: Arc<Routes>,
        around: &Surroundings<'_>,
    ) -> Option<Self> {
        let PlannedReceiver { id, identity, feeds, transports, receiver, journal, .. } = planned;
        let receiver = receiver?;
        let (stop, stopped) = Stop::pair();
        let door = Arc::new(EngineDoor::new(
            Arc::clone(around.budget),
            Arc::clone(around.pool),
            Arc::clone(&routes),
            Arc::clone(around.inside),
        ));
        let replay = journal
            .clone()
            .map(|journal| replay::replay(journal, Arc::clone(&door), stopped.clone()));
        let running = receiver.run(Ingress { door }, stopped);
        let alarm = around.pool.panics().alarm(format!("receiver {id}"));
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
        Some(RunningReceiver { id, identity, feeds, transports, journal, routes, serving })
    }

    /// Tells it to stop.
    pub(super) fn leave(self) -> Leaving {
        self.serving.leave()
    }
}

/// An extension, or a page.
pub(super) struct RunningService {
    pub(super) words: String,
    pub(super) identity: Option<String>,
    pub(super) serving: Serving,
}

impl RunningService {
    pub(super) fn start(service: Service, sockets: Vec<Arc<Held>>) -> Self {
        let Service { words, identity, extension, .. } = service;
        let (stop, stopped) = Stop::pair();
        let task = tokio::spawn(extension.run(stopped));
        RunningService { words, identity, serving: Serving { stop, sockets, task } }
    }

    pub(super) fn leave(self) -> Leaving {
        self.serving.leave()
    }
}

/// An exporter of one signal.
pub(super) struct RunningExporter {
    pub(super) id: ComponentId,
    pub(super) signal: Signal,
    pub(super) identity: Option<String>,
    pub(super) queue: Arc<ExportQueue>,
    abandon: Arc<watch::Sender<bool>>,
    task: JoinHandle<u64>,
}

impl RunningExporter {
    /// Starts one that has a dispatcher. None: it runs already.
    pub(super) fn start(planned: PlannedExporter, panics: &Panics) -> Option<Self> {
        let PlannedExporter { id, signal, identity, queue, dispatcher } = planned;
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

    /// Nothing comes any more.
    pub(super) fn close(self) -> Departing {
        self.queue.close();
        Departing { abandon: self.abandon, task: self.task }
    }

    /// The same while others go on: what is not delivered by the deadline is given up.
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
            // Not awaited: the end of skep does not wait for it.
            tokio::spawn(forget(stats, telemetry));
            lost.unwrap_or(0)
        };
        Departing { abandon, task: tokio::spawn(watch) }
    }
}

/// Forgets the counters of an exporter that has ended. Requests that found their way before it went
/// hold them for a moment longer.
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
    /// Raised when what is left is to be given up.
    pub(super) abandon: Arc<watch::Sender<bool>>,
    /// Gives the items that were given up.
    pub(super) task: JoinHandle<u64>,
}
