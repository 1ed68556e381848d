//! The byte budget: one account that pays for every body in the process.
//!
//! A receiver acquires bytes for the whole body once, before it reads the body. From then on,
//! growth uses `Ledger::try_charge` and fails if there is no room, so nobody waits for bytes while
//! holding some. Waiters are served in order of arrival, and new requests wait behind them, so that
//! small bodies do not starve a large one. Each waiter has a time limit, which bounds how long a
//! large body can delay the others.
//!
//! A part of the budget is set aside for the encoded bytes of exporters. The limit is the rest.
//!
//! Invariants: `used` is the sum of all live permits. It exceeds `limit` only by debts
//! (`Ledger::charge`): what an edit in place adds to a body that was already paid for, and what
//! connections cost, whose number is limited.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::oneshot;

use crate::{
    component::Rejection,
    otlp::payload::{Ledger, Permit, Reason},
    sync,
    telemetry::Telemetry,
};

/// Tiny requests cost more than their bytes: a task, a stream, headers.
const LEAST_CHARGE: u64 = 1024;

/// The account. Shared by all receivers.
pub struct Budget {
    whole: u64,
    /// The part for the workspaces of exporters.
    aside: AtomicU64,
    used: AtomicU64,
    /// Length of `waiters`, readable without the lock.
    waiting: AtomicUsize,
    waiters: Mutex<VecDeque<Waiter>>,
    telemetry: Arc<Telemetry>,
    /// A permit that gives bytes back serves the waiters, so it needs the account.
    itself: Weak<Budget>,
}

struct Waiter {
    bytes: u64,
    granted: oneshot::Sender<Permit>,
}

impl Budget {
    /// An account of `whole` bytes; `telemetry` shows its state.
    pub fn new(whole: u64, telemetry: Arc<Telemetry>) -> Arc<Self> {
        telemetry.budget_limit.set(whole);
        Arc::new_cyclic(|itself| Budget {
            itself: Weak::clone(itself),
            whole,
            aside: AtomicU64::new(0),
            used: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            waiters: Mutex::new(VecDeque::new()),
            telemetry,
        })
    }

    /// Bytes of the whole account.
    pub fn whole(&self) -> u64 {
        self.whole
    }

    /// Limit of all bodies together.
    pub fn limit(&self) -> u64 {
        self.whole.saturating_sub(self.aside.load(Ordering::Relaxed))
    }

    /// Sets `aside` bytes aside for exporters. Bodies that already use more than the rest are not
    /// affected.
    pub fn set_aside(&self, bytes: u64) {
        self.aside.store(bytes, Ordering::Relaxed);
        self.telemetry.budget_limit.set(self.limit());
    }

