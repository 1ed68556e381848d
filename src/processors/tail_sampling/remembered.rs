//! Decisions that are remembered, for spans that come late: of kept traces what their spans have to
//! bear, of dropped ones only that they were; of both when.
//!
//! Both go by a keyed hash of the trace id, 40 bits of it beside those that choose a place: of a
//! million remembered, one new trace in 10^12 is taken for one of them. Both are in two
//! generations. What is looked up moves into the younger one; when that is half of the size the
//! older one is forgotten as a whole. So the least recently used go first, in halves, without a
//! list to keep in order.

use crate::processors::sampling::Threshold;

/// A kept trace.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
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

/// Most bytes of so many traces with a value of `value` bytes: a table is filled to three quarters,
/// and doubled.
const fn most_bytes(size: usize, value: usize) -> usize {
    size * (8 + value) * 8 / 3
}

/// Most bytes of so many kept traces.
pub(super) const fn most_kept_bytes(size: usize) -> usize {
    most_bytes(size, size_of::<Kept>())
}

/// Most bytes of so many dropped traces.
pub(super) const fn most_dropped_bytes(size: usize) -> usize {
    most_bytes(size, 0)
}

/// The kept ones.
pub(super) type KeptTraces = Remembered<Kept>;

/// The dropped ones.
pub(super) type DroppedTraces = Remembered<()>;

/// Traces of one kind, by the hash of their id.
#[derive(Debug)]
pub(super) struct Remembered<T> {
    size: usize,
    young: Table<T>,
    old: Table<T>,
}

impl<T: Copy + Default> Remembered<T> {
    pub(super) fn new(size: usize) -> Self {
        Remembered { size, young: Table::default(), old: Table::default() }
    }

    /// Remembers a decision that was made at a tick.
    pub(super) fn insert(&mut self, hash: u64, value: T, tick: u32) {
        self.put(slot(hash, tick), value);
    }

    fn put(&mut self, slot: u64, value: T) {
        if self.size == 0 {
            return;
        }
        if self.young.len >= self.size.div_ceil(2) {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(slot, value);
    }

    /// Looks at where it would be, to have that in the cache later.
    #[inline]
    pub(super) fn touch(&self, hash: u64) -> u64 {
        let slot = slot(hash, 0);
        self.young.touch(slot) ^ self.old.touch(slot)
    }

    /// What is remembered, and how many ticks it is old at this one.
    #[inline]
    pub(super) fn find(&mut self, hash: u64, tick: u32) -> Option<(T, u32)> {
        let wanted = slot(hash, 0);
        let young = self.young.find(wanted);
        let (slot, value) = young.or_else(|| self.old.find(wanted))?;
        if young.is_none() {
            self.put(slot, value);
        }
        #[expect(clippy::cast_possible_truncation, reason = "the low bits are a tick")]
        let age = tick.wrapping_sub(slot as u32) & TICK_MASK;
        Some((value, age))
    }

    pub(super) fn memory(&self) -> usize {
        let slots = self.young.slots.capacity() + self.old.slots.capacity();
        slots * (8 + size_of::<T>())
    }
}

/// Ticks are remembered in 24 bits: 19 days.
const TICK_BITS: u32 = 24;
const TICK_MASK: u32 = (1 << TICK_BITS) - 1;

/// A hash without its low bits, which are a tick. Never zero.
#[inline]
fn slot(hash: u64, tick: u32) -> u64 {
    (hash >> TICK_BITS).max(1) << TICK_BITS | u64::from(tick & TICK_MASK)
}

/// Slots with their values.
#[derive(Debug, Default)]
struct Table<T> {
    /// Zero is none.
    slots: Vec<u64>,
    values: Vec<T>,
    len: usize,
}

impl<T: Copy + Default> Table<T> {
    /// Where a search begins: some bits of the hash.
    fn first(&self, slot: u64) -> usize {
        (slot >> TICK_BITS) as usize & self.slots.len().wrapping_sub(1)
    }

    /// Its place, or the empty one where it would be.
    #[inline]
    fn place(&self, slot: u64) -> usize {
        let mut at = self.first(slot);
        while self.slots[at] != 0 && (self.slots[at] ^ slot) >> TICK_BITS != 0 {
            at = (at + 1) & (self.slots.len() - 1);
        }
        at
    }

    #[inline]
    fn touch(&self, slot: u64) -> u64 {
        self.slots.get(self.first(slot)).copied().unwrap_or(0)
    }

    #[inline]
    fn find(&self, slot: u64) -> Option<(u64, T)> {
        if self.len == 0 {
            return None;
        }
        let at = self.place(slot);
        (self.slots[at] != 0).then(|| (self.slots[at], self.values[at]))
    }

    fn insert(&mut self, slot: u64, value: T) {
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        let at = self.place(slot);
        self.len += usize::from(self.slots[at] == 0);
        (self.slots[at], self.values[at]) = (slot, value);
    }

    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(64);
        let slots = std::mem::replace(&mut self.slots, vec![0; size]);
        let values = std::mem::replace(&mut self.values, vec![T::default(); size]);
        for (slot, value) in slots.into_iter().zip(values).filter(|(slot, _)| *slot != 0) {
            let at = self.place(slot);
            (self.slots[at], self.values[at]) = (slot, value);
        }
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
        let hash = |i: u32| u64::from(i).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for i in 0..10_000 {
            dropped.insert(hash(i), (), i);
            assert_eq!(dropped.find(hash(i), i + 3), Some(((), 3)));
            // What is asked for stays, and is as old as it is.
            assert_eq!(dropped.find(hash(0), i), Some(((), i)));
            assert_eq!(dropped.find(hash(i.saturating_sub(200)), i), Some(((), i.min(200))));
        }
        assert_eq!(dropped.find(hash(5000), 0).or(dropped.find(hash(10_000), 0)), None);
        assert!(dropped.memory() <= 2 * 8 * 1024);
        let mut none = DroppedTraces::new(0);
        none.insert(7, (), 0);
        assert_eq!(none.find(7, 0), None);
    }

    #[test]
    fn kept_traces_are_remembered_as_long_as_there_is_room() {
        let mut kept = KeptTraces::new(100);
        let one = |policy| Kept { policy, ..Kept::default() };
        for i in 1..1000_u16 {
            kept.insert(u64::from(i) << 32, one(i), 0);
            assert_eq!(kept.find(u64::from(i) << 32, 1), Some((one(i), 1)));
            assert_eq!(kept.find(1 << 32, 0), Some((one(1), 0)), "{i}");
        }
        assert_eq!(kept.find(500 << 32, 0), None);
    }
}
