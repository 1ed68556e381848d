//! Points in, documents out: the cases of the reference's 5.8 and more.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value as Any},
    metrics::v1::{
        AggregationTemporality, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge,
        Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
        Summary, SummaryDataPoint, exponential_histogram_data_point::Buckets, metric::Data,
        number_data_point::Value as Number, summary_data_point::ValueAtQuantile,
    },
    resource::v1::Resource,
};
use proptest::prelude::*;
use prost::Message as _;
use serde_json::{Value as Json, json};

use super::{
    super::cloudwatch::{batch::Note, left_out::LeftOut},
    *,
};
use crate::otlp::wild::{self, OneOfs};

mod distributions;
mod names;

const TIME: u64 = 1_760_600_498_250_000_000;
const NOW: u64 = TIME + 1_000_000;
const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;
const DELTA: i32 = AggregationTemporality::Delta as i32;

fn labels(all: &[(&str, &str)]) -> Vec<KeyValue> {
    let one = |(key, value): &(&str, &str)| KeyValue {
        key: (*key).to_owned(),
        value: Some(AnyValue { value: Some(Any::StringValue((*value).to_owned())) }),
        ..KeyValue::default()
    };
    all.iter().map(one).collect()
}

fn point(value: f64, of: &[(&str, &str)]) -> NumberDataPoint {
    NumberDataPoint {
        time_unix_nano: TIME,
        attributes: labels(of),
        value: Some(Number::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

fn metric(name: &str, unit: &str, data: Data) -> Metric {
    Metric { name: name.to_owned(), unit: unit.to_owned(), data: Some(data), ..Metric::default() }
}

fn gauge(name: &str, unit: &str, data_points: Vec<NumberDataPoint>) -> Metric {
    metric(name, unit, Data::Gauge(Gauge { data_points }))
}

fn counter(value: f64) -> Metric {
    let data_points = vec![point(value, &[])];
    let sum = Sum { data_points, aggregation_temporality: CUMULATIVE, is_monotonic: true };
    metric("requests", "1", Data::Sum(sum))
}

fn payload(resource: &[(&str, &str)], scope: &str, metrics: Vec<Metric>) -> Content {
    let scope = InstrumentationScope { name: scope.to_owned(), ..Default::default() };
    let scope_metrics =
        vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }];
    let resource = Some(Resource { attributes: labels(resource), ..Resource::default() });
    let entry = ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() };
    let body = ExportMetricsServiceRequest { resource_metrics: vec![entry] }.encode_to_vec();
    Content::new(Signal::Metrics, body.into(), 1)
}

/// An exporter with its state.
struct Bench {
    translation: Translation,
    totals: Totals,
}

impl Bench {
    fn new(config: &Config) -> Self {
        Bench { translation: config.translation().unwrap(), totals: Totals::default() }
    }

    /// Group and document of each event, and what was left out.
    fn send(&mut self, payload: &Content) -> (Vec<(String, Json)>, Note) {
        let piece = self.translation.piece(&Work::all(payload), &mut self.totals, NOW, None);
        let mut all = Vec::new();
        for batch in &piece.encoded.all {
            for (_, document) in batch.events(0) {
                let group = batch.target().group.clone();
                all.push((group, serde_json::from_slice(document).unwrap()));
            }
        }
        (all, piece.encoded.note.clone())
    }

    fn documents(&mut self, metrics: Vec<Metric>) -> Vec<Json> {
        let (all, note) = self.send(&payload(&[], "", metrics));
        assert_eq!(note.lost(), 0);
        all.into_iter().map(|(_, document)| document).collect()
    }
}

