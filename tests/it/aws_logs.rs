//! The program against a CloudWatch Logs of our own, and against moto with the logging handler of
//! the OpenTelemetry SDK for Python as sender.
#![cfg(feature = "aws")]

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest},
    common::v1::{AnyValue, KeyValue, any_value::Value as Any},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data,
        number_data_point::Value as Number,
    },
    resource::v1::Resource,
};
use prost::Message as _;
use serde_json::{Value, json};

use crate::support::{
    Skep, free_port,
    logs_backend::{Logs, logs_backend},
    moto::{self, Moto, alone},
    sdk, wait_for,
};

/// skep with CloudWatch Logs at a port behind it; `extra` are keys of the exporter.
fn start_at(backend: u16, region: &str, extra: &str) -> (Skep, u16) {
    let port = free_port();
    let config = format!(
        "yaml:receivers:\n  otlp:\n    protocols:\n      http: {{endpoint: 127.0.0.1:{port}}}\n\
         exporters:\n  awscloudwatchlogs:\n    endpoint: http://127.0.0.1:{backend}\n    \
         log_group_name: /app/{{ServiceName}}\n    log_stream_name: \"{{attributes.stream:-all}}\"\n    \
         max_retries: 0\n    retry_on_failure: {{initial_interval: 20ms}}\n{extra}\
         service:\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n    \
         logs: {{receivers: [otlp], exporters: [awscloudwatchlogs]}}\n"
    );
    let mut command = alone(Command::new(env!("CARGO_BIN_EXE_skep")));
    command.env("AWS_REGION", region);
    command.args(["--control-endpoint", "off", "--config", &config]);
    (Skep::run(command, &[port]), port)
}

fn start(extra: &str) -> (Skep, u16, Arc<Mutex<Logs>>) {
    let (logs, backend) = logs_backend();
    let (skep, port) = start_at(backend, "ca-central-1", extra);
    (skep, port, logs)
}

fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Any::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}

fn record(body: &str, stream: &str, nanos: u64) -> LogRecord {
    LogRecord {
        time_unix_nano: nanos,
        body: Some(AnyValue { value: Some(Any::StringValue(body.to_owned())) }),
        attributes: vec![text("stream", stream)],
        ..LogRecord::default()
    }
}

fn send(port: u16, log_records: Vec<LogRecord>) {
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    let resource =
        Resource { attributes: vec![text("service.name", "web")], ..Resource::default() };
    let entry = ResourceLogs { resource: Some(resource), scope_logs, ..ResourceLogs::default() };
    post(
        port,
        "/v1/logs",
        &ExportLogsServiceRequest { resource_logs: vec![entry] }.encode_to_vec(),
    );
}

fn post(port: u16, path: &str, body: &[u8]) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: skep\r\nconnection: close\r\n\
         content-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

fn count(logs: &Mutex<Logs>, stream: &str) -> usize {
    logs.lock().unwrap().messages("/app/web", stream).len()
}

/// L11 and L13.
#[test]
fn a_group_and_a_stream_are_made_once_with_what_was_asked_for() {
    let extra = "    log_retention: 30\n    tags: {team: web}\n    \
                 log_group_class: INFREQUENT_ACCESS\n    raw_log: true\n";
    let (skep, port, logs) = start(extra);
    send(port, vec![record("first", "s", now())]);
    wait_for("the first event", || count(&logs, "s") == 1);
    send(port, vec![record("second", "s", now())]);
    wait_for("the second event", || count(&logs, "s") == 2);
    assert!(skep.stop());
    let logs = logs.lock().unwrap();
    assert_eq!(
        logs.calls,
        [
            "PutLogEvents /app/web s",
            "CreateLogStream /app/web s",
            "CreateLogGroup /app/web",
            "PutRetentionPolicy /app/web",
            "CreateLogStream /app/web s",
            "PutLogEvents /app/web s",
            "PutLogEvents /app/web s",
        ]
    );
    assert_eq!(logs.messages("/app/web", "s"), ["first", "second"]);
    let group = &logs.groups["/app/web"];
    assert_eq!(group["retentionInDays"], 30);
    assert_eq!(group["tags"], json!({"team": "web"}));
    assert_eq!(group["logGroupClass"], "INFREQUENT_ACCESS");
}

