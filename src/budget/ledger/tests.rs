use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn month(text: &str) -> Period {
    Period::at(at(text), &TimeZone::UTC, 1)
}

/// A ledger, and the month that it is in.
struct Book {
    ledger: Ledger,
    month: Period,
}

impl Book {
    fn new() -> Self {
        Book { ledger: Ledger::default(), month: month("2000-01-01T00:00:00Z") }
    }

    /// Books units when the clock shows a time. Returns what is used of the month.
    fn book(&mut self, clock: Timestamp, units: u64) -> u64 {
        let go_by = self.ledger.look(clock, &self.month);
        self.month = Period::at(go_by, &TimeZone::UTC, 1);
        self.ledger.book(units, clock, &TimeZone::UTC);
        self.ledger.used(&self.month)
    }

    /// Books a unit each hour, as if skep ran, and returns the last use of the month.
    fn live(&mut self, from: &str, until: &str) -> u64 {
        let (mut clock, mut used) = (at(from), 0);
        while clock < at(until) {
            used = self.book(clock, 1);
            clock += std::time::Duration::from_hours(1);
        }
        used
    }
}

/// What was used of the month, after units at each time of a clock.
fn used_after(bookings: &[(&str, u64)]) -> u64 {
    let mut book = Book::new();
    bookings.iter().map(|(clock, units)| book.book(at(clock), *units)).last().unwrap()
}

#[test]
fn the_use_of_a_month_is_the_sum_of_its_days() {
    let days = [
        ("2026-11-30T23:59:59Z", 1),
        ("2026-12-01T00:00:00Z", 20),
        ("2026-12-01T13:00:00Z", 300),
        ("2026-12-31T23:59:59Z", 4000),
    ];
    assert_eq!(used_after(&days), 4320);
    assert_eq!(used_after(&days[..1]), 1);
}

#[test]
fn jumps_of_the_clock_neither_lose_nor_double() {
    type Claims = &'static [(&'static str, u64)];
    let table: [(&str, Claims, u64); 9] = [
        (
            "back over the start of a month by ten minutes: it stays the new one",
            &[
                ("2026-11-30T23:50:00Z", 1),
                ("2026-12-01T00:05:00Z", 20),
                ("2026-11-30T23:55:00Z", 300),
            ],
            320,
        ),
        (
            "months ahead and back: what was used meanwhile counts",
            &[
                ("2026-11-15T00:00:00Z", 1),
                ("2027-03-10T00:00:00Z", 20),
                ("2026-11-15T00:01:00Z", 300),
            ],
            321,
        ),
        (
            "several times",
            &[
                ("2026-11-15T00:00:00Z", 1),
                ("2027-03-10T00:00:00Z", 20),
                ("2027-01-10T00:00:00Z", 300),
                ("2029-01-10T00:00:00Z", 4000),
                ("2026-11-15T00:01:00Z", 50_000),
            ],
            54_321,
        ),
        (
            "to 1970 and back, as a machine without a clock of its own starts",
            &[
                ("2026-11-15T00:00:00Z", 1),
                ("1970-01-01T00:00:10Z", 20),
                ("2026-11-15T00:05:00Z", 300),
            ],
            321,
        ),
        (
            "a false November in December: December counts it all",
            &[
                ("2026-11-30T23:59:00Z", 1),
                ("2026-12-01T00:00:00Z", 0),
                ("2026-12-03T00:00:00Z", 20),
                ("2026-11-20T00:00:00Z", 300),
                ("2026-12-03T00:10:00Z", 4000),
            ],
            4320,
        ),
        (
            "and November, too, as long as the clock says so",
            &[
                ("2026-11-25T00:00:00Z", 1),
                ("2026-12-03T00:00:00Z", 20),
                ("2026-11-20T00:00:00Z", 300),
            ],
            321,
        ),
        (
            "ahead by half a day over the end of the month and back: it is still the old one",
            &[
                ("2026-11-30T10:00:00Z", 1),
                ("2026-12-01T06:00:00Z", 20),
                ("2026-11-30T10:01:00Z", 300),
            ],
            321,
        ),
        (
            "ahead within the month and back",
            &[
                ("2026-11-05T00:00:00Z", 1),
                ("2026-11-25T00:00:00Z", 20),
                ("2026-11-05T00:10:00Z", 300),
            ],
            321,
        ),
        (
            "the first start with a clock that is far ahead",
            &[("2099-01-01T00:00:00Z", 1), ("2026-11-05T00:00:00Z", 20)],
            21,
        ),
    ];
    for (name, bookings, used) in table {
        assert_eq!(used_after(bookings), used, "{name}");
    }
}

#[test]
fn a_clock_that_is_behind_is_believed_after_a_day() {
    let mut book = Book::new();
    book.live("2027-03-01T00:00:00Z", "2027-03-01T05:00:00Z");
    assert_eq!(book.live("2026-11-28T00:00:00Z", "2026-11-28T23:00:00Z"), 5 + 23);
    assert_eq!(book.ledger.days.len(), 1, "still booked in March");
    assert_eq!(book.live("2026-11-28T23:00:00Z", "2026-12-01T00:00:00Z"), 5 + 72);
    assert_eq!(book.live("2026-12-01T00:00:00Z", "2026-12-02T00:00:00Z"), 24, "anew");
}

