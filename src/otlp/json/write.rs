//! Records as JSON text, up to a length: a little after `out` is longer than `most` nothing is
//! written any more, so that what a sender nests and escapes takes no more memory. What was written
//! then is no JSON, and is for the caller to take back.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;

use crate::otlp::{
    record::{Record, unzigzag},
    schema::{Field, Kind, Message, Presence},
    wire::FieldValue,
};

/// Appends a request of several segments: its one field is the list of its entries.
pub(super) fn request(segments: &[Bytes], table: &'static Message, out: &mut Vec<u8>) {
    let records = segments.iter().map(|segment| Record::read(table, segment));
    out.push(b'{');
    let empty = out.len();
    for record in records {
        for entry in record.children_at(0) {
            if out.len() > empty {
                out.push(b',');
            } else {
                name(&table.fields[0], empty, out);
                out.push(b'[');
            }
            message(&entry, usize::MAX, out);
        }
    }
    if out.len() > empty {
        out.push(b']');
    }
    out.push(b'}');
}

/// Appends one message as an object.
pub(super) fn message(record: &Record<'_>, most: usize, out: &mut Vec<u8>) {
    out.push(b'{');
    let empty = out.len();
    for (position, field) in record.message().fields.iter().enumerate() {
        if out.len() > most {
            return;
        }
        if field.presence == Presence::Repeated {
            list((record, position, field), empty, most, out);
        } else {
            single((record, position, field), empty, most, out);
        }
    }
    out.push(b'}');
}

