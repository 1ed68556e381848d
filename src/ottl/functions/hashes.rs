//! Converters of hashes, encodings and ids.

use std::{borrow::Cow, time::SystemTime};

use base64::{
    Engine as _,
    engine::general_purpose::{
        GeneralPurpose, STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD,
    },
};
use md5::{Digest as _, Md5};
use ring::digest;
use xxhash_rust::xxh3;

use super::{
    super::{
        arguments::made,
        fault::{Fault, What},
        node::{Call, Eval},
        text::{from_hex, hex},
        types::Types,
        value::Value,
    },
    Function, Takes, converter, optional, parameter, value,
};

const TEXT: Types = Types::TEXT;
const VALUE: &[super::Parameter] = &[value("value", TEXT)];
const ID: &[super::Parameter] = &[value("bytes", Types::BYTES.or(TEXT))];
const VARIANTS: &[&str] = &["base64", "base64-raw", "base64-url", "base64-raw-url"];

pub(crate) const FUNCTIONS: &[Function] = &[
    converter("MD5", VALUE, TEXT, md5, "The MD5 hash of a text."),
    converter("SHA1", VALUE, TEXT, sha1, "The SHA-1 hash of a text."),
    converter("SHA256", VALUE, TEXT, sha256, "The SHA-256 hash of a text."),
    converter("SHA512", VALUE, TEXT, sha512, "The SHA-512 hash of a text."),
    converter("FNV", VALUE, Types::INT, fnv, "The 64-bit FNV-1a hash of a text, as an integer."),
    converter("Murmur3Hash", VALUE, TEXT, murmur3, "The 32-bit Murmur3 hash of a text."),
    converter("Murmur3Hash128", VALUE, TEXT, murmur3_128, "The 128-bit Murmur3 hash of a text."),
    converter("XXH3", VALUE, TEXT, xxh3_64, "The 64-bit XXH3 hash of a text."),
    converter("XXH128", VALUE, TEXT, xxh3_128, "The 128-bit XXH3 hash of a text."),
    converter("TraceID", ID, Types::TRACE_ID, trace_id, "A trace id from 16 bytes or 32 digits."),
    converter("SpanID", ID, Types::SPAN_ID, span_id, "A span id from 8 bytes or 16 digits."),
    Function { is_pure: false, ..converter("UUID", &[], TEXT, uuid, "A random UUID.") },
    Function {
        is_pure: false,
        ..converter("UUIDv7", &[], TEXT, uuid_v7, "A UUID that begins with the current time.")
    },
    converter(
        "Base64Encode",
        &[value("value", TEXT), optional("variant", Takes::OneOf(VARIANTS))],
        TEXT,
        base64_encode,
        "A text in base64.",
    ),
    converter(
        "Base64Decode",
        &[value("value", TEXT)],
        TEXT,
        base64_decode,
        "The text of base64. The Collector has removed it: write `Decode(value, \"base64\")`.",
    ),
    converter(
        "Decode",
        &[value("value", TEXT.or(Types::BYTES)), parameter("encoding", Takes::Value(TEXT))],
        TEXT,
        decode,
        "A text from base64 or from an encoding such as `utf-16` or `iso-8859-1`.",
    ),
];

fn digits<'e>(bytes: &[u8]) -> Value<'e> {
    made(hex(bytes))
}

fn md5<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    Ok(digits(&Md5::digest(call.text(eval, 0)?)))
}

fn digest<'e>(
    call: &'e Call,
    eval: Eval<'e>,
    algorithm: &'static digest::Algorithm,
) -> Result<Value<'e>, Fault> {
    Ok(digits(digest::digest(algorithm, &call.text(eval, 0)?).as_ref()))
}

fn sha1<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    digest(call, eval, &digest::SHA1_FOR_LEGACY_USE_ONLY)
}

fn sha256<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    digest(call, eval, &digest::SHA256)
}

fn sha512<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    digest(call, eval, &digest::SHA512)
}

fn fnv<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let hash = call.text(eval, 0)?.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Ok(Value::Int(hash.cast_signed()))
}

