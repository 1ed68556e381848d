//! Metrics: series, rates and quantiles; and no more of them than there is room for.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::{NOW, audit, small, take};
use crate::{
    otlp::{Signal, plain, wild},
    recent::{MeterKind, MetricSeries, MetricSummary, Recent},
};

fn send(recent: &Recent, metrics: &[Json]) {
    take(recent, Signal::Metrics, plain::bytes(Signal::Metrics, &plain::metrics(metrics)));
}

fn at(second: u64) -> String {
    (NOW + second * 1_000_000_000).to_string()
}

fn sum(name: &str, points: &[(u64, i64, &str)]) -> Json {
    let points: Vec<Json> = points
        .iter()
        .map(|(second, value, route)| {
            json!({"timeUnixNano": at(*second), "asInt": value.to_string(),
                "attributes": {"route": route}})
        })
        .collect();
    json!({"name": name, "unit": "1",
        "sum": {"dataPoints": points, "aggregationTemporality": 2, "isMonotonic": true}})
}

fn only(recent: &Recent) -> (MetricSummary, Vec<MetricSeries>) {
    let list = recent.metrics();
    assert_eq!(list.metrics.len(), 1);
    let (series, count) = recent.series(list.metrics[0].id, &[], NOW);
    assert_eq!(series.len(), count);
    (list.metrics[0].clone(), series)
}

#[test]
fn a_counter_has_a_rate_and_a_reset_is_seen() {
    let recent = small();
    send(
        &recent,
        &[sum("requests", &[(0, 100, "/a"), (10, 150, "/a"), (20, 30, "/a"), (0, 1, "/b")])],
    );
    let (metric, series) = only(&recent);
    assert_eq!((metric.kind, metric.is_monotonic, metric.series), (MeterKind::Sum, true, 2));
    assert_eq!((metric.points, metric.overflow, metric.attributes["route"]), (4, 0, 2));
    let a = series.iter().find(|one| one.attributes["route"] == "/a").unwrap();
    assert_eq!(a.value, [Some(100.0), Some(150.0), Some(30.0)]);
    assert_eq!((&a.rate[..], &a.resets[..]), (&[None, Some(5.0), Some(3.0)][..], &[2][..]));
    let (found, count) = recent.series(metric.id, &[("route".to_owned(), json!("/b"))], NOW);
    assert_eq!((count, found[0].value[0]), (1, Some(1.0)));
    assert_eq!(recent.series(99, &[], NOW), (Vec::new(), 0));
}

#[test]
fn quantiles_of_a_cumulative_histogram_are_of_what_came_in_between() {
    let recent = small();
    let point = |second, counts: [u64; 3]| {
        let count: u64 = counts.iter().sum();
        json!({"timeUnixNano": at(second), "count": count.to_string(), "sum": 1.0,
            "explicitBounds": [10.0, 20.0],
            "bucketCounts": counts.map(|count| count.to_string())})
    };
    let points = [point(0, [100, 0, 0]), point(10, [100, 10, 0])];
    send(
        &recent,
        &[json!({"name": "latency", "unit": "ms",
        "histogram": {"dataPoints": points, "aggregationTemporality": 2}})],
    );
    let (_, series) = only(&recent);
    let (part, line) = &series[0].quantiles[0];
    assert!((part - 0.5).abs() < 1e-9);
    assert_eq!(line, &[Some(5.0), Some(15.0)]);
    assert_eq!(series[0].rate, [None, Some(1.0)]);
}

#[test]
fn other_distributions_have_quantiles_too() {
    let recent = small();
    send(
        &recent,
        &[
            json!({"name": "a", "exponentialHistogram": {"aggregationTemporality": 1, "dataPoints": [
            {"timeUnixNano": at(0), "count": "4", "sum": 8.0, "scale": 0, "zeroCount": "1",
                "positive": {"offset": 1, "bucketCounts": ["3"]}}]}}),
            json!({"name": "b", "summary": {"dataPoints": [{"timeUnixNano": at(0), "count": "2",
            "sum": 3.0, "quantileValues": [{"quantile": 0.5, "value": 7.0}]}]}}),
        ],
    );
    let list = recent.metrics();
    let quantiles = |at: usize| recent.series(list.metrics[at].id, &[], NOW).0[0].quantiles.clone();
    let median = quantiles(0)[0].1[0].unwrap();
    assert!((2.0..4.0).contains(&median), "{median}");
    assert_eq!(quantiles(1), [(0.5, vec![Some(7.0)])]);
}

#[test]
fn a_series_keeps_its_last_points_and_too_many_series_are_counted() {
    let recent = small();
    for second in 0..600 {
        send(&recent, &[sum("requests", &[(second, 1, "/a")])]);
    }
    let (metric, series) = only(&recent);
    let first = (NOW + (600 - 256) * 1_000_000_000) / 1_000_000;
    assert_eq!((metric.points, series[0].value.len()), (600, 256));
    assert_eq!(series[0].time_ms[0], first);
    assert!(series[0].time_ms.is_sorted());
    audit(&recent);
    for batch in 0..100 {
        let routes: Vec<String> = (0..100).map(|at| format!("/{batch}/{at}")).collect();
        let points: Vec<(u64, i64, &str)> = routes.iter().map(|route| (0, 1, &**route)).collect();
        send(&recent, &[sum("requests", &points)]);
    }
    audit(&recent);
    let metric = recent.metrics().metrics.remove(0);
    assert!(metric.overflow > 1000 && metric.series > 1000, "{metric:?}");
    let series = u64::try_from(metric.series).unwrap();
    assert_eq!(metric.overflow + series - 1, 10_000);
}

#[test]
fn quiet_series_make_room_and_old_ones_go() {
    let recent = small();
    let mut store = crate::sync::lock(&recent.store);
    let minute = 60_000_000_000;
    for at in 0..200 {
        let routes: Vec<String> = (0..100).map(|route| format!("/{at}/{route}")).collect();
        let points: Vec<(u64, i64, &str)> = routes.iter().map(|route| (0, 1, &**route)).collect();
        let request = plain::metrics(&[sum("requests", &points)]);
        let request = plain::bytes(Signal::Metrics, &request);
        store.take(Signal::Metrics, &request, 0, NOW + at * minute / 20);
    }
    let meters = store.meters.as_ref().unwrap();
    assert!(meters.kinds[0].overflow < 20_000 - meters.series.len() as u64, "some made room");
    assert!(meters.series.iter().any(|series| series.attributes.contains("/199/")));
    store.expire(NOW + 60 * minute);
    assert_eq!(store.meters.as_ref().unwrap().series.len(), 0);
    drop(store);
    audit(&recent);
}

proptest! {
    #[test]
    fn every_point_is_held_or_counted(seeds in prop::collection::vec(any::<u64>(), 1..12)) {
        let recent = small();
        let mut points = 0;
        for seed in seeds {
            let request = wild::request(Signal::Metrics, seed, wild::OneOfs::Kept);
            points += wild::oracle::items(Signal::Metrics, &request).len() as u64;
            take(&recent, Signal::Metrics, request);
            audit(&recent);
        }
        let list = recent.metrics();
        prop_assert_eq!(list.metrics.iter().map(|metric| metric.points).sum::<u64>(), points);
        for metric in &list.metrics {
            let (series, count) = recent.series(metric.id, &[], NOW);
            prop_assert_eq!(count, metric.series);
            for one in series {
                prop_assert_eq!(one.value.len(), one.rate.len());
                prop_assert!(one.quantiles.iter().all(|(_, line)| line.len() == one.value.len()));
            }
        }
    }
}
