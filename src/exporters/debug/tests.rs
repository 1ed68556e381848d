//! Output of every verbosity, for each signal.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;

use super::*;
use crate::otlp::json;

/// A writer whose text the test can read.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const TRACES: &str = r#"{"resourceSpans":[{"resource":{"attributes":[
  {"key":"service.name","value":{"stringValue":"shop"}},
  {"key":"list","value":{"arrayValue":{"values":[{"intValue":1},{"stringValue":"b"},{"boolValue":true},{}]}}},
  {"key":"map","value":{"kvlistValue":{"values":[{"key":"x","value":{"doubleValue":1.5}}]}}}]},
  "schemaUrl":"https://example.com/1",
  "scopeSpans":[{"scope":{"name":"lib","version":"1.2","attributes":[{"key":"a","value":{"intValue":-7}}]},
   "spans":[{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331","parentSpanId":"00f067aa0ba902b7",
    "traceState":"k=v","name":"GET /","kind":2,"startTimeUnixNano":"1581452772000000321","endTimeUnixNano":"1581452773000000789",
    "attributes":[{"key":"bytes","value":{"bytesValue":"AQI="}},{"key":"none","value":{}}],"droppedAttributesCount":1,
    "events":[{"timeUnixNano":"1581452772500000000","name":"retry","attributes":[{"key":"n","value":{"intValue":2}}],"droppedAttributesCount":3}],
    "links":[{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"00f067aa0ba902b7","attributes":[{"key":"why","value":{"stringValue":"batch"}}]}],
    "status":{"code":2,"message":"boom"}},{"name":"bare"}]}]}]}"#;

const METRICS: &str = r#"{"resourceMetrics":[{"scopeMetrics":[{"scope":{"name":"lib"},"metrics":[
  {"name":"up","description":"whether it is up","unit":"1","gauge":{"dataPoints":[{"asInt":1,"timeUnixNano":5,"attributes":[{"key":"host","value":{"stringValue":"a"}},{"key":"port","value":{"intValue":80}}]}]}},
  {"name":"bytes","sum":{"isMonotonic":true,"aggregationTemporality":2,"dataPoints":[{"asDouble":1.5,"exemplars":[{"asInt":4,"spanId":"b7ad6b7169203331","filteredAttributes":[{"key":"f","value":{"intValue":1}}]}]}]}},
  {"name":"latency","histogram":{"aggregationTemporality":1,"dataPoints":[{"count":3,"sum":6.5,"min":0.5,"max":4,"bucketCounts":[1,1,1],"explicitBounds":[1,2.5]}]}},
  {"name":"size","exponentialHistogram":{"aggregationTemporality":2,"dataPoints":[{"count":6,"sum":1,"scale":0,"zeroCount":2,"positive":{"offset":-1,"bucketCounts":[1,2]},"negative":{"offset":1,"bucketCounts":[1,3]}}]}},
  {"name":"old","summary":{"dataPoints":[{"count":2,"sum":3,"quantileValues":[{"quantile":0.5,"value":1},{"quantile":0.99,"value":2}]}]}},
  {"name":"empty"}]}]}]}"#;

const LOGS: &str = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},
  "scopeLogs":[{"schemaUrl":"https://example.com/2","logRecords":[
   {"timeUnixNano":"1581452772000000321","observedTimeUnixNano":"1581452773000000000","severityNumber":9,"severityText":"Information","body":{"stringValue":"sold"},
    "attributes":[{"key":"item","value":{"stringValue":"tea"}}],"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331","flags":1},
   {"severityNumber":14,"eventName":"restock","body":{"kvlistValue":{"values":[{"key":"count","value":{"intValue":3}}]}}}]}]}]}"#;

fn request(signal: Signal, document: &str) -> Request {
    let body = json::to_protobuf(signal, document.as_bytes(), json::DEPTH_LIMIT).unwrap();
    Request {
        signal,
        items: 1,
        body: smallvec::smallvec![Bytes::from(body)],
        context: None,
        progress: Arc::default(),
    }
}

fn printed(verbosity: Verbosity, signal: Signal) -> String {
    let document = match signal {
        Signal::Traces => TRACES,
        Signal::Metrics => METRICS,
        Signal::Logs => LOGS,
    };
    printed_of(verbosity, signal, document)
}

fn printed_of(verbosity: Verbosity, signal: Signal, document: &str) -> String {
    let paper = Paper::default();
    let config = Config { verbosity: Some(verbosity), ..Config::default() };
    let exporter = config.with_sink(Sink::writer(paper.clone()));
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        exporter.print(&request(signal, document), Instant::now(), time).await.unwrap();
        exporter.shutdown().await;
    });
    String::from_utf8(paper.0.lock().unwrap().clone()).unwrap()
}

