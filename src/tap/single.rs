//! One item as a request of its own, with its resource, scope and metric, and with its secrets
//! masked: what a tap keeps of an item, compares, and sends.
//!
//! The copy follows the tables of OTLP. A field that they do not know is left out, because nobody
//! can say whether it is a secret. Masked values are compared by a hash, so that a change of one is
//! seen without being shown.

use xxhash_rust::xxh3::xxh3_64;

use super::{fields::is, masks::Masks};
use crate::{
    config::units::REDACTED,
    otlp::{
        Signal,
        content::Walk,
        schema::{self, Kind, Message as Table},
        view::Message,
        wire::{Field, FieldValue, Fields, put_bytes},
    },
};

/// Deepest nesting that is copied. The door lets pass 64.
const DEPTH: u32 = 70;

/// An item on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Single {
    /// What it is.
    pub signal: Signal,
    /// An `Export*ServiceRequest` with this item alone.
    pub body: Vec<u8>,
    /// Keys of the values that are masked in it, each with a hash of its value.
    pub masked: Vec<(String, u64)>,
}

impl Single {
    /// Bytes that it takes in memory, about.
    pub fn size(&self) -> usize {
        let masked: usize = self.masked.iter().map(|(key, _)| key.len() + 48).sum();
        self.body.len() + masked + 128
    }
}

/// A message that was copied, with what was masked in it.
#[derive(Debug, Default)]
struct Part {
    bytes: Vec<u8>,
    masked: Vec<(String, u64)>,
}

/// Makes [`Single`]s on a walk. What items have in common is copied once, and only if one of them
/// is asked for.
#[derive(Debug)]
pub struct Singles<'m> {
    masks: &'m Masks,
    resource: Option<Part>,
    scope: Option<Part>,
    metric: Option<Metric>,
}

/// A metric without its points.
#[derive(Debug)]
struct Metric {
    /// What is beside its data.
    common: Part,
    /// The field of its data, and the table of its points; `None` if it has no data.
    kind: Option<(u32, &'static Table)>,
    /// What is beside the points there.
    data: Vec<u8>,
}

impl<'m> Singles<'m> {
    /// For one walk.
    pub fn new(masks: &'m Masks) -> Self {
        Singles { masks, resource: None, scope: None, metric: None }
    }

    /// The walk has come to another resource.
    pub fn enter_resource(&mut self) {
        (self.resource, self.scope, self.metric) = (None, None, None);
    }

    /// The walk has come to another scope.
    pub fn enter_scope(&mut self) {
        (self.scope, self.metric) = (None, None);
    }

    /// The walk has come to another metric.
    pub fn enter_metric(&mut self) {
        self.metric = None;
    }

    /// The item that the walk has come to.
    pub fn item(&mut self, walk: &Walk<'_>, item: Message<'_>) -> Single {
        let signal = walk.signal();
        let masks = self.masks;
        let resource = self.resource.get_or_insert_with(|| {
            let message = walk.resource_message();
            header(masks, &schema::RESOURCE, message, walk.resource_schema_url().0)
        });
        let scope = self.scope.get_or_insert_with(|| {
            header(masks, &schema::SCOPE, walk.scope_message(), walk.scope_schema_url().0)
        });
        let mut masked = [&*resource.masked, &*scope.masked].concat();
        let mut copy = Copier { masks, masked: Vec::new() };
        let mut own = Vec::new();
        if signal == Signal::Metrics {
            let Metric { common, kind, data } =
                self.metric.get_or_insert_with(|| metric(masks, walk.metric_message()));
            masked.extend_from_slice(&common.masked);
            own.extend_from_slice(&common.bytes);
            if let Some((number, table)) = *kind {
                let mut point = Vec::new();
                copy.message(table, item.fields(), 0, &mut point);
                let mut data = data.clone();
                put_bytes(&mut data, 1, &point);
                put_bytes(&mut own, number, &data);
            }
        } else {
            let table = if signal == Signal::Logs { &schema::LOG_RECORD } else { &schema::SPAN };
            copy.message(table, item.fields(), 0, &mut own);
        }
        masked.append(&mut copy.masked);
        let mut scope_entry = scope.bytes.clone();
        put_bytes(&mut scope_entry, 2, &own);
        let mut entry = resource.bytes.clone();
        put_bytes(&mut entry, 2, &scope_entry);
        let mut body = Vec::with_capacity(entry.len() + 8);
        put_bytes(&mut body, 1, &entry);
        Single { signal, body, masked }
    }
}

/// A resource or scope as the fields of the entry around it.
fn header(masks: &Masks, table: &'static Table, message: Option<Message<'_>>, url: &[u8]) -> Part {
    let mut part = Part::default();
    if let Some(message) = message {
        let mut copy = Copier { masks, masked: Vec::new() };
        let mut inner = Vec::new();
        copy.message(table, message.fields(), 0, &mut inner);
        put_bytes(&mut part.bytes, 1, &inner);
        part.masked = copy.masked;
    }
    if !url.is_empty() {
        put_bytes(&mut part.bytes, 3, url);
    }
    part
}

/// The table of the points in a field of a metric.
fn points(number: u32) -> Option<&'static Table> {
    match number {
        5 | 7 => Some(&schema::NUMBER_POINT),
        9 => Some(&schema::HISTOGRAM_POINT),
        10 => Some(&schema::EXPONENTIAL_HISTOGRAM_POINT),
        11 => Some(&schema::SUMMARY_POINT),
        _ => None,
    }
}

