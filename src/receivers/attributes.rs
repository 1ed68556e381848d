//! Writes OTLP attributes one after another, straight to protobuf.

use std::borrow::Cow;

use super::json::Json;
use crate::otlp::{
    attribute,
    json::number,
    wire::{WireType, bytes_field_len, put_bytes, put_header, put_varint, tag},
};

/// Fields of `AnyValue`.
const STRING: u32 = 1;
const BOOL: u32 = 2;
const INT: u32 = 3;
const DOUBLE: u32 = 4;
const ARRAY: u32 = 5;

/// Appends `KeyValue` messages to a message that is being written.
pub(super) struct Attributes<'o, 'k> {
    out: &'o mut Vec<u8>,
    /// Number of the repeated field of attributes in that message.
    field: u32,
    /// Names that are written elsewhere, because attributes are unique.
    taken: &'k [(Cow<'k, str>, Json<'k>)],
    value: Vec<u8>,
}

impl<'o, 'k> Attributes<'o, 'k> {
    /// Writes attributes to `field` of the message in `out`.
    pub(super) fn new(out: &'o mut Vec<u8>, field: u32) -> Self {
        Attributes { out, field, taken: &[], value: Vec::new() }
    }

    /// The same, but without those that are `taken`.
    pub(super) fn except(
        out: &'o mut Vec<u8>,
        field: u32,
        taken: &'k [(Cow<'k, str>, Json<'k>)],
    ) -> Self {
        Attributes { out, field, taken, value: Vec::new() }
    }

    fn put(&mut self, key: &str, value: &[u8]) {
        if self.taken.iter().any(|(name, _)| name == key) {
            return;
        }
        attribute::put(self.out, self.field, key.as_bytes(), value);
    }

    fn with(&mut self, key: &str, fill: impl FnOnce(&mut Vec<u8>)) {
        let mut value = std::mem::take(&mut self.value);
        value.clear();
        fill(&mut value);
        self.put(key, &value);
        self.value = value;
    }

    /// Text.
    pub(super) fn text(&mut self, key: &str, text: &str) {
        self.with(key, |value| put_bytes(value, STRING, text.as_bytes()));
    }

    /// Text, if there is one.
    pub(super) fn maybe(&mut self, key: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    /// True or false.
    pub(super) fn flag(&mut self, key: &str, flag: bool) {
        self.with(key, |value| put_flag(value, flag));
    }

    /// A whole number.
    pub(super) fn int(&mut self, key: &str, number: i64) {
        self.with(key, |value| put_int(value, number));
    }

    /// A list of texts.
    pub(super) fn texts<'t>(&mut self, key: &str, texts: impl IntoIterator<Item = &'t str>) {
        self.with(key, |value| {
            let mut items = Vec::new();
            for text in texts {
                put_header(&mut items, 1, bytes_field_len(STRING, text.len()));
                put_bytes(&mut items, STRING, text.as_bytes());
            }
            put_bytes(value, ARRAY, &items);
        });
    }

    /// The JSON text of a value.
    pub(super) fn json(&mut self, key: &str, json: &Json<'_>) {
        let mut text = Vec::new();
        json.write(&mut text);
        self.with(key, |value| put_bytes(value, STRING, &text));
    }

    /// Like [`Attributes::typed`], but so that the exporter can write it as JSON again: text that
    /// looks like another JSON value is quoted.
    pub(super) fn kept(&mut self, key: &str, json: &Json<'_>) {
        match json {
            Json::Text(text) if text.starts_with(['[', '{', '"']) => self.json(key, json),
            _ => self.typed(key, json),
        }
    }

    /// A value in its own type; lists and objects as their JSON text. Nothing for `null`.
    pub(super) fn typed(&mut self, key: &str, json: &Json<'_>) {
        match json {
            Json::Null => {}
            Json::Bool(flag) => self.flag(key, *flag),
            Json::Text(text) => self.text(key, text),
            Json::List(_) | Json::Map(_) => self.json(key, json),
            Json::Number(text) => {
                if let Ok(number) = text.parse() {
                    self.int(key, number);
                } else {
                    // A number outside the range of doubles becomes text.
                    let Ok(number) = number::double(text) else { return self.text(key, text) };
                    self.with(key, |value| {
                        put_varint(value, tag(DOUBLE, WireType::Fixed64));
                        value.extend_from_slice(&number.to_le_bytes());
                    });
                }
            }
        }
    }
}

fn put_flag(out: &mut Vec<u8>, flag: bool) {
    put_varint(out, tag(BOOL, WireType::Varint));
    put_varint(out, flag.into());
}

fn put_int(out: &mut Vec<u8>, number: i64) {
    put_varint(out, tag(INT, WireType::Varint));
    put_varint(out, number.cast_unsigned());
}
