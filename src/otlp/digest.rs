//! What samplers and connectors read of a span, in one walk: ids, name, kind, times, status, flags,
//! `tracestate`; of the attributes those that they ask for, values unread.
//!
//! A view reads each attribute with its value (0.9 us for a span of 12 of them). Here an attribute
//! is passed over by its length, which leaves 40 ns for a span of 740 bytes
//! (`benches/tail_sampling`). It is for spans that passed the check; of others it reads what
//! comes before the first fault.

use super::{
    view::{Text, Value},
    wire::{FieldValue, Fields},
};

/// A span in short. Of a field that is set twice the last one counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Digest<'a> {
    /// 16 bytes, or none.
    pub trace_id: &'a [u8],
    /// 8 bytes, or none.
    pub span_id: &'a [u8],
    /// 8 bytes, or none for a root.
    pub parent_span_id: &'a [u8],
    /// W3C `tracestate`.
    pub trace_state: &'a [u8],
    /// What it does.
    pub name: &'a [u8],
    /// `SpanKind`: 1 internal, 2 server, 3 client, 4 producer, 5 consumer.
    pub kind: i32,
    /// Nanoseconds since 1970.
    pub start_time_unix_nano: u64,
    /// Nanoseconds since 1970.
    pub end_time_unix_nano: u64,
    /// 0 unset, 1 ok, 2 error.
    pub status_code: i32,
    /// The low 8 bits are W3C trace flags.
    pub flags: u32,
}

/// Tag of `Span.attributes`.
const ATTRIBUTES: u8 = 0x4A;

impl<'a> Digest<'a> {
    /// Reads a span; each attribute, a `KeyValue` message, is shown to `attribute`.
    #[inline]
    pub fn read(span: &'a [u8], mut attribute: impl FnMut(&'a [u8])) -> Self {
        let mut digest = Digest::default();
        let mut rest = span;
        loop {
            // Fields as every encoder writes them; field by field the walk takes twice the time.
            match rest {
                // Attributes follow one another and are most of a span.
                [ATTRIBUTES, len @ 0..0x80, tail @ ..] => {
                    let Some((one, tail)) = tail.split_at_checked(usize::from(*len)) else { break };
                    attribute(one);
                    rest = tail;
                }
                [ATTRIBUTES, low, high @ 0..0x80, tail @ ..] => {
                    let len = usize::from(*low & 0x7F) | usize::from(*high) << 7;
                    let Some((one, tail)) = tail.split_at_checked(len) else { break };
                    attribute(one);
                    rest = tail;
                }
                [tag @ (0x0A | 0x12 | 0x1A | 0x22 | 0x2A | 0x7A), len @ 0..0x80, tail @ ..] => {
                    let Some((value, tail)) = tail.split_at_checked(usize::from(*len)) else {
                        break;
                    };
                    match tag {
                        0x0A => digest.trace_id = value,
                        0x12 => digest.span_id = value,
                        0x1A => digest.trace_state = value,
                        0x22 => digest.parent_span_id = value,
                        0x2A => digest.name = value,
                        _ => digest.read_status(value),
                    }
                    rest = tail;
                }
                [tag @ (0x39 | 0x41), tail @ ..] => {
                    let Some((time, tail)) = tail.split_first_chunk() else { break };
                    let time = u64::from_le_bytes(*time);
                    if *tag == 0x39 {
                        digest.start_time_unix_nano = time;
                    } else {
                        digest.end_time_unix_nano = time;
                    }
                    rest = tail;
                }
                [0x30, kind @ 0..0x80, tail @ ..] => {
                    digest.kind = i32::from(*kind);
                    rest = tail;
                }
                [0x85, 0x01, tail @ ..] => {
                    let Some((flags, tail)) = tail.split_first_chunk() else { break };
                    digest.flags = u32::from_le_bytes(*flags);
                    rest = tail;
                }
                [] => break,
                _ => match digest.read_any(rest, &mut attribute) {
                    Some(tail) => rest = tail,
                    None => break,
                },
            }
        }
        digest
    }

    /// Reads a field in any form, and gives what comes after it.
    #[cold]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "protobuf takes the low 32 bits of an enum"
    )]
    fn read_any(
        &mut self,
        rest: &'a [u8],
        attribute: &mut impl FnMut(&'a [u8]),
    ) -> Option<&'a [u8]> {
        let mut fields = Fields::new(rest);
        let field = fields.next()?.ok()?;
        match (field.number, field.value) {
            (1, FieldValue::Len(id)) => self.trace_id = id,
            (2, FieldValue::Len(id)) => self.span_id = id,
            (3, FieldValue::Len(text)) => self.trace_state = text,
            (4, FieldValue::Len(id)) => self.parent_span_id = id,
            (5, FieldValue::Len(text)) => self.name = text,
            (6, FieldValue::Varint(kind)) => self.kind = kind as i32,
            (7, FieldValue::Fixed64(time)) => self.start_time_unix_nano = time,
            (8, FieldValue::Fixed64(time)) => self.end_time_unix_nano = time,
            (9, FieldValue::Len(one)) => attribute(one),
            (15, FieldValue::Len(status)) => self.read_status(status),
            (16, FieldValue::Fixed32(flags)) => self.flags = flags,
            _ => {}
        }
        Some(fields.rest())
    }

    /// Several parts of a status are one: a code that is not in a later part stays.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "protobuf takes the low 32 bits of an enum"
    )]
    fn read_status(&mut self, status: &[u8]) {
        for field in Fields::new(status).map_while(Result::ok) {
            if let (3, FieldValue::Varint(code)) = (field.number, field.value) {
                self.status_code = code as i32;
            }
        }
    }
}

