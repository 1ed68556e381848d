//! Whether the clock of a page can be right, and what becomes of times that cannot be.
//!
//! A page has no clock that anybody set: computers are hours off, and the clock of a page stands
//! still while its computer sleeps. The one thing that is known is when a request arrived, and what
//! it reports has happened shortly before. So if the latest time of a request is far from its
//! arrival, all its times are shifted together, which keeps durations and distances.
//!
//! After that every time lies between `max_age` before the arrival and `max_ahead` behind it.
//! Times of the past or future would choose files, partitions and budgets.

use std::time::Duration;

use super::quick;
use crate::otlp::{
    Signal,
    wire::{FieldValue, Fields},
};

const MILLISECOND: i128 = 1_000_000;

/// Bounds of times, in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    ahead: i128,
    behind: i128,
    age: i128,
}

impl Bounds {
    pub(super) fn new(max_ahead: Duration, max_behind: Duration, max_age: Duration) -> Self {
        let nanos = |time: Duration| i128::try_from(time.as_nanos()).unwrap_or(i128::MAX / 4);
        Bounds { ahead: nanos(max_ahead), behind: nanos(max_behind), age: nanos(max_age) }
    }
}

/// Why a time cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Implausible {
    Missing,
    EndsBeforeItStarts,
    TooOld,
    InTheFuture,
}

impl Implausible {
    /// The value of the mark.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Implausible::Missing => "missing",
            Implausible::EndsBeforeItStarts => "ends_before_it_starts",
            Implausible::TooOld => "too_old",
            Implausible::InTheFuture => "in_the_future",
        }
    }
}

/// What a span's times become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) implausible: Option<Implausible>,
}

/// The clock of one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    bounds: Bounds,
    /// When the request arrived, in nanoseconds since 1970.
    pub(super) arrived: u64,
    /// By how many milliseconds the page's clock is behind. Whole ones, so that the times that the
    /// page sent can be restored.
    pub(super) shift_ms: i64,
}

impl Clock {
    /// Compares the latest time of a request with its arrival.
    pub(super) fn new(bounds: Bounds, arrived: u64, latest: Option<u64>) -> Self {
        let behind = latest.map_or(0, |latest| i128::from(arrived) - i128::from(latest));
        let is_off = behind > bounds.behind || -behind > bounds.ahead;
        let shift = if is_off { behind.div_euclid(MILLISECOND) } else { 0 };
        Clock { bounds, arrived, shift_ms: i64::try_from(shift).unwrap_or(0) }
    }

    #[inline]
    fn shifted(&self, time: u64) -> i128 {
        i128::from(time) + i128::from(self.shift_ms) * MILLISECOND
    }

    /// Why a time cannot be; otherwise the time by skep's clock.
    #[inline]
    fn judge(&self, time: u64) -> Result<u64, Implausible> {
        let (shifted, arrived) = (self.shifted(time), i128::from(self.arrived));
        if time == 0 {
            Err(Implausible::Missing)
        } else if shifted < arrived - self.bounds.age {
            Err(Implausible::TooOld)
        } else if shifted > arrived + self.bounds.ahead {
            Err(Implausible::InTheFuture)
        } else {
            u64::try_from(shifted).map_err(|_| Implausible::TooOld)
        }
    }

    /// The times of a span. A span whose times cannot be takes no time, at its start if that can
    /// be, otherwise at the arrival.
    #[inline]
    pub(super) fn of_span(&self, start: u64, end: u64) -> Times {
        match (self.judge(start), self.judge(end)) {
            (Ok(start), Ok(end)) if start <= end => Times { start, end, implausible: None },
            (start, end) => {
                let why = start.err().or(end.err()).unwrap_or(Implausible::EndsBeforeItStarts);
                let at = start.unwrap_or(self.arrived);
                Times { start: at, end: at, implausible: Some(why) }
            }
        }
    }

    /// The time of a log record, which may have none.
    #[inline]
    pub(super) fn of_record(&self, time: u64) -> Times {
        let judged = if time == 0 { Ok(0) } else { self.judge(time) };
        let at = judged.unwrap_or(self.arrived);
        Times { start: at, end: at, implausible: judged.err() }
    }

    /// The time of an event of a span: by skep's clock, and moved to the arrival if it cannot be.
    /// One that is not set stays so.
    #[inline]
    pub(super) fn of_event(&self, time: u64) -> u64 {
        if time == 0 { 0 } else { self.judge(time).unwrap_or(self.arrived) }
    }
}

