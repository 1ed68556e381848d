//! Distributions of durations: histograms with explicit bounds, and exponential ones, which choose
//! their scale by what they have seen.

use std::{sync::Arc, time::Duration};

use super::metrics::{Times, put_double, put_fixed64, put_message};
use crate::otlp::wire::{WireType, put_header, put_varint, tag};

/// Nanoseconds of a unit, and its name in UCUM.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Unit {
    pub(super) nanos: f64,
    pub(super) name: &'static str,
}

impl Unit {
    pub(super) const MILLISECONDS: Unit = Unit { nanos: 1e6, name: "ms" };
    pub(super) const SECONDS: Unit = Unit { nanos: 1e9, name: "s" };

    /// A duration in this unit.
    #[expect(clippy::cast_precision_loss, reason = "durations are doubles in metrics")]
    pub(super) fn of(self, nanos: u64) -> f64 {
        nanos as f64 / self.nanos
    }
}

/// What the histograms of a metric are like.
#[derive(Debug, Clone)]
pub(super) enum Shape {
    /// With these upper bounds, in nanoseconds and in the unit.
    Explicit { nanos: Arc<[u64]>, bounds: Arc<[f64]> },
    /// With at most so many buckets.
    Exponential { max_size: usize },
}

impl Shape {
    /// Explicit bounds; they are ascending.
    pub(super) fn explicit(bounds: &[Duration], unit: Unit) -> Self {
        let nanos = |bound: &Duration| u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        let nanos: Arc<[u64]> = bounds.iter().map(nanos).collect();
        let bounds = nanos.iter().map(|bound| unit.of(*bound)).collect();
        Shape::Explicit { nanos, bounds }
    }

    /// Bytes that one histogram takes, at most.
    pub(super) fn size(&self) -> usize {
        size_of::<Histogram>()
            + match self {
                Shape::Explicit { nanos, .. } => 8 * (nanos.len() + 1),
                Shape::Exponential { max_size } => 8 * max_size + size_of::<Exponential>(),
            }
    }

    /// Bytes that one point takes on the wire beside its attributes and exemplars, at most.
    pub(super) fn encoded_size(&self) -> usize {
        64 + match self {
            Shape::Explicit { nanos, .. } => 16 * (nanos.len() + 1),
            Shape::Exponential { max_size } => 10 * max_size + 64,
        }
    }

    /// The field of a metric that holds such histograms.
    pub(super) fn field(&self) -> u32 {
        match self {
            Shape::Explicit { .. } => 9,
            Shape::Exponential { .. } => 10,
        }
    }
}

/// Upper bounds without a setting: those of the Collector.
pub(super) fn default_bounds() -> Vec<Duration> {
    const MILLISECONDS: [u64; 16] =
        [2, 4, 6, 8, 10, 50, 100, 200, 400, 800, 1000, 1400, 2000, 5000, 10_000, 15_000];
    MILLISECONDS.map(Duration::from_millis).to_vec()
}

/// What has been seen of one series.
#[derive(Debug, Clone)]
pub(super) enum Histogram {
    Explicit { sum: f64, buckets: Box<[u64]> },
    Exponential(Box<Exponential>),
}

impl Histogram {
    pub(super) fn new(shape: &Shape) -> Self {
        match shape {
            Shape::Explicit { nanos, .. } => {
                Histogram::Explicit { sum: 0.0, buckets: vec![0; nanos.len() + 1].into() }
            }
            Shape::Exponential { max_size } => {
                Histogram::Exponential(Box::new(Exponential::new(*max_size)))
            }
        }
    }

    /// Adds a duration `weight` times. A value belongs to the first bucket whose bound it does not
    /// exceed.
    #[inline]
    #[expect(clippy::cast_precision_loss, reason = "a sum of doubles")]
    pub(super) fn add(&mut self, shape: &Shape, unit: Unit, nanos: u64, weight: u64) {
        match (self, shape) {
            (Histogram::Explicit { sum, buckets }, Shape::Explicit { nanos: bounds, .. }) => {
                // Counting is faster than a search: there are few bounds, and no branches.
                let at = bounds.iter().map(|bound| usize::from(nanos > *bound)).sum::<usize>();
                if let Some(bucket) = buckets.get_mut(at) {
                    *bucket += weight;
                }
                *sum += unit.of(nanos) * weight as f64;
            }
            (Histogram::Exponential(histogram), _) => histogram.add(unit.of(nanos), weight),
            _ => {}
        }
    }

    /// Appends the fields of a point: all but its attributes and exemplars.
    pub(super) fn put(&self, out: &mut Vec<u8>, shape: &Shape, times: Times) {
        times.put(out);
        match (self, shape) {
            (Histogram::Explicit { sum, buckets }, Shape::Explicit { bounds, .. }) => {
                put_fixed64(out, 4, buckets.iter().sum());
                put_double(out, 5, *sum);
                put_header(out, 6, 8 * buckets.len());
                buckets.iter().for_each(|count| out.extend(count.to_le_bytes()));
                if !bounds.is_empty() {
                    put_header(out, 7, 8 * bounds.len());
                    bounds.iter().for_each(|bound| out.extend(bound.to_le_bytes()));
                }
            }
            (Histogram::Exponential(histogram), _) => histogram.put(out),
            _ => {}
        }
    }
}

