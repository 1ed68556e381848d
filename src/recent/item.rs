//! From the bytes of a span or a log record to a row: what has a column is read, attributes go into
//! the dictionary, everything else is copied. The way back makes a message that means the same.
//!
//! Fields may come in any order and several times; the last scalar counts, as protobuf says, and
//! parts of `status` are all copied.

use smallvec::SmallVec;

use super::{
    chunk::{
        ATTRIBUTE, BODY, Chunk, EVENT, HAS_ID, HAS_PARENT, IS_ERROR, KEYS, Kind, Reader, SEVERITY,
        range,
    },
    masks,
    open::{Full, Open, Row},
};
use crate::otlp::{
    attribute,
    digest::Digest,
    sampling::{self, Said},
    view::LogRecord,
    wire::{FieldValue, Fields, WireType, bytes_field_len, put_bytes, put_header, put_varint, tag},
};

/// Status codes above it are shown as this one, which has no name.
const OTHER_STATUS: u8 = 3;
/// Severity of `ERROR`, the least that is an error.
const ERROR_SEVERITY: i32 = 17;

/// Where an item belongs, as far as the request around it says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Around {
    pub(super) origin: u16,
    /// The sample rate that the resource says.
    pub(super) rate: Option<f64>,
    /// Base 2 logarithm of the weight that the store gives to the item.
    pub(super) shift: u8,
    /// When it came, nanoseconds since 1970.
    pub(super) arrival: u64,
}

