//! What the tests of connectors share: a connector that is built from its settings and fed, and
//! requests for it.

use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    metrics::v1::{Metric, NumberDataPoint, metric::Data, number_data_point},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message;

use crate::{
    component::{BuildContext, ConnectorConfig, Entry, Outlets, Output, Processor},
    config::{Problems, yaml},
    otlp::{
        Payload, Signal,
        check::{self, Utf8},
        split,
    },
};

/// A connector under test, in virtual time.
pub(super) struct Trial {
    processor: Box<dyn Processor>,
    cx: BuildContext,
    now: Instant,
    input: Signal,
}

/// What came out: to all outlets (`None`) or to one, and the body.
pub(super) type Made = (Option<usize>, Vec<u8>);
pub(super) type Emitted = Vec<Made>;

fn decode(entry: &Entry<dyn ConnectorConfig>, text: &str) -> (Box<dyn ConnectorConfig>, Problems) {
    let node = yaml::parse(0, text).unwrap();
    let mut problems = Problems::default();
    let config = (entry.decode)(&node, &mut problems);
    (config.unwrap_or_else(|| panic!("{problems:?}")), problems)
}

/// What is wrong with settings in pipelines of these signals.
fn checked(entry: &Entry<dyn ConnectorConfig>, text: &str, inputs: &[Signal]) -> Problems {
    let (config, mut problems) = decode(entry, text);
    let node = yaml::parse(0, text).unwrap();
    config.validate(&node, &mut problems);
    config.validate_use(inputs, &node, &mut problems);
    problems
}

/// The same as texts.
pub(super) fn problems(
    entry: &Entry<dyn ConnectorConfig>,
    text: &str,
    inputs: &[Signal],
) -> Vec<String> {
    checked(entry, text, inputs).0.into_iter().map(|problem| problem.message).collect()
}

impl Trial {
    /// A connector from one signal to pipelines of another.
    pub(super) fn new(
        entry: &Entry<dyn ConnectorConfig>,
        text: &str,
        input: Signal,
        outlets: (Signal, &[&str]),
    ) -> Self {
        let found = checked(entry, text, &[input]);
        assert!(!found.has_errors(), "{found:?}");
        let cx = BuildContext::test(entry.name, input);
        let (signal, pipelines) = outlets;
        let pipelines = pipelines.iter().map(|id| (*id).to_owned()).collect();
        let (config, _) = decode(entry, text);
        let processor = config.build(&cx, &Outlets { signal, pipelines }).unwrap();
        Trial { processor, cx, now: Instant::now(), input }
    }

    /// Sends a request of several segments.
    pub(super) fn send_payload(&mut self, payload: Payload) -> Emitted {
        let mut out = Output::at(self.now);
        self.processor.process(payload, &mut out);
        emitted(&mut out)
    }

    pub(super) fn send(&mut self, request: &impl Message) -> Emitted {
        self.send_bytes(request.encode_to_vec())
    }

    pub(super) fn send_bytes(&mut self, body: Vec<u8>) -> Emitted {
        let items = split::count_items(self.input, &body);
        self.send_payload(Payload::unpaid(self.input, body.into(), items))
    }

    /// Lets time pass, and calls timers.
    pub(super) fn wait(&mut self, time: Duration) -> Emitted {
        let until = self.now + time;
        let mut all = Vec::new();
        while let Some(due) = self.processor.next_tick().filter(|due| *due <= until) {
            self.now = due.max(self.now);
            let mut out = Output::at(self.now);
            self.processor.tick(&mut out);
            all.extend(emitted(&mut out));
        }
        self.now = until;
        all
    }

    pub(super) fn drain(&mut self) -> Emitted {
        let mut out = Output::at(self.now);
        self.processor.drain(&mut out);
        emitted(&mut out)
    }

    /// The sum of a metric of the connector.
    pub(super) fn sum(&self, name: &str) -> u64 {
        self.cx.telemetry.registry().sum(name)
    }
}

fn emitted(out: &mut Output) -> Emitted {
    let mut all = Vec::new();
    for payload in out.take() {
        all.push((None, body(payload)));
    }
    for (outlet, payload) in out.take_directed() {
        all.push((Some(outlet), body(payload)));
    }
    all
}

/// The bytes of a payload, which must be a valid request with so many items.
fn body(payload: Payload) -> Vec<u8> {
    let body = payload.body.concat();
    let summary = check::check(payload.signal, &body, Utf8::Strict);
    assert!(summary.is_ok(), "{summary:?}");
    assert_eq!(split::count_items(payload.signal, &body), payload.items);
    payload.finish(crate::otlp::payload::Outcome::Delivered);
    body
}