#[test]
fn throttling_of_one_stream_repeats_no_event_of_another() {
    let (skep, port, logs) = start("    raw_log: true\n");
    let refusals = ["ThrottlingException", "ServiceUnavailableException", "ThrottlingException"];
    let refusal = |name| ("slow".to_owned(), if name == refusals[1] { 503 } else { 400 }, name);
    logs.lock().unwrap().groups.insert("/app/web".to_owned(), Value::Null);
    for stream in ["slow", "fast"] {
        let key = ("/app/web".to_owned(), stream.to_owned());
        logs.lock().unwrap().streams.insert(key, Vec::new());
    }
    logs.lock().unwrap().refuse.extend(refusals.map(refusal));
    let streams = ["slow", "fast", "fast", "slow"];
    send(port, streams.iter().map(|stream| record(stream, stream, now())).collect());
    wait_for("all events", || count(&logs, "slow") == 2);
    assert!(skep.stop());
    let logs = logs.lock().unwrap();
    assert_eq!(logs.messages("/app/web", "fast"), ["fast", "fast"]);
    assert_eq!(logs.messages("/app/web", "slow"), ["slow", "slow"]);
    assert_eq!(logs.count("PutLogEvents"), 5, "{:?}", logs.calls);
}

/// L05.
#[test]
fn events_out_of_time_cost_no_other_event() {
    let (skep, port, logs) = start("    raw_log: true\n");
    let day = 24 * 60 * 60 * 1_000_000_000_u64;
    let old = record("old", "s", now() - 15 * day);
    let early = record("early", "s", now() + day / 8);
    send(port, vec![early, record("good", "s", now()), old]);
    wait_for("the good event", || count(&logs, "s") == 1);
    assert!(skep.stop());
    let logs = logs.lock().unwrap();
    assert_eq!(logs.messages("/app/web", "s"), ["good"]);
}

#[test]
fn a_batch_that_is_refused_costs_only_itself() {
    let (skep, port, logs) = start("    raw_log: true\n");
    logs.lock().unwrap().refuse.push_back(("bad".to_owned(), 400, "InvalidParameterException"));
    logs.lock().unwrap().groups.insert("/app/web".to_owned(), Value::Null);
    send(port, vec![record("x", "bad", now()), record("y", "good", now())]);
    wait_for("the good event", || count(&logs, "good") == 1);
    send(port, vec![record("z", "bad", now())]);
    wait_for("the next event", || count(&logs, "bad") == 1);
    assert!(skep.stop());
    let logs = logs.lock().unwrap();
    assert_eq!(logs.messages("/app/web", "bad"), ["z"], "and it is not sent again");
    assert_eq!(logs.messages("/app/web", "good"), ["y"]);
}

