//! Severity and ids of the trace that a message has in itself, in the forms that logging libraries
//! write.
//!
//! In a JSON object it looks at the members at the top: `levelname`, `level` and their like;
//! `trace_id`, `otelTraceID` and their like. In a text it looks at the first line: a level where a
//! format puts it (`ERROR:root:...`, `[ERROR] ...`, `2026-11-29 10:00:00 - app - ERROR - ...`),
//! `trace_id=` and `span_id=` as the SDK for Python writes them, and the id of the X-Ray SDKs. What
//! is lifted also stays in the body.

use std::ops::Range;

use memchr::memmem;

use super::value::{Noted, Notice};

/// Bytes of the first line in which a level is looked for.
const LEVEL_WITHIN: usize = 160;
/// Bytes of the first line in which ids are looked for.
const IDS_WITHIN: usize = 1024;
/// Longest text of a level that is kept.
const LEVEL_TEXT: usize = 32;

/// Names of levels in capitals, with their numbers in OTLP.
const LEVELS: [(&str, u32); 15] = [
    ("TRACE", 1),
    ("DEBUG", 5),
    ("VERBOSE", 5),
    ("INFO", 9),
    ("INFORMATION", 9),
    ("NOTICE", 10),
    ("WARN", 13),
    ("WARNING", 13),
    ("ERROR", 17),
    ("ERR", 17),
    ("CRITICAL", 21),
    ("FATAL", 21),
    ("ALERT", 22),
    ("EMERG", 23),
    ("EMERGENCY", 24),
];

/// What a message says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Lifted {
    /// Number of the severity; 0 if it is unknown.
    pub(super) severity: u32,
    /// The level as the message has it.
    pub(super) level: String,
    pub(super) trace_id: Option<[u8; 16]>,
    pub(super) span_id: Option<[u8; 8]>,
    /// Where a member is in the map that has the text of a traceback.
    pub(super) traceback: Option<Range<usize>>,
}

/// Members that may have a traceback, beside the message.
const TRACEBACKS: [&str; 8] = [
    "exc_info",
    "exc_text",
    "exception",
    "traceback",
    "stack_trace",
    "stacktrace",
    "message",
    "msg",
];

impl Notice for Lifted {
    fn note(&mut self, key: &str, value: Noted, written: &[u8]) {
        match (key, value) {
            ("levelname" | "level" | "severity" | "log.level" | "severity_text", value) => {
                self.note_level(key, value, written);
            }
            ("levelno", Noted::Int(number)) if self.severity == 0 => {
                self.severity = of_python(number);
            }
            ("severity_number", Noted::Int(number)) => {
                self.severity = u32::try_from(number).ok().filter(|n| *n <= 24).unwrap_or(0);
            }
            (
                "trace_id" | "traceId" | "traceID" | "otelTraceID" | "trace.id" | "xray_trace_id",
                Noted::Text(range),
            ) => {
                self.trace_id = self.trace_id.or_else(|| trace_id(&written[range]));
            }
            ("span_id" | "spanId" | "spanID" | "otelSpanID" | "span.id", Noted::Text(range)) => {
                self.span_id = self.span_id.or_else(|| span_id(&written[range]));
            }
            (key, Noted::Text(range)) if TRACEBACKS.contains(&key) => {
                let is_one =
                    memmem::find(&written[range.clone()], b"Traceback (most recent").is_some();
                if is_one && self.traceback.is_none() {
                    self.traceback = Some(range);
                }
            }
            _ => {}
        }
    }
}

impl Lifted {
    fn note_level(&mut self, key: &str, value: Noted, written: &[u8]) {
        match value {
            Noted::Text(range) => {
                let text = std::str::from_utf8(&written[range]).unwrap_or_default();
                if let Some(number) = by_name(text) {
                    self.severity = number;
                    text.clone_into(&mut self.level);
                }
            }
            // Libraries for Node.js count from 10 (trace) to 60 (fatal).
            Noted::Int(number) if key == "level" && self.severity == 0 => {
                self.severity = match number {
                    10..20 => 1,
                    20..30 => 5,
                    30..40 => 9,
                    40..50 => 13,
                    50..60 => 17,
                    60..=100 => 21,
                    _ => 0,
                };
            }
            Noted::Int(_) => {}
        }
    }

