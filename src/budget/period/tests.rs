use proptest::prelude::*;

use super::*;

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn months_begin_at_midnight_of_the_reset_day() {
    let table = [
        // In the middle, at the first moment, at the last one.
        ("UTC", 1, "2026-11-29T17:00:00Z", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"),
        ("UTC", 1, "2026-12-01T00:00:00Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("UTC", 1, "2026-12-31T23:59:59.999Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        // A day that short months do not have.
        ("UTC", 31, "2027-02-27T12:00:00Z", "2027-01-31T00:00:00Z", "2027-02-28T00:00:00Z"),
        ("UTC", 31, "2027-02-28T00:00:00Z", "2027-02-28T00:00:00Z", "2027-03-31T00:00:00Z"),
        ("UTC", 31, "2028-02-29T00:00:00Z", "2028-02-29T00:00:00Z", "2028-03-31T00:00:00Z"),
        ("UTC", 30, "2027-03-01T00:00:00Z", "2027-02-28T00:00:00Z", "2027-03-30T00:00:00Z"),
        ("UTC", 15, "2027-01-14T23:59:59Z", "2026-12-15T00:00:00Z", "2027-01-15T00:00:00Z"),
        // Midnight in California, before and after daylight saving time began on 8 March.
        (
            "America/Los_Angeles",
            1,
            "2027-03-20T00:00:00Z",
            "2027-03-01T08:00:00Z",
            "2027-04-01T07:00:00Z",
        ),
        (
            "America/Los_Angeles",
            1,
            "2027-04-01T06:59:59Z",
            "2027-03-01T08:00:00Z",
            "2027-04-01T07:00:00Z",
        ),
        // A day without its midnight, and one with two.
        (
            "America/Asuncion",
            6,
            "2024-10-06T12:00:00Z",
            "2024-10-06T04:00:00Z",
            "2024-11-06T03:00:00Z",
        ),
        (
            "America/Havana",
            2,
            "2025-11-05T00:00:00Z",
            "2025-11-02T04:00:00Z",
            "2025-12-02T05:00:00Z",
        ),
        // A day that an island left out.
        (
            "Pacific/Apia",
            30,
            "2011-12-30T12:00:00Z",
            "2011-12-30T10:00:00Z",
            "2012-01-29T10:00:00Z",
        ),
    ];
    for (name, reset_day, now, start, end) in table {
        let period = Period::at(at(now), &zone(name), reset_day);
        let expected = Period { start: at(start), end: at(end) };
        assert_eq!(period, expected, "{name}, day {reset_day}, {now}");
    }
}

#[test]
fn what_is_over_of_a_period_is_a_part_of_its_units() {
    let period = Period::at(at("2026-11-16T00:00:00Z"), &TimeZone::UTC, 1);
    assert_eq!(period.past_of(20_000_000, at("2026-11-16T00:00:00Z")), 10_000_000);
    assert_eq!(period.past_of(u64::MAX, at("2026-12-24T00:00:00Z")), u64::MAX);
    assert_eq!(period.past_of(u64::MAX, at("2026-10-24T00:00:00Z")), 0);
}

fn any_zone() -> impl Strategy<Value = TimeZone> {
    let names = [
        "UTC",
        "America/Los_Angeles",
        "America/Havana",
        "America/Asuncion",
        "Asia/Beirut",
        "Asia/Kathmandu",
        "Australia/Lord_Howe",
        "Europe/Berlin",
        "Pacific/Apia",
        "Pacific/Kiritimati",
    ];
    proptest::sample::select(names.to_vec()).prop_map(zone)
}

proptest! {
    #[test]
    fn every_moment_is_in_one_period_and_periods_follow_each_other(
        seconds in 0_i64..4_102_444_800,
        zone in any_zone(),
        reset_day in 1_u8..=31,
    ) {
        let now = Timestamp::from_second(seconds).unwrap();
        let period = Period::at(now, &zone, reset_day);
        prop_assert!(period.start <= now && now < period.end);
        let days = (period.end.as_second() - period.start.as_second()) / 86_400;
        prop_assert!((27..=32).contains(&days), "{days} days");
        prop_assert_eq!(Period::at(period.start, &zone, reset_day), period);
        let last = Timestamp::from_second(period.end.as_second() - 1).unwrap();
        prop_assert_eq!(Period::at(last, &zone, reset_day), period);
        prop_assert_eq!(Period::at(period.end, &zone, reset_day).start, period.end);
    }

    #[test]
    fn every_moment_is_in_one_day_and_no_day_is_in_two_periods(
        seconds in 0_i64..4_102_444_800,
        zone in any_zone(),
        reset_day in 1_u8..=31,
    ) {
        let now = Timestamp::from_second(seconds).unwrap();
        let (from, until) = day_at(now, &zone);
        prop_assert!(from <= now && now < until);
        let period = Period::at(now, &zone, reset_day);
        prop_assert!(period.start <= from && until <= period.end);
    }

    #[test]
    fn periods_at_the_ends_of_time_are_no_panic(
        seconds in Timestamp::MIN.as_second()..Timestamp::MAX.as_second(),
        reset_day: u8,
    ) {
        let now = Timestamp::from_second(seconds).unwrap();
        let period = Period::at(now, &TimeZone::UTC, reset_day);
        prop_assert!(period.start <= now && now <= period.end);
    }
}
