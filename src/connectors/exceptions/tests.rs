use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, trace::v1::ExportTraceServiceRequest},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::metric::Data,
    resource::v1::Resource,
    trace::v1::{Span, Status, span::Event},
};
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::{
    connectors::trial::{
        Trial, attributes, logs, metric, metrics, points, problems, resource_spans, shown, span,
        text, traces,
    },
    otlp::wild::{self, OneOfs},
};

fn exceptions(settings: &str, input: Signal, output: Signal) -> Trial {
    Trial::new(&ENTRY, settings, input, (output, &["out"]))
}

fn failed(name: &str, kinds: &[&str]) -> Span {
    let event = |kind: &&str| Event {
        name: "exception".to_owned(),
        time_unix_nano: 7,
        attributes: attributes(&[
            ("exception.type", kind),
            ("exception.message", "oh no"),
            ("exception.stacktrace", "at main"),
        ]),
        ..Event::default()
    };
    let other = Event { name: "other".to_owned(), ..Event::default() };
    let mut events: Vec<Event> = kinds.iter().map(event).collect();
    events.push(other);
    let status = Some(Status { code: 2, ..Status::default() });
    Span { events, status, ..span(name, &[("http.route", "/x"), ("span.name", "theirs")]) }
}

fn request() -> ExportTraceServiceRequest {
    let spans = vec![failed("a", &["E1", "E2"]), failed("a", &["E1"]), span("fine", &[])];
    let nameless = resource_spans(&[], vec![failed("n", &["E1"])]);
    traces(vec![resource_spans(&[("service.name", "s"), ("host.name", "h")], spans), nameless])
}

#[test]
fn exceptions_are_counted_since_the_start() {
    let settings = "{dimensions: [{name: exception.type}, {name: host.name}, \
                    {name: env, default: prod}, {name: absent}], exemplars: {enabled: true}}";
    let mut trial = exceptions(settings, Signal::Traces, Signal::Metrics);
    assert!(trial.send(&request()).is_empty());
    let made = metrics(&trial.wait(Duration::from_secs(15)));
    let of = "service.name=s span.name=a span.kind=SPAN_KIND_SERVER status.code=STATUS_CODE_ERROR";
    let line = |kind: &str, count: u64| {
        format!("{of} exception.type={kind} host.name=h env=prod: {count}")
    };
    assert_eq!(shown(metric(&made, "exceptions")), [line("E1", 2), line("E2", 1)]);
    let Some(Data::Sum(sum)) = &metric(&made, "exceptions").data else { panic!() };
    assert!(sum.is_monotonic && sum.aggregation_temporality == 2);
    let point = &points(metric(&made, "exceptions"))[0];
    assert_eq!(point.exemplars.len(), 2);
    assert_eq!(point.exemplars[0].time_unix_nano, 7);
    assert!(point.start_time_unix_nano > 0 && point.start_time_unix_nano <= point.time_unix_nano);
    // They go on counting; exemplars are those since the last flush.
    trial.send(&request());
    let made = metrics(&trial.drain());
    assert_eq!(shown(metric(&made, "exceptions")), [line("E1", 4), line("E2", 2)]);
    assert_eq!(points(metric(&made, "exceptions"))[0].exemplars.len(), 2);
    assert_eq!(trial.sum("skep_connector_series"), 2);
}

#[test]
fn exceptions_become_log_records() {
    let mut trial = exceptions("{}", Signal::Traces, Signal::Logs);
    let made = logs(&trial.send(&request()));
    assert_eq!(made.resource_logs.len(), 2);
    let entry = &made.resource_logs[0];
    assert_eq!(text(&entry.resource.as_ref().unwrap().attributes, "host.name"), "h");
    let scope = &entry.scope_logs[0];
    assert_eq!(scope.scope.as_ref().unwrap().name, "lib");
    assert_eq!(scope.log_records.len(), 3);
    let record = &scope.log_records[1];
    assert_eq!((record.time_unix_nano, record.severity_number), (7, 17));
    assert_eq!((&*record.severity_text, &*record.event_name), ("ERROR", "exception"));
    assert_eq!((&*record.trace_id, &*record.span_id), (&[1; 16][..], &[2; 8][..]));
    for (key, value) in [
        ("http.route", "/x"),
        ("span.name", "a"),
        ("span.kind", "SPAN_KIND_SERVER"),
        ("status.code", "STATUS_CODE_ERROR"),
        ("service.name", "s"),
        ("exception.type", "E2"),
        ("exception.message", "oh no"),
        ("exception.stacktrace", "at main"),
    ] {
        assert_eq!(text(&record.attributes, key), value);
        let count = record.attributes.iter().filter(|one| one.key == key).count();
        assert_eq!(count, 1, "{key}");
    }
    assert!(trial.send(&traces(vec![resource_spans(&[], vec![span("fine", &[])])])).is_empty());
}

