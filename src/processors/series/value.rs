//! The values of data points: read from bytes, added, subtracted, and written again.

use crate::{
    otlp::wire::{put_bytes, put_varint},
    ottl::message::{
        child, fields, fixed64s, last, last_of, number, put_double, put_fixed64, put_number,
        unzigzag, varints, zigzag,
    },
};

/// Most buckets on each side of an exponential histogram that is added up.
const BUCKETS: i64 = 160;

/// The value of a data point.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::processors) enum PointValue {
    Int(i64),
    Double(f64),
    Explicit(Box<Explicit>),
    Exponential(Box<Exponential>),
}

/// What all histograms have.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(in crate::processors) struct Totals {
    pub(in crate::processors) count: u64,
    pub(in crate::processors) sum: Option<f64>,
    pub(in crate::processors) min: Option<f64>,
    pub(in crate::processors) max: Option<f64>,
}

/// A histogram with explicit bounds.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in crate::processors) struct Explicit {
    pub(in crate::processors) totals: Totals,
    pub(in crate::processors) counts: Vec<u64>,
    /// The bounds, as bits.
    pub(in crate::processors) bounds: Vec<u64>,
}

/// A histogram with exponential bounds.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in crate::processors) struct Exponential {
    pub(in crate::processors) totals: Totals,
    pub(in crate::processors) scale: i64,
    pub(in crate::processors) zero_count: u64,
    pub(in crate::processors) zero_threshold: f64,
    /// Positive and negative.
    pub(in crate::processors) sides: [Buckets; 2],
}

/// Buckets of one side.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in crate::processors) struct Buckets {
    pub(in crate::processors) offset: i64,
    pub(in crate::processors) counts: Vec<u64>,
}

/// Why values cannot be subtracted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::processors) enum Unlike {
    /// The later one is smaller.
    Smaller,
    /// Their buckets differ.
    Buckets,
}

/// A place in a list as an index of buckets.
fn index(place: usize) -> i64 {
    i64::try_from(place).unwrap_or(i64::MAX)
}

/// A signed number of 32 bits, of which more bits do not count.
fn sint32(bits: u64) -> i64 {
    unzigzag(bits & u64::from(u32::MAX))
}

/// The field numbers of the totals: count, sum, min, max.
const fn total_fields(kind: u32) -> [u32; 4] {
    if kind == 9 { [4, 5, 11, 12] } else { [4, 5, 12, 13] }
}

/// Whether a point says that there was no value.
pub(in crate::processors) fn has_no_value(kind: u32, point: &[u8]) -> bool {
    let flags = if matches!(kind, 9 | 10) { 10 } else { 8 };
    number(point, flags) & 1 == 1
}

impl PointValue {
    /// The value of a point of a metric with data in field `kind`; `None` if it has none.
    pub(in crate::processors) fn read(kind: u32, point: &[u8]) -> Option<Self> {
        let double = |field| last(point, field).map(|_| f64::from_bits(number(point, field)));
        let totals = || {
            let [count, sum, min, max] = total_fields(kind);
            let (sum, min, max) = (double(sum), double(min), double(max));
            Totals { count: number(point, count), sum, min, max }
        };
        match kind {
            5 | 7 => {
                let (field, value) = last_of(point, &[4, 6])?;
                let bits = value.number_value();
                Some(match field {
                    4 => PointValue::Double(f64::from_bits(bits)),
                    _ => PointValue::Int(bits.cast_signed()),
                })
            }
            9 => Some(PointValue::Explicit(Box::new(Explicit {
                totals: totals(),
                counts: fixed64s(point, 6),
                bounds: fixed64s(point, 7),
            }))),
            10 => Some(PointValue::Exponential(Box::new(Exponential {
                totals: totals(),
                scale: sint32(number(point, 6)),
                zero_count: number(point, 7),
                zero_threshold: f64::from_bits(number(point, 14)),
                sides: [8, 9].map(|side| Buckets::read(point, side)),
            }))),
            _ => None,
        }
    }

    /// Bytes that it takes on the heap.
    pub(in crate::processors) fn bytes(&self) -> usize {
        match self {
            PointValue::Int(_) | PointValue::Double(_) => 0,
            PointValue::Explicit(one) => {
                size_of::<Explicit>() + 8 * (one.counts.capacity() + one.bounds.capacity())
            }
            PointValue::Exponential(one) => {
                let counts = one.sides.iter().map(|side| side.counts.capacity()).sum::<usize>();
                size_of::<Exponential>() + 8 * counts
            }
        }
    }

