//! The traces that wait for their decision: a slab of entries, and an open-addressing index on the
//! trace id into it.
//!
//! The index holds a number and 32 bits of the hash in eight bytes, so that it is probed and moved
//! without looking at entries; a removal shifts back what follows, so there are no tombstones. The
//! hash is keyed per process: senders cannot make ids that collide.

use super::{arena::Position, program::Facts};
use crate::processors::sampling::{Randomness, Threshold};

/// A trace that waits.
#[derive(Debug, Clone)]
pub(super) struct Trace {
    pub(super) id: u128,
    pub(super) facts: Facts,
    /// Newest record.
    pub(super) newest: Position,
    /// Number of the chunk of its oldest record.
    pub(super) oldest: u32,
    /// The record with its root, or none, and where in its spans.
    pub(super) root: Position,
    pub(super) root_at: u32,
    /// Tells this trace from others that had or will have the same number.
    pub(super) generation: u32,
    /// Tick of its decision.
    pub(super) due: u32,
    hash: u32,
    /// Whether a span of it was sampled by its bits before, and what it says.
    pub(super) says: Option<Box<Says>>,
}

impl Trace {
    /// The record that says most of it.
    #[inline]
    pub(super) fn seen(&self) -> Position {
        if self.root == Position::NONE { self.newest } else { self.root }
    }
}

/// What `ot` of `tracestate` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Says {
    pub(super) threshold: Option<Threshold>,
    pub(super) randomness: Option<Randomness>,
}

/// Bytes that it takes where it is boxed.
pub(super) const SAYS_BYTES: usize = size_of::<Says>() + 16;

/// A slot of the index: number of the entry plus one below, 32 bits of the hash above.
type Slot = u64;

/// The table.
#[derive(Debug)]
pub(super) struct Traces {
    index: Vec<Slot>,
    /// In pages, so that growing copies nothing.
    pages: Vec<Vec<Trace>>,
    count: usize,
    free: Vec<u32>,
    generation: u32,
    /// How many say something.
    saying: usize,
}

/// Entries of a page.
const PAGE: usize = 1 << 8;

