//! All traces of which spans are held: what a list of traces shows, in 104 bytes a trace.
//!
//! A trace has a slot as long as a chunk with a span of it is held. Its sums count every span that
//! was taken in; `gone` says how many of them were evicted since then. What happened to the trace
//! in the pipelines (its fate) is noted by others.

use super::{
    account::{Account, Charge},
    fate::Fate,
};
use std::{hash::BuildHasher as _, sync::Arc};

/// Slots that are allocated at once.
const PAGE: usize = 1024;
/// No slot.
const NONE: u32 = u32::MAX;

/// One trace.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) id: [u8; 16],
    /// Start of its earliest span, nanoseconds since 1970.
    pub(super) start: u64,
    /// End of its latest span.
    pub(super) end: u64,
    /// Start of the span that stands for it.
    head_start: u64,
    pub(super) spans: u32,
    pub(super) errors: u32,
    pub(super) gone: u32,
    /// Chunks that hold spans of it, the open one included.
    holders: u32,
    /// Numbers of the first and the last chunk with spans of it.
    pub(super) chunks: (u32, u32),
    /// Chunk and row of the span that stands for it: the root, else the earliest one.
    pub(super) head: Option<(u32, u16)>,
    /// Whether the span that stands for it has no parent.
    pub(super) has_root: bool,
    /// Base 2 logarithm of the largest weight that the store gave to a span of it.
    pub(super) shift: u8,
    pub(super) fate: Fate,
}

/// A span as a slot sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) chunk: u32,
    pub(super) row: u16,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) is_root: bool,
    pub(super) is_error: bool,
    pub(super) shift: u8,
}

impl Slot {
    fn new(id: [u8; 16], chunk: u32) -> Self {
        Slot {
            id,
            start: u64::MAX,
            end: 0,
            head_start: u64::MAX,
            spans: 0,
            errors: 0,
            gone: 0,
            holders: 0,
            chunks: (chunk, chunk),
            head: None,
            has_root: false,
            shift: 0,
            fate: Fate::default(),
        }
    }

    pub(super) fn see(&mut self, span: Seen) {
        self.start = self.start.min(span.start);
        self.end = self.end.max(span.end);
        self.spans = self.spans.saturating_add(1);
        self.errors = self.errors.saturating_add(u32::from(span.is_error));
        self.chunks.1 = span.chunk;
        self.shift = self.shift.max(span.shift);
        let is_better = match (self.head.is_some(), span.is_root, self.has_root) {
            (false, _, _) | (true, true, false) => true,
            (true, false, true) => false,
            _ => span.start < self.head_start,
        };
        if is_better {
            self.head = Some((span.chunk, span.row));
            self.has_root = span.is_root;
            self.head_start = span.start;
        }
    }

