//! A message that is a JSON object as the fields of an OTLP map.
//!
//! The text is read in one pass and written as protobuf at once, without a tree in between. Each
//! text or number at the top is shown to a [`Notice`], which keeps what the record needs. A message
//! that is not a JSON object, is nested deeper than [`DEPTH`] or has an unreadable number leaves
//! nothing behind; the caller then keeps its text. Whole numbers beyond 64 bits become text, so
//! that no digit is lost.

use std::{borrow::Cow, fmt, ops::Range};

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor},
};

use crate::otlp::wire::{WireType, put_bytes, put_varint, tag, varint_len};

/// Deepest nesting that becomes a map. Each level takes three of the 64 levels that OTLP may have.
const DEPTH: u32 = 16;

/// Fields of `AnyValue`.
const STRING: u32 = 1;
const BOOL: u32 = 2;
const INT: u32 = 3;
const DOUBLE: u32 = 4;
const ARRAY: u32 = 5;
const MAP: u32 = 6;

/// A value at the top of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Noted {
    /// Where its text is in what was written.
    Text(Range<usize>),
    /// A whole number.
    Int(i64),
}

/// Is shown the texts and whole numbers at the top of a message.
pub(super) trait Notice {
    /// One of them, by its key.
    fn note(&mut self, key: &str, value: Noted, written: &[u8]);
}

/// What came of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Map {
    /// Its fields were appended.
    Written,
    /// It is not a JSON object; nothing was appended.
    NotOne,
    /// It would take more bytes than it may; nothing was appended.
    TooLarge,
}

/// Appends the fields of a `KeyValueList`, of at most `most` bytes.
pub(super) fn write_map(
    text: &str,
    most: usize,
    notice: &mut dyn Notice,
    out: &mut Vec<u8>,
) -> Map {
    let from = out.len();
    let mut json = serde_json::Deserializer::from_str(text);
    let mut writer = Writer { out, most: from.saturating_add(most), is_full: false };
    let read = Fields { writer: &mut writer, depth: DEPTH, notice: Some(notice) };
    let is_whole = json.deserialize_map(read).and_then(|()| json.end()).is_ok();
    let is_full = writer.is_full;
    if is_whole {
        return Map::Written;
    }
    out.truncate(from);
    if is_full { Map::TooLarge } else { Map::NotOne }
}

/// Bytes in the making.
struct Writer<'o> {
    out: &'o mut Vec<u8>,
    /// Longest that they may become.
    most: usize,
    /// Whether they became longer, which ends the reading.
    is_full: bool,
}

impl Writer<'_> {
    fn check<E: Error>(&mut self) -> Result<(), E> {
        if self.out.len() > self.most {
            self.is_full = true;
            return Err(E::custom("too many bytes"));
        }
        Ok(())
    }

    /// A field whose length is known only after `content` has been written. One byte is left for
    /// it, and the content is moved where it takes more.
    fn delimited<E: Error>(
        &mut self,
        number: u32,
        content: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.check()?;
        put_varint(self.out, tag(number, WireType::Len));
        let at = self.out.len();
        self.out.push(0);
        content(self)?;
        let len = self.out.len() - at - 1;
        let more = varint_len(len as u64) - 1;
        if more > 0 {
            self.out.resize(self.out.len() + more, 0);
            self.out.copy_within(at + 1..at + 1 + len, at + 1 + more);
        }
        let mut rest = len as u64;
        for byte in &mut self.out[at..=at + more] {
            *byte = (rest & 0x7F) as u8 | 0x80;
            rest >>= 7;
        }
        self.out[at + more] &= 0x7F;
        Ok(())
    }

    fn double(&mut self, value: f64) {
        put_varint(self.out, tag(DOUBLE, WireType::Fixed64));
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    fn int(&mut self, value: i64) {
        put_varint(self.out, tag(INT, WireType::Varint));
        put_varint(self.out, value.cast_unsigned());
    }
}

