//! Output of every verbosity, for each signal.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use super::*;
use crate::otlp::json;

/// A writer whose text the test can read.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Paper {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

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

/// Prints a payload in pieces that have so much room; what was said of it at the end.
fn print(exporter: &Debug, content: &Content, room: usize) -> Result<Sent, ExportError> {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut sent, mut from) = (Sent::default(), Some(Cursor::default()));
    while let Some(start) = from {
        let piece = exporter.encode(&Work { content, from: start, room })?;
        assert!(piece.held <= room);
        from = piece.next;
        let Some(printout) = piece.encoded else { continue };
        sent = runtime.block_on(super::print(Arc::clone(&exporter.sink), printout, time))?;
    }
    runtime.block_on(Exporter::shutdown(exporter));
    Ok(sent)
}

fn content(signal: Signal, document: &str) -> Content {
    let body = json::to_protobuf(signal, document.as_bytes(), json::DEPTH_LIMIT).unwrap();
    let items = split::count_items(signal, &body);
    Content::new(signal, body.into(), items)
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
    print(&exporter, &content(signal, document), usize::MAX).unwrap();
    paper.text()
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

#[test]
fn pieces_are_the_same_text() {
    for (signal, document) in
        [(Signal::Traces, TRACES), (Signal::Metrics, METRICS), (Signal::Logs, LOGS)]
    {
        for verbosity in [Verbosity::Normal, Verbosity::Detailed] {
            let paper = Paper::default();
            let config = Config { verbosity: Some(verbosity), ..Config::default() };
            let exporter = config.with_sink(Sink::writer(paper.clone()));
            // Not enough for two items.
            print(&exporter, &content(signal, document), 20_000).unwrap();
            assert_eq!(paper.text(), printed(verbosity, signal));
        }
    }
}

#[test]
fn text_of_an_item_and_of_a_payload_is_limited_and_what_is_missing_is_counted() {
    let config = Config { verbosity: Some(Verbosity::Detailed), ..Config::default() };
    let printed = |document: &str, repeat: usize| {
        let paper = Paper::default();
        let exporter = config.with_sink(Sink::writer(paper.clone()));
        let one = content(Signal::Logs, document);
        let body = std::iter::repeat_n(one.body[0].clone(), repeat).collect();
        let content = Content { signal: Signal::Logs, body, items: one.items * repeat as u64 };
        (print(&exporter, &content, 2 << 20).unwrap(), paper.text(), content.items)
    };
    let long = LOGS.replace("sold", &"s".repeat(100_000));
    let (sent, text, _) = printed(&long, 1);
    assert_eq!(sent, Sent::default());
    assert!(
        (64_000..70_000).contains(&text.len()) && text.contains("sss [cut]\n"),
        "{}",
        text.len()
    );
    assert!(text.contains("EventName: restock"), "what comes after it is there");
    let (sent, text, items) = printed(LOGS, 20_000);
    assert!(text.len() < 3 << 20);
    let there = text.matches("LogRecord #").count() as u64;
    assert_eq!(sent.rejected, items - there);
    assert!(text.ends_with(&format!("{}\n", sent.message.unwrap())));
}

#[test]
fn fields_that_came_later_are_printed_too() {
    let shown = |signal, document: &str| {
        let paper = Paper::default();
        let config = Config { verbosity: Some(Verbosity::Detailed), ..Config::default() };
        let exporter = config.with_sink(Sink::writer(paper.clone()));
        print(&exporter, &content(signal, document), usize::MAX).unwrap();
        paper.text()
    };
    let metrics = r#"{"resourceMetrics":[{"resource":{"droppedAttributesCount":2,"entityRefs":[{"type":"host","idKeys":["host.id"]}]},
      "scopeMetrics":[{"scope":{"name":"lib","droppedAttributesCount":4},"metrics":[
       {"name":"g","metadata":[{"key":"user_id","value":{"stringValue":"555"}}],"gauge":{"dataPoints":[{"asInt":"1","flags":1}]}},
       {"name":"eh","exponentialHistogram":{"dataPoints":[{"count":"3","zeroThreshold":0.5,"zeroCount":"3"}]}}]}]}]}"#;
    let traces =
        r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"flags":257,"links":[{"flags":768}]}]}]}]}"#;
    let logs =
        r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"droppedAttributesCount":7}]}]}]}"#;
    for (signal, document, lines) in [
        (
            Signal::Metrics,
            metrics,
            &[
                "Resource DroppedAttributesCount: 2",
                "Resource entity refs:",
                "     -> Entity ref #0:",
                "          -> Type: host",
                "          -> ID keys:",
                "               -> host.id",
                "InstrumentationScope DroppedAttributesCount: 4",
                "     -> Metadata:",
                "          -> user_id: Str(555)",
                "Flags: 1",
                "ZeroThreshold: 0.500000",
            ][..],
        ),
        (Signal::Traces, traces, &["    Flags          : 257", "     -> Flags: 768"]),
        (Signal::Logs, logs, &["DroppedAttributesCount: 7"]),
    ] {
        let text = shown(signal, document);
        for line in lines {
            assert!(text.lines().any(|one| one == *line), "`{line}` is missing:\n{text}");
        }
    }
}

