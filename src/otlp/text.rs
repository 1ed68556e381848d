//! Values as text: what people read, and what `AsString` gives in the Collector. The text is
//! written bit by bit, so that a writer with a limit never has to hold all of it.

use std::fmt::{self, Write};

use base64::{display::Base64Display, engine::general_purpose::STANDARD};
use smallvec::SmallVec;

use super::{
    json,
    record::Record,
    schema,
    view::{KeyValue, Message},
};

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

/// A number as JSON has it, in the form of ECMAScript (`0.000001`, `1e+21`), without the quotes of
/// `NaN`. Every text that is made of a double has this form.
pub fn double(value: f64) -> String {
    let mut out = Vec::new();
    json::write_double(value, &mut out);
    String::from_utf8_lossy(&out).trim_matches('"').to_owned()
}

/// Nested values as plain JSON, not as OTLP/JSON: `{"key":[1,"two"]}`.
fn nested(value: Option<&Record<'_>>, out: &mut dyn Write) -> fmt::Result {
    let Some(value) = value else { return out.write_str("null") };
    if let Some(list) = value.child("kvlist_value") {
        return map(&list, out);
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

/// Maps of so many entries at most are sorted by key, as the Collector sorts all. Sorting takes 16
/// bytes an entry, and maps are nested up to 64 deep.
const SORTED: usize = 1024;

fn map(list: &Record<'_>, out: &mut dyn Write) -> fmt::Result {
    let mut entries = SmallVec::<[&[u8]; 16]>::new();
    entries.extend(list.parts("values").take(SORTED + 1));
    let is_sorted = entries.len() <= SORTED;
    if is_sorted {
        entries.sort_by_key(|&entry| KeyValue::from(Message::new(entry)).key);
    } else {
        entries.clear();
    }
    let rest = list.parts("values").filter(|_| !is_sorted);
    out.write_char('{')?;
    for (i, entry) in entries.into_iter().chain(rest).enumerate() {
        let entry = Record::read(&schema::KEY_VALUE, entry);
        if i > 0 {
            out.write_char(',')?;
        }
        out.write_char('"')?;
        write!(Escaping(out), "{}", entry.shown("key"))?;
        out.write_str("\":")?;
        nested(entry.child("value").as_ref(), out)?;
    }
    out.write_char('}')
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::wire::put_bytes;

    /// Vectors of ECMAScript's `Number::toString`; the same as those of Go's `encoding/json`.
    #[test]
    fn doubles_have_the_form_of_ecmascript() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.5, "0.5"),
            (-12.25, "-12.25"),
            (0.000_123, "0.000123"),
            (1e-6, "0.000001"),
            (-1.5e-6, "-0.0000015"),
            (9.99e-7, "9.99e-7"),
            (1.234_567_890_123_456_7e-5, "0.000012345678901234568"),
            (5e-324, "5e-324"),
            (1e15, "1000000000000000"),
            (1e16, "10000000000000000"),
            (1.25e17, "125000000000000000"),
            (123_456_789_012_345_680.0, "123456789012345680"),
            (-1e20, "-100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(double(value), text);
        }
    }

    #[test]
    fn maps_are_sorted_by_key() {
        let text_of = |keys: &[String]| {
            let mut list = Vec::new();
            for key in keys {
                let mut entry = Vec::new();
                put_bytes(&mut entry, 1, key.as_bytes());
                put_bytes(&mut list, 1, &entry);
            }
            let mut any = Vec::new();
            put_bytes(&mut any, 6, &list);
            plain(Some(&Record::read(&schema::ANY_VALUE, &any)))
        };
        let keys = ["b", "", "a\"", "ab"].map(str::to_owned);
        assert_eq!(text_of(&keys), r#"{"":null,"a\"":null,"ab":null,"b":null}"#);
        // Larger ones keep their order, and every entry.
        let keys: Vec<String> = (0..=SORTED).rev().map(|i| format!("{i:04}")).collect();
        let text = text_of(&keys);
        assert!(text.starts_with(r#"{"1024":null,"1023":null"#), "{}", &text[..40]);
        assert_eq!(text.matches("null").count(), SORTED + 1);
    }
}