#[expect(clippy::cast_possible_truncation, reason = "a slot is two halves")]
impl Traces {
    pub(super) fn new() -> Self {
        let (index, pages, free) = (vec![0; 64], Vec::new(), Vec::new());
        Traces { index, pages, count: 0, free, generation: 0, saying: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.count - self.free.len()
    }

    /// Bytes that it takes.
    pub(super) fn memory(&self) -> usize {
        let entries = self.pages.len() * PAGE * size_of::<Trace>();
        self.index.capacity() * 8 + entries + self.free.capacity() * 4 + self.saying * SAYS_BYTES
    }

    /// Whether one more trace takes more memory.
    pub(super) fn grows(&self) -> bool {
        self.free.is_empty() && self.count.is_multiple_of(PAGE) || self.is_dense()
    }

    /// How much more.
    pub(super) fn growth(&self) -> usize {
        let index = if self.is_dense() { self.index.len() * 16 } else { 0 };
        index + PAGE * size_of::<Trace>()
    }

    /// Notes what a span of a trace says, unless another one has said something.
    #[cold]
    pub(super) fn says(&mut self, number: u32, says: Box<Says>) {
        let trace = self.entry_mut(number);
        if trace.says.is_none() {
            trace.says = Some(says);
            self.saying += 1;
        }
    }

    fn is_dense(&self) -> bool {
        (self.len() + 1) * 4 > self.index.len() * 3
    }

    fn mask(&self) -> usize {
        self.index.len() - 1
    }

    /// The slot where a search begins, to have it in the cache when it does.
    #[inline]
    pub(super) fn touch(&self, hash: u32) -> u64 {
        self.index[hash as usize & self.mask()]
    }

    /// The entry in that slot, likewise.
    #[inline]
    pub(super) fn touch_entry(&self, slot: u64) -> u64 {
        let number = slot as u32;
        if number == 0 { 0 } else { self.entry(number - 1).facts.end }
    }

    /// Where its slot is, for one that is removed soon.
    #[inline]
    pub(super) fn touch_slot(&self, number: u32) -> u64 {
        self.touch(self.entry(number).hash)
    }

    /// The number of a trace.
    #[inline]
    pub(super) fn find(&self, id: u128, hash: u32) -> Option<u32> {
        let mask = self.mask();
        let mut at = hash as usize & mask;
        loop {
            let slot = self.index[at];
            if slot == 0 {
                return None;
            }
            let number = (slot as u32) - 1;
            if (slot >> 32) as u32 == hash && self.entry(number).id == id {
                return Some(number);
            }
            at = (at + 1) & mask;
        }
    }

    /// Adds a trace that is not there yet.
    pub(super) fn insert(&mut self, id: u128, hash: u32, due: u32) -> u32 {
        if self.is_dense() {
            self.grow();
        }
        self.generation = self.generation.wrapping_add(1);
        let trace = Trace {
            id,
            facts: Facts { start: u64::MAX, ..Facts::default() },
            newest: Position::NONE,
            oldest: 0,
            root: Position::NONE,
            root_at: 0,
            generation: self.generation,
            due,
            hash,
            says: None,
        };
        let number = if let Some(number) = self.free.pop() {
            *self.entry_mut(number) = trace;
            number
        } else {
            if self.count.is_multiple_of(PAGE) {
                self.pages.push(Vec::with_capacity(PAGE));
            }
            self.pages[self.count / PAGE].push(trace);
            self.count += 1;
            self.count as u32 - 1
        };
        self.put(u64::from(hash) << 32 | u64::from(number + 1));
        number
    }

    fn put(&mut self, slot: Slot) {
        let mask = self.mask();
        let mut at = (slot >> 32) as usize & mask;
        while self.index[at] != 0 {
            at = (at + 1) & mask;
        }
        self.index[at] = slot;
    }

    fn grow(&mut self) {
        let larger = vec![0; self.index.len() * 2];
        let old = std::mem::replace(&mut self.index, larger);
        for slot in old.into_iter().filter(|slot| *slot != 0) {
            self.put(slot);
        }
    }

    /// Removes a trace; its number will be another's.
    pub(super) fn remove(&mut self, number: u32) {
        let hash = self.entry(number).hash;
        let mask = self.mask();
        let wanted = u64::from(hash) << 32 | u64::from(number + 1);
        let mut hole = hash as usize & mask;
        while self.index[hole] != wanted {
            hole = (hole + 1) & mask;
        }
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let slot = self.index[at];
            if slot == 0 {
                break;
            }
            let first = (slot >> 32) as usize & mask;
            // What may move into the hole: an entry whose search does not begin between the hole
            // and its present place.
            if (at.wrapping_sub(first) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.index[hole] = slot;
                hole = at;
            }
        }
        self.index[hole] = 0;
        let trace = self.entry_mut(number);
        trace.generation = 0;
        self.saying -= usize::from(trace.says.take().is_some());
        self.free.push(number);
    }

    /// The trace of this number, if it is still the one of that generation.
    #[inline]
    pub(super) fn current(&self, number: u32, generation: u32) -> Option<&Trace> {
        let trace = self.entry(number);
        (trace.generation == generation && generation != 0).then_some(trace)
    }

    #[inline]
    pub(super) fn entry(&self, number: u32) -> &Trace {
        &self.pages[number as usize / PAGE][number as usize % PAGE]
    }

    #[inline]
    pub(super) fn entry_mut(&mut self, number: u32) -> &mut Trace {
        &mut self.pages[number as usize / PAGE][number as usize % PAGE]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::otlp::share::TraceHash;

    proptest! {
        /// Half of the ids have one hash, so that searches are long.
        #[test]
        fn the_table_is_a_map(steps in prop::collection::vec((any::<bool>(), 0..300_u128), 0..2000)) {
            let (hashes, mut table) = (TraceHash::of_process(), Traces::new());
            let hash = |id: u128| if id & 1 == 0 { 7 } else { (hashes.hash(id) >> 32) as u32 };
            let mut model = HashMap::new();
            for (is_insert, id) in steps {
                prop_assert_eq!(table.find(id, hash(id)), model.get(&id).copied());
                match (is_insert, model.get(&id).copied()) {
                    (true, None) => {
                        model.insert(id, table.insert(id, hash(id), 0));
                    }
                    (false, Some(number)) => {
                        let generation = table.entry(number).generation;
                        table.remove(number);
                        prop_assert!(table.current(number, generation).is_none());
                        model.remove(&id);
                    }
                    _ => {}
                }
                prop_assert_eq!(table.len(), model.len());
            }
            for (id, number) in &model {
                prop_assert_eq!(table.find(*id, hash(*id)), Some(*number));
            }
        }
    }
}
