//! Writes an item of Rollbar.
//!
//! An item that came by the receiver `rollbar` is written as it came: each `rollbar.<part>.<name>`
//! goes back to its place, and so does each attribute that the receiver named in OpenTelemetry's
//! way. Other data gets what the SDKs of Rollbar say about an exception or a message: frames,
//! person, request, server, version; what has no place there is in `custom`.

use serde::de::IgnoredAny;

use super::{
    exception,
    grouping::{fingerprint, hex, short_id},
    parts::{Facts, Kept, Known, Parts},
};
use crate::{
    exporters::json::Json,
    otlp::view::{KeyValue, Text, Value},
};

/// Where an item comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The receiver `rollbar`.
    Item,
    OpenTelemetry,
}

/// All that is said about an item.
#[derive(Debug)]
pub(super) struct Occurrence<'a, 'f> {
    pub(super) origin: Origin,
    pub(super) facts: &'f Facts<'a>,
    pub(super) parts: Parts<'a>,
    pub(super) uuid: String,
    pub(super) level: &'a str,
    /// Nanoseconds since 1970.
    pub(super) time: u64,
    pub(super) trace_id: &'a [u8],
    pub(super) span_id: &'a [u8],
    /// Name of the span; empty for a log record.
    pub(super) span_name: &'a [u8],
    pub(super) scope: &'a [u8],
    /// Body of the log record.
    pub(super) body: Value<'a>,
    /// For data that names no environment.
    pub(super) environment: &'f str,
    /// Bytes of a stack trace that are read.
    pub(super) most_stack: usize,
}

/// Headers that carry credentials, in lower case; their values are covered.
const SECRET_HEADERS: [&[u8]; 7] = [
    b"authorization",
    b"proxy-authorization",
    b"cookie",
    b"set-cookie",
    b"x-api-key",
    b"x-honeycomb-team",
    b"x-rollbar-access-token",
];

/// Names of values that the SDKs of Rollbar cover, too.
const SECRET_NAMES: [&str; 8] =
    ["password", "passwd", "pw", "secret", "access_token", "accesstoken", "auth", "authorization"];

const COVERED: &[u8] = b"********";

/// Members of the item that the receiver keeps as `rollbar.<name>`.
const TEXTS: [&str; 5] = ["title", "platform", "framework", "language", "context"];

impl Occurrence<'_, '_> {
    pub(super) fn write(&self, json: &mut Json) {
        json.begin();
        json.text_at("uuid", self.uuid.as_bytes());
        self.write_facts(json);
        self.write_texts(json);
        let says_all = self.write_body(json);
        self.write_person(json);
        self.write_request(json);
        let server = [("host", self.facts.host)];
        self.write_part(json, "server", &server, |_| {});
        self.write_part(json, "client", &[], |_| {});
        self.write_custom(json, says_all);
        self.write_part(json, "notifier", &[], |json| {
            if self.origin == Origin::OpenTelemetry {
                json.text_at("name", b"skep");
                json.text_at("version", env!("CARGO_PKG_VERSION").as_bytes());
            }
        });
        for kept in self.parts.kept.iter().filter(|kept| kept.part == b"data") {
            write_kept(json, kept);
        }
        json.end();
    }

    /// Whether it says which request failed.
    pub(super) fn knows_request(&self) -> bool {
        [Known::Url, Known::Path, Known::Method].iter().any(|part| self.parts.text(*part).is_some())
    }

    /// Writes what tells of an exception or a message, where nothing else has room.
    pub(super) fn write_least(&self, json: &mut Json) {
        let text = |known| cut(self.parts.text(known).unwrap_or_default(), 255);
        json.begin();
        json.text_at("uuid", self.uuid.as_bytes());
        json.text_at(
            "environment",
            cut(self.facts.environment.unwrap_or(self.environment.as_bytes()), 255),
        );
        json.text_at("level", self.level.as_bytes());
        json.count_at("timestamp", self.time / 1_000_000_000);
        json.begin_at("body");
        if self.has_exception() {
            json.begin_at("trace");
            json.raw_at("frames", b"[]");
            json.begin_at("exception");
            json.text_at("class", text(Known::Type));
            json.text_at("message", text(Known::Message));
            json.end();
        } else {
            json.begin_at("message");
            let message = self.message().unwrap_or_default();
            json.text_at("body", cut(message.as_bytes(), 255));
        }
        json.end();
        json.end();
        json.end();
    }

    fn write_facts(&self, json: &mut Json) {
        let is_given = |name| self.parts.kept("data", name).is_some();
        if let Some(environment) = self.facts.environment {
            json.text_at("environment", cut(environment, 255));
        } else if !is_given("environment") {
            json.text_at("environment", self.environment.as_bytes());
        }
        if !is_given("level") {
            json.text_at("level", self.level.as_bytes());
        }
        if self.origin == Origin::Item && !is_given("timestamp") {
            json.seconds_at("timestamp", self.time);
        } else if !is_given("timestamp") {
            json.count_at("timestamp", self.time / 1_000_000_000);
        }
        if let Some(version) = self.facts.version {
            json.text_at("code_version", self.most(version, 40));
        }
    }

