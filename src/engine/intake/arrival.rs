//! What a worker does with an arrival: unpack it, write it to the journal if there is one, and hand
//! it to the pipelines of its route.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{
    journal::{Journal, TrayEntry, Turn},
    route::Route,
    seen::{self, Seen},
    unpack,
};
use crate::{
    component::{Arrival, Rejection, Reply},
    engine::work::{job::Task, worker::Worker},
    otlp::{
        Payload,
        payload::{Outcome, Reason, Receipt, Wait},
    },
    telemetry::ReceiverStats,
};

/// A request on its way to a worker.
pub struct Request {
    /// Its body.
    pub arrival: Arrival,
    /// Where it goes, unless a reload comes first.
    pub route: Arc<Route>,
    /// Told the outcome.
    pub reply: oneshot::Sender<Reply>,
    /// Whether it goes no further than the journal for now.
    pub must_wait: bool,
    /// Bytes in use above which the pipelines would refuse it; see `unpack::unpack`.
    pub ceiling: Option<u64>,
}

impl Request {
    /// The request as a task of a worker.
    pub fn into_task(self) -> Task {
        Box::new(move |worker, now| self.run(worker, now))
    }

    fn run(self, worker: &mut Worker, now: Instant) {
        let Request { mut arrival, route, reply, must_wait, ceiling } = self;
        let Some(route) = route.current() else {
            let _ = reply.send(Err(Rejection::Unavailable(Reason::ShuttingDown, None)));
            return;
        };
        let (wait, permit) = (arrival.wait, arrival.permit.clone());
        let (stats, vetting) = (Arc::clone(&arrival.stats), arrival.vetting.take());
        let caller = std::mem::take(&mut arrival.caller);
        let form = (arrival.encoding, arrival.compression);
        let mut payload = match unpack::unpack(arrival, ceiling) {
            Ok(payload) => payload,
            Err(rejection) => {
                drop(permit);
                stats.turn_away(&caller, rejection.refused(), &rejection.words());
                let _ = reply.send(Err(rejection));
                return;
            }
        };
        drop(permit);
        if payload.items == 0 {
            let _ = reply.send(Ok(()));
            return payload.finish(Outcome::Filtered);
        }
        if let Some(vetting) = vetting
            && let Err(rejection) = vetting.vet(&mut payload)
        {
            stats.refused.add(payload.items);
            // The services that it names are not believed.
            stats.count_refusal(rejection.refused(), &rejection.words());
            stats.senders.turned_away(&stats.id, &caller, &rejection.words());
            payload.take_over();
            let _ = reply.send(Err(rejection));
            return;
        }
        let seen = seen::senders(&stats, &caller, form, &payload, now);
        stats.tee.offer(&payload);
        let sender = sender(wait, stats, seen, reply);
        let Some(journal) = &route.journal else {
            payload.receipts.push(sender);
            return worker.enter(&route.pipelines, payload, now);
        };
        let entry = TrayEntry { payload, sender, must_wait, route: Arc::clone(route) };
        match journal.collect(entry) {
            Turn::First(duty) => worker.later(Box::new(move |worker, now| {
                if let Some(journal) = duty.begin() {
                    write_tray(worker, &journal, now);
                }
            })),
            Turn::Later => {}
            Turn::Full => write_tray(worker, journal, now),
        }
    }
}

/// The receipt that answers the sender of a request and counts its items.
fn sender(
    wait: Wait,
    stats: Arc<ReceiverStats>,
    seen: Seen,
    reply: oneshot::Sender<Reply>,
) -> Receipt {
    Receipt::new(
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
            match &answer {
                Ok(()) => {
                    stats.accept(seen.items());
                    seen.taken(&stats);
                }
                Err(rejection) => {
                    stats.refused.add(seen.items());
                    seen.refused(&stats, rejection.refused(), &rejection.words());
                }
            }
            // The sender may have hung up.
            let _ = reply.send(answer);
        }),
    )
}

/// Writes the tray of a journal to disk and hands its payloads to the pipelines.
fn write_tray(worker: &mut Worker, journal: &Journal, now: Instant) {
    for (route, payload) in journal.write(journal.empty_tray()) {
        worker.enter(&route.pipelines, payload, now);
    }
}

/// Hands a payload of a journal to the pipelines that take it when its turn comes.
pub fn replay(route: Option<Arc<Route>>, payload: Payload) -> Task {
    Box::new(move |worker, now| {
        if let Some(route) = route.as_ref().and_then(Route::current) {
            return worker.enter(&route.pipelines, payload, now);
        }
        // No pipeline takes this signal any more. If it were put back, it would be read for ever.
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
