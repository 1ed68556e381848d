//! Turns an item into OTLP: one resource, one scope, one log record.
//!
//! What OpenTelemetry has a name for becomes that attribute. Everything else is kept as
//! `rollbar.<part>.<name>`: numbers, truths and texts as they are, lists and objects as their JSON.
//! The parts are those of an item (`body`, `message`, `exception`, `person`, `request`, `server`,
//! `client`, `notifier`, `custom`), and `data` for members of the item itself that are not known.
//! A member is in one place only, so that a processor that removes `user.email` removes it from
//! what leaves, too. Only `null` is left out.
//!
//! The name of the scope says that the record was an item: the exporter `rollbar` then writes the
//! item again.

use std::net::IpAddr;

use super::{
    envelope::{Envelope, Refused},
    exception::{Chain, write_trace},
};
use crate::{
    otlp::{
        json::number,
        wire::{WireType, put_bytes, put_varint, tag},
    },
    receivers::{
        attributes::Attributes,
        json::{self, Json, Members, find},
    },
};

/// Name of the scope; the exporter knows it.
const SCOPE: &[u8] = b"rollbar";

/// Field of attributes in `LogRecord`.
const ATTRIBUTES: u32 = 6;

/// What the receiver knows about an item beside the item itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    /// Address of the client, for `$remote_ip`.
    pub(super) peer: Option<IpAddr>,
    /// Nanoseconds since 1970 at which it arrived.
    pub(super) arrived: u64,
    /// Id of the item, by its client or by the receiver.
    pub(super) uuid: &'a str,
    /// `service.name`; empty: the resource has none.
    pub(super) service_name: &'a str,
}

/// Appends a payload to an `ExportLogsServiceRequest`, as the receiver does that knows nothing of
/// the client. Nothing is appended if it is refused.
pub fn item(payload: &[u8], out: &mut Vec<u8>) -> Result<(), Refused> {
    let text = String::from_utf8_lossy(payload);
    let envelope = Envelope::parse(&text)?;
    let uuid = envelope.uuid().unwrap_or_default();
    let about = About { peer: None, arrived: 0, uuid, service_name: "" };
    write(&envelope.data, &about, out)
}

/// `level`, with its severity.
const LEVELS: [(&str, u64); 5] =
    [("debug", 5), ("info", 9), ("warning", 13), ("error", 17), ("critical", 21)];

/// The kinds of bodies.
const KINDS: [&str; 4] = ["trace", "trace_chain", "message", "crash_report"];

/// Members of the item that are texts and kept as `rollbar.<name>`.
const TEXTS: [&str; 6] = ["title", "fingerprint", "context", "platform", "framework", "language"];

/// Objects of the item whose members are kept as `rollbar.<name>.<member>`, with the members that
/// become an attribute of OpenTelemetry.
const PARTS: [(&str, Names); 6] = [
    ("person", &[("id", "user.id"), ("username", "user.name"), ("email", "user.email")]),
    (
        "request",
        &[
            ("url", "url.full"),
            ("method", "http.request.method"),
            ("query_string", "url.query"),
            ("user_ip", "client.address"),
        ],
    ),
    ("server", &[]),
    ("client", &[]),
    ("notifier", &[]),
    ("custom", &[]),
];

/// A member and the attribute that it becomes.
type Names = &'static [(&'static str, &'static str)];

/// Appends an item to an `ExportLogsServiceRequest`.
pub(super) fn write(
    data: &Members<'_>,
    about: &About<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    let Json::Map(body) = find(data, "body") else { return Err(Refused::NoBody) };
    let mut kinds = KINDS.into_iter().filter(|kind| *find(body, kind) != Json::Null);
    let (Some(kind), None) = (kinds.next(), kinds.next()) else { return Err(Refused::Kind) };

    let (mut attributes, mut text) = (Vec::with_capacity(1024), Vec::new());
    let mut kept = Kept::new(&mut attributes, ATTRIBUTES);
    kept.attributes.text("rollbar.uuid", about.uuid);
    write_body(data, body, kind, &mut kept, &mut text)?;
    write_parts(data, about, &mut kept);

    let is_exception = kind.starts_with("trace");
    let mut record = Vec::with_capacity(attributes.len() + text.len() + 64);
    let time = nanos(find(data, "timestamp"));
    fixed64(&mut record, 1, time.unwrap_or(about.arrived));
    fixed64(&mut record, 11, about.arrived);
    let default = if is_exception || kind == "crash_report" { "error" } else { "info" };
    let level = level(data).unwrap_or(default);
    let severity = LEVELS.iter().find(|(name, _)| *name == level).map_or(0, |(_, number)| *number);
    put_varint(&mut record, tag(2, WireType::Varint));
    put_varint(&mut record, severity);
    put_bytes(&mut record, 3, level.as_bytes());
    put_bytes(&mut record, 5, &text);
    record.extend_from_slice(&attributes);
    write_ids(data, &mut record);
    if is_exception {
        put_bytes(&mut record, 12, b"exception");
    }

    let mut entry = Vec::with_capacity(record.len() + 256);
    let mut resource = Vec::new();
    write_resource(data, about, &mut Attributes::new(&mut resource, 1));
    put_bytes(&mut entry, 1, &resource);
    let (mut scope, mut name) = (Vec::with_capacity(record.len() + 32), Vec::new());
    put_bytes(&mut name, 1, SCOPE);
    put_bytes(&mut scope, 1, &name);
    put_bytes(&mut scope, 2, &record);
    put_bytes(&mut entry, 2, &scope);
    put_bytes(out, 1, &entry);
    Ok(())
}

