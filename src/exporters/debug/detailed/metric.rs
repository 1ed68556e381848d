//! Metrics with their data points.

use std::iter::zip;

use super::{
    super::value::{hex, time_of},
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

/// Index of the first of some buckets.
fn first(buckets: &Record<'_>) -> i64 {
    buckets.zigzag("offset").into()
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
            self.line(format_args!("{margin}Value: {:.6}", of.double("as_double")));
        }
    }

    fn count_and_sums(&mut self, point: &Record<'_>) {
        self.line(format_args!("Count: {}", point.bits("count")));
        for (label, field) in [("Sum", "sum"), ("Min", "min"), ("Max", "max")] {
            if point.has(field) {
                self.line(format_args!("{label}: {:.6}", point.double(field)));
            }
        }
    }

    fn histogram(&mut self, point: &Record<'_>) {
        self.count_and_sums(point);
        for (i, bound) in point.numbers("explicit_bounds").enumerate() {
            if self.is_full() {
                break;
            }
            self.line(format_args!("ExplicitBounds #{i}: {:.6}", f64::from_bits(bound)));
        }
        for (i, count) in point.numbers("bucket_counts").enumerate() {
            if self.is_full() {
                break;
            }
            self.line(format_args!("Buckets #{i}, Count: {count}"));
        }
    }

    /// Bucket `i` of offset `o` and scale `s` lies between `base^(o + i)` and `base^(o + i + 1)`
    /// with `base = 2^(2^-s)`.
    fn exponential_histogram(&mut self, point: &Record<'_>) {
        self.count_and_sums(point);
        let width = (-f64::from(point.zigzag("scale"))).exp2();
        let edges = |index: i64| {
            #[expect(clippy::cast_precision_loss, reason = "indexes are far below 2^52")]
            let index = index as f64;
            ((index * width).exp2(), ((index + 1.0) * width).exp2())
        };
        if let Some(negative) = point.child("negative") {
            // More lines than these have no space, and the last bucket comes first.
            let passed = negative.numbers("bucket_counts").count().saturating_sub(LINES);
            let counts = zip(first(&negative).., negative.numbers("bucket_counts"));
            let shown: Vec<_> = counts.skip(passed).collect();
            for (index, count) in shown.into_iter().rev() {
                let (near, far) = edges(index);
                self.line(format_args!("Bucket [{:.6}, {:.6}), Count: {count}", -far, -near));
            }
        }
        let threshold = point.double("zero_threshold");
        if threshold != 0.0 {
            self.line(format_args!("ZeroThreshold: {threshold:.6}"));
        }
        let zero_count = point.bits("zero_count");
        if zero_count > 0 {
            self.line(format_args!("Bucket [0, 0], Count: {zero_count}"));
        }
        if let Some(positive) = point.child("positive") {
            for (index, count) in zip(first(&positive).., positive.numbers("bucket_counts")) {
                if self.is_full() {
                    break;
                }
                let (near, far) = edges(index);
                self.line(format_args!("Bucket ({near:.6}, {far:.6}], Count: {count}"));
            }
        }
    }

    fn summary(&mut self, point: &Record<'_>) {
        self.line(format_args!("Count: {}", point.bits("count")));
        self.line(format_args!("Sum: {:.6}", point.double("sum")));
        for (i, at) in point.children("quantile_values").enumerate() {
            if self.is_full() {
                break;
            }
            let (quantile, value) = (at.double("quantile"), at.double("value"));
            self.line(format_args!("QuantileValue #{i}: Quantile {quantile:.6}, Value {value:.6}"));
        }
    }

    fn exemplar(&mut self, i: usize, exemplar: &Record<'_>) {
        if i == 0 {
            self.line(format_args!("Exemplars:"));
        }
        self.line(format_args!("Exemplar #{i}"));
        self.line(format_args!("     -> Trace ID: {}", hex(exemplar.bytes("trace_id"))));
        self.line(format_args!("     -> Span ID: {}", hex(exemplar.bytes("span_id"))));
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
