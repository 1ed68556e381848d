//! `Tap`: opens a tap for a caller, and sends what it shows.
//!
//! A task of its own takes what the workers show, also while the caller reads nothing, so that the
//! tap ends in time and a slow caller only makes it miss items. Items are read on a blocking
//! thread, a few payloads at a time.

mod message;
mod spot;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tonic::Status;

pub(crate) use self::spot::{Point, points};
use self::{message::item, spot::Spot};
use super::proto::{TapCounts, TapEnd, TapItem, TapRequest, TapResponse};
use crate::{
    component::Stop,
    tap::{Condition, Digest, Masks, Settings, Side},
    telemetry::{
        Telemetry,
        decisions::Decisions,
        tap::{MOST, Seen, Tap},
    },
};

/// Items a second if the caller names no number.
const RATE: u32 = 20;

/// Most items a second that can be asked for.
const MOST_RATE: u32 = 10_000;

/// How long a tap is open if the caller does not say.
const OPEN: Duration = Duration::from_mins(10);

/// Longest time for which it may be.
const MOST_OPEN: Duration = Duration::from_hours(1);

/// How often the clock, the configuration and decisions are looked at.
const TICK: Duration = Duration::from_millis(250);

/// How often counts are sent if there is no item.
const QUIET: Duration = Duration::from_secs(1);

/// Payloads that are read at a time.
const BATCH: usize = 32;

/// About how many bytes a message may have.
const MESSAGE: usize = 1 << 20;

/// How long the last message may wait for its reader.
const GRACE: Duration = Duration::from_secs(5);

/// Through what somebody asks for a tap.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Through {
    /// The control plane, which asks nobody who they are.
    ControlPlane {
        /// Whether only this machine reaches it.
        is_loopback: bool,
    },
    /// The console, which knows who asks, and has a level.
    Console {
        /// Whether that is the level of contents.
        shows_contents: bool,
    },
}

/// The one place that says whether contents of telemetry may be shown to who asks.
fn may_show(through: Through) -> Result<(), Status> {
    let words = match through {
        Through::ControlPlane { is_loopback: true } | Through::Console { shows_contents: true } => {
            return Ok(());
        }
        Through::ControlPlane { is_loopback: false } => {
            "this skep does not show what telemetry says, since its control plane listens on an \
             address that other machines reach; let it listen on loopback (`--control-endpoint`), \
             and tap there"
        }
        Through::Console { shows_contents: false } => {
            "this console shows no contents of telemetry; start skep with `--console-level data`"
        }
    };
    Err(Status::permission_denied(words))
}

/// A tap that is open.
pub(crate) struct Open {
    tap: Tap,
    digest: Digest,
    spot: Spot,
    telemetry: Arc<Telemetry>,
    until: Instant,
}

