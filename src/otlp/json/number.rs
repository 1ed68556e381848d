//! Numbers as the JSON mapping of protobuf spells them, in JSON or in quotes: both are the same.
//!
//! A number has the grammar of JSON (RFC 8259), also in quotes: no blanks around it, no `+`, no
//! zeros before it. A whole number may have a fraction of zero or an exponent (`1e3`); with one it
//! is read as a double first. `NaN`, `Infinity` and `-Infinity` are doubles in quotes alone. What
//! is too large is refused, never cut.

use std::ops::RangeInclusive;

/// Why a text or a number is not what a field takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Wrong {
    /// No number at all.
    Text,
    /// It has a fraction, or is far too large to have one.
    Fraction(f64),
    /// Whole, but beyond the range.
    Range(i128),
    /// Larger than any double.
    Overflow,
}

/// A whole number in quotes.
pub(crate) fn integer(text: &str, range: RangeInclusive<i128>) -> Result<i128, Wrong> {
    if !is_number(text) {
        return Err(Wrong::Text);
    }
    match text.parse() {
        Ok(value) if range.contains(&value) => Ok(value),
        Ok(value) => Err(Wrong::Range(value)),
        Err(_) => whole(double(text)?, range),
    }
}

/// A whole number that JSON has with a fraction or an exponent.
#[expect(clippy::cast_possible_truncation, reason = "whole and in range of 128 bits")]
pub(crate) fn whole(value: f64, range: RangeInclusive<i128>) -> Result<i128, Wrong> {
    if value.fract() != 0.0 || value.abs() >= 1e20 {
        return Err(Wrong::Fraction(value));
    }
    let value = value as i128;
    if range.contains(&value) { Ok(value) } else { Err(Wrong::Range(value)) }
}

/// A double in quotes.
pub(crate) fn double(text: &str) -> Result<f64, Wrong> {
    match text {
        "NaN" => return Ok(f64::NAN),
        "Infinity" => return Ok(f64::INFINITY),
        "-Infinity" => return Ok(f64::NEG_INFINITY),
        _ if !is_number(text) => return Err(Wrong::Text),
        _ => {}
    }
    let value: f64 = text.parse().map_err(|_| Wrong::Text)?;
    if value.is_finite() { Ok(value) } else { Err(Wrong::Overflow) }
}

/// Whether text is a number in the grammar of JSON (RFC 8259, section 6).
pub(crate) fn is_number(text: &str) -> bool {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let rest = text.strip_prefix('-').unwrap_or(text);
    let whole = digits(rest);
    if whole == 0 || (whole > 1 && rest.starts_with('0')) {
        return false;
    }
    let mut rest = &rest[whole..];
    if let Some(fraction) = rest.strip_prefix('.') {
        let len = digits(fraction);
        if len == 0 {
            return false;
        }
        rest = &fraction[len..];
    }
    if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        let len = digits(exponent);
        return len > 0 && len == exponent.len();
    }
    rest.is_empty()
}