/// The lines of a payload that are about its items, by verbosity.
fn lines_of(verbosity: Verbosity, signal: Signal, document: &str) -> Vec<String> {
    printed_of(verbosity, signal, document).lines().map(str::to_owned).collect()
}

/// As Go's `fmt` prints them, and not as JSON has them.
#[test]
fn numbers_have_the_form_of_go() {
    let metrics = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[
      {"name":"g","gauge":{"dataPoints":[{"asDouble":"Infinity"},{"asDouble":"-Infinity"},{"asDouble":1e20},{}]}},
      {"name":"h","histogram":{"dataPoints":[{"count":3,"sum":"Infinity","bucketCounts":[1,2],"explicitBounds":[1e6]}]}},
      {"name":"e","exponentialHistogram":{"dataPoints":[{"count":9,"scale":0,"zeroCount":2,"positive":{"offset":1,"bucketCounts":[3]},"negative":{"offset":0,"bucketCounts":[1,3]}}]}},
      {"name":"s","summary":{"dataPoints":[{"count":1,"sum":0.000001,"quantileValues":[{"quantile":0.5,"value":"-Infinity"}]}]}}]}]}]}"#;
    let normal = lines_of(Verbosity::Normal, Signal::Metrics, metrics);
    let expected = [
        "g{} +Inf",
        "g{} -Inf",
        "g{} 1e+20",
        "g{} ",
        "h{} count=3 sum=+Inf le1e+06=1 2",
        "e{} count=9 le-2=3 le-1=1 zero=2 le4=3",
        "s{} count=1 sum=0.000001 q0.5=-Inf",
    ];
    assert_eq!(normal[3..], expected);
    let detailed = lines_of(Verbosity::Detailed, Signal::Metrics, metrics);
    for line in [
        "Value: +Inf",
        "Value: -Inf",
        "Value: 100000000000000000000.000000",
        "Sum: +Inf",
        "ExplicitBounds #0: 1000000.000000",
        "Bucket [-4.000000, -2.000000), Count: 3",
        "Bucket [-2.000000, -1.000000), Count: 1",
        "Bucket (2.000000, 4.000000], Count: 3",
        "QuantileValue #0: Quantile 0.500000, Value -Inf",
    ] {
        assert!(detailed.iter().any(|one| one == line), "`{line}` is missing: {detailed:?}");
    }
}

#[test]
fn ids_of_zeros_bare_bodies_and_odd_enums_are_those_of_the_collector() {
    let traces = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[
      {"name":"n","traceId":"00000000000000000000000000000000","spanId":"0000000000000000","kind":-1}]}]}]}"#;
    let logs = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[
      {"body":{"stringValue":"b"}},{"severityNumber":-2147483648},{"severityNumber":24}]}]}]}"#;
    assert_eq!(lines_of(Verbosity::Normal, Signal::Traces, traces)[3..], ["n  "]);
    assert_eq!(lines_of(Verbosity::Normal, Signal::Logs, logs)[3..], ["b ", " ", " "]);
    let spans = lines_of(Verbosity::Detailed, Signal::Traces, traces);
    assert!(spans.contains(&"    Trace ID       : ".to_owned()), "{spans:?}");
    assert!(spans.contains(&"    Kind           : ".to_owned()), "{spans:?}");
    let records = lines_of(Verbosity::Detailed, Signal::Logs, logs);
    for line in ["SeverityNumber: (-2147483648)", "SeverityNumber: Fatal4(24)"] {
        assert!(records.iter().any(|one| one == line), "`{line}` is missing: {records:?}");
    }
}

#[test]
fn files_are_appended_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.txt").to_string_lossy().into_owned();
    for _ in 0..2 {
        let sink = Sink::paths(std::slice::from_ref(&path));
        let exporter = Config::default().with_sink(sink);
        print(&exporter, &content(Signal::Logs, LOGS), usize::MAX).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 2);
}

#[test]
fn a_target_that_cannot_be_opened_is_named() {
    let exporter = Config::default().with_sink(Sink::paths(&["/nowhere/at/all".to_owned()]));
    let error = print(&exporter, &content(Signal::Logs, LOGS), usize::MAX).unwrap_err();
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
