//! Runs editors of metrics and data points.

use opentelemetry_proto::tonic::{
    common::v1::AnyValue,
    metrics::v1::{
        Gauge, Metric, NumberDataPoint, Sum, SummaryDataPoint, exemplar::Value as Measured,
        metric::Data, number_data_point::Value as Number,
    },
};

use super::{
    buckets::{limit_buckets, percentile, remove_bound, to_explicit},
    edit::put,
    eval::eval,
    measures::{Measure, Nature},
    merge::aggregate,
    place::{Child, ItemOf, Levels},
    value::{No, Res, Val},
};

/// So many metrics back points are added to one that was made of the same.
const RECENT: usize = 16;

pub(super) fn measured(measure: &Measure, levels: &mut Levels<'_>) -> Res<()> {
    match measure {
        Measure::SummaryCount(nature, suffix) => {
            let count = |point: &SummaryDataPoint| Number::AsInt(point.count.cast_signed());
            from_summary(levels, *nature, suffix.unwrap_or("_count"), count);
            Ok(())
        }
        Measure::SummarySum(nature, suffix) => {
            let sum = |point: &SummaryDataPoint| Number::AsDouble(point.sum);
            from_summary(levels, *nature, suffix.unwrap_or("_sum"), sum);
            Ok(())
        }
        Measure::Quantiles(key, suffix) => {
            quantiles(levels, key.unwrap_or("quantile"), suffix.unwrap_or(".quantiles"))
        }
        Measure::RemoveBound(bound) => {
            if let Child::Histogram(point) = &mut levels.child {
                remove_bound(point, *bound);
            }
            Ok(())
        }
        Measure::LimitBuckets(most) => {
            if let Child::Histogram(point) = &mut levels.child {
                limit_buckets(point, usize::try_from(*most).unwrap_or(1).max(1));
            }
            Ok(())
        }
        Measure::Scale(factor, unit) => {
            let unit = unit.as_ref().map(|unit| eval(unit, levels)?.into_text()).transpose()?;
            let metric = metric(levels)?;
            scale(metric, *factor)?;
            if let (Some(unit), true) = (unit, metric.data.is_some()) {
                metric.unit = unit;
            }
            Ok(())
        }
        Measure::Copy(texts) => {
            let mut copy = metric(levels)?.clone();
            let places = [&mut copy.name, &mut copy.description, &mut copy.unit];
            for (text, place) in texts.iter().zip(places) {
                if let Some(text) = text {
                    *place = eval(text, levels)?.into_text()?;
                }
            }
            levels.appended.push(copy);
            Ok(())
        }
        _ => {
            let metric = metric(levels)?;
            if !is_tame(metric) {
                return Err(No::Unsure);
            }
            let made = on_metric(measure, metric)?;
            levels.appended.extend(made);
            Ok(())
        }
    }
}

fn metric<'l>(levels: &'l mut Levels<'_>) -> Res<&'l mut Metric> {
    match &mut levels.item {
        ItemOf::Metric(metric) => Ok(metric),
        _ => Err(No::Unsure),
    }
}

/// Whether numbers are such that every way to calculate comes to the same. Hostile ones overflow.
fn is_tame(metric: &Metric) -> bool {
    let is_small = |count: &u64| *count < 1 << 32;
    let is_plain = |value: f64| value.abs() < 1e9 && value.to_bits() != (-0.0_f64).to_bits();
    let are_plain = |all: &[Option<f64>]| all.iter().flatten().all(|value| is_plain(*value));
    let are_numbers = |points: &[NumberDataPoint]| {
        points.iter().all(|point| match point.value {
            Some(Number::AsDouble(value)) => is_plain(value),
            _ => true,
        })
    };
    match &metric.data {
        None | Some(Data::Summary(_)) => true,
        Some(Data::Gauge(data)) => are_numbers(&data.data_points),
        Some(Data::Sum(data)) => are_numbers(&data.data_points),
        Some(Data::Histogram(data)) => data.data_points.iter().all(|point| {
            let (counts, bounds) = (&point.bucket_counts, &point.explicit_bounds);
            counts.iter().all(is_small)
                && (counts.is_empty() || counts.len() == bounds.len() + 1)
                && bounds.is_sorted_by(|a, b| a < b)
                && are_plain(&[point.sum, point.min, point.max])
        }),
        Some(Data::ExponentialHistogram(data)) => data.data_points.iter().all(|point| {
            let sides = [&point.positive, &point.negative];
            point.scale.unsigned_abs() < 8
                && is_small(&point.zero_count)
                && are_plain(&[point.sum, point.min, point.max])
                && sides.into_iter().flatten().all(|side| {
                    side.offset.unsigned_abs() < 16
                        && side.bucket_counts.len() < 16
                        && side.bucket_counts.iter().all(is_small)
                })
        }),
    }
}

