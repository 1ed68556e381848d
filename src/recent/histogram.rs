//! Quantiles of weighted numbers: buckets of 1/32 of a power of two, so that what is said of a
//! quantile is within 1.6 per cent of it. Buckets that are empty take nothing.

/// Bits of a double below those that choose a bucket: sign, exponent and five bits are left.
const DROPPED: u32 = 47;
/// What a bucket takes.
pub(super) const BUCKET: usize = size_of::<(i32, f64)>();

/// Weights of numbers by bucket, in their order.
#[derive(Debug, Clone, Default)]
pub(super) struct Histogram {
    buckets: Vec<(i32, f64)>,
    total: f64,
    least: f64,
    most: f64,
}

/// The bucket of a number: larger numbers have larger buckets, zero is bucket 0.
pub(super) fn bucket(value: f64) -> i32 {
    let magnitude = (value.abs().to_bits() >> DROPPED) as i32;
    if value < 0.0 { -magnitude } else { magnitude }
}

/// The least magnitude of a bucket.
pub(super) fn lower(bucket: i32) -> f64 {
    let bound = f64::from_bits(u64::from(bucket.unsigned_abs()) << DROPPED);
    if bucket < 0 { -bound } else { bound }
}

impl Histogram {
    /// Adds a number, which must be one. Returns how many bytes that took.
    pub(super) fn add(&mut self, value: f64, weight: f64) -> usize {
        if self.buckets.is_empty() {
            (self.least, self.most) = (value, value);
        }
        self.least = self.least.min(value);
        self.most = self.most.max(value);
        self.total += weight;
        let bucket = bucket(value);
        match self.buckets.binary_search_by_key(&bucket, |(known, _)| *known) {
            Ok(at) => {
                self.buckets[at].1 += weight;
                0
            }
            Err(at) => {
                self.buckets.insert(at, (bucket, weight));
                // A vector has up to twice the room that it needs.
                2 * BUCKET
            }
        }
    }

    /// The number below which so large a part of the weight is; none if there is no number.
    pub(super) fn quantile(&self, part: f64) -> Option<f64> {
        let wanted = part * self.total;
        let mut below = 0.0;
        for (bucket, weight) in &self.buckets {
            below += weight;
            if below >= wanted {
                let next = if *bucket < 0 { bucket - 1 } else { bucket + 1 };
                let middle = f64::midpoint(lower(*bucket), lower(next));
                return Some(middle.clamp(self.least, self.most));
            }
        }
        self.buckets.last().map(|_| self.most)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_quantile_is_within_two_per_cent(
            mut values in prop::collection::vec(-1e6..1e6_f64, 1..200),
            part in 0.001..1.0_f64,
        ) {
            let mut histogram = Histogram::default();
            for value in &values {
                histogram.add(*value, 2.0);
            }
            values.sort_by(f64::total_cmp);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss,
                clippy::cast_precision_loss, reason = "small numbers")]
            let exact = values[((part * values.len() as f64).ceil() as usize).max(1) - 1];
            let found = histogram.quantile(part).unwrap();
            prop_assert!((found - exact).abs() <= 0.02 * exact.abs(), "{found} {exact}");
        }

        #[test]
        fn buckets_are_in_the_order_of_numbers(a: f64, b: f64) {
            prop_assume!(a.is_finite() && b.is_finite());
            prop_assert!(a >= b || bucket(a) <= bucket(b));
            prop_assert!(lower(bucket(a)).abs() <= a.abs());
        }
    }

    #[test]
    fn one_value_is_itself() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        histogram.add(0.1, 1.0);
        assert_eq!(histogram.quantile(0.99), Some(0.1));
    }
}
