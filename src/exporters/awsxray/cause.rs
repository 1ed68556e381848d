//! `error`, `fault`, `throttle` and `cause` of a segment.

use std::borrow::Cow;

use super::{
    attributes::{Attributes, Known, int},
    events::Causes,
    trim::Trim,
};
use crate::{
    exporters::{
        ids,
        json::Json,
        stack::{self, Exception},
    },
    otlp::view::{Event, KeyValue, Span, Text, Value},
};

/// Frames of an exception if a document is too large with all of them.
const FEW_FRAMES: usize = 10;

/// Most exceptions of a span that are read, and most bytes of all of their traces. Further
/// exceptions are treated like other events.
pub(super) const EXCEPTIONS: usize = 100;
const TRACES: usize = 128 << 10;

/// Client error, server error, throttled. The HTTP code takes precedence over the span's status.
pub(super) fn flags(status: Option<i64>, is_error: bool) -> (bool, bool, bool) {
    match status {
        Some(429) => (true, false, true),
        Some(400..=499) => (true, false, false),
        Some(500..=599) => (false, true, false),
        _ => (false, is_error, false),
    }
}

/// The attributes of events that a cause may have, see [`Used`].
const KEYS: [&str; 5] = [
    "exception.type",
    "exception.message",
    "exception.stacktrace",
    "http.response.status_code",
    "aws.http.error_message",
];

/// An event that became a cause: its number, and a bit for each of [`KEYS`] that the cause has.
#[derive(Debug)]
struct Used {
    event: usize,
    keys: u8,
}

/// What is known about the failure.
#[derive(Debug, Default)]
pub(super) struct Cause<'a> {
    used: Vec<Used>,
    /// Chains of exceptions: each the cause of the one before.
    chains: Vec<Vec<Exception<'a>>>,
    is_remote: bool,
}

impl<'a> Cause<'a> {
    /// Reads the events of a span, or its status if there are none.
    pub(super) fn of(span: &Span<'a>, attributes: &Attributes<'a>, language: &str) -> Option<Self> {
        if !attributes.has_events && span.status.is_none_or(|status| status.code != 2) {
            return None;
        }
        let mut cause = Cause { is_remote: matches!(span.kind, 3 | 4), ..Cause::default() };
        let is_aws = attributes.text(Known::RpcSystem) == Some(b"aws-api");
        let mut left = TRACES;
        for (number, event) in span.events().enumerate() {
            if cause.chains.len() == EXCEPTIONS {
                break;
            }
            if event.name == "exception" {
                let (chain, keys) = exception(&event, language, &mut left);
                cause.chains.push(chain);
                cause.used.push(Used { event: number, keys });
            } else if is_aws
                && event.name == "HTTP request failure"
                && let Some(failure) = failure(&event)
            {
                cause.chains.push(vec![failure]);
                cause.used.push(Used { event: number, keys: 0b1_1000 });
                cause.is_remote = true;
            }
        }
        if !cause.chains.is_empty() {
            return Some(cause);
        }
        let status = span.status.filter(|status| status.code == 2)?;
        let said = Some(status.text.0).filter(|said| !said.is_empty());
        let message = String::from_utf8_lossy(said.or(attributes.text(Known::HttpStatusText))?);
        cause.chains.push(vec![Exception { message, ..Exception::default() }]);
        cause.is_remote = false;
        Some(cause)
    }

    /// Whether an exception has this message, with or without its type in front.
    pub(super) fn says(&self, text: &str) -> bool {
        self.chains.iter().flatten().any(|Exception { kind, message, .. }| {
            let before = text.strip_suffix(&**message);
            before.is_some_and(|before| {
                before.is_empty()
                    || before.strip_suffix(": ").is_some_and(|own| kind.ends_with(own))
            })
        })
    }

