use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    otlp::{
        content::Content,
        plain::{self, shown},
        wild::{self, OneOfs},
    },
    tap::items,
};

fn singles(signal: Signal, body: Vec<u8>, masks: &Masks) -> Vec<Single> {
    let content = Content::new(signal, Bytes::from(body), 0);
    let mut all = Vec::new();
    items::each(&content, masks, |_, item| all.push(item()));
    all
}

fn masks() -> Masks {
    Masks::new(&[], false).unwrap()
}

#[test]
fn a_span_stands_alone_with_its_resource_and_scope_and_without_secrets() {
    let mut request = plain::spans(&[
        json!({"name": "one", "attributes": {"a": "1", "http.request.header.authorization": "x"}}),
        json!({"name": "two", "events": [{"name": "login", "attributes": {"password": "y"}}]}),
    ]);
    request["resourceSpans"][0]["resource"]["attributes"]["api-key"] = json!("z");
    request["resourceSpans"][0]["schemaUrl"] = json!("https://x");
    let all = singles(Signal::Traces, plain::bytes(Signal::Traces, &request), &masks());
    let one = shown(Signal::Traces, &all[0].body);
    let resource = &one["resourceSpans"][0];
    assert_eq!(resource["schemaUrl"], "https://x");
    assert_eq!(resource["resource"]["attributes"], json!({"host.name": "n1", "api-key": REDACTED}));
    assert_eq!(resource["scopeSpans"][0]["scope"]["name"], "s");
    let expected = json!({"a": "1", "http.request.header.authorization": REDACTED});
    assert_eq!(plain::span(&one)["attributes"], expected);
    let two = plain::span(&shown(Signal::Traces, &all[1].body));
    assert_eq!(two["events"][0]["attributes"], json!({"password": REDACTED}));
    let keys: Vec<&str> = all[1].masked.iter().map(|(key, _)| &**key).collect();
    assert_eq!((all.len(), keys), (2, vec!["api-key", "password"]));
}

#[test]
fn nested_maps_are_searched_and_no_secret_is_left_anywhere() {
    let body = json!({"user": {"name": "ana", "password": "hunter2"}, "list": [{"token": "t0"}]});
    let record = json!({"body": body, "attributes": {"gen_ai.usage.input_tokens": 5}});
    let request = plain::logs(&[record]);
    let all = singles(Signal::Logs, plain::bytes(Signal::Logs, &request), &masks());
    let text = shown(Signal::Logs, &all[0].body).to_string();
    assert!(text.contains("ana") && text.contains('5'), "{text}");
    assert!(!text.contains("hunter2") && !text.contains("t0"), "{text}");
}

#[test]
fn a_point_stands_alone_in_its_metric() {
    let sum = json!({
        "aggregationTemporality": 2, "isMonotonic": true,
        "dataPoints": [{"asInt": "1", "attributes": {"cookie": "c"}}, {"asInt": "2"}],
    });
    let request = plain::metrics(&[
        json!({"name": "sum", "unit": "By", "sum": sum}),
        json!({"name": "gauge", "gauge": {"dataPoints": [{"asDouble": 0.5}]}}),
    ]);
    let all = singles(Signal::Metrics, plain::bytes(Signal::Metrics, &request), &masks());
    let metric = |at: usize| {
        plain::metric_list(&shown(Signal::Metrics, &all[at].body)).pop().unwrap_or_default()
    };
    assert_eq!(metric(0)["sum"]["dataPoints"][0]["attributes"], json!({"cookie": REDACTED}));
    assert_eq!(metric(1)["sum"]["dataPoints"], json!([{"asInt": "2"}]));
    assert_eq!(
        (&metric(1)["unit"], &metric(1)["sum"]["isMonotonic"]),
        (&json!("By"), &json!(true))
    );
    assert_eq!(metric(2)["gauge"]["dataPoints"], json!([{"asDouble": 0.5}]));
}

#[test]
fn names_only_leave_no_value() {
    let masks = Masks::new(&[], true).unwrap();
    let mut request = plain::logs(&[json!({"body": "secret words", "attributes": {"n": 5}})]);
    request["resourceLogs"][0]["resource"]["attributes"]["service.name"] = json!("shop");
    let all = singles(Signal::Logs, plain::bytes(Signal::Logs, &request), &masks);
    let one = shown(Signal::Logs, &all[0].body);
    assert_eq!(plain::record(&one)["body"], "<string>");
    assert_eq!(plain::record(&one)["attributes"], json!({"n": "<int>"}));
    let resource = &one["resourceLogs"][0]["resource"]["attributes"];
    assert_eq!(*resource, json!({"host.name": "<string>", "service.name": "shop"}));
    let point = json!({"asInt": "77", "timeUnixNano": "5", "attributes": {"k": "v"}});
    let request = plain::metrics(&[json!({"name": "m", "gauge": {"dataPoints": [point]}})]);
    let all = singles(Signal::Metrics, plain::bytes(Signal::Metrics, &request), &masks);
    let one = plain::metric_list(&shown(Signal::Metrics, &all[0].body))[0]["gauge"].clone();
    assert_eq!(one["dataPoints"], json!([{"timeUnixNano": "5", "attributes": {"k": "<string>"}}]));
}

/// The items of a request as plain JSON, each on its own.
fn items_of(signal: Signal, request: &Value) -> usize {
    let count = |value: &Value, name: &str| value[name].as_array().map_or(0, Vec::len);
    let entries = |name: &str| request[name].as_array().cloned().unwrap_or_default();
    match signal {
        Signal::Traces => entries("resourceSpans")
            .iter()
            .flat_map(|entry| entry["scopeSpans"].as_array().cloned().unwrap_or_default())
            .map(|scope| count(&scope, "spans"))
            .sum(),
        _ => entries("resourceLogs")
            .iter()
            .flat_map(|entry| entry["scopeLogs"].as_array().cloned().unwrap_or_default())
            .map(|scope| count(&scope, "logRecords"))
            .sum(),
    }
}

proptest! {
    #[test]
    fn every_item_of_any_legal_request_is_there_once(
        signal in prop::sample::select(vec![Signal::Traces, Signal::Logs]),
        seed: u64,
    ) {
        let body = wild::request(signal, seed, OneOfs::Mixed);
        let expected = items_of(signal, &shown(signal, &body));
        let all = singles(signal, body, &masks());
        prop_assert_eq!(all.len(), expected);
        for one in &all {
            prop_assert_eq!(items_of(signal, &shown(signal, &one.body)), 1);
        }
    }

    #[test]
    fn damaged_bytes_never_panic(
        signal in prop::sample::select(Signal::ALL.to_vec()),
        seed: u64,
        damage: u64,
        is_names_only: bool,
    ) {
        let body = wild::damaged(&wild::request(signal, seed, OneOfs::Mixed), damage);
        let masks = Masks::new(&[], is_names_only).unwrap();
        for one in singles(signal, body, &masks) {
            let _ = std::hint::black_box(crate::tap::fields::fields(&one));
            let _ = std::hint::black_box(crate::tap::Head::of(&one));
        }
    }
}
