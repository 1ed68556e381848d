//! Every field on its own line.

mod metric;

use std::fmt::{Arguments, Display, Write as _};

use super::{
    names,
    sink::Lines,
    value::{attributes, hex, time_of, with_type},
};
use crate::otlp::{Signal, record::Record};

/// Renders a request.
pub(super) fn render(signal: Signal, root: &Record<'_>) -> String {
    let names = names(signal);
    let (resource_label, scope_label) = match signal {
        Signal::Traces => ("ResourceSpans", "ScopeSpans"),
        Signal::Metrics => ("ResourceMetrics", "ScopeMetrics"),
        Signal::Logs => ("ResourceLog", "ScopeLogs"),
    };
    let mut page = Page(Lines::default());
    for (i, entry) in root.children(names.resources).enumerate() {
        page.line(format_args!("{resource_label} #{i}"));
        page.line(format_args!("Resource SchemaURL: {}", entry.text("schema_url")));
        if let Some(resource) = entry.child("resource") {
            page.attributes("", "Resource attributes", &resource, "attributes");
        }
        for (j, entry) in entry.children(names.scopes).enumerate() {
            page.line(format_args!("{scope_label} #{j}"));
            page.line(format_args!("{scope_label} SchemaURL: {}", entry.text("schema_url")));
            page.scope(entry.child("scope").as_ref());
            for (k, record) in entry.children(names.records).enumerate() {
                match signal {
                    Signal::Traces => page.span(k, &record),
                    Signal::Metrics => page.metric(k, &record),
                    Signal::Logs => page.log_record(k, &record),
                }
            }
        }
    }
    page.0.0
}

/// The text so far.
struct Page(Lines);

impl Page {
    fn line(&mut self, text: Arguments<'_>) {
        let _ = write!(self.0, "{text}");
        self.0.end();
    }

    /// A label that is padded so that the colons of a span stand below each other.
    fn labelled(&mut self, label: &str, value: impl Display) {
        self.line(format_args!("    {label:<15}: {value}"));
    }

    /// A title and a line per attribute; nothing if there are none.
    fn attributes(&mut self, indent: &str, title: &str, of: &Record<'_>, field: &str) {
        for (i, (key, value)) in attributes(of, field).enumerate() {
            if i == 0 {
                self.line(format_args!("{indent}{title}:"));
            }
            let margin = if indent.is_empty() { "" } else { "     " };
            self.line(format_args!("{margin}     -> {key}: {}", with_type(value.as_ref())));
        }
    }

    fn scope(&mut self, scope: Option<&Record<'_>>) {
        let Some(scope) = scope else { return self.line(format_args!("InstrumentationScope  ")) };
        let (name, version) = (scope.text("name"), scope.text("version"));
        self.line(format_args!("InstrumentationScope {name} {version}"));
        self.attributes("", "InstrumentationScope attributes", scope, "attributes");
    }

    fn span(&mut self, k: usize, span: &Record<'_>) {
        self.line(format_args!("Span #{k}"));
        self.labelled("Trace ID", hex(span.bytes("trace_id")));
        self.labelled("Parent ID", hex(span.bytes("parent_span_id")));
        self.labelled("ID", hex(span.bytes("span_id")));
        self.labelled("Name", span.text("name"));
        self.labelled("Kind", kind(span.bits("kind")));
        let state = span.text("trace_state");
        if !state.is_empty() {
            self.labelled("TraceState", state);
        }
        self.labelled("Start time", time_of(span.bits("start_time_unix_nano")));
        self.labelled("End time", time_of(span.bits("end_time_unix_nano")));
        let status = span.child("status");
        let code = status.as_ref().map_or(0, |status| status.bits("code"));
        self.labelled("Status code", status_code(code));
        self.labelled("Status message", status.map(|s| s.text("message")).unwrap_or_default());
        self.line(format_args!(
            "    DroppedAttributesCount: {}",
            span.bits("dropped_attributes_count")
        ));
        self.line(format_args!("    DroppedEventsCount: {}", span.bits("dropped_events_count")));
        self.line(format_args!("    DroppedLinksCount: {}", span.bits("dropped_links_count")));
        self.attributes("", "Attributes", span, "attributes");
        for (i, event) in span.children("events").enumerate() {
            self.event(i, &event);
        }
        for (i, link) in span.children("links").enumerate() {
            self.link(i, &link);
        }
    }

