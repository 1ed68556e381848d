//! The ways of one receiver into the graph. A reload exchanges them, while the workers stand still,
//! so a worker that takes up a body always finds a way that belongs to the graph it runs.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::journal::Journal;
use crate::{
    component::Rejection,
    engine::export::queue::ExportQueue,
    otlp::{Signal, payload::Reason},
    telemetry::{EdgeStats, ReceiverStats},
};

/// How long a request is delayed if much waits in a queue that still has room. This is long enough
/// that the backend sets the pace of senders that send without pauses, and short enough for others.
const HOLD_UP: Duration = Duration::from_millis(250);

/// When a refused sender should come back.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// Where the payloads of one receiver and signal go.
pub struct Route {
    /// Index of each pipeline with the traffic into its first processor; where it has none, the
    /// traffic is counted at its exporters.
    pub pipelines: Vec<(usize, Option<Arc<EdgeStats>>)>,
    /// Counters of the receiver for this signal and transport.
    pub stats: Arc<ReceiverStats>,
    /// Where requests are written down before they are answered.
    pub journal: Option<Arc<Journal>>,
}

/// The ways of one signal, one per transport label, since they are counted apart.
pub struct SignalRoutes {
    /// `grpc` and `http`, or what the receiver speaks.
    pub by_transport: Vec<(&'static str, Arc<Route>)>,
    /// Whether somebody downstream asks for the request's context.
    pub wants_context: bool,
    /// Bytes in use above which a pipeline would refuse whatever comes; `None` if no pipeline
    /// would.
    pub refuses_above: Option<u64>,
    /// Where the data may end.
    pub queues: Vec<Arc<ExportQueue>>,
}

impl SignalRoutes {
    pub(super) fn journal(&self) -> Option<&Arc<Journal>> {
        self.by_transport.first().and_then(|(_, route)| route.journal.as_ref())
    }

    /// The queue for want of whose room data that is taken now would be lost. A queue whose
    /// backend fails is left to itself, or it would stop its siblings; with all of them full nobody
    /// would get anything.
    fn full_queue(&self) -> Option<&Arc<ExportQueue>> {
        let mut failing = 0;
        for queue in self.queues.iter().filter(|queue| queue.is_nearly_full()) {
            if !queue.is_failing() {
                return Some(queue);
            }
            failing += 1;
        }
        self.queues.first().filter(|_| failing == self.queues.len())
    }

    pub(super) fn is_congested(&self) -> bool {
        self.full_queue().is_some()
    }

    /// A queue in which so much waits that senders should be delayed.
    pub(super) fn queue_behind(&self) -> Option<&Arc<ExportQueue>> {
        self.queues.iter().find(|queue| queue.is_behind())
    }

    /// Waits until no queue is full, for `patience` at most, and until none is behind, for
    /// [`HOLD_UP`] at most.
    pub(super) async fn wait_for_room(&self, patience: Duration) -> Result<(), Rejection> {
        let begin = Instant::now();
        let (last, held_up) = (begin + patience, begin + HOLD_UP.min(patience));
        loop {
            let (queue, until) = match (self.full_queue(), self.queue_behind()) {
                (Some(full), _) => (full, last),
                (None, Some(behind)) if Instant::now() < held_up => (behind, held_up),
                (None, _) => {
                    self.queues.iter().for_each(|queue| queue.call_next());
                    return Ok(());
                }
            };
            if Instant::now() >= until {
                return Err(Rejection::Unavailable(Reason::QueueFull, Some(PAUSE)));
            }
            queue.has_less(until, || queue.is_nearly_full() || queue.is_behind()).await;
        }
    }
}

/// None where no pipeline of that signal lists the receiver.
pub type BySignal = [Option<SignalRoutes>; 3];

/// The ways of the day. Shared by the doors of a receiver and of the one that takes its place.
pub struct Routes {
    now: RwLock<[Option<Arc<SignalRoutes>>; 3]>,
    was_exchanged: AtomicBool,
}

impl Routes {
    /// The first ones.
    pub fn new(routes: BySignal) -> Arc<Self> {
        let now = RwLock::new(routes.map(|routes| routes.map(Arc::new)));
        Arc::new(Routes { now, was_exchanged: AtomicBool::new(false) })
    }

    /// Those of a signal now.
    pub fn of(&self, signal: Signal) -> Option<Arc<SignalRoutes>> {
        self.now.read().unwrap_or_else(PoisonError::into_inner)[signal.index()].clone()
    }

    /// Puts others in their place. Only while no worker runs.
    pub fn exchange(&self, routes: BySignal) {
        self.was_exchanged.store(true, Ordering::SeqCst);
        let routes = routes.map(|routes| routes.map(Arc::new));
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = routes;
    }

    /// Whether they were others once, so that who finds no way may have had one.
    pub fn were_exchanged(&self) -> bool {
        self.was_exchanged.load(Ordering::SeqCst)
    }

    /// The way of what has no transport any more.
    pub fn first(&self, signal: Signal) -> Option<Arc<Route>> {
        self.route(signal, "")
    }

    /// The way of a body.
    pub fn route(&self, signal: Signal, transport: &str) -> Option<Arc<Route>> {
        let routes = self.of(signal)?;
        let same = routes.by_transport.iter().find(|(label, _)| *label == transport);
        same.or(routes.by_transport.first()).map(|(_, route)| Arc::clone(route))
    }
}
