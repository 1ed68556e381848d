//! Times as dates: reading and writing them in the formats of `strptime`, and durations in the
//! notation of Go.

use jiff::{
    Timestamp,
    civil::{DateTime, Weekday},
    tz::{Offset, TimeZone},
};

/// Nanoseconds of a second.
pub(crate) const SECOND: i64 = 1_000_000_000;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A time in UTC.
pub(crate) fn date_time(nanos: i64) -> DateTime {
    let timestamp = Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or(Timestamp::UNIX_EPOCH);
    Offset::UTC.to_datetime(timestamp)
}

/// `2024-05-06T07:08:09.123Z`
pub(crate) fn rfc3339(nanos: i64) -> String {
    Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

/// Days since Sunday.
pub(crate) fn weekday(weekday: Weekday) -> i64 {
    i64::from(weekday.to_sunday_zero_offset())
}

/// A time zone by its IANA name; `None` if it is unknown.
pub(crate) fn zone(name: &str) -> Option<TimeZone> {
    match name {
        "" | "UTC" => Some(TimeZone::UTC),
        "Local" => Some(TimeZone::system()),
        name => TimeZone::get(name).ok(),
    }
}

/// One step of a format.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    Literal(char),
    Directive(char),
}

/// The steps of a format; the error names the wrong directive.
fn steps(format: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            steps.push(Step::Literal(c));
            continue;
        }
        let expanded = match chars.next() {
            Some('D' | 'x') => "%m/%d/%y",
            Some('F') => "%Y-%m-%d",
            Some('T' | 'X') => "%H:%M:%S",
            Some('r') => "%I:%M:%S %p",
            Some('R') => "%H:%M",
            Some('c') => "%a %b %e %H:%M:%S %Y",
            Some('n') => "\n",
            Some('t') => "\t",
            Some('%') => {
                steps.push(Step::Literal('%'));
                continue;
            }
            Some(c) if "YymoqbhBdegaAHIlpPMSLfszZijkw".contains(c) => {
                steps.push(Step::Directive(c));
                continue;
            }
            Some(c) => return Err(format!("`%{c}` is not a directive of a time format")),
            None => return Err("a `%` at the end of a time format means nothing".to_owned()),
        };
        steps.extend(self::steps(expanded)?);
    }
    Ok(steps)
}

/// Whether a format can be used.
pub(crate) fn check_format(format: &str) -> Result<(), String> {
    steps(format).map(|_| ())
}