    pub(super) fn write(&self, json: &mut Json, span_id: &[u8], trim: Trim) {
        json.begin_at("cause");
        json.key(b"exceptions");
        json.begin_list();
        let mut number = 0;
        for chain in &self.chains {
            for (at, exception) in chain.iter().enumerate() {
                json.begin();
                json.text_at("id", &ids::derived(span_id, number));
                if !exception.kind.is_empty() {
                    json.text_at("type", exception.kind.as_bytes());
                }
                json.text_at("message", exception.message.as_bytes());
                if self.is_remote {
                    json.truth_at("remote", true);
                }
                write_frames(json, exception, trim);
                if at + 1 < chain.len() {
                    json.text_at("cause", &ids::derived(span_id, number + 1));
                }
                json.end();
                number += 1;
            }
        }
        json.end_list();
        json.end();
    }
}

fn write_frames(json: &mut Json, exception: &Exception<'_>, trim: Trim) {
    let all = exception.frames.len();
    let kept = if trim.cuts_stacks() { all.min(FEW_FRAMES) } else { all };
    if all > kept {
        json.int_at("truncated", i64::try_from(all - kept).unwrap_or(i64::MAX));
    }
    if kept == 0 {
        return;
    }
    json.key(b"stack");
    json.begin_list();
    for frame in &exception.frames[..kept] {
        if json.is_over() {
            break;
        }
        json.begin();
        json.text_at("path", frame.path.as_bytes());
        json.int_at("line", frame.line);
        json.text_at("label", frame.label.as_bytes());
        json.end();
    }
    json.end_list();
}

impl Causes for Cause<'_> {
    fn has(&self, event: usize) -> bool {
        self.used.binary_search_by_key(&event, |used| used.event).is_ok()
    }

    fn has_attribute(&self, event: usize, attribute: &KeyValue<'_>) -> bool {
        let used = self.used.binary_search_by_key(&event, |used| used.event);
        let key = KEYS.iter().position(|key| attribute.key == *key);
        match (used, key) {
            // A code that is a text may be spelled differently.
            (Ok(_), Some(3)) if !matches!(attribute.value, Some(Value::Int(_))) => false,
            (Ok(at), Some(key)) => self.used[at].keys & 1 << key != 0,
            _ => false,
        }
    }
}

/// The exception of an event, and a bit for each of the keys that it has; `left` is how much more
/// of stack traces may be read.
fn exception<'a>(event: &Event<'a>, language: &str, left: &mut usize) -> (Vec<Exception<'a>>, u8) {
    let mut found = [""; 3];
    let mut keys = 0;
    for attribute in event.attributes() {
        if let (Some(at), Some(Value::String(Text(text)))) =
            (KEYS[..3].iter().position(|key| attribute.key == *key), attribute.value)
        {
            found[at] = str_of(text);
            let is_whole = found[at].len() == text.len();
            keys = keys & !(1 << at) | u8::from(is_whole) << at;
        }
    }
    let trace = first_lines(found[2], *left);
    *left -= trace.len();
    let stack::Trace { chain, is_whole } = stack::read(language, found[0], found[1], trace);
    if !is_whole || trace.len() < found[2].len() {
        keys &= !0b100;
    }
    (chain, keys)
}

/// The complete lines within the first bytes of a text.
fn first_lines(text: &str, most: usize) -> &str {
    if text.len() <= most {
        return text;
    }
    let some = &text[..text.floor_char_boundary(most)];
    &some[..some.rfind('\n').map_or(0, |end| end + 1)]
}

/// Texts are UTF-8, unless the receiver was configured not to check that.
fn str_of(text: &[u8]) -> &str {
    match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&text[..error.valid_up_to()]).unwrap_or_default(),
    }
}

/// The error that AWS SDKs report about a failed attempt.
pub(super) fn failure<'a>(event: &Event<'a>) -> Option<Exception<'a>> {
    let (mut code, mut said) = (None, None);
    for attribute in event.attributes() {
        match attribute.value {
            Some(value) if attribute.key == "http.response.status_code" => code = int(value),
            Some(Value::String(text)) if attribute.key == "aws.http.error_message" => {
                said = Some(text.to_str());
            }
            _ => {}
        }
    }
    let (seconds, nanos) =
        (event.time_unix_nano / 1_000_000_000, event.time_unix_nano % 1_000_000_000);
    let message = format!("{}@{seconds}.{:06}@{}", code?, nanos / 1000, said?);
    let kind = Cow::Borrowed("aws.http.error.event");
    Some(Exception { kind, message: message.into(), ..Exception::default() })
}