    /// The fields that hold it, and its start.
    const fn fields(&self) -> &'static [u32] {
        match self {
            PointValue::Int(_) | PointValue::Double(_) => &[2, 4, 6],
            PointValue::Explicit(_) => &[2, 4, 5, 6, 7, 11, 12],
            PointValue::Exponential(_) => &[2, 4, 5, 6, 7, 8, 9, 12, 13, 14],
        }
    }

    /// Writes a point with this value and start in place of its own.
    pub(in crate::processors) fn write(&self, point: &[u8], start: u64, out: &mut Vec<u8>) {
        for field in fields(point).filter(|field| !self.fields().contains(&field.number)) {
            out.extend_from_slice(field.whole);
        }
        put_fixed64(out, 2, start);
        match self {
            PointValue::Int(value) => put_fixed64(out, 6, value.cast_unsigned()),
            PointValue::Double(value) => put_double(out, 4, *value),
            PointValue::Explicit(one) => {
                one.totals.write(9, out);
                for (number, list) in [(6, &one.counts), (7, &one.bounds)] {
                    let packed: Vec<u8> = list.iter().flat_map(|bits| bits.to_le_bytes()).collect();
                    if !packed.is_empty() {
                        put_bytes(out, number, &packed);
                    }
                }
            }
            PointValue::Exponential(one) => {
                one.totals.write(10, out);
                put_number(out, 6, zigzag(one.scale));
                put_fixed64(out, 7, one.zero_count);
                if one.zero_threshold != 0.0 {
                    put_double(out, 14, one.zero_threshold);
                }
                for (number, side) in [8, 9].into_iter().zip(&one.sides) {
                    if !side.counts.is_empty() {
                        side.write(number, out);
                    }
                }
            }
        }
    }

    /// What was added since an earlier value of the same series.
    pub(in crate::processors) fn since(&self, before: &PointValue) -> Result<PointValue, Unlike> {
        match (self, before) {
            (PointValue::Int(now), PointValue::Int(before)) => {
                let added = now.checked_sub(*before).filter(|added| *added >= 0);
                added.map(PointValue::Int).ok_or(Unlike::Smaller)
            }
            (
                PointValue::Int(_) | PointValue::Double(_),
                PointValue::Int(_) | PointValue::Double(_),
            ) => {
                let added = self.as_double() - before.as_double();
                if added < 0.0 { Err(Unlike::Smaller) } else { Ok(PointValue::Double(added)) }
            }
            (PointValue::Explicit(now), PointValue::Explicit(before)) => {
                now.since(before).map(|added| PointValue::Explicit(Box::new(added)))
            }
            (PointValue::Exponential(now), PointValue::Exponential(before)) => {
                now.since(before).map(|added| PointValue::Exponential(Box::new(added)))
            }
            _ => Err(Unlike::Buckets),
        }
    }

    /// Adds a value of the same series.
    pub(in crate::processors) fn add(&mut self, more: PointValue) {
        match (&mut *self, more) {
            (PointValue::Int(sum), PointValue::Int(more)) => *sum = sum.wrapping_add(more),
            (PointValue::Explicit(sum), PointValue::Explicit(more)) => sum.add(*more),
            (PointValue::Exponential(sum), PointValue::Exponential(more)) => sum.add(*more),
            (
                PointValue::Int(_) | PointValue::Double(_),
                more @ (PointValue::Int(_) | PointValue::Double(_)),
            ) => *self = PointValue::Double(self.as_double() + more.as_double()),
            (_, more) => *self = more,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "the nearest double")]
    fn as_double(&self) -> f64 {
        match self {
            PointValue::Int(value) => *value as f64,
            PointValue::Double(value) => *value,
            PointValue::Explicit(_) | PointValue::Exponential(_) => f64::NAN,
        }
    }

    pub(in crate::processors) fn is_nan(&self) -> bool {
        matches!(self, PointValue::Double(value) if value.is_nan())
    }

    /// Makes at most [`BUCKETS`] of exponential buckets.
    pub(in crate::processors) fn bounded(mut self) -> Self {
        if let PointValue::Exponential(one) = &mut self {
            one.bound(0);
        }
        self
    }
}

