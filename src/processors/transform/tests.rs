use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::{
    otlp::{
        payload,
        plain::{logs, metric_list, metrics, record, span, spans},
    },
    processors::trial::{Trial, examples, problems},
};

fn transformed(signal: Signal, settings: &str, request: &Value) -> Value {
    Trial::of(&ENTRY, signal, settings).send(request).only()
}

fn records(request: &Value) -> Vec<Value> {
    let list = &request["resourceLogs"][0]["scopeLogs"][0]["logRecords"];
    list.as_array().cloned().unwrap_or_default()
}

#[test]
fn what_does_not_change_is_the_same_allocation() {
    let settings = r#"{trace_statements: ['set(span.attributes["a"], 1) where span.name == "x"', 'delete_key(span.attributes, "b")']}"#;
    let came = Trial::of(&ENTRY, Signal::Traces, settings).send(&spans(&[json!({"name": "a"})]));
    assert!(came.is_same);
    assert_eq!((came.items, came.filtered, came.refused), (1, 0, 0));
}

#[test]
fn groups_run_one_after_the_other_over_the_whole_request() {
    let statements = |first: &str, second: &str, third: &str| {
        format!(
            r"{{log_statements: [{{statements: ['{first}']}}, {{statements: ['{second}']}}, {{statements: ['{third}']}}]}}"
        )
    };
    let copy =
        r#"set(log.attributes["mark"], "ok") where instrumentation_scope.attributes["s"] == "ok""#;
    let yes = r#"set(scope.attributes["s"], "ok")"#;
    let no = r#"set(scope.attributes["s"], "no")"#;
    let request = logs(&[json!({"body": "a"}), json!({"body": "b"})]);
    let after = transformed(Signal::Logs, &statements(copy, yes, yes), &request);
    assert_eq!(record(&after).get("attributes"), None, "order matters");
    let after = transformed(Signal::Logs, &statements(yes, copy, no), &request);
    assert_eq!(after["resourceLogs"][0]["scopeLogs"][0]["scope"]["attributes"], json!({"s": "no"}));
    assert!(records(&after).iter().all(|log| log["attributes"]["mark"] == "ok"));
}

#[test]
fn an_attribute_of_a_resource_or_scope_is_that_of_the_item_at_hand() {
    let attributes =
        |key: &str, value: &str| if value.is_empty() { json!({}) } else { json!({key: value}) };
    let scope = |name: &str, bodies: &[&str]| {
        let logs: Vec<Value> = bodies.iter().map(|body| json!({"body": body})).collect();
        json!({"scope": {"attributes": attributes("s", name)}, "logRecords": logs})
    };
    let resource = |name: &str, scopes: &[Value]| json!({"resource": {"attributes": attributes("r", name)}, "scopeLogs": scopes});
    let request = json!({"resourceLogs": [
        resource("one", &[scope("a", &["1", "change"]), scope("b", &["2"]), scope("", &["3"])]),
        resource("", &[scope("a", &["4"])]),
        resource("two", &[scope("a", &["5", "6"])]),
    ]});
    let settings = r#"{log_statements: ['set(log.attributes["r"], resource.attributes["r"])',
        'set(log.attributes["s"], scope.attributes["s"])',
        'set(resource.attributes["r"], "longer than before") where log.body == "change"',
        'set(scope.attributes["a"], "x") where log.body == "change"']}"#;
    let after = transformed(Signal::Logs, settings, &request);
    let mut found = Vec::new();
    for resource in after["resourceLogs"].as_array().unwrap() {
        for scope in resource["scopeLogs"].as_array().unwrap() {
            for log in scope["logRecords"].as_array().unwrap() {
                let attributes = &log["attributes"];
                let of = |key: &str| {
                    let value = attributes.get(key).and_then(Value::as_str);
                    value.unwrap_or("-").to_owned()
                };
                let body = log["body"].as_str().unwrap();
                found.push(format!("{body} {} {}", of("r"), of("s")));
            }
        }
    }
    let wanted = [
        "1 one a",
        "change one a",
        "2 longer than before b",
        "3 longer than before -",
        "4 - a",
        "5 two a",
        "6 two a",
    ];
    assert_eq!(found, wanted);
}

