//! Settings as public configurations of the Collector have them, in our words: they load without
//! a problem, run without a failure, and do what they are meant to do.

use serde_json::{Value, json};

use super::*;
use crate::{
    otlp::plain::{logs, metrics, spans},
    processors::trial::Trial,
};

/// Runs settings. Pointers into what comes out, each with the value that it leads to.
#[track_caller]
fn makes(signal: Signal, settings: &str, request: &Value, wanted: &[(&str, Value)]) {
    let mut trial = Trial::of(&ENTRY, signal, settings);
    let after = trial.send(request).only();
    assert_eq!(trial.sum("skep_statement_failures"), 0, "{settings}");
    for (pointer, value) in wanted {
        let list = match signal {
            Signal::Traces => "/resourceSpans/0/scopeSpans/0/spans",
            Signal::Metrics => "/resourceMetrics/0/scopeMetrics/0/metrics",
            Signal::Logs => "/resourceLogs/0/scopeLogs/0/logRecords",
        };
        let entry = list.rsplit_once("/scope").unwrap().0;
        let whole = match pointer.strip_prefix("resource") {
            Some(inside) => format!("{entry}/resource{inside}"),
            None => format!("{list}/{pointer}"),
        };
        assert_eq!(after.pointer(&whole).unwrap_or(&Value::Null), value, "{whole}: {settings}");
    }
}

#[test]
fn names_of_spans_lose_what_is_theirs_alone() {
    let settings = r#"
error_mode: ignore
trace_statements:
  - context: span
    statements:
      # Frameworks put the query into the name.
      - replace_pattern(name, "\\?.*", "")
      - replace_match(name, "GET /api/items/*", "GET /api/items/{itemId}")
"#;
    let request =
        spans(&[json!({"name": "GET /api/cart?user=1&x"}), json!({"name": "GET /api/items/4Z"})]);
    let wanted = [("0/name", json!("GET /api/cart")), ("1/name", json!("GET /api/items/{itemId}"))];
    makes(Signal::Traces, settings, &request, &wanted);
}

#[test]
fn older_conventions_become_newer_ones() {
    let settings = r#"
error_mode: ignore
trace_statements:
  - context: span
    statements:
      - set(attributes["http.request.method"], attributes["http.method"])
        where attributes["http.method"] != nil
          and attributes["http.request.method"] == nil
      - set(attributes["http.response.status_code"], Int(attributes["http.status_code"]))
        where attributes["http.status_code"] != nil and not IsInt(attributes["http.status_code"])
      - delete_key(attributes, "http.method")
      - set(status.code, STATUS_CODE_UNSET) where attributes["http.request.method"] == "GET"
      - set(attributes["duration_ms"], Milliseconds(end_time - start_time))
      - truncate_all(attributes, 4096)
      - limit(attributes, 100, [])
"#;
    let request = spans(&[json!({
        "startTimeUnixNano": "1000000000", "endTimeUnixNano": "1250000000",
        "status": {"code": 2},
        "attributes": {"http.method": "GET", "http.status_code": "404"},
    })]);
    let wanted = [
        (
            "0/attributes",
            json!({
                "http.request.method": "GET", "http.response.status_code": 404,
                "http.status_code": "404", "duration_ms": 250,
            }),
        ),
        ("0/status/code", Value::Null),
    ];
    makes(Signal::Traces, settings, &request, &wanted);
}

#[test]
fn resources_get_attributes_by_what_they_are() {
    let settings = r#"
trace_statements: &same
  - context: resource
    statements:
      - set(attributes["priority"], "critical") where attributes["host.name"] == "n1"
      - set(attributes["priority"], "bulk") where IsMatch(attributes["host.name"], ".*-cron")
      - set(attributes["priority"], "standard") where attributes["priority"] == nil
      - delete_key(attributes, "process.command_args") where Len(attributes) >= 34
      - keep_keys(attributes, ["priority", "host.name"])
log_statements: *same
"#;
    let wanted = [("resource/attributes", json!({"host.name": "n1", "priority": "critical"}))];
    makes(Signal::Traces, settings, &spans(&[json!({"name": "a"})]), &wanted);
    makes(Signal::Logs, settings, &logs(&[json!({"body": "a"})]), &wanted);
}

