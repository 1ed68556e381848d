//! Dead letters of an exporter: what it gives up for good is written down, with the reason and the
//! backend's answer, and can be sent again through its queue.
//!
//! Kept are: what the backend refused for good, what is too large even in the smallest part, and
//! what retries ran out for, unless its sender still waits for the result and so has it. Not kept
//! are: what is given up because skep ends (it stays on disk where there is one), what finds a
//! queue full (its sender is told), and the items of a partial success that the backend did not
//! take: it says how many, not which.
//!
//! A letter is the whole payload. Where an exporter makes several requests of one
//! (`awscloudwatchlogs` one for each stream) and only some were refused, sending the letter again
//! repeats the others.
//!
//! Appending is one write into the page cache, on the io thread that learnt of the refusal. Where
//! the store has no room, or fails, the data is dropped as without the option, and that is counted.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicU64, Ordering},
};

use super::queue::ExportQueue;
use crate::{
    engine::{
        budget::{Budget, cost},
        disk::stored::{self, Store},
    },
    net::rate_limit::RateLimit,
    otlp::{
        Payload,
        payload::{Outcome, Reason, Receipt, Wait},
    },
    storage::{
        Place, Stored,
        letters::{Desk, DeskState, Fate, Letterbox, Told},
        proto::Note,
    },
    telemetry::ExporterStats,
};

/// Longest answer of a backend that is kept.
const ANSWER: usize = 4096;

/// Where an exporter's dead letters go.
pub struct DeadLetters {
    store: Arc<Store>,
    letterbox: Arc<Letterbox>,
    budget: Arc<Budget>,
    stats: Arc<ExporterStats>,
    /// Whether its senders have the data until the backend has it.
    senders_wait: bool,
    /// How often something could not be kept.
    unkept: AtomicU64,
    /// Told once a minute; the counters have it all.
    said: RateLimit,
}

impl DeadLetters {
    /// The letters of an exporter, in a store.
    pub fn new(
        store: Arc<Store>,
        letterbox: Arc<Letterbox>,
        budget: Arc<Budget>,
        stats: Arc<ExporterStats>,
        senders_wait: bool,
    ) -> Arc<Self> {
        let (unkept, said) = (AtomicU64::new(0), RateLimit::default());
        Arc::new(DeadLetters { store, letterbox, budget, stats, senders_wait, unkept, said })
    }

    /// Whether what ended so is kept.
    pub(super) fn takes(&self, reason: Reason) -> bool {
        match reason {
            Reason::BackendRefused
            | Reason::Unauthenticated
            | Reason::Forbidden
            | Reason::NotFound
            | Reason::TooLarge => true,
            Reason::RetriesExhausted => !self.senders_wait,
            _ => false,
        }
    }

    /// Writes down what is given up; false where that was not possible.
    pub(super) fn keep(&self, payload: &Payload, reason: Reason, answer: &str) -> bool {
        let note = Note {
            exporter: self.stats.id.clone(),
            reason: reason.name().to_owned(),
            answer: beginning(answer, ANSWER).to_owned(),
            ..payload.context.as_deref().map(stored::note_of).unwrap_or_default()
        };
        match self.store.append_with(payload, Place::Waiting, &note) {
            Ok(_) => {
                self.stats.dead_lettered.add(payload.items);
                true
            }
            Err(why) => {
                self.unkept.fetch_add(1, Ordering::SeqCst);
                self.stats.dead_letters_unkept.add(payload.items);
                if self.said.is_due() {
                    tracing::error!(
                        exporter = %self.stats.id,
                        reason = why.name(),
                        "Dead letters cannot be kept. Make room: `skep dlq replay` or `skep dlq drop`, or a \
                         higher `max_size_mib`."
                    );
                }
                false
            }
        }
    }

    /// From here on letters go to this queue again.
    pub(super) fn open(self: &Arc<Self>, queue: &Arc<ExportQueue>) {
        let desk = QueueDesk { queue: Arc::downgrade(queue), letters: Arc::clone(self) };
        self.letterbox.set_desk(Arc::new(desk));
    }

    /// What becomes of the letter that `stored` was, after it was sent again.
    fn ended(&self, stored: &Sent, outcome: Outcome) -> Fate {
        let log = self.letterbox.log();
        let is_kept_anew = self.unkept.load(Ordering::SeqCst) == stored.unkept_before;
        let fate = match outcome {
            Outcome::Delivered | Outcome::Filtered => Fate::Delivered,
            Outcome::Failed(reason) if self.takes(reason) && is_kept_anew => {
                Fate::RefusedAgain(reason)
            }
            Outcome::Failed(reason) => Fate::Stayed(reason),
            Outcome::Postponed(_) => Fate::Stayed(Reason::RetriesExhausted),
            Outcome::LeftOnDisk => Fate::Stayed(Reason::ShuttingDown),
        };
        if matches!(fate, Fate::Stayed(_)) {
            log.put_back(&stored.ticket);
        } else {
            self.store.settle(&stored.ticket);
        }
        fate
    }
}

/// A letter on its way.
struct Sent {
    ticket: crate::storage::Ticket,
    /// What `unkept` was when it was sent: where it has grown, the new letter may be missing.
    unkept_before: u64,
}

/// Sends letters through a queue, for as long as it takes something.
struct QueueDesk {
    queue: Weak<ExportQueue>,
    letters: Arc<DeadLetters>,
}

impl Desk for QueueDesk {
    fn state(&self) -> DeskState {
        let Some(queue) = self.queue.upgrade().filter(|queue| !queue.is_closed()) else {
            return DeskState::Closed;
        };
        let budget = &self.letters.budget;
        let has_memory = budget.used() <= budget.limit() / 4 * 3;
        if has_memory && !queue.is_nearly_full() { DeskState::Free } else { DeskState::Busy }
    }

    fn resend(&self, letter: Stored, told: Told) {
        let letters = Arc::clone(&self.letters);
        let Stored { ticket, signal, note, body, .. } = letter;
        let unkept_before = letters.unkept.load(Ordering::SeqCst);
        let sent = Sent { ticket, unkept_before };
        // Its bytes are here already, so they are charged in any case.
        let permit = letters.budget.owe(cost(body.len() + note.len()));
        let claim = Receipt::new(
            Wait::Delivery,
            Box::new(move |outcome| told(letters.ended(&sent, outcome))),
        );
        let mut payload = Payload::new(signal, body, ticket.items, [permit]);
        payload.receipts.push(claim);
        payload.context = stored::context_of(&note);
        match self.queue.upgrade() {
            Some(queue) => queue.enqueue(payload),
            None => payload.finish(Outcome::Failed(Reason::ShuttingDown)),
        }
    }
}

/// At most `most` bytes of a text, whole characters.
fn beginning(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

#[cfg(test)]
mod tests;