    /// What the first line of a text says.
    pub(super) fn from_text(text: &str) -> Self {
        let mut own = Lifted::default();
        let line = text.as_bytes();
        let line = &line[..line.len().min(IDS_WITHIN)];
        let line = &line[..memchr::memchr(b'\n', line).unwrap_or(line.len())];
        if let Some((number, range)) = level_in(&line[..line.len().min(LEVEL_WITHIN)]) {
            own.severity = number;
            own.level = String::from_utf8_lossy(&line[range]).into_owned();
        }
        let after = |name: &str| {
            let at = memmem::find(line, name.as_bytes())? + name.len();
            Some(&line[at..])
        };
        if let Some(rest) = after("trace_id=") {
            own.trace_id = trace_id(word(rest));
            own.span_id = after("span_id=").and_then(|rest| span_id(word(rest)));
        } else if let Some(rest) = after("AWS-XRAY-TRACE-ID: ") {
            let mut ids = word(rest).split(|byte| *byte == b'@');
            own.trace_id = ids.next().and_then(trace_id);
            own.span_id = ids.next().and_then(span_id);
        }
        own
    }
}

/// The start of a text up to the end of an id.
fn word(text: &[u8]) -> &[u8] {
    let is_of_id = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'@');
    let len = text.iter().position(|byte| !is_of_id(byte)).unwrap_or(text.len());
    &text[..len]
}

fn by_name(text: &str) -> Option<u32> {
    if text.len() > LEVEL_TEXT {
        return None;
    }
    LEVELS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, number)| *number)
}

/// The numbers of `logging`: 10 is debug, 50 critical.
fn of_python(number: i64) -> u32 {
    match number {
        1..10 => 1,
        10..20 => 5,
        20..30 => 9,
        30..40 => 13,
        40..50 => 17,
        50..=100 => 21,
        _ => 0,
    }
}

/// The first level in capitals that is where a format puts it: at the beginning, behind a time,
/// or apart from other words. `the user pressed ERROR twice` has none.
fn level_in(line: &[u8]) -> Option<(u32, Range<usize>)> {
    let mut at = 0;
    while at < line.len() {
        if !line[at].is_ascii_uppercase() {
            at += 1;
            continue;
        }
        let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let end =
            at + line[at..].iter().position(|byte| !is_letter(byte)).unwrap_or(line.len() - at);
        let is_begin = at == 0 || !is_letter(&line[at - 1]);
        let word = &line[at..end];
        let known = LEVELS.iter().find(|(name, _)| is_begin && name.as_bytes() == word);
        if let Some((_, number)) = known
            && is_placed(&line[..at], &line[end..])
        {
            return Some((*number, at..end));
        }
        at = end;
    }
    None
}

/// Whether a level between these is one that a format has written.
fn is_placed(before: &[u8], after: &[u8]) -> bool {
    let before = before.trim_ascii_end();
    let is_apart = matches!(
        after.trim_ascii_start().first(),
        None | Some(b':' | b']' | b'|' | b'-' | b'>' | b')')
    ) || after.first() == Some(&b'\t');
    match before.last() {
        Some(b'[' | b'|' | b'<' | b'(') => true,
        // `app - ERROR - ...`, `app:ERROR:...`
        None | Some(b'-' | b':' | b']') => is_apart || after.starts_with(b" "),
        // Behind a time: `10:00:00,123 ERROR app`.
        Some(last) => {
            let start = before.iter().rposition(|byte| *byte == b' ').map_or(0, |at| at + 1);
            let token = &before[start..];
            let has_time = token.iter().filter(|byte| byte.is_ascii_digit()).count() >= 4
                && token.contains(&b':');
            (last.is_ascii_digit() || *last == b'Z') && has_time
        }
    }
}

/// An id of 32 hexadecimal digits, or in the form of X-Ray; not one of zeros.
fn trace_id(text: &[u8]) -> Option<[u8; 16]> {
    let mut digits = [0; 32];
    if let Some(rest) = text.strip_prefix(b"1-").filter(|rest| rest.len() == 33 && rest[8] == b'-')
    {
        digits[..8].copy_from_slice(&rest[..8]);
        digits[8..].copy_from_slice(&rest[9..]);
    } else {
        digits.copy_from_slice(<&[u8; 32]>::try_from(text).ok()?);
    }
    hex(&digits).filter(|id: &[u8; 16]| *id != [0; 16])
}

