//! Names of labels and metrics in a document, and what every document has to be.

use opentelemetry_proto::tonic::metrics::v1::ResourceMetrics as Entry;
use serde::{
    Deserializer as _,
    de::{IgnoredAny, MapAccess, Visitor},
};

use super::*;

/// A document has its own members of the format; its dimensions are texts, its metrics numbers,
/// each name once.
fn check(text: &[u8], is_version_0: bool) {
    let shown = String::from_utf8_lossy(text);
    let document: Json = serde_json::from_slice(text).unwrap();
    let written = serde_json::Deserializer::from_slice(text).deserialize_map(Count).unwrap();
    assert_eq!(document.as_object().unwrap().len(), written, "a name twice: {shown}");
    let version = if is_version_0 { "0" } else { "1" };
    assert_eq!(document["Version"], version, "{shown}");
    let own = if is_version_0 { &document } else { &document["_aws"] };
    assert_eq!(own["Timestamp"].is_string(), is_version_0, "{shown}");
    let mut names = BTreeMap::new();
    for directive in own["CloudWatchMetrics"].as_array().unwrap() {
        for set in directive["Dimensions"].as_array().unwrap() {
            let set = set.as_array().unwrap();
            assert!(set.len() <= 30, "{shown}");
            for name in set {
                let value = document[name.as_str().unwrap()].as_str();
                assert!(value.is_some_and(|value| !value.is_empty()), "{name}: {shown}");
            }
        }
        for metric in directive["Metrics"].as_array().unwrap() {
            let name = metric["Name"].as_str().unwrap();
            let value = &document[name];
            let parts = ["Max", "Min", "Count", "Sum"].map(|part| value[part].is_number());
            assert!(value.is_number() || parts == [true; 4], "{name}: {shown}");
            *names.entry(name.to_owned()).or_insert(0) += 1;
        }
    }
    assert!(names.len() <= 100 && names.values().all(|count| *count == 1), "{shown}");
}

/// Counts members as they are written; of two of the same name a tree keeps one.
struct Count;

impl<'de> Visitor<'de> for Count {
    type Value = usize;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<usize, A::Error> {
        let mut count = 0;
        while map.next_entry::<String, IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(count)
    }
}

/// Raw documents, and the note.
fn raw(bench: &mut Bench, payload: &Content) -> (Vec<Vec<u8>>, Note) {
    let batches =
        bench.translation.piece(&Work::all(payload), &mut bench.totals, NOW, None).encoded;
    let events = batches.all.iter().flat_map(|batch| batch.events(0));
    (events.map(|(_, text)| text.to_vec()).collect(), batches.note.clone())
}

#[test]
fn a_name_that_is_taken_gets_another() {
    for version in ["0", "1"] {
        let config = Config { version: version.to_owned(), ..Config::default() };
        let metrics = vec![
            gauge("requests", "", vec![point(3.0, &[("Version", "1.4.2"), ("Version_", "x")])]),
            gauge("errors", "", vec![point(2.0, &[("errors", "timeout")])]),
            gauge("_aws", "", vec![point(5.0, &[])]),
            gauge("OTelLib", "", vec![point(4.0, &[("a", "b")])]),
        ];
        let (documents, note) = raw(&mut Bench::new(&config), &payload(&[], "lib", metrics));
        for document in &documents {
            check(document, version == "0");
        }
        let read: Vec<Json> =
            documents.iter().map(|text| serde_json::from_slice(text).unwrap()).collect();
        let expected = [
            json!({"requests": 3, "Version__": "1.4.2", "Version_": "x", "OTelLib": "lib"}),
            json!({"errors": 2, "errors_": "timeout", "OTelLib": "lib"}),
            json!({"_aws_": 5, "OTelLib": "lib"}),
            json!({"OTelLib": 4, "OTelLib_": "lib", "a": "b"}),
        ];
        assert_eq!(read.len(), expected.len());
        for (document, expected) in read.iter().zip(&expected) {
            for (name, value) in expected.as_object().unwrap() {
                assert_eq!(&document[name], value, "{document}");
            }
        }
        assert_eq!((note.renamed, note.lost()), (4, 0));
    }
}

#[test]
fn a_label_that_is_json_is_no_dimension() {
    let parsed = vec!["meta".to_owned(), "text".to_owned()];
    let config = Config { parse_json_encoded_attr_values: parsed, ..Config::default() };
    let of = [("meta", r#"{"k":[1]}"#), ("text", "no json"), ("a", "b")];
    let documents = Bench::new(&config).documents(vec![gauge("m", "", vec![point(1.0, &of)])]);
    let directive = &documents[0]["_aws"]["CloudWatchMetrics"][0];
    assert_eq!(directive["Dimensions"], json!([["a", "text"]]));
}

#[test]
fn what_is_too_large_for_an_event_is_several_or_is_left_out() {
    let large = "x".repeat(1000);
    let metrics = (0..100).map(|n| gauge(&format!("{n}{large}"), "", vec![point(1.0, &[])]));
    let labels = [("a", "y".repeat(900_000))].map(|(name, value)| (name.to_owned(), value));
    let labels = labels.each_ref().map(|(name, value)| (&**name, &**value));
    let mut metrics: Vec<Metric> = metrics.collect();
    for metric in &mut metrics {
        if let Some(Data::Gauge(gauge)) = &mut metric.data {
            gauge.data_points[0].attributes = super::labels(&labels);
        }
    }
    let huge = "z".repeat(1 << 20);
    metrics.push(gauge("huge", "", vec![point(1.0, &[("a", &huge)])]));
    metrics.push(gauge(&"n".repeat(1025), "", vec![point(1.0, &[])]));
    let mut bench = Bench::new(&Config::default());
    let (documents, note) = raw(&mut bench, &payload(&[], "", metrics));
    assert!(documents.len() > 1);
    for document in &documents {
        check(document, false);
    }
    let left_out = [LeftOut::TooLarge, LeftOut::Name].map(|reason| note.left_out(reason));
    assert_eq!((left_out, note.lost()), ([1, 1], 2));
}

/// Names that clash with everything.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "_aws",
            "Version",
            "Timestamp",
            "CloudWatchMetrics",
            "OTelLib",
            "quantile"
        ])
        .prop_map(str::to_owned),
        "[ab]{1,2}_{0,2}",
    ]
}

