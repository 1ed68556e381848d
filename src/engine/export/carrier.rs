//! Carries one piece of a payload to the backend: encodes it, with room from the workspace, makes
//! attempts with a time-out, and pauses between them. Says in counters and log how attempts end.
//!
//! What an exporter makes of a piece is dropped after each attempt, with its room, and made again
//! for the next one. For an exporter that encodes once it is kept instead, and [`Made`] sees to it
//! that nothing is encoded twice.
//!
//! With a monthly budget a piece is claimed once it is encoded, before its first attempt.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::watch;

use super::{
    bug::guarded,
    meter::{Claim, Load, Meter},
    offload::Offload,
    outage::{News, Outage},
    partial::Partial,
    retry::Retries,
    state::State,
    workspace::{Room, Workspace},
};
use crate::{
    component::{
        Backoff, Denial, Encodes, ErasedExporter, ExportError, Piece, Progress, Ready, Retry, Work,
    },
    otlp::{Content, content::Cursor, payload::Reason},
    telemetry::ExporterStats,
};

/// Makes attempts for one exporter.
pub(super) struct Carrier {
    pub(super) exporter: Arc<dyn ErasedExporter>,
    /// `None`: one attempt.
    pub(super) retry: Option<Backoff>,
    /// Of one attempt.
    pub(super) timeout: Option<Duration>,
    pub(super) stats: Arc<ExporterStats>,
    pub(super) offload: Offload,
    /// Pays for the bytes that the exporter allocates.
    pub(super) workspace: Arc<Workspace>,
    /// Whether all payloads are on disk somewhere, so that nothing is lost when one is given up.
    pub(super) is_guarded: bool,
    pub(super) state: Arc<State>,
    /// Whether the backend is down. Changes of this state are logged, not attempts.
    pub(super) outage: Outage,
    pub(super) partial: Partial,
    /// Claims what is sent from the monthly budget, if there is one.
    pub(super) meter: Option<Meter>,
}

/// A piece on its way: state that is kept from one attempt to the next.
pub(super) struct Passage {
    from: Cursor,
    /// Where the next piece begins; `None` after the last one.
    next: Option<Cursor>,
    items: u64,
    /// The room that it was encoded in. With another room the pieces may differ.
    room: usize,
    progress: Arc<Progress>,
    made: Made,
    /// Units of the whole payload, if the gate has counted them.
    units: Option<u64>,
    /// What is claimed for it from the monthly budget, and where the claimed piece ends.
    claim: Option<(Claim, Option<Cursor>)>,
}

/// What an exporter that encodes once has made of a piece. For others it is always `Nothing`.
#[derive(Default)]
enum Made {
    /// It has not been encoded.
    #[default]
    Nothing,
    /// Its encoding has begun, and the result is not known. It must not be encoded again.
    Unknown,
    /// Kept for the next attempt, with its room.
    Kept(Parcel),
}

/// An encoded piece and the room that it takes.
struct Parcel {
    piece: Box<dyn Ready>,
    room: Option<Room>,
}

impl Passage {
    /// A piece that begins at `from`.
    pub(super) fn new(content: &Content, from: &Cursor) -> Self {
        let items = content.items.saturating_sub(from.items());
        let (progress, made) = (Arc::default(), Made::Nothing);
        Passage {
            from: *from,
            next: None,
            items,
            room: 0,
            progress,
            made,
            units: None,
            claim: None,
        }
    }

    /// The same with the units of the whole payload, if they are known.
    pub(super) fn with_units(self, units: Option<u64>) -> Self {
        Passage { units, ..self }
    }

    /// Where the next piece begins; `None` if there is none.
    pub(super) fn next(&self) -> Option<Cursor> {
        self.next
    }

    /// Notes that the backend may have the piece although it has not said so.
    fn note_no_answer(&mut self) {
        if let Some((claim, _)) = &mut self.claim {
            (claim.may_be_taken, claim.is_spent) = (true, true);
        }
    }

    /// The same while the exporter fails: it counts, but another attempt does not count again.
    fn note_no_answer_while_failing(&mut self) {
        if let Some((claim, _)) = &mut self.claim {
            claim.may_be_taken = true;
        }
    }

    /// Items in the piece; as long as it is not encoded, all that are left.
    pub(super) fn items(&self) -> u64 {
        self.items
    }
}

/// How the attempts on a piece ended.
pub(super) enum End {
    /// The backend has it, except for items that it rejected.
    Done { rejected: u64 },
    /// Refused for good; worth trying in parts.
    Refused(ExportError),
    /// Too large; worth trying in parts.
    TooLarge(ExportError),
    /// The rest of the payload has failed, too.
    Lost(Reason, ExportError),
}

