//! Data points and what is in them.

use super::{
    message::{Child, Message},
    value::{KeyValue, uint32},
};
use crate::otlp::{record::unzigzag, wire::FieldValue};

/// The value of a point or exemplar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// `as_double`.
    Double(f64),
    /// `as_int`.
    Int(i64),
}

/// A point of a gauge or sum.
#[derive(Debug, Clone, Copy)]
pub struct NumberPoint<'a> {
    message: Message<'a>,
    /// Start of the interval, nanoseconds since 1970.
    pub start_time_unix_nano: u64,
    /// End of the interval, nanoseconds since 1970.
    pub time_unix_nano: u64,
    /// The value; `None` if no member is set.
    pub value: Option<Number>,
    /// 1: no recorded value.
    pub flags: u32,
}

impl<'a> From<Message<'a>> for NumberPoint<'a> {
    fn from(message: Message<'a>) -> Self {
        let mut view = NumberPoint {
            message,
            start_time_unix_nano: 0,
            time_unix_nano: 0,
            value: None,
            flags: 0,
        };
        message.each(|field| match (field.number, field.value) {
            (2, FieldValue::Fixed64(bits)) => view.start_time_unix_nano = bits,
            (3, FieldValue::Fixed64(bits)) => view.time_unix_nano = bits,
            (4, FieldValue::Fixed64(bits)) => {
                view.value = Some(Number::Double(f64::from_bits(bits)));
            }
            (6, FieldValue::Fixed64(bits)) => view.value = Some(Number::Int(bits.cast_signed())),
            (8, FieldValue::Varint(bits)) => view.flags = uint32(bits),
            _ => {}
        });
        view
    }
}

impl<'a> NumberPoint<'a> {
    /// Its attributes in order.
    pub fn attributes(&self) -> impl Iterator<Item = KeyValue<'a>> + use<'a> {
        self.message.all(7)
    }

    /// Its exemplars in order.
    pub fn exemplars(&self) -> impl Iterator<Item = Exemplar<'a>> + use<'a> {
        self.message.all(5)
    }
}

/// A point of a histogram with explicit bounds.
#[derive(Debug, Clone, Copy)]
pub struct HistogramPoint<'a> {
    message: Message<'a>,
    /// Start of the interval, nanoseconds since 1970.
    pub start_time_unix_nano: u64,
    /// End of the interval, nanoseconds since 1970.
    pub time_unix_nano: u64,
    /// How many values.
    pub count: u64,
    /// Their sum.
    pub sum: Option<f64>,
    /// 1: no recorded value.
    pub flags: u32,
    /// Smallest value.
    pub min: Option<f64>,
    /// Largest value.
    pub max: Option<f64>,
}

impl<'a> From<Message<'a>> for HistogramPoint<'a> {
    fn from(message: Message<'a>) -> Self {
        let mut view = HistogramPoint {
            message,
            start_time_unix_nano: 0,
            time_unix_nano: 0,
            count: 0,
            sum: None,
            flags: 0,
            min: None,
            max: None,
        };
        message.each(|field| match (field.number, field.value) {
            (2, FieldValue::Fixed64(bits)) => view.start_time_unix_nano = bits,
            (3, FieldValue::Fixed64(bits)) => view.time_unix_nano = bits,
            (4, FieldValue::Fixed64(bits)) => view.count = bits,
            (5, FieldValue::Fixed64(bits)) => view.sum = Some(f64::from_bits(bits)),
            (10, FieldValue::Varint(bits)) => view.flags = uint32(bits),
            (11, FieldValue::Fixed64(bits)) => view.min = Some(f64::from_bits(bits)),
            (12, FieldValue::Fixed64(bits)) => view.max = Some(f64::from_bits(bits)),
            _ => {}
        });
        view
    }
}

impl<'a> HistogramPoint<'a> {
    /// Its attributes in order.
    pub fn attributes(&self) -> impl Iterator<Item = KeyValue<'a>> + use<'a> {
        self.message.all(9)
    }