/// The level, if it is one that Rollbar has.
fn level(data: &Members<'_>) -> Option<&'static str> {
    let Json::Text(text) = find(data, "level") else { return None };
    LEVELS.into_iter().map(|(name, _)| name).find(|name| name == text)
}

/// Attributes, and the rule by which members are kept.
pub(super) struct Kept<'o> {
    pub(super) attributes: Attributes<'o, 'static>,
}

impl<'o> Kept<'o> {
    fn new(out: &'o mut Vec<u8>, field: u32) -> Self {
        Kept { attributes: Attributes::new(out, field) }
    }

    /// Keeps a member that has no other name.
    pub(super) fn keep(&mut self, part: &str, name: &str, value: &Json<'_>) {
        self.attributes.kept(&format!("rollbar.{part}.{name}"), value);
    }

    /// Keeps those of an object that are not `known`.
    pub(super) fn keep_others(&mut self, part: &str, members: &Members<'_>, known: &[&str]) {
        for (name, value) in members {
            if !known.contains(&&**name) {
                self.keep(part, name, value);
            }
        }
    }

    /// Keeps an object, of which texts that have a name of OpenTelemetry get that.
    pub(super) fn keep_named(&mut self, part: &str, members: &Members<'_>, names: Names) {
        for (name, value) in members {
            self.keep_one(part, (&**name, value), names);
        }
    }

