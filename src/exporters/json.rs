//! Writes JSON straight into a buffer, without a tree in between, and places the commas.

use crate::otlp::{
    json,
    view::{KeyValue, Text, Value},
};

/// A document in the making.
#[derive(Debug)]
pub(super) struct Json {
    pub(super) out: Vec<u8>,
    /// Whether something comes before in the same object or list.
    follows: bool,
    /// Once `out` is longer, nothing more is written.
    most: usize,
    /// Whether a text was too long for the bytes that were left.
    is_cut: bool,
}

impl Default for Json {
    fn default() -> Self {
        Json::appending(Vec::new())
    }
}

/// Deepest nested value; deeper ones are left out, since senders choose the depth.
const DEPTH: usize = 16;

impl Json {
    /// Has room for documents of so many bytes.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Json::appending(Vec::with_capacity(bytes))
    }

    /// Appends to `out`.
    pub(super) fn appending(out: Vec<u8>) -> Self {
        Json { out, follows: false, most: usize::MAX, is_cut: false }
    }

    /// Stops a few bytes after `out` is longer than this, so that nested or escaped values of a
    /// sender take no more memory. See [`Json::is_over`].
    pub(super) fn at_most(self, most: usize) -> Self {
        Json { most, ..self }
    }

    /// Like [`Json::at_most`], from here on.
    pub(super) fn bound(&mut self, most: usize) {
        self.most = most;
    }

    /// Whether something is missing, so that it is not valid JSON.
    pub(super) fn is_over(&self) -> bool {
        self.is_cut || self.out.len() > self.most
    }

    /// Begins a document again at this length.
    pub(super) fn restart(&mut self, at: usize) {
        self.out.truncate(at);
        self.follows = false;
        self.is_cut = false;
    }

    /// Writes something if the text is then no longer than `most`. Returns whether it was written.
    pub(super) fn within(&mut self, most: usize, write: impl FnOnce(&mut Self)) -> bool {
        let (len, follows) = (self.out.len(), self.follows);
        write(self);
        let fits = self.out.len() <= most && !self.is_over();
        if !fits {
            self.out.truncate(len);
            self.follows = follows;
            self.is_cut = false;
        }
        fits
    }

    fn separate(&mut self) {
        if self.follows && !self.is_over() {
            self.out.push(b',');
        }
        self.follows = true;
    }

    pub(super) fn begin(&mut self) {
        self.raw(b"{");
        self.follows = false;
    }

    pub(super) fn end(&mut self) {
        self.follows = false;
        self.raw(b"}");
    }

    pub(super) fn begin_list(&mut self) {
        self.raw(b"[");
        self.follows = false;
    }

    pub(super) fn end_list(&mut self) {
        self.follows = false;
        self.raw(b"]");
    }

    /// What comes next is its value.
    pub(super) fn key(&mut self, key: &[u8]) {
        self.text(key);
        self.follows = false;
        self.raw(b":");
        self.follows = false;
    }

    /// A key of ours, in which nothing is to be escaped.
    fn own_key(&mut self, key: &str) {
        self.separate();
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.follows = false;
    }

    /// An object as the value of a key.
    pub(super) fn begin_at(&mut self, key: &str) {
        self.own_key(key);
        self.begin();
    }

    /// Writes an object as the value of a key, unless it is empty.
    pub(super) fn object_at(&mut self, key: &str, fill: impl FnOnce(&mut Self)) {
        let (len, follows) = (self.out.len(), self.follows);
        self.begin_at(key);
        let from = self.out.len();
        fill(self);
        if self.out.len() == from {
            self.out.truncate(len);
            self.follows = follows;
        } else {
            self.end();
        }
    }

    pub(super) fn text_at(&mut self, key: &str, text: &[u8]) {
        self.own_key(key);
        self.text(text);
    }

    /// JSON as the value of a key.
    pub(super) fn raw_at(&mut self, key: &str, json: &[u8]) {
        self.own_key(key);
        self.raw(json);
    }

    pub(super) fn value_at(&mut self, key: &str, value: Value<'_>) {
        self.own_key(key);
        self.value(value);
    }

    /// A text that the caller appends to `out`, in which nothing is to be escaped.
    pub(super) fn begin_text_at(&mut self, key: &str) {
        self.own_key(key);
        self.separate();
        self.out.push(b'"');
    }

    pub(super) fn end_text(&mut self) {
        self.out.push(b'"');
    }

    pub(super) fn truth_at(&mut self, key: &str, truth: bool) {
        self.own_key(key);
        self.raw(if truth { b"true" } else { b"false" });
    }

    pub(super) fn int_at(&mut self, key: &str, number: i64) {
        self.own_key(key);
        self.int(number);
    }

    /// Writes a member, and takes it away again where its value has more than `most` bytes.
    pub(super) fn member(&mut self, key: &[u8], value: Value<'_>, most: usize) {
        let (len, follows, was_cut) = (self.out.len(), self.follows, self.is_cut);
        self.key(key);
        let from = self.out.len();
        self.value(value);
        if self.out.len() - from > most {
            self.out.truncate(len);
            (self.follows, self.is_cut) = (follows, was_cut);
        }
    }

    /// No comma comes before what follows: the caller has written to `out` itself.
    pub(super) fn without_comma(&mut self) {
        self.follows = false;
    }

    /// Writes a text that is already JSON.
    pub(super) fn raw(&mut self, json: &[u8]) {
        self.separate();
        if !self.is_over() {
            self.out.extend_from_slice(json);
        }
    }

    pub(super) fn int(&mut self, number: i64) {
        self.raw(itoa::Buffer::new().format(number).as_bytes());
    }

    /// A number; what JSON has none for is text: `"NaN"`, `"Infinity"`, `"-Infinity"`
    /// (OpenTelemetry, `AnyValue` for protocols other than OTLP).
    pub(super) fn double(&mut self, number: f64) {
        self.separate();
        json::write_double(number, &mut self.out);
    }

    pub(super) fn double_at(&mut self, key: &str, number: f64) {
        self.own_key(key);
        self.double(number);
    }

    pub(super) fn count(&mut self, number: u64) {
        self.raw(itoa::Buffer::new().format(number).as_bytes());
    }

    pub(super) fn count_at(&mut self, key: &str, number: u64) {
        self.own_key(key);
        self.count(number);
    }

    /// Nanoseconds since 1970 as seconds, exact.
    pub(super) fn seconds_at(&mut self, key: &str, nanos: u64) {
        self.own_key(key);
        self.int((nanos / 1_000_000_000).cast_signed());
        let rest = nanos % 1_000_000_000;
        if rest > 0 {
            // A digit in front keeps the zeros.
            let mut buffer = itoa::Buffer::new();
            let digits = buffer.format(1_000_000_000 + rest).as_bytes();
            let end = digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
            self.out.push(b'.');
            self.out.extend_from_slice(&digits[1..end]);
        }
    }

    /// A text; what is not UTF-8 in it becomes U+FFFD.
    pub(super) fn text(&mut self, text: &[u8]) {
        self.separate();
        let mut text = text;
        let left = self.left();
        if text.len().saturating_mul(6) > left {
            let start = prefix(text, left);
            self.is_cut |= start.len() < text.len();
            text = start;
        }
        if is_plain(text) {
            self.out.push(b'"');
            self.out.extend_from_slice(text);
            self.out.push(b'"');
            return;
        }
        match simdutf8::basic::from_utf8(text) {
            Ok(text) => json::write_text(text, &mut self.out),
            Err(_) => json::write_text(&String::from_utf8_lossy(text), &mut self.out),
        }
    }

    fn left(&self) -> usize {
        if self.is_over() { 0 } else { self.most - self.out.len() }
    }

    /// Any value. Bytes are base64; what is nested too deep is null.
    pub(super) fn value(&mut self, value: Value<'_>) {
        self.nested(value, DEPTH);
    }

    fn nested(&mut self, value: Value<'_>, depth: usize) {
        match value {
            Value::String(Text(text)) => self.text(text),
            Value::Bool(truth) => self.raw(if truth { b"true" } else { b"false" }),
            Value::Int(number) => self.int(number),
            Value::Double(number) => self.double(number),
            Value::Bytes(bytes) => {
                use base64::Engine as _;
                let bytes = &bytes[..bytes.len().min(self.left().saturating_add(3))];
                self.text(base64::engine::general_purpose::STANDARD.encode(bytes).as_bytes());
            }
            Value::Array(array) if depth > 0 => {
                self.begin_list();
                for value in array.values() {
                    if self.is_over() {
                        break;
                    }
                    self.nested(value, depth - 1);
                }
                self.end_list();
            }
            Value::KeyValues(map) if depth > 0 => {
                self.begin();
                for KeyValue { key, value, .. } in map.entries() {
                    if self.is_over() {
                        break;
                    }
                    self.key(key.0);
                    self.nested(value.unwrap_or_default(), depth - 1);
                }
                self.end();
            }
            _ => self.raw(b"null"),
        }
    }
}

