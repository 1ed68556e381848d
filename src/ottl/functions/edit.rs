//! Editors of values and of the entries of a map.

use std::borrow::Cow;

use super::{
    super::{
        arguments::made,
        fault::{Fault, What},
        index::Indexed,
        item::{Item, Tier},
        language::Access,
        node::{Argument, Call, Eval, Place},
        text::plain,
        types::Types,
        value::{Map, Value, content, key_value, put_entry, put_entry_bytes},
        wire::{fields, put_attribute},
        write::stored,
    },
    Function, Parameter, Special, Takes, editor, optional, parameter, regex, value,
};
use crate::otlp::{attribute::usual, wire::put_bytes};

const MAP: Parameter = parameter("target", Takes::Path(Types::MAP));
const TEXT: Types = Types::TEXT;

pub(crate) const FUNCTIONS: &[Function] = &[
    Function {
        prepare: Some(prepare_set),
        ..editor(
            "set",
            &[parameter("target", Takes::Path(Types::ALL)), value("value", Types::ALL)],
            set,
            "Sets a path to a value. Nil empties a map, a list or an attribute.",
        )
    },
    editor("delete_key", &[MAP, value("key", TEXT)], delete_key, "Removes an entry of a map."),
    editor(
        "delete_matching_keys",
        &[MAP, parameter("pattern", Takes::Regex)],
        delete_matching_keys,
        "Removes the entries of a map whose keys match a regular expression.",
    ),
    editor(
        "keep_keys",
        &[MAP, value("keys", Types::LIST)],
        keep_keys,
        "Removes the entries of a map whose keys are not listed.",
    ),
    editor(
        "keep_matching_keys",
        &[MAP, parameter("pattern", Takes::Regex)],
        keep_matching_keys,
        "Removes the entries of a map whose keys do not match a regular expression.",
    ),
    Function {
        prepare: Some(check_limit),
        ..editor(
            "limit",
            &[
                MAP,
                parameter("limit", Takes::Literal(Types::INT)),
                parameter("priority_keys", Takes::Literal(Types::LIST)),
            ],
            limit,
            "Keeps at most so many entries of a map: first those of the priority keys, then others \
             in order.",
        )
    },
    editor(
        "merge_maps",
        &[
            MAP,
            value("source", Types::MAP),
            parameter("strategy", Takes::OneOf(&["insert", "update", "upsert"])),
        ],
        merge_maps,
        "Copies the entries of a map into another: `insert` those that it lacks, `update` those \
         that it has, `upsert` all.",
    ),
    Function {
        prepare: Some(check_truncate),
        ..editor(
            "truncate_all",
            &[
                MAP,
                parameter("limit", Takes::Literal(Types::INT)),
                optional("utf8_safe", Takes::Literal(Types::BOOL)),
            ],
            truncate_all,
            "Cuts the texts of a map to so many bytes, at a character unless `utf8_safe` is false.",
        )
    },
    editor("stringify_all", &[MAP], stringify_all, "Makes texts of all values of a map."),
    editor(
        "clear",
        &[parameter("target", Takes::Path(Types::ALL))],
        clear,
        "Sets a path to the empty value of its type.",
    ),
];

/// A constant is written once; one that cannot be stored is a fault of each item.
#[expect(clippy::unnecessary_wraps, reason = "other preparations can fail")]
fn prepare_set(arguments: &[Argument]) -> Result<Special, (usize, String)> {
    let constant = match arguments.get(1) {
        Some(Argument::Value(node, _)) => node.constant(),
        _ => None,
    };
    let Some(any) = constant.and_then(|value| stored(value).ok()) else { return Ok(Special::None) };
    let attribute = match arguments.first() {
        Some(Argument::Path(place)) => place.attribute().map(|(number, key)| {
            let mut field = Vec::new();
            put_entry_bytes(&mut field, number, key, &any);
            field
        }),
        _ => None,
    };
    Ok(Special::Stored { any, attribute })
}

fn set(call: &Call, item: &mut Item<'_>) -> Result<(), Fault> {
    let place = call.target()?;
    if let (Some(Argument::Value(node, span)), Access::Attributes(number), true) =
        (call.arguments.get(1), place.access, place.has_fixed_keys())
    {
        // The usual case without an owned copy of the value.
        let any = if let Special::Stored { any, .. } = &call.prepared {
            Cow::Borrowed(&**any)
        } else {
            let new = node.eval(Eval::new(item))?;
            Cow::Owned(stored(&new).map_err(|what| what.at(*span))?)
        };
        // Items often set the same attribute of their resource to the same value.
        let is_so = place.shared_attribute(item).is_some_and(|old| *old == *any);
        if is_so || set_attribute(item, place, &call.prepared, &any) {
            return Ok(());
        }
        if let Some(steps) = place.fixed_steps() {
            return item
                .edit(place.tier, |message, out| {
                    put_attribute(Indexed::plain(message), number, &steps, &any, out)
                })
                .map_err(|what| what.at(place.span));
        }
    }
    let new = call.value(Eval::new(item), 1)?.into_owned();
    call.set(item, &new)
}

