//! A stand-in for Honeycomb's OTLP intake that takes nothing that Honeycomb would not take, and
//! counts events as it does. It shares no code with skep.

use std::{
    collections::BTreeMap,
    io::Read as _,
    sync::{Arc, Mutex},
};

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{KeyValue, any_value::Value as Any},
    logs::v1::LogRecord,
    resource::v1::Resource,
    trace::v1::Span,
};
use prost::Message;

use crate::support::stand_in::{Answer, header, start};

/// The key that it knows, of an environment.
pub(crate) const KEY: &str = "hcaik_for_a_test";

/// Largest body, as sent and as inflated.
const LARGEST: usize = 20 << 20;
/// Most fields of an event, and bytes of a text in it.
const FIELDS: usize = 2000;
const TEXT: usize = 64 << 10;

/// What has come.
#[derive(Default)]
pub(crate) struct Honeycomb {
    /// Spans with the dataset that they went to, in order of arrival.
    pub(crate) spans: Vec<(String, Span)>,
    pub(crate) logs: Vec<(String, LogRecord)>,
    pub(crate) metrics: Vec<ExportMetricsServiceRequest>,
    /// Events, as they are billed.
    pub(crate) events: usize,
    /// What is wrong with requests that were refused.
    pub(crate) refused: Vec<String>,
}

impl Honeycomb {
    /// The spans of each trace.
    pub(crate) fn traces(&self) -> BTreeMap<Vec<u8>, Vec<&Span>> {
        let mut traces: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (_, span) in &self.spans {
            traces.entry(span.trace_id.clone()).or_default().push(span);
        }
        traces
    }
}

/// Starts one; gives its port.
pub(crate) fn honeycomb() -> (Arc<Mutex<Honeycomb>>, u16) {
    start(answer)
}

fn answer(state: &mut Honeycomb, head: &str, body: &[u8]) -> Answer {
    match take(state, head, body) {
        Ok(()) => (200, "content-type: application/x-protobuf\r\n".to_owned(), String::new()),
        Err((status, why)) => {
            state.refused.push(format!("{status}: {why}"));
            (status, String::new(), why)
        }
    }
}

fn take(state: &mut Honeycomb, head: &str, body: &[u8]) -> Result<(), (u16, String)> {
    let wrong = |status: u16, why: &str| Err((status, why.to_owned()));
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if method != "POST" {
        return wrong(405, method);
    }
    let keys = head.lines().filter(|line| line.to_lowercase().starts_with("x-honeycomb-team:"));
    if keys.count() != 1 || header(head, "x-honeycomb-team") != Some(KEY) {
        return wrong(401, "unknown API key");
    }
    if header(head, "content-type") != Some("application/x-protobuf") {
        return wrong(415, "content type");
    }
    let body = inflated(header(head, "content-encoding"), body).ok_or((400, "encoding".into()))?;
    let unreadable = |error: prost::DecodeError| (400, error.to_string());
    match path {
        "/v1/traces" => {
            let request = ExportTraceServiceRequest::decode(&*body).map_err(unreadable)?;
            traces(state, request).map_err(|why| (400, why))
        }
        "/v1/logs" => {
            let request = ExportLogsServiceRequest::decode(&*body).map_err(unreadable)?;
            logs(state, request).map_err(|why| (400, why))
        }
        "/v1/metrics" => {
            let request = ExportMetricsServiceRequest::decode(&*body).map_err(unreadable)?;
            if header(head, "x-honeycomb-dataset").is_none() && !request.resource_metrics.is_empty()
            {
                return wrong(400, "metrics without a dataset");
            }
            state.metrics.push(request);
            Ok(())
        }
        _ => wrong(404, path),
    }
}

fn inflated(encoding: Option<&str>, body: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    let most = LARGEST as u64 + 1;
    match encoding {
        None | Some("identity") => plain.extend_from_slice(body),
        Some("gzip") => {
            let mut reader = flate2::read::MultiGzDecoder::new(body).take(most);
            reader.read_to_end(&mut plain).ok()?;
        }
        Some("zstd") => {
            let mut reader = zstd::Decoder::new(body).ok()?.take(most);
            reader.read_to_end(&mut plain).ok()?;
        }
        Some(_) => return None,
    }
    (plain.len() <= LARGEST && body.len() <= LARGEST).then_some(plain)
}

fn traces(state: &mut Honeycomb, request: ExportTraceServiceRequest) -> Result<(), String> {
    for entry in request.resource_spans {
        let dataset = dataset(entry.resource.as_ref())?;
        for span in entry.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            let is_id = |id: &[u8], len| id.len() == len && id.iter().any(|byte| *byte != 0);
            if !is_id(&span.trace_id, 16) || !is_id(&span.span_id, 8) || span.name.is_empty() {
                return Err(format!("ids or name of {span:?}"));
            }
            if !span.parent_span_id.is_empty() && !is_id(&span.parent_span_id, 8) {
                return Err(format!("parent of {span:?}"));
            }
            if span.start_time_unix_nano == 0 || span.end_time_unix_nano < span.start_time_unix_nano
            {
                return Err(format!("times of {span:?}"));
            }
            check(&span.attributes)?;
            span.events.iter().try_for_each(|event| check(&event.attributes))?;
            span.links.iter().try_for_each(|link| check(&link.attributes))?;
            state.events += 1 + span.events.len() + span.links.len();
            state.spans.push((dataset.clone(), span));
        }
    }
    Ok(())
}

fn logs(state: &mut Honeycomb, request: ExportLogsServiceRequest) -> Result<(), String> {
    for entry in request.resource_logs {
        let dataset = dataset(entry.resource.as_ref())?;
        for record in entry.scope_logs.into_iter().flat_map(|scope| scope.log_records) {
            check(&record.attributes)?;
            state.events += 1;
            state.logs.push((dataset.clone(), record));
        }
    }
    Ok(())
}

/// The dataset is the name of the service. Honeycomb takes data without one into `unknown_service`,
/// where nobody looks for it; here that is a fault.
fn dataset(resource: Option<&Resource>) -> Result<String, String> {
    let attributes = resource.map_or(&[][..], |resource| &resource.attributes);
    check(attributes)?;
    let name = text(attributes, "service.name").unwrap_or_default();
    if name.trim().is_empty() || name.starts_with("unknown_service") {
        return Err("no service.name".to_owned());
    }
    Ok(name.trim().to_owned())
}

fn check(attributes: &[KeyValue]) -> Result<(), String> {
    let mut keys: Vec<&str> = attributes.iter().map(|one| &*one.key).collect();
    keys.sort_unstable();
    keys.dedup();
    if keys.len() < attributes.len() || keys.len() > FIELDS {
        return Err(format!("fields: {attributes:?}"));
    }
    let is_long = |one: &&KeyValue| text(attributes, &one.key).is_some_and(|it| it.len() > TEXT);
    attributes.iter().find(is_long).map_or(Ok(()), |one| Err(format!("{} is too long", one.key)))
}

/// An attribute that is a text.
pub(crate) fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    match attributes.iter().find(|one| one.key == key)?.value.as_ref()?.value.as_ref()? {
        Any::StringValue(text) => Some(text),
        _ => None,
    }
}