    /// As much of a text as Rollbar takes. What came from one of its SDKs stays as it is.
    fn most<'t>(&self, text: &'t [u8], most: usize) -> &'t [u8] {
        if self.origin == Origin::Item { text } else { cut(text, most) }
    }

    fn write_texts(&self, json: &mut Json) {
        let kept = |name: &str| self.parts.kept_text("", name);
        for name in TEXTS {
            if let Some(text) = kept(name) {
                json.text_at(name, text);
            }
        }
        if let Some(text) = kept("fingerprint") {
            json.text_at("fingerprint", text);
        }
        if self.origin == Origin::Item {
            return;
        }
        if kept("language").is_none()
            && let Some(language) = self.facts.language
        {
            let is_script = matches!(language, b"nodejs" | b"webjs");
            json.text_at("language", if is_script { &b"javascript"[..] } else { language });
        }
        let context = self.parts.text(Known::Route).unwrap_or(self.span_name);
        if kept("context").is_none() && !context.is_empty() {
            json.text_at("context", cut(context, 255));
        }
        if kept("fingerprint").is_none()
            && !self.has_exception()
            && let Some(message) = self.message()
        {
            json.text_at("fingerprint", fingerprint(&message).as_bytes());
        }
    }

    /// Whether an exception is the body of the item.
    pub(super) fn has_exception(&self) -> bool {
        let text = |known| self.parts.text(known).is_some_and(|text| !text.is_empty());
        text(Known::Type) || text(Known::Message)
    }

    /// The text of the body; lists, maps and numbers as JSON.
    fn message(&self) -> Option<String> {
        match self.body {
            Value::Empty => None,
            Value::String(text) => Some(text.to_str().into_owned()),
            value => {
                let mut json = Json::default().at_most(64 << 10);
                json.value(value);
                Some(String::from_utf8_lossy(&json.out).into_owned())
            }
        }
    }

    /// Whether all that is said about an exception is written.
    fn write_body(&self, json: &mut Json) -> bool {
        let mut says_all = true;
        json.begin_at("body");
        let traces = ["trace_chain", "trace"].into_iter().find_map(|kind| {
            let text = self.parts.kept_text("body", kind)?;
            let start: &[u8] = if kind == "trace" { b"{" } else { b"[{" };
            let rest = text.strip_prefix(start).filter(|_| is_json(text))?;
            Some((kind, start, rest))
        });
        if let Some((kind, start, rest)) = traces {
            // The class and the message of the first exception are attributes of their own.
            json.key(kind.as_bytes());
            json.raw(start);
            json.out.extend_from_slice(b"\"exception\":");
            json.without_comma();
            self.write_exception(json);
            if !rest.starts_with(b"}") {
                json.out.push(b',');
            }
            json.out.extend_from_slice(rest);
        } else if self.has_exception() {
            says_all = exception::write(json, &self.parts, self.facts.language(), self.most_stack);
        } else if let Some(report) = self.parts.kept_text("body", "crash_report") {
            self.write_report(json, report);
        } else {
            self.write_message(json);
        }
        for kept in self.parts.kept.iter().filter(|kept| kept.part == b"body") {
            if !matches!(kept.name, b"trace" | b"trace_chain" | b"crash_report") {
                write_kept(json, kept);
            }
        }
        json.end();
        says_all
    }

    /// Writes a crash report, whose text is the body of the record and whose other members are
    /// `kept` as an object.
    fn write_report(&self, json: &mut Json, kept: &[u8]) {
        json.begin_at("crash_report");
        json.text_at("raw", self.message().unwrap_or_default().as_bytes());
        let inner = kept.trim_ascii().strip_prefix(b"{").and_then(|kept| kept.strip_suffix(b"}"));
        if let Some(members) = inner.filter(|inner| !inner.is_empty() && is_json(kept)) {
            json.out.push(b',');
            json.out.extend_from_slice(members);
        }
        json.end();
    }

    fn write_exception(&self, json: &mut Json) {
        json.begin();
        let named = [("class", Known::Type), ("message", Known::Message)];
        for (name, known) in named {
            if let Some(text) = self.parts.text(known) {
                json.text_at(name, text);
            }
        }
        for kept in self.parts.kept.iter().filter(|kept| kept.part == b"exception") {
            write_kept(json, kept);
        }
        json.end();
    }

    fn write_message(&self, json: &mut Json) {
        json.begin_at("message");
        if self.parts.kept("message", "body").is_none() {
            json.text_at("body", self.message().unwrap_or_default().as_bytes());
        }
        for kept in self.parts.kept.iter().filter(|kept| kept.part == b"message") {
            write_kept(json, kept);
        }
        json.end();
    }

    /// Writes an object of members that have attributes of their own and of those that were kept.
    fn write_part(
        &self,
        json: &mut Json,
        name: &str,
        named: &[(&str, Option<&[u8]>)],
        more: impl FnOnce(&mut Json),
    ) {
        json.object_at(name, |json| {
            for (name, text) in named {
                if let Some(text) = text {
                    json.text_at(name, text);
                }
            }
            for kept in self.parts.kept.iter().filter(|kept| kept.part == name.as_bytes()) {
                write_kept(json, kept);
            }
            more(json);
        });
    }

    fn write_person(&self, json: &mut Json) {
        let text = |known| self.parts.text(known).map(|text| self.most(text, 255));
        let id = self.parts.text(Known::UserId);
        let is_item = self.origin == Origin::Item;
        if id.is_none() && !is_item {
            return;
        }
        let is_long = id.is_some_and(|id| id.len() > 40) && !is_item;
        let hashed = is_long.then(|| short_id(id.unwrap_or_default()));
        let named = [
            ("id", hashed.as_ref().map(String::as_bytes).or(id)),
            ("username", text(Known::UserName)),
            ("email", text(Known::UserEmail)),
        ];
        self.write_part(json, "person", &named, |_| {});
    }

    fn write_request(&self, json: &mut Json) {
        let is_item = self.origin == Origin::Item;
        let url = self.parts.url();
        let text = |known| self.parts.text(known);
        let named = [
            ("url", url.as_deref()),
            ("method", text(Known::Method)),
            ("query_string", text(Known::Query)),
            ("user_ip", text(Known::Client)),
        ];
        self.write_part(json, "request", &named, |json| {
            let agent = text(Known::Agent).filter(|_| !is_item);
            let mut headers = self.parts.headers.iter().filter(|_| !is_item).peekable();
            if agent.is_none() && headers.peek().is_none() {
                return;
            }
            json.begin_at("headers");
            if let Some(agent) = agent {
                json.text_at("User-Agent", agent);
            }
            for (name, value) in headers {
                json.key(name);
                if SECRET_HEADERS.iter().any(|secret| name.eq_ignore_ascii_case(secret)) {
                    json.text(COVERED);
                } else {
                    json.value(first(*value));
                }
            }
            json.end();
        });
    }

    fn write_custom(&self, json: &mut Json, says_all: bool) {
        self.write_part(json, "custom", &[], |json| {
            if self.origin == Origin::OpenTelemetry {
                self.write_origin(json);
                let trace = self.parts.text(Known::Stack).filter(|_| !says_all);
                if let Some(trace) = trace {
                    json.text_at("exception.stacktrace", trace);
                }
            }
            for attribute in &self.parts.rest {
                write_attribute(json, attribute);
            }
            if self.origin == Origin::OpenTelemetry && !self.facts.rest.is_empty() {
                json.begin_at("resource");
                self.facts.rest.iter().for_each(|attribute| write_attribute(json, attribute));
                json.end();
            }
        });
    }

    /// What finds the trace.
    fn write_origin(&self, json: &mut Json) {
        for (name, id) in [("trace_id", self.trace_id), ("span_id", self.span_id)] {
            if id.iter().any(|byte| *byte != 0) {
                json.text_at(name, hex(id).as_bytes());
            }
        }
        for (name, text) in [("service.name", self.facts.service), ("scope", Some(self.scope))] {
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                json.text_at(name, text);
            }
        }
    }
}

