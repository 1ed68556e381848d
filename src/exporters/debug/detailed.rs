//! Every field on its own line.

mod metric;

use std::fmt::{Arguments, Display, Write as _};

use super::{
    pages::Page,
    value::{attributes, id, time_of, write_with_type},
};
use crate::otlp::{
    Signal,
    content::{Step, Walk},
    record::Record,
    schema,
};

pub(super) use metric::{Buckets, point_table};

/// Writes what a walk shows.
pub(super) fn step(signal: Signal, step: Step<'_>, walk: &Walk<'_>, page: &mut Page) {
    let [i, j, k, point] = walk.numbers();
    match step {
        Step::Resource => {
            let label = match signal {
                Signal::Traces => "ResourceSpans",
                Signal::Metrics => "ResourceMetrics",
                Signal::Logs => "ResourceLog",
            };
            page.line(format_args!("{label} #{i}"));
            page.line(format_args!("Resource SchemaURL: {}", walk.resource_schema_url()));
            if let Some(resource) = walk.resource_message() {
                page.resource(&Record::of(&schema::RESOURCE, resource));
            }
        }
        Step::Scope => {
            let label = match signal {
                Signal::Traces => "ScopeSpans",
                Signal::Metrics => "ScopeMetrics",
                Signal::Logs => "ScopeLogs",
            };
            page.line(format_args!("{label} #{j}"));
            page.line(format_args!("{label} SchemaURL: {}", walk.scope_schema_url()));
            let scope = walk.scope_message();
            page.scope(scope.map(|scope| Record::of(&schema::SCOPE, scope)).as_ref());
        }
        Step::Metric(metric) => {
            if let Some(whole) = walk.metric_message() {
                page.metric(k, &Record::of(&schema::METRIC, whole), metric.data);
            }
        }
        Step::Item(item) => match signal {
            Signal::Traces => page.span(k, &Record::of(&schema::SPAN, item)),
            Signal::Logs => page.log_record(k, &Record::of(&schema::LOG_RECORD, item)),
            Signal::Metrics => {
                if let Some(data) = walk.metric().and_then(|metric| metric.data) {
                    let (kind, table) = point_table(data);
                    page.point(kind, point, &Record::of(table, item));
                }
            }
        },
    }
}

impl Page {
    fn line(&mut self, text: Arguments<'_>) {
        let _ = write!(self, "{text}");
        self.end();
    }

    /// A value and its type at the end of a line.
    fn value(&mut self, value: Option<&Record<'_>>) {
        let _ = write_with_type(value, self);
        self.end();
    }

    /// A count or flags, where they are set.
    fn number_if_set(&mut self, label: &str, number: u64) {
        if number != 0 {
            self.line(format_args!("{label}: {number}"));
        }
    }

    /// A label that is padded so that the colons of a span are aligned.
    fn labelled(&mut self, label: &str, value: impl Display) {
        self.line(format_args!("    {label:<15}: {value}"));
    }

    /// A title and a line per attribute; nothing if there are none.
    fn attributes(&mut self, indent: &str, title: &str, of: &Record<'_>, field: &str) {
        for (i, (key, value)) in attributes(of, field).enumerate() {
            if self.is_full() {
                break;
            }
            if i == 0 {
                self.line(format_args!("{indent}{title}:"));
            }
            let margin = if indent.is_empty() { "" } else { "     " };
            let _ = write!(self, "{margin}     -> {key}: ");
            self.value(value.as_ref());
        }
    }

    fn resource(&mut self, resource: &Record<'_>) {
        self.attributes("", "Resource attributes", resource, "attributes");
        let dropped = resource.bits("dropped_attributes_count");
        self.number_if_set("Resource DroppedAttributesCount", dropped);
        for (i, entity) in resource.children("entity_refs").enumerate() {
            if self.is_full() {
                break;
            }
            if i == 0 {
                self.line(format_args!("Resource entity refs:"));
            }
            self.entity(i, &entity);
        }
    }

    fn entity(&mut self, i: usize, entity: &Record<'_>) {
        self.line(format_args!("     -> Entity ref #{i}:"));
        self.line(format_args!("          -> Type: {}", entity.shown("type")));
        let url = entity.shown("schema_url");
        if !url.is_empty() {
            self.line(format_args!("          -> Schema URL: {url}"));
        }
        for (title, field) in [("ID", "id_keys"), ("Description", "description_keys")] {
            for (n, key) in entity.texts(field).enumerate() {
                if n == 0 {
                    self.line(format_args!("          -> {title} keys:"));
                }
                self.line(format_args!("               -> {key}"));
            }
        }
    }

    fn scope(&mut self, scope: Option<&Record<'_>>) {
        let Some(scope) = scope else { return self.line(format_args!("InstrumentationScope  ")) };
        let (name, version) = (scope.shown("name"), scope.shown("version"));
        self.line(format_args!("InstrumentationScope {name} {version}"));
        self.attributes("", "InstrumentationScope attributes", scope, "attributes");
        let dropped = scope.bits("dropped_attributes_count");
        self.number_if_set("InstrumentationScope DroppedAttributesCount", dropped);
    }

