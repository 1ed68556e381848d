//! What OTTL costs on one span of about 740 bytes with 12 attributes: conditions, edits, and a walk
//! through a request of 100 of them. `cargo bench --bench ottl`.

use std::hint::black_box;

use divan::{AllocProfiler, Bencher, counter::ItemsCount};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;
use skep::{
    otlp::{Signal, purse::Purse},
    ottl::{Context, ErrorMode, Fate, Group, Item, Program, Tier, Walk, walk},
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

fn span() -> Span {
    let attributes = [
        ("http.request.method", "GET"),
        ("http.route", "/api/v1/customers/{customerId}/orders/{orderId}"),
        ("url.path", "/api/v1/customers/8d7f0b3a/orders/4711"),
        ("url.scheme", "https"),
        ("server.address", "orders.internal.example.com"),
        ("network.protocol.version", "1.1"),
        ("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"),
        ("client.address", "203.0.113.195"),
        ("http.response.status_code", "200"),
        ("thread.name", "http-nio-8080-exec-7"),
        ("deployment.environment", "production"),
        ("enduser.id", "8d7f0b3a-51d2-4a5e-9d2c-1f6f6f1c2b3a"),
    ];
    Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        parent_span_id: vec![3; 8],
        name: "GET /api/v1/customers/{customerId}/orders/{orderId}".to_owned(),
        kind: 2,
        start_time_unix_nano: 1_700_000_000_000_000_000,
        end_time_unix_nano: 1_700_000_000_250_000_000,
        attributes: attributes.map(|(key, value)| attribute(key, value)).to_vec(),
        ..Span::default()
    }
}

fn request() -> Vec<u8> {
    let resource = Resource {
        attributes: vec![attribute("service.name", "orders"), attribute("host.name", "n1")],
        ..Resource::default()
    };
    let scope = InstrumentationScope { name: "io.http".to_owned(), ..Default::default() };
    let scope_spans =
        vec![ScopeSpans { scope: Some(scope), spans: vec![span(); SPANS], ..Default::default() }];
    let resource_spans =
        vec![ResourceSpans { resource: Some(resource), scope_spans, ..Default::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

fn program(conditions: &[&str], statements: &[&str]) -> Program {
    let group =
        Group { signal: Signal::Traces, context: Some(Context::Span), conditions, statements };
    let (program, _) = Program::compile(&group).expect("it compiles");
    program
}

/// One condition on each span of a request. What is found in a span is found anew for each.
#[divan::bench(args = [
    "kind == SPAN_KIND_SERVER",
    "status.code == STATUS_CODE_ERROR",
    "attributes[\"http.request.method\"] == \"POST\"",
    "attributes[\"enduser.id\"] == \"x\"",
    "attributes[\"absent\"] == \"x\"",
    "attributes[\"http.route\"] != nil and attributes[\"url.scheme\"] == \"https\" and attributes[\"enduser.id\"] == \"x\"",
    "attributes[\"http.request.method\"] == \"GET\" and attributes[\"url.scheme\"] == \"https\"",
    "attributes[\"http.request.method\"] == \"GET\" and attributes[\"url.scheme\"] == \"https\" and attributes[\"deployment.environment\"] == \"production\"",
    "attributes[\"http.request.method\"] == \"GET\" and attributes[\"url.scheme\"] == \"https\" and attributes[\"deployment.environment\"] == \"production\" and attributes[\"server.address\"] == \"x\"",
    "kind == SPAN_KIND_CLIENT or attributes[\"http.request.method\"] == \"POST\"",
    "IsMatch(name, \"^GET /health\")",
    "resource.attributes[\"service.name\"] == \"x\"",
])]
fn condition(bencher: Bencher<'_, '_>, text: &str) {
    let program = program(&[text], &[]);
    let spans = vec![span().encode_to_vec(); SPANS];
    let mut item = Item::new(None);
    bencher.counter(ItemsCount::new(SPANS)).bench_local(|| {
        let matching = spans.iter().filter(|span| {
            item.enter(Tier::Item, black_box(span));
            program.matches(&item, ErrorMode::Silent, &mut |_| {}).expect("it holds or not")
        });
        matching.count()
    });
}

/// A request of spans through a program.
#[divan::bench(args = [
    "set(attributes[\"x\"], \"y\") where kind == SPAN_KIND_SERVER",
    "set(attributes[\"x\"], \"y\") where attributes[\"http.request.method\"] == \"GET\"",
    "set(attributes[\"x\"], \"y\") where attributes[\"http.request.method\"] == \"POST\"",
    "delete_key(attributes, \"client.address\")",
    "set(name, attributes[\"http.route\"])",
    "replace_pattern(attributes[\"url.path\"], \"/\\\\d+\", \"/{id}\")",
])]
fn statement(bencher: Bencher<'_, '_>, text: &str) {
    let program = program(&[], &[text]);
    let body = request();
    let how = Walk { signal: Signal::Traces, context: Context::Span, request: None, prunes: false };
    bencher.counter(ItemsCount::new(SPANS)).bench_local(|| {
        walk(&how, black_box(&body), &mut Purse::default(), &mut |item| {
            program.run(item, ErrorMode::Silent, &mut |_| {})?;
            Ok(Fate::Keep)
        })
    });
}

/// A request of spans of which a condition keeps all.
#[divan::bench]
fn filter_that_keeps_all(bencher: Bencher<'_, '_>) {
    let program = program(&["attributes[\"http.request.method\"] == \"POST\""], &[]);
    let body = request();
    let how = Walk { signal: Signal::Traces, context: Context::Span, request: None, prunes: true };
    bencher.counter(ItemsCount::new(SPANS)).bench_local(|| {
        walk(&how, black_box(&body), &mut Purse::default(), &mut |item| {
            let holds = program.matches(item, ErrorMode::Silent, &mut |_| {})?;
            Ok(if holds { Fate::Drop } else { Fate::Keep })
        })
    });
}

/// Three statements on each span of a request.
#[divan::bench]
fn several_statements(bencher: Bencher<'_, '_>) {
    let program = program(
        &[],
        &[
            "set(attributes[\"x\"], \"y\") where kind == SPAN_KIND_SERVER",
            "delete_key(attributes, \"client.address\")",
            "set(attributes[\"z\"], \"y\") where attributes[\"http.request.method\"] == \"GET\"",
        ],
    );
    let body = request();
    let how = Walk { signal: Signal::Traces, context: Context::Span, request: None, prunes: false };
    bencher.counter(ItemsCount::new(SPANS)).bench_local(|| {
        walk(&how, black_box(&body), &mut Purse::default(), &mut |item| {
            program.run(item, ErrorMode::Silent, &mut |_| {})?;
            Ok(Fate::Keep)
        })
    });
}
