//! Buckets of histograms: percentiles, other bounds, fewer buckets.

use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Histogram, HistogramDataPoint,
    exponential_histogram_data_point::Buckets,
};

/// Buckets from the smallest values to the largest.
pub(super) struct Distribution {
    buckets: Vec<Bucket>,
}

/// A bucket; the bounds that it lacks are infinite.
struct Bucket {
    lower: f64,
    upper: f64,
    count: u64,
    grows_by_factor: bool,
}

impl From<&HistogramDataPoint> for Distribution {
    fn from(point: &HistogramDataPoint) -> Self {
        let mut buckets = Vec::new();
        let mut lower = f64::NEG_INFINITY;
        let mut bounds = point.explicit_bounds.iter();
        for count in &point.bucket_counts {
            let upper = bounds.next().copied().unwrap_or(f64::INFINITY);
            buckets.push(Bucket { lower, upper, count: *count, grows_by_factor: false });
            lower = upper;
        }
        Distribution { buckets }
    }
}

/// The bounds of a bucket of an exponential histogram.
fn bounds(scale: i32, index: i64) -> (f64, f64) {
    let base = 2_f64.powf(2_f64.powi(-scale));
    let power = |index: i64| base.powf(f64::from(i32::try_from(index).unwrap()));
    (power(index), power(index + 1))
}

fn side(scale: i32, side: Option<&Buckets>) -> Vec<(f64, f64, u64)> {
    let Some(side) = side else { return Vec::new() };
    let numbered = (i64::from(side.offset)..).zip(&side.bucket_counts);
    let bucket = |(index, count): (i64, &u64)| {
        let (lower, upper) = bounds(scale, index);
        (lower, upper, *count)
    };
    numbered.map(bucket).collect()
}

impl From<&ExponentialHistogramDataPoint> for Distribution {
    fn from(point: &ExponentialHistogramDataPoint) -> Self {
        let bucket = |lower, upper, count| Bucket { lower, upper, count, grows_by_factor: true };
        let mut buckets: Vec<Bucket> = side(point.scale, point.negative.as_ref())
            .into_iter()
            .map(|(lower, upper, count)| bucket(-upper, -lower, count))
            .collect();
        buckets.reverse();
        buckets.push(bucket(0.0, 0.0, point.zero_count));
        let positive = side(point.scale, point.positive.as_ref()).into_iter();
        buckets.extend(positive.map(|(lower, upper, count)| bucket(lower, upper, count)));
        Distribution { buckets }
    }
}

/// The value that a share of all values does not exceed: the share of a value makes it count.
#[expect(clippy::cast_precision_loss, reason = "the counts of the tests are small")]
pub(super) fn percentile(
    of: &Distribution,
    (min, max): (Option<f64>, Option<f64>),
    share: f64,
) -> Option<f64> {
    let total: u64 = of.buckets.iter().map(|bucket| bucket.count).sum();
    if total == 0 {
        return None;
    }
    let wanted = (share * total as f64).ceil();
    let mut before = 0;
    for bucket in of.buckets.iter().filter(|bucket| bucket.count > 0) {
        if ((before + bucket.count) as f64) < wanted {
            before += bucket.count;
            continue;
        }
        let part = (wanted - before as f64) / bucket.count as f64;
        let lower = min.map_or(bucket.lower, |min| bucket.lower.max(min));
        let upper = max.map_or(bucket.upper, |max| bucket.upper.min(max));
        if lower.is_infinite() && upper.is_infinite() {
            return None;
        }
        // The first bucket begins at 0 if nothing says otherwise, and the last has no end.
        let lower = if lower.is_infinite() && upper > 0.0 { 0.0 } else { lower };
        return Some(if lower.is_infinite() {
            upper
        } else if upper.is_infinite() {
            lower
        } else if bucket.grows_by_factor && lower > 0.0 {
            lower * (upper / lower).powf(part)
        } else if bucket.grows_by_factor && upper < 0.0 {
            upper * (lower / upper).powf(1.0 - part)
        } else {
            lower + (upper - lower) * part
        });
    }
    None
}

/// An exponential histogram as one with explicit bounds.
pub(super) fn to_explicit(
    data: ExponentialHistogram,
    distribution: &str,
    bounds: &[f64],
) -> Histogram {
    let points = data.data_points.into_iter().map(|point| {
        let mut bucket_counts = vec![0; bounds.len() + 1];
        let Distribution { buckets } = Distribution::from(&point);
        for bucket in &buckets {
            spread(bucket, distribution, bounds, &mut bucket_counts);
        }
        HistogramDataPoint {
            attributes: point.attributes,
            start_time_unix_nano: point.start_time_unix_nano,
            time_unix_nano: point.time_unix_nano,
            count: point.count,
            sum: point.sum,
            bucket_counts,
            explicit_bounds: bounds.to_vec(),
            exemplars: point.exemplars,
            flags: point.flags,
            min: point.min,
            max: point.max,
        }
    });
    let data_points = points.collect();
    Histogram { data_points, aggregation_temporality: data.aggregation_temporality }
}

/// Adds the values of a bucket to explicit buckets.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "the counts of the tests are small"
)]
fn spread(bucket: &Bucket, distribution: &str, bounds: &[f64], counts: &mut [u64]) {
    // A value on a bound belongs to the bucket below it.
    let place = |value: f64| bounds.iter().filter(|bound| **bound < value).count();
    let Bucket { lower, upper, count, .. } = *bucket;
    let (first, last) = (place(lower), place(upper));
    match distribution {
        // The bound that is farther from zero.
        "upper" => counts[place(if lower < 0.0 { lower } else { upper })] += count,
        "midpoint" => counts[place(f64::midpoint(lower, upper))] += count,
        _ if first == last => counts[last] += count,
        _ => {
            let mut left = count;
            let mut from = lower;
            for at in first..last {
                let share = (bounds[at] - from) / (upper - lower);
                let part = ((count as f64 * share).round() as u64).min(left);
                counts[at] += part;
                left -= part;
                from = bounds[at];
            }
            counts[last] += left;
        }
    }
}

fn is_whole(point: &HistogramDataPoint) -> bool {
    !point.explicit_bounds.is_empty()
        && point.bucket_counts.len() == point.explicit_bounds.len() + 1
}

pub(super) fn remove_bound(point: &mut HistogramDataPoint, bound: f64) {
    let is_it = |known: &f64| (known - bound).abs() < 1e-12;
    let Some(at) = point.explicit_bounds.iter().position(is_it) else { return };
    if !is_whole(point) {
        return;
    }
    point.explicit_bounds.remove(at);
    let count = point.bucket_counts.remove(at);
    point.bucket_counts[at] = point.bucket_counts[at].wrapping_add(count);
}

/// Joins as many neighbours each as are needed to have at most so many buckets.
pub(super) fn limit_buckets(point: &mut HistogramDataPoint, most: usize) {
    if !is_whole(point) {
        return;
    }
    let counts = std::mem::take(&mut point.bucket_counts);
    let old = std::mem::take(&mut point.explicit_bounds);
    let is_enough = |width: &usize| counts.len().div_ceil(*width) <= most;
    let width = (1..=counts.len()).find(is_enough).unwrap();
    for (at, chunk) in counts.chunks(width).enumerate() {
        point.bucket_counts.push(chunk.iter().copied().fold(0, u64::wrapping_add));
        if let Some(bound) = old.get(at * width + width - 1) {
            point.explicit_bounds.push(*bound);
        }
    }
}
