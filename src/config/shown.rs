//! Makes text safe to show: escapes foreign text for terminals and logs, and masks the secrets in
//! URLs.
//!
//! One table lists the dangerous characters. All code that prints foreign text uses [`escaped`] or
//! [`Escaping`].
//!
//! Three parts of a URL are masked: the user info, the values of the query, and segments of the
//! path that look like keys, as in `https://hooks.slack.com/services/T000/B000/<key>`. Whether a
//! segment is a key cannot be known, only guessed from its letters: a short key, or one made of
//! words, is shown. Headers are the better place for a key, since they are never shown.

use std::{
    borrow::Cow,
    fmt::{self, Write},
    ops::Range,
};

use super::units::REDACTED;

/// Characters that break lines, steer a terminal or turn the direction of text: first and last of
/// each range.
const DANGEROUS: [(char, char); 9] = [
    ('\0', '\u{1f}'),         // C0: line breaks, tab, ESC
    ('\u{7f}', '\u{9f}'),     // DEL and C1
    ('\u{61c}', '\u{61c}'),   // Arabic letter mark
    ('\u{200e}', '\u{200f}'), // left-to-right and right-to-left marks
    ('\u{2028}', '\u{2029}'), // line and paragraph separators
    ('\u{202a}', '\u{202e}'), // embeddings and overrides of direction
    ('\u{2066}', '\u{2069}'), // isolates
    ('\u{feff}', '\u{feff}'), // byte order mark
    ('\u{fff9}', '\u{fffb}'), // interlinear annotation
];

/// Whether a character must not reach a terminal or a log as it is.
pub fn is_dangerous(c: char) -> bool {
    DANGEROUS.iter().any(|(first, last)| (*first..=*last).contains(&c))
}

/// Whether a dangerous character may begin with this byte of UTF-8.
const fn is_suspect(byte: u8) -> bool {
    matches!(byte, 0..=0x1f | 0x7f | 0xc2 | 0xd8 | 0xe2 | 0xef)
}

/// Foreign text for a terminal or a log: dangerous characters become `\n`, `\x1b` or `\u{202e}`.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if next(text).is_none() {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 8);
    // Writing to a string cannot fail.
    let _ = Escaping(&mut out).write_str(text);
    out.into()
}

/// The first dangerous character and its position.
fn next(text: &str) -> Option<(usize, char)> {
    let mut start = 0;
    while let Some(at) = text.as_bytes()[start..].iter().position(|byte| is_suspect(*byte)) {
        let at = start + at;
        let c = text[at..].chars().next()?;
        if is_dangerous(c) {
            return Some((at, c));
        }
        start = at + c.len_utf8();
    }
    None
}

/// Escapes everything that is written through it.
#[derive(Debug)]
pub struct Escaping<W>(pub W);

impl<W: Write> Write for Escaping<W> {
    fn write_str(&mut self, mut text: &str) -> fmt::Result {
        while let Some((at, c)) = next(text) {
            self.0.write_str(&text[..at])?;
            match c {
                '\n' => self.0.write_str("\\n")?,
                '\r' => self.0.write_str("\\r")?,
                '\t' => self.0.write_str("\\t")?,
                '\0'..='\u{7f}' => write!(self.0, "\\x{:02x}", u32::from(c))?,
                _ => write!(self.0, "\\u{{{:x}}}", u32::from(c))?,
            }
            text = &text[at + c.len_utf8()..];
        }
        self.0.write_str(text)
    }
}

/// JSON text without dangerous characters. They can occur only inside strings, where an escape
/// means the same.
pub fn escaped_json(text: &str) -> Cow<'_, str> {
    // Line breaks and tabs between tokens stay: inside strings JSON does not allow them.
    let is_layout = |c: char| matches!(c, '\n' | '\t' | '\r');
    if !text.chars().any(|c| is_dangerous(c) && !is_layout(c)) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_dangerous(c) && !is_layout(c) {
            // Four digits are enough: all dangerous characters are in the basic plane.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out.into()
}

