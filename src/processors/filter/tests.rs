use serde_json::{Value, json};

use super::*;
use crate::{
    otlp::plain::{logs, metric_list, metrics, spans},
    processors::trial::{Trial, examples, problems},
};

fn filtered(signal: Signal, settings: &str, request: &Value) -> Value {
    Trial::of(&ENTRY, signal, settings).send(request).only()
}

fn names(request: &Value) -> Vec<String> {
    let list = request["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().cloned();
    let list = list.unwrap_or_default();
    list.iter().map(|span| span["name"].as_str().unwrap().to_owned()).collect()
}

fn two_spans() -> Value {
    spans(&[json!({"name": "jobA", "kind": 2}), json!({"name": "jobB", "events": [{"name": "e"}]})])
}

fn bodies(request: &Value) -> Vec<Value> {
    let list = request["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().cloned();
    list.unwrap_or_default().iter().map(|log| log["body"].clone()).collect()
}

fn numbers() -> Value {
    let point = |value: i64, state: &str| json!({"asInt": value.to_string(), "attributes": {"state": state}});
    metrics(&[
        json!({"name": "a", "sum": {"dataPoints": [point(1, "idle"), point(2, "busy")]}}),
        json!({"name": "b", "gauge": {"dataPoints": [point(3, "idle")]}}),
    ])
}

#[test]
fn spans_go_in_every_form() {
    for settings in [
        r#"{trace_conditions: ['span.name == "jobA"']}"#,
        r#"{trace_conditions: [{conditions: ['span.name == "jobA"']}]}"#,
        r#"{trace_conditions: [{context: SPAN, conditions: 'name == "jobA"'}]}"#,
        r#"{traces: {span: ['name == "jobA"']}}"#,
        "{spans: {exclude: {match_type: strict, span_names: [jobA]}}}",
        "{spans: {include: {match_type: regexp, span_names: ['B$']}}}",
    ] {
        let mut trial = Trial::of(&ENTRY, Signal::Traces, settings);
        let came = trial.send(&two_spans());
        assert_eq!(names(&came.only()), ["jobB"], "{settings}");
        assert_eq!((came.filtered, came.refused), (1, 0), "{settings}");
        assert_eq!(trial.sum("otelcol_processor_filter_spans_filtered"), 1, "{settings}");
    }
}

#[test]
fn what_is_kept_whole_is_the_same_allocation() {
    let settings =
        r#"{trace_conditions: ['span.name == "x"', 'spanevent.name == "x"', 'scope.name == "x"']}"#;
    let came = Trial::of(&ENTRY, Signal::Traces, settings).send(&two_spans());
    assert!(came.is_same);
    assert_eq!((came.filtered, came.items), (0, 2));
}

#[test]
fn a_request_of_which_nothing_stays_ends_without_an_error() {
    let settings = r#"{trace_conditions: ['IsMatch(span.name, "job.*")']}"#;
    let came = Trial::of(&ENTRY, Signal::Traces, settings).send(&two_spans());
    assert_eq!((came.requests.len(), came.filtered, came.refused), (0, 2, 0));
}

#[test]
fn outer_conditions_come_first_and_inner_ones_see_what_is_left() {
    let request = json!({"resourceSpans": [
        {"resource": {"attributes": {"env": "test"}},
         "scopeSpans": [{"spans": [{"name": "a"}, {"name": "b"}]}]},
        {"resource": {"attributes": {"env": "prod"}},
         "scopeSpans": [{"spans": [{"name": "a"}, {"name": "c", "events": [{"name": "e"}, {"name": "f"}]}]}]},
    ]});
    let settings = r#"{trace_conditions: ['spanevent.name == "e"', 'span.name == "a"', 'resource.attributes["env"] == "test"']}"#;
    let came = Trial::of(&ENTRY, Signal::Traces, settings).send(&request);
    assert_eq!(
        came.only(),
        json!({"resourceSpans": [
            {"resource": {"attributes": {"env": "prod"}},
             "scopeSpans": [{"scope": {}, "spans": [
                 {"name": "c", "events": [{"name": "f"}], "status": {}}]}]},
        ]})
    );
    assert_eq!(came.filtered, 3);
}

#[test]
fn a_span_without_events_stays() {
    let request =
        filtered(Signal::Traces, r#"{traces: {spanevent: ['name == "e"']}}"#, &two_spans());
    assert_eq!(names(&request), ["jobA", "jobB"]);
    assert_eq!(request["resourceSpans"][0]["scopeSpans"][0]["spans"][1].get("events"), None);
}

#[test]
fn metrics_without_points_go() {
    let settings = r#"{metric_conditions: ['datapoint.attributes["state"] == "idle"']}"#;
    let mut trial = Trial::of(&ENTRY, Signal::Metrics, settings);
    let came = trial.send(&numbers());
    let list = metric_list(&came.only());
    assert_eq!(list.len(), 1);
    assert_eq!(list[0]["sum"]["dataPoints"].as_array().map(Vec::len), Some(1));
    assert_eq!((came.items, came.filtered), (1, 2));
    assert_eq!(trial.sum("otelcol_processor_filter_datapoints_filtered"), 2);
    let all = filtered(
        Signal::Metrics,
        "{metrics: {datapoint: ['metric.type == METRIC_DATA_TYPE_SUM']}}",
        &numbers(),
    );
    assert_eq!(metric_list(&all)[0]["name"], json!("b"));
}

#[test]
fn metrics_go_by_the_attributes_of_their_points_and_by_properties() {
    for (settings, left) in [
        (r#"{metrics: {metric: ['HasAttrOnDatapoint("state", "busy")']}}"#, vec!["a", "b"]),
        (r#"{metrics: {metric: ['HasAttrKeyOnDatapoint("state")']}}"#, vec![]),
        (
            r#"{metric_conditions: ['metric.name == "a" and HasAttrKeyOnDatapoint("state")']}"#,
            vec!["b"],
        ),
        ("{metrics: {include: {match_type: strict, metric_names: [a]}}}", vec!["a"]),
        ("{metrics: {exclude: {match_type: regexp, metric_names: [^a]}}}", vec!["b"]),
        (
            "{metrics: {exclude: {match_type: strict, metric_names: [x], \
             resource_attributes: [{key: host.name, value: n1}]}}}",
            vec![],
        ),
        (
            "{metrics: {include: {match_type: strict, metric_names: [a], \
             resource_attributes: [{key: host.name, value: n2}]}}}",
            vec![],
        ),
    ] {
        let request = filtered(Signal::Metrics, settings, &numbers());
        let list = metric_list(&request);
        let names: Vec<&str> = list.iter().filter_map(|metric| metric["name"].as_str()).collect();
        assert_eq!(names, left, "{settings}");
    }
}

#[test]
fn log_records_go_by_conditions_and_properties() {
    let records = logs(&[
        json!({"body": "jobA", "severityNumber": 9, "attributes": {"a": "x"}}),
        json!({"body": "jobB", "severityNumber": 17}),
    ]);
    for (settings, left) in [
        ("{log_conditions: ['log.severity_number < SEVERITY_NUMBER_ERROR']}", vec!["jobB"]),
        (r#"{logs: {log_record: ['IsMatch(body, "A$")']}}"#, vec!["jobB"]),
        (r#"{logs: {resource: ['attributes["host.name"] == "n1"']}}"#, vec![]),
        ("{logs: {include: {match_type: strict, severity_number: {min: ERROR}}}}", vec!["jobB"]),
        (
            "{logs: {exclude: {match_type: strict, record_attributes: [{key: a, value: x}]}}}",
            vec!["jobB"],
        ),
        ("{logs: {exclude: {match_type: regexp, bodies: ['B$']}}}", vec!["jobA"]),
        ("{traces: {span: ['name == \"x\"']}}", vec!["jobA", "jobB"]),
    ] {
        let request = filtered(Signal::Logs, settings, &records);
        assert_eq!(bodies(&request), left, "{settings}");
    }
}

#[test]
fn what_fails_stays_and_is_counted() {
    let settings = |mode: &str| {
        format!(
            r#"{{error_mode: {mode}, log_conditions: ['Substring("", 0, Len(log.body)) == "x"', 'log.body == "b"']}}"#
        )
    };
    let records = logs(&[json!({"body": "a"}), json!({"body": "b"})]);
    let mut ignoring = Trial::of(&ENTRY, Signal::Logs, &settings("IGNORE"));
    let came = ignoring.send(&records);
    assert_eq!(bodies(&came.only()), ["a"]);
    assert_eq!(ignoring.sum("skep_statement_failures"), 2);
    let mut silent = Trial::of(&ENTRY, Signal::Logs, &settings("silent"));
    assert_eq!(bodies(&silent.send(&records).only()), ["a"]);
    let mut strict = Trial::of(&ENTRY, Signal::Logs, &settings("propagate"));
    let came = strict.send(&records);
    assert_eq!((came.requests.len(), came.refused), (0, 2));
    assert_eq!(strict.sum("skep_statement_failures"), 1);
}

#[test]
fn a_group_has_an_error_mode_of_its_own() {
    let settings = r#"{error_mode: propagate, log_conditions: [
        {error_mode: ignore, conditions: ['ParseJSON(log.body)["level"] == "debug"']},
        {context: log, conditions: ['body == "b"']}]}"#;
    let records = logs(&[
        json!({"body": "a"}),
        json!({"body": "b"}),
        json!({"body": "{\"level\": \"debug\"}"}),
    ]);
    assert_eq!(bodies(&filtered(Signal::Logs, settings, &records)), ["a"]);
}

#[test]
fn mistakes_are_shown_inside_of_the_condition() {
    let found =
        problems(&ENTRY, "trace_conditions:\n  - span.name == \"a\"\n  - span.nam == \"b\"\n");
    assert_eq!(found[0][0], "nam");
    assert_eq!(found[0][2], "did you mean `name`?");
    for (settings, at, message) in [
        (
            "{traces: {span: ['name == \"a\"']}, trace_conditions: ['span.name == \"a\"']}",
            "traces",
            "together",
        ),
        (
            "{metrics: {metric: ['name == \"a\"'], include: {match_type: strict, metric_names: [a]}}}",
            "metrics",
            "together",
        ),
        (
            "{log_conditions: [{context: span, conditions: ['true']}]}",
            "span",
            "not a context of logs",
        ),
        ("{log_conditions: [{context: log}]}", "", "no conditions"),
        (
            "{log_conditions: ['log.body == \"a\"', {conditions: ['log.body == \"a\"']}]}",
            "",
            "expected",
        ),
        (
            "{log_conditions: [{conditions: ['log.body == \"a\"']}, 'log.body == \"a\"']}",
            "'log.body == \"a\"'",
            "one list",
        ),
        ("{log_conditions: ['']}", "''", "empty"),
        ("{log_conditions: [~]}", "~", "empty"),
        ("{profile_conditions: ['true']}", "profile_conditions", "no profiles"),
        ("{error_mode: panic}", "panic", "unknown value"),
        ("{metrics: {include: {match_type: expr, expressions: [a]}}}", "include", "not supported"),
        (
            "{spans: {include: {match_type: strict, metric_names: [a]}}}",
            "metric_names",
            "spans have no",
        ),
        ("{logs: {log_record: ['set(body, 1)']}}", "set", ""),
    ] {
        let found = problems(&ENTRY, settings);
        assert!(
            found.iter().any(|[place, words, _]| place.contains(at) && words.contains(message)),
            "{settings}: {found:?}"
        );
    }
}

#[test]
fn older_forms_are_mentioned_once() {
    let found =
        problems(&ENTRY, "{traces: {span: ['name == \"a\"'], resource: ['schema_url == \"a\"']}}");
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0][1], "`traces` is the older form of `trace_conditions`");
}

/// What the examples in the header say.
#[test]
fn the_examples_do_what_they_say() {
    let [main, groups, older] = &examples(&ENTRY)[..] else { panic!("three examples") };
    let request = json!({"resourceSpans": [
        {"resource": {"attributes": {"deployment.environment": "test"}},
         "scopeSpans": [{"spans": [{"name": "GET /a"}, {"name": "GET /b", "status": {"code": 2}}]}]},
        {"scopeSpans": [{"spans": [
            {"name": "GET /health"},
            {"name": "GET /c", "events": [{"name": "grpc.message"}, {"name": "exception"}]}]}]},
    ]});
    let left = filtered(Signal::Traces, main, &request);
    let kept = &left["resourceSpans"];
    assert_eq!(names(&left), ["GET /b"]);
    assert_eq!(
        kept[1]["scopeSpans"][0]["spans"],
        json!([{"name": "GET /c", "events": [{"name": "exception"}], "status": {}}])
    );
    let list = metric_list(&filtered(Signal::Metrics, main, &numbers()));
    assert_eq!(list.len(), 1);
    let records = logs(&[
        json!({"body": "{\"level\": \"debug\"}", "severityNumber": 5}),
        json!({"body": "the password", "severityNumber": 9}),
    ]);
    assert_eq!(bodies(&filtered(Signal::Logs, main, &records)), ["the password"]);
    assert_eq!(bodies(&filtered(Signal::Logs, groups, &records)), ["the password"]);
    assert_eq!(bodies(&filtered(Signal::Logs, older, &records)), ["{\"level\": \"debug\"}"]);
    let health = spans(&[json!({"name": "a", "attributes": {"http.route": "/health"}})]);
    assert_eq!(filtered(Signal::Traces, older, &health), Value::Null);
}
