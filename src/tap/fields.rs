//! An item as a list of names with values, for people and for comparisons: `name`, `status.code`,
//! `attributes.http.route`, `resource.attributes.service.name`, `events[0].name`.
//!
//! The list follows the tables of OTLP. Attributes keep their keys as they are, so a key with a dot
//! looks like a path. Nothing is kept that grows without a limit: of an item with more fields the
//! rest is left out.

use std::{collections::HashMap, fmt::Write as _, ptr};

use serde_json::Value;

use super::single::Single;
use crate::{
    config::units::REDACTED,
    otlp::{
        record::Record,
        schema::{self, Field, Kind, Message as Table, Presence},
        text,
        wire::FieldValue,
    },
};

/// Most fields of an item.
pub const MOST: usize = 2000;

/// Most elements of a list of numbers, such as bucket counts.
const NUMBERS: usize = 512;

/// A name with its value.
pub type Named = (String, Value);

/// A value that another one has taken the place of.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Name of the field.
    pub key: String,
    /// `None` if the field was not there.
    pub before: Option<Value>,
    /// `None` if it is not there any more.
    pub after: Option<Value>,
}

/// The fields of an item, those of its resource and scope last.
pub fn fields(item: &Single) -> Vec<Named> {
    let mut list = List::default();
    let request = Record::read(schema::request(item.signal), &item.body);
    let (mut resources, mut scopes) = (List::default(), List::default());
    for entry in request.children_at(0) {
        beside(&entry, "resource", &mut resources);
        let inner = ["scope_spans", "scope_metrics", "scope_logs"];
        for scope in inner.into_iter().flat_map(|name| entry.children(name)) {
            beside(&scope, "scope", &mut scopes);
            for item in ["spans", "log_records"].into_iter().flat_map(|name| scope.children(name)) {
                message(&item, "", &mut list);
            }
            for metric in scope.children("metrics") {
                metric_fields(&metric, &mut list);
            }
        }
    }
    let mut all = list.0;
    all.extend(scopes.0);
    all.extend(resources.0);
    all.truncate(MOST);
    all
}

/// The same with names that are there once: `attributes.a`, `attributes.a#2`, as in [`changes`].
pub fn distinct(item: &Single) -> Vec<Named> {
    numbered(fields(item))
}

/// What has changed from one to the other, in the order of the fields. Values that are masked are
/// compared by their hashes.
pub fn changes(before: &Single, after: &Single) -> Vec<Change> {
    if before == after {
        return Vec::new();
    }
    let (old, new) = (numbered(fields(before)), numbered(fields(after)));
    let known: HashMap<&str, &Value> = new.iter().map(|(key, value)| (&**key, value)).collect();
    let was: HashMap<&str, &Value> = old.iter().map(|(key, value)| (&**key, value)).collect();
    let mut changes = Vec::new();
    for (key, value) in &old {
        let after = known.get(&**key).copied();
        if after != Some(value) {
            let (before, after) = (Some(value.clone()), after.cloned());
            changes.push(Change { key: key.clone(), before, after });
        }
    }
    for (key, value) in new.iter().filter(|(key, _)| !was.contains_key(&**key)) {
        changes.push(Change { key: key.clone(), before: None, after: Some(value.clone()) });
    }
    changes.extend(masked_changes(before, after));
    changes
}

/// Masked values that differ and look the same.
fn masked_changes(before: &Single, after: &Single) -> Vec<Change> {
    let hidden = |item: &Single| {
        let mut hashes: HashMap<String, Vec<u64>> = HashMap::new();
        for (key, hash) in &item.masked {
            hashes.entry(key.clone()).or_default().push(*hash);
        }
        hashes
    };
    let (old, new) = (hidden(before), hidden(after));
    let mut keys: Vec<&String> = old
        .iter()
        .filter(|(key, hashes)| new.get(*key).is_some_and(|now| now != *hashes))
        .map(|(key, _)| key)
        .collect();
    keys.sort_unstable();
    let mask = || Some(Value::from(REDACTED));
    keys.into_iter().map(|key| Change { key: key.clone(), before: mask(), after: mask() }).collect()
}

/// The same with a number behind names that are there already.
fn numbered(mut all: Vec<Named>) -> Vec<Named> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for (name, _) in &mut all {
        let count = seen.entry(name.clone()).and_modify(|count| *count += 1).or_insert(1);
        if *count > 1 {
            *name = format!("{name}#{count}");
        }
    }
    all
}

/// Names with values, as many as there may be.
#[derive(Debug, Default)]
struct List(Vec<Named>);

impl List {
    fn push(&mut self, name: String, value: Value) {
        if self.0.len() < MOST {
            self.0.push((name, value));
        }
    }
}

