//! Exceptions of a document that came from an X-Ray SDK, with their stacks. The receiver turned
//! them into events; here they are turned back.

use smallvec::SmallVec;

use super::{Fields, Kept};
use crate::{
    exporters::{
        awsxray::{
            attributes::{Attributes, int},
            cause::EXCEPTIONS,
            events::Causes,
            trim::Trim,
        },
        ids,
        json::Json,
    },
    otlp::view::{Event, KeyValue, Span, Text, Value},
};

/// Frames of an exception if a document is too large with all of them.
const FEW_FRAMES: usize = 10;

/// The text in front of each frame of a stack.
const AT: &str = "\n\tat ";

/// An exception.
#[derive(Debug, Default)]
struct Exception<'a> {
    /// The number of its event.
    event: usize,
    kind: Option<&'a [u8]>,
    message: Option<&'a [u8]>,
    id: Option<&'a [u8]>,
    cause: Option<&'a [u8]>,
    is_remote: Option<bool>,
    truncated: Option<i64>,
    skipped: Option<i64>,
    trace: &'a [u8],
    kept: SmallVec<[Kept<'a>; 2]>,
}

/// All exceptions of a span.
#[derive(Debug)]
pub(super) struct Exceptions<'a>(SmallVec<[Exception<'a>; 1]>);

impl<'a> Exceptions<'a> {
    pub(super) fn of(span: &Span<'a>, attributes: &Attributes<'a>) -> Self {
        if !attributes.has_events {
            return Exceptions(SmallVec::new());
        }
        let events = span.events().enumerate().filter(|(_, event)| event.name == "exception");
        let events = events.take(EXCEPTIONS);
        Exceptions(events.map(|(number, event)| Exception::of(number, &event)).collect())
    }

    /// Whether the cause is the id of an exception, which is the message of the status.
    pub(super) fn are_named(&self, kept: &[Kept<'_>]) -> bool {
        self.0.is_empty() && !kept.iter().any(|one| one.object == "cause.")
    }

    /// Writes `cause`: an object, or the id of an exception in another document.
    pub(super) fn write(&self, json: &mut Json, span: &Span<'_>, kept: &[Kept<'_>], trim: Trim) {
        let named = span.status.map(|status| status.text.0);
        if self.are_named(kept) {
            if let Some(id) = named.filter(|id| !id.is_empty()) {
                json.text_at("cause", id);
            }
            return;
        }
        json.begin_at("cause");
        Fields::new(json, kept, "cause.").rest();
        if !self.0.is_empty() {
            json.key(b"exceptions");
            json.begin_list();
            for (exception, number) in self.0.iter().zip(0..) {
                json.begin();
                match exception.id {
                    Some(id) => json.text_at("id", id),
                    None => json.text_at("id", &ids::derived(span.span_id, number)),
                }
                exception.write(json, trim);
                json.end();
            }
            json.end_list();
        }
        json.end();
    }
}

impl Causes for Exceptions<'_> {
    fn has(&self, event: usize) -> bool {
        self.0.binary_search_by_key(&event, |one| one.event).is_ok()
    }

    fn has_attribute(&self, event: usize, attribute: &KeyValue<'_>) -> bool {
        let Ok(at) = self.0.binary_search_by_key(&event, |one| one.event) else { return false };
        let value = attribute.value.unwrap_or_default();
        let is_text = matches!(value, Value::String(_));
        match attribute.key.0 {
            b"exception.type"
            | b"exception.message"
            | b"aws.xray.exception.id"
            | b"aws.xray.exception.cause" => is_text,
            b"exception.stacktrace" => is_text && self.0[at].is_whole(),
            b"aws.xray.exception.truncated" | b"aws.xray.exception.skipped" => int(value).is_some(),
            b"aws.xray.exception.remote" => matches!(value, Value::Bool(_)),
            key => Kept::of(key, value, &["exception."]).is_some(),
        }
    }
}

