//! When to try again: exponential backoff with jitter, as `retry_on_failure` says.
//!
//! The pause before attempt n is drawn evenly from `interval * (1 - factor) ..= interval * (1 +
//! factor)`, where `interval` grows by `multiplier` up to `max_interval`; a longer pause that the
//! backend asked for (`RetryInfo`, `Retry-After`) wins. It gives up when the pause would end after
//! `max_elapsed_time`.

use std::time::{Duration, Instant};

use crate::component::Backoff;

/// The limit where none is given.
const MAX_ELAPSED_TIME: Duration = Duration::from_mins(5);

/// The state of one request between its attempts.
#[derive(Debug)]
pub struct Retries<'a> {
    backoff: &'a Backoff,
    interval: Duration,
    started: Instant,
}

impl<'a> Retries<'a> {
    /// Starts counting at `now`.
    pub fn new(backoff: &'a Backoff, now: Instant) -> Self {
        Retries { backoff, interval: backoff.initial_interval, started: now }
    }

    /// The pause before the next attempt; `None` means to give up. `asked` is the backend's wish,
    /// `random` a number from 0 to 1.
    pub fn pause(
        &mut self,
        now: Instant,
        asked: Option<Duration>,
        random: f64,
    ) -> Option<Duration> {
        let factor = self.backoff.randomization_factor;
        let jittered = self.interval.mul_f64(1.0 - factor + 2.0 * factor * random);
        let pause = jittered.max(asked.unwrap_or_default());
        let grown = self.interval.as_secs_f64() * self.backoff.multiplier;
        let longest = self.backoff.max_interval;
        self.interval = Duration::try_from_secs_f64(grown).unwrap_or(longest).min(longest);
        let limit = self.backoff.max_elapsed_time.unwrap_or(MAX_ELAPSED_TIME);
        let ends = now.saturating_duration_since(self.started).saturating_add(pause);
        (limit.is_zero() || ends <= limit).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff() -> Backoff {
        Backoff {
            initial_interval: Duration::from_secs(5),
            randomization_factor: 0.5,
            multiplier: 1.5,
            max_interval: Duration::from_secs(30),
            max_elapsed_time: None,
        }
    }

    #[test]
    fn pauses_grow_to_the_longest_and_stay_within_the_jitter() {
        let backoff = backoff();
        let start = Instant::now();
        let mut retries = Retries::new(&backoff, start);
        let middle: Vec<u128> =
            (0..7).map(|_| retries.pause(start, None, 0.5).unwrap().as_millis()).collect();
        assert_eq!(middle, [5000, 7500, 11_250, 16_875, 25_312, 30_000, 30_000]);
        assert_eq!(retries.pause(start, None, 0.0), Some(Duration::from_secs(15)));
        assert_eq!(retries.pause(start, None, 1.0), Some(Duration::from_secs(45)));
    }

    #[test]
    fn a_longer_wish_of_the_backend_wins() {
        let backoff = backoff();
        let start = Instant::now();
        let mut retries = Retries::new(&backoff, start);
        let asked = Some(Duration::from_mins(1));
        assert_eq!(retries.pause(start, asked, 0.5), asked);
    }

    #[test]
    fn gives_up_when_the_pause_would_end_too_late() {
        let backoff = backoff();
        let start = Instant::now();
        let mut retries = Retries::new(&backoff, start);
        assert!(retries.pause(start + Duration::from_secs(294), None, 0.5).is_some());
        assert!(retries.pause(start + Duration::from_secs(296), None, 0.5).is_none());
    }

    #[test]
    fn zero_elapsed_time_means_for_ever() {
        let backoff = Backoff { max_elapsed_time: Some(Duration::ZERO), ..backoff() };
        let start = Instant::now();
        let mut retries = Retries::new(&backoff, start);
        assert!(retries.pause(start + Duration::from_secs(1 << 20), None, 0.5).is_some());
    }
}
