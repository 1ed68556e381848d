//! What a budget reads of an item, in one walk: its trace, what a vendor counts beside it, and
//! whether it tells of an error or of something slow. Attributes are passed over by their length,
//! as in [`super::digest`]; what is not as encoders write it is read field by field.
//!
//! It is for items that passed the check; of others it reads what comes before the first fault.

use super::wire::{FieldValue, Fields};

/// Severity of `ERROR`, the least that is an error.
const ERROR: u64 = 17;

/// What a budget knows of a span or a log record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally<'a> {
    /// 16 bytes, or none.
    pub trace_id: &'a [u8],
    /// W3C `tracestate` of a span.
    pub trace_state: &'a [u8],
    /// Events of a span.
    pub events: u32,
    /// Those of them that are exceptions.
    pub exceptions: u32,
    /// Links of a span.
    pub links: u32,
    /// The span has failed, or the severity of the record is at least `ERROR`.
    pub has_failed: bool,
    /// How long the span took in nanoseconds; 0 for a log record.
    pub nanos: u64,
}

impl<'a> Tally<'a> {
    /// Reads a span.
    #[inline]
    pub fn of_span(span: &'a [u8]) -> Self {
        let mut tally = Tally::default();
        let (mut start, mut end) = (0, 0);
        walk::<SPAN_ATTRIBUTES>(span, |tag, value| match (tag, value) {
            (0x0A, Value::Bytes(id)) => tally.trace_id = id,
            (0x1A, Value::Bytes(text)) => tally.trace_state = text,
            (0x39, Value::Number(time)) => start = time,
            (0x41, Value::Number(time)) => end = time,
            (0x5A, Value::Bytes(event)) => {
                tally.events += 1;
                tally.exceptions += u32::from(is_exception(event));
            }
            (0x6A, Value::Bytes(_)) => tally.links += 1,
            (0x7A, Value::Bytes(status)) => {
                if let Some(code) = status_code(status) {
                    tally.has_failed = code == 2;
                }
            }
            _ => {}
        });
        tally.nanos = end.saturating_sub(start);
        tally
    }

    /// Reads a log record.
    #[inline]
    pub fn of_record(record: &'a [u8]) -> Self {
        let mut tally = Tally::default();
        walk::<LOG_ATTRIBUTES>(record, |tag, value| match (tag, value) {
            (0x10, Value::Number(severity)) => {
                // An `int32`, whose low bits count; a negative one is no severity.
                tally.has_failed = (ERROR..1 << 31).contains(&(severity & 0xFFFF_FFFF));
            }
            (0x4A, Value::Bytes(id)) => tally.trace_id = id,
            _ => {}
        });
        tally
    }

    /// Whether it tells of an error.
    pub fn is_error(&self) -> bool {
        self.has_failed || self.exceptions > 0
    }
}

/// The value of a field.
#[derive(Clone, Copy)]
enum Value<'a> {
    Bytes(&'a [u8]),
    Number(u64),
}

/// Shows each field of a message with its tag, except those with the tag `PASSED`. Tags of more
/// than a byte are not shown.
#[inline]
fn walk<'a, const PASSED: u8>(message: &'a [u8], mut show: impl FnMut(u8, Value<'a>)) {
    let mut rest = message;
    loop {
        match rest {
            // Attributes follow one another and are most of an item.
            [tag, len @ 0..0x80, tail @ ..] if *tag == PASSED => {
                let Some((_, tail)) = tail.split_at_checked(usize::from(*len)) else { return };
                rest = tail;
            }
            [tag, low, high @ 0..0x80, tail @ ..] if *tag == PASSED => {
                let len = usize::from(*low & 0x7F) | usize::from(*high) << 7;
                let Some((_, tail)) = tail.split_at_checked(len) else { return };
                rest = tail;
            }
            [tag @ 0..0x80, len @ 0..0x80, tail @ ..] if tag & 7 == 2 => {
                let Some((value, tail)) = tail.split_at_checked(usize::from(*len)) else { return };
                rest = tail;
                show(*tag, Value::Bytes(value));
            }
            [tag @ 0..0x80, tail @ ..] if tag & 7 == 1 => {
                let Some((bytes, tail)) = tail.split_first_chunk() else { return };
                rest = tail;
                show(*tag, Value::Number(u64::from_le_bytes(*bytes)));
            }
            [tag @ 0..0x80, number @ 0..0x80, tail @ ..] if tag.trailing_zeros() >= 3 => {
                rest = tail;
                show(*tag, Value::Number(u64::from(*number)));
            }
            // `flags` of a span.
            [0x85, 0x01, tail @ ..] => {
                let Some((_, tail)) = tail.split_at_checked(4) else { return };
                rest = tail;
            }
            [] => return,
            _ => match any_field(rest, &mut show) {
                Some(tail) => rest = tail,
                None => return,
            },
        }
    }
}

