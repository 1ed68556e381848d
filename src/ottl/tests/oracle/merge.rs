//! Merges data points that are the same but for their values.

use opentelemetry_proto::tonic::{
    common::v1::KeyValue,
    metrics::v1::{
        ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint,
        exponential_histogram_data_point::Buckets, metric::Data,
        number_data_point::Value as Number,
    },
};

use super::value::{No, Op, Res, Val, compare};

/// A kind of point.
trait Point {
    fn attributes(&mut self) -> &mut Vec<KeyValue>;
    fn known_attributes(&self) -> &[KeyValue];
    fn start(&mut self) -> &mut u64;
    fn known_start(&self) -> u64;
    fn time(&self) -> u64;
    /// Whether two points have the same shape.
    fn is_like(&self, other: &Self) -> bool;
    /// Adds the values of points that are the same to this one.
    fn merge(&mut self, others: &[Self], function: &str)
    where
        Self: Sized;
}

macro_rules! common_fields {
    () => {
        fn attributes(&mut self) -> &mut Vec<KeyValue> {
            &mut self.attributes
        }

        fn known_attributes(&self) -> &[KeyValue] {
            &self.attributes
        }

        fn start(&mut self) -> &mut u64 {
            &mut self.start_time_unix_nano
        }

        fn known_start(&self) -> u64 {
            self.start_time_unix_nano
        }

        fn time(&self) -> u64 {
            self.time_unix_nano
        }
    };
}

/// Edits the attributes of all points and merges those that are the same then.
pub(super) fn aggregate(
    metric: &mut Metric,
    function: &str,
    edit: impl Fn(&mut Vec<KeyValue>),
) -> Res<()> {
    match &mut metric.data {
        None => {}
        Some(Data::Gauge(data)) => merged(&mut data.data_points, function, false, edit),
        Some(Data::Sum(data)) => {
            let is_delta = data.aggregation_temporality == 1;
            merged(&mut data.data_points, function, is_delta, edit);
        }
        Some(Data::Histogram(data)) if function == "sum" => {
            let is_delta = data.aggregation_temporality == 1;
            merged(&mut data.data_points, function, is_delta, edit);
        }
        Some(Data::ExponentialHistogram(data)) if function == "sum" => {
            let is_delta = data.aggregation_temporality == 1;
            merged(&mut data.data_points, function, is_delta, edit);
        }
        Some(_) => return Err(No::Fails),
    }
    Ok(())
}

/// Whether two lists of entries are the same in any order.
fn same_entries(left: &[KeyValue], right: &[KeyValue]) -> bool {
    let is_same = |a: &KeyValue, b: &KeyValue| {
        let (a_value, b_value) = (Val::of(a.value.as_ref()), Val::of(b.value.as_ref()));
        let is_same_number = matches!(a_value, Val::Int(_)) == matches!(b_value, Val::Int(_));
        a.key == b.key && is_same_number && compare(Op::Eq, &a_value, &b_value)
    };
    let mut left_over: Vec<&KeyValue> = right.iter().collect();
    left.iter().all(|one| match left_over.iter().position(|other| is_same(one, other)) {
        Some(at) => {
            left_over.remove(at);
            true
        }
        None => false,
    }) && left_over.is_empty()
}

fn merged<P: Point + Clone>(
    points: &mut Vec<P>,
    function: &str,
    is_delta: bool,
    edit: impl Fn(&mut Vec<KeyValue>),
) {
    let mut groups: Vec<Vec<P>> = Vec::new();
    for mut point in std::mem::take(points) {
        edit(point.attributes());
        let is_same = |first: &P| {
            same_entries(first.known_attributes(), point.known_attributes())
                && first.time() == point.time()
                && (!is_delta || first.known_start() == point.known_start())
                && first.is_like(&point)
        };
        match groups.iter().position(|group| is_same(&group[0])) {
            Some(at) => groups[at].push(point),
            None => groups.push(vec![point]),
        }
    }
    for mut group in groups {
        let mut first = group.remove(0);
        let starts = group.iter().map(P::known_start);
        *first.start() = starts.fold(first.known_start(), u64::min);
        first.merge(&group, function);
        points.push(first);
    }
}

impl Point for NumberDataPoint {
    common_fields!();

    fn is_like(&self, other: &Self) -> bool {
        self.flags == other.flags
    }

    fn merge(&mut self, others: &[Self], function: &str) {
        if function == "count" {
            self.value = Some(Number::AsInt(i64::try_from(others.len() + 1).unwrap()));
            return;
        }
        if others.is_empty() {
            return;
        }
        let all = std::iter::once(&*self).chain(others);
        let values: Vec<Number> = all.filter_map(|point| point.value).collect();
        let ints: Option<Vec<i64>> = values
            .iter()
            .map(|value| match value {
                Number::AsInt(value) => Some(*value),
                Number::AsDouble(_) => None,
            })
            .collect();
        self.value = match ints {
            // None of the points has a value.
            Some(ints) if ints.is_empty() => None,
            Some(ints) => Some(Number::AsInt(of_ints(ints, function))),
            None => Some(Number::AsDouble(of_doubles(&values, function))),
        };
    }
}

