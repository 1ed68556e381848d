//! Records as JSON text.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::otlp::{
    record::{Record, unzigzag},
    schema::{Field, Kind, Presence},
    wire::FieldValue,
};

/// Appends one message as an object.
pub(super) fn message(record: &Record<'_>, out: &mut Vec<u8>) {
    out.push(b'{');
    let empty = out.len();
    for (position, field) in record.message().fields.iter().enumerate() {
        if field.presence == Presence::Repeated {
            list(record, position, field, empty, out);
        } else {
            single(record, position, field, empty, out);
        }
    }
    out.push(b'}');
}

/// Appends `"name":`, after a comma unless this is the first field of its object.
fn name(field: &Field, empty: usize, out: &mut Vec<u8>) {
    if out.len() > empty {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(field.json.as_bytes());
    out.extend_from_slice(b"\":");
}

fn single(record: &Record<'_>, position: usize, field: &Field, empty: usize, out: &mut Vec<u8>) {
    if matches!(field.kind, Kind::Message(_)) {
        if let Some(child) = record.child_at(position) {
            name(field, empty, out);
            message(&child, out);
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
    scalar(field.kind, value, out);
}

fn list(record: &Record<'_>, position: usize, field: &Field, empty: usize, out: &mut Vec<u8>) {
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
                comma(out);
                message(&child, out);
            }
        }
        Kind::String | Kind::Bytes | Kind::Id(_) => {
            for value in record.values_at(position) {
                comma(out);
                scalar(field.kind, value, out);
            }
        }
        _ => {
            for bits in record.numbers_at(position) {
                comma(out);
                scalar(field.kind, FieldValue::Varint(bits), out);
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
        FieldValue::Len(bytes) => bytes.is_empty(),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "protobuf takes the low 32 bits")]
fn scalar(kind: Kind, value: FieldValue<'_>, out: &mut Vec<u8>) {
    let (bits, bytes) = match value {
        FieldValue::Varint(bits) | FieldValue::Fixed64(bits) => (bits, &[][..]),
        FieldValue::Fixed32(bits) => (u64::from(bits), &[][..]),
        FieldValue::Len(bytes) => (0, bytes),
    };
    match kind {
        Kind::String => string(&String::from_utf8_lossy(bytes), out),
        Kind::Bytes => quoted(STANDARD.encode(bytes).as_bytes(), out),
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

/// Appends a number; a whole one without `.0`, as the Collector does.
pub(super) fn double(value: f64, out: &mut Vec<u8>) {
    if value.is_nan() {
        return quoted(b"NaN", out);
    }
    if value.is_infinite() {
        return quoted(if value > 0.0 { b"Infinity" } else { b"-Infinity" }, out);
    }
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(value);
    out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes());
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

/// Appends text with the escapes that JSON asks for.
pub(super) fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    // Nearly all texts are plain.
    if rest.chunks(32).all(is_plain) {
        out.extend_from_slice(rest);
        out.push(b'"');
        return;
    }
    while let Some(at) = rest.iter().position(|byte| matches!(byte, 0..0x20 | b'"' | b'\\')) {
        out.extend_from_slice(&rest[..at]);
        escape(rest[at], out);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Whether nothing in these bytes is escaped: without branches, so that many are looked at at a time.
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
