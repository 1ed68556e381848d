//! JSON text to protobuf bytes: serde visitors that are driven by the tables and write straight
//! into the output.
//!
//! The length of a message is not known before its end: one byte is left for it, and where it
//! takes more the message is moved up. Most messages (attributes, values) fit one byte.
//!
//! The output is allocated once and never grows: what would not fit ends the reading. Nothing else
//! here grows with the document but the scratch space of `serde_json`, see [`super::scratch`].

use std::fmt::{self, Write as _};

use serde::de::{
    DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor,
};

use super::JsonError;
use crate::otlp::{
    schema::{Field, Kind, Message, Presence},
    wire::{WireType, put_varint, tag, varint_len},
};

mod scalar;

use scalar::Scalar;

/// Reads a whole document as a message; `None` if it has more than `most` bytes.
pub(super) fn document(
    message: &'static Message,
    json: &[u8],
    depth_limit: u32,
    most: usize,
) -> Result<Option<Vec<u8>>, JsonError> {
    let text = simdutf8::compat::from_utf8(json).map_err(|e| not_utf8(json, e.valid_up_to()))?;
    let mut reader =
        Reader { out: Out::new(json.len(), most), path: Vec::new(), depth: depth_limit };
    let mut json = serde_json::Deserializer::from_str(text);
    let read =
        InMessage { reader: &mut reader, message }.deserialize(&mut json).and_then(|()| json.end());
    match read {
        _ if reader.out.is_full => Ok(None),
        Ok(()) => Ok(Some(reader.out.bytes)),
        Err(error) => Err(located(&error, &reader.path)),
    }
}

fn not_utf8(json: &[u8], at: usize) -> JsonError {
    let before = &json[..at];
    let mut line = 1;
    let mut line_start = 0;
    for (i, _) in before.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
        line += 1;
        line_start = i + 1;
    }
    JsonError {
        path: String::new(),
        line,
        column: at - line_start + 1,
        message: "not valid UTF-8".to_owned(),
    }
}

fn located(error: &serde_json::Error, steps: &[Step]) -> JsonError {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let message = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text);
    let mut path = String::new();
    for step in steps {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(step.field.json);
        if let Some(index) = step.index {
            let _ = write!(path, "[{index}]");
        }
    }
    JsonError { path, line, column, message: message.to_owned() }
}

/// Bytes beside `most` for the lengths of messages that are open: four for each at most.
pub(super) const SLACK: usize = 1024;

/// Characters of a value that an error shows.
const SHOWN: usize = 64;

/// The beginning of a text, for errors: a text may be as large as the document.
fn shown(text: &str) -> &str {
    &text[..text.floor_char_boundary(SHOWN)]
}

/// Bytes in the making.
struct Out {
    bytes: Vec<u8>,
    most: usize,
    /// Whether something did not fit.
    is_full: bool,
}

impl Out {
    fn new(text: usize, most: usize) -> Self {
        let capacity = if most == usize::MAX { text / 2 } else { most + SLACK };
        Out { bytes: Vec::with_capacity(capacity), most, is_full: false }
    }

    /// Makes sure that so many bytes may be appended.
    #[inline]
    fn room<E: Error>(&mut self, bytes: usize) -> Result<(), E> {
        if self.bytes.len() + bytes > self.most {
            self.is_full = true;
            return Err(E::custom("too many bytes"));
        }
        Ok(())
    }
}

/// What the visitors share.
struct Reader {
    out: Out,
    /// Where the reader is; left as it is by an error, which is thus located.
    path: Vec<Step>,
    /// Messages that may still be opened within each other.
    depth: u32,
}

struct Step {
    field: &'static Field,
    index: Option<usize>,
}

impl Reader {
    /// Writes a tag, leaves a byte for the length, has `content` write, and puts the length in.
    fn delimited<E: Error>(
        &mut self,
        number: u32,
        content: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let tag = tag(number, WireType::Len);
        self.out.room(varint_len(tag) + 1)?;
        put_varint(&mut self.out.bytes, tag);
        let at = self.out.bytes.len();
        self.out.bytes.push(0);
        content(self)?;
        let out = &mut self.out.bytes;
        let len = out.len() - at - 1;
        let more = varint_len(len as u64) - 1;
        if more > 0 {
            out.resize(out.len() + more, 0);
            out.copy_within(at + 1..at + 1 + len, at + 1 + more);
        }
        let mut rest = len as u64;
        for byte in &mut out[at..=at + more] {
            *byte = (rest & 0x7F) as u8 | 0x80;
            rest >>= 7;
        }
        out[at + more] &= 0x7F;
        Ok(())
    }
}

