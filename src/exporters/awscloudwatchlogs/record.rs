//! A log record as the message of an event: the JSON of the Collector, or the body alone.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::super::{
    cloudwatch::{
        batch::{CUT, cut},
        streams::as_text,
    },
    ids,
    json::Json,
};
use crate::otlp::view::{KeyValue, LogRecord, Resource, Scope, Text, Value};

/// Most bytes of the resource in an event, and of the scope: many small records share them, and
/// each is written with both.
const RESOURCE: usize = 12 << 10;
const SCOPE: usize = 4 << 10;
/// The member that says how many attributes are missing (OpenTelemetry, mapping to formats other
/// than OTLP).
const DROPPED: &str = "otel.dropped_attributes_count";
/// What that takes.
const DROPPED_LEN: usize = 64;

/// After so many attributes that do not fit no other one is tried.
const MISSES: u64 = 100;

/// What every record of one scope has in common, as JSON members with a comma before each.
#[derive(Debug, Default)]
pub(super) struct Around {
    resource: Vec<u8>,
    scope: Vec<u8>,
    /// Whether parts of the resource and of the scope are missing.
    is_short: [bool; 2],
}

impl Around {
    pub(super) fn of_resource(resource: Option<Resource<'_>>) -> Self {
        let mut own = Around::default();
        let Some(resource) = resource.filter(|resource| resource.attributes().next().is_some())
        else {
            return own;
        };
        let mut json = Json::default().at_most(RESOURCE);
        json.begin();
        own.is_short[0] = write_attributes(&mut json, RESOURCE, resource.attributes());
        json.end();
        own.resource = json.out;
        own
    }

    pub(super) fn set_scope(&mut self, scope: Option<Scope<'_>>) {
        self.scope.clear();
        self.is_short[1] = false;
        let Some(scope) = scope.filter(|scope| !scope.name.0.is_empty()) else { return };
        let mut json = Json::default().at_most(SCOPE);
        json.begin();
        for (key, text) in [("name", scope.name.0), ("version", scope.version.0)] {
            let most = SCOPE - 2 * DROPPED_LEN;
            let fits = text.is_empty() || json.within(most, |json| json.text_at(key, text));
            self.is_short[1] |= !fits;
        }
        if scope.attributes().next().is_some() {
            json.begin_at("attributes");
            self.is_short[1] |= write_attributes(&mut json, SCOPE, scope.attributes());
            json.end();
        }
        json.end();
        self.scope = json.out;
    }

    fn is_short(&self) -> bool {
        self.is_short != [false; 2]
    }
}

/// Writes those that fit, and how many do not; whether there are such.
fn write_attributes<'a>(
    json: &mut Json,
    most: usize,
    attributes: impl Iterator<Item = KeyValue<'a>>,
) -> bool {
    let mut missing = 0;
    for attribute in attributes {
        // It is written again for every piece, so the number of tries is limited.
        let fits = missing < MISSES
            && json.within(most - DROPPED_LEN, |json| {
                json.key(attribute.key.0);
                json.value(attribute.value.unwrap_or_default());
            });
        missing += u64::from(!fits);
    }
    if missing > 0 {
        json.count_at(DROPPED, missing);
    }
    missing > 0
}

/// Appends the record as JSON. Parts that are empty are left out. A body that would make it longer
/// than `longest` is cut, so that it stays JSON. Whether something is missing.
pub(super) fn write(
    record: &LogRecord<'_>,
    around: &Around,
    trace_field: &str,
    longest: usize,
    out: &mut Vec<u8>,
) -> bool {
    let from = out.len();
    let most = from.saturating_add(longest);
    let body = record.body.unwrap_or_default();
    let whole = |json: &mut Json| {
        if !matches!(body, Value::Empty) {
            json.value_at("body", body);
        }
    };
    if append(record, whole, around, trace_field, most, out) {
        return around.is_short();
    }
    if let Value::String(Text(text)) = body {
        out.truncate(from);
        let fits = append(record, |_| {}, around, trace_field, most, out);
        let beside = out.len() - from + r#""body":"","#.len() + CUT.len();
        if let Some(room) = longest.checked_sub(beside).filter(|_| fits) {
            let mut escaped = Json::default().at_most(room + 8);
            escaped.text(text);
            let mut text = escaped.out;
            text.truncate(boundary(&text, room + 1));
            text.extend_from_slice(CUT.as_bytes());
            text.push(b'"');
            out.truncate(from);
            append(record, |json| json.raw_at("body", &text), around, trace_field, most, out);
            return true;
        }
        out.truncate(from);
        append(record, whole, around, trace_field, most, out);
    }
    cut(out, from, longest);
    true
}

