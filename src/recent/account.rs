//! The account of bytes: everything in the store that grows is charged here before it is allocated,
//! and given back when it is dropped, be it evicted or only held by a reader.
//!
//! A byte is one that was asked of the allocator; what that adds by rounding up is not counted.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// A fixed number of bytes.
#[derive(Debug)]
pub(super) struct Account {
    limit: usize,
    used: AtomicUsize,
    highest: AtomicUsize,
}

impl Account {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Account { limit, used: AtomicUsize::new(0), highest: AtomicUsize::new(0) })
    }

    /// Charges bytes; none if there is no room for all of them.
    pub(super) fn charge(self: &Arc<Self>, bytes: usize) -> Option<Charge> {
        self.take(bytes).then(|| Charge { account: Arc::clone(self), bytes })
    }

    fn take(&self, bytes: usize) -> bool {
        let more = |used: usize| used.checked_add(bytes).filter(|total| *total <= self.limit);
        match self.used.try_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(before) => {
                self.highest.fetch_max(before + bytes, Ordering::Relaxed);
                true
            }
            Err(_) => false,
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// The most that was ever used at once.
    pub(super) fn highest(&self) -> usize {
        self.highest.load(Ordering::Relaxed)
    }
}

/// Bytes that are charged until it is dropped.
#[derive(Debug)]
pub(super) struct Charge {
    account: Arc<Account>,
    bytes: usize,
}

impl Charge {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives some of it back.
    pub(super) fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.account.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Charges more to the same holder; false if there is no room.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        let has_room = self.account.take(bytes);
        self.bytes += if has_room { bytes } else { 0 };
        has_room
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_charged_than_there_is_and_all_of_it_comes_back() {
        let account = Account::new(100);
        let mut first = account.charge(60).unwrap();
        assert!(account.charge(41).is_none() && account.charge(usize::MAX).is_none());
        assert!(first.grow(40) && !first.grow(1));
        assert_eq!((account.used(), first.bytes()), (100, 100));
        first.shrink(30);
        assert_eq!((account.used(), first.bytes()), (70, 70));
        first.shrink(1000);
        assert_eq!((account.used(), first.bytes()), (0, 0));
        drop(first);
        assert_eq!((account.used(), account.highest()), (0, 100));
    }
}
