//! Months: from midnight of the day on which a vendor begins to count anew to the next such
//! midnight.

use jiff::{
    Timestamp, ToSpan as _,
    civil::{Date, date},
    tz::TimeZone,
};

/// One month of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// Its first moment.
    pub start: Timestamp,
    /// The first moment of the next one.
    pub end: Timestamp,
}

impl Period {
    /// The period that `now` is in. Midnights that a zone leaves out, as some do when daylight
    /// saving time begins, are the first moment of that day.
    pub fn at(now: Timestamp, zone: &TimeZone, reset_day: u8) -> Self {
        let today = now.to_zoned(zone.clone()).date();
        let this_month = reset_in(today.first_of_month(), reset_day);
        let (first, next) = if today < this_month {
            (reset_in(months_after(today, -1), reset_day), this_month)
        } else {
            (this_month, reset_in(months_after(today, 1), reset_day))
        };
        Period { start: midnight(first, zone), end: midnight(next, zone) }
    }

    /// Seconds from `now` to its end, at least one.
    #[expect(clippy::cast_precision_loss, reason = "months of seconds")]
    pub(super) fn seconds_left(&self, now: Timestamp) -> f64 {
        (self.end.as_second() - now.as_second()).max(1) as f64
    }

    /// The part of `units` that is over at `now` if they are spread evenly.
    pub(super) fn past_of(&self, units: u64, now: Timestamp) -> u64 {
        let whole = self.end.as_second() - self.start.as_second();
        let elapsed = (now.as_second() - self.start.as_second()).clamp(0, whole);
        let part = i128::from(units) * i128::from(elapsed) / i128::from(whole.max(1));
        u64::try_from(part).unwrap_or(units)
    }
}

/// The day of the month of `first` on which a period begins.
fn reset_in(first: Date, reset_day: u8) -> Date {
    let day = i8::try_from(reset_day).unwrap_or(31).clamp(1, first.days_in_month());
    first.with().day(day).build().unwrap_or(first)
}

/// The first day of the month that is so many months away.
fn months_after(day: Date, months: i64) -> Date {
    day.first_of_month().saturating_add(months.months())
}

/// The first moment of a day.
fn midnight(day: Date, zone: &TimeZone) -> Timestamp {
    let known = day.to_zoned(zone.clone()).map(|midnight| midnight.timestamp());
    // Only at the ends of time, the years -9999 and 9999.
    known.unwrap_or(if day < date(2000, 1, 1) { Timestamp::MIN } else { Timestamp::MAX })
}

/// The first moment of the day that `now` is in, and that of the next day.
pub(super) fn day_at(now: Timestamp, zone: &TimeZone) -> (Timestamp, Timestamp) {
    let today = now.to_zoned(zone.clone()).date();
    let tomorrow = today.saturating_add(1.day());
    (midnight(today, zone), midnight(tomorrow, zone))
}

#[cfg(test)]
mod tests;