    /// Bytes charged now.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::SeqCst)
    }

    /// Takes `bytes` if they are free and no request waits for some.
    pub fn try_acquire(self: &Arc<Self>, bytes: usize) -> Option<Permit> {
        self.try_acquire_below(self.limit(), bytes)
    }

    /// Takes `bytes` if they do not exceed `ceiling` and no request waits for some.
    pub fn try_acquire_below(self: &Arc<Self>, ceiling: u64, bytes: usize) -> Option<Permit> {
        let bytes = (bytes as u64).max(LEAST_CHARGE);
        let is_first = self.waiting.load(Ordering::SeqCst) == 0;
        let ceiling = ceiling.min(self.limit());
        (is_first && self.charge_below(ceiling, bytes)).then(|| self.permit(bytes))
    }

    /// Takes `bytes` whether they are free or not; the next request waits until the debt is paid.
    pub fn owe(self: &Arc<Self>, bytes: usize) -> Permit {
        self.charge(bytes as u64);
        self.permit(bytes as u64)
    }

    fn charge_below(&self, ceiling: u64, bytes: u64) -> bool {
        let charged = self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |used| {
            used.checked_add(bytes).filter(|sum| *sum <= ceiling)
        });
        if charged.is_ok() {
            self.telemetry.budget_used.add(bytes);
        }
        charged.is_ok()
    }

    /// Takes `bytes`, waiting at most `patience`. A body larger than the limit is refused at once.
    pub async fn acquire(
        self: &Arc<Self>,
        bytes: usize,
        patience: Duration,
    ) -> Result<Permit, Reason> {
        if let Some(permit) = self.try_acquire(bytes) {
            return Ok(permit);
        }
        let charge = (bytes as u64).max(LEAST_CHARGE);
        if charge > self.limit() {
            return Err(Reason::TooLarge);
        }
        let (granted, waits) = oneshot::channel();
        self.enqueue(Waiter { bytes: charge, granted });
        self.serve();
        if let Ok(Ok(permit)) = tokio::time::timeout(patience, waits).await {
            return Ok(permit);
        }
        // Those behind must not wait for a waiter that has given up.
        self.serve();
        Err(Reason::OverBudget)
    }

    fn permit(self: &Arc<Self>, bytes: u64) -> Permit {
        let ledger: Arc<dyn Ledger> = Arc::clone(self) as Arc<dyn Ledger>;
        Permit::charged(bytes, ledger)
    }

    fn enqueue(&self, waiter: Waiter) {
        let mut waiters = sync::lock(&self.waiters);
        waiters.push_back(waiter);
        self.waiting.store(waiters.len(), Ordering::SeqCst);
        self.telemetry.budget_waiting.set(waiters.len() as u64);
    }

    /// Grants bytes to the first waiters as long as there is room.
    fn serve(self: &Arc<Self>) {
        while let Some(head) = self.next_granted() {
            // Outside the lock, because the receiver may have gone: the dropped permit then serves
            // the next waiter.
            let _ = head.granted.send(self.permit(head.bytes));
        }
    }

    /// Removes the first waiter that still waits, if its bytes are free, and charges them.
    fn next_granted(&self) -> Option<Waiter> {
        let mut waiters = sync::lock(&self.waiters);
        while waiters.front().is_some_and(|head| head.granted.is_closed()) {
            waiters.pop_front();
        }
        let affordable = waiters.front().is_some_and(|head| self.try_charge(head.bytes));
        let head = if affordable { waiters.pop_front() } else { None };
        self.waiting.store(waiters.len(), Ordering::SeqCst);
        self.telemetry.budget_waiting.set(waiters.len() as u64);
        head
    }
}

/// The charge for a body: an eighth more than its bytes. The allocator rounds up and keeps some of
/// the freed memory: a process with 51 MiB of bodies had 96 MiB.
pub const fn cost(bytes: usize) -> usize {
    bytes.saturating_add(bytes / 8)
}

/// The refusal of a body that would not fit even if it were alone; the largest that fits has 8/9 of
/// the `limit`.
pub fn too_large(limit: u64) -> Rejection {
    Rejection::TooLarge { limit: usize::try_from(limit - limit / 9).unwrap_or(usize::MAX) }
}

impl Ledger for Budget {
    fn used(&self) -> u64 {
        Budget::used(self)
    }

    fn lost_account_of(&self, items: u64) {
        self.telemetry.drop_items(Reason::Unaccounted, items);
    }

    fn try_charge(&self, bytes: u64) -> bool {
        self.charge_below(self.limit(), bytes)
    }

    fn try_charge_below(&self, ceiling: u64, bytes: u64) -> bool {
        self.charge_below(ceiling.min(self.limit()), bytes)
    }

    fn charge(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::SeqCst);
        self.telemetry.budget_used.add(bytes);
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::SeqCst);
        self.telemetry.budget_used.sub(bytes);
        if self.waiting.load(Ordering::SeqCst) > 0
            && let Some(budget) = self.itself.upgrade()
        {
            budget.serve();
        }
    }
}

#[cfg(test)]
mod tests;
