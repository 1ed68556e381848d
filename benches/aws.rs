//! What translation for AWS costs on one core: nanoseconds of CPU time for a span as a segment
//! document, for a log record as an event of CloudWatch Logs, for a data point in the embedded
//! metric format; and what an event of a client of CloudWatch Logs costs as a log record.
//!
//! `cargo bench --bench aws`

#![expect(clippy::cast_precision_loss, clippy::print_stdout, reason = "a report of figures")]

use std::fs;
use std::sync::Arc;

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data,
        number_data_point,
    },
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;
use skep::{
    component::{BuildContext, Work},
    config::{Problems, yaml},
    exporters,
    otlp::{Content, Signal},
    receivers,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Items of a payload.
const ITEMS: usize = 100;
const TIME: u64 = 1_760_600_498_250_000_000;
const ROUNDS: usize = 15;
/// The kernel counts CPU time by ticks of some milliseconds.
const REPEATS: usize = 2000;

fn attributes(of: &[(&str, &str)], status: Option<i64>) -> Vec<KeyValue> {
    let one = |key: &str, value| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    };
    let texts = of.iter().map(|(key, text)| one(key, Value::StringValue((*text).to_owned())));
    let status = status.map(|code| one("http.response.status_code", Value::IntValue(code)));
    texts.chain(status).collect()
}

fn resource() -> Resource {
    let attributes = attributes(
        &[
            ("service.name", "backend-flask"),
            ("service.version", "1.4.2"),
            ("telemetry.sdk.name", "opentelemetry"),
            ("telemetry.sdk.language", "python"),
            ("telemetry.sdk.version", "1.38.0"),
            ("cloud.provider", "aws"),
            ("cloud.platform", "aws_ecs"),
            ("aws.ecs.launchtype", "fargate"),
            ("container.name", "web"),
        ],
        None,
    );
    Resource { attributes, ..Resource::default() }
}

fn spans() -> Content {
    let span = |i: usize| Span {
        trace_id: (i as u128 + 1).to_be_bytes().to_vec(),
        span_id: (i as u64 + 1).to_be_bytes().to_vec(),
        name: "GET /api/activities/home".to_owned(),
        kind: 2,
        start_time_unix_nano: TIME,
        end_time_unix_nano: TIME + 250_000_000,
        attributes: attributes(
            &[
                ("http.request.method", "GET"),
                ("url.scheme", "https"),
                ("url.path", "/api/activities/home"),
                ("url.query", "limit=20"),
                ("server.address", "api.example.com"),
                ("client.address", "203.0.113.5"),
                ("network.peer.address", "10.0.0.7"),
                ("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64) Firefox/128.0"),
                ("http.route", "/api/activities/home"),
                ("network.protocol.version", "1.1"),
                ("enduser.id", "andrew"),
            ],
            Some(200),
        ),
        ..Span::default()
    };
    let scope = ScopeSpans { spans: (0..ITEMS).map(span).collect(), ..ScopeSpans::default() };
    let entry = ResourceSpans {
        resource: Some(resource()),
        scope_spans: vec![scope],
        ..ResourceSpans::default()
    };
    let body = ExportTraceServiceRequest { resource_spans: vec![entry] }.encode_to_vec();
    Content::new(Signal::Traces, body.into(), ITEMS as u64)
}

fn scope() -> InstrumentationScope {
    InstrumentationScope { name: "app.views.activities".to_owned(), ..Default::default() }
}

fn records() -> Content {
    let text = "andrew asked for 20 activities of the last day, 17 found in 12 ms";
    let record = |i: usize| LogRecord {
        time_unix_nano: TIME + i as u64 * 1_000_000,
        severity_number: 9,
        severity_text: "INFO".to_owned(),
        body: Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) }),
        trace_id: (i as u128 + 1).to_be_bytes().to_vec(),
        span_id: (i as u64 + 1).to_be_bytes().to_vec(),
        flags: 1,
        attributes: attributes(
            &[
                ("code.file.path", "/app/views/activities.py"),
                ("code.function.name", "home"),
                ("user.handle", "andrew"),
            ],
            Some(200),
        ),
        ..LogRecord::default()
    };
    let log_records = (0..ITEMS).map(record).collect();
    let scope = ScopeLogs { scope: Some(scope()), log_records, ..ScopeLogs::default() };
    let entry = ResourceLogs {
        resource: Some(resource()),
        scope_logs: vec![scope],
        ..ResourceLogs::default()
    };
    let body = ExportLogsServiceRequest { resource_logs: vec![entry] }.encode_to_vec();
    Content::new(Signal::Logs, body.into(), ITEMS as u64)
}

