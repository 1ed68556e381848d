//! What people and probes are told about a budget.

use std::path::PathBuf;

use jiff::Timestamp;

use super::{
    left_out::LeftOut,
    pace::Rates,
    period::Period,
    settings::{Class, Mode, Share, Unit},
    who::Eater,
};

/// The state of a budget at one moment.
#[derive(Debug, Clone)]
pub struct Report {
    /// What is counted.
    pub unit: Unit,
    /// What happens when there is more than the budget allows.
    pub mode: Mode,
    /// Units per period of this process.
    pub limit: u64,
    /// Its part of the whole.
    pub share: Share,
    /// The period.
    pub period: Period,
    /// Units that are used in it.
    pub used: u64,
    /// What passes now.
    pub rates: Rates,
    /// Units per second of each class that want to pass, on average.
    pub wanted: [f64; 3],
    /// Units that will be used at the end of the period, if it goes on like this.
    pub forecast: u64,
    /// The same if there were no budget.
    pub unlimited: u64,
    /// Whether something was refused in this period because the ceiling was reached.
    pub is_exhausted: bool,
    /// Where the ledger is; `None` if a restart forgets.
    pub ledger: Option<PathBuf>,
    /// Why the ledger could not be written, since it could last.
    pub trouble: Option<String>,
    /// Who wants most, since the period began.
    pub who: Vec<Eater>,
    /// What was left out, since the period began.
    pub left_out: LeftOut,
}

impl Report {
    /// The used part of the limit in percent, rounded down: 100 is reached only when all is used.
    pub fn percent(&self) -> u64 {
        let percent = u128::from(self.used) * 100 / u128::from(self.limit.max(1));
        u64::try_from(percent).unwrap_or(u64::MAX)
    }

    /// Whether a part is left out now, so that the rest lasts.
    pub fn is_paced(&self) -> bool {
        let is_sampled = |class: Class| {
            self.wanted[class as usize] > 0.0 && self.rates.of(class).probability() < 1.0
        };
        self.mode == Mode::Pace && !self.is_spent() && Class::ALL.into_iter().any(is_sampled)
    }

    /// Whether nothing is left and nothing passes.
    pub fn is_spent(&self) -> bool {
        self.used >= self.limit && self.mode != Mode::Warn
    }

    /// Units that would be used now if the limit were used evenly.
    pub fn planned(&self, now: Timestamp) -> u64 {
        self.period.past_of(self.limit, now)
    }
}

/// Something that a log line should say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A new period has begun.
    Began,
    /// Sampling has begun: more wants to pass than lasts to the end.
    PacingBegan,
    /// Sampling has ended.
    PacingEnded,
    /// So many percent are used: 80 or 95.
    Reached(u8),
    /// The ceiling is reached, and something was left out for it; or, with the mode `warn`, sent.
    Exhausted,
    /// One of the two files of the ledger was damaged; the other one is used.
    OneDamaged,
    /// The ledger is damaged. So many units are assumed to be used.
    Damaged(u64),
    /// The ledger was removed; it was made again, with all that is known.
    MadeAgain,
    /// The ledger cannot be written; counting goes on in memory.
    CannotWrite(String),
}
