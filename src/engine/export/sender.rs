//! Calls an exporter's `encode` and `send`, with room, timeout, retry and splitting, and counts the
//! outcome of the items.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use tokio::sync::watch;

use super::{
    bug::guarded,
    dead_letters::DeadLetters,
    outage::{News, Outage},
    partial::Partial,
    retry::Retries,
    workspace::{Room, Workspace},
};
use crate::{
    component::{
        BoxFuture, Delivery, Encodes, ExportError, Exporter, Piece, Progress, Request, Retry, Work,
    },
    engine::export::offload::Offload,
    otlp::{
        Content, Payload,
        content::Cursor,
        payload::{Outcome, Reason},
        split,
    },
    telemetry::{ExporterStats, Telemetry},
};

/// Delivers one payload at a time, however many attempts and parts that takes.
pub(super) struct Sender {
    pub(super) exporter: Arc<dyn Exporter>,
    pub(super) delivery: Delivery,
    pub(super) stats: Arc<ExporterStats>,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) offload: Offload,
    /// Pays for the bytes that the exporter makes.
    pub(super) workspace: Arc<Workspace>,
    /// Where goes what is given up for good.
    pub(super) dead_letters: Option<Arc<DeadLetters>>,
    /// Whether all that comes is on disk somewhere, so that nothing is lost when it is given up.
    pub(super) is_guarded: bool,
    /// Whether the queue is closed. From then on, failed requests are not repeated.
    pub(super) is_closed: Arc<AtomicBool>,
    /// Whether the last attempt failed.
    pub(super) is_failing: Arc<AtomicBool>,
    /// Whether the backend is down. Changes of this state are logged, not attempts.
    pub(super) outage: Outage,
    pub(super) partial: Partial,
}

/// A piece that is being sent: state that is kept from one attempt to the next.
struct Passage {
    from: Cursor,
    /// Where the next piece begins; `None` after the last one.
    next: Option<Cursor>,
    items: u64,
    /// The room that it was encoded in. With another room the pieces may differ.
    room: usize,
    progress: Arc<Progress>,
    /// Where the exporter encodes once.
    made: Option<(Request, Option<Room>)>,
}

impl Passage {
    fn new(content: &Content, from: &Cursor) -> Self {
        let items = content.items.saturating_sub(from.items());
        Passage { from: *from, next: None, items, room: 0, progress: Arc::default(), made: None }
    }
}

/// Parts of a payload repeat what its items share: cut down to single items, a request of 600 kB
/// whose resource has 500 kB and is shared by 20 000 items becomes 10 GB, each part encoded and
/// refused in turn. All that is cut has no more than so many times the bytes of the payload.
const CUTS: usize = 32;
/// A payload that is smaller counts as one of so many bytes.
const SMALL: usize = 64 << 10;

/// Bytes of a payload and its parts that may still be cut.
struct Halving(AtomicUsize);

impl Halving {
    fn of(payload: &Payload) -> Self {
        Halving(AtomicUsize::new(payload.len().max(SMALL).saturating_mul(CUTS)))
    }