    fn event(&mut self, i: usize, event: &Record<'_>) {
        if i == 0 {
            self.line(format_args!("Events:"));
        }
        self.line(format_args!("SpanEvent #{i}"));
        self.line(format_args!("     -> Name: {}", event.text("name")));
        self.line(format_args!("     -> Timestamp: {}", time_of(event.bits("time_unix_nano"))));
        self.dropped_and_attributes(event);
    }

    fn link(&mut self, i: usize, link: &Record<'_>) {
        if i == 0 {
            self.line(format_args!("Links:"));
        }
        self.line(format_args!("SpanLink #{i}"));
        self.line(format_args!("     -> Trace ID: {}", hex(link.bytes("trace_id"))));
        self.line(format_args!("     -> ID: {}", hex(link.bytes("span_id"))));
        self.line(format_args!("     -> TraceState: {}", link.text("trace_state")));
        self.dropped_and_attributes(link);
    }

    fn dropped_and_attributes(&mut self, of: &Record<'_>) {
        let dropped = of.bits("dropped_attributes_count");
        self.line(format_args!("     -> DroppedAttributesCount: {dropped}"));
        self.attributes("     -> ", "Attributes:", of, "attributes");
    }

    fn log_record(&mut self, k: usize, record: &Record<'_>) {
        let observed = time_of(record.bits("observed_time_unix_nano"));
        let severity = record.bits("severity_number");
        self.line(format_args!("LogRecord #{k}"));
        self.line(format_args!("ObservedTimestamp: {observed}"));
        self.line(format_args!("Timestamp: {}", time_of(record.bits("time_unix_nano"))));
        self.line(format_args!("SeverityText: {}", record.text("severity_text")));
        self.line(format_args!("SeverityNumber: {}({severity})", severity_name(severity)));
        let event_name = record.text("event_name");
        if !event_name.is_empty() {
            self.line(format_args!("EventName: {event_name}"));
        }
        self.line(format_args!("Body: {}", with_type(record.child("body").as_ref())));
        self.attributes("", "Attributes", record, "attributes");
        self.line(format_args!("Trace ID: {}", hex(record.bytes("trace_id"))));
        self.line(format_args!("Span ID: {}", hex(record.bytes("span_id"))));
        self.line(format_args!("Flags: {}", record.bits("flags")));
    }
}

fn kind(number: u64) -> &'static str {
    match number {
        0 => "Unspecified",
        1 => "Internal",
        2 => "Server",
        3 => "Client",
        4 => "Producer",
        5 => "Consumer",
        _ => "",
    }
}

fn status_code(number: u64) -> &'static str {
    match number {
        0 => "Unset",
        1 => "Ok",
        2 => "Error",
        _ => "",
    }
}

/// `Info`, `Info2`, ...: four numbers per level.
fn severity_name(number: u64) -> String {
    const LEVELS: [&str; 6] = ["Trace", "Debug", "Info", "Warn", "Error", "Fatal"];
    let Some(position) = number.checked_sub(1).filter(|position| *position < 24) else {
        return if number == 0 { "Unspecified".to_owned() } else { String::new() };
    };
    let (level, step) = (position / 4, position % 4 + 1);
    let name = LEVELS.iter().zip(0u64..).find(|(_, i)| *i == level).map_or("", |(name, _)| *name);
    if step == 1 { name.to_owned() } else { format!("{name}{step}") }
}
