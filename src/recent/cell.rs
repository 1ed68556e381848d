//! Values as queries see them: one of an item's field, and one that a query names. Numbers compare
//! as numbers, whatever their type; what is compared with a text is compared as it is shown.

use std::{borrow::Cow, cmp::Ordering};

use serde::Serialize;
use serde_json::Value as Json;

use crate::otlp::view::{KeyValue, Message, Text, Value};

/// Integers beyond it are rounded by browsers.
const EXACT: u64 = 1 << 53;

/// A value in a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) enum Cell<'c> {
    #[default]
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(&'c [u8]),
    /// Eight bytes of an id.
    SpanId(u64),
    /// Sixteen bytes of an id.
    TraceId(&'c [u8; 16]),
    /// A list, a map or bytes: an `AnyValue` message.
    Other(&'c [u8]),
}

impl<'c> Cell<'c> {
    /// Of an `AnyValue` message.
    pub(super) fn of(any: &'c [u8]) -> Self {
        match Value::from(Message::new(any)) {
            Value::Empty | Value::StringIndex(_) => Cell::Null,
            Value::Bool(value) => Cell::Bool(value),
            Value::Int(value) => Cell::Int(value),
            Value::Double(value) => Cell::Double(value),
            Value::String(text) => Cell::Text(text.0),
            Value::Array(_) | Value::KeyValues(_) | Value::Bytes(_) => Cell::Other(any),
        }
    }

    pub(super) fn is_null(self) -> bool {
        matches!(self, Cell::Null)
    }

    /// As a number, if it is one.
    #[expect(clippy::cast_precision_loss, reason = "sums are doubles")]
    pub(super) fn number(self) -> Option<f64> {
        match self {
            Cell::Int(value) => Some(value as f64),
            Cell::Double(value) => Some(value),
            Cell::Bool(value) => Some(f64::from(u8::from(value))),
            _ => None,
        }
    }

    /// As it is shown; null is empty.
    pub(super) fn text(self) -> Cow<'c, str> {
        match self {
            Cell::Null => Cow::Borrowed(""),
            Cell::Text(text) => Text(text).to_str(),
            Cell::SpanId(id) => Cow::Owned(format!("{id:016x}")),
            Cell::TraceId(id) => Cow::Owned(format!("{:032x}", u128::from_be_bytes(*id))),
            Cell::Bool(value) => Cow::Borrowed(if value { "true" } else { "false" }),
            Cell::Int(value) => Cow::Owned(value.to_string()),
            Cell::Double(value) => Cow::Owned(value.to_string()),
            Cell::Other(any) => Cow::Owned(shown(Value::from(Message::new(any))).to_string()),
        }
    }

    /// As JSON.
    pub(super) fn json(self) -> Json {
        match self {
            Cell::Null => Json::Null,
            Cell::Bool(value) => Json::Bool(value),
            Cell::Int(value) => int(value),
            Cell::Double(value) => double(value),
            Cell::Other(any) => shown(Value::from(Message::new(any))),
            other => Json::String(other.text().into_owned()),
        }
    }

    /// Appends bytes that are the same for equal values, and for no others.
    pub(super) fn put(self, out: &mut Vec<u8>) {
        let (tag, bytes): (u8, Cow<'_, [u8]>) = match self {
            Cell::Null => (0, Cow::Borrowed(&[])),
            Cell::Bool(value) => (1, Cow::Owned(vec![u8::from(value)])),
            Cell::Int(value) => (2, Cow::Owned(value.to_le_bytes().to_vec())),
            Cell::Double(value) => (3, Cow::Owned(value.to_bits().to_le_bytes().to_vec())),
            Cell::Text(text) => (4, Cow::Borrowed(text)),
            Cell::SpanId(id) => (5, Cow::Owned(id.to_le_bytes().to_vec())),
            Cell::TraceId(id) => (6, Cow::Borrowed(&id[..])),
            Cell::Other(any) => (7, Cow::Borrowed(any)),
        };
        out.push(tag);
        out.extend_from_slice(&bytes.len().to_le_bytes());
        out.extend_from_slice(&bytes);
    }
}

/// A value that a query names.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Literal {
    Bool(bool),
    Number(f64),
    Text(String),
}