impl<'a> Exception<'a> {
    fn of(number: usize, event: &Event<'a>) -> Self {
        let mut own = Exception { event: number, ..Exception::default() };
        for attribute in event.attributes() {
            let value = attribute.value.unwrap_or_default();
            let text = match value {
                Value::String(Text(text)) => Some(text),
                _ => None,
            };
            match attribute.key.0 {
                b"exception.type" => own.kind = text,
                b"exception.message" => own.message = text,
                b"exception.stacktrace" => own.trace = text.unwrap_or_default(),
                b"aws.xray.exception.id" => own.id = text,
                b"aws.xray.exception.cause" => own.cause = text,
                b"aws.xray.exception.truncated" => own.truncated = int(value),
                b"aws.xray.exception.skipped" => own.skipped = int(value),
                b"aws.xray.exception.remote" => {
                    own.is_remote = if let Value::Bool(truth) = value { Some(truth) } else { None };
                }
                key => own.kept.extend(Kept::of(key, value, &["exception."])),
            }
        }
        own
    }

    fn write(&self, json: &mut Json, trim: Trim) {
        let trace = String::from_utf8_lossy(self.trace);
        let all: Vec<&str> = self.frames(&trace).split(AT).skip(1).collect();
        let few = if trim.cuts_stacks() { all.len().min(FEW_FRAMES) } else { all.len() };
        let (frames, cut) = all.split_at(few);
        let cut = i64::try_from(cut.len()).unwrap_or(i64::MAX);
        let truncated = self.truncated.unwrap_or(0).saturating_add(cut);
        let is_stack = |one: &Kept<'_>| one.name == b"stack";
        let mut kept = self.kept.clone();
        if trim.cuts_stacks() {
            kept.retain(|one| !is_stack(one));
        }
        let mut fields = Fields::new(json, &kept, "exception.");
        fields.text("message", self.message);
        fields.text("type", self.kind);
        fields.truth("remote", self.is_remote);
        fields.int("truncated", self.truncated.or((cut > 0).then_some(0)).map(|_| truncated));
        fields.int("skipped", self.skipped);
        fields.text("cause", self.cause);
        if !fields.has("stack") && !frames.is_empty() {
            fields.json.key(b"stack");
            fields.json.begin_list();
            for frame in frames {
                write_frame(fields.json, frame);
            }
            fields.json.end_list();
        }
        fields.rest();
    }

    /// Whether the text of the stack has the form that the receiver gives it.
    fn is_whole(&self) -> bool {
        let trace = String::from_utf8_lossy(self.trace);
        let Some(rest) = trace.strip_prefix(&*self.head()) else { return trace.is_empty() };
        let is_frame = |frame: &str| {
            let line = frame.strip_suffix(')').and_then(|frame| frame.split_once('('));
            let line = line.and_then(|(_, place)| Some(place.rsplit_once(": ")?.1));
            line.is_some_and(|line| line == "<unknown>" || line.parse::<i64>().is_ok())
        };
        self.kept.iter().any(|one| one.name == b"stack")
            || rest.is_empty()
            || rest.starts_with(AT) && rest.split(AT).skip(1).all(is_frame)
    }

    /// The text that the receiver writes in front of the frames.
    fn head(&self) -> String {
        let text = |text: Option<&'a [u8]>| String::from_utf8_lossy(text.unwrap_or_default());
        format!("{}: {}", text(self.kind), text(self.message))
    }

    /// The text of the stack after `type: message`.
    fn frames<'t>(&self, trace: &'t str) -> &'t str {
        trace
            .strip_prefix(&*self.head())
            .or(trace.find(AT).map(|at| &trace[at..]))
            .unwrap_or_default()
    }
}

/// `label(path: line)`; missing parts are left out.
fn write_frame(json: &mut Json, frame: &str) {
    let frame = frame.strip_suffix(')').unwrap_or(frame);
    let (label, place) = frame.split_once('(').unwrap_or((frame, ""));
    let (path, line) = place.rsplit_once(": ").unwrap_or((place, ""));
    json.begin();
    if !path.is_empty() {
        json.text_at("path", path.as_bytes());
    }
    if let Ok(line) = line.trim().parse() {
        json.int_at("line", line);
    }
    if !label.is_empty() {
        json.text_at("label", label.as_bytes());
    }
    json.end();
}
