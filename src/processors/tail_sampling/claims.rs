//! Receipts that wait for the outcome of spans: those of senders with `wait_for_export`, and of
//! records of a journal. A chunk of the arena has one group of them, so that a kept trace takes one
//! receipt for each chunk that has spans of it, whatever the number of requests. When the group's
//! last receipt ends, so do those of its members, with the worst outcome of all: at most some spans
//! are delivered twice.

use std::sync::{Arc, Mutex};

use smallvec::SmallVec;

use crate::otlp::payload::{Outcome, Receipt, Wait, settle_all};
use crate::sync::lock;

/// Receipts of one request.
pub(super) type Claims = SmallVec<[Receipt; 1]>;

/// Those of one chunk, by what they wait for.
#[derive(Debug, Default)]
pub(super) struct Group {
    durable: Option<Members>,
    delivery: Option<Members>,
}

#[derive(Debug)]
struct Members {
    receipt: Receipt,
    receipts: Arc<Mutex<Vec<Receipt>>>,
}

impl Members {
    fn new(wait: Wait) -> Self {
        let receipts: Arc<Mutex<Vec<Receipt>>> = Arc::default();
        let members = Arc::clone(&receipts);
        let answer = move |outcome| {
            let receipts = std::mem::take(&mut *lock(&members));
            settle_all(receipts, outcome);
        };
        Members { receipt: Receipt::new(wait, Box::new(answer)), receipts }
    }
}

impl Group {
    /// Takes in those of a request.
    pub(super) fn join(&mut self, claims: impl Iterator<Item = Receipt>) {
        for claim in claims {
            let wait = claim.waits_for();
            let members = match wait {
                // What is held here is accepted.
                Wait::Acceptance => {
                    claim.settle(Outcome::Delivered);
                    continue;
                }
                Wait::Durable => &mut self.durable,
                Wait::Delivery => &mut self.delivery,
            };
            let members = members.get_or_insert_with(|| Members::new(wait));
            let mut receipts = lock(&members.receipts);
            receipts.push(claim);
        }
    }

    /// What a payload with spans of the chunk carries.
    pub(super) fn receipts(&self) -> impl Iterator<Item = Receipt> + '_ {
        self.durable.iter().chain(&self.delivery).map(|members| members.receipt.clone())
    }

    /// Ends the chunk's own share: all of its traces are decided. What is kept of them has shares
    /// of its own, and the rest was left out.
    pub(super) fn release(&mut self) {
        let members = self.durable.take().into_iter().chain(self.delivery.take());
        settle_all(members.map(|members| members.receipt), Outcome::Filtered);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.durable.is_none() && self.delivery.is_none()
    }
}

#[cfg(test)]
mod tests;
