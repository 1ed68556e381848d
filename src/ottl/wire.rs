//! Reads and rewrites single fields of a message. Fields that are not concerned are copied as they
//! are, unknown ones included.

use std::borrow::Cow;

use super::{
    fault::What,
    index::Indexed,
    types::Types,
    value::{self, Value, content, elements, put_entry_bytes},
};
use crate::otlp::wire::{Field, FieldValue, Fields, WireType, put_bytes, put_varint, tag};

/// Most elements that a write to an absent index makes.
const PADDING: i64 = 10_000;

/// Deepest nesting of a value in messages. The door allows 64 below the request, of which the
/// messages around an attribute take up to eight.
const DEPTH: usize = 56;

/// The fields of a message that passed the door.
pub(crate) fn fields(message: &[u8]) -> impl Iterator<Item = Field<'_>> {
    Fields::new(message).map_while(Result::ok)
}

/// The last occurrence of a scalar, which is the one that counts.
#[inline]
pub(crate) fn last(message: &[u8], number: u32) -> Option<FieldValue<'_>> {
    let mut found = None;
    for field in fields(message) {
        if field.number == number {
            found = Some(field.value);
        }
    }
    found
}

/// The last of several fields, such as the members of a oneof.
pub(crate) fn last_of<'a>(message: &'a [u8], numbers: &[u32]) -> Option<(u32, Field<'a>)> {
    let found = fields(message).filter(|field| numbers.contains(&field.number)).last();
    found.map(|field| (field.number, field))
}

/// Bytes of a field, empty if it is absent.
#[inline]
pub(crate) fn bytes(message: &[u8], number: u32) -> &[u8] {
    match last(message, number) {
        Some(FieldValue::Len(bytes)) => bytes,
        _ => &[],
    }
}

/// Number of a field, 0 if it is absent.
#[inline]
pub(crate) fn number(message: &[u8], number: u32) -> u64 {
    match last(message, number) {
        Some(FieldValue::Varint(bits) | FieldValue::Fixed64(bits)) => bits,
        Some(FieldValue::Fixed32(bits)) => u64::from(bits),
        _ => 0,
    }
}

/// A singular message field; its parts are joined.
pub(crate) fn child(message: &[u8], number: u32) -> Option<Cow<'_, [u8]>> {
    let mut parts = fields(message).filter_map(|field| content(&field, number));
    let first = parts.next()?;
    Some(match parts.next() {
        None => Cow::Borrowed(first),
        Some(second) => Cow::Owned(joined([first, second].into_iter().chain(parts))),
    })
}

/// Parts of a message as one.
pub(crate) fn joined<'p>(parts: impl Iterator<Item = &'p [u8]>) -> Vec<u8> {
    let mut all = Vec::new();
    parts.for_each(|part| all.extend_from_slice(part));
    all
}

/// The packed or single eight-byte numbers of a repeated field.
pub(crate) fn fixed64s(message: &[u8], number: u32) -> Vec<u64> {
    let mut found = Vec::new();
    for field in fields(message).filter(|field| field.number == number) {
        match field.value {
            FieldValue::Fixed64(bits) => found.push(bits),
            FieldValue::Len(packed) => {
                found
                    .extend(packed.as_chunks::<8>().0.iter().map(|bits| u64::from_le_bytes(*bits)));
            }
            _ => {}
        }
    }
    found
}

/// The packed or single integers of a repeated field.
pub(crate) fn varints(message: &[u8], number: u32) -> Vec<u64> {
    let mut found = Vec::new();
    for field in fields(message).filter(|field| field.number == number) {
        match field.value {
            FieldValue::Varint(bits) => found.push(bits),
            FieldValue::Len(mut packed) => {
                while let Ok((bits, rest)) = crate::otlp::wire::varint(packed)
                    && !packed.is_empty()
                {
                    found.push(bits);
                    packed = rest;
                }
            }
            _ => {}
        }
    }
    found
}

/// A signed integer from its zigzag form.
pub(crate) fn unzigzag(bits: u64) -> i64 {
    (bits >> 1).cast_signed() ^ -(bits & 1).cast_signed()
}

