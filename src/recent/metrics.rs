//! The list of metrics, and the series of one: values as they came, rates of what only grows, and
//! quantiles of histograms over time.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value as Json};

use super::{
    meters::{Meter, MeterKind, Meters, Series},
    whole::Recent,
};
use crate::sync;

/// Most series that are shown at once.
const SHOWN: usize = 200;
/// Most values of an attribute that are counted.
const VALUES: usize = 1_000;
/// Quantiles of a histogram.
const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

/// A metric in the list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetricSummary {
    /// Its number, for [`Recent::series`].
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// What it says.
    pub description: String,
    /// What it is.
    pub kind: MeterKind,
    /// Whether values count from the start of the sender, not from the point before.
    pub is_cumulative: bool,
    /// Whether it only grows.
    pub is_monotonic: bool,
    /// Series that are held.
    pub series: usize,
    /// Points that have come.
    pub points: u64,
    /// Points for which there was no room.
    pub overflow: u64,
    /// Services that send it.
    pub services: BTreeSet<String>,
    /// How many different values each attribute has, which is what makes the series.
    pub attributes: BTreeMap<String, usize>,
}

/// All metrics.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct MetricList {
    /// By name.
    pub metrics: Vec<MetricSummary>,
    /// Points of metrics and resources for which there was no room, at least.
    pub lost: u64,
    /// Bytes that metrics take.
    pub used: usize,
}

/// One series.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetricSeries {
    /// The service that sends it.
    pub service: String,
    /// Its attributes.
    pub attributes: Map<String, Json>,
    /// Times of its points, milliseconds since 1970.
    pub time_ms: Vec<u64>,
    /// Values of a gauge or sum; counts of others. None where there is no number.
    pub value: Vec<Option<f64>>,
    /// What it grew by per second since the point before; of what only grows, and of counts.
    pub rate: Vec<Option<f64>>,
    /// Points after which it began again from zero.
    pub resets: Vec<usize>,
    /// For each quantile its value over time; of distributions. Of a cumulative exponential
    /// histogram it is that since the start of the sender.
    pub quantiles: Vec<(f64, Vec<Option<f64>>)>,
}

impl Recent {
    /// The metrics that are held.
    pub fn metrics(&self) -> MetricList {
        let store = sync::lock(&self.store);
        let Some(meters) = &store.meters else { return MetricList::default() };
        let mut metrics: Vec<MetricSummary> = meters
            .kinds
            .iter()
            .enumerate()
            .map(|(at, meter)| summary(u32::try_from(at).unwrap_or(u32::MAX), meter))
            .collect();
        let mut values: Vec<BTreeMap<String, BTreeSet<String>>> =
            vec![BTreeMap::new(); metrics.len()];
        for series in &meters.series {
            let metric = &mut metrics[series.meter as usize];
            metric.series += 1;
            metric.services.insert(meters.sources[series.source as usize].service.to_string());
            let parsed: Map<String, Json> =
                serde_json::from_str(&series.attributes).unwrap_or_default();
            for (key, value) in parsed {
                let known = values[series.meter as usize].entry(key).or_default();
                if known.len() < VALUES {
                    known.insert(value.to_string());
                }
            }
        }
        for (metric, values) in metrics.iter_mut().zip(values) {
            metric.attributes = values.into_iter().map(|(key, all)| (key, all.len())).collect();
        }
        metrics.sort_by(|a, b| a.name.cmp(&b.name));
        MetricList { metrics, lost: meters.lost, used: meters.used() }
    }

    /// The series of a metric that have all of these attributes, 200 at most, and how many there
    /// are. `now`: nanoseconds since 1970.
    pub fn series(
        &self,
        metric: u32,
        attributes: &[(String, Json)],
        now: u64,
    ) -> (Vec<MetricSeries>, usize) {
        let store = sync::lock(&self.store);
        let Some(meters) = &store.meters else { return (Vec::new(), 0) };
        let Some(meter) = meters.kinds.get(metric as usize) else { return (Vec::new(), 0) };
        let age = u64::try_from(self.settings.age.as_nanos()).unwrap_or(u64::MAX);
        let (mut shown, mut count) = (Vec::new(), 0);
        for series in meters.series.iter().filter(|series| series.meter == metric) {
            let known: Map<String, Json> =
                serde_json::from_str(&series.attributes).unwrap_or_default();
            if attributes.iter().any(|(key, value)| known.get(key) != Some(value)) {
                continue;
            }
            count += 1;
            if shown.len() < SHOWN {
                let since = now.saturating_sub(age);
                shown.push(of_series(meters, meter, series, known, since));
            }
        }
        (shown, count)
    }
}

