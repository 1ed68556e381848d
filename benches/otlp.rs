//! What the work on bytes costs: the door check, counting, splitting, editing attributes, and
//! prost's decode beside them. `cargo bench --bench otlp`; figures are per request of 100 spans of
//! about 740 bytes, with the allocations of each call.

use std::{hint::black_box, time::Instant};

use bytes::Bytes;
use divan::{AllocProfiler, Bencher, counter::ItemsCount};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;
use skep::{
    component::{BuildContext, Output, Processor},
    config::{Problems, yaml},
    otlp::{
        Payload, Signal,
        check::{self, Utf8},
        merge,
        purse::Purse,
        split, view,
    },
    processors,
};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const SPANS: usize = 100;

fn main() {
    divan::main();
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

/// One resource of 8 attributes, one scope, spans of 12 string attributes.
fn request() -> Bytes {
    let attributes = |count: usize| {
        let one =
            |i| attribute(&format!("http.request.header.{i}"), "a value of some twenty bytes");
        (0..count).map(one).collect::<Vec<_>>()
    };
    let span = |i: usize| Span {
        trace_id: (i as u128).to_be_bytes().to_vec(),
        span_id: (i as u64).to_be_bytes().to_vec(),
        name: "GET /api/activities/home".to_owned(),
        kind: 2,
        start_time_unix_nano: 1_700_000_000_000_000_000,
        end_time_unix_nano: 1_700_000_000_050_000_000,
        attributes: attributes(12),
        ..Span::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource { attributes: attributes(8), ..Resource::default() }),
            scope_spans: vec![ScopeSpans {
                spans: (0..SPANS).map(span).collect(),
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
    .encode_to_vec()
    .into()
}

#[divan::bench]
fn check_strict(bencher: Bencher) {
    let body = request();
    bencher
        .counter(ItemsCount::new(SPANS))
        .bench(|| check::check(Signal::Traces, black_box(&body), Utf8::Strict));
}

#[divan::bench]
fn check_framing_only(bencher: Bencher) {
    let body = request();
    bencher
        .counter(ItemsCount::new(SPANS))
        .bench(|| check::check(Signal::Traces, black_box(&body), Utf8::Off));
}

#[divan::bench]
fn count_items(bencher: Bencher) {
    let body = request();
    bencher
        .counter(ItemsCount::new(SPANS))
        .bench(|| split::count_items(Signal::Traces, black_box(&body)));
}

/// What a condition on spans reads: the duration of each and one attribute.
#[divan::bench]
fn view_durations_and_one_attribute(bencher: Bencher) {
    let body = request();
    bencher.counter(ItemsCount::new(SPANS)).bench(|| {
        let mut seen = (0, 0);
        let entries = view::traces(black_box(&body));
        for span in entries.flat_map(|entry| entry.scopes()).flat_map(|scope| scope.spans()) {
            seen.0 += span.end_time_unix_nano - span.start_time_unix_nano;
            let wanted = |one: &view::KeyValue<'_>| one.key.0 == b"http.request.header.9";
            seen.1 += usize::from(span.attributes().any(|one| wanted(&one)));
        }
        assert_eq!(seen.1, SPANS);
        seen
    });
}

#[divan::bench]
fn split_in_ten(bencher: Bencher) {
    let payload = Payload::unpaid(Signal::Traces, request(), SPANS as u64);
    bencher
        .counter(ItemsCount::new(SPANS))
        .bench(|| split::by_items(black_box(payload.clone()), 10));
}

/// Twenty requests of one sender.
#[divan::bench]
fn merge_twenty_equal_resources(bencher: Bencher) {
    let segments = vec![request(); 20];
    bencher
        .counter(ItemsCount::new(20 * SPANS))
        .bench(|| merge::merge_equal(black_box(&segments), &mut Purse::default()));
}

/// The `attributes` processor with one action.
fn attributes(yaml: &str) -> Box<dyn Processor> {
    processor("attributes", yaml)
}

fn processor(name: &str, yaml: &str) -> Box<dyn Processor> {
    let node = yaml::parse(0, yaml).expect("the settings are YAML");
    let entry = processors::ALL.iter().find(|entry| entry.name == name);
    let mut problems = Problems::default();
    let config = (entry.expect("it is registered").decode)(&node, &mut problems);
    let context = BuildContext::test(name, Signal::Traces);
    config.and_then(|config| config.build(&context).ok()).expect("the settings are right")
}

const UPSERT: &str =
    "actions: [{ key: deployment.environment, value: production, action: upsert }]";

fn process(processor: &mut dyn Processor, body: Bytes) -> Output {
    let mut out = Output::at(Instant::now());
    processor.process(Payload::unpaid(Signal::Traces, body, SPANS as u64), &mut out);
    out
}

#[divan::bench]
fn upsert_absent(bencher: Bencher) {
    let (body, mut processor) = (request(), attributes(UPSERT));
    bencher
        .counter(ItemsCount::new(SPANS))
        .bench_local(|| process(&mut *processor, black_box(&body).clone()));
}

#[divan::bench]
fn check_and_upsert_absent(bencher: Bencher) {
    let (body, mut processor) = (request(), attributes(UPSERT));
    bencher.counter(ItemsCount::new(SPANS)).bench_local(|| {
        let checked = check::check(Signal::Traces, black_box(&body), Utf8::Strict);
        (checked, process(&mut *processor, body.clone()))
    });
}

#[divan::bench]
fn insert_where_present_changes_nothing(bencher: Bencher) {
    let action = "actions: [{ key: http.request.header.3, value: x, action: insert }]";
    let (body, mut processor) = (request(), attributes(action));
    bencher
        .counter(ItemsCount::new(SPANS))
        .bench_local(|| process(&mut *processor, black_box(&body).clone()));
}

#[divan::bench]
fn delete_by_pattern(bencher: Bencher) {
    let action = "actions: [{ pattern: \"header[.]1\", action: delete }]";
    let (body, mut processor) = (request(), attributes(action));
    bencher
        .counter(ItemsCount::new(SPANS))
        .bench_local(|| process(&mut *processor, black_box(&body).clone()));
}

/// Ten in a hundred stay, and bear their threshold.
#[divan::bench]
fn sample_one_in_ten(bencher: Bencher) {
    let settings = "{sampling_percentage: 10, hash_seed: 1}";
    let (body, mut processor) = (request(), processor("probabilistic_sampler", settings));
    bencher
        .counter(ItemsCount::new(SPANS))
        .bench_local(|| process(&mut *processor, black_box(&body).clone()));
}

#[divan::bench]
fn prost_decode_upsert_encode(bencher: Bencher) {
    let body = request();
    bencher.counter(ItemsCount::new(SPANS)).bench(|| {
        let mut request =
            ExportTraceServiceRequest::decode(black_box(&*body)).expect("it was encoded here");
        let scopes = request.resource_spans.iter_mut().flat_map(|entry| &mut entry.scope_spans);
        for span in scopes.flat_map(|scope| &mut scope.spans) {
            if span.attributes.iter().all(|a| a.key != "deployment.environment") {
                span.attributes.push(attribute("deployment.environment", "production"));
            }
        }
        request.encode_to_vec()
    });
}

#[divan::bench]
fn prost_decode(bencher: Bencher) {
    let body = request();
    bencher
        .counter(ItemsCount::new(SPANS))
        .bench(|| ExportTraceServiceRequest::decode(black_box(&*body)));
}