#[test]
fn secrets_are_masked() {
    let settings = r#"
error_mode: ignore
trace_statements:
  - context: span
    statements:
      - replace_pattern(attributes["db.statement"], "\\b(?:\\d[ -]*?){13,16}\\b", "****")
      - replace_pattern(attributes["http.url"], "token=[^&]*", "token=[REDACTED]")
      - replace_all_patterns(attributes, "value", "^([A-Z]{2})[0-9]{2}((\\s*[A-Z0-9]){4,26})\\s*((\\s*[A-Z0-9]){4})$", "$1 **** $4")
  - context: spanevent
    statements:
      - delete_matching_keys(attributes, "(?i)(password|secret)")
log_statements:
  - context: log
    statements:
      - replace_pattern(body, "\\b[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\\.[A-Z|a-z]{2,}\\b", "[EMAIL]")
      - replace_pattern(body, "\\b\\d{3}-\\d{2}-\\d{4}\\b", "[SSN]")
"#;
    let request = spans(&[json!({
        "attributes": {
            "db.statement": "pay by 4111 1111 1111 1111 now",
            "http.url": "/a?token=abc&b=c",
            "iban": "GB82 WEST 1234 5698 7654 32",
        },
        "events": [{"name": "e", "attributes": {"User.Password": "x", "id": 1}}],
    })]);
    let wanted = [
        ("0/attributes/db.statement", json!("pay by **** now")),
        ("0/attributes/http.url", json!("/a?token=[REDACTED]&b=c")),
        ("0/attributes/iban", json!("GB **** 54 32")),
        ("0/events/0/attributes", json!({"id": 1})),
    ];
    makes(Signal::Traces, settings, &request, &wanted);
    let request = logs(&[json!({"body": "bob@example.com has 123-45-6789"})]);
    makes(Signal::Logs, settings, &request, &[("0/body", json!("[EMAIL] has [SSN]"))]);
}

#[test]
fn lines_become_structured() {
    let settings = r#"
log_statements:
  - context: log
    conditions:
      - IsString(body) and IsMatch(body, "^\\s*\\{")
    statements:
      - merge_maps(cache, ParseJSON(body), "upsert")
      - set(attributes["event"], cache["event"]) where cache["event"] != nil
      - set(time, Time(cache["ts"], "%Y-%m-%dT%H:%M:%S%z"))
      - set(trace_id.string, cache["trace_id"]) where IsString(cache["trace_id"])
      - set(severity_text, ToUpperCase(cache["level"]))
      - set(severity_number, SEVERITY_NUMBER_ERROR) where severity_text == "ERROR"
      - flatten(cache, "json")
      - merge_maps(attributes, cache, "insert")
      - set(resource.attributes["sourcetype"], Concat(["app", attributes["event"]], ":"))
      - set(body, cache["json.msg"])
"#;
    let line = r#"{"ts": "2024-05-06T07:08:09+0000", "level": "error", "event": "login",
        "msg": "no", "trace_id": "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a", "user": {"id": 7}}"#;
    let request = logs(&[json!({"body": line}), json!({"body": "plain"})]);
    let wanted = [
        ("0/timeUnixNano", json!("1714979289000000000")),
        ("0/traceId", json!("0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a")),
        ("0/severityNumber", json!(17)),
        ("0/attributes/json.user.id", json!(7.0)),
        ("0/body", json!("no")),
        ("1", json!({"body": "plain"})),
        ("resource/attributes/sourcetype", json!("app:login")),
    ];
    makes(Signal::Logs, settings, &request, &wanted);
}

