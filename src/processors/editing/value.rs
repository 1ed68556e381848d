//! Values of attributes: from YAML, to `AnyValue` bytes, and back as far as actions and matches
//! need it.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};

use crate::otlp::{
    record::Record,
    schema, text,
    wire::{FieldValue, Fields, WireType, put_bytes, put_varint, tag},
};

/// A value with the type that it has in YAML.
#[derive(Debug, Clone, PartialEq)]
pub enum AttributeValue {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Double(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<AttributeValue>),
    /// A map.
    Map(Vec<(String, AttributeValue)>),
}

impl AttributeValue {
    /// The value as an `AnyValue` message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            AttributeValue::Text(text) => put_bytes(&mut out, 1, text.as_bytes()),
            AttributeValue::Bool(value) => {
                put_varint(&mut out, tag(2, WireType::Varint));
                put_varint(&mut out, u64::from(*value));
            }
            AttributeValue::Int(value) => put_int(&mut out, *value),
            AttributeValue::Double(value) => put_double(&mut out, *value),
            AttributeValue::List(values) => {
                let mut list = Vec::new();
                for value in values {
                    put_bytes(&mut list, 1, &value.encode());
                }
                put_bytes(&mut out, 5, &list);
            }
            AttributeValue::Map(members) => {
                let mut list = Vec::new();
                for (key, value) in members {
                    let mut member = Vec::new();
                    put_bytes(&mut member, 1, key.as_bytes());
                    put_bytes(&mut member, 2, &value.encode());
                    put_bytes(&mut list, 1, &member);
                }
                put_bytes(&mut out, 6, &list);
            }
        }
        out
    }
}

/// Appends an `AnyValue` with a whole number.
pub(super) fn put_int(out: &mut Vec<u8>, value: i64) {
    put_varint(out, tag(3, WireType::Varint));
    put_varint(out, value.cast_unsigned());
}

/// Appends an `AnyValue` with a double.
pub(super) fn put_double(out: &mut Vec<u8>, value: f64) {
    put_varint(out, tag(4, WireType::Fixed64));
    out.extend(value.to_le_bytes());
}

/// An `AnyValue` as far as actions look into it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::processors) enum Scalar<'a> {
    Empty,
    Text(&'a [u8]),
    Bool(bool),
    Int(i64),
    Double(f64),
    /// A list, a map or bytes.
    Other,
}

impl<'a> Scalar<'a> {
    /// Reads an `AnyValue`. Its members are a oneof: the last one counts.
    pub(in crate::processors) fn read(any: &'a [u8]) -> Self {
        let mut value = Scalar::Empty;
        for field in Fields::new(any).flatten() {
            value = match (field.number, field.value) {
                (1, FieldValue::Len(text)) => Scalar::Text(text),
                (2, FieldValue::Varint(value)) => Scalar::Bool(value != 0),
                (3, FieldValue::Varint(value)) => Scalar::Int(value.cast_signed()),
                (4, FieldValue::Fixed64(bits)) => Scalar::Double(f64::from_bits(bits)),
                (5..=7, FieldValue::Len(_)) => Scalar::Other,
                _ => value,
            };
        }
        value
    }
}

/// An `AnyValue` as text; lists and maps as JSON.
pub(in crate::processors) fn as_text(any: &[u8]) -> String {
    text::plain(Some(&Record::read(&schema::ANY_VALUE, any)))
}

/// Whether two `AnyValue`s mean the same, however they are encoded.
pub(in crate::processors) fn is_equal(one: &[u8], other: &[u8]) -> bool {
    if one == other {
        return true;
    }
    match (Scalar::read(one), Scalar::read(other)) {
        (Scalar::Other, Scalar::Other) => as_text(one) == as_text(other),
        (one, other) => one == other,
    }
}

impl<'de> Deserialize<'de> for AttributeValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = AttributeValue;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("text, a number, a boolean, a list or a map")
    }

    fn visit_bool<E>(self, value: bool) -> Result<AttributeValue, E> {
        Ok(AttributeValue::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<AttributeValue, E> {
        Ok(AttributeValue::Int(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<AttributeValue, E> {
        let too_large = |_| E::custom("the number does not fit into 64 bits with a sign");
        i64::try_from(value).map(AttributeValue::Int).map_err(too_large)
    }

    fn visit_f64<E>(self, value: f64) -> Result<AttributeValue, E> {
        Ok(AttributeValue::Double(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<AttributeValue, E> {
        Ok(AttributeValue::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<AttributeValue, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(AttributeValue::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<AttributeValue, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(AttributeValue::Map(members))
    }
}

impl JsonSchema for AttributeValue {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "attribute value".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean", "array", "object"] })
    }
}