/// A field of a record, with its position.
type At<'r, 'a> = (&'r Record<'a>, usize, &'r Field);

/// Appends `"name":`, after a comma unless this is the first field of its object.
fn name(field: &Field, empty: usize, out: &mut Vec<u8>) {
    if out.len() > empty {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(field.json.as_bytes());
    out.extend_from_slice(b"\":");
}

fn single((record, position, field): At<'_, '_>, empty: usize, most: usize, out: &mut Vec<u8>) {
    if matches!(field.kind, Kind::Message(_)) {
        if let Some(child) = record.child_at(position) {
            name(field, empty, out);
            message(&child, most, out);
        } else if field.presence == Presence::Always {
            name(field, empty, out);
            out.extend_from_slice(b"{}");
        }
        return;
    }
    let Some(value) = record.values_at(position).last() else { return };
    if field.presence == Presence::Implicit && is_zero(value) {
        return;
    }
    name(field, empty, out);
    scalar(field.kind, value, most, out);
}

fn list((record, position, field): At<'_, '_>, empty: usize, most: usize, out: &mut Vec<u8>) {
    let before = out.len();
    name(field, empty, out);
    out.push(b'[');
    let start = out.len();
    let comma = |out: &mut Vec<u8>| {
        if out.len() > start {
            out.push(b',');
        }
    };
    match field.kind {
        Kind::Message(_) => {
            for child in record.children_at(position) {
                if out.len() > most {
                    return;
                }
                comma(out);
                message(&child, most, out);
            }
        }
        Kind::String | Kind::Bytes | Kind::Id(_) => {
            for value in record.values_at(position) {
                if out.len() > most {
                    return;
                }
                comma(out);
                scalar(field.kind, value, most, out);
            }
        }
        _ => {
            for bits in record.numbers_at(position) {
                if out.len() > most {
                    return;
                }
                comma(out);
                scalar(field.kind, FieldValue::Varint(bits), most, out);
            }
        }
    }
    if out.len() == start {
        out.truncate(before);
    } else {
        out.push(b']');
    }
}

fn is_zero(value: FieldValue<'_>) -> bool {
    match value {
        FieldValue::Varint(bits) | FieldValue::Fixed64(bits) => bits == 0,
        FieldValue::Fixed32(bits) => bits == 0,
        FieldValue::Len(bytes) | FieldValue::Group(bytes) => bytes.is_empty(),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "protobuf takes the low 32 bits")]
fn scalar(kind: Kind, value: FieldValue<'_>, most: usize, out: &mut Vec<u8>) {
    let (bits, bytes) = match value {
        FieldValue::Varint(bits) | FieldValue::Fixed64(bits) => (bits, &[][..]),
        FieldValue::Fixed32(bits) => (u64::from(bits), &[][..]),
        FieldValue::Len(bytes) | FieldValue::Group(bytes) => (0, bytes),
    };
    match kind {
        Kind::String => text(bytes, most, out),
        Kind::Bytes => base64(bytes, most, out),
        Kind::Id(_) => hex(bytes, out),
        Kind::Bool => out.extend_from_slice(if bits == 0 { b"false" } else { b"true" }),
        Kind::Int32 | Kind::Enum(_) => number((bits as u32).cast_signed(), out),
        Kind::Sint32 => number(unzigzag(bits), out),
        Kind::Uint32 | Kind::Fixed32 => number(bits as u32, out),
        Kind::Int64 | Kind::Sfixed64 => {
            quoted(itoa::Buffer::new().format(bits.cast_signed()).as_bytes(), out);
        }
        Kind::Uint64 | Kind::Fixed64 => {
            quoted(itoa::Buffer::new().format(bits).as_bytes(), out);
        }
        Kind::Double => double(f64::from_bits(bits), out),
        // Messages are written by their callers.
        Kind::Message(_) => {}
    }
}

fn number(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a number as ECMAScript writes it (`Number::toString`), which is the form of Go's
/// `encoding/json` too: the shortest digits that read back as the same number, with an exponent
/// below 1e-6 and from 1e21 on.
pub(super) fn double(value: f64, out: &mut Vec<u8>) {
    if value.is_nan() {
        return quoted(b"NaN", out);
    }
    if value.is_infinite() {
        return quoted(if value > 0.0 { b"Infinity" } else { b"-Infinity" }, out);
    }
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(value);
    let scientific = text.split_once('e').and_then(|(digits, power)| {
        let power: i32 = power.parse().ok()?;
        Some((digits, power))
    });
    match scientific {
        None => out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes()),
        Some((digits, power @ -6..21)) => positional(digits, power, out),
        Some((digits, power)) => {
            out.extend_from_slice(digits.as_bytes());
            out.extend_from_slice(if power < 0 { b"e" } else { b"e+" });
            number(power, out);
        }
    }
}

/// Appends digits such as `-1.25`, times ten to the power, without an exponent.
fn positional(digits: &str, power: i32, out: &mut Vec<u8>) {
    let unsigned = digits.strip_prefix('-').unwrap_or(digits);
    if unsigned.len() < digits.len() {
        out.push(b'-');
    }
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let zeros = |count: usize, out: &mut Vec<u8>| out.resize(out.len() + count, b'0');
    let places = usize::try_from(power.unsigned_abs()).unwrap_or(0);
    if power < 0 {
        // What `digits` has before the point is one digit.
        out.extend_from_slice(b"0.");
        zeros(places - 1, out);
        out.extend_from_slice(whole.as_bytes());
        out.extend_from_slice(fraction.as_bytes());
    } else {
        let (before, after) = fraction.split_at(fraction.len().min(places));
        out.extend_from_slice(whole.as_bytes());
        out.extend_from_slice(before.as_bytes());
        zeros(places - before.len(), out);
        if !after.is_empty() {
            out.push(b'.');
            out.extend_from_slice(after.as_bytes());
        }
    }
}

/// Appends text that needs no escapes.
fn quoted(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

/// Digits of hexadecimal text.
const HEX: &[u8; 16] = b"0123456789abcdef";

fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in bytes {
        out.push(HEX[usize::from(byte >> 4)]);
        out.push(HEX[usize::from(byte & 15)]);
    }
    out.push(b'"');
}

/// Bytes of text that are looked at, or of binary data that are encoded, at a time.
const STEP: usize = 3 << 10;

fn base64(bytes: &[u8], most: usize, out: &mut Vec<u8>) {
    out.push(b'"');
    // Three bytes are four letters, and only the last ones are padded.
    for some in bytes.chunks(STEP) {
        if out.len() > most {
            return;
        }
        let from = out.len();
        out.resize(from + some.len().div_ceil(3) * 4, 0);
        // It has space for them.
        let len = STANDARD.encode_slice(some, &mut out[from..]).unwrap_or(0);
        out.truncate(from + len);
    }
    out.push(b'"');
}

/// Appends a text that may not be UTF-8: what is not becomes U+FFFD.
pub(super) fn text(text: &[u8], most: usize, out: &mut Vec<u8>) {
    // Each byte is one at least.
    let left = most.saturating_sub(out.len()).saturating_add(1);
    let text = &text[..text.len().min(left)];
    out.push(b'"');
    // Nearly all texts are plain.
    if text.is_ascii() && text.chunks(32).all(is_plain) {
        out.extend_from_slice(text);
        out.push(b'"');
        return;
    }
    for chunk in text.utf8_chunks() {
        escaped(chunk.valid(), most, out);
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
        if out.len() > most {
            return;
        }
    }
    out.push(b'"');
}

/// Appends text with the escapes that JSON asks for.
pub(super) fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    escaped(text, usize::MAX, out);
    out.push(b'"');
}

fn escaped(text: &str, most: usize, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    // Nearly all texts are plain.
    if rest.chunks(32).all(is_plain) {
        out.extend_from_slice(rest);
        return;
    }
    while let Some(at) = rest.iter().position(|byte| matches!(byte, 0..0x20 | b'"' | b'\\')) {
        out.extend_from_slice(&rest[..at]);
        escape(rest[at], out);
        rest = &rest[at + 1..];
        if out.len() > most {
            return;
        }
    }
    out.extend_from_slice(rest);
}

/// Whether nothing in these bytes is escaped: without branches, so that many are looked at at a
/// time.
fn is_plain(bytes: &[u8]) -> bool {
    let odd = |byte: u8| u8::from(byte == b'"') | u8::from(byte == b'\\') | u8::from(byte < 0x20);
    bytes.iter().fold(0, |all, byte| all | odd(*byte)) == 0
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        b'"' | b'\\' => byte,
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}
