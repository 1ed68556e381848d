//! What has been added since the last point of a series: CloudWatch adds up what it gets, so totals since the
//! start of a process would be counted again and again.
//!
//! A series that is not heard of for five minutes is forgotten, and no more than so many are remembered.

use std::{collections::HashMap, hash::BuildHasher as _, time::Duration};

use foldhash::quality::FixedState;
use tokio::time::Instant;

use super::point::{Bucket, Buckets, Distribution};

/// Series that were not heard of for so long are forgotten.
const FORGET: Duration = Duration::from_mins(5);
/// Most series, some 100 bytes each without their buckets.
const MOST: usize = 200_000;

/// A series by a hash of its name, namespace, group, stream and labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Series([u64; 2]);

impl Series {
    /// Of 128 bits: among the most series that are remembered two are the same once in 10^28 tries.
    pub(super) fn of(key: &[u8]) -> Self {
        Series([FixedState::with_seed(1).hash_one(key), FixedState::with_seed(2).hash_one(key)])
    }
}

/// Last totals.
#[derive(Debug)]
pub(super) struct Totals {
    series: HashMap<Series, Total, foldhash::fast::RandomState>,
    swept: Instant,
}

#[derive(Debug)]
struct Total {
    last: Last,
    times: Times,
    heard: Instant,
}

/// Times of a point, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    /// Since when it counts; 0: not known.
    pub(super) since: u64,
    pub(super) at: u64,
}

#[derive(Debug, Clone, PartialEq)]
enum Last {
    Number(f64),
    Distribution(Box<Distribution>),
    /// Whatever it was, what comes now began after it.
    Anew,
}

/// What came of a point.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step<T> {
    /// Added since the last one.
    Added(T),
    /// The first one, of which nobody knows since when it counts.
    First(T),
    /// Nothing can be said: there are too many series to remember this one, or a later point came before.
    Unknown,
}

impl Default for Totals {
    fn default() -> Self {
        Totals { series: HashMap::default(), swept: Instant::now() }
    }
}

impl Totals {
    /// What a total has grown by. One that is less than before has begun anew, and is all new.
    pub(super) fn number(&mut self, series: Series, times: Times, total: f64) -> Step<f64> {
        match self.replace(series, times, Last::Number(total)) {
            Step::Added(Last::Number(before)) if total >= before => Step::Added(total - before),
            Step::Added(_) => Step::Added(total),
            Step::First(_) => Step::First(total),
            Step::Unknown => Step::Unknown,
        }
    }

    /// What a distribution has grown by.
    pub(super) fn distribution(
        &mut self,
        series: Series,
        times: Times,
        total: Distribution,
    ) -> Step<Distribution> {
        match self.replace(series, times, Last::Distribution(Box::new(total.clone()))) {
            Step::Added(Last::Distribution(before)) => {
                Step::Added(total.since(&before).unwrap_or(total))
            }
            Step::Added(Last::Number(_) | Last::Anew) => Step::Added(total),
            Step::First(_) => Step::First(total),
            Step::Unknown => Step::Unknown,
        }
    }

    /// Remembers a total; gives the one before.
    fn replace(&mut self, series: Series, times: Times, last: Last) -> Step<Last> {
        let now = Instant::now();
        if now.duration_since(self.swept) >= FORGET / 5 {
            self.series.retain(|_, total| now.duration_since(total.heard) < FORGET);
            self.swept = now;
        }
        if let Some(total) = self.series.get_mut(&series) {
            total.heard = now;
            if times.at < total.times.at {
                return Step::Unknown;
            }
            let before = std::mem::replace(&mut total.last, last);
            let began = std::mem::replace(&mut total.times, times).since;
            return Step::Added(if began == times.since { before } else { Last::Anew });
        }
        if self.series.len() >= MOST {
            return Step::Unknown;
        }
        self.series.insert(series, Total { last: last.clone(), times, heard: now });
        Step::First(last)
    }
}

impl Distribution {
    /// What has been added since `before`; none where it has begun anew.
    fn since(&self, before: &Distribution) -> Option<Distribution> {
        let count = self.count.checked_sub(before.count)?;
        let buckets = self.buckets.since(&before.buckets)?;
        // Least and greatest are those of all time; those of the added are within their buckets.
        let (min, max) = match buckets.range() {
            Some((low, high)) if count > 0 => {
                (low.max(self.min.unwrap_or(low)), high.min(self.max.unwrap_or(high)))
            }
            _ => (0.0, 0.0),
        };
        let sum = self.sum - before.sum;
        Some(Distribution { count, sum, min: Some(min), max: Some(max), buckets })
    }
}