#[test]
fn the_cache_is_empty_for_each_item_unless_it_is_shared() {
    let settings = |shared: bool| {
        format!(
            r#"{{log_statements: [
                {{shared_cache: {shared}, context: log, statements: ['set(cache["first"], body) where cache["first"] == nil']}},
                {{shared_cache: {shared}, context: log, statements: ['set(attributes["mark"], cache["first"])']}}]}}"#
        )
    };
    let request = logs(&[json!({"body": "a"}), json!({"body": "b"})]);
    let after = records(&transformed(Signal::Logs, &settings(true), &request));
    assert_eq!(after[0]["attributes"]["mark"], "a");
    assert_eq!(after[1]["attributes"]["mark"], "a");
    let after = records(&transformed(Signal::Logs, &settings(false), &request));
    assert_eq!(after[0]["attributes"]["mark"], Value::Null);
    // The next request begins with an empty one.
    let mut trial = Trial::of(&ENTRY, Signal::Logs, &settings(true));
    trial.send(&request);
    let after = records(&trial.send(&logs(&[json!({"body": "c"})])).only());
    assert_eq!(after[0]["attributes"]["mark"], "c");
}

#[test]
fn a_shared_cache_has_a_limit() {
    let settings = r#"{log_statements: [{shared_cache: true, context: log, statements: ['set(cache[body], "x")']}]}"#;
    let mut trial = Trial::of(&ENTRY, Signal::Logs, settings);
    let body = |at: usize| json!({"body": format!("{at}{}", "k".repeat(30_000))});
    let came = trial.send(&logs(&[body(1), body(2), body(3), body(1)]));
    assert_eq!(came.items, 4);
    assert_eq!(trial.sum("skep_statement_failures"), 1, "of the third key");
}

#[test]
fn statements_run_if_one_of_the_conditions_holds() {
    let settings = r#"{log_statements: [{conditions: ['log.body == "a"', 'log.severity_number == 9'], statements: ['set(log.attributes["mark"], true)']}]}"#;
    let request = logs(&[
        json!({"body": "a"}),
        json!({"body": "b", "severityNumber": 9}),
        json!({"body": "c"}),
    ]);
    let after = records(&transformed(Signal::Logs, settings, &request));
    let marks: Vec<bool> = after.iter().map(|log| log["attributes"]["mark"] == true).collect();
    assert_eq!(marks, [true, true, false]);
}

#[test]
fn metric_functions_run() {
    let point = |value: i64, p: &str| json!({"asInt": value.to_string(), "attributes": {"p": p}});
    let request = metrics(&[
        json!({"name": "a", "sum": {"aggregationTemporality": 2, "dataPoints": [point(1, "x"), point(2, "y")]}}),
        json!({"name": "h", "histogram": {"aggregationTemporality": 1, "dataPoints": [
            {"count": "3", "sum": 12.5, "bucketCounts": ["1", "2"], "explicitBounds": [5.0]}]}}),
    ]);
    let settings = r#"{metric_statements: [
        {statements: ['aggregate_on_attributes("sum", []) where metric.name == "a"', 'extract_count_metric(true) where metric.name == "h"']},
        {statements: ['convert_sum_to_gauge() where metric.name == "a"']},
        {statements: ['set(datapoint.attributes["n"], 1)']}]}"#;
    let came = Trial::of(&ENTRY, Signal::Metrics, settings).send(&request);
    let list = metric_list(&came.only());
    assert_eq!(list.len(), 3);
    assert_eq!(list[0]["gauge"]["dataPoints"], json!([{"asInt": "3", "attributes": {"n": 1}}]));
    assert_eq!(list[2]["sum"]["dataPoints"][0]["attributes"], json!({"n": 1}));
    assert_eq!(came.items, 3, "points were merged and added");
}

#[test]
fn error_modes_are_kept() {
    let request = logs(&[json!({"body": "no JSON"})]);
    let statements =
        r#"['set(log.attributes["a"], ParseJSON(log.body))', 'set(log.attributes["b"], 1)']"#;
    for (mode, failures) in [("ignore", 1), ("silent", 0)] {
        let settings = format!("{{error_mode: {mode}, log_statements: {statements}}}");
        let mut trial = Trial::of(&ENTRY, Signal::Logs, &settings);
        let after = trial.send(&request).only();
        assert_eq!(record(&after)["attributes"], json!({"b": 1}));
        assert_eq!(trial.sum("skep_statement_failures"), failures, "{mode}");
    }
    let settings = format!("{{error_mode: propagate, log_statements: {statements}}}");
    let came = Trial::of(&ENTRY, Signal::Logs, &settings).send(&request);
    assert_eq!((came.requests.len(), came.refused), (0, 1));
    let settings = format!(
        "{{error_mode: propagate, log_statements: [{{error_mode: ignore, statements: {statements}}}]}}"
    );
    let came = Trial::of(&ENTRY, Signal::Logs, &settings).send(&request);
    assert_eq!((came.requests.len(), came.refused), (1, 0));
}

