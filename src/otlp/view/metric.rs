//! Metrics and their kinds of data.

use super::{
    message::Message,
    point::{ExponentialHistogramPoint, HistogramPoint, NumberPoint, SummaryPoint},
    value::{KeyValue, Text, int32},
};
use crate::otlp::wire::FieldValue;

/// A metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric<'a> {
    message: Message<'a>,
    /// Its name.
    pub name: Text<'a>,
    /// For people.
    pub description: Text<'a>,
    /// UCUM unit: `By`, `ms`, `1`.
    pub unit: Text<'a>,
    /// Its points; `None` if no member of the oneof is set.
    pub data: Option<Data<'a>>,
}

/// Over which time the values of a metric count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Temporality(
    /// 1 delta, 2 cumulative, 0 unspecified.
    pub i32,
);

/// The data of a metric.
#[derive(Debug, Clone, Copy)]
pub enum Data<'a> {
    /// Values of a moment.
    Gauge(Points<'a>),
    /// Values that add up.
    Sum {
        /// Its points.
        points: Points<'a>,
        /// Since when they count.
        temporality: Temporality,
        /// Whether it only grows.
        is_monotonic: bool,
    },
    /// Distributions with explicit bounds.
    Histogram {
        /// Its points.
        points: HistogramPoints<'a>,
        /// Since when they count.
        temporality: Temporality,
    },
    /// Distributions with exponential bounds.
    ExponentialHistogram {
        /// Its points.
        points: ExponentialHistogramPoints<'a>,
        /// Since when they count.
        temporality: Temporality,
    },
    /// Quantiles made by the sender.
    Summary(SummaryPoints<'a>),
}

/// What the data of a metric says of all of its points. It may stand behind them, so it is found by
/// a walk past each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::otlp) struct Nature {
    temporality: Temporality,
    is_monotonic: bool,
}

impl Data<'_> {
    /// What it says of all of its points.
    pub(in crate::otlp) fn nature(self) -> Nature {
        match self {
            Data::Gauge(_) | Data::Summary(_) => Nature::default(),
            Data::Sum { temporality, is_monotonic, .. } => Nature { temporality, is_monotonic },
            Data::Histogram { temporality, .. }
            | Data::ExponentialHistogram { temporality, .. } => {
                Nature { temporality, is_monotonic: false }
            }
        }
    }
}

/// The points of a gauge or sum.
#[derive(Debug, Clone, Copy)]
pub struct Points<'a>(Message<'a>);

impl<'a> Points<'a> {
    /// Them in order.
    pub fn iter(self) -> impl Iterator<Item = NumberPoint<'a>> + use<'a> {
        self.0.all(1)
    }
}

/// The points of a histogram.
#[derive(Debug, Clone, Copy)]
pub struct HistogramPoints<'a>(Message<'a>);

impl<'a> HistogramPoints<'a> {
    /// Them in order.
    pub fn iter(self) -> impl Iterator<Item = HistogramPoint<'a>> + use<'a> {
        self.0.all(1)
    }
}

/// The points of an exponential histogram.
#[derive(Debug, Clone, Copy)]
pub struct ExponentialHistogramPoints<'a>(Message<'a>);

impl<'a> ExponentialHistogramPoints<'a> {
    /// Them in order.
    pub fn iter(self) -> impl Iterator<Item = ExponentialHistogramPoint<'a>> + use<'a> {
        self.0.all(1)
    }
}

/// The points of a summary.
#[derive(Debug, Clone, Copy)]
pub struct SummaryPoints<'a>(Message<'a>);

impl<'a> SummaryPoints<'a> {
    /// Them in order.
    pub fn iter(self) -> impl Iterator<Item = SummaryPoint<'a>> + use<'a> {
        self.0.all(1)
    }
}

const KINDS: [u32; 5] = [5, 7, 9, 10, 11];

impl<'a> From<Message<'a>> for Metric<'a> {
    fn from(message: Message<'a>) -> Self {
        Metric::read(message, nature)
    }
}

impl<'a> Metric<'a> {
    /// A metric whose data was read before: its points are not passed again.
    pub(in crate::otlp) fn known(message: Message<'a>, nature: Nature) -> Self {
        Metric::read(message, |_, _| nature)
    }

    fn read(message: Message<'a>, nature: impl FnOnce(u32, Message<'a>) -> Nature) -> Self {
        let (name, description, unit) = (Text::default(), Text::default(), Text::default());
        let mut view = Metric { message, name, description, unit, data: None };
        let mut kind = 0;
        message.each(|field| {
            let FieldValue::Len(content) = field.value else { return };
            match field.number {
                1 => view.name = Text(content),
                2 => view.description = Text(content),
                3 => view.unit = Text(content),
                number if KINDS.contains(&number) => kind = number,
                _ => {}
            }
        });
        if kind != 0 {
            let points = message.member(kind, &KINDS);
            view.data = Some(data(kind, points, nature(kind, points)));
        }
        view
    }

    /// What is known of the metric beyond its points.
    pub fn metadata(&self) -> impl Iterator<Item = KeyValue<'a>> + use<'a> {
        self.message.all(12)
    }
}

fn nature(kind: u32, data: Message<'_>) -> Nature {
    let mut nature = Nature::default();
    if matches!(kind, 7 | 9 | 10) {
        data.each(|field| match (field.number, field.value) {
            (2, FieldValue::Varint(bits)) => nature.temporality = Temporality(int32(bits)),
            (3, FieldValue::Varint(bits)) => nature.is_monotonic = bits != 0,
            _ => {}
        });
    }
    nature
}

fn data(kind: u32, data: Message<'_>, nature: Nature) -> Data<'_> {
    let Nature { temporality, is_monotonic } = nature;
    match kind {
        5 => Data::Gauge(Points(data)),
        7 => Data::Sum { points: Points(data), temporality, is_monotonic },
        9 => Data::Histogram { points: HistogramPoints(data), temporality },
        10 => Data::ExponentialHistogram { points: ExponentialHistogramPoints(data), temporality },
        _ => Data::Summary(SummaryPoints(data)),
    }
}