#[test]
fn log_records_that_are_exceptions_are_kept_and_counted() {
    let record =
        |all: &[(&str, &str)]| LogRecord { attributes: attributes(all), ..LogRecord::default() };
    let log_records = vec![
        record(&[("exception.type", "E1")]),
        record(&[("other", "x")]),
        record(&[("exception.message", "m")]),
    ];
    let resource =
        Resource { attributes: attributes(&[("service.name", "s")]), ..Resource::default() };
    let scope_logs = vec![ScopeLogs { log_records: log_records.clone(), ..ScopeLogs::default() }];
    let entry = ResourceLogs { resource: Some(resource), scope_logs, ..ResourceLogs::default() };
    let request = ExportLogsServiceRequest { resource_logs: vec![entry] };
    let mut trial = exceptions("{}", Signal::Logs, Signal::Logs);
    let kept = logs(&trial.send(&request));
    let records = &kept.resource_logs[0].scope_logs[0].log_records;
    assert_eq!(records[..], [log_records[0].clone(), log_records[2].clone()]);
    let mut trial = exceptions("{}", Signal::Logs, Signal::Metrics);
    trial.send(&request);
    let made = metrics(&trial.drain());
    let expected = ["service.name=s exception.message=m: 1", "service.name=s exception.type=E1: 1"];
    assert_eq!(shown(metric(&made, "exceptions")), expected);
}

#[test]
fn the_number_of_series_is_limited() {
    let mut trial =
        exceptions("{aggregation_cardinality_limit: 1}", Signal::Traces, Signal::Metrics);
    trial.send(&request());
    let made = metrics(&trial.drain());
    let lines = shown(metric(&made, "exceptions"));
    assert_eq!(lines[0], "otel.metric.overflow=true: 1");
    assert!(lines[1].ends_with(": 2"));
    assert_eq!(trial.sum("skep_connector_overflow_items"), 1);
}

#[test]
fn mistakes_are_found() {
    for (settings, expected) in [
        ("{dimensions: [{name: service.name}]}", "duplicate dimension name `service.name`"),
        ("{dimensions: [{name: a}, {name: a}]}", "duplicate dimension name `a`"),
        ("{dimensions: [{default: a}]}", "the dimension has no name"),
        ("{metrics_flush_interval: 0}", "must not be 0"),
    ] {
        let found = problems(&ENTRY, settings, &[Signal::Traces]);
        assert!(found.iter().any(|problem| problem.contains(expected)), "{settings}: {found:?}");
    }
}

proptest! {
    /// There is a record for each exception of the decoded request, in its order.
    #[test]
    fn records_are_those_of_the_decoded_request(seed: u64) {
        let body = wild::request(Signal::Traces, seed, OneOfs::Mixed);
        let mut request = ExportTraceServiceRequest::decode(&*body).unwrap();
        // Some of the events are made exceptions.
        let mut count = 0;
        for entry in &mut request.resource_spans {
            for span in entry.scope_spans.iter_mut().flat_map(|scope| &mut scope.spans) {
                for event in &mut span.events {
                    count += 1;
                    if count % 2 == 0 {
                        "exception".clone_into(&mut event.name);
                    }
                }
            }
        }
        let mut expected = Vec::new();
        for entry in &request.resource_spans {
            for scope in &entry.scope_spans {
                for span in &scope.spans {
                    for event in span.events.iter().filter(|event| event.name == "exception") {
                        expected.push((
                            entry.resource.clone(),
                            scope.scope.clone(),
                            span.trace_id.clone(),
                            event.time_unix_nano,
                        ));
                    }
                }
            }
        }
        let mut found = Vec::new();
        let mut trial = exceptions("{}", Signal::Traces, Signal::Logs);
        for entry in logs(&trial.send(&request)).resource_logs {
            for scope in entry.scope_logs {
                for record in scope.log_records {
                    let resource = entry.resource.clone();
                    found.push((resource, scope.scope.clone(), record.trace_id, record.time_unix_nano));
                }
            }
        }
        // As text, because NaN is not equal to itself.
        prop_assert_eq!(format!("{found:?}"), format!("{expected:?}"));
    }
}
