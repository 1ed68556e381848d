use super::*;
use crate::admin::proto::{Budget, ExporterQueue};

/// A process with a pipeline of each component, after so many seconds at 1000 spans a second, of
/// which a tenth is filtered.
pub(in crate::cli::top) fn reading(seconds: u64) -> Reading {
    let items = 1000 * seconds;
    let kept = items * 9 / 10;
    let edge = |from: &str, to: &str, items: u64| Edge {
        pipeline: "traces".to_owned(),
        from: from.to_owned(),
        to: to.to_owned(),
        payloads: items / 100,
        items,
        bytes: items * 740,
        ..Edge::default()
    };
    let node = |kind: &str, id: &str| Node {
        pipeline: "traces".to_owned(),
        kind: kind.to_owned(),
        id: id.to_owned(),
        ..Node::default()
    };
    let component = |kind: &str, id: &str, state: State| Component {
        kind: kind.to_owned(),
        id: id.to_owned(),
        state: state.into(),
        signal: "traces".to_owned(),
        pipeline: if kind == "processor" { "traces".to_owned() } else { String::new() },
        ..Component::default()
    };
    let traffic = |incoming, outgoing, filtered, lost| {
        Some(Traffic { incoming, outgoing, filtered, lost, ..Traffic::default() })
    };
    let receiver = Component {
        traffic: traffic(items, items, 0, 0),
        ..component("receiver", "otlp", State::Ok)
    };
    let filter = Component {
        traffic: traffic(items, kept, items - kept, 0),
        ..component("processor", "filter/health", State::Ok)
    };
    let queue = ExporterQueue {
        size: 120,
        capacity: 1000,
        unit: "requests".to_owned(),
        oldest_age_ms: Some(4200),
        ..ExporterQueue::default()
    };
    let exporter = Component {
        traffic: traffic(0, kept / 2, 0, 7),
        queue: Some(queue),
        last_error: "connection refused (os error 111)".to_owned(),
        last_error_age_ms: Some(2100),
        destination: "http://127.0.0.1:4318".to_owned(),
        ..component("exporter", "otlp_http/backend", State::Error)
    };
    let health = HealthResponse {
        ready: true,
        version: "0.1.0".to_owned(),
        uptime_ms: 1000 * seconds,
        components: vec![receiver, filter, exporter],
        budget: Some(Budget { limit_bytes: 256 << 20, used_bytes: 64 << 20, waiting_requests: 0 }),
        dropped: Vec::new(),
    };
    let topology = TopologyResponse {
        read_at_unix_ms: 0,
        nodes: vec![
            node("exporter", "otlp_http/backend"),
            node("processor", "filter/health"),
            node("receiver", "otlp"),
        ],
        edges: vec![
            edge("receiver otlp", "processor filter/health", items),
            edge("processor filter/health", "exporter otlp_http/backend", kept),
        ],
    };
    Reading { at: Duration::from_secs(seconds), health, topology }
}

#[test]
fn two_readings_make_rates() {
    let rows = rows(&reading(12), Some(&reading(10)));
    let rates: Vec<(&str, Rates)> = rows.iter().map(|row| (&*row.id, row.rates.unwrap())).collect();
    let rate = |incoming, outgoing, bytes, dropped| Rates { incoming, outgoing, bytes, dropped };
    assert_eq!(
        rates,
        [
            ("otlp", rate(1000.0, 1000.0, 740_000.0, 0.0)),
            ("filter/health", rate(1000.0, 900.0, 740_000.0, 100.0)),
            ("otlp_http/backend", rate(900.0, 450.0, 666_000.0, 0.0)),
        ]
    );
    assert_eq!((rows[2].errors, rows[2].oldest), (7, Some(Duration::from_millis(4200))));
    assert!(self::rows(&reading(5), None)[0].rates.is_none());
    assert!(self::rows(&reading(5), Some(&reading(10)))[0].rates.is_none(), "started anew");
}

#[test]
fn the_worst_is_what_a_backend_says() {
    let mut reading = reading(10);
    let told = |reading: &Reading| worst(reading, &rows(reading, None));
    assert_eq!(
        told(&reading).unwrap(),
        "exporter otlp_http/backend: connection refused (os error 111) (2s ago)"
    );
    let exporter = &mut reading.health.components[2];
    exporter.last_error.clear();
    assert_eq!(told(&reading), None);
    reading.health.components[2].queue.as_mut().unwrap().size = 950;
    assert!(told(&reading).unwrap().ends_with("its queue is nearly full"));
    reading.health.ready = false;
    assert!(told(&reading).unwrap().starts_with("the pipelines do not run"));
}

#[test]
fn numbers_and_times_are_short() {
    let numbers = [0.0, 0.04, 0.5, 9.96, 42.4, 999.4, 999.6, 1234.0, 45_600.0, 999_900.0, 2e9];
    assert_eq!(
        numbers.map(short),
        ["0", "0", "0.5", "10", "42", "999", "1.00k", "1.23k", "45.6k", "1.00M", "2.00G"]
    );
    let ages = [0, 119, 120, 7199, 7200, 172_799, 172_800];
    assert_eq!(
        ages.map(|seconds| age(Duration::from_secs(seconds))),
        ["0ms", "119s", "2m", "119m", "2h", "47h", "2d"]
    );
}

#[test]
fn a_row_is_an_object() {
    let rows = rows(&reading(12), Some(&reading(10)));
    let object = rows[2].json();
    assert_eq!(object["rates"]["in_per_s"], 900.0);
    assert_eq!(object["queue"], json!({"size": 120, "capacity": 1000, "unit": "requests"}));
    assert_eq!(object["last_error"]["message"], "connection refused (os error 111)");
}
