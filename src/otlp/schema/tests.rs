//! The tables against the generated types: Debug text lists every field of a message, and bytes
//! made by the tables must pass through the oracle without loss.

use std::{collections::BTreeSet, fmt::Debug};

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1 as common,
    logs::v1 as logs,
    metrics::v1 as metrics,
    resource::v1 as resource,
    trace::v1 as trace,
};
use prost::Message as _;

use super::*;
use crate::otlp::wire::{WireType, put_bytes, put_varint, tag};

/// All fields of `message` once, nonzero; of a oneof the member numbered `choice` modulo their
/// number.
fn full(message: &Message, choice: usize, depth: usize) -> Vec<u8> {
    let members: Vec<_> =
        message.fields.iter().filter(|f| f.presence == Presence::OneOf).map(|f| f.number).collect();
    let mut out = Vec::new();
    for field in message.fields {
        let is_left_out =
            field.presence == Presence::OneOf && members[choice % members.len()] != field.number;
        let number = field.number;
        match field.kind {
            _ if is_left_out => {}
            Kind::Message(_) if depth == 0 => {}
            Kind::Message(of) => put_bytes(&mut out, number, &full(of, choice, depth - 1)),
            Kind::String => put_bytes(&mut out, number, field.name.as_bytes()),
            Kind::Bytes => put_bytes(&mut out, number, &[1, 2, 3]),
            Kind::Id(len) => put_bytes(&mut out, number, &vec![7; len]),
            Kind::Fixed32 => {
                put_varint(&mut out, tag(number, WireType::Fixed32));
                out.extend_from_slice(&9u32.to_le_bytes());
            }
            Kind::Fixed64 | Kind::Sfixed64 | Kind::Double
                if field.presence == Presence::Repeated =>
            {
                put_bytes(&mut out, number, &[1; 16]);
            }
            Kind::Fixed64 | Kind::Sfixed64 | Kind::Double => {
                put_varint(&mut out, tag(number, WireType::Fixed64));
                out.extend_from_slice(&[1; 8]);
            }
            _ if field.presence == Presence::Repeated => put_bytes(&mut out, number, &[1, 2]),
            _ => {
                put_varint(&mut out, tag(number, WireType::Varint));
                out.push(1);
            }
        }
    }
    out
}

#[test]
fn everything_that_the_tables_know_passes_through_the_oracle() {
    for choice in 0..8 {
        for depth in 0..9 {
            let bytes = full(&TRACES, choice, depth);
            let back = ExportTraceServiceRequest::decode(&bytes[..]).unwrap().encoded_len();
            assert_eq!(back, bytes.len(), "traces, member {choice}, depth {depth}");
            let bytes = full(&METRICS, choice, depth);
            let back = ExportMetricsServiceRequest::decode(&bytes[..]).unwrap().encoded_len();
            assert_eq!(back, bytes.len(), "metrics, member {choice}, depth {depth}");
            let bytes = full(&LOGS, choice, depth);
            let back = ExportLogsServiceRequest::decode(&bytes[..]).unwrap().encoded_len();
            assert_eq!(back, bytes.len(), "logs, member {choice}, depth {depth}");
        }
    }
}

/// Compares the names in a table with the names in the Debug text of an empty message.
fn compare(message: &Message, oracle: &impl Debug, one_of: &str) {
    let text = format!("{oracle:?}");
    let (_, fields) = text.split_once(" { ").expect("a struct prints its fields");
    let theirs: BTreeSet<String> = fields
        .split([',', '{', '}'])
        .filter_map(|part| part.split_once(':'))
        .map(|(name, _)| name.trim().trim_start_matches("r#").to_owned())
        .filter(|name| name != one_of)
        .collect();
    let ours: BTreeSet<String> = message
        .fields
        .iter()
        .filter(|field| field.presence != Presence::OneOf)
        .map(|field| field.name.to_owned())
        .collect();
    assert_eq!(ours, theirs, "{}", message.name);
}

