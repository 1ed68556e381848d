//! The fields of the span that a segment or a subsegment becomes.

use super::{
    document::{Notes, span_id, trace_id},
    resource,
    segment::{Core, keep, keep_others},
};
use crate::{
    otlp::wire::{WireType, put_bytes, put_varint, tag},
    receivers::{
        attributes::Attributes,
        json::{Json, Members, find},
    },
};

/// The place of a (sub)segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The document itself.
    Root,
    /// In `subsegments`.
    Nested,
}

/// `SpanKind`.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Internal = 1,
    Server = 2,
    Client = 3,
}

/// Field of attributes in `Span`.
const ATTRIBUTES: u32 = 9;

/// Members that are translated.
const KNOWN: &[&str] = &[
    "name",
    "id",
    "trace_id",
    "parent_id",
    "start_time",
    "end_time",
    "in_progress",
    "type",
    "namespace",
    "user",
    "http",
    "aws",
    "sql",
    "error",
    "fault",
    "throttle",
    "cause",
    "annotations",
    "metadata",
    "subsegments",
    "traced",
    "links",
];

/// Members that become attributes of the resource.
const RESOURCE: &[&str] = &["service", "origin", "resource_arn"];

/// Whether a document is a subsegment that was sent alone.
pub(super) fn is_subsegment(root: &Members<'_>) -> bool {
    let is_type = matches!(find(root, "type"), Json::Text(name) if name == "subsegment");
    let has_parent = matches!(find(root, "parent_id"), Json::Text(id) if span_id(id).is_some());
    is_type && has_parent
}

/// Appends all fields but the ids.
pub(super) fn write(
    members: &Members<'_>,
    core: &Core<'_>,
    place: Place,
    notes: &Notes,
    out: &mut Vec<u8>,
) {
    let is_segment = place == Place::Root && !is_subsegment(members);
    let in_progress = notes.flag(members, "in_progress");
    let end = if in_progress == Some(true) { None } else { notes.time(members, "end_time") };
    let http = notes.map(members, "http");
    let namespace = notes.text(members, "namespace");
    put_bytes(out, 5, core.name.as_bytes());
    let kind = kind(is_segment, http, namespace);
    number(out, 6, kind as u64);
    fixed(out, 7, core.start);
    fixed(out, 8, end.unwrap_or(0));

    let none = Members::new();
    let annotations = notes.map(members, "annotations").unwrap_or(&none);
    let mut attributes = Attributes::except(out, ATTRIBUTES, annotations);
    if let Some(flag) = in_progress {
        attributes.flag("aws.xray.inprogress", flag);
    }
    if matches!(kind, Kind::Server) && !is_segment {
        attributes.text("aws.xray.document.type", "subsegment");
    }
    attributes.maybe("enduser.id", notes.text(members, "user"));
    attributes.maybe("aws.xray.namespace", namespace);
    if namespace == Some("aws") {
        attributes.text("aws.service", core.name);
    }
    let status_code = http.and_then(|http| http_attributes(http, notes, &mut attributes));
    let has_failed = flags(members, notes, &mut attributes);
    traced(members, http, notes, &mut attributes);
    section_attributes(members, is_segment, notes, &mut attributes);
    write_annotations(annotations, notes, out);

    let cause = find(members, "cause");
    let (message, has_cause) = write_cause(cause, end.unwrap_or(core.start), notes, out);
    links(members, notes, out);
    // The flags say whether something failed. Without flags, a cause means that it did.
    let has_failed = has_failed.unwrap_or(has_cause)
        || status_code.is_some_and(|code| code != 0 && !(100..400).contains(&code));
    write_status(message, has_failed, out);
}

/// Writes the sections `aws`, `sql` and `metadata`, and unknown members.
fn section_attributes(
    members: &Members<'_>,
    is_segment: bool,
    notes: &Notes,
    attributes: &mut Attributes<'_, '_>,
) {
    if let Some(aws) = notes.map(members, "aws") {
        aws_attributes(aws, is_segment, notes, attributes);
    }
    if let Some(sql) = notes.map(members, "sql") {
        sql_attributes(sql, notes, attributes);
    }
    for (namespace, value) in notes.map(members, "metadata").into_iter().flatten() {
        attributes.json(&format!("aws.xray.metadata.{namespace}"), value);
    }
    let mut known = KNOWN.to_vec();
    // The resource has these members of a segment, but not those of a subsegment below it, which
    // may come from another machine.
    if is_segment {
        known.extend(RESOURCE);
    }
    keep_others(members, &known, "", attributes);
}

