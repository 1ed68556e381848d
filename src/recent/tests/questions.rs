//! What is answered equals what a plain model computes from the same requests as prost reads them;
//! and the forms in which it is answered.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value},
};
use proptest::prelude::*;
use prost::Message as _;
use serde_json::{Value as Json, json};

use super::{NOW, small, take, take_spans};
use crate::{
    otlp::{Signal, plain, wild},
    recent::{Answer, Limits, Query, Recent, RecordFilter, TraceFilter, cell::hex, now, trace_id},
};

fn ask(recent: &Recent, query: &Json) -> Answer {
    recent.query(&Query::read(query).unwrap(), Limits::default(), NOW)
}

/// A value as the store shows it. Of a list or map only that it is one.
fn shown(value: Option<&AnyValue>) -> Json {
    match value.and_then(|value| value.value.as_ref()) {
        None | Some(Value::StringValueStrindex(_)) => Json::Null,
        Some(Value::StringValue(text)) => text.as_str().into(),
        Some(Value::BoolValue(value)) => (*value).into(),
        Some(Value::IntValue(value)) if value.unsigned_abs() <= 1 << 53 => (*value).into(),
        Some(Value::IntValue(value)) => value.to_string().into(),
        Some(Value::DoubleValue(value)) => serde_json::Number::from_f64(*value)
            .map_or_else(|| value.to_string().into(), Json::Number),
        Some(Value::BytesValue(bytes)) => hex(bytes).into(),
        Some(Value::ArrayValue(_) | Value::KvlistValue(_)) => "nested".into(),
    }
}

fn last<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a KeyValue> {
    attributes.iter().rfind(|attribute| attribute.key == key)
}

fn plain_or_null(value: Json, kind: &AnyValue) -> Json {
    let is_scalar = !matches!(
        kind.value,
        Some(Value::BytesValue(_) | Value::ArrayValue(_) | Value::KvlistValue(_))
    );
    if is_scalar { value } else { Json::Null }
}

/// For each name and value of `key` how many spans there are, and how long they took.
fn model(requests: &[Vec<u8>], key: &str) -> BTreeMap<(String, String), (f64, f64)> {
    let mut groups = BTreeMap::new();
    for request in requests {
        let request = ExportTraceServiceRequest::decode(&**request).unwrap();
        for entry in &request.resource_spans {
            for scope in &entry.scope_spans {
                let around = || {
                    let resource = entry.resource.as_ref().map(|one| &one.attributes[..]);
                    let scope = scope.scope.as_ref().map(|one| &one.attributes[..]);
                    let of = |list: Option<&[KeyValue]>| {
                        let value = last(list?, key)?.value.clone()?;
                        Some(plain_or_null(shown(Some(&value)), &value))
                    };
                    of(resource).or_else(|| of(scope)).unwrap_or_default()
                };
                for span in &scope.spans {
                    let own = last(&span.attributes, key);
                    let value = own.map_or_else(around, |own| shown(own.value.as_ref()));
                    let name =
                        if span.name.is_empty() { Json::Null } else { span.name.as_str().into() };
                    let nanos = span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano);
                    let group: &mut (f64, f64) =
                        groups.entry((name.to_string(), value.to_string())).or_default();
                    group.0 += 1.0;
                    #[expect(clippy::cast_precision_loss, reason = "as the store does it")]
                    let ms = nanos as f64 / 1e6;
                    group.1 = group.1.max(ms);
                }
            }
        }
    }
    groups
}

