//! What a sampler reads of a span, in one walk: ids, times, status, flags, `tracestate`; of the
//! attributes those that it asks for, values unread.
//!
//! A view reads each attribute with its value (0.9 us for a span of 12 of them). Here an attribute is
//! passed over by its length, which leaves 40 ns for a span of 740 bytes (`benches/tail_sampling`).
//! For spans that passed the door check; of others it tells what stands before the first fault.

use super::wire::{FieldValue, Fields};

/// A span in short. Of a field that is set twice the last one counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Digest<'a> {
    /// 16 bytes, or none.
    pub trace_id: &'a [u8],
    /// 8 bytes, or none for a root.
    pub parent_span_id: &'a [u8],
    /// W3C `tracestate`.
    pub trace_state: &'a [u8],
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
            // Attributes stand in a row, are most of a span, and have short lengths.
            match rest {
                [ATTRIBUTES, len @ 0..0x80, tail @ ..] => {
                    let Some((one, tail)) = tail.split_at_checked(usize::from(*len)) else { break };
                    attribute(one);
                    rest = tail;
                    continue;
                }
                [ATTRIBUTES, low, high @ 0..0x80, tail @ ..] => {
                    let len = usize::from(*low & 0x7F) | usize::from(*high) << 7;
                    let Some((one, tail)) = tail.split_at_checked(len) else { break };
                    attribute(one);
                    rest = tail;
                    continue;
                }
                _ => {}
            }
            let mut fields = Fields::new(rest);
            let Some(Ok(field)) = fields.next() else { break };
            rest = fields.rest();
            match (field.number, field.value) {
                (1, FieldValue::Len(id)) => digest.trace_id = id,
                (3, FieldValue::Len(text)) => digest.trace_state = text,
                (4, FieldValue::Len(id)) => digest.parent_span_id = id,
                (7, FieldValue::Fixed64(time)) => digest.start_time_unix_nano = time,
                (8, FieldValue::Fixed64(time)) => digest.end_time_unix_nano = time,
                (9, FieldValue::Len(one)) => attribute(one),
                (15, FieldValue::Len(status)) => digest.read_status(status),
                (16, FieldValue::Fixed32(flags)) => digest.flags = flags,
                _ => {}
            }
        }
        digest
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

/// The trace id of a span alone. It is taken from the first bytes, where every encoder puts it; a span
/// that sets it twice is looked at by its first one.
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

/// Key and `AnyValue` of a `KeyValue` that has both once, in this order, as encoders write it. Others
/// are for [`super::view::KeyValue`].
#[inline]
pub fn key_value(attribute: &[u8]) -> Option<(&[u8], &[u8])> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::otlp::{
        Signal,
        splice::messages,
        view::{KeyValue, Message, Span},
        wild::{self, OneOfs},
    };

    fn spans(request: &[u8]) -> impl Iterator<Item = &[u8]> {
        messages(request, &[1])
            .flat_map(|entry| messages(entry.bytes(), &[2]))
            .flat_map(|scope| messages(scope.bytes(), &[2]))
            .map(|span| span.bytes())
    }

    proptest! {
        #[test]
        fn a_digest_says_what_the_view_says(seed: u64) {
            let request = wild::request(Signal::Traces, seed, OneOfs::Mixed);
            for bytes in spans(&request) {
                let mut attributes = Vec::new();
                let digest = Digest::read(bytes, |one| attributes.push(one));
                let span = Span::from(Message::new(bytes));
                let expected = Digest {
                    trace_id: span.trace_id,
                    parent_span_id: span.parent_span_id,
                    trace_state: span.trace_state.0,
                    start_time_unix_nano: span.start_time_unix_nano,
                    end_time_unix_nano: span.end_time_unix_nano,
                    status_code: span.status.map_or(0, |status| status.code),
                    flags: span.flags,
                };
                prop_assert_eq!(digest, expected);
                prop_assert_eq!(attributes.len(), span.attributes().count());
                for (own, view) in attributes.iter().zip(span.attributes()) {
                    if let Some((key, any)) = key_value(own) {
                        prop_assert_eq!(key, view.key.0);
                        let value = crate::otlp::view::Value::from(Message::new(any));
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
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let mut shown = 0;
            Digest::read(&bytes, |one| shown += one.len() + usize::from(key_value(one).is_some()));
            prop_assert!(shown <= bytes.len() && trace_id(&bytes).len() <= bytes.len());
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
