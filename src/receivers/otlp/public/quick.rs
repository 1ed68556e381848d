//! Fields as every SDK writes them, read without a general reader: tag and length of one byte each.
//! Whatever looks otherwise is left to `Fields`. Without this, a span took 400 ns instead of 200
//! (`benches/public.rs`).

use crate::otlp::wire::Fields;

/// Tags of a span's usual fields: ids, kind, times, attributes, status.
pub(super) const TRACE_ID: u8 = 0x0A;
pub(super) const SPAN_ID: u8 = 0x12;
pub(super) const PARENT_ID: u8 = 0x22;
pub(super) const NAME: u8 = 0x2A;
pub(super) const KIND: u8 = 0x30;
pub(super) const START: u8 = 0x39;
pub(super) const END: u8 = 0x41;
pub(super) const ATTRIBUTE: u8 = 0x4A;
pub(super) const STATUS: u8 = 0x7A;
/// The first byte of the tag of its flags.
pub(super) const FLAGS: u8 = 0x85;

/// The content of the first field, which has a short length, and what comes after it.
#[inline]
pub(super) fn short(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let &[_, len @ ..0x80, ref after @ ..] = rest else { return None };
    after.split_at_checked(len.into())
}

/// The value of the first field, a small number, and what comes after it.
#[inline]
pub(super) fn small(rest: &[u8]) -> Option<(u64, &[u8])> {
    let &[_, value @ ..0x80, ref after @ ..] = rest else { return None };
    Some((value.into(), after))
}

/// What comes after the first field, the flags of a span.
#[inline]
pub(super) fn flags(rest: &[u8]) -> Option<&[u8]> {
    let &[FLAGS, 1, _, _, _, _, ref after @ ..] = rest else { return None };
    Some(after)
}

/// What comes after the first field, whatever it is; `None` after the last one.
#[inline]
pub(super) fn skip(rest: &[u8]) -> Option<&[u8]> {
    // Tags of one byte, by their wire type.
    let quick = match rest.first()? & 0x87 {
        0 => small(rest).map(|(_, after)| after),
        1 => fixed(rest).map(|(_, after)| after),
        2 => short(rest).map(|(_, after)| after),
        _ => None,
    };
    quick.or_else(|| {
        let mut fields = Fields::new(rest);
        fields.next()?.ok()?;
        Some(fields.rest())
    })
}

/// The value of the first field, a number of eight bytes, and what comes after it.
#[inline]
pub(super) fn fixed(rest: &[u8]) -> Option<(u64, &[u8])> {
    let (_, rest) = rest.split_first()?;
    let (value, after) = rest.split_first_chunk()?;
    Some((u64::from_le_bytes(*value), after))
}