impl Buckets {
    /// Count by count; none where one is less than before.
    fn since(&self, before: &Buckets) -> Option<Buckets> {
        let mut all = self.0.clone();
        for old in before.0.iter().filter(|old| old.count > 0) {
            let new = all.iter_mut().find(|new| new.has(old))?;
            new.count = new.count.checked_sub(old.count)?;
        }
        Some(Buckets(all))
    }
}

impl Bucket {
    /// Whether what was in `old` is in this one: it is the same, or a wider one around it, as exponential
    /// histograms get them when their range grows.
    fn has(&self, old: &Bucket) -> bool {
        if old.low.is_finite() && old.high.is_finite() {
            // Bounds of different scales are the same but for rounding.
            let middle = f64::midpoint(old.low, old.high);
            self.low < middle && middle <= self.high || self == old
        } else {
            self.low <= old.low && old.high <= self.high
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(since: u64) -> Times {
        Times { since, at: 5 }
    }

    /// M05.
    #[test]
    fn totals_become_what_was_added_and_a_new_start_counts_whole() {
        let mut totals = Totals::default();
        let series = Series::of(b"a");
        assert_eq!(totals.number(series, at(0), 10.0), Step::First(10.0));
        assert_eq!(totals.number(series, at(0), 25.0), Step::Added(15.0));
        assert_eq!(totals.number(series, at(0), 5.0), Step::Added(5.0));
        assert_eq!(totals.number(Series::of(b"b"), at(0), 7.0), Step::First(7.0));
    }

    #[test]
    fn a_point_that_comes_late_says_nothing() {
        let mut totals = Totals::default();
        let series = Series::of(b"a");
        totals.number(series, at(0), 10.0);
        assert_eq!(totals.number(series, Times { since: 0, at: 4 }, 7.0), Step::Unknown);
        assert_eq!(totals.number(series, Times { since: 0, at: 6 }, 12.0), Step::Added(2.0));
    }

    #[test]
    fn a_start_that_is_another_counts_whole() {
        let mut totals = Totals::default();
        let series = Series::of(b"a");
        totals.number(series, at(1), 10.0);
        assert_eq!(totals.number(series, at(2), 12.0), Step::Added(12.0));
        assert_eq!(totals.number(series, at(2), 13.0), Step::Added(1.0));
    }

    #[test]
    fn buckets_grow_one_by_one_also_when_they_get_wider() {
        let bucket = |low: f64, high: f64, count| Bucket { low, high, count };
        let of = |buckets: Vec<Bucket>, sum| Distribution {
            count: buckets.iter().map(|bucket| bucket.count).sum(),
            sum,
            min: Some(1.5),
            max: Some(7.0),
            buckets: Buckets(buckets),
        };
        let fine = of(vec![bucket(1.0, 2.0, 3), bucket(2.0, 4.0, 1)], 9.0);
        let wide = of(vec![bucket(1.0, 4.0, 5), bucket(4.0, 16.0, 2)], 29.0);
        let added = wide.since(&fine).unwrap();
        assert_eq!((added.count, added.sum, added.min, added.max), (3, 20.0, Some(1.5), Some(7.0)));
        assert_eq!(added.buckets.0.iter().map(|one| one.count).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(fine.since(&wide), None, "it has begun anew");
        let open = of(vec![bucket(f64::NEG_INFINITY, 5.0, 1), bucket(5.0, f64::INFINITY, 1)], 9.0);
        assert_eq!(open.since(&open).unwrap().count, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn series_are_forgotten_after_five_minutes() {
        let mut totals = Totals::default();
        totals.number(Series::of(b"a"), at(0), 1.0);
        for _ in 0..4 {
            tokio::time::advance(FORGET / 2).await;
            totals.number(Series::of(b"b"), at(0), 1.0);
        }
        assert_eq!(totals.series.len(), 1);
        assert_eq!(totals.number(Series::of(b"a"), at(0), 3.0), Step::First(3.0));
    }
}