    /// Whether one more is cut.
    fn may_cut(&self, len: usize) -> bool {
        let take = |left: usize| left.checked_sub(len);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

/// How the attempts on one piece ended.
enum End {
    Done,
    /// Refused for good; worth trying in parts.
    Refused(ExportError),
    /// Too large; worth trying in parts.
    TooLarge(ExportError),
    /// The rest of the payload failed, too.
    Lost(Reason, ExportError),
}

impl Sender {
    /// Sends `payload` piece by piece. If a piece is refused for good, tries its parts, so that one
    /// sender with bad data loses only its own. Returns the items that were given up because skep
    /// is ending.
    pub(super) fn deliver(
        self: Arc<Self>,
        payload: Payload,
        abandon: watch::Receiver<bool>,
    ) -> BoxFuture<u64> {
        let halving = Arc::new(Halving::of(&payload));
        self.deliver_part(payload, abandon, halving)
    }

    fn deliver_part(
        self: Arc<Self>,
        payload: Payload,
        abandon: watch::Receiver<bool>,
        halving: Arc<Halving>,
    ) -> BoxFuture<u64> {
        Box::pin(async move {
            self.stats.sent_items.record(payload.items);
            self.stats.sent_bytes.record(payload.len() as u64);
            let content = Arc::new(Content::of(&payload));
            let (mut lost, mut from) = (0, Some(Cursor::default()));
            while let Some(start) = from {
                let mut passage = Passage::new(&content, &start);
                let end = self.attempts(&content, &mut passage, abandon.clone()).await;
                from = passage.next;
                let (reason, error) = match end {
                    End::Done => {
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
                // A request of one sender was refused as it came; only a merged one is bisected.
                // What was encoded once is never encoded again.
                let is_divisible = self.exporter.encodes() != Encodes::OrderedOnce
                    && (reason == Reason::TooLarge || content.body.len() > 1);
                let body = content.between(&start, from.as_ref());
                let part = payload.split_off(body, passage.items);
                let may_be = is_divisible && halving.may_cut(part.len());
                let halved = if may_be { split::halve(part) } else { Err(part) };
                match halved {
                    Ok([first, second]) => {
                        for half in [first, second] {
                            let (own, halving) = (Arc::clone(&self), Arc::clone(&halving));
                            lost += own.deliver_part(half, abandon.clone(), halving).await;
                        }
                    }
                    Err(part) => lost += self.give_up(part, reason, &error),
                }
            }
            payload.finish(Outcome::Delivered);
            lost
        })
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

    /// Keeps what is given up as a dead letter where that is asked for, and says what became of it.
    /// Whether it is kept.
    fn bury(&self, payload: &Payload, reason: Reason, error: &ExportError) -> bool {
        let letters = self.dead_letters.as_ref().filter(|letters| letters.takes(reason));
        let is_kept = letters.is_some_and(|letters| letters.keep(payload, reason, &error.message));
        if is_kept {
            tracing::error!(
                exporter = %self.stats.id,
                error = %error,
                reason = reason.name(),
                items = payload.items,
                "Exporting failed. The data is kept as a dead letter; see `skep dlq`."
            );
        } else {
            tracing::error!(
                exporter = %self.stats.id,
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
        let queue = self.delivery.queue.as_ref();
        match reason {
            Reason::ShuttingDown => true,
            Reason::RetriesExhausted => {
                self.is_closed.load(Ordering::SeqCst)
                    && queue.is_some_and(|queue| !queue.wait_for_result)
            }
            _ => false,
        }
    }

    async fn attempts(
        &self,
        content: &Arc<Content>,
        passage: &mut Passage,
        mut abandon: watch::Receiver<bool>,
    ) -> End {
        let mut retries = self.delivery.retry.as_ref().map(|r| Retries::new(r, now()));
        loop {
            let begin = now();
            let outages = self.outage.ended();
            let attempt = self.attempt(content, passage, &mut abandon).await;
            let millis = now().duration_since(begin).as_millis();
            self.stats.attempt_millis.record(u64::try_from(millis).unwrap_or(u64::MAX));
            let error = match attempt {
                Ok(()) => return End::Done,
                Err(error) => error,
            };
            self.is_failing.store(true, Ordering::Relaxed);
            match error.retry {
                Retry::Never | Retry::Denied(_) => {
                    self.stats.denied(SystemTime::now(), &error.message);
                }
                Retry::Split | Retry::After(_) => {
                    self.stats.erred(SystemTime::now(), &error.message);
                }
            }
            let asked = match error.retry {
                Retry::After(asked) => asked,
                Retry::Split => return End::TooLarge(error),
                Retry::Never => return End::Refused(error),
                Retry::Denied(denial) => return End::Lost(denial.reason(), error),
            };
            if *abandon.borrow() {
                return End::Lost(Reason::ShuttingDown, error);
            }
            let pause = retries.as_mut().and_then(|r| r.pause(now(), asked, fastrand::f64()));
            let Some(pause) = pause else {
                // Data on disk survives the end of skep, so it is not dropped because of that.
                let stays = self.is_guarded && self.is_closed.load(Ordering::SeqCst);
                let reason = if stays { Reason::ShuttingDown } else { Reason::RetriesExhausted };
                return End::Lost(reason, error);
            };
            self.stats.retries.add(1);
            match self.outage.failed() {
                News::First => tracing::warn!(
                    exporter = %self.stats.id,
                    error = %error,
                    interval = ?pause,
                    "Exporting failed. Will retry the request after interval."
                ),
                News::Still(failing_for) => tracing::warn!(
                    exporter = %self.stats.id,
                    error = %error,
                    interval = ?pause,
                    failing_for_seconds = failing_for.as_secs(),
                    queue_size = self.stats.queue_size(),
                    queue_unit = self.stats.queue_unit(),
                    "Exporting still fails. Will retry the request after interval."
                ),
                News::None => {}
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // A pause that the backend asked for is kept.
                () = self.outage.end_after(outages), if asked.is_none() => {}
                _ = abandon.wait_for(|raised| *raised) => {
                    return End::Lost(Reason::ShuttingDown, error);
                }
            }
        }
    }

    /// Encodes a piece, or returns the one that was encoded before.
    async fn encode(
        &self,
        content: &Arc<Content>,
        passage: &mut Passage,
        abandon: &mut watch::Receiver<bool>,
    ) -> Result<(Request, Option<Room>), ExportError> {
        if let Some(made) = passage.made.take() {
            return Ok(made);
        }
        let (content, from) = (Arc::clone(content), passage.from);
        let (piece, room) = if self.exporter.encodes() == Encodes::Inline {
            (self.exporter.encode(&Work { content: &content, from, room: 0 })?, None)
        } else {
            let wanted = self.exporter.room(&content);
            let mut room = tokio::select! {
                room = self.workspace.take(wanted) => room,
                _ = abandon.wait_for(|raised| *raised) => return Err(cut_off()),
            };
            let (exporter, bytes) = (Arc::clone(&self.exporter), room.bytes());
            let work = move || exporter.encode(&Work { content: &content, from, room: bytes });
            let encoded = tokio::select! {
                encoded = self.offload.run(work) => encoded,
                _ = abandon.wait_for(|raised| *raised) => return Err(cut_off()),
            };
            let encoded = encoded.unwrap_or_else(|| {
                let message = "the worker that encoded the request is gone".to_owned();
                Err(ExportError { retry: Retry::After(None), message })
            });
            let piece = encoded?;
            let made: usize = piece.request.body.iter().map(Bytes::len).sum();
            room.shrink(made + piece.beside);
            if passage.room != bytes {
                passage.progress = Arc::default();
            }
            passage.room = bytes;
            (piece, Some(room))
        };
        let Piece { mut request, next, .. } = piece;
        let made: usize = request.body.iter().map(Bytes::len).sum();
        passage.next = next.map(|mut next| {
            next.made = from.made + made as u64;
            next
        });
        if next.is_some_and(|next| next == from) {
            passage.next = None;
            let message = "the exporter made no request from the data".to_owned();
            return Err(ExportError { retry: Retry::Never, message });
        }
        if next.is_some() {
            passage.items = request.items.min(passage.items);
        }
        request.progress = Arc::clone(&passage.progress);
        Ok((request, room))
    }

    async fn attempt(
        &self,
        content: &Arc<Content>,
        passage: &mut Passage,
        abandon: &mut watch::Receiver<bool>,
    ) -> Result<(), ExportError> {
        let (request, room) = self.encode(content, passage, abandon).await?;
        if self.exporter.encodes() == Encodes::OrderedOnce {
            passage.made = Some((request.clone(), room));
        }
        let timeout = self.delivery.timeout.unwrap_or(Duration::MAX);
        let answer = tokio::select! {
            answer = tokio::time::timeout(timeout, guarded(&*self.exporter, request)) => answer,
            _ = abandon.wait_for(|raised| *raised) => {
                return Err(cut_off());
            }
        };
        let sent = answer.unwrap_or_else(|_| {
            let message = format!("no answer from {} within {timeout:?}", self.stats.destination);
            Err(ExportError { retry: Retry::After(None), message })
        })?;
        self.stats.succeeded(SystemTime::now());
        self.is_failing.store(false, Ordering::Relaxed);
        if self.outage.succeeded() {
            tracing::info!(exporter = %self.stats.id, "Exporting works again.");
        }
        // A backend may claim any number; the accounts have to add up to what was sent.
        let rejected = sent.rejected.min(passage.items);
        self.stats.sent.add(passage.items - rejected);
        self.stats.rejected.add(rejected);
        self.partial.tell(&self.stats.id, rejected, &sent);
        Ok(())
    }

    /// Whether the next process finds the payload on disk. One that a full disk has refused has no
    /// claim on a record.
    fn is_on_disk(&self, payload: &Payload) -> bool {
        self.is_guarded && !payload.receipts.is_empty()
    }

    pub(super) fn fail(&self, payload: Payload, reason: Reason) {
        self.end(payload, reason, Outcome::Failed(reason));
    }

    fn end(&self, payload: Payload, reason: Reason, outcome: Outcome) {
        if reason != Reason::ShuttingDown || !self.is_on_disk(&payload) {
            self.stats.failed.add(payload.items);
            self.telemetry.drop_items(reason, payload.items);
        }
        payload.finish(outcome);
    }
}

fn cut_off() -> ExportError {
    let message = "the request was cut off by the end of the shutdown".to_owned();
    ExportError { retry: Retry::After(None), message }
}

/// Tokio's clock, so that tests can pause it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
