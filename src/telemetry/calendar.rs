//! Moments as text, in UTC: for logs and pages, for the names of files, and as Go prints them.

use std::time::SystemTime;

/// Date and time of day of a second since 1970 in the Gregorian calendar.
struct Civil {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

/// Years are counted from March, so that the leap day is the last day of its year, in eras of 400
/// years.
fn civil(seconds: u64) -> Civil {
    const DAY: u64 = 86_400;
    let days = seconds / DAY + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let leap_days = day_of_era / 1460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let second = seconds % DAY;
    Civil {
        year: era * 400 + year_of_era + u64::from(month <= 2),
        month,
        day: day_of_year - (153 * from_march + 2) / 5 + 1,
        hour: second / 3600,
        minute: second / 60 % 60,
        second: second % 60,
    }
}

/// As RFC 3339 with milliseconds: `2026-01-02T03:04:05.678Z`.
pub fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let Civil { year, month, day, hour, minute, second } = civil(since.as_secs());
    let millis = since.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Nanoseconds since 1970 as Go prints a time, without trailing zeros of the fraction:
/// `2020-02-11 20:26:12.5 +0000 UTC`.
pub fn go_time(nanos: u64) -> String {
    let fraction = nanos % 1_000_000_000;
    let Civil { year, month, day, hour, minute, second } = civil(nanos / 1_000_000_000);
    let mut out = format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}");
    if fraction > 0 {
        let digits = format!(".{fraction:09}");
        out.push_str(digits.trim_end_matches('0'));
    }
    out.push_str(" +0000 UTC");
    out
}

/// Milliseconds since 1970 as a part of a file name. Names sort in the order of time.
pub fn file_stamp(millis: u64) -> String {
    let Civil { year, month, day, hour, minute, second } = civil(millis / 1000);
    let millis = millis % 1000;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}-{minute:02}-{second:02}.{millis:03}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn timestamps_have_the_civil_date() {
        let at = |seconds| timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(1_709_251_199), "2024-02-29T23:59:59.000Z");
        assert_eq!(at(1_735_689_599), "2024-12-31T23:59:59.000Z");
        assert_eq!(at(1_735_689_600), "2025-01-01T00:00:00.000Z");
    }

    #[test]
    fn times_are_printed_as_go_prints_them() {
        assert_eq!(go_time(1_581_452_772_000_000_321), "2020-02-11 20:26:12.000000321 +0000 UTC");
        assert_eq!(go_time(0), "1970-01-01 00:00:00 +0000 UTC");
        assert_eq!(go_time(951_782_400_500_000_000), "2000-02-29 00:00:00.5 +0000 UTC");
        assert_eq!(go_time(u64::MAX), "2554-07-21 23:34:33.709551615 +0000 UTC");
    }

    #[test]
    fn file_stamps_have_milliseconds() {
        assert_eq!(file_stamp(951_782_400_007), "2000-02-29T00-00-00.007");
    }

    #[test]
    fn each_day_follows_the_one_before() {
        let days_of = |year: u64, month| match month {
            2 if year.is_multiple_of(4)
                && (!year.is_multiple_of(100) || year.is_multiple_of(400)) =>
            {
                29
            }
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for number in 0..250_000 {
            let date = civil(number * 86_400 + 86_399);
            assert_eq!((date.year, date.month, date.day), (year, month, day));
            day += 1;
            if day > days_of(year, month) {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }
}
