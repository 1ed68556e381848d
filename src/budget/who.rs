//! Who uses a budget: the services and span names (or log groups) that want most of it.
//!
//! A table of fixed size. A name that finds no room replaces the one with the least units and takes
//! over its count as a possible error (the algorithm *space-saving* of Metwally, Agrawal and El
//! Abbadi, 2005). So every name with more than 1/256 of all units is in the table, and its count is
//! never too low.

use std::hash::{BuildHasher as _, RandomState};

/// Names in the table.
const ROOM: usize = 256;
/// Longest part of a service or a name that is kept, in bytes.
const LONGEST: usize = 120;
/// Items of a payload that are noted one by one.
const ONE_BY_ONE: usize = 16;

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

/// Every how many items of a payload one is to be noted, with its units times that number. Payloads
/// of few items are noted in full, larger ones by 16 to 31 of their items.
pub const fn stride(items: usize) -> usize {
    if items < 2 * ONE_BY_ONE { 1 } else { items / ONE_BY_ONE }
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Who {
    hasher: RandomState,
    /// Hashes of the entries, in the same order: what is looked through.
    hashes: Vec<u64>,
    eaters: Vec<Eater>,
}

impl Who {
    /// Adds units of a service and a name.
    pub(super) fn note(&mut self, service: &str, name: &str, units: u64) {
        let (service, name) = (cut(service), cut(name));
        let hash = self.hasher.hash_one((service, name));
        if let Some(at) = self.hashes.iter().position(|known| *known == hash) {
            let eater = &mut self.eaters[at];
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
            self.hashes.push(hash);
            self.eaters.push(new(0));
        } else if let Some(at) = self.least() {
            let error = self.eaters[at].wanted;
            self.hashes[at] = hash;
            self.eaters[at] = new(error);
        }
    }

    fn least(&self) -> Option<usize> {
        (0..self.eaters.len()).min_by_key(|at| self.eaters[*at].wanted)
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
        self.hashes.clear();
        self.eaters.clear();
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST)]
}

#[cfg(test)]
mod tests;
