//! Requests in plain JSON for tests: attributes are objects, values are what they are. Integers and
//! doubles are told apart by the decimal point.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::{
    otlp::{
        Signal,
        check::{self, Utf8},
        json as otlp_json,
        purse::Purse,
    },
    ottl::{
        Changed, Context, ErrorMode, Fate, Group, Item, Program, Stop, Tier, Walk, Which, walk,
    },
};

/// What a run came to.
pub(crate) struct Outcome {
    /// The whole request; null if nothing is left.
    pub(crate) request: Value,
    /// What failed.
    pub(crate) failures: Vec<String>,
    pub(crate) is_changed: bool,
}

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

pub(crate) fn bytes(signal: Signal, request: &Value) -> Vec<u8> {
    let text = to_otlp(request).to_string();
    otlp_json::to_protobuf(signal, text.as_bytes(), otlp_json::DEPTH_LIMIT).unwrap()
}

pub(crate) fn shown(signal: Signal, body: &[u8]) -> Value {
    let mut out = Vec::new();
    otlp_json::write(signal, &[Bytes::copy_from_slice(body)], &mut out);
    from_otlp(&serde_json::from_slice(&out).unwrap())
}

/// Runs a group on a request.
pub(crate) fn run(
    signal: Signal,
    context: Option<Context>,
    request: &Value,
    statements: &[&str],
) -> Outcome {
    run_if(signal, context, request, &[], statements)
}

/// The same with conditions.
pub(crate) fn run_if(
    signal: Signal,
    context: Option<Context>,
    request: &Value,
    conditions: &[&str],
    statements: &[&str],
) -> Outcome {
    let group = Group { signal, context, conditions, statements };
    let program = match Program::compile(&group) {
        Ok((program, _)) => program,
        Err(problems) => panic!("{statements:?}: {problems:?}"),
    };
    let body = bytes(signal, request);
    let mut failures = Vec::new();
    let how = Walk { signal, context: program.context(), request: None, prunes: false };
    let changed = walk(&how, &body, &mut Purse::default(), &mut |item| {
        program.run(item, ErrorMode::Ignore, &mut |failure| failures.push(failure.to_string()))?;
        Ok(Fate::Keep)
    });
    outcome(signal, &body, changed.unwrap(), failures)
}

fn outcome(signal: Signal, body: &[u8], changed: Changed, failures: Vec<String>) -> Outcome {
    match changed {
        Changed::Nothing => Outcome { request: shown(signal, body), failures, is_changed: false },
        Changed::Body(body) => {
            check::check(signal, &body, Utf8::Strict).expect("an edited request is valid");
            Outcome { request: shown(signal, &body), failures, is_changed: true }
        }
        Changed::Empty => Outcome { request: Value::Null, failures, is_changed: true },
    }
}

/// Drops the items for which a condition holds, as the processor `filter` does.
pub(crate) fn filter(
    signal: Signal,
    context: Option<Context>,
    request: &Value,
    conditions: &[&str],
) -> Outcome {
    let (program, _) = Program::conditions(signal, context, conditions).unwrap();
    let body = bytes(signal, request);
    let mut failures = Vec::new();
    let how = Walk { signal, context: program.context(), request: None, prunes: true };
    let changed = walk(&how, &body, &mut Purse::default(), &mut |item| {
        let report = &mut |failure: &crate::ottl::Failure<'_>| failures.push(failure.to_string());
        let holds = program.matches(item, ErrorMode::Ignore, report)?;
        Ok(if holds { Fate::Drop } else { Fate::Keep })
    });
    outcome(signal, &body, changed.unwrap(), failures)
}