#[test]
fn a_stream_is_written_in_order_within_the_limits() {
    let (skep, port, logs) =
        start("    sending_queue: {batch: {flush_timeout: 1ms, min_size: 1, max_size: 5000}}\n");
    let (requests, each) = (30_u64, 1000);
    let start = now();
    for request in 0..requests {
        let number = |one| request * each + one;
        let event = |one| record(&format!("{:08}", number(one)), "s", start + number(one));
        send(port, (0..each).map(event).collect());
    }
    let all = usize::try_from(requests * each).unwrap();
    wait_for("all events", || count(&logs, "s") == all);
    assert!(skep.stop());
    let logs = logs.lock().unwrap();
    let messages = logs.messages("/app/web", "s");
    assert!(messages.is_sorted(), "each stream is in order");
    assert!(messages[0].starts_with(r#"{"body":"00000000","attributes""#), "{}", messages[0]);
    assert!(logs.formats.is_empty(), "metrics are extracted of raw bodies only");
}

/// From watchtower: the `logging` of Python through the handler of the OpenTelemetry SDK.
#[test]
#[ignore = "needs SDKs of other languages"]
fn what_python_logs_is_read_back_by_the_sdk_of_aws() {
    let moto = Moto::start();
    let (skep, port) = start_at(moto.port, moto::REGION, "    log_retention: 7\n");
    let mut app = Command::new(sdk::python().join("python"));
    app.arg(sdk::sources().join("logging_app.py")).arg(format!("http://127.0.0.1:{port}"));
    sdk::run(&mut app, "see tests/clients/logging_app.py");
    assert!(skep.stop(), "everything was delivered before the end");
    let names = json!({"logGroupName": "/app/shop", "logStreamName": "all"});
    let events = moto.call("logs", "get_log_events", &names);
    let messages: Vec<Value> = events["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| serde_json::from_str(event["message"].as_str().unwrap()).unwrap())
        .collect();
    let [plain, failed, traced] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!(
        (&plain["body"], &plain["severity_text"]),
        (&json!("cart of andrew"), &json!("INFO"))
    );
    assert_eq!(plain["attributes"]["items"], 3);
    assert_eq!(plain["resource"]["service.name"], "shop");
    assert_eq!(failed["severity_text"], "ERROR");
    assert_eq!(failed["attributes"]["exception.type"], "KeyError");
    let trace = traced["trace_id"].as_str().unwrap();
    let x_ray = format!("1-{}-{}", &trace[..8], &trace[8..]);
    assert_eq!(traced["xray_trace_id"], x_ray.as_str());
    let groups = moto.call("logs", "describe_log_groups", &json!({}));
    assert_eq!(groups["logGroups"][0]["retentionInDays"], 7);
}

/// Throttling in between: what was added since the last point is sent, and sent once.
#[test]
fn counters_become_metrics_that_are_added_once() {
    let (logs, backend) = logs_backend();
    logs.lock().unwrap().refuse.push_back(("s".to_owned(), 400, "ThrottlingException"));
    let port = free_port();
    let config = format!(
        "yaml:receivers:\n  otlp:\n    protocols:\n      http: {{endpoint: 127.0.0.1:{port}}}\n\
         exporters:\n  awsemf:\n    endpoint: http://127.0.0.1:{backend}\n    \
         log_stream_name: s\n    retain_initial_value_of_delta_metric: true\n    \
         max_retries: 0\n    retry_on_failure: {{initial_interval: 20ms}}\n\
         service:\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n    \
         metrics: {{receivers: [otlp], exporters: [awsemf]}}\n"
    );
    let mut command = alone(Command::new(env!("CARGO_BIN_EXE_skep")));
    command.env("AWS_REGION", "ca-central-1");
    command.args(["--control-endpoint", "off", "--config", &config]);
    let skep = Skep::run(command, &[port]);
    logs.lock().unwrap().groups.insert("/metrics/web".to_owned(), Value::Null);
    for (number, value) in [(1, 10.0), (2, 25.0), (3, 31.0)] {
        post(port, "/v1/metrics", &counter(value));
        wait_for("the document", || {
            logs.lock().unwrap().messages("/metrics/web", "s").len() == number
        });
    }
    assert!(skep.stop());
    let logs = logs.lock().unwrap();
    let documents = logs.messages("/metrics/web", "s").into_iter();
    let documents: Vec<Value> = documents.map(|text| serde_json::from_str(text).unwrap()).collect();
    let values: Vec<&Value> = documents.iter().map(|document| &document["requests"]).collect();
    assert_eq!(values, [&json!(10), &json!(15), &json!(6)]);
    assert!(logs.formats.iter().all(|format| format == "json/emf") && !logs.formats.is_empty());
}

fn counter(value: f64) -> Vec<u8> {
    let point = NumberDataPoint {
        time_unix_nano: now(),
        value: Some(Number::AsDouble(value)),
        ..NumberDataPoint::default()
    };
    let sum = Sum { data_points: vec![point], aggregation_temporality: 2, is_monotonic: true };
    let metric =
        Metric { name: "requests".to_owned(), data: Some(Data::Sum(sum)), ..Metric::default() };
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }];
    let resource =
        Resource { attributes: vec![text("service.name", "web")], ..Resource::default() };
    let entry =
        ResourceMetrics { resource: Some(resource), scope_metrics, ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![entry] }.encode_to_vec()
}
