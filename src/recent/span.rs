//! One item in full, as plain JSON: what the waterfall and the list of logs show when a row is
//! opened.

use serde::Serialize;
use serde_json::{Map, Value as Json};

use super::{
    cell::{hex, pair, shown},
    chunk::{Chunk, Kind},
    field::kind_name,
    item,
    trace::place,
    whole::Recent,
};
use crate::otlp::view::{self, Event, KeyValue, Link, LogRecord, Resource, Scope, Text};

/// A span in full. Times are nanoseconds since 1970 as text, ids hexadecimal.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct SpanDetails {
    /// Id of its trace.
    pub trace_id: String,
    /// Its id.
    pub span_id: String,
    /// Id of its parent; empty for a root.
    pub parent_span_id: String,
    /// Its name.
    pub name: String,
    /// `server`, `client`, ...
    pub kind: &'static str,
    /// 0 unset, 1 ok, 2 error.
    pub status_code: i32,
    /// What the status says.
    pub status_message: String,
    /// When it began.
    pub start_ns: String,
    /// When it ended.
    pub end_ns: String,
    /// W3C `tracestate`.
    pub trace_state: String,
    /// W3C trace flags, and those of OTLP.
    pub flags: u32,
    /// Its attributes.
    pub attributes: Map<String, Json>,
    /// Its events.
    pub events: Vec<EventDetails>,
    /// Its links.
    pub links: Vec<LinkDetails>,
    /// Attributes, events and links that the sender left out.
    pub dropped: [u32; 3],
    /// Where it comes from.
    #[serde(flatten)]
    pub source: Source,
    /// How many spans it stands for.
    pub weight: f32,
}

/// An event of a span.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct EventDetails {
    /// When it happened.
    pub time_ns: String,
    /// Its name.
    pub name: String,
    /// Its attributes.
    pub attributes: Map<String, Json>,
}

/// A link of a span.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct LinkDetails {
    /// Id of the trace.
    pub trace_id: String,
    /// Id of the span.
    pub span_id: String,
    /// Its attributes.
    pub attributes: Map<String, Json>,
}

/// Where an item comes from.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Source {
    /// Attributes of the resource.
    pub resource: Map<String, Json>,
    /// Name and version of the instrumentation.
    pub scope: [String; 2],
    /// Attributes of the instrumentation.
    pub scope_attributes: Map<String, Json>,
}

/// A log record in full.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct RecordDetails {
    /// Where it is held, for [`Recent::record`].
    pub at: u64,
    /// When it happened, else when it was observed, else when it came.
    pub time_ns: String,
    /// 1 to 24 from trace to fatal, 0 if it has none.
    pub severity: i32,
    /// Severity as the source calls it.
    pub severity_text: String,
    /// The message.
    pub body: Json,
    /// Name of the class of events it is one of.
    pub event_name: String,
    /// Id of its trace; empty if it has none.
    pub trace_id: String,
    /// Id of its span; empty if it has none.
    pub span_id: String,
    /// Its attributes.
    pub attributes: Map<String, Json>,
    /// Where it comes from.
    #[serde(flatten)]
    pub source: Source,
    /// How many records it stands for.
    pub weight: f32,
}

impl Recent {
    /// A span by the place that [`super::Trace::at`] says; none if it is not held any more. `now`:
    /// nanoseconds since 1970.
    pub fn span(&self, at: u64, now: u64) -> Option<SpanDetails> {
        let (chunks, _) = self.snapshot(Kind::Spans, now);
        let (chunk, row) = place(&chunks, at)?;
        let mut request = Vec::new();
        item::put_requests(chunk, &[row], &mut request);
        let entry = view::traces(&request).next()?;
        let scope = entry.scopes().next()?;
        let span = scope.spans().next()?;
        let status = span.status;
        Some(SpanDetails {
            trace_id: hex(span.trace_id),
            span_id: hex(span.span_id),
            parent_span_id: hex(span.parent_span_id),
            name: string(span.name),
            kind: kind_name(u8::try_from(span.kind).unwrap_or(0)),
            status_code: status.map_or(0, |status| status.code),
            status_message: status.map_or_else(String::new, |status| string(status.text)),
            start_ns: span.start_time_unix_nano.to_string(),
            end_ns: span.end_time_unix_nano.to_string(),
            trace_state: string(span.trace_state),
            flags: span.flags,
            attributes: map(span.attributes()),
            events: span.events().map(|event| event_details(&event)).collect(),
            links: span.links().map(|link| link_details(&link)).collect(),
            dropped: [
                span.dropped_attributes_count,
                span.dropped_events_count,
                span.dropped_links_count,
            ],
            source: Source::of(entry.resource, scope.scope),
            weight: chunk.columns.weight[row],
        })
    }

    /// A log record by its place; none if it is not held any more. `now`: nanoseconds since 1970.
    pub fn record(&self, at: u64, now: u64) -> Option<RecordDetails> {
        let (chunks, _) = self.snapshot(Kind::Records, now);
        let (chunk, row) = place(&chunks, at)?;
        record(chunk, row)
    }
}

/// A row of a chunk of log records.
pub(super) fn record(chunk: &Chunk, row: usize) -> Option<RecordDetails> {
    let mut request = Vec::new();
    item::put_requests(chunk, &[row], &mut request);
    let entry = view::logs(&request).next()?;
    let scope = entry.scopes().next()?;
    let record: LogRecord<'_> = scope.log_records().next()?;
    Some(RecordDetails {
        at: u64::from(chunk.number) << 16 | row as u64,
        time_ns: chunk.time(row).to_string(),
        severity: record.severity_number,
        severity_text: string(record.severity_text),
        body: shown(record.body.unwrap_or_default()),
        event_name: string(record.event_name),
        trace_id: hex(record.trace_id),
        span_id: hex(record.span_id),
        attributes: map(record.attributes()),
        source: Source::of(entry.resource, scope.scope),
        weight: chunk.columns.weight[row],
    })
}

impl Source {
    fn of(resource: Option<Resource<'_>>, scope: Option<Scope<'_>>) -> Self {
        Source {
            resource: resource.map(|resource| map(resource.attributes())).unwrap_or_default(),
            scope: scope
                .map(|scope| [string(scope.name), string(scope.version)])
                .unwrap_or_default(),
            scope_attributes: scope.map(|scope| map(scope.attributes())).unwrap_or_default(),
        }
    }
}

fn event_details(event: &Event<'_>) -> EventDetails {
    EventDetails {
        time_ns: event.time_unix_nano.to_string(),
        name: string(event.name),
        attributes: map(event.attributes()),
    }
}

fn link_details(link: &Link<'_>) -> LinkDetails {
    LinkDetails {
        trace_id: hex(link.trace_id),
        span_id: hex(link.span_id),
        attributes: map(link.attributes()),
    }
}

fn string(text: Text<'_>) -> String {
    text.to_str().into_owned()
}

fn map<'a>(attributes: impl Iterator<Item = KeyValue<'a>>) -> Map<String, Json> {
    attributes.map(pair).collect()
}
