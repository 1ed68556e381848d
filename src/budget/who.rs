//! Who uses a budget: the services and span names (or log groups) that want most of it.
//!
//! A table of fixed size. A name that finds no room replaces the one with the least units and takes
//! over its count as a possible error (the algorithm *space-saving* of Metwally, Agrawal and El
//! Abbadi, 2005). So every name with more than 1/256 of all units is in the table, and its count is
//! never too low.
//!
//! A note takes about 0.05 us, one that replaces a name 0.1 us (`benches/budget.rs`), so only a few
//! items of a large payload are noted.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
};

/// Names in the table.
const ROOM: usize = 256;
/// Longest part of a service or a name that is kept, in bytes.
pub(super) const LONGEST_NAME: usize = 120;
/// Names that outlive the process.
pub(super) const MOST_KEPT: usize = 64;
/// Items of a payload that are noted one by one.
const ONE_BY_ONE: usize = 8;

/// A service and a name, with what they want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eater {
    /// `service.name`.
    pub service: Box<str>,
    /// Name of the span, log group, or empty.
    pub name: Box<str>,
    /// Units that wanted to pass, at most; estimated from a part of the items.
    pub wanted: u64,
    /// The count may be too high by this.
    pub error: u64,
}

impl Eater {
    pub(super) fn names(&self) -> (&str, &str) {
        (&self.service, &self.name)
    }
}

/// Every how many items of a payload one is to be noted, with its units times that number. Payloads
/// of few items are noted in full, larger ones by 8 to 15 of their items.
pub const fn stride(items: usize) -> usize {
    if items < 2 * ONE_BY_ONE { 1 } else { items / ONE_BY_ONE }
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Who {
    hasher: RandomState,
    /// Where an entry is, by the hash of its names.
    places: HashMap<u64, usize>,
    hashes: Vec<u64>,
    eaters: Vec<Eater>,
    /// No entry has less, and those before `cursor` have more.
    least: u64,
    cursor: usize,
}

impl Who {
    /// Those of an earlier process, of which no two have the same names.
    pub(super) fn of(eaters: &[Eater]) -> Self {
        let mut who = Who::default();
        for eater in eaters.iter().take(ROOM) {
            let hash = who.hasher.hash_one(eater.names());
            who.places.insert(hash, who.hashes.len());
            who.hashes.push(hash);
            who.eaters.push(eater.clone());
        }
        who
    }

    /// Those that outlive the process, by service and name.
    pub(super) fn kept(&self) -> Vec<Eater> {
        let mut eaters = self.first(MOST_KEPT);
        eaters.sort_by(|one, other| one.names().cmp(&other.names()));
        eaters
    }

    /// Adds units of a service and a name.
    pub(super) fn note(&mut self, service: &str, name: &str, units: u64) {
        let (service, name) = (cut(service), cut(name));
        let hash = self.hasher.hash_one((service, name));
        if let Some(at) = self.places.get(&hash) {
            let eater = &mut self.eaters[*at];
            eater.wanted = eater.wanted.saturating_add(units);
            return;
        }
        let new = |error: u64| Eater {
            service: service.into(),
            name: name.into(),
            wanted: units.saturating_add(error),
            error,
        };
        if self.eaters.len() < ROOM {
            self.places.insert(hash, self.eaters.len());
            self.hashes.push(hash);
            self.eaters.push(new(0));
            return;
        }
        let at = self.find_least();
        self.places.remove(&self.hashes[at]);
        self.places.insert(hash, at);
        self.hashes[at] = hash;
        self.eaters[at] = new(self.eaters[at].wanted);
    }

    /// The place of an entry with the least units. Counts only grow, so those that were passed over
    /// need not be looked at again until the others have as much.
    fn find_least(&mut self) -> usize {
        let rest = self.eaters.iter().skip(self.cursor);
        if let Some(ahead) = rest.take(ROOM).position(|eater| eater.wanted <= self.least) {
            self.cursor += ahead;
            return self.cursor;
        }
        let (at, least) = (self.eaters.iter().map(|eater| eater.wanted).enumerate())
            .min_by_key(|(_, wanted)| *wanted)
            .unwrap_or_default();
        (self.cursor, self.least) = (at, least);
        at
    }

    /// Those that want most, the first `count` of them.
    pub(super) fn first(&self, count: usize) -> Vec<Eater> {
        let mut eaters = self.eaters.clone();
        eaters.sort_by(|one, other| other.wanted.cmp(&one.wanted).then(one.name.cmp(&other.name)));
        eaters.truncate(count);
        eaters
    }

    /// Forgets everything, for a new period.
    pub(super) fn clear(&mut self) {
        self.places.clear();
        self.hashes.clear();
        self.eaters.clear();
        (self.least, self.cursor) = (0, 0);
    }
}

/// As much of a name as is kept.
pub(super) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_NAME)]
}

#[cfg(test)]
mod tests;