/// The latest end of a span, or the latest time of a log record, that could be one. A time that
/// is set again is not looked at: this is an estimate, and each item is judged by itself.
pub(super) fn latest(signal: Signal, body: &[u8]) -> Option<u64> {
    let mut latest = None;
    for entry in Fields::new(body).flatten().filter(|field| field.number == 1) {
        for scopes in Fields::new(entry.bytes()).flatten().filter(|field| field.number == 2) {
            for item in Fields::new(scopes.bytes()).flatten().filter(|field| field.number == 2) {
                latest = latest.max(match signal {
                    Signal::Logs => time_of_record(item.bytes()),
                    _ => end_of_span(item.bytes()),
                });
            }
        }
    }
    latest
}

fn end_of_span(span: &[u8]) -> Option<u64> {
    let (mut start, mut end, mut rest) = (0, 0, span);
    while let Some(tag) = rest.first() {
        match *tag {
            quick::START => start = quick::fixed(rest)?.0,
            quick::END => end = quick::fixed(rest)?.0,
            _ => {}
        }
        if start > 0 && end > 0 {
            break;
        }
        rest = quick::skip(rest)?;
    }
    Some(end).filter(|end| start > 0 && start <= *end)
}

fn time_of_record(record: &[u8]) -> Option<u64> {
    let (mut time, mut observed) = (0, 0);
    for field in Fields::new(record).flatten() {
        match field.value {
            FieldValue::Fixed64(value) if field.number == 1 => time = value,
            FieldValue::Fixed64(value) if field.number == 11 => observed = value,
            _ => {}
        }
    }
    Some(if time > 0 { time } else { observed }).filter(|time| *time > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const NOW: u64 = 1_800_000_000 * SECOND;

    fn clock(latest: u64) -> Clock {
        let seconds = Duration::from_secs;
        Clock::new(Bounds::new(seconds(5), seconds(600), seconds(3600)), NOW, Some(latest))
    }

    #[test]
    fn a_clock_that_can_be_right_is_left_alone() {
        for latest in [NOW, NOW + 5 * SECOND, NOW - 600 * SECOND] {
            assert_eq!(clock(latest).shift_ms, 0);
        }
        let times = clock(NOW).of_span(NOW - 2 * SECOND, NOW - SECOND);
        assert_eq!(times, Times { start: NOW - 2 * SECOND, end: NOW - SECOND, implausible: None });
    }

    #[test]
    fn a_clock_that_is_off_is_set_by_the_arrival_and_durations_stay() {
        for (latest, shift_ms) in [
            (NOW + 6 * SECOND, -6_000),
            (NOW - 601 * SECOND, 601_000),
            (NOW - 700 * SECOND - 1, 700_000),
            (NOW + 86_400 * SECOND + 1, -86_400_001),
        ] {
            let clock = clock(latest);
            assert_eq!(clock.shift_ms, shift_ms, "{latest}");
            let times = clock.of_span(latest - 3 * SECOND, latest);
            assert_eq!((times.end - times.start, times.implausible), (3 * SECOND, None));
            assert!(times.end <= NOW && times.end > NOW - SECOND);
            let back = i128::from(times.end) - i128::from(shift_ms) * MILLISECOND;
            assert_eq!(back, i128::from(latest), "what the page sent can be restored");
        }
    }

    #[test]
    fn times_that_cannot_be_are_named() {
        let of = |start, end| clock(NOW).of_span(start, end);
        let at = |at, why| Times { start: at, end: at, implausible: Some(why) };
        assert_eq!(of(0, NOW), at(NOW, Implausible::Missing));
        assert_eq!(of(NOW - 9, 0), at(NOW - 9, Implausible::Missing));
        assert_eq!(of(NOW - 9, NOW - 10), at(NOW - 9, Implausible::EndsBeforeItStarts));
        assert_eq!(of(NOW - 3601 * SECOND, NOW), at(NOW, Implausible::TooOld));
        assert_eq!(of(NOW, NOW + 6 * SECOND), at(NOW, Implausible::InTheFuture));
        assert_eq!(of(1, u64::MAX).implausible, Some(Implausible::TooOld));
        assert_eq!(clock(NOW).of_record(0), Times { start: 0, end: 0, implausible: None });
        assert_eq!(clock(NOW).of_event(1), NOW);
    }

    #[test]
    fn every_time_ends_up_near_the_arrival() {
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..10_000 {
            let mut any = || rng.u64(..) >> rng.u8(0..64);
            let clock = clock(any());
            let times = clock.of_span(any(), any());
            for time in [times.start, times.end, clock.of_event(any() | 1)] {
                assert!((NOW - 3600 * SECOND..=NOW + 5 * SECOND).contains(&time), "{time}");
            }
            assert!(times.start <= times.end);
        }
    }
}
