//! Conditions on items, and which rows of a chunk meet them.

use std::cmp::Ordering;

use memchr::memmem::Finder;
use serde::Serialize;

use super::{
    cell::{Cell, Literal},
    chunk::{Chunk, range},
    field::{Column, Field, Loaded},
};

/// How a field is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Comparison {
    #[serde(rename = "=")]
    Is,
    #[serde(rename = "!=")]
    IsNot,
    #[serde(rename = ">")]
    Above,
    #[serde(rename = ">=")]
    AtLeast,
    #[serde(rename = "<")]
    Below,
    #[serde(rename = "<=")]
    AtMost,
    #[serde(rename = "exists")]
    Exists,
    #[serde(rename = "does-not-exist")]
    DoesNotExist,
    #[serde(rename = "contains")]
    Contains,
    #[serde(rename = "does-not-contain")]
    DoesNotContain,
    #[serde(rename = "starts-with")]
    StartsWith,
    #[serde(rename = "does-not-start-with")]
    DoesNotStartWith,
    #[serde(rename = "in")]
    In,
    #[serde(rename = "not-in")]
    NotIn,
}

/// Comparisons by their names, which are Honeycomb's.
pub(super) const COMPARISONS: [(&str, Comparison); 14] = [
    ("=", Comparison::Is),
    ("!=", Comparison::IsNot),
    (">", Comparison::Above),
    (">=", Comparison::AtLeast),
    ("<", Comparison::Below),
    ("<=", Comparison::AtMost),
    ("exists", Comparison::Exists),
    ("does-not-exist", Comparison::DoesNotExist),
    ("contains", Comparison::Contains),
    ("does-not-contain", Comparison::DoesNotContain),
    ("starts-with", Comparison::StartsWith),
    ("does-not-start-with", Comparison::DoesNotStartWith),
    ("in", Comparison::In),
    ("not-in", Comparison::NotIn),
];

impl Comparison {
    /// How many values it needs: none, one, or any number.
    pub(super) fn takes(self) -> usize {
        match self {
            Comparison::Exists | Comparison::DoesNotExist => 0,
            Comparison::In | Comparison::NotIn => usize::MAX,
            _ => 1,
        }
    }

    /// Whether a value meets it. What is not there is different from everything.
    pub(super) fn holds(self, cell: Cell<'_>, values: &[Literal]) -> bool {
        let order = || values.first().and_then(|value| value.compare(cell));
        let equals = |value: &Literal| value.compare(cell) == Some(Ordering::Equal);
        let text = || (cell.text(), values.first().map(Literal::text).unwrap_or_default());
        match self {
            Comparison::Is | Comparison::In => values.iter().any(equals),
            Comparison::IsNot | Comparison::NotIn => !values.iter().any(equals),
            Comparison::Above => order() == Some(Ordering::Greater),
            Comparison::AtLeast => order().is_some_and(Ordering::is_ge),
            Comparison::Below => order() == Some(Ordering::Less),
            Comparison::AtMost => order().is_some_and(Ordering::is_le),
            Comparison::Exists => !cell.is_null(),
            Comparison::DoesNotExist => cell.is_null(),
            Comparison::Contains => {
                let (cell, value) = text();
                cell.contains(&*value)
            }
            Comparison::DoesNotContain => {
                let (cell, value) = text();
                !cell.contains(&*value)
            }
            Comparison::StartsWith => {
                let (cell, value) = text();
                cell.starts_with(&*value)
            }
            Comparison::DoesNotStartWith => {
                let (cell, value) = text();
                !cell.starts_with(&*value)
            }
        }
    }
}

/// A condition on one field.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Condition {
    pub(super) field: Field,
    pub(super) comparison: Comparison,
    pub(super) values: Vec<Literal>,
}

impl Condition {
    pub(super) fn is(field: Field, text: &str) -> Self {
        let values = vec![Literal::Text(text.to_owned())];
        Condition { field, comparison: Comparison::Is, values }
    }
}

/// How conditions go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Combination {
    #[default]
    All,
    Any,
}