    fn keep_one(&mut self, part: &str, (name, value): (&str, &Json<'_>), names: Names) {
        match (names.iter().find(|(member, _)| *member == name), value) {
            (Some((_, attribute)), Json::Text(text)) if !text.is_empty() => {
                self.attributes.text(attribute, text);
            }
            _ => self.keep(part, name, value),
        }
    }
}

/// Writes what the body says: attributes, and the body of the record into `text`.
fn write_body(
    data: &Members<'_>,
    body: &Members<'_>,
    kind: &'static str,
    kept: &mut Kept<'_>,
    text: &mut Vec<u8>,
) -> Result<(), Refused> {
    match (kind, find(body, kind)) {
        ("trace_chain", Json::List(traces)) => {
            let chain = Chain::of(traces.iter(), kind)?;
            write_trace(&chain, kind, data, kept, text)?;
        }
        ("trace", trace @ Json::Map(_)) => {
            let chain = Chain::of(std::iter::once(trace), kind)?;
            write_trace(&chain, kind, data, kept, text)?;
        }
        ("message", Json::Text(message)) => put_bytes(text, 1, message.as_bytes()),
        ("message", Json::Map(message)) => {
            let said = find(message, "body");
            let is_text = matches!(said, Json::Text(_));
            if let Json::Text(said) = said {
                put_bytes(text, 1, said.as_bytes());
            }
            let known: &[&str] = if is_text { &["body"] } else { &[] };
            kept.keep_others("message", message, known);
        }
        ("crash_report", Json::Map(report)) => {
            let Json::Text(raw) = find(report, "raw") else { return Err(Refused::Shape(kind)) };
            put_bytes(text, 1, raw.as_bytes());
            let mut rest = Vec::new();
            json::write_map(report, "raw", &mut rest);
            kept.attributes.text("rollbar.body.crash_report", &String::from_utf8_lossy(&rest));
        }
        _ => return Err(Refused::Shape(kind)),
    }
    kept.keep_others("body", body, &KINDS);
    Ok(())
}

/// Writes what is beside the body.
fn write_parts(data: &Members<'_>, about: &About<'_>, kept: &mut Kept<'_>) {
    for (name, value) in data {
        let part = PARTS.iter().find(|(part, _)| part == name);
        match (&**name, value) {
            ("body" | "uuid", _) => {}
            ("level", _) if level(data).is_some() => {}
            ("timestamp", _) if nanos(value).is_some() => {}
            ("environment" | "code_version", Json::Text(text)) if !text.is_empty() => {}
            (name, Json::Text(text)) if TEXTS.contains(&name) => {
                kept.attributes.text(&format!("rollbar.{name}"), text);
            }
            ("request", Json::Map(request)) if !request.is_empty() => {
                write_request(request, about, kept);
            }
            ("server", Json::Map(server)) if !server.is_empty() => {
                let has_host = text_of(server, "host").is_some();
                kept.keep_others("server", server, if has_host { &["host"] } else { &[] });
            }
            (name, Json::Map(members)) if part.is_some() && !members.is_empty() => {
                let names = part.map_or(&[][..], |part| part.1);
                kept.keep_named(name, members, names);
            }
            (name, value) => kept.keep("data", name, value),
        }
    }
    let agent = user_agent(data);
    kept.attributes.maybe("user_agent.original", agent);
}

/// Writes the request. `$remote_ip` means the address of the client. It is resolved here, because
/// the next receiver of the item would resolve it to the address of skep.
fn write_request(request: &Members<'_>, about: &About<'_>, kept: &mut Kept<'_>) {
    let names = PARTS.iter().find(|(part, _)| *part == "request").map_or(&[][..], |part| part.1);
    for (name, value) in request {
        match (about.peer, value) {
            (Some(peer), Json::Text(text)) if name == "user_ip" && text == "$remote_ip" => {
                kept.attributes.text("client.address", &peer.to_string());
            }
            _ => kept.keep_one("request", (&**name, value), names),
        }
    }
}

/// The browser of the request's headers, else that of the client.
fn user_agent<'m>(data: &'m Members<'_>) -> Option<&'m str> {
    let inner = |members: &'m Members<'_>, name| match find(members, name) {
        Json::Map(members) => Some(members),
        _ => None,
    };
    let headers = inner(data, "request").and_then(|request| inner(request, "headers"));
    let header = headers.and_then(|headers| {
        headers.iter().find_map(|(name, value)| match value {
            Json::Text(text) if name.eq_ignore_ascii_case("user-agent") => Some(&**text),
            _ => None,
        })
    });
    let client = || inner(inner(data, "client")?, "javascript");
    header.or_else(|| text_of(client()?, "browser")).filter(|text| !text.is_empty())
}

fn write_resource(data: &Members<'_>, about: &About<'_>, attributes: &mut Attributes<'_, '_>) {
    if !about.service_name.is_empty() {
        attributes.text("service.name", about.service_name);
    }
    attributes.maybe("service.version", text_of(data, "code_version"));
    attributes.maybe("deployment.environment.name", text_of(data, "environment"));
    if let Json::Map(server) = find(data, "server") {
        attributes.maybe("host.name", text_of(server, "host"));
    }
    attributes.maybe("telemetry.sdk.language", language(data));
}

/// `telemetry.sdk.language` of an item.
pub(super) fn language<'m>(data: &'m Members<'_>) -> Option<&'m str> {
    let text = text_of(data, "language")?;
    // `python 3.12.1`
    let name = text.split(' ').next().unwrap_or_default();
    let is_browser = || {
        let has_client = matches!(find(data, "client"), Json::Map(_));
        has_client || text_of(data, "platform") == Some("browser")
    };
    Some(match name {
        "javascript" if is_browser() => "webjs",
        "javascript" => "nodejs",
        name => name,
    })
}

/// A text that is not empty.
pub(super) fn text_of<'m>(members: &'m Members<'_>, name: &str) -> Option<&'m str> {
    match find(members, name) {
        Json::Text(text) if !text.is_empty() => Some(text),
        _ => None,
    }
}

/// Writes the ids of the trace and the span, which some applications put into `custom`.
fn write_ids(data: &Members<'_>, record: &mut Vec<u8>) {
    let Json::Map(custom) = find(data, "custom") else { return };
    let id = |name, len: usize| {
        let text = text_of(custom, name).filter(|text| text.len() == len)?;
        let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten()?;
        (id != 0).then_some(id)
    };
    let Some(trace) = id("trace_id", 32) else { return };
    put_bytes(record, 9, &trace.to_be_bytes());
    if let Some(span) = id("span_id", 16) {
        put_bytes(record, 10, &span.to_be_bytes()[8..]);
    }
}

/// Seconds since 1970 as nanoseconds, fractions to the microsecond, up to the year 2540.
fn nanos(value: &Json<'_>) -> Option<u64> {
    const LATEST: f64 = 1.8e10;
    let text = value.number()?;
    if let Ok(seconds) = text.parse::<u64>() {
        return (1..18_000_000_000).contains(&seconds).then(|| seconds * 1_000_000_000);
    }
    let seconds = number::double(text).ok().filter(|seconds| (1.0..LATEST).contains(seconds))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in bounds")]
    let micros = (seconds * 1e6).round() as u64;
    Some(micros * 1000)
}

fn fixed64(out: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(out, tag(field, WireType::Fixed64));
    out.extend_from_slice(&value.to_le_bytes());
}
