//! One message, read by its table into a list of fields with protobuf's rules applied: the last
//! value of a field wins, repeated parts of a message are one message, setting one member of a
//! oneof clears the others, packed and unpacked numbers are the same. JSON and the exporter
//! `debug` use it, because they show data and do not edit it.
//!
//! Fields are asked for by name, since nothing here is on the way of forwarded data. Nothing is
//! copied, and nothing is kept that grows with the message; a record borrows from the payload.
//! Bytes that are not what the table says (another wire type, a field cut off) are skipped as
//! unknown fields are: the door check has refused such requests long before.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::{
    schema::{Field as Table, Kind, Message, Presence},
    view,
    wire::{FieldValue, varint},
};

/// Fields of a message that are kept in a list. Of one with more they are found again each time
/// they are asked for: a list would have 32 bytes for two of the message. Values are nested up to
/// 64 deep, each with its list, so that all of them have no more than 256 KiB.
const LISTED: usize = 128;

/// A message and what is set in it.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    message: &'static Message,
    view: view::Message<'a>,
    /// Position in the table and value, in order of arrival; `None` if there are many.
    listed: Option<SmallVec<[(usize, FieldValue<'a>); 16]>>,
    /// So many fields of the table come before the member that the oneof has: others of it among
    /// them were cleared.
    cleared: usize,
}

impl<'a> Record<'a> {
    /// Reads a message that is in one part.
    pub fn read(message: &'static Message, part: &'a [u8]) -> Self {
        Record::of(message, view::Message::new(part))
    }

    /// Reads a message that a view shows.
    pub fn of(message: &'static Message, view: view::Message<'a>) -> Self {
        let (mut set, mut count, mut cleared, mut member) = (SmallVec::new(), 0, 0, None);
        for (position, value) in known(message, view) {
            if is_in_one_of(message, position) && member != Some(position) {
                cleared = if member.is_some() { count } else { 0 };
                member = Some(position);
            }
            if count < LISTED {
                set.push((position, value));
            }
            count += 1;
        }
        let mut record = Record { message, view, listed: None, cleared };
        if count <= LISTED {
            if cleared > 0 {
                let mut at = 0;
                set.retain(|(position, _)| {
                    at += 1;
                    at > cleared || !is_in_one_of(message, *position)
                });
            }
            record.listed = Some(set);
        }
        record
    }

    /// Its table.
    pub fn message(&self) -> &'static Message {
        self.message
    }

    /// What is set: position in the table and value, in order of arrival.
    fn set(&self) -> impl Iterator<Item = (usize, FieldValue<'a>)> {
        let listed = self.listed.iter().flatten().copied();
        let view = self.listed.is_none().then_some(self.view);
        let found = view.into_iter().flat_map(|view| known(self.message, view)).enumerate();
        let is_set =
            |at: usize, position| at >= self.cleared || !is_in_one_of(self.message, position);
        listed.chain(found.filter(move |(at, (p, _))| is_set(*at, *p)).map(|(_, one)| one))
    }

    /// All values at a position of the table, in order of arrival.
    pub fn values_at(&self, position: usize) -> impl Iterator<Item = FieldValue<'a>> {
        self.set().filter(move |(p, _)| *p == position).map(|(_, value)| value)
    }

    fn last(&self, name: &str) -> Option<FieldValue<'a>> {
        self.values_at(self.message.position_of_name(name)?).last()
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

    /// The same, to be shown as it is written.
    pub fn shown(&self, name: &str) -> view::Text<'a> {
        view::Text(self.bytes(name))
    }

    /// Texts of a repeated field.
    pub fn texts(&self, name: &str) -> impl Iterator<Item = view::Text<'a>> {
        let position = self.message.position_of_name(name).unwrap_or(usize::MAX);
        self.values_at(position).filter_map(slice).map(view::Text)
    }

    /// Number of a field as it is on the wire, 0 if it is not set.
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
        let field = &self.message.fields[position];
        let Kind::Message(of) = field.kind else { return None };
        let mut parts = self.values_at(position).filter_map(slice);
        let first = parts.next()?;
        if parts.next().is_none() {
            return Some(Record::read(of, first));
        }
        let all = self.view.contents(field.number).count();
        let cleared = all - parts.count() - 2;
        Some(Record::of(of, self.view.split_child(field.number, cleared)))
    }

    /// The messages of a repeated field; none where the name is of no repeated message.
    pub fn children(&self, name: &str) -> impl Iterator<Item = Record<'a>> {
        let position = self.message.position_of_name(name).unwrap_or(usize::MAX);
        self.children_at(position)
    }

    /// The same as bytes that are not read yet.
    pub fn parts(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let position = self.message.position_of_name(name).unwrap_or(usize::MAX);
        self.values_at(position).filter_map(slice)
    }

    /// As [`Record::children`], by position in the table.
    pub fn children_at(&self, position: usize) -> impl Iterator<Item = Record<'a>> {
        let of = match self.message.fields.get(position).map(|field| field.kind) {
            Some(Kind::Message(of)) => Some(of),
            _ => None,
        };
        self.values_at(position)
            .filter_map(slice)
            .filter_map(move |part| of.map(|of| Record::read(of, part)))
    }

    /// The numbers of a repeated field, packed or not, as they are on the wire.
    pub fn numbers(&self, name: &str) -> impl Iterator<Item = u64> {
        self.numbers_at(self.message.position_of_name(name).unwrap_or(usize::MAX))
    }

    /// As [`Record::numbers`], by position in the table.
    pub fn numbers_at(&self, position: usize) -> impl Iterator<Item = u64> {
        let kind = self.message.fields.get(position).map(|field| field.kind);
        let is_varint = matches!(kind, Some(Kind::Uint64));
        self.values_at(position).flat_map(move |value| {
            let (one, packed) = match value {
                FieldValue::Varint(bits) | FieldValue::Fixed64(bits) => (Some(bits), &[][..]),
                FieldValue::Fixed32(bits) => (Some(u64::from(bits)), &[][..]),
                FieldValue::Len(packed) | FieldValue::Group(packed) => (None, packed),
            };
            one.into_iter().chain(unpacked(packed, is_varint))
        })
    }
}