impl Literal {
    pub(super) fn of(json: &Json) -> Option<Self> {
        match json {
            Json::Bool(value) => Some(Literal::Bool(*value)),
            Json::Number(number) => number.as_f64().map(Literal::Number),
            Json::String(text) => Some(Literal::Text(text.clone())),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Cow<'_, str> {
        match self {
            Literal::Bool(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
            Literal::Number(value) => Cow::Owned(value.to_string()),
            Literal::Text(text) => Cow::Borrowed(text),
        }
    }

    /// How a cell compares with it; none if it does not.
    pub(super) fn compare(&self, cell: Cell<'_>) -> Option<Ordering> {
        match (cell, self) {
            (Cell::Null, _) => None,
            (Cell::Text(text), Literal::Text(literal)) => Some(text.cmp(literal.as_bytes())),
            (Cell::Text(text), Literal::Number(number)) => {
                let text: f64 = std::str::from_utf8(text).ok()?.trim().parse().ok()?;
                text.partial_cmp(number)
            }
            (cell, Literal::Text(literal)) => match (cell.number(), literal.parse::<f64>()) {
                (Some(number), Ok(literal)) => number.partial_cmp(&literal),
                _ => Some((*cell.text()).cmp(literal)),
            },
            (cell, Literal::Number(number)) => cell.number()?.partial_cmp(number),
            (Cell::Bool(value), Literal::Bool(literal)) => Some(value.cmp(literal)),
            (cell, Literal::Bool(_)) => Some((*cell.text()).cmp(&*self.text())),
        }
    }
}

fn int(value: i64) -> Json {
    if value.unsigned_abs() <= EXACT { value.into() } else { value.to_string().into() }
}

/// JSON has no number for what is none.
fn double(value: f64) -> Json {
    serde_json::Number::from_f64(value).map_or_else(|| value.to_string().into(), Json::Number)
}

/// A value of OTLP as plain JSON: bytes are hexadecimal, integers that a browser would round are
/// text. Of a key that occurs twice the last value counts.
pub(super) fn shown(value: Value<'_>) -> Json {
    match value {
        Value::Empty | Value::StringIndex(_) => Json::Null,
        Value::Bool(value) => Json::Bool(value),
        Value::Int(value) => int(value),
        Value::Double(value) => double(value),
        Value::String(text) => text.to_str().into(),
        Value::Bytes(bytes) => hex(bytes).into(),
        Value::Array(list) => list.values().map(shown).collect(),
        Value::KeyValues(map) => map.entries().map(pair).collect(),
    }
}

/// An attribute as plain JSON.
pub(super) fn pair(attribute: KeyValue<'_>) -> (String, Json) {
    (attribute.key.to_str().into_owned(), shown(attribute.value.unwrap_or_default()))
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// The id of a trace in hexadecimal digits of any case.
pub fn trace_id(text: &str) -> Option<[u8; 16]> {
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_as_numbers_and_others_as_they_are_shown() {
        let is = |cell, literal: Literal| literal.compare(cell);
        assert_eq!(is(Cell::Int(200), Literal::Number(200.0)), Some(Ordering::Equal));
        assert_eq!(is(Cell::Text(b"200"), Literal::Number(300.0)), Some(Ordering::Less));
        assert_eq!(is(Cell::Int(9), Literal::Text("10".to_owned())), Some(Ordering::Less));
        assert_eq!(is(Cell::Text(b"9"), Literal::Text("10".to_owned())), Some(Ordering::Greater));
        assert_eq!(is(Cell::Text(b"true"), Literal::Bool(true)), Some(Ordering::Equal));
        assert_eq!(is(Cell::Null, Literal::Bool(true)), None);
        assert_eq!(is(Cell::Text(b"x"), Literal::Number(1.0)), None);
        assert_eq!(is(Cell::Double(f64::NAN), Literal::Number(1.0)), None);
    }

    #[test]
    fn what_a_browser_would_round_is_text() {
        assert_eq!(Cell::Int(1 << 53).json(), serde_json::json!(1_i64 << 53));
        assert_eq!(Cell::Int(i64::MIN).json(), serde_json::json!("-9223372036854775808"));
        assert_eq!(Cell::Double(f64::NAN).json(), serde_json::json!("NaN"));
        assert_eq!(Cell::Text(b"\xFF").json(), serde_json::json!("\u{fffd}"));
    }

    #[test]
    fn ids_are_read_in_any_case() {
        assert_eq!(trace_id("5B8EFFF798038103D269B633813FC60C").map(|id| id[0]), Some(0x5B));
        for text in ["", "5b8e", "+b8efff798038103d269b633813fc60c"] {
            assert_eq!(trace_id(text), None);
        }
    }
}