/// The trace id of a span alone. It is taken from the first bytes, where every encoder puts it; a
/// span that sets it twice is looked at by its first one.
#[inline]
pub fn trace_id(span: &[u8]) -> &[u8] {
    if let [0x0A, 16, rest @ ..] = span
        && let Some(id) = rest.get(..16)
    {
        return id;
    }
    let is_id = |number, value| number == 1 && matches!(value, FieldValue::Len(_));
    let mut fields = Fields::new(span).map_while(Result::ok);
    fields.find(|field| is_id(field.number, field.value)).map_or(&[], |field| field.bytes())
}

/// The name of a span alone.
pub fn name(span: &[u8]) -> &[u8] {
    let is_name = |number, value| number == 5 && matches!(value, FieldValue::Len(_));
    let mut fields = Fields::new(span).map_while(Result::ok);
    fields.find(|field| is_name(field.number, field.value)).map_or(&[], |field| field.bytes())
}

/// A span in a scope entry, or a scope entry in a resource entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InnerField<'a> {
    /// The whole field, tag and length included.
    pub whole: &'a [u8],
    /// The message in it.
    pub inner: &'a [u8],
}

/// A field of a scope or resource entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// A span, or a scope entry.
    Inner(InnerField<'a>),
    /// Any other, whole.
    Other(&'a [u8]),
}

/// The fields of a scope or resource entry: both have what they hold in field 2.
#[inline]
pub fn parts(entry: &[u8]) -> impl Iterator<Item = Part<'_>> {
    let mut rest = entry;
    std::iter::from_fn(move || {
        if let Some((field, tail)) = inner_field(rest) {
            rest = tail;
            return Some(Part::Inner(field));
        }
        let mut fields = Fields::new(rest);
        let field = fields.next()?.ok()?;
        rest = fields.rest();
        Some(match field.value {
            FieldValue::Len(inner) if field.number == 2 => {
                Part::Inner(InnerField { whole: field.whole, inner })
            }
            _ => Part::Other(field.whole),
        })
    })
}

/// The spans of a scope entry, a `ScopeSpans` message, in order.
#[inline]
pub fn spans(scope: &[u8]) -> impl Iterator<Item = InnerField<'_>> {
    parts(scope).filter_map(|part| match part {
        Part::Inner(field) => Some(field),
        Part::Other(_) => None,
    })
}

/// What encoders write of 128 to 16 383 bytes in field 2, at the begin of `bytes`, and what comes
/// after it.
#[inline]
fn inner_field(bytes: &[u8]) -> Option<(InnerField<'_>, &[u8])> {
    let [0x12, low @ 0x80..=0xFF, high @ 0..0x80, ..] = bytes else { return None };
    let len = usize::from(*low & 0x7F) | usize::from(*high) << 7;
    let (whole, tail) = bytes.split_at_checked(3 + len)?;
    Some((InnerField { whole, inner: &whole[3..] }, tail))
}

/// The first span in fields of a scope entry; nothing where there is none.
#[inline]
pub fn first_span(fields: &[u8]) -> &[u8] {
    spans(fields).next().map_or(&[], |field| field.inner)
}

