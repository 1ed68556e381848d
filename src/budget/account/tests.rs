use std::{sync::Arc, time::Duration};

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;
use crate::budget::settings::{Share, Unit};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The 16th of November 2026, noon.
fn noon() -> Timestamp {
    at("2026-11-16T12:00:00Z")
}

fn settings(mode: Mode, per_month: u64) -> Settings {
    Settings {
        unit: Unit::Events,
        per_month,
        share: Share::WHOLE,
        mode,
        zone: TimeZone::UTC,
        reset_day: 1,
    }
}

fn open(mode: Mode, per_month: u64) -> MonthlyBudget {
    MonthlyBudget::open(settings(mode, per_month), None, noon()).unwrap()
}

fn used(budget: &MonthlyBudget, now: Timestamp) -> u64 {
    budget.report(0, now).used
}

#[test]
fn a_hard_ceiling_is_reached_and_never_exceeded() {
    for mode in [Mode::Stop, Mode::Pace] {
        let budget = open(mode, 1000);
        assert!(!budget.claim(1001, noon()));
        assert!(budget.claim(999, noon()));
        assert!(!budget.claim(2, noon()), "refused whole");
        assert!(budget.claim(1, noon()), "what is left can still be claimed");
        assert!(!budget.claim(1, noon()) && budget.claim(0, noon()));
        let report = budget.report(0, noon());
        assert_eq!((report.used, report.percent(), report.is_exhausted), (1000, 100, true));
    }
}

#[test]
fn who_wants_most_is_known_after_a_restart_and_forgotten_with_the_month() {
    let folder = tempfile::tempdir().unwrap();
    let open =
        |now| MonthlyBudget::open(settings(Mode::Pace, 1000), Some(folder.path()), now).unwrap();
    let wanted = |budget: &MonthlyBudget, now| {
        let who = budget.report(9, now).who;
        who.first().map(|eater| (eater.service.to_string(), eater.wanted))
    };
    let budget = open(noon());
    budget.note("shop", "GET /", 3);
    budget.close(noon());
    let budget = open(noon());
    budget.note("shop", "GET /", 4);
    assert_eq!(wanted(&budget, noon()), Some(("shop".to_owned(), 7)));
    // It is killed, but has claimed something more than a minute later.
    let later = noon() + Duration::from_secs(61);
    budget.tend(later);
    assert!(budget.claim(900, later));
    drop(budget);
    assert_eq!(wanted(&open(later), later), Some(("shop".to_owned(), 7)));
    let next = at("2026-12-01T00:00:00Z");
    assert_eq!(wanted(&open(next), next), None);
}

#[test]
fn a_warning_lets_everything_pass() {
    let budget = open(Mode::Warn, 1000);
    for _ in 0..30 {
        assert!(budget.claim(100, noon()));
    }
    assert_eq!(used(&budget, noon()), 3000);
    let told = [Change::Exhausted, Change::Reached(95)];
    assert!(budget.tend(noon()).iter().all(|change| told.contains(change)));
    assert!(budget.rates(noon()) == Rates::ALL && budget.report(0, noon()).is_exhausted);
}

#[test]
fn a_month_begins_with_nothing_used() {
    let budget = open(Mode::Stop, 1000);
    assert!(budget.claim(1000, noon()) && !budget.claim(1, noon()));
    assert_eq!(
        budget.tend(noon()),
        [Change::Exhausted, Change::Reached(95)],
        "the higher mark says it all"
    );
    assert!(!budget.claim(1, at("2026-11-30T23:59:59.999Z")));
    let december = at("2026-12-01T00:00:00Z");
    assert!(budget.claim(1000, december) && !budget.claim(1, december));
    assert_eq!(budget.tend(december)[0], Change::Began);
}

#[test]
fn units_that_were_refused_are_given_back() {
    let budget = open(Mode::Stop, 1000);
    assert!(budget.claim(1000, noon()));
    budget.give_back(300, noon());
    assert_eq!(used(&budget, noon()), 700);
    assert!(budget.claim(300, noon()) && !budget.claim(1, noon()));
    // Those of another day are not.
    let tomorrow = at("2026-11-17T12:00:00Z");
    assert!(!budget.claim(1, tomorrow));
    budget.give_back(300, noon());
    assert_eq!(used(&budget, tomorrow), 1000);
}

#[test]
fn a_share_is_all_that_a_replica_has() {
    let third = Settings { share: "1/3".parse().unwrap(), ..settings(Mode::Stop, 1000) };
    let budget = MonthlyBudget::open(third, None, noon()).unwrap();
    assert!(budget.claim(333, noon()) && !budget.claim(1, noon()));
}