#[test]
fn a_clock_that_jumps_ahead_is_believed_after_a_day() {
    let mut book = Book::new();
    book.live("2026-11-20T00:00:00Z", "2026-11-20T05:00:00Z");
    // Perhaps the machine was asleep: November goes on, and what is used counts in March, too.
    assert_eq!(book.live("2027-03-10T00:00:00Z", "2027-03-11T00:00:00Z"), 5 + 24);
    assert_eq!(book.live("2027-03-11T00:00:00Z", "2027-03-11T01:00:00Z"), 24 + 1);
    // Within the period nothing has to be believed.
    assert_eq!(book.live("2027-03-25T00:00:00Z", "2027-03-25T01:00:00Z"), 24 + 2);
    // A process that starts believes the clock.
    let mut contents = Contents::default();
    book.ledger.write(&mut contents);
    book.ledger = Ledger::of(&contents);
    assert_eq!(book.live("2027-05-05T00:00:00Z", "2027-05-05T01:00:00Z"), 1);
}

#[test]
fn another_zone_or_reset_day_finds_what_is_used() {
    let mut book = Book::new();
    book.live("2026-10-01T00:00:00Z", "2026-11-20T00:00:00Z");
    let used = |name: &str, reset_day| {
        let zone = TimeZone::get(name).unwrap();
        book.ledger.used(&Period::at(at("2026-11-20T00:00:00Z"), &zone, reset_day))
    };
    assert_eq!(used("UTC", 1), 19 * 24);
    assert_eq!(used("UTC", 15), 5 * 24);
    assert_eq!(used("UTC", 25), 26 * 24);
    // Days of another zone are counted in full, never left out.
    assert_eq!(used("America/Los_Angeles", 1), 19 * 24);
    assert_eq!(used("Asia/Tokyo", 1), 20 * 24);
}

#[test]
fn ids_are_known_for_their_period() {
    let (november, december) = (month("2026-11-05T00:00:00Z"), month("2026-12-05T00:00:00Z"));
    let mut ledger = Ledger::default();
    ledger.remember(7, at("2026-11-05T00:00:00Z"), &november);
    assert!(ledger.knows(7, &november) && !ledger.knows(8, &november));
    assert!(!ledger.knows(7, &december), "counted anew");
    ledger.remember(7, at("2026-12-05T00:00:00Z"), &december);
    assert!(ledger.knows(7, &december) && ledger.knows(7, &november));
    ledger.forget(7);
    assert!(!ledger.knows(7, &december));
}

#[test]
fn ids_have_a_bound_and_those_of_older_periods_make_room() {
    let (november, december) = (month("2026-11-05T00:00:00Z"), month("2026-12-05T00:00:00Z"));
    let mut ledger = Ledger::default();
    let most = MOST_IDS as u64;
    for id in 0..=most {
        ledger.remember(id, november.start, &november);
    }
    assert!(ledger.knows(most - 1, &november) && !ledger.knows(most, &november));
    ledger.remember(most, december.start, &december);
    assert!(ledger.knows(most, &december));
    assert_eq!(ledger.ids.len(), 1);
}

proptest! {
    /// Whatever the clock does: what was booked under the same month of the clock without a day in
    /// between is in its sum, and nothing is ever in it twice.
    #[test]
    fn sums_are_never_too_small_and_never_more_than_all(
        steps in proptest::collection::vec((-3_000_000_i64..3_000_000, 0_u64..1000, 0..9), 1..200),
    ) {
        let mut book = Book::new();
        let (mut clock, mut all, mut since_jump) = (1_800_000_000_i64, 0, 0);
        for (jump, units, kind) in steps {
            // Mostly the clock goes on, by up to 50 minutes.
            let is_jump = kind == 0;
            clock += if is_jump { jump } else { jump.rem_euclid(3000) };
            let month = book.month;
            let used = book.book(Timestamp::from_second(clock).unwrap(), units);
            if is_jump || book.month != month {
                since_jump = 0;
            }
            all += units;
            since_jump += units;
            prop_assert!(since_jump <= used && used <= all, "{since_jump} {used} {all}");
            let days = &book.ledger.days;
            prop_assert!(days.is_sorted_by_key(|day| day.last) && days.len() <= MOST_DAYS);
            let sum: u64 = days.iter().map(|day| day.units).sum();
            prop_assert_eq!(sum, all, "nothing is lost");
        }
    }

    /// A clock that jumps away for less than a day and comes back changes no sum.
    #[test]
    fn excursions_change_no_sum(
        days in 1_i64..28,
        away in proptest::collection::vec((-40_000_000_i64..40_000_000, 1_u64..1000), 0..10),
    ) {
        let start = month("2026-11-05T00:00:00Z").start.as_second();
        let home = start + days * DAY;
        let mut book = Book::new();
        let mut all = 0;
        let mut used = |clock: i64, units: u64| {
            all += units;
            (book.book(Timestamp::from_second(clock).unwrap(), units), all)
        };
        used(start, 7);
        used(home, 70);
        for (seconds, units) in away {
            let (month, all) = used(home + seconds, units);
            prop_assert!(month <= all);
            let (month, all) = used(home, 1);
            prop_assert_eq!(month, all, "back home, everything counts");
        }
    }
}