/// An `AnyValue` that is a text, a number or a truth as encoders write it; none for any other.
#[inline]
pub fn scalar(any: &[u8]) -> Option<Value<'_>> {
    match any {
        [0x0A, len @ 0..0x80, text @ ..] if text.len() == usize::from(*len) => {
            Some(Value::String(Text(text)))
        }
        [0x10, truth @ 0..0x80] => Some(Value::Bool(*truth != 0)),
        [0x18, number @ 0..0x80] => Some(Value::Int(i64::from(*number))),
        [0x18, low, high @ 0..0x80] => {
            Some(Value::Int(i64::from(*low & 0x7F) | i64::from(*high) << 7))
        }
        [0x21, double @ ..] => {
            let bits = u64::from_le_bytes(double.try_into().ok()?);
            Some(Value::Double(f64::from_bits(bits)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::otlp::{
        Signal,
        attribute::usual,
        splice::messages,
        view::{KeyValue, Message, Span},
        wild::{self, OneOfs},
    };

    fn scopes(request: &[u8]) -> impl Iterator<Item = &[u8]> {
        let entries = messages(request, &[1]);
        entries.flat_map(|entry| messages(entry.bytes(), &[2])).map(|scope| scope.bytes())
    }

    proptest! {
        #[test]
        fn a_digest_says_what_the_view_says(seed: u64) {
            let request = wild::request(Signal::Traces, seed, OneOfs::Mixed);
            for field in scopes(&request).flat_map(spans) {
                let bytes = field.inner;
                prop_assert_eq!(first_span(field.whole), bytes);
                let mut attributes = Vec::new();
                let digest = Digest::read(bytes, |one| attributes.push(one));
                let span = Span::from(Message::new(bytes));
                let expected = Digest {
                    trace_id: span.trace_id,
                    span_id: span.span_id,
                    parent_span_id: span.parent_span_id,
                    trace_state: span.trace_state.0,
                    name: span.name.0,
                    kind: span.kind,
                    start_time_unix_nano: span.start_time_unix_nano,
                    end_time_unix_nano: span.end_time_unix_nano,
                    status_code: span.status.map_or(0, |status| status.code),
                    flags: span.flags,
                };
                prop_assert_eq!(digest, expected);
                prop_assert_eq!(attributes.len(), span.attributes().count());
                for (own, view) in attributes.iter().zip(span.attributes()) {
                    if let Some((key, any)) = usual(own) {
                        prop_assert_eq!(key, view.key.0);
                        let value = Value::from(Message::new(any));
                        if let Some(scalar) = scalar(any) {
                            prop_assert_eq!(format!("{scalar:?}"), format!("{value:?}"));
                        }
                        prop_assert_eq!(
                            format!("{value:?}"),
                            format!("{:?}", view.value.unwrap_or_default())
                        );
                    } else {
                        prop_assert_eq!(KeyValue::from(Message::new(own)).key, view.key);
                    }
                }
            }
        }

        #[test]
        fn spans_are_those_of_the_message(seed: u64) {
            let request = wild::request(Signal::Traces, seed, OneOfs::Mixed);
            for scope in scopes(&request) {
                let all: Vec<_> = spans(scope).map(|field| (field.whole, field.inner)).collect();
                let expected: Vec<_> =
                    messages(scope, &[2]).map(|field| (field.whole, field.bytes())).collect();
                prop_assert_eq!(all, expected);
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let mut shown = 0;
            Digest::read(&bytes, |one| shown += one.len() + usize::from(usual(one).is_some()));
            prop_assert!(shown <= bytes.len() && trace_id(&bytes).len() <= bytes.len());
            let all: usize = spans(&bytes).map(|field| first_span(field.whole).len()).sum();
            prop_assert!(all <= bytes.len() && scalar(&bytes).is_none_or(|_| bytes.len() > 1));
        }
    }

    #[test]
    fn long_attributes_are_shown_whole() {
        let long = vec![7; 300];
        let mut span = Vec::new();
        crate::otlp::wire::put_bytes(&mut span, 9, &long);
        crate::otlp::wire::put_bytes(&mut span, 9, &[1]);
        let mut shown = Vec::new();
        Digest::read(&span, |one| shown.push(one.to_vec()));
        assert_eq!(shown, [long, vec![1]]);
    }
}
