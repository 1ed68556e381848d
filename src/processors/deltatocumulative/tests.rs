use serde_json::{Value, json};

use super::*;
use crate::{
    otlp::plain::{metric_list, metrics},
    processors::trial::{Came, Trial, examples, problems},
};

fn trial(settings: &str) -> Trial {
    Trial::of(&ENTRY, Signal::Metrics, settings)
}

fn delta(name: &str, (start, time): (u64, u64), value: i64) -> Value {
    json!({"name": name, "sum": {"aggregationTemporality": 1, "isMonotonic": true, "dataPoints": [{
        "startTimeUnixNano": start.to_string(), "timeUnixNano": time.to_string(),
        "asInt": value.to_string()}]}})
}

fn point(came: &Came, kind: &str) -> Value {
    let metric = &metric_list(&came.only())[0];
    assert_eq!(metric[kind]["aggregationTemporality"], 2);
    metric[kind]["dataPoints"][0].clone()
}

#[test]
fn deltas_are_added_up_in_order() {
    let mut trial = trial("{}");
    let mut found = Vec::new();
    for times in [(1000, 1100), (1100, 1200), (1300, 1400), (1200, 1300), (500, 550)] {
        let came = trial.send(&metrics(&[delta("m", times, 2)]));
        if came.requests.is_empty() {
            assert_eq!(came.filtered, 1);
            continue;
        }
        let point = point(&came, "sum");
        found.push(
            [&point["startTimeUnixNano"], &point["timeUnixNano"], &point["asInt"]]
                .map(|one| one.as_str().unwrap().to_owned()),
        );
    }
    assert_eq!(found, [["1000", "1100", "2"], ["1000", "1200", "4"], ["1000", "1400", "6"]]);
    assert_eq!(trial.sum("otelcol_deltatocumulative_datapoints"), 5);
    assert_eq!(trial.sum("otelcol_deltatocumulative_streams_tracked"), 1);
    assert_eq!(trial.sum("otelcol_deltatocumulative_streams_max_stale"), 300);
}

#[test]
fn other_metrics_stay() {
    let mut trial = trial("{}");
    let mut unspecified = delta("m", (1, 2), 3);
    unspecified["sum"]["aggregationTemporality"] = json!(0);
    assert!(trial.send(&metrics(&[unspecified])).is_same);
    let gauge = json!({"name": "g", "gauge": {"dataPoints": [{"asInt": "1"}]}});
    assert!(trial.send(&metrics(&[gauge])).is_same);
}

#[test]
fn series_are_limited() {
    let mut trial = trial("{max_streams: 10}");
    for at in 0..12 {
        let came = trial.send(&metrics(&[delta(&format!("m{at}"), (1, 2), 3)]));
        assert_eq!(came.requests.len(), usize::from(at < 10), "{at}");
    }
    assert_eq!(trial.sum("otelcol_deltatocumulative_streams_tracked"), 10);
    assert_eq!(trial.sum("otelcol_deltatocumulative_streams_limit"), 10);
    let came = trial.send(&metrics(&[delta("m0", (2, 3), 3)]));
    assert_eq!(point(&came, "sum")["asInt"], "6");
}

#[test]
fn histograms_are_added_up() {
    let histogram = |time: u64, counts: [u64; 2], bound: f64| {
        json!({"name": "h", "histogram": {"aggregationTemporality": 1, "dataPoints": [{
            "startTimeUnixNano": "1", "timeUnixNano": time.to_string(),
            "count": (counts[0] + counts[1]).to_string(), "sum": 2.5, "min": time, "max": 9.0,
            "bucketCounts": counts.map(|count| count.to_string()), "explicitBounds": [bound]}]}})
    };
    let mut trial = trial("{}");
    trial.send(&metrics(&[histogram(2, [1, 2], 5.0)]));
    let sum = point(&trial.send(&metrics(&[histogram(3, [4, 0], 5.0)])), "histogram");
    assert_eq!((&sum["count"], &sum["sum"]), (&json!("7"), &json!(5.0)));
    assert_eq!((sum["min"].as_f64(), sum["max"].as_f64()), (Some(2.0), Some(9.0)));
    assert_eq!((&sum["bucketCounts"], &sum["explicitBounds"]), (&json!(["5", "2"]), &json!([5.0])));
    let anew = point(&trial.send(&metrics(&[histogram(4, [1, 1], 6.0)])), "histogram");
    assert_eq!((&anew["count"], &anew["explicitBounds"]), (&json!("2"), &json!([6.0])));
}

#[test]
fn exponential_histograms_are_added_up() {
    let exponential = |time: u64, scale: i32, offset: i32, counts: &[&str]| {
        json!({"name": "e", "exponentialHistogram": {"aggregationTemporality": 1, "dataPoints": [{
            "startTimeUnixNano": "1", "timeUnixNano": time.to_string(), "count": "4", "scale": scale,
            "positive": {"offset": offset, "bucketCounts": counts}}]}})
    };
    let mut trial = trial("{}");
    trial.send(&metrics(&[exponential(2, 1, 2, &["1", "1", "2"])]));
    let came = trial.send(&metrics(&[exponential(3, 0, 1, &["3", "1"])]));
    let sum = point(&came, "exponentialHistogram");
    assert_eq!((&sum["count"], sum.get("scale")), (&json!("8"), None));
    assert_eq!(sum["positive"], json!({"offset": 1, "bucketCounts": ["5", "3"]}));
}

#[test]
fn silent_series_are_forgotten() {
    let mut trial = trial("{max_stale: 2m}");
    trial.send(&metrics(&[delta("m", (1, 2), 3)]));
    for _ in 0..4 {
        trial.wait(Duration::from_mins(1));
    }
    assert_eq!(trial.sum("otelcol_deltatocumulative_streams_tracked"), 0);
    assert_eq!(point(&trial.send(&metrics(&[delta("m", (2, 3), 5)])), "sum")["asInt"], "5");
}

#[test]
fn mistakes_are_shown() {
    let found = problems(&ENTRY, "{max_stale: 0s, max_streams: 0}");
    assert_eq!((&*found[0][0], &*found[1][0]), ("0s", "0"));
}

#[test]
fn the_example_runs() {
    let [main] = &examples(&ENTRY)[..] else { panic!("one example") };
    let mut trial = trial(main);
    trial.send(&metrics(&[delta("m", (1, 2), 3)]));
    assert_eq!(trial.sum("otelcol_deltatocumulative_streams_limit"), 100_000);
}