pub(crate) fn zigzag(value: i64) -> u64 {
    (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()
}

pub(crate) fn put_fixed64(out: &mut Vec<u8>, number: u32, bits: u64) {
    put_varint(out, tag(number, WireType::Fixed64));
    out.extend(bits.to_le_bytes());
}

pub(crate) fn put_number(out: &mut Vec<u8>, number: u32, bits: u64) {
    put_varint(out, tag(number, WireType::Varint));
    put_varint(out, bits);
}

pub(crate) fn put_fixed32(out: &mut Vec<u8>, number: u32, bits: u32) {
    put_varint(out, tag(number, WireType::Fixed32));
    out.extend(bits.to_le_bytes());
}

/// Copies a message with other fields in place of those with some numbers: `write` appends them
/// where the first one was, or at the end.
pub(crate) fn replace(
    message: &[u8],
    numbers: &[u32],
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>),
) {
    let mut write = Some(write);
    let (mut copied, mut at) = (0, 0);
    for field in fields(message) {
        let start = at;
        at += field.whole.len();
        if numbers.contains(&field.number) {
            out.extend_from_slice(&message[copied..start]);
            copied = at;
            if let Some(write) = write.take() {
                write(out);
            }
        }
    }
    out.extend_from_slice(&message[copied..at]);
    if let Some(write) = write {
        write(out);
    }
}

/// Rewrites a singular message field, which may be in several parts or absent.
pub(crate) fn replace_child(
    message: &[u8],
    number: u32,
    out: &mut Vec<u8>,
    write: impl FnOnce(&[u8], &mut Vec<u8>) -> Result<(), What>,
) -> Result<(), What> {
    let mut new = Vec::new();
    write(&child(message, number).unwrap_or_default(), &mut new)?;
    replace(message, &[number], out, |out| put_bytes(out, number, &new));
    Ok(())
}

/// One step into a map or list.
#[derive(Debug, Clone, PartialEq)]
pub enum Step<'a> {
    Key(Cow<'a, [u8]>),
    Index(i64),
}

impl Step<'_> {
    pub fn into_owned(self) -> Step<'static> {
        match self {
            Step::Key(key) => Step::Key(Cow::Owned(key.into_owned())),
            Step::Index(index) => Step::Index(index),
        }
    }
}