#[test]
fn new_settings_take_effect_at_once_and_keep_what_is_used() {
    let budget = open(Mode::Stop, 1000);
    assert!(budget.claim(900, noon()) && !budget.claim(200, noon()));
    budget.reconfigure(settings(Mode::Stop, 2000), noon());
    assert!(budget.claim(1100, noon()) && !budget.claim(1, noon()));
    budget.reconfigure(settings(Mode::Warn, 2000), noon());
    assert!(budget.claim(1, noon()));
    budget.reconfigure(settings(Mode::Stop, 500), noon());
    assert!(!budget.claim(1, noon()), "used up by now");
    let later = Settings { reset_day: 15, ..settings(Mode::Stop, 4000) };
    budget.reconfigure(later, noon());
    assert_eq!(used(&budget, noon()), 2001, "of the period that began yesterday");
}

#[test]
fn something_counted_once_is_counted_again_in_the_next_month_only() {
    let dir = tempfile::tempdir().unwrap();
    let open = |now| MonthlyBudget::open(settings(Mode::Stop, 3), Some(dir.path()), now).unwrap();
    let budget = open(noon());
    for _ in 0..3 {
        assert!(budget.claim_once(1, noon()) && budget.claim_once(2, noon()));
    }
    drop(budget);
    let budget = open(noon());
    assert!(budget.claim_once(1, noon()) && budget.claim_once(2, noon()), "also after a crash");
    assert!(budget.claim_once(3, noon()) && !budget.claim_once(4, noon()));
    assert!(budget.claim_once(3, noon()) && !budget.claim_once(4, noon()));
    budget.tend(at("2026-11-30T23:59:59Z"));
    let december = at("2026-12-01T00:00:00Z");
    for id in [4, 3, 2] {
        assert!(budget.claim_once(id, december));
    }
    assert!(!budget.claim_once(1, december));
    let warn = MonthlyBudget::open(settings(Mode::Warn, 1), None, noon()).unwrap();
    assert!(warn.claim_once(1, noon()) && warn.claim_once(2, noon()) && warn.claim_once(2, noon()));
    assert_eq!(used(&warn, noon()), 2);
}

#[test]
fn pacing_begins_when_too_much_wants_to_pass_and_ends_after_a_while() {
    let budget = open(Mode::Pace, 1_000_000);
    assert_eq!(budget.rates(noon()), Rates::ALL);
    budget.demand(Class::Rest, 10_000_000);
    let rates = budget.rates(noon());
    assert!(rates.of(Class::Rest) != Rate::ALL, "one large payload is sampled itself");
    assert_eq!([rates.of(Class::Error), rates.of(Class::Slow)], [Rate::ALL; 2]);
    assert_eq!(budget.tend(noon()), [Change::PacingBegan]);
    let report = budget.report(0, noon());
    assert_eq!(report.used, 0);
    assert!(report.unlimited > 100_000_000 && report.forecast <= 900_001, "{report:?}");
    let mut changes = Vec::new();
    for hour in 0..24 * 10 {
        changes.extend(budget.tend(noon() + Duration::from_hours(hour)));
    }
    assert_eq!(changes, [Change::PacingEnded]);
}

#[test]
fn rates_are_computed_once_a_second_or_when_much_has_come() {
    let budget = open(Mode::Pace, 1_000_000);
    budget.demand(Class::Rest, 999);
    budget.rates(noon() + Duration::from_millis(999));
    assert_eq!(budget.wanted[2].load(Ordering::Relaxed), 999, "not yet");
    budget.rates(noon() + Duration::from_secs(1));
    assert_eq!(budget.wanted[2].load(Ordering::Relaxed), 0);
    budget.demand(Class::Rest, 1000);
    budget.rates(noon() + Duration::from_millis(1001));
    assert_eq!(budget.wanted[2].load(Ordering::Relaxed), 0, "a thousandth of what is left");
    budget.demand(Class::Rest, 1);
    budget.rates(noon());
    budget.rates(noon() - Duration::from_mins(1));
    assert_eq!(budget.wanted[2].load(Ordering::Relaxed), 0, "a clock that is set back");
}

