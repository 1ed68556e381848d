//! What a budget is set to, and the words for it.

use std::str::FromStr;

use jiff::tz::TimeZone;

/// What a budget is set to. All of it may change while skep runs, see
/// `MonthlyBudget::reconfigure`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What is counted. It says how numbers are shown; the exporter does the counting.
    pub unit: Unit,
    /// Units per month, of all replicas together.
    pub per_month: u64,
    /// The part of this process.
    pub share: Share,
    /// What happens when there is more than the budget allows.
    pub mode: Mode,
    /// Months begin at midnight in this zone.
    pub zone: TimeZone,
    /// Day on which a month begins, 1 to 31; in a shorter month its last day.
    pub reset_day: u8,
}

impl Settings {
    /// Units per month of this process.
    pub fn limit(&self) -> u64 {
        self.share.of(self.per_month)
    }
}

/// What happens when there is more than the budget allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Sample, so that the rest of the budget lasts to the end of the month. A hard ceiling, too.
    #[default]
    Pace,
    /// Send everything until the ceiling is reached, then nothing.
    Stop,
    /// Send everything, and say so.
    Warn,
}

impl Mode {
    /// The name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Mode::Pace => "pace",
            Mode::Stop => "stop",
            Mode::Warn => "warn",
        }
    }
}

/// What a vendor counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Spans, span events, span links and log records.
    Events,
    /// Distinct traces.
    Traces,
    /// Bytes, as the vendor counts them.
    Bytes,
    /// Distinct combinations of namespace, name and dimensions.
    Metrics,
    /// Occurrences of errors, or OTLP items.
    Items,
}

impl Unit {
    /// In the plural, as it follows a number.
    pub const fn name(self) -> &'static str {
        match self {
            Unit::Events => "events",
            Unit::Traces => "traces",
            Unit::Bytes => "bytes",
            Unit::Metrics => "metrics",
            Unit::Items => "items",
        }
    }
}

/// Which data goes first. In this order: an error is kept before what is slow, and that before the
/// rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Errors, and the traces that they are in.
    Error,
    /// Traces that took long.
    Slow,
    /// Everything else.
    Rest,
}

impl Class {
    /// All of them, in the order of their numbers.
    pub const ALL: [Class; 3] = [Class::Error, Class::Slow, Class::Rest];

    /// The name in metrics and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Class::Error => "error",
            Class::Slow => "slow",
            Class::Rest => "rest",
        }
    }
}

/// A part of a budget, such as `1/3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    part: u32,
    whole: u32,
}

/// Why a text is no [`Share`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a share is a fraction such as `1/3`: two whole numbers above 0, the first not the larger")]
pub struct ShareError;

impl Share {
    /// All of it.
    pub const WHOLE: Share = Share { part: 1, whole: 1 };

    /// A part of `units`, rounded down, so that all parts together are never more.
    pub fn of(self, units: u64) -> u64 {
        let units = u128::from(units) * u128::from(self.part) / u128::from(self.whole);
        u64::try_from(units).unwrap_or(u64::MAX)
    }
}

impl Default for Share {
    fn default() -> Self {
        Share::WHOLE
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.part, self.whole)
    }
}

impl FromStr for Share {
    type Err = ShareError;

    /// Takes `1/3`, and `1` for all of it.
    fn from_str(text: &str) -> Result<Self, ShareError> {
        let (part, whole) = text.split_once('/').unwrap_or((text, "1"));
        let number = |text: &str| {
            let digits = text.trim();
            let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse::<u32>().ok().filter(|number| is_plain && *number > 0)
        };
        match (number(part), number(whole)) {
            (Some(part), Some(whole)) if part <= whole => Ok(Share { part, whole }),
            _ => Err(ShareError),
        }
    }
}

#[cfg(test)]
mod tests;
