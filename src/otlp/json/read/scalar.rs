//! Scalars: what JSON spells in several ways becomes one protobuf value.

use std::{fmt, ops::RangeInclusive};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::de::{DeserializeSeed, Deserializer, Error, Unexpected, Visitor};

use super::{Out, shown};
use crate::otlp::{
    json::number::{self, Wrong},
    schema::Kind,
    wire::{WireType, bytes_field_len, put_bytes, put_header, put_varint, tag, varint_len},
};

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
/// Base64 with `+` and `/`, padded or not.
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
/// Base64 with `-` and `_`, which the JSON mapping of protobuf allows too.
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Reads one scalar and appends it.
pub(super) struct Scalar<'r> {
    pub(super) out: &'r mut Out,
    pub(super) kind: Kind,
    /// None within packed numbers, which have no tags.
    pub(super) number: Option<u32>,
    /// Whether a zero is written.
    pub(super) keeps_zero: bool,
}

impl Scalar<'_> {
    fn put_number<E: Error>(self, wire: WireType, bits: u64) -> Result<(), E> {
        if bits == 0 && !self.keeps_zero {
            return Ok(());
        }
        let tag = self.number.map(|number| tag(number, wire));
        let value = match wire {
            WireType::Fixed64 => 8,
            WireType::Fixed32 => 4,
            WireType::Varint | WireType::Len => varint_len(bits),
        };
        self.out.room(tag.map_or(0, varint_len) + value)?;
        let out = &mut self.out.bytes;
        if let Some(tag) = tag {
            put_varint(out, tag);
        }
        match wire {
            WireType::Fixed64 => out.extend_from_slice(&bits.to_le_bytes()),
            WireType::Fixed32 => out.extend_from_slice(&bits.to_le_bytes()[..4]),
            WireType::Varint | WireType::Len => put_varint(out, bits),
        }
        Ok(())
    }

    fn put_text<E: Error>(self, bytes: &[u8]) -> Result<(), E> {
        if (!bytes.is_empty() || self.keeps_zero)
            && let Some(number) = self.number
        {
            self.out.room(bytes_field_len(number, bytes.len()))?;
            put_bytes(&mut self.out.bytes, number, bytes);
        }
        Ok(())
    }

    /// Text with lone surrogates, which are three bytes that are not UTF-8: each becomes U+FFFD.
    #[cold]
    fn put_mended<E: Error>(self, bytes: &[u8]) -> Result<(), E> {
        let Some(number) = self.number else { return Ok(()) };
        // Each of the three is invalid by itself; only the first one counts.
        let replacement =
            |invalid: &[u8]| if invalid.first() == Some(&0xED) { "\u{FFFD}" } else { "" };
        let len = bytes.utf8_chunks().map(|c| c.valid().len() + replacement(c.invalid()).len());
        let len = len.sum();
        self.out.room(bytes_field_len(number, len))?;
        let out = &mut self.out.bytes;
        put_header(out, number, len);
        for chunk in bytes.utf8_chunks() {
            out.extend_from_slice(chunk.valid().as_bytes());
            out.extend_from_slice(replacement(chunk.invalid()).as_bytes());
        }
        Ok(())
    }

    fn put_integer<E: Error>(self, value: i128) -> Result<(), E> {
        let bits = truncate(value);
        match self.kind {
            Kind::Sint32 => self.put_number(WireType::Varint, zigzag(value)),
            Kind::Fixed32 => self.put_number(WireType::Fixed32, bits),
            Kind::Fixed64 | Kind::Sfixed64 => self.put_number(WireType::Fixed64, bits),
            _ => self.put_number(WireType::Varint, bits),
        }
    }

    fn range(&self) -> RangeInclusive<i128> {
        match self.kind {
            Kind::Int32 | Kind::Sint32 | Kind::Enum(_) => i32::MIN.into()..=i32::MAX.into(),
            Kind::Uint32 | Kind::Fixed32 => 0..=u32::MAX.into(),
            Kind::Int64 | Kind::Sfixed64 => i64::MIN.into()..=i64::MAX.into(),
            _ => 0..=u64::MAX.into(),
        }
    }

    fn put_checked<E: Error>(self, value: i128) -> Result<(), E> {
        if !self.range().contains(&value) {
            return Err(self.wrong(Wrong::Range(value), ""));
        }
        self.put_integer(value)
    }

    fn integer_text<E: Error>(self, text: &str) -> Result<(), E> {
        match number::integer(text, self.range()) {
            Ok(value) => self.put_integer(value),
            Err(wrong) => Err(self.wrong(wrong, text)),
        }
    }

    fn wrong<E: Error>(&self, wrong: Wrong, text: &str) -> E {
        match wrong {
            Wrong::Text => E::invalid_value(Unexpected::Str(shown(text)), self),
            Wrong::Fraction(value) => E::invalid_value(Unexpected::Float(value), self),
            Wrong::Overflow => E::custom("number out of range"),
            Wrong::Range(value) => {
                let (min, max) = self.range().into_inner();
                E::custom(format_args!("`{value}` is not within {min} and {max}"))
            }
        }
    }

    fn put_id<E: Error>(self, text: &str, len: usize) -> Result<(), E> {
        if text.is_empty() {
            return self.put_text(&[]);
        }
        let (digits, wanted) = (text.len(), 2 * len);
        if digits != wanted {
            return Err(E::custom(format_args!(
                "an id of {digits} characters instead of {wanted} hexadecimal digits"
            )));
        }
        let mut id = [0; 16];
        for (byte, pair) in id.iter_mut().zip(text.as_bytes().as_chunks::<2>().0) {
            let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
                return Err(E::custom(format_args!("`{text}` is not hexadecimal")));
            };
            *byte = high << 4 | low;
        }
        self.put_text(&id[..len])
    }

    /// Decodes straight into the output: a copy in between could be as large as the document.
    fn put_base64<E: Error>(self, text: &str) -> Result<(), E> {
        let Some(number) = self.number.filter(|_| !text.is_empty() || self.keeps_zero) else {
            return Ok(());
        };
        let engine = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
        let len = text.trim_end_matches('=').len() * 3 / 4;
        // The decoder wants room for whole groups.
        self.out.room(bytes_field_len(number, len) + 3)?;
        let out = &mut self.out.bytes;
        put_header(out, number, len);
        let at = out.len();
        out.resize(at + len + 3, 0);
        match engine.decode_slice(text, &mut out[at..]) {
            Ok(written) if written == len => out.truncate(at + len),
            _ => return Err(E::custom(format_args!("`{}` is not base64", shown(text)))),
        }
        Ok(())
    }

    fn double_text<E: Error>(self, text: &str) -> Result<(), E> {
        match number::double(text) {
            Ok(value) => self.put_number(WireType::Fixed64, value.to_bits()),
            Err(wrong) => Err(self.wrong(wrong, text)),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Scalar<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.kind {
            // As bytes, because a lone surrogate (`"\ud800"`, which JavaScript writes for a text
            // that was cut) must not cost a whole request; it becomes U+FFFD.
            Kind::String => deserializer.deserialize_bytes(self),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl Visitor<'_> for Scalar<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::String => "a string",
            Kind::Bytes => "a string in base64",
            Kind::Id(_) => "a string of hexadecimal digits",
            Kind::Bool => "true or false",
            Kind::Double => "a number, `NaN`, `Infinity` or `-Infinity`",
            Kind::Enum(_) => "the number or the name of an enum value",
            Kind::Message(_) => "an object",
            _ => "an integer, or a string with one",
        })
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        match self.kind {
            Kind::Bool => self.put_number(WireType::Varint, u64::from(value)),
            _ => Err(E::invalid_type(Unexpected::Bool(value), &self)),
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        match self.kind {
            #[expect(clippy::cast_precision_loss, reason = "the field is a double")]
            Kind::Double => self.visit_f64(value as f64),
            _ if is_integer(self.kind) => self.put_checked(value.into()),
            _ => Err(E::invalid_type(Unexpected::Unsigned(value), &self)),
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        match self.kind {
            #[expect(clippy::cast_precision_loss, reason = "the field is a double")]
            Kind::Double => self.visit_f64(value as f64),
            _ if is_integer(self.kind) => self.put_checked(value.into()),
            _ => Err(E::invalid_type(Unexpected::Signed(value), &self)),
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        match self.kind {
            Kind::Double => self.put_number(WireType::Fixed64, value.to_bits()),
            _ if is_integer(self.kind) => match number::whole(value, self.range()) {
                Ok(value) => self.put_integer(value),
                Err(wrong) => Err(self.wrong(wrong, "")),
            },
            _ => Err(E::invalid_type(Unexpected::Float(value), &self)),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        match self.kind {
            Kind::String => self.put_text(text.as_bytes()),
            Kind::Bytes => self.put_base64(text),
            Kind::Id(len) => self.put_id(text, len),
            Kind::Double => self.double_text(text),
            Kind::Enum(names) => match names.number(text) {
                Some(number) => self.put_checked(number.into()),
                None if number::is_number(text) => self.integer_text(text),
                None => Err(E::custom(format_args!(
                    "unknown enum value `{}`, expected a number or `{}...`",
                    shown(text),
                    names.prefix
                ))),
            },
            _ if is_integer(self.kind) => self.integer_text(text),
            _ => Err(E::invalid_type(Unexpected::Str(shown(text)), &self)),
        }
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<(), E> {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.put_text(text.as_bytes()),
            Err(_) => self.put_mended(bytes),
        }
    }
}

fn is_integer(kind: Kind) -> bool {
    !matches!(
        kind,
        Kind::String | Kind::Bytes | Kind::Id(_) | Kind::Bool | Kind::Double | Kind::Message(_)
    )
}

#[expect(clippy::cast_possible_truncation, reason = "two's complement of a value in range")]
#[expect(clippy::cast_sign_loss, reason = "two's complement of a value in range")]
fn truncate(value: i128) -> u64 {
    value as u64
}

fn zigzag(value: i128) -> u64 {
    truncate(if value < 0 { -2 * value - 1 } else { 2 * value })
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}
