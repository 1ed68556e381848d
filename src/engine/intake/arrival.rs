//! What a worker does with a request: check it, write it down where there is a journal, and show it
//! to the pipelines of its receiver.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{
    admission, first_data,
    journal::{Entering, Journal, Turn},
    routes::Routes,
};
use crate::{
    component::{Arrival, Rejection, Reply},
    engine::work::{job::Task, worker::Worker},
    otlp::{
        Payload,
        payload::{Outcome, Reason, Receipt},
    },
};

/// An arrival with the way it goes and whom to answer.
pub struct Arriving {
    /// The body.
    pub arrival: Arrival,
    /// Pipelines that take it, and the receiver's counters; looked up when its turn comes.
    pub routes: Arc<Routes>,
    /// Told the outcome.
    pub reply: oneshot::Sender<Reply>,
    /// Whether it goes no further than the journal for now.
    pub waits: bool,
    /// Bytes in use above which the pipelines would refuse it; see `admission::admit`.
    pub ceiling: Option<u64>,
}

impl Arriving {
    /// As a task of a worker.
    pub fn into_task(self) -> Task {
        Box::new(move |worker, now| self.run(worker, now))
    }

    fn run(self, worker: &mut Worker, now: Instant) {
        let Arriving { arrival, routes, reply, waits, ceiling } = self;
        let transport = arrival.transport;
        let Some(route) = routes.route(arrival.signal, transport) else {
            let _ = reply.send(Err(Rejection::Unavailable(Reason::ShuttingDown, None)));
            return;
        };
        let (wait, permit) = (arrival.wait, arrival.permit.clone());
        let payload = match admission::admit(arrival, ceiling) {
            Ok(payload) => payload,
            Err(rejection) => {
                drop(permit);
                route.stats.rejected_requests.add(1);
                let _ = reply.send(Err(rejection));
                return;
            }
        };
        drop(permit);
        if payload.items == 0 {
            let _ = reply.send(Ok(()));
            return payload.finish(Outcome::Filtered);
        }
        first_data::announce(&route.stats, &payload);
        let (items, stats) = (payload.items, Arc::clone(&route.stats));
        let sender = Receipt::new(
            wait,
            Box::new(move |outcome| {
                let answer = match outcome {
                    Outcome::Delivered | Outcome::Filtered => Ok(()),
                    Outcome::Failed(reason) => Err(rejection(reason)),
                    Outcome::Postponed(millis) => {
                        let pause = Duration::from_millis(millis.into());
                        Err(Rejection::Unavailable(Reason::RetriesExhausted, Some(pause)))
                    }
                    Outcome::LeftOnDisk => Err(rejection(Reason::ShuttingDown)),
                };
                match answer {
                    Ok(()) => stats.accept(items),
                    Err(_) => stats.refused.add(items),
                }
                // A sender that hung up meanwhile needs no answer.
                let _ = reply.send(answer);
            }),
        );
        let Some(journal) = &route.journal else {
            let mut payload = payload;
            payload.receipts.push(sender);
            return worker.enter(&route.pipelines, payload, now);
        };
        match journal.collect(Entering { payload, sender, waits, routes, transport }) {
            Turn::First(emptying) => worker.later(Box::new(move |worker, now| {
                if let Some(journal) = emptying.begin() {
                    write_down(worker, &journal, now);
                }
            })),
            Turn::Later => {}
            Turn::Full => write_down(worker, journal, now),
        }
    }
}

/// Writes down what a journal has collected, and lets it go on.
fn write_down(worker: &mut Worker, journal: &Journal, now: Instant) {
    for (route, payload) in journal.enter(journal.collected()) {
        worker.enter(&route.pipelines, payload, now);
    }
}

/// A payload of a journal goes on, in the pipelines that take it when its turn comes.
pub fn replay(routes: Arc<Routes>, payload: Payload) -> Task {
    Box::new(move |worker, now| {
        if let Some(route) = routes.first(payload.signal) {
            return worker.enter(&route.pipelines, payload, now);
        }
        // No pipeline takes this signal any more. Put back, it would be read again and again.
        payload.finish(Outcome::LeftOnDisk);
    })
}

fn rejection(reason: Reason) -> Rejection {
    if reason.is_retryable() {
        Rejection::Unavailable(reason, None)
    } else {
        Rejection::Failed(reason)
    }
}