/// Changes a metric, or returns one that is made of it.
fn on_metric(measure: &Measure, metric: &mut Metric) -> Res<Option<Metric>> {
    match measure {
        Measure::ExtractCount(is_monotonic, suffix) => {
            return extract_count(metric, *is_monotonic, suffix.unwrap_or("_count")).map(Some);
        }
        Measure::ExtractSum(is_monotonic, suffix) => {
            return extract_sum(metric, *is_monotonic, suffix.unwrap_or("_sum"));
        }
        Measure::Percentile(share, suffix) => {
            let suffix = suffix.map_or(format!("_p{share}"), str::to_owned);
            return Ok(extract_percentile(metric, *share, &suffix));
        }
        Measure::Aggregate(function, keys) => {
            aggregate(metric, function, |attributes| {
                if let Some(keys) = keys {
                    attributes.retain(|entry| keys.contains(&&*entry.key));
                }
            })?;
        }
        Measure::AggregateValue(function, key, values, new) => {
            aggregate(metric, function, |attributes| {
                for entry in attributes.iter_mut().filter(|entry| entry.key == *key) {
                    let old = Val::of(entry.value.as_ref());
                    if matches!(&old, Val::Text(text) if values.contains(&&**text)) {
                        entry.value = Val::text(new).stored().ok();
                    }
                }
            })?;
        }
        _ => metric.data = metric.data.take().map(|data| converted(measure, data)),
    }
    Ok(None)
}

/// The same points as data of another kind, if the kind is the one that is converted.
fn converted(measure: &Measure, data: Data) -> Data {
    match (measure, data) {
        (Measure::SumToGauge, Data::Sum(sum)) => {
            Data::Gauge(Gauge { data_points: sum.data_points })
        }
        (Measure::GaugeToSum(nature), Data::Gauge(gauge)) => sum(gauge.data_points, *nature),
        (Measure::ToExplicit(distribution, bounds), Data::ExponentialHistogram(data)) => {
            Data::Histogram(to_explicit(data, distribution, bounds))
        }
        (_, other) => other,
    }
}

fn sum(data_points: Vec<NumberDataPoint>, nature: Nature) -> Data {
    Data::Sum(Sum {
        data_points,
        aggregation_temporality: if nature.is_delta { 1 } else { 2 },
        is_monotonic: nature.is_monotonic,
    })
}

/// A number with the attributes and times of a point.
macro_rules! number_of {
    ($point:expr, $value:expr) => {
        NumberDataPoint {
            attributes: $point.attributes.clone(),
            start_time_unix_nano: $point.start_time_unix_nano,
            time_unix_nano: $point.time_unix_nano,
            value: Some($value),
            ..NumberDataPoint::default()
        }
    };
}

fn named(metric: &Metric, suffix: &str, data: Data) -> Metric {
    Metric {
        name: format!("{}{suffix}", metric.name),
        description: metric.description.clone(),
        unit: metric.unit.clone(),
        metadata: Vec::new(),
        data: Some(data),
    }
}

fn extract_count(metric: &Metric, is_monotonic: bool, suffix: &str) -> Res<Metric> {
    let int = |count: u64| Number::AsInt(count.cast_signed());
    let (data_points, aggregation_temporality) = match &metric.data {
        Some(Data::Histogram(data)) => (
            data.data_points.iter().map(|point| number_of!(point, int(point.count))).collect(),
            data.aggregation_temporality,
        ),
        Some(Data::ExponentialHistogram(data)) => (
            data.data_points.iter().map(|point| number_of!(point, int(point.count))).collect(),
            data.aggregation_temporality,
        ),
        Some(Data::Summary(data)) => {
            (data.data_points.iter().map(|point| number_of!(point, int(point.count))).collect(), 2)
        }
        _ => return Err(No::Fails),
    };
    let data = Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic });
    Ok(Metric { unit: "1".to_owned(), ..named(metric, suffix, data) })
}

/// Points without a sum are left out.
fn extract_sum(metric: &Metric, is_monotonic: bool, suffix: &str) -> Res<Option<Metric>> {
    let double = Number::AsDouble;
    let mut data_points = Vec::new();
    let aggregation_temporality = match &metric.data {
        Some(Data::Histogram(data)) => {
            for point in &data.data_points {
                data_points.extend(point.sum.map(|sum| number_of!(point, double(sum))));
            }
            data.aggregation_temporality
        }
        Some(Data::ExponentialHistogram(data)) => {
            for point in &data.data_points {
                data_points.extend(point.sum.map(|sum| number_of!(point, double(sum))));
            }
            data.aggregation_temporality
        }
        Some(Data::Summary(data)) => {
            for point in &data.data_points {
                data_points.push(number_of!(point, double(point.sum)));
            }
            2
        }
        _ => return Err(No::Fails),
    };
    if data_points.is_empty() {
        return Ok(None);
    }
    let data = Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic });
    Ok(Some(named(metric, suffix, data)))
}