/// The value of an expression on a log record, or its failure.
pub(crate) fn value(record: &Value, expression: &str) -> Result<Value, String> {
    let statement = format!("set(cache[\"result\"], {expression})");
    let group = Group {
        signal: Signal::Logs,
        context: Some(Context::Log),
        conditions: &[],
        statements: &[&statement],
    };
    let program = match Program::compile(&group) {
        Ok((program, _)) => program,
        Err(problems) => return Err(format!("start: {}", problems[0].problem.message)),
    };
    let body = bytes(Signal::Logs, &logs(record));
    let how = Walk { signal: Signal::Logs, context: Context::Log, request: None, prunes: false };
    let mut found = None;
    let result = walk(&how, &body, &mut Purse::default(), &mut |item| {
        program.run(item, ErrorMode::Propagate, &mut |_| {})?;
        found = Some(cached(item));
        Ok(Fate::Keep)
    });
    match result {
        Ok(_) => Ok(found.unwrap_or(Value::Null)),
        Err(Stop::Fault(fault)) => Err(fault.to_string()),
        Err(Stop::Refused(reason)) => Err(format!("{reason:?}")),
    }
}

/// What is under `result` in the cache.
fn cached(item: &Item<'_>) -> Value {
    let list = item.bytes(Tier::Cache);
    let mut record = Vec::new();
    let mut any = Vec::new();
    crate::otlp::wire::put_bytes(&mut any, 6, list);
    crate::otlp::wire::put_bytes(&mut record, 5, &any);
    let mut scope = Vec::new();
    crate::otlp::wire::put_bytes(&mut scope, 2, &record);
    let mut entry = Vec::new();
    crate::otlp::wire::put_bytes(&mut entry, 2, &scope);
    let mut body = Vec::new();
    crate::otlp::wire::put_bytes(&mut body, 1, &entry);
    let shown = shown(Signal::Logs, &body);
    shown["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["body"]["result"].clone()
}

/// Whether a condition holds for a log record.
pub(crate) fn holds(record: &Value, condition: &str) -> Result<bool, String> {
    let program = match Program::conditions(Signal::Logs, Some(Context::Log), &[condition]) {
        Ok((program, _)) => program,
        Err(problems) => return Err(format!("start: {}", problems[0].problem.message)),
    };
    let body = bytes(Signal::Logs, &logs(record));
    let how = Walk { signal: Signal::Logs, context: Context::Log, request: None, prunes: false };
    let mut found = false;
    let result = walk(&how, &body, &mut Purse::default(), &mut |item| {
        found = program.matches(item, ErrorMode::Propagate, &mut |_| {})?;
        Ok(Fate::Keep)
    });
    match result {
        Ok(_) => Ok(found),
        Err(Stop::Fault(fault)) => Err(fault.to_string()),
        Err(Stop::Refused(reason)) => Err(format!("{reason:?}")),
    }
}

/// The problems of a statement at the start: errors, then warnings.
pub(crate) fn problems(context: Context, statement: &str) -> (Vec<String>, Vec<String>) {
    let signal = match context {
        Context::Log => Signal::Logs,
        Context::Metric | Context::DataPoint | Context::Exemplar => Signal::Metrics,
        _ => Signal::Traces,
    };
    let group = Group { signal, context: Some(context), conditions: &[], statements: &[statement] };
    let found = match Program::compile(&group) {
        Ok((_, warnings)) => warnings,
        Err(problems) => problems,
    };
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    for located in found {
        assert_eq!(located.which, Which::Statement(0));
        let shown = located.problem.shown(statement).to_string();
        if located.problem.is_warning { warnings.push(shown) } else { errors.push(shown) }
    }
    (errors, warnings)
}

/// A request of one log record.
pub(crate) fn logs(record: &Value) -> Value {
    many_logs(std::slice::from_ref(record))
}

pub(crate) fn many_logs(records: &[Value]) -> Value {
    json!({"resourceLogs": [{
        "resource": {"attributes": {"host.name": "n1"}},
        "scopeLogs": [{"scope": {"name": "s", "version": "2"}, "logRecords": records}],
    }]})
}

pub(crate) fn spans(spans: &[Value]) -> Value {
    json!({"resourceSpans": [{
        "resource": {"attributes": {"host.name": "n1"}},
        "scopeSpans": [{"scope": {"name": "s"}, "spans": spans}],
    }]})
}

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

pub(crate) fn span(request: &Value) -> Value {
    request["resourceSpans"][0]["scopeSpans"][0]["spans"][0].clone()
}

pub(crate) fn metric_list(request: &Value) -> Vec<Value> {
    let list = &request["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
    list.as_array().cloned().unwrap_or_default()
}
