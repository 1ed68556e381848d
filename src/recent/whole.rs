//! The store as its users see it: one handle for any thread. Each kind of question has a file of
//! its own.

use std::{
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::Serialize;

use super::{
    account::{Account, Charge},
    chunk::{Chunk, Kind},
    fate::{Decision, Delivery},
    governor::Governor,
    queue::Queue,
    settings::{Honesty, Settings, TooSmall, as_text},
    store::{Counts, Store},
};
use crate::sync;

/// What is held, and what is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Bytes of the budget.
    pub bytes: usize,
    /// Bytes in use.
    pub used: usize,
    /// Those of them that are in use even if nothing is held.
    pub fixed: usize,
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
    pub(super) settings: Settings,
    pub(super) account: Arc<Account>,
    pub(super) store: Mutex<Store>,
    pub(super) governor: Mutex<Governor>,
    pub(super) queue: Queue,
    pub(super) queue_charge: Charge,
}

impl Recent {
    /// An empty store.
    pub fn new(settings: Settings) -> Result<Self, TooSmall> {
        let too_small = || TooSmall::of(settings.bytes);
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
            queue_charge,
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
            fixed: self.queue_charge.bytes() + store.fixed(),
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

    pub(super) fn one_in(&self) -> u32 {
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
    pub(super) fn snapshot(&self, kind: Kind, now: u64) -> (Vec<Arc<Chunk>>, Honesty) {
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
