//! Values, ids and times as text.

use std::{borrow::Cow, fmt::Write as _};

use crate::otlp::{json, record::Record};

/// A value as text without its type: what `AsString` gives in the Collector.
pub(super) fn plain(value: Option<&Record<'_>>) -> String {
    typed(value).1
}

/// A value with its type: `Str(text)`.
pub(super) fn with_type(value: Option<&Record<'_>>) -> String {
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
pub(super) fn double(value: f64) -> String {
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

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// Key and value of each attribute in a field.
pub(super) fn attributes<'a>(
    of: &Record<'a>,
    field: &str,
) -> impl Iterator<Item = (Cow<'a, str>, Option<Record<'a>>)> {
    of.children(field).map(|attribute| (attribute.text("key"), attribute.child("value")))
}

/// Nanoseconds since 1970 as Go prints a time: trailing zeros of the fraction are left out.
pub(super) fn time_of(nanos: u64) -> String {
    const DAY: u64 = 86_400;
    let (seconds, fraction) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    let (year, month, day) = date(seconds / DAY);
    let second = seconds % DAY;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let mut out = format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}");
    if fraction > 0 {
        let digits = format!(".{fraction:09}");
        out.push_str(digits.trim_end_matches('0'));
    }
    out.push_str(" +0000 UTC");
    out
}

/// Year, month and day of a day since 1970: years are counted from March, so that the leap day
/// is the last of its year, in eras of 400 years.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let leap_days = day_of_era / 1460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_printed_as_go_prints_them() {
        assert_eq!(time_of(1_581_452_772_000_000_321), "2020-02-11 20:26:12.000000321 +0000 UTC");
        assert_eq!(time_of(0), "1970-01-01 00:00:00 +0000 UTC");
        assert_eq!(time_of(951_782_400_500_000_000), "2000-02-29 00:00:00.5 +0000 UTC");
        assert_eq!(time_of(u64::MAX), "2554-07-21 23:34:33.709551615 +0000 UTC");
    }
}
