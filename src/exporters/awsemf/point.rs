//! Values of data points in the forms of CloudWatch: a number, a statistic set, or values with
//! counts.
//!
//! In each set, and in all parts of a point, minimum <= sum / count <= maximum. A sender may leave
//! out minimum and maximum, and those of a total are not those of what was added to it; then they
//! are taken from the buckets. A bucket without an end reaches to its other bound, or to the mean
//! if that is further.

use crate::otlp::view::{
    self, ExponentialHistogramPoint, HistogramPoint, Number, NumberPoint, SummaryPoint,
};

/// Flag of a point without a recorded value (OTLP, `DataPointFlags`).
const NO_VALUE: u32 = 1;
/// Most values of one metric in a document (embedded metric format).
pub(super) const VALUES: usize = 100;
/// Most filled buckets on one side of an exponential histogram: SDKs have up to 160. If there are
/// more, pairs of them are merged until they fit.
const SIDE: usize = 200;
/// Most filled buckets of a histogram with explicit bounds. With more, only its totals are used.
const BOUNDED: usize = 2000;
/// CloudWatch accepts numbers up to 2^360.
const LARGEST: f64 = f64::from_bits((1023 + 360) << 52);

/// A value in a document.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Worth {
    Int(i64),
    Double(f64),
    Statistics(Statistics),
    /// The same, with values from the buckets and their counts.
    Values(Statistics, Vec<(f64, u64)>),
}

/// Minimum, maximum, count and sum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Statistics {
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) count: u64,
    pub(super) sum: f64,
}

/// A histogram of either kind, or a summary.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Distribution {
    pub(super) count: u64,
    pub(super) sum: Option<f64>,
    pub(super) min: Option<f64>,
    pub(super) max: Option<f64>,
    /// Whether minimum and maximum are recent ones, not those since the start.
    pub(super) has_recent_ends: bool,
    /// Empty if they are not known; otherwise they contain all of `count`.
    pub(super) buckets: Buckets,
}

/// Filled buckets in order of their bounds.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Buckets(pub(super) Vec<Bucket>);

/// Values above `low` up to `high`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bucket {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) count: u64,
}

impl Worth {
    /// Whether it has only numbers that CloudWatch accepts.
    pub(super) fn is_taken(&self) -> bool {
        match self {
            Worth::Int(_) => true,
            Worth::Double(number) => is_taken(*number),
            Worth::Statistics(own) | Worth::Values(own, _) => {
                [own.min, own.max, own.sum].into_iter().all(is_taken)
            }
        }
    }
}

fn is_taken(number: f64) -> bool {
    number.abs() <= LARGEST
}

/// The value of a gauge or sum.
pub(super) fn number(point: &NumberPoint<'_>) -> Option<Worth> {
    let worth = match point.value.filter(|_| point.flags & NO_VALUE == 0)? {
        Number::Int(number) => Worth::Int(number),
        Number::Double(number) => Worth::Double(number),
    };
    Some(worth).filter(Worth::is_taken)
}

impl Distribution {
    pub(super) fn of(point: &HistogramPoint<'_>) -> Option<Self> {
        let mut bounds = point.explicit_bounds();
        let mut low = f64::NEG_INFINITY;
        let mut buckets = Vec::new();
        let mut is_ordered = true;
        for count in point.bucket_counts() {
            let high = bounds.next().unwrap_or(f64::INFINITY);
            is_ordered &= low < high || low <= high && count == 0;
            if !is_ordered || buckets.len() > BOUNDED {
                is_ordered = false;
                break;
            }
            if count > 0 {
                buckets.push(Bucket { low, high, count });
            }
            low = high;
        }
        if !is_ordered {
            buckets.clear();
        }
        Distribution {
            count: point.count,
            sum: point.sum,
            min: point.min,
            max: point.max,
            has_recent_ends: false,
            buckets: Buckets(buckets),
        }
        .usable(point.flags)
    }

