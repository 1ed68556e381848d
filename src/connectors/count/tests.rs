use std::collections::BTreeMap;

use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    metrics::v1::{
        AggregationTemporality, Gauge, Metric as Made, NumberDataPoint, ResourceMetrics,
        ScopeMetrics, metric::Data, number_data_point::Value,
    },
    trace::v1::span::Event,
};
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::{
    connectors::trial::{
        Trial, attributes, by_service, metric, metrics, points, problems, resource_spans, shown,
        span, text, traces,
    },
    otlp::wild::{self, OneOfs},
};

fn count(settings: &str, input: Signal) -> Trial {
    Trial::new(&ENTRY, settings, input, (Signal::Metrics, &["metrics"]))
}

fn with_events(
    name: &str,
    all: &[(&str, &str)],
    events: usize,
) -> opentelemetry_proto::tonic::trace::v1::Span {
    let event = Event { name: "e".to_owned(), time_unix_nano: 5, ..Event::default() };
    opentelemetry_proto::tonic::trace::v1::Span { events: vec![event; events], ..span(name, all) }
}

fn request() -> ExportTraceServiceRequest {
    traces(vec![
        resource_spans(
            &[("service.name", "a"), ("region", "eu")],
            vec![
                with_events("foo", &[("required", "foo"), ("optional", "x")], 2),
                with_events("foo", &[("required", "foo")], 0),
                with_events("bar", &[("required", "notfoo"), ("n", "7")], 1),
                with_events("baz", &[], 0),
            ],
        ),
        resource_spans(&[("service.name", "b")], vec![]),
    ])
}

#[test]
fn without_settings_everything_is_counted_by_resource() {
    let mut trial = count("{}", Signal::Traces);
    let made = metrics(&trial.send(&request()));
    let services: Vec<_> = by_service(&made).into_iter().map(|(name, _)| name).collect();
    assert_eq!(services, ["a"], "a resource without spans has no counts");
    assert_eq!(
        text(&made.resource_metrics[0].resource.as_ref().unwrap().attributes, "region"),
        "eu"
    );
    assert_eq!(shown(metric(&made, "trace.span.count")), [": 4"]);
    assert_eq!(shown(metric(&made, "trace.span.event.count")), [": 3"]);
    let Some(Data::Sum(sum)) = &metric(&made, "trace.span.count").data else { panic!() };
    assert!(sum.is_monotonic);
    assert_eq!(sum.aggregation_temporality, AggregationTemporality::Delta as i32);
    let times = |name| {
        let point = &points(metric(&made, name))[0];
        (point.start_time_unix_nano, point.time_unix_nano)
    };
    assert_eq!(times("trace.span.count"), (1_000_000_000, 1_100_000_000));
    assert_eq!(times("trace.span.event.count"), (5, 5));
    assert!(trial.send(&traces(vec![])).is_empty());
}

#[test]
fn conditions_are_joined_by_or_and_attributes_split_the_count() {
    for (settings, expected) in [
        ("conditions: ['name == \"foo\"']", vec![": 2"]),
        ("conditions: ['name == \"foo\"', 'name == \"baz\"']", vec![": 3"]),
        ("conditions: ['resource.attributes[\"absent\"] != nil']", vec![]),
        ("attributes: [{key: required}]", vec!["required=foo: 2", "required=notfoo: 1"]),
        (
            "attributes: [{key: optional, default_value: other}]",
            vec!["optional=other: 3", "optional=x: 1"],
        ),
        (
            "conditions: ['name == \"foo\"', 'name == \"bar\"'], attributes: [{key: required}]",
            vec!["required=foo: 2", "required=notfoo: 1"],
        ),
        // Numbers stay numbers; scope and resource are looked at, too; 0 is a default.
        ("attributes: [{key: n}]", vec!["n=i7: 1"]),
        ("attributes: [{key: n, default_value: 0}]", vec!["n=i0: 3", "n=i7: 1"]),
        ("attributes: [{key: region}]", vec!["region=eu: 4"]),
        // A condition that fails does not hold.
        ("conditions: ['Len(attributes[\"n\"]) > 0', 'name == \"foo\"']", vec![": 2"]),
    ] {
        let mut trial = count(&format!("{{spans: {{m: {{{settings}}}}}}}"), Signal::Traces);
        let made = metrics(&trial.send(&request()));
        let found = made.resource_metrics.iter().flat_map(|entry| &entry.scope_metrics[0].metrics);
        let found: Vec<_> = found.filter(|metric| metric.name == "m").flat_map(shown).collect();
        assert_eq!(found, expected, "{settings}");
        // The other section has its default.
        assert_eq!(shown(metric(&made, "trace.span.event.count")), [": 3"]);
    }
}

