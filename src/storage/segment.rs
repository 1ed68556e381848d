//! A segment in memory: how many records it has, and which are settled.

use super::{record::Marker, settled::Runs};

/// One segment of a log.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) marker: Marker,
    pub(super) base: u64,
    /// The number after its last record.
    pub(super) end: u64,
    /// Bytes of the file.
    pub(super) size: u64,
    /// Items of all its records.
    pub(super) items: u64,
    /// Bytes of their bodies.
    pub(super) bytes: u64,
    pub(super) settled_items: u64,
    pub(super) settled_bytes: u64,
    /// Whether nothing more is appended to it.
    pub(super) is_sealed: bool,
    /// Whether its file is kept for an operator, because not all damaged bytes were copied.
    pub(super) is_damaged: bool,
    settled: Settled,
    /// When records were taken, at most one entry a second: a number, and the unix milliseconds of
    /// that record and those after it.
    times: Vec<(u64, u64)>,
}

/// A bit for each record.
#[derive(Debug, Default)]
struct Settled {
    words: Vec<u64>,
    count: u64,
}

impl Segment {
    pub(super) fn new(marker: Marker, base: u64, made: u64) -> Self {
        Segment {
            marker,
            base,
            end: base,
            size: 0,
            items: 0,
            bytes: 0,
            settled_items: 0,
            settled_bytes: 0,
            is_sealed: false,
            is_damaged: false,
            settled: Settled::default(),
            times: vec![(base, made)],
        }
    }

    /// Counts a record at its end.
    pub(super) fn grow(&mut self, size: u64, items: u64, bytes: u64, time: u64) {
        // Earlier where the clock was set back.
        if self.times.last().is_none_or(|(_, last)| last.abs_diff(time) >= 1000) {
            self.times.push((self.end, time));
        }
        self.end += 1;
        self.size += size;
        self.items += items;
        self.bytes += bytes;
    }

    /// Settles a record; `false` if it was settled before.
    pub(super) fn settle(&mut self, number: u64) -> bool {
        let index = number - self.base;
        let (word, bit) = (usize::try_from(index / 64).unwrap_or(usize::MAX), index % 64);
        if self.settled.words.len() <= word {
            self.settled.words.resize(word + 1, 0);
        }
        let is_new = self.settled.words[word] & (1 << bit) == 0;
        self.settled.words[word] |= 1 << bit;
        self.settled.count += u64::from(is_new);
        is_new
    }

    pub(super) fn is_settled(&self, number: u64) -> bool {
        let index = number - self.base;
        let word = usize::try_from(index / 64).ok().and_then(|word| self.settled.words.get(word));
        word.is_some_and(|word| word & (1 << (index % 64)) != 0)
    }

    /// Records that are not settled.
    pub(super) fn left(&self) -> u64 {
        self.end - self.base - self.settled.count
    }

    /// Whether it can be removed.
    pub(super) fn is_done(&self) -> bool {
        self.is_sealed && self.left() == 0
    }

    /// The first record from `from` on that is not settled.
    pub(super) fn first_left(&self, from: u64) -> Option<u64> {
        self.next(from, false).filter(|first| *first < self.end)
    }

    /// Unix milliseconds of the oldest record that is not settled, to a second.
    pub(super) fn oldest(&self) -> Option<u64> {
        let first = self.first_left(self.base)?;
        let (_, time) = self.times.iter().rev().find(|(number, _)| *number <= first)?;
        Some(*time)
    }

    /// The settled records as runs.
    pub(super) fn runs(&self) -> Runs {
        let mut runs = Runs::default();
        let mut from = self.base;
        while let Some(begin) = self.next(from, true).filter(|begin| *begin < self.end) {
            from = self.next(begin, false).unwrap_or(self.end).min(self.end);
            runs.push(begin, from);
        }
        runs
    }

    /// The first number from `from` on that is settled, or the first that is not. Checks a word at
    /// a time.
    fn next(&self, from: u64, is_settled: bool) -> Option<u64> {
        let index = from - self.base;
        let first = usize::try_from(index / 64).ok()?;
        let mut mask = u64::MAX << (index % 64);
        for (at, word) in self.settled.words.iter().enumerate().skip(first) {
            let bits = if is_settled { *word } else { !*word } & mask;
            if bits != 0 {
                return Some(self.base + at as u64 * 64 + u64::from(bits.trailing_zeros()));
            }
            mask = u64::MAX;
        }
        let beyond = self.base + self.settled.words.len() as u64 * 64;
        (!is_settled).then_some(beyond.max(from))
    }
}
