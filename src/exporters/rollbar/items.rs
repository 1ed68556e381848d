//! Which spans and log records become items, and the items of a payload in pieces.
//!
//! An exception may come several times: SDKs record it on each span that it leaves, and maybe as a
//! log record. All get the same uuid, which follows from the trace, the class and the message, and
//! Rollbar keeps the first one. Of those in one piece only the best one is written: the one that
//! knows the request, or the one of the outer span.

use std::borrow::Cow;

use bytes::Bytes;

use super::{
    cut,
    exception::STACK,
    grouping::uuid,
    parts::{Facts, Known, Parts},
    write::{Occurrence, Origin},
};
use crate::{
    component::Work,
    exporters::json::Json,
    otlp::{
        Signal,
        content::{Step, Walk},
        view::{Event, LogRecord, Span, Text, Value},
    },
};

/// Largest item. Rollbar takes more, but its own SDKs cut items to this.
pub(super) const LIMIT: usize = 512 << 10;

/// Most items of a request to the exporter: each is a call of its own.
const ITEMS: usize = 64;

/// What the list of them takes.
pub(super) const ITEMS_HELD: usize = 8 << 10;

/// Most exceptions of a span that become items.
const EXCEPTIONS: usize = 100;

/// The part of the room that items have. The rest is for what they are made of: an item may be
/// twice as long before it is cut, in a buffer that grows, and cutting copies it.
const PART: usize = 16;

/// Room for small payloads, and bytes of it for each byte of a stack trace that is read: lines and
/// frames.
const ROOM: usize = 1 << 20;
const READING: usize = 40;

/// The room to ask for.
pub(super) fn room(len: usize) -> usize {
    let reading = READING * len.min(STACK);
    len.saturating_mul(2 * PART).saturating_add(ROOM + reading)
}

/// Name of the scope of the receiver `rollbar`.
const SCOPE: &[u8] = b"rollbar";

/// Severity of `ERROR`.
const ERROR: i32 = 17;

/// What an exporter needs to know.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Settings {
    /// For data that names no environment.
    pub(super) environment: String,
    /// Whether errors without an exception become items.
    pub(super) error_logs: bool,
}

/// The items of a piece.
#[derive(Debug, Clone, Default)]
pub struct Items {
    /// JSON documents: the bodies of calls.
    pub all: Vec<Bytes>,
    /// Bytes of all of them.
    pub(super) len: usize,
    /// Items that no cut makes small enough.
    pub(super) left_out: u64,
    /// Spans or log records of the piece.
    pub(super) of: u64,
}

/// The next items that have room, and where the walk ended.
pub(super) fn next<'a>(work: &Work<'a>, settings: &Settings) -> (Items, Walk<'a>) {
    let mut maker = Maker {
        settings,
        most: (work.room / PART).min(LIMIT),
        most_stack: (work.room / READING).min(STACK),
        items: Items::default(),
        places: Vec::new(),
    };
    let mut walk = work.walk();
    let mut facts = None;
    while let Some(step) = walk.next() {
        let message = match step {
            Step::Item(message) => message,
            Step::Resource => {
                facts = None;
                continue;
            }
            Step::Scope | Step::Metric(_) => continue,
        };
        let before = (maker.items.all.len(), maker.items.left_out);
        let scope = walk.scope().map_or(&[][..], |scope| scope.name.0);
        let facts = facts.get_or_insert_with(|| Facts::of(walk.resource()));
        match work.content.signal {
            Signal::Traces => maker.span(&Span::from(message), scope, facts),
            Signal::Logs => maker.record(&LogRecord::from(message), scope, facts),
            Signal::Metrics => {}
        }
        let Items { all, len, left_out, .. } = &mut maker.items;
        let is_full = *len > work.room / PART || all.len() > ITEMS;
        if is_full && before.0 > 0 {
            // They are the first of the next piece.
            all.truncate(before.0);
            (*len, *left_out) = (all.iter().map(Bytes::len).sum(), before.1);
            walk.put_back();
            break;
        }
    }
    (maker.items, walk)
}

struct Maker<'s> {
    settings: &'s Settings,
    /// Most bytes of an item.
    most: usize,
    /// Most bytes of a stack trace that are read.
    most_stack: usize,
    items: Items,
    /// Those of the items, in their order.
    places: Vec<Place>,
}