/// An id of eight bytes as a number; none if it has another length.
fn id(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// Adds a span, whose trace has this number in the chunk.
pub(super) fn add_span(
    open: &mut Open,
    span: &[u8],
    digest: &Digest<'_>,
    trace: u16,
    around: Around,
) -> Result<(), Full> {
    let mut rates = Rates::default();
    for field in Fields::new(span).map_while(Result::ok) {
        match (field.number, field.value) {
            (9, FieldValue::Len(attribute)) => rates.add(open, attribute)?,
            (1 | 2 | 4 | 5, FieldValue::Len(_))
            | (6, FieldValue::Varint(_))
            | (7 | 8, FieldValue::Fixed64(_)) => {}
            (11, FieldValue::Len(event)) => put_part(open, field.whole, (11, event, 3))?,
            (13, FieldValue::Len(link)) => put_part(open, field.whole, (13, link, 4))?,
            _ => put_rest(open, field.whole)?,
        }
    }
    let kind = u8::try_from(digest.kind).ok().filter(|kind| *kind < 8);
    if kind.is_none() {
        let mut field = Vec::with_capacity(11);
        put_varint(&mut field, tag(6, WireType::Varint));
        put_varint(&mut field, i64::from(digest.kind).cast_unsigned());
        put_rest(open, &field)?;
    }
    let status = u8::try_from(digest.status_code).map_or(OTHER_STATUS, |code| code.min(3));
    let mut flags = kind.unwrap_or(0) | status << 3;
    flags |= if digest.status_code == 2 { IS_ERROR } else { 0 };
    let (span_id, parent) = (id(digest.span_id), id(digest.parent_span_id));
    flags |= if span_id.is_some() { HAS_ID } else { 0 };
    flags |= if parent.is_some() { HAS_PARENT } else { 0 };
    let row = Row {
        trace,
        id: span_id.unwrap_or(0),
        parent: parent.unwrap_or(0),
        start: digest.start_time_unix_nano,
        end: digest.end_time_unix_nano,
        name: digest.name,
        origin: around.origin,
        flags,
        weight: rates.weight(around, || Said::by_trace_state(digest.trace_state)),
    };
    open.push(row, around.arrival)
}

/// Adds a log record.
pub(super) fn add_record(
    open: &mut Open,
    bytes: &[u8],
    record: &LogRecord<'_>,
    trace: u16,
    around: Around,
) -> Result<(), Full> {
    let mut rates = Rates::default();
    let mut body: SmallVec<[&[u8]; 1]> = SmallVec::new();
    for field in Fields::new(bytes).map_while(Result::ok) {
        match (field.number, field.value) {
            (6, FieldValue::Len(attribute)) => rates.add(open, attribute)?,
            (5, FieldValue::Len(part)) => body.push(part),
            (3 | 9 | 10 | 12, FieldValue::Len(_))
            | (2, FieldValue::Varint(_))
            | (1 | 11, FieldValue::Fixed64(_)) => {}
            _ => put_rest(open, field.whole)?,
        }
    }
    match *body {
        [] => {}
        [part] => drop(open.attribute(BODY, part)?),
        _ => drop(open.attribute(BODY, &body.concat())?),
    }
    if !record.severity_text.is_empty() {
        open.attribute(SEVERITY, &text_value(record.severity_text.0))?;
    }
    if !record.event_name.is_empty() {
        open.attribute(EVENT, &text_value(record.event_name.0))?;
    }
    let severity = u8::try_from(record.severity_number).ok().filter(|number| *number < 32);
    if severity.is_none() {
        let mut field = Vec::with_capacity(11);
        put_varint(&mut field, tag(2, WireType::Varint));
        put_varint(&mut field, i64::from(record.severity_number).cast_unsigned());
        put_rest(open, &field)?;
    }
    let mut flags = severity.unwrap_or(0);
    flags |= if record.severity_number >= ERROR_SEVERITY { IS_ERROR } else { 0 };
    let span_id = id(record.span_id);
    flags |= if span_id.is_some() { HAS_ID } else { 0 };
    let row = Row {
        trace,
        id: span_id.unwrap_or(0),
        parent: 0,
        start: record.time_unix_nano,
        end: record.observed_time_unix_nano,
        name: &[],
        origin: around.origin,
        flags,
        weight: rates.weight(around, || Said::by_record(record)),
    };
    open.push(row, around.arrival)
}

/// Copies an event or a link, secrets masked: its number, itself, and the field of its attributes.
fn put_part(
    open: &mut Open,
    whole: &[u8],
    (number, part, attributes): (u32, &[u8], u32),
) -> Result<(), Full> {
    match masks::masked(number, part, attributes) {
        Some(masked) => put_rest(open, &masked),
        None => put_rest(open, whole),
    }
}

fn put_rest(open: &mut Open, field: &[u8]) -> Result<(), Full> {
    if field.len() > open.rest.capacity() - open.rest.len() {
        return Err(Full::Chunk);
    }
    open.rest.extend_from_slice(field);
    Ok(())
}

/// An `AnyValue` with a text.
fn text_value(text: &[u8]) -> Vec<u8> {
    let mut any = Vec::with_capacity(text.len() + 11);
    put_bytes(&mut any, 1, text);
    any
}

/// Attributes that say a sample rate.
#[derive(Default)]
struct Rates<'a>(SmallVec<[&'a [u8]; 2]>);

impl<'a> Rates<'a> {
    fn add(&mut self, open: &mut Open, attribute: &'a [u8]) -> Result<(), Full> {
        let key = open.attribute(ATTRIBUTE, attribute)?;
        let is_rate = KEYS.get(usize::from(key)).is_some_and(|(class, _)| *class == ATTRIBUTE);
        if is_rate {
            self.0.push(attribute);
        }
        Ok(())
    }

    /// How many items this one stands for: as it says, else as its resource says, else as its
    /// threshold says; times what the store has left out.
    #[expect(clippy::cast_possible_truncation, reason = "a weight needs no exactness")]
    fn weight(&self, around: Around, said: impl FnOnce() -> Option<Said>) -> f32 {
        let own = sampling::rate(self.0.iter().copied()).or(around.rate);
        let own = own.or_else(|| {
            let threshold = said()?.threshold?;
            Some(1.0 / threshold.probability().max(f64::EPSILON / 16.0))
        });
        let own = own.unwrap_or(1.0);
        (own * f64::from(1_u32 << around.shift.min(31))) as f32
    }
}