/// Ten metrics of ten routes each.
fn points() -> Content {
    let point = |route: usize| NumberDataPoint {
        time_unix_nano: TIME,
        value: Some(number_data_point::Value::AsDouble(route as f64 + 0.25)),
        attributes: attributes(
            &[("http.route", &format!("/api/{route}")), ("http.request.method", "GET")],
            Some(200),
        ),
        ..NumberDataPoint::default()
    };
    let metric = |i: usize| Metric {
        name: format!("http.server.active.{i}"),
        unit: "ms".to_owned(),
        data: Some(Data::Gauge(Gauge { data_points: (0..10).map(point).collect() })),
        ..Metric::default()
    };
    let metrics = (0..ITEMS / 10).map(metric).collect();
    let scope = ScopeMetrics { scope: Some(scope()), metrics, ..ScopeMetrics::default() };
    let entry = ResourceMetrics {
        resource: Some(resource()),
        scope_metrics: vec![scope],
        ..ResourceMetrics::default()
    };
    let body = ExportMetricsServiceRequest { resource_metrics: vec![entry] }.encode_to_vec();
    Content::new(Signal::Metrics, body.into(), ITEMS as u64)
}

/// CPU time of this thread so far; others on the machine do not count.
fn cpu_nanos() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts it");
    let first = text.split(' ').next().and_then(|number| number.parse().ok());
    first.expect("it begins with nanoseconds")
}

fn measure(name: &str, settings: &str, whole: &Content, item: &str) {
    let node = yaml::parse(0, settings);
    let entry = exporters::ALL.iter().find(|entry| entry.name == name);
    let mut problems = Problems::default();
    let config = (entry.expect("it is registered").decode)(&node.expect("YAML"), &mut problems);
    let context = BuildContext::test(name, whole.signal);
    let exporter = config.expect("the settings are right").build(&context).expect("it is built");
    let encode = || Arc::clone(&exporter).encode(&Work::all(whole)).expect("it is valid");
    let bytes = encode().held;
    report(name, item, bytes, encode);
}

/// Runs `work`, which makes `bytes` of all items, again and again.
fn report<T>(name: &str, item: &str, bytes: usize, work: impl Fn() -> T) {
    let mut nanos: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let began = cpu_nanos();
            for _ in 0..REPEATS {
                std::hint::black_box(work());
            }
            (cpu_nanos() - began) as f64 / (REPEATS * ITEMS) as f64
        })
        .collect();
    nanos.sort_by(f64::total_cmp);
    println!(
        "{name}: {:.0} ns a {item} (best {:.0}), {} bytes of memory each",
        nanos[ROUNDS / 2],
        nanos[0],
        bytes / ITEMS
    );
}

/// A message of watchtower with attributes of its record.
const OBJECT: &str = r#"{"msg": "GET /api/activities/home took 250 ms", "levelname": "INFO", "status": 200,
    "otelTraceID": "68f0a1b2c3d4e5f60718293a4b5c6d7e", "otelSpanID": "1112131415161718"}"#;

/// The body of `PutLogEvents` with as many events as items.
fn calls(message: &str) -> Vec<u8> {
    let event = serde_json::json!({"timestamp": TIME / 1_000_000, "message": message});
    let call = serde_json::json!({
        "logGroupName": "/app/shop", "logStreamName": "web/1", "logEvents": vec![event; ITEMS],
    });
    call.to_string().into_bytes()
}

fn main() {
    let region = "region: ca-central-1\n";
    measure("awsxray", &format!("{region}indexed_attributes: [http.route]\n"), &spans(), "span");
    let names = "log_group_name: /app/{ServiceName}\nlog_stream_name: \"{TaskId:-local}\"\n";
    measure("awscloudwatchlogs", &format!("{region}{names}"), &records(), "record");
    measure("awsemf", region, &points(), "data point");
    for (name, message) in [
        ("receiver awscloudwatchlogs, text", "INFO:shop:GET /api/activities/home took 250 ms"),
        ("receiver awscloudwatchlogs, JSON", OBJECT),
    ] {
        let body = calls(message);
        let translated = || receivers::awscloudwatchlogs::translated(&body).expect("it is a call");
        report(name, "event", translated().0.len(), translated);
    }
}
