//! Runs editors and whole groups.

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value as Any};
use regex::Regex;

use super::{
    eval::{eval, holds},
    metrics::measured,
    names::conventional,
    place::Levels,
    program::{Edit, Group, Path},
    value::{No, Res, Val},
};

/// Which text of a group failed: whether it is a condition, and its position.
pub(super) type Failed = (bool, usize);

/// Runs a group on an item. `Err` if the rules do not say what comes of it.
pub(super) fn run(group: &Group, levels: &mut Levels<'_>, failed: &mut Vec<Failed>) -> Res<()> {
    if !group.conditions.is_empty() && !matches(group, levels, failed)? {
        return Ok(());
    }
    for (at, statement) in group.statements.iter().enumerate() {
        let is_chosen = match &statement.condition {
            Some(condition) => holds(condition, levels),
            None => Ok(true),
        };
        let done = match is_chosen {
            Ok(true) => edit(&statement.edit, levels),
            Ok(false) => Ok(()),
            Err(no) => Err(no),
        };
        match done {
            Err(No::Unsure) => return Err(No::Unsure),
            Err(No::Fails) => failed.push((false, at)),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// Whether a condition of a group holds.
pub(super) fn matches(
    group: &Group,
    levels: &mut Levels<'_>,
    failed: &mut Vec<Failed>,
) -> Res<bool> {
    for (at, condition) in group.conditions.iter().enumerate() {
        match holds(condition, levels) {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(No::Fails) => failed.push((true, at)),
            Err(No::Unsure) => return Err(No::Unsure),
        }
    }
    Ok(false)
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap()
}

/// Whether a text is what a glob of `*` and `?` describes.
fn is_glob(glob: &[char], text: &[char]) -> bool {
    match glob.split_first() {
        None => text.is_empty(),
        Some(('*', rest)) => (0..=text.len()).any(|at| is_glob(rest, &text[at..])),
        Some(('?', rest)) => !text.is_empty() && is_glob(rest, &text[1..]),
        Some((one, rest)) => text.first() == Some(one) && is_glob(rest, &text[1..]),
    }
}

fn globs(glob: &str, text: &str) -> bool {
    let chars = |text: &str| text.chars().collect::<Vec<char>>();
    is_glob(&chars(glob), &chars(text))
}

fn edit(edit: &Edit, levels: &mut Levels<'_>) -> Res<()> {
    match edit {
        Edit::Set(path, value) => {
            let value = eval(value, levels)?;
            path.set(levels, &value)
        }
        Edit::ReplacePattern(path, pattern, new) => {
            let Val::Text(old) = path.get(levels)? else { return Ok(()) };
            if !regex(pattern).is_match(&old) {
                return Ok(());
            }
            path.set(levels, &Val::text(&regex(pattern).replace_all(&old, *new)))
        }
        Edit::ReplaceMatch(path, glob, new) => {
            let Val::Text(old) = path.get(levels)? else { return Ok(()) };
            if globs(glob, &old) { path.set(levels, &Val::text(new)) } else { Ok(()) }
        }
        Edit::Append(path, value) => append(path, &eval(value, levels)?, levels),
        Edit::DeleteIndex(path, start, end) => delete_index(path, *start, *end, levels),
        Edit::Measure(measure) => measured(measure, levels),
        Edit::ConventionalName(old) => conventional(*old, levels),
        _ => edit_map(edit, levels),
    }
}

fn append(path: &Path, value: &Val, levels: &mut Levels<'_>) -> Res<()> {
    if matches!(value, Val::List(_) | Val::Map(_)) {
        return Err(No::Unsure);
    }
    let mut list = match path.get(levels)? {
        Val::Nil => Vec::new(),
        Val::List(list) => list,
        Val::Map(_) => return Err(No::Fails),
        other => vec![other.stored()?],
    };
    list.push(value.stored()?);
    path.set(levels, &Val::List(list))
}

fn delete_index(path: &Path, start: i64, end: i64, levels: &mut Levels<'_>) -> Res<()> {
    let Val::List(mut list) = path.get(levels)? else { return Err(No::Fails) };
    let (Ok(start), Ok(end)) = (usize::try_from(start), usize::try_from(end)) else {
        return Err(No::Fails);
    };
    let is_all = start == 0 && end == list.len();
    if !is_all && (start >= list.len() || end < start || end > list.len()) {
        return Err(No::Fails);
    }
    list.drain(start..end);
    path.set(levels, &Val::List(list))
}

fn text_of(entry: &KeyValue) -> Option<&str> {
    match &entry.value.as_ref()?.value {
        Some(Any::StringValue(text)) => Some(text),
        _ => None,
    }
}

pub(super) fn put(map: &mut Vec<KeyValue>, key: &str, value: Option<AnyValue>) {
    match map.iter_mut().find(|entry| entry.key == key) {
        Some(entry) => entry.value = value,
        None => map.push(KeyValue { key: key.to_owned(), value, ..KeyValue::default() }),
    }
}

fn edit_map(edit: &Edit, levels: &mut Levels<'_>) -> Res<()> {
    let (Edit::DeleteKey(path, _)
    | Edit::KeepKeys(path, _)
    | Edit::Matching(path, ..)
    | Edit::Limit(path, ..)
    | Edit::Truncate(path, _)
    | Edit::Merge(path, ..)
    | Edit::ReplaceAllPatterns(path, ..)
    | Edit::ReplaceAllMatches(path, ..)
    | Edit::Flatten(path, _)
    | Edit::StringifyAll(path)) = edit
    else {
        return Err(No::Unsure);
    };
    let mut map = path.get(levels)?.entries()?;
    let new_text = |text: &str| Val::text(text).stored().map(Some);
    match edit {
        Edit::DeleteKey(_, key) => {
            let key = eval(key, levels)?.into_text()?;
            if let Some(at) = map.iter().position(|entry| entry.key == key) {
                map.remove(at);
            }
        }
        Edit::KeepKeys(_, keys) => {
            let keys: Res<Vec<String>> =
                keys.iter().map(|key| eval(key, levels)?.into_text()).collect();
            let keys = keys?;
            map.retain(|entry| keys.contains(&entry.key));
        }
        Edit::Matching(_, pattern, is_kept) => {
            map.retain(|entry| regex(pattern).is_match(&entry.key) == *is_kept);
        }
        Edit::Limit(_, limit, first) => limited(&mut map, *limit, first)?,
        Edit::Truncate(_, limit) => {
            for entry in &mut map {
                if let Some(text) = text_of(entry).filter(|text| text.len() > *limit) {
                    let cut = (0..=*limit).rev().find(|at| text.is_char_boundary(*at));
                    entry.value = new_text(&text[..cut.unwrap_or(0)])?;
                }
            }
        }
        Edit::Merge(_, source, strategy) => {
            for entry in eval(source, levels)?.entries()? {
                let is_there = map.iter().any(|old| old.key == entry.key);
                if *strategy == "upsert" || (*strategy == "update") == is_there {
                    put(&mut map, &entry.key, entry.value);
                }
            }
        }
        // Where there is nothing to change, keys that are there twice stay.
        Edit::ReplaceAllPatterns(_, "key", pattern, _)
            if !map.iter().any(|entry| regex(pattern).is_match(&entry.key)) => {}
        Edit::Flatten(_, flat)
            if flat.prefix.unwrap_or("").is_empty() && !map.iter().any(is_nested) => {}
        Edit::ReplaceAllPatterns(_, "key", pattern, new) => {
            let mut renamed = Vec::new();
            for entry in map {
                put(&mut renamed, &regex(pattern).replace_all(&entry.key, *new), entry.value);
            }
            map = renamed;
        }
        Edit::ReplaceAllPatterns(_, _, pattern, new) => {
            for entry in &mut map {
                if let Some(text) = text_of(entry) {
                    entry.value = new_text(&regex(pattern).replace_all(text, *new))?;
                }
            }
        }
        Edit::ReplaceAllMatches(_, glob, new) => {
            for entry in &mut map {
                if text_of(entry).is_some_and(|text| globs(glob, text)) {
                    entry.value = new_text(new)?;
                }
            }
        }
        Edit::Flatten(_, flat) => {
            let mut new = Vec::new();
            for entry in &map {
                let key = match flat.prefix.unwrap_or("") {
                    "" => entry.key.clone(),
                    prefix => format!("{prefix}.{}", entry.key),
                };
                let depth = flat.depth.unwrap_or(i64::MAX);
                flatten(&key, entry.value.as_ref(), (depth, flat.resolves), &mut new);
            }
            map = new;
        }
        _ => {
            for entry in &mut map {
                entry.value = new_text(&Val::of(entry.value.as_ref()).plain()?)?;
            }
        }
    }
    path.set(levels, &Val::Map(map))
}

/// Keys that are there twice are not for the rules to say.
fn limited(map: &mut Vec<KeyValue>, limit: usize, first: &[&str]) -> Res<()> {
    if map.len() <= limit {
        return Ok(());
    }
    let is_first = |entry: &KeyValue| first.contains(&&*entry.key);
    let kept = map.iter().filter(|entry| is_first(entry)).count();
    if kept > limit || first.iter().any(|key| map.iter().filter(|e| e.key == *key).count() > 1) {
        return Err(No::Unsure);
    }
    let mut room = limit - kept;
    map.retain(|entry| {
        if is_first(entry) {
            return true;
        }
        let has_room = room > 0;
        room = room.saturating_sub(1);
        has_room
    });
    Ok(())
}

fn is_nested(entry: &KeyValue) -> bool {
    matches!(Val::of(entry.value.as_ref()), Val::List(_) | Val::Map(_))
}

fn flatten(
    key: &str,
    value: Option<&AnyValue>,
    (depth, resolves): (i64, bool),
    flat: &mut Vec<KeyValue>,
) {
    let below = |name: &str| {
        if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") }
    };
    match value.and_then(|any| any.value.as_ref()) {
        Some(Any::KvlistValue(map)) if depth > 0 => {
            for entry in &map.values {
                let at = (depth - 1, resolves);
                flatten(&below(&entry.key), entry.value.as_ref(), at, flat);
            }
        }
        Some(Any::ArrayValue(list)) if depth > 0 => {
            for (at, element) in list.values.iter().enumerate() {
                let is_nested = matches!(Val::of(Some(element)), Val::List(_) | Val::Map(_));
                if resolves && !is_nested {
                    resolved(key, Some(element), flat);
                } else {
                    let depth = (depth - 1, resolves);
                    flatten(&below(&at.to_string()), Some(element), depth, flat);
                }
            }
        }
        _ if resolves => resolved(key, value, flat),
        _ => put(flat, key, value.cloned()),
    }
}

/// Adds an entry; a key that is there already gets a number.
fn resolved(key: &str, value: Option<&AnyValue>, flat: &mut Vec<KeyValue>) {
    let is_free = |key: &str| flat.iter().all(|entry| entry.key != key);
    let numbered = (0..).map(|number: u32| format!("{key}.{number}"));
    let free = std::iter::once(key.to_owned()).chain(numbered).find(|key| is_free(key));
    put(flat, &free.expect("there is always another number"), value.cloned());
}
