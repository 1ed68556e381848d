//! The routes from receivers into the graph. A reload replaces them while the workers are paused.
//!
//! Invariant: a worker that follows a route to its end ([`Route::current`]) finds the one that
//! belongs to the graph that it runs. A replaced route points to its successor, and successors hold
//! nothing of their predecessors, so a route goes with the last request that came in by it.

use std::{
    sync::{
        Arc, OnceLock, RwLock,
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
    sync,
    telemetry::EdgeStats,
};

/// How long a request is delayed if a long queue still has room. This is long enough that the
/// backend sets the pace of senders that send without pauses, and short enough for the others.
const DELAY: Duration = Duration::from_millis(250);

/// When a refused sender should come back.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// Where the data of one receiver and signal goes.
#[derive(Default)]
pub struct Route {
    /// Index of each pipeline, with the traffic into its first processor. Without a processor, the
    /// traffic is counted at the exporters.
    pub pipelines: Vec<(usize, Option<Arc<EdgeStats>>)>,
    /// Where requests are written before they are answered.
    pub journal: Option<Arc<Journal>>,
    /// Whether a component downstream reads the request's context.
    pub wants_context: bool,
    /// Bytes in use above which a pipeline would refuse every request; `None` if none would.
    pub refuses_above: Option<u64>,
    /// Queues that the data may end in.
    pub queues: Queues,
    /// Set by a reload.
    pub successor: Successor,
}

/// The route that has replaced another one.
#[derive(Default)]
pub struct Successor(OnceLock<Option<Arc<Route>>>);

impl Route {
    /// This route, or the one that has replaced it; `None` if the receiver feeds no pipeline of
    /// this signal any more.
    pub fn current(self: &Arc<Self>) -> Option<&Arc<Self>> {
        let mut route = self;
        while let Some(successor) = route.successor.0.get() {
            route = successor.as_ref()?;
        }
        Some(route)
    }
}

/// The queues that the data of a route may end in. Cheap to clone.
#[derive(Clone, Default)]
pub struct Queues(Arc<[Arc<ExportQueue>]>);

impl FromIterator<Arc<ExportQueue>> for Queues {
    fn from_iter<I: IntoIterator<Item = Arc<ExportQueue>>>(queues: I) -> Self {
        Queues(queues.into_iter().collect())
    }
}

impl Queues {
    /// The nearly full queue that makes senders wait. A queue whose backend fails does not, because
    /// its siblings would get nothing either, unless all queues are full and fail.
    fn full(&self) -> Option<&Arc<ExportQueue>> {
        let mut failing = 0;
        for queue in self.0.iter().filter(|queue| queue.is_nearly_full()) {
            if !queue.is_failing() {
                return Some(queue);
            }
            failing += 1;
        }
        self.0.first().filter(|_| failing == self.0.len())
    }

    /// Whether data that is taken now would be lost for want of room.
    pub(super) fn are_congested(&self) -> bool {
        self.full().is_some()
    }

    /// A queue that is so long that senders should be delayed.
    fn long(&self) -> Option<&Arc<ExportQueue>> {
        self.0.iter().find(|queue| queue.is_behind())
    }

    /// Whether a request should call [`Queues::wait_for_room`].
    pub(super) fn hold_up(&self) -> bool {
        self.long().is_some() || self.are_congested()
    }

    /// Waits until no queue is full, for `patience` at most, and until none is long, for [`DELAY`]
    /// at most.
    pub(super) async fn wait_for_room(&self, patience: Duration) -> Result<(), Rejection> {
        let begin = Instant::now();
        let (last, delayed) = (begin + patience, begin + DELAY.min(patience));
        loop {
            let (queue, until) = match (self.full(), self.long()) {
                (Some(full), _) => (full, last),
                (None, Some(long)) if Instant::now() < delayed => (long, delayed),
                (None, _) => {
                    self.0.iter().for_each(|queue| queue.call_next());
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

/// Routes of one receiver by signal; `None` for signals that it feeds into no pipeline.
pub type BySignal = [Option<Arc<Route>>; 3];

/// The routes of one receiver that are in force. An inlet shares them with the inlet of the
/// receiver that replaces its own.
pub struct Routes {
    by_signal: RwLock<BySignal>,
    were_replaced: AtomicBool,
}

impl Routes {
    /// The first routes of a receiver.
    pub fn new(routes: BySignal) -> Arc<Self> {
        let (by_signal, were_replaced) = (RwLock::new(routes), AtomicBool::new(false));
        Arc::new(Routes { by_signal, were_replaced })
    }

    /// The route of a signal now.
    pub fn get(&self, signal: Signal) -> Option<Arc<Route>> {
        sync::read(&self.by_signal)[signal.index()].clone()
    }

    /// Puts other routes in force. Call it only while the workers are paused.
    pub fn replace(&self, routes: BySignal) {
        self.were_replaced.store(true, Ordering::SeqCst);
        let mut by_signal = sync::write(&self.by_signal);
        for (current, new) in by_signal.iter_mut().zip(routes) {
            if let Some(old) = std::mem::replace(current, new.clone()) {
                // Nobody else sets it: it was in force until now.
                let _ = old.successor.0.set(new);
            }
        }
    }

    /// Whether a request that finds no route may have had one when it began.
    pub fn were_replaced(&self) -> bool {
        self.were_replaced.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes() -> BySignal {
        [Some(Arc::default()), None, None]
    }

    #[test]
    fn a_replaced_route_leads_to_the_one_in_force() {
        let routes_in_force = Routes::new(routes());
        let first = routes_in_force.get(Signal::Traces).unwrap();
        assert!(Arc::ptr_eq(first.current().unwrap(), &first));
        routes_in_force.replace(routes());
        routes_in_force.replace(routes());
        let last = routes_in_force.get(Signal::Traces).unwrap();
        assert!(!Arc::ptr_eq(&first, &last));
        assert!(Arc::ptr_eq(first.current().unwrap(), &last));
        routes_in_force.replace([None, None, None]);
        assert!(first.current().is_none() && last.current().is_none());
        assert!(routes_in_force.get(Signal::Traces).is_none());
    }

    #[test]
    fn a_replaced_route_goes_with_its_last_request() {
        let in_force = Routes::new(routes());
        let first = Arc::downgrade(&in_force.get(Signal::Traces).unwrap());
        in_force.replace(routes());
        assert!(first.upgrade().is_none());
    }
}
