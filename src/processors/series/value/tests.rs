use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn exponential(scale: i64, offset: i64, counts: &[u64]) -> Exponential {
    let totals = Totals { count: counts.iter().sum(), ..Totals::default() };
    let positive = Buckets { offset, counts: counts.to_vec() };
    Exponential { totals, scale, sides: [positive, Buckets::default()], ..Exponential::default() }
}

/// Counts by index at a scale.
fn at_scale(one: &Exponential, scale: i64) -> BTreeMap<i64, u64> {
    let mut found = BTreeMap::new();
    for (at, count) in one.sides[0].counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let index =
            (one.sides[0].offset + i64::try_from(at).unwrap()) >> (one.scale - scale).min(63);
        *found.entry(index).or_insert(0) += count;
    }
    found
}

fn buckets() -> impl Strategy<Value = (i64, i64, Vec<u64>)> {
    let offset = prop_oneof![-40_i64..40, Just(i64::from(i32::MAX)), Just(i64::from(i32::MIN))];
    (-4_i64..6, offset, prop::collection::vec(0_u64..4, 0..300))
}

proptest! {
    #[test]
    fn exponential_histograms_are_added_at_a_scale_that_holds_both(one in buckets(), other in buckets()) {
        let (one, other) = (exponential(one.0, one.1, &one.2), exponential(other.0, other.1, &other.2));
        let mut sum = PointValue::Exponential(Box::new(one.clone()));
        sum.add(PointValue::Exponential(Box::new(other.clone())));
        let PointValue::Exponential(sum) = sum else { panic!("its kind stays") };
        prop_assert!(sum.scale <= one.scale.min(other.scale));
        prop_assert!(i64::try_from(sum.sides[0].counts.len()).unwrap() <= BUCKETS);
        let mut expected = at_scale(&one, sum.scale);
        for (index, count) in at_scale(&other, sum.scale) {
            *expected.entry(index).or_insert(0) += count;
        }
        prop_assert_eq!(at_scale(&sum, sum.scale), expected);
        prop_assert_eq!(sum.totals.count, one.totals.count + other.totals.count);
    }

    #[test]
    fn what_was_added_is_found_again(one in buckets(), other in buckets()) {
        let before = PointValue::Exponential(Box::new(exponential(one.0, one.1, &one.2))).bounded();
        let mut now = before.clone();
        now.add(PointValue::Exponential(Box::new(exponential(other.0, other.1, &other.2))));
        let PointValue::Exponential(added) = now.since(&before).unwrap() else { panic!("its kind stays") };
        prop_assert_eq!(at_scale(&added, added.scale), {
            let other = exponential(other.0, other.1, &other.2);
            at_scale(&other, added.scale)
        });
    }

    #[test]
    fn values_are_written_as_they_are_read(
        count in any::<u64>(), sum in prop::option::of(-1e9_f64..1e9), zero in 0_u64..9,
        scale in -10_i64..20, buckets in buckets(), bounds in prop::collection::vec(any::<u64>(), 0..4),
        counts in prop::collection::vec(any::<u64>(), 0..5), start in 1_u64..9, int in any::<i64>(),
    ) {
        let totals = Totals { count, sum, min: sum, max: None };
        let sides = [Buckets { offset: buckets.1, counts: buckets.2 }, Buckets::default()];
        let explicit = Explicit { totals, counts, bounds };
        let exponential =
            Exponential { totals, scale, zero_count: zero, zero_threshold: 0.5, sides };
        for (kind, value) in [
            (7, PointValue::Int(int)),
            (5, PointValue::Double(1.5)),
            (9, PointValue::Explicit(Box::new(explicit))),
            (10, PointValue::Exponential(Box::new(exponential))),
        ] {
            let mut point = Vec::new();
            value.write(&[], start, &mut point);
            let read = PointValue::read(kind, &point).unwrap();
            let same = match (&read, &value) {
                (PointValue::Exponential(read), PointValue::Exponential(one)) => {
                    // A side without buckets is not written.
                    at_scale(read, read.scale) == at_scale(one, one.scale)
                        && (read.totals, read.scale, read.zero_count) == (one.totals, one.scale, one.zero_count)
                }
                _ => read == value,
            };
            prop_assert!(same, "{:?} {:?}", read, value);
            prop_assert_eq!(number(&point, 2), start);
        }
    }
}

#[test]
fn a_wider_zero_takes_the_buckets_within() {
    // Scale 0: bucket 0 is up to 2, bucket 1 up to 4.
    let mut one = exponential(0, 0, &[3, 5, 7]);
    let other = Exponential { zero_threshold: 4.0, zero_count: 1, ..Exponential::default() };
    one.add(other);
    assert_eq!((one.zero_count, one.zero_threshold), (9, 4.0));
    assert_eq!(at_scale(&one, 0), BTreeMap::from([(2, 7)]));
}

#[test]
fn numbers_are_added_and_subtracted() {
    let mut value = PointValue::Int(5);
    value.add(PointValue::Int(3));
    assert_eq!(value, PointValue::Int(8));
    assert_eq!(value.since(&PointValue::Int(5)), Ok(PointValue::Int(3)));
    assert_eq!(PointValue::Int(1).since(&value), Err(Unlike::Smaller));
    value.add(PointValue::Double(0.5));
    assert_eq!(value, PointValue::Double(8.5));
}

#[test]
fn histograms_with_other_bounds_start_anew() {
    let explicit = |bounds: &[u64], counts: &[u64]| Explicit {
        totals: Totals { count: counts.iter().sum(), sum: Some(1.0), ..Totals::default() },
        counts: counts.to_vec(),
        bounds: bounds.to_vec(),
    };
    let mut sum = explicit(&[1], &[1, 2]);
    sum.add(explicit(&[1], &[3, 4]));
    assert_eq!((&*sum.counts, sum.totals.count, sum.totals.sum), (&[4, 6][..], 10, Some(2.0)));
    sum.add(explicit(&[2], &[1, 1]));
    assert_eq!(sum, explicit(&[2], &[1, 1]));
}
