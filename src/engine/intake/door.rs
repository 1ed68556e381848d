//! The door of the engine as one receiver sees it: permits out of the byte budget, and a way for
//! bodies to the workers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, oneshot};

use super::{
    arrival::{self, Arriving},
    routes::{PAUSE, Routes, SignalRoutes},
};
use crate::{
    component::{Arrival, BoxFuture, Door, Rejection, Reply, Way},
    engine::{
        budget::{Budget, cost, too_large},
        work::pool::Pool,
    },
    otlp::{
        Payload, Signal,
        payload::{Permit, Reason},
    },
};

/// How long a request may wait for its bytes. Senders give up after 10 s by default
/// (`OTEL_EXPORTER_OTLP_TIMEOUT`); a refusal that comes well before lets them back off.
const PATIENCE: Duration = Duration::from_secs(3);

/// One receiver's door.
pub struct EngineDoor {
    budget: Arc<Budget>,
    pool: Arc<Pool>,
    routes: Arc<Routes>,
    inside: Arc<Inside>,
}

/// Requests that have been submitted and not yet answered; the drain waits for them.
#[derive(Default)]
pub struct Inside {
    requests: AtomicUsize,
    empty: Notify,
}

impl Inside {
    fn enter(self: &Arc<Self>) -> Guest {
        self.requests.fetch_add(1, Ordering::SeqCst);
        Guest(Arc::clone(self))
    }

    /// Ends when every request has been answered.
    pub async fn wait_until_empty(&self) {
        loop {
            let notified = self.empty.notified();
            if self.requests.load(Ordering::SeqCst) == 0 {
                return;
            }
            notified.await;
        }
    }
}

struct Guest(Arc<Inside>);

impl Drop for Guest {
    fn drop(&mut self) {
        if self.0.requests.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.empty.notify_waiters();
        }
    }
}

impl EngineDoor {
    /// A door to `pool` for the signals that have `routes`.
    pub fn new(
        budget: Arc<Budget>,
        pool: Arc<Pool>,
        routes: Arc<Routes>,
        inside: Arc<Inside>,
    ) -> Self {
        EngineDoor { budget, pool, routes, inside }
    }

    fn no_route(&self, signal: Signal) -> Rejection {
        if self.routes.were_exchanged() {
            // There was one when the request began.
            return Rejection::Unavailable(Reason::ShuttingDown, Some(PAUSE));
        }
        Rejection::Malformed(format!("no pipeline takes {signal} from this receiver"))
    }

    /// Whether a request has to wait in the journal, where there is one.
    fn waits(&self, routes: &SignalRoutes) -> bool {
        let Some(journal) = routes.journal() else { return false };
        let limit = self.budget.limit();
        let most = (limit - limit / 4).min(routes.refuses_above.unwrap_or(limit));
        self.budget.used() > most || journal.store.has_waiting() || routes.is_congested()
    }

    /// Whether what waits in the journal may come back: there is clearly room, so that it does not
    /// go to and fro.
    pub(super) fn has_room_for_replay(&self) -> bool {
        let limit = self.budget.limit();
        Signal::ALL.into_iter().filter_map(|signal| self.routes.of(signal)).all(|routes| {
            let most = (limit / 2).min(routes.refuses_above.unwrap_or(limit));
            self.budget.used() <= most && !routes.is_congested()
        })
    }

    /// Pays for bytes that are here already.
    pub(super) fn owe(&self, bytes: usize) -> Permit {
        self.budget.owe(cost(bytes))
    }

    /// A payload of the journal goes on.
    pub(super) fn replay(&self, payload: Payload) {
        self.pool.submit(arrival::replay(Arc::clone(&self.routes), payload));
    }
}

impl Door for EngineDoor {
    fn way(self: Arc<Self>, signal: Signal) -> Result<Box<dyn Way>, Rejection> {
        let Some(routes) = self.routes.of(signal) else { return Err(self.no_route(signal)) };
        Ok(Box::new(EngineWay { door: self, routes }))
    }

    fn charge(&self, bytes: usize) -> Option<Permit> {
        Some(self.budget.owe(bytes))
    }
}

/// The way of one request.
struct EngineWay {
    door: Arc<EngineDoor>,
    routes: Arc<SignalRoutes>,
}

impl EngineWay {
    fn has_journal(&self) -> bool {
        self.routes.journal().is_some()
    }

    /// Bytes in use above which a body is refused. With a journal nothing is: what finds no room
    /// inside waits there.
    fn ceiling(&self) -> Option<u64> {
        self.routes.refuses_above.filter(|_| !self.has_journal())
    }
}

impl Way for EngineWay {
    fn wants_context(&self) -> bool {
        self.routes.wants_context
    }