#[test]
fn statements_read_the_request() {
    let settings = r#"{log_statements: ['set(log.attributes["tenant"], otelcol.client.metadata["x-tenant"][0])']}"#;
    let (node, mut found) = (crate::config::yaml::parse(0, settings).unwrap(), Problems::default());
    let config = (ENTRY.decode)(&node, &mut found).unwrap();
    let needs = config.needs();
    assert_eq!((needs.context, needs.metadata, needs.auth), (true, true, false));
    let mut trial = Trial::of(&ENTRY, Signal::Logs, settings);
    trial.request = Some(Arc::new(payload::Context {
        metadata: vec![("x-tenant".to_owned(), "acme".to_owned())],
        auth: Vec::new(),
        peer: None,
        arrived: trial.now,
    }));
    let after = trial.send(&logs(&[json!({"body": "a"})])).only();
    assert_eq!(record(&after)["attributes"]["tenant"], "acme");
}

#[test]
fn mistakes_are_shown_inside_of_the_statement() {
    let settings = "trace_statements:\n  - statements:\n      - set(span.attributes[\"a\"], 1)\n      - sett(span.attributes[\"a\"], 1)\n";
    let found = problems(&ENTRY, settings);
    assert_eq!((found.len(), &*found[0][0], &*found[0][2]), (1, "sett", "did you mean `set`?"));
    // Names are checked although another statement cannot be parsed.
    let settings =
        "trace_statements:\n  - 'set(span.nme, 1)'\n  - 'set(span.name'\n  - 'set(span.kin, 1)'\n";
    assert_eq!(problems(&ENTRY, settings).len(), 3);
    for (settings, at, message) in [
        ("{flatten_data: true}", "true", "not supported"),
        ("{profile_statements: []}", "profile_statements", "no profiles"),
        (
            "{trace_statements: [{context: log, statements: ['set(name, \"a\")']}]}",
            "log",
            "not a context of traces",
        ),
        ("{trace_statements: [{context: span}]}", "", "no statements"),
        ("{trace_statements: ['set(name, \"a\")']}", "set", "no path says"),
        ("{trace_statements: ['set(log.body, \"a\")']}", "", "no context"),
        ("{}", "", "no statements"),
    ] {
        let found = problems(&ENTRY, settings);
        assert!(
            found.iter().any(|[place, words, _]| place.contains(at) && words.contains(message)),
            "{settings}: {found:?}"
        );
    }
}

#[test]
fn the_examples_do_what_they_say() {
    let [main, groups] = &examples(&ENTRY)[..] else { panic!("two examples") };
    let request = json!({"resourceSpans": [{
        "resource": {"attributes": {"customer": "acme"}},
        "scopeSpans": [{"spans": [{
            "name": "GET /users/12/orders/7", "kind": 2,
            "attributes": {"http.request.header.authorization": "x", "url.full": "https://a.example/b"},
            "events": [{"name": "e", "attributes": {"long": "x".repeat(5000)}}],
        }]}],
    }]});
    let after = span(&transformed(Signal::Traces, main, &request));
    assert_eq!(after["name"], "GET /users/{id}/orders/7");
    assert_eq!(after["attributes"], json!({"url.full": "https://a.example/b", "tier": "gold"}));
    let after = transformed(Signal::Traces, groups, &request);
    let resource = &after["resourceSpans"][0]["resource"]["attributes"];
    assert_eq!(resource["deployment.environment"], "production");
    assert_eq!(span(&after)["attributes"]["server.address"], "a.example");
    let text = span(&after)["events"][0]["attributes"]["long"].as_str().map(str::len);
    assert_eq!(text, Some(4096));
    let log = logs(&[json!({"body": "{\"a\": \"b\"}"})]);
    assert_eq!(record(&transformed(Signal::Logs, main, &log))["attributes"], json!({"a": "b"}));
}
