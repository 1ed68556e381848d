use std::{collections::BTreeMap, time::Duration};

use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    metrics::v1::{HistogramDataPoint, Metric, metric::Data},
    trace::v1::{Span, Status, span::Event},
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

const CALLS: &str = "traces.span.metrics.calls";
const DURATION: &str = "traces.span.metrics.duration";

fn span_metrics(settings: &str) -> Trial {
    Trial::new(&ENTRY, settings, Signal::Traces, (Signal::Metrics, &["metrics"]))
}

/// Without attributes that points have by themselves, but for those named.
fn bare(but: &[&str], more: &str) -> String {
    let excluded: Vec<&str> = settings::OWN.into_iter().filter(|it| !but.contains(it)).collect();
    format!("{{exclude_dimensions: [{}], {more}}}", excluded.join(", "))
}

fn service(spans: Vec<Span>) -> ExportTraceServiceRequest {
    traces(vec![resource_spans(&[("service.name", "s"), ("foo", "99"), ("zone", "z")], spans)])
}

fn flush(trial: &mut Trial) -> ExportMetricsServiceRequest {
    metrics(&trial.wait(Duration::from_mins(1)))
}

fn histograms(metric: &Metric) -> &[HistogramDataPoint] {
    match &metric.data {
        Some(Data::Histogram(histogram)) => &histogram.data_points,
        other => panic!("{other:?}"),
    }
}

#[test]
fn spans_are_counted_by_resource_name_kind_and_status() {
    let mut trial = span_metrics("{exclude_dimensions: [collector.instance.id]}");
    let error =
        Span { kind: 3, status: Some(Status { code: 2, ..Status::default() }), ..span("a", &[]) };
    let other = resource_spans(&[("service.name", "t")], vec![span("a", &[])]);
    let nameless = resource_spans(&[("x", "y")], vec![span("a", &[]); 3]);
    let mut request = service(vec![span("a", &[]), error, span("a", &[])]);
    request.resource_spans.extend([other, nameless]);
    assert!(trial.send(&request).is_empty());
    let made = flush(&mut trial);
    let services: Vec<_> = by_service(&made).into_iter().map(|(name, _)| name).collect();
    assert_eq!(services, ["s", "t"]);
    let line = |kind: &str, status: &str, count: u64| {
        format!(
            "service.name=s span.name=a span.kind=SPAN_KIND_{kind} status.code=STATUS_CODE_{status}: {count}"
        )
    };
    let expected = [line("CLIENT", "ERROR", 1), line("SERVER", "UNSET", 2)];
    assert_eq!(shown(metric(&made, CALLS)), expected);
    let Some(Data::Sum(sum)) = &metric(&made, CALLS).data else { panic!() };
    assert!(sum.is_monotonic && sum.aggregation_temporality == 2);
    let duration = metric(&made, DURATION);
    assert_eq!(duration.unit, "ms");
    let point = &histograms(duration)[0];
    assert_eq!((point.count, point.sum), (2, Some(200.0)));
    assert_eq!(point.explicit_bounds[..3], [2.0, 4.0, 6.0]);
    assert_eq!((point.explicit_bounds.len(), point.bucket_counts.len()), (16, 17));
    assert_eq!(point.bucket_counts[6], 2, "100 ms is the bound of the seventh");
    assert_eq!(trial.sum("skep_span_metrics_nameless_spans"), 3);
    assert_eq!(trial.sum("skep_connector_series"), 3);
}

#[test]
fn cumulative_points_go_on_from_their_start_and_delta_ones_begin_anew() {
    for (temporality, second) in [("CUMULATIVE", 3), ("DELTA", 1)] {
        let mut trial = span_metrics(&bare(
            &["span.name"],
            &format!("aggregation_temporality: AGGREGATION_TEMPORALITY_{temporality}"),
        ));
        trial.send(&service(vec![span("a", &[]); 2]));
        let first = flush(&mut trial);
        assert_eq!(shown(metric(&first, CALLS)), ["span.name=a: 2"]);
        trial.send(&service(vec![span("a", &[])]));
        let next = flush(&mut trial);
        assert_eq!(shown(metric(&next, CALLS)), [format!("span.name=a: {second}")]);
        let times = |made: &ExportMetricsServiceRequest| {
            let point = &points(metric(made, CALLS))[0];
            (point.start_time_unix_nano, point.time_unix_nano)
        };
        let ((start, end), (next_start, next_end)) = (times(&first), times(&next));
        assert!(start > 0 && start <= end && end <= next_end);
        if temporality == "DELTA" {
            assert!(next_start >= end, "without overlap");
            assert!(trial.wait(Duration::from_mins(5)).is_empty(), "nothing new");
            assert_eq!(trial.sum("skep_connector_series"), 0);
        } else {
            assert_eq!(start, next_start);
            assert_eq!(trial.wait(Duration::from_mins(5)).len(), 5);
        }
    }
}