/// Where an item was found.
struct Place {
    uuid: String,
    knows_request: bool,
    /// Ids of its span and of the parent of that.
    span: Vec<u8>,
    parent: Vec<u8>,
}

impl Place {
    /// Whether it says more than another place of the same exception.
    fn is_better(&self, other: &Place) -> bool {
        let is_parent = !self.span.is_empty() && self.span == other.parent;
        match (self.knows_request, other.knows_request) {
            (own, others) if own == others => is_parent,
            (own, _) => own,
        }
    }
}

impl Maker<'_> {
    fn span<'a>(&mut self, span: &Span<'a>, scope: &'a [u8], facts: &Facts<'a>) {
        let events = span.events().filter(|event| event.name == "exception");
        // Events of one span that say the same are told apart by their number.
        let mut said: Vec<[&[u8]; 2]> = Vec::new();
        for event in events.take(EXCEPTIONS) {
            let mut parts = of_event(&event, span);
            let exception = identity(&parts);
            let number = said.iter().filter(|other| **other == exception).count();
            said.push(exception);
            let uuid = match own_uuid(&parts) {
                Some(uuid) => uuid,
                None => exception_uuid(span.trace_id, exception, number),
            };
            let is_error = span.status.is_some_and(|status| status.code == 2);
            // An exception without a name is one nevertheless.
            let has_name = parts.text(Known::Type).is_some_and(|kind| !kind.is_empty());
            if !has_name && parts.text(Known::Message).is_none_or(<[u8]>::is_empty) {
                parts.name_exception();
            }
            let occurrence = Occurrence {
                origin: Origin::OpenTelemetry,
                facts,
                parts,
                uuid,
                level: if is_error { "error" } else { "warning" },
                time: event.time_unix_nano,
                trace_id: span.trace_id,
                span_id: span.span_id,
                span_name: span.name.0,
                scope,
                body: Value::Empty,
                environment: &self.settings.environment,
                most_stack: self.most_stack,
            };
            self.add(&occurrence, span.parent_span_id);
        }
    }

    fn record<'a>(&mut self, record: &LogRecord<'a>, scope: &'a [u8], facts: &Facts<'a>) {
        let mut parts = Parts::default();
        record.attributes().for_each(|attribute| parts.add(attribute));
        let origin = if scope == SCOPE { Origin::Item } else { Origin::OpenTelemetry };
        let exception = identity(&parts);
        let is_exception = exception.iter().any(|text| !text.is_empty());
        let is_error = self.settings.error_logs && record.severity_number >= ERROR;
        if origin == Origin::OpenTelemetry && !is_exception && !is_error {
            return;
        }
        let time = match record.time_unix_nano {
            0 => record.observed_time_unix_nano,
            time => time,
        };
        let has_trace = record.trace_id.iter().any(|byte| *byte != 0);
        let uuid = match own_uuid(&parts) {
            Some(uuid) => uuid,
            None if is_exception && has_trace => exception_uuid(record.trace_id, exception, 0),
            None => {
                let service = facts.service.unwrap_or_default();
                let stack = parts.text(Known::Stack).unwrap_or_default();
                let said = text_of(record.body);
                let [kind, message] = exception;
                let (trace, span) = (record.trace_id, record.span_id);
                let time = time.to_be_bytes();
                uuid(&[b"record", service, &time, trace, span, kind, message, stack, &said])
            }
        };
        let occurrence = Occurrence {
            origin,
            facts,
            parts,
            uuid,
            level: level(record, origin, is_exception),
            time,
            trace_id: record.trace_id,
            span_id: record.span_id,
            span_name: &[],
            scope,
            body: record.body.unwrap_or_default(),
            environment: &self.settings.environment,
            most_stack: self.most_stack,
        };
        self.add(&occurrence, &[]);
    }

    fn add(&mut self, occurrence: &Occurrence<'_, '_>, parent: &[u8]) {
        let place = Place {
            uuid: occurrence.uuid.clone(),
            knows_request: occurrence.knows_request(),
            span: occurrence.span_id.to_vec(),
            parent: parent.to_vec(),
        };
        let known = self.places.iter().position(|other| other.uuid == place.uuid);
        if known.is_some_and(|at| !place.is_better(&self.places[at])) {
            return;
        }
        // Enough for what the first cut can make small; what is longer is written once more with
        // the essential alone.
        let mut json = Json::with_capacity(4096).at_most(2 * self.most);
        json.begin();
        json.key(b"data");
        occurrence.write(&mut json);
        json.end();
        let is_whole = !json.is_over();
        let item = Some(json.out).filter(|_| is_whole);
        let item = item.and_then(|item| to_fit(item, self.most)).or_else(|| self.least(occurrence));
        match (item, known) {
            (Some(mut item), known) => {
                item.shrink_to_fit();
                self.items.len += item.len();
                if let Some(at) = known {
                    self.items.len -= self.items.all[at].len();
                    (self.items.all[at], self.places[at]) = (item.into(), place);
                } else {
                    self.items.all.push(item.into());
                    self.places.push(place);
                }
            }
            (None, Some(_)) => {}
            (None, None) => self.items.left_out += 1,
        }
    }

    /// The least that tells of an exception or a message.
    fn least(&self, occurrence: &Occurrence<'_, '_>) -> Option<Vec<u8>> {
        let mut json = Json::with_capacity(1024);
        json.begin();
        json.key(b"data");
        occurrence.write_least(&mut json);
        json.end();
        Some(json.out).filter(|item| item.len() <= self.most)
    }
}

