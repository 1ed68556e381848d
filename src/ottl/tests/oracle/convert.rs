//! Converters on values.

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use regex::Regex;

use super::{
    slot::{span_id, trace_id},
    value::{No, Op, Res, Val, base64, compare, hex},
};

/// `Any`, `All` or `Filter`.
pub(super) fn each(name: &str, source: Val, holds: impl Fn(&Val) -> bool) -> Res<Val> {
    let is_taken = |any: Option<&AnyValue>| holds(&Val::of(any));
    let flags: Vec<bool> = match &source {
        Val::List(list) => list.iter().map(|any| is_taken(Some(any))).collect(),
        Val::Map(map) => map.iter().map(|entry| is_taken(entry.value.as_ref())).collect(),
        _ => return Err(No::Fails),
    };
    let mut flags = flags.into_iter();
    Ok(match (name, source) {
        ("Any", _) => Val::Bool(flags.any(|flag| flag)),
        ("All", _) => Val::Bool(flags.all(|flag| flag)),
        (_, Val::List(list)) => {
            Val::List(list.into_iter().filter(|_| flags.next() == Some(true)).collect())
        }
        (_, Val::Map(map)) => {
            Val::Map(map.into_iter().filter(|_| flags.next() == Some(true)).collect())
        }
        (_, other) => other,
    })
}

fn texts(values: impl IntoIterator<Item = String>) -> Res<Val> {
    let values: Res<Vec<AnyValue>> =
        values.into_iter().map(|text| Val::Text(text).stored()).collect();
    Ok(Val::List(values?))
}

fn is_zero(value: &Val) -> Res<bool> {
    Ok(match value {
        Val::Nil => true,
        Val::Bool(value) => !value,
        Val::Int(value) => *value == 0,
        Val::Double(value) => *value == 0.0,
        Val::Text(text) => text.is_empty(),
        Val::Bytes(bytes) => bytes.is_empty(),
        Val::List(list) => list.is_empty(),
        Val::Map(map) => map.is_empty(),
        _ => return Err(No::Unsure),
    })
}

/// What a converter makes of its arguments.
pub(super) fn call(name: &str, mut arguments: Vec<Val>) -> Res<Val> {
    if arguments.is_empty() {
        return Err(No::Unsure);
    }
    let first = arguments.remove(0);
    if let Some(kind) = kind(name, &first) {
        return Ok(Val::Bool(kind));
    }
    match name {
        "IsEmpty" => is_zero(&first).map(Val::Bool),
        "IsMatch" => {
            let pattern = arguments.remove(0).into_text()?;
            let text = first.like_text()?;
            let regex = Regex::new(&pattern).map_err(|_| No::Fails)?;
            Ok(Val::Bool(text.is_some_and(|text| regex.is_match(&text))))
        }
        "Concat" => {
            let Val::List(list) = first else { return Err(No::Fails) };
            let between = arguments.remove(0).into_text()?;
            let parts: Res<Vec<String>> = list
                .iter()
                .map(|any| Ok(Val::of(Some(any)).like_text()?.unwrap_or("<nil>".to_owned())))
                .collect();
            Ok(Val::Text(parts?.join(&between)))
        }
        "String" => Ok(first.like_text()?.map_or(Val::Nil, Val::Text)),
        "Len" => match first {
            Val::Text(text) => length(text.len()),
            Val::List(list) => length(list.len()),
            Val::Map(map) => length(map.len()),
            Val::Bytes(_) => Err(No::Unsure),
            _ => Err(No::Fails),
        },
        "Int" | "Double" | "Bool" => convert(name, first),
        "Hex" => hexadecimal(first),
        "Keys" => texts(first.entries()?.into_iter().map(|entry| entry.key)),
        "Values" => {
            let entries = first.entries()?.into_iter();
            Ok(Val::List(entries.map(|entry| entry.value.unwrap_or_default()).collect()))
        }
        "ContainsValue" => {
            let Val::List(list) = first else { return Err(No::Fails) };
            let item = arguments.remove(0);
            let is_item = |any: &AnyValue| compare(Op::Eq, &Val::of(Some(any)), &item);
            Ok(Val::Bool(list.iter().any(is_item)))
        }
        "Index" if matches!(first, Val::List(_)) => {
            let (Val::List(list), item) = (first, arguments.remove(0)) else {
                return Err(No::Fails);
            };
            let is_item = |any: &AnyValue| compare(Op::Eq, &Val::of(Some(any)), &item);
            let at = list.iter().position(is_item);
            Ok(Val::Int(at.map_or(-1, |at| i64::try_from(at).unwrap_or(-1))))
        }
        "Coalesce" => Err(No::Unsure),
        "UnixNano" => match first {
            Val::Time(nanos) => Ok(Val::Int(nanos)),
            _ => Err(No::Fails),
        },
        "Duration" => match &*first.into_text()? {
            "1h" => Ok(Val::Duration(3_600_000_000_000)),
            "5ns" => Ok(Val::Duration(5)),
            _ => Err(No::Unsure),
        },
        "TraceID" => trace_id(&first.into_text()?),
        "SpanID" => span_id(&first.into_text()?),
        "ParseJSON" => parse_json(&first.into_text()?),
        _ => on_text(name, &first.into_text()?, arguments),
    }
}

fn kind(name: &str, value: &Val) -> Option<bool> {
    Some(match name {
        "IsString" => matches!(value, Val::Text(_)),
        "IsMap" => matches!(value, Val::Map(_)),
        "IsList" => matches!(value, Val::List(_)),
        "IsBool" => matches!(value, Val::Bool(_)),
        "IsInt" => matches!(value, Val::Int(_)),
        "IsDouble" => matches!(value, Val::Double(_)),
        _ => return None,
    })
}

