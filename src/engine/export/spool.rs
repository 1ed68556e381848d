//! The part of an exporter's queue that is on disk.
//!
//! With `sending_queue.storage` every payload is written to disk before it is acknowledged. If
//! there is room in memory it stays there too and is not read again. Behind a receiver with a
//! journal the queue is in memory, and only payloads without room there are written to disk. So a
//! backend that is down for hours costs disk and does not delay other exporters. In both cases
//! payloads on disk are read back in order once half of the memory is free.

use std::{sync::Arc, time::Duration};

use crate::{
    engine::{
        budget::{Budget, cost},
        disk::stored::{self, Read, Store},
    },
    otlp::{
        Payload,
        payload::{Reason, Receipt, Receipts, Wait, settle_all},
    },
    storage::{Place, Stored, Ticket},
};

/// Bytes that are read at once.
const READ: u64 = 1 << 20;

/// How often to check whether there is room again for payloads on disk.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Which payloads a queue writes to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spooling {
    /// All of them, before they are acknowledged.
    All {
        /// Whether they must be synced before.
        fsync: bool,
    },
    /// Those without room in memory.
    Overflow,
}

/// A queue's log.
#[derive(Clone)]
pub struct Spool {
    /// The log.
    pub store: Arc<Store>,
    /// When it is used.
    pub spooling: Spooling,
    /// Pays for payloads that are read back.
    pub budget: Arc<Budget>,
}

/// What became of a payload.
pub(in crate::engine) enum Spooled {
    /// It is on disk and in memory.
    InHand(Payload),
    /// It is on disk only.
    Waiting,
    /// It could not be written.
    Refused(Payload, Reason),
}

impl Spool {
    /// Whether every payload is written to disk.
    pub(super) fn takes_all(&self) -> bool {
        matches!(self.spooling, Spooling::All { .. })
    }

    /// Writes a payload to disk and acknowledges it.
    pub(in crate::engine) fn write(&self, mut payload: Payload, place: Place) -> Spooled {
        let parking = (place == Place::Waiting).then(|| self.store.parking());
        let ticket = match self.store.append(&payload, place) {
            Ok(ticket) => ticket,
            Err(reason) => return Spooled::Refused(payload, reason),
        };
        self.answer(&mut payload, ticket);
        if let Some(mut parking) = parking {
            parking.park(&ticket, payload.take_over());
            return Spooled::Waiting;
        }
        payload.receipts.push(self.store.claim(ticket, Wait::Delivery));
        Spooled::InHand(payload)
    }

    /// Settles the receipts for which the disk is enough: those of senders at once, or after the
    /// next sync with `fsync`; those of journals always after the sync, because the journal gives
    /// up its record then.
    fn answer(&self, payload: &mut Payload, ticket: Ticket) {
        let is_strict = self.spooling == Spooling::All { fsync: true };
        let mut receipts = payload.receipts.iter();
        let is_all_in_journals =
            !payload.receipts.is_empty() && receipts.all(|one| one.waits_for() == Wait::Durable);
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
        if is_all_in_journals {
            self.store.after_sync_of(ticket, is_strict, Box::new(answer));
        } else {
            self.store.after_sync(is_strict, Box::new(answer));
        }
    }

    /// Whether payloads wait on disk and reading is not paused after an error.
    pub(super) fn is_readable(&self) -> bool {
        self.store.has_waiting() && self.store.paused_until().is_none()
    }

    /// Whether there is room in memory for payloads on disk. The queue uses `in_memory` of its
    /// `share` bytes.
    pub(super) fn has_room(&self, in_memory: u64, share: u64) -> bool {
        in_memory <= share / 2 && self.budget.used() <= self.budget.limit() / 4 * 3
    }

    /// Reads some payloads.
    pub(super) async fn read(self) -> Option<Read> {
        stored::read(self.store, READ).await
    }

    /// Makes a payload from a record. Its bytes are already in memory, so they are always charged.
    pub(super) fn payload(&self, stored: Stored) -> Payload {
        let permit = self.budget.owe(cost(stored.body.len() + stored.note.len()));
        self.store.payload(stored, Some(permit), Wait::Delivery)
    }
}

/// Completes when it is time to check again whether payloads can be read from disk.
pub(super) async fn look_again(spool: Option<&Spool>) {
    let Some(spool) = spool else { return std::future::pending().await };
    if spool.store.has_waiting() {
        // There is no room for them yet, or the disk has failed.
        return tokio::time::sleep(LOOK_AGAIN).await;
    }
    spool.store.waiting.notified().await;
}