/// What items have to meet.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Filter {
    pub(super) conditions: Vec<Condition>,
    pub(super) combination: Combination,
    /// Nanoseconds since 1970, from and up to.
    pub(super) range: Option<(u64, u64)>,
    /// A text that has to be somewhere in the item, in any case of ASCII letters.
    pub(super) text: Option<String>,
}

impl Filter {
    /// Whether every item meets it.
    pub(super) fn is_empty(&self) -> bool {
        self.conditions.is_empty() && self.range.is_none() && self.text.is_none()
    }

    /// Whether a chunk may have items in the range.
    pub(super) fn overlaps(&self, chunk: &Chunk) -> bool {
        self.range.is_none_or(|(from, to)| chunk.times.0 < to && chunk.times.1 >= from)
    }

    /// For each row, whether it meets the conditions.
    pub(super) fn rows(&self, chunk: &Chunk) -> Vec<bool> {
        let rows = chunk.rows();
        let is_any = self.combination == Combination::Any && !self.conditions.is_empty();
        let mut met = vec![!is_any; rows];
        for condition in &self.conditions {
            let loaded = Loaded::of(chunk, &condition.field);
            let column = loaded.column();
            let holds = holds(condition, &column);
            for (row, met) in met.iter_mut().enumerate() {
                let is_met = holds[column.id(row)];
                *met = if is_any { *met || is_met } else { *met && is_met };
            }
        }
        if let Some((from, to)) = self.range {
            for (row, met) in met.iter_mut().enumerate() {
                *met = *met && (from..to).contains(&chunk.time(row));
            }
        }
        if let Some(text) = &self.text
            && met.contains(&true)
        {
            let found = find(chunk, text);
            met.iter_mut().zip(found).for_each(|(met, found)| *met = *met && found);
        }
        met
    }
}

fn holds(condition: &Condition, column: &Column<'_>) -> Vec<bool> {
    let values = column.values().iter();
    values.map(|cell| condition.comparison.holds(*cell, &condition.values)).collect()
}

/// For each row, whether a text is in its name, an attribute, its resource or what else it has.
fn find(chunk: &Chunk, text: &str) -> Vec<bool> {
    let needle = text.to_ascii_lowercase();
    let finder = Finder::new(needle.as_bytes());
    let has = |bytes: &[u8]| finder.find(&bytes.to_ascii_lowercase()).is_some();
    let names: Vec<bool> = chunk.names.iter().map(has).collect();
    let headers: Vec<bool> = chunk.headers.iter().map(has).collect();
    let origins: Vec<bool> = chunk
        .origins
        .iter()
        .map(|origin| headers[usize::from(origin.resource)] || headers[usize::from(origin.scope)])
        .collect();
    let attributes = find_attributes(chunk, &finder);
    let rest = chunk.rest.unpack().to_ascii_lowercase();
    let columns = &chunk.columns;
    let row = |row: usize| {
        names[usize::from(columns.name[row])]
            || origins[usize::from(columns.origin[row])]
            || columns.attributes_of(row).iter().any(|number| attributes[usize::from(*number)])
            || rest
                .get(range(&columns.rest_end, row))
                .is_some_and(|rest| finder.find(rest).is_some())
    };
    (0..chunk.rows()).map(row).collect()
}

/// For each attribute, whether the text is in its key or value. Blocks are unpacked once.
fn find_attributes(chunk: &Chunk, finder: &Finder<'_>) -> Vec<bool> {
    let has = |bytes: &[u8]| finder.find(&bytes.to_ascii_lowercase()).is_some();
    let all = chunk.key_starts.last().copied().unwrap_or(0);
    let mut found = Vec::with_capacity(usize::from(all));
    for (at, block) in chunk.blocks.iter().enumerate() {
        let end = chunk.blocks.get(at + 1).map_or(all, |next| next.first);
        let values = chunk.values(block.first..end);
        found.extend((block.first..end).map(|number| has(values.of(number))));
    }
    found.resize(usize::from(all), false);
    for key in (0..chunk.keys.len()).filter(|key| has(chunk.keys.get(*key))) {
        let numbers = chunk.numbers(key);
        found[usize::from(numbers.start)..usize::from(numbers.end)].fill(true);
    }
    found
}
