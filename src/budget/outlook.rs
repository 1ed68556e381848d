//! The outlook: how many units want to pass until the period ends, for the forecasts that people
//! and metrics are told.
//!
//! It is an average over about the last week: units and seconds both fade with a time constant of
//! seven days, and their quotient is the rate. The average is never over less than a day, so an
//! hour of a load test on the 3rd is taken as one hour of such a test every week, and on the first
//! day as one every day. Traffic that has changed for good is known to two thirds after a week.
//!
//! Why not the estimates of the pace: they forget within a day at most, so that sampling begins in
//! time. Times the rest of the month they say twenty times the units of a burst right after it.

/// Time constant, in seconds.
const WEEK: f64 = 7.0 * 86_400.0;
/// The shortest time that is averaged over, in seconds.
const LEAST: f64 = 86_400.0;

/// Averages of what wants to pass.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Outlook {
    /// Units of each class, faded.
    pub units: [f64; 3],
    /// The time in which they came, faded, in seconds.
    pub seconds: f64,
}

impl Outlook {
    /// Of units per second that were the same for a day.
    pub(super) fn steady(wanted: [f64; 3]) -> Self {
        Outlook { units: wanted.map(|wanted| wanted * LEAST), seconds: LEAST }
    }

    /// Takes in what wanted to pass within so many seconds.
    #[expect(clippy::cast_precision_loss, reason = "estimates")]
    pub(super) fn observe(&mut self, units: [u64; 3], passed: f64) {
        let kept = (-passed / WEEK).exp();
        self.seconds = self.seconds * kept + WEEK * (1.0 - kept);
        for (sum, units) in self.units.iter_mut().zip(units) {
            *sum = *sum * kept + units as f64;
        }
    }

    /// Units of each class that will want to pass within `left` seconds.
    pub(super) fn forecast(&self, left: f64) -> [f64; 3] {
        let per_second = 1.0 / self.seconds.max(LEAST);
        self.units.map(|units| units * per_second * left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: f64 = 3600.0;
    const DAY: f64 = 24.0 * HOUR;

    /// The forecast for so many days after `hours` of units, from the oldest.
    fn after(hours: impl Iterator<Item = u64>, days: f64) -> f64 {
        let mut outlook = Outlook::default();
        for units in hours {
            outlook.observe([0, 0, units], HOUR);
        }
        outlook.forecast(days * DAY)[2]
    }

    #[test]
    fn a_burst_is_not_taken_as_one_of_every_day() {
        // Ten quiet days, then a million in an hour; twenty days are left. The pace would say 20
        // million.
        let quiet = std::iter::repeat_n(0, 240);
        let forecast = after(quiet.chain([1_000_000]), 20.0);
        assert!((3.5e6..4.0e6).contains(&forecast), "{forecast}");
        // On the first day there is nothing else to go by.
        let forecast = after([1_000_000].into_iter(), 29.0);
        assert!((28.9e6..29.1e6).contains(&forecast), "{forecast}");
    }

    #[test]
    fn what_goes_on_is_forecast_as_it_goes_on() {
        for hours in [24, 240, 720] {
            let forecast = after(std::iter::repeat_n(1000, hours), 10.0);
            assert!((220_000.0..245_000.0).contains(&forecast), "{hours} hours: {forecast}");
        }
        // A service that has gone mad: after a day it is seen, after a week to two thirds.
        let mad = |hours| {
            let usual = std::iter::repeat_n(0, 240);
            after(usual.chain(std::iter::repeat_n(1000, hours)), 10.0) / 240_000.0
        };
        assert!((0.15..0.25).contains(&mad(24)) && (0.6..0.75).contains(&mad(168)));
        let steady = Outlook::steady([0.0, 0.0, 2.0]).forecast(10.0)[2];
        assert!((steady - 20.0).abs() < 1e-9);
    }
}
