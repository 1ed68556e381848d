//! Values of data points as CloudWatch takes them: a number, a statistic set, or values with counts.

use crate::otlp::view::{
    self, ExponentialHistogramPoint, HistogramPoint, Number, NumberPoint, SummaryPoint,
};

/// Flag of a point without a recorded value (OTLP, `DataPointFlags`).
const NO_VALUE: u32 = 1;
/// Most values of one metric in a document (embedded metric format).
pub(super) const VALUES: usize = 100;

/// A value in a document.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Worth {
    Int(i64),
    Double(f64),
    /// Least, greatest, how many, and their sum.
    Statistics {
        min: f64,
        max: f64,
        count: u64,
        sum: f64,
    },
    /// The same with the middles of the buckets and how many are in each.
    Values {
        min: f64,
        max: f64,
        count: u64,
        sum: f64,
        values: Vec<(f64, u64)>,
    },
}

/// A histogram of either kind.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Distribution {
    pub(super) count: u64,
    pub(super) sum: f64,
    pub(super) min: Option<f64>,
    pub(super) max: Option<f64>,
    pub(super) buckets: Buckets,
}

/// Buckets in order of their bounds.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Buckets(pub(super) Vec<Bucket>);

/// Values above `low` up to `high`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bucket {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) count: u64,
}

impl Buckets {
    /// Bounds of what is in them.
    pub(super) fn range(&self) -> Option<(f64, f64)> {
        let mut filled = self.0.iter().filter(|bucket| bucket.count > 0);
        let first = filled.next()?;
        let last = filled.next_back().unwrap_or(first);
        // The outermost ones have no end; their other bound is the best that is known.
        let low = if first.low.is_finite() { first.low } else { first.high };
        let high = if last.high.is_finite() { last.high } else { last.low };
        (low.is_finite() && high.is_finite()).then_some((low, high))
    }
}

/// The value of a gauge or sum; none where there is none that is a number.
pub(super) fn number(point: &NumberPoint<'_>) -> Option<Worth> {
    if point.flags & NO_VALUE != 0 {
        return None;
    }
    match point.value? {
        Number::Int(number) => Some(Worth::Int(number)),
        Number::Double(number) => number.is_finite().then_some(Worth::Double(number)),
    }
}

#[expect(clippy::cast_precision_loss, reason = "CloudWatch's values are doubles")]
pub(super) fn double(worth: &Worth) -> f64 {
    match worth {
        Worth::Int(number) => *number as f64,
        Worth::Double(number) => *number,
        Worth::Statistics { sum, .. } | Worth::Values { sum, .. } => *sum,
    }
}

impl Distribution {
    pub(super) fn of(point: &HistogramPoint<'_>) -> Option<Self> {
        let bounds: Vec<f64> = point.explicit_bounds().collect();
        let mut low = f64::NEG_INFINITY;
        let mut buckets = Vec::new();
        for (at, count) in point.bucket_counts().enumerate() {
            let high = bounds.get(at).copied().unwrap_or(f64::INFINITY);
            buckets.push(Bucket { low, high, count });
            low = high;
        }
        let own = Distribution {
            count: point.count,
            sum: point.sum.unwrap_or_default(),
            min: point.min,
            max: point.max,
            buckets: Buckets(buckets),
        };
        own.usable(point.flags)
    }

    /// Of an exponential histogram; the boundaries of its buckets are powers of `2^(2^-scale)`.
    pub(super) fn of_exponential(point: &ExponentialHistogramPoint<'_>) -> Option<Self> {
        let base = 2_f64.powf(2_f64.powi(-point.scale.clamp(-10, 20)));
        let side = |buckets: Option<view::Buckets<'_>>| -> Vec<Bucket> {
            let Some(buckets) = buckets else { return Vec::new() };
            let counts = buckets.bucket_counts().take(BUCKETS).enumerate();
            let bounds = |at: usize| {
                let at = i32::try_from(at).unwrap_or(i32::MAX);
                let index = buckets.offset.saturating_add(at);
                (base.powi(index), base.powi(index.saturating_add(1)))
            };
            let bucket = |(at, count): (usize, u64)| {
                let (low, high) = bounds(at);
                Bucket { low, high, count }
            };
            counts
                .map(bucket)
                .filter(|bucket| bucket.count > 0 && bucket.high.is_finite())
                .collect()
        };
        let mut all: Vec<Bucket> = side(point.negative)
            .into_iter()
            .rev()
            .map(|bucket| Bucket { low: -bucket.high, high: -bucket.low, count: bucket.count })
            .collect();
        if point.zero_count > 0 {
            let edge = point.zero_threshold.abs();
            all.push(Bucket { low: -edge, high: edge, count: point.zero_count });
        }
        all.extend(side(point.positive));
        let own = Distribution {
            count: point.count,
            sum: point.sum.unwrap_or_default(),
            min: point.min,
            max: point.max,
            buckets: Buckets(all),
        };
        own.usable(point.flags)
    }

    fn usable(self, flags: u32) -> Option<Self> {
        let numbers = [Some(self.sum), self.min, self.max];
        let is_finite = numbers.iter().flatten().all(|number| number.is_finite());
        (flags & NO_VALUE == 0 && is_finite).then_some(self)
    }

    /// Least and greatest, by the buckets where the sender does not say.
    #[expect(clippy::cast_precision_loss, reason = "a mean of doubles")]
    fn ends(&self) -> (f64, f64) {
        let mean = if self.count > 0 { self.sum / self.count as f64 } else { 0.0 };
        let (low, high) = self.buckets.range().unwrap_or((mean, mean));
        let (min, max) = (self.min.unwrap_or(low), self.max.unwrap_or(high));
        (min, max.max(min))
    }

    pub(super) fn statistics(&self) -> Worth {
        let (min, max) = self.ends();
        Worth::Statistics { min, max, count: self.count, sum: self.sum }
    }

    /// The middles of its buckets from high to low, in parts of a hundred; the sum stands in the first.
    pub(super) fn values(&self) -> Vec<Worth> {
        let filled = self.buckets.0.iter().rev().filter(|bucket| bucket.count > 0);
        let middle = |bucket: &Bucket| (f64::midpoint(bucket.low, bucket.high), bucket.count);
        let all: Vec<(f64, u64)> = filled.map(middle).collect();
        let (min, max) = self.ends();
        let last = all.len().div_ceil(VALUES).saturating_sub(1);
        let part = |(at, values): (usize, &[(f64, u64)])| Worth::Values {
            // Of the values in this part; the ends of all where it has them.
            max: if at == 0 { max } else { values[0].0 },
            min: if at == last { min } else { values[values.len() - 1].0 },
            count: values.iter().fold(0, |all, (_, count)| all.saturating_add(*count)),
            sum: if at == 0 { self.sum } else { 0.0 },
            values: values.to_vec(),
        };
        all.chunks(VALUES).enumerate().map(part).collect()
    }
}

/// Buckets of one side that are looked at: the largest size that SDKs have is 160, and a sender may send
/// any number.
const BUCKETS: usize = 4096;

/// Count, sum and the ends of a summary.
pub(super) fn summary(point: &SummaryPoint<'_>) -> Option<Distribution> {
    let values = || point.quantile_values().map(|quantile| quantile.value);
    let is_finite = point.sum.is_finite() && values().all(f64::is_finite);
    let own = Distribution {
        count: point.count,
        sum: point.sum,
        min: values().next(),
        max: values().last(),
        buckets: Buckets::default(),
    };
    (point.flags & NO_VALUE == 0 && is_finite).then_some(own)
}
