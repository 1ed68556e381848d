//! The recent past of telemetry in a fixed number of bytes: what the console's lists, traces and
//! boards read. It is not a backend: nothing of it outlives the process, and what is old goes.
//!
//! ```text
//!  door --offer--> queue --(one thread of low priority)--> open chunk --seal--> chunks --> evicted
//!   (a reference)    |  full: left out, counted                |                   |
//!                    +--> governor: 1 in 2^k traces            +-- a copy --+      | shared
//!                                                                           v      v
//!                                             list of traces, one trace, queries, export
//! ```
//!
//! - [`Settings::bytes`] is a limit that holds: whatever grows is charged before it is allocated
//!   (`recent/account.rs`), and chunks are evicted as a whole, the oldest first.
//! - Whoever offers a request never waits. If digesting lags, or takes more than its share of a CPU,
//!   whole traces are left out by a hash of their ids (`recent/governor.rs`). What is held counts for
//!   what was left out, and every answer says in [`Honesty`] how far it can be trusted.
//! - Items are kept in columns (`recent/chunk.rs`), not as the bytes that came.

#![warn(missing_docs)]

mod account;
mod chunk;
mod dictionary;
mod fate;
mod governor;
mod item;
mod open;
mod queue;
mod seal;
mod slots;
mod store;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;

use self::{
    account::{Account, Charge},
    chunk::{Chunk, Kind},
    governor::Governor,
    queue::Queue,
    store::Store,
};
use crate::sync;

pub use self::{
    fate::{Decision, Delivery, Told},
    store::Counts,
};

/// How large the store is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Most bytes, all of them. At least [`Settings::LEAST`].
    pub bytes: usize,
    /// How long items are kept, if there is room.
    pub age: Duration,
    /// Most of a CPU that digesting takes on average, as a fraction.
    pub cpu: f64,
}

impl Settings {
    /// The fewest bytes with which there is room for anything: 8 MiB.
    pub const LEAST: usize = 8 << 20;
}

/// 64 MiB, 15 minutes, three per cent of a CPU.
impl Default for Settings {
    fn default() -> Self {
        Settings { bytes: 64 << 20, age: Duration::from_secs(15 * 60), cpu: 0.03 }
    }
}

/// Settings under which there is no store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store of recent data needs at least {least} bytes, and {0} were given", least = Settings::LEAST)]
pub struct TooSmall(usize);

/// How far an answer can be trusted; part of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Honesty {
    /// When the oldest item that is held came, nanoseconds since 1970 as text; none if nothing is.
    #[serde(serialize_with = "as_text")]
    pub held_from: Option<u64>,
    /// Items that were looked at.
    pub scanned: u64,
    /// At present one trace of so many is kept.
    pub one_in: u32,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// Whether time or memory ran out before all was looked at.
    pub is_partial: bool,
}

/// Numbers above 2^53 are text, since a browser would round them.
#[expect(clippy::ref_option, reason = "serde gives a reference")]
fn as_text<S: serde::Serializer>(value: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
    value.map(|value| value.to_string()).serialize(to)
}

/// What is held, and what is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Bytes of the budget.
    pub bytes: usize,
    /// Bytes in use.
    pub used: usize,
    /// The most bytes that were in use at once.
    pub highest: usize,
    /// Spans that are held.
    pub spans: u64,
    /// Log records that are held.
    pub records: u64,
    /// Traces with a span that is held.
    pub traces: usize,
    /// When the oldest span came, nanoseconds since 1970 as text.
    #[serde(serialize_with = "as_text")]
    pub held_from: Option<u64>,
    /// At present one trace of so many is kept.
    pub one_in: u32,
    /// Requests for which the queue had no room.
    pub refused: u64,
    /// What has become of items.
    pub counts: Counts,
}

/// The store. All methods may be called from any thread; none waits for long.
#[derive(Debug)]
pub struct Recent {
    settings: Settings,
    account: Arc<Account>,
    store: Mutex<Store>,
    governor: Mutex<Governor>,
    queue: Queue,
    _queue_charge: Charge,
}

impl Recent {
    /// An empty store.
    pub fn new(settings: Settings) -> Result<Self, TooSmall> {
        let too_small = || TooSmall(settings.bytes);
        if settings.bytes < Settings::LEAST {
            return Err(too_small());
        }
        let account = Account::new(settings.bytes);
        let queue_bytes = settings.bytes / 16;
        let queue_charge = account.charge(queue_bytes + Queue::size()).ok_or_else(too_small)?;
        let store = Store::new(&settings, &account).ok_or_else(too_small)?;
        Ok(Recent {
            settings,
            account,
            store: Mutex::new(store),
            governor: Mutex::new(Governor::new(settings.cpu)),
            queue: Queue::new(queue_bytes),
            _queue_charge: queue_charge,
        })
    }

    /// How large it is.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// What is held, and what is not.
    pub fn status(&self) -> Status {
        let one_in = self.one_in();
        let store = sync::lock(&self.store);
        Status {
            bytes: self.account.limit(),
            used: self.account.used(),
            highest: self.account.highest(),
            spans: store.held(Kind::Spans),
            records: store.held(Kind::Records),
            traces: store.slots.len(),
            held_from: store.held_from(Kind::Spans),
            one_in,
            refused: self.queue.refused(),
            counts: store.counts,
        }
    }

    fn one_in(&self) -> u32 {
        1 << sync::lock(&self.governor).shift()
    }

    /// Notes what a sampler decided on a trace, if spans of it are held. `policy` may be empty.
    pub fn decided(&self, trace: &[u8; 16], decision: Decision, policy: &str) {
        let store = &mut *sync::lock(&self.store);
        if let Some(slot) = store.slots.find(trace) {
            store.labels.decide(&mut store.slots.at_mut(slot).fate, decision, policy);
        }
    }

    /// Notes what became of a trace at an exporter, if spans of it are held.
    pub fn delivered(&self, trace: &[u8; 16], exporter: &str, delivery: Delivery) {
        let store = &mut *sync::lock(&self.store);
        if let Some(slot) = store.slots.find(trace) {
            store.labels.deliver(&mut store.slots.at_mut(slot).fate, exporter, delivery);
        }
    }

    /// The chunks of a kind, the newest first, and what an answer from them says of itself.
    fn snapshot(&self, kind: Kind, now: u64) -> (Vec<Arc<Chunk>>, Honesty) {
        let one_in = self.one_in();
        let mut store = sync::lock(&self.store);
        let chunks = store.snapshot(kind, now);
        let honesty = Honesty { held_from: store.held_from(kind), one_in, ..Honesty::default() };
        (chunks, honesty)
    }
}

/// Nanoseconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
