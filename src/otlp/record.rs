//! One message, read by its table into a list of fields with protobuf's rules applied: the last
//! value of a field wins, repeated parts of a message are one message, setting one member of a
//! oneof clears the others, packed and unpacked numbers are the same. For whoever shows data
//! rather than edits it: JSON and the debug exporter.
//!
//! Fields are asked for by name, since nothing here is on the way of forwarded data. Nothing is
//! copied; a record borrows from the payload. Bytes that are not what the table says
//! (another wire type, a field cut off) are passed over as unknown fields are: the door check has
//! refused such requests long before.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::{
    schema::{Field as Table, Kind, Message, Presence},
    view,
    wire::{Field, FieldValue, Fields, varint},
};

/// A message and what is set in it.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    message: &'static Message,
    /// Position in the table and value, in order of arrival.
    set: SmallVec<[(usize, FieldValue<'a>); 16]>,
}

impl<'a> Record<'a> {
    /// Reads a message that stands in `parts`, which are one message after another.
    pub fn read(message: &'static Message, parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let fields = |part| Fields::new(part).map_while(Result::ok);
        Record::collect(message, parts.into_iter().flat_map(fields))
    }

    /// Reads a message that a view shows.
    pub fn of(message: &'static Message, view: view::Message<'a>) -> Self {
        Record::collect(message, view.fields())
    }

    fn collect(message: &'static Message, fields: impl Iterator<Item = Field<'a>>) -> Self {
        let mut set = SmallVec::new();
        for field in fields {
            let Some(position) = message.position(field.number) else { continue };
            let Table { kind, presence, .. } = message.fields[position];
            if fits(kind, presence, field.value) {
                set.push((position, field.value));
            }
        }
        let mut record = Record { message, set };
        record.clear_overridden();
        record
    }

    /// Its table.
    pub fn message(&self) -> &'static Message {
        self.message
    }

    /// Removes the members of a oneof that a later member cleared.
    fn clear_overridden(&mut self) {
        let message = self.message;
        let in_one_of = |position: usize| message.fields[position].presence == Presence::OneOf;
        let mut members = self.set.iter().enumerate().filter(|(_, (p, _))| in_one_of(*p)).rev();
        let Some((_, &(winner, _))) = members.next() else { return };
        let Some((last_other, _)) = members.find(|(_, (p, _))| *p != winner) else { return };
        let mut at = 0;
        self.set.retain(|(position, _)| {
            at += 1;
            !(in_one_of(*position) && at <= last_other + 1)
        });
    }

    /// All values at a position of the table, in order of arrival.
    pub fn values_at(&self, position: usize) -> impl Iterator<Item = FieldValue<'a>> {
        self.set.iter().filter(move |(p, _)| *p == position).map(|(_, value)| *value)
    }

    fn last(&self, name: &str) -> Option<FieldValue<'a>> {
        let position = self.message.position_of_name(name)?;
        self.set.iter().rev().find(|(p, _)| *p == position).map(|(_, value)| *value)
    }

    /// Whether a field is set, be it to zero.
    pub fn has(&self, name: &str) -> bool {
        self.last(name).is_some()
    }

    /// Bytes of a field, empty if it is not set.
    pub fn bytes(&self, name: &str) -> &'a [u8] {
        match self.last(name) {
            Some(FieldValue::Len(bytes)) => bytes,
            _ => &[],
        }
    }

    /// Text of a field; what is not UTF-8 in it is shown as U+FFFD.
    pub fn text(&self, name: &str) -> Cow<'a, str> {
        String::from_utf8_lossy(self.bytes(name))
    }

    /// Texts of a repeated field.
    pub fn texts(&self, name: &str) -> impl Iterator<Item = Cow<'a, str>> {
        let position = self.message.position_of_name(name).unwrap_or(usize::MAX);
        self.values_at(position).filter_map(slice).map(String::from_utf8_lossy)
    }

    /// Number of a field as it stands on the wire, 0 if it is not set.
    pub fn bits(&self, name: &str) -> u64 {
        match self.last(name) {
            Some(FieldValue::Varint(bits) | FieldValue::Fixed64(bits)) => bits,
            Some(FieldValue::Fixed32(bits)) => u64::from(bits),
            _ => 0,
        }
    }

    /// A `double` field.
    pub fn double(&self, name: &str) -> f64 {
        f64::from_bits(self.bits(name))
    }

    /// An `int64`, `sfixed64`, `int32` or enum field.
    pub fn int(&self, name: &str) -> i64 {
        self.bits(name).cast_signed()
    }

    /// A `sint32` field.
    pub fn zigzag(&self, name: &str) -> i32 {
        unzigzag(self.bits(name))
    }

    /// The message in a field, its parts merged; none if it is not set.
    pub fn child(&self, name: &str) -> Option<Record<'a>> {
        let position = self.message.position_of_name(name)?;
        self.child_at(position)
    }

    /// As [`Record::child`], by position in the table.
    pub fn child_at(&self, position: usize) -> Option<Record<'a>> {
        let Kind::Message(of) = self.message.fields[position].kind else { return None };
        let mut parts = self.values_at(position).filter_map(slice).peekable();
        parts.peek()?;
        Some(Record::read(of, parts))
    }

    /// The messages of a repeated field; none where the name is of no repeated message.
    pub fn children(&self, name: &str) -> impl Iterator<Item = Record<'a>> {
        let position = self.message.position_of_name(name).unwrap_or(usize::MAX);
        self.children_at(position)
    }

    /// As [`Record::children`], by position in the table.
    pub fn children_at(&self, position: usize) -> impl Iterator<Item = Record<'a>> {
        let of = match self.message.fields.get(position).map(|field| field.kind) {
            Some(Kind::Message(of)) => Some(of),
            _ => None,
        };
        self.values_at(position)
            .filter_map(slice)
            .filter_map(move |part| of.map(|of| Record::read(of, [part])))
    }

    /// The numbers of a repeated field, packed or not, as they stand on the wire.
    pub fn numbers(&self, name: &str) -> Vec<u64> {
        self.message.position_of_name(name).map(|p| self.numbers_at(p)).unwrap_or_default()
    }

    /// As [`Record::numbers`], by position in the table.
    pub fn numbers_at(&self, position: usize) -> Vec<u64> {
        let is_varint = matches!(self.message.fields[position].kind, Kind::Uint64);
        let mut numbers = Vec::new();
        for value in self.values_at(position) {
            match value {
                FieldValue::Varint(bits) | FieldValue::Fixed64(bits) => numbers.push(bits),
                FieldValue::Fixed32(bits) => numbers.push(u64::from(bits)),
                FieldValue::Len(mut packed) if is_varint => {
                    while let Ok((bits, rest)) = varint(packed) {
                        numbers.push(bits);
                        packed = rest;
                    }
                }
                FieldValue::Len(packed) => {
                    let (chunks, _) = packed.as_chunks::<8>();
                    numbers.extend(chunks.iter().map(|chunk| u64::from_le_bytes(*chunk)));
                }
            }
        }
        numbers
    }
}

