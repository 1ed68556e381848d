//! Numbers that are written with a unit: what to write instead.

/// Longest text that is shown in place of a number, in bytes.
pub(super) const LONGEST: usize = 40;

/// Whether serde expects a number.
pub(super) fn is_wanted(expected: &str) -> bool {
    matches!(
        expected,
        "u8" | "u16"
            | "u32"
            | "u64"
            | "u128"
            | "usize"
            | "i8"
            | "i16"
            | "i32"
            | "i64"
            | "i128"
            | "isize"
            | "f32"
            | "f64"
    )
}

/// The number that `text` most likely means as the value of `key`.
pub(super) fn remedy(key: &str, text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '_' | ','));
    let (written, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit = unit.trim();
    let digits: String = written.chars().filter(|c| !matches!(c, '_' | ',')).collect();
    if !digits.starts_with(|c: char| c.is_ascii_digit()) || digits.ends_with('.') {
        return None;
    }
    let lower = unit.to_ascii_lowercase();
    let is_rate = lower.starts_with('/') || lower.starts_with("per ") || lower == "%";
    // Such a key names the unit of its number.
    let is_in_key = (key.contains("mib") && lower.starts_with('m'))
        || (key.contains("seconds") && lower.starts_with('s'));
    if is_rate || is_in_key {
        return Some(format!("write the number alone: `{digits}`"));
    }
    if key.contains("mib") {
        return None;
    }
    let factor: u64 = match unit {
        // A comma may be meant as the point of a fraction.
        "" if written.contains(',') => return None,
        "" => 1,
        "k" | "K" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    Some(format!("write `{}`", times(&digits, factor)?))
}

/// A decimal number times a factor, if the product is a whole number.
fn times(digits: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let shift = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let scaled: u64 = format!("{whole}{fraction}").parse().ok()?;
    let product = scaled.checked_mul(factor)?;
    product.is_multiple_of(shift).then(|| product / shift)
}

#[cfg(test)]
mod tests {
    use super::remedy;

    #[test]
    fn a_number_with_a_unit_has_a_remedy() {
        let table = [
            ("per_month", "20M", Some("write `20000000`")),
            ("per_month", "20 M", Some("write `20000000`")),
            ("per_month", "20k", Some("write `20000`")),
            ("per_month", "1.5M", Some("write `1500000`")),
            ("per_month", "20_000_000", Some("write `20000000`")),
            ("per_month", "20,5", None),
            ("per_month", "0.0001k", None),
            ("per_month", "many", None),
            ("per_month", "99999999999999999999M", None),
            ("requests_per_second", "10/s", Some("write the number alone: `10`")),
            ("requests_per_second", "10 per second", Some("write the number alone: `10`")),
            ("limit_percentage", "80%", Some("write the number alone: `80`")),
            ("limit_mib", "512MiB", Some("write the number alone: `512`")),
            ("limit_mib", "1GiB", None),
            ("max_request_body_size", "20MiB", Some("write `20971520`")),
        ];
        for (key, text, expected) in table {
            assert_eq!(remedy(key, text).as_deref(), expected, "{key}: {text}");
        }
    }
}
