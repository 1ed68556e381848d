//! Dead letters of an exporter: data that it permanently gives up is written to disk, with the
//! reason and the backend's answer, and can be sent again through its queue, see `desk`.
//!
//! Kept are: data that the backend refused for good, data that is too large even in the smallest
//! part, and data whose retries are exhausted, unless its sender still waits for the result and so
//! still has it. Not kept are: data that is given up because skep ends (it stays on disk if it is
//! there), data that finds the queue full (its sender is told), and the items that a backend
//! rejected in a partial success, since it says how many, but not which. With `left_out:
//! dead_letters` of a budget, what that leaves out is kept, too.
//!
//! A letter is a whole payload. If an exporter makes several requests of one
//! (`awscloudwatchlogs` makes one for each stream) and only some were refused, sending the letter
//! again repeats the others.
//!
//! Appending is one write into the page cache, on the io thread that got the refusal. If the store
//! has no room or fails, the data is dropped as it is without the option, and that is counted.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::{
    engine::{
        budget::Budget,
        disk::{notes::note_of, stored::Store},
    },
    net::rate_limit::RateLimit,
    otlp::{
        Payload,
        payload::{Outcome, Reason},
    },
    storage::{
        Place, Ticket,
        letters::{Fate, Letterbox},
        proto::Note,
    },
    telemetry::ExporterStats,
};

/// Longest answer of a backend that is kept.
const ANSWER: usize = 4096;

/// Where an exporter's dead letters go.
pub struct DeadLetters {
    store: Arc<Store>,
    pub(super) letterbox: Arc<Letterbox>,
    pub(super) budget: Arc<Budget>,
    stats: Arc<ExporterStats>,
    /// Whether its senders have the data until the backend has it.
    senders_wait: bool,
    /// Whether what the monthly budget leaves out is kept.
    keeps_left_out: bool,
    /// How many payloads could not be kept.
    unkept: AtomicU64,
    /// Limits how often that is logged; the counters have all of it.
    logged: RateLimit,
}

/// What is kept beside data that was refused for good.
#[derive(Debug, Clone, Copy, Default)]
pub struct Kept {
    /// Whether senders have the data until the backend has it, so that exhausted retries make no
    /// letter.
    pub senders_wait: bool,
    /// Whether what the monthly budget leaves out is kept.
    pub keeps_left_out: bool,
}

impl DeadLetters {
    /// The letters of an exporter, in a store.
    pub fn new(
        store: Arc<Store>,
        letterbox: Arc<Letterbox>,
        budget: Arc<Budget>,
        stats: Arc<ExporterStats>,
        kept: Kept,
    ) -> Arc<Self> {
        let Kept { senders_wait, keeps_left_out } = kept;
        let (unkept, logged) = (AtomicU64::new(0), RateLimit::default());
        Arc::new(DeadLetters {
            store,
            letterbox,
            budget,
            stats,
            senders_wait,
            keeps_left_out,
            unkept,
            logged,
        })
    }

    /// Whether data that was given up for this reason is kept.
    pub(super) fn takes(&self, reason: Reason) -> bool {
        match reason {
            Reason::BackendRefused
            | Reason::Unauthenticated
            | Reason::Forbidden
            | Reason::NotFound
            | Reason::TooLarge => true,
            Reason::RetriesExhausted => !self.senders_wait,
            Reason::BudgetSpent => self.keeps_left_out,
            _ => false,
        }
    }

    /// Writes a payload to disk. Returns false if that was not possible.
    pub(super) fn keep(&self, payload: &Payload, reason: Reason, answer: &str) -> bool {
        let note = Note {
            exporter: self.stats.id.clone(),
            reason: reason.name().to_owned(),
            answer: beginning(answer, ANSWER).to_owned(),
            ..payload.context.as_deref().map(note_of).unwrap_or_default()
        };
        match self.store.append_with(payload, Place::Waiting, &note) {
            Ok(_) => {
                self.stats.dead_lettered.add(payload.items);
                true
            }
            Err(why) => {
                self.unkept.fetch_add(1, Ordering::SeqCst);
                self.stats.dead_letters_unkept.add(payload.items);
                if self.logged.is_due() {
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

    /// How many payloads could not be kept so far.
    pub(super) fn unkept(&self) -> u64 {
        self.unkept.load(Ordering::SeqCst)
    }

    /// Removes a letter that was sent again, or puts it back, by the outcome.
    pub(super) fn ended(&self, letter: &Resent, outcome: Outcome) -> Fate {
        let log = self.letterbox.log();
        let is_kept_anew = self.unkept() == letter.unkept_before;
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
            log.put_back(&letter.ticket);
        } else {
            self.store.settle(&letter.ticket);
        }
        fate
    }
}

/// A letter that is being sent again.
pub(super) struct Resent {
    pub(super) ticket: Ticket,
    /// The value of `unkept` when it was sent. If it has grown, the new letter may be missing.
    pub(super) unkept_before: u64,
}

/// At most `most` bytes of a text, without a part of a character.
fn beginning(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

#[cfg(test)]
mod tests;