/// Sets the value behind `first` and the steps after it among the `KeyValue` fields `number`.
pub(crate) fn put_attribute(
    from: Indexed<'_>,
    number: u32,
    steps: &[Step<'_>],
    any: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), What> {
    let Some((first, deeper)) = steps.split_first() else {
        return Err(What::text("the path has no key"));
    };
    let Step::Key(key) = first else {
        return Err(What::Type {
            subject: "the key of a map",
            wanted: Types::TEXT,
            found: Types::INT,
        });
    };
    let message = from.message;
    let Some(old) = from.attribute(number, key) else {
        out.extend_from_slice(message);
        return put_value(number, key, None, deeper, any, out);
    };
    out.extend_from_slice(&message[..old.place.start]);
    put_value(number, key, Some((old.entry, &old.any)), deeper, any, out)?;
    out.extend_from_slice(&message[old.place.end..]);
    Ok(())
}

/// Appends an entry with a new value; `old` is the entry before with its value.
fn put_value(
    number: u32,
    key: &[u8],
    old: Option<(&[u8], &[u8])>,
    deeper: &[Step<'_>],
    any: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), What> {
    if deeper.is_empty() {
        put_entry_over(number, key, old.map(|(entry, _)| entry), any, out);
        return Ok(());
    }
    let mut new = Vec::new();
    put_inside(old.map_or(&[], |(_, any)| any), deeper, any, &mut new)?;
    check_depth(&new)?;
    put_entry_over(number, key, old.map(|(entry, _)| entry), &new, out);
    Ok(())
}

/// Appends an entry with a new value. Other fields of the entry before stay.
fn put_entry_over(number: u32, key: &[u8], old: Option<&[u8]>, any: &[u8], out: &mut Vec<u8>) {
    match old {
        Some(entry) if fields(entry).any(|field| field.number > 2) => {
            let mut new = Vec::with_capacity(entry.len() + any.len());
            replace(entry, &[2], &mut new, |out| put_bytes(out, 2, any));
            put_bytes(out, number, &new);
        }
        _ => put_entry_bytes(out, number, key, any),
    }
}

/// Sets a value inside of an `AnyValue` and appends the new `AnyValue`. Absent levels are made.
pub(crate) fn put_inside(
    old: &[u8],
    steps: &[Step<'_>],
    any: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), What> {
    let Some((first, deeper)) = steps.split_first() else {
        out.extend_from_slice(any);
        return Ok(());
    };
    let wrong = |wanted, found| What::Type { subject: "the key", wanted, found };
    let mut inner = Vec::new();
    match (Value::read(old), first) {
        (Value::Map(map), Step::Key(_)) => {
            put_attribute(Indexed::plain(&map.bytes), 1, steps, any, &mut inner)?;
            put_bytes(out, 6, &inner);
        }
        (Value::Nil, Step::Key(_)) => {
            put_attribute(Indexed::plain(&[]), 1, steps, any, &mut inner)?;
            put_bytes(out, 6, &inner);
        }
        (Value::List(list), Step::Index(index)) => {
            let len = elements(&list).count();
            let at = usize::try_from(*index).ok().filter(|at| *at < len);
            let at = at.ok_or(What::Index { index: *index, len })?;
            for (i, element) in elements(&list).enumerate() {
                if i == at {
                    let mut new = Vec::new();
                    put_inside(element, deeper, any, &mut new)?;
                    put_bytes(&mut inner, 1, &new);
                } else {
                    put_bytes(&mut inner, 1, element);
                }
            }
            put_bytes(out, 5, &inner);
        }
        (Value::Nil, Step::Index(index)) => {
            if !(0..PADDING).contains(index) {
                return Err(What::Index { index: *index, len: 0 });
            }
            (0..*index).for_each(|_| put_bytes(&mut inner, 1, &[]));
            let mut new = Vec::new();
            put_inside(&[], deeper, any, &mut new)?;
            put_bytes(&mut inner, 1, &new);
            put_bytes(out, 5, &inner);
        }
        (Value::Map(_), Step::Index(_)) => return Err(wrong(Types::TEXT, Types::INT)),
        (Value::List(_), Step::Key(_)) => return Err(wrong(Types::INT, Types::TEXT)),
        (other, _) => return Err(What::NoKeys(other.types())),
    }
    Ok(())
}

/// Refuses an `AnyValue` that is nested too deep for the door.
pub(crate) fn check_depth(any: &[u8]) -> Result<(), What> {
    if depth(any, DEPTH) > DEPTH { Err(What::TooDeep) } else { Ok(()) }
}

/// Nesting of messages in an `AnyValue`, at most `limit + 1`.
fn depth(any: &[u8], limit: usize) -> usize {
    if limit == 0 {
        return 1;
    }
    match Value::read(any) {
        Value::List(list) => {
            let inner = elements(&list).map(|element| depth(element, limit.saturating_sub(2)));
            2 + inner.max().unwrap_or(0)
        }
        Value::Map(map) => {
            let inner = map.entries().map(|(_, any)| depth(&any, limit.saturating_sub(3)));
            3 + inner.max().unwrap_or(0)
        }
        _ => 1,
    }
}

/// Follows one step into a value that an item holds: what is absent is nil.
pub(crate) fn step<'a>(value: Value<'a>, step: &Step<'_>) -> Result<Value<'a>, What> {
    let wrong = |wanted, found| What::Type { subject: "the key", wanted, found };
    match (value, step) {
        (Value::Nil, _) => Ok(Value::Nil),
        (Value::Map(map), Step::Key(key)) => Ok(map.get(key).unwrap_or(Value::Nil)),
        (Value::List(list), Step::Index(index)) => at_index(list, *index),
        (Value::Map(_), Step::Index(_)) => Err(wrong(Types::TEXT, Types::INT)),
        (Value::List(_), Step::Key(_)) => Err(wrong(Types::INT, Types::TEXT)),
        (other, _) => Err(What::NoKeys(other.types())),
    }
}

/// Follows one step into what a converter returned: what is absent is an error.
pub(crate) fn step_strictly<'a>(value: Value<'a>, key: &Step<'_>) -> Result<Value<'a>, What> {
    match (&value, key) {
        (Value::Nil, _) => Err(What::NoKeys(Types::NIL)),
        (Value::Map(map), Step::Key(key)) if map.get(key).is_none() => {
            Err(What::Key(String::from_utf8_lossy(key).into()))
        }
        _ => step(value, key),
    }
}

fn at_index(list: Cow<'_, [u8]>, index: i64) -> Result<Value<'_>, What> {
    let find = |list: &[u8]| What::Index { index, len: elements(list).count() };
    let at = usize::try_from(index).map_err(|_| find(&list))?;
    match list {
        Cow::Borrowed(list) => elements(list).nth(at).map(Value::read).ok_or_else(|| find(list)),
        Cow::Owned(list) => {
            let found = elements(&list).nth(at).map(|any| Value::read(any).into_owned());
            found.ok_or_else(|| find(&list))
        }
    }
}

/// Copies a message without its `KeyValue` fields `number`, and appends those of a map.
pub(crate) fn replace_map(message: &[u8], number: u32, map: &value::Map<'_>, out: &mut Vec<u8>) {
    replace(message, &[number], out, |out| {
        for field in fields(&map.bytes) {
            if let Some(entry) = content(&field, map.number) {
                put_bytes(out, number, entry);
            }
        }
    });
}
