//! Sends one payload: piece by piece, in halves if it is refused, and what cannot be delivered
//! becomes a dead letter or is dropped. Counts the outcome of the items.
//!
//! Invariant: data of an exporter that encodes once is never encoded again, so it is never halved.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::watch;

use super::{
    carrier::{Carrier, End, Passage},
    dead_letters::DeadLetters,
};
use crate::{
    component::{BoxFuture, ExportError, Queue, Retry},
    otlp::{
        Content, Payload,
        content::Cursor,
        payload::{Outcome, Reason},
        split,
    },
    telemetry::Telemetry,
};

/// Delivers payloads of one exporter, however many attempts and parts that takes.
pub(super) struct Sender {
    pub(super) carrier: Carrier,
    /// Settings of the queue in front, if there is one.
    pub(super) queue: Option<Queue>,
    pub(super) telemetry: Arc<Telemetry>,
    /// Where data goes that has permanently failed.
    pub(super) dead_letters: Option<Arc<DeadLetters>>,
}

/// Most bytes that are cut into halves, as a multiple of the payload's. Parts of a payload repeat
/// what its items share: cut down to single items, a request of 600 kB with 20 000 items and a
/// resource of 500 kB would become 10 GB, each part encoded and refused in turn.
const CUTS: usize = 32;
/// A smaller payload counts as one of so many bytes.
const SMALL: usize = 64 << 10;

/// Bytes of a payload and its parts that may still be cut.
struct Halving(AtomicUsize);

impl Halving {
    fn new(payload: &Payload) -> Self {
        Halving(AtomicUsize::new(payload.len().max(SMALL).saturating_mul(CUTS)))
    }

