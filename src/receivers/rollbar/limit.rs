//! How many items a client may send in a minute. As at Rollbar, the minute of an access token
//! begins with its first item, and everything beyond the limit gets 429 until it ends.

use std::{collections::HashMap, hash::BuildHasher, sync::Mutex, time::Duration};

use foldhash::fast::RandomState;
use tokio::time::Instant;

use crate::sync;

/// Length of a window.
const MINUTE: Duration = Duration::from_mins(1);

/// Most tokens that are counted separately. Clients choose their tokens, so without a limit they
/// could fill the memory; beyond it new ones share one window.
const MOST: usize = 1024;

/// What a client is told in `X-Rate-Limit-*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    pub(super) limit: u64,
    pub(super) remaining: u64,
    /// Until the window ends.
    pub(super) ends_in: Duration,
    /// Whether this item is one too many.
    pub(super) is_over: bool,
}

/// The windows of all tokens.
#[derive(Debug)]
pub(super) struct Limits {
    per_minute: u64,
    hasher: RandomState,
    windows: Mutex<HashMap<u64, Window>>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    begin: Instant,
    taken: u64,
}

impl Limits {
    /// Limits of so many items; 0 means that there are none.
    pub(super) fn new(per_minute: u64) -> Self {
        Limits { per_minute, hasher: RandomState::default(), windows: Mutex::default() }
    }

    /// Counts an item of a token; `None` if there is no limit.
    pub(super) fn take(&self, token: &str) -> Option<Rate> {
        let limit = Some(self.per_minute).filter(|limit| *limit > 0)?;
        let now = Instant::now();
        let mut windows = sync::lock(&self.windows);
        let mut key = self.hasher.hash_one(token);
        if windows.len() >= MOST && !windows.contains_key(&key) {
            windows.retain(|_, window| now < window.begin + MINUTE);
            if windows.len() >= MOST {
                key = 0;
            }
        }
        let window = windows.entry(key).or_insert(Window { begin: now, taken: 0 });
        if now >= window.begin + MINUTE {
            *window = Window { begin: now, taken: 0 };
        }
        let is_over = window.taken >= limit;
        window.taken += u64::from(!is_over);
        let ends_in = (window.begin + MINUTE).saturating_duration_since(now);
        Some(Rate { limit, remaining: limit - window.taken, ends_in, is_over })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_token_has_a_minute_of_its_own() {
        let limits = Limits::new(2);
        let take = |token| {
            let rate = limits.take(token).unwrap();
            (rate.remaining, rate.is_over, rate.ends_in.as_secs())
        };
        assert_eq!(take("a"), (1, false, 60));
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(take("a"), (0, false, 40));
        assert_eq!((take("a"), take("b")), ((0, true, 40), (1, false, 60)));
        tokio::time::advance(Duration::from_secs(40)).await;
        assert_eq!(take("a"), (1, false, 60));
        assert_eq!(Limits::new(0).take("a"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn many_tokens_take_no_more_memory() {
        let limits = Limits::new(5);
        for number in 0..3000 {
            limits.take(&number.to_string());
        }
        let len = || limits.windows.lock().unwrap().len();
        assert_eq!(len(), MOST + 1);
        assert!(limits.take("another").unwrap().is_over, "it shares the window of the others");
        tokio::time::advance(MINUTE).await;
        assert!(!limits.take("another").unwrap().is_over);
        assert!(len() < 3);
    }
}