fn span_id(text: &[u8]) -> Option<[u8; 8]> {
    let digits = <&[u8; 16]>::try_from(text).ok()?;
    hex(digits).filter(|id: &[u8; 8]| *id != [0; 8])
}

fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut id = [0; N];
    for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (digit(pair[0])? << 4) | digit(pair[1])?;
    }
    Some(id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::receivers::awscloudwatchlogs::value::{Map, write_map};

    fn of_map(text: &str) -> Lifted {
        let mut lifted = Lifted::default();
        let map = write_map(text, usize::MAX, &mut lifted, &mut Vec::new());
        assert_eq!(map, Map::Written, "{text}");
        lifted
    }

    #[test]
    fn levels_of_objects_are_lifted() {
        for (text, severity, level) in [
            (r#"{"levelname":"WARNING","levelno":30}"#, 13, "WARNING"),
            (r#"{"levelno":40}"#, 17, ""),
            (r#"{"level":"info"}"#, 9, "info"),
            (r#"{"level":30,"msg":"pino"}"#, 9, ""),
            (r#"{"level":60}"#, 21, ""),
            (r#"{"severity":"CRITICAL"}"#, 21, "CRITICAL"),
            (r#"{"severity_number":10,"severity_text":"odd"}"#, 10, ""),
            (r#"{"level":"a level of the game"}"#, 0, ""),
            (r#"{"m":{"level":"info"}}"#, 0, ""),
        ] {
            let lifted = of_map(text);
            assert_eq!((lifted.severity, &*lifted.level), (severity, level), "{text}");
        }
    }

    #[test]
    fn levels_of_texts_are_lifted_where_a_format_puts_them() {
        for (text, severity) in [
            ("ERROR:root:no", 17),
            ("INFO started", 9),
            ("[WARNING]\t2026-11-29T10:00:00.123Z\tid\tmessage", 13),
            ("2026-11-29 10:00:00,123 - app.shop - CRITICAL - no", 21),
            ("2026-11-29 10:00:00,123 DEBUG [app] [shop.py:3] no", 5),
            ("2026-11-29T10:00:00Z INFO no", 9),
            ("10:00:00 | INFO     | app:main:3 - no", 9),
            ("<ERROR> no", 17),
            ("the user pressed ERROR twice", 0),
            ("INFORMED people: ERRORS", 0),
            ("no level\nERROR:root:no", 0),
            ("Error: no", 0),
            ("", 0),
        ] {
            assert_eq!(Lifted::from_text(text).severity, severity, "{text}");
        }
    }

    #[test]
    fn ids_are_lifted_in_every_form() {
        let (trace, span) = ("68f0a1b2c3d4e5f60718293a4b5c6d7e", "1112131415161718");
        let x_ray = "1-68f0a1b2-c3d4e5f60718293a4b5c6d7e";
        for text in [
            format!("2026-11-29 10:00:00,1 INFO [a] [trace_id={trace} span_id={span} x=y] - no"),
            format!("AWS-XRAY-TRACE-ID: {x_ray}@{span} no"),
        ] {
            let lifted = Lifted::from_text(&text);
            assert_eq!(lifted.trace_id.map(|id| id[0]), Some(0x68), "{text}");
            assert_eq!(lifted.span_id.map(|id| id[7]), Some(0x18), "{text}");
        }
        for text in [
            format!(r#"{{"otelTraceID":"{trace}","otelSpanID":"{span}"}}"#),
            format!(r#"{{"trace_id":"{trace}","span_id":"{span}"}}"#),
            format!(r#"{{"xray_trace_id":"{x_ray}","span_id":"{span}"}}"#),
        ] {
            let lifted = of_map(&text);
            assert_eq!(lifted.trace_id.map(|id| id[15]), Some(0x7e), "{text}");
            assert_eq!(lifted.span_id.map(|id| id[0]), Some(0x11), "{text}");
        }
        for none in ["0", "", &"0".repeat(32), &"x".repeat(32), &"1-".repeat(16), "1-"] {
            assert_eq!(trace_id(none.as_bytes()), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(
            text in "(ERROR|INFO|trace_id=|span_id=|AWS-XRAY-TRACE-ID: |1-|@|[0-9a-f]{16}|[ \\[\\]:|-]|\u{e9}){0,12}"
        ) {
            let _ = Lifted::from_text(&text);
            let _ = trace_id(text.as_bytes());
        }
    }
}