#[test]
fn a_crash_costs_a_block_and_an_orderly_end_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let open = || MonthlyBudget::open(settings(Mode::Pace, 1_000_000), Some(dir.path()), noon());
    let budget = open().unwrap();
    assert!(budget.claim(1000, noon()) && budget.claim(7, noon()));
    budget.close(noon());
    drop(budget);
    let budget = open().unwrap();
    assert_eq!(used(&budget, noon()), 1007);
    assert!(budget.claim(1, noon()));
    assert_eq!(used(&budget, noon()), 1008);
    drop(budget);
    let budget = open().unwrap();
    assert_eq!(used(&budget, noon()), 1107, "a block of a ten-thousandth");
    // A claim after the end is counted as any other.
    budget.close(noon());
    assert!(budget.claim(5, noon()));
    drop(budget);
    assert!((1112..1212).contains(&used(&open().unwrap(), noon())));
}

#[test]
fn blocks_grow_with_the_traffic_so_that_claims_seldom_write() {
    let dir = tempfile::tempdir().unwrap();
    let budget =
        MonthlyBudget::open(settings(Mode::Stop, 100_000_000), Some(dir.path()), noon()).unwrap();
    let mut now = noon();
    let number = || lock(&budget.state).number;
    for second in 0..20 {
        let before = number();
        for _ in 0..1000 {
            assert!(budget.claim(100, now));
            now += Duration::from_millis(1);
        }
        let by_claims = number() - before;
        assert!(by_claims <= if second == 0 { 10 } else { 0 }, "{by_claims} in second {second}");
        budget.tend(now);
        assert!(number() <= before + by_claims + 1);
    }
    let before = number();
    for _ in 0..59 {
        now += Duration::from_secs(1);
        budget.tend(now);
    }
    assert!(number() <= before + 1, "nothing is written while nothing comes");
    assert_eq!(used(&budget, now), 2_000_000);
    assert!(budget.block.load(Ordering::Relaxed) <= 40_000, "a crash in the quiet costs little");
}

#[test]
fn a_damaged_ledger_is_told_and_something_cautious_is_assumed() {
    for (mode, assumed) in [(Mode::Stop, 3000), (Mode::Pace, 1550), (Mode::Warn, 1550)] {
        let dir = tempfile::tempdir().unwrap();
        for name in ["ledger-a", "ledger-b"] {
            std::fs::write(dir.path().join(name), "skep budget ledger 1\nnumber").unwrap();
        }
        let open = || MonthlyBudget::open(settings(mode, 3000), Some(dir.path()), noon()).unwrap();
        let budget = open();
        assert_eq!(used(&budget, noon()), assumed);
        assert_eq!(budget.tend(noon())[0], Change::Damaged(assumed));
        budget.close(noon());
        drop(budget);
        let budget = open();
        assert_eq!(used(&budget, noon()), assumed + 15, "one file is still damaged");
        assert_eq!(budget.tend(noon())[0], Change::OneDamaged);
        budget.close(noon());
        drop(budget);
        assert!(!open().tend(noon()).contains(&Change::OneDamaged), "both are written by now");
    }
}

#[test]
fn a_ledger_that_cannot_be_written_is_told_and_counting_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let budget = MonthlyBudget::open(settings(Mode::Stop, 1000), Some(dir.path()), noon()).unwrap();
    let read_only = std::fs::File::open(dir.path().join("ledger-a")).unwrap();
    let exchange = |file| lock(&budget.state).files.as_mut().unwrap().exchange(file);
    let good = exchange(read_only);
    assert!(budget.claim(500, noon()));
    assert!(matches!(&*budget.tend(noon()), [Change::CannotWrite(_)]));
    assert!(budget.report(0, noon()).trouble.is_some());
    assert!(budget.claim(500, noon()) && !budget.claim(1, noon()));
    assert!(!budget.tend(noon()).iter().any(|change| matches!(change, Change::CannotWrite(_))));
    exchange(good);
    budget.tend(noon());
    assert_eq!(budget.report(0, noon()).trouble, None, "tried again");
}

#[test]
fn workers_share_a_budget() {
    let dir = tempfile::tempdir().unwrap();
    let budget =
        MonthlyBudget::open(settings(Mode::Stop, 10_000), Some(dir.path()), noon()).unwrap();
    let budget = Arc::new(budget);
    let workers: Vec<_> = (1..=4)
        .map(|units| {
            let budget = Arc::clone(&budget);
            std::thread::spawn(move || {
                let mut claimed = 0;
                while budget.claim(units, noon()) {
                    claimed += units;
                    budget.demand(Class::Rest, units);
                    budget.rates(noon());
                }
                claimed
            })
        })
        .collect();
    let claimed: u64 = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
    assert!((9_997..=10_000).contains(&claimed), "{claimed}");
    assert_eq!(used(&budget, noon()), claimed);
}

