//! Values at run time. Maps and lists are kept as they are on the wire, be they of the item or
//! made by a converter, so there is one form of both and reading a part of an item copies nothing.

use std::borrow::Cow;

use super::types::Types;
pub(crate) use crate::otlp::attribute::key_value;
use crate::otlp::{
    attribute,
    wire::{Field, FieldValue, Fields, WireType, put_bytes, put_varint, tag},
};

/// A value.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    Nil,
    Bool(bool),
    Int(i64),
    Double(f64),
    /// UTF-8, unless the door does not check that.
    Text(Cow<'a, [u8]>),
    Bytes(Cow<'a, [u8]>),
    Map(Map<'a>),
    /// The content of an `ArrayValue`.
    List(Cow<'a, [u8]>),
    /// Nanoseconds since 1970.
    Time(i64),
    /// Nanoseconds.
    Duration(i64),
    TraceId([u8; 16]),
    SpanId([u8; 8]),
    Collection(Collection<'a>),
}

/// The `KeyValue` fields of a message: of a `KeyValueList`, or the attributes of an item.
#[derive(Debug, Clone)]
pub struct Map<'a> {
    pub bytes: Cow<'a, [u8]>,
    /// Number of the fields.
    pub number: u32,
}

/// Messages that can only be counted and copied: the events of a span, the points of a metric.
#[derive(Debug, Clone)]
pub struct Collection<'a> {
    /// What they are: `events`.
    pub name: &'static str,
    pub bytes: Cow<'a, [u8]>,
    /// Number of the fields.
    pub number: u32,
}

impl<'a> Value<'a> {
    pub const fn text(text: &'a str) -> Self {
        Value::Text(Cow::Borrowed(text.as_bytes()))
    }

    /// The one type that it has.
    pub fn types(&self) -> Types {
        match self {
            Value::Nil => Types::NIL,
            Value::Bool(_) => Types::BOOL,
            Value::Int(_) => Types::INT,
            Value::Double(_) => Types::DOUBLE,
            Value::Text(_) => Types::TEXT,
            Value::Bytes(_) => Types::BYTES,
            Value::Map(_) => Types::MAP,
            Value::List(_) => Types::LIST,
            Value::Time(_) => Types::TIME,
            Value::Duration(_) => Types::DURATION,
            Value::TraceId(_) => Types::TRACE_ID,
            Value::SpanId(_) => Types::SPAN_ID,
            Value::Collection(_) => Types::COLLECTION,
        }
    }

    pub fn is_nil(&self) -> bool {
        matches!(self, Value::Nil)
    }

    /// A copy that borrows nothing.
    pub fn into_owned(self) -> Value<'static> {
        let own = |bytes: Cow<'_, [u8]>| Cow::Owned(bytes.into_owned());
        match self {
            Value::Nil => Value::Nil,
            Value::Bool(value) => Value::Bool(value),
            Value::Int(value) => Value::Int(value),
            Value::Double(value) => Value::Double(value),
            Value::Text(bytes) => Value::Text(own(bytes)),
            Value::Bytes(bytes) => Value::Bytes(own(bytes)),
            Value::Map(map) => Value::Map(Map { bytes: own(map.bytes), number: map.number }),
            Value::List(bytes) => Value::List(own(bytes)),
            Value::Time(value) => Value::Time(value),
            Value::Duration(value) => Value::Duration(value),
            Value::TraceId(id) => Value::TraceId(id),
            Value::SpanId(id) => Value::SpanId(id),
            Value::Collection(found) => Value::Collection(Collection {
                name: found.name,
                bytes: own(found.bytes),
                number: found.number,
            }),
        }
    }

    /// Reads an `AnyValue`. Its members are a oneof: the last one counts, and the parts of a
    /// nested message are joined.
    pub fn read(any: &'a [u8]) -> Self {
        // Nearly all values are one short text.
        if let [0x0A, len @ ..0x80, text @ ..] = any
            && text.len() == usize::from(*len)
        {
            return Value::Text(Cow::Borrowed(text));
        }
        let mut value = Value::Nil;
        for field in Fields::new(any).map_while(Result::ok) {
            let member = match (field.number, field.value) {
                (1, FieldValue::Len(text)) => Value::Text(Cow::Borrowed(text)),
                (2, FieldValue::Varint(bits)) => Value::Bool(bits != 0),
                (3, FieldValue::Varint(bits)) => Value::Int(bits.cast_signed()),
                (4, FieldValue::Fixed64(bits)) => Value::Double(f64::from_bits(bits)),
                (5, FieldValue::Len(part)) => match value {
                    Value::List(before) => Value::List(join(before, part)),
                    _ => Value::List(Cow::Borrowed(part)),
                },
                (6, FieldValue::Len(part)) => match value {
                    Value::Map(map) => Value::Map(Map { bytes: join(map.bytes, part), number: 1 }),
                    _ => Value::Map(Map { bytes: Cow::Borrowed(part), number: 1 }),
                },
                (7, FieldValue::Len(bytes)) => Value::Bytes(Cow::Borrowed(bytes)),
                // Used by profiles only.
                (8, FieldValue::Varint(_)) => Value::Nil,
                _ => continue,
            };
            value = member;
        }
        value
    }

    /// Reads an `AnyValue` that may be owned.
    pub fn read_cow(any: Cow<'a, [u8]>) -> Self {
        match any {
            Cow::Borrowed(any) => Value::read(any),
            Cow::Owned(any) => Value::read(&any).into_owned(),
        }
    }

    /// Appends the value as an `AnyValue`; false if an attribute cannot hold it.
    pub fn encode(&self, out: &mut Vec<u8>) -> bool {
        match self {
            Value::Nil => {}
            Value::Bool(value) => {
                put_varint(out, tag(2, WireType::Varint));
                put_varint(out, u64::from(*value));
            }
            Value::Int(value) => {
                put_varint(out, tag(3, WireType::Varint));
                put_varint(out, value.cast_unsigned());
            }
            Value::Double(value) => put_double(out, 4, *value),
            Value::Text(text) => put_text(out, 1, text),
            Value::Bytes(bytes) => put_bytes(out, 7, bytes),
            Value::List(list) => put_bytes(out, 5, list),
            Value::Map(map) => put_bytes(out, 6, &map.list()),
            _ => return false,
        }
        true
    }

    /// Bytes of a text, of bytes, of a list or of a map; 0 of others.
    pub(crate) fn content_len(&self) -> usize {
        match self {
            Value::Text(bytes) | Value::Bytes(bytes) | Value::List(bytes) => bytes.len(),
            Value::Map(map) => map.bytes.len(),
            _ => 0,
        }
    }

    /// The values of a list.
    pub fn values(list: &'a [u8]) -> impl Iterator<Item = Value<'a>> + use<'a> {
        elements(list).map(Value::read)
    }

    /// A list of values.
    pub fn list<'v>(values: impl IntoIterator<Item = Value<'v>>) -> Value<'static> {
        let (mut list, mut any) = (Vec::new(), Vec::new());
        for value in values {
            any.clear();
            if !value.encode(&mut any) {
                // Times and ids, which no list can hold, go in as text.
                put_bytes(&mut any, 1, &super::text::like(value).unwrap_or_default());
            }
            put_bytes(&mut list, 1, &any);
        }
        Value::List(Cow::Owned(list))
    }

    /// A list of texts.
    pub fn texts<'v>(texts: impl IntoIterator<Item = &'v [u8]>) -> Value<'static> {
        Value::list(texts.into_iter().map(|text| Value::Text(Cow::Borrowed(text))))
    }
}