fn slice(value: FieldValue<'_>) -> Option<&[u8]> {
    match value {
        FieldValue::Len(bytes) => Some(bytes),
        _ => None,
    }
}

/// Whether a value is laid out as its type is.
fn fits(kind: Kind, presence: Presence, value: FieldValue<'_>) -> bool {
    let is_number = match kind {
        Kind::String | Kind::Bytes | Kind::Id(_) | Kind::Message(_) => {
            return matches!(value, FieldValue::Len(_));
        }
        Kind::Fixed32 => matches!(value, FieldValue::Fixed32(_)),
        Kind::Fixed64 | Kind::Sfixed64 | Kind::Double => matches!(value, FieldValue::Fixed64(_)),
        Kind::Bool
        | Kind::Int32
        | Kind::Sint32
        | Kind::Uint32
        | Kind::Int64
        | Kind::Uint64
        | Kind::Enum(_) => matches!(value, FieldValue::Varint(_)),
    };
    is_number || (presence == Presence::Repeated && matches!(value, FieldValue::Len(_)))
}

/// A zigzag number of 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "protobuf takes the low 32 bits")]
pub(super) fn unzigzag(bits: u64) -> i32 {
    let bits = bits as u32;
    (bits >> 1).cast_signed() ^ -(bits & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::schema::{ANY_VALUE, SPAN};

    #[test]
    fn a_later_member_of_a_oneof_clears_the_earlier_ones() {
        let value = Record::read(&ANY_VALUE, [&[0x0A, 1, b'a', 0x18, 5][..]]);
        assert!(!value.has("string_value"));
        assert_eq!(value.int("int_value"), 5);
    }

    #[test]
    fn parts_of_a_oneof_message_before_another_member_are_cleared_too() {
        let array = [0x2A, 2, 0x0A, 0];
        let bytes = [&array[..], &[0x10, 1], &array[..], &array[..]].concat();
        let value = Record::read(&ANY_VALUE, [&bytes[..]]);
        assert!(!value.has("bool_value"));
        assert_eq!(value.child("array_value").unwrap().children("values").count(), 2);
    }

    #[test]
    fn the_last_scalar_wins_and_split_messages_are_one() {
        let parts =
            [&[0x2A, 1, b'a', 0x7A, 3, 0x12, 1, b'm'][..], &[0x2A, 1, b'b', 0x7A, 2, 0x18, 2]];
        let span = Record::read(&SPAN, parts);
        assert_eq!(span.text("name"), "b");
        let status = span.child("status").unwrap();
        assert_eq!((&*status.text("message"), status.bits("code")), ("m", 2));
    }

    #[test]
    fn a_value_of_another_wire_type_is_not_the_field() {
        assert!(!Record::read(&SPAN, [&[0x28, 1][..]]).has("name"));
    }

    #[test]
    fn zigzag_goes_both_ways() {
        assert_eq!([0, 1, 2, u64::from(u32::MAX)].map(unzigzag), [0, -1, 1, i32::MIN]);
    }
}