    /// Values in each bucket; one more than there are bounds, or none.
    pub fn bucket_counts(&self) -> impl Iterator<Item = u64> + use<'a> {
        self.message.fixed64s(6)
    }

    /// Upper bounds of all buckets but the last.
    pub fn explicit_bounds(&self) -> impl Iterator<Item = f64> + use<'a> {
        self.message.fixed64s(7).map(f64::from_bits)
    }

    /// Its exemplars in order.
    pub fn exemplars(&self) -> impl Iterator<Item = Exemplar<'a>> + use<'a> {
        self.message.all(8)
    }
}

/// A point of an exponential histogram.
#[derive(Debug, Clone, Copy)]
pub struct ExponentialHistogramPoint<'a> {
    message: Message<'a>,
    /// Start of the interval, nanoseconds since 1970.
    pub start_time_unix_nano: u64,
    /// End of the interval, nanoseconds since 1970.
    pub time_unix_nano: u64,
    /// How many values.
    pub count: u64,
    /// Their sum.
    pub sum: Option<f64>,
    /// The base is 2 to the power of 2 to the power of minus this.
    pub scale: i32,
    /// Values within the zero threshold.
    pub zero_count: u64,
    /// Positive values; `None` if the field is not set.
    pub positive: Option<Buckets<'a>>,
    /// Negative values; `None` if the field is not set.
    pub negative: Option<Buckets<'a>>,
    /// 1: no recorded value.
    pub flags: u32,
    /// Smallest value.
    pub min: Option<f64>,
    /// Largest value.
    pub max: Option<f64>,
    /// Width of the zero bucket.
    pub zero_threshold: f64,
}

impl<'a> From<Message<'a>> for ExponentialHistogramPoint<'a> {
    fn from(message: Message<'a>) -> Self {
        let mut view = ExponentialHistogramPoint {
            message,
            start_time_unix_nano: 0,
            time_unix_nano: 0,
            count: 0,
            sum: None,
            scale: 0,
            zero_count: 0,
            positive: None,
            negative: None,
            flags: 0,
            min: None,
            max: None,
            zero_threshold: 0.0,
        };
        let mut positive = Child::default();
        let mut negative = Child::default();
        message.each(|field| match (field.number, field.value) {
            (2, FieldValue::Fixed64(bits)) => view.start_time_unix_nano = bits,
            (3, FieldValue::Fixed64(bits)) => view.time_unix_nano = bits,
            (4, FieldValue::Fixed64(bits)) => view.count = bits,
            (5, FieldValue::Fixed64(bits)) => view.sum = Some(f64::from_bits(bits)),
            (6, FieldValue::Varint(bits)) => view.scale = unzigzag(bits),
            (7, FieldValue::Fixed64(bits)) => view.zero_count = bits,
            (8, FieldValue::Len(part)) => positive.add(part),
            (9, FieldValue::Len(part)) => negative.add(part),
            (10, FieldValue::Varint(bits)) => view.flags = uint32(bits),
            (12, FieldValue::Fixed64(bits)) => view.min = Some(f64::from_bits(bits)),
            (13, FieldValue::Fixed64(bits)) => view.max = Some(f64::from_bits(bits)),
            (14, FieldValue::Fixed64(bits)) => view.zero_threshold = f64::from_bits(bits),
            _ => {}
        });
        view.positive = positive.of(message, 8).map(Buckets::from);
        view.negative = negative.of(message, 9).map(Buckets::from);
        view
    }
}

impl<'a> ExponentialHistogramPoint<'a> {
    /// Its attributes in order.
    pub fn attributes(&self) -> impl Iterator<Item = KeyValue<'a>> + use<'a> {
        self.message.all(1)
    }

    /// Its exemplars in order.
    pub fn exemplars(&self) -> impl Iterator<Item = Exemplar<'a>> + use<'a> {
        self.message.all(11)
    }
}

/// Buckets of an exponential histogram.
#[derive(Debug, Clone, Copy)]
pub struct Buckets<'a> {
    message: Message<'a>,
    /// Index of the first bucket.
    pub offset: i32,
}

impl<'a> From<Message<'a>> for Buckets<'a> {
    fn from(message: Message<'a>) -> Self {
        let mut view = Buckets { message, offset: 0 };
        message.each(|field| {
            if let (1, FieldValue::Varint(bits)) = (field.number, field.value) {
                view.offset = unzigzag(bits);
            }
        });
        view
    }
}