#[test]
fn basic_prints_counts() {
    insta::assert_snapshot!(Signal::ALL.map(|s| printed(Verbosity::Basic, s)).concat(), @r#"
    2020-09-13 12:26:40 +0000 UTC	info	Traces	{"resource spans": 1, "spans": 2}
    2020-09-13 12:26:40 +0000 UTC	info	Metrics	{"resource metrics": 1, "metrics": 6, "data points": 5}
    2020-09-13 12:26:40 +0000 UTC	info	Logs	{"resource logs": 1, "log records": 2}
    "#);
}

#[test]
fn normal_prints_a_line_per_item() {
    insta::assert_snapshot!(Signal::ALL.map(|s| printed(Verbosity::Normal, s)).concat());
}

#[test]
fn detailed_prints_every_field_of_spans() {
    insta::assert_snapshot!(printed(Verbosity::Detailed, Signal::Traces));
}

#[test]
fn detailed_prints_every_field_of_metrics() {
    insta::assert_snapshot!(printed(Verbosity::Detailed, Signal::Metrics));
}

#[test]
fn detailed_prints_every_field_of_log_records() {
    insta::assert_snapshot!(printed(Verbosity::Detailed, Signal::Logs));
}

#[test]
fn no_value_makes_a_line_of_its_own() {
    const EVIL: &str = r"\nforged line\r\u0000\u001b[31m\u0085\u2028\u202e\t";
    for verbosity in [Verbosity::Normal, Verbosity::Detailed] {
        for (signal, document) in
            [(Signal::Traces, TRACES), (Signal::Metrics, METRICS), (Signal::Logs, LOGS)]
        {
            let lines = printed_of(verbosity, signal, document).lines().count();
            // Every text in it ends with what would forge a line.
            let mut evil = String::new();
            for (i, part) in document.split('"').enumerate() {
                let is_text = i % 2 == 1
                    && [
                        "shop",
                        "lib",
                        "1.2",
                        "GET /",
                        "k=v",
                        "retry",
                        "boom",
                        "sold",
                        "tea",
                        "up",
                        "1",
                        "restock",
                        "item",
                        "host",
                        "service.name",
                        "latency",
                        "Information",
                        "x",
                        "b",
                        "whether it is up",
                        "https://example.com/1",
                        "https://example.com/2",
                    ]
                    .contains(&part);
                evil += if i > 0 { "\"" } else { "" };
                evil += part;
                evil += if is_text { EVIL } else { "" };
            }
            let text = printed_of(verbosity, signal, &evil);
            assert_eq!(text.split('\n').count(), lines + 1, "{text}");
            let shown = r"\nforged line\r\x00\x1b[31m\u{85}\u{2028}\u{202e}\t";
            assert!(text.contains(shown), "{text}");
            let dangerous = |c: &char| crate::config::shown::is_dangerous(*c) && *c != '\n';
            // What follows the time of the first line is a tab of the layout.
            let (_, rest) = text.split_once('\n').unwrap();
            assert_eq!(rest.chars().find(dangerous), None, "{text}");
        }
    }
}

#[tokio::test]
async fn files_are_appended_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.txt").to_string_lossy().into_owned();
    for _ in 0..2 {
        let sink = Sink::paths(std::slice::from_ref(&path));
        let exporter = Config::default().with_sink(sink);
        let request = request(Signal::Logs, LOGS);
        exporter.print(&request, Instant::now(), SystemTime::now()).await.unwrap();
        exporter.shutdown().await;
    }
    assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 2);
}

#[tokio::test]
async fn a_target_that_cannot_be_opened_is_named() {
    let exporter = Config::default().with_sink(Sink::paths(&["/nowhere/at/all".to_owned()]));
    let request = request(Signal::Logs, LOGS);
    let error = exporter.print(&request, Instant::now(), SystemTime::now()).await.unwrap_err();
    assert!(error.message.starts_with("cannot print to `/nowhere/at/all`"), "{error}");
}

#[test]
fn the_old_levels_mean_verbosities() {
    for (level, verbosity) in
        [("debug", Verbosity::Detailed), ("INFO", Verbosity::Normal), ("warn", Verbosity::Basic)]
    {
        let config = Config { loglevel: Some(level.to_owned()), ..Config::default() };
        assert_eq!(config.verbosity(), verbosity);
    }
}

/// Decodes and validates a body; what is left is the messages of the problems.
fn problems(yaml: &str) -> (Option<Config>, Vec<String>) {
    let node = crate::config::yaml::parse(0, yaml).unwrap();
    let mut problems = Problems::default();
    let config = crate::config::decode::<Config>(&node, &mut problems);
    if let Some(config) = &config {
        config.validate(&node, &mut problems);
    }
    (config, problems.0.into_iter().map(|problem| problem.message).collect())
}

#[test]
fn bodies_are_decoded_with_old_and_new_keys() {
    let (config, found) = problems("verbosity: Detailed\nsending_queue:\nsampling_thereafter: 0\n");
    assert_eq!(found, [""; 0]);
    let config = config.unwrap();
    assert_eq!((config.verbosity(), config.sampling_thereafter), (Verbosity::Detailed, 0));
    assert!(config.delivery().queue.is_some());

    let (config, found) = problems("logLevel: debug\n");
    assert_eq!(found, ["`logLevel` is the old form of `verbosity`"]);
    assert_eq!(config.unwrap().verbosity(), Verbosity::Detailed);

    let (_, found) = problems("loglevel: debug\nverbosity: basic\n");
    assert_eq!(found, ["`loglevel` and `verbosity` cannot be used together"]);
    let (_, found) = problems("output_paths: [stderr]\n");
    assert_eq!(found, ["`output_paths` has no effect while `use_internal_logger` is true"]);
}
