//! The unit of work: one valid `Export*ServiceRequest` as a list of byte segments, with what it
//! costs (permits) and who waits for its outcome (receipts).
//!
//! Invariants:
//! - The concatenation of the segments, and each segment alone, is a valid request of `signal`:
//!   the only top-level field of a request is repeated, so protobuf joins requests by
//!   concatenation, and a batch is a longer list.
//! - Every byte is paid for by a permit and given back when the last clone is dropped.
//! - Every payload ends by [`Payload::finish`], or goes on as another one. One that is dropped has
//!   failed: its receipts say so, and its items are counted as [`Reason::Unaccounted`].

use std::{fmt, net::SocketAddr, sync::Arc, time::Instant};

use bytes::Bytes;
use smallvec::SmallVec;

pub use super::custody::{Ledger, Outcome, Permit, Reason, Receipt, Receipts, Wait, settle_all};

/// One of the three OTLP signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// Spans in `ExportTraceServiceRequest`.
    Traces,
    /// Data points in `ExportMetricsServiceRequest`.
    Metrics,
    /// Log records in `ExportLogsServiceRequest`.
    Logs,
}

impl Signal {
    /// Every signal, in the order of the Collector's documents.
    pub const ALL: [Signal; 3] = [Signal::Traces, Signal::Metrics, Signal::Logs];

    /// Name in pipeline ids and labels: `traces`, `metrics`, `logs`.
    pub const fn name(self) -> &'static str {
        match self {
            Signal::Traces => "traces",
            Signal::Metrics => "metrics",
            Signal::Logs => "logs",
        }
    }

    /// What one item is called in metric names: `spans`, `metric_points`, `log_records`.
    pub const fn items_name(self) -> &'static str {
        match self {
            Signal::Traces => "spans",
            Signal::Metrics => "metric_points",
            Signal::Logs => "log_records",
        }
    }

    /// This signal as a list of one.
    pub const fn only(self) -> &'static [Signal] {
        match self {
            Signal::Traces => &[Signal::Traces],
            Signal::Metrics => &[Signal::Metrics],
            Signal::Logs => &[Signal::Logs],
        }
    }

    /// Position in arrays that hold one value per signal.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The segments of a payload.
pub type Body = SmallVec<[Bytes; 1]>;

/// The request that brought a payload; kept only if a component needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// Lower-case header names with their values in order of arrival; empty unless the receiver
    /// has `include_metadata: true`. The HTTP host is under `host`.
    pub metadata: Vec<(String, String)>,
    /// What the authenticator of the receiver knows of the client: names with their values.
    pub auth: Vec<(String, Vec<String>)>,
    /// Address of the sender; `None` on unix sockets.
    pub peer: Option<SocketAddr>,
    /// When the request was complete, on the monotonic clock.
    pub arrived: Instant,
}

/// What an entry of a context takes beside its text, in bytes.
const ENTRY: usize = 64;

impl Context {
    /// Bytes that it takes in memory, about.
    pub fn size(&self) -> usize {
        let metadata = self.metadata.iter().map(|(key, value)| ENTRY + key.len() + value.len());
        let auth = self.auth.iter().map(|(key, values)| {
            let values = values.iter().map(|value| ENTRY + value.len());
            ENTRY + key.len() + values.sum::<usize>()
        });
        ENTRY + metadata.sum::<usize>() + auth.sum::<usize>()
    }

    /// The values of an attribute of the authenticator; `None` if it does not know the attribute.
    pub fn auth_values(&self, name: &str) -> Option<&[String]> {
        self.auth.iter().find(|(known, _)| known == name).map(|(_, values)| &**values)
    }

    /// All values of `key` (any case), in order.
    pub fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.metadata.iter().filter(move |(k, _)| k.eq_ignore_ascii_case(key)).map(|(_, v)| &**v)
    }
}

