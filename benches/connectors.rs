//! What connectors cost per span of about 740 bytes with 12 attributes, in requests of 100 spans.
//! `cargo bench --bench connectors`.

use std::{hint::black_box, time::Instant};

use bytes::Bytes;
use divan::{AllocProfiler, Bencher, counter::ItemsCount};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;
use skep::{
    component::{BuildContext, Outlets, Output, Processor},
    config::{Problems, yaml},
    connectors,
    otlp::{Payload, Signal, payload::Outcome},
};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

/// Spans of a request, and requests that differ: together as many series.
const SPANS: usize = 100;
const REQUESTS: usize = 10;

fn main() {
    divan::main();
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

/// One of 1000: 25 routes, 4 methods, 10 status codes.
fn span(at: usize) -> Span {
    let route = format!("/api/v1/customers/{{customerId}}/orders-{:02}/{{orderId}}", at % 25);
    let method = ["GET", "PUT", "POST", "DELETE"][at / 25 % 4];
    let code = format!("{}", 200 + at / 100 % 10);
    let attributes = [
        ("http.request.method", method),
        ("http.route", &route),
        ("url.path", "/api/v1/customers/8d7f0b3a/orders/4711"),
        ("url.scheme", "https"),
        ("server.address", "orders.internal.example.com"),
        ("network.protocol.version", "1.1"),
        ("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"),
        ("client.address", "203.0.113.195"),
        ("http.response.status_code", &code),
        ("thread.name", "http-nio-8080-exec-7"),
        ("deployment.environment", "production"),
        ("enduser.id", "8d7f0b3a-51d2-4a5e-9d2c-1f6f6f1c2b3a"),
    ];
    Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        parent_span_id: vec![3; 8],
        name: format!("{method} {route}"),
        kind: 2,
        start_time_unix_nano: 1_700_000_000_000_000_000,
        end_time_unix_nano: 1_700_000_000_000_000_000 + 1_000_003 * (at as u64 % 400),
        attributes: attributes.map(|(key, value)| attribute(key, value)).to_vec(),
        ..Span::default()
    }
}

fn requests() -> Vec<Bytes> {
    let request = |number: usize| {
        let attributes = vec![attribute("service.name", "orders"), attribute("host.name", "n1")];
        let resource = Resource { attributes, ..Resource::default() };
        let scope = InstrumentationScope { name: "io.http".to_owned(), ..Default::default() };
        // Neighbours are of different series.
        let spans = (0..SPANS).map(|at| span((at * REQUESTS + number) * 7 % 1000)).collect();
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..Default::default() }];
        let entry = ResourceSpans { resource: Some(resource), scope_spans, ..Default::default() };
        Bytes::from(ExportTraceServiceRequest { resource_spans: vec![entry] }.encode_to_vec())
    };
    (0..REQUESTS).map(request).collect()
}

fn connector(name: &str, settings: &str, output: Signal) -> Box<dyn Processor> {
    let entry = connectors::ALL.iter().find(|entry| entry.name == name).expect("it is there");
    let node = yaml::parse(0, settings).expect("YAML");
    let config = (entry.decode)(&node, &mut Problems::default()).expect("settings");
    let pipelines = ["traces/a", "traces/b"].map(str::to_owned).to_vec();
    let cx = BuildContext::test(name, Signal::Traces);
    config.build(&cx, &Outlets { signal: output, pipelines }).expect("it is built")
}

fn run(bencher: Bencher<'_, '_>, mut processor: Box<dyn Processor>) {
    let (requests, mut at) = (requests(), 0);
    bencher.counter(ItemsCount::new(SPANS)).bench_local(|| {
        at = (at + 1) % REQUESTS;
        let items = SPANS as u64;
        let payload = Payload::unpaid(Signal::Traces, black_box(&requests[at]).clone(), items);
        let mut out = Output::at(Instant::now());
        processor.process(payload, &mut out);
        let directed = out.take_directed().into_iter().map(|(_, payload)| payload);
        for payload in out.take().into_iter().chain(directed) {
            black_box(payload).finish(Outcome::Delivered);
        }
    });
}

const DIMENSIONS: &str = "dimensions: [{name: http.request.method}, {name: http.route}, {name: http.response.status_code}]";

/// Three dimensions, 1000 series.
#[divan::bench(args = [
    "",
    "histogram: {exponential: {}}",
    "exemplars: {enabled: true}",
    "calls_dimensions: [{name: url.scheme}]",
])]
fn span_metrics(bencher: Bencher<'_, '_>, more: &str) {
    let settings = format!("{{{DIMENSIONS}, {more}}}");
    run(bencher, connector("span_metrics", &settings, Signal::Metrics));
}

/// A flush of 1000 series.
#[divan::bench]
fn span_metrics_flush(bencher: Bencher<'_, '_>) {
    let mut processor = connector("span_metrics", &format!("{{{DIMENSIONS}}}"), Signal::Metrics);
    let now = Instant::now();
    for body in requests() {
        let payload = Payload::unpaid(Signal::Traces, body, SPANS as u64);
        processor.process(payload, &mut Output::at(now));
    }
    bencher.counter(ItemsCount::new(SPANS * REQUESTS)).bench_local(|| {
        let mut out = Output::at(Instant::now());
        processor.drain(&mut out);
        out.take().into_iter().for_each(|payload| black_box(payload).finish(Outcome::Delivered));
    });
}

/// Everything one way, by resource; all spans one by one; two ways, span by span.
#[divan::bench(args = [
    "resource.attributes[\"service.name\"] == \"orders\"",
    "span.kind == SPAN_KIND_SERVER",
    "span.attributes[\"http.request.method\"] == \"GET\"",
])]
fn routing(bencher: Bencher<'_, '_>, condition: &str) {
    let settings = format!(
        "{{default_pipelines: [traces/b], table: [{{condition: '{condition}', pipelines: [traces/a]}}]}}"
    );
    run(bencher, connector("routing", &settings, Signal::Traces));
}

/// Without settings; with a condition and an attribute.
#[divan::bench(args = [
    "",
    "spans: {n: {conditions: ['kind == SPAN_KIND_SERVER'], attributes: [{key: http.request.method}]}}",
])]
fn count(bencher: Bencher<'_, '_>, settings: &str) {
    run(bencher, connector("count", &format!("{{{settings}}}"), Signal::Metrics));
}
