//! How much of the traffic the store looks at: of 2^shift traces one is kept. The shift grows at
//! once if the queue fills or digesting takes more than its share of a CPU, and shrinks after some
//! calm seconds, so that it does not swing.
//!
//! Which traces are kept follows from a hash of their ids: what is kept at one shift is kept at all
//! smaller ones. Errors are kept as if the shift were smaller by three, and so are spans that come
//! after an error of the same trace. An item's weight is 2 to the power of the shift under which it
//! was kept, so sums over what is held are right on average: whether an item belongs to the errors
//! is known of every item that could be kept, since an error whose trace is not kept even then
//! changes nothing.

use std::time::Duration;

/// Largest shift: one trace of 65 536.
const MOST: u8 = 16;
/// Digesting is measured over so long.
const WINDOW: Duration = Duration::from_secs(1);
/// The shift grows at most so often for a full queue.
const PAUSE: Duration = Duration::from_millis(100);
/// Windows without need before the shift shrinks.
const CALM: u32 = 5;

/// Chooses the shift.
#[derive(Debug)]
pub(super) struct Governor {
    shift: u8,
    /// Share of a CPU that digesting may take, as a fraction.
    share: f64,
    window_start: Duration,
    busy: Duration,
    grown_at: Duration,
    calm: u32,
    /// The fullest that the queue was in this window.
    fullest: f64,
}

impl Governor {
    pub(super) fn new(share: f64) -> Self {
        Governor {
            shift: 0,
            share,
            window_start: Duration::ZERO,
            busy: Duration::ZERO,
            grown_at: Duration::ZERO,
            calm: 0,
            fullest: 0.0,
        }
    }

    pub(super) fn shift(&self) -> u8 {
        self.shift
    }

    /// Notes that digesting one request took `busy` and ended at `now`, on a clock that starts with
    /// the store, while so much of the queue was full.
    pub(super) fn note(&mut self, now: Duration, busy: Duration, full: f64) {
        self.busy += busy;
        self.fullest = self.fullest.max(full);
        if full > 0.5 && now >= self.grown_at + PAUSE {
            self.grow(1, now);
        }
        let window = now.saturating_sub(self.window_start);
        if window < WINDOW {
            return;
        }
        let share = self.busy.as_secs_f64() / window.as_secs_f64();
        if share > self.share {
            self.grow(steps(share / self.share), now);
        } else if self.fullest < 0.1 && share * 2.0 < self.share * 0.9 {
            self.calm += 1;
        } else {
            self.calm = 0;
        }
        if self.calm >= CALM {
            self.shift = self.shift.saturating_sub(1);
            self.calm = 0;
        }
        self.window_start = now;
        self.busy = Duration::ZERO;
        self.fullest = 0.0;
    }

    fn grow(&mut self, steps: u8, now: Duration) {
        self.shift = self.shift.saturating_add(steps).min(MOST);
        self.grown_at = now;
        self.calm = 0;
    }
}

/// How often something has to be halved to be at most one.
fn steps(ratio: f64) -> u8 {
    let mut steps = 0;
    let mut left = ratio;
    while left > 1.0 && steps < MOST {
        left /= 2.0;
        steps += 1;
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second of requests, each of which keeps the digester busy for so long if all is kept.
    fn second(governor: &mut Governor, at: u64, busy: Duration, full: f64) {
        for step in 0..10 {
            let now = Duration::from_millis(at * 1000 + step * 100 + 100);
            let part = busy / 10 / (1 << governor.shift());
            governor.note(now, part, full);
        }
    }

    #[test]
    fn the_share_is_met_and_the_shift_does_not_swing() {
        let mut governor = Governor::new(0.03);
        let mut shifts = Vec::new();
        for at in 0..60 {
            second(&mut governor, at, Duration::from_millis(100), 0.0);
            shifts.push(governor.shift());
        }
        assert!(shifts[2..].iter().all(|shift| *shift == 2), "{shifts:?}");
        for at in 60..120 {
            second(&mut governor, at, Duration::from_millis(1), 0.0);
        }
        assert_eq!(governor.shift(), 0);
    }

    #[test]
    fn a_full_queue_is_answered_at_once() {
        let mut governor = Governor::new(1.0);
        second(&mut governor, 0, Duration::from_millis(1), 0.9);
        assert!(governor.shift() >= 8, "{}", governor.shift());
        second(&mut governor, 1, Duration::from_millis(1), 0.9);
        assert_eq!(governor.shift(), MOST);
    }
}