    pub(super) fn of_exponential(point: &ExponentialHistogramPoint<'_>) -> Option<Self> {
        let side = |buckets: Option<view::Buckets<'_>>| {
            buckets.map_or_else(Vec::new, |own| exponential(&own, point.scale))
        };
        let mirrored = |one: Bucket| Bucket { low: -one.high, high: -one.low, count: one.count };
        let mut all: Vec<Bucket> = side(point.negative).into_iter().rev().map(mirrored).collect();
        if point.zero_count > 0 {
            let edge = point.zero_threshold.abs();
            all.push(Bucket { low: 0.0 - edge, high: edge, count: point.zero_count });
        }
        all.extend(side(point.positive));
        Distribution {
            count: point.count,
            sum: point.sum,
            min: point.min,
            max: point.max,
            has_recent_ends: false,
            buckets: Buckets(all),
        }
        .usable(point.flags)
    }

    /// That of a summary. Its quantiles are recent ones.
    pub(super) fn of_summary(point: &SummaryPoint<'_>) -> Option<Self> {
        let values =
            || point.quantile_values().map(|quantile| quantile.value).filter(|v| !v.is_nan());
        Distribution {
            count: point.count,
            sum: Some(point.sum),
            min: values().reduce(f64::min),
            max: values().reduce(f64::max),
            has_recent_ends: true,
            buckets: Buckets::default(),
        }
        .usable(point.flags)
    }

    /// Without buckets that say nothing or contradict the count; none where a number is none.
    fn usable(mut self, flags: u32) -> Option<Self> {
        let mut counts = self.buckets.0.iter().map(|bucket| bucket.count);
        let count = counts.try_fold(0, u64::checked_add);
        let is_open = |one: &Bucket| one.low == f64::NEG_INFINITY && one.high == f64::INFINITY;
        let is_odd = |one: &Bucket| one.low.is_nan() || one.high.is_nan() || is_open(one);
        if count != Some(self.count) || self.buckets.0.iter().any(is_odd) {
            self.buckets.0.clear();
        }
        let mut numbers = [self.sum, self.min, self.max].into_iter().flatten();
        (flags & NO_VALUE == 0 && numbers.all(is_taken)).then_some(self)
    }

    /// Bounds of the values in a bucket, as far as they are known.
    fn bounds(&self, bucket: &Bucket) -> (f64, f64) {
        let low = bucket.low.max(self.min.unwrap_or(f64::NEG_INFINITY));
        let high = bucket.high.min(self.max.unwrap_or(f64::INFINITY));
        (if low.is_finite() { low } else { high }, if high.is_finite() { high } else { low })
    }

    /// The sum; if the sender left it out, the sum of the middles of the buckets.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    fn sum(&self) -> Option<f64> {
        if self.sum.is_some() {
            return self.sum;
        }
        if self.buckets.0.is_empty() {
            let (min, max) = (self.min.or(self.max)?, self.max.or(self.min)?);
            return Some(f64::midpoint(min, max) * self.count as f64);
        }
        let sum = |bucket: &Bucket| {
            let (low, high) = self.bounds(bucket);
            f64::midpoint(low, high) * bucket.count as f64
        };
        Some(self.buckets.0.iter().map(sum).sum())
    }

    /// `None` if the sum is not known.
    fn totals(&self) -> Option<Statistics> {
        let (count, sum) = (self.count, self.sum()?);
        let mean = mean(sum, count);
        let first = self.buckets.0.first();
        let last = self.buckets.0.last();
        let low = |one: &Bucket| if one.low.is_finite() { one.low } else { one.high };
        let high = |one: &Bucket| if one.high.is_finite() { one.high } else { one.low };
        let min = self.min.or(first.map(low)).unwrap_or(mean);
        let max = self.max.or(last.map(high)).unwrap_or(mean);
        Some(Statistics { min, max, count, sum }.around_mean())
    }

    pub(super) fn statistics(&self) -> Option<Worth> {
        self.totals().map(Worth::Statistics)
    }

    /// How many parts [`Distribution::values`] has at most.
    pub(super) fn parts(&self) -> usize {
        self.buckets.0.len().div_ceil(VALUES).max(1)
    }

    /// The middles of its buckets from high to low, in parts of a hundred, each with its share of
    /// the sum and with least and greatest of the whole.
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub(super) fn values(&self) -> Option<Vec<Worth>> {
        let all = self.totals()?;
        if self.buckets.0.is_empty() || !Worth::Statistics(all).is_taken() {
            return Some(vec![Worth::Statistics(all)]);
        }
        let value = |bucket: &Bucket| {
            let (low, high) = (bucket.low.max(all.min), bucket.high.min(all.max));
            (f64::midpoint(low, high).clamp(all.min, all.max), bucket.count)
        };
        let values: Vec<(f64, u64)> = self.buckets.0.iter().rev().map(value).collect();
        let parts = values.len().div_ceil(VALUES);
        let mut rest = all.sum;
        let part = |(at, values): (usize, &[(f64, u64)])| {
            let count = values.iter().map(|(_, count)| count).sum();
            let share = all.sum * (count as f64 / all.count as f64);
            let sum = if at + 1 == parts { rest } else { share };
            rest -= sum;
            Worth::Values(Statistics { count, sum, ..all }.around_mean(), values.to_vec())
        };
        Some(values.chunks(VALUES).enumerate().map(part).collect())
    }
}

