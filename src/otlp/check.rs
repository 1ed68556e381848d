//! The door check: one walk over a request, from its framing down to the leaves of every known
//! message. What passes can be read by views that cannot fail, forwarded verbatim, and joined with
//! other senders' data without spoiling it.
//!
//! It checks wire types, lengths of ids, nesting depth, and that strings are UTF-8; it counts the
//! items on the way. Unknown fields are skipped by their framing and never judged by content.
//!
//! The walk is driven by the tables of [`super::schema`]. Attributes are most of a span, so their
//! canonical form, `KeyValue { key, AnyValue { string_value } }` with one-byte lengths, is
//! recognised as a whole; anything else takes the general way. Measured with `benches/otlp.rs`.
//!
//! Where the bytes are wrong, a second, slow walk is not needed to name the place: each level
//! adds its step to the path as the error passes through it.

use std::fmt;

use super::{
    Signal,
    schema::{self, Layout, Message, Presence},
    wire::{WireError, group, split_tag, varint},
};

/// Deepest nesting of messages below the request. Protobuf libraries allow 100 in all; a value
/// that is nested deeper would be refused by the backend together with its neighbours.
const DEPTH_LIMIT: u32 = 64;

/// What is known of a request that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// Spans, data points or log records.
    pub items: u64,
}

/// Whether strings are looked at. Protobuf says that strings are UTF-8, and backends refuse a
/// whole batch for one that is not; it costs about as much again as the framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Utf8 {
    /// Every string must be UTF-8.
    Strict,
    /// Strings are taken as they are.
    Off,
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {fault}", Steps(path))]
pub struct CheckError {
    /// The fault.
    pub fault: Fault,
    /// From the innermost field out: name and, where repeated, position.
    path: Vec<(&'static str, Option<usize>)>,
}

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not protobuf.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A known field with another layout than its type has.
    #[error("wire type {found} where the field has another type")]
    WrongWireType {
        /// The wire type that was found.
        found: u8,
    },
    /// A string that is not UTF-8.
    #[error("not valid UTF-8")]
    NotUtf8,
    /// A trace or span id of another length than its own, or 0.
    #[error("an id of {found} bytes instead of {wanted}")]
    IdLength {
        /// Bytes found.
        found: usize,
        /// 16 or 8.
        wanted: usize,
    },
    /// Messages in messages beyond the limit of 64.
    #[error("values are nested more than 64 deep")]
    TooDeep,
    /// Packed numbers whose bytes are not a whole number of them.
    #[error("packed numbers end in the middle of one")]
    PackedLength,
}

/// Checks `body`, one request of `signal`.
pub fn check(signal: Signal, body: &[u8], utf8: Utf8) -> Result<Checked, CheckError> {
    let root = schema::request(signal);
    let mut items = 0;
    let walked = match utf8 {
        Utf8::Strict => walk::<true>(root, body, DEPTH_LIMIT, &mut items),
        Utf8::Off => walk::<false>(root, body, DEPTH_LIMIT, &mut items),
    };
    walked.map(|()| Checked { items }).map_err(|trace| *trace)
}

/// Boxed: the happy path carries one pointer.
type Trace = Box<CheckError>;

fn walk<const UTF8: bool>(
    message: &'static Message,
    bytes: &[u8],
    depth: u32,
    items: &mut u64,
) -> Result<(), Trace> {
    if message.is_item {
        *items += 1;
    }
    let mut rest = bytes;
    while !rest.is_empty() {
        let field_start = rest;
        let (number, wire_type, after_tag) = match read_tag(rest) {
            Ok(tag) => tag,
            Err(error) => return Err(fault(error.into())),
        };
        let layout = message.layout(number);
        let checked = match wire_type {
            2 => length_delimited::<UTF8>(layout, after_tag, depth, items),
            0 => varint(after_tag).map_err(|e| fault(e.into())).and_then(|(_, rest)| {
                expect(
                    matches!(layout, Layout::Varint | Layout::Varints | Layout::Unknown),
                    rest,
                    0,
                )
            }),
            1 => fixed(after_tag, 8).and_then(|rest| {
                expect(
                    matches!(layout, Layout::Fixed64 | Layout::Fixed64s | Layout::Unknown),
                    rest,
                    1,
                )
            }),
            5 => fixed(after_tag, 4).and_then(|rest| {
                expect(matches!(layout, Layout::Fixed32 | Layout::Unknown), rest, 5)
            }),
            3 => group(number, after_tag)
                .map_err(|error| fault(error.into()))
                .and_then(|(_, rest)| expect(matches!(layout, Layout::Unknown), rest, 3)),
            other => Err(fault(WireError::WireType(other).into())),
        };
        rest = match checked {
            Ok(rest) => rest,
            Err(trace) => return Err(step_out(trace, message, bytes, field_start, number)),
        };
    }
    Ok(())
}

#[inline]
fn read_tag(bytes: &[u8]) -> Result<(u32, u8, &[u8]), WireError> {
    // Field numbers 1 to 15: one byte.
    if let [first @ 0x08..0x80, rest @ ..] = bytes {
        return Ok((u32::from(*first >> 3), *first & 7, rest));
    }
    let (tag, rest) = varint(bytes)?;
    let (number, wire_type) = split_tag(tag)?;
    Ok((number, wire_type, rest))
}