/// The fields of a message, as an object.
struct InMessage<'r> {
    reader: &'r mut Reader,
    message: &'static Message,
}

impl<'de> DeserializeSeed<'de> for InMessage<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for InMessage<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object ({})", self.message.name)
    }

    /// `null` in a list of messages, or as the document.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        Err(E::invalid_type(Unexpected::Str(shown(text)), &self))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let InMessage { reader, message } = self;
        let Some(depth) = reader.depth.checked_sub(1) else {
            return Err(A::Error::custom("values are nested too deep"));
        };
        reader.depth = depth;
        // One bit per position in the table; no message has more than 32 fields (tested).
        let mut seen = 0u32;
        while let Some(position) = map.next_key_seed(Key(message))? {
            let Some(field) = position.map(|p| &message.fields[p]) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let bit = position.map_or(0, |p| 1 << p);
            reader.path.push(Step { field, index: None });
            map.next_value_seed(InField { reader, field, is_again: seen & bit != 0 })?;
            reader.path.pop();
            seen |= bit;
        }
        reader.depth += 1;
        Ok(())
    }
}

/// The name of a field; none for an unknown one.
struct Key(&'static Message);

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.position_of_name(name))
    }
}

/// The value of a field, null included.
struct InField<'r> {
    reader: &'r mut Reader,
    field: &'static Field,
    /// The same key occurred before in this object, so a zero has to be written to override it.
    is_again: bool,
}

impl<'de> DeserializeSeed<'de> for InField<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for InField<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let InField { reader, field, is_again } = self;
        if field.presence == Presence::Repeated {
            return deserializer.deserialize_any(InList { reader, field });
        }
        if let Kind::Message(message) = field.kind {
            return reader.delimited(field.number, |reader| {
                InMessage { reader, message }.deserialize(deserializer)
            });
        }
        let keeps_zero = is_again || field.presence != Presence::Implicit;
        Scalar { out: &mut reader.out, kind: field.kind, number: Some(field.number), keeps_zero }
            .deserialize(deserializer)
    }
}

/// The values of a repeated field.
struct InList<'r> {
    reader: &'r mut Reader,
    field: &'static Field,
}

impl<'de> Visitor<'de> for InList<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        Err(E::invalid_type(Unexpected::Str(shown(text)), &self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        let InList { reader, field } = self;
        match field.kind {
            Kind::Message(_) | Kind::String | Kind::Bytes | Kind::Id(_) => {
                elements(reader, field, Some(field.number), seq)
            }
            _ => packed(reader, field, seq),
        }
    }
}

/// Numbers as one packed field, which an empty list does not write.
fn packed<'de, A: SeqAccess<'de>>(
    reader: &mut Reader,
    field: &'static Field,
    seq: A,
) -> Result<(), A::Error> {
    let before = reader.out.bytes.len();
    let mut is_empty = true;
    reader.delimited(field.number, |reader| {
        let start = reader.out.bytes.len();
        elements(reader, field, None, seq)?;
        is_empty = reader.out.bytes.len() == start;
        Ok(())
    })?;
    if is_empty {
        reader.out.bytes.truncate(before);
    }
    Ok(())
}

fn elements<'de, A: SeqAccess<'de>>(
    reader: &mut Reader,
    field: &'static Field,
    number: Option<u32>,
    mut seq: A,
) -> Result<(), A::Error> {
    for index in 0.. {
        if let Some(step) = reader.path.last_mut() {
            step.index = Some(index);
        }
        if seq.next_element_seed(Element { reader, field, number })?.is_none() {
            break;
        }
    }
    Ok(())
}

/// One value of a list.
struct Element<'r> {
    reader: &'r mut Reader,
    field: &'static Field,
    /// None within packed numbers, which have no tags.
    number: Option<u32>,
}

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Element { reader, field, number } = self;
        match field.kind {
            Kind::Message(message) => reader.delimited(field.number, |reader| {
                InMessage { reader, message }.deserialize(deserializer)
            }),
            kind => Scalar { out: &mut reader.out, kind, number, keeps_zero: true }
                .deserialize(deserializer),
        }
    }
}
