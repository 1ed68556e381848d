//! Limits a log event to one a minute, however often it happens.

use std::{sync::Mutex, time::Duration};

use tokio::time::Instant;

use crate::sync;

const PAUSE: Duration = Duration::from_mins(1);

/// When the event was last logged.
#[derive(Debug, Default)]
pub struct RateLimit(Mutex<Option<Instant>>);

impl RateLimit {
    /// Whether to log it now; after that it is false for a minute.
    pub fn is_due(&self) -> bool {
        let mut last = sync::lock(&self.0);
        let is_due = last.is_none_or(|last| last.elapsed() >= PAUSE);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn once_a_minute_is_enough() {
        let limit = RateLimit::default();
        assert!(limit.is_due());
        assert!(!limit.is_due());
        tokio::time::advance(PAUSE / 2).await;
        assert!(!limit.is_due());
        tokio::time::advance(PAUSE / 2).await;
        assert!(limit.is_due());
        assert!(!limit.is_due());
    }
}