/// Cuts a payload whose item is in `data`.
pub(super) fn to_fit(payload: Vec<u8>, most: usize) -> Option<Vec<u8>> {
    const BEFORE: &[u8] = b"{\"data\":";
    if payload.len() <= most {
        return Some(payload);
    }
    let item = payload.strip_prefix(BEFORE)?.strip_suffix(b"}")?;
    let item = cut::to_fit(item.to_vec(), most.checked_sub(BEFORE.len() + 1)?)?;
    Some([BEFORE, &item, b"}"].concat())
}

/// The attributes of an event, and where it says nothing those of its span.
fn of_event<'a>(event: &Event<'a>, span: &Span<'a>) -> Parts<'a> {
    let mut parts = Parts::default();
    event.attributes().for_each(|attribute| parts.add(attribute));
    span.attributes().for_each(|attribute| parts.add(attribute));
    parts
}

/// The class without its module, and the message: some SDKs name the module in the event of a span
/// and not in the log record.
fn identity<'a>(parts: &Parts<'a>) -> [&'a [u8]; 2] {
    let text = |known| parts.text(known).unwrap_or_default();
    let class = text(Known::Type).rsplit(|byte| matches!(byte, b'.' | b':' | b'\\' | b'/')).next();
    [class.unwrap_or_default(), text(Known::Message)]
}

fn exception_uuid(trace: &[u8], [kind, message]: [&[u8]; 2], number: usize) -> String {
    uuid(&[b"exception", trace, kind, message, &number.to_be_bytes()])
}

/// The uuid that an item came with.
fn own_uuid(parts: &Parts<'_>) -> Option<String> {
    let uuid = parts.kept_text("", "uuid").filter(|uuid| (1..=36).contains(&uuid.len()))?;
    String::from_utf8(uuid.to_vec()).ok()
}

/// The level of a record. An exception without a severity is an error.
fn level<'a>(record: &LogRecord<'a>, origin: Origin, is_exception: bool) -> &'a str {
    let said = std::str::from_utf8(record.severity_text.0).unwrap_or_default();
    let levels = ["debug", "info", "warning", "error", "critical"];
    if origin == Origin::Item && levels.contains(&said) {
        return said;
    }
    match record.severity_number {
        21.. => "critical",
        17..=20 => "error",
        13..=16 => "warning",
        9..=12 => "info",
        1..=8 => "debug",
        _ if is_exception => "error",
        _ => "info",
    }
}

/// The body of a record, to tell records apart.
fn text_of(body: Option<Value<'_>>) -> Cow<'_, [u8]> {
    match body.unwrap_or_default() {
        Value::String(Text(text)) => text.into(),
        value => {
            let mut json = Json::default().at_most(4096);
            json.value(value);
            json.out.into()
        }
    }
}
