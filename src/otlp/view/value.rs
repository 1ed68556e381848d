//! Attributes and values.

use std::{borrow::Cow, fmt};

use super::message::{Child, Message};
use crate::otlp::wire::FieldValue;

/// A string as it is on the wire: UTF-8 where the door checks strings, else any bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text<'a>(
    /// Its bytes.
    pub &'a [u8],
);

/// As it is written, no copy of it: what is not UTF-8 becomes U+FFFD.
impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            f.write_str(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                f.write_str("\u{fffd}")?;
            }
        }
        Ok(())
    }
}

impl<'a> Text<'a> {
    /// As text; what is not UTF-8 in it is shown as U+FFFD. Comparing bytes is cheaper.
    pub fn to_str(self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.0)
    }

    /// Whether it has no byte.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Text<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

/// An attribute.
#[derive(Debug, Clone, Copy)]
pub struct KeyValue<'a> {
    /// Its key.
    pub key: Text<'a>,
    /// Its value; `None` if the field is not set, which means the same as [`Value::Empty`].
    pub value: Option<Value<'a>>,
    /// Position of the key in a table of strings, used by profiles only.
    pub key_strindex: i32,
}

/// Key and text of an attribute in its usual form: two short fields, the second one a text.
/// Without it a span takes 4.4 us to X-Ray instead of 3.3 (`benches/aws.rs`, medians in turn).
#[inline]
fn usual(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[0x0A, len @ ..0x80], rest) = bytes.split_first_chunk()? else { return None };
    let (key, rest) = rest.split_at_checked(len.into())?;
    let (&[0x12, len @ ..0x80], value) = rest.split_first_chunk()? else { return None };
    let (&[0x0A, text_len @ ..0x80], text) = value.split_first_chunk()? else { return None };
    let is_whole = value.len() == usize::from(len) && text.len() == usize::from(text_len);
    is_whole.then_some((key, text))
}

impl<'a> From<Message<'a>> for KeyValue<'a> {
    #[inline]
    fn from(message: Message<'a>) -> Self {
        if let Some((key, text)) = message.whole().and_then(usual) {
            let value = Some(Value::String(Text(text)));
            return KeyValue { key: Text(key), value, key_strindex: 0 };
        }
        let mut view = KeyValue { key: Text::default(), value: None, key_strindex: 0 };
        let mut value = Child::default();
        message.each(|field| match (field.number, field.value) {
            (1, FieldValue::Len(bytes)) => view.key = Text(bytes),
            (2, FieldValue::Len(part)) => value.add(part),
            (3, FieldValue::Varint(bits)) => view.key_strindex = int32(bits),
            _ => {}
        });
        view.value = value.of(message, 2).map(Value::from);
        view
    }
}

/// An `AnyValue`.
#[derive(Debug, Clone, Copy, Default)]
pub enum Value<'a> {
    /// No member of the oneof is set: null.
    #[default]
    Empty,
    /// Text.
    String(Text<'a>),
    /// Truth.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// A number.
    Double(f64),
    /// A list.
    Array(Array<'a>),
    /// A map; keys may occur twice.
    KeyValues(KeyValues<'a>),
    /// Bytes.
    Bytes(&'a [u8]),
    /// Position in a table of strings, used by profiles only.
    StringIndex(i32),
}

const MEMBERS: [u32; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

impl<'a> From<Message<'a>> for Value<'a> {
    #[inline]
    fn from(message: Message<'a>) -> Self {
        let mut value = Value::Empty;
        let mut nested = 0;
        message.each(|field| {
            let member = match (field.number, field.value) {
                (1, FieldValue::Len(text)) => Value::String(Text(text)),
                (2, FieldValue::Varint(bits)) => Value::Bool(bits != 0),
                (3, FieldValue::Varint(bits)) => Value::Int(bits.cast_signed()),
                (4, FieldValue::Fixed64(bits)) => Value::Double(f64::from_bits(bits)),
                (7, FieldValue::Len(bytes)) => Value::Bytes(bytes),
                (8, FieldValue::Varint(bits)) => Value::StringIndex(int32(bits)),
                (number @ (5 | 6), FieldValue::Len(_)) => return nested = number,
                _ => return,
            };
            (value, nested) = (member, 0);
        });
        match nested {
            5 => Value::Array(Array(message.member(5, &MEMBERS))),
            6 => Value::KeyValues(KeyValues(message.member(6, &MEMBERS))),
            _ => value,
        }
    }
}

/// An `ArrayValue`.
#[derive(Debug, Clone, Copy)]
pub struct Array<'a>(Message<'a>);

impl<'a> Array<'a> {
    /// Its values in order.
    pub fn values(self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        self.0.all(1)
    }
}

/// A `KeyValueList`.
#[derive(Debug, Clone, Copy)]
pub struct KeyValues<'a>(Message<'a>);

impl<'a> KeyValues<'a> {
    /// Its entries in order.
    pub fn entries(self) -> impl Iterator<Item = KeyValue<'a>> + use<'a> {
        self.0.all(1)
    }
}

/// An `int32` or enum: protobuf takes the low 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "protobuf takes the low 32 bits")]
pub(super) const fn int32(bits: u64) -> i32 {
    bits as i32
}

/// A `uint32`: protobuf takes the low 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "protobuf takes the low 32 bits")]
pub(super) const fn uint32(bits: u64) -> u32 {
    bits as u32
}
