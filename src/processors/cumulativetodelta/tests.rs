use serde_json::{Value, json};

use super::*;
use crate::{
    otlp::plain::{metric_list, metrics},
    processors::trial::{Came, Trial, examples, problems},
};

fn trial(settings: &str) -> Trial {
    Trial::of(&ENTRY, Signal::Metrics, settings)
}

fn sum(name: &str, time: u64, value: &Value) -> Value {
    let mut point = json!({"startTimeUnixNano": "5", "timeUnixNano": time.to_string()});
    let (key, value) = if value.is_f64() {
        ("asDouble", value.clone())
    } else {
        ("asInt", json!(value.to_string()))
    };
    point[key] = value;
    json!({"name": name, "sum": {
        "aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [point]}})
}

/// The deltas of values that come one after the other.
fn deltas(settings: &str, values: &[Value]) -> Vec<Value> {
    let mut trial = trial(settings);
    let mut found = Vec::new();
    for (at, value) in values.iter().enumerate() {
        let came = trial.send(&metrics(&[sum("m", 100 + at as u64, value)]));
        found.extend(came.requests.iter().map(|request| {
            let data = &metric_list(request)[0]["sum"];
            assert_eq!(data["aggregationTemporality"], 1);
            let point = &data["dataPoints"][0];
            point.get("asInt").or(point.get("asDouble")).cloned().unwrap()
        }));
    }
    found
}

#[test]
fn sums_become_what_was_added() {
    let ints = |all: &[i64]| all.iter().map(|value| json!(value)).collect::<Vec<_>>();
    assert_eq!(deltas("{}", &ints(&[0, 100, 200, 500])), ["100", "100", "300"]);
    assert_eq!(deltas("{initial_value: keep}", &ints(&[7, 100])), ["7", "93"]);
    assert_eq!(deltas("{}", &ints(&[100, 105, 120, 100, 110])), ["5", "15", "10"]);
    assert_eq!(deltas("{}", &[json!(1.5), json!(2.0), json!(4.0)]), [0.5, 2.0]);
}

#[test]
fn what_is_not_a_number_stays_and_no_value_goes() {
    let mut trial = trial("{}");
    trial.send(&metrics(&[sum("m", 1, &json!(0.0))]));
    let mut nan = sum("m", 2, &json!(0.0));
    nan["sum"]["dataPoints"][0]["asDouble"] = json!("NaN");
    let came = trial.send(&metrics(&[nan]));
    assert_eq!(metric_list(&came.only())[0]["sum"]["dataPoints"][0]["asDouble"], "NaN");
    let mut none = sum("m", 3, &json!(100.0));
    none["sum"]["dataPoints"][0]["flags"] = json!(1);
    let came = trial.send(&metrics(&[none]));
    assert_eq!((came.requests.len(), came.filtered), (0, 1));
    let came = trial.send(&metrics(&[sum("m", 4, &json!(200.0))]));
    assert_eq!(metric_list(&came.only())[0]["sum"]["dataPoints"][0]["asDouble"], 200.0);
}

#[test]
fn a_delta_begins_where_the_last_point_ended() {
    let mut trial = trial("{}");
    trial.send(&metrics(&[sum("m", 100, &json!(1))]));
    let came = trial.send(&metrics(&[sum("m", 200, &json!(4))]));
    assert_eq!(
        metric_list(&came.only())[0]["sum"]["dataPoints"],
        json!([{"startTimeUnixNano": "100", "timeUnixNano": "200", "asInt": "3"}])
    );
    let late = trial.send(&metrics(&[sum("m", 150, &json!(2))]));
    assert_eq!((late.requests.len(), late.filtered), (0, 1));
    assert_eq!(trial.sum("otelcol_cumulativetodelta_datapoints"), 3);
    assert_eq!(trial.sum("otelcol_cumulativetodelta_datapoints_dropped"), 2);
    assert_eq!(trial.sum("otelcol_cumulativetodelta_streams_tracked"), 1);
}

#[test]
fn the_start_time_tells_whether_the_first_point_counts() {
    let mut trial = trial("{}");
    let mut later = sum("m", 100, &json!(9));
    let after = SystemTime::now() + Duration::from_mins(1);
    let after = after.duration_since(UNIX_EPOCH).unwrap().as_nanos();
    later["sum"]["dataPoints"][0]["startTimeUnixNano"] = json!(after.to_string());
    let came = trial.send(&metrics(&[later, sum("m", 100, &json!(9))]));
    let list = metric_list(&came.only());
    assert_eq!((list.len(), came.filtered), (1, 1));
    assert_eq!(list[0]["sum"]["dataPoints"][0]["asInt"], "9");
}

#[test]
fn only_chosen_metrics_are_converted() {
    let is_same = |settings: &str, metric: &Value| {
        let mut trial = trial(settings);
        let same = trial.send(&metrics(std::slice::from_ref(metric))).is_same;
        same && trial.sum("otelcol_cumulativetodelta_datapoints") == 0
    };
    let metric = sum("m", 1, &json!(1));
    assert!(!is_same("{}", &metric));
    assert!(is_same("{include: {metrics: [other], match_type: strict}}", &metric));
    assert!(!is_same("{include: {metrics: ['^m$'], match_type: regexp}}", &metric));
    assert!(is_same("{include: {metric_types: [histogram]}}", &metric));
    assert!(is_same("{exclude: {metric_types: [sum]}}", &metric));
    let both = "{include: {metrics: [m], match_type: strict}, exclude: {metrics: [m], match_type: strict}}";
    assert!(is_same(both, &metric));
    let mut other = metric.clone();
    other["sum"]["isMonotonic"] = json!(false);
    assert!(is_same("{}", &other));
    let mut delta = metric;
    delta["sum"]["aggregationTemporality"] = json!(1);
    assert!(is_same("{}", &delta));
    assert!(is_same("{}", &json!({"name": "g", "gauge": {"dataPoints": [{"asInt": "1"}]}})));
}

fn histogram(time: u64, counts: [u64; 2], sum: f64) -> Value {
    json!({"name": "h", "histogram": {"aggregationTemporality": 2, "dataPoints": [{
        "timeUnixNano": time.to_string(), "count": (counts[0] + counts[1]).to_string(), "sum": sum,
        "min": 1.0, "max": 9.0, "bucketCounts": counts.map(|count| count.to_string()),
        "explicitBounds": [5.0]}]}})
}

fn point(came: &Came, kind: &str) -> Value {
    metric_list(&came.only())[0][kind]["dataPoints"][0].clone()
}

#[test]
fn histograms_become_what_was_added() {
    let mut trial = trial("{}");
    trial.send(&metrics(&[histogram(1, [1, 2], 10.0)]));
    let came = trial.send(&metrics(&[histogram(2, [4, 2], 13.5)]));
    assert_eq!(
        point(&came, "histogram"),
        json!({"startTimeUnixNano": "1", "timeUnixNano": "2", "count": "3", "sum": 3.5,
               "bucketCounts": ["3", "0"], "explicitBounds": [5.0]})
    );
    let came = trial.send(&metrics(&[histogram(3, [1, 1], 5.0)]));
    assert_eq!((came.requests.len(), came.filtered), (0, 1), "a reset");
    let mut other = histogram(4, [5, 5], 9.0);
    other["histogram"]["dataPoints"][0]["explicitBounds"] = json!([6.0]);
    assert_eq!(trial.send(&metrics(&[other.clone()])).filtered, 1, "other buckets");
    other["histogram"]["dataPoints"][0]["timeUnixNano"] = json!("5");
    let added = point(&trial.send(&metrics(&[other])), "histogram");
    assert_eq!(added["bucketCounts"], json!(["0", "0"]));
    assert!(added["count"].is_null(), "zero is not written: {added}");
}

#[test]
fn exponential_histograms_become_what_was_added() {
    let exponential = |time: u64, scale: i32, offset: i32, counts: &[u64], zero: u64| {
        let count = counts.iter().sum::<u64>() + zero;
        let counts: Vec<String> = counts.iter().map(ToString::to_string).collect();
        json!({"name": "e", "exponentialHistogram": {"aggregationTemporality": 2, "dataPoints": [{
            "timeUnixNano": time.to_string(), "count": count.to_string(), "scale": scale,
            "zeroCount": zero.to_string(),
            "positive": {"offset": offset, "bucketCounts": counts}}]}})
    };
    let mut trial = trial("{}");
    trial.send(&metrics(&[exponential(1, 2, 4, &[1, 1, 2], 1)]));
    // The scale is lower: buckets 4 and 5 are bucket 2 now, bucket 6 is bucket 3.
    let came = trial.send(&metrics(&[exponential(2, 1, 1, &[7, 2, 5], 1)]));
    let added = point(&came, "exponentialHistogram");
    assert_eq!(added["count"], "10");
    assert_eq!(added["positive"], json!({"offset": 1, "bucketCounts": ["7", "0", "3"]}));
    let came = trial.send(&metrics(&[exponential(3, 2, 1, &[9, 9, 9], 1)]));
    assert_eq!(came.filtered, 1, "a higher scale is another histogram");
}

#[test]
fn silent_series_are_forgotten() {
    let mut trial = trial("{max_staleness: 5m}");
    trial.send(&metrics(&[sum("m", 1, &json!(1))]));
    for _ in 0..7 {
        trial.wait(Duration::from_mins(1));
    }
    assert_eq!(trial.sum("otelcol_cumulativetodelta_streams_tracked"), 0);
    let came = trial.send(&metrics(&[sum("m", 2, &json!(5))]));
    assert_eq!(came.filtered, 1, "it is a first point again");
}

#[test]
fn mistakes_are_shown() {
    for (settings, at, message) in [
        ("{include: {metrics: [a]}}", "include", "`match_type` is missing"),
        ("{exclude: {metrics: ['('], match_type: regexp}}", "'('", "invalid"),
        ("{include: {metric_types: [gauge]}}", "gauge", "unknown value"),
        ("{initial_value: maybe}", "maybe", "unknown value"),
    ] {
        let found = problems(&ENTRY, settings);
        assert!(
            found.iter().any(|[place, words, _]| place.contains(at) && words.contains(message)),
            "{settings}: {found:?}"
        );
    }
}

#[test]
fn the_examples_do_what_they_say() {
    let [main, sums] = &examples(&ENTRY)[..] else { panic!("two examples") };
    for (settings, name, converts) in [
        (main, "system.network.io", true),
        (main, "other", false),
        (sums, "other", true),
        (sums, "jvm.gc", false),
    ] {
        let mut trial = trial(settings);
        trial.send(&metrics(&[sum(name, 1, &json!(1))]));
        let is_converted = trial.sum("otelcol_cumulativetodelta_datapoints") == 1;
        assert_eq!(is_converted, converts, "{name}");
    }
}
