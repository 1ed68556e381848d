//! Values as text: what people read, and what `AsString` gives in the Collector. The text is
//! written bit by bit, so that a writer with a limit never has to hold all of it.

use std::fmt::{self, Write};

use base64::{display::Base64Display, engine::general_purpose::STANDARD};

use super::{json, record::Record};

/// A value as text without its type: what `AsString` gives in the Collector.
pub fn plain(value: Option<&Record<'_>>) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_plain(value, &mut out);
    out
}

/// Writes a value without its type, up to the first error of `out`.
pub fn write_plain(value: Option<&Record<'_>>, out: &mut dyn Write) -> fmt::Result {
    let Some(value) = value else { return Ok(()) };
    match kind(value) {
        Kind::Str => write!(out, "{}", value.shown("string_value")),
        Kind::Int => write!(out, "{}", value.int("int_value")),
        Kind::Double => out.write_str(&double(value.double("double_value"))),
        Kind::Bool => write!(out, "{}", value.bits("bool_value") != 0),
        Kind::Bytes => {
            write!(out, "{}", Base64Display::new(value.bytes("bytes_value"), &STANDARD))
        }
        Kind::Map | Kind::Slice => nested(Some(value), out),
        Kind::Empty => Ok(()),
    }
}

/// Writes a value with its type, `Str(text)`, up to the first error of `out`.
pub fn write_with_type(value: Option<&Record<'_>>, out: &mut dyn Write) -> fmt::Result {
    write!(out, "{:?}(", value.map_or(Kind::Empty, kind))?;
    write_plain(value, out)?;
    out.write_char(')')
}

/// The kinds of values, by the names that the Collector gives them.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Str,
    Int,
    Double,
    Bool,
    Bytes,
    Map,
    Slice,
    Empty,
}

fn kind(value: &Record<'_>) -> Kind {
    let kinds = [
        ("string_value", Kind::Str),
        ("int_value", Kind::Int),
        ("double_value", Kind::Double),
        ("bool_value", Kind::Bool),
        ("bytes_value", Kind::Bytes),
        ("kvlist_value", Kind::Map),
        ("array_value", Kind::Slice),
    ];
    let kind = kinds.into_iter().find(|(name, _)| value.has(name));
    kind.map_or(Kind::Empty, |(_, kind)| kind)
}

/// A number as short as JSON writes it, without the quotes of `NaN`.
pub fn double(value: f64) -> String {
    let mut out = Vec::new();
    json::write_double(value, &mut out);
    String::from_utf8_lossy(&out).trim_matches('"').to_owned()
}

/// Nested values as plain JSON, not as OTLP/JSON: `{"key":[1,"two"]}`.
fn nested(value: Option<&Record<'_>>, out: &mut dyn Write) -> fmt::Result {
    let Some(value) = value else { return out.write_str("null") };
    if let Some(list) = value.child("kvlist_value") {
        out.write_char('{')?;
        for (i, entry) in list.children("values").enumerate() {
            if i > 0 {
                out.write_char(',')?;
            }
            out.write_char('"')?;
            write!(Escaping(out), "{}", entry.shown("key"))?;
            out.write_str("\":")?;
            nested(entry.child("value").as_ref(), out)?;
        }
        return out.write_char('}');
    }
    if let Some(list) = value.child("array_value") {
        out.write_char('[')?;
        for (i, entry) in list.children("values").enumerate() {
            if i > 0 {
                out.write_char(',')?;
            }
            nested(Some(&entry), out)?;
        }
        return out.write_char(']');
    }
    let is_text = match kind(value) {
        Kind::Empty => return out.write_str("null"),
        Kind::Str | Kind::Bytes => true,
        Kind::Double => !value.double("double_value").is_finite(),
        _ => false,
    };
    if !is_text {
        return write_plain(Some(value), out);
    }
    out.write_char('"')?;
    write_plain(Some(value), &mut Escaping(out))?;
    out.write_char('"')
}

/// Escapes what is written through it as the inside of a JSON string.
struct Escaping<'o>(&'o mut dyn Write);

impl Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.bytes().position(|byte| matches!(byte, 0..0x20 | b'"' | b'\\')) {
            self.0.write_str(&rest[..at])?;
            match rest.as_bytes()[at] {
                b'\n' => self.0.write_str("\\n")?,
                b'\r' => self.0.write_str("\\r")?,
                b'\t' => self.0.write_str("\\t")?,
                byte @ (b'"' | b'\\') => write!(self.0, "\\{}", char::from(byte))?,
                byte => write!(self.0, "\\u{byte:04x}")?,
            }
            rest = &rest[at + 1..];
        }
        self.0.write_str(rest)
    }
}