/// Text with the secrets of all its URLs masked.
pub fn without_secrets(text: &str) -> Cow<'_, str> {
    let places = url_secrets(text);
    if places.is_empty() {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    let mut end = 0;
    for place in places {
        out.push_str(&text[end..place.start]);
        out.push_str(REDACTED);
        end = place.end;
    }
    out.push_str(&text[end..]);
    out.into()
}

/// The positions of the secrets of all URLs in a text, in order.
pub fn url_secrets(text: &str) -> Vec<Range<usize>> {
    let mut places = Vec::new();
    let mut start = 0;
    while let Some(at) = text[start..].find("://") {
        let authority = start + at + 3;
        let is_end = |c: char| c.is_whitespace() || "\"'`<>|\\".contains(c);
        let end = text[authority..].find(is_end).map_or(text.len(), |length| authority + length);
        let url = &text[authority..end];
        let path = url.find(['/', '?', '#']).unwrap_or(url.len());
        // A password may contain a slash or a question mark that was not percent-encoded.
        let host = match url[..path].rfind('@') {
            Some(at) => Some(at),
            None => url.rfind('@').filter(|at| is_userinfo(&url[..*at])),
        };
        if let Some(at) = host {
            push(&mut places, authority..authority + at);
        }
        let rest = host.map_or(0, |at| at + 1);
        let query = url[rest..].find(['?', '#']).map(|at| rest + at + 1);
        let mut at = authority + rest;
        for segment in url[rest..query.map_or(url.len(), |query| query - 1)].split('/') {
            // Punctuation of the sentence around the URL is not part of the key.
            let key = segment.trim_end_matches([',', '.', ':', ';', ')', ']', '}']);
            // The first segment is the host.
            if at > authority + rest && is_key(key) {
                push(&mut places, at..at + key.len());
            }
            at += segment.len() + 1;
        }
        if let Some(query) = query {
            let mut at = authority + query;
            for part in url[query..].split(['&', ';', '?', '#']) {
                let value = part.find('=').map_or(0, |equals| equals + 1);
                push(&mut places, at + value..at + part.len());
                at += part.len() + 1;
            }
        }
        start = end;
    }
    places
}

/// Shortest key. Ordinary segments are shorter, or consist of words.
const KEY: usize = 16;
/// From this length on, letters mixed with digits are always taken for a key.
const LONG_KEY: usize = 32;

/// Whether a segment of a path looks like a key: a long piece of letters and digits that does not
/// read as words, or hexadecimal digits, maybe with hyphens as in a UUID.
fn is_key(segment: &str) -> bool {
    let is_hex = |c: char| c.is_ascii_hexdigit() || c == '-';
    let is_mixed = |text: &str| {
        text.contains(|c: char| c.is_ascii_digit())
            && text.contains(|c: char| c.is_ascii_alphabetic())
    };
    let digits = segment.bytes().filter(u8::is_ascii_hexdigit).count();
    if digits >= KEY && segment.chars().all(is_hex) && is_mixed(segment) {
        return true;
    }
    let mut pieces = segment.split(|c: char| !c.is_ascii_alphanumeric());
    pieces.any(|piece| {
        let is_long = piece.len() >= LONG_KEY && is_mixed(piece);
        is_long || (piece.len() >= KEY && is_scrambled(piece))
    })
}

/// Whether letters and digits change too often for words. The runs of one kind, where a word may
/// have a capital, have five characters and more in `ExportTraceServiceRequest` or `20241128T2210`,
/// and two in random text.
fn is_scrambled(piece: &str) -> bool {
    #[derive(PartialEq, Clone, Copy)]
    enum Kind {
        Digit,
        /// One capital, which may begin a word.
        Capital,
        Upper,
        Lower,
    }
    let (mut runs, mut last) = (0, None);
    for byte in piece.bytes() {
        let (kind, goes_on) = match (byte, last) {
            (b'0'..=b'9', last) => (Kind::Digit, last == Some(Kind::Digit)),
            (b'A'..=b'Z', Some(Kind::Capital | Kind::Upper)) => (Kind::Upper, true),
            (b'A'..=b'Z', _) => (Kind::Capital, false),
            (_, last) => (Kind::Lower, matches!(last, Some(Kind::Lower | Kind::Capital))),
        };
        runs += usize::from(!goes_on);
        last = Some(kind);
    }
    2 * piece.len() < 7 * runs
}

