//! Values as text. Texts stay as they are, bytes become lower-case hexadecimal digits, everything
//! else becomes JSON as Go writes it: keys sorted, `<`, `>` and `&` escaped.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::value::Value;
use crate::otlp::json;

/// A value as text; nil has none.
pub(crate) fn like(value: Value<'_>) -> Option<Cow<'_, [u8]>> {
    Some(match value {
        Value::Nil => return None,
        Value::Text(text) => text,
        Value::Bytes(bytes) => Cow::Owned(hex(&bytes)),
        other => {
            let mut out = Vec::new();
            write_json(&other, &mut out);
            Cow::Owned(out)
        }
    })
}

/// A value as `body.string` and `stringify_all` have it: like [`like`], but bytes become base64,
/// and nil the empty text.
pub(crate) fn plain(value: Value<'_>) -> Cow<'_, [u8]> {
    match value {
        Value::Bytes(bytes) => Cow::Owned(STANDARD.encode(&bytes).into_bytes()),
        other => like(other).unwrap_or_default(),
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS[usize::from(nibble & 15)];
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// Bytes from hexadecimal digits of any case.
pub(crate) fn from_hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        let digit = |c: u8| char::from(c).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
    }
    Some(bytes)
}

/// Appends a value as JSON.
pub(crate) fn write_json(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Nil => out.extend(b"null"),
        Value::Bool(value) => out.extend(value.to_string().bytes()),
        Value::Int(value) | Value::Duration(value) => {
            out.extend(itoa::Buffer::new().format(*value).bytes());
        }
        Value::Double(value) => write_double(*value, out),
        Value::Text(text) => write_string(text, out),
        Value::Bytes(bytes) => write_string(STANDARD.encode(bytes).as_bytes(), out),
        Value::Time(nanos) => out.extend(super::calendar::rfc3339(*nanos).bytes()),
        Value::TraceId(id) => numbers(id, out),
        Value::SpanId(id) => numbers(id, out),
        Value::List(list) => {
            out.push(b'[');
            for (i, value) in Value::values(list).enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_json(&value, out);
            }
            out.push(b']');
        }
        Value::Map(map) => {
            let mut entries: Vec<_> = map.entries().collect();
            entries.sort_by(|a, b| a.0.cmp(b.0));
            out.push(b'{');
            for (i, (key, any)) in entries.iter().enumerate() {
                // Of a key that is there twice the last value counts, as in Go.
                if entries.get(i + 1).is_some_and(|(next, _)| next == key) {
                    continue;
                }
                if out.last() != Some(&b'{') {
                    out.push(b',');
                }
                write_string(key, out);
                out.push(b':');
                write_json(&Value::read(any), out);
            }
            out.push(b'}');
        }
        Value::Collection(_) => out.extend(b"{}"),
    }
}

/// A number in the form of ECMAScript, without the quotes of `NaN`.
pub(crate) fn write_double(value: f64, out: &mut Vec<u8>) {
    if value.is_finite() {
        json::write_double(value, out);
    } else {
        out.extend(if value.is_nan() {
            &b"NaN"[..]
        } else if value > 0.0 {
            b"+Inf"
        } else {
            b"-Inf"
        });
    }
}

fn numbers(id: &[u8], out: &mut Vec<u8>) {
    for (i, byte) in id.iter().enumerate() {
        out.push(if i == 0 { b'[' } else { b',' });
        out.extend(byte.to_string().bytes());
    }
    out.push(b']');
}

fn write_string(text: &[u8], out: &mut Vec<u8>) {
    let mut plain = Vec::new();
    json::write_text(&String::from_utf8_lossy(text), &mut plain);
    if !plain.iter().any(|c| matches!(c, b'<' | b'>' | b'&')) {
        return out.extend(plain);
    }
    for c in plain {
        match c {
            b'<' => out.extend(b"\\u003c"),
            b'>' => out.extend(b"\\u003e"),
            b'&' => out.extend(b"\\u0026"),
            c => out.push(c),
        }
    }
}
