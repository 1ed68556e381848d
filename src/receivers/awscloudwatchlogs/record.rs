//! The events of a call as one OTLP request: a resource for group and stream, and a log record for
//! each event.
//!
//! ```text
//! PutLogEvents            ResourceLogs
//!   logGroupName    -->     aws.log.group.names, service.name
//!   logStreamName   -->     aws.log.stream.names
//!   entity          -->     service.name, deployment.environment.name
//!   logEvents[]     -->     LogRecord: time, severity, body, trace and span id, exception.*
//! ```
//!
//! What a client asked for its group (retention, class, tags) goes into the resource too, so that
//! the exporter `awscloudwatchlogs` can make the group so.

use std::collections::BTreeMap;

use super::{
    events::{Event, Put},
    groups::Wishes,
    lift::Lifted,
    settings::ServiceName,
    traceback,
    value::{self, Map},
};
use crate::otlp::{
    attribute::{put_text, put_with},
    wire::{WireType, bytes_field_len, put_bytes, put_header, put_varint, tag},
};

/// Name of the scope of all records.
const SCOPE: &[u8] = b"aws.cloudwatch_logs";

/// Bytes beside its text that a record takes as a rule.
const RECORD: usize = 64;

/// What all records of a call share beside the call itself.
#[derive(Debug)]
pub(super) struct Around<'a> {
    /// Region of the credentials, if the call is signed.
    pub(super) region: Option<&'a str>,
    /// What clients asked for the group.
    pub(super) wishes: &'a Wishes,
    pub(super) service_name: ServiceName,
    /// Whether JSON objects become maps.
    pub(super) parses_json: bool,
    /// Nanoseconds since 1970 when the call came.
    pub(super) observed: u64,
}

/// The request of these `events` of a call, of at most `most` bytes; none if it would have more.
/// Beside it, as many bytes are in use until it is whole.
pub(super) fn translate(
    put: &Put<'_>,
    events: &[Event<'_>],
    around: &Around<'_>,
    most: usize,
) -> Option<Vec<u8>> {
    let mut resource = Vec::new();
    write_resource(put, around, &mut resource);
    let text: usize = events.iter().map(|event| event.message.0.len() + RECORD).sum();
    let mut records = Records {
        out: Vec::with_capacity(text.min(most)),
        most: most.saturating_sub(resource.len() + SCOPE.len() + RECORD),
        parses_json: around.parses_json,
        observed: around.observed,
        fields: Vec::new(),
        map: Vec::new(),
    };
    let mut scope = Vec::new();
    put_bytes(&mut scope, 1, SCOPE);
    put_bytes(&mut records.out, 1, &scope);
    for event in events {
        records.add(event)?;
    }
    let records = records.out;
    let entry = bytes_field_len(1, resource.len()) + bytes_field_len(2, records.len());
    let mut out = Vec::with_capacity(bytes_field_len(1, entry));
    put_header(&mut out, 1, entry);
    put_bytes(&mut out, 1, &resource);
    put_bytes(&mut out, 2, &records);
    Some(out)
}

fn write_resource(put: &Put<'_>, around: &Around<'_>, out: &mut Vec<u8>) {
    let (group, stream) = (&*put.log_group_name.0, &*put.log_stream_name.0);
    let names = put.entity.as_ref().map(|entity| &entity.key_attributes);
    let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let own = match around.service_name {
        ServiceName::Group => Some(group),
        ServiceName::Stream => Some(stream),
        ServiceName::None => None,
    };
    let service = names.and_then(|names| given(&names.name.0)).or(own.map(str::to_owned));
    let environment = names.and_then(|names| given(&names.environment.0));
    for (key, text) in [
        ("service.name", service.as_deref()),
        ("deployment.environment.name", environment.as_deref()),
    ] {
        if let Some(text) = text {
            put_text(out, 1, key, text);
        }
    }
    if let Some(region) = around.region {
        put_text(out, 1, "cloud.region", region);
    }
    for (key, name) in [("aws.log.group.names", group), ("aws.log.stream.names", stream)] {
        put_with(out, 1, key, |value| {
            let mut list = Vec::new();
            put_header(&mut list, 1, bytes_field_len(1, name.len()));
            put_bytes(&mut list, 1, name.as_bytes());
            put_bytes(value, 5, &list);
        });
    }
    write_wishes(around.wishes, out);
}

/// The attributes that the exporter reads again.
fn write_wishes(wishes: &Wishes, out: &mut Vec<u8>) {
    if let Some(days) = wishes.retention_days {
        put_with(out, 1, "aws.log.group.retention_days", |value| {
            put_varint(value, tag(3, WireType::Varint));
            put_varint(value, i64::from(days).cast_unsigned());
        });
    }
    if let Some(class) = &wishes.class {
        put_text(out, 1, "aws.log.group.class", class);
    }
    if !wishes.tags.is_empty() {
        put_with(out, 1, "aws.log.group.tags", |value| put_bytes(value, 6, &map(&wishes.tags)));
    }
}

fn map(tags: &BTreeMap<String, String>) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, text) in tags {
        put_text(&mut out, 1, key, text);
    }
    out
}

