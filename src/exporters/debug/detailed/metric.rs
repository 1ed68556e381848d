//! Metrics with their data points.

use std::iter::zip;

use super::{
    super::value::{fixed, id, time_of},
    Page,
};
use crate::otlp::{
    record::Record,
    schema::{self, Message},
    view::{Data, Temporality},
};

/// Name of the type of a metric's data, and the table of its points.
pub(in super::super) fn point_table(data: Data<'_>) -> (&'static str, &'static Message) {
    match data {
        Data::Gauge(_) => ("Gauge", &schema::NUMBER_POINT),
        Data::Sum { .. } => ("Sum", &schema::NUMBER_POINT),
        Data::Histogram { .. } => ("Histogram", &schema::HISTOGRAM_POINT),
        Data::ExponentialHistogram { .. } => {
            ("ExponentialHistogram", &schema::EXPONENTIAL_HISTOGRAM_POINT)
        }
        Data::Summary(_) => ("Summary", &schema::SUMMARY_POINT),
    }
}

/// Most buckets that are kept to be shown in reverse: more than the lines an item has space for.
const LINES: usize = 4096;

/// The buckets of an exponential histogram with their bounds. Bucket `i` of offset `o` and scale
/// `s` lies between `base^(o + i)` and `base^(o + i + 1)` with `base = 2^(2^-s)`. Powers of two are
/// exact; the Collector's are those of e, and may differ in the last digit.
pub(in super::super) struct Buckets<'a> {
    width: f64,
    negative: Option<Record<'a>>,
    positive: Option<Record<'a>>,
}

impl<'a> Buckets<'a> {
    pub(in super::super) fn of(point: &Record<'a>) -> Self {
        Buckets {
            width: (-f64::from(point.zigzag("scale"))).exp2(),
            negative: point.child("negative"),
            positive: point.child("positive"),
        }
    }

    /// Bounds without their signs and counts, the last bucket first. More than [`LINES`] have no
    /// space, so that those nearest to zero are left out.
    pub(in super::super) fn negative(&self) -> impl Iterator<Item = (f64, f64, u64)> {
        let many = self.negative.iter().flat_map(|own| own.numbers("bucket_counts")).count();
        let all: Vec<_> =
            self.bounded(self.negative.as_ref()).skip(many.saturating_sub(LINES)).collect();
        all.into_iter().rev()
    }

    /// Lower bound, upper bound and count of each.
    pub(in super::super) fn positive(&self) -> impl Iterator<Item = (f64, f64, u64)> {
        self.bounded(self.positive.as_ref())
    }

    fn bounded<'r>(
        &self,
        buckets: Option<&'r Record<'a>>,
    ) -> impl Iterator<Item = (f64, f64, u64)> + use<'r, 'a> {
        let width = self.width;
        buckets.into_iter().flat_map(move |own| {
            let first = i64::from(own.zigzag("offset"));
            zip(first.., own.numbers("bucket_counts")).map(move |(index, count)| {
                #[expect(clippy::cast_precision_loss, reason = "indexes are far below 2^52")]
                let index = index as f64;
                ((index * width).exp2(), ((index + 1.0) * width).exp2(), count)
            })
        })
    }
}

impl Page {
    /// A metric without its points.
    pub(super) fn metric(&mut self, k: usize, metric: &Record<'_>, data: Option<Data<'_>>) {
        let type_name = data.map_or("Empty", |data| point_table(data).0);
        self.line(format_args!("Metric #{k}"));
        self.line(format_args!("Descriptor:"));
        self.line(format_args!("     -> Name: {}", metric.shown("name")));
        self.line(format_args!("     -> Description: {}", metric.shown("description")));
        self.line(format_args!("     -> Unit: {}", metric.shown("unit")));
        self.line(format_args!("     -> DataType: {type_name}"));
        self.attributes("     -> ", "Metadata", metric, "metadata");
        let temporality = match data {
            None | Some(Data::Gauge(_) | Data::Summary(_)) => return,
            Some(Data::Sum { temporality, is_monotonic, .. }) => {
                self.line(format_args!("     -> IsMonotonic: {is_monotonic}"));
                temporality
            }
            Some(
                Data::Histogram { temporality, .. }
                | Data::ExponentialHistogram { temporality, .. },
            ) => temporality,
        };
        self.line(format_args!("     -> AggregationTemporality: {}", name_of(temporality)));
    }