#[test]
fn metrics_and_data_points_are_counted() {
    let point = |value: &str| NumberDataPoint {
        attributes: attributes(&[("k", value)]),
        time_unix_nano: 9,
        ..NumberDataPoint::default()
    };
    let data = Some(Data::Gauge(Gauge { data_points: ["x", "y", "x"].map(point).to_vec() }));
    let full = Made { name: "full".to_owned(), data, ..Made::default() };
    let empty = Made { name: "empty".to_owned(), ..Made::default() };
    let scope = ScopeMetrics { metrics: vec![full, empty], ..ScopeMetrics::default() };
    let entry = ResourceMetrics { scope_metrics: vec![scope], ..ResourceMetrics::default() };
    let request = ExportMetricsServiceRequest { resource_metrics: vec![entry] };
    let mut trial = count("{datapoints: {d: {attributes: [{key: k}]}}}", Signal::Metrics);
    let made = metrics(&trial.send(&request));
    assert_eq!(shown(metric(&made, "metric.count")), [": 2"]);
    assert_eq!(shown(metric(&made, "d")), ["k=x: 2", "k=y: 1"]);
    assert_eq!(points(metric(&made, "d"))[0].time_unix_nano, 9);
    assert!(points(metric(&made, "metric.count"))[0].time_unix_nano > 9, "now");
}

#[test]
fn what_is_above_the_limit_is_counted_together() {
    let mut trial = count(
        "{aggregation_cardinality_limit: 1, spans: {m: {attributes: [{key: required}]}}}",
        Signal::Traces,
    );
    let made = metrics(&trial.send(&request()));
    assert_eq!(shown(metric(&made, "m")), ["otel.metric.overflow=true: 1", "required=foo: 2"]);
    assert_eq!(trial.sum("skep_connector_overflow_items"), 1);
    // The next request begins anew.
    let made = metrics(&trial.send(&request()));
    assert_eq!(shown(metric(&made, "m")).len(), 2);
}

#[test]
fn mistakes_are_found() {
    for (settings, expected) in [
        ("{spans: {'': {}}}", "the name of the metric is empty"),
        ("{spans: {m: {attributes: [{}]}}}", "attribute key missing"),
        ("{spans: {m: {attributes: [{key: a}, {key: a}]}}}", "duplicate attribute key `a`"),
        ("{spans: {m: {conditions: ['nam == 1']}}}", "a span has no field `nam`"),
        ("{metrics: {m: {attributes: [{key: a}]}}}", "attributes not supported for metrics"),
        ("{profiles: {}}", "skep has no profiles"),
    ] {
        let found = problems(&ENTRY, settings, &[Signal::Traces]);
        assert!(found.iter().any(|problem| problem.contains(expected)), "{settings}: {found:?}");
    }
}

proptest! {
    /// Counts of spans by kind and status are those of the decoded request.
    #[test]
    fn counts_are_those_of_the_decoded_request(seed: u64) {
        let body = wild::request(Signal::Traces, seed, OneOfs::Mixed);
        let mut trial = count(
            "{spans: {m: {conditions: ['kind == 2', 'status.code == 2']}}, spanevents: {}}",
            Signal::Traces,
        );
        let request = ExportTraceServiceRequest::decode(&*body).unwrap();
        let mut expected = Vec::new();
        for entry in request.resource_spans {
            let spans = entry.scope_spans.iter().flat_map(|scope| &scope.spans);
            let code = |span: &opentelemetry_proto::tonic::trace::v1::Span| {
                span.status.as_ref().map_or(0, |status| status.code)
            };
            let count = spans.filter(|span| span.kind == 2 || code(span) == 2).count();
            if count > 0 {
                expected.push((entry.resource, i64::try_from(count).unwrap()));
            }
        }
        let made = metrics(&trial.send_bytes(body));
        let found: Vec<_> = made
            .resource_metrics
            .into_iter()
            .map(|entry| {
                let value = points(&entry.scope_metrics[0].metrics[0])[0].value;
                let Some(Value::AsInt(count)) = value else { panic!("{value:?}") };
                (entry.resource, count)
            })
            .collect();
        // As text, because NaN is not equal to itself.
        prop_assert_eq!(format!("{found:?}"), format!("{expected:?}"));
    }

    /// The counts of all values of an attribute are those of the decoded request.
    #[test]
    fn counts_by_attribute_are_those_of_the_decoded_request(values in prop::collection::vec("[a-c]{0,2}", 0..30)) {
        let spans: Vec<_> = values.iter().map(|value| span("s", &[("k", value)])).collect();
        let mut trial = count("{spans: {m: {attributes: [{key: k}]}}}", Signal::Traces);
        let made = metrics(&trial.send(&traces(vec![resource_spans(&[], spans)])));
        let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
        for value in &values {
            *expected.entry(value).or_default() += 1;
        }
        let expected: Vec<_> =
            expected.into_iter().map(|(value, count)| format!("k={value}: {count}")).collect();
        let found = made.resource_metrics.first().map(|_| shown(metric(&made, "m")));
        prop_assert_eq!(found.unwrap_or_default(), expected);
    }
}
