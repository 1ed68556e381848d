//! Attributes: the message `KeyValue`, with a key in field 1 and an `AnyValue` in field 2.

use std::borrow::Cow;

use super::wire::{FieldValue, Fields, bytes_field_len, put_bytes, put_header};

/// Key and `AnyValue` of an attribute that has both once, in this order, as encoders write it.
#[inline]
pub fn usual(attribute: &[u8]) -> Option<(&[u8], &[u8])> {
    let [0x0A, len @ 0..0x80, rest @ ..] = attribute else { return None };
    let (key, rest) = rest.split_at_checked(usize::from(*len))?;
    let any = match rest {
        [0x12, len @ 0..0x80, any @ ..] if any.len() == usize::from(*len) => any,
        [0x12, low, high @ 0..0x80, any @ ..]
            if any.len() == usize::from(*low & 0x7F) | usize::from(*high) << 7 =>
        {
            any
        }
        _ => return None,
    };
    Some((key, any))
}

/// Key and `AnyValue` of an attribute in any form. Parts of the value are joined.
pub fn key_value(attribute: &[u8]) -> (&[u8], Cow<'_, [u8]>) {
    if let Some((key, any)) = usual(attribute) {
        return (key, Cow::Borrowed(any));
    }
    let (mut key, mut any): (&[u8], Cow<'_, [u8]>) = (&[], Cow::Borrowed(&[]));
    for field in Fields::new(attribute).map_while(Result::ok) {
        match (field.number, field.value) {
            (1, FieldValue::Len(found)) => key = found,
            (2, FieldValue::Len(part)) if any.is_empty() => any = Cow::Borrowed(part),
            (2, FieldValue::Len(part)) => any.to_mut().extend_from_slice(part),
            _ => {}
        }
    }
    (key, any)
}

/// Bytes of an attribute with a key and an `AnyValue` of these lengths.
pub const fn len(key: usize, any: usize) -> usize {
    bytes_field_len(1, key) + bytes_field_len(2, any)
}

/// Appends an attribute as field `number`.
#[inline]
pub fn put(out: &mut Vec<u8>, number: u32, key: &[u8], any: &[u8]) {
    put_header(out, number, len(key.len(), any.len()));
    put_bytes(out, 1, key);
    put_bytes(out, 2, any);
}

/// The same with an `AnyValue` that `fill` writes.
pub fn put_with(out: &mut Vec<u8>, number: u32, key: &str, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut any = Vec::new();
    fill(&mut any);
    put(out, number, key.as_bytes(), &any);
}

/// The same with a text.
pub fn put_text(out: &mut Vec<u8>, number: u32, key: &str, text: &str) {
    put_with(out, number, key, |any| put_bytes(any, 1, text.as_bytes()));
}

/// The same with a truth.
pub fn put_truth(out: &mut Vec<u8>, number: u32, key: &str, is_so: bool) {
    put(out, number, key.as_bytes(), &[0x10, u8::from(is_so)]);
}