/// Opens a budget that is killed, and opened again, from time to time.
struct Process {
    folder: tempfile::TempDir,
    settings: Settings,
    budget: Option<MonthlyBudget>,
}

impl Process {
    fn start(settings: Settings, now: Timestamp) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Process { folder, settings, budget: None };
        process.kill(now);
        process
    }

    fn kill(&mut self, now: Timestamp) {
        self.budget = None;
        let opened = MonthlyBudget::open(self.settings.clone(), Some(self.folder.path()), now);
        self.budget = Some(opened.unwrap());
    }

    fn budget(&self) -> &MonthlyBudget {
        self.budget.as_ref().unwrap()
    }
}

/// What can happen to a budget in one step.
#[derive(Debug, Clone)]
enum Step {
    Claim(u64),
    GiveBack(u64),
    Tend,
    /// Seconds, in which the clock goes on.
    Wait(i64),
    /// Killed, and opened again.
    Kill,
    /// Ended in order, and opened again.
    Restart,
    Reconfigure,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (1_u64..400).prop_map(Step::Claim),
        1 => (1_u64..400).prop_map(Step::GiveBack),
        2 => Just(Step::Tend),
        3 => (0_i64..5).prop_map(Step::Wait),
        1 => (0_i64..400_000).prop_map(Step::Wait),
        1 => Just(Step::Kill),
        1 => Just(Step::Restart),
        1 => Just(Step::Reconfigure),
    ];
    proptest::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// The vendor counts what was granted and not given back, in the months of its own clock.
    #[test]
    fn no_month_is_exceeded_whatever_kills_the_process(
        steps in steps(),
        limit in 300_u64..20_000,
        stops: bool,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mode = if stops { Mode::Stop } else { Mode::Pace };
        let mut now = noon();
        let open = |now| {
            MonthlyBudget::open(settings(mode, limit), Some(dir.path()), now).unwrap()
        };
        let mut budget = open(now);
        let (mut month, mut counted, mut lost) = (Period::at(now, &TimeZone::UTC, 1), 0, 0);
        let mut last = (0, now);
        for step in steps {
            match step {
                Step::Claim(units) => {
                    if budget.claim(units, now) {
                        counted += units;
                        last = (units, now);
                    } else {
                        prop_assert!(counted + units + lost > limit, "refused for no reason");
                    }
                }
                Step::GiveBack(units) => {
                    let (claimed, when) = last;
                    let units = units.min(claimed);
                    last = (claimed - units, when);
                    if month.start <= when {
                        budget.give_back(units, when);
                        counted -= units;
                        // By a crash, or if another day has begun.
                        lost += units;
                    }
                }
                Step::Tend => drop(budget.tend(now)),
                Step::Wait(seconds) => {
                    let until = now + Duration::from_secs(seconds.unsigned_abs());
                    while now < until {
                        now = until.min(now + Duration::from_hours(1));
                        budget.tend(now);
                    }
                    if now >= month.end {
                        month = Period::at(now, &TimeZone::UTC, 1);
                        (counted, lost) = (0, 0);
                    }
                }
                Step::Kill => {
                    lost += (limit / 200).max(1);
                    drop(budget);
                    budget = open(now);
                }
                Step::Restart => {
                    budget.close(now);
                    drop(budget);
                    budget = open(now);
                    prop_assert!(used(&budget, now) >= counted);
                }
                Step::Reconfigure => budget.reconfigure(settings(mode, limit), now),
            }
            prop_assert!(counted <= limit, "{counted} of {limit}");
            prop_assert!(used(&budget, now) >= counted);
            prop_assert!(used(&budget, now) <= limit);
        }
    }

    /// The clock is wrong for less than a day at a time, by more than an hour, in either direction.
    #[test]
    fn no_month_is_exceeded_whatever_the_clock_says(
        steps in proptest::collection::vec((0_u8..10, 1_u64..400, -40_000_000_i64..40_000_000), 1..150),
        limit in 300_u64..20_000,
        start in 1_796_000_000_i64..1_800_000_000,
    ) {
        let (mut truth, mut wrong) = (Timestamp::from_second(start).unwrap(), 0);
        let mut process = Process::start(settings(Mode::Stop, limit), truth);
        let (mut month, mut counted) = (Period::at(truth, &TimeZone::UTC, 1), 0);
        for (kind, units, by) in steps {
            match kind {
                0 => wrong = by + by.signum() * 3_601,
                1 | 2 => wrong = 0,
                // A process that starts believes its clock, so not while it is ahead.
                3 if wrong <= 0 => process.kill(truth - Duration::from_secs(wrong.unsigned_abs())),
                _ => truth += Duration::from_secs(units),
            }
            if truth >= month.end {
                (month, counted) = (Period::at(truth, &TimeZone::UTC, 1), 0);
            }
            let clock = Timestamp::from_second(truth.as_second() + wrong).unwrap();
            process.budget().tend(clock);
            if process.budget().claim(units, clock) {
                counted += units;
            }
            prop_assert!(counted <= limit, "{counted} of {limit}");
        }
    }

    #[test]
    fn no_ledger_is_a_panic(
        numbers: [i64; 4],
        wanted in proptest::array::uniform3(0.0_f64..f64::MAX),
        last in -300_000_000_000_i64..250_000_000_000,
        units: u64,
        clock in -300_000_000_000_i64..250_000_000_000,
    ) {
        let [seen, reached, behind, wanted_at] = numbers;
        let days = vec![crate::budget::ledger::Day { last, units }];
        let contents =
            Contents { seen, reached, behind, wanted, wanted_at, days, ..Contents::default() };
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ledger-a"), contents.to_text()).unwrap();
        let mut now = Timestamp::from_second(clock).unwrap();
        let settings = settings(Mode::Pace, 1000);
        let budget = MonthlyBudget::open(settings.clone(), Some(folder.path()), now).unwrap();
        for _ in 0..3 {
            budget.demand(Class::Rest, units);
            budget.rates(now);
            budget.claim(100, now);
            budget.tend(now);
            prop_assert!(budget.report(1, now).rates.of(Class::Rest).probability() <= 1.0);
            now += Duration::from_secs(2000);
        }
        budget.reconfigure(settings, now);
        budget.close(now);
    }
}

