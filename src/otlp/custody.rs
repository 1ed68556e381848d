//! Permits (who pays for the bytes) and receipts (who answers for them): two RAII values that
//! travel with a payload. Dropping the last clone gives the bytes back, or reports the outcome.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
};

use smallvec::SmallVec;

/// The account that permits are drawn from. The engine's byte budget implements it.
pub trait Ledger: Send + Sync {
    /// Charges `bytes` if they are free now.
    fn try_charge(&self, bytes: u64) -> bool;
    /// The same, if no more than `ceiling` bytes are charged with them; for accounts that know how many are.
    fn try_charge_below(&self, ceiling: u64, bytes: u64) -> bool {
        let _ = ceiling;
        self.try_charge(bytes)
    }
    /// Charges `bytes` in any case: the next acquirer waits for the debt.
    fn charge(&self, bytes: u64);
    /// Gives `bytes` back.
    fn give_back(&self, bytes: u64);
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

    /// Bytes of this permit.
    pub fn bytes(&self) -> u64 {
        self.0.bytes
    }

    /// Whether somebody else has it, too.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Takes more bytes from the same ledger, or none: growth never waits (no hold-and-wait).
    pub fn try_more(&self, bytes: u64) -> Option<Permit> {
        let ledger = &self.0.ledger;
        ledger.try_charge(bytes).then(|| Permit::charged(bytes, Arc::clone(ledger)))
    }

    /// The same, if no more than `ceiling` bytes of the ledger are in use with them.
    pub fn try_more_below(&self, ceiling: u64, bytes: u64) -> Option<Permit> {
        let ledger = &self.0.ledger;
        let is_charged = ledger.try_charge_below(ceiling, bytes);
        is_charged.then(|| Permit::charged(bytes, Arc::clone(ledger)))
    }

    /// Takes more bytes from the same ledger in any case, which the next acquirer waits for. For what
    /// replaces bytes that are given back in the same breath.
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

/// Why data did not go on. A label in metrics, so the set is small and closed.
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
    /// The bytes are not what they claim to be.
    Malformed,
    /// A single item is larger than a limit allows.
    TooLarge,
    /// Too many distinct metadata values for a batch processor.
    TooManyMetadataValues,
    /// A component's limit, for instance of a memory limiter.
    Limited,
    /// A worker panicked while it held the data.
    Panicked,
    /// The storage has reached its limit.
    StorageFull,
    /// The disk of the storage failed.
    StorageFailed,
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
            Reason::Malformed => "malformed",
            Reason::TooLarge => "too_large",
            Reason::TooManyMetadataValues => "too_many_metadata_values",
            Reason::Limited => "limited",
            Reason::Panicked => "panicked",
            Reason::StorageFull => "storage_full",
            Reason::StorageFailed => "storage_failed",
        }
    }

    /// Whether the sender may send the same data again with hope.
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
        )
    }

    /// From the mildest to the worst; see [`Outcome`]. What is lost by a decision is milder than what skep
    /// itself had no room for, so that the latter is tried again where it stands in a journal.
    pub const ALL: [Reason; 12] = [
        Reason::BackendRefused,
        Reason::Malformed,
        Reason::TooLarge,
        Reason::TooManyMetadataValues,
        Reason::RetriesExhausted,
        Reason::Limited,
        Reason::QueueFull,
        Reason::OverBudget,
        Reason::StorageFull,
        Reason::StorageFailed,
        Reason::ShuttingDown,
        Reason::Panicked,
    ];
}

/// How a payload, or a part of it, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Delivered, or accepted where the receipt waits for acceptance.
    Delivered,
    /// Left out by a decision of the configuration: filtered, sampled away.
    Filtered,
    /// Not delivered.
    Failed(Reason),
}

impl Outcome {
    /// Larger is worse. Failures that a retry may mend are worse than those it cannot: when one
    /// part of a request failed for good and another may be sent again, the sender should retry.
    fn severity(self) -> u16 {
        match self {
            Outcome::Delivered => 0,
            Outcome::Filtered => 1,
            Outcome::Failed(reason) => {
                let worse_than = Reason::ALL.iter().take_while(|other| **other != reason).count();
                2 + u16::try_from(worse_than).unwrap_or(u16::MAX)
            }
        }
    }

    fn from_severity(severity: u16) -> Self {
        match severity {
            0 => Outcome::Delivered,
            1 => Outcome::Filtered,
            n => Outcome::Failed(*Reason::ALL.get(usize::from(n) - 2).unwrap_or(&Reason::Panicked)),
        }
    }
}

/// What a receipt waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Until a queue or a holding processor answers for the data (the default).
    Acceptance,
    /// Until the backends have it, or a queue on disk: a journal, whose record ends then.
    Durable,
    /// Until the backends have it: `wait_for_export`, and the record of a queue on disk.
    Delivery,
}

/// A claim on an outcome. Clones share it; when the last one is dropped, the worst outcome that
/// was recorded is reported, [`Outcome::Delivered`] if none was. A clone that is dropped by a
/// panic counts as [`Reason::Panicked`].
#[derive(Clone)]
pub struct Receipt {
    claim: Arc<Claim>,
}

/// Told once how the claim ended: the worst outcome of all parts.
pub type Answer = Box<dyn FnOnce(Outcome) + Send + Sync>;

struct Claim {
    worst: AtomicU16,
    wait: Wait,
    answer: Option<Answer>,
}

impl Receipt {
    /// A claim whose end is told to `answer`.
    pub fn new(wait: Wait, answer: Answer) -> Self {
        Receipt { claim: Arc::new(Claim { worst: AtomicU16::new(0), wait, answer: Some(answer) }) }
    }

    /// Notes an outcome of one part; the worst one is reported.
    pub fn record(&self, outcome: Outcome) {
        self.claim.worst.fetch_max(outcome.severity(), Ordering::Relaxed);
    }

    /// What the holder of the other end waits for.
    pub fn waits_for(&self) -> Wait {
        self.claim.wait
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.record(Outcome::Failed(Reason::Panicked));
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let worst = Outcome::from_severity(*self.worst.get_mut());
        if let Some(answer) = self.answer.take() {
            answer(worst);
        }
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receipt({:?})", self.claim.wait)
    }
}
