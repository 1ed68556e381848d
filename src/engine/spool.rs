//! The part of an exporter's queue that is on disk.
//!
//! With `sending_queue.storage` every payload is written down before it is answered for; what finds room in
//! memory goes on from there, and is not read again. Behind a receiver with a journal the queue is in memory, and only
//! what finds no room there is written down, so that a backend that is away for hours costs disk, and holds
//! up nobody else. Either way what is on disk is read back in order once half of the memory is free.

use std::{sync::Arc, time::Duration};

use super::{
    budget::Budget,
    door::cost,
    stored::{self, Read, Store},
};
use crate::{
    otlp::{
        Payload,
        payload::{Reason, Receipt, Receipts, Wait, settle_all},
    },
    storage::{Place, Stored},
};

/// Bytes that are read at once.
const READ: u64 = 1 << 20;

/// How often it is seen whether there is room again for what is on disk.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// When a queue writes payloads down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spooling {
    /// All of them, before they are answered for.
    All {
        /// Whether they have to survive the machine before.
        fsync: bool,
    },
    /// What finds no room in memory.
    Overflow,
}

/// A queue's log.
#[derive(Clone)]
pub struct Spool {
    /// The log.
    pub store: Arc<Store>,
    /// When it is used.
    pub spooling: Spooling,
    /// Pays for what is read back.
    pub budget: Arc<Budget>,
}

/// What became of a payload.
pub(super) enum Spooled {
    /// It is on disk, and goes on in memory.
    InHand(Payload),
    /// It is on disk only.
    Waiting,
    /// It is where it was.
    Refused(Payload, Reason),
}

impl Spool {
    /// Whether every payload is written down.
    pub(super) fn takes_all(&self) -> bool {
        matches!(self.spooling, Spooling::All { .. })
    }

    /// Writes a payload down and answers for it.
    pub(super) fn write(&self, mut payload: Payload, place: Place) -> Spooled {
        let parking = (place == Place::Waiting).then(|| self.store.parking());
        let ticket = match self.store.append(&payload, place) {
            Ok(ticket) => ticket,
            Err(reason) => return Spooled::Refused(payload, reason),
        };
        self.answer(&mut payload);
        if let Some(mut parking) = parking {
            parking.park(&ticket, payload.take_over());
            return Spooled::Waiting;
        }
        payload.receipts.push(self.store.claim(ticket, Wait::Delivery));
        Spooled::InHand(payload)
    }

    /// Answers those who wait for no more than this: senders at once, or once it survives the
    /// machine; journals always only then, since they promise no less.
    fn answer(&self, payload: &mut Payload) {
        let is_strict = self.spooling == Spooling::All { fsync: true };
        if !is_strict {
            payload.accept();
        }
        let is_later = |receipt: &Receipt| receipt.waits_for() != Wait::Delivery;
        let (later, rest): (Receipts, Receipts) = payload.receipts.drain(..).partition(is_later);
        payload.receipts = rest;
        if later.is_empty() {
            return;
        }
        let answer = move |is_durable: bool| settle_all(later, stored::durable(is_durable));
        self.store.after_sync(is_strict, Box::new(answer));
    }

    /// Whether something waits on disk, and the disk has not just failed.
    pub(super) fn is_readable(&self) -> bool {
        self.store.has_waiting() && self.store.paused_until().is_none()
    }

    /// Whether there is room for it in memory, of which the queue uses `in_memory` of `share` bytes.
    pub(super) fn has_room(&self, in_memory: u64, share: u64) -> bool {
        in_memory <= share / 2 && self.budget.used() <= self.budget.limit() / 4 * 3
    }

    /// Reads some of it.
    pub(super) async fn read(self) -> Option<Read> {
        stored::read(self.store, READ).await
    }

    /// A payload of what was read. Its bytes are here already, so they are charged in any case.
    pub(super) fn payload(&self, stored: Stored) -> Payload {
        let permit = self.budget.owe(cost(stored.body.len()));
        self.store.payload(stored, Some(permit), Wait::Delivery)
    }
}

/// Ends when it is worth while to look whether something can be read from disk.
pub(super) async fn look_again(spool: Option<&Spool>) {
    let Some(spool) = spool else { return std::future::pending().await };
    if spool.store.has_waiting() {
        // There is no room for it yet, or the disk has failed.
        return tokio::time::sleep(LOOK_AGAIN).await;
    }
    spool.store.waiting.notified().await;
}
