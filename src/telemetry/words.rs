//! Numbers and times as people read them.

use std::time::{Duration, SystemTime};

use super::calendar::timestamp;
use crate::otlp::Signal;

/// 1234567 as `1 234 567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// `1 request`, `1 234 requests`.
pub fn counted(count: u64, name: &str) -> String {
    if count == 1 { format!("1 {name}") } else { format!("{} {name}s", grouped(count)) }
}

/// What one item of a signal is called.
pub const fn item(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "span",
        Signal::Metrics => "data point",
        Signal::Logs => "log record",
    }
}

/// A time span with its largest unit, or two for hours: `12 s`, `41 min`, `3 h 5 min`, `2 days`.
pub fn time(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 if (seconds / 60).is_multiple_of(60) => format!("{} h", seconds / 3600),
        7200..172_800 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// How long ago something was: `now`, `12 s ago`.
pub fn ago(age: Duration) -> String {
    if age < Duration::from_secs(1) { "now".to_owned() } else { format!("{} ago", time(age)) }
}

/// When something was: `14:02 UTC`, with the date if that was not within the last day.
pub fn moment(at: SystemTime, now: SystemTime) -> String {
    let text = timestamp(at);
    let (day, rest) = text.split_once('T').unwrap_or_default();
    let clock = rest.get(..5).unwrap_or_default();
    let is_near = now.duration_since(at).is_ok_and(|age| age < Duration::from_hours(24));
    if is_near { format!("{clock} UTC") } else { format!("{day} {clock} UTC") }
}

/// Milliseconds, as messages have them.
pub fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since 1970, likewise.
pub fn unix_millis(at: SystemTime) -> u64 {
    millis(at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

/// So many in a time, as a number for each second.
#[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
pub fn per_second(count: u64, span: Duration) -> f64 {
    if span.is_zero() { 0.0 } else { count as f64 / span.as_secs_f64() }
}

/// The same as text with few digits: `0`, `0.02/s`, `3.4/s`, `380/s`, `24 760/s`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rounded rate")]
pub fn rate(per_second: f64) -> String {
    match per_second {
        n if n >= 10.0 => format!("{}/s", grouped(n.round() as u64)),
        n if n >= 0.1 => format!("{n:.1}/s"),
        n if n >= 0.005 => format!("{n:.2}/s"),
        n if n > 0.0 => "<0.01/s".to_owned(),
        _ => "0".to_owned(),
    }
}

/// A part in percent, rounded down, so that 100 % is all: `90 %`, `<1 %`.
pub fn percent(part: u64, whole: u64) -> String {
    let percent = u128::from(part) * 100 / u128::from(whole.max(1));
    if percent == 0 && part > 0 { "<1 %".to_owned() } else { format!("{percent} %") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_short() {
        assert_eq!(grouped(1_234_567), "1 234 567");
        assert_eq!([counted(1, "span"), counted(2000, "span")], ["1 span", "2 000 spans"]);
        let of = |seconds| time(Duration::from_secs(seconds));
        assert_eq!([of(0), of(119), of(120), of(7199)], ["0 s", "119 s", "2 min", "119 min"]);
        assert_eq!([of(7200), of(11_100), of(200_000)], ["2 h", "3 h 5 min", "2 days"]);
        assert_eq!([ago(Duration::ZERO), ago(Duration::from_secs(3))], ["now", "3 s ago"]);
        let rates = [0.0, 0.001, 0.016, 3.42, 380.4, 24_760.0].map(rate);
        assert_eq!(rates, ["0", "<0.01/s", "0.02/s", "3.4/s", "380/s", "24 760/s"]);
        assert_eq!([percent(1, 1000), percent(999, 1000), percent(0, 0)], ["<1 %", "99 %", "0 %"]);
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(moment(at(50_520), at(50_600)), "14:02 UTC");
        assert_eq!(moment(at(50_520), at(500_000)), "1970-01-01 14:02 UTC");
    }
}