    pub(super) fn point(&mut self, kind: &str, i: usize, point: &Record<'_>) {
        let title = if matches!(kind, "Gauge" | "Sum") { "Number" } else { kind };
        self.line(format_args!("{title}DataPoints #{i}"));
        let start = time_of(point.bits("start_time_unix_nano"));
        self.attributes("", "Data point attributes", point, "attributes");
        self.line(format_args!("StartTimestamp: {start}"));
        self.line(format_args!("Timestamp: {}", time_of(point.bits("time_unix_nano"))));
        match kind {
            "Gauge" | "Sum" => self.number("", point),
            "Summary" => self.summary(point),
            "Histogram" => self.histogram(point),
            _ => self.exponential_histogram(point),
        }
        self.number_if_set("Flags", point.bits("flags"));
        for (i, exemplar) in point.children("exemplars").enumerate() {
            if self.is_full() {
                break;
            }
            self.exemplar(i, &exemplar);
        }
    }

    fn number(&mut self, margin: &str, of: &Record<'_>) {
        if of.has("as_int") {
            self.line(format_args!("{margin}Value: {}", of.int("as_int")));
        } else if of.has("as_double") {
            self.line(format_args!("{margin}Value: {}", fixed(of.double("as_double"))));
        }
    }

    fn count_and_sums(&mut self, point: &Record<'_>) {
        self.line(format_args!("Count: {}", point.bits("count")));
        for (label, field) in [("Sum", "sum"), ("Min", "min"), ("Max", "max")] {
            if point.has(field) {
                self.line(format_args!("{label}: {}", fixed(point.double(field))));
            }
        }
    }

    fn histogram(&mut self, point: &Record<'_>) {
        self.count_and_sums(point);
        for (i, bound) in point.numbers("explicit_bounds").enumerate() {
            if self.is_full() {
                break;
            }
            self.line(format_args!("ExplicitBounds #{i}: {}", fixed(f64::from_bits(bound))));
        }
        for (i, count) in point.numbers("bucket_counts").enumerate() {
            if self.is_full() {
                break;
            }
            self.line(format_args!("Buckets #{i}, Count: {count}"));
        }
    }

    fn exponential_histogram(&mut self, point: &Record<'_>) {
        self.count_and_sums(point);
        let buckets = Buckets::of(point);
        for (near, far, count) in buckets.negative() {
            let (near, far) = (fixed(-near), fixed(-far));
            self.line(format_args!("Bucket [{far}, {near}), Count: {count}"));
        }
        let threshold = point.double("zero_threshold");
        if threshold != 0.0 {
            self.line(format_args!("ZeroThreshold: {}", fixed(threshold)));
        }
        let zero_count = point.bits("zero_count");
        if zero_count > 0 {
            self.line(format_args!("Bucket [0, 0], Count: {zero_count}"));
        }
        for (near, far, count) in buckets.positive() {
            if self.is_full() {
                break;
            }
            let (near, far) = (fixed(near), fixed(far));
            self.line(format_args!("Bucket ({near}, {far}], Count: {count}"));
        }
    }

    fn summary(&mut self, point: &Record<'_>) {
        self.line(format_args!("Count: {}", point.bits("count")));
        self.line(format_args!("Sum: {}", fixed(point.double("sum"))));
        for (i, at) in point.children("quantile_values").enumerate() {
            if self.is_full() {
                break;
            }
            let (quantile, value) = (fixed(at.double("quantile")), fixed(at.double("value")));
            self.line(format_args!("QuantileValue #{i}: Quantile {quantile}, Value {value}"));
        }
    }

    fn exemplar(&mut self, i: usize, exemplar: &Record<'_>) {
        if i == 0 {
            self.line(format_args!("Exemplars:"));
        }
        self.line(format_args!("Exemplar #{i}"));
        self.line(format_args!("     -> Trace ID: {}", id(exemplar.bytes("trace_id"))));
        self.line(format_args!("     -> Span ID: {}", id(exemplar.bytes("span_id"))));
        self.line(format_args!("     -> Timestamp: {}", time_of(exemplar.bits("time_unix_nano"))));
        self.number("     -> ", exemplar);
        self.attributes("     -> ", "FilteredAttributes", exemplar, "filtered_attributes");
    }
}

fn name_of(temporality: Temporality) -> &'static str {
    match temporality.0 {
        0 => "Unspecified",
        1 => "Delta",
        2 => "Cumulative",
        _ => "",
    }
}
