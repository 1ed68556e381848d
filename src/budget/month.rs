//! A month in virtual time: what each preset makes of the traffic of a bootcamp, of ten times as
//! much, and of a service gone mad on the 3rd. `docs/budget.md` has the table.
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of a simulation are far below 2^52"
)]

use std::{collections::BTreeSet, time::Duration};

use jiff::{Timestamp, tz::TimeZone};

use super::{Class, Mode, MonthlyBudget, PRESETS, Preset, Rate, Settings, Share, Unit};

/// A step of the simulation, in seconds.
const STEP: u64 = 120;
const STEPS: u64 = 31 * 86_400 / STEP;
/// Items of a claim.
const BATCH: u64 = 2_000;

/// Requests that the application serves in one step.
#[derive(Clone, Copy)]
struct Traffic {
    name: &'static str,
    /// How much more than a bootcamp.
    factor: f64,
    /// Requests per second of the service gone mad.
    mad: f64,
}

const TRAFFICS: [Traffic; 3] = [
    Traffic { name: "bootcamp", factor: 1.0, mad: 0.0 },
    Traffic { name: "ten times as much", factor: 10.0, mad: 0.0 },
    Traffic { name: "a service gone mad on the 3rd", factor: 1.0, mad: 50.0 },
];

impl Traffic {
    /// Mean requests of each class in a step: 0.4 a second, by day more than at night, on weekdays
    /// more than on weekends; 3 in 1000 fail, 3 in 100 are slow. Of the mad service's requests 1 in
    /// 10 000 fails.
    fn requests(self, step: u64) -> [f64; 3] {
        let (day, hour) = (step * STEP / 86_400, step * STEP / 3600 % 24);
        let shape = match (day % 7, hour) {
            // The month begins on a Friday.
            (1 | 2, _) => 0.4,
            (_, 8..18) => 2.2,
            _ => 0.6,
        };
        let usual = 0.4 * self.factor * shape * STEP as f64;
        let is_mad = day > 2 || (day == 2 && hour >= 10);
        let mad = if is_mad { self.mad * STEP as f64 } else { 0.0 };
        let errors = usual * 0.003 + mad * 0.0001;
        let slow = usual * 0.03;
        [errors, slow, usual + mad - errors - slow]
    }
}

/// What one request becomes: items, and units of each.
fn items(unit: Unit) -> (f64, u64) {
    match unit {
        // A trace of eight spans, three events and a link.
        Unit::Events => (1.0, 12),
        // Four lines of 300 bytes.
        Unit::Bytes => (4.0, 326),
        Unit::Traces | Unit::Items | Unit::Metrics => (1.0, 1),
    }
}

/// What came of a month.
#[derive(Default)]
struct Outcome {
    /// Units that wanted to pass, by class.
    wanted: [u64; 3],
    sent: [u64; 3],
    /// Sum of weights of what was sent, and the variance of this sum.
    weighed: [f64; 3],
    variance: [f64; 3],
    /// Units sent on the last day.
    last_day: u64,
}

impl Outcome {
    fn all_sent(&self) -> u64 {
        self.sent.iter().sum()
    }

    /// What the weights say minus what there was, in standard deviations.
    fn deviation(&self) -> f64 {
        let sum = |numbers: [f64; 3]| numbers.iter().sum::<f64>();
        let wanted: u64 = self.wanted.iter().sum();
        let spread = sum(self.variance).sqrt();
        (sum(self.weighed) - wanted as f64) / spread.max(1.0)
    }
}

/// A seeded source of chance.
struct Chance(fastrand::Rng);

impl Chance {
    /// How many of `count` things happen that are as probable as `probability`.
    fn binomial(&mut self, count: u64, probability: f64) -> u64 {
        if probability >= 1.0 {
            return count;
        }
        let mean = count as f64 * probability;
        if mean > 50.0 && count as f64 - mean > 50.0 {
            let spread = (mean * (1.0 - probability)).sqrt();
            return ((mean + self.normal() * spread).round().max(0.0) as u64).min(count);
        }
        if mean > 50.0 {
            return count - self.binomial(count, 1.0 - probability);
        }
        // The waiting time to the next one is geometric.
        let (mut at, mut found) = (0.0, 0);
        loop {
            at += (self.0.f64().max(1e-300).ln() / (-probability).ln_1p()).floor() + 1.0;
            if probability <= 0.0 || at > count as f64 {
                return found;
            }
            found += 1;
        }
    }

    /// A number of things that happen on average `mean` times.
    fn poisson(&mut self, mean: f64) -> u64 {
        let many = 1000.0 + mean * 100.0;
        self.binomial(many as u64, mean / many.floor())
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.0.f64().max(1e-300).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.0.f64()).cos()
    }
}

fn settings(preset: &Preset, mode: Mode) -> Settings {
    Settings {
        unit: preset.unit,
        per_month: preset.per_month,
        share: Share::WHOLE,
        mode,
        zone: TimeZone::get(preset.zone).unwrap(),
        reset_day: 1,
    }
}

