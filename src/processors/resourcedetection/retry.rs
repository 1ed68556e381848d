//! `retry`: a detector that fails is asked again, after pauses that grow.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::{Interval, Node, Problems};

/// Shortest pause, so that no setting asks in a loop.
const LEAST: Duration = Duration::from_millis(10);

/// `retry`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// Whether a detector that fails is asked again.
    pub enabled: bool,
    /// First pause.
    pub initial_interval: Interval,
    /// Each pause is drawn from `interval * (1 +- factor)`; 0 to 1.
    pub randomization_factor: f64,
    /// Growth from pause to pause.
    pub multiplier: f64,
    /// Longest pause before jitter.
    pub max_interval: Interval,
    /// How long detection may take with all of its attempts, each of which has `timeout`; 0:
    /// `timeout` in all.
    pub max_elapsed_time: Interval,
}

impl Default for Retry {
    fn default() -> Self {
        Retry {
            enabled: true,
            initial_interval: Interval(Duration::from_secs(1)),
            randomization_factor: 0.5,
            multiplier: 2.0,
            max_interval: Interval(Duration::from_secs(30)),
            max_elapsed_time: Interval::default(),
        }
    }
}

impl Retry {
    /// Checks beyond types; `at` is the processor's body.
    pub(super) fn validate(&self, at: &Node, problems: &mut Problems) {
        if !(0.0..=1.0).contains(&self.randomization_factor) {
            problems
                .error(
                    at.at("retry::randomization_factor"),
                    "'randomization_factor' must be within [0, 1]",
                )
                .help("write 0.5 for pauses between half and one and a half times the interval");
        }
        if !self.multiplier.is_finite() || self.multiplier < 0.0 {
            problems
                .error(at.at("retry::multiplier"), "'multiplier' must be non-negative")
                .help("write 2: each pause is twice as long as the one before");
        }
    }

    /// How long detection may take in all, where one attempt has `timeout`.
    pub(super) fn patience(&self, timeout: Duration) -> Duration {
        if self.enabled { self.max_elapsed_time.0.max(timeout) } else { timeout }
    }

    /// The pauses between attempts; none if there is only one attempt.
    pub(super) fn pauses(&self) -> impl Iterator<Item = Duration> {
        let mut interval = self.initial_interval.0;
        let (longest, multiplier) = (self.max_interval.0, self.multiplier);
        let factor = self.randomization_factor;
        let all = std::iter::repeat_with(move || {
            let jitter = 1.0 + factor * (2.0 * fastrand::f64() - 1.0);
            let pause = scaled(interval.min(longest), jitter).max(LEAST);
            interval = scaled(interval, multiplier).min(longest);
            pause
        });
        self.enabled.then_some(all).into_iter().flatten()
    }
}

/// A product, or a very long time where it is none.
fn scaled(interval: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(interval.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_never_vanish() {
        let retry = Retry { randomization_factor: 0.0, ..Retry::default() };
        let seconds: Vec<u64> = retry.pauses().take(7).map(|pause| pause.as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30]);
        let none = Retry { initial_interval: Interval::default(), ..Retry::default() };
        assert_eq!(none.pauses().nth(3), Some(LEAST));
        let jittered = Retry { multiplier: 1.0, ..Retry::default() };
        assert!(jittered.pauses().take(99).all(|pause| (500..=1500).contains(&pause.as_millis())));
        assert_eq!(Retry { enabled: false, ..Retry::default() }.pauses().next(), None);
    }

    #[test]
    fn patience_is_the_longer_one() {
        let of = |seconds| Retry {
            max_elapsed_time: Interval(Duration::from_secs(seconds)),
            ..Retry::default()
        };
        let timeout = Duration::from_secs(5);
        assert_eq!(of(0).patience(timeout), timeout);
        assert_eq!(of(60).patience(timeout), Duration::from_mins(1));
        assert_eq!(Retry { enabled: false, ..of(60) }.patience(timeout), timeout);
    }
}
