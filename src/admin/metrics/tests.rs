//! The page is read back by a strict parser of the text format.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::{
    net::pages::tests::{get, raw},
    otlp::{Signal, payload::Reason},
    telemetry::{Desc, Histogram, histogram},
};

/// What a processor may register.
const SIZES: Desc =
    Desc::new("otelcol_processor_batch_batch_send_size", "{item}", "Items of the batches")
        .at(Detail::Normal);

/// The process, with the metrics of a processor in two pipelines; they end with their handles.
fn sample() -> (Telemetry, [Histogram; 2]) {
    let telemetry = Telemetry::default();
    telemetry.receiver("otlp", Signal::Traces, "grpc").accepted.add(10);
    telemetry.receiver("otlp", Signal::Logs, "http").refused.add(3);
    telemetry.processor("batch", "traces", Signal::Traces).incoming.add(10);
    telemetry.processor("batch", "traces/2", Signal::Traces).incoming.add(5);
    telemetry.processor("memory_limiter", "logs", Signal::Logs).refused.add(3);
    let exporter = telemetry.exporter("otlp/\"odd\\name\n\"", Signal::Traces, "backend");
    exporter.sent.add(9);
    exporter.measure_queue("requests", 1000, None);
    exporter.queue_items.add(30);
    exporter.queue_bytes.add(700);
    telemetry.edge("traces", "receiver otlp", "processor batch").bytes.add(77);
    telemetry.drop_items(Reason::QueueFull, 2);
    telemetry.budget_limit.set(1 << 20);
    let sizes = ["traces", "traces/2"].map(|pipeline| {
        let meter = telemetry.meter(&format!("{pipeline} batch"));
        meter.histogram(&SIZES, histogram::ITEMS, &[("processor", "batch")])
    });
    sizes[0].record(100);
    sizes[1].record(200_000);
    (telemetry, sizes)
}

/// Reads the format strictly: every sample belongs to the family announced just before it, no
/// family and no series occurs twice, names and escapes are legal, values are numbers.
fn parse(page: &str) -> BTreeMap<String, f64> {
    assert!(page.ends_with('\n'), "the last line must end");
    let (mut families, mut series) = (BTreeSet::new(), BTreeMap::new());
    let (mut current, mut is_histogram) = (String::new(), false);
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').expect("help has words");
            assert!(!words.is_empty() && is_name(name), "{line}");
            assert!(families.insert(name.to_owned()), "{name} occurs twice");
            let kind = lines.next().and_then(|l| l.strip_prefix("# TYPE ")).expect("a type");
            let kind = kind.strip_prefix(name).expect("the same name").trim_start();
            assert!(matches!(kind, "counter" | "gauge" | "histogram"), "{kind}");
            name.clone_into(&mut current);
            is_histogram = kind == "histogram";
            continue;
        }
        let (key, value) = line.rsplit_once(' ').expect("a value");
        let name = key.split('{').next().unwrap();
        let own = if is_histogram {
            ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end))
        } else {
            Some(name)
        };
        assert_eq!(own, Some(&*current), "{line}");
        if key.len() > name.len() {
            labels(&key[name.len()..]);
        }
        let number: f64 = value.parse().expect("a number");
        assert!(series.insert(key.to_owned(), number).is_none(), "{key} occurs twice");
    }
    series
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn labels(text: &str) {
    let mut rest = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).expect("braces");
    loop {
        let (name, after) = rest.split_once("=\"").expect("a label");
        assert!(is_name(name), "{name}");
        let mut characters = after.char_indices();
        let end = loop {
            match characters.next().expect("a closing quote") {
                (_, '\\') => {
                    let (_, escape) = characters.next().unwrap();
                    assert!(matches!(escape, '\\' | '"' | 'n'), "{text}");
                }
                (index, '"') => break index,
                _ => {}
            }
        };
        rest = &after[end + 1..];
        if rest.is_empty() {
            return;
        }
        rest = rest.strip_prefix(',').expect("a comma");
    }
}

#[test]
fn a_strict_parser_reads_the_page() {
    let (telemetry, series_of_batch) = sample();
    let series = parse(&render(&telemetry, Detail::Detailed));
    let at = |key: &str| series.get(key).copied().unwrap_or_else(|| panic!("no {key}"));
    assert!(
        (at("otelcol_receiver_accepted_spans{receiver=\"otlp\",transport=\"grpc\"}") - 10.0).abs()
            < 1e-9
    );
    let both = "otelcol_processor_incoming_items{processor=\"batch\",otel_signal=\"traces\"}";
    assert!((at(both) - 15.0).abs() < 1e-9, "one processor in two pipelines is one series");
    let sizes = "otelcol_processor_batch_batch_send_size";
    let bucket = |le: &str| at(&format!("{sizes}_bucket{{processor=\"batch\",le=\"{le}\"}}"));
    assert_eq!((bucket("75"), bucket("100"), bucket("+Inf")), (0.0, 1.0, 2.0));
    assert!((at(&format!("{sizes}_sum{{processor=\"batch\"}}")) - 200_100.0).abs() < 1e-9);
    assert!(at("otelcol_process_memory_rss") > 1e6);
    assert!(at("otelcol_process_uptime") >= 0.0);
    parse(&render(&Telemetry::default(), Detail::Detailed));
    let basic = render(&telemetry, Detail::Basic);
    assert!(!basic.contains(" histogram"), "{basic}");
    drop(series_of_batch);
    let page = render(&telemetry, Detail::Detailed);
    assert!(!page.contains("processor_batch_batch_send_size"), "they have ended: {page}");
}

#[test]
fn the_page_looks_like_this() {
    let (telemetry, _sizes) = sample();
    let page = render(&telemetry, Detail::Normal);
    let stable: Vec<_> = page
        .lines()
        .filter(|line| {
            // What depends on the machine, or on other tests of this process.
            let others = ["_process_", "target_info", "skep_log_dropped_lines"];
            line.starts_with('#') || !others.iter().any(|name| line.contains(name))
        })
        .collect();
    insta::assert_snapshot!(stable.join("\n"));
}

#[tokio::test]
async fn the_page_is_served() {
    let (stop, stopped) = watch::channel(false);
    let page = MetricsPage::bind(
        "localhost:0",
        Arc::new(sample().0),
        Detail::Normal,
        &mut Sockets::default(),
    )
    .unwrap();
    let address = page.address();
    assert!(address.ip().is_loopback());
    let serving = tokio::spawn(page.run(stopped));

    let metrics = get(address, "/metrics").await;
    assert!(metrics.contains("content-type: text/plain; version=0.0.4"), "{metrics}");
    parse(metrics.split_once("\r\n\r\n").unwrap().1);
    assert!(get(address, "/").await.starts_with("HTTP/1.1 404"));
    assert!(raw(address, "GET /metrics HTTP/1.1\r\nHost: x").await.starts_with("HTTP/1.1 421"));

    stop.send(true).unwrap();
    serving.await.unwrap();
}
