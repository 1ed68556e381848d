//! Detects when an exporter's backend is down, and when it is back. Requests that wait before
//! another attempt are then sent at once.
//!
//! Why not after every success that follows a failure: with a backend that refuses every other
//! request, refused requests would be retried without a pause. The backend was down only if nothing
//! succeeded for a while.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

/// After failures without a success for this long, the backend is considered down.
const LENGTH: Duration = Duration::from_secs(10);

/// State that all attempts of one exporter share.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// Whether the last attempt failed.
    is_failing: AtomicBool,
    /// The first failure after a success.
    since: Mutex<Option<Instant>>,
    /// Notified when an outage has ended.
    ended: AtomicU64,
    end: Notify,
}

impl Outage {
    /// Number of ended outages; see [`Outage::end_after`].
    pub(super) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Acquire)
    }

    /// Notes a failure. Returns whether it is the first one.
    pub(super) fn failed(&self) -> bool {
        let is_first = !self.is_failing.swap(true, Ordering::Relaxed);
        if is_first {
            *self.since.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        is_first
    }

    /// Notes a success. Returns whether it is the first one after a failure.
    pub(super) fn succeeded(&self) -> bool {
        // This runs for every request: without failures it costs one load.
        if !self.is_failing.load(Ordering::Relaxed)
            || !self.is_failing.swap(false, Ordering::Relaxed)
        {
            return false;
        }
        let since = self.since.lock().unwrap_or_else(PoisonError::into_inner).take();
        if since.is_some_and(|since| since.elapsed() >= LENGTH) {
            self.ended.fetch_add(1, Ordering::Release);
            self.end.notify_waiters();
        }
        true
    }

    /// Waits until more than `seen` outages have ended.
    pub(super) async fn end_after(&self, seen: u64) {
        let end = self.end.notified();
        if self.ended() == seen {
            end.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_an_outage_ends_the_pauses() {
        let outage = Outage::default();
        let has_ended =
            |seen| tokio::time::timeout(Duration::from_millis(1), outage.end_after(seen));
        assert!(outage.failed() && !outage.failed());
        tokio::time::advance(LENGTH / 2).await;
        assert!(outage.succeeded() && !outage.succeeded());
        assert!(has_ended(0).await.is_err(), "a refusal among successes");
        assert!(outage.failed());
        tokio::time::advance(LENGTH).await;
        assert!(outage.succeeded());
        assert!(has_ended(0).await.is_ok(), "also for an attempt that was on the way meanwhile");
        assert!(has_ended(1).await.is_err());
    }
}
