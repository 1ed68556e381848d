//! Settings as public configurations of the Collector have them, in our words: they load without
//! a problem, run without a failure, and drop what they are meant to drop.

use serde_json::{Value, json};

use super::*;
use crate::{
    otlp::plain::{logs, metrics, spans},
    processors::trial::Trial,
};

/// Runs settings; the names of what is left, or the bodies of log records.
#[track_caller]
fn leaves(signal: Signal, settings: &str, request: &Value, wanted: &[&str]) {
    let mut trial = Trial::of(&ENTRY, signal, settings);
    let after = trial.send(request).only();
    assert_eq!(trial.sum("skep_statement_failures"), 0, "{settings}");
    let (list, key) = match signal {
        Signal::Traces => ("/resourceSpans/0/scopeSpans/0/spans", "name"),
        Signal::Metrics => ("/resourceMetrics/0/scopeMetrics/0/metrics", "name"),
        Signal::Logs => ("/resourceLogs/0/scopeLogs/0/logRecords", "body"),
    };
    let left = after.pointer(list).and_then(Value::as_array).cloned().unwrap_or_default();
    let left: Vec<&str> = left.iter().filter_map(|item| item[key].as_str()).collect();
    assert_eq!(left, wanted, "{settings}");
}

fn requests() -> Value {
    spans(&[
        json!({"name": "GET /healthz", "kind": 2, "attributes": {"http.route": "/healthz"}}),
        json!({"name": "GET /orders", "kind": 2, "attributes": {
            "http.route": "/orders", "http.url": "http://h/orders", "http.status_code": 200}}),
        json!({"name": "poll", "kind": 1, "attributes": {"http.url": "http://h/readyz"}}),
    ])
}

#[test]
fn checks_of_health_go() {
    for settings in [
        r#"
error_mode: ignore
traces:
  span:
    - 'attributes["http.route"] == "/healthz"'
    - 'attributes["http.url"] != nil and IsMatch(attributes["http.url"], "/(healthz|readyz)$")'
  spanevent:
    - 'attributes["grpc"] == true'
    - 'IsMatch(name, ".*grpc.*")'
"#,
        r#"
trace_conditions:
  - IsMatch(span.name, ".*/(health|ready|live)z?$")
  - span.kind == SPAN_KIND_INTERNAL and IsRootSpan()
"#,
        "
spans:
  exclude:
    match_type: regexp
    span_names: ['^GET /healthz$', '^po']
",
        "
spans:
  include:
    match_type: strict
    attributes: [{key: http.status_code, value: 200}]
    resources: [{key: host.name}]
",
    ] {
        leaves(Signal::Traces, settings, &requests(), &["GET /orders"]);
    }
    let gone = r#"{traces: {span: ['resource.attributes["host.name"] == "n1"']}}"#;
    leaves(Signal::Traces, gone, &requests(), &[]);
    let none = r#"{traces: {resource: ['attributes["host.name"] != "n1"']}}"#;
    leaves(Signal::Traces, none, &requests(), &["GET /healthz", "GET /orders", "poll"]);
}

#[test]
fn metrics_go_by_name_kind_and_labels() {
    let point = |labels: Value| json!({"asInt": "1", "attributes": labels});
    let disk = |name: &str| json!({"mountpoint": name, "device": "sda"});
    let request = metrics(&[
        json!({"name": "rpc.time", "sum": {"dataPoints": [point(json!({"rpc.service": "flags"}))]}}),
        json!({"name": "istio_calls", "sum": {"dataPoints": [point(json!({"source": "agent"}))]}}),
        json!({"name": "disk", "gauge": {"dataPoints": [
            point(disk("/var/lib/docker/1")), point(disk("/var/lib/kubelet/pods/2"))]}}),
        json!({"name": "old", "summary": {"dataPoints": [{"count": "1"}]}}),
        json!({"name": "kept", "gauge": {"dataPoints": [point(disk("/")), point(json!({}))]}}),
    ]);
    for settings in [
        r#"
error_mode: ignore
metrics:
  metric:
    - 'HasAttrOnDatapoint("rpc.service", "flags")'
    - 'IsMatch(name, "istio.*") and HasAttrOnDatapoint("source", "agent")'
  datapoint:
    - 'IsMatch(attributes["mountpoint"], ".*/var/lib/(docker|kubelet/pods)/.*")'
    - 'metric.type == METRIC_DATA_TYPE_SUMMARY'
"#,
        r#"
metric_conditions:
  - metric.name != "disk" and metric.name != "kept" and metric.name != "old"
  - ContainsValue(["old"], metric.name)
  - datapoint.attributes["mountpoint"] != "/" and datapoint.attributes["device"] != nil
"#,
        r#"
metrics:
  metric:
    - 'name != "disk" and name != "kept"'
    - 'type != METRIC_DATA_TYPE_SUM and type != METRIC_DATA_TYPE_GAUGE'
  datapoint:
    - 'attributes["mountpoint"] != nil and HasPrefix(attributes["mountpoint"], "/var/")'
"#,
        "
metrics:
  exclude:
    match_type: regexp
    metric_names: ['^rpc\\.', 'istio_.*', '^(disk|old)$']
",
        "
metrics:
  include: {match_type: strict, metric_names: [kept, missing]}
",
    ] {
        leaves(Signal::Metrics, settings, &request, &["kept"]);
    }
}

#[test]
fn records_go_by_severity_and_text() {
    let request = logs(&[
        json!({"body": "GET /healthz", "severityNumber": 9}),
        json!({"body": "the password is x", "severityNumber": 17}),
        json!({"body": "details", "severityNumber": 5, "severityText": "DEBUG"}),
        json!({"body": "{\"level\":\"debug\"}", "severityNumber": 13}),
        json!({"body": "kept", "severityNumber": 13}),
    ]);
    for settings in [
        r#"
logs:
  log_record:
    - 'IsMatch(body, ".*password.*")'
    - 'severity_number < SEVERITY_NUMBER_WARN and severity_number != SEVERITY_NUMBER_UNSPECIFIED'
    - 'IsMatch(body, "^\\{") and ParseJSON(body)["level"] == "debug"'
"#,
        r#"
log_conditions:
  - context: log
    conditions:
      - severity_number < 13
      - not (body == "kept")
"#,
        "
logs:
  exclude:
    match_type: regexp
    bodies: ['health.*', password, '^\\{', details]
",
        "
logs:
  include:
    match_type: regexp
    bodies: ['^k']
",
    ] {
        leaves(Signal::Logs, settings, &request, &["kept"]);
    }
}
