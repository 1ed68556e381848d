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

use crate::{
    component::{Arrival, BoxFuture, Door, Rejection, Reply},
    otlp::{
        Signal,
        payload::{Permit, Reason},
    },
};

use super::{
    admission::Route,
    budget::Budget,
    pool::Pool,
    worker::{Arriving, Job},
};

/// How long a request may wait for its bytes. Senders give up after 10 s by default
/// (`OTEL_EXPORTER_OTLP_TIMEOUT`); a refusal that comes well before lets them back off.
const PATIENCE: Duration = Duration::from_secs(3);

/// One receiver's door.
pub struct EngineDoor {
    budget: Arc<Budget>,
    pool: Arc<Pool>,
    /// By signal: none where no pipeline of that signal lists the receiver.
    routes: [Option<SignalRoutes>; 3],
    inside: Arc<Inside>,
}

/// The ways of one signal, one per transport label, since they are counted apart.
pub struct SignalRoutes {
    /// `grpc` and `http`, or what the receiver speaks.
    pub by_transport: Vec<(&'static str, Arc<Route>)>,
    /// Whether somebody downstream asks for the request's context.
    pub wants_context: bool,
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
        routes: [Option<SignalRoutes>; 3],
        inside: Arc<Inside>,
    ) -> Self {
        EngineDoor { budget, pool, routes, inside }
    }

    fn route(&self, arrival: &Arrival) -> Option<Arc<Route>> {
        let routes = self.routes[arrival.signal.index()].as_ref()?;
        let same = routes.by_transport.iter().find(|(label, _)| *label == arrival.transport);
        same.or(routes.by_transport.first()).map(|(_, route)| Arc::clone(route))
    }
}

impl Door for EngineDoor {
    fn try_permit(&self, bytes: usize) -> Option<Permit> {
        self.budget.try_acquire(bytes)
    }

    fn permit(&self, bytes: usize) -> BoxFuture<Result<Permit, Rejection>> {
        let budget = Arc::clone(&self.budget);
        Box::pin(async move {
            budget.acquire(bytes, PATIENCE).await.map_err(|reason| match reason {
                Reason::TooLarge => {
                    let limit = usize::try_from(budget.limit()).unwrap_or(usize::MAX);
                    Rejection::TooLarge { limit }
                }
                reason => Rejection::Unavailable(reason, Some(Duration::from_secs(1))),
            })
        })
    }

    fn submit(&self, arrival: Arrival) -> BoxFuture<Reply> {
        let Some(route) = self.route(&arrival) else {
            let reply = Err(Rejection::Malformed(format!(
                "no pipeline takes {} from this receiver",
                arrival.signal
            )));
            return Box::pin(std::future::ready(reply));
        };
        let (reply, answer) = oneshot::channel();
        let guest = self.inside.enter();
        self.pool.submit(Job::Arrival(Box::new(Arriving { arrival, route, reply })));
        Box::pin(async move {
            let reply = answer.await;
            drop(guest);
            reply.unwrap_or(Err(Rejection::Unavailable(Reason::Panicked, None)))
        })
    }

    fn wants_context(&self, signal: Signal) -> bool {
        self.routes[signal.index()].as_ref().is_some_and(|routes| routes.wants_context)
    }

    fn accepts(&self, signal: Signal) -> bool {
        self.routes[signal.index()].is_some()
    }
}
