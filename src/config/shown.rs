//! What may be shown to people: text of others made harmless for terminals and logs, and URLs
//! without the secrets in them.
//!
//! One table says which characters are dangerous; whoever prints foreign text goes through
//! [`escaped`] or [`Escaping`].

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

/// Text of others for a terminal or a log: dangerous characters as `\n`, `\x1b` or `\u{202e}`.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if next(text).is_none() {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 8);
    // Writing to a string cannot fail.
    let _ = Escaping(&mut out).write_str(text);
    out.into()
}

/// The first dangerous character and where it stands.
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

/// Escapes all that is written through it.
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

/// JSON text in which no dangerous character is left: outside of strings it has none, and within
/// them the escapes mean the same.
pub fn escaped_json(text: &str) -> Cow<'_, str> {
    // What ends a line of JSON, or indents it, is no part of a string.
    let is_layout = |c: char| matches!(c, '\n' | '\t' | '\r');
    if !text.chars().any(|c| is_dangerous(c) && !is_layout(c)) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_dangerous(c) && !is_layout(c) {
            // All of them are in the basic plane.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out.into()
}

/// Text with the secrets of all URLs in it covered: user and password, and what stands in the
/// query.
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

/// Where the secrets of URLs stand in a text, in order.
pub fn url_secrets(text: &str) -> Vec<Range<usize>> {
    let mut places = Vec::new();
    let mut start = 0;
    while let Some(at) = text[start..].find("://") {
        let authority = start + at + 3;
        let is_end = |c: char| c.is_whitespace() || "\"'`<>|\\".contains(c);
        let end = text[authority..].find(is_end).map_or(text.len(), |length| authority + length);
        let url = &text[authority..end];
        // A reference may have anything in it; what it stands for is not shown.
        let path = url.find(['/', '?', '#']).unwrap_or(url.len());
        // A password may have a slash or a question mark that nobody encoded.
        let host = match url[..path].rfind('@') {
            Some(at) => Some(at),
            None => url.rfind('@').filter(|at| is_userinfo(&url[..*at])),
        };
        if let Some(at) = host {
            push(&mut places, authority..authority + at);
        }
        let rest = host.map_or(0, |at| at + 1);
        let query = url[rest..].find(['?', '#']).map(|at| rest + at + 1);
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

/// `user:pass/word`: a colon that is not that of a port.
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
    }
}