/// Writes a time in UTC.
pub(crate) fn format(nanos: i64, format: &str) -> Result<String, String> {
    let at = date_time(nanos);
    let mut out = String::new();
    let twelve = |hour: i8| if hour % 12 == 0 { 12 } else { hour % 12 };
    let named = |names: &[&'static str], at: usize| names.get(at).copied().unwrap_or("");
    let (month, day) = (at.month(), usize::try_from(weekday(at.weekday())).unwrap_or(0));
    let month_name = named(&MONTHS, usize::try_from(month - 1).unwrap_or(0));
    let day_name = named(&DAYS, day);
    let nanosecond = at.subsec_nanosecond();
    for step in steps(format)? {
        let text = match step {
            Step::Literal(c) => c.to_string(),
            Step::Directive(c) => match c {
                'Y' => format!("{:04}", at.year()),
                'y' => format!("{:02}", at.year().rem_euclid(100)),
                'm' => format!("{month:02}"),
                'o' => format!("{month:2}"),
                'q' => month.to_string(),
                'b' | 'h' => month_name.chars().take(3).collect(),
                'B' => month_name.to_owned(),
                'd' => format!("{:02}", at.day()),
                'e' => format!("{:2}", at.day()),
                'g' => at.day().to_string(),
                'a' => day_name.chars().take(3).collect(),
                'A' => day_name.to_owned(),
                'H' => format!("{:02}", at.hour()),
                'I' => format!("{:02}", twelve(at.hour())),
                'l' => twelve(at.hour()).to_string(),
                'p' => (if at.hour() < 12 { "AM" } else { "PM" }).to_owned(),
                'P' => (if at.hour() < 12 { "am" } else { "pm" }).to_owned(),
                'M' => format!("{:02}", at.minute()),
                'S' => format!("{:02}", at.second()),
                'L' => format!("{:03}", nanosecond / 1_000_000),
                'f' => format!("{:06}", nanosecond / 1000),
                's' => format!("{nanosecond:09}"),
                'z' => "+0000".to_owned(),
                'Z' => "UTC".to_owned(),
                'i' => "+00".to_owned(),
                'j' => "+00:00".to_owned(),
                'k' => "+00:00:00".to_owned(),
                _ => "+000000".to_owned(),
            },
        };
        out.push_str(&text);
    }
    Ok(out)
}

/// What a text says of a time.
#[derive(Debug)]
struct Parts {
    year: i16,
    month: i8,
    day: i8,
    hour: i8,
    is_afternoon: Option<bool>,
    minute: i8,
    second: i8,
    nanosecond: i32,
    zone: Option<TimeZone>,
}

/// Reads a time. Without a zone in the text it is one of `location`.
pub(crate) fn parse(text: &str, format: &str, location: &TimeZone) -> Result<i64, String> {
    let steps = steps(format)?;
    let mut parts = Parts {
        year: 1970,
        month: 1,
        day: 1,
        hour: 0,
        is_afternoon: None,
        minute: 0,
        second: 0,
        nanosecond: 0,
        zone: None,
    };
    let wrong = || {
        let shown: String = text.chars().take(50).collect();
        format!("`{shown}` does not fit the format `{format}`")
    };
    let mut rest = text;
    for (i, step) in steps.iter().enumerate() {
        rest = match step {
            Step::Literal(c) if c.is_whitespace() => rest.trim_start(),
            Step::Literal(c) => rest.strip_prefix(*c).ok_or_else(wrong)?,
            Step::Directive(c) => {
                let rest = directive(*c, rest, &mut parts).ok_or_else(wrong)?;
                // As in Go, a fraction may follow the seconds that the format does not name.
                let is_named = matches!(steps.get(i + 1), Some(Step::Literal('.' | ',')));
                if *c == 'S' && !is_named { fraction(rest, &mut parts) } else { rest }
            }
        };
    }
    if !rest.trim_end().is_empty() {
        return Err(wrong());
    }
    if let Some(is_afternoon) = parts.is_afternoon {
        parts.hour = parts.hour % 12 + if is_afternoon { 12 } else { 0 };
    }
    let Parts { year, month, day, hour, minute, second, nanosecond, .. } = parts;
    let civil =
        DateTime::new(year, month, day, hour, minute, second, nanosecond).map_err(|_| wrong())?;
    let zone = parts.zone.unwrap_or_else(|| location.clone());
    let timestamp = zone.to_timestamp(civil).map_err(|_| wrong())?;
    i64::try_from(timestamp.as_nanosecond()).map_err(|_| wrong())
}

/// `.123` behind seconds.
fn fraction<'t>(text: &'t str, parts: &mut Parts) -> &'t str {
    let Some(digits) = text.strip_prefix(['.', ',']) else { return text };
    let len = digits.bytes().take_while(u8::is_ascii_digit).count();
    if len == 0 {
        return text;
    }
    parts.nanosecond = nanoseconds(&digits[..len.min(9)]);
    &digits[len..]
}

/// Up to nine digits of a fraction.
fn nanoseconds(digits: &str) -> i32 {
    format!("{digits:0<9}").parse().unwrap_or(0)
}

/// Reads one directive and returns what is left.
fn directive<'t>(c: char, text: &'t str, parts: &mut Parts) -> Option<&'t str> {
    let small = |text: &'t str, most: usize| -> Option<(i8, &'t str)> {
        let (number, rest) = number(text, 1, most)?;
        Some((i8::try_from(number).ok()?, rest))
    };
    let rest;
    match c {
        'Y' => {
            let (year, after) = number(text, 4, 4)?;
            (parts.year, rest) = (i16::try_from(year).ok()?, after);
        }
        'y' => {
            let (year, after) = number(text, 2, 2)?;
            let year = i16::try_from(year).ok()?;
            (parts.year, rest) = (if year >= 69 { 1900 + year } else { 2000 + year }, after);
        }
        'm' | 'o' | 'q' => (parts.month, rest) = small(text.trim_start(), 2)?,
        'd' | 'e' | 'g' => (parts.day, rest) = small(text.trim_start(), 2)?,
        'H' | 'I' | 'l' => (parts.hour, rest) = small(text.trim_start(), 2)?,
        'M' => (parts.minute, rest) = small(text, 2)?,
        'S' => (parts.second, rest) = small(text, 2)?,
        'b' | 'h' | 'B' => {
            let (at, after) = name(text, &MONTHS)?;
            (parts.month, rest) = (i8::try_from(at + 1).ok()?, after);
        }
        'a' | 'A' => rest = name(text, &DAYS)?.1,
        'p' | 'P' => {
            let half = text.get(..2)?.to_ascii_lowercase();
            parts.is_afternoon = Some(match &*half {
                "am" => false,
                "pm" => true,
                _ => return None,
            });
            rest = &text[2..];
        }
        'L' | 'f' | 's' => {
            let len = text.bytes().take_while(u8::is_ascii_digit).count().min(9);
            if len == 0 {
                return None;
            }
            (parts.nanosecond, rest) = (nanoseconds(&text[..len]), &text[len..]);
        }
        'Z' => {
            let len = text.bytes().take_while(u8::is_ascii_alphabetic).count();
            let abbreviation = text.get(..len).filter(|name| !name.is_empty())?;
            (parts.zone, rest) = (Some(abbreviated(abbreviation)?), &text[len..]);
        }
        _ => {
            let (offset, after) = offset(text)?;
            (parts.zone, rest) = (Some(TimeZone::fixed(offset)), after);
        }
    }
    Some(rest)
}

