use serde_json::json;

use super::*;
use crate::otlp::{
    Signal,
    plain::{bytes, logs, metrics, spans},
};

fn single(signal: Signal, request: &Value) -> Single {
    Single { signal, body: bytes(signal, request), masked: Vec::new() }
}

fn shown(item: &Single) -> String {
    let lines: Vec<String> =
        fields(item).iter().map(|(name, value)| format!("{name} = {value}")).collect();
    lines.join("\n")
}

#[test]
fn a_span_is_listed_with_all_that_is_in_it() {
    let span = json!({
        "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "00000000000000a1",
        "name": "GET /cart", "kind": 2, "startTimeUnixNano": "1", "endTimeUnixNano": "5",
        "attributes": {"http.route": "/cart", "n": 5, "ok": true, "list": ["a", 1], "x": 0.5},
        "events": [{"name": "retry", "attributes": {"try": 2}}],
        "status": {"code": 2, "message": "no"},
    });
    insta::assert_snapshot!(shown(&single(Signal::Traces, &spans(&[span]))), @r#"
    trace_id = "5b8efff798038103d269b633813fc60c"
    span_id = "00000000000000a1"
    name = "GET /cart"
    kind = "SERVER"
    start_time_unix_nano = 1
    end_time_unix_nano = 5
    attributes.http.route = "/cart"
    attributes.list = "[\"a\",1]"
    attributes.n = 5
    attributes.ok = true
    attributes.x = 0.5
    events[0].name = "retry"
    events[0].attributes.try = 2
    status.message = "no"
    status.code = "ERROR"
    scope.name = "s"
    resource.attributes.host.name = "n1"
    "#);
}

#[test]
fn records_and_points_are_listed() {
    let record = json!({"severityNumber": 9, "body": {"a": {"b": 1}}, "attributes": {"k": "v"}});
    insta::assert_snapshot!(shown(&single(Signal::Logs, &logs(&[record]))), @r#"
    severity_number = "INFO"
    body = "{\"a\":{\"b\":1}}"
    attributes.k = "v"
    scope.name = "s"
    scope.version = "2"
    resource.attributes.host.name = "n1"
    "#);
    let point = json!({
        "count": "3", "sum": 4.5, "bucketCounts": ["1", "2"], "explicitBounds": [1.5],
        "attributes": {"k": "v"},
    });
    let histogram = json!({"aggregationTemporality": 1, "dataPoints": [point]});
    let metric = json!({"name": "h", "unit": "ms", "histogram": histogram});
    insta::assert_snapshot!(shown(&single(Signal::Metrics, &metrics(&[metric]))), @r#"
    metric.name = "h"
    metric.unit = "ms"
    metric.type = "histogram"
    attributes.k = "v"
    count = 3
    sum = 4.5
    bucket_counts = [1,2]
    explicit_bounds = [1.5]
    metric.aggregation_temporality = "DELTA"
    scope.name = "s"
    resource.attributes.host.name = "n1"
    "#);
}

#[test]
fn what_has_changed_is_found_by_its_name() {
    let item = |attributes: Value| {
        single(Signal::Traces, &spans(&[json!({"name": "x", "attributes": attributes})]))
    };
    let (before, after) =
        (item(json!({"a": 1, "b": 2, "c": 3})), item(json!({"c": 3, "b": 4, "d": 5})));
    let changed = changes(&before, &after);
    let told: Vec<(&str, Option<Value>, Option<Value>)> =
        changed.iter().map(|one| (&*one.key, one.before.clone(), one.after.clone())).collect();
    assert_eq!(
        told,
        [
            ("attributes.a", Some(json!(1)), None),
            ("attributes.b", Some(json!(2)), Some(json!(4))),
            ("attributes.d", None, Some(json!(5))),
        ]
    );
    let reordered = item(json!({"c": 3, "b": 2, "a": 1}));
    assert_eq!(changes(&before, &reordered), []);
}

#[test]
fn a_change_of_a_masked_value_is_seen_and_not_shown() {
    let mut before = single(Signal::Traces, &spans(&[json!({"name": "x"})]));
    before.masked.push(("token".to_owned(), 1));
    let mut after = before.clone();
    assert_eq!(changes(&before, &after), []);
    after.masked[0].1 = 2;
    let masked = || Some(Value::from(REDACTED));
    let change = Change { key: "token".to_owned(), before: masked(), after: masked() };
    assert_eq!(changes(&before, &after), [change]);
}

#[test]
fn an_item_of_many_fields_is_cut() {
    let attributes: serde_json::Map<String, Value> =
        (0..MOST + 10).map(|n| (n.to_string(), json!(n))).collect();
    let span = json!({"name": "x", "attributes": attributes});
    assert_eq!(fields(&single(Signal::Traces, &spans(&[span]))).len(), MOST);
}
