//! Permits (who pays for the bytes) and receipts (who answers for them): two RAII values that
//! travel with a payload. Dropping the last clone of a permit gives the bytes back. A receipt must
//! be settled with an outcome; dropping it unsettled is a failure ([`Reason::Unaccounted`]).
//!
//! Custody fails closed: forgetting a payload, in the queue of a dead worker or in an overlooked
//! branch of the code, never counts as an acknowledgement. This holds for each share of a claim:
//! the claim reports the worst outcome of all shares, so a delivered part cannot hide a lost one.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use smallvec::SmallVec;

/// The account that permits are drawn from. The engine's byte budget implements it.
pub trait Ledger: Send + Sync {
    /// Charges `bytes` if they are free now.
    fn try_charge(&self, bytes: u64) -> bool;
    /// The same, but only if no more than `ceiling` bytes are charged afterwards. Accounts that do
    /// not count their bytes ignore `ceiling`.
    fn try_charge_below(&self, ceiling: u64, bytes: u64) -> bool {
        let _ = ceiling;
        self.try_charge(bytes)
    }
    /// Charges `bytes` even if they are not free: the next acquirer waits until the debt is paid.
    fn charge(&self, bytes: u64);
    /// Gives `bytes` back.
    fn give_back(&self, bytes: u64);
    /// Bytes that are charged now; 0 if the account does not count them.
    fn used(&self) -> u64 {
        0
    }
    /// Counts the items of a payload that was dropped without an outcome.
    fn lost_account_of(&self, items: u64) {
        let _ = items;
    }
}

/// Bytes charged to a ledger; clones share the charge, the last one gives it back.
#[derive(Clone)]
pub struct Permit(Arc<Charge>);

struct Charge {
    bytes: u64,
    ledger: Arc<dyn Ledger>,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.ledger.give_back(self.bytes);
    }
}

impl Permit {
    /// Wraps `bytes` that have already been charged to `ledger`.
    pub fn charged(bytes: u64, ledger: Arc<dyn Ledger>) -> Self {
        Permit(Arc::new(Charge { bytes, ledger }))
    }

    /// Tells the ledger about a payload that was dropped without an outcome.
    pub(super) fn lost_account_of(&self, items: u64) {
        self.0.ledger.lost_account_of(items);
    }

    /// Bytes of this permit.
    pub fn bytes(&self) -> u64 {
        self.0.bytes
    }

    /// Bytes that all permits together have charged to the ledger.
    pub fn used_of_ledger(&self) -> u64 {
        self.0.ledger.used()
    }

    /// Whether there is another clone.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Takes more bytes from the same ledger if they are free. Growth never waits, because the
    /// caller already holds bytes of this ledger (no hold-and-wait).
    pub fn try_more(&self, bytes: u64) -> Option<Permit> {
        let ledger = &self.0.ledger;
        ledger.try_charge(bytes).then(|| Permit::charged(bytes, Arc::clone(ledger)))
    }

    /// The same, but only if no more than `ceiling` bytes of the ledger are charged afterwards.
    pub fn try_more_below(&self, ceiling: u64, bytes: u64) -> Option<Permit> {
        let ledger = &self.0.ledger;
        let is_charged = ledger.try_charge_below(ceiling, bytes);
        is_charged.then(|| Permit::charged(bytes, Arc::clone(ledger)))
    }

    /// Takes more bytes from the same ledger even if they are not free; the next acquirer waits
    /// until the debt is paid. For bytes that replace others which are given back right after.
    #[must_use]
    pub fn more(&self, bytes: u64) -> Permit {
        self.0.ledger.charge(bytes);
        Permit::charged(bytes, Arc::clone(&self.0.ledger))
    }

    /// Accounts for a body that went from `old` to `new` bytes. See `Payload::replace_body`.
    pub(super) fn settle(
        permits: &mut SmallVec<[Permit; 1]>,
        old: usize,
        new: usize,
    ) -> Result<(), Reason> {
        let Some(first) = permits.first() else { return Ok(()) };
        let is_shared = permits.iter().any(|permit| Arc::strong_count(&permit.0) > 1);
        if is_shared {
            let own = first.try_more(new as u64).ok_or(Reason::OverBudget)?;
            permits.clear();
            permits.push(own);
        } else if new > old {
            let more = (new - old) as u64;
            first.0.ledger.charge(more);
            let ledger = Arc::clone(&first.0.ledger);
            permits.push(Permit::charged(more, ledger));
        }
        Ok(())
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({})", self.0.bytes)
    }
}