/// The fields of a message that its table knows.
fn known<'a>(
    message: &'static Message,
    view: view::Message<'a>,
) -> impl Iterator<Item = (usize, FieldValue<'a>)> {
    view.fields().filter_map(|field| {
        let position = message.position(field.number)?;
        let Table { kind, presence, .. } = message.fields[position];
        fits(kind, presence, field.value).then_some((position, field.value))
    })
}

fn is_in_one_of(message: &'static Message, position: usize) -> bool {
    message.fields[position].presence == Presence::OneOf
}

/// Numbers that are packed: varints, or of eight bytes each.
fn unpacked(mut packed: &[u8], is_varint: bool) -> impl Iterator<Item = u64> {
    std::iter::from_fn(move || {
        let (bits, rest) = if is_varint {
            varint(packed).ok()?
        } else {
            let (chunk, rest) = packed.split_first_chunk()?;
            (u64::from_le_bytes(*chunk), rest)
        };
        packed = rest;
        Some(bits)
    })
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
        let value = Record::read(&ANY_VALUE, &[0x0A, 1, b'a', 0x18, 5]);
        assert!(!value.has("string_value"));
        assert_eq!(value.int("int_value"), 5);
    }

    #[test]
    fn parts_of_a_oneof_message_before_another_member_are_cleared_too() {
        let array = [0x2A, 2, 0x0A, 0];
        let bytes = [&array[..], &[0x10, 1], &array[..], &array[..]].concat();
        let value = Record::read(&ANY_VALUE, &bytes);
        assert!(!value.has("bool_value"));
        assert_eq!(value.child("array_value").unwrap().children("values").count(), 2);
    }

    #[test]
    fn the_last_scalar_wins_and_split_messages_are_one() {
        let parts =
            [&[0x2A, 1, b'a', 0x7A, 3, 0x12, 1, b'm'][..], &[0x2A, 1, b'b', 0x7A, 2, 0x18, 2]];
        let bytes = parts.concat();
        let span = Record::read(&SPAN, &bytes);
        assert_eq!(span.text("name"), "b");
        let status = span.child("status").unwrap();
        assert_eq!((&*status.text("message"), status.bits("code")), ("m", 2));
    }

    /// Fields that are found again each time mean what a list of them means.
    #[test]
    fn a_message_of_many_fields_is_read_as_one_of_few() {
        let more = [0x0A, 0].repeat(LISTED);
        let array = [0x2A, 2, 0x0A, 0];
        let value = [&array[..], &[0x10, 1], &array, &array].concat();
        for more in [&[][..], &more] {
            let bytes = [more, &value[..]].concat();
            let one = Record::read(&ANY_VALUE, &bytes);
            assert_eq!(one.listed.is_none(), !more.is_empty());
            assert!(!one.has("bool_value") && !one.has("string_value"));
            assert_eq!(one.child("array_value").unwrap().children("values").count(), 2);
        }
        let status = [&[0x7A, 3, 0x12, 1, b'm'][..], &[0x7A, 2, 0x18, 2]].concat();
        let bytes = [&[0x4A, 0].repeat(LISTED)[..], &status].concat();
        let span = Record::read(&SPAN, &bytes);
        let status = span.child("status").unwrap();
        assert_eq!((&*status.text("message"), status.bits("code")), ("m", 2));
        assert_eq!(span.children("attributes").count(), LISTED);
    }

    #[test]
    fn a_value_of_another_wire_type_is_not_the_field() {
        assert!(!Record::read(&SPAN, &[0x28, 1]).has("name"));
    }

    #[test]
    fn zigzag_goes_both_ways() {
        assert_eq!([0, 1, 2, u64::from(u32::MAX)].map(unzigzag), [0, -1, 1, i32::MIN]);
    }
}