/// Appends a row as a span or a log record, without a tag.
pub(super) fn put_item(
    reader: &mut Reader<'_>,
    chunk: &Chunk,
    rest: &[u8],
    row: usize,
    out: &mut Vec<u8>,
) {
    match chunk.kind {
        Kind::Spans => put_span(reader, chunk, row, out),
        Kind::Records => put_record(reader, chunk, row, out),
    }
    out.extend_from_slice(rest.get(range(&chunk.columns.rest_end, row)).unwrap_or_default());
}

fn put_number(out: &mut Vec<u8>, number: u32, value: u64) {
    if value != 0 {
        put_varint(out, tag(number, WireType::Varint));
        put_varint(out, value);
    }
}

fn put_time(out: &mut Vec<u8>, number: u32, time: u64) {
    if time != 0 {
        put_varint(out, tag(number, WireType::Fixed64));
        out.extend_from_slice(&time.to_le_bytes());
    }
}

fn put_ids(chunk: &Chunk, row: usize, numbers: [u32; 2], out: &mut Vec<u8>) {
    if let Some(trace) = chunk.trace(row) {
        put_bytes(out, numbers[0], trace);
    }
    if chunk.has(row, HAS_ID) {
        put_bytes(out, numbers[1], &chunk.columns.id[row].to_be_bytes());
    }
}

fn put_span(reader: &mut Reader<'_>, chunk: &Chunk, row: usize, out: &mut Vec<u8>) {
    put_ids(chunk, row, [1, 2], out);
    if chunk.has(row, HAS_PARENT) {
        put_bytes(out, 4, &chunk.columns.parent[row].to_be_bytes());
    }
    if !chunk.name(row).is_empty() {
        put_bytes(out, 5, chunk.name(row));
    }
    put_number(out, 6, u64::from(chunk.columns.flags[row] & 7));
    put_time(out, 7, chunk.columns.start[row]);
    put_time(out, 8, chunk.columns.end[row]);
    for number in chunk.columns.attributes_of(row) {
        let (_, key, any) = reader.attribute(*number);
        attribute::put(out, 9, key, any);
    }
}

fn put_record(reader: &mut Reader<'_>, chunk: &Chunk, row: usize, out: &mut Vec<u8>) {
    put_time(out, 1, chunk.columns.start[row]);
    put_time(out, 11, chunk.columns.end[row]);
    put_number(out, 2, u64::from(chunk.columns.flags[row] & 31));
    for number in chunk.columns.attributes_of(row) {
        match reader.attribute(*number) {
            (ATTRIBUTE, key, any) => attribute::put(out, 6, key, any),
            (BODY, _, any) => put_bytes(out, 5, any),
            // An `AnyValue` with a text is that text, under the number of the field.
            (class, _, any) => {
                let number = if class == SEVERITY { 3 } else { 12 };
                for field in Fields::new(any).map_while(Result::ok) {
                    put_bytes(out, number, field.bytes());
                }
            }
        }
    }
    put_ids(chunk, row, [9, 10], out);
}

/// Appends rows as requests, one for each run of rows with the same resource and scope.
pub(super) fn put_requests(chunk: &Chunk, rows: &[usize], out: &mut Vec<u8>) {
    let rest = chunk.rest.unpack();
    let mut reader = chunk.reader();
    let (mut item, mut items) = (Vec::new(), Vec::new());
    for run in rows.chunk_by(|a, b| chunk.columns.origin[*a] == chunk.columns.origin[*b]) {
        items.clear();
        for row in run {
            item.clear();
            put_item(&mut reader, chunk, &rest, *row, &mut item);
            put_bytes(&mut items, 2, &item);
        }
        let origin = chunk.origin(run[0]);
        let resource = chunk.headers.get(usize::from(origin.resource));
        let scope = chunk.headers.get(usize::from(origin.scope));
        let scope_len = scope.len() + items.len();
        put_header(out, 1, resource.len() + bytes_field_len(2, scope_len));
        out.extend_from_slice(resource);
        put_header(out, 2, scope_len);
        out.extend_from_slice(scope);
        out.extend_from_slice(&items);
    }
}