/// Bytes of one or more requests of one signal, with their custody. A clone is a second share of
/// the same data and has to be finished too.
#[derive(Debug, Clone)]
pub struct Payload {
    /// What the items are.
    pub signal: Signal,
    /// See [`Body`]; change it with [`Payload::replace_body`], which keeps the accounts.
    pub body: Body,
    /// Spans, data points or log records in `body`, counted at the door.
    pub items: u64,
    /// Pay for `body`.
    pub permits: SmallVec<[Permit; 1]>,
    /// Report the outcome to those who wait for it.
    pub receipts: Receipts,
    /// The request's context, if a component needs it.
    pub context: Option<Arc<Context>>,
    /// Whether the outcome of the items is still owed.
    owed: Owed,
}

/// Whether the outcome of a payload's items is still owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owed(bool);

impl Payload {
    /// A payload of one segment, paid for by `permits`, without receipts.
    pub fn new(
        signal: Signal,
        body: Bytes,
        items: u64,
        permits: impl IntoIterator<Item = Permit>,
    ) -> Self {
        Payload {
            signal,
            body: smallvec::smallvec![body],
            items,
            permits: permits.into_iter().collect(),
            receipts: Receipts::new(),
            context: None,
            owed: Owed(true),
        }
    }

    /// A payload of one segment without permits and receipts, for tests and skep's own telemetry.
    pub fn unpaid(signal: Signal, body: Bytes, items: u64) -> Self {
        Payload::new(signal, body, items, None)
    }

    /// Bytes of all segments.
    pub fn len(&self) -> usize {
        self.body.iter().map(Bytes::len).sum()
    }

    /// Whether all segments are empty.
    pub fn is_empty(&self) -> bool {
        self.body.iter().all(Bytes::is_empty)
    }

    /// Settles all receipts with `outcome` and ends the payload.
    pub fn finish(mut self, outcome: Outcome) {
        settle_all(self.receipts.drain(..), outcome);
        self.owed = Owed(false);
    }

    /// Settles the receipts that wait only for acceptance: a queue or a processor is responsible
    /// for the payload from now on. Receipts that wait for more stay.
    pub fn accept(&mut self) {
        self.settle_where(Outcome::Delivered, |wait| wait == Wait::Acceptance);
    }

    /// Settles with `outcome` the receipts for which `is_met` holds.
    pub fn settle_where(&mut self, outcome: Outcome, is_met: impl Fn(Wait) -> bool) {
        let mut i = 0;
        while i < self.receipts.len() {
            if is_met(self.receipts[i].waits_for()) {
                self.receipts.swap_remove(i).settle(outcome);
            } else {
                i += 1;
            }
        }
    }

    /// Ends the payload and returns its receipts. The caller keeps the items in another form and is
    /// responsible for them and for the receipts from now on.
    pub fn take_over(mut self) -> Receipts {
        self.owed = Owed(false);
        std::mem::take(&mut self.receipts)
    }

    /// A copy for a reader: without receipts, and without an outcome to report.
    #[must_use]
    pub fn for_reading(&self) -> Payload {
        let mut copy = self.sibling(self.body.clone(), self.items, Receipts::new());
        copy.owed = Owed(false);
        copy
    }

    /// A part with a share of the receipts and permits. This payload keeps its own share: the
    /// caller reduces it to what is left, or finishes it once all parts are split off.
    #[must_use]
    pub fn split_off(&self, body: Body, items: u64) -> Payload {
        self.sibling(body, items, self.receipts.clone())
    }

    fn sibling(&self, body: Body, items: u64, receipts: Receipts) -> Payload {
        Payload {
            signal: self.signal,
            body,
            items,
            permits: self.permits.clone(),
            receipts,
            context: self.context.clone(),
            owed: Owed(true),
        }
    }