/// Many small points share a large resource and scope; a counter grows by one from point to point,
/// so that one that was taken twice or not at all would show.
#[test]
fn a_request_that_expands_goes_out_in_pieces_within_their_room() {
    let large = "\u{1}\"".repeat(2000);
    let resource = ["a", "b", "c", "d", "e"].map(|key| (key, &*large));
    let points = |n: u64| {
        let label = format!("{}", n / 2);
        let value = if n.is_multiple_of(2) { 5.0 } else { 6.0 };
        NumberDataPoint { time_unix_nano: TIME + n, ..point(value, &[("n", &label)]) }
    };
    let data_points = (0..300).map(points).collect();
    let sum = Sum { data_points, aggregation_temporality: CUMULATIVE, is_monotonic: true };
    let metrics = vec![metric("requests", "1", Data::Sum(sum))];
    let content = Content { items: 300, ..payload(&resource, &large, metrics) };
    for (room, with_resource) in [(1 << 20, true), (1 << 20, false), (512 << 10, true)] {
        let enabled = with_resource;
        let conversion = ResourceConversion { enabled, ..ResourceConversion::default() };
        let config = Config { resource_to_telemetry_conversion: conversion, ..Config::default() };
        let mut bench = Bench::new(&config);
        let mut work = Work { room, ..Work::all(&content) };
        let (mut items, mut total, mut short, mut first) = (0, 0.0, 0, 0);
        loop {
            let piece = bench.translation.piece(&work, &mut bench.totals, NOW, None);
            assert!(piece.held <= room, "{} bytes", piece.held);
            let note = &piece.encoded.note;
            assert_eq!(note.lost(), 0);
            items += piece.items;
            first += note.left_out(LeftOut::First);
            short += note.shortened;
            for batch in &piece.encoded.all {
                for (_, document) in batch.events(0) {
                    let document: Json = serde_json::from_slice(document).unwrap();
                    total += document["requests"].as_f64().unwrap();
                }
            }
            let Some(next) = piece.next else { break };
            assert!(next.items() > work.from.items(), "it goes on");
            work.from = next;
        }
        assert_eq!((items, first, total), (300, 150, 150.0));
        assert_eq!(short > 0, with_resource);
    }
}

/// M01, M03 and M07: the whole of a document.
#[test]
fn points_of_the_same_labels_stand_in_one_document() {
    let ab = [("b", "2"), ("a", "1")];
    let metrics = vec![
        gauge("latency", "ms", vec![point(1.5, &ab)]),
        gauge("size", "By", vec![point(7.0, &ab)]),
        gauge("ratio", "1", vec![point(0.5, &[])]),
    ];
    let resource = [("service.name", "web"), ("service.namespace", "shop")];
    let (all, _) = Bench::new(&Config::default()).send(&payload(&resource, "lib", metrics));
    assert_eq!(all.len(), 2);
    let (group, document) = &all[0];
    assert_eq!(group, "/metrics/shop/web");
    let expected = json!({
        "Version": "1",
        "_aws": {
            "Timestamp": TIME / 1_000_000,
            "CloudWatchMetrics": [{
                "Namespace": "shop/web",
                "Dimensions": [["OTelLib", "a", "b"]],
                "Metrics": [
                    {"Name": "latency", "Unit": "Milliseconds"},
                    {"Name": "size", "Unit": "Bytes"},
                ],
            }],
        },
        "OTelLib": "lib", "a": "1", "b": "2",
        "latency": 1.5, "size": 7,
    });
    assert_eq!(*document, expected);
    assert_eq!(all[1].1["_aws"]["CloudWatchMetrics"][0]["Metrics"], json!([{"Name": "ratio"}]));
}

#[test]
fn the_older_version_has_its_own_places() {
    let config = Config { version: "0".to_owned(), ..Config::default() };
    let documents = Bench::new(&config).documents(vec![gauge("m", "", vec![point(1.0, &[])])]);
    assert_eq!(documents[0]["Timestamp"], (TIME / 1_000_000).to_string());
    assert_eq!(documents[0]["CloudWatchMetrics"][0]["Dimensions"], json!([[]]));
    assert_eq!(documents[0]["Version"], "0");
}

/// M05.
#[test]
fn a_counter_is_sent_as_what_was_added() {
    let mut bench = Bench::new(&Config::default());
    let sent: Vec<Vec<Json>> =
        [10.0, 25.0, 5.0].map(|value| bench.documents(vec![counter(value)])).into();
    assert_eq!(sent[0], Vec::<Json>::new());
    assert_eq!((&sent[1][0]["requests"], &sent[2][0]["requests"]), (&json!(15), &json!(5)));
    let config = Config { retain_initial_value_of_delta_metric: true, ..Config::default() };
    assert_eq!(Bench::new(&config).documents(vec![counter(10.0)])[0]["requests"], 10);
}

#[test]
fn what_goes_up_and_down_is_sent_as_it_stands_and_whole_numbers_stay_whole() {
    let in_use = |value| {
        let one = NumberDataPoint { value: Some(Number::AsInt(value)), ..point(0.0, &[]) };
        let sum = Sum {
            data_points: vec![one],
            aggregation_temporality: CUMULATIVE,
            is_monotonic: false,
        };
        metric("in_use", "{connection}", Data::Sum(sum))
    };
    let mut bench = Bench::new(&Config::default());
    assert_eq!(bench.documents(vec![in_use(7)])[0]["in_use"], json!(7));
    assert_eq!(bench.documents(vec![in_use(3)])[0]["in_use"], json!(3));
}

