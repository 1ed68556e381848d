//! A datagram and the document in it: framing, the fields that every (sub)segment has, and the
//! count of repairs.

use std::{borrow::Cow, cell::Cell};

use crate::{
    otlp::json::number,
    receivers::json::{self, Json, Members, find},
};

/// Why a datagram was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It does not have a header, a line feed and a document.
    #[error("there is no header line")]
    NoHeader,
    /// The header is not `{"format":"json","version":1}`.
    #[error("the header is not {{\"format\":\"json\",\"version\":1}}")]
    Header,
    /// There is nothing after the header.
    #[error("there is no document after the header")]
    NoDocument,
    /// The document is not a JSON object.
    #[error("the document is not a JSON object")]
    NoObject,
    /// It lacks a field without which it cannot be a span.
    #[error("the document has no valid `{0}`")]
    Missing(&'static str),
}

/// The result of translating a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Translated {
    /// Spans that were written.
    pub spans: u64,
    /// Fields that were repaired or left out.
    pub repairs: u64,
    /// Nested subsegments that were left out because they lack a name, an id or a start.
    pub skipped: u64,
}

/// Counts repairs while a document is read.
#[derive(Debug, Default)]
pub(super) struct Notes {
    repairs: Cell<u64>,
}

/// The document of a datagram: the text after the first line, which must be the known header.
pub(super) fn unframe(datagram: &[u8]) -> Result<&[u8], Refused> {
    let end = datagram.iter().position(|byte| *byte == b'\n').ok_or(Refused::NoHeader)?;
    let (header, document) = datagram.split_at(end);
    let header = std::str::from_utf8(header).map_err(|_| Refused::Header)?;
    let (Json::Map(header), _) = json::parse(header.trim()) else { return Err(Refused::Header) };
    let is_json =
        matches!(find(&header, "format"), Json::Text(name) if name.eq_ignore_ascii_case("json"));
    let is_first = matches!(find(&header, "version"), Json::Number("1" | "1.0"));
    if !is_json || !is_first {
        return Err(Refused::Header);
    }
    let document = document.trim_ascii();
    if document.is_empty() { Err(Refused::NoDocument) } else { Ok(document) }
}

impl Notes {
    /// How often [`Notes::repaired`] was called.
    pub(super) fn repairs(&self) -> u64 {
        self.repairs.get()
    }

    /// Counts a field that was repaired or left out.
    pub(super) fn repaired(&self) {
        self.repairs.set(self.repairs.get() + 1);
    }

    fn repaired_some(&self, count: u64) {
        self.repairs.set(self.repairs.get() + count);
    }

    /// Reads a document whose bytes are text.
    pub(super) fn object<'a>(&self, text: &'a str) -> Result<Members<'a>, Refused> {
        let (json, repairs) = json::parse(text);
        self.repaired_some(repairs);
        match json {
            Json::Map(members) => Ok(members),
            _ => Err(Refused::NoObject),
        }
    }

    fn wrong<T>(&self, json: &Json<'_>) -> Option<T> {
        if *json != Json::Null {
            self.repaired();
        }
        None
    }

    /// Text that is not empty, or a number as text.
    pub(super) fn text<'m>(&self, members: &'m Members<'_>, key: &str) -> Option<&'m str> {
        match find(members, key) {
            Json::Text(text) if text.is_empty() => None,
            Json::Text(text) => Some(text),
            Json::Number(text) => Some(text),
            other => self.wrong(other),
        }
    }

    /// True or false, also as text.
    pub(super) fn flag(&self, members: &Members<'_>, key: &str) -> Option<bool> {
        match find(members, key) {
            Json::Bool(flag) => Some(*flag),
            Json::Text(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Json::Text(text) if text.eq_ignore_ascii_case("false") => Some(false),
            other => self.wrong(other),
        }
    }

    /// A whole number of 64 bits, in any of the spellings of [`number::integer`].
    pub(super) fn int(&self, members: &Members<'_>, key: &str) -> Option<i64> {
        let json = find(members, key);
        let number = json
            .number()
            .and_then(|text| number::integer(text, i64::MIN.into()..=i64::MAX.into()).ok());
        number.and_then(|number| i64::try_from(number).ok()).or_else(|| self.wrong(json))
    }

    /// The members of an object.
    pub(super) fn map<'m, 'a>(
        &self,
        members: &'m Members<'a>,
        key: &str,
    ) -> Option<&'m Members<'a>> {
        match find(members, key) {
            Json::Map(inner) => Some(inner),
            other => self.wrong(other),
        }
    }

    /// The values of a list; `None` if there is no list.
    pub(super) fn list<'m, 'a>(&self, members: &'m Members<'a>, key: &str) -> &'m [Json<'a>] {
        match find(members, key) {
            Json::List(values) => values,
            other => {
                self.wrong::<()>(other);
                &[]
            }
        }
    }

    /// The texts of a list; other values are left out.
    pub(super) fn texts<'m>(&self, members: &'m Members<'_>, key: &str) -> Vec<&'m str> {
        let texts = self.list(members, key).iter().filter_map(|value| match value {
            Json::Text(text) => Some(&**text),
            other => self.wrong(other),
        });
        texts.collect()
    }

    /// Sixteen hexadecimal digits that are not all zero.
    pub(super) fn span_id(&self, members: &Members<'_>, key: &str) -> Option<[u8; 8]> {
        let text = self.text(members, key)?;
        let id = span_id(text);
        if id.is_none() {
            self.repaired();
        }
        id
    }

    /// Seconds since 1970 as nanoseconds.
    pub(super) fn time(&self, members: &Members<'_>, key: &str) -> Option<u64> {
        let json = find(members, key);
        json.number().and_then(nanos).or_else(|| self.wrong(json))
    }
}

