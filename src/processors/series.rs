//! Series of data points, for processors that remember what came before: which series a point is
//! of, and a table of what is known of each. What the table takes is paid for from the accounts of
//! the payloads that bring new series, and series that fall silent are forgotten.

mod identity;
pub(super) mod value;

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use foldhash::fast::RandomState;
use smallvec::SmallVec;

pub(super) use self::identity::{Identities, Owners, Series};
use crate::otlp::payload::Permit;

/// How often silent series are looked for.
const SWEEP: Duration = Duration::from_mins(1);

/// Memory of an entry of the table beside what is remembered: it may be half empty.
const SLOT: usize = 2 * (size_of::<Series>() + size_of::<Instant>() + 16);

/// What a table remembers of a series.
pub(super) trait Remembered {
    /// Bytes that it takes.
    fn bytes(&self) -> usize;
}

struct Entry<T> {
    known: T,
    bytes: usize,
    heard: Instant,
}

/// What is known of each series.
pub(super) struct Table<T> {
    series: HashMap<Series, Entry<T>, RandomState>,
    /// Most series.
    limit: usize,
    /// Series without a point for so long are forgotten; `None`: never.
    stale_after: Option<Duration>,
    swept: Option<Instant>,
    account: Account,
}

/// Pays for what is remembered.
#[derive(Debug, Default)]
pub(super) struct Account {
    permits: SmallVec<[Permit; 2]>,
    paid: usize,
    used: usize,
}

impl Account {
    /// Takes bytes, from the account of `payer` if there is not enough.
    pub(super) fn takes(&mut self, bytes: usize, payer: Option<&Permit>) -> bool {
        let needed = self.used + bytes;
        if needed > self.paid
            && let Some(permit) = payer
        {
            let more = (needed - self.paid).max(self.paid / 4).max(4096);
            let Some(permit) = permit.try_more(more as u64) else { return false };
            self.permits.push(permit);
            self.paid += more;
        }
        self.used = needed;
        true
    }

    /// What paid for everything, to go on with it.
    pub(super) fn into_permits(self) -> SmallVec<[Permit; 2]> {
        self.permits
    }

    /// Gives bytes back. Once most is free, so is what paid for it.
    fn gives_back(&mut self, bytes: usize) {
        self.used = self.used.saturating_sub(bytes);
        if self.used < self.paid / 4
            && let Some(permit) = self.permits.first()
        {
            let needed = 2 * self.used;
            let fresh = permit.more(needed as u64);
            self.permits.clear();
            self.permits.push(fresh);
            self.paid = needed;
        }
    }
}

/// Why a series is not remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

impl<T: Remembered> Table<T> {
    pub(super) fn new(limit: usize, stale_after: Option<Duration>) -> Self {
        Table {
            series: HashMap::default(),
            limit,
            stale_after,
            swept: None,
            account: Account::default(),
        }
    }

    /// Series that are remembered.
    pub(super) fn len(&self) -> usize {
        self.series.len()
    }

    /// What is known of a series that has a point now.
    pub(super) fn hear(&mut self, series: Series, now: Instant) -> Option<&mut T> {
        let entry = self.series.get_mut(&series)?;
        entry.heard = now;
        Some(&mut entry.known)
    }

    /// Remembers something of a series, in place of what was known. `payer` is a permit of the
    /// payload that brings it.
    pub(super) fn put(
        &mut self,
        series: Series,
        known: T,
        now: Instant,
        payer: Option<&Permit>,
    ) -> Result<(), Full> {
        let before = self.series.get(&series).map(|entry| entry.bytes);
        if before.is_none() && self.series.len() >= self.limit {
            return Err(Full);
        }
        let bytes = SLOT + 2 * size_of::<T>() + known.bytes();
        if !self.account.takes(bytes.saturating_sub(before.unwrap_or(0)), payer) {
            return Err(Full);
        }
        self.account.gives_back(before.unwrap_or(0).saturating_sub(bytes));
        self.series.insert(series, Entry { known, bytes, heard: now });
        self.swept.get_or_insert(now);
        Ok(())
    }

    /// When [`Table::sweep`] is to be called.
    pub(super) fn next_sweep(&self) -> Option<Instant> {
        self.stale_after?;
        self.swept.filter(|_| !self.series.is_empty()).map(|swept| swept + SWEEP)
    }

    /// Forgets series that have fallen silent; looks at most once a minute.
    pub(super) fn sweep(&mut self, now: Instant) {
        let Some(stale_after) = self.stale_after else { return };
        let swept = *self.swept.get_or_insert(now);
        if now.duration_since(swept) < SWEEP {
            return;
        }
        self.swept = Some(now);
        let mut freed = 0;
        self.series.retain(|_, entry| {
            let stays = now.duration_since(entry.heard) < stale_after;
            freed += if stays { 0 } else { entry.bytes };
            stays
        });
        if self.series.len() < self.series.capacity() / 4 {
            self.series.shrink_to_fit();
        }
        self.account.gives_back(freed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use super::*;
    use crate::otlp::payload::Ledger;

    impl Remembered for usize {
        fn bytes(&self) -> usize {
            *self
        }
    }

    struct Bytes(AtomicU64);

    impl Ledger for Bytes {
        fn try_charge(&self, bytes: u64) -> bool {
            let fits = self.0.load(Ordering::SeqCst) + bytes <= 100_000;
            if fits {
                self.charge(bytes);
            }
            fits
        }
        fn charge(&self, bytes: u64) {
            self.0.fetch_add(bytes, Ordering::SeqCst);
        }
        fn give_back(&self, bytes: u64) {
            self.0.fetch_sub(bytes, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_table_is_paid_for_and_gives_back() {
        let bytes = Arc::new(Bytes(AtomicU64::new(0)));
        let ledger: Arc<dyn Ledger> = Arc::<Bytes>::clone(&bytes);
        bytes.charge(10);
        let permit = Permit::charged(10, ledger);
        let now = Instant::now();
        let mut table = Table::new(1000, Some(Duration::from_mins(5)));
        table.sweep(now);
        let mut count = 0;
        while table.put(Series(count), 5000, now, Some(&permit)).is_ok() {
            count += 1;
        }
        assert!((10..20).contains(&count), "{count}");
        assert!(bytes.0.load(Ordering::SeqCst) >= 5000 * u64::try_from(count).unwrap());
        let later = now + Duration::from_mins(4);
        assert!(table.hear(Series(3), later).is_some());
        assert_eq!(table.next_sweep(), Some(now + SWEEP));
        table.sweep(now + Duration::from_mins(6));
        assert_eq!(table.len(), 1);
        assert!(bytes.0.load(Ordering::SeqCst) < 20_000);
        drop((table, permit));
        assert_eq!(bytes.0.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_table_has_a_limit() {
        let now = Instant::now();
        let mut table = Table::new(2, None);
        assert!(table.put(Series(1), 1, now, None).is_ok());
        assert!(table.put(Series(2), 1, now, None).is_ok());
        assert_eq!(table.put(Series(3), 1, now, None), Err(Full));
        assert!(table.put(Series(1), 2, now, None).is_ok());
        table.sweep(now + Duration::from_hours(10_000));
        assert_eq!((table.len(), table.next_sweep()), (2, None));
    }
}
