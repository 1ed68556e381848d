//! Attributes that samplers write.

use crate::otlp::wire::put_bytes;

/// Appends an attribute as field `number` of an item, its `AnyValue` written by `value`.
pub(crate) fn put_attribute(
    out: &mut Vec<u8>,
    number: u32,
    key: &str,
    value: impl FnOnce(&mut Vec<u8>),
) {
    let (mut any, mut pair) = (Vec::new(), Vec::new());
    value(&mut any);
    put_bytes(&mut pair, 1, key.as_bytes());
    put_bytes(&mut pair, 2, &any);
    put_bytes(out, number, &pair);
}

/// The same for a text.
pub(crate) fn put_text(out: &mut Vec<u8>, number: u32, key: &str, text: &str) {
    put_attribute(out, number, key, |value| put_bytes(value, 1, text.as_bytes()));
}

/// The same for a truth.
pub(crate) fn put_truth(out: &mut Vec<u8>, number: u32, key: &str, is_so: bool) {
    put_attribute(out, number, key, |value| value.extend([0x10, u8::from(is_so)]));
}
