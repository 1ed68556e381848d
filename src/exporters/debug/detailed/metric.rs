//! Metrics with their data points.

use std::iter::zip;

use super::{
    super::value::{hex, time_of},
    Page,
};
use crate::otlp::record::Record;

/// Field, name of the type and title of the points.
const TYPES: [(&str, &str, &str); 5] = [
    ("gauge", "Gauge", "NumberDataPoints"),
    ("sum", "Sum", "NumberDataPoints"),
    ("histogram", "Histogram", "HistogramDataPoints"),
    ("exponential_histogram", "ExponentialHistogram", "ExponentialHistogramDataPoints"),
    ("summary", "Summary", "SummaryDataPoints"),
];

impl Page {
    pub(super) fn metric(&mut self, k: usize, metric: &Record<'_>) {
        let set = TYPES.into_iter().find(|(field, ..)| metric.has(field));
        let type_name = set.map_or("Empty", |(_, name, _)| name);
        self.line(format_args!("Metric #{k}"));
        self.line(format_args!("Descriptor:"));
        self.line(format_args!("     -> Name: {}", metric.text("name")));
        self.line(format_args!("     -> Description: {}", metric.text("description")));
        self.line(format_args!("     -> Unit: {}", metric.text("unit")));
        self.line(format_args!("     -> DataType: {type_name}"));
        let Some((field, _, title)) = set else { return };
        let Some(data) = metric.child(field) else { return };
        if field == "sum" {
            let is_monotonic = data.bits("is_monotonic") != 0;
            self.line(format_args!("     -> IsMonotonic: {is_monotonic}"));
        }
        if !matches!(field, "gauge" | "summary") {
            let temporality = temporality(data.bits("aggregation_temporality"));
            self.line(format_args!("     -> AggregationTemporality: {temporality}"));
        }
        for (i, point) in data.children("data_points").enumerate() {
            self.line(format_args!("{title} #{i}"));
            self.point(field, &point);
        }
    }

    fn point(&mut self, field: &str, point: &Record<'_>) {
        let start = time_of(point.bits("start_time_unix_nano"));
        self.attributes("", "Data point attributes", point, "attributes");
        self.line(format_args!("StartTimestamp: {start}"));
        self.line(format_args!("Timestamp: {}", time_of(point.bits("time_unix_nano"))));
        match field {
            "gauge" | "sum" => self.number("", point),
            "summary" => self.summary(point),
            "histogram" => self.histogram(point),
            _ => self.exponential_histogram(point),
        }
        for (i, exemplar) in point.children("exemplars").enumerate() {
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
        for (i, bound) in point.numbers("explicit_bounds").into_iter().enumerate() {
            self.line(format_args!("ExplicitBounds #{i}: {:.6}", f64::from_bits(bound)));
        }
        for (i, count) in point.numbers("bucket_counts").into_iter().enumerate() {
            self.line(format_args!("Buckets #{i}, Count: {count}"));
        }
    }

    /// Bucket `i` of offset `o` and scale `s` lies between `base^(o + i)` and `base^(o + i + 1)`
    /// with `base = 2^(2^-s)`.
    fn exponential_histogram(&mut self, point: &Record<'_>) {
        self.count_and_sums(point);
        let width = (-f64::from(point.zigzag("scale"))).exp2();
        let buckets = |field| {
            let buckets = point.child(field);
            let first = buckets.as_ref().map_or(0, |buckets| buckets.zigzag("offset"));
            let counts = buckets.map(|buckets| buckets.numbers("bucket_counts"));
            zip(i64::from(first).., counts.unwrap_or_default()).map(move |(index, count)| {
                #[expect(clippy::cast_precision_loss, reason = "indexes are far below 2^52")]
                let index = index as f64;
                ((index * width).exp2(), ((index + 1.0) * width).exp2(), count)
            })
        };
        let negative: Vec<_> = buckets("negative").collect();
        for (near, far, count) in negative.into_iter().rev() {
            self.line(format_args!("Bucket [{:.6}, {:.6}), Count: {count}", -far, -near));
        }
        let zero_count = point.bits("zero_count");
        if zero_count > 0 {
            self.line(format_args!("Bucket [0, 0], Count: {zero_count}"));
        }
        for (near, far, count) in buckets("positive") {
            self.line(format_args!("Bucket ({near:.6}, {far:.6}], Count: {count}"));
        }
    }

    fn summary(&mut self, point: &Record<'_>) {
        self.line(format_args!("Count: {}", point.bits("count")));
        self.line(format_args!("Sum: {:.6}", point.double("sum")));
        for (i, at) in point.children("quantile_values").enumerate() {
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

fn temporality(number: u64) -> &'static str {
    match number {
        0 => "Unspecified",
        1 => "Delta",
        2 => "Cumulative",
        _ => "",
    }
}