#[test]
fn dimensions_are_of_the_span_then_of_the_resource_then_default() {
    for (dimension, spans, expected) in [
        ("{name: foo}", vec![span("a", &[("foo", "100")])], vec!["foo=i100: 1"]),
        ("{name: foo}", vec![span("a", &[])], vec!["foo=i99: 1"]),
        ("{name: bar, default: baz}", vec![span("a", &[])], vec!["bar=baz: 1"]),
        ("{name: bar}", vec![span("a", &[])], vec![": 1"]),
        // The first attribute of a key counts.
        ("{name: k}", vec![span("a", &[("k", "x"), ("k", "y")])], vec!["k=x: 1"]),
        (
            "{glob: 'http.*'}",
            vec![span("a", &[("http.b", "1"), ("other", "x"), ("http.a", "y")]), span("b", &[])],
            vec![": 1", "http.a=y http.b=i1: 1"],
        ),
        ("{glob: 'zon?'}, {name: zone}", vec![span("a", &[])], vec!["zone=z: 1"]),
        ("{glob: 'z*'}", vec![span("a", &[("zone", "own")])], vec!["zone=own: 1"]),
    ] {
        let mut trial = span_metrics(&bare(&[], &format!("dimensions: [{dimension}]")));
        trial.send(&service(spans));
        assert_eq!(shown(metric(&flush(&mut trial), CALLS)), expected, "{dimension}");
    }
}

#[test]
fn keys_tell_apart_what_the_values_do() {
    // A missing dimension does not shift the others.
    let mut trial = span_metrics(&bare(&[], "dimensions: [{name: a}, {name: b}]"));
    trial.send(&service(vec![span("s", &[("a", "1")]), span("s", &[("b", "1")])]));
    assert_eq!(shown(metric(&flush(&mut trial), CALLS)), ["a=i1: 1", "b=i1: 1"]);
    // Texts that are the same when joined.
    let mut trial = span_metrics(&bare(&["span.name"], "dimensions: [{name: a}]"));
    trial.send(&service(vec![span("ab", &[("a", "c")]), span("a", &[("a", "bc")])]));
    assert_eq!(shown(metric(&flush(&mut trial), CALLS)).len(), 2);
    // Nothing is left to tell apart.
    let mut trial = span_metrics(&bare(&[], ""));
    trial.send(&service(vec![span("x", &[]), span("y", &[])]));
    assert_eq!(shown(metric(&flush(&mut trial), CALLS)), [": 2"]);
}

#[test]
fn calls_and_durations_may_have_dimensions_of_their_own() {
    let mut trial = span_metrics(&bare(
        &[],
        "calls_dimensions: [{name: a}], histogram: {dimensions: [{name: b}], unit: s}, namespace: ''",
    ));
    let spans = vec![span("x", &[("a", "1"), ("b", "1")]), span("x", &[("a", "2"), ("b", "1")])];
    trial.send(&service(spans));
    let made = flush(&mut trial);
    assert_eq!(shown(metric(&made, "calls")), ["a=i1: 1", "a=i2: 1"]);
    let durations = histograms(metric(&made, "duration"));
    assert_eq!((durations.len(), durations[0].count), (1, 2));
    assert_eq!(durations[0].sum, Some(0.2));
    let mut trial = span_metrics(&bare(&[], "histogram: {disable: true}"));
    trial.send(&service(vec![span("x", &[])]));
    assert_eq!(flush(&mut trial).resource_metrics[0].scope_metrics[0].metrics.len(), 1);
}

#[test]
fn exponential_histograms_and_exemplars_are_of_the_spans() {
    let mut trial = span_metrics(&bare(
        &[],
        "histogram: {exponential: {max_size: 8}}, exemplars: {enabled: true, max_per_data_point: 2}",
    ));
    trial.send(&service(vec![span("x", &[]); 3]));
    let made = flush(&mut trial);
    let Some(Data::ExponentialHistogram(histogram)) = &metric(&made, DURATION).data else {
        panic!("{made:?}")
    };
    let point = &histogram.data_points[0];
    assert_eq!((point.count, point.min, point.max), (3, Some(100.0), Some(100.0)));
    assert_eq!(point.exemplars.len(), 2);
    assert_eq!(point.exemplars[0].trace_id, [1; 16]);
    assert_eq!(points(metric(&made, CALLS))[0].exemplars.len(), 2);
    let made = flush(&mut trial);
    assert!(points(metric(&made, CALLS))[0].exemplars.is_empty(), "those of one interval");
}