/// The resource or scope of an entry, and the schema of it.
fn beside(entry: &Record<'_>, name: &str, out: &mut List) {
    if let Some(record) = entry.child(name) {
        message(&record, &format!("{name}."), out);
    }
    if entry.has("schema_url") {
        out.push(format!("{name}.schema_url"), entry.text("schema_url").into());
    }
}

/// A metric with its points: those come first, as the items that they are.
fn metric_fields(metric: &Record<'_>, out: &mut List) {
    for (position, field) in metric.message().fields.iter().enumerate() {
        if !is_data(field) {
            put(metric, position, field, "metric.", out);
            continue;
        }
        let Some(data) = metric.child_at(position) else { continue };
        out.push("metric.type".to_owned(), field.name.into());
        for (position, inner) in data.message().fields.iter().enumerate() {
            if inner.name == "data_points" {
                data.children_at(position).for_each(|point| message(&point, "", out));
            } else {
                put(&data, position, inner, "metric.", out);
            }
        }
    }
}

fn is_data(field: &Field) -> bool {
    field.presence == Presence::OneOf
}

fn message(record: &Record<'_>, prefix: &str, out: &mut List) {
    for (position, field) in record.message().fields.iter().enumerate() {
        put(record, position, field, prefix, out);
    }
}

/// The field at a position of a record.
fn put(record: &Record<'_>, position: usize, field: &Field, prefix: &str, out: &mut List) {
    let is_list = field.presence == Presence::Repeated;
    match field.kind {
        Kind::Message(of) if is_list && is(of, &schema::KEY_VALUE) => {
            for entry in record.children_at(position) {
                let key = entry.text("key");
                let value = entry.child("value").map_or(Value::Null, |value| any(&value));
                out.push(format!("{prefix}{}.{key}", field.name), value);
            }
        }
        Kind::Message(_) if is_list => {
            for (i, child) in record.children_at(position).enumerate() {
                message(&child, &format!("{prefix}{}[{i}].", field.name), out);
            }
        }
        Kind::Message(of) => {
            let Some(child) = record.child_at(position) else { return };
            if is(of, &schema::ANY_VALUE) {
                out.push(format!("{prefix}{}", field.name), any(&child));
            } else {
                message(&child, &format!("{prefix}{}.", field.name), out);
            }
        }
        _ if is_list => {
            let numbers: Vec<Value> = match field.kind {
                Kind::String => record.texts(field.name).map(|t| t.to_str().into()).collect(),
                Kind::Double => record
                    .numbers_at(position)
                    .map(|bits| double(f64::from_bits(bits)))
                    .take(NUMBERS)
                    .collect(),
                _ => record.numbers_at(position).map(Value::from).take(NUMBERS).collect(),
            };
            if !numbers.is_empty() {
                out.push(format!("{prefix}{}", field.name), numbers.into());
            }
        }
        _ => {
            if let Some(value) = record.values_at(position).last() {
                out.push(format!("{prefix}{}", field.name), scalar(field.kind, value));
            }
        }
    }
}

/// Whether two tables are the same one.
pub(super) fn is(table: &'static Table, other: &'static Table) -> bool {
    ptr::eq(table, other)
}

/// A value of one of the simple types.
fn scalar(kind: Kind, value: FieldValue<'_>) -> Value {
    let bits = match value {
        FieldValue::Len(bytes) if matches!(kind, Kind::String) => {
            return String::from_utf8_lossy(bytes).into();
        }
        FieldValue::Len(bytes) | FieldValue::Group(bytes) => return hex(bytes).into(),
        FieldValue::Varint(bits) | FieldValue::Fixed64(bits) => bits,
        FieldValue::Fixed32(bits) => bits.into(),
    };
    match kind {
        Kind::Bool => Value::Bool(bits != 0),
        Kind::Double => double(f64::from_bits(bits)),
        Kind::Int32 | Kind::Int64 | Kind::Sfixed64 => bits.cast_signed().into(),
        Kind::Sint32 => ((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed()).into(),
        Kind::Enum(of) => {
            let name = usize::try_from(bits).ok().and_then(|bits| of.names.get(bits));
            name.map_or_else(|| bits.into(), |name| Value::from(*name))
        }
        _ => bits.into(),
    }
}

/// A number, or a text where JSON has no such number.
fn double(value: f64) -> Value {
    serde_json::Number::from_f64(value).map_or_else(|| text::double(value).into(), Value::Number)
}

/// An `AnyValue`; maps and lists as text.
fn any(value: &Record<'_>) -> Value {
    if value.has("int_value") {
        value.int("int_value").into()
    } else if value.has("bool_value") {
        Value::Bool(value.bits("bool_value") != 0)
    } else if value.has("double_value") {
        double(value.double("double_value"))
    } else {
        text::plain(Some(value)).into()
    }
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

#[cfg(test)]
mod tests;