impl Carrier {
    /// Makes attempts until one succeeds or another is useless. Gives back what was claimed from
    /// the monthly budget if nothing of the piece was taken.
    pub(super) async fn carry(
        &self,
        content: &Arc<Content>,
        passage: &mut Passage,
        abandon: watch::Receiver<bool>,
    ) -> End {
        let end = self.attempts(content, passage, abandon).await;
        let is_taken = matches!(end, End::Done { .. }) || passage.progress.is_begun();
        if let (Some(meter), Some((claim, _)), false) =
            (&self.meter, passage.claim.take(), is_taken)
        {
            meter.give_back(&claim);
        }
        end
    }

    async fn attempts(
        &self,
        content: &Arc<Content>,
        passage: &mut Passage,
        mut abandon: watch::Receiver<bool>,
    ) -> End {
        let mut retries = self.retry.as_ref().map(|backoff| Retries::new(backoff, now()));
        loop {
            let outages = self.outage.ended();
            let error = match self.measured_attempt(content, passage, &mut abandon).await {
                Ok(rejected) => return End::Done { rejected },
                Err(error) => error,
            };
            let asked = match error.retry {
                Retry::After(asked) => asked,
                Retry::Unanswered => None,
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
                let stays = self.is_guarded && self.state.is_closed();
                let reason = if stays { Reason::ShuttingDown } else { Reason::RetriesExhausted };
                return End::Lost(reason, error);
            };
            self.stats.retries.add(1);
            self.log_failure(&error, pause);
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

    fn log_failure(&self, error: &ExportError, pause: Duration) {
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
    }

    /// An attempt, with its duration and failure noted.
    async fn measured_attempt(
        &self,
        content: &Arc<Content>,
        passage: &mut Passage,
        abandon: &mut watch::Receiver<bool>,
    ) -> Result<u64, ExportError> {
        let begin = now();
        let attempt = self.attempt(content, passage, abandon).await;
        let millis = now().duration_since(begin).as_millis();
        self.stats.attempt_millis.record(u64::try_from(millis).unwrap_or(u64::MAX));
        if let Err(error) = &attempt {
            if error.retry == Retry::Denied(Denial::BudgetSpent) {
                // It says nothing about the backend.
                return attempt;
            }
            self.state.set_failing(true);
            match error.retry {
                Retry::Never | Retry::Denied(_) => {
                    self.stats.denied(SystemTime::now(), &error.message);
                }
                Retry::Split | Retry::After(_) | Retry::Unanswered => {
                    self.stats.erred(SystemTime::now(), &error.message);
                }
            }
        }
        attempt
    }

    /// One attempt. Returns the number of items that the backend rejected.
    async fn attempt(
        &self,
        content: &Arc<Content>,
        passage: &mut Passage,
        abandon: &mut watch::Receiver<bool>,
    ) -> Result<u64, ExportError> {
        let Parcel { piece, room } = match std::mem::take(&mut passage.made) {
            Made::Kept(parcel) => parcel,
            Made::Nothing => self.encode(content, passage, abandon).await?,
            Made::Unknown => {
                passage.made = Made::Unknown;
                return Err(ExportError {
                    retry: Retry::After(None),
                    message: "the data was encoded before and cannot be encoded again".to_owned(),
                });
            }
        };
        self.claim(content, passage, &*piece)?;
        let is_healthy = !self.state.is_failing();
        // It is paid for until the attempt has ended, or until the piece is dropped.
        let _room = if self.exporter.encodes().may_repeat() {
            room
        } else {
            passage.made = Made::Kept(Parcel { piece: piece.copy(), room });
            None
        };
        let timeout = self.timeout.unwrap_or(Duration::MAX);
        let answer = tokio::select! {
            answer = tokio::time::timeout(timeout, guarded(piece, &passage.progress)) => answer,
            _ = abandon.wait_for(|raised| *raised) => {
                if is_healthy {
                    passage.note_no_answer();
                }
                return Err(cut_off());
            }
        };
        let answer = answer.unwrap_or_else(|_| {
            let message = format!("no answer from {} within {timeout:?}", self.stats.destination);
            Err(ExportError { retry: Retry::Unanswered, message })
        });
        let sent = answer.inspect_err(|error| {
            // While a backend fails, what it does not answer it mostly has not got. If each attempt
            // counted, an outage would use up the month.
            match error.retry {
                Retry::Unanswered if is_healthy => passage.note_no_answer(),
                Retry::Unanswered => passage.note_no_answer_while_failing(),
                _ => {}
            }
        })?;
        self.stats.succeeded(SystemTime::now());
        self.state.set_failing(false);
        if self.outage.succeeded() {
            tracing::info!(exporter = %self.stats.id, "Exporting works again.");
        }
        // A backend may claim any number; the counters have to add up to what was sent.
        let rejected = sent.rejected.min(passage.items);
        self.partial.tell(&self.stats.id, rejected, &sent);
        Ok(rejected)
    }

    /// Claims a piece from the monthly budget, unless an earlier attempt has done so.
    fn claim(
        &self,
        content: &Arc<Content>,
        passage: &mut Passage,
        encoded: &dyn Ready,
    ) -> Result<(), ExportError> {
        let Some(meter) = &self.meter else { return Ok(()) };
        match passage.claim.take() {
            Some((claim, end)) if end == passage.next && !claim.is_spent => {
                passage.claim = Some((claim, end));
                return Ok(());
            }
            // With another room the piece has another end. One that the backend may have is kept:
            // then the piece counts twice, since it is sent twice.
            Some((claim, _)) => meter.give_back(&claim),
            None => {}
        }
        let is_whole = passage.from.is_at_start() && passage.next.is_none();
        let body = if is_whole {
            content.body.clone()
        } else {
            content.between(&passage.from, passage.next.as_ref())
        };
        let (items, known) = (passage.items, passage.units);
        let load = Load { content, body, items, is_whole, known, encoded };
        passage.claim = meter.claim(&load).map(|claim| (claim, passage.next));
        if passage.claim.is_some() {
            return Ok(());
        }
        let message = "the monthly budget has nothing left for it".to_owned();
        Err(ExportError { retry: Retry::Denied(Denial::BudgetSpent), message })
    }

    async fn encode(
        &self,
        content: &Arc<Content>,
        passage: &mut Passage,
        abandon: &mut watch::Receiver<bool>,
    ) -> Result<Parcel, ExportError> {
        let (piece, room) = if self.exporter.encodes() == Encodes::Inline {
            let work = Work { content, from: passage.from, room: 0 };
            (Arc::clone(&self.exporter).encode(&work)?, None)
        } else {
            let (piece, room) = self.encode_on_worker(content, passage, abandon).await?;
            (piece, Some(room))
        };
        let Piece { encoded, items, next, .. } = piece;
        passage.next = next;
        let is_same = |mut next: Cursor| {
            next.made = passage.from.made;
            next == passage.from
        };
        if next.is_some_and(is_same) {
            passage.next = None;
            let message = "the exporter made no request from the data".to_owned();
            return Err(ExportError { retry: Retry::Never, message });
        }
        if next.is_some() {
            passage.items = items.min(passage.items);
        }
        Ok(Parcel { piece: encoded, room })
    }

    async fn encode_on_worker(
        &self,
        content: &Arc<Content>,
        passage: &mut Passage,
        abandon: &mut watch::Receiver<bool>,
    ) -> Result<(Piece<Box<dyn Ready>>, Room), ExportError> {
        let mut room = tokio::select! {
            room = self.workspace.take(self.exporter.room(content)) => room,
            _ = abandon.wait_for(|raised| *raised) => return Err(cut_off()),
        };
        if !self.exporter.encodes().may_repeat() {
            passage.made = Made::Unknown;
        }
        let (exporter, content) = (Arc::clone(&self.exporter), Arc::clone(content));
        let (from, bytes) = (passage.from, room.bytes());
        let work = move || exporter.encode(&Work { content: &content, from, room: bytes });
        let encoded = tokio::select! {
            encoded = self.offload.run(work) => encoded,
            _ = abandon.wait_for(|raised| *raised) => return Err(cut_off()),
        };
        let piece = encoded.unwrap_or_else(|| {
            let message = "the worker that encoded the data has ended".to_owned();
            Err(ExportError { retry: Retry::After(None), message })
        })?;
        room.shrink(piece.held);
        if passage.room != bytes {
            if passage.progress.is_begun() {
                passage.note_no_answer();
            }
            passage.progress = Arc::default();
        }
        passage.room = bytes;
        Ok((piece, room))
    }
}

fn cut_off() -> ExportError {
    let message = "the attempt was cut off because skep is ending".to_owned();
    ExportError { retry: Retry::After(None), message }
}

/// Tokio's clock, so that tests can pause it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
