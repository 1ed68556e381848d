//! What a monthly budget costs a payload: what wants to pass, the rates, the claim, and who wants
//! it. `benches/gate.rs` has the gate that reads the payload.
//!
//! ```sh
//! cargo bench --bench budget
//! ```
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

use std::time::Duration;

use divan::{Bencher, black_box, counter::ItemsCount};
use jiff::{Timestamp, tz::TimeZone};
use skep::budget::{Class, Mode, MonthlyBudget, Settings, Share, Unit, stride};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Spans of a payload.
const SPANS: u64 = 100;

fn main() {
    divan::main();
}

fn start() -> Timestamp {
    "2026-11-02T00:00:00Z".parse().unwrap()
}

fn open(folder: Option<&std::path::Path>) -> MonthlyBudget {
    let settings = Settings {
        unit: Unit::Events,
        per_month: 1 << 60,
        share: Share::WHOLE,
        mode: Mode::Pace,
        zone: TimeZone::UTC,
        reset_day: 1,
    };
    MonthlyBudget::open(settings, folder, start()).unwrap()
}

fn payload(budget: &MonthlyBudget, now: Timestamp) {
    budget.demand(Class::Error, 1);
    budget.demand(Class::Rest, SPANS - 1);
    black_box(budget.rates(now));
    assert!(budget.claim(SPANS, now));
}

/// Payloads of 100 spans, 100 000 in a second, so that most find the rates as they are.
#[divan::bench]
fn a_payload(bencher: Bencher<'_, '_>) {
    let budget = open(None);
    let mut now = start();
    bencher.counter(ItemsCount::new(SPANS)).bench_local(|| {
        now += Duration::from_micros(10);
        payload(&budget, now);
    });
}

/// The same with a ledger on disk that is tended once a second.
#[divan::bench]
fn a_payload_with_a_ledger(bencher: Bencher<'_, '_>) {
    let folder = tempfile::tempdir().unwrap();
    let budget = open(Some(folder.path()));
    let (mut now, mut tended) = (start(), start());
    bencher.counter(ItemsCount::new(SPANS)).bench_local(|| {
        now += Duration::from_micros(10);
        if now.duration_since(tended).as_secs() > 0 {
            tended = now;
            budget.tend(now);
        }
        payload(&budget, now);
    });
}

/// Rates that are computed anew for each payload, as when one a second comes.
#[divan::bench]
fn a_payload_a_second(bencher: Bencher<'_, '_>) {
    let budget = open(None);
    let mut now = start();
    bencher.counter(ItemsCount::new(SPANS)).bench_local(|| {
        now += Duration::from_secs(1);
        payload(&budget, now);
    });
}

/// Who wants the 100 spans of a payload, of 200 names.
#[divan::bench]
fn who_wants_it(bencher: Bencher<'_, '_>) {
    let budget = open(None);
    let names: Vec<String> =
        (0..200).map(|number| format!("GET /api/v1/things/{number}")).collect();
    let mut at = 0;
    bencher.counter(ItemsCount::new(SPANS)).bench_local(|| {
        let step = stride(100);
        for _ in (0..100).step_by(step) {
            at = (at + 1) % names.len();
            budget.note("shop", &names[at], step as u64);
        }
    });
}
