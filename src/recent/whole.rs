//! The store as its users see it: one handle for any thread. Each kind of question has a file of
//! its own.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::Serialize;

use super::{
    account::{Account, Charge},
    chunk::{Chunk, Kind},
    fate::{Decision, Delivery},
    governor::Governor,
    notes::Notes,
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
    /// Notes on traces for which there was no room.
    pub notes_lost: u64,
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
    pub(super) notes: Notes,
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
        let queue_charge =
            account.charge(queue_bytes + Queue::size() + Notes::size()).ok_or_else(too_small)?;
        let store = Store::new(&settings, &account).ok_or_else(too_small)?;
        Ok(Recent {
            settings,
            account,
            store: Mutex::new(store),
            governor: Mutex::new(Governor::new(settings.cpu)),
            queue: Queue::new(queue_bytes),
            notes: Notes::new(),
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
            notes_lost: self.notes.lost(),
            counts: store.counts,
        }
    }

    pub(super) fn one_in(&self) -> u32 {
        1 << sync::lock(&self.governor).shift()
    }

    /// Notes what a sampler decided on a trace. `policy` may be empty. Never waits: if too many
    /// notes wait already, it is left out and counted.
    pub fn decided(&self, trace: &[u8; 16], decision: Decision, policy: &Arc<str>) {
        self.notes.decided(trace, decision, policy);
    }

    /// Notes what became of a trace at an exporter, as [`Recent::decided`] does.
    pub fn delivered(&self, trace: &[u8; 16], delivery: Delivery, exporter: &Arc<str>) {
        self.notes.delivered(trace, delivery, exporter);
    }

    /// The store, all notes written down that may be.
    pub(super) fn locked(&self) -> MutexGuard<'_, Store> {
        let mut guard = sync::lock(&self.store);
        let store = &mut *guard;
        self.notes.apply(&mut store.early, &mut store.slots, &mut store.labels);
        guard
    }

    /// The chunks of a kind, the newest first, and what an answer from them says of itself.
    pub(super) fn snapshot(&self, kind: Kind, now: u64) -> (Vec<Arc<Chunk>>, Honesty) {
        let one_in = self.one_in();
        let mut store = self.locked();
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