/// What kind of value was written, for a [`Notice`].
#[derive(Debug, Clone, Copy)]
enum Written {
    /// A text of so many bytes, at the end of the output.
    Text(usize),
    Int(i64),
    Other,
}

/// An object as the fields of a `KeyValueList`.
struct Fields<'w, 'o, 'n> {
    writer: &'w mut Writer<'o>,
    depth: u32,
    notice: Option<&'n mut dyn Notice>,
}

impl<'de> Visitor<'de> for Fields<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Fields { writer, depth, mut notice } = self;
        let Some(depth) = depth.checked_sub(1) else {
            return Err(A::Error::custom("nested too deep"));
        };
        while let Some(key) = map.next_key::<Key<'de>>()? {
            let mut written = Written::Other;
            writer.delimited(1, |writer| {
                put_bytes(writer.out, 1, key.0.as_bytes());
                writer.delimited(2, |writer| {
                    written = map.next_value_seed(Value { writer, depth })?;
                    Ok(())
                })
            })?;
            let Some(notice) = notice.as_deref_mut() else { continue };
            let end = writer.out.len();
            match written {
                Written::Text(len) => {
                    notice.note(&key.0, Noted::Text(end - len..end), writer.out);
                }
                Written::Int(value) => notice.note(&key.0, Noted::Int(value), writer.out),
                Written::Other => {}
            }
        }
        Ok(())
    }
}

/// A key, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Key<'k>(#[serde(borrow)] Cow<'k, str>);

/// Any value as the field of an `AnyValue`.
struct Value<'w, 'o> {
    writer: &'w mut Writer<'o>,
    depth: u32,
}