/// Points without values are left out.
fn extract_percentile(metric: &Metric, share: f64, suffix: &str) -> Option<Metric> {
    let mut data_points = Vec::new();
    match &metric.data {
        Some(Data::Histogram(data)) => {
            for point in &data.data_points {
                let limits = (point.min, point.max);
                let found = percentile(&point.into(), limits, share / 100.0);
                data_points.extend(found.map(|value| number_of!(point, Number::AsDouble(value))));
            }
        }
        Some(Data::ExponentialHistogram(data)) => {
            for point in &data.data_points {
                let limits = (point.min, point.max);
                let found = percentile(&point.into(), limits, share / 100.0);
                data_points.extend(found.map(|value| number_of!(point, Number::AsDouble(value))));
            }
        }
        _ => {}
    }
    if data_points.is_empty() {
        return None;
    }
    let made = named(metric, suffix, Data::Gauge(Gauge { data_points }));
    Some(Metric { description: format!("{} (p{share})", made.description), ..made })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "the rules are those of conversions"
)]
fn scaled(value: i64, factor: f64) -> i64 {
    (value as f64 * factor) as i64
}

fn scale(metric: &mut Metric, factor: f64) -> Res<()> {
    match &mut metric.data {
        None => {}
        Some(Data::Gauge(Gauge { data_points }) | Data::Sum(Sum { data_points, .. })) => {
            for point in data_points {
                match &mut point.value {
                    Some(Number::AsDouble(value)) => *value *= factor,
                    Some(Number::AsInt(value)) => *value = scaled(*value, factor),
                    None => {}
                }
            }
        }
        Some(Data::Histogram(data)) => {
            for point in &mut data.data_points {
                let limits = [&mut point.sum, &mut point.min, &mut point.max];
                let values = limits.into_iter().flatten().chain(&mut point.explicit_bounds);
                values.for_each(|value| *value *= factor);
                for exemplar in &mut point.exemplars {
                    match &mut exemplar.value {
                        Some(Measured::AsDouble(value)) => *value *= factor,
                        Some(Measured::AsInt(value)) => *value = scaled(*value, factor),
                        None => {}
                    }
                }
            }
        }
        Some(Data::Summary(data)) => {
            for point in &mut data.data_points {
                point.sum *= factor;
                point.quantile_values.iter_mut().for_each(|one| one.value *= factor);
            }
        }
        Some(Data::ExponentialHistogram(_)) => return Err(No::Fails),
    }
    Ok(())
}

/// Adds a metric that was made of a point, or its points to one that was made of another.
fn add(levels: &mut Levels<'_>, new: Metric) {
    let shape = |metric: &Metric| {
        let mut shape = metric.clone();
        match &mut shape.data {
            Some(Data::Gauge(data)) => data.data_points.clear(),
            Some(Data::Sum(data)) => data.data_points.clear(),
            _ => {}
        }
        shape
    };
    let recent = levels.appended.iter_mut().rev().take(RECENT);
    let mut same = recent.filter(|known| shape(known) == shape(&new));
    match (same.next().map(|known| &mut known.data), new.data.clone()) {
        (Some(Some(Data::Gauge(known))), Some(Data::Gauge(new))) => {
            known.data_points.extend(new.data_points);
        }
        (Some(Some(Data::Sum(known))), Some(Data::Sum(new))) => {
            known.data_points.extend(new.data_points);
        }
        _ => levels.appended.push(new),
    }
}

fn from_summary(
    levels: &mut Levels<'_>,
    nature: Nature,
    suffix: &str,
    value: impl Fn(&SummaryDataPoint) -> Number,
) {
    let (ItemOf::Metric(metric), Child::Summary(point)) = (&levels.item, &levels.child) else {
        return;
    };
    let data = sum(vec![number_of!(point, value(point))], nature);
    let new = named(metric, suffix, data);
    add(levels, new);
}

fn quantiles(levels: &mut Levels<'_>, key: &str, suffix: &str) -> Res<()> {
    let (ItemOf::Metric(metric), Child::Summary(point)) = (&levels.item, &levels.child) else {
        return Ok(());
    };
    let mut data_points = Vec::new();
    for quantile in &point.quantile_values {
        // Those of hostile requests are written in different ways.
        if quantile.quantile != 0.0 && !(1e-6..1e6).contains(&quantile.quantile) {
            return Err(No::Unsure);
        }
        let mut made = number_of!(point, Number::AsDouble(quantile.value));
        let value: Option<AnyValue> = Some(Val::Text(quantile.quantile.to_string()).stored()?);
        put(&mut made.attributes, key, value);
        data_points.push(made);
    }
    if data_points.is_empty() {
        return Ok(());
    }
    let new = named(metric, suffix, Data::Gauge(Gauge { data_points }));
    add(levels, new);
    Ok(())
}
