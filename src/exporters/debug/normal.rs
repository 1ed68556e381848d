//! A header per resource and scope, and a line per item.

use std::fmt::Write as _;

use super::{
    detailed::{Buckets, point_table},
    pages::Page,
    value::{attributes, fixed, id, shortest, write_plain},
};
use crate::otlp::{
    Signal,
    content::{Step, Walk},
    record::Record,
    schema,
    view::{Message, Text},
};

/// Writes what a walk shows.
pub(super) fn step(signal: Signal, step: Step<'_>, walk: &Walk<'_>, out: &mut Page) {
    match step {
        Step::Resource => resource(signal, walk, out),
        Step::Scope => scope(signal, walk, out),
        // Points have the name of their metric.
        Step::Metric(_) => {}
        Step::Item(item) => match signal {
            Signal::Traces => span(&Record::of(&schema::SPAN, item), out),
            Signal::Metrics => point(item, walk, out),
            Signal::Logs => log_record(&Record::of(&schema::LOG_RECORD, item), out),
        },
    }
}

fn resource(signal: Signal, walk: &Walk<'_>, out: &mut Page) {
    let label = match signal {
        Signal::Traces => "ResourceTraces",
        Signal::Metrics => "ResourceMetrics",
        Signal::Logs => "ResourceLog",
    };
    let _ = write!(out, "{label} #{}", walk.numbers()[0]);
    schema_url(walk.resource_schema_url(), out);
    if let Some(resource) = walk.resource_message() {
        pairs(&Record::of(&schema::RESOURCE, resource), out);
    }
    out.end();
}

fn schema_url(url: Text<'_>, out: &mut Page) {
    if !url.is_empty() {
        let _ = write!(out, " [{url}]");
    }
}

fn scope(signal: Signal, walk: &Walk<'_>, out: &mut Page) {
    let label = match signal {
        Signal::Traces => "ScopeTraces",
        Signal::Metrics => "ScopeMetrics",
        Signal::Logs => "ScopeLog",
    };
    let _ = write!(out, "{label} #{}", walk.numbers()[1]);
    let scope = walk.scope_message().map(|scope| Record::of(&schema::SCOPE, scope));
    if let Some(scope) = &scope {
        let (name, version) = (scope.shown("name"), scope.shown("version"));
        if !name.is_empty() || !version.is_empty() {
            let _ = write!(out, " {name}");
        }
        if !version.is_empty() {
            let _ = write!(out, "@{version}");
        }
    }
    schema_url(walk.scope_schema_url(), out);
    if let Some(scope) = &scope {
        pairs(scope, out);
    }
    out.end();
}

/// ` key=value` for each attribute.
fn pairs(of: &Record<'_>, out: &mut Page) {
    for (key, value) in attributes(of, "attributes") {
        if out.is_full() {
            break;
        }
        let _ = write!(out, " {key}=");
        let _ = write_plain(value.as_ref(), out);
    }
}

fn span(span: &Record<'_>, out: &mut Page) {
    let name = span.shown("name");
    let _ = write!(out, "{name} {} {}", id(span.bytes("trace_id")), id(span.bytes("span_id")));
    pairs(span, out);
    out.end();
}

fn log_record(record: &Record<'_>, out: &mut Page) {
    let _ = write_plain(record.child("body").as_ref(), out);
    // What comes between body and attributes is there without attributes, too.
    if record.has("attributes") {
        pairs(record, out);
    } else {
        let _ = out.write_char(' ');
    }
    out.end();
}

fn point(point: Message<'_>, walk: &Walk<'_>, out: &mut Page) {
    let Some(metric) = walk.metric() else { return };
    let Some((kind, table)) = metric.data.map(point_table) else { return };
    let point = Record::of(table, point);
    let _ = write!(out, "{}{{", metric.name);
    for (i, (key, value)) in attributes(&point, "attributes").enumerate() {
        let comma = if i > 0 { "," } else { "" };
        if out.is_full() {
            break;
        }
        let _ = write!(out, "{comma}{key}=");
        let _ = write_plain(value.as_ref(), out);
    }
    let _ = out.write_char('}');
    match kind {
        "Gauge" | "Sum" => number(&point, out),
        "Summary" => summary(&point, out),
        "Histogram" => histogram(&point, out),
        _ => exponential_histogram(&point, out),
    }
    out.end();
}

fn number(point: &Record<'_>, out: &mut Page) {
    if point.has("as_int") {
        let _ = write!(out, " {}", point.int("as_int"));
    } else if point.has("as_double") {
        let _ = write!(out, " {}", shortest(point.double("as_double")));
    } else {
        let _ = out.write_char(' ');
    }
}

fn count_and_sums(point: &Record<'_>, out: &mut Page) {
    let _ = write!(out, " count={}", point.bits("count"));
    for key in ["sum", "min", "max"] {
        if point.has(key) {
            let _ = write!(out, " {key}={}", shortest(point.double(key)));
        }
    }
}

fn histogram(point: &Record<'_>, out: &mut Page) {
    count_and_sums(point, out);
    let mut bounds = point.numbers("explicit_bounds");
    for count in point.numbers("bucket_counts") {
        if out.is_full() {
            break;
        }
        match bounds.next() {
            Some(bound) => {
                let _ = write!(out, " le{}={count}", shortest(f64::from_bits(bound)));
            }
            None => {
                let _ = write!(out, " {count}");
            }
        }
    }
}

/// Its buckets are shown by their upper bounds.
fn exponential_histogram(point: &Record<'_>, out: &mut Page) {
    count_and_sums(point, out);
    let buckets = Buckets::of(point);
    for (near, _, count) in buckets.negative() {
        let _ = write!(out, " le{}={count}", shortest(-near));
    }
    let zero_count = point.bits("zero_count");
    if zero_count > 0 {
        let _ = write!(out, " zero={zero_count}");
    }
    for (_, far, count) in buckets.positive() {
        if out.is_full() {
            break;
        }
        let _ = write!(out, " le{}={count}", shortest(far));
    }
}

fn summary(point: &Record<'_>, out: &mut Page) {
    let _ = write!(out, " count={} sum={}", point.bits("count"), fixed(point.double("sum")));
    for at in point.children("quantile_values") {
        if out.is_full() {
            break;
        }
        let (quantile, value) = (at.double("quantile"), at.double("value"));
        let _ = write!(out, " q{}={}", shortest(quantile), shortest(value));
    }
}