fn write_status(message: Option<&str>, has_failed: bool, out: &mut Vec<u8>) {
    if !has_failed && message.is_none() {
        return;
    }
    let mut status = Vec::new();
    if let Some(message) = message {
        put_bytes(&mut status, 2, message.as_bytes());
    }
    if has_failed {
        number(&mut status, 3, 2);
    }
    put_bytes(out, 15, &status);
}

fn kind(is_segment: bool, http: Option<&Members<'_>>, namespace: Option<&str>) -> Kind {
    let has_client = matches!(
        http.map(|http| find(http, "request")),
        Some(Json::Map(request))
            if matches!(find(request, "client_ip"), Json::Text(ip) if !ip.is_empty())
    );
    match namespace {
        _ if is_segment || has_client => Kind::Server,
        Some("aws" | "remote") => Kind::Client,
        _ => Kind::Internal,
    }
}

/// Writes the HTTP request and response. Returns the status code.
fn http_attributes(
    http: &Members<'_>,
    notes: &Notes,
    attributes: &mut Attributes<'_, '_>,
) -> Option<i64> {
    const REQUEST: [(&str, &str); 4] = [
        ("method", "http.method"),
        ("client_ip", "http.client_ip"),
        ("user_agent", "http.user_agent"),
        ("url", "http.url"),
    ];
    keep_others(http, &["request", "response"], "http.", attributes);
    if let Some(request) = notes.map(http, "request") {
        for (field, attribute) in REQUEST {
            attributes.maybe(attribute, notes.text(request, field));
        }
        if let Some(flag) = notes.flag(request, "x_forwarded_for") {
            attributes.flag("aws.xray.x_forwarded_for", flag);
        }
        let known = ["method", "client_ip", "user_agent", "url", "x_forwarded_for", "traced"];
        keep_others(request, &known, "http.request.", attributes);
    }
    let response = notes.map(http, "response")?;
    let code = notes.int(response, "status");
    if let Some(code) = code {
        attributes.int("http.status_code", code);
    }
    match find(response, "content_length") {
        Json::List(_) | Json::Map(_) | Json::Bool(_) => notes.repaired(),
        length if length.is_nothing() => {}
        length => attributes.typed("http.response_content_length", length),
    }
    keep_others(response, &["status", "content_length"], "http.response.", attributes);
    code
}

/// Whether the peer sends a segment of its own. Usually this is a member of the request; otherwise
/// its path is kept, too.
fn traced(
    members: &Members<'_>,
    http: Option<&Members<'_>>,
    notes: &Notes,
    attributes: &mut Attributes<'_, '_>,
) {
    let request = http.and_then(|http| notes.map(http, "request"));
    let of_request = request.and_then(|request| notes.flag(request, "traced"));
    let own = notes.flag(members, "traced");
    if let Some(flag) = own.or(of_request) {
        attributes.flag("aws.xray.traced", flag);
    }
    if let Some(flag) = own {
        attributes.flag("aws.xray.document.traced", flag);
        if let Some(flag) = of_request {
            attributes.flag("aws.xray.document.http.request.traced", flag);
        }
    }
}

/// Writes the three kinds of failure. Returns whether the span has failed: yes if `error` or
/// `fault` is true, no if both are false, otherwise `None`.
fn flags(
    members: &Members<'_>,
    notes: &Notes,
    attributes: &mut Attributes<'_, '_>,
) -> Option<bool> {
    let [error, fault, _] = [
        ("error", "aws.xray.error"),
        ("fault", "aws.xray.fault"),
        ("throttle", "aws.xray.throttle"),
    ]
    .map(|(field, attribute)| {
        let flag = notes.flag(members, field);
        if let Some(flag) = flag {
            attributes.flag(attribute, flag);
        }
        flag
    });
    match (error, fault) {
        (Some(true), _) | (_, Some(true)) => Some(true),
        (Some(false), Some(false)) => Some(false),
        _ => None,
    }
}