    /// Takes over another payload of the same signal: segments, permits and receipts. Nothing is
    /// copied. The context of `self` stays.
    pub fn absorb(&mut self, mut other: Payload) {
        debug_assert_eq!(self.signal, other.signal);
        self.body.extend(other.body.drain(..));
        self.items += other.items;
        self.permits.extend(other.permits.drain(..));
        self.receipts.extend(other.receipts.drain(..));
        other.owed = Owed(false);
    }

    /// Replaces the body with an edited one and pays for the difference. A payload that owns its
    /// permits alone may always grow by what an edit adds, because the old buffer is freed at once.
    /// One that shares them with a sibling needs new bytes and may be refused.
    pub fn replace_body(&mut self, body: Body) -> Result<(), Reason> {
        let new_len: usize = body.iter().map(Bytes::len).sum();
        let old_len = self.len();
        Permit::settle(&mut self.permits, old_len, new_len)?;
        self.body = body;
        Ok(())
    }

    /// Replaces the body with a new one and the permits that paid for it. If the new body shares
    /// parts with the old one, `is_whole` is false and the old permits stay.
    pub fn exchange_body(&mut self, body: Body, permits: SmallVec<[Permit; 1]>, is_whole: bool) {
        self.body = body;
        if is_whole && !permits.is_empty() {
            self.permits = permits;
        } else {
            self.permits.extend(permits);
        }
    }

    /// Cuts the payload into parts, each with its `body` and number of items. Every part has a
    /// share of the receipts. Permits are shared, too, so the whole stays paid for until the last
    /// part is gone. Without parts nothing is left, which counts as [`Outcome::Filtered`].
    pub fn divide(mut self, parts: impl IntoIterator<Item = (Body, u64)>) -> Vec<Payload> {
        let mut parts = parts.into_iter().peekable();
        let mut divided = Vec::with_capacity(parts.size_hint().0);
        while let Some((body, items)) = parts.next() {
            if parts.peek().is_some() {
                divided.push(self.split_off(body, items));
            } else {
                (self.body, self.items) = (body, items);
                divided.push(self);
                return divided;
            }
        }
        self.finish(Outcome::Filtered);
        divided
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        if self.owed == Owed(true)
            && self.items > 0
            && let Some(permit) = self.permits.first()
        {
            permit.lost_account_of(self.items);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Counts the items of payloads that were dropped without an outcome.
    #[derive(Default)]
    struct Account(AtomicU64);

    impl Ledger for Account {
        fn try_charge(&self, _: u64) -> bool {
            true
        }
        fn charge(&self, _: u64) {}
        fn give_back(&self, _: u64) {}
        fn lost_account_of(&self, items: u64) {
            self.0.fetch_add(items, Ordering::SeqCst);
        }
    }

    #[test]
    fn items_are_counted_as_lost_only_if_their_payload_is_dropped_without_an_outcome() {
        let account = Arc::new(Account::default());
        let payload = |items| {
            let ledger: Arc<dyn Ledger> = Arc::<Account>::clone(&account);
            let permit = Permit::charged(1, ledger);
            Payload::new(Signal::Logs, Bytes::from_static(b"x"), items, [permit])
        };
        let lost = || account.0.swap(0, Ordering::SeqCst);
        drop(payload(3));
        assert_eq!(lost(), 3);
        let whole = payload(3);
        drop(whole.clone());
        assert_eq!(lost(), 3, "a clone has to be finished, too");
        drop(whole.for_reading());
        whole.finish(Outcome::Delivered);
        drop(payload(3).take_over());
        assert_eq!(lost(), 0);
        let mut whole = payload(2);
        whole.absorb(payload(3));
        assert_eq!(lost(), 0);
        drop(whole.split_off(Body::new(), 4));
        assert_eq!(lost(), 4);
        drop(whole);
        assert_eq!(lost(), 5);
        let mut parts = payload(3).divide([(Body::new(), 1), (Body::new(), 2)]);
        parts.remove(0).finish(Outcome::Filtered);
        drop(parts);
        assert_eq!(lost(), 2);
    }
}