/// Whether text before an `@` is user info: `user:pass/word` has a colon that begins no port.
fn is_userinfo(text: &str) -> bool {
    let port = text.split_once(':').map(|(_, rest)| rest.split('/').next().unwrap_or(rest));
    port.is_some_and(|port| port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()))
}

fn push(places: &mut Vec<Range<usize>>, place: Range<usize>) {
    if !place.is_empty() {
        places.push(place);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dangerous_characters_are_written_out() {
        assert_eq!(escaped("plain \u{e9}\u{20ac} text \\n"), "plain \u{e9}\u{20ac} text \\n");
        assert_eq!(
            escaped("a\nb\r\t\0\u{1b}[31m\u{7f}\u{9b}\u{2028}\u{202e}\u{2066}\u{200f}\u{61c}"),
            "a\\nb\\r\\t\\x00\\x1b[31m\\x7f\\u{9b}\\u{2028}\\u{202e}\\u{2066}\\u{200f}\\u{61c}"
        );
    }

    #[test]
    fn every_dangerous_character_begins_with_a_suspect_byte() {
        for c in '\0'..=char::MAX {
            let mut bytes = [0; 4];
            let first = c.encode_utf8(&mut bytes).as_bytes()[0];
            assert!(!is_dangerous(c) || is_suspect(first), "{c:?}");
            assert!(!c.is_control() || is_dangerous(c), "{c:?}");
        }
    }

    #[test]
    fn urls_lose_their_secrets() {
        for (url, shown) in [
            ("http://a:1/x", "http://a:1/x"),
            ("http://u:p@a/x", "http://[REDACTED]@a/x"),
            ("http://u@a", "http://[REDACTED]@a"),
            ("http://u:p/w?d@a/x", "http://[REDACTED]@a/x"),
            ("http://a:80/x@y", "http://a:80/x@y"),
            ("http://a/x?key=S&b=T#f", "http://a/x?key=[REDACTED]&b=[REDACTED]#[REDACTED]"),
            ("http://a?S", "http://a?[REDACTED]"),
            ("http://a?k=S=T;l=", "http://a?k=[REDACTED];l="),
            (
                "see `http://a/?k=S`, \"x://u:p@b\" ok?",
                "see `http://a/?k=[REDACTED]`, \"x://[REDACTED]@b\" ok?",
            ),
            ("a?b=c", "a?b=c"),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
    }

    #[test]
    fn keys_in_the_path_of_a_url_are_masked() {
        for (url, shown) in [
            (
                "https://hooks.slack.com/services/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",
                "https://hooks.slack.com/services/T0AB1CD2E/B0AB1CD2E/[REDACTED]",
            ),
            (
                "https://discord.com/api/webhooks/123456789012345678/aB3_dE5fG7hI9jK1lM2n-O4p",
                "https://discord.com/api/webhooks/123456789012345678/[REDACTED]",
            ),
            (
                "https://api.telegram.org/bot110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw/send?a=b",
                "https://api.telegram.org/[REDACTED]/send?a=[REDACTED]",
            ),
            (
                "https://u:p@pagerduty.com/integration/0123456789abcdef0123456789abcdef/enqueue",
                "https://[REDACTED]@pagerduty.com/integration/[REDACTED]/enqueue",
            ),
            (
                "https://x/e/0a1b2c3d-0a1b-2c3d-4e5f-0a1b2c3d4e5f/api/v2/otlp",
                "https://x/e/[REDACTED]/api/v2/otlp",
            ),
            (
                "posting to https://h/v1/ZaVnC4dhaV3xY7Qm2Lk9==: no (https://h/ZaVnC4dhaV3xY7Qm)",
                "posting to https://h/v1/[REDACTED]: no (https://h/[REDACTED])",
            ),
            ("https://h//ZaVnC4dhaV3xY7Qm", "https://h//[REDACTED]"),
        ] {
            assert_eq!(without_secrets(url), shown);
            assert_eq!(without_secrets(shown), shown, "once more");
        }
    }

    #[test]
    fn ordinary_paths_stay_readable() {
        for url in [
            "https://api.honeycomb.io/v1/traces",
            "https://otlp-gateway-prod-eu-west-0.grafana.net/otlp",
            "http://openobserve:5080/api/default",
            "http://h/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            "https://xray.eu-west-1.amazonaws.com/GetSamplingStatisticSummaries",
            "https://h/ExportTraceServiceRequest/20241128T221039Z/123456789012345678",
            "https://h/team-a/eu-west-1a-prod-k8s-01-otel/opentelemetrycollectorcontrib",
            "https://sqs.eu-west-1.amazonaws.com/123456789012/my-queue.fifo",
            "unix:///var/run/skep/otlp-receiver.sock",
            "https://h/services/${env:SLACK_WEBHOOK_TOKEN}/x",
            "https://a0b1c2d3e4f5a6b7c8d9.example.com/",
        ] {
            assert_eq!(without_secrets(url), url);
        }
    }

    fn any_text() -> impl Strategy<Value = String> {
        let special = prop::sample::select(vec![
            "\n", "\r", "\0", "\u{1b}", "\u{85}", "\u{9b}", "\u{2028}", "\u{202e}", "\u{2067}",
            "\u{200e}", "\u{61c}", "\u{7f}", "\\", "\"", "\u{e2}", "\u{20ac}",
        ]);
        let part = prop_oneof![special.prop_map(ToOwned::to_owned), ".{0,5}"];
        prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn nothing_dangerous_is_left_and_the_rest_stays(text in any_text(), cut in any::<prop::sample::Index>()) {
            let shown = escaped(&text);
            prop_assert!(!shown.chars().any(is_dangerous));
            let stays = |text: &str| text.chars().filter(|c| !is_dangerous(*c)).collect::<String>();
            if !text.chars().any(is_dangerous) {
                prop_assert_eq!(&shown, &text);
            }
            prop_assert!(shown.len() >= stays(&text).len());
            // In pieces it is the same.
            let mut cut = cut.index(text.len() + 1);
            while !text.is_char_boundary(cut) {
                cut -= 1;
            }
            prop_assert_eq!(shown.into_owned(), escaped(&text[..cut]).into_owned() + &escaped(&text[cut..]));
        }

        #[test]
        fn json_means_the_same_after_escaping(text in any_text()) {
            let json = serde_json::to_string(&text).unwrap();
            let shown = escaped_json(&json);
            prop_assert!(!shown.chars().any(is_dangerous));
            prop_assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
        }

        #[test]
        fn no_secret_of_a_url_is_left(secret in "[A-Z]{6}", junk in "[a-z0-9/:.]{0,8}") {
            for url in [
                format!("http://u:{secret}@h/{junk}"),
                format!("{junk} https://h/{junk}?a=1&k={secret}"),
                format!("x://{secret}@h?{secret}#{secret}"),
            ] {
                let shown = without_secrets(&url);
                prop_assert!(!shown.contains(&secret), "{}", shown);
                prop_assert_eq!(&without_secrets(&shown), &shown);
            }
        }

        #[test]
        fn no_long_key_in_a_path_is_left(
            base62 in "[A-Za-z0-9]{40}",
            hex in "[0-9a-f]{32}",
            uuid in "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            before in "(/[a-z]{1,8}){0,3}",
            after in "(/[a-z]{1,8}){0,3}[?]?",
        ) {
            for key in [base62, hex, uuid] {
                let url = format!("https://h{before}/{key}{after}");
                let shown = without_secrets(&url).into_owned();
                prop_assert_eq!(&shown, &format!("https://h{before}/[REDACTED]{after}"));
                prop_assert_eq!(&without_secrets(&shown), &shown);
            }
        }
    }
}