/// All metrics that came out, in one request.
pub(super) fn metrics(emitted: &[Made]) -> ExportMetricsServiceRequest {
    let all: Vec<u8> = emitted.iter().flat_map(|(_, body)| body.clone()).collect();
    ExportMetricsServiceRequest::decode(&*all).unwrap()
}

/// All log records that came out, in one request.
pub(super) fn logs(emitted: &[Made]) -> ExportLogsServiceRequest {
    let all: Vec<u8> = emitted.iter().flat_map(|(_, body)| body.clone()).collect();
    ExportLogsServiceRequest::decode(&*all).unwrap()
}

/// The metrics of a request by resource: the value of `service.name`, and the metrics.
pub(super) fn by_service(request: &ExportMetricsServiceRequest) -> Vec<(String, &[Metric])> {
    let all = request.resource_metrics.iter().map(|entry| {
        let attributes = entry.resource.as_ref().map(|resource| &*resource.attributes);
        (text(attributes.unwrap_or_default(), "service.name"), &*entry.scope_metrics[0].metrics)
    });
    all.collect()
}

/// The metric of a name; the first one.
pub(super) fn metric<'m>(request: &'m ExportMetricsServiceRequest, name: &str) -> &'m Metric {
    let all = request.resource_metrics.iter().flat_map(|entry| &entry.scope_metrics);
    let found = all.flat_map(|scope| &scope.metrics).find(|metric| metric.name == name);
    found.unwrap_or_else(|| panic!("no `{name}` in {request:?}"))
}

/// The points of a sum.
pub(super) fn points(metric: &Metric) -> &[NumberDataPoint] {
    match &metric.data {
        Some(Data::Sum(sum)) => &sum.data_points,
        other => panic!("{other:?}"),
    }
}

/// Points as text, sorted: `a=x b=y: 5`.
pub(super) fn shown(metric: &Metric) -> Vec<String> {
    let mut all: Vec<String> = points(metric)
        .iter()
        .map(|point| {
            let attributes: Vec<String> = point
                .attributes
                .iter()
                .map(|one| format!("{}={}", one.key, text(&point.attributes, &one.key)))
                .collect();
            let value = match point.value {
                Some(number_data_point::Value::AsInt(value)) => value.to_string(),
                Some(number_data_point::Value::AsDouble(value)) => format!("{value:?}"),
                None => "none".to_owned(),
            };
            format!("{}: {value}", attributes.join(" "))
        })
        .collect();
    all.sort();
    all
}

/// The value of an attribute as text; empty if it is absent.
pub(super) fn text(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|one| one.key == key);
    match found.and_then(|one| one.value.as_ref()?.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(value)) => format!("i{value}"),
        Some(any_value::Value::DoubleValue(value)) => format!("d{value}"),
        Some(any_value::Value::BoolValue(value)) => value.to_string(),
        Some(other) => format!("{other:?}"),
        None => String::new(),
    }
}

/// An attribute; a number if it is written as one.
pub(super) fn attribute(key: &str, value: &str) -> KeyValue {
    let any = match value.parse() {
        Ok(number) => any_value::Value::IntValue(number),
        Err(_) => any_value::Value::StringValue(value.to_owned()),
    };
    let value = Some(AnyValue { value: Some(any) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

pub(super) fn attributes(all: &[(&str, &str)]) -> Vec<KeyValue> {
    all.iter().map(|(key, value)| attribute(key, value)).collect()
}

/// A server span of 100 ms.
pub(super) fn span(name: &str, all: &[(&str, &str)]) -> Span {
    Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        name: name.to_owned(),
        kind: 2,
        start_time_unix_nano: 1_000_000_000,
        end_time_unix_nano: 1_100_000_000,
        attributes: attributes(all),
        ..Span::default()
    }
}

/// Spans of one resource in one scope.
pub(super) fn resource_spans(resource: &[(&str, &str)], spans: Vec<Span>) -> ResourceSpans {
    let scope = InstrumentationScope {
        name: "lib".to_owned(),
        version: "1".to_owned(),
        ..InstrumentationScope::default()
    };
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
    let attributes = attributes(resource);
    let resource = Some(Resource { attributes, ..Resource::default() });
    ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }
}

pub(super) fn traces(resource_spans: Vec<ResourceSpans>) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest { resource_spans }
}
