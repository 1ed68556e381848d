//! Computes what has been added since the last point of a series: CloudWatch adds up what it gets,
//! so totals since the start of a process would be counted again and again.
//!
//! A series without a new point for five minutes is forgotten, and the number of remembered series
//! is limited.

use std::{collections::HashMap, hash::BuildHasher as _, time::Duration};

use foldhash::quality::FixedState;
use tokio::time::Instant;

use super::point::{Bucket, Buckets, Distribution};

/// Series without a new point for this long are forgotten.
const FORGET: Duration = Duration::from_mins(5);
/// Most series, some 100 bytes each without their buckets.
const MOST: usize = 200_000;

/// A series by a hash of its name, namespace, group, stream and labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Series([u64; 2]);

impl Series {
    /// A hash of 128 bits: among the most series that are remembered, two collide once in 10^28
    /// tries.
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
    /// When counting began; 0: not known.
    pub(super) since: u64,
    pub(super) at: u64,
}

#[derive(Debug, Clone, PartialEq)]
enum Last {
    Number(f64),
    Distribution(Box<Distribution>),
    /// Anything; the new total has begun after it.
    Anew,
}

/// The result for a point.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step<T> {
    /// Added since the last one.
    Added(T),
    /// The first one. It is not known when counting began.
    First(T),
    /// A newer point was already seen.
    Late,
    /// There are too many series to remember another one.
    Full,
}

impl Default for Totals {
    fn default() -> Self {
        Totals { series: HashMap::default(), swept: Instant::now() }
    }
}

impl Totals {
    /// How much a total has grown. A total that is less than before has begun again, so all of it
    /// is new.
    pub(super) fn number(&mut self, series: Series, times: Times, total: f64) -> Step<f64> {
        match self.replace(series, times, Last::Number(total)) {
            Step::Added(Last::Number(before)) if total >= before => Step::Added(total - before),
            Step::Added(_) => Step::Added(total),
            Step::First(_) => Step::First(total),
            Step::Late => Step::Late,
            Step::Full => Step::Full,
        }
    }

    /// How much a distribution has grown.
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
            Step::Late => Step::Late,
            Step::Full => Step::Full,
        }
    }

    /// Remembers a total and returns the one before.
    fn replace(&mut self, series: Series, times: Times, last: Last) -> Step<Last> {
        let now = Instant::now();
        if now.duration_since(self.swept) >= FORGET / 5 {
            self.series.retain(|_, total| now.duration_since(total.heard) < FORGET);
            self.swept = now;
        }
        if let Some(total) = self.series.get_mut(&series) {
            total.heard = now;
            if times.at < total.times.at {
                return Step::Late;
            }
            let before = std::mem::replace(&mut total.last, last);
            let began = std::mem::replace(&mut total.times, times).since;
            // If one of the times is not known, the totals decide.
            let is_anew = began != times.since && began != 0 && times.since != 0;
            return Step::Added(if is_anew { Last::Anew } else { before });
        }
        if self.series.len() >= MOST {
            return Step::Full;
        }
        self.series.insert(series, Total { last: last.clone(), times, heard: now });
        Step::First(last)
    }
}

impl Distribution {
    /// What has been added since `before`; `None` if it has begun again.
    fn since(&self, before: &Distribution) -> Option<Distribution> {
        let count = self.count.checked_sub(before.count)?;
        let is_known =
            !self.buckets.0.is_empty() && (before.count == 0 || !before.buckets.0.is_empty());
        let buckets =
            if is_known { self.buckets.since(&before.buckets)? } else { Buckets::default() };
        // Minimum and maximum since the start are those of the added part if they are new.
        // Otherwise they are a bound, like those of the buckets; without buckets they would stay
        // for ever.
        let (first, last) = (buckets.0.first(), buckets.0.last());
        let is_new = |is_further: &dyn Fn(f64) -> bool, old: Option<f64>| {
            self.has_recent_ends || before.count == 0 || old.is_some_and(is_further)
        };
        let min = self.min.and_then(|min| {
            let is_new = is_new(&|old| min < old, before.min);
            if is_new { Some(min) } else { first.map(|first| first.low.max(min)) }
        });
        let max = self.max.and_then(|max| {
            let is_new = is_new(&|old| max > old, before.max);
            if is_new { Some(max) } else { last.map(|last| last.high.min(max)) }
        });
        let old_sum = if before.count == 0 { Some(0.0) } else { before.sum };
        let sum = self.sum.zip(old_sum).map(|(sum, before)| sum - before);
        Some(Distribution { count, sum, min, max, buckets, ..*self })
    }
}

impl Buckets {
    /// What has been added since `before`; `None` if one of the buckets has less than before.
    /// Bounds may change: those of an exponential histogram get wider when its range grows, and its
    /// zero bucket absorbs others. Buckets that overlap are treated as one.
    fn since(&self, before: &Buckets) -> Option<Buckets> {
        let new = self.0.iter().map(|bucket| (bucket, bucket.count, 0));
        let old = before.0.iter().map(|bucket| (bucket, 0, bucket.count));
        let mut all: Vec<(&Bucket, u64, u64)> = new.chain(old).collect();
        let bounds = |one: &Bucket, other: &Bucket| {
            one.low.total_cmp(&other.low).then(one.high.total_cmp(&other.high))
        };
        all.sort_by(|(one, ..), (other, ..)| bounds(one, other));
        // The zero bucket may have no width.
        let is_same = |one: &Bucket, other: &Bucket| {
            one.low >= other.low && one.high <= other.high && one.high >= other.high
        };
        let mut spans: Vec<(Bucket, u64)> = Vec::new();
        for (bucket, new, old) in all {
            let Bucket { low, high, .. } = *bucket;
            match spans.last_mut() {
                Some((span, was)) if low < span.high || is_same(span, bucket) => {
                    span.high = span.high.max(high);
                    span.count = span.count.saturating_add(new);
                    *was = was.saturating_add(old);
                }
                _ => spans.push((Bucket { low, high, count: new }, old)),
            }
        }
        let mut added = Vec::with_capacity(spans.len());
        for (mut span, was) in spans {
            span.count = span.count.checked_sub(was)?;
            if span.count > 0 {
                added.push(span);
            }
        }
        Some(Buckets(added))
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
        assert_eq!(totals.number(series, Times { since: 0, at: 4 }, 7.0), Step::Late);
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
            sum: Some(sum),
            min: Some(1.5),
            max: Some(7.0),
            has_recent_ends: false,
            buckets: Buckets(buckets),
        };
        let fine = of(vec![bucket(1.0, 2.0, 3), bucket(2.0, 4.0, 1)], 9.0);
        let wide = of(vec![bucket(1.0, 4.0, 5), bucket(4.0, 16.0, 2)], 29.0);
        let added = wide.since(&fine).unwrap();
        assert_eq!((added.count, added.sum), (3, Some(20.0)));
        assert_eq!((added.min, added.max), (Some(1.5), Some(7.0)));
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
