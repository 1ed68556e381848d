//! The inlets of the engine, one for each receiver, and the admissions of their requests: permits
//! from the byte budget, and the hand-over of bodies to the workers.

use std::{sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::{
    arrival::{self, Request},
    route::{PAUSE, Route, Routes},
};
use crate::{
    component::{Admission, Arrival, BoxFuture, Inlet, Rejection, Reply},
    engine::{
        budget::{Budget, cost, too_large},
        work::{backlog::Backlog, pool::Pool},
    },
    otlp::{
        Payload, Signal,
        payload::{Permit, Reason},
    },
};

/// How long a request may wait for its bytes. Senders give up after 10 s by default
/// (`OTEL_EXPORTER_OTLP_TIMEOUT`); a refusal well before that lets them back off.
const PATIENCE: Duration = Duration::from_secs(3);

/// What all inlets share.
#[derive(Clone)]
pub struct InletDeps {
    /// Pays for bodies.
    pub budget: Arc<Budget>,
    /// Takes arrivals.
    pub pool: Arc<Pool>,
    /// Requests that have been submitted and not yet answered; the drain waits for them.
    pub open_requests: Arc<Backlog>,
}

/// The inlet of one receiver.
pub struct ReceiverInlet {
    deps: InletDeps,
    routes: Arc<Routes>,
}

impl ReceiverInlet {
    /// An inlet for the signals that have `routes`.
    pub fn new(deps: InletDeps, routes: Arc<Routes>) -> Self {
        ReceiverInlet { deps, routes }
    }

    fn no_route(&self, signal: Signal) -> Rejection {
        if self.routes.were_replaced() {
            // There may have been one when the request began.
            return Rejection::Unavailable(Reason::ShuttingDown, Some(PAUSE));
        }
        Rejection::Malformed(format!("no pipeline takes {signal} from this receiver"))
    }

    /// Whether there is room for what waits in the journal. It asks for more room than
    /// `RequestAdmission::must_wait`, so that data is not read back only to wait again.
    pub(super) fn has_room_for_replay(&self) -> bool {
        let budget = &self.deps.budget;
        let limit = budget.limit();
        Signal::ALL.into_iter().filter_map(|signal| self.routes.get(signal)).all(|route| {
            let most = (limit / 2).min(route.refuses_above.unwrap_or(limit));
            budget.used() <= most && !route.queues.are_congested()
        })
    }

    /// Pays for bytes that have been read already.
    pub(super) fn owe(&self, bytes: usize) -> Permit {
        self.deps.budget.owe(cost(bytes))
    }

    /// Hands a payload of the journal to the workers.
    pub(super) fn replay(&self, payload: Payload) {
        self.deps.pool.submit(arrival::replay(self.routes.get(payload.signal), payload));
    }
}

impl Inlet for ReceiverInlet {
    fn admission(self: Arc<Self>, signal: Signal) -> Result<Box<dyn Admission>, Rejection> {
        let Some(route) = self.routes.get(signal) else { return Err(self.no_route(signal)) };
        Ok(Box::new(RequestAdmission { inlet: self, route }))
    }

    fn charge(&self, bytes: usize) -> Option<Permit> {
        Some(self.deps.budget.owe(bytes))
    }
}

/// The admission of one request.
struct RequestAdmission {
    inlet: Arc<ReceiverInlet>,
    route: Arc<Route>,
}

impl RequestAdmission {
    fn budget(&self) -> &Arc<Budget> {
        &self.inlet.deps.budget
    }

    fn has_journal(&self) -> bool {
        self.route.journal.is_some()
    }

    /// Bytes in use above which a body is refused. With a journal there is no such limit: what
    /// finds no room in memory waits on disk.
    fn ceiling(&self) -> Option<u64> {
        self.route.refuses_above.filter(|_| !self.has_journal())
    }

    /// Whether the request has to wait in its journal, if there is one.
    fn must_wait(&self) -> bool {
        let Some(journal) = &self.route.journal else { return false };
        let limit = self.budget().limit();
        let most = (limit - limit / 4).min(self.route.refuses_above.unwrap_or(limit));
        self.budget().used() > most
            || journal.store.has_waiting()
            || self.route.queues.are_congested()
    }
}

impl Admission for RequestAdmission {
    fn wants_context(&self) -> bool {
        self.route.wants_context
    }

    fn room(&self, patience: Option<Duration>) -> Option<BoxFuture<Result<(), Rejection>>> {
        if self.has_journal() || !self.route.queues.hold_up() {
            return None;
        }
        let patience = patience.map_or(PATIENCE, |patience| patience.min(PATIENCE));
        let queues = self.route.queues.clone();
        Some(Box::pin(async move { queues.wait_for_room(patience).await }))
    }

    fn fits(&self, bytes: usize) -> Result<(), Rejection> {
        let most = self.ceiling().unwrap_or(self.budget().limit());
        if cost(bytes) as u64 > most { Err(too_large(most)) } else { Ok(()) }
    }

    fn try_permit(&self, bytes: usize) -> Result<Option<Permit>, Rejection> {
        let (budget, cost) = (self.budget(), cost(bytes));
        if !self.has_journal() && self.route.queues.are_congested() {
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
        let budget = Arc::clone(self.budget());
        Box::pin(async move {
            budget.acquire(cost(bytes), PATIENCE).await.map_err(|reason| match reason {
                Reason::TooLarge => too_large(budget.limit()),
                reason => Rejection::Unavailable(reason, Some(PAUSE)),
            })
        })
    }

    fn submit(&self, arrival: Arrival) -> BoxFuture<Reply> {
        let deps = &self.inlet.deps;
        let (reply, answer) = oneshot::channel();
        let open_request = Backlog::enter(&deps.open_requests);
        let (ceiling, must_wait) = (self.ceiling(), self.must_wait());
        let route = Arc::clone(&self.route);
        deps.pool.submit(Request { arrival, route, reply, must_wait, ceiling }.into_task());
        Box::pin(async move {
            let reply = answer.await;
            drop(open_request);
            reply.unwrap_or(Err(Rejection::Unavailable(Reason::Panicked, None)))
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::telemetry::Telemetry;

    const MIB: usize = 1 << 20;

    fn admission(limit: usize, refuses_above: Option<u64>) -> Box<dyn Admission> {
        let (pool, _) = Pool::start(1).unwrap();
        let budget = Budget::new(limit as u64, Arc::new(Telemetry::default()));
        let route = Route { refuses_above, ..Route::default() };
        let routes = Routes::new([Some(Arc::new(route)), None, None]);
        let deps = InletDeps { budget, pool, open_requests: Arc::default() };
        Arc::new(ReceiverInlet::new(deps, routes)).admission(Signal::Traces).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limiter_a_sender_waits_for_its_bytes() {
        let admission = admission(9 * MIB, None);
        let held = admission.try_permit(8 * MIB).unwrap().unwrap();
        assert!(admission.try_permit(MIB).unwrap().is_none(), "full to the last byte");
        let begin = Instant::now();
        let refusal = admission.permit(MIB).await.unwrap_err();
        assert_eq!(refusal, Rejection::Unavailable(Reason::OverBudget, Some(PAUSE)));
        assert_eq!(begin.elapsed(), PATIENCE);
        let waits = admission.permit(MIB);
        drop(held);
        waits.await.unwrap();
    }

    #[tokio::test]
    async fn where_a_limiter_comes_first_the_inlet_refuses_for_it() {
        let admission = admission(90 * MIB, Some(9 * MIB as u64));
        let held = admission.try_permit(7 * MIB).unwrap().unwrap();
        let refusal = admission.try_permit(2 * MIB).unwrap_err();
        assert_eq!(refusal, Rejection::Unavailable(Reason::Limited, Some(PAUSE)));
        drop(held);
        assert!(admission.try_permit(8 * MIB).unwrap().is_some());
        let refusal = admission.try_permit(8 * MIB + 8).unwrap_err();
        assert_eq!(refusal, Rejection::TooLarge { limit: 8 * MIB });
    }
}
