//! Distributions: counts by bucket, added to once per payload or attempt.

use super::number::Number;

/// Upper bounds of item counts, as in the Collector.
pub const ITEMS: &[u64] = &[
    10, 25, 50, 75, 100, 250, 500, 750, 1_000, 2_000, 3_000, 4_000, 5_000, 6_000, 7_000, 8_000,
    9_000, 10_000, 20_000, 30_000, 50_000, 100_000,
];
/// Upper bounds of sizes in bytes, as in the Collector.
pub const BYTES: &[u64] = &[
    1 << 7,
    1 << 8,
    1 << 9,
    1 << 10,
    1 << 11,
    1 << 12,
    1 << 13,
    1 << 14,
    1 << 15,
    1 << 16,
    1 << 17,
    1 << 18,
    1 << 19,
    1 << 20,
    1 << 21,
    1 << 22,
    1 << 23,
    1 << 24,
];
/// Upper bounds of durations in milliseconds.
pub const MILLISECONDS: &[u64] =
    &[1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000];

/// Upper bounds of durations in seconds.
pub const SECONDS: &[u64] = &[1, 2, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200];

/// How often values of each bucket were seen.
#[derive(Debug)]
pub struct Buckets {
    bounds: &'static [u64],
    /// By bucket; the last one has what is above all bounds.
    counts: Box<[Number]>,
    sum: Number,
}

/// What a histogram held at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    /// Upper bounds, inclusive.
    pub bounds: &'static [u64],
    /// Values by bucket; one more than there are bounds.
    pub counts: Vec<u64>,
    /// Sum of all values.
    pub sum: u64,
}

impl Buckets {
    /// An empty one with ascending upper bounds.
    pub fn new(bounds: &'static [u64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| Number::default()).collect();
        Buckets { bounds, counts, sum: Number::default() }
    }

    /// Counts a value.
    pub fn record(&self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].add(1);
        self.sum.add(value);
    }

    /// What it holds now.
    pub fn read(&self) -> Distribution {
        Distribution {
            bounds: self.bounds,
            counts: self.counts.iter().map(Number::read).collect(),
            sum: self.sum.read(),
        }
    }
}

impl Distribution {
    /// Adds another one with the same bounds.
    pub fn add(&mut self, other: &Distribution) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.sum += other.sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_belong_to_the_bucket_below_them() {
        let histogram = Buckets::new(&[10, 20]);
        for value in [0, 10, 11, 20, 21, 1_000] {
            histogram.record(value);
        }
        let mut read = histogram.read();
        assert_eq!((read.counts.clone(), read.sum), (vec![2, 2, 2], 1_062));
        read.add(&histogram.read());
        assert_eq!((read.counts, read.sum), (vec![4, 4, 4], 2_124));
    }

    #[test]
    fn all_bounds_ascend() {
        for bounds in [ITEMS, BYTES, MILLISECONDS] {
            assert!(bounds.is_sorted_by(|a, b| a < b));
        }
    }
}
