//! A map that is being made: keys in order of their first occurrence, the last value of each.

use std::{borrow::Cow, collections::HashMap};

use super::value::{Map, Value, put_entry_bytes};

/// Entries with their `AnyValue`s.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    list: Vec<(Vec<u8>, Vec<u8>)>,
    places: HashMap<Vec<u8>, usize>,
}

/// So many entries are searched one by one.
const FEW: usize = 12;

impl Entries {
    fn place(&self, key: &[u8]) -> Option<usize> {
        if self.list.len() <= FEW {
            return self.list.iter().position(|(known, _)| known == key);
        }
        self.places.get(key).copied()
    }

    /// Sets an entry to an `AnyValue`.
    pub(crate) fn put_bytes(&mut self, key: impl Into<Vec<u8>>, any: impl Into<Vec<u8>>) {
        let key = key.into();
        if let Some(at) = self.place(&key) {
            self.list[at].1 = any.into();
            return;
        }
        self.list.push((key, any.into()));
        if self.list.len() > FEW {
            let from = if self.places.is_empty() { 0 } else { self.list.len() - 1 };
            for at in from..self.list.len() {
                self.places.insert(self.list[at].0.clone(), at);
            }
        }
    }

    pub(crate) fn put(&mut self, key: impl Into<Vec<u8>>, value: &Value<'_>) {
        let mut any = Vec::new();
        value.encode(&mut any);
        self.put_bytes(key, any);
    }

    pub(crate) fn put_text(&mut self, key: impl Into<Vec<u8>>, text: impl AsRef<[u8]>) {
        self.put(key, &Value::Text(Cow::Borrowed(text.as_ref())));
    }

    /// The content of a `KeyValueList`.
    pub(crate) fn into_list(self) -> Vec<u8> {
        let mut list = Vec::new();
        for (key, any) in &self.list {
            put_entry_bytes(&mut list, 1, key, any);
        }
        list
    }

    pub(crate) fn into_value(self) -> Value<'static> {
        Value::Map(Map::made(self.into_list()))
    }
}