#[test]
fn events_are_counted_by_their_attributes() {
    let event = |kind: &str| Event {
        name: "exception".to_owned(),
        attributes: attributes(&[("exception.type", kind)]),
        ..Event::default()
    };
    let span =
        Span { events: vec![event("E1"), event("E2"), event("E1")], ..span("x", &[("k", "v")]) };
    let mut trial = span_metrics(&bare(
        &["span.name"],
        "dimensions: [{name: k}], events: {enabled: true, dimensions: [{name: exception.type}]}",
    ));
    trial.send(&service(vec![span]));
    let made = flush(&mut trial);
    let expected = ["span.name=x k=v exception.type=E1: 2", "span.name=x k=v exception.type=E2: 1"];
    assert_eq!(shown(metric(&made, "traces.span.metrics.events")), expected);
    assert_eq!(shown(metric(&made, CALLS)), ["span.name=x k=v: 1"]);
}

#[test]
fn scopes_and_sampling_may_be_dimensions() {
    let mut trial = span_metrics(&bare(
        &[],
        "include_instrumentation_scope: [lib], enable_metrics_sampling_method: true",
    ));
    let sampled = Span { trace_state: "ot=th:8".to_owned(), ..span("x", &[]) };
    trial.send(&service(vec![span("x", &[]), sampled]));
    let scope = "span.instrumentation.scope.name=lib span.instrumentation.scope.version=i1";
    let made = flush(&mut trial);
    let lines: Vec<String> = shown(metric(&made, CALLS))
        .iter()
        .map(|line| line.replace("version=1", "version=i1"))
        .collect();
    let expected = [
        format!("sampling.method=counted {scope}: 1"),
        format!("sampling.method=extrapolated {scope}: 2"),
    ];
    assert_eq!(lines, expected);
    assert_eq!(histograms(metric(&made, DURATION))[1].count, 2);
}

#[test]
fn series_and_resources_are_limited() {
    let mut trial = span_metrics(&bare(&["span.name"], "aggregation_cardinality_limit: 2"));
    trial.send(&service(["a", "b", "c", "d", "a"].map(|name| span(name, &[])).to_vec()));
    let expected = ["otel.metric.overflow=true: 2", "span.name=a: 2", "span.name=b: 1"];
    let made = flush(&mut trial);
    assert_eq!(shown(metric(&made, CALLS)), expected);
    assert_eq!(histograms(metric(&made, DURATION)).len(), 3);
    assert_eq!(trial.sum("skep_connector_overflow_items"), 2);
    // Resources that go are sent.
    let mut trial = span_metrics(&bare(&[], "resource_metrics_cache_size: 2"));
    let of =
        |name: &str| traces(vec![resource_spans(&[("service.name", name)], vec![span("x", &[])])]);
    assert!(trial.send(&of("a")).is_empty());
    trial.wait(Duration::from_secs(1));
    assert!(trial.send(&of("b")).is_empty());
    trial.wait(Duration::from_secs(1));
    let gone = metrics(&trial.send(&of("c")));
    assert_eq!(by_service(&gone)[0].0, "a");
    let services: Vec<String> = by_service(&flush(&mut trial)).into_iter().map(|it| it.0).collect();
    assert_eq!(services, ["b", "c"]);
}

#[test]
fn quiet_series_and_resources_expire_once_they_were_sent() {
    let mut trial = span_metrics(&bare(&["span.name"], "series_expiration: 90s"));
    trial.send(&service(vec![span("a", &[]), span("b", &[])]));
    flush(&mut trial);
    trial.send(&service(vec![span("b", &[])]));
    assert_eq!(shown(metric(&flush(&mut trial), CALLS)), ["span.name=b: 2"]);
    // Shorter than the interval: what was not sent yet is kept.
    let mut trial = span_metrics(&bare(&[], "metrics_expiration: 1s"));
    trial.send(&service(vec![span("a", &[])]));
    assert_eq!(shown(metric(&flush(&mut trial), CALLS)), [": 1"]);
    assert!(trial.wait(Duration::from_mins(3)).is_empty());
    trial.send(&service(vec![span("a", &[])]));
    assert_eq!(shown(metric(&metrics(&trial.drain()), CALLS)), [": 1"]);
}