    /// From its first start to its last end, in nanoseconds.
    pub(super) fn duration(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

/// All slots.
#[derive(Debug)]
pub(super) struct Slots {
    pages: Vec<Box<[Slot]>>,
    /// Open addressing: a slot, or [`NONE`].
    table: Box<[u32]>,
    /// Slots without a trace.
    free: Vec<u32>,
    used: usize,
    most: usize,
    hasher: foldhash::fast::RandomState,
    charge: Charge,
}

impl Slots {
    /// At most so many traces, as far as there is room for them. None if not even the table fits.
    pub(super) fn new(account: &Arc<Account>, most: usize) -> Option<Self> {
        let pages = most.div_ceil(PAGE).max(1);
        let most = pages * PAGE;
        let table = (most + most / 2).next_power_of_two();
        let size = pages * size_of::<Box<[Slot]>>() + table * 4 + most * 4;
        let charge = account.charge(size)?;
        Some(Slots {
            pages: Vec::with_capacity(pages),
            table: vec![NONE; table].into_boxed_slice(),
            free: Vec::with_capacity(most),
            used: 0,
            most,
            hasher: foldhash::fast::RandomState::default(),
            charge,
        })
    }

    #[expect(clippy::cast_possible_truncation, reason = "a part of a hash")]
    fn hash(&self, id: &[u8; 16]) -> usize {
        self.hasher.hash_one(id) as usize & (self.table.len() - 1)
    }

    /// Evenly spread bits of what decides on sampling, the same for as long as the process runs.
    pub(super) fn sampling_hash(&self, bytes: &[u8]) -> u64 {
        self.hasher.hash_one(bytes).rotate_left(32)
    }

    pub(super) fn find(&self, id: &[u8; 16]) -> Option<u32> {
        let mut at = self.hash(id);
        loop {
            match self.table[at] {
                NONE => return None,
                slot if self.at(slot).id == *id => return Some(slot),
                _ => at = (at + 1) & (self.table.len() - 1),
            }
        }
    }

    /// The slot of a trace, which has one holder more now; none if there is no room for it.
    pub(super) fn hold(&mut self, id: [u8; 16], chunk: u32) -> Option<u32> {
        let slot = match self.find(&id) {
            Some(slot) => slot,
            None => self.add(id, chunk)?,
        };
        self.at_mut(slot).holders += 1;
        Some(slot)
    }

    fn add(&mut self, id: [u8; 16], chunk: u32) -> Option<u32> {
        if self.free.is_empty() {
            self.page()?;
        }
        let slot = self.free.pop()?;
        *self.at_mut(slot) = Slot::new(id, chunk);
        let mut at = self.hash(&id);
        while self.table[at] != NONE {
            at = (at + 1) & (self.table.len() - 1);
        }
        self.table[at] = slot;
        self.used += 1;
        Some(slot)
    }

    /// Allocates a page of slots, if there is room.
    fn page(&mut self) -> Option<()> {
        let begin = self.pages.len() * PAGE;
        if begin == self.most || !self.charge.grow(PAGE * size_of::<Slot>()) {
            return None;
        }
        self.pages.push(vec![Slot::new([0; 16], 0); PAGE].into_boxed_slice());
        let new = (begin..begin + PAGE).rev().filter_map(|slot| u32::try_from(slot).ok());
        self.free.extend(new);
        Some(())
    }

    /// A chunk with so many spans of a trace is gone.
    pub(super) fn release(&mut self, slot: u32, chunk: u32, spans: u32) {
        let trace = self.at_mut(slot);
        trace.gone = trace.gone.saturating_add(spans);
        trace.holders = trace.holders.saturating_sub(1);
        if trace.head.is_some_and(|(number, _)| number == chunk) {
            trace.head = None;
            trace.has_root = false;
            trace.head_start = u64::MAX;
        }
        if trace.holders == 0 {
            self.remove(slot);
        }
    }

    /// Takes a slot out of the table; those that were displaced by it move up.
    fn remove(&mut self, slot: u32) {
        let mask = self.table.len() - 1;
        let mut hole = self.hash(&self.at(slot).id);
        while self.table[hole] != slot {
            if self.table[hole] == NONE {
                return;
            }
            hole = (hole + 1) & mask;
        }
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let other = self.table[at];
            if other == NONE {
                break;
            }
            let wanted = self.hash(&self.at(other).id);
            // Whether the hole lies on its way from where it wants to be.
            if (at.wrapping_sub(wanted) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.table[hole] = other;
                hole = at;
            }
        }
        self.table[hole] = NONE;
        self.at_mut(slot).spans = 0;
        self.free.push(slot);
        self.used -= 1;
    }

    pub(super) fn at(&self, slot: u32) -> &Slot {
        &self.pages[slot as usize / PAGE][slot as usize % PAGE]
    }

    pub(super) fn at_mut(&mut self, slot: u32) -> &mut Slot {
        &mut self.pages[slot as usize / PAGE][slot as usize % PAGE]
    }

    /// The traces that are held, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.pages.iter().flatten().filter(|slot| slot.holders > 0)
    }

    pub(super) fn len(&self) -> usize {
        self.used
    }

    /// How many more traces there may be.
    pub(super) fn free(&self) -> usize {
        self.most - self.used
    }

    #[cfg(test)]
    pub(super) fn charged(&self) -> usize {
        self.charge.bytes()
    }

    /// Bytes that are allocated, by looking.
    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        self.pages.capacity() * size_of::<Box<[Slot]>>()
            + self.pages.len() * PAGE * size_of::<Slot>()
            + self.table.len() * 4
            + self.free.capacity() * 4
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_slot_is_as_small_as_the_header_says() {
        assert!(size_of::<Slot>() <= 104, "{}", size_of::<Slot>());
    }

    proptest! {
        #[test]
        fn slots_are_found_as_long_as_they_are_held(
            steps in prop::collection::vec((any::<bool>(), 0..40_u8), 0..300),
        ) {
            let account = Account::new(1 << 20);
            let mut slots = Slots::new(&account, 1).unwrap();
            let mut model: HashMap<u8, (u32, u32)> = HashMap::new();
            for (is_held, name) in steps {
                let id = [name; 16];
                if is_held {
                    let slot = slots.hold(id, 1).unwrap();
                    let known = model.entry(name).or_insert((slot, 0));
                    prop_assert_eq!(known.0, slot);
                    known.1 += 1;
                } else if let Some((slot, holders)) = model.get_mut(&name) {
                    slots.release(*slot, 1, 0);
                    *holders -= 1;
                    if *holders == 0 {
                        model.remove(&name);
                    }
                }
                prop_assert_eq!(slots.len(), model.len());
                prop_assert_eq!(slots.iter().count(), model.len());
                for name in 0..40 {
                    let known = model.get(&name).map(|(slot, _)| *slot);
                    prop_assert_eq!(slots.find(&[name; 16]), known);
                }
                prop_assert_eq!(slots.allocated(), slots.charged());
                prop_assert_eq!(account.used(), slots.charged());
            }
        }
    }

    #[test]
    fn there_are_no_more_traces_than_there_is_room_for() {
        let account = Account::new(1 << 20);
        let mut slots = Slots::new(&account, 2 * PAGE).unwrap();
        let room = account.limit() - account.used() - PAGE * size_of::<Slot>();
        let _other = account.charge(room).unwrap();
        for number in 0..PAGE as u128 {
            assert!(slots.hold(number.to_be_bytes(), 0).is_some());
        }
        assert!(slots.hold([0xFF; 16], 0).is_none(), "there is room for one page only");
    }
}
