//! The journal at the door: a receiver's requests are written down before they are answered, and stay
//! there until everything that came of them was delivered, is on another disk, or was dropped by a decision.
//!
//! ```text
//!             +-- room --> append, answer -------------------> pipelines --> receipts end --> settled
//! request ----+                                                   ^
//!             +-- no room --> append, answer, let go of it     replay, in order, when there is room
//! ```
//!
//! *No room* means: three quarters of the byte budget are in use (the rest is for bodies on their way to the
//! journal), a queue is congested so that the door would refuse, or older requests wait already. So
//! an outage costs disk, not memory and not refusals. After a crash all that is not settled waits.

use std::{sync::Arc, time::Duration};

use super::{
    door::EngineDoor,
    stored::{self, Store},
};
use crate::{
    component::Stop,
    otlp::{
        Payload,
        payload::{Outcome, Reason, Receipt, Wait},
    },
    storage::Place,
};

/// Bytes that are read back at once.
const READ: u64 = 1 << 20;
/// How often it is seen whether there is room again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// One receiver's journal.
pub struct Journal {
    /// Its log.
    pub store: Arc<Store>,
    /// Whether senders are answered only once their request survives the machine.
    pub fsync: bool,
}

impl Journal {
    /// Writes a payload down and answers its sender. Gives it back where it goes on now; where it `waits`,
    /// or cannot be written down, none.
    pub fn enter(&self, mut payload: Payload, sender: Receipt, waits: bool) -> Option<Payload> {
        let place = if waits { Place::Waiting } else { Place::InHand };
        let ticket = match self.store.append(&payload, place) {
            Ok(ticket) => ticket,
            Err(reason) => {
                sender.record(Outcome::Failed(reason));
                return None;
            }
        };
        if sender.waits_for() == Wait::Delivery {
            payload.receipts.push(sender);
        } else if self.fsync {
            let answer = move |is_durable: bool| {
                if !is_durable {
                    sender.record(Outcome::Failed(Reason::StorageFailed));
                }
            };
            self.store.after_sync(true, Box::new(answer));
        }
        if waits {
            self.store.park(&ticket, std::mem::take(&mut payload.receipts));
            return None;
        }
        payload.receipts.push(self.store.claim(ticket, Wait::Durable));
        Some(payload)
    }
}

/// Reads back what waits, until `stop` is raised.
pub(super) async fn replay(journal: Arc<Journal>, door: Arc<EngineDoor>, mut stop: Stop) {
    let store = &journal.store;
    while !stop.is_raised() {
        if !store.has_waiting() {
            tokio::select! {
                () = store.waiting.notified() => {}
                () = stop.raised() => return,
            }
        }
        let paused = store.paused_until();
        if paused.is_some() || !door.has_room_for_replay() {
            let until = paused.unwrap_or_else(|| tokio::time::Instant::now() + LOOK_AGAIN);
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                () = stop.raised() => return,
            }
            continue;
        }
        let read = stored::read(Arc::clone(store), READ).await.unwrap_or_default();
        for stored in read {
            let permit = door.owe(stored.body.len());
            door.replay(store.payload(stored, Some(permit), Wait::Durable));
        }
    }
}
