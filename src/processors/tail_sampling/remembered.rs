//! Decisions that are remembered, for spans that come late: of kept traces what their spans have to
//! bear, of dropped ones only that they were, eight bytes each.
//!
//! Both stand in two generations. What is looked up moves into the younger one; when that is half of
//! the size the older one is forgotten as a whole. So the least recently used go first, in halves,
//! without a list to keep in order.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::processors::sampling::Threshold;

/// A kept trace.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Kept {
    /// Number of the policy.
    pub(super) policy: u16,
    /// The share that the tail sampler kept of traces like it, as a threshold.
    pub(super) threshold: Threshold,
    /// See [`super::weight::Answer`].
    pub(super) is_detached: bool,
    /// Whether a dry run kept it.
    pub(super) is_dry: bool,
}

/// What one takes, with the room that a map leaves free.
const KEPT_BYTES: usize = (size_of::<(u128, Kept)>() + 1) * 8 / 7;

/// Most bytes of so many kept traces. A map has twice the room that it needs at worst, and of two that
/// are half as large as all.
pub(super) const fn most_kept_bytes(size: usize) -> usize {
    size * 2 * KEPT_BYTES
}

/// Most bytes of so many dropped traces: a table is filled to three quarters, and doubled.
pub(super) const fn most_dropped_bytes(size: usize) -> usize {
    size * 8 * 8 / 3
}

/// The kept ones, by trace id.
#[derive(Debug)]
pub(super) struct KeptTraces {
    size: usize,
    young: HashMap<u128, Kept, RandomState>,
    old: HashMap<u128, Kept, RandomState>,
}

impl KeptTraces {
    pub(super) fn new(size: usize) -> Self {
        KeptTraces { size, young: HashMap::default(), old: HashMap::default() }
    }

    pub(super) fn insert(&mut self, id: u128, kept: Kept) {
        if self.size == 0 {
            return;
        }
        if self.young.len() >= self.size.div_ceil(2) {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(id, kept);
    }

    pub(super) fn find(&mut self, id: u128) -> Option<Kept> {
        if let Some(kept) = self.young.get(&id) {
            return Some(*kept);
        }
        let kept = self.old.remove(&id)?;
        self.insert(id, kept);
        Some(kept)
    }

    pub(super) fn memory(&self) -> usize {
        (self.young.capacity() + self.old.capacity()) * KEPT_BYTES
    }
}

/// The dropped ones, by 64 bits of a hash of the id: of a million remembered, one new trace in 10^13
/// is taken for one of them.
#[derive(Debug)]
pub(super) struct DroppedTraces {
    size: usize,
    young: Fingerprints,
    old: Fingerprints,
}

impl DroppedTraces {
    pub(super) fn new(size: usize) -> Self {
        DroppedTraces { size, young: Fingerprints::default(), old: Fingerprints::default() }
    }

    pub(super) fn insert(&mut self, hash: u64) {
        if self.size == 0 {
            return;
        }
        if self.young.len >= self.size.div_ceil(2) {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(hash);
    }

    /// Looks at where it would stand, to have that in the cache later.
    #[inline]
    pub(super) fn touch(&self, hash: u64) -> u64 {
        self.young.touch(hash) ^ self.old.touch(hash)
    }

    #[inline]
    pub(super) fn contains(&mut self, hash: u64) -> bool {
        if self.young.contains(hash) {
            return true;
        }
        if !self.old.contains(hash) {
            return false;
        }
        self.insert(hash);
        true
    }

    pub(super) fn memory(&self) -> usize {
        (self.young.slots.capacity() + self.old.slots.capacity()) * 8
    }
}

/// A set of hashes.
#[derive(Debug, Default)]
struct Fingerprints {
    /// Zero is no hash.
    slots: Vec<u64>,
    len: usize,
}

#[expect(clippy::cast_possible_truncation, reason = "the low bits of a hash choose its place")]
impl Fingerprints {
    /// Its place, or the empty one where it would stand.
    #[inline]
    fn place(&self, hash: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at] != 0 && self.slots[at] != hash {
            at = (at + 1) & mask;
        }
        at
    }

    #[inline]
    fn touch(&self, hash: u64) -> u64 {
        self.slots.get(hash as usize & self.slots.len().wrapping_sub(1)).copied().unwrap_or(0)
    }

    #[inline]
    fn contains(&self, hash: u64) -> bool {
        self.len > 0 && self.slots[self.place(hash.max(1))] != 0
    }

    fn insert(&mut self, hash: u64) {
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            let larger = vec![0; (self.slots.len() * 2).max(64)];
            let old = std::mem::replace(&mut self.slots, larger);
            for hash in old.into_iter().filter(|hash| *hash != 0) {
                let at = self.place(hash);
                self.slots[at] = hash;
            }
        }
        let at = self.place(hash.max(1));
        self.len += usize::from(self.slots[at] == 0);
        self.slots[at] = hash.max(1);
    }

    fn clear(&mut self) {
        self.slots.fill(0);
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_traces_are_remembered_as_long_as_there_is_room() {
        let mut dropped = DroppedTraces::new(1000);
        let hash = |i: u64| i.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for i in 0..10_000 {
            dropped.insert(hash(i));
            assert!(dropped.contains(hash(i)));
            // What is asked for stays.
            assert!(dropped.contains(hash(0)), "{i}");
            assert!(dropped.contains(hash(i.saturating_sub(200))), "{i}");
        }
        assert!(!dropped.contains(hash(5000)) && !dropped.contains(hash(10_000)));
        assert!(dropped.memory() <= 2 * 8 * 1024);
        let mut none = DroppedTraces::new(0);
        none.insert(7);
        assert!(!none.contains(7));
    }

    #[test]
    fn kept_traces_are_remembered_as_long_as_there_is_room() {
        let mut kept = KeptTraces::new(100);
        let one = |policy| Kept {
            policy,
            threshold: Threshold::ALWAYS,
            is_detached: false,
            is_dry: false,
        };
        for i in 0..1000_u16 {
            kept.insert(i.into(), one(i));
            assert_eq!(kept.find(0), Some(one(0)), "{i}");
            assert_eq!(kept.find(i.into()), Some(one(i)));
        }
        assert_eq!(kept.find(500), None);
    }
}
