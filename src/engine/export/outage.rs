//! Detects when an exporter's backend is down, and when it is back. Requests that wait before
//! another attempt are then sent at once. Also decides which failures are logged.
//!
//! Why not after every success that follows a failure: with a backend that refuses every other
//! request, refused requests would be retried without a pause. The backend was down only if nothing
//! succeeded for a while.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::sync;

/// After failures without a success for this long, the backend is considered down.
const LENGTH: Duration = Duration::from_secs(10);

/// How often the log says that an exporter still fails.
const REMINDER: Duration = Duration::from_mins(1);

/// What the log should say about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// It is the first one after a success.
    First,
    /// All attempts have failed for this long, and the log has not said so for a minute.
    Still(Duration),
    /// Nothing new.
    None,
}

/// Failures without a success in between.
#[derive(Debug, Clone, Copy)]
struct Failing {
    since: Instant,
    told: Instant,
}

/// State that all attempts of one exporter share.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// Whether the last attempt failed.
    is_failing: AtomicBool,
    failing: Mutex<Option<Failing>>,
    /// Outages that have ended.
    ended: AtomicU64,
    end: Notify,
}

impl Outage {
    /// Number of ended outages; see [`Outage::end_after`].
    pub(super) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Acquire)
    }

    /// Notes a failure. Returns what to log.
    pub(super) fn failed(&self) -> News {
        let now = Instant::now();
        let mut failing = sync::lock(&self.failing);
        self.is_failing.store(true, Ordering::Relaxed);
        match failing.as_mut() {
            None => {
                *failing = Some(Failing { since: now, told: now });
                News::First
            }
            Some(failing) if now.duration_since(failing.told) >= REMINDER => {
                failing.told = now;
                News::Still(now.duration_since(failing.since))
            }
            Some(_) => News::None,
        }
    }

    /// Notes a success. Returns whether it is the first one after a failure.
    pub(super) fn succeeded(&self) -> bool {
        // This runs for every request: without failures it costs one load.
        if !self.is_failing.load(Ordering::Relaxed) {
            return false;
        }
        let mut failing = sync::lock(&self.failing);
        self.is_failing.store(false, Ordering::Relaxed);
        let Some(failing) = failing.take() else { return false };
        if failing.since.elapsed() >= LENGTH {
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
        assert_eq!([outage.failed(), outage.failed()], [News::First, News::None]);
        tokio::time::advance(LENGTH / 2).await;
        assert!(outage.succeeded() && !outage.succeeded());
        assert!(has_ended(0).await.is_err(), "a refusal among successes");
        assert_eq!(outage.failed(), News::First);
        tokio::time::advance(LENGTH).await;
        assert!(outage.succeeded());
        assert!(has_ended(0).await.is_ok(), "also for an attempt that was on the way meanwhile");
        assert!(has_ended(1).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_logged_once_a_minute() {
        let outage = Outage::default();
        assert_eq!(outage.failed(), News::First);
        for minutes in 1..4 {
            tokio::time::advance(REMINDER / 2).await;
            assert_eq!(outage.failed(), News::None);
            tokio::time::advance(REMINDER / 2).await;
            assert_eq!(outage.failed(), News::Still(minutes * REMINDER));
            assert_eq!(outage.failed(), News::None);
        }
        assert!(outage.succeeded());
        assert_eq!(outage.failed(), News::First);
    }
}