fn aws_attributes(
    aws: &Members<'_>,
    is_segment: bool,
    notes: &Notes,
    attributes: &mut Attributes<'_, '_>,
) {
    const CALL: [(&str, &str); 5] = [
        ("operation", "aws.operation"),
        ("region", "aws.region"),
        ("request_id", "aws.request_id"),
        ("queue_url", "aws.queue_url"),
        ("table_name", "aws.table_name"),
    ];
    for (field, attribute) in CALL {
        attributes.maybe(attribute, notes.text(aws, field));
    }
    // The account of a segment is an attribute of its resource.
    if !is_segment {
        attributes.maybe("aws.account_id", notes.text(aws, "account_id"));
    }
    if let Some(retries) = notes.int(aws, "retries") {
        attributes.int("aws.xray.retries", retries);
    }
    let tables = notes.texts(aws, "table_names");
    if !tables.is_empty() {
        attributes.texts("aws.dynamodb.table_names", tables);
    }
    let mut known: Vec<&str> = CALL.iter().map(|(field, _)| *field).collect();
    known.extend(["account_id", "retries", "table_names"]);
    if is_segment {
        known.extend(resource::OF_AWS);
    }
    keep_others(aws, &known, "aws.", attributes);
}

fn sql_attributes(sql: &Members<'_>, notes: &Notes, attributes: &mut Attributes<'_, '_>) {
    let url = notes.text(sql, "url");
    let connection = notes.text(sql, "connection_string");
    match url.map(|url| (url, split_url(url))) {
        Some((url, Some((server, name)))) => {
            attributes.text("db.connection_string", server);
            attributes.text("db.name", name);
            if url.len() > server.len() + 1 + name.len() || connection.is_some() {
                keep(sql, "url", "sql.", attributes);
            }
        }
        Some((url, None)) => {
            attributes.text("db.connection_string", url);
            if connection.is_some() {
                keep(sql, "url", "sql.", attributes);
            }
        }
        None => attributes.maybe("db.connection_string", connection),
    }
    if connection.is_some() {
        keep(sql, "connection_string", "sql.", attributes);
    }
    attributes.maybe("db.system", notes.text(sql, "database_type"));
    attributes.maybe("db.statement", notes.text(sql, "sanitized_query"));
    attributes.maybe("db.user", notes.text(sql, "user"));
    let known = ["url", "connection_string", "database_type", "sanitized_query", "user"];
    keep_others(sql, &known, "sql.", attributes);
}

/// Splits `scheme://host:port/name?options` into the part before the name, and the name.
fn split_url(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.find('/').filter(|len| *len > 0)?;
    let name = rest[host + 1..].split('?').next().filter(|name| !name.is_empty())?;
    Some((&url[..scheme.len() + 3 + host], name))
}

/// Writes the annotations in their own types, and the list of their names.
fn write_annotations(annotations: &Members<'_>, notes: &Notes, out: &mut Vec<u8>) {
    let mut attributes = Attributes::new(out, ATTRIBUTES);
    let mut names = Vec::new();
    for (name, value) in annotations {
        if name.is_empty() || *value == Json::Null || *name == LIST {
            notes.repaired();
            continue;
        }
        attributes.typed(name, value);
        names.push(&**name);
    }
    if !names.is_empty() {
        attributes.texts(LIST, names);
    }
}

/// Attribute with the names of all annotations.
const LIST: &str = "aws.xray.annotations";

/// Writes the exceptions. Returns the message of the status, and whether there is a cause at all.
fn write_cause<'m>(
    cause: &'m Json<'_>,
    time: u64,
    notes: &Notes,
    out: &mut Vec<u8>,
) -> (Option<&'m str>, bool) {
    match cause {
        Json::Null => (None, false),
        Json::Text(id) if id.is_empty() => (None, false),
        Json::Text(id) => (Some(id), true),
        Json::Map(cause) => {
            let mut has_exceptions = false;
            for exception in notes.list(cause, "exceptions") {
                let Json::Map(exception) = exception else {
                    notes.repaired();
                    continue;
                };
                // There is nothing to keep, and 21 000 of them fit into a datagram.
                if exception.iter().all(|(_, value)| value.is_nothing()) {
                    notes.repaired();
                    continue;
                }
                has_exceptions = true;
                let mut event = Vec::new();
                of_exception(exception, time, notes, &mut event);
                put_bytes(out, 11, &event);
            }
            let mut attributes = Attributes::new(out, ATTRIBUTES);
            keep_others(cause, &["exceptions"], "cause.", &mut attributes);
            (None, has_exceptions)
        }
        _ => {
            notes.repaired();
            (None, false)
        }
    }
}