#[test]
fn resources_are_the_same_whatever_the_order_of_their_attributes() {
    let mut trial = span_metrics(&bare(&[], ""));
    let of = |all: &[(&str, &str)]| traces(vec![resource_spans(all, vec![span("x", &[])])]);
    trial.send(&of(&[("service.name", "s"), ("host", "h")]));
    trial.send(&of(&[("host", "h"), ("service.name", "s")]));
    trial.send(&of(&[("host", "other"), ("service.name", "s")]));
    assert_eq!(flush(&mut trial).resource_metrics.len(), 2);
    let mut trial = span_metrics(&bare(&[], "resource_metrics_key_attributes: [service.name]"));
    trial.send(&of(&[("service.name", "s"), ("pid", "1")]));
    trial.send(&of(&[("service.name", "s"), ("pid", "2")]));
    let made = flush(&mut trial);
    assert_eq!(shown(metric(&made, CALLS)), [": 2"]);
    let resource = made.resource_metrics[0].resource.as_ref().unwrap();
    assert_eq!(text(&resource.attributes, "pid"), "i1", "the first one");
}

#[test]
fn points_name_this_process_by_default() {
    let mut trial = span_metrics("{}");
    trial.send(&service(vec![span("x", &[])]));
    let made = flush(&mut trial);
    let id = text(&points(metric(&made, CALLS))[0].attributes, "collector.instance.id");
    assert_eq!(id.len(), 36);
}

#[test]
fn mistakes_are_found() {
    for (settings, expected) in [
        (
            "{histogram: {explicit: {}, exponential: {}}}",
            "a histogram has either `explicit` or `exponential` buckets",
        ),
        ("{histogram: {explicit: {buckets: [2s, 1s]}}}", "the bucket `1s` comes after `2s`"),
        ("{histogram: {exponential: {max_size: 1}}}", "`max_size` must be at least 2"),
        ("{metrics_flush_interval: 0}", "`metrics_flush_interval` must not be 0"),
        ("{resource_metrics_cache_size: 0}", "must be at least 1"),
        ("{events: {enabled: true}}", "no dimensions configured for events"),
        ("{dimensions: [{name: span.kind}]}", "duplicate dimension name `span.kind`"),
        (
            "{dimensions: [{name: a}], calls_dimensions: [{name: a}]}",
            "duplicate dimension name `a`",
        ),
        ("{dimensions: [{name: a, glob: b}]}", "a dimension has either a `name` or a `glob`"),
        ("{dimensions: [{glob: 'a[b]'}]}", "a pattern has only `*` and `?`"),
        ("{dimensions: [{glob: 'a*', default: b}]}", "a pattern has no default"),
        ("{exclude_dimensions: [span.nam]}", "points have no `span.nam` by themselves"),
    ] {
        let found = problems(&ENTRY, settings, &[Signal::Traces]);
        assert!(found.iter().any(|problem| problem.contains(expected)), "{settings}: {found:?}");
    }
    let fine = "{exclude_dimensions: [span.kind], dimensions: [{name: span.kind}]}";
    assert_eq!(problems(&ENTRY, fine, &[Signal::Traces]), Vec::<String>::new());
}

proptest! {
    /// Counts, sums and buckets by name and kind are those of the decoded requests.
    #[test]
    fn what_is_counted_is_what_the_decoded_requests_have(seeds in prop::collection::vec(any::<u64>(), 1..4)) {
        let mut trial = span_metrics(&bare(&["span.name", "span.kind"], "resource_metrics_key_attributes: [service.name]"));
        let mut expected: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
        for seed in seeds {
            let body = wild::request(Signal::Traces, seed, OneOfs::Mixed);
            let mut request = ExportTraceServiceRequest::decode(&*body).unwrap();
            for entry in &mut request.resource_spans {
                entry.resource.get_or_insert_default().attributes = attributes(&[("service.name", "s")]);
                for span in entry.scope_spans.iter_mut().flat_map(|scope| &mut scope.spans) {
                    span.trace_state = String::new();
                    let kind = crate::connectors::names::kind(span.kind).to_owned();
                    let entry = expected.entry((span.name.clone(), kind)).or_default();
                    entry.0 += 1;
                    let nanos = span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano);
                    entry.1 += u64::from(nanos > 15_000_000_000);
                }
            }
            trial.send(&request);
        }
        let made = metrics(&trial.drain());
        let mut found = BTreeMap::new();
        if !made.resource_metrics.is_empty() {
            for point in histograms(metric(&made, DURATION)) {
                let key = ["span.name", "span.kind"].map(|key| {
                    let one = point.attributes.iter().find(|one| one.key == key).unwrap();
                    match one.value.as_ref().unwrap().value.as_ref().unwrap() {
                        opentelemetry_proto::tonic::common::v1::any_value::Value::StringValue(text) => text.clone(),
                        other => panic!("{other:?}"),
                    }
                });
                let [name, kind] = key;
                let above = point.bucket_counts.last().copied().unwrap();
                prop_assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
                found.insert((name, kind), (point.count, above));
            }
        }
        prop_assert_eq!(found, expected);
    }
}
