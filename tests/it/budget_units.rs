//! The units of the exporters' budgets against what a backend of each kind has counted: messages
//! and 26 bytes for CloudWatch Logs, metrics and their dimensions for its embedded format, traces
//! for X-Ray, occurrences for Rollbar, events for Honeycomb.

use std::{
    collections::HashSet,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
    time::SystemTime,
};

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, KeyValue, any_value::Value as Any},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data,
        number_data_point::Value as Number,
    },
    trace::v1::{ResourceSpans, ScopeSpans, Span, span::Event},
};
use prost::Message as _;
use serde_json::Value;

use crate::support::{
    Skep,
    aws_backend::{KEY, SECRET, aws_backend},
    free_port,
    logs_backend::{Logs, logs_backend},
    rollbar_backend::{TOKEN, rollbar},
    wait_for,
};

/// skep with one exporter, and what is asked of it.
struct Rig {
    skep: Skep,
    receiver: u16,
    metrics: u16,
}

impl Rig {
    /// `exporter` is its type and its body.
    fn start(signal: &str, (name, body): (&str, &str), budget: &str) -> Self {
        let (receiver, metrics) = (free_port(), free_port());
        let config = format!(
            "yaml:receivers:\n  otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{receiver}'}}}}}}\n\
             exporters:\n  {name}: {{{body}, budget: {{{budget}}}}}\nservice:\n  \
             telemetry: {{metrics: {{readers: [{{pull: {{exporter: {{prometheus: \
             {{host: 127.0.0.1, port: {metrics}}}}}}}}}]}}}}\n  \
             pipelines: {{{signal}: {{receivers: [otlp], exporters: [{name}]}}}}\n"
        );
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
        command.args(["--control-endpoint", "off", "--config", &config]);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
            command.env_remove(name);
        }
        command
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .env("AWS_DEFAULT_REGION", "ca-central-1");
        Rig { skep: Skep::run(command, &[receiver, metrics]), receiver, metrics }
    }

    fn send(&self, path: &str, body: &[u8]) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.receiver)).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: skep\r\nconnection: close\r\n\
             content-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    fn metric(&self, name: &str) -> u64 {
        let mut stream = TcpStream::connect(("127.0.0.1", self.metrics)).unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        let values = page.lines().filter(|line| line.starts_with(&format!("{name}{{")));
        values.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    fn used(&self) -> u64 {
        self.metric("skep_exporter_budget_used")
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Any::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}

fn messages(logs: &Logs) -> Vec<&str> {
    assert!(logs.faults.is_empty(), "{:?}", logs.faults);
    logs.streams.values().flatten().map(|event| &*event.message).collect()
}

fn billed(logs: &Logs) -> u64 {
    messages(logs).iter().map(|message| message.len() as u64 + 26).sum()
}

fn record(body: String) -> LogRecord {
    let value = Some(AnyValue { value: Some(Any::StringValue(body)) });
    LogRecord { time_unix_nano: now(), body: value, ..LogRecord::default() }
}

fn logs_of(log_records: Vec<LogRecord>) -> Vec<u8> {
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    let entry = ResourceLogs { scope_logs, ..ResourceLogs::default() };
    ExportLogsServiceRequest { resource_logs: vec![entry] }.encode_to_vec()
}

fn traces_of(spans: Vec<Span>) -> Vec<u8> {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let entry = ResourceSpans { scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![entry] }.encode_to_vec()
}

fn span(trace: u128, id: u64) -> Span {
    let start = now() - 1_000_000;
    Span {
        trace_id: trace.to_be_bytes().to_vec(),
        span_id: id.to_be_bytes().to_vec(),
        name: "GET /".to_owned(),
        kind: 2,
        start_time_unix_nano: start,
        end_time_unix_nano: start + 1_000,
        ..Span::default()
    }
}

#[test]
fn cloudwatch_logs_bills_bytes_with_26_more_for_each_event() {
    let (logs, port) = logs_backend();
    let body = format!("endpoint: http://127.0.0.1:{port}, log_group_name: a, log_stream_name: b");
    let rig = Rig::start("logs", ("awscloudwatchlogs", &*body), "preset: cloudwatch-logs-free");
    let lines = (0..500).map(|n| record(format!("line {n} \u{e4}\u{1F600} \"{}\"", "x".repeat(n))));
    rig.send("/v1/logs", &logs_of(lines.collect()));
    wait_for("the events", || messages(&logs.lock().unwrap()).len() == 500);
    assert_eq!(rig.used(), billed(&logs.lock().unwrap()));
    assert!(rig.skep.stop());

    // Also at the ceiling, to within one request.
    let (logs, port) = logs_backend();
    let body = format!("endpoint: http://127.0.0.1:{port}, log_group_name: a, log_stream_name: b");
    let budget = "per_month: 20000, mode: stop";
    let rig = Rig::start("logs", ("awscloudwatchlogs", &*body), budget);
    for n in 0..60 {
        rig.send("/v1/logs", &logs_of(vec![record(format!("{n} {}", "y".repeat(1000)))]));
        wait_for("its turn", || rig.metric("skep_exporter_queue_items") == 0);
    }
    let billed = billed(&logs.lock().unwrap());
    assert!((18_000..=20_000).contains(&billed), "{billed}");
    assert_eq!(rig.used(), billed);
    assert!(rig.skep.stop());
}

#[test]
fn cloudwatch_bills_each_metric_with_its_dimensions_once() {
    let (logs, port) = logs_backend();
    let body = format!("endpoint: http://127.0.0.1:{port}, namespace: Shop");
    let rig = Rig::start("metrics", ("awsemf", &*body), "preset: cloudwatch-metrics-free");
    let send = || {
        let point = |route: usize| NumberDataPoint {
            time_unix_nano: now(),
            attributes: vec![text("route", &format!("/{route}"))],
            value: Some(Number::AsDouble(1.0)),
            ..NumberDataPoint::default()
        };
        let metric = |name: &str, routes: std::ops::Range<usize>| Metric {
            name: name.to_owned(),
            data: Some(Data::Gauge(Gauge { data_points: routes.map(point).collect() })),
            ..Metric::default()
        };
        let metrics = vec![metric("requests", 0..7), metric("errors", 0..7)];
        let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
        let entry = ResourceMetrics { scope_metrics, ..ResourceMetrics::default() };
        let request = ExportMetricsServiceRequest { resource_metrics: vec![entry] };
        rig.send("/v1/metrics", &request.encode_to_vec());
    };
    for round in 1..=3 {
        send();
        wait_for("the documents", || messages(&logs.lock().unwrap()).len() >= 7 * round);
    }
    let mut made = HashSet::new();
    for message in messages(&logs.lock().unwrap()) {
        let document: Value = serde_json::from_str(message).unwrap();
        for directive in document["_aws"]["CloudWatchMetrics"].as_array().unwrap() {
            for metric in directive["Metrics"].as_array().unwrap() {
                for set in directive["Dimensions"].as_array().unwrap() {
                    let names = set.as_array().unwrap().iter().filter_map(Value::as_str);
                    let values: Vec<String> =
                        names.map(|name| document[name].to_string()).collect();
                    made.insert((metric["Name"].to_string(), values));
                }
            }
        }
    }
    assert_eq!(made.len(), 10, "{made:?}");
    assert_eq!(rig.used(), 10);
    assert_eq!(rig.metric("skep_exporter_budget_left_out_metrics"), 3 * 4);
    assert!(rig.skep.stop());
}

#[test]
fn xray_bills_each_trace_once() {
    let (aws, port) = aws_backend();
    let body = format!("endpoint: http://127.0.0.1:{port}");
    let rig = Rig::start("traces", ("awsxray", &*body), "per_month: 30, mode: stop");
    let seconds = u128::from(now() / 1_000_000_000) << 96;
    let traces = || -> HashSet<String> {
        let aws = aws.lock().unwrap();
        assert!(aws.faults.is_empty(), "{:?}", aws.faults);
        let documents = aws.taken.iter().flatten();
        documents.map(|one| one["trace_id"].as_str().unwrap().to_owned()).collect()
    };
    for n in 0..25_u64 {
        // Three spans, in two requests, which are one trace.
        let trace = seconds | u128::from(n + 1);
        rig.send("/v1/traces", &traces_of(vec![span(trace, 3 * n + 1), span(trace, 3 * n + 2)]));
        rig.send("/v1/traces", &traces_of(vec![span(trace, 3 * n + 3)]));
    }
    wait_for("the segments", || {
        aws.lock().unwrap().taken.iter().map(Vec::len).sum::<usize>() == 75
    });
    assert_eq!((rig.used(), traces().len()), (25, 25));
    for n in 25..60_u64 {
        rig.send("/v1/traces", &traces_of(vec![span(seconds | u128::from(n + 1), 3 * n + 1)]));
    }
    wait_for("the rest", || rig.metric("skep_exporter_queue_items") == 0);
    assert_eq!((rig.used(), traces().len()), (30, 30));
    assert!(rig.skep.stop());
}

#[test]
fn rollbar_bills_occurrences() {
    let (backend, port) = rollbar();
    let body = format!("access_token: {TOKEN}, endpoint: \"http://127.0.0.1:{port}/api/1/\"");
    let rig = Rig::start("traces", ("rollbar", &*body), "per_month: 12, mode: stop");
    let exception = |number: usize| Event {
        name: "exception".to_owned(),
        time_unix_nano: now(),
        attributes: vec![
            text("exception.type", "ValueError"),
            text("exception.message", &format!("no {number}")),
        ],
        ..Event::default()
    };
    for n in 0..5 {
        let events = vec![exception(2 * n), exception(2 * n + 1)];
        let plain = span(u128::from(now()), 2);
        rig.send(
            "/v1/traces",
            &traces_of(vec![Span { events, ..span(u128::from(now()), 1) }, plain]),
        );
    }
    wait_for("the items", || backend.lock().unwrap().items.len() == 10);
    assert_eq!(rig.used(), 10);
    for n in 10..20 {
        let events = vec![exception(n)];
        rig.send("/v1/traces", &traces_of(vec![Span { events, ..span(u128::from(now()), 1) }]));
    }
    wait_for("the rest", || rig.metric("skep_exporter_queue_items") == 0);
    assert_eq!((rig.used(), backend.lock().unwrap().items.len()), (12, 12));
    assert!(rig.skep.stop());
}