fn summary(id: u32, meter: &Meter) -> MetricSummary {
    MetricSummary {
        id,
        name: meter.name.to_string(),
        unit: meter.unit.to_string(),
        description: meter.description.to_string(),
        kind: meter.kind,
        is_cumulative: meter.is_cumulative,
        is_monotonic: meter.is_monotonic,
        series: 0,
        points: meter.points,
        overflow: meter.overflow,
        services: BTreeSet::new(),
        attributes: BTreeMap::new(),
    }
}

fn of_series(
    meters: &Meters,
    meter: &Meter,
    series: &Series,
    attributes: Map<String, Json>,
    since: u64,
) -> MetricSeries {
    let mut points: Vec<(u64, &[f64])> =
        series.points().filter(|(time, _)| *time >= since).collect();
    // Senders may be late.
    points.sort_by_key(|(time, _)| *time);
    let grows =
        meter.is_monotonic || meter.kind != MeterKind::Gauge && meter.kind != MeterKind::Sum;
    let (mut rate, mut resets) = (Vec::new(), Vec::new());
    let quantiles: &[f64] = match meter.kind {
        MeterKind::Gauge | MeterKind::Sum => &[],
        MeterKind::Histogram => &QUANTILES,
        MeterKind::ExponentialHistogram | MeterKind::Summary => &meter.bounds,
    };
    let mut lines: Vec<(f64, Vec<Option<f64>>)> =
        quantiles.iter().map(|part| (*part, Vec::new())).collect();
    for (at, (time, values)) in points.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| points[before]);
        let is_reset =
            meter.is_cumulative && before.is_some_and(|(_, before)| values[0] < before[0]);
        if is_reset {
            resets.push(at);
        }
        let base = before.filter(|_| meter.is_cumulative && !is_reset);
        rate.push(grows.then(|| rate_of((*time, values), before, base)).flatten());
        for (place, (part, line)) in lines.iter_mut().enumerate() {
            let value = match meter.kind {
                MeterKind::Histogram => {
                    let counts: Vec<f64> = match base {
                        Some((_, base)) => {
                            values[2..].iter().zip(&base[2..]).map(|(now, was)| now - was).collect()
                        }
                        None => values[2..].to_vec(),
                    };
                    of_buckets(&meter.bounds, &counts, *part)
                }
                _ => values.get(place + 2).copied(),
            };
            line.push(value.filter(|value| value.is_finite()));
        }
    }
    let finite = |value: f64| Some(value).filter(|value| value.is_finite());
    MetricSeries {
        service: meters.sources[series.source as usize].service.to_string(),
        attributes,
        time_ms: points.iter().map(|(time, _)| time / 1_000_000).collect(),
        value: points.iter().map(|(_, values)| finite(values[0])).collect(),
        rate,
        resets,
        quantiles: lines,
    }
}

/// What came since the point before, per second. A value that is not cumulative is itself what
/// came.
#[expect(clippy::cast_precision_loss, reason = "a rate needs no exactness")]
fn rate_of(
    (time, values): (u64, &[f64]),
    before: Option<(u64, &[f64])>,
    base: Option<(u64, &[f64])>,
) -> Option<f64> {
    let (earlier, _) = before?;
    let seconds = time.saturating_sub(earlier) as f64 / 1e9;
    let grown = values[0] - base.map_or(0.0, |(_, base)| base[0]);
    Some(grown / seconds).filter(|rate| rate.is_finite())
}

/// A quantile within its bucket by a straight line; of the last bucket its lower bound.
fn of_buckets(bounds: &[f64], counts: &[f64], part: f64) -> Option<f64> {
    let total: f64 = counts.iter().sum();
    if total <= 0.0 || counts.iter().any(|count| *count < 0.0) {
        return None;
    }
    let mut below = 0.0;
    for (at, count) in counts.iter().enumerate() {
        if *count > 0.0 && below + count >= part * total {
            let upper = *bounds.get(at).or(bounds.last())?;
            let lower = match at.checked_sub(1) {
                Some(before) => bounds.get(before).copied().unwrap_or(upper),
                None => upper.min(0.0),
            };
            return Some(lower + (upper - lower) * (part * total - below) / count);
        }
        below += count;
    }
    None
}
