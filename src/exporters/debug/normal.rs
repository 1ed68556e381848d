//! A header per resource and scope, and a line per item.

use std::fmt::Write as _;

use super::{
    METRIC_KINDS, names,
    sink::Lines,
    value::{attributes, double, hex, plain},
};
use crate::otlp::{Signal, record::Record};

/// Renders a request.
pub(super) fn render(signal: Signal, root: &Record<'_>) -> String {
    let names = names(signal);
    let (resource_label, scope_label) = match signal {
        Signal::Traces => ("ResourceTraces", "ScopeTraces"),
        Signal::Metrics => ("ResourceMetrics", "ScopeMetrics"),
        Signal::Logs => ("ResourceLog", "ScopeLog"),
    };
    let mut out = Lines::default();
    for (i, entry) in root.children(names.resources).enumerate() {
        let _ = write!(out, "{resource_label} #{i}");
        schema_url(&entry, &mut out);
        if let Some(resource) = entry.child("resource") {
            pairs(&resource, &mut out);
        }
        out.end();
        for (j, entry) in entry.children(names.scopes).enumerate() {
            let _ = write!(out, "{scope_label} #{j}");
            scope(&entry, &mut out);
            for record in entry.children(names.records) {
                match signal {
                    Signal::Traces => span(&record, &mut out),
                    Signal::Metrics => metric(&record, &mut out),
                    Signal::Logs => log_record(&record, &mut out),
                }
            }
        }
    }
    out.0
}

fn schema_url(entry: &Record<'_>, out: &mut Lines) {
    if entry.has("schema_url") {
        let _ = write!(out, " [{}]", entry.text("schema_url"));
    }
}

fn scope(entry: &Record<'_>, out: &mut Lines) {
    let scope = entry.child("scope");
    if let Some(scope) = &scope {
        let (name, version) = (scope.text("name"), scope.text("version"));
        if !name.is_empty() {
            let _ = write!(out, " {name}");
        }
        if !version.is_empty() {
            let _ = write!(out, "@{version}");
        }
    }
    schema_url(entry, out);
    if let Some(scope) = &scope {
        pairs(scope, out);
    }
    out.end();
}

/// ` key=value` for each attribute.
fn pairs(of: &Record<'_>, out: &mut Lines) {
    for (key, value) in attributes(of, "attributes") {
        let _ = write!(out, " {key}={}", plain(value.as_ref()));
    }
}

fn span(span: &Record<'_>, out: &mut Lines) {
    let name = span.text("name");
    let _ = write!(out, "{name} {} {}", hex(span.bytes("trace_id")), hex(span.bytes("span_id")));
    pairs(span, out);
    out.end();
}

fn log_record(record: &Record<'_>, out: &mut Lines) {
    let _ = out.write_str(&plain(record.child("body").as_ref()));
    pairs(record, out);
    out.end();
}

fn metric(metric: &Record<'_>, out: &mut Lines) {
    let name = metric.text("name");
    for kind in METRIC_KINDS {
        let Some(data) = metric.child(kind) else { continue };
        for point in data.children("data_points") {
            let _ = out.write_str(&name);
            let labels: Vec<String> = attributes(&point, "attributes")
                .map(|(key, value)| format!("{key}={}", plain(value.as_ref())))
                .collect();
            let _ = write!(out, "{{{}}}", labels.join(","));
            match kind {
                "gauge" | "sum" => number(&point, out),
                "summary" => summary(&point, out),
                _ => histogram(&point, out),
            }
            out.end();
        }
    }
}

fn number(point: &Record<'_>, out: &mut Lines) {
    if point.has("as_int") {
        let _ = write!(out, " {}", point.int("as_int"));
    } else if point.has("as_double") {
        let _ = write!(out, " {}", double(point.double("as_double")));
    }
}

/// Both kinds of histograms; the exponential one has no bounds to show.
fn histogram(point: &Record<'_>, out: &mut Lines) {
    let _ = write!(out, " count={}", point.bits("count"));
    for key in ["sum", "min", "max"] {
        if point.has(key) {
            let _ = write!(out, " {key}={}", double(point.double(key)));
        }
    }
    let bounds = point.numbers("explicit_bounds");
    for (i, count) in point.numbers("bucket_counts").into_iter().enumerate() {
        match bounds.get(i) {
            Some(bound) => {
                let _ = write!(out, " le{}={count}", double(f64::from_bits(*bound)));
            }
            None => {
                let _ = write!(out, " {count}");
            }
        }
    }
}

fn summary(point: &Record<'_>, out: &mut Lines) {
    let _ = write!(out, " count={} sum={}", point.bits("count"), double(point.double("sum")));
    for at in point.children("quantile_values") {
        let (quantile, value) = (at.double("quantile"), at.double("value"));
        let _ = write!(out, " q{}={}", double(quantile), double(value));
    }
}
