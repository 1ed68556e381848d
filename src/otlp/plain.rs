//! Requests in plain JSON for tests: attributes are objects, values are what they are. Integers and
//! doubles are told apart by the decimal point.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{Signal, json};

const KEYED: [&str; 3] = ["attributes", "filteredAttributes", "metadata"];

fn any(value: &Value) -> Value {
    match value {
        Value::Null => json!({}),
        Value::Bool(value) => json!({"boolValue": value}),
        Value::Number(number) if number.is_f64() => json!({"doubleValue": number}),
        Value::Number(number) => json!({"intValue": number.to_string()}),
        Value::String(text) => match text.strip_prefix("bytes:") {
            Some(base64) => json!({"bytesValue": base64}),
            None => json!({"stringValue": text}),
        },
        Value::Array(values) => {
            json!({"arrayValue": {"values": values.iter().map(any).collect::<Vec<_>>()}})
        }
        Value::Object(_) => json!({"kvlistValue": {"values": key_values(value)}}),
    }
}

fn key_values(map: &Value) -> Value {
    let entries = map.as_object().into_iter().flatten();
    entries.map(|(key, value)| json!({"key": key, "value": any(value)})).collect()
}

fn to_otlp(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| {
                let new = match &**key {
                    "body" => any(value),
                    key if KEYED.contains(&key) && value.is_object() => key_values(value),
                    _ => to_otlp(value),
                };
                (key.clone(), new)
            })
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(values) => values.iter().map(to_otlp).collect(),
        other => other.clone(),
    }
}

fn from_any(any: &Value) -> Value {
    let Some((kind, value)) = any.as_object().and_then(|map| map.iter().next()) else {
        return Value::Null;
    };
    match &**kind {
        "intValue" => json!(value.as_str().unwrap_or("").parse::<i64>().unwrap()),
        "doubleValue" => json!(value.as_f64()),
        "bytesValue" => json!(format!("bytes:{}", value.as_str().unwrap_or(""))),
        "arrayValue" => value["values"].as_array().into_iter().flatten().map(from_any).collect(),
        "kvlistValue" => from_key_values(&value["values"]),
        _ => value.clone(),
    }
}

fn from_key_values(entries: &Value) -> Value {
    let entries = entries.as_array().into_iter().flatten();
    let pairs = entries
        .map(|entry| (entry["key"].as_str().unwrap_or("").to_owned(), from_any(&entry["value"])));
    pairs.collect::<Map<_, _>>().into()
}

fn from_otlp(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| {
                let new = match &**key {
                    "body" => from_any(value),
                    key if KEYED.contains(&key) => from_key_values(value),
                    "asDouble" | "sum" | "value" | "quantile" if value.is_number() => {
                        json!(value.as_f64())
                    }
                    "explicitBounds" => value
                        .as_array()
                        .into_iter()
                        .flatten()
                        .map(|one| json!(one.as_f64()))
                        .collect(),
                    _ => from_otlp(value),
                };
                (key.clone(), new)
            })
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(values) => values.iter().map(from_otlp).collect(),
        other => other.clone(),
    }
}

/// The protobuf of a request.
pub(crate) fn bytes(signal: Signal, request: &Value) -> Vec<u8> {
    let text = to_otlp(request).to_string();
    json::to_protobuf(signal, text.as_bytes(), json::DEPTH_LIMIT).unwrap()
}

/// A protobuf request as plain JSON.
pub(crate) fn shown(signal: Signal, body: &[u8]) -> Value {
    let mut out = Vec::new();
    json::write(signal, &[Bytes::copy_from_slice(body)], &mut out);
    from_otlp(&serde_json::from_slice(&out).unwrap())
}

/// A request of these log records, in one resource and scope.
pub(crate) fn logs(records: &[Value]) -> Value {
    json!({"resourceLogs": [{
        "resource": {"attributes": {"host.name": "n1"}},
        "scopeLogs": [{"scope": {"name": "s", "version": "2"}, "logRecords": records}],
    }]})
}

/// The same of spans.
pub(crate) fn spans(spans: &[Value]) -> Value {
    json!({"resourceSpans": [{
        "resource": {"attributes": {"host.name": "n1"}},
        "scopeSpans": [{"scope": {"name": "s"}, "spans": spans}],
    }]})
}

/// The same of metrics.
pub(crate) fn metrics(metrics: &[Value]) -> Value {
    json!({"resourceMetrics": [{
        "resource": {"attributes": {"host.name": "n1"}},
        "scopeMetrics": [{"scope": {"name": "s"}, "metrics": metrics}],
    }]})
}

/// The first log record of a request.
pub(crate) fn record(request: &Value) -> Value {
    request["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0].clone()
}

/// The first span.
pub(crate) fn span(request: &Value) -> Value {
    request["resourceSpans"][0]["scopeSpans"][0]["spans"][0].clone()
}

/// All metrics.
pub(crate) fn metric_list(request: &Value) -> Vec<Value> {
    let list = &request["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
    list.as_array().cloned().unwrap_or_default()
}