/// The only value of a list; headers are lists.
fn first(value: Value<'_>) -> Value<'_> {
    match value {
        Value::Array(list) => {
            let mut values = list.values();
            match (values.next(), values.next()) {
                (Some(only), None) => only,
                _ => value,
            }
        }
        value => value,
    }
}

fn write_attribute(json: &mut Json, attribute: &KeyValue<'_>) {
    json.key(attribute.key.0);
    let name = attribute.key.0.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
    if SECRET_NAMES.iter().any(|secret| name.eq_ignore_ascii_case(secret.as_bytes())) {
        json.text(COVERED);
    } else {
        json.value(attribute.value.unwrap_or_default());
    }
}

/// Writes a member as the receiver found it: lists, objects and what looks like one are kept as
/// their JSON.
fn write_kept(json: &mut Json, kept: &Kept<'_>) {
    json.key(kept.name);
    match kept.value {
        Value::String(Text(text)) if text.starts_with(b"\"") || is_compound(text) => {
            if is_json(text) { json.raw(text) } else { json.text(text) }
        }
        value => json.value(value),
    }
}

fn is_compound(text: &[u8]) -> bool {
    text.starts_with(b"[") || text.starts_with(b"{")
}

fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

/// As many bytes of a text, in whole characters.
fn cut(text: &[u8], most: usize) -> &[u8] {
    if text.len() <= most {
        return text;
    }
    let is_inside = |at: &usize| text[*at] & 0xC0 == 0x80;
    let end = (0..=most).rev().find(|at| !is_inside(at)).unwrap_or(0);
    &text[..end]
}
