//! Runs statements, conditions and expressions on requests in plain JSON.

use std::slice::from_ref;

use serde_json::Value;

use crate::{
    otlp::{
        Signal,
        check::{self, Utf8},
        plain::{bytes, logs, shown},
        purse::Purse,
    },
    ottl::{
        Changed, Context, ErrorMode, Fate, Group, Item, Program, Stop, Tier, Walk, Which, walk,
    },
};

/// What a run came to.
pub(super) struct Outcome {
    /// The whole request; null if nothing is left.
    pub(super) request: Value,
    /// What failed.
    pub(super) failures: Vec<String>,
    pub(super) is_changed: bool,
}

/// Runs a group on a request.
pub(super) fn run(
    signal: Signal,
    context: Option<Context>,
    request: &Value,
    statements: &[&str],
) -> Outcome {
    run_if(signal, context, request, &[], statements)
}

/// The same with conditions.
pub(super) fn run_if(
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
pub(super) fn filter(
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
pub(super) fn value(record: &Value, expression: &str) -> Result<Value, String> {
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
    let body = bytes(Signal::Logs, &logs(from_ref(record)));
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
pub(super) fn holds(record: &Value, condition: &str) -> Result<bool, String> {
    let program = match Program::conditions(Signal::Logs, Some(Context::Log), &[condition]) {
        Ok((program, _)) => program,
        Err(problems) => return Err(format!("start: {}", problems[0].problem.message)),
    };
    let body = bytes(Signal::Logs, &logs(from_ref(record)));
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
pub(super) fn problems(context: Context, statement: &str) -> (Vec<String>, Vec<String>) {
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
