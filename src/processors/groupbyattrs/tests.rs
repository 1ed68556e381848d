use std::collections::BTreeMap;

use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::KeyValue,
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    resource::v1::Resource,
};
use proptest::prelude::*;
use prost::Message as _;
use serde_json::{Value, json};

use super::*;
use crate::{
    otlp::purse::Purse,
    processors::{
        editing::oracle::text,
        trial::{Trial, problems},
    },
};

fn grouped(signal: Signal, settings: &str, request: &Value) -> Value {
    Trial::of(&ENTRY, signal, settings).send(request).only()
}

fn logs_of(resources: &[(Value, Vec<Value>)]) -> Value {
    let entry = |(resource, records): &(Value, Vec<Value>)| {
        let records: Vec<Value> =
            records.iter().map(|attributes| json!({"attributes": attributes})).collect();
        json!({"resource": {"attributes": resource},
               "scopeLogs": [{"scope": {"name": "s"}, "logRecords": records}]})
    };
    json!({"resourceLogs": resources.iter().map(entry).collect::<Vec<_>>()})
}

#[test]
fn records_move_to_resources_of_their_own() {
    let request = logs_of(&[(
        json!({"host.name": "proxy", "env": "prod"}),
        vec![
            json!({"host.name": "A", "n": 1}),
            json!({"host.name": "B"}),
            json!({"n": 2}),
            json!({"host.name": "A", "n": 3}),
        ],
    )]);
    let mut trial = Trial::of(&ENTRY, Signal::Logs, "{keys: [host.name, missing]}");
    let came = trial.send(&request);
    let resource = |host: &str| json!({"host.name": host, "env": "prod"});
    let mut expected = logs_of(&[
        (resource("A"), vec![json!({"n": 1}), json!({"n": 3})]),
        (resource("B"), vec![Value::Null]),
        (resource("proxy"), vec![json!({"n": 2})]),
    ]);
    expected["resourceLogs"][1]["scopeLogs"][0]["logRecords"] = json!([{}]);
    assert_eq!(came.only(), expected);
    assert_eq!(came.items, 4);
    assert_eq!(trial.sum("otelcol_processor_groupbyattrs_num_grouped_logs"), 3);
    assert_eq!(trial.sum("otelcol_processor_groupbyattrs_num_non_grouped_logs"), 1);
}

#[test]
fn without_keys_equal_resources_are_joined() {
    let one = (json!({"a": "1", "b": "2"}), vec![json!({"n": 1})]);
    let other = (json!({"b": "2", "a": "1"}), vec![json!({"n": 2})]);
    let third = (json!({"a": "1"}), vec![json!({"n": 3})]);
    let request = logs_of(&[one, other.clone(), third.clone(), other]);
    let joined = grouped(Signal::Logs, "{keys: []}", &request);
    let all = vec![json!({"n": 1}), json!({"n": 2}), json!({"n": 2})];
    assert_eq!(joined, logs_of(&[(json!({"a": "1", "b": "2"}), all), third]));
    assert!(Trial::of(&ENTRY, Signal::Logs, "{}").send(&joined).is_same);
}

#[test]
fn a_record_of_a_resource_joins_another_that_is_equal() {
    let request = logs_of(&[
        (json!({"a": "1"}), vec![json!({"k": "v"})]),
        (json!({"a": "1", "k": "v"}), vec![json!({"n": 1})]),
    ]);
    let joined = grouped(Signal::Logs, "{keys: [k]}", &request);
    assert_eq!(joined["resourceLogs"].as_array().map(Vec::len), Some(1));
    let records = &joined["resourceLogs"][0]["scopeLogs"][0]["logRecords"];
    assert_eq!(records, &json!([{}, {"attributes": {"n": 1}}]));
}