#[test]
fn the_tables_have_every_field_of_the_generated_types() {
    compare(&KEY_VALUE, &common::KeyValue::default(), "");
    compare(&ARRAY_VALUE, &common::ArrayValue::default(), "");
    compare(&KEY_VALUE_LIST, &common::KeyValueList::default(), "");
    compare(&SCOPE, &common::InstrumentationScope::default(), "");
    compare(&ENTITY_REF, &common::EntityRef::default(), "");
    compare(&RESOURCE, &resource::Resource::default(), "");
    compare(&TRACES, &ExportTraceServiceRequest::default(), "");
    compare(&RESOURCE_SPANS, &trace::ResourceSpans::default(), "");
    compare(&SCOPE_SPANS, &trace::ScopeSpans::default(), "");
    compare(&SPAN, &trace::Span::default(), "");
    compare(&SPAN_EVENT, &trace::span::Event::default(), "");
    compare(&SPAN_LINK, &trace::span::Link::default(), "");
    compare(&STATUS, &trace::Status::default(), "");
    compare(&LOGS, &ExportLogsServiceRequest::default(), "");
    compare(&RESOURCE_LOGS, &logs::ResourceLogs::default(), "");
    compare(&SCOPE_LOGS, &logs::ScopeLogs::default(), "");
    compare(&LOG_RECORD, &logs::LogRecord::default(), "");
    compare(&METRICS, &ExportMetricsServiceRequest::default(), "");
    compare(&RESOURCE_METRICS, &metrics::ResourceMetrics::default(), "");
    compare(&SCOPE_METRICS, &metrics::ScopeMetrics::default(), "");
    compare(&METRIC, &metrics::Metric::default(), "data");
    compare(&GAUGE, &metrics::Gauge::default(), "");
    compare(&SUM, &metrics::Sum::default(), "");
    compare(&HISTOGRAM, &metrics::Histogram::default(), "");
    compare(&EXPONENTIAL_HISTOGRAM, &metrics::ExponentialHistogram::default(), "");
    compare(&SUMMARY, &metrics::Summary::default(), "");
    compare(&NUMBER_POINT, &metrics::NumberDataPoint::default(), "value");
    compare(&HISTOGRAM_POINT, &metrics::HistogramDataPoint::default(), "");
    let point = metrics::ExponentialHistogramDataPoint::default();
    compare(&EXPONENTIAL_HISTOGRAM_POINT, &point, "");
    let buckets = metrics::exponential_histogram_data_point::Buckets::default();
    compare(&BUCKETS, &buckets, "");
    compare(&SUMMARY_POINT, &metrics::SummaryDataPoint::default(), "");
    let quantile = metrics::summary_data_point::ValueAtQuantile::default();
    compare(&VALUE_AT_QUANTILE, &quantile, "");
    compare(&EXEMPLAR, &metrics::Exemplar::default(), "value");
}

/// Every message that can be reached from `message`.
fn reachable(message: &'static Message, known: &mut Vec<&'static Message>) {
    if known.iter().any(|m| m.name == message.name) {
        return;
    }
    known.push(message);
    for field in message.fields {
        if let Kind::Message(of) = field.kind {
            reachable(of, known);
        }
    }
}

#[test]
fn names_in_json_are_the_names_in_lower_camel_case() {
    let mut all = Vec::new();
    for signal in Signal::ALL {
        reachable(request(signal), &mut all);
    }
    assert_eq!(all.len(), 34);
    for message in all {
        assert!(message.fields.len() <= 32, "a reader keeps one bit per field");
        for field in message.fields {
            let mut camel = String::new();
            for (i, word) in field.name.split('_').enumerate() {
                let (first, rest) = word.split_at(1);
                camel += &if i == 0 { first.to_owned() } else { first.to_uppercase() };
                camel += rest;
            }
            assert_eq!(field.json, camel, "{}", message.name);
        }
    }
}

#[test]
fn enum_names_are_those_of_the_generated_types() {
    for (number, name) in enums::SEVERITY_NUMBER.names.iter().enumerate() {
        let number = i32::try_from(number).unwrap();
        let theirs = logs::SeverityNumber::try_from(number).unwrap().as_str_name();
        assert_eq!(enums::SEVERITY_NUMBER.number(theirs), Some(number), "{name}");
    }
    for number in 0..6 {
        let theirs = trace::span::SpanKind::try_from(number).unwrap().as_str_name();
        assert_eq!(enums::SPAN_KIND.number(theirs), Some(number));
    }
    for number in 0..3 {
        let theirs = trace::status::StatusCode::try_from(number).unwrap().as_str_name();
        assert_eq!(enums::STATUS_CODE.number(theirs), Some(number));
        let theirs = metrics::AggregationTemporality::try_from(number).unwrap().as_str_name();
        assert_eq!(enums::AGGREGATION_TEMPORALITY.number(theirs), Some(number));
    }
}