/// Why data was dropped or refused. A label in metrics, so the set is small and closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The byte budget had no room in time.
    OverBudget,
    /// An exporter's sending queue had no room.
    QueueFull,
    /// skep is shutting down.
    ShuttingDown,
    /// The backend could not be reached, or asked to come back later, until retries ran out.
    RetriesExhausted,
    /// The backend refused the data for good.
    BackendRefused,
    /// The backend does not accept our credentials (401).
    Unauthenticated,
    /// The backend does not allow the request (403).
    Forbidden,
    /// The backend has no such endpoint (404).
    NotFound,
    /// The bytes are not a valid request.
    Malformed,
    /// A single item is larger than a limit allows.
    TooLarge,
    /// Too many distinct metadata values for a batch processor.
    TooManyMetadataValues,
    /// A statement or condition failed, and its `error_mode` is `propagate`.
    StatementFailed,
    /// A component's limit, for instance of a memory limiter.
    Limited,
    /// The monthly budget of the exporter has nothing left for it.
    BudgetSpent,
    /// A worker panicked while it held the data.
    Panicked,
    /// The storage has reached its limit.
    StorageFull,
    /// The disk of the storage failed.
    StorageFailed,
    /// The data was dropped without an outcome: a defect of skep, or the consequence of a panic.
    Unaccounted,
}

impl Reason {
    /// Label value in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::OverBudget => "over_budget",
            Reason::QueueFull => "queue_full",
            Reason::ShuttingDown => "shutting_down",
            Reason::RetriesExhausted => "retries_exhausted",
            Reason::BackendRefused => "backend_refused",
            Reason::Unauthenticated => "backend_unauthenticated",
            Reason::Forbidden => "backend_forbidden",
            Reason::NotFound => "backend_not_found",
            Reason::Malformed => "malformed",
            Reason::TooLarge => "too_large",
            Reason::TooManyMetadataValues => "too_many_metadata_values",
            Reason::StatementFailed => "statement_failed",
            Reason::Limited => "limited",
            Reason::BudgetSpent => "budget_spent",
            Reason::Panicked => "panicked",
            Reason::StorageFull => "storage_full",
            Reason::StorageFailed => "storage_failed",
            Reason::Unaccounted => "unaccounted",
        }
    }

    /// The message for the sender's log, and for people.
    pub const fn sentence(self) -> &'static str {
        match self {
            Reason::OverBudget => {
                "no memory was free for this request in time; send it again later"
            }
            Reason::Limited => "data refused due to high memory usage; send it again later",
            Reason::QueueFull => "the sending queue of an exporter is full; send it again later",
            Reason::ShuttingDown => "skep is shutting down; send it again later",
            Reason::RetriesExhausted => "the backend took no data in time; send it again later",
            Reason::StorageFull => "the storage of skep is full; send it again later",
            Reason::StorageFailed => "skep could not write the data to disk; send it again later",
            Reason::Panicked | Reason::Unaccounted => {
                "an internal error ended this request; send it again"
            }
            Reason::BackendRefused => "the backend refused the data for good",
            Reason::Unauthenticated => "the backend does not accept the credentials of skep (401)",
            Reason::Forbidden => "the backend does not allow skep to send this data (403)",
            Reason::NotFound => {
                "the backend has no such endpoint, or does not take this format (404)"
            }
            Reason::BudgetSpent => {
                "the monthly budget of an exporter has nothing left for this data"
            }
            Reason::Malformed => "the bytes are not what they claim to be",
            Reason::TooLarge => "an item is larger than a limit allows",
            Reason::StatementFailed => "a statement failed on this data (error_mode: propagate)",
            Reason::TooManyMetadataValues => {
                "too many combinations of metadata values (metadata_cardinality_limit of batch)"
            }
        }
    }

    /// Whether sending the same data again may succeed.
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Reason::OverBudget
                | Reason::QueueFull
                | Reason::ShuttingDown
                | Reason::RetriesExhausted
                | Reason::Limited
                | Reason::Panicked
                | Reason::StorageFull
                | Reason::StorageFailed
                | Reason::Unaccounted
        )
    }

    /// From the mildest to the worst; see [`Outcome`]. A failure of skep itself is worse than a
    /// refusal for good, because a journal then reads the record again.
    pub const ALL: [Reason; 18] = [
        Reason::BudgetSpent,
        Reason::BackendRefused,
        Reason::NotFound,
        Reason::Forbidden,
        Reason::Unauthenticated,
        Reason::Malformed,
        Reason::TooLarge,
        Reason::TooManyMetadataValues,
        Reason::StatementFailed,
        Reason::RetriesExhausted,
        Reason::Limited,
        Reason::QueueFull,
        Reason::OverBudget,
        Reason::StorageFull,
        Reason::StorageFailed,
        Reason::ShuttingDown,
        Reason::Unaccounted,
        Reason::Panicked,
    ];
}