/// All of a text, or as much as makes more than `most` bytes of JSON.
fn prefix(text: &[u8], most: usize) -> &[u8] {
    // What is not UTF-8 becomes U+FFFD.
    let odd = if simdutf8::basic::from_utf8(text).is_ok() { 1 } else { 3 };
    let mut made = 0;
    let end = text.iter().position(|byte| {
        made += match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 2,
            0..0x20 => 6,
            0x80.. => odd,
            _ => 1,
        };
        made > most
    });
    end.map_or(text, |end| &text[..end])
}

/// Whether it is ASCII of which nothing is escaped; nearly all texts are, and need no look at their
/// UTF-8. Without branches, so that many bytes are looked at at a time.
fn is_plain(text: &[u8]) -> bool {
    let is_odd = |byte: u8| {
        u8::from(byte == b'"') | u8::from(byte == b'\\') | u8::from(byte.wrapping_sub(0x20) >= 0x60)
    };
    text.chunks(32).all(|some| some.iter().fold(0, |all, byte| all | is_odd(*byte)) == 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_read_back(bytes: Vec<u8>) {
            let mut json = Json::default();
            json.text(&bytes);
            let text: String = serde_json::from_slice(&json.out).unwrap();
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn any_double_is_read_back(number: f64) {
            let mut json = Json::default();
            json.value(Value::Double(number));
            match serde_json::from_slice(&json.out).unwrap() {
                serde_json::Value::Number(read) => prop_assert_eq!(read.as_f64(), Some(number)),
                serde_json::Value::String(read) => {
                    prop_assert!(!number.is_finite());
                    prop_assert_eq!(read.parse::<f64>().unwrap().to_string(), number.to_string());
                }
                other => prop_assert!(false, "{other}"),
            }
        }

        #[test]
        fn times_are_exact(nanos in 0_u64..1 << 62) {
            let mut json = Json::default();
            json.begin();
            json.seconds_at("t", nanos);
            json.end();
            let text = String::from_utf8(json.out).unwrap();
            let text = text.trim_start_matches("{\"t\":").trim_end_matches('}');
            let (whole, part) = text.split_once('.').unwrap_or((text, ""));
            let part = format!("{part:0<9}");
            prop_assert_eq!(format!("{whole}{part}").parse::<u64>().unwrap(), nanos);
        }
    }
}
