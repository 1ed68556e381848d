//! One sender: who it is, what it has sent, and why requests of it were refused.

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{Caller, Named, Origin};
use crate::{otlp::Signal, sync::lock};

/// The time that rates are told for.
pub const WINDOW: Duration = Duration::from_mins(1);
/// Readings of the counters that are kept: one every five seconds fills the window.
const READINGS: usize = 14;
/// Bytes of a name that are kept.
const NAME: usize = 200;
/// Bytes of a reason that are kept.
const WORDS: usize = 500;

/// Who a sender is.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Who {
    /// `service.name`, empty if the resource has none; `None` if no request became data.
    pub service: Option<String>,
    /// The `User-Agent` where no request became data.
    pub agent: String,
    /// Component id of the receiver.
    pub receiver: String,
    /// `grpc`, `http` or `udp`; empty where no request got that far.
    pub transport: &'static str,
    /// Address without the port; `None` on a unix socket, and at a public port.
    pub peer: Option<IpAddr>,
    /// `telemetry.sdk.name`.
    pub sdk: String,
    /// `telemetry.sdk.language`.
    pub language: String,
    /// `telemetry.sdk.version`.
    pub version: String,
    /// `proto`, `json`, or what the receiver made OTLP of.
    pub encoding: &'static str,
    /// `gzip`; empty without compression.
    pub compression: &'static str,
}

impl Who {
    pub(super) fn of_service(origin: &Origin<'_>, named: &Named<'_>) -> Self {
        Who {
            service: Some(text(named.service)),
            sdk: text(named.sdk),
            language: text(named.language),
            version: text(named.version),
            encoding: origin.caller.foreign.unwrap_or(origin.encoding),
            compression: origin.compression,
            ..Who::of_place(origin.receiver, origin.caller)
        }
    }

    pub(super) fn of_agent(receiver: &str, caller: &Caller) -> Self {
        Who { agent: text(caller.shown_agent()), ..Who::of_place(receiver, caller) }
    }

    fn of_place(receiver: &str, caller: &Caller) -> Self {
        let (receiver, peer) = (receiver.to_owned(), caller.shown_peer());
        Who { receiver, transport: caller.transport, peer, ..Who::default() }
    }
}

/// The beginning of a name that a client has chosen.
fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(NAME)]);
    // A character that was cut.
    let is_cut = bytes.len() > NAME;
    if is_cut { text.trim_end_matches('\u{FFFD}').to_owned() } else { text.into_owned() }
}

/// What a sender has sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests, refused ones included.
    pub requests: u64,
    /// Of these, refused.
    pub refused: u64,
    /// Items that were taken, by signal.
    pub taken: [u64; 3],
}

impl Tally {
    /// Items of all signals.
    pub fn items(&self) -> u64 {
        self.taken.iter().sum()
    }

    fn since(&self, then: &Tally) -> Tally {
        let taken = std::array::from_fn(|i| self.taken[i].saturating_sub(then.taken[i]));
        Tally {
            requests: self.requests.saturating_sub(then.requests),
            refused: self.refused.saturating_sub(then.refused),
            taken,
        }
    }
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Time since then.
    pub age: Duration,
    /// In words, mostly with the remedy. They may have text of the client in them.
    pub words: String,
}

/// A sender at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    pub who: Who,
    /// Time since its last request.
    pub last_age: Duration,
    /// Since it was first seen.
    pub total: Tally,
    /// In the last `span`.
    pub recent: Tally,
    /// The part of [`WINDOW`] that `recent` is about; shorter for a sender that is new.
    pub span: Duration,
    /// The last request of it that was refused.
    pub refusal: Option<Refusal>,
}

/// One sender.
#[derive(Debug)]
pub struct Sender {
    who: Who,
    /// When it was first and last seen, in milliseconds since the start.
    first_seen: u64,
    last_seen: AtomicU64,
    /// By signal.
    requests: [AtomicU64; 3],
    taken: [AtomicU64; 3],
    /// Requests of no known signal are among these only.
    turned_away: AtomicU64,
    refused: AtomicU64,
    /// When, and why.
    refusal: Mutex<Option<(u64, String)>>,
    /// Earlier readings, the oldest first.
    past: Mutex<VecDeque<(u64, Tally)>>,
}

impl Sender {
    pub(super) fn new(who: Who, millis: u64) -> Self {
        Sender {
            who,
            first_seen: millis,
            last_seen: AtomicU64::new(millis),
            requests: Default::default(),
            taken: Default::default(),
            turned_away: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            refusal: Mutex::default(),
            past: Mutex::default(),
        }
    }

    /// Its `service.name`; empty if it has none.
    pub fn service(&self) -> &str {
        self.who.service.as_deref().unwrap_or_default()
    }

    pub(super) fn seen(&self, millis: u64) {
        self.last_seen.store(millis, Ordering::Relaxed);
    }

    pub(super) fn last_seen(&self) -> u64 {
        self.last_seen.load(Ordering::Relaxed)
    }

    /// Counts a request that was understood. Returns whether it is the first of its signal.
    pub fn count_request(&self, signal: Signal) -> bool {
        self.requests[signal.index()].fetch_add(1, Ordering::Relaxed) == 0
    }

    /// Counts items that were taken.
    pub fn count_taken(&self, signal: Signal, items: u64) {
        self.taken[signal.index()].fetch_add(items, Ordering::Relaxed);
    }

    /// Counts a request that was understood and then refused, in words for people.
    pub fn count_refused(&self, words: &str) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.note_refusal(words, self.last_seen());
    }

    pub(super) fn turned_away(&self, words: &str, millis: u64) {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.note_refusal(words, millis);
    }

    fn note_refusal(&self, words: &str, millis: u64) {
        let words = &words[..words.floor_char_boundary(WORDS)];
        let mut refusal = lock(&self.refusal);
        match refusal.as_mut() {
            // Most are refused for the same reason as the one before.
            Some((last, known)) if known == words => *last = millis,
            _ => *refusal = Some((millis, words.to_owned())),
        }
    }

    fn tally(&self) -> Tally {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Tally {
            requests: self.requests.iter().map(read).sum::<u64>() + read(&self.turned_away),
            refused: read(&self.refused),
            taken: std::array::from_fn(|i| read(&self.taken[i])),
        }
    }

    pub(super) fn note_counters(&self, millis: u64) {
        let mut past = lock(&self.past);
        if past.len() == READINGS {
            past.pop_front();
        }
        past.push_back((millis, self.tally()));
    }

    pub(super) fn sighting(&self, millis: u64) -> Sighting {
        let total = self.tally();
        let window = u64::try_from(WINDOW.as_millis()).unwrap_or(u64::MAX);
        let begin = millis.saturating_sub(window);
        let past = lock(&self.past);
        let then = past.iter().rev().find(|(at, _)| *at <= begin).or_else(|| {
            // The window began before the first reading: since the sender is there.
            past.front().filter(|_| self.first_seen < begin)
        });
        let (since, base) = then.copied().unwrap_or((self.first_seen, Tally::default()));
        drop(past);
        let age = |at: u64| Duration::from_millis(millis.saturating_sub(at));
        let refusal = lock(&self.refusal).clone();
        Sighting {
            who: self.who.clone(),
            last_age: age(self.last_seen()),
            total,
            recent: total.since(&base),
            span: age(since),
            refusal: refusal.map(|(at, words)| Refusal { age: age(at), words }),
        }
    }
}