#[inline]
fn length_delimited<'a, const UTF8: bool>(
    layout: Layout,
    after_tag: &'a [u8],
    depth: u32,
    items: &mut u64,
) -> Result<&'a [u8], Trace> {
    let (len, rest) = varint(after_tag).map_err(|e| fault(e.into()))?;
    let split = usize::try_from(len).ok().and_then(|len| rest.split_at_checked(len));
    let Some((value, rest)) = split else { return Err(fault(WireError::Truncated.into())) };
    match layout {
        Layout::KeyValue => {
            if !is_plain_attribute::<UTF8>(value) {
                deeper::<UTF8>(&schema::KEY_VALUE, value, depth, items)?;
            }
        }
        Layout::String => {
            if UTF8 && !is_utf8(value) {
                return Err(fault(Fault::NotUtf8));
            }
        }
        Layout::Message(message) => deeper::<UTF8>(message, value, depth, items)?,
        Layout::Id(wanted) => {
            if value.len() != wanted && !value.is_empty() {
                return Err(fault(Fault::IdLength { found: value.len(), wanted }));
            }
        }
        Layout::Bytes | Layout::Unknown => {}
        Layout::Varints => packed_varints(value)?,
        Layout::Fixed64s => packed(value)?,
        Layout::Varint | Layout::Fixed64 | Layout::Fixed32 => {
            return Err(fault(Fault::WrongWireType { found: 2 }));
        }
    }
    Ok(rest)
}

#[inline]
fn deeper<const UTF8: bool>(
    message: &'static Message,
    value: &[u8],
    depth: u32,
    items: &mut u64,
) -> Result<(), Trace> {
    match depth.checked_sub(1) {
        Some(depth) => walk::<UTF8>(message, value, depth, items),
        None => Err(fault(Fault::TooDeep)),
    }
}

/// Whether `bytes` are exactly `key: string, value: { string_value: string }` with lengths under
/// 128. Saves three levels of the general walk: 8 of 16 ns an attribute.
#[inline]
fn is_plain_attribute<const UTF8: bool>(bytes: &[u8]) -> bool {
    let [0x0A, key_len @ 0..0x80, rest @ ..] = bytes else { return false };
    let Some((key, rest)) = rest.split_at_checked(usize::from(*key_len)) else { return false };
    let [0x12, value_len @ 0..0x80, 0x0A, text_len @ 0..0x80, text @ ..] = rest else {
        return false;
    };
    let is_exact = text.len() == usize::from(*text_len) && *value_len == *text_len + 2;
    is_exact && (!UTF8 || (is_utf8(key) && is_utf8(text)))
}

/// ASCII is most of what strings are; only others meet the validator.
#[inline]
fn is_utf8(text: &[u8]) -> bool {
    is_ascii(text) || std::str::from_utf8(text).is_ok()
}

/// Words of eight bytes, the last one overlapping, so that a short string takes two loads.
#[inline]
fn is_ascii(text: &[u8]) -> bool {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let Some(last) = text.last_chunk::<8>() else {
        return text.iter().fold(0, |all, byte| all | byte) < 0x80;
    };
    let (words, _) = text.as_chunks::<8>();
    let all = words.iter().fold(u64::from_le_bytes(*last), |all, w| all | u64::from_le_bytes(*w));
    all & HIGH == 0
}

fn packed_varints(mut value: &[u8]) -> Result<(), Trace> {
    while !value.is_empty() {
        value = varint(value).map_err(|e| fault(e.into()))?.1;
    }
    Ok(())
}

fn packed(value: &[u8]) -> Result<(), Trace> {
    if value.len().is_multiple_of(8) { Ok(()) } else { Err(fault(Fault::PackedLength)) }
}

#[inline]
fn fixed(bytes: &[u8], size: usize) -> Result<&[u8], Trace> {
    match bytes.split_at_checked(size) {
        Some((_, rest)) => Ok(rest),
        None => Err(fault(WireError::Truncated.into())),
    }
}

#[inline]
fn expect(is_right: bool, rest: &[u8], found: u8) -> Result<&[u8], Trace> {
    if is_right { Ok(rest) } else { Err(fault(Fault::WrongWireType { found })) }
}

#[cold]
#[expect(clippy::unnecessary_box_returns, reason = "the happy path carries one pointer")]
fn fault(fault: Fault) -> Trace {
    Box::new(CheckError { fault, path: Vec::new() })
}

/// Adds the step of one level to the path of an error that passes through it.
#[cold]
#[expect(clippy::unnecessary_box_returns, reason = "the happy path carries one pointer")]
fn step_out(
    mut trace: Trace,
    message: &'static Message,
    bytes: &[u8],
    field_start: &[u8],
    number: u32,
) -> Trace {
    let Some(field) = message.field(number) else { return trace };
    let before = &bytes[..bytes.len() - field_start.len()];
    let position = (field.presence == Presence::Repeated)
        .then(|| super::wire::Fields::new(before).flatten().filter(|f| f.number == number).count());
    trace.path.push((field.name, position));
    trace
}

/// Shows a path: `resource_spans[0].scope_spans[1].spans[17].name`.
struct Steps<'a>(&'a [(&'static str, Option<usize>)]);

impl fmt::Display for Steps<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("request");
        }
        for (i, (name, position)) in self.0.iter().rev().enumerate() {
            let dot = if i == 0 { "" } else { "." };
            write!(f, "{dot}{name}")?;
            if let Some(position) = position {
                write!(f, "[{position}]")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