/// Opens a tap, or says why not.
pub(crate) fn open(
    telemetry: &Arc<Telemetry>,
    through: Through,
    request: TapRequest,
) -> Result<Open, Status> {
    may_show(through)?;
    let asked = request.side();
    let TapRequest { pipeline, component, r#where, rate, limit, for_ms, redact, .. } = request;
    let (spot, side) = spot::find(telemetry, &pipeline, &component, asked)?;
    let masks = Masks::new(&redact, request.names_only).map_err(Status::invalid_argument)?;
    let condition = Some(r#where).filter(|text| !text.trim().is_empty());
    let condition = condition.map(|text| Condition::compile(spot.signal, &text)).transpose();
    let settings = Settings {
        // An edge shows what passes; only a processor has two sides.
        side: if spot.kind == "processor" { side } else { Side::In },
        rate: if rate == 0 { RATE } else { rate.min(MOST_RATE) },
        limit,
        masks,
        condition: condition.map_err(Status::invalid_argument)?,
        decisions: ring(telemetry, &spot),
    };
    let open = if for_ms == 0 { OPEN } else { Duration::from_millis(for_ms).min(MOST_OPEN) };
    let Some(tap) = telemetry.taps.open(spot.places.clone()) else {
        return Err(Status::resource_exhausted(format!(
            "{MOST} taps are open already, which is the most; end one of them"
        )));
    };
    tracing::info!(pipeline, component = spot.name(), ?side, "A tap was opened.");
    let now = Instant::now();
    let digest = Digest::new(settings, now.into_std());
    Ok(Open { tap, digest, spot, telemetry: Arc::clone(telemetry), until: now + open })
}

/// The decisions of a sampler.
fn ring(telemetry: &Telemetry, spot: &Spot) -> Option<Arc<Decisions>> {
    let all = telemetry.decisions();
    all.into_iter().rev().find(|ring| ring.id == spot.id && ring.pipeline == spot.pipeline)
}

/// Ends a task that nobody waits for any more.
struct Ending(JoinHandle<()>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whether a tap goes on; if not, why, or `None` if its reader has gone.
type Going = Result<(), Option<TapEnd>>;

/// Where a tap sends its messages.
pub(crate) type Sender = mpsc::Sender<Result<TapResponse, Status>>;

/// Sends what a tap shows until it ends. It goes on while nobody polls it, and ends when it is
/// dropped.
pub(crate) async fn run(stop: Stop, open: Open, sender: Sender) {
    let mut task = Ending(tokio::spawn(work(stop, open, sender)));
    let _ = (&mut task.0).await;
}

async fn work(mut stop: Stop, open: Open, sender: Sender) {
    let mut work = Work {
        tap: open.tap,
        digest: Some(open.digest),
        spot: open.spot,
        telemetry: open.telemetry,
        until: open.until,
        sender,
        sent: Instant::now(),
        ended: None,
    };
    if work.send(Vec::new(), TapEnd::Unspecified).await {
        work.ended = work.until_its_end(&mut stop).await;
        work.finish().await;
    }
}

/// The task of one tap.
struct Work {
    tap: Tap,
    /// `None` while a blocking thread has it, and if that has panicked.
    digest: Option<Digest>,
    spot: Spot,
    telemetry: Arc<Telemetry>,
    until: Instant,
    sender: Sender,
    sent: Instant,
    /// Why it ended, unless its reader has gone.
    ended: Option<TapEnd>,
}

impl Drop for Work {
    fn drop(&mut self) {
        let reason = match self.ended {
            None | Some(TapEnd::Unspecified) => "its reader has gone",
            Some(TapEnd::Time) => "its time is over",
            Some(TapEnd::Limit) => "it has shown as much as was asked for",
            Some(TapEnd::Gone) => "its component is gone",
            Some(TapEnd::Shutdown) => "skep ends",
            Some(TapEnd::Fault) => "an item could not be read",
        };
        let (pipeline, component) = (&self.spot.pipeline, self.spot.name());
        tracing::info!(pipeline, component, reason, "A tap has ended.");
    }
}

impl Work {
    /// Returns why the tap ends; `None` if its reader has gone.
    async fn until_its_end(&mut self, stop: &mut Stop) -> Option<TapEnd> {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let going = tokio::select! {
                seen = self.tap.next() => match seen {
                    Some(seen) => self.read(seen).await,
                    None => Err(Some(TapEnd::Gone)),
                },
                _ = ticks.tick() => self.tick().await,
                () = sleep_until(self.until) => Err(Some(TapEnd::Time)),
                () = stop.raised() => Err(Some(TapEnd::Shutdown)),
                () = self.sender.closed() => Err(None),
            };
            if let Err(end) = going {
                return end;
            }
        }
    }

    /// Reads what the workers have shown.
    async fn read(&mut self, first: Seen) -> Going {
        let mut batch = vec![first];
        while batch.len() < BATCH
            && let Some(seen) = self.tap.try_next()
        {
            batch.push(seen);
        }
        self.digest(move |digest, now| batch.iter().for_each(|seen| digest.take(seen, now))).await
    }

    async fn tick(&mut self) -> Going {
        let inventory = self.telemetry.inventory();
        if self.tap.is_gone() || !self.spot.is_in(&inventory.pipelines) {
            return Err(Some(TapEnd::Gone));
        }
        let ring = ring(&self.telemetry, &self.spot);
        let looked = self.digest(move |digest, now| {
            digest.follow(ring);
            digest.tick(now);
        });
        looked.await?;
        if self.sent.elapsed() >= QUIET && !self.send(Vec::new(), TapEnd::Unspecified).await {
            return Err(None);
        }
        Ok(())
    }

    /// Lets a blocking thread do something, and sends what is to be shown then.
    async fn digest(
        &mut self,
        action: impl FnOnce(&mut Digest, std::time::Instant) + Send + 'static,
    ) -> Going {
        let mut digest = self.digest.take().ok_or(Some(TapEnd::Fault))?;
        let now = Instant::now().into_std();
        let done = tokio::task::spawn_blocking(move || {
            action(&mut digest, now);
            let items: Vec<TapItem> = digest.drain().into_iter().map(item).collect();
            (digest, items)
        });
        let (digest, items) = done.await.map_err(|_| Some(TapEnd::Fault))?;
        let is_full = digest.is_full();
        self.digest = Some(digest);
        for items in parted(items) {
            if !self.send(items, TapEnd::Unspecified).await {
                return Err((Instant::now() >= self.until).then_some(TapEnd::Time));
            }
        }
        if is_full { Err(Some(TapEnd::Limit)) } else { Ok(()) }
    }

    /// Sends a message, waiting for its reader as long as the tap is open.
    async fn send(&mut self, items: Vec<TapItem>, end: TapEnd) -> bool {
        let response = TapResponse { items, counts: Some(self.counts()), end: end.into() };
        self.sent = Instant::now();
        tokio::select! {
            sent = self.sender.send(Ok(response)) => sent.is_ok(),
            () = sleep_until(self.until) => false,
        }
    }

    fn counts(&self) -> TapCounts {
        let counts = self.digest.as_ref().map(Digest::counts).unwrap_or_default();
        TapCounts {
            seen: counts.seen + self.tap.missed(),
            shown: counts.shown,
            one_in: counts.one_in.max(1),
            missed: counts.missed + self.tap.missed(),
            forgotten: counts.forgotten,
        }
    }

    /// Shows what is still inside, and says why there is no more.
    async fn finish(&mut self) {
        let Some(end) = self.ended else { return };
        let mut items = Vec::new();
        if let Some(digest) = &mut self.digest {
            digest.finish();
            items.extend(digest.drain().into_iter().map(item));
        }
        self.until = Instant::now() + GRACE;
        for items in parted(items) {
            if !self.send(items, TapEnd::Unspecified).await {
                return;
            }
        }
        self.send(Vec::new(), end).await;
    }
}

/// Items in portions that fit a message.
fn parted(items: Vec<TapItem>) -> Vec<Vec<TapItem>> {
    let mut parts: Vec<Vec<TapItem>> = Vec::new();
    let mut size = MESSAGE;
    for item in items {
        let own = prost::Message::encoded_len(&item);
        if size + own > MESSAGE {
            parts.push(Vec::new());
            size = 0;
        }
        size += own;
        if let Some(part) = parts.last_mut() {
            part.push(item);
        }
    }
    parts
}

/// Microseconds since 1970.
fn micros(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