proptest! {
    #[test]
    fn groups_are_those_of_a_plain_model(seeds in prop::collection::vec(any::<u64>(), 1..10)) {
        let recent = small();
        let mut requests = Vec::new();
        for seed in seeds {
            let request = wild::request(Signal::Traces, seed, wild::OneOfs::Mixed);
            requests.push(request.clone());
            take(&recent, Signal::Traces, request);
        }
        for key in ["key", "aa", "service.name.of.nobody"] {
            let answer = ask(&recent, &json!({
                "select": [{"op": "COUNT"}, {"op": "MAX", "field": "duration_ms"}],
                "group_by": ["name", key], "limit": 1000,
            }));
            let mut found = BTreeMap::new();
            for row in &answer.rows {
                let is_nested = row.group[1].is_array() || row.group[1].is_object();
                let value = if is_nested { json!("nested") } else { row.group[1].clone() };
                let group: &mut (f64, f64) =
                    found.entry((row.group[0].to_string(), value.to_string())).or_default();
                group.0 += row.values[0].as_f64().unwrap();
                group.1 = group.1.max(row.values[1].as_f64().unwrap());
            }
            prop_assert_eq!(found, model(&requests, key));
            prop_assert!(!answer.honesty.is_partial && !answer.groups_cut);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(
        seed: u64, bytes in prop::collection::vec(any::<u8>(), 0..200), is_damaged: bool,
    ) {
        let recent = small();
        for signal in Signal::ALL {
            let request = if is_damaged {
                wild::damaged(&wild::request(signal, seed, wild::OneOfs::Mixed), seed)
            } else {
                bytes.clone()
            };
            take(&recent, signal, request);
            super::audit(&recent);
        }
        let list = recent.traces(&TraceFilter::read(&json!({"text": "key"})).unwrap(), NOW);
        for one in &recent.traces(&TraceFilter::read(&json!({})).unwrap(), NOW).traces {
            let trace = recent.trace(&trace_id(&one.trace).unwrap(), NOW).unwrap();
            trace.at.iter().for_each(|at| drop(recent.span(*at, NOW)));
            prop_assert!(list.matched as u64 <= list.honesty.scanned);
        }
        for dataset in ["spans", "logs"] {
            let group = ["key", "body", "library.name"];
            ask(&recent, &json!({"dataset": dataset, "group_by": group, "step_s": 1}));
        }
    }
}

/// Three users; the third one has an error, and stands for ten.
fn shop() -> Recent {
    let recent = small();
    for (user, ms, more) in [
        ("ana", 100, json!({})),
        ("ana", 300, json!({})),
        ("bob", 50, json!({"http.route": "/cart"})),
        ("eve", 1000, json!({"SampleRate": 10})),
    ] {
        let mut attributes = json!({"user.id": user});
        attributes.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let trace = recent.status().spans + 1;
        let code = if user == "eve" { 2 } else { 0 };
        take_spans(
            &recent,
            "shop",
            &[json!({
                "traceId": format!("{trace:032x}"),
                "endTimeUnixNano": (NOW + ms * 1_000_000).to_string(),
                "attributes": attributes,
                "status": {"code": code, "message": if code == 2 { "no stock" } else { "" }},
            })],
        );
    }
    recent
}

#[test]
fn a_board_of_users_is_weighted_and_leads_to_traces() {
    let recent = shop();
    let answer = ask(
        &recent,
        &json!({
            "select": [{"op": "AVG", "field": "duration_ms"}, {"op": "COUNT"}],
            "where": [["service.name", "=", "shop"]],
            "group_by": ["user.id"],
            "having": [["COUNT", ">", 1]],
            "order_by": [["COUNT", "desc"]],
        }),
    );
    assert_eq!(answer.select, ["AVG(duration_ms)", "COUNT"]);
    let rows: Vec<(&Json, &[Json], u64)> =
        answer.rows.iter().map(|row| (&row.group[0], &row.values[..], row.items)).collect();
    assert_eq!(rows[0], (&json!("eve"), &[json!(1000.0), json!(10.0)][..], 1));
    assert_eq!(rows[1], (&json!("ana"), &[json!(200.0), json!(2.0)][..], 2));
    assert_eq!((rows.len(), answer.matched), (2, 4));
    let traces = [1, 2].map(|trace| format!("{trace:032x}"));
    assert_eq!(answer.rows[1].traces, traces);
    assert_eq!(answer.honesty.one_in, 1);
}

#[test]
fn conditions_have_honeycombs_meaning() {
    let recent = shop();
    for (conditions, expected) in [
        (json!([["user.id", "=", "ana"]]), 2),
        (json!([["user.id", "!=", "ana"]]), 2),
        (json!([["http.route", "exists"]]), 1),
        (json!([["http.route", "does-not-exist"]]), 3),
        (json!([["http.route", "!=", "/cart"]]), 3),
        (json!([["user.id", "in", ["bob", "eve"]]]), 2),
        (json!([["user.id", "contains", "v"]]), 1),
        (json!([["user.id", "starts-with", "b"]]), 1),
        (json!([["duration_ms", ">=", 300]]), 2),
        (json!([["duration_ms", ">", 100], ["error", "=", false]]), 1),
        (json!([["host.name", "=", "n1"], ["library.version", "=", 2]]), 4),
        (json!([["status_message", "=", "no stock"]]), 1),
        (json!([["kind", "=", "server"], ["is_root", "=", true]]), 4),
        (json!([["trace.trace_id", "=", format!("{:032x}", 3)]]), 1),
        (json!([["meta.sample_rate", "=", 10]]), 1),
    ] {
        let answer = ask(&recent, &json!({"where": conditions}));
        assert_eq!(answer.matched, expected, "{conditions}");
    }
    let any = json!([["user.id", "=", "bob"], ["error", "=", true]]);
    assert_eq!(ask(&recent, &json!({"where": any, "filter_combination": "OR"})).matched, 2);
    let past = json!({"range": {"from_s": 1, "to_s": 2}});
    assert_eq!(ask(&recent, &past).matched, 0);
}

#[test]
fn series_and_heatmaps_are_in_steps() {
    let recent = small();
    for second in [0, 0, 2, 5] {
        let start = NOW - 6_000_000_000 + second * 1_000_000_000;
        take_spans(
            &recent,
            "shop",
            &[json!({
                "startTimeUnixNano": start.to_string(),
                "endTimeUnixNano": (start + 8_000_000).to_string(),
            })],
        );
    }
    let answer = ask(
        &recent,
        &json!({
            "range": {"last_s": 6}, "step_s": 1,
            "select": [{"op": "COUNT"}, {"op": "HEATMAP", "field": "duration_ms"}],
        }),
    );
    let counts: Vec<f64> =
        answer.series[0].values[0].iter().map(|count| count.as_f64().unwrap()).collect();
    assert_eq!(counts[..6], [2.0, 0.0, 1.0, 0.0, 0.0, 1.0]);
    assert_eq!((answer.step_ms, answer.rows[0].values[0].as_f64()), (1000, Some(4.0)));
    let heat = &answer.heatmaps[0];
    assert_eq!(heat.cells, [(0, 0, 2.0), (2, 0, 1.0), (5, 0, 1.0)]);
    assert!(heat.bounds[0] <= 8.0 && heat.bounds[1] > 8.0);
}

#[test]
fn limits_make_an_answer_partial_and_it_says_so() {
    let recent = shop();
    let query = Query::read(&json!({"group_by": ["user.id"]})).unwrap();
    let answer = recent.query(&query, Limits { groups: 1, ..Limits::default() }, NOW);
    assert_eq!((answer.rows.len(), answer.groups_cut), (1, true));
    let counted = |answer: &Answer| {
        let rows = answer.rows.iter().chain(&answer.other);
        rows.map(|row| row.values[0].as_f64().unwrap()).sum::<f64>()
    };
    assert!((counted(&answer) - 13.0).abs() < 1e-9, "nothing is lost");
    for limits in [
        Limits { bytes: 10, ..Limits::default() },
        Limits { time: std::time::Duration::ZERO, ..Limits::default() },
    ] {
        assert!(recent.query(&query, limits, NOW).honesty.is_partial);
    }
}

#[test]
fn lists_of_traces_are_filtered_and_sorted() {
    let recent = shop();
    let list = |filter: Json| {
        let list = recent.traces(&TraceFilter::read(&filter).unwrap(), NOW);
        let ids = list.traces.iter().map(|one| u128::from_str_radix(&one.trace, 16).unwrap());
        (ids.collect::<Vec<_>>(), list.matched)
    };
    assert_eq!(list(json!({"sort": "duration", "limit": 2})), (vec![4, 2], 4));
    assert_eq!(list(json!({"errors": true})).0, [4]);
    assert_eq!(list(json!({"min_ms": 60, "max_ms": 400, "sort": "duration"})).0, [2, 1]);
    assert_eq!(list(json!({"where": [["user.id", "=", "bob"]]})).0, [3]);
    assert_eq!(list(json!({"text": "NO STOCK"})).0, [4]);
    assert_eq!(list(json!({"text": "user.id"})).1, 4);
    assert_eq!(list(json!({"service": "shop", "name": "work"})).1, 4);
    assert_eq!(list(json!({"service": "shop", "name": "Work"})).1, 0);
    let one = &recent.traces(&TraceFilter::read(&json!({"errors": true})).unwrap(), NOW).traces[0];
    assert_eq!((&*one.name, &*one.service, one.has_root), ("work", "shop", true));
    assert_eq!((one.spans, one.errors, one.services.len()), (1, 1, 1));
    for (filter, expected) in [
        (json!({"servce": 1}), "`servce`: there is no such key"),
        (json!({"errors": 1}), "`errors`: it has to be `true` or `false`"),
        (json!({"limit": 0}), "`limit`: it has to be a number from 1 to 1000"),
        (json!({"min_ms": -1}), "`min_ms`: it has to be a number that is not below 0"),
    ] {
        let error = TraceFilter::read(&filter).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn what_became_of_a_trace_is_noted_by_others() {
    use crate::recent::{Decision, Delivery};
    let recent = shop();
    let id = trace_id(&format!("{:032x}", 4)).unwrap();
    let [errors, honeycomb, nobody] = ["errors", "honeycomb", "nobody"].map(Arc::from);
    recent.decided(&id, Decision::Kept, &errors);
    recent.delivered(&id, Delivery::Refused, &honeycomb);
    recent.decided(&[9; 16], Decision::Kept, &nobody);
    let kept = recent.traces(&TraceFilter::read(&json!({"decision": "kept"})).unwrap(), NOW);
    assert_eq!(kept.traces.len(), 1);
    assert_eq!(
        serde_json::to_value(&kept.traces[0].fate).unwrap(),
        json!({"decision": "kept", "policy": "errors", "deliveries": [["honeycomb", "refused"]]})
    );
}

#[test]
fn a_note_waits_for_what_was_offered_before_it() {
    use crate::recent::Decision;
    let recent = small();
    let spans = [json!({"traceId": format!("{:032x}", 7)})];
    let request = plain::bytes(Signal::Traces, &plain::spans(&spans));
    recent.offer(Signal::Traces, &request.into(), NOW);
    let id = 7_u128.to_be_bytes();
    recent.decided(&id, Decision::Dropped, &Arc::from("rest"));
    assert_eq!(recent.trace(&id, NOW), None, "nothing is digested so far");
    recent.catch_up();
    let fate = recent.trace(&id, NOW).unwrap().fate;
    assert_eq!((fate.decision, fate.policy.as_deref()), (Decision::Dropped, Some("rest")));
    recent.offer(Signal::Traces, &Bytes::new(), NOW);
    for _ in 0..8200 {
        recent.decided(&id, Decision::Kept, &Arc::from("rest"));
    }
    assert_eq!(recent.status().notes_lost, 8);
    recent.catch_up();
    assert_eq!(recent.trace(&id, NOW).unwrap().fate.decision, Decision::Kept);
}

#[test]
fn an_export_is_read_back_as_it_was() {
    let recent = shop();
    let ids: Vec<[u8; 16]> = (1..=4_u128).map(u128::to_be_bytes).collect();
    let json = recent.export(&ids, NOW).unwrap();
    let again = small();
    assert_eq!(again.load(&json, NOW), Ok(4));
    assert_eq!(again.export(&ids, NOW).unwrap(), json);
    let mut lines = json.clone();
    lines.push(b'\n');
    lines.extend_from_slice(&json);
    assert_eq!(small().load(&lines, NOW), Ok(8), "one document per line");
    assert!(recent.export(&[[9; 16]], NOW).is_err());
    let error = small().load(b"{}\n", NOW).unwrap_err().to_string();
    assert!(error.starts_with("line 1: this is no OTLP/JSON"), "{error}");
    lines.extend_from_slice(b"\n{\"resourceSpans\": 1}");
    assert_eq!(small().load(&lines, NOW).unwrap_err().line, 3);
}

#[test]
fn details_of_a_span_are_plain_json() {
    let recent = small();
    take_spans(
        &recent,
        "shop",
        &[json!({
            "attributes": {"a": 1, "list": [1, "x", {"k": true}]},
            "events": [{"name": "exception", "timeUnixNano": "5", "attributes": {"t": "E"}}],
            "links": [{"traceId": "0a".repeat(16), "spanId": "0b".repeat(8)}],
            "traceState": "a=1",
        })],
    );
    let trace = recent.trace(&1_u128.to_be_bytes(), NOW).unwrap();
    let span = recent.span(trace.at[0], NOW).unwrap();
    assert_eq!(Json::from(span.attributes.clone()), json!({"a": 1, "list": [1, "x", {"k": true}]}));
    assert_eq!((&*span.events[0].name, &*span.trace_state), ("exception", "a=1"));
    assert_eq!(span.links[0].span_id, "0b".repeat(8));
    assert_eq!(span.source.resource["service.name"], "shop");
    assert_eq!(span.source.scope, ["lib", "2"]);
    assert_eq!(recent.span(trace.at[0] + 1, NOW), None);
    assert_eq!(recent.span(u64::MAX, NOW), None);
    assert!(now() > NOW);
}

#[test]
fn secrets_are_not_kept() {
    let recent = small();
    let secret = "hunter2";
    let attributes = json!({"http.request.header.authorization": secret,
        "headers": {"cookie": secret, "accept": "text/html"}, "user.id": "ana"});
    take_spans(
        &recent,
        "shop",
        &[json!({
            "attributes": attributes,
            "events": [{"name": "login", "attributes": attributes}],
            "links": [{"traceId": "0a".repeat(16), "attributes": attributes}],
        })],
    );
    let resource = json!({"attributes": {"service.name": "shop", "api_key": secret}});
    let scope = json!({"name": "lib", "attributes": {"token": secret}});
    let record = json!({"body": {"password": secret, "user": "ana"}, "attributes": attributes});
    let logs = json!({"resourceLogs": [{"resource": resource,
        "scopeLogs": [{"scope": scope, "logRecords": [record]}]}]});
    take(&recent, Signal::Logs, plain::bytes(Signal::Logs, &logs));
    let trace = recent.trace(&1_u128.to_be_bytes(), NOW).unwrap();
    let span = serde_json::to_string(&recent.span(trace.at[0], NOW)).unwrap();
    let filter = RecordFilter::read(&json!({})).unwrap();
    let records = serde_json::to_string(&recent.records(&filter, NOW)).unwrap();
    let similar = serde_json::to_string(&recent.similar(&filter, NOW)).unwrap();
    for (shown, masks) in [(&span, 6), (&records, 5), (&similar, 1)] {
        assert_eq!(shown.matches("***").count(), masks, "{shown}");
        assert!(!shown.contains(secret) && shown.contains("ana"), "{shown}");
    }
    let text = TraceFilter::read(&json!({"text": secret})).unwrap();
    assert_eq!(recent.traces(&text, NOW).matched, 0, "it cannot be guessed either");
    super::audit(&recent);
}

#[test]
fn queries_read_log_records_too() {
    let recent = small();
    let records = json!([
        {"body": "disk full", "severityNumber": 17, "severityText": "ERROR",
            "timeUnixNano": NOW.to_string(), "attributes": {"k": 1}},
        {"body": {"a": 1}, "severityNumber": 9, "timeUnixNano": NOW.to_string()},
    ]);
    let request = plain::logs(records.as_array().unwrap());
    take(&recent, Signal::Logs, plain::bytes(Signal::Logs, &request));
    let answer = ask(
        &recent,
        &json!({"dataset": "logs", "group_by": ["body"],
        "where": [["severity", ">=", 17], ["severity_text", "=", "ERROR"], ["error", "=", true]]}),
    );
    assert_eq!(answer.rows[0].group, [json!("disk full")]);
    assert_eq!(ask(&recent, &json!({"dataset": "logs", "where": [["k", "=", 1]]})).matched, 1);
    assert_eq!(ask(&recent, &json!({"dataset": "spans"})).matched, 0);
}