fn number(text: &str, least: usize, most: usize) -> Option<(i32, &str)> {
    let len = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if len < least {
        return None;
    }
    Some((text[..len].parse().ok()?, &text[len..]))
}

/// A name or its first three letters, in any case.
fn name<'t>(text: &'t str, names: &[&str]) -> Option<(usize, &'t str)> {
    let begins = |name: &str| {
        text.get(..name.len()).filter(|start| start.eq_ignore_ascii_case(name)).map(str::len)
    };
    let found = names
        .iter()
        .enumerate()
        .find_map(|(i, name)| begins(name).or_else(|| begins(&name[..3])).map(|len| (i, len)));
    found.map(|(i, len)| (i, &text[len..]))
}

/// `Z`, `+02`, `+0200`, `+02:00`, `+02:00:00`.
fn offset(text: &str) -> Option<(Offset, &str)> {
    if let Some(rest) = text.strip_prefix(['Z', 'z']) {
        return Some((Offset::UTC, rest));
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, mut rest) = number(&text[1..], 2, 2)?;
    let mut seconds = hours * 3600;
    for unit in [60, 1] {
        let digits = rest.strip_prefix(':').unwrap_or(rest);
        let Some((value, after)) = number(digits, 2, 2) else { break };
        seconds += value * unit;
        rest = after;
    }
    Some((Offset::from_seconds(sign * seconds).ok()?, rest))
}

/// Zones that are written by letters.
fn abbreviated(name: &str) -> Option<TimeZone> {
    let hours = match name {
        "UTC" | "GMT" | "Z" | "WET" => 0,
        "CET" | "BST" | "WEST" => 1,
        "EET" | "CEST" | "SAST" => 2,
        "MSK" | "EEST" => 3,
        "SGT" | "HKT" => 8,
        "JST" | "KST" => 9,
        "AEST" => 10,
        "AEDT" => 11,
        "NZST" => 12,
        "AST" | "EDT" => -4,
        "EST" | "CDT" => -5,
        "CST" | "MDT" => -6,
        "MST" | "PDT" => -7,
        "PST" | "AKDT" => -8,
        "AKST" => -9,
        "HST" => -10,
        _ => return None,
    };
    Offset::from_hours(hours).ok().map(TimeZone::fixed)
}

/// A duration in the notation of Go: `1h30m`, `-1.5s`, `300ms`.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let whole = rest.bytes().take_while(u8::is_ascii_digit).count();
        let digits = &rest[..whole];
        rest = &rest[whole..];
        let mut decimals = "";
        if let Some(after) = rest.strip_prefix('.') {
            let len = after.bytes().take_while(u8::is_ascii_digit).count();
            (decimals, rest) = (&after[..len], &after[len..]);
        }
        if digits.is_empty() && decimals.is_empty() {
            return None;
        }
        let len = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit: i128 = match &rest[..len] {
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        rest = &rest[len..];
        let number = |digits: &str| -> Option<i128> {
            if digits.is_empty() { Some(0) } else { digits.parse().ok() }
        };
        let decimals = &decimals[..decimals.len().min(18)];
        let scale = 10_i128.pow(u32::try_from(decimals.len()).ok()?);
        let amount = number(digits)?.checked_mul(unit)?;
        total = total.checked_add(amount + number(decimals)? * unit / scale)?;
    }
    i64::try_from(sign * total).ok()
}
