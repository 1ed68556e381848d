//! An item in short: what fits in a line.

use super::{fields::hex, single::Single};
use crate::otlp::{
    Signal,
    record::Record,
    schema,
    text::{double, plain},
};

/// Most characters of a text in a line.
const LONGEST: usize = 200;

/// What a line says of an item.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Head {
    /// `span`, `log` or `data_point`.
    pub kind: &'static str,
    /// `service.name` of its resource; empty if it has none.
    pub service: String,
    /// Name of the span or metric; of a log record its body, or the name of its event.
    pub name: String,
    /// Hexadecimal digits; empty if it has none.
    pub trace_id: String,
    /// The same.
    pub span_id: String,
    /// The same, of the span above.
    pub parent_span_id: String,
    /// Start of a span, time of a record or point: nanoseconds since 1970.
    pub time_unix_nano: u64,
    /// Of a span.
    pub duration_nano: Option<u64>,
    /// `ok` or `error` of a span, `info` or the like of a record, the value of a point.
    pub status: String,
}

impl Head {
    /// That of an item.
    pub fn of(item: &Single) -> Self {
        let request = Record::read(schema::request(item.signal), &item.body);
        let Some(entry) = request.children_at(0).next() else { return Head::default() };
        let service = entry.child("resource").and_then(|resource| service(&resource));
        let scopes = ["scope_spans", "scope_metrics", "scope_logs"];
        let scope = scopes.into_iter().flat_map(|name| entry.children(name)).next();
        let head = scope.map(|scope| match item.signal {
            Signal::Traces => scope.children("spans").next().map(|span| of_span(&span)),
            Signal::Logs => scope.children("log_records").next().map(|record| of_log(&record)),
            Signal::Metrics => scope.children("metrics").next().map(|metric| of_metric(&metric)),
        });
        let head = head.flatten().unwrap_or_default();
        Head { service: service.unwrap_or_default(), ..head }
    }
}

fn service(resource: &Record<'_>) -> Option<String> {
    let mut all = resource.children("attributes");
    let found = all.find(|entry| entry.bytes("key") == b"service.name")?;
    Some(short(plain(found.child("value").as_ref())))
}

fn of_span(span: &Record<'_>) -> Head {
    let (start, end) = (span.bits("start_time_unix_nano"), span.bits("end_time_unix_nano"));
    let status = match span.child("status").map(|status| status.bits("code")) {
        Some(1) => "ok",
        Some(2) => "error",
        _ => "",
    };
    Head {
        kind: "span",
        name: short(span.text("name").into_owned()),
        trace_id: hex(span.bytes("trace_id")),
        span_id: hex(span.bytes("span_id")),
        parent_span_id: hex(span.bytes("parent_span_id")),
        time_unix_nano: start,
        duration_nano: Some(end.saturating_sub(start)),
        status: status.to_owned(),
        ..Head::default()
    }
}

fn of_log(record: &Record<'_>) -> Head {
    let body = record.child("body");
    let name = match record.text("event_name") {
        name if name.is_empty() => plain(body.as_ref()),
        name if body.is_none() => name.into_owned(),
        name => format!("{name} {}", plain(body.as_ref())),
    };
    let time = match record.bits("time_unix_nano") {
        0 => record.bits("observed_time_unix_nano"),
        time => time,
    };
    let severity = match record.bits("severity_number") {
        1..=4 => "trace",
        5..=8 => "debug",
        9..=12 => "info",
        13..=16 => "warn",
        17..=20 => "error",
        21..=24 => "fatal",
        _ => "",
    };
    let status = match record.text("severity_text") {
        text if severity.is_empty() => short(text.to_lowercase()),
        _ => severity.to_owned(),
    };
    Head {
        kind: "log",
        name: short(name),
        trace_id: hex(record.bytes("trace_id")),
        span_id: hex(record.bytes("span_id")),
        time_unix_nano: time,
        status,
        ..Head::default()
    }
}

fn of_metric(metric: &Record<'_>) -> Head {
    let kinds = ["gauge", "sum", "histogram", "exponential_histogram", "summary"];
    let data = kinds.into_iter().find_map(|kind| metric.child(kind));
    let point = data.and_then(|data| data.children("data_points").next());
    let (mut time, mut value) = (0, String::new());
    if let Some(point) = point {
        time = point.bits("time_unix_nano");
        value = if point.has("as_int") {
            point.int("as_int").to_string()
        } else if point.has("as_double") {
            double(point.double("as_double"))
        } else if point.has("count") {
            format!("count={} sum={}", point.bits("count"), double(point.double("sum")))
        } else {
            String::new()
        };
        let unit = metric.text("unit");
        if !value.is_empty() && !unit.is_empty() && point.message().name == "NumberDataPoint" {
            value = format!("{value} {unit}");
        }
    }
    Head {
        kind: "data_point",
        name: short(metric.text("name").into_owned()),
        time_unix_nano: time,
        status: short(value),
        ..Head::default()
    }
}

/// A text of at most [`LONGEST`] characters.
fn short(mut text: String) -> String {
    if let Some((at, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(at);
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::otlp::plain::{bytes, logs, metrics, spans};

    fn head(signal: Signal, request: &serde_json::Value) -> Head {
        Head::of(&Single { signal, body: bytes(signal, request), masked: Vec::new() })
    }

    #[test]
    fn a_span_is_told_by_its_name_duration_and_status() {
        let mut request = spans(&[json!({
            "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "00000000000000a1",
            "name": "GET /cart", "startTimeUnixNano": "1000", "endTimeUnixNano": "2500",
            "status": {"code": 2},
        })]);
        request["resourceSpans"][0]["resource"]["attributes"] = json!({"service.name": "shop"});
        let head = head(Signal::Traces, &request);
        assert_eq!((&*head.service, &*head.name, &*head.status), ("shop", "GET /cart", "error"));
        assert_eq!((head.time_unix_nano, head.duration_nano), (1000, Some(1500)));
        assert_eq!(head.trace_id, "5b8efff798038103d269b633813fc60c");
        assert_eq!(head.span_id, "00000000000000a1");
    }

    #[test]
    fn records_and_points_are_told_by_what_they_say() {
        let record = json!({"body": "x".repeat(300), "severityNumber": 13});
        let told = head(Signal::Logs, &logs(&[record]));
        assert_eq!((told.name.len(), &*told.status), (203, "warn"));
        let point = json!({"timeUnixNano": "5", "asDouble": 1.5});
        let metric = json!({"name": "up", "unit": "s", "gauge": {"dataPoints": [point]}});
        let told = head(Signal::Metrics, &metrics(&[metric]));
        assert_eq!((&*told.name, &*told.status, told.time_unix_nano), ("up", "1.5 s", 5));
        let empty = Single { signal: Signal::Logs, body: vec![7, 7], masked: Vec::new() };
        assert_eq!(Head::of(&empty), Head::default());
    }
}
