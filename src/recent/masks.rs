//! What is never kept: values whose keys look like secrets. They are replaced where chunks are
//! written, at the resource and the scope when these come in, and inside maps, so no answer, search
//! or export can show them. Texts such as names, messages and SQL are kept as they are.

use crate::otlp::{
    attribute,
    wire::{Field, FieldValue, Fields, put_bytes, put_varint},
};

/// Parts of keys, in lower case, whose values are secret; `set-cookie` has one of them.
const SECRET: [&str; 9] = [
    "authorization",
    "cookie",
    "password",
    "passwd",
    "secret",
    "token",
    "apikey",
    "api-key",
    "api_key",
];
/// Keys that end so count tokens of a language model, and are no secret if they are numbers.
const COUNTED: &[u8] = b"tokens";
/// An `AnyValue` with the text `***`, in place of a value.
const MASK: [u8; 5] = [0x0A, 3, b'*', b'*', b'*'];
/// Deepest value that is looked into; what lies deeper is masked.
const DEPTH: u32 = 16;

/// Most bytes by which a value becomes longer, its length included.
pub(super) const GROWTH: usize = MASK.len() + 4;

/// Whether the value of a key looks like a secret.
pub(super) fn is_secret(key: &[u8]) -> bool {
    // Most keys have none of these letters in a row, which is decided without a copy.
    let has = |part: &str| {
        key.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part.as_bytes()))
    };
    key.len() >= 5 && SECRET.iter().any(|part| has(part))
        || key.windows(7).any(|w| w.eq_ignore_ascii_case(b"api.key"))
}

/// Whether a value under such a key is a count, which is shown.
fn is_count(key: &[u8], any: &[u8]) -> bool {
    key.ends_with(COUNTED) && matches!(any.first(), Some(0x18 | 0x21))
}

/// A message in which `change` has replaced fields; none if it has replaced none.
fn edited(message: &[u8], change: impl Fn(&Field<'_>) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let mut out: Option<Vec<u8>> = None;
    let mut before = 0;
    for field in Fields::new(message).map_while(Result::ok) {
        match (change(&field), &mut out) {
            (Some(new), Some(out)) => out.extend_from_slice(&new),
            (Some(new), None) => out = Some([&message[..before], &new].concat()),
            (None, Some(out)) => out.extend_from_slice(field.whole),
            (None, None) => {}
        }
        before += field.whole.len();
    }
    out
}

/// A length-delimited field.
fn part(number: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 11);
    put_bytes(&mut out, number, bytes);
    out
}

/// An `AnyValue` with secrets in its maps masked; none if there is none.
fn masked_any(any: &[u8], depth: u32) -> Option<Vec<u8>> {
    edited(any, |field| {
        let nested = match field.value {
            FieldValue::Len(nested) if matches!(field.number, 5 | 6) => nested,
            _ => return None,
        };
        let Some(depth) = depth.checked_sub(1) else { return Some(MASK.to_vec()) };
        let kept = if field.number == 6 {
            masked_attributes(nested, 1, depth)
        } else {
            edited(nested, |field| Some(part(1, &masked_any(field.bytes(), depth)?)))
        };
        Some(part(field.number, &kept?))
    })
}

/// A message with attributes in its field `number`, secrets masked; none if there is none.
fn masked_attributes(message: &[u8], number: u32, depth: u32) -> Option<Vec<u8>> {
    edited(message, |field| {
        let attribute = match field.value {
            FieldValue::Len(bytes) if field.number == number => bytes,
            _ => return None,
        };
        let (key, any) = attribute::key_value(attribute);
        let kept = if is_secret(key) && !is_count(key, &any) {
            MASK.to_vec()
        } else {
            masked_any(&any, depth)?
        };
        let mut out = Vec::with_capacity(key.len() + kept.len() + 16);
        attribute::put(&mut out, number, key, &kept);
        Some(out)
    })
}

/// A field of a message with secrets masked: its number, itself, and the field of its attributes.
/// None if it has no secret.
pub(super) fn masked(number: u32, message: &[u8], attributes: u32) -> Option<Vec<u8>> {
    Some(part(number, &masked_attributes(message, attributes, DEPTH)?))
}

/// Appends the length of a value and the value, secrets masked.
pub(super) fn put_entry(key: &[u8], is_secret: bool, any: &[u8], out: &mut Vec<u8>) {
    let is_hidden = is_secret && !is_count(key, any);
    let masked = if is_hidden { None } else { masked_any(any, DEPTH) };
    let kept = match &masked {
        // A map whose masks make it much longer is masked as a whole.
        Some(masked) if masked.len() > any.len() + MASK.len() => &MASK[..],
        Some(masked) => masked,
        None if is_hidden => &MASK[..],
        None => any,
    };
    put_varint(out, kept.len() as u64);
    out.extend_from_slice(kept);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::otlp::{Signal, plain};

    #[test]
    fn secrets_are_known_by_their_keys() {
        for key in [
            "http.request.header.Authorization",
            "set-cookie",
            "db.PASSWORD",
            "x-api-key",
            "api.key",
            "token",
            "client_secret",
        ] {
            assert!(is_secret(key.as_bytes()), "{key}");
        }
        for key in ["user.id", "http.route", "api", "keys", "", "name", "apis.key"] {
            assert!(!is_secret(key.as_bytes()), "{key}");
        }
    }

    #[test]
    fn maps_are_looked_into_and_counts_are_shown() {
        let span = json!({"attributes": {
            "headers": {"Cookie": "a=1", "list": [{"token": "t"}], "accept": "*"},
            "gen_ai.usage.input_tokens": 7, "plain": [1, 2],
        }});
        let request = plain::bytes(Signal::Traces, &plain::spans(&[span]));
        let first = |bytes: &[u8], number: u32| {
            let found = Fields::new(bytes).flatten().find(|field| field.number == number);
            found.unwrap().bytes().to_vec()
        };
        let mut message = request;
        for number in [1, 2, 2] {
            message = first(&message, number);
        }
        let kept = masked(2, &message, 9).unwrap();
        let again = part(1, &part(2, &kept));
        let shown = plain::span(&plain::shown(Signal::Traces, &again));
        assert_eq!(
            shown["attributes"],
            json!({
                "headers": {"Cookie": "***", "list": [{"token": "***"}], "accept": "*"},
                "gen_ai.usage.input_tokens": 7, "plain": [1, 2],
            })
        );
        assert_eq!(masked(2, &first(&kept, 2), 9), Some(kept), "once is enough");
    }
}