/// How a payload, or a part of it, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Delivered; or accepted, if the receipt waits for acceptance only.
    Delivered,
    /// Dropped because the configuration says so: filtered, sampled away.
    Filtered,
    /// Not delivered.
    Failed(Reason),
    /// Not delivered: the backend asked for a retry after this many milliseconds, and skep makes no
    /// further attempt. Otherwise the same as [`Reason::RetriesExhausted`].
    Postponed(u32),
    /// Neither delivered nor given up: the data stays on disk for the next process.
    LeftOnDisk,
}

impl Outcome {
    /// Larger is worse; 0 means that no share was settled. Retryable failures are worse than final
    /// ones: if one part of a request failed for good and another may be sent again, the sender
    /// should retry.
    fn severity(self) -> u16 {
        match self {
            Outcome::Delivered => 1,
            Outcome::Filtered => 2,
            Outcome::Failed(reason) => {
                let milder = Reason::ALL.iter().take_while(|other| **other != reason).count();
                3 + u16::try_from(milder).unwrap_or(u16::MAX)
            }
            Outcome::Postponed(_) => Outcome::Failed(Reason::RetriesExhausted).severity(),
            Outcome::LeftOnDisk => u16::MAX,
        }
    }

    /// One number for comparison. The larger one is worse; at equal severity, the one with the
    /// longer pause.
    fn to_rank(self) -> u64 {
        let pause = if let Outcome::Postponed(millis) = self { millis } else { 0 };
        u64::from(self.severity()) << 32 | u64::from(pause)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the halves of a rank")]
    fn from_rank(rank: u64) -> Self {
        let (severity, pause) = ((rank >> 32) as u16, rank as u32);
        match severity {
            0 => Outcome::Failed(Reason::Unaccounted),
            1 => Outcome::Delivered,
            2 => Outcome::Filtered,
            u16::MAX => Outcome::LeftOnDisk,
            _ if pause > 0 => Outcome::Postponed(pause),
            n => Outcome::Failed(*Reason::ALL.get(usize::from(n) - 3).unwrap_or(&Reason::Panicked)),
        }
    }
}

/// What a receipt waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// A queue, or a processor that holds data, has taken the data (the default).
    Acceptance,
    /// The backends or a queue on disk have the data. A journal waits for this to settle its
    /// record.
    Durable,
    /// The backends have the data. For `wait_for_export` and for records of queues on disk.
    Delivery,
}

/// One share of a claim; a clone is another share. Each share must be settled with the outcome of
/// its part of the data. A share that is dropped unsettled has failed: with [`Reason::Panicked`]
/// during a panic, otherwise with [`Reason::Unaccounted`]. When the last share has ended, the claim
/// reports the worst outcome.
#[must_use = "a receipt that is dropped counts as a failure"]
pub struct Receipt {
    /// `None` once it is settled.
    claim: Option<Arc<Claim>>,
    wait: Wait,
}

/// The receipts of a payload.
pub type Receipts = SmallVec<[Receipt; 1]>;

/// Called once with the worst outcome of all shares.
pub type Answer = Box<dyn FnOnce(Outcome) + Send + Sync>;

struct Claim {
    worst: AtomicU64,
    answer: Option<Answer>,
}

impl Receipt {
    /// The first share of a new claim, whose outcome is reported to `answer`.
    pub fn new(wait: Wait, answer: Answer) -> Self {
        let claim = Claim { worst: AtomicU64::new(0), answer: Some(answer) };
        Receipt { claim: Some(Arc::new(claim)), wait }
    }