    fn room(&self, patience: Option<Duration>) -> Option<BoxFuture<Result<(), Rejection>>> {
        let is_held_up = !self.has_journal()
            && (self.routes.queue_behind().is_some() || self.routes.is_congested());
        let patience = patience.map_or(PATIENCE, |patience| patience.min(PATIENCE));
        is_held_up.then(|| {
            let routes = Arc::clone(&self.routes);
            Box::pin(async move { routes.wait_for_room(patience).await }) as BoxFuture<_>
        })
    }

    fn fits(&self, bytes: usize) -> Result<(), Rejection> {
        let most = self.ceiling().unwrap_or(self.door.budget.limit());
        if cost(bytes) as u64 > most { Err(too_large(most)) } else { Ok(()) }
    }

    fn try_permit(&self, bytes: usize) -> Result<Option<Permit>, Rejection> {
        let (budget, cost) = (&self.door.budget, cost(bytes));
        if !self.has_journal() && self.routes.is_congested() {
            return Err(Rejection::Unavailable(Reason::QueueFull, Some(PAUSE)));
        }
        let Some(ceiling) = self.ceiling() else { return Ok(budget.try_acquire(cost)) };
        match budget.try_acquire_below(ceiling, cost) {
            Some(permit) => Ok(Some(permit)),
            None if cost as u64 > ceiling => Err(too_large(ceiling)),
            None => Err(Rejection::Unavailable(Reason::Limited, Some(PAUSE))),
        }
    }

    fn permit(&self, bytes: usize) -> BoxFuture<Result<Permit, Rejection>> {
        let budget = Arc::clone(&self.door.budget);
        Box::pin(async move {
            budget.acquire(cost(bytes), PATIENCE).await.map_err(|reason| match reason {
                Reason::TooLarge => too_large(budget.limit()),
                reason => Rejection::Unavailable(reason, Some(PAUSE)),
            })
        })
    }

    fn submit(&self, arrival: Arrival) -> BoxFuture<Reply> {
        let (door, ceiling) = (&self.door, self.ceiling());
        let waits = door.waits(&self.routes);
        let (reply, answer) = oneshot::channel();
        let guest = door.inside.enter();
        let routes = Arc::clone(&door.routes);
        let arriving = Arriving { arrival, routes, reply, waits, ceiling };
        door.pool.submit(arriving.into_task());
        Box::pin(async move {
            let reply = answer.await;
            drop(guest);
            reply.unwrap_or(Err(Rejection::Unavailable(Reason::Panicked, None)))
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::{
        engine::work::{graph::Graph, pool::Ways},
        telemetry::Telemetry,
    };

    const MIB: usize = 1 << 20;

    fn way(limit: usize, refuses_above: Option<u64>) -> Box<dyn Way> {
        let budget = Budget::new(limit as u64, Arc::new(Telemetry::default()));
        let graph = Graph {
            pipelines: Vec::new(),
            connectors: Vec::new(),
            queues: Vec::new(),
            downstream_order: Vec::new(),
        };
        let (pool, _) = Pool::start(Ways::new(1), Arc::new(graph)).unwrap();
        let routes = SignalRoutes {
            by_transport: Vec::new(),
            wants_context: false,
            refuses_above,
            queues: Vec::new(),
        };
        let routes = Routes::new([Some(routes), None, None]);
        let door = Arc::new(EngineDoor::new(budget, pool, routes, Arc::default()));
        door.way(Signal::Traces).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limiter_a_sender_waits_for_its_bytes() {
        let way = way(9 * MIB, None);
        let held = way.try_permit(8 * MIB).unwrap().unwrap();
        assert!(way.try_permit(MIB).unwrap().is_none(), "full to the last byte");
        let begin = Instant::now();
        let refusal = way.permit(MIB).await.unwrap_err();
        assert_eq!(refusal, Rejection::Unavailable(Reason::OverBudget, Some(PAUSE)));
        assert_eq!(begin.elapsed(), PATIENCE);
        let waits = way.permit(MIB);
        drop(held);
        waits.await.unwrap();
    }

    #[tokio::test]
    async fn where_a_limiter_comes_first_the_door_refuses_for_it() {
        let way = way(90 * MIB, Some(9 * MIB as u64));
        let held = way.try_permit(7 * MIB).unwrap().unwrap();
        let refusal = way.try_permit(2 * MIB).unwrap_err();
        assert_eq!(refusal, Rejection::Unavailable(Reason::Limited, Some(PAUSE)));
        drop(held);
        assert!(way.try_permit(8 * MIB).unwrap().is_some());
        let refusal = way.try_permit(8 * MIB + 8).unwrap_err();
        assert_eq!(refusal, Rejection::TooLarge { limit: 8 * MIB });
    }
}