impl<'de> DeserializeSeed<'de> for Value<'_, '_> {
    type Value = Written;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Written, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_, '_> {
    type Value = Written;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Written, E> {
        Ok(Written::Other)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Written, E> {
        put_varint(self.writer.out, tag(BOOL, WireType::Varint));
        put_varint(self.writer.out, value.into());
        Ok(Written::Other)
    }

    fn visit_i64<E>(self, value: i64) -> Result<Written, E> {
        self.writer.int(value);
        Ok(Written::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Written, E> {
        if let Ok(value) = i64::try_from(value) {
            self.writer.int(value);
            return Ok(Written::Int(value));
        }
        put_bytes(self.writer.out, STRING, value.to_string().as_bytes());
        Ok(Written::Other)
    }

    fn visit_f64<E>(self, value: f64) -> Result<Written, E> {
        self.writer.double(value);
        Ok(Written::Other)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Written, E> {
        put_bytes(self.writer.out, STRING, text.as_bytes());
        self.writer.check()?;
        Ok(Written::Text(text.len()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Written, A::Error> {
        let Value { writer, depth } = self;
        let Some(depth) = depth.checked_sub(1) else {
            return Err(A::Error::custom("nested too deep"));
        };
        writer.delimited(ARRAY, |writer| {
            loop {
                let mut is_end = false;
                let before = writer.out.len();
                writer.delimited(1, |writer| {
                    is_end = seq.next_element_seed(Value { writer, depth })?.is_none();
                    Ok(())
                })?;
                if is_end {
                    writer.out.truncate(before);
                    return Ok(());
                }
            }
        })?;
        Ok(Written::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Written, A::Error> {
        let Value { writer, depth } = self;
        writer.delimited(MAP, |writer| Fields { writer, depth, notice: None }.visit_map(map))?;
        Ok(Written::Other)
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValueList, any_value::Value as Any};
    use proptest::prelude::*;
    use prost::Message as _;
    use serde_json::{Value as Json, json};

    use super::*;

    #[derive(Default)]
    struct All(Vec<(String, String)>);

    impl Notice for All {
        fn note(&mut self, key: &str, value: Noted, written: &[u8]) {
            let text = match value {
                Noted::Text(range) => String::from_utf8(written[range].to_vec()).unwrap(),
                Noted::Int(value) => value.to_string(),
            };
            self.0.push((key.to_owned(), text));
        }
    }

    fn as_json(value: &AnyValue) -> Json {
        match value.value.as_ref() {
            None => Json::Null,
            Some(Any::StringValue(text)) => json!(text),
            Some(Any::BoolValue(truth)) => json!(truth),
            Some(Any::IntValue(number)) => json!(number),
            Some(Any::DoubleValue(number)) => json!(number),
            Some(Any::ArrayValue(list)) => list.values.iter().map(as_json).collect(),
            Some(Any::KvlistValue(map)) => object(map),
            other => panic!("{other:?}"),
        }
    }

    fn object(map: &KeyValueList) -> Json {
        let member = |one: &opentelemetry_proto::tonic::common::v1::KeyValue| {
            (one.key.clone(), as_json(one.value.as_ref().unwrap()))
        };
        Json::Object(map.values.iter().map(member).collect())
    }

    fn read(text: &str) -> Option<Json> {
        let mut out = b"before".to_vec();
        let map = write_map(text, usize::MAX, &mut All::default(), &mut out);
        assert!(out.starts_with(b"before"));
        if map != Map::Written {
            assert_eq!(out, b"before", "nothing is left of {text}");
            return None;
        }
        Some(object(&KeyValueList::decode(&out[6..]).unwrap()))
    }

    #[test]
    fn objects_become_maps_and_all_else_stays_text() {
        let text = r#"{"a":"b","n":-1,"d":0.5,"t":true,"x":null,"l":[1,"two",[]],"m":{"k":{}}}"#;
        assert_eq!(read(text), Some(serde_json::from_str(text).unwrap()));
        let long = format!(r#"{{"k":"{}","l":["{}"]}}"#, "x".repeat(300), "y".repeat(70_000));
        assert_eq!(read(&long), Some(serde_json::from_str(&long).unwrap()));
        assert_eq!(read(r#"{"n":18446744073709551615}"#).unwrap()["n"], "18446744073709551615");
        for text in ["", "x", "[1]", "1", "null", r#"{"a":1"#, r#"{"a":1} x"#, r#"{"a":NaN}"#] {
            assert_eq!(read(text), None, "{text}");
        }
        let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        assert!(read(&nested(DEPTH as usize)).is_some());
        assert_eq!(read(&nested(DEPTH as usize + 1)), None);
    }

    #[test]
    fn texts_and_numbers_at_the_top_are_noted() {
        let mut all = All::default();
        let long = "z".repeat(200);
        let text = format!(r#"{{"level":"info","n":7,"m":{{"level":"no"}},"long":"{long}"}}"#);
        assert_eq!(write_map(&text, usize::MAX, &mut all, &mut Vec::new()), Map::Written);
        let expected = [("level", "info"), ("n", "7"), ("long", &*long)];
        assert_eq!(all.0, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn what_takes_too_many_bytes_is_refused() {
        let text = format!(r#"{{"a":[{}1]}}"#, "-1,".repeat(1000));
        let mut out = Vec::new();
        assert_eq!(write_map(&text, 5000, &mut All::default(), &mut out), Map::TooLarge);
        assert!(out.capacity() < 20_000, "{}", out.capacity());
        assert_eq!(write_map(&text, 20_000, &mut All::default(), &mut out), Map::Written);
    }

    fn any_json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            (-1e9..1e9).prop_map(|number: f64| Json::from(number + 0.5)),
            ".{0,200}".prop_map(Json::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
                prop::collection::hash_map(".{0,9}", inner, 0..6)
                    .prop_map(|map| Json::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_object_is_read_as_serde_reads_it(value in any_json()) {
            let is_object = value.is_object();
            prop_assert_eq!(read(&value.to_string()), Some(value).filter(|_| is_object));
        }
    }
}