/// Finest scale: 2^20 buckets for each power of two, as in the SDKs.
const FINEST: i32 = 20;

/// Coarsest scale: at it, all doubles fit into two buckets.
const COARSEST: i32 = -10;

/// An exponential histogram of values that are not negative.
///
/// At a scale `s` the bucket `i` holds values above `2^(i / 2^s)` up to `2^((i + 1) / 2^s)`. It
/// begins at the finest scale and is halved in resolution whenever its buckets would be too many.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Exponential {
    max_size: usize,
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
    zeros: u64,
    scale: i32,
    /// Index of the first bucket.
    offset: i32,
    buckets: Vec<u64>,
}

impl Exponential {
    fn new(max_size: usize) -> Self {
        Exponential {
            max_size,
            count: 0,
            sum: 0.0,
            min: f64::INFINITY,
            max: 0.0,
            zeros: 0,
            scale: FINEST,
            offset: 0,
            buckets: Vec::new(),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a sum of doubles")]
    fn add(&mut self, value: f64, weight: u64) {
        self.count += weight;
        self.sum += value * weight as f64;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        if value <= 0.0 {
            self.zeros += weight;
            return;
        }
        let mut index = index(value, self.scale);
        if self.buckets.is_empty() {
            self.offset = index;
        }
        let last = self.offset + length(&self.buckets).max(1) - 1;
        let (mut low, mut high) = (self.offset.min(index), last.max(index));
        let mut change = 0;
        while (high - low).unsigned_abs() as usize >= self.max_size
            && self.scale - change > COARSEST
        {
            (low, high, change) = (low >> 1, high >> 1, change + 1);
        }
        if change > 0 {
            self.coarsen(change);
            index >>= change;
        }
        self.bucket(index, weight);
    }

    /// Adds to a bucket and makes room for it.
    fn bucket(&mut self, index: i32, weight: u64) {
        if self.buckets.is_empty() {
            self.offset = index;
        }
        if index < self.offset {
            let more = (self.offset - index).unsigned_abs() as usize;
            self.buckets.splice(0..0, std::iter::repeat_n(0, more));
            self.offset = index;
        }
        let at = (index - self.offset).unsigned_abs() as usize;
        if at >= self.buckets.len() {
            self.buckets.reserve_exact(at + 1 - self.buckets.len());
            self.buckets.resize(at + 1, 0);
        }
        self.buckets[at] += weight;
    }

    /// Joins each `2^change` buckets into one.
    fn coarsen(&mut self, change: i32) {
        self.scale -= change;
        let before = std::mem::take(&mut self.buckets);
        let first = self.offset;
        self.offset = first >> change;
        for (at, count) in (first..).zip(before) {
            if count > 0 {
                self.bucket(at >> change, count);
            }
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        put_fixed64(out, 4, self.count);
        put_double(out, 5, self.sum);
        put_varint(out, tag(6, WireType::Varint));
        put_varint(out, zigzag(self.scale));
        put_fixed64(out, 7, self.zeros);
        if !self.buckets.is_empty() {
            put_message(out, 8, |out| {
                put_varint(out, tag(1, WireType::Varint));
                put_varint(out, zigzag(self.offset));
                put_message(out, 2, |out| {
                    self.buckets.iter().for_each(|count| put_varint(out, *count));
                });
            });
        }
        if self.count > 0 {
            put_double(out, 12, self.min);
            put_double(out, 13, self.max);
        }
    }
}

fn length(buckets: &[u64]) -> i32 {
    i32::try_from(buckets.len()).unwrap_or(i32::MAX)
}

fn zigzag(value: i32) -> u64 {
    u64::from(((value << 1) ^ (value >> 31)).cast_unsigned())
}

/// The bucket of a positive value. Powers of two are upper bounds, and exact; between them the
/// logarithm decides.
#[expect(clippy::cast_possible_truncation, reason = "within the indices of the exponent")]
fn index(value: f64, scale: i32) -> i32 {
    const MANTISSA: u64 = (1 << 52) - 1;
    // Below the smallest normal number everything is in one bucket.
    let bits = value.max(f64::MIN_POSITIVE).to_bits();
    let exponent = ((bits >> 52) & 0x7FF) as i32 - 1023;
    let is_power = bits & MANTISSA == 0;
    if scale <= 0 {
        return (exponent - i32::from(is_power)) >> -scale;
    }
    if is_power {
        return (exponent << scale) - 1;
    }
    let at = (value.log2() * f64::from(1 << scale)).floor() as i32;
    at.clamp(exponent << scale, ((exponent + 1) << scale) - 1)
}

#[cfg(test)]
mod tests;
