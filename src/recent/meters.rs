//! Metrics: for each series a ring of its last points, in a part of the budget of its own.
//!
//! A series is a metric, a resource and attributes; it is found by a hash of 64 bits with a secret
//! key, which nobody can make collide on purpose. A point is a time and some numbers, as many as
//! the kind of metric has: one of a gauge or sum; count, sum and buckets of a histogram; count, sum
//! and quantiles of a summary or an exponential histogram, which is not kept bucket by bucket.
//!
//! When there is no room, the sixteenth of the series that was quiet the longest goes. What still
//! finds none is counted at its metric, so that a metric with too many series is seen.

use std::{hash::BuildHasher as _, sync::Arc};

use serde_json::{Map, Value as Json};

use super::{
    account::{Account, Charge},
    cell::pair,
    masks::is_secret,
};
use crate::otlp::view::{
    Buckets, Data, ExponentialHistogramPoint, HistogramPoint, KeyValue, Message, Metric, Number,
    Temporality, Text,
};

/// Most series, metrics and resources, if there is room for their lists.
const SERIES: usize = 20_000;
const METERS: usize = 2_000;
const SOURCES: usize = 1_000;
/// Most points of a series, and how many it has room for at first.
const POINTS: usize = 256;
const FIRST: usize = 8;
/// Most numbers of a point: buckets of a histogram beyond it are not kept.
const WIDTH: usize = 202;
/// Longest attributes of a series, as JSON, and longest text of a metric.
const ATTRIBUTES: usize = 4 << 10;
const TEXT: usize = 1 << 10;
/// Quantiles of an exponential histogram.
const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MeterKind {
    /// Values of a moment.
    Gauge,
    /// Values that add up.
    Sum,
    /// Distributions with explicit bounds.
    Histogram,
    /// Distributions with exponential bounds, of which quantiles are kept.
    ExponentialHistogram,
    /// Quantiles made by the sender.
    Summary,
}

/// One metric.
#[derive(Debug, PartialEq)]
pub(super) struct Meter {
    pub(super) name: Box<str>,
    pub(super) unit: Box<str>,
    pub(super) description: Box<str>,
    pub(super) kind: MeterKind,
    pub(super) is_cumulative: bool,
    pub(super) is_monotonic: bool,
    /// Upper bounds of buckets, or the quantiles.
    pub(super) bounds: Box<[f64]>,
    /// Points that came, and those for which there was no room.
    pub(super) points: u64,
    pub(super) overflow: u64,
}

/// One resource with metrics.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) header: Box<[u8]>,
    pub(super) service: Box<str>,
    holders: u32,
}

/// The last points of a series.
#[derive(Debug)]
pub(super) struct Series {
    hash: u64,
    pub(super) meter: u32,
    pub(super) source: u32,
    /// JSON, keys sorted.
    pub(super) attributes: Box<str>,
    /// When its last point came.
    pub(super) last: u64,
    /// Where the next point goes; the oldest one if the ring is full.
    next: usize,
    times: Vec<u64>,
    values: Vec<f64>,
    width: usize,
    charge: Charge,
}

impl Series {
    /// Its points, the oldest first: time and numbers.
    pub(super) fn points(&self) -> impl Iterator<Item = (u64, &[f64])> {
        let (newer, older) = (0..self.next, self.next..self.times.len());
        older
            .chain(newer)
            .map(|at| (self.times[at], &self.values[at * self.width..(at + 1) * self.width]))
    }
}

/// All metrics.
#[derive(Debug)]
pub(super) struct Meters {
    account: Arc<Account>,
    most: Most,
    pub(super) kinds: Vec<Meter>,
    pub(super) sources: Vec<Source>,
    pub(super) series: Vec<Series>,
    /// Hashes of the series in order, with their places.
    index: Vec<(u64, u32)>,
    /// Points for whose metric or resource there was no room, at least.
    pub(super) lost: u64,
    hasher: foldhash::quality::RandomState,
    texts: Charge,
}

/// How many there may be in so many bytes.
#[derive(Debug, Clone, Copy)]
struct Most {
    series: usize,
    meters: usize,
    sources: usize,
}

impl Most {
    fn of(bytes: usize) -> Self {
        Most {
            series: SERIES.min(bytes / 3 / (size_of::<Series>() + size_of::<(u64, u32)>())),
            meters: METERS.min(bytes / 12 / size_of::<Meter>()),
            sources: SOURCES.min(bytes / 12 / size_of::<Source>()),
        }
    }
}

/// Where the points of a metric go.
#[derive(Clone, Copy)]
struct Target {
    meter: u32,
    source: u32,
    now: u64,
}