/// Bytes as text; invalid UTF-8 becomes U+FFFD.
pub(super) fn as_text<'a>(bytes: &'a [u8], notes: &Notes) -> Cow<'a, str> {
    let text = String::from_utf8_lossy(bytes);
    if matches!(text, Cow::Owned(_)) {
        notes.repaired();
    }
    text
}

/// Eight bytes in hexadecimal; `None` if all are zero.
pub(super) fn span_id(text: &str) -> Option<[u8; 8]> {
    if text.len() != 16 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let id = u64::from_str_radix(text, 16).ok()?;
    (id != 0).then(|| id.to_be_bytes())
}

/// Reads `1-`, eight digits, `-`, 24 digits into the bytes of the digits; `None` if all are zero.
pub(super) fn trace_id(text: &str) -> Option<[u8; 16]> {
    let (time, rest) = text.strip_prefix("1-")?.split_once('-')?;
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if time.len() != 8 || rest.len() != 24 || !is_hex(time) || !is_hex(rest) {
        return None;
    }
    let time = u128::from_str_radix(time, 16).ok()?;
    let id = time << 96 | u128::from_str_radix(rest, 16).ok()?;
    (id != 0).then(|| id.to_be_bytes())
}

/// Latest valid time in seconds: the year 2554, the limit of nanoseconds in 64 bits.
const LATEST: f64 = 1.8e10;

/// Seconds as nanoseconds, rounded to microseconds, the precision of a double of this size.
fn nanos(text: &str) -> Option<u64> {
    let seconds = number::double(text).ok()?;
    if !(0.0..LATEST).contains(&seconds) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in bounds")]
    let micros = (seconds * 1e6).round() as u64;
    Some(micros * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_known_in_any_case_and_order() {
        for header in [
            r#"{"format":"json","version":1}"#,
            r#"{"format": "JSON", "version": 1}"#,
            r#"{"version":1,"format":"json"}"#,
        ] {
            assert_eq!(unframe(format!("{header}\n{{}}").as_bytes()), Ok(&b"{}"[..]), "{header}");
        }
        for (datagram, why) in [
            (r#"{"format":"json","version":1}"#, Refused::NoHeader),
            ("{\"format\":\"json\",\"version\":1}\n ", Refused::NoDocument),
            ("{\"format\":\"json\",\"version\":2}\n{}", Refused::Header),
            ("{\"format\":\"xml\",\"version\":1}\n{}", Refused::Header),
            ("\n{}", Refused::Header),
            ("", Refused::NoHeader),
        ] {
            assert_eq!(unframe(datagram.as_bytes()), Err(why), "{datagram}");
        }
    }

    #[test]
    fn ids_have_their_exact_form() {
        let id = trace_id("1-4bf92f35-77b34da6a3ce929d0e0e4736").unwrap();
        assert_eq!(u128::from_be_bytes(id), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        for wrong in [
            "1-4bf92f35-77b34da6a3ce929d0e0e47360",
            "1-4bf92f35077b34da6a3ce929d0e0e47366",
            "2-4bf92f35-77b34da6a3ce929d0e0e4736",
            "1-00000000-000000000000000000000000",
            "1-4bf92f3+-77b34da6a3ce929d0e0e4736",
            "4bf92f3577b34da6a3ce929d0e0e4736",
            "",
        ] {
            assert_eq!(trace_id(wrong), None, "{wrong}");
        }
        assert_eq!(span_id("00000000000000FF"), Some([0, 0, 0, 0, 0, 0, 0, 255]));
        for wrong in ["0000000000000000", "+000000000000001", "1", "00000000000000001"] {
            assert_eq!(span_id(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn times_are_exact_to_the_microsecond() {
        assert_eq!(nanos("1760600498.25"), Some(1_760_600_498_250_000_000));
        assert_eq!(nanos("1760600498.123457"), Some(1_760_600_498_123_457_000));
        assert_eq!(nanos("1.760600498E9"), Some(1_760_600_498_000_000_000));
        for wrong in ["-1", "1e300", "1760600498250", "NaN", "", "x"] {
            assert_eq!(nanos(wrong), None, "{wrong}");
        }
    }
}