fn length(len: usize) -> Res<Val> {
    Ok(Val::Int(i64::try_from(len).map_err(|_| No::Unsure)?))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "the rules are those of conversions"
)]
fn convert(name: &str, value: Val) -> Res<Val> {
    Ok(match (name, value) {
        (_, Val::Nil) => Val::Nil,
        ("Int", Val::Double(value)) if value.abs() < 1e15 => Val::Int(value.trunc() as i64),
        ("Int", Val::Double(_)) => return Err(No::Unsure),
        ("Int", Val::Bool(value)) => Val::Int(value.into()),
        ("Int", Val::Text(text)) => Val::Int(text.parse().map_err(|_| No::Fails)?),
        ("Int", Val::Int(value)) => Val::Int(value),
        ("Double", Val::Int(value)) => Val::Double(value as f64),
        ("Double", Val::Bool(value)) => Val::Double(f64::from(u8::from(value))),
        ("Double", Val::Text(text)) => Val::Double(text.parse().map_err(|_| No::Fails)?),
        ("Double", Val::Double(value)) => Val::Double(value),
        ("Bool", Val::Bool(value)) => Val::Bool(value),
        ("Bool", Val::Int(value)) => Val::Bool(value != 0),
        ("Bool", Val::Double(value)) => Val::Bool(value != 0.0),
        ("Bool", Val::Text(text)) => match &*text {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Val::Bool(true),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Val::Bool(false),
            _ => return Err(No::Fails),
        },
        _ => return Err(No::Fails),
    })
}

fn hexadecimal(value: Val) -> Res<Val> {
    Ok(Val::Text(match value {
        Val::Nil => String::new(),
        Val::Text(text) => hex(text.as_bytes()),
        Val::Bytes(bytes) => hex(&bytes),
        Val::Int(value) => hex(&value.to_be_bytes()),
        Val::Double(value) => hex(&value.to_be_bytes()),
        Val::Bool(value) => hex(&[value.into()]),
        _ => return Err(No::Fails),
    }))
}

fn parse_json(text: &str) -> Res<Val> {
    let json: serde_json::Value = serde_json::from_str(text).map_err(|_| No::Fails)?;
    if json.is_array() || json.is_object() { from_json(&json) } else { Err(No::Fails) }
}

fn from_json(json: &serde_json::Value) -> Res<Val> {
    Ok(match json {
        serde_json::Value::Null => Val::Nil,
        serde_json::Value::Bool(value) => Val::Bool(*value),
        serde_json::Value::Number(number) => Val::Double(number.as_f64().ok_or(No::Unsure)?),
        serde_json::Value::String(text) => Val::text(text),
        serde_json::Value::Array(list) => {
            let list: Res<Vec<AnyValue>> =
                list.iter().map(|one| from_json(one)?.stored()).collect();
            Val::List(list?)
        }
        serde_json::Value::Object(map) if map.len() > 1 => return Err(No::Unsure),
        serde_json::Value::Object(map) => {
            let mut entries = Vec::new();
            for (key, value) in map {
                let value = Some(from_json(value)?.stored()?);
                entries.push(KeyValue { key: key.clone(), value, ..KeyValue::default() });
            }
            Val::Map(entries)
        }
    })
}

/// Converters of a text.
fn on_text(name: &str, text: &str, mut arguments: Vec<Val>) -> Res<Val> {
    match name {
        "ToLowerCase" => return Ok(Val::Text(text.to_lowercase())),
        "ToUpperCase" => return Ok(Val::Text(text.to_uppercase())),
        "Base64Encode" => return Ok(Val::Text(base64(text.as_bytes()))),
        "FNV" => {
            let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
            return Ok(Val::Int(hash.cast_signed()));
        }
        "Substring" => {
            let (start, len) = (arguments.remove(0).into_int()?, arguments.remove(0).into_int()?);
            let (Ok(start), Ok(len)) = (usize::try_from(start), usize::try_from(len)) else {
                return Err(No::Fails);
            };
            if len == 0 || start + len > text.len() {
                return Err(No::Fails);
            }
            return text.get(start..start + len).map(Val::text).ok_or(No::Unsure);
        }
        _ => {}
    }
    let with = arguments.remove(0).into_text()?;
    match name {
        "HasPrefix" => Ok(Val::Bool(text.starts_with(&with))),
        "HasSuffix" => Ok(Val::Bool(text.ends_with(&with))),
        "TrimPrefix" => Ok(Val::text(text.strip_prefix(&*with).unwrap_or(text))),
        "TrimSuffix" => Ok(Val::text(text.strip_suffix(&*with).unwrap_or(text))),
        "Trim" => Ok(Val::text(text.trim_matches(|c| with.contains(c)))),
        "Index" => Ok(Val::Int(text.find(&*with).map_or(-1, |at| i64::try_from(at).unwrap()))),
        "Split" if with.is_empty() => texts(text.chars().map(String::from)),
        "Split" => texts(text.split(&*with).map(str::to_owned)),
        "ExtractPatterns" => {
            let regex = Regex::new(&with).map_err(|_| No::Fails)?;
            let mut map = Vec::new();
            if let Some(found) = regex.captures(text) {
                for name in regex.capture_names().flatten() {
                    let part = found.name(name).map_or("", |part| part.as_str());
                    let value = Some(Val::text(part).stored()?);
                    map.push(KeyValue { key: name.to_owned(), value, ..KeyValue::default() });
                }
            }
            Ok(Val::Map(map))
        }
        other => unreachable!("{other}"),
    }
}
