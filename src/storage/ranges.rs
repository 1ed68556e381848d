//! A set of numbers as ranges: the records that wait to be read. It is small if the numbers are
//! contiguous, and mostly they are, because a log is read in order.

use std::{collections::BTreeMap, ops::Range};

/// Numbers, in ranges that neither touch nor overlap.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The lowest number.
    pub(super) fn first(&self) -> Option<u64> {
        self.0.keys().next().copied()
    }

    /// The ranges in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Range<u64>> {
        self.0.iter().map(|(from, to)| *from..*to)
    }

    /// Adds numbers, whether or not some are there.
    pub(super) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let Range { mut start, mut end } = range;
        // Whatever touches the new range becomes part of it.
        while let Some((from, to)) = self.0.range(..=end).next_back().map(|(f, t)| (*f, *t)) {
            if to < start {
                break;
            }
            start = start.min(from);
            end = end.max(to);
            self.0.remove(&from);
        }
        self.0.insert(start, end);
    }

    /// Removes numbers, whether or not they are there, and returns how many were.
    pub(super) fn remove(&mut self, range: Range<u64>) -> u64 {
        let mut removed = 0;
        if range.is_empty() {
            return removed;
        }
        while let Some((from, to)) = self.0.range(..range.end).next_back().map(|(f, t)| (*f, *t)) {
            if to <= range.start {
                break;
            }
            self.0.remove(&from);
            removed += to.min(range.end) - from.max(range.start);
            if to > range.end {
                self.0.insert(range.end, to);
            }
            if from < range.start {
                self.0.insert(from, range.start);
            }
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_are_a_set_of_numbers(steps in prop::collection::vec((any::<bool>(), 0_u64..40, 0_u64..9), 0..60)) {
            let (mut ranges, mut model) = (Ranges::default(), BTreeSet::new());
            for (is_insert, from, len) in steps {
                let range = from..from + len;
                if is_insert {
                    ranges.insert(range.clone());
                    model.extend(range);
                } else {
                    let before = model.len();
                    model.retain(|number| !range.contains(number));
                    prop_assert_eq!(ranges.remove(range), (before - model.len()) as u64);
                }
                let all: Vec<Range<u64>> = ranges.iter().collect();
                prop_assert!(all.windows(2).all(|pair| pair[0].end < pair[1].start));
                prop_assert_eq!(all.into_iter().flatten().collect::<BTreeSet<_>>(), model.clone());
                prop_assert_eq!(ranges.first(), model.first().copied());
            }
        }
    }
}