impl<'a> Buckets<'a> {
    /// Values in each bucket.
    pub fn bucket_counts(&self) -> impl Iterator<Item = u64> + use<'a> {
        self.message.varints(2)
    }
}

/// A point of a summary.
#[derive(Debug, Clone, Copy)]
pub struct SummaryPoint<'a> {
    message: Message<'a>,
    /// Start of the interval, nanoseconds since 1970.
    pub start_time_unix_nano: u64,
    /// End of the interval, nanoseconds since 1970.
    pub time_unix_nano: u64,
    /// How many values.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// 1: no recorded value.
    pub flags: u32,
}

impl<'a> From<Message<'a>> for SummaryPoint<'a> {
    fn from(message: Message<'a>) -> Self {
        let mut view = SummaryPoint {
            message,
            start_time_unix_nano: 0,
            time_unix_nano: 0,
            count: 0,
            sum: 0.0,
            flags: 0,
        };
        message.each(|field| match (field.number, field.value) {
            (2, FieldValue::Fixed64(bits)) => view.start_time_unix_nano = bits,
            (3, FieldValue::Fixed64(bits)) => view.time_unix_nano = bits,
            (4, FieldValue::Fixed64(bits)) => view.count = bits,
            (5, FieldValue::Fixed64(bits)) => view.sum = f64::from_bits(bits),
            (8, FieldValue::Varint(bits)) => view.flags = uint32(bits),
            _ => {}
        });
        view
    }
}

impl<'a> SummaryPoint<'a> {
    /// Its attributes in order.
    pub fn attributes(&self) -> impl Iterator<Item = KeyValue<'a>> + use<'a> {
        self.message.all(7)
    }

    /// Its quantiles in order.
    pub fn quantile_values(&self) -> impl Iterator<Item = Quantile> + use<'a> {
        self.message.all(6)
    }
}

/// A value at a quantile.
#[derive(Debug, Clone, Copy)]
pub struct Quantile {
    /// 0 to 1.
    pub quantile: f64,
    /// The value there.
    pub value: f64,
}

impl<'a> From<Message<'a>> for Quantile {
    fn from(message: Message<'a>) -> Self {
        let mut view = Quantile { quantile: 0.0, value: 0.0 };
        message.each(|field| match (field.number, field.value) {
            (1, FieldValue::Fixed64(bits)) => view.quantile = f64::from_bits(bits),
            (2, FieldValue::Fixed64(bits)) => view.value = f64::from_bits(bits),
            _ => {}
        });
        view
    }
}

/// A sample of the measurements in a point.
#[derive(Debug, Clone, Copy)]
pub struct Exemplar<'a> {
    message: Message<'a>,
    /// Nanoseconds since 1970.
    pub time_unix_nano: u64,
    /// The value; `None` if no member is set.
    pub value: Option<Number>,
    /// 8 bytes, or none.
    pub span_id: &'a [u8],
    /// 16 bytes, or none.
    pub trace_id: &'a [u8],
}

impl<'a> From<Message<'a>> for Exemplar<'a> {
    fn from(message: Message<'a>) -> Self {
        let mut view =
            Exemplar { message, time_unix_nano: 0, value: None, span_id: &[], trace_id: &[] };
        message.each(|field| match (field.number, field.value) {
            (2, FieldValue::Fixed64(bits)) => view.time_unix_nano = bits,
            (3, FieldValue::Fixed64(bits)) => {
                view.value = Some(Number::Double(f64::from_bits(bits)));
            }
            (4, FieldValue::Len(bytes)) => view.span_id = bytes,
            (5, FieldValue::Len(bytes)) => view.trace_id = bytes,
            (6, FieldValue::Fixed64(bits)) => view.value = Some(Number::Int(bits.cast_signed())),
            _ => {}
        });
        view
    }
}

impl<'a> Exemplar<'a> {
    /// Attributes that the point does not have.
    pub fn filtered_attributes(&self) -> impl Iterator<Item = KeyValue<'a>> + use<'a> {
        self.message.all(7)
    }
}
