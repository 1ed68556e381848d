//! Moments in UTC as text.

/// Date and time of day of a second since 1970.
struct Civil {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

/// Years are counted from March, so that the leap day is the last of its year, in eras of 400
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

/// Nanoseconds since 1970 as Go prints a time: trailing zeros of the fraction are left out.
pub(super) fn go_time(nanos: u64) -> String {
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

/// Milliseconds since 1970 as a part of a file name; sorts as time does.
pub(super) fn file_stamp(millis: u64) -> String {
    let Civil { year, month, day, hour, minute, second } = civil(millis / 1000);
    let millis = millis % 1000;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}-{minute:02}-{second:02}.{millis:03}")
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