fn of_exception(exception: &Members<'_>, time: u64, notes: &Notes, out: &mut Vec<u8>) {
    fixed(out, 1, time);
    put_bytes(out, 2, b"exception");
    let mut attributes = Attributes::new(out, 3);
    let id = notes.text(exception, "id");
    if let Some(id) = id {
        attributes.text("aws.xray.exception.id", id);
    } else {
        notes.repaired();
        attributes.text("aws.xray.exception.id", &format!("{:016x}", fastrand::u64(1..)));
    }
    let message = notes.text(exception, "message");
    let kind = notes.text(exception, "type");
    attributes.maybe("exception.message", message);
    attributes.maybe("exception.type", kind);
    if let Some(flag) = notes.flag(exception, "remote") {
        attributes.flag("aws.xray.exception.remote", flag);
    }
    for (field, attribute) in
        [("truncated", "aws.xray.exception.truncated"), ("skipped", "aws.xray.exception.skipped")]
    {
        if let Some(count) = notes.int(exception, field) {
            attributes.int(attribute, count);
        }
    }
    attributes.maybe("aws.xray.exception.cause", notes.text(exception, "cause"));
    let mut trace = format!("{}: {}", kind.unwrap_or_default(), message.unwrap_or_default());
    for frame in notes.list(exception, "stack") {
        let Json::Map(frame) = frame else {
            notes.repaired();
            continue;
        };
        let text = |field| notes.text(frame, field).filter(|text| !text.is_empty());
        let (label, path) = (text("label").unwrap_or_default(), text("path").unwrap_or_default());
        let line = text("line").unwrap_or("<unknown>");
        for part in ["\n\tat ", label, "(", path, ": ", line, ")"] {
            trace.push_str(part);
        }
    }
    if trace != ": " {
        attributes.text("exception.stacktrace", &trace);
    }
    if !notes.list(exception, "stack").iter().all(is_plain) {
        let stack = find(exception, "stack");
        attributes.json("aws.xray.document.exception.stack", stack);
    }
    let known = ["id", "message", "type", "remote", "truncated", "skipped", "cause", "stack"];
    keep_others(exception, &known, "exception.", &mut attributes);
}

/// Whether the frame can be read back from the text of the stack.
fn is_plain(frame: &Json<'_>) -> bool {
    let Json::Map(frame) = frame else { return true };
    frame.iter().all(|(name, value)| match (&**name, value) {
        ("label", Json::Text(text)) => !text.is_empty() && !text.contains(['\n', '(']),
        ("path", Json::Text(text)) => !text.is_empty() && !text.contains('\n'),
        ("line", Json::Number(text)) => text.parse::<i64>().is_ok(),
        _ => false,
    })
}

fn links(members: &Members<'_>, notes: &Notes, out: &mut Vec<u8>) {
    for link in notes.list(members, "links") {
        let ids = match link {
            Json::Map(link) => notes
                .text(link, "trace_id")
                .and_then(trace_id)
                .zip(notes.text(link, "id").and_then(span_id)),
            _ => None,
        };
        let (Json::Map(link), Some((trace_id, id))) = (link, ids) else {
            notes.repaired();
            continue;
        };
        let mut message = Vec::new();
        put_bytes(&mut message, 1, &trace_id);
        put_bytes(&mut message, 2, &id);
        let mut attributes = Attributes::new(&mut message, 4);
        for (name, value) in notes.map(link, "attributes").unwrap_or(&Members::new()) {
            attributes.kept(name, value);
        }
        put_bytes(out, 13, &message);
    }
}

fn number(out: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(out, tag(field, WireType::Varint));
    put_varint(out, value);
}

fn fixed(out: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(out, tag(field, WireType::Fixed64));
    out.extend_from_slice(&value.to_le_bytes());
}