/// Records one after another.
struct Records {
    out: Vec<u8>,
    most: usize,
    parses_json: bool,
    observed: u64,
    /// The fields of one record, and the map that is its body; both used again for each.
    fields: Vec<u8>,
    map: Vec<u8>,
}

impl Records {
    /// Adds one; none if there is no room.
    fn add(&mut self, event: &Event<'_>) -> Option<()> {
        let text = &*event.message.0;
        let room = self.most.checked_sub(self.out.len() + text.len() + RECORD)?;
        let (mut lifted, mut is_map) = (Lifted::default(), false);
        self.map.clear();
        if self.parses_json && text.trim_ascii_start().starts_with('{') {
            is_map = match value::write_map(text, room, &mut lifted, &mut self.map) {
                Map::Written => true,
                Map::NotOne => false,
                Map::TooLarge => return None,
            };
        }
        if !is_map {
            lifted = Lifted::from_text(text);
        }
        self.fields.clear();
        let nanos = u64::try_from(event.timestamp).unwrap_or(0).saturating_mul(1_000_000);
        let out = &mut self.fields;
        fixed64(out, 1, nanos);
        if lifted.severity != 0 {
            put_varint(out, tag(2, WireType::Varint));
            put_varint(out, lifted.severity.into());
        }
        if !lifted.level.is_empty() {
            put_bytes(out, 3, lifted.level.as_bytes());
        }
        if is_map {
            put_header(out, 5, bytes_field_len(6, self.map.len()));
            put_bytes(out, 6, &self.map);
        } else {
            put_header(out, 5, bytes_field_len(1, text.len()));
            put_bytes(out, 1, text.as_bytes());
        }
        let traced = match (&lifted.traceback, is_map) {
            (Some(range), true) => {
                std::str::from_utf8(&self.map[range.clone()]).unwrap_or_default()
            }
            (_, true) => "",
            (_, false) => text,
        };
        if let Some(exception) = traceback::find(traced) {
            for (key, text) in [
                ("exception.type", exception.kind),
                ("exception.message", exception.message),
                ("exception.stacktrace", exception.trace),
            ] {
                put_text(out, 6, key, text);
            }
        }
        if let Some(id) = lifted.trace_id {
            put_bytes(out, 9, &id);
            // Without its trace a span cannot be found.
            if let Some(id) = lifted.span_id {
                put_bytes(out, 10, &id);
            }
        }
        fixed64(out, 11, self.observed);
        put_bytes(&mut self.out, 2, &self.fields);
        (self.out.len() <= self.most).then_some(())
    }
}

fn fixed64(out: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(out, tag(number, WireType::Fixed64));
    out.extend_from_slice(&value.to_le_bytes());
}