#[test]
fn files_name_services() {
    let settings = r#"
error_mode: ignore
log_statements:
  - set(log.attributes["file"], log.attributes["log.file.name"]) where log.attributes["log.file.name"] != nil
  - delete_key(log.attributes, "log.file.name") where log.attributes["log.file.name"] != nil
  - set(resource.attributes["service.name"], "web") where log.attributes["file"] == "web.log" or log.attributes["file"] == "access.log"
  - set(resource.attributes["service.version"], "1.2") where log.attributes["file"] == "access.log"
"#;
    let request = logs(&[json!({"attributes": {"log.file.name": "access.log"}})]);
    let wanted = [
        ("0/attributes", json!({"file": "access.log"})),
        (
            "resource/attributes",
            json!({"host.name": "n1", "service.name": "web", "service.version": "1.2"}),
        ),
    ];
    makes(Signal::Logs, settings, &request, &wanted);
}

#[test]
fn labels_of_points_are_cleaned() {
    let settings = r#"
error_mode: ignore
metric_statements:
  - context: datapoint
    statements:
      - set(attributes["exported_job"], attributes["job"])
      - delete_key(attributes, "job")
      - delete_matching_keys(attributes, "^(request_id|trace_id|span_id)$")
  - context: datapoint
    conditions:
      - IsMatch(metric.name, "^system\\.")
    statements:
      - set(attributes["warning"], "incomplete") where attributes["device"] == nil or attributes["type"] == nil
  - conditions:
      - metric.type == METRIC_DATA_TYPE_SUM
    statements:
      - truncate_all(datapoint.attributes, 4)
  - context: exemplar
    statements:
      - keep_keys(exemplar.filtered_attributes, [])
      - set(exemplar.trace_id, TraceID(0x00000000000000000000000000000000))
  - context: metric
    statements:
      - set(unit, "1") where name == "system.x" and unit == ""
      - convert_sum_to_gauge() where name == "system.x"
      - set(description, "")
"#;
    let point = json!({
        "asInt": "1",
        "attributes": {"job": "long name", "request_id": "r"},
        "exemplars": [{"asInt": "1", "filteredAttributes": {"user": "u"}}],
    });
    let request =
        metrics(&[json!({"name": "system.x", "description": "d", "sum": {"dataPoints": [point]}})]);
    let wanted = [
        ("0/unit", json!("1")),
        ("0/description", Value::Null),
        ("0/gauge/dataPoints/0/attributes", json!({"exported_job": "long", "warning": "inco"})),
        ("0/gauge/dataPoints/0/exemplars/0/filteredAttributes", Value::Null),
    ];
    makes(Signal::Metrics, settings, &request, &wanted);
}

#[test]
fn metrics_are_made_and_merged() {
    let settings = r#"
metric_statements:
  - context: metric
    statements:
      - extract_count_metric(true) where name == "latency"
      - extract_sum_metric(true, "_total") where name == "latency"
      - aggregate_on_attributes("sum", ["route"]) where name == "requests"
      - scale_metric(0.001, "s") where unit == "ms" and type == METRIC_DATA_TYPE_GAUGE
      - set(name, "http.requests") where name == "requests"
"#;
    let request = metrics(&[
        json!({"name": "latency", "histogram": {"aggregationTemporality": 1, "dataPoints": [
            {"count": "3", "sum": 4.5, "bucketCounts": ["3"]}]}}),
        json!({"name": "requests", "sum": {"aggregationTemporality": 1, "dataPoints": [
            {"asInt": "1", "attributes": {"route": "/", "pod": "a"}},
            {"asInt": "2", "attributes": {"route": "/", "pod": "b"}}]}}),
        json!({"name": "age", "unit": "ms", "gauge": {"dataPoints": [{"asDouble": 1500.0}]}}),
    ]);
    let wanted = [
        ("1/name", json!("http.requests")),
        ("1/sum/dataPoints", json!([{"asInt": "3", "attributes": {"route": "/"}}])),
        ("2/gauge/dataPoints/0/asDouble", json!(1.5)),
        ("2/unit", json!("s")),
        ("3/name", json!("latency_count")),
        ("4/name", json!("latency_total")),
    ];
    makes(Signal::Metrics, settings, &request, &wanted);
}