fn of_ints(mut ints: Vec<i64>, function: &str) -> i64 {
    ints.sort_unstable();
    let len = ints.len();
    let sum = ints.iter().copied().fold(0, i64::wrapping_add);
    match function {
        "sum" => sum,
        "max" => ints[len - 1],
        "min" => ints[0],
        "mean" => sum / i64::try_from(len).unwrap(),
        _ if len % 2 == 1 => ints[len / 2],
        _ => {
            let middle = [len / 2 - 1, len / 2].map(|at| i128::from(ints[at]));
            i64::try_from(middle[0].midpoint(middle[1])).unwrap()
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "integers are doubles among doubles")]
fn of_doubles(values: &[Number], function: &str) -> f64 {
    let double = |value: &Number| match value {
        Number::AsInt(value) => *value as f64,
        Number::AsDouble(value) => *value,
    };
    let mut doubles: Vec<f64> = values.iter().map(double).collect();
    let len = doubles.len();
    let sum: f64 = doubles.iter().sum();
    doubles.sort_by(f64::total_cmp);
    match function {
        "sum" => sum,
        "max" => doubles[len - 1],
        "min" => doubles[0],
        "mean" => sum / len as f64,
        _ if len % 2 == 1 => doubles[len / 2],
        _ => f64::midpoint(doubles[len / 2 - 1], doubles[len / 2]),
    }
}

/// Combines what points may have; those that are merged all have it, or none.
fn combined(all: &[Option<f64>], combine: fn(f64, f64) -> f64) -> Option<f64> {
    all.iter().copied().flatten().reduce(combine)
}

/// Adds up lists of counts.
fn added<'a>(lists: impl Iterator<Item = &'a Vec<u64>>) -> Vec<u64> {
    let mut sums: Vec<u64> = Vec::new();
    for list in lists {
        sums.resize(sums.len().max(list.len()), 0);
        for (sum, count) in sums.iter_mut().zip(list) {
            *sum = sum.wrapping_add(*count);
        }
    }
    sums
}

/// What the points of both kinds of histograms have in common.
macro_rules! merge_distributions {
    ($first:ident, $others:ident, $all:ident) => {
        let $all: Vec<_> = std::iter::once($first.clone()).chain($others.iter().cloned()).collect();
        $first.count = $all.iter().map(|point| point.count).fold(0, u64::wrapping_add);
        let of = |field: fn(&Self) -> Option<f64>| $all.iter().map(field).collect::<Vec<_>>();
        $first.sum = combined(&of(|point| point.sum), |a, b| a + b);
        $first.min = combined(&of(|point| point.min), f64::min);
        $first.max = combined(&of(|point| point.max), f64::max);
        for other in $others {
            $first.exemplars.extend(other.exemplars.iter().cloned());
        }
    };
}

fn has_same(left: Option<f64>, right: Option<f64>) -> bool {
    left.is_some() == right.is_some()
}

impl Point for HistogramDataPoint {
    common_fields!();

    fn is_like(&self, other: &Self) -> bool {
        self.flags == other.flags
            && self.explicit_bounds == other.explicit_bounds
            && self.bucket_counts.len() == other.bucket_counts.len()
            && has_same(self.sum, other.sum)
            && has_same(self.min, other.min)
            && has_same(self.max, other.max)
    }

    fn merge(&mut self, others: &[Self], _: &str) {
        merge_distributions!(self, others, all);
        self.bucket_counts = added(all.iter().map(|point| &point.bucket_counts));
    }
}

impl Point for ExponentialHistogramDataPoint {
    common_fields!();

    fn is_like(&self, other: &Self) -> bool {
        let offset = |side: &Option<Buckets>| side.as_ref().map_or(0, |side| side.offset);
        self.flags == other.flags
            && self.scale == other.scale
            && self.zero_threshold.to_bits() == other.zero_threshold.to_bits()
            && offset(&self.positive) == offset(&other.positive)
            && offset(&self.negative) == offset(&other.negative)
            && has_same(self.sum, other.sum)
            && has_same(self.min, other.min)
            && has_same(self.max, other.max)
    }

    fn merge(&mut self, others: &[Self], _: &str) {
        merge_distributions!(self, others, all);
        self.zero_count = all.iter().map(|point| point.zero_count).fold(0, u64::wrapping_add);
        let counts = |side: fn(&Self) -> &Option<Buckets>| {
            added(all.iter().filter_map(side_of(side)).map(|side| &side.bucket_counts))
        };
        let (positive, negative) =
            (counts(|point| &point.positive), counts(|point| &point.negative));
        self.positive.get_or_insert_default().bucket_counts = positive;
        self.negative.get_or_insert_default().bucket_counts = negative;
    }
}

fn side_of(
    side: fn(&ExponentialHistogramDataPoint) -> &Option<Buckets>,
) -> impl Fn(&ExponentialHistogramDataPoint) -> Option<&Buckets> {
    move |point| side(point).as_ref()
}
