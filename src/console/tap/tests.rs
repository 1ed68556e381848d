use serde_json::{Value, json};

use super::*;
use crate::{
    otlp::{Payload, Signal, plain},
    telemetry::{ProcessorStats, tap::Seen},
};

fn world() -> (Arc<Telemetry>, Arc<ProcessorStats>) {
    let telemetry = Arc::new(Telemetry::default());
    let stats = telemetry.processor("attributes", "logs", Signal::Logs);
    (telemetry, stats)
}

const QUERY: &str = "pipeline=logs&component=attributes";

fn show(stats: &ProcessorStats, before: &Value, after: &Value) {
    let content = |record: &Value| {
        let request = plain::logs(std::slice::from_ref(record));
        Payload::unpaid(Signal::Logs, plain::bytes(Signal::Logs, &request).into(), 1)
    };
    let mut seen = Seen { is_direct: true, ..Seen::input(&content(before)) };
    seen.outputs.extend(Seen::output(&content(after)).outputs);
    stats.tap.show(&seen);
}

/// The message of an event.
fn told(event: &Bytes) -> Value {
    let text = std::str::from_utf8(event).unwrap();
    let data = text.strip_prefix("event: tap\ndata: ").and_then(|text| text.strip_suffix("\n\n"));
    serde_json::from_str(data.unwrap()).unwrap()
}

#[tokio::test]
async fn a_page_is_told_what_was_changed_and_masked() {
    let (telemetry, stats) = world();
    let open = open(&telemetry, Level::Data, &format!("{QUERY}&rate=100&limit=1")).unwrap();
    let (sender, mut parts) = mpsc::channel(1);
    let (_stop, stopped) = Stop::pair();
    let feeding = tokio::spawn(feed(open, sender, stopped));
    let first = told(&parts.recv().await.unwrap());
    assert_eq!((&first["items"], &first["end"]), (&json!([]), &json!("")));
    let record = |email: &str| json!({"body": "line\nfeed", "attributes": {"email": email, "password": "s3cret"}});
    show(&stats, &record("ana@x.org"), &record("-"));
    let (mut items, mut last) = (Vec::new(), Value::Null);
    while let Some(event) = parts.recv().await {
        assert!(!String::from_utf8_lossy(&event).contains("s3cret"));
        last = told(&event);
        items.extend(last["items"].as_array().unwrap().clone());
    }
    assert_eq!(last["end"], "it has shown as much as was asked for");
    assert_eq!((&last["counts"]["seen"], &last["counts"]["shown"]), (&json!(1), &json!(1)));
    assert_eq!(items.len(), 1);
    assert_eq!(items[0]["fate"], "changed");
    let change = json!({"key": "attributes.email", "before": "\"ana@x.org\"", "after": "\"-\""});
    assert_eq!(items[0]["changes"], json!([change]));
    feeding.await.unwrap();
    assert!(!stats.tap.is_open(), "it closes with its end");
}

#[tokio::test]
async fn a_tap_closes_with_its_page() {
    let (telemetry, stats) = world();
    let reply = stream(
        open(&telemetry, Level::Data, QUERY).unwrap(),
        // Nobody stops it.
        Stop::pair().1,
    );
    assert!(stats.tap.is_open());
    drop(reply);
    while stats.tap.is_open() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_that_does_not_read_loses_its_tap() {
    let (telemetry, stats) = world();
    let (_stop, stopped) = Stop::pair();
    let began = tokio::time::Instant::now();
    let (sender, parts) = mpsc::channel(1);
    let open = open(&telemetry, Level::Data, &format!("{QUERY}&seconds=3600")).unwrap();
    // The counts that come every second find no room.
    feed(open, sender, stopped).await;
    assert!(!stats.tap.is_open());
    assert!(began.elapsed() < STUCK + Duration::from_secs(10), "{:?}", began.elapsed());
    drop(parts);
}

#[tokio::test]
async fn what_cannot_be_tapped_is_refused_with_the_reason() {
    let (telemetry, _stats) = world();
    let refused = |level, query: &str| open(&telemetry, level, query).map(|_| ()).unwrap_err();
    let hidden = refused(Level::Operation, QUERY);
    assert_eq!(hidden.status, StatusCode::FORBIDDEN);
    assert!(hidden.error.contains("--console-level data"), "{}", hidden.error);
    for (query, status, words) in [
        ("pipeline=logs&component=x", StatusCode::NOT_FOUND, "`x` is no component"),
        ("pipeline=x", StatusCode::NOT_FOUND, "`x` is no pipeline"),
        (&*format!("{QUERY}&side=left"), StatusCode::BAD_REQUEST, "`left` is no side"),
        (&*format!("{QUERY}&where=body+%3D+1"), StatusCode::BAD_REQUEST, "^"),
        (&*format!("{QUERY}&redact=("), StatusCode::BAD_REQUEST, "("),
        (&*format!("{QUERY}&rate=fast"), StatusCode::BAD_REQUEST, "whole number"),
        (&*format!("{QUERY}&what=1"), StatusCode::BAD_REQUEST, "no parameter `what`"),
    ] {
        let refusal = refused(Level::Data, query);
        assert_eq!(refusal.status, status, "{query}");
        assert!(refusal.error.contains(words), "{query}: {}", refusal.error);
    }
    let all: Vec<Open> = (0..4).map(|_| open(&telemetry, Level::Data, QUERY).unwrap()).collect();
    let fifth = refused(Level::Data, QUERY);
    assert_eq!(fifth.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(fifth.error.contains("4 taps are open"), "{}", fifth.error);
    drop(all);
    assert!(open(&telemetry, Level::Data, QUERY).is_ok());
}

#[test]
fn requests_have_what_was_asked_for() {
    let text = "pipeline=a&component=b&side=out&rate=9000&limit=5&seconds=60&redact=x&redact=y&names_only=true";
    let request = request(&Query::read(text, &PARAMETERS).unwrap()).unwrap();
    assert_eq!((request.side(), request.rate, request.limit), (TapSide::Out, 500, 5));
    assert_eq!((request.for_ms, request.names_only), (60_000, true));
    assert_eq!(request.redact, ["x", "y"]);
    let plain = super::request(&Query::default()).unwrap();
    assert_eq!((plain.side(), plain.names_only), (TapSide::Unspecified, false));
}