impl Totals {
    fn write(&self, kind: u32, out: &mut Vec<u8>) {
        let [count, sum, min, max] = total_fields(kind);
        put_fixed64(out, count, self.count);
        for (number, value) in [(sum, self.sum), (min, self.min), (max, self.max)] {
            if let Some(value) = value {
                put_double(out, number, value);
            }
        }
    }

    /// Least and largest values of an interval are not known from those of two longer ones.
    fn since(&self, before: &Totals) -> Result<Totals, Unlike> {
        let count = self.count.checked_sub(before.count).ok_or(Unlike::Smaller)?;
        let sum = self.sum.zip(before.sum).map(|(now, before)| now - before);
        Ok(Totals { count, sum, min: None, max: None })
    }

    fn add(&mut self, more: &Totals) {
        self.count = self.count.saturating_add(more.count);
        self.sum = self.sum.zip(more.sum).map(|(sum, more)| sum + more);
        self.min = self.min.zip(more.min).map(|(min, more)| min.min(more));
        self.max = self.max.zip(more.max).map(|(max, more)| max.max(more));
    }
}

/// Subtracts counts one by one.
fn counts_since(now: &[u64], before: &[u64]) -> Result<Vec<u64>, Unlike> {
    if now.len() != before.len() {
        return Err(Unlike::Buckets);
    }
    let added = now.iter().zip(before).map(|(now, before)| now.checked_sub(*before));
    added.collect::<Option<_>>().ok_or(Unlike::Smaller)
}

impl Explicit {
    fn since(&self, before: &Explicit) -> Result<Explicit, Unlike> {
        let totals = self.totals.since(&before.totals)?;
        if self.bounds != before.bounds {
            return Err(Unlike::Buckets);
        }
        let counts = counts_since(&self.counts, &before.counts)?;
        Ok(Explicit { totals, counts, bounds: self.bounds.clone() })
    }

    /// A histogram with other bounds takes the place of the sum, since they cannot be joined.
    fn add(&mut self, more: Explicit) {
        if self.bounds != more.bounds || self.counts.len() != more.counts.len() {
            *self = more;
            return;
        }
        self.totals.add(&more.totals);
        for (sum, more) in self.counts.iter_mut().zip(more.counts) {
            *sum = sum.saturating_add(more);
        }
    }
}

impl Exponential {
    fn since(&self, before: &Exponential) -> Result<Exponential, Unlike> {
        let totals = self.totals.since(&before.totals)?;
        let zero_count = self.zero_count.checked_sub(before.zero_count).ok_or(Unlike::Smaller)?;
        let is_finer = self.scale > before.scale;
        if is_finer || self.zero_threshold.to_bits() != before.zero_threshold.to_bits() {
            return Err(Unlike::Buckets);
        }
        let by = before.scale - self.scale;
        let side = |at: usize| self.sides[at].since(&before.sides[at].coarser(by));
        let sides = [side(0)?, side(1)?];
        let (scale, zero_threshold) = (self.scale, self.zero_threshold);
        Ok(Exponential { totals, scale, zero_count, zero_threshold, sides })
    }

    fn add(&mut self, mut more: Exponential) {
        self.totals.add(&more.totals);
        let threshold = self.zero_threshold.max(more.zero_threshold);
        self.widen_zero(threshold);
        more.widen_zero(threshold);
        self.zero_count = self.zero_count.saturating_add(more.zero_count);
        let scale = self.scale.min(more.scale);
        self.coarsen(self.scale - scale);
        more.coarsen(more.scale - scale);
        // Coarse enough for both together.
        let mut by = 0;
        for (own, other) in self.sides.iter().zip(&more.sides) {
            while own.span_with(other, by) > BUCKETS {
                by += 1;
            }
        }
        self.coarsen(by);
        more.coarsen(by);
        for (own, other) in self.sides.iter_mut().zip(&more.sides) {
            own.add(other);
        }
    }

    /// Makes at most [`BUCKETS`] buckets on each side.
    fn bound(&mut self, least: i64) {
        let mut by = least;
        for side in &self.sides {
            while side.span_with(&Buckets::default(), by) > BUCKETS {
                by += 1;
            }
        }
        self.coarsen(by);
    }

    fn coarsen(&mut self, by: i64) {
        if by > 0 {
            self.scale -= by;
            for side in &mut self.sides {
                *side = side.coarser(by);
            }
        }
    }

