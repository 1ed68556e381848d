//! A receiver's journal: requests are written to disk before they are acknowledged, and stay there
//! until all their data was delivered, is in a queue on disk, or was dropped by the configuration.
//!
//! ```text
//!             +-- room --> append, answer --------------> pipelines --> receipts end --> settled
//! request ----+                                              ^
//!             +-- no room --> append, answer, wait --------+ replayed in order when there is room
//! ```
//!
//! Requests that arrive together are written together. A worker collects them in the *tray* and
//! goes on with other jobs; the job that empties the tray is queued behind them, so a request waits
//! only while there is other work. At 256 KiB the tray is written at once. In CPU seconds per
//! million spans: 4.27 without the tray and 3.78 with it for requests of 10 spans, 1.36 and 1.32
//! for 100.
//!
//! *No room* means: three quarters of the byte budget are in use (the rest is for bodies on their
//! way to the journal), or a queue is so full that requests would be refused, or older requests are
//! already waiting. So an outage costs disk, but neither memory nor refusals. After a crash all
//! unsettled requests wait.

use std::sync::{Arc, Mutex, MutexGuard};

use super::route::Route;
use crate::{
    engine::disk::stored::{self, Store},
    otlp::{
        Payload,
        payload::{Outcome, Reason, Receipt, Wait, settle_all},
    },
    storage::Place,
    sync,
};

/// Bytes in the tray that are written without waiting for more.
const TRAY: usize = 256 << 10;

/// One receiver's journal.
pub struct Journal {
    /// Its log.
    pub store: Arc<Store>,
    /// Whether senders are answered only after a sync.
    pub fsync: bool,
    tray: Mutex<Tray>,
}

/// Requests that are written next.
#[derive(Default)]
struct Tray {
    requests: Vec<TrayEntry>,
    bytes: usize,
}

/// A request that is to be written to the journal.
pub struct TrayEntry {
    /// Its data.
    pub payload: Payload,
    /// Answers its sender.
    pub sender: Receipt,
    /// Whether it waits on disk for room.
    pub must_wait: bool,
    /// Where it goes. A reload may come before it is written.
    pub route: Arc<Route>,
}

impl TrayEntry {
    fn refuse(self, reason: Reason) {
        self.sender.settle(Outcome::Failed(reason));
        self.payload.finish(Outcome::Failed(reason));
    }
}

/// What to do after a request was put into the tray.
pub enum Turn {
    /// The request is the first one: queue a job that empties the tray.
    First(TrayDuty),
    /// Do nothing: such a job is already queued.
    Later,
    /// The tray is full: empty it now.
    Full,
}

/// The duty to empty a tray. If it is dropped because the workers have ended, the requests in the
/// tray are dropped unsettled, and so have failed. Nothing else would drop them: each holds a
/// route, which holds the journal, which holds the tray.
pub struct TrayDuty(Option<Arc<Journal>>);

impl TrayDuty {
    /// The journal whose tray is to be emptied now.
    pub fn begin(mut self) -> Option<Arc<Journal>> {
        self.0.take()
    }
}

impl Drop for TrayDuty {
    fn drop(&mut self) {
        if let Some(journal) = &self.0 {
            drop(journal.empty_tray());
        }
    }
}

impl Journal {
    /// A journal in this store.
    pub fn new(store: Arc<Store>, fsync: bool) -> Arc<Self> {
        Arc::new(Journal { store, fsync, tray: Mutex::default() })
    }

    /// Puts a request into the tray.
    pub fn collect(self: &Arc<Self>, entry: TrayEntry) -> Turn {
        let mut tray = self.tray();
        tray.bytes += entry.payload.len();
        tray.requests.push(entry);
        match tray.requests.len() {
            _ if tray.bytes >= TRAY => Turn::Full,
            1 => Turn::First(TrayDuty(Some(Arc::clone(self)))),
            _ => Turn::Later,
        }
    }

    /// Takes all requests out of the tray.
    pub fn empty_tray(&self) -> Vec<TrayEntry> {
        std::mem::take(&mut *self.tray()).requests
    }

    fn tray(&self) -> MutexGuard<'_, Tray> {
        sync::lock(&self.tray)
    }

    /// Writes requests to disk and answers their senders. Returns those that are processed now,
    /// with their routes, and not those that wait or could not be written.
    pub fn write(&self, requests: Vec<TrayEntry>) -> Vec<(Arc<Route>, Payload)> {
        let mut routed = Vec::with_capacity(requests.len());
        for request in requests {
            match request.route.current().cloned() {
                Some(route) => routed.push((request, route)),
                // A reload has removed the receiver from all pipelines of this signal.
                None => request.refuse(Reason::ShuttingDown),
            }
        }
        let place = |must_wait| if must_wait { Place::Waiting } else { Place::InHand };
        let payloads =
            routed.iter().map(|(request, _)| (&request.payload, place(request.must_wait)));
        let has_waiting = routed.iter().any(|(request, _)| request.must_wait);
        let mut parking = has_waiting.then(|| self.store.parking());
        let tickets = self.store.append_all(payloads);
        let (mut processed, mut after_sync) = (Vec::with_capacity(routed.len()), Vec::new());
        for ((request, route), ticket) in routed.into_iter().zip(tickets) {
            let ticket = match ticket {
                Ok(ticket) => ticket,
                Err(reason) => {
                    request.refuse(reason);
                    continue;
                }
            };
            let TrayEntry { mut payload, sender, must_wait, .. } = request;
            match sender.waits_for() {
                Wait::Delivery => payload.receipts.push(sender),
                _ if self.fsync => after_sync.push(sender),
                _ => sender.settle(Outcome::Delivered),
            }
            match &mut parking {
                Some(parking) if must_wait => parking.park(&ticket, payload.take_over()),
                _ => {
                    payload.receipts.push(self.store.claim(ticket, Wait::Durable));
                    processed.push((route, payload));
                }
            }
        }
        drop(parking);
        if !after_sync.is_empty() {
            let answer =
                move |is_durable: bool| settle_all(after_sync, stored::durable(is_durable));
            self.store.after_sync(true, Box::new(answer));
        }
        processed
    }
}

#[cfg(test)]
mod tests;
