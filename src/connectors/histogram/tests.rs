use opentelemetry_proto::tonic::metrics::v1::{ExponentialHistogramDataPoint, HistogramDataPoint};
use proptest::prelude::*;
use prost::Message as _;

use super::*;

const TIMES: Times = Times { start: 1, end: 2 };

fn exponential(max_size: usize, values: &[u64]) -> ExponentialHistogramDataPoint {
    let shape = Shape::Exponential { max_size };
    let mut histogram = Histogram::new(&shape);
    for nanos in values {
        histogram.add(&shape, Unit::MILLISECONDS, *nanos, 1);
    }
    let mut out = Vec::new();
    histogram.put(&mut out, &shape, TIMES);
    assert!(out.len() <= shape.encoded_size());
    ExponentialHistogramDataPoint::decode(&*out).unwrap()
}

#[test]
fn a_value_belongs_to_the_first_bucket_whose_bound_it_does_not_exceed() {
    let shape = Shape::explicit(&[2, 10].map(Duration::from_millis), Unit::MILLISECONDS);
    let mut histogram = Histogram::new(&shape);
    for (nanos, weight) in [(0, 1), (2_000_000, 1), (2_000_001, 1), (10_000_000, 2), (u64::MAX, 1)]
    {
        histogram.add(&shape, Unit::MILLISECONDS, nanos, weight);
    }
    let mut out = Vec::new();
    histogram.put(&mut out, &shape, TIMES);
    assert!(out.len() <= shape.encoded_size());
    let point = HistogramDataPoint::decode(&*out).unwrap();
    assert_eq!(point.bucket_counts, [2, 3, 1]);
    assert_eq!(point.explicit_bounds, [2.0, 10.0]);
    assert_eq!((point.count, point.start_time_unix_nano, point.time_unix_nano), (6, 1, 2));
}

#[test]
fn bounds_are_in_the_unit() {
    let nanos = [3, 3_000, 3_000_000, 3_000_000_000].map(Duration::from_nanos);
    for (unit, expected) in [
        (Unit::MILLISECONDS, [0.000_003, 0.003, 3.0, 3000.0]),
        (Unit::SECONDS, [3e-9, 3e-6, 0.003, 3.0]),
    ] {
        let Shape::Explicit { bounds, .. } = Shape::explicit(&nanos, unit) else { panic!() };
        assert_eq!(*bounds, expected);
    }
}

#[test]
fn powers_of_two_are_upper_bounds() {
    for scale in [-3, -1, 0, 1, 5, 20] {
        for exponent in [-20, -1, 0, 1, 3, 30] {
            let value = 2f64.powi(exponent);
            let above = index(value * (1.0 + 2.0 * f64::EPSILON), scale);
            assert!(index(value, scale) <= above, "{scale} {exponent}");
            if scale >= 0 {
                assert_eq!(index(value, scale) + 1, above, "{scale} {exponent}");
            }
        }
    }
    assert_eq!(index(1.0, 0), -1);
    assert_eq!(index(3.0, 0), 1);
    assert_eq!(index(4.0, 0), 1);
    assert_eq!(index(5.0, 1), 4);
}

#[test]
fn one_value_is_at_the_finest_scale_and_zero_has_its_own_count() {
    let point = exponential(160, &[0, 1_500_000]);
    assert_eq!((point.scale, point.zero_count, point.count), (20, 1, 2));
    assert_eq!((point.min, point.max, point.sum), (Some(0.0), Some(1.5), Some(1.5)));
    assert_eq!(point.positive.unwrap().bucket_counts, [1]);
}

proptest! {
    /// Each value is within the bounds of a bucket that counts it.
    #[test]
    fn buckets_are_few_and_hold_their_values(
        values in prop::collection::vec(any::<u64>().prop_map(|bits| bits >> (bits % 64)), 1..200),
        max_size in 2_usize..20,
    ) {
        let point = exponential(max_size, &values);
        let zeros = values.iter().filter(|value| **value == 0).count() as u64;
        prop_assert_eq!((point.count, point.zero_count), (values.len() as u64, zeros));
        let buckets = point.positive.unwrap_or_default();
        prop_assert!(buckets.bucket_counts.len() <= max_size);
        let mut expected = vec![0; buckets.bucket_counts.len()];
        let base = 2f64.powf(2f64.powi(-point.scale));
        for nanos in values.iter().filter(|value| **value > 0) {
            let at = index(Unit::MILLISECONDS.of(*nanos), point.scale);
            expected[usize::try_from(at - buckets.offset).unwrap()] += 1;
            let (lower, upper) = (base.powi(at), base.powi(at + 1));
            let value = Unit::MILLISECONDS.of(*nanos);
            let slack = 1.0 + 1e-9 * f64::from(at.abs() + 1);
            prop_assert!(lower <= value * slack && value <= upper * slack, "{} {} {}", lower, value, upper);
        }
        prop_assert_eq!(buckets.bucket_counts, expected);
    }
}
