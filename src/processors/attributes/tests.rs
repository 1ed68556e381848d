//! The edits on bytes against the same edits on decoded messages.

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
        Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint,
        metric::Data,
    },
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use proptest::prelude::*;
use prost::Message as _;

mod made;
mod select;

use super::*;
use crate::{
    config::{self, yaml},
    otlp::wire::put_bytes,
    processors::editing::{
        oracle::{actions, attribute, attributes, model, run, text, value},
        value::AttributeValue,
    },
};

pub(super) fn scope(name: &str, version: &str) -> InstrumentationScope {
    let (name, version) = (name.to_owned(), version.to_owned());
    InstrumentationScope { name, version, ..InstrumentationScope::default() }
}

fn traces(spans: Vec<Vec<KeyValue>>) -> ExportTraceServiceRequest {
    let span = |attributes| Span {
        name: "GET /".to_owned(),
        attributes,
        end_time_unix_nano: 7,
        ..Span::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![text("a", "of it")],
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope("lib", "1")),
                spans: spans.into_iter().map(span).collect(),
                ..ScopeSpans::default()
            }],
            schema_url: "url".to_owned(),
        }],
    }
}

pub(super) fn logs(records: Vec<Vec<KeyValue>>) -> ExportLogsServiceRequest {
    let record = |attributes| LogRecord {
        severity_text: "INFO".to_owned(),
        attributes,
        flags: 1,
        ..LogRecord::default()
    };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            scope_logs: vec![ScopeLogs {
                log_records: records.into_iter().map(record).collect(),
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    }
}

/// One metric of each kind.
fn metrics(points: &[Vec<KeyValue>]) -> ExportMetricsServiceRequest {
    let numbers = || {
        let point = |attributes: &Vec<KeyValue>| NumberDataPoint {
            attributes: attributes.clone(),
            flags: 1,
            ..NumberDataPoint::default()
        };
        points.iter().map(point).collect()
    };
    let exponential = |attributes: &Vec<KeyValue>| ExponentialHistogramDataPoint {
        attributes: attributes.clone(),
        count: 3,
        ..ExponentialHistogramDataPoint::default()
    };
    let histogram = |attributes: &Vec<KeyValue>| HistogramDataPoint {
        attributes: attributes.clone(),
        bucket_counts: vec![1, 2],
        ..HistogramDataPoint::default()
    };
    let summary = |attributes: &Vec<KeyValue>| SummaryDataPoint {
        attributes: attributes.clone(),
        sum: 1.5,
        ..SummaryDataPoint::default()
    };
    let data = [
        Data::Gauge(Gauge { data_points: numbers() }),
        Data::Sum(Sum { data_points: numbers(), is_monotonic: true, ..Sum::default() }),
        Data::Histogram(Histogram {
            data_points: points.iter().map(histogram).collect(),
            ..Histogram::default()
        }),
        Data::ExponentialHistogram(ExponentialHistogram {
            data_points: points.iter().map(exponential).collect(),
            ..ExponentialHistogram::default()
        }),
        Data::Summary(Summary { data_points: points.iter().map(summary).collect() }),
    ];
    let metric = |data| Metric { name: "m".to_owned(), data: Some(data), ..Metric::default() };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            scope_metrics: vec![ScopeMetrics {
                metrics: data.into_iter().map(metric).collect(),
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    }
}

pub(super) fn edited(
    config: &Config,
    signal: Signal,
    request: &impl prost::Message,
    items: usize,
) -> (Payload, Vec<u8>) {
    let mut processor = config.build(&BuildContext::test("attributes", signal)).unwrap();
    let (before, after) = run(&mut *processor, signal, request.encode_to_vec(), items as u64);
    let bytes = after.body.concat();
    assert_eq!(after.items, items as u64);
    (before, bytes)
}

proptest! {
    #[test]
    fn edits_on_bytes_are_edits_on_messages(
        actions in actions(),
        items in proptest::collection::vec(attributes(), 0..5),
    ) {
        let config = Config { actions: actions.clone(), ..Config::default() };
        let mut expected = items.clone();
        for attributes in &mut expected {
            model(&actions, attributes);
        }

        let (_, bytes) = edited(&config, Signal::Traces, &traces(items.clone()), items.len());
        let got = ExportTraceServiceRequest::decode(&*bytes).unwrap();
        prop_assert_eq!(bytes.len(), got.encoded_len(), "lengths are minimal");
        prop_assert_eq!(got, traces(expected.clone()));

        let (_, bytes) = edited(&config, Signal::Logs, &logs(items.clone()), items.len());
        prop_assert_eq!(ExportLogsServiceRequest::decode(&*bytes).unwrap(), logs(expected.clone()));

        let (_, bytes) = edited(&config, Signal::Metrics, &metrics(&items), items.len() * 5);
        prop_assert_eq!(ExportMetricsServiceRequest::decode(&*bytes).unwrap(), metrics(&expected));
    }

    #[test]
    fn random_bytes_never_panic(actions in actions(), bytes: Vec<u8>) {
        for signal in Signal::ALL {
            let config = Config { actions: actions.clone(), ..Config::default() };
            let mut processor = config.build(&BuildContext::test("attributes", signal)).unwrap();
            run(&mut *processor, signal, bytes.clone(), 1);
        }
    }
}

pub(super) fn config(yaml: &str) -> Config {
    let tree = yaml::parse(0, yaml).unwrap();
    let mut problems = Problems::default();
    let config = config::decode::<Config>(&tree, &mut problems).expect("decodes");
    config.validate(&tree, &mut problems);
    assert!(problems.0.is_empty(), "{problems:?}");
    config
}

#[test]
fn what_does_not_change_is_the_same_allocation() {
    let config = config(
        "actions:
  - { key: a, value: 2, action: insert }
  - { key: a, value: 1, action: upsert }
  - { key: b, value: 2, action: UPDATE }
  - { key: b, pattern: ^nothing, action: delete }
  - { key: z, from_attribute: none, action: upsert }
  - { key: z, from_context: metadata.absent, action: upsert }
  - { key: a, converted_type: int, action: convert }",
    );
    let request = traces(vec![vec![attribute("a", Value::IntValue(1))]; 3]);
    let mut processor = config.build(&BuildContext::test("attributes", Signal::Traces)).unwrap();
    let (before, after) = run(&mut *processor, Signal::Traces, request.encode_to_vec(), 3);
    assert_eq!(before.body[0].as_ptr(), after.body[0].as_ptr());
}

#[test]
fn only_the_item_that_changes_is_written_anew() {
    let config = config("actions: [{ key: a, value: 2, action: update }]");
    let items = vec![vec![text("b", "x")], vec![text("a", "y")], vec![text("c", "z")]];
    let (_, bytes) = edited(&config, Signal::Traces, &traces(items), 3);
    let got = ExportTraceServiceRequest::decode(&*bytes).unwrap();
    let spans = &got.resource_spans[0].scope_spans[0].spans;
    assert_eq!(spans[0].attributes, [text("b", "x")]);
    assert_eq!(spans[1].attributes, [attribute("a", Value::IntValue(2))]);
    assert_eq!(spans[2].attributes, [text("c", "z")]);
    assert_eq!(got.resource_spans[0].schema_url, "url");
}

/// The recipe of the documentation, with what the instrumentation of Flask writes.
#[test]
fn a_captured_header_becomes_the_user() {
    let list = |texts: &[&str]| {
        let values = texts.iter().map(|t| AnyValue { value: text("", t).value.unwrap().value });
        Value::ArrayValue(ArrayValue { values: values.collect() })
    };
    let config = config(
        "actions:
  - { key: user.id, from_attribute: http.request.header.x_user_id, action: upsert }
  - { key: http.request.header.x_user_id, action: delete }
  - { key: args, from_attribute: process.command_args, action: upsert }
  - { key: process.command_args, converted_type: string, action: convert }",
    );
    let header = |texts: &[&str]| attribute("http.request.header.x_user_id", list(texts));
    let items = vec![
        vec![header(&["andrew"])],
        vec![header(&["andrew", "bayko"])],
        vec![text("http.request.header.x_user_id", "plain")],
        vec![attribute("process.command_args", list(&["flask"]))],
        vec![header(&[])],
    ];
    let (_, bytes) = edited(&config, Signal::Traces, &traces(items), 5);
    let got = ExportTraceServiceRequest::decode(&*bytes).unwrap();
    let spans = &got.resource_spans[0].scope_spans[0].spans;
    assert_eq!(spans[0].attributes, [text("user.id", "andrew")]);
    assert_eq!(spans[1].attributes, [attribute("user.id", list(&["andrew", "bayko"]))]);
    assert_eq!(spans[2].attributes, [text("user.id", "plain")]);
    let copied = attribute("args", list(&["flask"]));
    assert_eq!(spans[3].attributes, [text("process.command_args", "flask"), copied]);
    assert_eq!(spans[4].attributes, [attribute("user.id", list(&[]))]);
}

#[test]
fn unknown_fields_and_split_values_survive() {
    // A span of an unknown field, and an attribute whose value is in two parts.
    let config = config("actions: [{ key: copy, from_attribute: a, action: insert }]");
    let (mut kv, mut part) = (Vec::new(), Vec::new());
    put_bytes(&mut kv, 1, b"a");
    put_bytes(&mut kv, 2, &[]);
    put_bytes(&mut part, 1, b"late");
    put_bytes(&mut kv, 2, &part);
    let (mut span, mut scope, mut entry, mut body) = (vec![], vec![], vec![], vec![]);
    put_bytes(&mut span, 99, b"unknown");
    put_bytes(&mut span, 9, &kv);
    put_bytes(&mut scope, 2, &span);
    put_bytes(&mut entry, 2, &scope);
    put_bytes(&mut body, 1, &entry);
    let mut processor = config.build(&BuildContext::test("attributes", Signal::Traces)).unwrap();
    let (_, after) = run(&mut *processor, Signal::Traces, body, 1);
    let bytes = after.body.concat();
    assert!(bytes.windows(7).any(|window| window == b"unknown"));
    let got = ExportTraceServiceRequest::decode(&*bytes).unwrap();
    let attributes = &got.resource_spans[0].scope_spans[0].spans[0].attributes;
    assert_eq!(attributes[..], [text("a", "late"), text("copy", "late")]);
}

#[test]
fn doubles_and_lists_become_text() {
    let config = config("actions: [{ key: a, converted_type: string, action: convert }]");
    let list = value(&AttributeValue::List(vec![
        AttributeValue::Int(1),
        AttributeValue::Text("x".to_owned()),
    ]));
    let items = vec![
        vec![attribute("a", Value::DoubleValue(1.5))],
        vec![attribute("a", list)],
        vec![attribute("a", Value::BytesValue(vec![1, 2]))],
    ];
    let (_, bytes) = edited(&config, Signal::Traces, &traces(items), 3);
    let got = ExportTraceServiceRequest::decode(&*bytes).unwrap();
    let spans = &got.resource_spans[0].scope_spans[0].spans;
    let texts: Vec<_> = spans.iter().map(|span| span.attributes[0].clone()).collect();
    assert_eq!(texts, [text("a", "1.5"), text("a", "[1,\"x\"]"), text("a", "AQI=")]);
}

#[test]
fn a_default_is_taken_where_the_source_has_nothing() {
    let config = config(
        "actions:
  - { key: a, from_attribute: none, default_value: d, action: insert }
  - { key: b, from_attribute: b, default_value: d, action: upsert }
  - { key: c, from_context: metadata.absent, default_value: 7, action: upsert }
  - { key: e, from_context: metadata.x-user, default_value: d, action: upsert }
  - { key: f, default_value: [1], action: upsert }
  - { key: g, from_attribute: none, default_value: d, action: update }
  - { key: h, value: 1, default_value: 2, action: insert }",
    );
    let (_, bytes) = edited(&config, Signal::Traces, &traces(vec![vec![text("b", "own")]]), 1);
    let got = ExportTraceServiceRequest::decode(&*bytes).unwrap();
    let list = value(&AttributeValue::List(vec![AttributeValue::Int(1)]));
    let expected = [
        text("b", "own"),
        text("a", "d"),
        attribute("c", Value::IntValue(7)),
        text("e", "ann;bob"),
        attribute("f", list),
        attribute("h", Value::IntValue(1)),
    ];
    assert_eq!(got.resource_spans[0].scope_spans[0].spans[0].attributes, expected);
}

#[test]
fn wrong_actions_are_shown_at_their_place() {
    let yaml = "actions:
  - { key: a, action: insert }
  - { key: a, action: upsert, value: 1, from_attribute: b }
  - { action: delete }
  - { key: a, action: extract, pattern: (x) }
  - { key: a, action: hash, pattern: '(' }
  - { key: a, action: convert }
  - { key: a, action: delete, value: 1 }
  - { key: a, action: insert, from_context: auth. }
  - { key: a }
  - { key: a, action: hash, default_value: x }
include: { match_type: strict }
exclude: { services: [a] }";
    let tree = yaml::parse(0, yaml).unwrap();
    let mut problems = Problems::default();
    let config = config::decode::<Config>(&tree, &mut problems).unwrap();
    config.validate(&tree, &mut problems);
    let messages: Vec<_> =
        problems.0.iter().map(|p| format!("{}: {}", p.path, p.message)).collect();
    let expected = [
        "actions::0: `insert` needs a value",
        "actions::1: several sources of one value: `value`, `from_attribute`",
        "actions::2: missing required field \"key\" in the action at index 2",
        "actions::3::pattern: every group of an `extract` pattern needs a name",
        "actions::4::pattern: not a regular expression: unclosed group",
        "actions::5: `convert` needs a `converted_type`",
        "actions::6: `delete` takes no `value`",
        "actions::7::from_context: `auth.` names no attribute of the authenticator",
        "actions::8: the action has no `action`",
        "actions::9::default_value: `default_value` has no effect: this action takes no value",
        "include: `include` names no property to match",
        "exclude: the key `match_type` is missing",
    ];
    assert_eq!(messages, expected);
}