proptest! {
    #[test]
    fn any_names_give_documents_that_cloudwatch_takes(
        is_version_0: bool,
        is_detailed: bool,
        all in prop::collection::vec((name(), prop::collection::vec((name(), "[ {1]{0,2}"), 0..4), 0..3), 1..12),
    ) {
        let config = Config {
            version: if is_version_0 { "0" } else { "1" }.to_owned(),
            detailed_metrics: is_detailed,
            retain_initial_value_of_delta_metric: true,
            resource_to_telemetry_conversion: ResourceConversion { enabled: true, ..Default::default() },
            parse_json_encoded_attr_values: vec!["a".to_owned()],
            dimension_rollup_option: RollupOption::ZeroAndSingleDimensionRollup,
            ..Config::default()
        };
        let metrics = all.iter().map(|(name, labels, kind)| {
            let labels: Vec<(&str, &str)> =
                labels.iter().map(|(name, value)| (&**name, &**value)).collect();
            match kind {
                0 => gauge(name, "", vec![point(1.5, &labels)]),
                1 => {
                    let one = HistogramDataPoint {
                        time_unix_nano: TIME, count: 2, sum: Some(3.0),
                        attributes: super::labels(&labels), ..HistogramDataPoint::default()
                    };
                    let data = Histogram { data_points: vec![one], aggregation_temporality: DELTA };
                    metric(name, "", Data::Histogram(data))
                }
                _ => {
                    let one = SummaryDataPoint {
                        time_unix_nano: TIME, count: 2, sum: 3.0,
                        quantile_values: vec![ValueAtQuantile { quantile: 0.5, value: 1.0 }],
                        attributes: super::labels(&labels), ..SummaryDataPoint::default()
                    };
                    metric(name, "", Data::Summary(Summary { data_points: vec![one] }))
                }
            }
        });
        let payload = payload(&[("Version", "r"), ("b", "r")], "lib", metrics.collect());
        let (documents, _) = raw(&mut Bench::new(&config), &payload);
        for document in &documents {
            check(document, is_version_0);
        }
    }

    #[test]
    fn any_request_gives_documents_within_the_limits_and_loses_no_point_unsaid(seeds: [u64; 2]) {
        let mut bench = Bench::new(&Config { detailed_metrics: true, ..Config::default() });
        for seed in seeds {
            let body = wild::request(Signal::Metrics, seed, OneOfs::Kept);
            let request = ExportMetricsServiceRequest::decode(&body[..]).unwrap();
            let payload = Content::new(Signal::Metrics, body.into(), 1);
            for document in &raw(&mut bench, &payload).0 {
                check(document, false);
            }
            // Each point by itself: it makes an event, or says why not.
            for payload in points(&request) {
                let (documents, note) = raw(&mut bench, &payload);
                let said: u64 = LeftOut::ALL.into_iter().map(|reason| note.left_out(reason)).sum();
                prop_assert!(said <= 1 && (said == 1 || !documents.is_empty()), "{said}");
            }
        }
    }
}

/// A request for each point of a request.
fn points(request: &ExportMetricsServiceRequest) -> Vec<Content> {
    fn each<P: Clone>(points: &[P], data: impl Fn(Vec<P>) -> Data) -> Vec<Data> {
        points.iter().map(|point| data(vec![point.clone()])).collect()
    }
    let mut all = Vec::new();
    for entry in &request.resource_metrics {
        for scope in &entry.scope_metrics {
            for metric in &scope.metrics {
                let datas = match metric.data.clone() {
                    None => Vec::new(),
                    Some(Data::Gauge(own)) => {
                        each(&own.data_points, |data_points| Data::Gauge(Gauge { data_points }))
                    }
                    Some(Data::Sum(own)) => {
                        each(&own.data_points, |data_points| Data::Sum(Sum { data_points, ..own }))
                    }
                    Some(Data::Histogram(own)) => each(&own.data_points, |data_points| {
                        Data::Histogram(Histogram { data_points, ..own })
                    }),
                    Some(Data::ExponentialHistogram(own)) => {
                        each(&own.data_points, |data_points| {
                            Data::ExponentialHistogram(ExponentialHistogram { data_points, ..own })
                        })
                    }
                    Some(Data::Summary(own)) => {
                        each(&own.data_points, |data_points| Data::Summary(Summary { data_points }))
                    }
                };
                for data in datas {
                    let metrics = vec![Metric { data: Some(data), ..metric.clone() }];
                    let scope_metrics = vec![ScopeMetrics { metrics, ..scope.clone() }];
                    let entry = Entry { scope_metrics, ..entry.clone() };
                    let request = ExportMetricsServiceRequest { resource_metrics: vec![entry] };
                    let body = request.encode_to_vec();
                    all.push(Content::new(Signal::Metrics, body.into(), 1));
                }
            }
        }
    }
    all
}