/// The `AnyValue`s in the content of an `ArrayValue`.
pub(crate) fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let fields = Fields::new(list).map_while(Result::ok);
    fields.filter_map(|field| content(&field, 1))
}

/// The content of a field if it is a message of this number.
#[inline]
pub(crate) fn content<'a>(field: &Field<'a>, number: u32) -> Option<&'a [u8]> {
    match field.value {
        FieldValue::Len(bytes) if field.number == number => Some(bytes),
        _ => None,
    }
}

pub(crate) fn put_double(out: &mut Vec<u8>, number: u32, value: f64) {
    put_varint(out, tag(number, WireType::Fixed64));
    out.extend(value.to_le_bytes());
}

fn join<'a>(before: Cow<'a, [u8]>, part: &[u8]) -> Cow<'a, [u8]> {
    let mut all = before.into_owned();
    all.extend_from_slice(part);
    Cow::Owned(all)
}

impl<'a> Map<'a> {
    /// A map whose `KeyValueList` was written before.
    pub fn made(list: Vec<u8>) -> Map<'static> {
        Map { bytes: Cow::Owned(list), number: 1 }
    }

    /// Its entries in order.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], Cow<'_, [u8]>)> {
        let fields = Fields::new(&self.bytes).map_while(Result::ok);
        fields.filter_map(|field| content(&field, self.number).map(key_value))
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        count(&self.bytes, self.number)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a key; the first one if there are several.
    pub fn get(&self, key: &[u8]) -> Option<Value<'a>> {
        match &self.bytes {
            Cow::Borrowed(bytes) => find(bytes, self.number, key).map(Value::read_cow),
            Cow::Owned(bytes) => {
                find(bytes, self.number, key).map(|any| Value::read_cow(any).into_owned())
            }
        }
    }

    /// The content of a `KeyValueList` with its entries.
    pub fn list(&self) -> Cow<'_, [u8]> {
        if self.number == 1 && Fields::new(&self.bytes).map_while(Result::ok).all(|f| f.number == 1)
        {
            return Cow::Borrowed(&self.bytes);
        }
        let mut list = Vec::new();
        for field in Fields::new(&self.bytes).map_while(Result::ok) {
            if let Some(entry) = content(&field, self.number) {
                put_bytes(&mut list, 1, entry);
            }
        }
        Cow::Owned(list)
    }
}