/// Sets an attribute without deeper keys, unless there is more to its old entry than a key and a
/// value.
fn set_attribute(item: &mut Item<'_>, place: &Place, prepared: &Special, any: &[u8]) -> bool {
    let Some((number, key)) = place.attribute().filter(|_| place.tier != Tier::Cache) else {
        return false;
    };
    let from = item.indexed(place.tier);
    let old = match from.attribute(number, key) {
        None => from.message.len()..from.message.len(),
        Some(old) if usual(old.entry).is_some() => old.place,
        Some(_) => return false,
    };
    if let Special::Stored { attribute: Some(new), .. } = prepared {
        item.splice(place.tier, number, old, new);
    } else {
        item.splice_with(place.tier, number, old, |out| put_entry_bytes(out, number, key, any));
    }
    true
}

/// What happens to an entry.
pub(super) enum Fate {
    Keep,
    Drop,
    Replace(Value<'static>),
}

/// What a place is in a point of this kind; `None` if such a point does not have it.
fn resolved(place: &Place, item: &Item<'_>) -> Option<Access> {
    match place.access {
        Access::Point(point) => point.access(item.kind),
        other => Some(other),
    }
}

/// Decides on every entry of the target, which must be a map.
pub(super) fn each_entry(
    call: &Call,
    item: &mut Item<'_>,
    mut decide: impl FnMut(&[u8], &[u8]) -> Fate,
) -> Result<(), Fault> {
    let place = call.target()?;
    if let (Some(Access::Attributes(number)), true) = (resolved(place, item), place.keys.is_empty())
    {
        return item
            .edit(place.tier, |message, out| {
                write_entries(message, number, out, &mut decide);
                Ok(())
            })
            .map_err(|what| what.at(place.span));
    }
    let map = call.map(Eval::new(item), 0)?;
    let mut list = Vec::new();
    write_entries(&map.list(), 1, &mut list, &mut decide);
    call.set(item, &Value::Map(Map::made(list)))
}

/// Copies a message with some of its `KeyValue` fields left out or changed.
fn write_entries(
    message: &[u8],
    number: u32,
    out: &mut Vec<u8>,
    decide: &mut impl FnMut(&[u8], &[u8]) -> Fate,
) {
    let (mut copied, mut at) = (0, 0);
    for field in fields(message) {
        let start = at;
        at += field.whole.len();
        let Some(entry) = content(&field, number) else { continue };
        let (key, any) = key_value(entry);
        let fate = decide(key, &any);
        if matches!(fate, Fate::Keep) {
            continue;
        }
        out.extend_from_slice(&message[copied..start]);
        copied = at;
        if let Fate::Replace(new) = fate {
            put_entry(out, number, key, &new);
        }
    }
    out.extend_from_slice(&message[copied..at]);
}

fn delete_key(call: &Call, item: &mut Item<'_>) -> Result<(), Fault> {
    let eval = Eval::new(item);
    let key = call.text(eval, 1)?;
    let place = call.target()?;
    if let (Some(Access::Attributes(number)), true) = (resolved(place, item), place.keys.is_empty())
    {
        // The usual case: everything around the attribute is copied at once.
        let Some(old) = item.indexed(place.tier).attribute(number, &key) else { return Ok(()) };
        let old = old.place;
        item.splice(place.tier, number, old, &[]);
        return Ok(());
    }
    if call.map(eval, 0)?.get(&key).is_none() {
        return Ok(());
    }
    let key = key.into_owned();
    let mut is_gone = false;
    each_entry(call, item, |found, _| {
        if is_gone || *found != *key {
            return Fate::Keep;
        }
        is_gone = true;
        Fate::Drop
    })
}

fn keep_if(condition: bool) -> Fate {
    if condition { Fate::Keep } else { Fate::Drop }
}

fn delete_matching_keys(call: &Call, item: &mut Item<'_>) -> Result<(), Fault> {
    let regex = regex(call, Eval::new(item), 1)?;
    each_entry(call, item, |key, _| keep_if(!regex.is_match(key)))
}

fn keep_matching_keys(call: &Call, item: &mut Item<'_>) -> Result<(), Fault> {
    let regex = regex(call, Eval::new(item), 1)?;
    each_entry(call, item, |key, _| keep_if(regex.is_match(key)))
}

fn keep_keys(call: &Call, item: &mut Item<'_>) -> Result<(), Fault> {
    let keys = call.texts(Eval::new(item), 1)?;
    each_entry(call, item, |key, _| keep_if(keys.iter().any(|kept| kept == key)))
}

/// An integer constant.
fn constant_int(argument: Option<&Argument>) -> Option<i64> {
    match argument {
        Some(Argument::Value(node, _)) => match node.constant() {
            Some(Value::Int(value)) => Some(*value),
            _ => None,
        },
        _ => None,
    }
}

fn check_limit(arguments: &[Argument]) -> Result<Special, (usize, String)> {
    let limit = constant_int(arguments.get(1)).unwrap_or(0);
    if limit < 0 {
        return Err((1, "`limit` cannot be negative".to_owned()));
    }
    let keys = match arguments.get(2) {
        Some(Argument::Value(node, _)) => match node.constant() {
            Some(Value::List(list)) => Value::values(list).count(),
            _ => 0,
        },
        _ => 0,
    };
    if limit < i64::try_from(keys).unwrap_or(i64::MAX) {
        return Err((1, format!("`limit` is less than the number of priority keys, {keys}")));
    }
    Ok(Special::None)
}

fn check_truncate(arguments: &[Argument]) -> Result<Special, (usize, String)> {
    if constant_int(arguments.get(1)).is_some_and(|limit| limit < 0) {
        return Err((1, "`limit` cannot be negative".to_owned()));
    }
    Ok(Special::None)
}

fn limit(call: &Call, item: &mut Item<'_>) -> Result<(), Fault> {
    let eval = Eval::new(item);
    let limit = usize::try_from(call.int(eval, 1)?).unwrap_or(0);
    let priority = call.texts(eval, 2)?;
    let map = call.map(eval, 0)?;
    if map.len() <= limit {
        return Ok(());
    }
    let is_first = |key: &[u8]| priority.iter().any(|known| known == key);
    let mut room = limit - map.entries().filter(|(key, _)| is_first(key)).count().min(limit);
    each_entry(call, item, |key, _| {
        if is_first(key) {
            return Fate::Keep;
        }
        let fits = room > 0;
        room = room.saturating_sub(1);
        keep_if(fits)
    })
}

fn merge_maps(call: &Call, item: &mut Item<'_>) -> Result<(), Fault> {
    let eval = Eval::new(item);
    let strategy = call.text(eval, 2)?;
    let (inserts, updates) = (&*strategy != b"update", &*strategy != b"insert");
    let source = call.map(eval, 1)?;
    let target = call.map(eval, 0)?;
    // Later entries of the source win where they may update. Both orders are kept.
    let mut new: Vec<(&[u8], Vec<u8>, bool)> =
        target.entries().map(|(key, any)| (key, any.into_owned(), false)).collect();
    let mut places: std::collections::HashMap<&[u8], usize> =
        new.iter().enumerate().rev().map(|(i, (key, ..))| (*key, i)).collect();
    for (key, any) in source.entries() {
        match places.get(key) {
            Some(_) if !updates => {}
            Some(at) => new[*at] = (key, any.into_owned(), true),
            None if inserts => {
                places.insert(key, new.len());
                new.push((key, any.into_owned(), true));
            }
            None => {}
        }
    }
    if !new.iter().any(|(.., is_changed)| *is_changed) {
        return Ok(());
    }
    let mut list = Vec::new();
    for (key, any, _) in &new {
        put_entry_bytes(&mut list, 1, key, any);
    }
    call.set(item, &Value::Map(Map::made(list)))
}

/// The longest prefix of whole characters with at most so many bytes.
pub(super) fn floor_char(text: &[u8], limit: usize) -> usize {
    if text.len() <= limit {
        return text.len();
    }
    (0..=limit).rev().find(|at| text[*at] & 0xC0 != 0x80).unwrap_or(0)
}

fn truncate_all(call: &Call, item: &mut Item<'_>) -> Result<(), Fault> {
    let eval = Eval::new(item);
    let limit = usize::try_from(call.int(eval, 1)?).unwrap_or(0);
    let is_safe = call.bool_or(eval, 2, true)?;
    each_entry(call, item, |_, any| match Value::read(any) {
        Value::Text(text) if text.len() > limit => {
            let end = if is_safe { floor_char(&text, limit) } else { limit };
            Fate::Replace(made(&text[..end]))
        }
        _ => Fate::Keep,
    })
}

fn stringify_all(call: &Call, item: &mut Item<'_>) -> Result<(), Fault> {
    each_entry(call, item, |_, any| match Value::read(any) {
        Value::Text(_) => Fate::Keep,
        other => Fate::Replace(made(plain(other).into_owned())),
    })
}

fn clear(call: &Call, item: &mut Item<'_>) -> Result<(), Fault> {
    let new = match call.value(Eval::new(item), 0)? {
        Value::Nil => Value::Nil,
        Value::Bool(_) => Value::Bool(false),
        Value::Int(_) => Value::Int(0),
        Value::Double(_) => Value::Double(0.0),
        Value::Text(_) => Value::text(""),
        Value::Bytes(_) => Value::Bytes(Vec::new().into()),
        Value::Map(_) => Value::Map(Map::made(Vec::new())),
        Value::List(_) => Value::List(Vec::new().into()),
        Value::Time(_) => Value::Time(0),
        Value::Duration(_) => Value::Duration(0),
        Value::TraceId(_) => Value::TraceId([0; 16]),
        Value::SpanId(_) => Value::SpanId([0; 8]),
        Value::Collection(_) => return Err(What::text("a collection cannot be cleared").into()),
    };
    call.set(item, &new)
}

/// Appends a value to the content of an `ArrayValue`.
pub(super) fn push(list: &mut Vec<u8>, value: &Value<'_>) -> Result<(), Fault> {
    let mut any = Vec::new();
    if !value.encode(&mut any) {
        return Err(What::NotStored(value.types()).into());
    }
    put_bytes(list, 1, &any);
    Ok(())
}
