//! Values as text: what people read, and what `AsString` gives in the Collector.

use super::{json, record::Record};

/// A value as text without its type: what `AsString` gives in the Collector.
pub fn plain(value: Option<&Record<'_>>) -> String {
    typed(value).1
}

/// A value with its type: `Str(text)`.
pub fn with_type(value: Option<&Record<'_>>) -> String {
    let (name, text) = typed(value);
    format!("{name}({text})")
}

fn typed(value: Option<&Record<'_>>) -> (&'static str, String) {
    let Some(value) = value else { return ("Empty", String::new()) };
    if value.has("string_value") {
        ("Str", value.text("string_value").into_owned())
    } else if value.has("int_value") {
        ("Int", value.int("int_value").to_string())
    } else if value.has("double_value") {
        ("Double", double(value.double("double_value")))
    } else if value.has("bool_value") {
        ("Bool", (value.bits("bool_value") != 0).to_string())
    } else if value.has("bytes_value") {
        ("Bytes", base64(value.bytes("bytes_value")))
    } else if value.has("kvlist_value") {
        ("Map", as_json(value))
    } else if value.has("array_value") {
        ("Slice", as_json(value))
    } else {
        ("Empty", String::new())
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    STANDARD.encode(bytes)
}

/// A number as short as JSON writes it, without the quotes of `NaN`.
pub fn double(value: f64) -> String {
    let mut out = Vec::new();
    json::write_double(value, &mut out);
    String::from_utf8_lossy(&out).trim_matches('"').to_owned()
}

/// Nested values as plain JSON, not as OTLP/JSON: `{"key":[1,"two"]}`.
fn as_json(value: &Record<'_>) -> String {
    let mut out = Vec::new();
    nested(Some(value), &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn nested(value: Option<&Record<'_>>, out: &mut Vec<u8>) {
    let Some(value) = value else { return out.extend_from_slice(b"null") };
    if let Some(list) = value.child("kvlist_value") {
        out.push(b'{');
        for (i, entry) in list.children("values").enumerate() {
            if i > 0 {
                out.push(b',');
            }
            json::write_text(&entry.text("key"), out);
            out.push(b':');
            nested(entry.child("value").as_ref(), out);
        }
        out.push(b'}');
    } else if let Some(list) = value.child("array_value") {
        out.push(b'[');
        for (i, entry) in list.children("values").enumerate() {
            if i > 0 {
                out.push(b',');
            }
            nested(Some(&entry), out);
        }
        out.push(b']');
    } else {
        match typed(Some(value)) {
            ("Empty", _) => out.extend_from_slice(b"null"),
            ("Str" | "Bytes", text) => json::write_text(&text, out),
            (_, text) if text.ends_with(['N', 'y']) => json::write_text(&text, out),
            (_, text) => out.extend_from_slice(text.as_bytes()),
        }
    }
}