    /// Counts what is within a wider threshold as zero.
    fn widen_zero(&mut self, threshold: f64) {
        if threshold <= self.zero_threshold {
            return;
        }
        self.zero_threshold = threshold;
        let scale = i32::try_from(self.scale.clamp(-1000, 1000)).unwrap_or(0);
        let upper = |index: i64| {
            #[expect(clippy::cast_precision_loss, reason = "indexes have 32 bits")]
            let exponent = (index + 1) as f64 * 2_f64.powi(-scale);
            exponent.exp2()
        };
        for side in &mut self.sides {
            let within = |at: usize| upper(side.offset.saturating_add(index(at))) <= threshold;
            let inner = (0..side.counts.len()).take_while(|at| within(*at)).count();
            let moved = side.counts.drain(..inner).fold(0, u64::saturating_add);
            side.offset = side.offset.saturating_add(index(inner));
            self.zero_count = self.zero_count.saturating_add(moved);
        }
    }
}

impl Buckets {
    fn read(point: &[u8], side: u32) -> Self {
        let buckets = child(point, side).unwrap_or_default();
        Buckets { offset: sint32(number(&buckets, 1)), counts: varints(&buckets, 2) }
    }

    fn write(&self, number: u32, out: &mut Vec<u8>) {
        let (mut packed, mut buckets) = (Vec::new(), Vec::new());
        self.counts.iter().for_each(|count| put_varint(&mut packed, *count));
        put_number(&mut buckets, 1, zigzag(self.offset));
        put_bytes(&mut buckets, 2, &packed);
        put_bytes(out, number, &buckets);
    }

    /// First and last index with a count.
    fn range(&self) -> Option<(i64, i64)> {
        let first = self.counts.iter().position(|count| *count > 0)?;
        let last = self.counts.iter().rposition(|count| *count > 0)?;
        let at = |place: usize| self.offset.saturating_add(index(place));
        Some((at(first), at(last)))
    }

    /// Buckets that both take together once their scale is lower.
    fn span_with(&self, other: &Buckets, by: i64) -> i64 {
        let by = by.min(63);
        match (self.range(), other.range()) {
            (Some(one), Some(other)) => (one.1.max(other.1) >> by) - (one.0.min(other.0) >> by) + 1,
            (Some((first, last)), None) | (None, Some((first, last))) => {
                (last >> by) - (first >> by) + 1
            }
            (None, None) => 0,
        }
    }

    /// The same counts at a lower scale: 2 to the power of `by` buckets become one.
    fn coarser(&self, by: i64) -> Buckets {
        let Some((first, last)) = self.range() else { return Buckets::default() };
        let by = by.clamp(0, 63);
        let offset = first >> by;
        let len = usize::try_from((last >> by) - offset + 1).unwrap_or(0);
        let mut counts = vec![0_u64; len];
        for (place, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let at_scale = self.offset.saturating_add(index(place)) >> by;
            if let Some(sum) =
                usize::try_from(at_scale - offset).ok().and_then(|at| counts.get_mut(at))
            {
                *sum = sum.saturating_add(*count);
            }
        }
        Buckets { offset, counts }
    }

    /// Adds buckets of the same scale.
    fn add(&mut self, more: &Buckets) {
        let Some(other) = more.range() else { return };
        let own = self.range().unwrap_or(other);
        let (first, last) = (own.0.min(other.0), own.1.max(other.1));
        let len = usize::try_from(last - first + 1).unwrap_or(0);
        let mut counts = vec![0_u64; len];
        for buckets in [&*self, more] {
            for (place, count) in buckets.counts.iter().enumerate().filter(|(_, c)| **c > 0) {
                let index = buckets.offset.saturating_add(index(place)) - first;
                if let Some(sum) = usize::try_from(index).ok().and_then(|at| counts.get_mut(at)) {
                    *sum = sum.saturating_add(*count);
                }
            }
        }
        *self = Buckets { offset: first, counts };
    }

    /// What was added since earlier buckets of the same scale.
    fn since(&self, before: &Buckets) -> Result<Buckets, Unlike> {
        let mut counts = self.counts.clone();
        for (place, count) in before.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let index = before.offset.saturating_add(index(place)).saturating_sub(self.offset);
            let at = usize::try_from(index).ok().and_then(|at| counts.get_mut(at));
            let now = at.ok_or(Unlike::Smaller)?;
            *now = now.checked_sub(*count).ok_or(Unlike::Smaller)?;
        }
        Ok(Buckets { offset: self.offset, counts })
    }
}

#[cfg(test)]
mod tests;