fn murmur3<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    Ok(digits(&super::super::murmur3::hash32(&call.text(eval, 0)?).to_le_bytes()))
}

fn murmur3_128<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let (first, second) = super::super::murmur3::hash128(&call.text(eval, 0)?);
    Ok(digits(&[first.to_le_bytes(), second.to_le_bytes()].concat()))
}

fn xxh3_64<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    Ok(digits(&xxh3::xxh3_64(&call.text(eval, 0)?).to_be_bytes()))
}

fn xxh3_128<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    Ok(digits(&xxh3::xxh3_128(&call.text(eval, 0)?).to_be_bytes()))
}

fn id<const N: usize>(call: &Call, eval: Eval<'_>) -> Result<[u8; N], Fault> {
    let found = match call.value(eval, 0)? {
        Value::Bytes(bytes) => <[u8; N]>::try_from(&*bytes).ok(),
        Value::Text(text) => from_hex(&text),
        other => return Err(call.wrong(0, Types::BYTES.or(TEXT), &other)),
    };
    found.ok_or_else(|| {
        What::owned(format!("the id must have {N} bytes or {} hexadecimal digits", 2 * N)).into()
    })
}

fn trace_id<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    id(call, eval).map(Value::TraceId)
}

fn span_id<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    id(call, eval).map(Value::SpanId)
}

/// The text of a UUID of a version.
fn uuid_text(mut bytes: [u8; 16], version: u8) -> Vec<u8> {
    bytes[6] = bytes[6] & 0x0F | version << 4;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    let digits = hex(&bytes);
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join(&b'-')
}

#[expect(clippy::unnecessary_wraps, reason = "every converter can fail")]
fn uuid<'e>(_: &'e Call, _: Eval<'e>) -> Result<Value<'e>, Fault> {
    Ok(made(uuid_text(fastrand::u128(..).to_be_bytes(), 4)))
}

#[expect(clippy::unnecessary_wraps, reason = "every converter can fail")]
fn uuid_v7<'e>(_: &'e Call, _: Eval<'e>) -> Result<Value<'e>, Fault> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let millis = since.as_millis();
    let random = fastrand::u128(..) >> 48;
    Ok(made(uuid_text((millis << 80 | random).to_be_bytes(), 7)))
}

fn engine(variant: &[u8]) -> Option<&'static GeneralPurpose> {
    Some(match variant {
        b"base64" => &STANDARD,
        b"base64-raw" => &STANDARD_NO_PAD,
        b"base64-url" => &URL_SAFE,
        b"base64-raw-url" => &URL_SAFE_NO_PAD,
        _ => return None,
    })
}

fn base64_encode<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let text = call.text(eval, 0)?;
    let variant = call.text_or(eval, 1, "base64")?;
    let engine = engine(&variant).ok_or(What::text("unknown variant of base64"))?;
    Ok(made(engine.encode(&text)))
}

fn base64_decode<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let decoded = STANDARD.decode(call.text(eval, 0)?);
    Ok(made(decoded.map_err(|_| What::text("the text is not base64"))?))
}

fn decode<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let bytes = match call.value(eval, 0)? {
        Value::Text(bytes) | Value::Bytes(bytes) => bytes,
        other => return Err(call.wrong(0, TEXT.or(Types::BYTES), &other)),
    };
    let encoding = call.text(eval, 1)?;
    if let Some(engine) = engine(&encoding) {
        let decoded = engine.decode(&bytes);
        return Ok(made(decoded.map_err(|_| What::text("the text is not of this base64"))?));
    }
    let name = match &*encoding {
        b"us-ascii" | b"ascii" => &b"utf-8"[..],
        b"utf-16" | b"utf16" => b"utf-16be",
        b"utf8" => b"utf-8",
        other => other,
    };
    let encoding = encoding_rs::Encoding::for_label(name).ok_or_else(|| {
        What::owned(format!("unknown encoding `{}`", String::from_utf8_lossy(name)))
    })?;
    let (text, _, _) = encoding.decode(&bytes);
    Ok(Value::Text(match text {
        Cow::Borrowed(text) => Cow::Owned(text.as_bytes().to_vec()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }))
}