impl Meters {
    /// Bytes of the lists: at most half of all.
    fn fixed(bytes: usize) -> usize {
        let most = Most::of(bytes);
        most.meters * size_of::<Meter>()
            + most.sources * size_of::<Source>()
            + most.series * (size_of::<Series>() + size_of::<(u64, u32)>())
    }

    /// In so many bytes, which the caller has set aside; none if that is too few.
    pub(super) fn new(bytes: usize) -> Option<Self> {
        let account = Account::new(bytes);
        let texts = account.charge(Meters::fixed(bytes))?;
        let most = Most::of(bytes);
        Some(Meters {
            most,
            kinds: Vec::with_capacity(most.meters),
            sources: Vec::with_capacity(most.sources),
            series: Vec::with_capacity(most.series),
            index: Vec::with_capacity(most.series),
            lost: 0,
            hasher: foldhash::quality::RandomState::default(),
            texts,
            account,
        })
    }

    /// Takes in a metric from a resource, given by the fields around its scope entries.
    pub(super) fn take(&mut self, metric: &[u8], header: &[u8], service: &[u8], now: u64) {
        let metric = Metric::from(Message::new(metric));
        let Some(data) = metric.data else { return };
        let Some(source) = self.source(header, service) else {
            self.lost += points(data) as u64;
            return;
        };
        match data {
            Data::Gauge(list) => {
                let Some(meter) = self.meter(&metric, MeterKind::Gauge, None, &[]) else { return };
                for point in list.iter() {
                    let values = [number(point.value)];
                    let target = Target { meter, source, now };
                    self.point(target, point.time_unix_nano, point.attributes(), &values);
                }
            }
            Data::Sum { points, temporality, is_monotonic } => {
                let how = Some((temporality, is_monotonic));
                let Some(meter) = self.meter(&metric, MeterKind::Sum, how, &[]) else { return };
                for point in points.iter() {
                    let values = [number(point.value)];
                    let target = Target { meter, source, now };
                    self.point(target, point.time_unix_nano, point.attributes(), &values);
                }
            }
            Data::Histogram { points, temporality } => {
                for point in points.iter() {
                    self.histogram(&metric, temporality, &point, (source, now));
                }
            }
            Data::ExponentialHistogram { points, temporality } => {
                let (kind, how) = (MeterKind::ExponentialHistogram, Some((temporality, false)));
                let Some(meter) = self.meter(&metric, kind, how, &QUANTILES) else { return };
                for point in points.iter() {
                    let target = Target { meter, source, now };
                    let values = of_exponential(&point);
                    self.point(target, point.time_unix_nano, point.attributes(), &values);
                }
            }
            Data::Summary(list) => {
                for point in list.iter() {
                    let quantiles = point.quantile_values().take(WIDTH - 2);
                    let (bounds, values): (Vec<f64>, Vec<f64>) =
                        quantiles.map(|one| (one.quantile, one.value)).unzip();
                    let meter = self.meter(&metric, MeterKind::Summary, None, &bounds);
                    let Some(meter) = meter else { return };
                    #[expect(clippy::cast_precision_loss, reason = "counts are shown")]
                    let all: Vec<f64> =
                        [point.count as f64, point.sum].into_iter().chain(values).collect();
                    let target = Target { meter, source, now };
                    self.point(target, point.time_unix_nano, point.attributes(), &all);
                }
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts are shown")]
    fn histogram(
        &mut self,
        metric: &Metric<'_>,
        temporality: Temporality,
        point: &HistogramPoint<'_>,
        (source, now): (u32, u64),
    ) {
        let bounds: Vec<f64> = point.explicit_bounds().take(WIDTH - 3).collect();
        let how = Some((temporality, false));
        let Some(meter) = self.meter(metric, MeterKind::Histogram, how, &bounds) else { return };
        let mut values = vec![0.0; bounds.len() + 3];
        values[0] = point.count as f64;
        values[1] = point.sum.unwrap_or(0.0);
        for (at, count) in point.bucket_counts().enumerate() {
            // Buckets beyond the last that is kept are added to it.
            let at = (at + 2).min(values.len() - 1);
            values[at] += count as f64;
        }
        let target = Target { meter, source, now };
        self.point(target, point.time_unix_nano, point.attributes(), &values);
    }

    /// The number of a metric; none if there are too many, or no room for its texts.
    fn meter(
        &mut self,
        metric: &Metric<'_>,
        kind: MeterKind,
        how: Option<(Temporality, bool)>,
        bounds: &[f64],
    ) -> Option<u32> {
        let (temporality, is_monotonic) = how.unwrap_or_default();
        let is_cumulative = temporality.0 == 2;
        let name = short(metric.name);
        let is_same = |known: &Meter| {
            *known.name == *name
                && known.kind == kind
                && known.is_cumulative == is_cumulative
                && known.is_monotonic == is_monotonic
                && known
                    .bounds
                    .iter()
                    .map(|bound| bound.to_bits())
                    .eq(bounds.iter().map(|bound| bound.to_bits()))
        };
        if let Some(at) = self.kinds.iter().position(is_same) {
            return u32::try_from(at).ok();
        }
        let (unit, description) = (short(metric.unit), short(metric.description));
        let size = name.len() + unit.len() + description.len() + size_of_val(bounds);
        if self.kinds.len() == self.most.meters || !self.texts.grow(size) {
            self.lost += 1;
            return None;
        }
        self.kinds.push(Meter {
            name: name.into(),
            unit: unit.into(),
            description: description.into(),
            kind,
            is_cumulative,
            is_monotonic,
            bounds: bounds.into(),
            points: 0,
            overflow: 0,
        });
        u32::try_from(self.kinds.len() - 1).ok()
    }

    /// The number of a resource; none if there are too many, or no room for it.
    fn source(&mut self, header: &[u8], service: &[u8]) -> Option<u32> {
        if let Some(at) = self.sources.iter().position(|known| *known.header == *header) {
            return u32::try_from(at).ok();
        }
        let service = short(Text(service));
        let is_free = |known: &Source| known.holders == 0;
        let at = if self.sources.len() < self.most.sources {
            self.sources.len()
        } else {
            self.sources.iter().position(is_free)?
        };
        if !self.texts.grow(header.len() + service.len()) {
            return None;
        }
        let source = Source { header: header.into(), service: service.into(), holders: 0 };
        if at == self.sources.len() {
            self.sources.push(source);
        } else {
            let old = &self.sources[at];
            self.texts.shrink(old.header.len() + old.service.len());
            self.sources[at] = source;
        }
        u32::try_from(at).ok()
    }

    fn point<'a>(
        &mut self,
        target: Target,
        time: u64,
        attributes: impl Iterator<Item = KeyValue<'a>>,
        values: &[f64],
    ) {
        let kept = attributes.map(pair).map(|(key, value)| {
            let is_hidden = is_secret(key.as_bytes()) && !value.is_number();
            (key, if is_hidden { "***".into() } else { value })
        });
        let attributes = Json::Object(kept.collect::<Map<_, _>>()).to_string();
        let time = if time == 0 { target.now } else { time };
        let hash = self.hasher.hash_one((target.meter, target.source, &*attributes));
        self.kinds[target.meter as usize].points += 1;
        let found = self.index.binary_search_by_key(&hash, |(known, _)| *known);
        let place = match found {
            Ok(at) => Some(self.index[at].1),
            Err(_) => self.add(hash, target, &attributes, values.len()),
        };
        let pushed = place.is_some_and(|place| self.push(place, time, target.now, values));
        if !pushed {
            self.kinds[target.meter as usize].overflow += 1;
        }
    }

    /// A new series, if there is room for it.
    fn add(&mut self, hash: u64, target: Target, attributes: &str, width: usize) -> Option<u32> {
        let size = attributes.len() + FIRST * (8 + 8 * width);
        if attributes.len() > ATTRIBUTES {
            return None;
        }
        let mut charge = self.account.charge(size);
        if charge.is_none() || self.series.len() == self.most.series {
            charge = None;
            self.evict(target.now);
            if self.series.len() < self.most.series {
                charge = self.account.charge(size);
            }
        }
        let charge = charge?;
        let place = u32::try_from(self.series.len()).ok()?;
        self.series.push(Series {
            hash,
            meter: target.meter,
            source: target.source,
            attributes: attributes.into(),
            last: target.now,
            next: 0,
            times: Vec::with_capacity(FIRST),
            values: Vec::with_capacity(FIRST * width),
            width,
            charge,
        });
        self.sources[target.source as usize].holders += 1;
        let at = self.index.partition_point(|(known, _)| *known < hash);
        self.index.insert(at, (hash, place));
        Some(place)
    }

    /// Adds a point; a full ring grows if there is room, else its oldest point goes.
    fn push(&mut self, place: u32, time: u64, now: u64, values: &[f64]) -> bool {
        let series = &mut self.series[place as usize];
        if values.len() != series.width {
            return false;
        }
        series.last = now;
        if series.times.len() == series.times.capacity() && series.times.len() < POINTS {
            let more = series.times.capacity();
            // The old memory is there until the new one is filled.
            let size = more * (8 + 8 * series.width);
            let both = self.account.charge(size);
            if both.is_some() && series.charge.grow(size) {
                series.times.reserve_exact(more);
                series.values.reserve_exact(more * series.width);
                // What was overwritten before is in order again.
                series.times.rotate_left(series.next);
                series.values.rotate_left(series.next * series.width);
                series.next = 0;
            }
        }
        if series.times.len() < series.times.capacity() {
            series.times.push(time);
            series.values.extend_from_slice(values);
            return true;
        }
        series.times[series.next] = time;
        let start = series.next * series.width;
        series.values[start..start + series.width].copy_from_slice(values);
        series.next = (series.next + 1) % series.times.len();
        true
    }

    /// Drops the sixteenth of the series that was quiet the longest; none that had a point within
    /// the last minute, since then another one would come back right away.
    fn evict(&mut self, now: u64) {
        let mut ages: Vec<u64> = self.series.iter().map(|series| series.last).collect();
        if ages.is_empty() {
            return;
        }
        let at = ages.len() / 16;
        let (_, border, _) = ages.select_nth_unstable(at);
        self.drop_before((*border).saturating_add(1).min(now.saturating_sub(60_000_000_000)));
    }

    /// Drops series whose last point came before a time.
    pub(super) fn drop_before(&mut self, time: u64) {
        if self.series.iter().all(|series| series.last >= time) {
            return;
        }
        for series in self.series.iter().filter(|series| series.last < time) {
            self.sources[series.source as usize].holders -= 1;
        }
        self.series.retain(|series| series.last >= time);
        self.index.clear();
        let places = self.series.iter().enumerate();
        self.index
            .extend(places.filter_map(|(at, series)| Some((series.hash, u32::try_from(at).ok()?))));
        self.index.sort_unstable();
    }

    /// Bytes in use, of those that were set aside.
    pub(super) fn used(&self) -> usize {
        self.account.used()
    }

    /// Bytes that are allocated, by looking.
    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        let meters = self.kinds.iter().map(|one| {
            one.name.len() + one.unit.len() + one.description.len() + size_of_val(&*one.bounds)
        });
        let sources = self.sources.iter().map(|one| one.header.len() + one.service.len());
        let series = self
            .series
            .iter()
            .map(|one| one.attributes.len() + 8 * (one.times.capacity() + one.values.capacity()));
        Meters::fixed(self.account.limit())
            + meters.sum::<usize>()
            + sources.sum::<usize>()
            + series.sum::<usize>()
    }
}

fn points(data: Data<'_>) -> usize {
    match data {
        Data::Gauge(points) | Data::Sum { points, .. } => points.iter().count(),
        Data::Histogram { points, .. } => points.iter().count(),
        Data::ExponentialHistogram { points, .. } => points.iter().count(),
        Data::Summary(points) => points.iter().count(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "values are shown")]
fn number(value: Option<Number>) -> f64 {
    match value {
        Some(Number::Double(value)) => value,
        Some(Number::Int(value)) => value as f64,
        None => f64::NAN,
    }
}

fn short(text: Text<'_>) -> String {
    let text = text.to_str();
    text[..text.floor_char_boundary(TEXT)].to_owned()
}

/// Count, sum, and the quantiles that its buckets say.
#[expect(clippy::cast_precision_loss, reason = "counts are shown")]
fn of_exponential(point: &ExponentialHistogramPoint<'_>) -> Vec<f64> {
    // From the lowest value to the highest: negative buckets in reverse, zero, positive ones.
    let mut buckets: Vec<(f64, f64)> = Vec::new();
    let base = 2_f64.powf(2_f64.powi(-point.scale.clamp(-20, 40)));
    let listed = |buckets: Option<Buckets<'_>>, sign: f64| {
        let offset = buckets.map_or(0, |buckets| buckets.offset);
        let counts: Vec<u64> =
            buckets.map(|buckets| buckets.bucket_counts().take(4096).collect()).unwrap_or_default();
        let value = move |at: usize| sign * base.powf(f64::from(offset) + at as f64 + 0.5);
        counts.into_iter().enumerate().map(move |(at, count)| (value(at), count as f64))
    };
    buckets.extend(listed(point.negative, -1.0));
    buckets.reverse();
    buckets.push((0.0, point.zero_count as f64));
    buckets.extend(listed(point.positive, 1.0));
    let total: f64 = buckets.iter().map(|(_, count)| count).sum();
    let quantile = |part: f64| {
        let mut below = 0.0;
        for (value, count) in &buckets {
            below += count;
            if below >= part * total {
                return *value;
            }
        }
        f64::NAN
    };
    let sum = point.sum.unwrap_or(f64::NAN);
    [point.count as f64, sum].into_iter().chain(QUANTILES.map(quantile)).collect()
}
