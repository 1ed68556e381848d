//! Reads JSON that SDKs write, which is not always JSON: bare `NaN` and `Infinity`, halves of
//! surrogate pairs, bytes that are not UTF-8, text that ends too early. The reader keeps what it
//! can read; what it cannot read becomes `null` or U+FFFD, and it counts each such repair.
//!
//! It makes a tree of borrowed values, and leaves numbers as they are written, so that they are
//! written back in the same form. The caller limits the length of a document: a tree takes up to
//! 48 times its memory. Nothing here fails or panics.
//!
//! The receivers `awsxray` and `rollbar` share this file.

use std::{
    borrow::Cow,
    collections::{HashMap, hash_map::Entry},
};

use crate::otlp::json::{self, number::is_number};

/// Deepest nesting that is read. Each level of subsegments takes two; deeper values become `null`.
const DEPTH_LIMIT: usize = 200;

/// From this many members on, repeated names are found by hash.
const FEW: usize = 16;

/// The members of an object, in order, each name once.
pub(super) type Members<'a> = Vec<(Cow<'a, str>, Json<'a>)>;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json<'a> {
    /// `null`, or a value that could not be read.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// The text of a valid JSON number.
    Number(&'a str),
    /// Text with its escapes resolved.
    Text(Cow<'a, str>),
    /// `[...]`
    List(Vec<Json<'a>>),
    /// `{...}`
    Map(Members<'a>),
}

/// A member by name.
pub(super) fn find<'m, 'a>(members: &'m [(Cow<'a, str>, Json<'a>)], key: &str) -> &'m Json<'a> {
    members.iter().find(|(name, _)| name == key).map_or(&Json::Null, |(_, value)| value)
}

impl Json<'_> {
    /// Whether it is `null` or an empty text, list or object. SDKs write these for unknown values.
    pub(super) fn is_nothing(&self) -> bool {
        match self {
            Json::Null => true,
            Json::Bool(_) | Json::Number(_) => false,
            Json::Text(text) => text.is_empty(),
            Json::List(values) => values.is_empty(),
            Json::Map(members) => members.is_empty(),
        }
    }

    /// The text of a possible number, quoted or not.
    pub(super) fn number(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            Json::Number(text) => Some(text),
            _ => None,
        }
    }

    /// Appends the value as strict JSON in one line.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Json::Null => out.extend_from_slice(b"null"),
            Json::Bool(true) => out.extend_from_slice(b"true"),
            Json::Bool(false) => out.extend_from_slice(b"false"),
            Json::Number(text) => out.extend_from_slice(text.as_bytes()),
            Json::Text(text) => json::write_text(text, out),
            Json::List(values) => {
                out.push(b'[');
                for (i, value) in values.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    value.write(out);
                }
                out.push(b']');
            }
            Json::Map(members) => write_members(members.iter(), out),
        }
    }
}

/// Appends an object without one of its members; the name of none is empty.
pub(super) fn write_map(members: &Members<'_>, except: &str, out: &mut Vec<u8>) {
    let is_left = |(name, _): &&(Cow<'_, str>, Json<'_>)| except.is_empty() || name != except;
    write_members(members.iter().filter(is_left), out);
}

fn write_members<'m>(
    members: impl Iterator<Item = &'m (Cow<'m, str>, Json<'m>)>,
    out: &mut Vec<u8>,
) {
    out.push(b'{');
    for (i, (name, value)) in members.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        json::write_text(name, out);
        out.push(b':');
        value.write(out);
    }
    out.push(b'}');
}