/// A whole month of the vendor, the first of January 2027 in its zone.
fn simulate(preset: &Preset, traffic: Traffic) -> Outcome {
    let zone = TimeZone::get(preset.zone).unwrap();
    let start = jiff::civil::date(2027, 1, 1).to_zoned(zone).unwrap().timestamp();
    let budget = MonthlyBudget::open(settings(preset, Mode::Pace), None, start).unwrap();
    let mut chance = Chance(fastrand::Rng::with_seed(17));
    let mut outcome = Outcome::default();
    let (per_request, units) = items(preset.unit);
    let mut before = 0;
    for step in 0..STEPS {
        let now = start + Duration::from_secs(step * STEP);
        let means = traffic.requests(step);
        for (class, mean) in Class::ALL.into_iter().zip(means) {
            // Rollbar gets what has failed and nothing else.
            if preset.unit == Unit::Items && class != Class::Error {
                continue;
            }
            let mut left = chance.poisson(mean * per_request);
            while left > 0 {
                let batch = left.min(BATCH);
                left -= batch;
                send(&budget, &mut chance, &mut outcome, (class, batch, units), now);
            }
        }
        budget.tend(now);
        if step == STEPS - 86_400 / STEP - 1 {
            before = outcome.all_sent();
        }
    }
    outcome.last_day = outcome.all_sent() - before;
    outcome
}

fn send(
    budget: &MonthlyBudget,
    chance: &mut Chance,
    outcome: &mut Outcome,
    (class, batch, units): (Class, u64, u64),
    now: Timestamp,
) {
    let at = class as usize;
    budget.demand(class, batch * units);
    let rate = budget.rates(now).of(class);
    let kept = chance.binomial(batch, rate.probability());
    outcome.wanted[at] += batch * units;
    if rate != Rate::NOTHING {
        let (weight, batch) = (1.0 / rate.probability(), batch as f64);
        outcome.variance[at] += batch * (units as f64).powi(2) * (weight - 1.0);
    }
    if budget.claim(kept * units, now) {
        outcome.sent[at] += kept * units;
        outcome.weighed[at] += (kept * units) as f64 / rate.probability();
    }
}

/// The row of the table.
fn row(preset: &Preset, traffic: Traffic, outcome: &Outcome) -> String {
    let wanted: u64 = outcome.wanted.iter().sum();
    let share = |part: u64, whole: u64| match whole {
        0 => "-".to_owned(),
        _ if part == whole => "all".to_owned(),
        _ => percent(part as f64 / whole as f64),
    };
    let [errors, slow, rest] = [0, 1, 2].map(|at| share(outcome.sent[at], outcome.wanted[at]));
    format!(
        "| `{}` | {} | {} | {} | {} | {errors} | {slow} | {rest} | {} |\n",
        preset.name,
        traffic.name,
        shown(wanted),
        shown(outcome.all_sent()),
        percent(outcome.all_sent() as f64 / preset.per_month as f64),
        shown(outcome.last_day),
    )
}

/// Rounded down, so that 100 % is all.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent < 0.1 {
        return format!("{percent:.3} %");
    }
    format!("{:.1} %", (percent * 10.0).floor() / 10.0)
}

/// 1234567 as `1 234 567`.
fn shown(number: u64) -> String {
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

/// A month of metrics, which are counted once: those of the application, and of the mad service a
/// new one in each step.
fn simulate_metrics(preset: &Preset, traffic: Traffic) -> Outcome {
    let start: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
    let budget = MonthlyBudget::open(settings(preset, Mode::Pace), None, start).unwrap();
    let (mut wanted, mut sent, mut last_day) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let usual = (8.0 * traffic.factor) as u64;
    for step in 0..STEPS {
        let now = start + Duration::from_secs(step * STEP);
        let is_mad = traffic.mad > 0.0 && step * STEP >= 2 * 86_400;
        for id in (0..usual).chain(is_mad.then_some(1_000 + step)) {
            wanted.insert(id);
            if budget.claim_once(id, now) {
                sent.insert(id);
                if step >= STEPS - 86_400 / STEP {
                    last_day.insert(id);
                }
            }
        }
    }
    Outcome {
        wanted: [0, 0, wanted.len() as u64],
        sent: [0, 0, sent.len() as u64],
        last_day: last_day.len() as u64,
        ..Outcome::default()
    }
}

/// What must hold of each month.
fn check(preset: &Preset, traffic: Traffic, outcome: &Outcome) {
    let what = format!("{}, {}", preset.name, traffic.name);
    let (sent, wanted) = (outcome.all_sent(), outcome.wanted.iter().sum::<u64>());
    assert!(sent <= preset.per_month, "{what} exceeds its budget");
    assert!(wanted < preset.per_month || sent * 10 > preset.per_month * 9, "{what}: {sent} only");
    if preset.unit == Unit::Metrics {
        // Those of the application, which came first.
        assert!(outcome.last_day >= wanted.min(8), "{what}: the last day");
        return;
    }
    let deviation = outcome.deviation();
    assert!(deviation.abs() < 3.0, "{what}: the weights are off by {deviation} sigma");
    if outcome.wanted[0] * 10 < preset.per_month * 9 {
        assert_eq!(outcome.sent[0], outcome.wanted[0], "{what}: an error was left out");
    }
    // A Sunday, on which less than half as much wants to pass as on the mean day.
    let day = wanted.min(preset.per_month) / 31;
    assert!(outcome.last_day >= day / 3, "{what}: the last day has too little");
}

#[test]
fn a_month_costs_nothing_and_never_goes_blind() {
    let mut table = String::from(
        "| Preset | Traffic | Wanted to pass | Sent | Of the budget | Errors kept | Slow kept \
         | Rest kept | Sent on the last day |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for preset in PRESETS {
        for traffic in TRAFFICS {
            let outcome = match preset.unit {
                Unit::Metrics => simulate_metrics(preset, traffic),
                _ => simulate(preset, traffic),
            };
            check(preset, traffic, &outcome);
            table.push_str(&row(preset, traffic, &outcome));
        }
    }
    let page = include_str!("../../docs/budget.md");
    assert!(page.contains(&table), "docs/budget.md should have this table:\n{table}");
}
