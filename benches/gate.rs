//! What a monthly budget costs before the queue of an exporter, per span: while everything passes,
//! and while half of the rest is left out, which rewrites the request. `cargo bench --bench gate`;
//! requests have 800 spans of about 700 bytes and 12 attributes, 8 of a trace.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use divan::{Bencher, counter::ItemsCount};
use jiff::tz::TimeZone;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status},
};
use prost::Message as _;
use skep::{
    budget::{Mode, Settings, Share, Unit},
    component::{BudgetUse, BudgetWeights, Count},
    engine::export::{
        allowance::Allowances,
        gate::{Gate, Passed},
    },
    otlp::{Payload, Signal, payload::Outcome},
    telemetry::Telemetry,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Spans of a request, and of a trace in it.
const SPANS: u64 = 800;
const TOGETHER: u64 = 8;

fn main() {
    divan::main();
}

fn gate(mode: Mode, per_month: u64) -> Gate {
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
        count: Count::Events,
        weights: BudgetWeights { sample_rate: true, tracestate: true },
        storage: None,
        keeps_left_out: false,
        slow: Duration::from_secs(1),
    };
    let telemetry = Arc::new(Telemetry::default());
    let allowance = Allowances::default().of("one", &settings, None, &telemetry);
    Gate::new(allowance.expect("it opens nothing"), &budget, None)
}

fn text(key: &str, value: String) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value)) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn request(random: &mut fastrand::Rng) -> Bytes {
    let spans = (0..SPANS / TOGETHER).flat_map(|_| {
        let trace_id = random.u128(1..).to_be_bytes().to_vec();
        let ids: Vec<u64> = (0..TOGETHER).map(|_| random.u64(1..)).collect();
        ids.into_iter().map(move |id| Span {
            trace_id: trace_id.clone(),
            span_id: id.to_be_bytes().to_vec(),
            parent_span_id: vec![7; 8],
            name: "GET /api/users/{id}".to_owned(),
            kind: 2,
            start_time_unix_nano: 1_790_000_000_000_000_000,
            end_time_unix_nano: 1_790_000_000_005_000_000,
            attributes: (0..12)
                .map(|n| text(&format!("http.request.key.{n:02}"), "v".repeat(10 + n)))
                .collect(),
            status: Some(Status::default()),
            flags: 257,
            ..Span::default()
        })
    });
    let scope_spans = vec![ScopeSpans { spans: spans.collect(), ..ScopeSpans::default() }];
    let attributes = vec![text("service.name", "shop".to_owned())];
    let resource = Some(Resource { attributes, ..Resource::default() });
    let entry = ResourceSpans { resource, scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![entry] }.encode_to_vec().into()
}

fn pass(bencher: Bencher<'_, '_>, gate: &Gate) {
    let mut random = fastrand::Rng::with_seed(1);
    let bodies: Vec<Bytes> = (0..256).map(|_| request(&mut random)).collect();
    let mut next = bodies.iter().cycle();
    bencher
        .counter(ItemsCount::new(SPANS))
        .with_inputs(|| {
            let body = next.next().expect("it goes round").clone();
            Payload::unpaid(Signal::Traces, body, SPANS)
        })
        .bench_local_values(|payload| match gate.pass(payload) {
            Passed::On(payload, units) => {
                payload.finish(Outcome::Delivered);
                units
            }
            Passed::LeftOut => None,
            Passed::Refused(..) => unreachable!("there is no limit on memory"),
        });
}

/// There is more than enough.
#[divan::bench]
fn everything_passes(bencher: Bencher<'_, '_>) {
    pass(bencher, &gate(Mode::Pace, u64::MAX / 4));
}

/// Nothing is ever sampled.
#[divan::bench]
fn nothing_is_paced(bencher: Bencher<'_, '_>) {
    pass(bencher, &gate(Mode::Stop, u64::MAX / 4));
}

/// Nearly nothing may pass.
#[divan::bench]
fn much_is_left_out(bencher: Bencher<'_, '_>) {
    pass(bencher, &gate(Mode::Pace, 1_000_000));
}