    /// Whether a part of this length may be cut.
    fn may_cut(&self, len: usize) -> bool {
        let take = |left: usize| left.checked_sub(len);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

impl Sender {
    /// Sends `payload` piece by piece. If a piece is refused for good, tries its parts, so that one
    /// sender with bad data loses only its own. Returns the items that were given up because skep
    /// is ending.
    ///
    /// `units` are those of the monthly budget, if they are known.
    pub(super) fn deliver(
        self: Arc<Self>,
        payload: Payload,
        units: Option<u64>,
        abandon: watch::Receiver<bool>,
    ) -> BoxFuture<u64> {
        let halving = Arc::new(Halving::new(&payload));
        self.deliver_part(payload, units, abandon, halving)
    }

    fn deliver_part(
        self: Arc<Self>,
        payload: Payload,
        units: Option<u64>,
        abandon: watch::Receiver<bool>,
        halving: Arc<Halving>,
    ) -> BoxFuture<u64> {
        Box::pin(async move {
            let stats = &self.carrier.stats;
            stats.sent_items.record(payload.items);
            stats.sent_bytes.record(payload.len() as u64);
            let content = Arc::new(Content::of(&payload));
            let (mut lost, mut from) = (0, Some(Cursor::default()));
            while let Some(start) = from {
                let mut passage = Passage::new(&content, &start).with_units(units);
                let end = self.carrier.carry(&content, &mut passage, abandon.clone()).await;
                from = passage.next();
                let (reason, error) = match end {
                    End::Done { rejected } => {
                        stats.sent.add(passage.items() - rejected);
                        stats.rejected.add(rejected);
                        // Other exporters get the worker between two pieces.
                        tokio::task::yield_now().await;
                        continue;
                    }
                    End::Lost(reason, error) => {
                        let rest = Sender::rest(payload, &content, &start);
                        return lost + self.give_up(rest, reason, &error);
                    }
                    End::Refused(error) => (Reason::BackendRefused, error),
                    End::TooLarge(error) => (Reason::TooLarge, error),
                };
                let body = content.between(&start, from.as_ref());
                let part = payload.split_off(body, passage.items());
                // A request of one sender is refused as it came; only a merged one is bisected.
                let is_divisible = reason == Reason::TooLarge || content.body.len() > 1;
                match self.halve(part, is_divisible, &halving) {
                    Ok(halves) => {
                        for half in halves {
                            let (own, halving) = (Arc::clone(&self), Arc::clone(&halving));
                            lost += own.deliver_part(half, None, abandon.clone(), halving).await;
                        }
                    }
                    Err(part) => lost += self.give_up(part, reason, &error),
                }
            }
            payload.finish(Outcome::Delivered);
            lost
        })
    }

    /// The halves of a part, to be encoded again; the part itself if that is not possible.
    fn halve(
        &self,
        part: Payload,
        is_divisible: bool,
        halving: &Halving,
    ) -> Result<[Payload; 2], Payload> {
        let may_repeat = self.carrier.exporter.encodes().may_repeat();
        if may_repeat && is_divisible && halving.may_cut(part.len()) {
            split::halve(part)
        } else {
            Err(part)
        }
    }

    /// The rest of a payload from a cursor on; everything before was delivered.
    fn rest(payload: Payload, content: &Content, from: &Cursor) -> Payload {
        if from.is_at_start() {
            return payload;
        }
        let items = payload.items.saturating_sub(from.items());
        let rest = payload.split_off(content.between(from, None), items);
        payload.finish(Outcome::Delivered);
        rest
    }

    /// Gives up a payload, or what is left of it. Returns the items that are lost because skep is
    /// ending.
    fn give_up(&self, payload: Payload, reason: Reason, error: &ExportError) -> u64 {
        if reason == Reason::ShuttingDown && self.is_on_disk(&payload) {
            self.fail(payload, reason);
            return 0;
        }
        let is_kept = self.bury(&payload, reason, error);
        let lost = if !is_kept && self.is_lost(reason) { payload.items } else { 0 };
        let outcome = match error.retry {
            // A sender that waits for the result gets the pause that the backend asked for.
            Retry::After(Some(pause)) if reason == Reason::RetriesExhausted => {
                Outcome::Postponed(u32::try_from(pause.as_millis()).unwrap_or(u32::MAX))
            }
            _ => Outcome::Failed(reason),
        };
        self.end(payload, reason, outcome);
        lost
    }

    /// Keeps a payload as a dead letter, if that is configured, and logs what has become of it.
    /// Returns whether it is kept.
    fn bury(&self, payload: &Payload, reason: Reason, error: &ExportError) -> bool {
        let letters = self.dead_letters.as_ref().filter(|letters| letters.takes(reason));
        let is_kept = letters.is_some_and(|letters| letters.keep(payload, reason, &error.message));
        if reason == Reason::BudgetSpent {
            // The budget says so itself, once.
            return is_kept;
        }
        if is_kept {
            tracing::error!(
                exporter = %self.carrier.stats.id,
                error = %error,
                reason = reason.name(),
                items = payload.items,
                "Exporting failed. The data is kept as a dead letter; see `skep dlq`."
            );
        } else {
            tracing::error!(
                exporter = %self.carrier.stats.id,
                error = %error,
                reason = reason.name(),
                dropped_items = payload.items,
                "Exporting failed. Dropping data."
            );
        }
        is_kept
    }

    /// Whether data given up for this reason is lost because skep is ending: it was already
    /// acknowledged.
    fn is_lost(&self, reason: Reason) -> bool {
        match reason {
            Reason::ShuttingDown => true,
            Reason::RetriesExhausted => {
                self.carrier.state.is_closed()
                    && self.queue.as_ref().is_some_and(|queue| !queue.wait_for_result)
            }
            _ => false,
        }
    }

    /// Whether the next process finds the payload on disk. A payload that a full disk has refused
    /// has no claim on a record.
    fn is_on_disk(&self, payload: &Payload) -> bool {
        self.carrier.is_guarded && !payload.receipts.is_empty()
    }

    pub(super) fn fail(&self, payload: Payload, reason: Reason) {
        self.end(payload, reason, Outcome::Failed(reason));
    }

    fn end(&self, payload: Payload, reason: Reason, outcome: Outcome) {
        if reason != Reason::ShuttingDown || !self.is_on_disk(&payload) {
            self.carrier.stats.failed.add(payload.items);
            self.telemetry.drop_items(reason, payload.items);
        }
        payload.finish(outcome);
    }
}

#[cfg(test)]
mod tests;