#[test]
fn points_move_with_a_shell_of_their_metric() {
    let point =
        |host: &str, value: &str| json!({"asInt": value, "attributes": {"host": host, "k": "v"}});
    let request = json!({"resourceMetrics": [{
        "resource": {"attributes": {"a": "1"}}, "schemaUrl": "url",
        "scopeMetrics": [{"scope": {"name": "s"}, "metrics": [
            {"name": "m", "unit": "u", "sum": {
                "aggregationTemporality": 2, "isMonotonic": true,
                "dataPoints": [point("A", "1"), point("B", "2"), point("A", "3")]}},
            {"name": "h", "histogram": {"aggregationTemporality": 1, "dataPoints": [
                {"count": "1", "attributes": {"host": "A"}}]}},
            {"name": "empty", "gauge": {}},
        ]}],
    }]});
    let came = Trial::of(&ENTRY, Signal::Metrics, "{keys: [host]}").send(&request);
    let after = came.only();
    let entries = after["resourceMetrics"].as_array().unwrap();
    let by_host: BTreeMap<String, &Value> = entries
        .iter()
        .map(|entry| (entry["resource"]["attributes"]["host"].to_string(), entry))
        .collect();
    assert_eq!(by_host.len(), 3);
    assert_eq!(came.items, 4);
    let metrics = |host: &str| by_host[host]["scopeMetrics"][0]["metrics"].clone();
    let a = metrics("\"A\"");
    assert_eq!(a[0]["sum"]["isMonotonic"], true);
    assert_eq!(a[0]["unit"], "u");
    assert_eq!(
        a[0]["sum"]["dataPoints"],
        json!([{"asInt": "1", "attributes": {"k": "v"}}, {"asInt": "3", "attributes": {"k": "v"}}])
    );
    assert_eq!(a[1]["name"], "h");
    assert_eq!(metrics("\"B\"").as_array().map(Vec::len), Some(1));
    assert_eq!(metrics("null")[0]["name"], "empty");
    assert_eq!(by_host["\"B\""]["schemaUrl"], "url");
}

#[test]
fn mistakes_are_shown() {
    let found = problems(&ENTRY, "{keys: [a, b, a, '']}");
    assert_eq!((&*found[0][0], &*found[0][1]), ("a", "`a` is there twice"));
    assert_eq!((&*found[1][0], &*found[1][1]), ("''", "the key is empty"));
}

/// Records by the attributes of their resource and their own, together.
fn plain(body: &[u8], keys: &[&str], moves: bool) -> Vec<(Vec<String>, Vec<String>)> {
    let request = ExportLogsServiceRequest::decode(body).unwrap();
    let shown = |all: &[KeyValue]| {
        let mut all: Vec<String> = all.iter().map(|one| format!("{one:?}")).collect();
        all.sort();
        all
    };
    let mut found = Vec::new();
    for entry in request.resource_logs {
        let resource = entry.resource.unwrap_or_default().attributes;
        for record in entry.scope_logs.into_iter().flat_map(|scope| scope.log_records) {
            let (mut own, mut outer) = (record.attributes, resource.clone());
            if moves {
                let (taken, left): (Vec<_>, Vec<_>) =
                    own.into_iter().partition(|one| keys.contains(&&*one.key));
                own = left;
                for one in taken {
                    outer.retain(|other| other.key != one.key);
                    outer.push(one);
                }
            }
            found.push((shown(&outer), shown(&own)));
        }
    }
    found.sort();
    found
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let one = (prop::sample::select(vec!["a", "b", "c", "d"]), "[xy]?");
    prop::collection::btree_map(one.0, one.1, 0..4)
        .prop_map(|all| all.iter().map(|(key, value)| text(key, value)).collect())
}

proptest! {
    #[test]
    fn grouping_keeps_every_record_with_its_attributes(
        entries in prop::collection::vec((attributes(), prop::collection::vec(attributes(), 0..4)), 0..5),
        keys in prop::sample::subsequence(vec!["a", "b", "e"], 0..3),
    ) {
        let entry = |(resource, records): (Vec<KeyValue>, Vec<Vec<KeyValue>>)| {
            let record = |attributes| LogRecord { attributes, ..LogRecord::default() };
            let log_records = records.into_iter().map(record).collect();
            ResourceLogs {
                resource: Some(Resource { attributes: resource, ..Resource::default() }),
                scope_logs: vec![ScopeLogs { log_records, ..ScopeLogs::default() }],
                ..ResourceLogs::default()
            }
        };
        let resource_logs = entries.into_iter().map(entry).collect();
        let body = ExportLogsServiceRequest { resource_logs }.encode_to_vec();
        let names: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        let segments = smallvec::smallvec![bytes::Bytes::from(body.clone())];
        let result =
            regroup(Signal::Logs, &segments, &Keys::new(&names), &mut Purse::default()).unwrap();
        let after = result.body.unwrap_or_else(|| body.clone());
        prop_assert_eq!(plain(&after, &[], false), plain(&body, &keys, true));
        // All resources are different, and again nothing moves.
        let again = smallvec::smallvec![bytes::Bytes::from(after)];
        let twice =
            regroup(Signal::Logs, &again, &Keys::new(&names), &mut Purse::default()).unwrap();
        prop_assert_eq!((twice.body, twice.moved), (None, 0));
    }
}