impl Statistics {
    /// Whatever a sender says, and however sums are rounded: the mean is between least and
    /// greatest.
    fn around_mean(self) -> Self {
        let mean = mean(self.sum, self.count);
        Statistics { min: self.min.min(mean), max: self.max.max(mean), ..self }
    }
}

#[expect(clippy::cast_precision_loss, reason = "CloudWatch's values are doubles")]
fn mean(sum: f64, count: u64) -> f64 {
    sum / count as f64
}

#[expect(clippy::cast_precision_loss, reason = "CloudWatch's values are doubles")]
pub(super) fn double(number: &Worth) -> f64 {
    match number {
        Worth::Int(number) => *number as f64,
        Worth::Double(number) => *number,
        Worth::Statistics(own) | Worth::Values(own, _) => own.sum,
    }
}

/// The filled buckets of one side, from low to high. Their boundaries are powers of `2^(2^-scale)`,
/// to the bit the same in each scale that has them.
#[expect(clippy::cast_precision_loss, reason = "indexes are 32 bits and a few more")]
fn exponential(buckets: &view::Buckets<'_>, scale: i32) -> Vec<Bucket> {
    let mut filled: Vec<(i64, u64)> = Vec::new();
    let mut shift = 0;
    for (at, count) in buckets.bucket_counts().enumerate().filter(|(_, count)| *count > 0) {
        let at = i64::try_from(at).unwrap_or(i64::MAX);
        let index = i64::from(buckets.offset).saturating_add(at) >> shift;
        match filled.last_mut() {
            Some((last, all)) if *last == index => *all = all.saturating_add(count),
            _ => filled.push((index, count)),
        }
        while filled.len() > SIDE {
            shift += 1;
            for (index, _) in &mut filled {
                *index >>= 1;
            }
            filled.dedup_by(|next, kept| {
                let is_same = next.0 == kept.0;
                kept.1 = kept.1.saturating_add(if is_same { next.1 } else { 0 });
                is_same
            });
        }
    }
    // At -11 one bucket has all numbers above 1; beyond 1000 a bound is 1 whatever its index.
    let width = 2_f64.powi(-scale.saturating_sub(shift).clamp(-1000, 1000));
    let bound = |index: i64| (index as f64 * width).exp2();
    let bucket = |(index, count)| Bucket { low: bound(index), high: bound(index + 1), count };
    filled.into_iter().map(bucket).collect()
}