/// How many fields of a number a message has.
pub(crate) fn count(message: &[u8], number: u32) -> usize {
    Fields::new(message).map_while(Result::ok).filter(|f| content(f, number).is_some()).count()
}

/// The `AnyValue` of a key among the `KeyValue` fields `number` of a message.
///
/// Most attributes are not the wanted one: they are passed over by the length of their key, without
/// reading them field by field (`benches/ottl.rs`).
#[inline]
pub(crate) fn find<'a>(message: &'a [u8], number: u32, key: &[u8]) -> Option<Cow<'a, [u8]>> {
    let short_tag = u8::try_from(tag(number, WireType::Len)).unwrap_or(0);
    let key_len = u8::try_from(key.len()).ok().filter(|len| *len < 0x80);
    let mut rest = message;
    while let Some(first) = rest.first() {
        let entry = match rest {
            [tag, len @ ..0x80, after @ ..] if *tag == short_tag => {
                let (entry, after) = after.split_at_checked(usize::from(*len))?;
                rest = after;
                if let [0x0A, found @ ..0x80, ..] = entry
                    && Some(*found) != key_len
                {
                    // A key of another length, unless it is set again further on.
                    if is_usual(entry, *found) {
                        continue;
                    }
                }
                entry
            }
            _ if *first == 0 => return None,
            _ => {
                let mut fields = Fields::new(rest);
                let field = fields.next()?.ok()?;
                rest = fields.rest();
                let Some(entry) = content(&field, number) else { continue };
                entry
            }
        };
        let (found, any) = key_value(entry);
        if found == key {
            return Some(any);
        }
    }
    None
}

/// Whether behind the key there is nothing but one value.
#[inline]
fn is_usual(entry: &[u8], key_len: u8) -> bool {
    match entry.get(2 + usize::from(key_len)..) {
        Some([0x12, len @ ..0x80, any @ ..]) => any.len() == usize::from(*len),
        Some([]) => true,
        _ => false,
    }
}

/// Appends a `KeyValue` as field `number`; false if an attribute cannot hold the value.
pub(crate) fn put_entry(out: &mut Vec<u8>, number: u32, key: &[u8], value: &Value<'_>) -> bool {
    let mut any = Vec::new();
    let is_held = value.encode(&mut any);
    put_entry_bytes(out, number, key, &any);
    is_held
}

/// Appends a text. Strings of OTLP are UTF-8: what is not becomes U+FFFD.
fn put_text(out: &mut Vec<u8>, number: u32, text: &[u8]) {
    put_bytes(out, number, String::from_utf8_lossy(text).as_bytes());
}

/// Appends a `KeyValue` with an `AnyValue` as field `number`.
pub(crate) fn put_entry_bytes(out: &mut Vec<u8>, number: u32, key: &[u8], any: &[u8]) {
    let key = String::from_utf8_lossy(key);
    attribute::put(out, number, key.as_bytes(), any);
}