fn histogram(temporality: i32, counts: &[u64], sum: f64) -> Metric {
    let one = HistogramDataPoint {
        time_unix_nano: TIME,
        count: counts.iter().sum(),
        sum: Some(sum),
        bucket_counts: counts.to_vec(),
        explicit_bounds: vec![10.0, 100.0],
        ..HistogramDataPoint::default()
    };
    let data_points = vec![one];
    let histogram = Histogram { data_points, aggregation_temporality: temporality };
    metric("time", "ms", Data::Histogram(histogram))
}

#[test]
fn a_histogram_is_a_statistic_set_of_what_was_added() {
    let mut bench = Bench::new(&Config::default());
    let delta = bench.documents(vec![histogram(DELTA, &[1, 2, 0], 130.0)]);
    // No sender said least and greatest: they are within 10 and 100.
    let expected = json!({"Min": 10, "Max": 100, "Count": 3, "Sum": 130});
    assert_eq!(delta[0]["time"], expected);
    assert!(bench.documents(vec![histogram(CUMULATIVE, &[1, 2, 0], 130.0)]).is_empty());
    let added = bench.documents(vec![histogram(CUMULATIVE, &[1, 2, 3], 1130.0)]);
    // The greatest is above the last bound: it is no less than the mean.
    let expected = json!({"Min": 100, "Max": 1000.0 / 3.0, "Count": 3, "Sum": 1000});
    assert_eq!(added[0]["time"], expected);
    assert!(bench.documents(vec![histogram(CUMULATIVE, &[1, 2, 3], 1130.0)]).is_empty());
}

#[test]
fn an_exponential_histogram_is_values_from_high_to_low_in_parts_of_a_hundred() {
    let buckets = |offset, count: usize| Some(Buckets { offset, bucket_counts: vec![1; count] });
    let exponential = |scale, positive, negative, zero_count, count| {
        let one = ExponentialHistogramDataPoint {
            time_unix_nano: TIME,
            scale,
            count,
            sum: Some(9.0),
            zero_count,
            positive,
            negative,
            min: Some(-3.0),
            max: Some(7.0),
            ..ExponentialHistogramDataPoint::default()
        };
        let data_points = vec![one];
        let histogram = ExponentialHistogram { data_points, aggregation_temporality: DELTA };
        metric("time", "s", Data::ExponentialHistogram(histogram))
    };
    let mut bench = Bench::new(&Config::default());
    let small = bench.documents(vec![exponential(0, buckets(1, 2), buckets(1, 1), 1, 4)]);
    // The outermost buckets reach to least and greatest only.
    let expected = json!({
        "Values": [5.5, 3, 0, -2.5], "Counts": [1, 1, 1, 1],
        "Max": 7, "Min": -3, "Count": 4, "Sum": 9,
    });
    assert_eq!(small[0]["time"], expected);
    let large = bench.documents(vec![exponential(5, buckets(-60, 150), None, 0, 150)]);
    let number = |at: usize, name: &str| large[at]["time"][name].as_f64().unwrap();
    assert_eq!((large.len(), number(0, "Count"), number(1, "Count")), (2, 100.0, 50.0));
    assert_eq!((number(0, "Sum"), number(1, "Sum")), (6.0, 3.0), "each its share");
    let last = |at: usize| large[at]["time"]["Values"].as_array().unwrap().last().cloned();
    assert!(last(0).unwrap().as_f64() > last(1).unwrap().as_f64());
}

#[test]
fn a_summary_is_sent_as_what_was_added_as_a_statistic_set_or_its_parts() {
    let quantile = |quantile, value| ValueAtQuantile { quantile, value };
    let summary = |count, sum, greatest| {
        let one = SummaryDataPoint {
            time_unix_nano: TIME,
            count,
            sum,
            quantile_values: vec![
                quantile(0.0, 1.0),
                quantile(0.5, f64::NAN),
                quantile(1.0, greatest),
            ],
            ..SummaryDataPoint::default()
        };
        metric("gc", "s", Data::Summary(Summary { data_points: vec![one] }))
    };
    let mut bench = Bench::new(&Config::default());
    assert!(bench.documents(vec![summary(5, 10.0, 3.0)]).is_empty());
    let whole = bench.documents(vec![summary(9, 30.0, 9.0)]);
    assert_eq!(whole[0]["gc"], json!({"Min": 1, "Max": 9, "Count": 4, "Sum": 20}));
    let mut bench = Bench::new(&Config { detailed_metrics: true, ..Config::default() });
    bench.documents(vec![summary(5, 10.0, 3.0)]);
    let parts = bench.documents(vec![summary(9, 30.0, 9.0)]);
    assert_eq!((&parts[0]["gc_sum"], &parts[0]["gc_count"]), (&json!(20), &json!(4)));
    assert_eq!((&parts[2]["quantile"], &parts[2]["gc"]), (&json!("1"), &json!(9)));
}

