//! Whether an exporter's backend is away, and when it is back: requests that pause before another
//! attempt are then sent at once. It also decides which failures are logged.
//!
//! Why not every success that follows a failure: a backend that refuses every other request would
//! be sent the refused ones again without a pause. Only where nothing succeeded for a while was it
//! away.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

/// Failures without a success in between for so long are an outage.
const LENGTH: Duration = Duration::from_secs(10);

/// How often the log says that an exporter still fails.
const REMINDER: Duration = Duration::from_mins(1);

/// What the log should say of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// It is the first one after a success.
    First,
    /// Every attempt has failed for so long, and nothing was said of it for a minute.
    Still(Duration),
    /// It is like the one before.
    None,
}

/// Failures without a success in between.
#[derive(Debug, Clone, Copy)]
struct Failing {
    since: Instant,
    told: Instant,
}

/// What the attempts of one exporter know of each other.
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
    /// How many have ended; for [`Outage::end_after`].
    pub(super) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Acquire)
    }

    /// Notes a failure, and says what to log.
    pub(super) fn failed(&self) -> News {
        let now = Instant::now();
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// Notes a success; whether it is the first one after a failure.
    pub(super) fn succeeded(&self) -> bool {
        // On the way of every request: one load where all is well.
        if !self.is_failing.load(Ordering::Relaxed) {
            return false;
        }
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
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