/// The last place up to `most` of a JSON string that is not inside of a character or its escape.
fn boundary(text: &[u8], most: usize) -> usize {
    // Without its last quote.
    let most = most.min(text.len() - 1);
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

/// Appends it, and stops soon after `out` is longer than `most`. Returns whether it fits.
fn append(
    record: &LogRecord<'_>,
    body: impl FnOnce(&mut Json),
    around: &Around,
    trace_field: &str,
    most: usize,
    out: &mut Vec<u8>,
) -> bool {
    let mut json = Json::appending(std::mem::take(out)).at_most(most);
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
            if json.is_over() {
                break;
            }
        }
        json.end();
    }
    for (key, value) in [("scope", &around.scope), ("resource", &around.resource)] {
        if !value.is_empty() {
            json.raw_at(key, value);
        }
    }
    json.end();
    let fits = !json.is_over();
    *out = json.out;
    fits
}

/// Appends the body alone; bytes as base64, lists and maps as JSON. It may be a little longer than
/// `longest`; whether it is cut already.
pub(super) fn write_body(record: &LogRecord<'_>, longest: usize, out: &mut Vec<u8>) -> bool {
    let from = out.len();
    match record.body.unwrap_or_default() {
        Value::Empty => {}
        Value::String(Text(text)) => {
            // More is cut anyway.
            let start = &text[..text.len().min(longest.saturating_add(4))];
            for part in start.utf8_chunks() {
                out.extend_from_slice(part.valid().as_bytes());
                if out.len() - from > longest {
                    break;
                }
                if !part.invalid().is_empty() {
                    out.extend_from_slice("\u{FFFD}".as_bytes());
                }
            }
        }
        Value::Bytes(bytes) => {
            // More is cut anyway.
            let start = &bytes[..bytes.len().min(longest)];
            out.extend_from_slice(STANDARD.encode(start).as_bytes());
        }
        value => {
            if let Some(text) = as_text(value) {
                out.extend_from_slice(text.as_bytes());
                return false;
            }
            let most = from.saturating_add(longest);
            let mut json = Json::appending(std::mem::take(out)).at_most(most);
            json.value(value);
            let is_over = json.is_over();
            *out = json.out;
            if is_over {
                cut(out, from, longest);
            }
            return is_over;
        }
    }
    false
}

/// Group and stream that a body in the embedded metric format names for itself: version 1 under
/// `_aws`, version 0 at the top. The stream counts only together with the group.
pub(super) fn own_names(
    record: &LogRecord<'_>,
    longest: usize,
) -> Option<(String, Option<String>)> {
    let Value::String(Text(text)) = record.body? else { return None };
    // A longer text will be cut, and is not JSON then.
    let is_candidate = text.first() == Some(&b'{')
        && text.len() <= longest
        && (contains(text, b"\"_aws\"") || contains(text, b"log_group_name"));
    if !is_candidate {
        return None;
    }
    let body: Found = serde_json::from_slice(text).ok()?;
    if let Some(names) = body.get("_aws")
        && let Some(group) = names.name_at("logGroupName")
    {
        return Some((group, names.name_at("logStreamName")));
    }
    Some((body.name_at("log_group_name")?, body.name_at("log_stream_name")))
}

/// Members that name a group or stream, or have such members.
const NAMING: [&str; 5] =
    ["_aws", "logGroupName", "logStreamName", "log_group_name", "log_stream_name"];

/// What is kept of JSON: a text, and of an object the members above, so that it takes no more
/// memory than its text.
#[derive(Default)]
struct Found {
    text: String,
    members: Vec<(String, Found)>,
}

impl Found {
    fn get(&self, name: &str) -> Option<&Found> {
        let is_aws = name == "_aws";
        let is = |key: &str| if is_aws { key == name } else { key.eq_ignore_ascii_case(name) };
        self.members.iter().find(|(key, _)| is(key)).map(|(_, found)| found)
    }

    fn name_at(&self, name: &str) -> Option<String> {
        self.get(name).map(|found| found.text.clone()).filter(|text| !text.is_empty())
    }
}

impl<'de> Deserialize<'de> for Found {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Found;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E>(self) -> Result<Found, E> {
                Ok(Found::default())
            }

            fn visit_bool<E>(self, _: bool) -> Result<Found, E> {
                Ok(Found::default())
            }

            fn visit_i64<E>(self, _: i64) -> Result<Found, E> {
                Ok(Found::default())
            }

            fn visit_u64<E>(self, _: u64) -> Result<Found, E> {
                Ok(Found::default())
            }

            fn visit_f64<E>(self, _: f64) -> Result<Found, E> {
                Ok(Found::default())
            }

            fn visit_str<E>(self, text: &str) -> Result<Found, E> {
                Ok(Found { text: text.to_owned(), members: Vec::new() })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Found, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Found::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
                let mut own = Found::default();
                while let Some(key) = map.next_key::<String>()? {
                    if !NAMING.iter().any(|name| name.eq_ignore_ascii_case(&key)) {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    // Of two the last one counts.
                    own.members.retain(|(other, _)| *other != key);
                    own.members.push((key, map.next_value()?));
                }
                Ok(own)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|part| part == wanted)
}
