//! Values, ids and times as text.

use std::fmt::Write as _;

pub(super) use crate::otlp::text::{write_plain, write_with_type};
use crate::otlp::{record::Record, view::Text};
pub(super) use crate::telemetry::calendar::go_time as time_of;

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// The id of a trace or span. One of zeros is none.
pub(super) fn id(bytes: &[u8]) -> String {
    if bytes.iter().all(|byte| *byte == 0) { String::new() } else { hex(bytes) }
}

/// A number with six decimals, as `%f` writes it.
pub(super) fn fixed(value: f64) -> String {
    infinite(value).map_or_else(|| format!("{value:.6}"), str::to_owned)
}

/// A number with its shortest digits, as `%v` writes it: with an exponent of two digits below 1e-4
/// and from 1e6 on.
pub(super) fn shortest(value: f64) -> String {
    if let Some(text) = infinite(value) {
        return text.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match power.parse::<i32>() {
        Ok(power) if value != 0.0 && !(-4..6).contains(&power) => {
            let sign = if power < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", power.unsigned_abs())
        }
        _ => value.to_string(),
    }
}

fn infinite(value: f64) -> Option<&'static str> {
    match value {
        f64::INFINITY => Some("+Inf"),
        f64::NEG_INFINITY => Some("-Inf"),
        _ => None,
    }
}

/// Key and value of each attribute in a field.
pub(super) fn attributes<'a>(
    of: &Record<'a>,
    field: &str,
) -> impl Iterator<Item = (Text<'a>, Option<Record<'a>>)> {
    of.children(field).map(|attribute| (attribute.shown("key"), attribute.child("value")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs that Go's `fmt` prints.
    #[test]
    fn numbers_are_those_of_go() {
        for (value, short, long) in [
            (1e5, "100000", "100000.000000"),
            (1e6, "1e+06", "1000000.000000"),
            (123_456_789.0, "1.23456789e+08", "123456789.000000"),
            (1e-4, "0.0001", "0.000100"),
            (1e-5, "1e-05", "0.000010"),
            (-0.000_123_45, "-0.00012345", "-0.000123"),
            (5e-324, "5e-324", "0.000000"),
            (-0.0, "-0", "-0.000000"),
            (f64::INFINITY, "+Inf", "+Inf"),
            (f64::NEG_INFINITY, "-Inf", "-Inf"),
            (f64::NAN, "NaN", "NaN"),
        ] {
            assert_eq!((shortest(value).as_str(), fixed(value).as_str()), (short, long));
        }
        assert_eq!(
            (id(&[0; 16]), id(&[]), id(&[0, 10])),
            (String::new(), String::new(), "000a".to_owned())
        );
    }
}