/// What all points of a metric have in common.
fn metric(masks: &Masks, message: Option<Message<'_>>) -> Metric {
    let (mut kind, mut data, mut common) = (None, Vec::new(), Vec::new());
    for field in message.into_iter().flat_map(Message::fields) {
        let Some(table) = points(field.number) else {
            common.push(field);
            continue;
        };
        // The last member of the oneof counts; its parts are one message.
        if kind.is_none_or(|(number, _)| number != field.number) {
            data.clear();
        }
        kind = Some((field.number, table));
        for inner in Fields::new(field.bytes()).map_while(Result::ok) {
            if matches!(inner.number, 2 | 3) {
                data.extend_from_slice(inner.whole);
            }
        }
    }
    let mut copy = Copier { masks, masked: Vec::new() };
    let mut bytes = Vec::new();
    copy.message(&schema::METRIC, common.into_iter(), 0, &mut bytes);
    Metric { common: Part { bytes, masked: copy.masked }, kind, data }
}

/// Copies messages by their tables.
struct Copier<'m> {
    masks: &'m Masks,
    masked: Vec<(String, u64)>,
}

impl Copier<'_> {
    fn message<'a>(
        &mut self,
        table: &'static Table,
        fields: impl Iterator<Item = Field<'a>>,
        depth: u32,
        out: &mut Vec<u8>,
    ) {
        for field in fields {
            let Some(known) = table.field(field.number) else { continue };
            let (Kind::Message(of), FieldValue::Len(bytes)) = (known.kind, field.value) else {
                if !(self.masks.is_names_only() && is_value(table, known.name)) {
                    out.extend_from_slice(field.whole);
                }
                continue;
            };
            if depth > DEPTH || (self.masks.is_names_only() && is(of, &schema::EXEMPLAR)) {
                continue;
            }
            if is(of, &schema::KEY_VALUE) {
                self.key_value(&field, bytes, depth, out);
            } else if self.masks.is_names_only() && is(of, &schema::ANY_VALUE) {
                self.masked.push((known.name.to_owned(), xxh3_64(bytes)));
                put_bytes(out, field.number, &text(type_of(bytes)));
            } else {
                let mut inner = Vec::with_capacity(bytes.len());
                let fields = Fields::new(bytes).map_while(Result::ok);
                self.message(of, fields, depth + 1, &mut inner);
                put_bytes(out, field.number, &inner);
            }
        }
    }

    fn key_value(&mut self, field: &Field<'_>, bytes: &[u8], depth: u32, out: &mut Vec<u8>) {
        let (mut key, mut is_nested, mut is_number, mut is_hidden) = (&[][..], false, true, false);
        for inner in Fields::new(bytes).map_while(Result::ok) {
            match inner.number {
                1 => key = inner.bytes(),
                2 => {
                    for member in Fields::new(inner.bytes()).map_while(Result::ok) {
                        is_nested |= matches!(member.number, 5 | 6);
                        is_number &= matches!(member.number, 3 | 4);
                    }
                }
                3 => {}
                // What no table knows.
                _ => is_hidden = true,
            }
        }
        // A key that is there several times may be read in either way.
        for inner in Fields::new(bytes).map_while(Result::ok).filter(|inner| inner.number == 1) {
            is_hidden |= self.masks.hides(inner.bytes(), is_number);
        }
        if is_hidden {
            let name = String::from_utf8_lossy(key).into_owned();
            self.masked.push((name, xxh3_64(bytes)));
            let value = if self.masks.is_names_only() { value_type(bytes) } else { REDACTED };
            let mut inner = Vec::with_capacity(key.len() + 32);
            put_bytes(&mut inner, 1, key);
            put_bytes(&mut inner, 2, &text(value));
            put_bytes(out, field.number, &inner);
        } else if is_nested {
            let mut inner = Vec::with_capacity(bytes.len());
            let fields = Fields::new(bytes).map_while(Result::ok);
            self.message(&schema::KEY_VALUE, fields, depth + 1, &mut inner);
            put_bytes(out, field.number, &inner);
        } else {
            out.extend_from_slice(field.whole);
        }
    }
}

/// An `AnyValue` that is a text.
fn text(words: &str) -> Vec<u8> {
    let mut value = Vec::with_capacity(words.len() + 2);
    put_bytes(&mut value, 1, words.as_bytes());
    value
}

/// The type of the value of a `KeyValue`.
fn value_type(key_value: &[u8]) -> &'static str {
    let mut fields = Fields::new(key_value).map_while(Result::ok);
    fields.find(|field| field.number == 2).map_or("<empty>", |field| type_of(field.bytes()))
}

/// The type of an `AnyValue`.
fn type_of(any_value: &[u8]) -> &'static str {
    let member = Fields::new(any_value).map_while(Result::ok).last();
    match member.map(|field| field.number) {
        Some(1) => "<string>",
        Some(2) => "<bool>",
        Some(3) => "<int>",
        Some(4) => "<double>",
        Some(5) => "<array>",
        Some(6) => "<map>",
        Some(7) => "<bytes>",
        _ => "<empty>",
    }
}

/// Whether a field holds what was said or measured, rather than a name, an id or a time.
fn is_value(table: &'static Table, name: &str) -> bool {
    let is_text = matches!(name, "message" | "trace_state" | "description");
    let is_kept = matches!(name, "start_time_unix_nano" | "time_unix_nano" | "flags");
    let is_point = table.is_item && table.name.ends_with("DataPoint");
    is_text || (is_point && !is_kept)
}

#[cfg(test)]
mod tests;
