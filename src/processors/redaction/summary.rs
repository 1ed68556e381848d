//! What was done to a message, and the attributes that say so.

use super::{rewrite::Edit, settings::Summary};
use crate::{
    otlp::{
        splice::Splicer,
        wire::{Fields, put_bytes},
    },
    ottl::{Value, content, key_value},
};

/// What happened to an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Deleted = 0,
    Masked = 1,
    Allowed = 2,
    Ignored = 3,
}

/// Names of kinds in attributes.
const NAMES: [&str; 4] = ["redacted", "masked", "allowed", "ignored"];

/// Memory of a key beside its text, in a list that grows.
const KEY: usize = 3 * size_of::<Vec<u8>>();

/// Attributes by what happened to them.
#[derive(Debug, Default)]
pub(super) struct Found {
    level: Summary,
    counts: [u64; 4],
    keys: [Vec<Vec<u8>>; 4],
}

impl Found {
    pub(super) fn new(level: Summary) -> Self {
        Found { level, ..Found::default() }
    }

    pub(super) fn wants_keys(&self) -> bool {
        self.level == Summary::Debug
    }

    pub(super) fn add(&mut self, kind: Kind, key: &[u8], out: &mut Splicer<'_>) {
        self.counts[kind as usize] += 1;
        // The key is in the list, in the text of all, and in the attribute.
        if self.wants_keys() && kind != Kind::Ignored && out.pays(4 * key.len() + KEY) {
            self.keys[kind as usize].push(key.to_vec());
        }
    }
}

/// Values that were changed in a request.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Done {
    pub(super) deleted: u64,
    pub(super) masked: u64,
}

impl Done {
    pub(super) fn add(&mut self, found: &Found) {
        self.deleted += found.counts[Kind::Deleted as usize];
        self.masked += found.counts[Kind::Masked as usize];
    }
}

/// Writes the summary of what was found in a message whose attributes have a number: into
/// attributes that are there already, or as new ones.
pub(super) fn summarize<'a>(
    prefix: &str,
    found: &Found,
    (message, number): (&'a [u8], u32),
    edits: &mut Vec<Edit<'a>>,
    added: &mut Vec<Vec<u8>>,
) {
    if found.level == Summary::Silent {
        return;
    }
    for (at, name) in NAMES.into_iter().enumerate().filter(|(at, _)| found.counts[*at] > 0) {
        if !found.keys[at].is_empty() {
            let key = format!("{prefix}{name}.keys");
            set((message, number), &key, edits, added, |old| {
                let mut keys = found.keys[at].clone();
                if let Value::Text(text) = &old {
                    let before = text.split(|c| *c == b',').filter(|key| !key.is_empty());
                    keys.extend(before.map(<[u8]>::to_vec));
                }
                keys.sort_unstable();
                Value::Text(keys.join(&b',').into())
            });
        }
        let key = format!("{prefix}{name}.count");
        set((message, number), &key, edits, added, |old| {
            let before = if let Value::Int(before) = old { before } else { 0 };
            let count = i64::try_from(found.counts[at]).unwrap_or(i64::MAX);
            Value::Int(before.saturating_add(count))
        });
    }
}

/// Sets an attribute to what `value` makes of its value so far.
fn set<'a>(
    (message, number): (&'a [u8], u32),
    key: &str,
    edits: &mut Vec<Edit<'a>>,
    added: &mut Vec<Vec<u8>>,
    value: impl FnOnce(Value<'_>) -> Value<'static>,
) {
    let mut fields = Fields::new(message).map_while(Result::ok);
    let existing = fields.find(|field| {
        content(field, number).is_some_and(|entry| key_value(entry).0 == key.as_bytes())
            && !edits
                .iter()
                .any(|e| e.new.is_none() && e.field.whole.as_ptr() == field.whole.as_ptr())
    });
    let old = existing.and_then(|field| content(&field, number)).map(|entry| key_value(entry).1);
    let new = value(old.map_or(Value::Nil, Value::read_cow));
    let (mut any, mut entry) = (Vec::new(), Vec::new());
    new.encode(&mut any);
    put_bytes(&mut entry, 1, key.as_bytes());
    put_bytes(&mut entry, 2, &any);
    match existing {
        Some(field) => {
            edits.retain(|edit| edit.field.whole.as_ptr() != field.whole.as_ptr());
            edits.push(Edit { field, new: Some(entry) });
        }
        None => added.push(entry),
    }
}