/// Reads one document. Also returns the number of repairs.
pub(super) fn parse(text: &str) -> (Json<'_>, u64) {
    let mut reader = Reader { text, at: 0, repairs: 0 };
    let value = reader.value(0);
    (value, reader.repairs)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    repairs: u64,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    /// Nothing after this position can be trusted: all open lists and objects end here.
    fn give_up(&mut self) {
        if self.at < self.text.len() || self.text.is_empty() {
            self.at = self.text.len();
        }
        self.repairs += 1;
    }

    fn value(&mut self, depth: usize) -> Json<'a> {
        self.blanks();
        match self.peek() {
            Some(b'{' | b'[') if depth == DEPTH_LIMIT => {
                self.repairs += 1;
                self.skip();
                Json::Null
            }
            Some(b'{') => self.map(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => self.string().map_or(Json::Null, Json::Text),
            Some(_) => self.word(depth),
            None => {
                self.give_up();
                Json::Null
            }
        }
    }

    fn map(&mut self, depth: usize) -> Json<'a> {
        self.at += 1;
        let mut members = Members::new();
        loop {
            self.blanks();
            match self.peek() {
                Some(b'}') => {
                    self.at += 1;
                    break;
                }
                Some(b',') => self.at += 1,
                Some(b'"') => {
                    let Some(name) = self.string() else { break };
                    self.blanks();
                    if self.peek() != Some(b':') {
                        self.give_up();
                        break;
                    }
                    self.at += 1;
                    let value = self.value(depth + 1);
                    members.push((name, value));
                }
                _ => {
                    self.give_up();
                    break;
                }
            }
        }
        Json::Map(self.each_once(members))
    }

    /// If a name occurs twice, the last value counts, as in the readers of all SDKs.
    fn each_once(&mut self, members: Members<'a>) -> Members<'a> {
        let is_unique = |members: &Members<'_>| {
            let before = |i: usize| members[..i].iter().any(|(name, _)| *name == members[i].0);
            members.len() < FEW && !(1..members.len()).any(before)
        };
        if is_unique(&members) {
            return members;
        }
        let mut places = HashMap::new();
        let mut unique = Members::new();
        for (name, value) in members {
            match places.entry(name.clone()) {
                Entry::Vacant(place) => {
                    place.insert(unique.len());
                    unique.push((name, value));
                }
                Entry::Occupied(place) => {
                    let (_, old): &mut (Cow<'a, str>, Json<'a>) = &mut unique[*place.get()];
                    *old = value;
                    self.repairs += 1;
                }
            }
        }
        unique
    }

    fn list(&mut self, depth: usize) -> Json<'a> {
        self.at += 1;
        let mut values = Vec::new();
        loop {
            self.blanks();
            match self.peek() {
                Some(b']') => {
                    self.at += 1;
                    break;
                }
                Some(b',') => self.at += 1,
                None | Some(b'}' | b':') => {
                    self.give_up();
                    break;
                }
                Some(_) => values.push(self.value(depth + 1)),
            }
        }
        Json::List(values)
    }

    /// A string with its quotes; `None` if it does not end.
    fn string(&mut self) -> Option<Cow<'a, str>> {
        let text = self.text;
        let start = self.at + 1;
        let Some(len) = text[start..].find(['"', '\\']) else {
            self.give_up();
            return None;
        };
        if text.as_bytes()[start + len] == b'"' {
            self.at = start + len + 1;
            return Some(Cow::Borrowed(&text[start..start + len]));
        }
        let mut owned = text[start..start + len].to_owned();
        self.at = start + len;
        loop {
            let rest = &text[self.at..];
            let Some(len) = rest.find(['"', '\\']) else {
                self.give_up();
                return None;
            };
            owned.push_str(&rest[..len]);
            self.at += len + 1;
            if rest.as_bytes()[len] == b'"' {
                return Some(Cow::Owned(owned));
            }
            self.escape(&mut owned);
        }
    }

    /// The character of an escape, after the backslash.
    fn escape(&mut self, out: &mut String) {
        let Some(character) = self.text[self.at..].chars().next() else { return };
        self.at += character.len_utf8();
        out.push(match character {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            '"' | '\\' | '/' => character,
            'u' => self.unit(),
            other => {
                self.repairs += 1;
                other
            }
        });
    }

    /// The character of `\uXXXX`, or of two of them that make a pair.
    fn unit(&mut self) -> char {
        let first = self.four_digits();
        let paired = match first {
            Some(high @ 0xD800..0xDC00) if self.text[self.at..].starts_with("\\u") => {
                let before = self.at;
                self.at += 2;
                if let Some(low @ 0xDC00..0xE000) = self.four_digits() {
                    Some(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))
                } else {
                    self.at = before;
                    None
                }
            }
            other => other,
        };
        paired.and_then(char::from_u32).unwrap_or_else(|| {
            self.repairs += 1;
            char::REPLACEMENT_CHARACTER
        })
    }

    fn four_digits(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let value = is_hex.then(|| u32::from_str_radix(digits, 16).ok()).flatten()?;
        self.at += 4;
        Some(value)
    }

    /// A number, `true`, `false`, `null`, or an invalid token.
    fn word(&mut self, depth: usize) -> Json<'a> {
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| matches!(c, ',' | '}' | ']' | ':') || c.is_whitespace());
        let word = &rest[..end.unwrap_or(rest.len())];
        if word.is_empty() {
            self.give_up();
            return Json::Null;
        }
        self.at += word.len();
        match word {
            "null" => Json::Null,
            "true" => Json::Bool(true),
            "false" => Json::Bool(false),
            // A number at the end of the text may have lost its last digits.
            number if is_number(number) && (end.is_some() || depth == 0) => Json::Number(number),
            _ => {
                self.repairs += 1;
                Json::Null
            }
        }
    }

    /// Skips a value that is nested too deeply.
    fn skip(&mut self) {
        let mut open = 0_usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    if self.string().is_none() {
                        return;
                    }
                    continue;
                }
                b'{' | b'[' => open += 1,
                b'}' | b']' => open -= 1,
                _ => {}
            }
            self.at += 1;
            if open == 0 {
                return;
            }
        }
        self.repairs += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn again(text: &str) -> (String, u64) {
        let (value, repairs) = parse(text);
        let mut out = Vec::new();
        value.write(&mut out);
        (String::from_utf8(out).unwrap(), repairs)
    }

    #[test]
    fn what_is_not_json_is_repaired() {
        for (text, expected, repairs) in [
            (r#" {"a" : [1, 2.50, -1e3]} "#, r#"{"a":[1,2.50,-1e3]}"#, 0),
            (r#"{"a":NaN,"b":-Infinity,"c":1}"#, r#"{"a":null,"b":null,"c":1}"#, 2),
            (r#"["\ud83d\ude00\n\/"]"#, "[\"\u{1f600}\\n/\"]", 0),
            (
                r#"["\ud800","\ude00x","\ud800\u0041"]"#,
                "[\"\u{fffd}\",\"\u{fffd}x\",\"\u{fffd}A\"]",
                3,
            ),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#, 1),
            (r#"{"a":1,"b":"un"#, r#"{"a":1,"b":null}"#, 2),
            (r#"{"a":1,"b":12"#, r#"{"a":1,"b":null}"#, 2),
            (r#"{"a":01,"b":+1,"c":.5}"#, r#"{"a":null,"b":null,"c":null}"#, 3),
            (r#"{"a":[1 2}"#, r#"{"a":[1,2]}"#, 2),
            (r#"{"a"}"#, "{}", 1),
            ("", "null", 1),
        ] {
            let (written, counted) = again(text);
            assert_eq!(written, expected, "{text}");
            assert_eq!(counted > 0, repairs > 0, "{text}: {counted}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let (written, repairs) = again(&format!("{{\"a\":{},\"b\":1}}", "[".repeat(60_000)));
        assert!(repairs > 0 && written.len() < 1000, "{written}");
        let deep = format!("{{\"a\":{}{},\"b\":1}}", "[".repeat(5_000), "]".repeat(5_000));
        assert!(again(&deep).0.ends_with(",\"b\":1}"), "what follows is read");
    }

    proptest! {
        #[test]
        fn any_text_is_read_and_written_as_json(text in r#"[\[\]{}",:\\u0-9a-fNn .eE+-]{0,60}"#) {
            let (written, _) = again(&text);
            prop_assert!(serde_json::from_str::<serde_json::Value>(&written).is_ok(), "{}", written);
            let (second, repairs) = again(&written);
            prop_assert_eq!(second, written, "stable");
            prop_assert_eq!(repairs, 0);
        }

        #[test]
        fn json_is_read_as_serde_reads_it(text: String, number: f64, list: Vec<i64>) {
            let value = serde_json::json!({"m": {&*text: [true, null]}, "n": number, "l": list, "t": text});
            let (written, repairs) = again(&value.to_string());
            prop_assert_eq!(repairs, 0);
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap(), value);
        }
    }
}
