//! By which threshold each trace was decided, so that its later spans and logs go the same way
//! although the rates have changed.
//!
//! Two generations of a table of fixed size: when the younger one is full or old, it takes the
//! place of the older one, which is forgotten. So a trace is remembered for five to ten minutes, or
//! for the last 24 576 to 49 152 traces. A trace is known by a keyed hash of its id, so that nobody
//! can fill one place of the table. At most 2 MiB, once for each exporter with a budget.

use crate::{budget::Class, otlp::sampling::Threshold};

/// Traces of a generation.
const ROOM: usize = 24_576;
/// Slots of a generation: so it is filled to three eighths.
const SLOTS: usize = 65_536;
/// Milliseconds after which a generation is old.
const AGE: i64 = 300_000;

/// How a trace was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decided {
    pub(super) threshold: Threshold,
    pub(super) class: Class,
}

/// The decisions of one exporter.
#[derive(Debug, Default)]
pub(in crate::engine::export) struct Remembered {
    young: Generation,
    old: Generation,
    /// When the younger one began, in milliseconds.
    since: i64,
}

#[derive(Debug, Default)]
struct Generation {
    /// Keys and decisions; a key of zero is none. Empty until something is remembered.
    slots: Vec<(u64, u64)>,
    len: usize,
}

impl Remembered {
    /// What is remembered of a trace.
    pub(super) fn find(&self, key: u64) -> Option<Decided> {
        self.young.find(key).or_else(|| self.old.find(key)).map(unpacked)
    }

    /// Remembers a decision; a newer one of the same trace counts.
    pub(super) fn put(&mut self, key: u64, decided: Decided) {
        if self.young.len >= ROOM {
            self.turn();
        }
        self.young.put(key, packed(decided));
    }

    /// Forgets what is old at `now`, in milliseconds.
    pub(in crate::engine::export) fn age(&mut self, now: i64) {
        let age = now.saturating_sub(self.since);
        if !(0..AGE).contains(&age) {
            self.turn();
            self.since = now;
        }
    }

    #[cfg(test)]
    pub(in crate::engine::export) fn memory(&self) -> usize {
        (self.young.slots.capacity() + self.old.slots.capacity()) * 16
    }

    fn turn(&mut self) {
        std::mem::swap(&mut self.young, &mut self.old);
        self.young.slots.fill((0, 0));
        self.young.len = 0;
    }
}

impl Generation {
    /// The place of a key, or the empty one where it would be. There is always an empty one.
    fn place(&self, key: u64) -> usize {
        let mask = SLOTS - 1;
        let mut at = usize::try_from(key & (SLOTS as u64 - 1)).unwrap_or(0);
        while self.slots[at].0 != 0 && self.slots[at].0 != key {
            at = (at + 1) & mask;
        }
        at
    }

    fn find(&self, key: u64) -> Option<u64> {
        if self.len == 0 {
            return None;
        }
        let (known, value) = self.slots[self.place(key)];
        (known != 0).then_some(value)
    }

    fn put(&mut self, key: u64, value: u64) {
        if self.slots.is_empty() {
            self.slots = vec![(0, 0); SLOTS];
        }
        let at = self.place(key);
        self.len += usize::from(self.slots[at].0 == 0);
        self.slots[at] = (key, value);
    }
}

/// A threshold has 57 bits, the class two.
fn packed(decided: Decided) -> u64 {
    decided.threshold.bits() << 2 | decided.class as u64
}

fn unpacked(value: u64) -> Decided {
    let class = Class::ALL[usize::try_from(value & 3).unwrap_or(2).min(2)];
    Decided { threshold: Threshold::from_bits(value >> 2), class }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(bits: u64) -> Decided {
        Decided { threshold: Threshold::from_bits(bits), class: Class::Slow }
    }

    #[test]
    fn the_last_traces_are_remembered_and_no_more_than_there_is_room_for() {
        let mut all = Remembered::default();
        let key = |n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        for n in 0..200_000 {
            all.put(key(n), decided(n));
            assert_eq!(all.find(key(n)), Some(decided(n)));
            if n >= ROOM as u64 {
                assert_eq!(all.find(key(n - ROOM as u64)), Some(decided(n - ROOM as u64)));
            }
        }
        assert_eq!(all.find(key(100_000)), None);
        assert!(all.young.slots.len() == SLOTS && all.old.slots.len() == SLOTS);
    }

    #[test]
    fn what_is_old_is_forgotten_also_if_the_clock_jumps() {
        let mut all = Remembered::default();
        all.age(1_000_000);
        all.put(7, decided(1));
        all.age(1_000_000 + AGE - 1);
        assert_eq!(all.find(7), Some(decided(1)));
        all.age(1_000_000 + AGE);
        assert_eq!(all.find(7), Some(decided(1)), "one more generation");
        all.age(0);
        assert_eq!(all.find(7), None);
    }

    #[test]
    fn a_decision_is_what_it_was() {
        for threshold in [Threshold::ALWAYS, Threshold::NEVER, Threshold::from_bits(12_345)] {
            for class in Class::ALL {
                let one = Decided { threshold, class };
                assert_eq!(unpacked(packed(one)), one);
            }
        }
    }
}
