//! What the guards of a public port cost: spans of a page, once they are unpacked. The aim is
//! 100 ns a span.
//!
//! ```sh
//! cargo bench --bench public
//! ```
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use divan::{Bencher, counter::ItemsCount};
use serde_json::{Value, json};
use skep::{
    component::{BuildContext, Vetting as _},
    otlp::{Payload, Signal, json as otlp_json},
    receivers::otlp::public::{
        Guard, Visit,
        settings::Public,
        token::{Verifier, sign},
    },
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SPANS: u64 = 100;

fn main() {
    divan::main();
}

/// Spans as the instrumentation of `fetch` writes them, in both conventions, one in ten with the
/// events of a request's timing.
fn payload(end: SystemTime, extra: Option<&str>) -> Payload {
    let end = end.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let span = |number: u64| -> Value {
        let mut attributes = vec![
            text("component", "fetch"),
            text("http.method", "GET"),
            text("http.url", "https://api.shop.example/api/activities/home?page=2"),
            text("http.host", "api.shop.example"),
            text("http.scheme", "https"),
            text("http.status_text", "OK"),
            text(
                "http.user_agent",
                "Mozilla/5.0 (X11; Linux x86_64) Chrome/156.0.0.0 Safari/537.36",
            ),
            text("session.id", "0d5c1a52-4d2f-4a4f-9a43-6a1a3f3a8c11"),
            json!({"key": "http.status_code", "value": {"intValue": "200"}}),
            json!({"key": "http.response_content_length", "value": {"intValue": "5120"}}),
        ];
        attributes.extend(extra.map(|key| text(key, "x")));
        let names =
            ["fetchStart", "domainLookupStart", "connectStart", "requestStart", "responseEnd"];
        let timed = names.map(|name| json!({"name": name, "timeUnixNano": end.to_string()}));
        json!({
            "traceId": format!("{number:032x}"), "spanId": format!("{:016x}", number + 1),
            "parentSpanId": "00000000000000aa", "name": "HTTP GET", "kind": 3,
            "startTimeUnixNano": (end - 30_000_000).to_string(), "endTimeUnixNano": end.to_string(),
            "attributes": attributes, "status": {}, "flags": 257,
            "events": if number.is_multiple_of(10) { &timed[..] } else { &[] },
        })
    };
    let spans: Vec<Value> = (1..=SPANS).map(span).collect();
    let resource = [text("service.name", "shop-frontend"), text("telemetry.sdk.language", "webjs")];
    let request = json!({"resourceSpans": [{
        "resource": {"attributes": resource},
        "scopeSpans": [{"scope": {"name": "@opentelemetry/instrumentation-fetch"}, "spans": spans}],
    }]});
    let text = request.to_string();
    let body = otlp_json::to_protobuf(Signal::Traces, text.as_bytes(), otlp_json::DEPTH_LIMIT);
    Payload::unpaid(Signal::Traces, body.unwrap().into(), SPANS)
}

fn guard() -> Arc<Guard> {
    let settings = Public { items_per_second_per_client: 0, ..Public::default() };
    let context = BuildContext::test("otlp/browser", Signal::Traces);
    Arc::new(Guard::new(&settings, "otlp/browser", 1 << 30, &context.meter()))
}

fn run(bencher: Bencher<'_, '_>, payload: &Payload, user: Option<&str>, arrived: SystemTime) {
    let guard = guard();
    let visit = Visit::of_page(&guard, user, arrived);
    bencher
        .counter(ItemsCount::new(SPANS))
        .with_inputs(|| payload.for_reading())
        .bench_local_values(|mut payload| {
            visit.vet(&mut payload).unwrap();
            payload
        });
}

/// Marks are written, and the spans copied.
#[divan::bench]
fn spans_that_are_fine(bencher: Bencher<'_, '_>) {
    let now = SystemTime::now();
    run(bencher, &payload(now, None), None, now);
}

/// Every span is written anew for its times.
#[divan::bench]
fn a_clock_that_is_an_hour_off(bencher: Bencher<'_, '_>) {
    let now = SystemTime::now();
    run(bencher, &payload(now - Duration::from_hours(1), None), None, now);
}

/// Every span is written anew for its user.
#[divan::bench]
fn a_known_user(bencher: Bencher<'_, '_>) {
    let now = SystemTime::now();
    run(bencher, &payload(now, None), Some("user-42"), now);
}

/// Every span is written anew without an attribute.
#[divan::bench]
fn an_attribute_that_is_not_listed(bencher: Bencher<'_, '_>) {
    let now = SystemTime::now();
    run(bencher, &payload(now, Some("host.name")), None, now);
}

/// A token, once a request.
#[divan::bench]
fn a_token(bencher: Bencher<'_, '_>) {
    let secret = "0123456789abcdef0123456789abcdef";
    let verifier = Verifier::new([secret], "sub");
    let header = r#"{"alg":"HS256","typ":"JWT"}"#;
    let token = sign(header, r#"{"sub":"user-42","exp":1900000000}"#, secret);
    bencher.bench_local(|| verifier.user(&token, 1_800_000_000).unwrap());
}
