//! A log record as the message of an event: the JSON of the Collector, or the body alone.

use serde_json::Value as Tree;

use super::super::{
    cloudwatch::{batch::CUT, streams::as_text},
    ids,
    json::Json,
};
use crate::otlp::view::{LogRecord, Resource, Scope, Text, Value};

/// What every record of one scope has in common, as JSON members with a comma before each.
#[derive(Debug, Default)]
pub(super) struct Around {
    resource: Vec<u8>,
    scope: Vec<u8>,
}

impl Around {
    pub(super) fn of_resource(resource: Option<&Resource<'_>>) -> Self {
        let mut own = Around::default();
        let mut json = Json::default();
        let Some(resource) = resource.filter(|resource| resource.attributes().next().is_some())
        else {
            return own;
        };
        json.begin();
        for attribute in resource.attributes() {
            json.key(attribute.key.0);
            json.value(attribute.value.unwrap_or_default());
        }
        json.end();
        own.resource = json.out;
        own
    }

    pub(super) fn set_scope(&mut self, scope: Option<&Scope<'_>>) {
        self.scope.clear();
        let Some(scope) = scope.filter(|scope| !scope.name.0.is_empty()) else { return };
        let mut json = Json::default();
        json.begin();
        json.text_at("name", scope.name.0);
        if !scope.version.0.is_empty() {
            json.text_at("version", scope.version.0);
        }
        let mut attributes = scope.attributes().peekable();
        if attributes.peek().is_some() {
            json.begin_at("attributes");
            for attribute in attributes {
                json.key(attribute.key.0);
                json.value(attribute.value.unwrap_or_default());
            }
            json.end();
        }
        json.end();
        self.scope = json.out;
    }
}

/// Appends the record as JSON. Parts that are empty are left out. A body that would make it longer than
/// `longest` is cut, so that it stays JSON.
pub(super) fn write(
    record: &LogRecord<'_>,
    around: &Around,
    trace_field: &str,
    longest: usize,
    out: &mut Vec<u8>,
) {
    let from = out.len();
    let body = record.body.unwrap_or_default();
    let whole = |json: &mut Json| {
        if !matches!(body, Value::Empty) {
            json.value_at("body", body);
        }
    };
    append(record, whole, around, trace_field, out);
    let excess = (out.len() - from).saturating_sub(longest);
    let Value::String(Text(text)) = body else { return };
    if excess == 0 {
        return;
    }
    let mut escaped = Json::default();
    escaped.text(text);
    let mut text = escaped.out;
    if let Some(room) = text.len().checked_sub(excess + CUT.len() + 2) {
        text.truncate(boundary(&text, room + 1));
        text.extend_from_slice(CUT.as_bytes());
        text.push(b'"');
        out.truncate(from);
        append(record, |json| json.raw_at("body", &text), around, trace_field, out);
    }
}

/// The last place up to `most` of a JSON string that is not inside of a character or its escape.
fn boundary(text: &[u8], most: usize) -> usize {
    let mut end = 1;
    loop {
        let len = match &text[end..] {
            [b'\\', b'u', ..] => 6,
            [0xF0..=0xFF, ..] => 4,
            [0xE0..=0xEF, ..] => 3,
            [b'\\' | 0xC0..=0xDF, ..] => 2,
            _ => 1,
        };
        if end + len > most {
            return end;
        }
        end += len;
    }
}

fn append(
    record: &LogRecord<'_>,
    body: impl FnOnce(&mut Json),
    around: &Around,
    trace_field: &str,
    out: &mut Vec<u8>,
) {
    let mut json = Json::appending(std::mem::take(out));
    json.begin();
    body(&mut json);
    if record.severity_number != 0 {
        json.int_at("severity_number", record.severity_number.into());
    }
    let texts = [("severity_text", record.severity_text), ("event_name", record.event_name)];
    for (key, text) in texts.into_iter().filter(|(_, text)| !text.0.is_empty()) {
        json.text_at(key, text.0);
    }
    if record.dropped_attributes_count != 0 {
        json.int_at("dropped_attributes_count", record.dropped_attributes_count.into());
    }
    if record.flags != 0 {
        json.int_at("flags", record.flags.into());
    }
    if let Some(trace) = ids::trace(record.trace_id) {
        json.begin_text_at("trace_id");
        json.out.extend_from_slice(&trace[2..10]);
        json.out.extend_from_slice(&trace[11..]);
        json.end_text();
        if !trace_field.is_empty() {
            json.text_at(trace_field, &trace);
        }
    }
    if let Some(span) = ids::span(record.span_id) {
        json.text_at("span_id", &span);
    }
    let mut attributes = record.attributes().peekable();
    if attributes.peek().is_some() {
        json.begin_at("attributes");
        for attribute in attributes {
            json.key(attribute.key.0);
            json.value(attribute.value.unwrap_or_default());
        }
        json.end();
    }
    for (key, value) in [("scope", &around.scope), ("resource", &around.resource)] {
        if !value.is_empty() {
            json.raw_at(key, value);
        }
    }
    json.end();
    *out = json.out;
}

/// Appends the body alone; lists and maps as JSON.
pub(super) fn write_body(record: &LogRecord<'_>, out: &mut Vec<u8>) {
    match record.body.unwrap_or_default() {
        Value::Empty => {}
        Value::String(Text(text)) => match simdutf8::basic::from_utf8(text) {
            Ok(_) => out.extend_from_slice(text),
            Err(_) => out.extend_from_slice(String::from_utf8_lossy(text).as_bytes()),
        },
        value => {
            if let Some(text) = as_text(value) {
                out.extend_from_slice(text.as_bytes());
                return;
            }
            let mut json = Json::appending(std::mem::take(out));
            json.value(value);
            *out = json.out;
        }
    }
}

/// Group and stream that a body in the embedded metric format names for itself: version 1 under `_aws`,
/// version 0 at the top. The stream counts only together with the group.
pub(super) fn own_names(record: &LogRecord<'_>) -> Option<(String, Option<String>)> {
    let Value::String(Text(text)) = record.body? else { return None };
    let is_candidate = text.first() == Some(&b'{')
        && (contains(text, b"\"_aws\"") || contains(text, b"log_group_name"));
    let body: Tree = serde_json::from_slice(text).ok().filter(|_| is_candidate)?;
    let name = |value: &Tree| value.as_str().filter(|name| !name.is_empty()).map(str::to_owned);
    if let Some(names) = body.get("_aws").and_then(Tree::as_object) {
        let find = |wanted: &str| {
            let found = names.iter().find(|(key, _)| key.eq_ignore_ascii_case(wanted));
            found.and_then(|(_, value)| name(value))
        };
        if let Some(group) = find("logGroupName") {
            return Some((group, find("logStreamName")));
        }
    }
    let group = body.get("log_group_name").and_then(name)?;
    Some((group, body.get("log_stream_name").and_then(name)))
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|part| part == wanted)
}