/// M09.
#[test]
fn points_without_a_number_are_left_out_and_counted() {
    let nothing = NumberDataPoint { flags: 1, ..point(1.0, &[]) };
    let beyond = 2_f64.powi(361);
    let points = [f64::NAN, f64::INFINITY, beyond, 1.0].map(|value| point(value, &[]));
    let points = points.into_iter().chain([nothing]).collect();
    let sent = payload(&[], "", vec![gauge("m", "", points)]);
    let (documents, note) = Bench::new(&Config::default()).send(&sent);
    assert_eq!((documents.len(), note.left_out(LeftOut::NoNumber), note.lost()), (1, 4, 4));
}

#[test]
fn a_document_has_at_most_a_hundred_metrics_and_no_name_twice() {
    let mut metrics: Vec<Metric> =
        (0..150).map(|n| gauge(&format!("m{n}"), "", vec![point(1.0, &[])])).collect();
    metrics.push(gauge("m149", "", vec![point(2.0, &[])]));
    let documents = Bench::new(&Config::default()).documents(metrics);
    let names = |document: &Json| {
        document["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap().len()
    };
    assert_eq!(documents.iter().map(names).collect::<Vec<_>>(), [100, 50, 1]);
}

#[test]
fn the_configuration_chooses_names_units_and_labels() {
    let config = Config {
        namespace: "Shop".to_owned(),
        log_group_name: "/m/{ServiceName}/{resource.pod}".to_owned(),
        resource_to_telemetry_conversion: ResourceConversion {
            enabled: true,
            ..ResourceConversion::default()
        },
        parse_json_encoded_attr_values: vec!["meta".to_owned()],
        metric_descriptors: vec![MetricDescriptor {
            metric_name: "m".to_owned(),
            unit: "Count".to_owned(),
            overwrite: false,
        }],
        metric_declarations: vec![MetricDeclaration {
            dimensions: vec![vec!["service.name".to_owned()]],
            metric_name_selectors: vec!["^m$".to_owned()],
            label_matchers: Vec::new(),
        }],
        ..Config::default()
    };
    let of = [("pod", "p1"), ("meta", r#"{"k":[1]}"#), ("aws.emf.storage_resolution", "1")];
    let metrics =
        vec![gauge("m", "", vec![point(1.0, &of)]), gauge("other", "", vec![point(2.0, &of)])];
    let sent = payload(&[("service.name", "web")], "", metrics);
    let (all, _) = Bench::new(&config).send(&sent);
    let [(group, document)] = &all[..] else { panic!("{all:?}") };
    assert_eq!(group, "/m/web/p1", "what the resource has not is looked for among the labels");
    let directives = json!([{
        "Namespace": "Shop",
        "Dimensions": [["service.name"]],
        "Metrics": [{"Name": "m", "Unit": "Count", "StorageResolution": 1}],
    }]);
    assert_eq!(document["_aws"]["CloudWatchMetrics"], directives);
    assert_eq!(document["meta"], json!({"k": [1]}));
    assert_eq!(document["other"], 2, "what is not declared is in the log");
    assert_eq!(document.get("aws.emf.storage_resolution"), None);
}

#[test]
fn a_document_is_sent_as_it_was_made_also_the_second_time() {
    let config = Config::default();
    let mut bench = Bench::new(&config);
    bench.documents(vec![counter(1.0)]);
    let one = bench.documents(vec![counter(3.0)]);
    let again = bench.documents(vec![counter(3.0)]);
    assert_eq!((&one[0]["requests"], &again[0]["requests"]), (&json!(2), &json!(0)));
    let cx = BuildContext::test("awsemf", Signal::Metrics);
    let exporter = config.build(&cx).unwrap();
    assert_eq!(exporter.encodes(), Encodes::OrderedOnce, "in the order in which they came");
}
