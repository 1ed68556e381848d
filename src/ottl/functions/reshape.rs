//! Editors of the shape of values: `flatten`, `append`, `delete_index`.

use std::{borrow::Cow, collections::HashMap};

use super::{
    super::{
        fault::{Fault, What},
        item::Item,
        node::{Argument, Call, Eval},
        types::Types,
        value::{Map, Value, elements, put_entry_bytes},
    },
    Function, Special, Takes,
    edit::push,
    editor, optional, parameter, value,
};
use crate::otlp::wire::put_bytes;

pub(crate) const FUNCTIONS: &[Function] = &[
    Function {
        prepare: Some(check_flatten),
        ..editor(
            "flatten",
            &[
                parameter("target", Takes::Path(Types::MAP)),
                optional("prefix", Takes::Value(Types::TEXT)),
                optional("depth", Takes::Literal(Types::INT)),
                optional("resolve_conflicts", Takes::Literal(Types::BOOL)),
            ],
            flatten,
            "Makes one level of nested maps and lists: `{\"a\": {\"b\": 1}}` becomes `a.b`.",
        )
    },
    Function {
        prepare: Some(check_append),
        ..editor(
            "append",
            &[
                parameter("target", Takes::Path(Types::ANY)),
                optional("value", Takes::Value(Types::ANY)),
                optional("values", Takes::Value(Types::LIST)),
            ],
            append,
            "Appends values to a list; a single value becomes a list first.",
        )
    },
    editor(
        "delete_index",
        &[
            parameter("target", Takes::Path(Types::LIST)),
            value("start_index", Types::INT),
            optional("end_index", Takes::Value(Types::INT)),
        ],
        delete_index,
        "Removes the elements of a list from `start_index` up to, but without `end_index`.",
    ),
];

fn check_flatten(arguments: &[Argument]) -> Result<Special, (usize, String)> {
    if let Some(Argument::Value(node, _)) = arguments.get(2)
        && let Some(Value::Int(depth)) = node.constant()
        && *depth < 1
    {
        return Err((2, "`depth` must be at least 1".to_owned()));
    }
    Ok(Special::None)
}

/// Entries of a flattened map, in order of their first occurrence.
#[derive(Default)]
struct Flat {
    entries: Vec<(Vec<u8>, Vec<u8>)>,
    places: HashMap<Vec<u8>, usize>,
    resolves: bool,
    /// The next number behind a name that is taken.
    numbers: HashMap<Vec<u8>, usize>,
    /// Bytes of keys and values.
    size: usize,
}

impl Flat {
    /// Adds an entry. One that is there already is replaced, or keeps its name.
    fn put(&mut self, mut key: Vec<u8>, any: &[u8]) -> Result<(), Fault> {
        self.size += key.len() + any.len();
        if self.size > super::replace::LARGEST {
            return Err(What::TooLarge.into());
        }
        if let Some(at) = self.places.get(&key) {
            if !self.resolves {
                self.entries[*at].1 = any.to_vec();
                return Ok(());
            }
            let next = self.numbers.entry(key.clone()).or_default();
            loop {
                let numbered = [&key[..], b".", next.to_string().as_bytes()].concat();
                *next += 1;
                if !self.places.contains_key(&numbered) {
                    key = numbered;
                    break;
                }
            }
        }
        self.places.insert(key.clone(), self.entries.len());
        self.entries.push((key, any.to_vec()));
        Ok(())
    }

    fn add(&mut self, key: &[u8], any: &[u8], depth: i64) -> Result<(), Fault> {
        let below = |name: &[u8]| {
            if key.is_empty() { name.to_vec() } else { [key, b".", name].concat() }
        };
        match Value::read(any) {
            Value::Map(map) if depth > 0 => {
                for (name, any) in map.entries() {
                    self.add(&below(name), &any, depth - 1)?;
                }
            }
            Value::List(list) if depth > 0 => {
                for (i, any) in elements(&list).enumerate() {
                    let is_scalar = !matches!(Value::read(any), Value::Map(_) | Value::List(_));
                    if self.resolves && is_scalar {
                        self.put(key.to_vec(), any)?;
                    } else {
                        self.add(&below(i.to_string().as_bytes()), any, depth - 1)?;
                    }
                }
            }
            _ => self.put(key.to_vec(), any)?,
        }
        Ok(())
    }
}

fn flatten(call: &Call, item: &mut Item<'_>) -> Result<(), Fault> {
    let eval = Eval::new(item);
    let prefix = call.text_or(eval, 1, "")?;
    let depth = if call.has(2) { call.int(eval, 2)? } else { i64::MAX };
    let resolves = call.bool_or(eval, 3, false)?;
    let map = call.map(eval, 0)?;
    let is_flat = prefix.is_empty()
        && !map
            .entries()
            .any(|(_, any)| matches!(Value::read(&any), Value::Map(_) | Value::List(_)));
    if is_flat {
        return Ok(());
    }
    let mut flat = Flat { resolves, ..Flat::default() };
    for (key, any) in map.entries() {
        let key = if prefix.is_empty() { key.to_vec() } else { [&prefix, &b"."[..], key].concat() };
        flat.add(&key, &any, depth)?;
    }
    let mut list = Vec::new();
    for (key, any) in &flat.entries {
        put_entry_bytes(&mut list, 1, key, any);
    }
    call.set(item, &Value::Map(Map::made(list)))
}

fn check_append(arguments: &[Argument]) -> Result<Special, (usize, String)> {
    let is_absent = |at: usize| matches!(arguments.get(at), None | Some(Argument::Absent));
    if is_absent(1) && is_absent(2) {
        return Err((1, "`append` needs `value` or `values`".to_owned()));
    }
    Ok(Special::None)
}

fn append(call: &Call, item: &mut Item<'_>) -> Result<(), Fault> {
    let eval = Eval::new(item);
    let mut new = Vec::new();
    match call.value(eval, 0)? {
        Value::Nil => {}
        Value::List(list) => new.extend_from_slice(&list),
        found @ (Value::Map(_) | Value::Collection(_)) => {
            let wanted = Types::LIST.or(Types::TEXT).or(Types::NUMBER).or(Types::BOOL);
            return Err(call.wrong(0, wanted, &found));
        }
        scalar => push(&mut new, &scalar)?,
    }
    if call.has(1) {
        push(&mut new, &call.value(eval, 1)?)?;
    }
    if call.has(2) {
        new.extend_from_slice(&call.list(eval, 2)?);
    }
    call.set(item, &Value::List(Cow::Owned(new)))
}

fn delete_index(call: &Call, item: &mut Item<'_>) -> Result<(), Fault> {
    let eval = Eval::new(item);
    let list = call.list(eval, 0)?;
    let len = elements(&list).count();
    let start = call.int(eval, 1)?;
    let end = if call.has(2) { call.int(eval, 2)? } else { start.saturating_add(1) };
    let within = |index: i64| usize::try_from(index).ok().filter(|index| *index <= len);
    let (Some(from), Some(to)) = (within(start), within(end)) else {
        let index = if within(start).is_none() { start } else { end };
        return Err(What::Index { index, len }.into());
    };
    let is_whole = from == 0 && to == len;
    if to < from || (from == len && !is_whole) {
        return Err(What::Index { index: start, len }.into());
    }
    let mut new = Vec::new();
    for (i, any) in elements(&list).enumerate() {
        if !(from..to).contains(&i) {
            put_bytes(&mut new, 1, any);
        }
    }
    call.set(item, &Value::List(Cow::Owned(new)))
}
