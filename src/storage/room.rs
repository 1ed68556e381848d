//! The limit in bytes that all logs of one storage share.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes on disk, and how many may be.
#[derive(Debug)]
pub struct Room {
    limit: u64,
    used: AtomicU64,
}

impl Room {
    /// Room for `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Room { limit, used: AtomicU64::new(0) }
    }

    /// Bytes that may be in use.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes in use. What was found at the opening counts, even above the limit.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes `bytes` if they are there.
    pub(super) fn try_take(&self, bytes: u64) -> bool {
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|sum| *sum <= self.limit)
        });
        taken.is_ok()
    }

    /// Counts what is there already.
    pub(super) fn take(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}
