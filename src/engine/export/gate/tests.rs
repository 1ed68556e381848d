use std::{
    collections::HashSet,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use jiff::{Timestamp, tz::TimeZone};
use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{AnyValue, KeyValue, any_value},
    logs::v1::{LogRecord as Record, ResourceLogs, ScopeLogs},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span},
};
use prost::Message as _;

use super::*;
use crate::{
    budget::{Mode, Settings, Share, Unit},
    component::BudgetWeights,
    otlp::sampling::{Threshold, TraceState},
    telemetry::Telemetry,
};

/// A gate with a clock of its own.
struct Bench {
    gate: Gate,
    millis: Arc<AtomicI64>,
    telemetry: Arc<Telemetry>,
}

const SECOND: i64 = 1000;
/// 2026-11-01.
const START: i64 = 1_793_491_200 * SECOND;

impl Bench {
    fn new(count: Count, mode: Mode, per_month: u64) -> Self {
        let millis = Arc::new(AtomicI64::new(START));
        let now = Arc::clone(&millis);
        let clock = move || Timestamp::from_millisecond(now.load(Ordering::SeqCst)).unwrap();
        let settings = Settings {
            unit: Unit::Events,
            per_month,
            share: Share::WHOLE,
            mode,
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
        let meter = telemetry.meter("budget home");
        let allowance = Allowance::open("home", settings, None, Arc::new(clock), &meter).unwrap();
        Bench { gate: Gate::new(allowance, &budget, None), millis, telemetry }
    }

    fn wait(&self, millis: i64) {
        self.millis.fetch_add(millis, Ordering::SeqCst);
        self.gate.allowance.tend();
    }

    /// What passes of some spans, all of which are claimed as they are sent.
    fn spans(&self, spans: Vec<Span>) -> Vec<Span> {
        let Some((payload, units)) = self.pass(traces(spans)) else { return Vec::new() };
        let now = self.gate.allowance.now();
        if let Some(units) = units {
            assert!(self.gate.allowance.budget().claim(units, now));
        }
        let request = ExportTraceServiceRequest::decode(&*payload.body.concat()).unwrap();
        let scopes = request.resource_spans.into_iter().flat_map(|entry| entry.scope_spans);
        let spans: Vec<Span> = scopes.flat_map(|scope| scope.spans).collect();
        assert_eq!(payload.items, spans.len() as u64);
        payload.finish(Outcome::Delivered);
        spans
    }

    fn pass(&self, payload: Payload) -> Option<(Payload, Option<u64>)> {
        match self.gate.pass(payload) {
            Passed::On(payload, units) => Some((payload, units)),
            Passed::LeftOut => None,
            Passed::Refused(_, reason) => panic!("{reason:?}"),
        }
    }

    fn used(&self) -> u64 {
        let now = self.gate.allowance.now();
        self.gate.allowance.budget().report(0, now).used
    }

    fn left_out(&self) -> u64 {
        self.telemetry.registry().sum("skep_exporter_budget_left_out_items")
    }
}

fn traces(spans: Vec<Span>) -> Payload {
    let items = spans.len() as u64;
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let entry = ResourceSpans { scope_spans, ..ResourceSpans::default() };
    let body = ExportTraceServiceRequest { resource_spans: vec![entry] }.encode_to_vec();
    Payload::unpaid(Signal::Traces, body.into(), items)
}

fn logs(log_records: Vec<Record>) -> Payload {
    let items = log_records.len() as u64;
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    let entry = ResourceLogs { scope_logs, ..ResourceLogs::default() };
    let body = ExportLogsServiceRequest { resource_logs: vec![entry] }.encode_to_vec();
    Payload::unpaid(Signal::Logs, body.into(), items)
}

fn span(id: u128) -> Span {
    Span {
        trace_id: id.to_be_bytes().to_vec(),
        span_id: vec![1; 8],
        name: "GET /".to_owned(),
        start_time_unix_nano: 1_000,
        end_time_unix_nano: 2_000,
        ..Span::default()
    }
}

fn failed(span: Span) -> Span {
    Span { status: Some(Status { code: 2, ..Status::default() }), ..span }
}

fn slow(span: Span) -> Span {
    Span { end_time_unix_nano: 2_000_000_000, ..span }
}

fn rate(span: &Span) -> i64 {
    let rate = span.attributes.iter().find(|one| one.key == "SampleRate");
    match rate.and_then(|one| one.value.clone()?.value) {
        Some(any_value::Value::IntValue(rate)) => rate,
        _ => 1,
    }
}

#[test]
fn what_fits_passes_as_it_is_and_is_counted_as_honeycomb_counts() {
    let bench = Bench::new(Count::Events, Mode::Pace, 1_000_000);
    let mut one = span(7);
    one.events = vec![span::Event::default(), span::Event::default()];
    one.links = vec![span::Link::default()];
    let payload = traces(vec![one, span(8)]);
    let before = payload.body.clone();
    let (payload, units) = bench.pass(payload).unwrap();
    assert_eq!((units, &payload.body), (Some(5), &before));
    assert_eq!(payload.body[0].as_ptr(), before[0].as_ptr(), "it is not even copied");
    let (logs, units) = bench.pass(logs(vec![Record::default(); 3])).unwrap();
    assert_eq!((units, logs.items), (Some(3), 3));
    let points = Payload::unpaid(Signal::Metrics, before[0].clone(), 9);
    assert_eq!(bench.pass(points).unwrap().1, Some(0), "data points are no events");
    assert_eq!(bench.left_out(), 0);
}

/// Far more than the budget: all errors pass, of the rest a part, whole traces, and the weights add
/// up to what came.
#[test]
#[expect(clippy::cast_precision_loss, reason = "statistics")]
fn errors_pass_first_and_weighted_counts_are_those_of_all() {
    let bench = Bench::new(Count::Events, Mode::Pace, 400_000);
    let mut random = fastrand::Rng::with_seed(3);
    let (mut came, mut errors, mut kept) = (0_u64, 0, Vec::new());
    for minute in 0..4 * 60_i64 {
        let mut batch = Vec::new();
        for n in 0..100_u64 {
            let id = random.u128(..);
            let mut two = [span(id), span(id)];
            if n % 50 == 0 {
                two[1] = failed(two[1].clone());
                errors += 2;
            } else {
                came += 2;
            }
            batch.extend(two);
        }
        kept.extend(bench.spans(batch));
        bench.wait(60 * SECOND);
        assert!(bench.used() < 400_000, "{minute}");
    }
    let is_error_trace: HashSet<_> =
        kept.iter().filter(|one| one.status.is_some()).map(|one| one.trace_id.clone()).collect();
    let of_errors = kept.iter().filter(|one| is_error_trace.contains(&one.trace_id));
    assert_eq!(of_errors.clone().count(), errors, "whole traces with an error");
    assert!(of_errors.clone().all(|one| rate(one) == 1 && one.trace_state.is_empty()));
    let rest: Vec<&Span> =
        kept.iter().filter(|one| !is_error_trace.contains(&one.trace_id)).collect();
    assert!(rest.len() < usize::try_from(came).unwrap() * 9 / 10, "{} of {came}", rest.len());
    let traces: HashSet<_> = rest.iter().map(|one| &one.trace_id).collect();
    assert_eq!(traces.len() * 2, rest.len(), "no trace is torn");
    let (mut by_rate, mut by_threshold, mut variance) = (0.0, 0.0, 0.0);
    for one in &rest {
        let state = TraceState::parse(one.trace_state.as_bytes()).unwrap();
        let weight = 1.0 / state.threshold.unwrap_or(Threshold::ALWAYS).probability();
        by_threshold += weight;
        by_rate += rate(one) as f64;
        // Both spans of a trace pass or none.
        variance += 2.0 * weight * (weight - 1.0) + 0.25;
    }
    for sum in [by_rate, by_threshold] {
        let error = (sum - came as f64) / variance.sqrt().max(1.0);
        assert!(error.abs() < 3.0, "{sum} of {came}: {error} deviations");
    }
    let left_out = came - rest.len() as u64;
    assert_eq!(bench.left_out(), left_out);
}

#[test]
fn what_was_sampled_before_counts_for_both() {
    let bench = Bench::new(Count::Events, Mode::Pace, 20_000);
    let mut random = fastrand::Rng::with_seed(5);
    let (mut came, mut sum, mut variance) = (0.0, 0.0, 0.0);
    for _ in 0..400 {
        let mut batch = Vec::new();
        for _ in 0..100 {
            let id = random.u128(..);
            came += 1.0;
            // A tail sampler has kept one of four.
            if id & (3 << 54) == 3 << 54 {
                let (key, value) = ("SampleRate".to_owned(), any_value::Value::IntValue(4));
                let value = Some(AnyValue { value: Some(value) });
                let attributes = vec![KeyValue { key, value, ..KeyValue::default() }];
                let trace_state = "ot=th:c".to_owned();
                batch.push(Span { trace_state, attributes, ..span(id) });
            }
        }
        for kept in bench.spans(batch) {
            let state = TraceState::parse(kept.trace_state.as_bytes()).unwrap();
            let threshold = state.threshold.unwrap();
            assert!(threshold >= Threshold::parse(b"c").unwrap());
            let weight = 1.0 / threshold.probability();
            assert!((f64::from(i32::try_from(rate(&kept)).unwrap()) - weight).abs() < 1.0);
            sum += weight;
            variance += weight * (weight - 1.0);
        }
        bench.wait(60 * SECOND);
    }
    assert!(bench.left_out() > 1000);
    let error: f64 = (sum - came) / variance.sqrt();
    assert!(error.abs() < 3.0, "{sum} of {came}: {error} deviations");
}

#[test]
fn slow_traces_pass_before_the_rest() {
    let bench = Bench::new(Count::Items, Mode::Pace, 100_000);
    let mut random = fastrand::Rng::with_seed(7);
    let mut kept = [0, 0];
    for _ in 0..60 {
        let spans = (0..1000_u32).map(|n| {
            let one = span(random.u128(..));
            if n % 10 == 0 { slow(one) } else { one }
        });
        for one in bench.spans(spans.collect()) {
            kept[usize::from(one.end_time_unix_nano > 2_000)] += 1;
        }
        bench.wait(60 * SECOND);
    }
    assert!(kept[1] * 9 > kept[0] * 2, "{kept:?}: of slow ones a larger part");
    assert!(kept[0] > 0);
}

#[test]
fn logs_of_a_kept_trace_pass_with_it_and_have_weights() {
    let bench = Bench::new(Count::Events, Mode::Pace, 4000);
    let mut random = fastrand::Rng::with_seed(9);
    let ids: Vec<u128> = (0..4000).map(|_| random.u128(..)).collect();
    let spans = bench.spans(ids.iter().map(|id| span(*id)).collect());
    assert!(spans.len() < 2000, "{}", spans.len());
    let of_traces: HashSet<Vec<u8>> = spans.into_iter().map(|span| span.trace_id).collect();
    let record = |id: &u128| Record { trace_id: id.to_be_bytes().to_vec(), ..Record::default() };
    let (payload, _) = bench.pass(logs(ids.iter().map(record).collect())).unwrap();
    let request = ExportLogsServiceRequest::decode(&*payload.body.concat()).unwrap();
    let scopes = request.resource_logs.into_iter().flat_map(|entry| entry.scope_logs);
    let records: Vec<Record> = scopes.flat_map(|scope| scope.log_records).collect();
    let of_logs: HashSet<Vec<u8>> = records.iter().map(|one| one.trace_id.clone()).collect();
    assert_eq!(of_logs, of_traces);
    let keys: Vec<&str> = records[0].attributes.iter().map(|one| one.key.as_str()).collect();
    assert_eq!(keys, ["sampling.threshold", "SampleRate"]);
    // Errors pass, whatever their trace.
    let error = Record { severity_number: 17, ..record(&0) };
    assert_eq!(bench.pass(logs(vec![error; 2])).unwrap().0.items, 2);
}

#[test]
fn at_the_ceiling_nothing_passes_until_the_month_ends() {
    for (mode, passes) in [(Mode::Stop, false), (Mode::Warn, true)] {
        let bench = Bench::new(Count::Events, mode, 10);
        assert_eq!(bench.spans((1..=10).map(span).collect()).len(), 10);
        bench.wait(SECOND);
        assert_eq!(bench.spans(vec![failed(span(11))]).len(), usize::from(passes));
        assert_eq!(bench.left_out(), u64::from(!passes));
        // A clock that jumps so far is not believed at once.
        for _ in 0..30 * 48 {
            bench.wait(1800 * SECOND);
        }
        assert_eq!(bench.spans(vec![span(12)]).len(), 1);
    }
}

#[test]
fn spans_of_a_counted_trace_cost_nothing() {
    let bench = Bench::new(Count::Traces, Mode::Stop, 2);
    let allowance = &bench.gate.allowance;
    let key = |id| key_of(&allowance.hasher, id);
    assert!(bench.pass(traces(vec![span(1), span(2), span(1)])).is_some());
    let new = allowance.count_traces([key(1), key(2), key(1)].into_iter());
    assert_eq!(new.len(), 2);
    assert!(allowance.budget().claim(2, allowance.now()));
    bench.wait(SECOND);
    let (payload, _) = bench.pass(traces(vec![span(1), span(3), span(2)])).unwrap();
    assert_eq!(payload.items, 2, "the third trace finds nothing left");
}

#[test]
fn endless_traces_take_no_more_memory_than_stated() {
    let bench = Bench::new(Count::Traces, Mode::Pace, 1000);
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..100 {
        let spans = (0..5000).map(|_| span(random.u128(..))).collect();
        bench.spans(spans);
    }
    let keys = (0..1_000_000).map(|_| random.u64(..));
    assert_eq!(bench.gate.allowance.count_traces(keys).len(), 1_000_000);
    assert!(bench.gate.allowance.memory() <= 8 << 20, "{}", bench.gate.allowance.memory());
}

/// Spans of services in one payload: of each trace so many for each service.
fn of_services(ids: std::ops::Range<u128>, services: &[(&str, usize)]) -> Payload {
    let entries = services.iter().map(|(service, count)| {
        let value = AnyValue { value: Some(any_value::Value::StringValue((*service).to_owned())) };
        let attribute =
            KeyValue { key: "service.name".to_owned(), value: Some(value), ..KeyValue::default() };
        let attributes = vec![attribute];
        let spans = ids.clone().flat_map(|id| vec![span(spread(id)); *count]).collect();
        ResourceSpans {
            resource: Some(Resource { attributes, ..Resource::default() }),
            scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }
    });
    let body = ExportTraceServiceRequest { resource_spans: entries.collect() }.encode_to_vec();
    let of_each: usize = services.iter().map(|(_, count)| count).sum();
    let items = (ids.count() * of_each) as u64;
    Payload::unpaid(Signal::Traces, body.into(), items)
}

/// An id whose last bits are spread over all values.
fn spread(id: u128) -> u128 {
    (id + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834)
}

#[test]
fn what_is_left_out_is_told_by_service_and_reason() {
    let bench = Bench::new(Count::Events, Mode::Pace, 2000);
    let budget = Arc::clone(bench.gate.allowance.budget());
    let left_out = || budget.report(0, bench.gate.allowance.now()).left_out;
    let (mut came, mut passed) = (0, 0);
    for batch in 0..40 {
        let payload = of_services(batch * 25..(batch + 1) * 25, &[("shop", 3), ("pay", 1)]);
        came += payload.items;
        if let Some((payload, _)) = bench.pass(payload) {
            passed += payload.items;
            payload.finish(Outcome::Delivered);
        }
        bench.wait(100);
    }
    let told = left_out();
    let (shop, pay) = (told.services["shop"], told.services["pay"]);
    assert!(passed > 0 && pay > 100, "{passed} of {came} have passed");
    assert_eq!((told.of(Why::Paced), told.of(Why::Ceiling)), (came - passed, 0));
    assert_eq!((shop, shop + pay), (3 * pay, came - passed));

    let now = bench.gate.allowance.now();
    assert!(budget.claim(2000, now));
    bench.wait(SECOND);
    assert!(bench.pass(of_services(0..7, &[("cart", 1)])).is_none());
    let told = left_out();
    assert_eq!((told.of(Why::Ceiling), told.services["cart"]), (7, 7));
}

#[test]
fn points_that_are_left_out_are_told_by_service() {
    let bench = Bench::new(Count::Items, Mode::Stop, 10);
    let budget = Arc::clone(bench.gate.allowance.budget());
    assert!(budget.claim(10, bench.gate.allowance.now()));
    bench.wait(SECOND);
    // Its resource is where that of a metrics request is.
    let spans = of_services(0..5, &[("shop", 1)]);
    let points = Payload::unpaid(Signal::Metrics, spans.body[0].clone(), 5);
    assert!(bench.pass(points).is_none());
    spans.finish(Outcome::Filtered);
    let told = budget.report(0, bench.gate.allowance.now()).left_out;
    assert_eq!((told.of(Why::Ceiling), told.services["shop"]), (5, 5));
}
