//! What hostile requests make of memory before the queue of an exporter with a monthly budget:
//! measuring and rewriting a request take what it is charged for and a constant, and endless new
//! traces, services and names take no more than what is stated.

use std::{sync::Arc, time::Duration};

use jiff::tz::TimeZone;
use skep::{
    budget::{Mode, Settings, Share, Unit},
    component::{BudgetUse, BudgetWeights, Count},
    engine::{
        budget::Budget,
        export::{
            allowance::Allowances,
            gate::{Gate, Passed},
        },
    },
    otlp::{Payload, Signal, payload::Outcome},
    telemetry::Telemetry,
};

use crate::{
    ALLOCATED, alone,
    expanding::{field, item, request, requests, text_attribute},
};

/// What may be allocated beside what is charged: the tables of traces (2 MiB, and 5 MiB of counted
/// ones), the table of names, and one step of lists that grow.
const BESIDE: u64 = 9 << 20;

fn gate(count: Count, per_month: u64) -> Gate {
    let settings = Settings {
        unit: Unit::Events,
        per_month,
        share: Share::WHOLE,
        mode: Mode::Pace,
        zone: TimeZone::UTC,
        reset_day: 1,
    };
    let budget = BudgetUse {
        settings: settings.clone(),
        count,
        weights: BudgetWeights { sample_rate: true, tracestate: true },
        storage: None,
        keeps_left_out: false,
        slow: Duration::from_secs(1),
    };
    let telemetry = Arc::new(Telemetry::default());
    let allowance = Allowances::default().of("one", &settings, None, &telemetry).unwrap();
    Gate::new(allowance, &budget, None)
}

/// Lets a request pass, with an account of its own; what it was charged at most.
fn pass(gate: &Gate, signal: Signal, body: Vec<u8>, items: u64) {
    let account = Budget::new(1 << 30, Arc::new(Telemetry::default()));
    let permit = account.try_acquire(body.len()).unwrap();
    let payload = Payload::new(signal, body.into(), items, [permit]);
    match gate.pass(payload) {
        Passed::On(payload, _) | Passed::Refused(payload, _) => payload.finish(Outcome::Delivered),
        Passed::LeftOut => {}
    }
    assert_eq!(account.used(), 0, "everything is given back");
}

#[test]
fn hostile_requests_take_a_multiple_of_their_length() {
    alone(|| {
        for signal in [Signal::Traces, Signal::Logs] {
            for count in [Count::Events, Count::Traces, Count::Bytes, Count::Occurrences] {
                let gate = gate(count, 1000);
                for (name, body) in requests(signal, 10) {
                    let len = body.len() as u64;
                    let items = skep::otlp::split::count_items(signal, &body);
                    ALLOCATED.reset_peak_usage();
                    let before = ALLOCATED.current_usage() as u64;
                    pass(&gate, signal, body, items);
                    let most = ALLOCATED.peak_usage() as u64 - before;
                    // An item has at least two bytes, and 150 while it is looked at.
                    let fair = len * 9 + items * 150 + BESIDE;
                    assert!(
                        most <= fair,
                        "{name}, {signal}: {most} bytes for {len}, {items} items"
                    );
                }
            }
        }
    });
}

#[test]
fn endless_traces_services_and_names_take_what_is_stated() {
    alone(|| {
        let gate = gate(Count::Traces, 1_000_000);
        let before = ALLOCATED.current_usage() as u64;
        let mut id = 0;
        for round in 0..200 {
            let spans: Vec<Vec<u8>> = (0..2000)
                .map(|_| {
                    id += 1;
                    let mut span = item(Signal::Traces, id, &[]);
                    span.extend(field(5, format!("name {id}").as_bytes()));
                    span
                })
                .collect();
            let resource = field(1, &text_attribute("service.name", &format!("service {round}")));
            pass(&gate, Signal::Traces, request(&resource[..], &[], spans), 2000);
        }
        let kept = ALLOCATED.current_usage() as u64 - before;
        assert!(kept <= BESIDE, "{kept} bytes");
    });
}