    fn span(&mut self, k: usize, span: &Record<'_>) {
        self.line(format_args!("Span #{k}"));
        self.labelled("Trace ID", id(span.bytes("trace_id")));
        self.labelled("Parent ID", id(span.bytes("parent_span_id")));
        self.labelled("ID", id(span.bytes("span_id")));
        self.labelled("Name", span.shown("name"));
        self.labelled("Kind", kind(number(span.bits("kind"))));
        let state = span.shown("trace_state");
        if !state.is_empty() {
            self.labelled("TraceState", state);
        }
        self.labelled("Start time", time_of(span.bits("start_time_unix_nano")));
        self.labelled("End time", time_of(span.bits("end_time_unix_nano")));
        let status = span.child("status");
        let code = status.as_ref().map_or(0, |status| number(status.bits("code")));
        self.labelled("Status code", status_code(code));
        self.labelled("Status message", status.map(|s| s.shown("message")).unwrap_or_default());
        self.line(format_args!(
            "    DroppedAttributesCount: {}",
            span.bits("dropped_attributes_count")
        ));
        self.line(format_args!("    DroppedEventsCount: {}", span.bits("dropped_events_count")));
        self.line(format_args!("    DroppedLinksCount: {}", span.bits("dropped_links_count")));
        let flags = span.bits("flags");
        if flags != 0 {
            self.labelled("Flags", flags);
        }
        self.attributes("", "Attributes", span, "attributes");
        for (i, event) in span.children("events").enumerate() {
            if self.is_full() {
                break;
            }
            self.event(i, &event);
        }
        for (i, link) in span.children("links").enumerate() {
            if self.is_full() {
                break;
            }
            self.link(i, &link);
        }
    }

    fn event(&mut self, i: usize, event: &Record<'_>) {
        if i == 0 {
            self.line(format_args!("Events:"));
        }
        self.line(format_args!("SpanEvent #{i}"));
        self.line(format_args!("     -> Name: {}", event.shown("name")));
        self.line(format_args!("     -> Timestamp: {}", time_of(event.bits("time_unix_nano"))));
        self.dropped_and_attributes(event);
    }

    fn link(&mut self, i: usize, link: &Record<'_>) {
        if i == 0 {
            self.line(format_args!("Links:"));
        }
        self.line(format_args!("SpanLink #{i}"));
        self.line(format_args!("     -> Trace ID: {}", id(link.bytes("trace_id"))));
        self.line(format_args!("     -> ID: {}", id(link.bytes("span_id"))));
        self.line(format_args!("     -> TraceState: {}", link.shown("trace_state")));
        self.number_if_set("     -> Flags", link.bits("flags"));
        self.dropped_and_attributes(link);
    }

    fn dropped_and_attributes(&mut self, of: &Record<'_>) {
        let dropped = of.bits("dropped_attributes_count");
        self.line(format_args!("     -> DroppedAttributesCount: {dropped}"));
        self.attributes("     -> ", "Attributes:", of, "attributes");
    }

    fn log_record(&mut self, k: usize, record: &Record<'_>) {
        let observed = time_of(record.bits("observed_time_unix_nano"));
        let severity = number(record.bits("severity_number"));
        self.line(format_args!("LogRecord #{k}"));
        self.line(format_args!("ObservedTimestamp: {observed}"));
        self.line(format_args!("Timestamp: {}", time_of(record.bits("time_unix_nano"))));
        self.line(format_args!("SeverityText: {}", record.shown("severity_text")));
        self.line(format_args!("SeverityNumber: {}({severity})", severity_name(severity)));
        let event_name = record.shown("event_name");
        if !event_name.is_empty() {
            self.line(format_args!("EventName: {event_name}"));
        }
        let _ = self.write_str("Body: ");
        self.value(record.child("body").as_ref());
        self.attributes("", "Attributes", record, "attributes");
        let dropped = record.bits("dropped_attributes_count");
        self.number_if_set("DroppedAttributesCount", dropped);
        self.line(format_args!("Trace ID: {}", id(record.bytes("trace_id"))));
        self.line(format_args!("Span ID: {}", id(record.bytes("span_id"))));
        self.line(format_args!("Flags: {}", record.bits("flags")));
    }
}

/// An enum as protobuf has it: the low 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "protobuf takes the low 32 bits")]
fn number(bits: u64) -> i32 {
    (bits as u32).cast_signed()
}

fn kind(number: i32) -> &'static str {
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

fn status_code(number: i32) -> &'static str {
    match number {
        0 => "Unset",
        1 => "Ok",
        2 => "Error",
        _ => "",
    }
}

/// `Info`, `Info2`, ...: four numbers per level.
fn severity_name(number: i32) -> String {
    const LEVELS: [&str; 6] = ["Trace", "Debug", "Info", "Warn", "Error", "Fatal"];
    let position = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
    let Some(position) = position.filter(|position| *position < 24) else {
        return if number == 0 { "Unspecified".to_owned() } else { String::new() };
    };
    let (name, step) = (LEVELS[position / 4], position % 4 + 1);
    if step == 1 { name.to_owned() } else { format!("{name}{step}") }
}