    /// Ends this share.
    pub fn settle(mut self, outcome: Outcome) {
        self.end(outcome);
    }

    /// What the claim waits for.
    pub fn waits_for(&self) -> Wait {
        self.wait
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(claim) = self.claim.take() {
            claim.worst.fetch_max(outcome.to_rank(), Ordering::Relaxed);
        }
    }
}

impl Clone for Receipt {
    fn clone(&self) -> Self {
        Receipt { claim: self.claim.clone(), wait: self.wait }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if self.claim.is_some() {
            let is_panic = std::thread::panicking();
            let reason = if is_panic { Reason::Panicked } else { Reason::Unaccounted };
            self.end(Outcome::Failed(reason));
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let worst = Outcome::from_rank(*self.worst.get_mut());
        if let Some(answer) = self.answer.take() {
            answer(worst);
        }
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receipt({:?})", self.wait)
    }
}

/// Settles all of `receipts` with one outcome.
pub fn settle_all(receipts: impl IntoIterator<Item = Receipt>, outcome: Outcome) {
    for receipt in receipts {
        receipt.settle(outcome);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A claim with two shares, and what is reported.
    fn shares() -> (Receipt, Receipt, Arc<Mutex<Vec<Outcome>>>) {
        let told: Arc<Mutex<Vec<Outcome>>> = Arc::default();
        let tell = Arc::clone(&told);
        let answer = move |outcome| tell.lock().unwrap().push(outcome);
        let first = Receipt::new(Wait::Delivery, Box::new(answer));
        (first.clone(), first, told)
    }

    #[test]
    fn a_receipt_that_is_forgotten_has_failed() {
        let (first, second, told) = shares();
        drop((first, second));
        assert_eq!(*told.lock().unwrap(), [Outcome::Failed(Reason::Unaccounted)]);
    }

    #[test]
    fn one_delivered_share_does_not_hide_a_forgotten_one() {
        for settles_first in [true, false] {
            let (first, second, told) = shares();
            if settles_first {
                first.settle(Outcome::Delivered);
                assert!(told.lock().unwrap().is_empty(), "the other share is still under way");
                drop(second);
            } else {
                drop(second);
                first.settle(Outcome::Delivered);
            }
            assert_eq!(*told.lock().unwrap(), [Outcome::Failed(Reason::Unaccounted)]);
        }
    }

    #[test]
    fn a_share_that_a_panic_drops_has_failed_by_the_panic() {
        let (first, second, told) = shares();
        first.settle(Outcome::Delivered);
        let panics = std::panic::AssertUnwindSafe(move || {
            let _held = second;
            panic!("with a share in hand");
        });
        assert!(std::panic::catch_unwind(panics).is_err());
        assert_eq!(*told.lock().unwrap(), [Outcome::Failed(Reason::Panicked)]);
    }

    #[test]
    fn the_longest_pause_is_reported_unless_there_is_a_worse_outcome() {
        let retries = Outcome::Failed(Reason::RetriesExhausted);
        let full = Outcome::Failed(Reason::QueueFull);
        let refused = Outcome::Failed(Reason::BackendRefused);
        let (short, long) = (Outcome::Postponed(7000), Outcome::Postponed(9000));
        for (one, other, worse) in [
            (short, long, long),
            (short, retries, short),
            (short, full, full),
            (refused, short, short),
        ] {
            for (a, b) in [(one, other), (other, one)] {
                let (first, second, told) = shares();
                first.settle(a);
                second.settle(b);
                assert_eq!(*told.lock().unwrap(), [worse]);
            }
        }
    }

    #[test]
    fn the_worst_outcome_is_reported() {
        let mut by_severity = vec![Outcome::Delivered, Outcome::Filtered];
        by_severity.extend(Reason::ALL.map(Outcome::Failed));
        by_severity.push(Outcome::LeftOnDisk);
        for (i, &milder) in by_severity.iter().enumerate() {
            for &worse in &by_severity[i..] {
                let (first, second, told) = shares();
                first.settle(worse);
                second.settle(milder);
                assert_eq!(*told.lock().unwrap(), [worse]);
            }
        }
    }
}
