//! The pace: which part of each class may pass, so that what is left lasts to the end of the
//! period.
//!
//! For each class it estimates how many units a second want to pass: an average that forgets
//! exponentially. The estimate times the time that is left is the forecast of the class. What is
//! left of the budget is divided in order: errors take what their forecast needs, slow traces what
//! they need of the rest, and then the rest. A class that needs more than its part is sampled by
//! the quotient. Because what is left is divided by the time that is left at every step, savings
//! of quiet days are handed out by themselves, and an estimate that was wrong is corrected.
//!
//! - *How fast it forgets* decides which bursts pass whole. With a time constant `t`, a burst from
//!   nothing passes until it has used `t / time left` of the budget: an eighth of a period that is
//!   about to end, or the share of one day, and for errors a quarter. A shorter constant would
//!   sample each morning, a longer one would take too long to notice a service gone mad.
//! - *For errors to come*, a tenth of what is left is kept from the other classes.
//! - *No class is shut out*: slow traces and the rest get a hundredth of what is left each, since a
//!   class of which nothing is kept cannot be weighed.
//! - A rate of 99 % counts as 100 %: sampling that saves nothing only makes counts less certain.
//!
//! Units of bursts are taken into the estimate as they come, so that one large payload after a
//! quiet week is sampled itself, not only what comes after it.

use super::settings::Class;

/// One more than the largest number of 56 bits.
const END: u64 = 1 << 56;
/// Bits of a threshold that count: four hexadecimal digits beyond the leading ones.
const PRECISION: u32 = 16;
/// Longest memory of slow traces and the rest, in seconds: a day, so that mornings and nights are
/// sampled alike.
const DAY: f64 = 86_400.0;
/// Shortest memory, in seconds.
const LEAST_MEMORY: f64 = 60.0;
/// Part of what is left that is kept for errors to come.
const FOR_ERRORS: f64 = 0.1;
/// Part of what is left that slow traces, and the rest, get at least.
const FLOOR: f64 = 0.01;
/// From this part on, everything is kept.
const AS_GOOD_AS_ALL: f64 = 0.99;

/// How many of a class pass, as consistent probability sampling has it: an item passes if its 56
/// random bits are not below the threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(u64);

impl Rate {
    /// Everything passes.
    pub const ALL: Rate = Rate(0);
    /// Nothing passes.
    pub const NOTHING: Rate = Rate(END);

    /// The rate nearest to a probability. Its threshold has few digits, so that weights repeat.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a probability times 2^56 is a number of 56 bits"
    )]
    pub fn of(probability: f64) -> Self {
        if probability >= 1.0 {
            return Rate::ALL;
        }
        let kept = (probability.max(0.0) * END as f64) as u64;
        if kept == 0 {
            return Rate::NOTHING;
        }
        // Of the kept part, so that small probabilities are as exact as large ones.
        let shift = (64 - kept.leading_zeros()).saturating_sub(PRECISION);
        Rate(END - (kept >> shift << shift))
    }

    /// The threshold: 0 to 2^56.
    pub const fn threshold(self) -> u64 {
        self.0
    }

    /// From 0 to 1; its inverse is the weight of what passes.
    #[expect(clippy::cast_precision_loss, reason = "a share needs no exactness")]
    pub fn probability(self) -> f64 {
        (END - self.0) as f64 / END as f64
    }

    /// Whether an item with such random bits, of which the lowest 56 count, passes.
    pub const fn keeps(self, randomness: u64) -> bool {
        randomness & (END - 1) >= self.0
    }

    pub(super) const fn from_threshold(threshold: u64) -> Self {
        Rate(if threshold > END { END } else { threshold })
    }
}

/// The rate of each class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates(pub(super) [Rate; 3]);

impl Rates {
    /// Everything passes.
    pub const ALL: Rates = Rates([Rate::ALL; 3]);

    /// Nothing passes.
    pub const NOTHING: Rates = Rates([Rate::NOTHING; 3]);

    /// The rate of a class.
    pub const fn of(&self, class: Class) -> Rate {
        self.0[class as usize]
    }

    /// Whether something is left out.
    pub fn is_pacing(&self) -> bool {
        *self != Rates::ALL
    }
}

/// Estimates of what wants to pass.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Pace {
    /// Units per second of each class.
    pub(super) wanted: [f64; 3],
    /// When they were true, in milliseconds.
    pub(super) at: i64,
}

impl Pace {
    /// Takes in what wanted to pass since the last call; `left` is the time to the end of the
    /// period in seconds. Returns how many seconds ago that call was, at most a day.
    #[expect(clippy::cast_precision_loss, reason = "estimates")]
    pub(super) fn observe(&mut self, units: [u64; 3], now: i64, left: f64) -> f64 {
        // A clock that jumps tells nothing about how long it was quiet.
        let passed = now.saturating_sub(self.at).clamp(0, 86_400_000) as f64 / 1e3;
        let passed = if self.at == 0 { 0.0 } else { passed };
        self.at = now;
        for (class, units) in Class::ALL.into_iter().zip(units) {
            let memory = memory(class, left);
            let wanted = &mut self.wanted[class as usize];
            *wanted = *wanted * (-passed / memory).exp() + units as f64 / memory;
        }
        passed
    }

    /// Divides `rest` units over `left` seconds.
    pub(super) fn rates(&self, rest: u64, left: f64) -> Rates {
        Rates(
            self.shares(rest, left)
                .map(|share| if share >= AS_GOOD_AS_ALL { Rate::ALL } else { Rate::of(share) }),
        )
    }

    #[expect(clippy::cast_precision_loss, reason = "estimates")]
    fn shares(&self, rest: u64, left: f64) -> [f64; 3] {
        let rest = rest as f64;
        if rest <= 0.0 {
            return [0.0; 3];
        }
        let [errors, slow, others] = self.forecast(left);
        let floor = rest * FLOOR;
        let for_errors = rest - 2.0 * floor;
        let after_errors = rest - errors.clamp(rest * FOR_ERRORS, for_errors);
        let for_slow = after_errors - floor;
        let for_others = after_errors - slow.min(for_slow);
        let part = |budget: f64, wanted: f64| if wanted <= budget { 1.0 } else { budget / wanted };
        [part(for_errors, errors), part(for_slow, slow), part(for_others, others)]
    }

    /// Units of each class that will want to pass within `left` seconds, if it goes on like this.
    pub(super) fn forecast(&self, left: f64) -> [f64; 3] {
        self.wanted.map(|wanted| wanted * left)
    }
}

/// Time constant of a class, in seconds.
fn memory(class: Class, left: f64) -> f64 {
    let memory = match class {
        Class::Error => left / 4.0,
        Class::Slow | Class::Rest => (left / 8.0).min(DAY),
    };
    memory.max(LEAST_MEMORY)
}

#[cfg(test)]
mod tests;