#[test]
fn a_ledger_that_somebody_removes_is_written_again_with_all_that_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("ledger");
    let open = || MonthlyBudget::open(settings(Mode::Stop, 1000), Some(&folder), noon()).unwrap();
    let budget = open();
    assert!(budget.claim(500, noon()) && budget.claim_once(7, noon()));
    budget.tend(noon());
    // It is noticed without another claim, and by a claim before it is granted.
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(budget.tend(noon()), [Change::MadeAgain]);
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(budget.claim(200, noon()));
    assert_eq!(budget.tend(noon()), [Change::MadeAgain]);
    assert!(budget.tend(noon()).is_empty());
    budget.close(noon());
    let again = open();
    assert_eq!(used(&again, noon()), 701);
    assert!(again.claim_once(7, noon()) && !again.claim(300, noon()));
}

#[test]
fn what_is_left_out_outlives_the_process_and_ends_with_the_month() {
    let dir = tempfile::tempdir().unwrap();
    let open = |now| MonthlyBudget::open(settings(Mode::Pace, 1000), Some(dir.path()), now);
    let budget = open(noon()).unwrap();
    budget.leave_out(Why::Paced, "shop", 70);
    budget.leave_out(Why::Ceiling, "shop", 5);
    budget.leave_out(Why::Ceiling, "", 1);
    budget.close(noon());
    let budget = open(noon()).unwrap();
    let left_out = budget.report(0, noon()).left_out;
    assert_eq!((left_out.of(Why::Paced), left_out.of(Why::Ceiling)), (70, 6));
    assert_eq!(left_out.services, [("".into(), 1), ("shop".into(), 75)].into());
    budget.tend(at("2026-11-30T23:59:59Z"));
    let december = at("2026-12-01T00:00:00Z");
    assert_eq!(budget.report(0, december).left_out, LeftOut::default());
    budget.close(december);
    assert_eq!(open(december).unwrap().report(0, december).left_out, LeftOut::default());
}

#[test]
fn the_forecast_right_after_a_burst_is_not_wild() {
    let budget = open(Mode::Pace, 1_000_000);
    // A quiet fortnight, and a load test of an hour.
    let start = at("2026-11-02T00:00:00Z");
    for hour in 0..24 * 14 {
        budget.tend(start + Duration::from_hours(hour));
    }
    let now = start + Duration::from_hours(24 * 14);
    for second in 0..3600 {
        budget.demand(Class::Rest, 10);
        budget.tend(now + Duration::from_secs(second));
    }
    let now = now + Duration::from_hours(1);
    let (report, days_left) = (budget.report(0, now), 14);
    let daily = 36_000 * days_left;
    assert!(
        report.unlimited < daily / 5,
        "{} of {daily}, as if each day had one",
        report.unlimited
    );
    assert!(report.unlimited > 36_000, "it is not forgotten either");
}
