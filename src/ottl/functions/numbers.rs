//! Converters between numbers and other values.

use std::borrow::Cow;

use super::{
    super::{
        arguments::made,
        compare::as_double,
        fault::{Fault, What},
        node::{Call, Eval},
        text::{hex, like},
        types::Types,
        value::Value,
    },
    Function, converter, value,
};

/// What the converters of this file make something of.
const SCALAR: Types = Types::NIL.or(Types::BOOL).or(Types::NUMBER).or(Types::TEXT);

pub(crate) const FUNCTIONS: &[Function] = &[
    converter(
        "Int",
        &[value("value", SCALAR)],
        Types::INT.or(Types::NIL),
        int,
        "An integer from a number, boolean or text; nil stays nil.",
    ),
    converter(
        "Double",
        &[value("value", SCALAR)],
        Types::DOUBLE.or(Types::NIL),
        double,
        "A double from a number, boolean or text; nil stays nil.",
    ),
    converter(
        "Bool",
        &[value("value", SCALAR)],
        Types::BOOL.or(Types::NIL),
        bool,
        "A boolean from a number or text; nil stays nil.",
    ),
    converter(
        "String",
        &[value("value", Types::ALL)],
        Types::TEXT.or(Types::NIL),
        string,
        "A text from any value: bytes as hexadecimal digits, maps and lists as JSON; nil stays nil.",
    ),
    converter(
        "ParseInt",
        &[value("target", Types::TEXT), value("base", Types::INT)],
        Types::INT,
        parse_int,
        "An integer from the digits of a base, 2 to 36; with base 0 from a prefix such as `0x`.",
    ),
    converter(
        "Log",
        &[value("value", Types::NUMBER.or(Types::BOOL).or(Types::TEXT))],
        Types::DOUBLE,
        log,
        "The natural logarithm.",
    ),
    converter(
        "Hex",
        &[value("value", SCALAR.or(Types::BYTES))],
        Types::TEXT,
        hexadecimal,
        "Hexadecimal digits of bytes, of a text, or of the eight bytes of a number.",
    ),
];

fn int<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    Ok(Value::Int(match call.value(eval, 0)? {
        Value::Nil => return Ok(Value::Nil),
        Value::Int(value) => value,
        Value::Double(value) => truncated(value),
        Value::Bool(value) => i64::from(value),
        Value::Text(text) => {
            let parsed = std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok());
            parsed.ok_or_else(|| not("an integer", &text))?
        }
        other => return Err(call.wrong(0, SCALAR, &other)),
    }))
}

/// A double without its fraction, at most the largest integer.
#[expect(clippy::cast_possible_truncation, reason = "that is what the conversion is for")]
pub(super) fn truncated(value: f64) -> i64 {
    value as i64
}

fn not(what: &str, text: &[u8]) -> Fault {
    let shown: String = String::from_utf8_lossy(text).chars().take(50).collect();
    What::owned(format!("`{shown}` is not {what}")).into()
}

/// Go's syntax of floating point numbers, which is Rust's but for a few words.
pub(super) fn parse_double(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse().ok()
}

fn double<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let value = call.value(eval, 0)?;
    if value.is_nil() { Ok(Value::Nil) } else { number(call, &value).map(Value::Double) }
}

/// A value as a double.
fn number(call: &Call, value: &Value<'_>) -> Result<f64, Fault> {
    Ok(match value {
        Value::Int(value) => as_double(*value),
        Value::Double(value) => *value,
        Value::Bool(value) => f64::from(u8::from(*value)),
        Value::Text(text) => parse_double(text).ok_or_else(|| not("a number", text))?,
        other => return Err(call.wrong(0, SCALAR, other)),
    })
}

fn bool<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    Ok(Value::Bool(match call.value(eval, 0)? {
        Value::Nil => return Ok(Value::Nil),
        Value::Bool(value) => value,
        Value::Int(value) => value != 0,
        Value::Double(value) => value != 0.0,
        Value::Text(text) => match &*text {
            b"1" | b"t" | b"T" | b"TRUE" | b"true" | b"True" => true,
            b"0" | b"f" | b"F" | b"FALSE" | b"false" | b"False" => false,
            other => return Err(not("a boolean", other)),
        },
        other => return Err(call.wrong(0, SCALAR, &other)),
    }))
}

fn string<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    Ok(like(call.value(eval, 0)?).map_or(Value::Nil, Value::Text))
}

fn parse_int<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let (text, base) = (call.str(eval, 0)?, call.int(eval, 1)?);
    let wrong = || not("an integer of this base", text.as_bytes());
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(&text)),
    };
    let (base, digits) = match base {
        0 => prefixed(digits),
        2..=36 => (u32::try_from(base).unwrap_or(10), Cow::Borrowed(digits)),
        _ => return Err(What::text("base must be 0 or 2 to 36").into()),
    };
    if !digits.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(wrong());
    }
    let number = i64::from_str_radix(&format!("{sign}{digits}"), base).map_err(|_| wrong())?;
    Ok(Value::Int(number))
}

/// The base of digits with a prefix, and the digits without underscores.
fn prefixed(digits: &str) -> (u32, Cow<'_, str>) {
    let lower = digits.get(..2).map(str::to_ascii_lowercase);
    let (base, rest) = match lower.as_deref() {
        Some("0x") => (16, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        _ if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    (base, if rest.contains('_') { rest.replace('_', "").into() } else { rest.into() })
}

fn log<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let value = number(call, &call.value(eval, 0)?)?;
    if value <= 0.0 {
        return Err(What::owned(format!("{value} has no logarithm; it must be above 0")).into());
    }
    Ok(Value::Double(value.ln()))
}

fn hexadecimal<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    Ok(made(match call.value(eval, 0)? {
        Value::Nil => Vec::new(),
        Value::Bytes(bytes) | Value::Text(bytes) => hex(&bytes),
        Value::Int(value) => hex(&value.to_be_bytes()),
        Value::Double(value) => hex(&value.to_be_bytes()),
        Value::Bool(value) => hex(&[u8::from(value)]),
        other => return Err(call.wrong(0, SCALAR.or(Types::BYTES), &other)),
    }))
}