/// Tag of attributes in a span, and in a log record.
const SPAN_ATTRIBUTES: u8 = 0x4A;
const LOG_ATTRIBUTES: u8 = 0x32;
/// No field has this tag.
const NONE: u8 = 0;

/// Reads a field in any form, and gives what comes after it.
#[cold]
fn any_field<'a>(rest: &'a [u8], show: &mut impl FnMut(u8, Value<'a>)) -> Option<&'a [u8]> {
    let mut fields = Fields::new(rest);
    let field = fields.next()?.ok()?;
    let known = match field.value {
        FieldValue::Varint(number) => Some((0, Value::Number(number))),
        FieldValue::Fixed64(number) => Some((1, Value::Number(number))),
        FieldValue::Len(bytes) => Some((2, Value::Bytes(bytes))),
        FieldValue::Fixed32(_) | FieldValue::Group(_) => None,
    };
    if let Some((wire, value)) = known
        && let Ok(number @ 1..16) = u8::try_from(field.number)
    {
        show(number << 3 | wire, value);
    }
    Some(fields.rest())
}

/// Whether an event of a span is an exception, by its name; of two the last one counts.
#[inline]
fn is_exception(event: &[u8]) -> bool {
    let mut is_so = false;
    walk::<NONE>(event, |tag, value| {
        if let (0x12, Value::Bytes(name)) = (tag, value) {
            is_so = name == b"exception";
        }
    });
    is_so
}

/// The code in a part of a status, if it is there.
fn status_code(status: &[u8]) -> Option<i32> {
    let mut code = None;
    walk::<NONE>(status, |tag, value| {
        if let (0x18, Value::Number(bits)) = (tag, value) {
            #[expect(clippy::cast_possible_truncation, reason = "protobuf takes the low 32 bits")]
            let bits = bits as u32;
            code = Some(bits.cast_signed());
        }
    });
    code
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::otlp::{
        Signal,
        view::{LogRecord, Message, Span},
        wild::{self, OneOfs},
        wire::put_bytes,
    };

    fn items(request: &[u8]) -> Vec<&[u8]> {
        let mut all = Vec::new();
        for entry in crate::otlp::splice::messages(request, &[1]) {
            for scope in crate::otlp::splice::messages(entry.bytes(), &[2]) {
                let items = crate::otlp::splice::messages(scope.bytes(), &[2]);
                all.extend(items.map(|item| item.bytes()));
            }
        }
        all
    }

    proptest! {
        #[test]
        fn a_tally_says_what_the_view_says(seed: u64) {
            let request = wild::request(Signal::Traces, seed, OneOfs::Mixed);
            for bytes in items(&request) {
                let span = Span::from(Message::new(bytes));
                let exceptions = span.events().filter(|event| event.name == "exception").count();
                let took = span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano);
                let expected = Tally {
                    trace_id: span.trace_id,
                    trace_state: span.trace_state.0,
                    events: u32::try_from(span.events().count()).unwrap(),
                    exceptions: u32::try_from(exceptions).unwrap(),
                    links: u32::try_from(span.links().count()).unwrap(),
                    has_failed: span.status.is_some_and(|status| status.code == 2),
                    nanos: took,
                };
                prop_assert_eq!(Tally::of_span(bytes), expected);
            }
            let request = wild::request(Signal::Logs, seed, OneOfs::Mixed);
            for bytes in items(&request) {
                let record = LogRecord::from(Message::new(bytes));
                let tally = Tally::of_record(bytes);
                prop_assert_eq!(tally.trace_id, record.trace_id);
                prop_assert_eq!(tally.has_failed, record.severity_number >= 17);
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let tally = Tally::of_span(&bytes);
            prop_assert!(tally.events as usize + tally.links as usize <= bytes.len());
            prop_assert!(Tally::of_record(&bytes).trace_id.len() <= bytes.len());
        }
    }

    #[test]
    fn exceptions_are_events_of_that_name() {
        let mut span = Vec::new();
        for name in ["exception", "exceptional", "retry", "exception"] {
            let mut event = vec![0x09, 1, 2, 3, 4, 5, 6, 7, 8];
            put_bytes(&mut event, 2, name.as_bytes());
            put_bytes(&mut span, 11, &event);
        }
        put_bytes(&mut span, 13, &[]);
        let tally = Tally::of_span(&span);
        assert_eq!((tally.events, tally.exceptions, tally.links), (4, 2, 1));
        assert!(tally.is_error() && !tally.has_failed);
    }
}
