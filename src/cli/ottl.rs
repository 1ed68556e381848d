//! `skep ottl`: one statement or condition of OTTL on an OTLP/JSON document, with what it was
//! compiled to, its result, and why. The quickest way to learn the language.

use std::{
    fmt::Write as _,
    fs,
    io::{IsTerminal as _, Read as _},
};

use bytes::Bytes;
use serde_json::{Value, json};

use super::{CONFIG, IO, USAGE, print::output};
use crate::{
    otlp::{Signal, json as otlp_json, purse::Purse},
    ottl::{
        Changed, Context, ErrorMode, Fate, Group, Item, Located, Program, Stop, Walk, functions,
        signature, walk,
    },
};

/// The arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A statement such as `set(span.name, "x") where span.kind == 2`, or a condition.
    #[arg(value_name = "TEXT", required_unless_present = "functions")]
    text: Option<String>,
    /// A file of OTLP/JSON: a request, or one span, metric or log record. Standard input if absent;
    /// without either the text is only compiled.
    #[arg(value_name = "FILE")]
    file: Option<String>,
    /// What the text runs on, if its paths do not say it: `span`, `log`, `datapoint`, ...
    #[arg(long, value_name = "CONTEXT")]
    context: Option<String>,
    /// Lists all functions.
    #[arg(long)]
    functions: bool,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> u8 {
    if arguments.functions {
        return output(&listed());
    }
    let context = match arguments.context.as_deref().map(|name| (name, Context::named(name))) {
        None => None,
        Some((_, Some(context))) if context != Context::Request => Some(context),
        Some((name, _)) => return complain(USAGE, &format!("`{name}` is not a context")),
    };
    let text = arguments.text.as_deref().unwrap_or_default();
    let document = match document(arguments.file.as_deref()) {
        Ok(document) => document,
        Err(words) => return complain(IO, &words),
    };
    let request = match document.map(|text| request(&text, context)).transpose() {
        Ok(request) => request,
        Err(words) => return complain(CONFIG, &words),
    };
    let signals = match (&request, context) {
        (Some((signal, _)), _) => vec![*signal],
        (None, Some(context)) => {
            Signal::ALL.into_iter().filter(|s| Context::of_signal(*s).contains(&context)).collect()
        }
        (None, None) => Signal::ALL.to_vec(),
    };
    let (signal, program, warnings) = match compiled(text, context, &signals) {
        Ok(compiled) => compiled,
        Err(words) => return complain(CONFIG, &words),
    };
    // Writing to a string cannot fail.
    let mut out = String::new();
    for line in program.explain() {
        let _ = writeln!(out, "compiled for {}: {line}", program.context().name());
    }
    for located in &warnings {
        let _ = writeln!(out, "warning: {}", located.problem.shown(text));
    }
    if let Some((_, body)) = request {
        out.push_str(&results(signal, &program, &body));
    }
    output(&out)
}

#[expect(clippy::print_stderr, reason = "this is the command line")]
fn complain(code: u8, words: &str) -> u8 {
    eprintln!("{words}");
    code
}

/// All functions with their parameters.
fn listed() -> String {
    let mut all: Vec<_> = functions().collect();
    all.sort_by_key(|function| (!function.is_editor(), function.name));
    let lines = all.iter().map(|f| format!("{}\n    {}\n", signature(f), f.words));
    lines.collect()
}

fn document(file: Option<&str>) -> Result<Option<String>, String> {
    let mut text = String::new();
    match file {
        Some(file) => {
            text = fs::read_to_string(file)
                .map_err(|error| format!("could not read `{file}`: {error}"))?;
        }
        None if std::io::stdin().is_terminal() => return Ok(None),
        None => {
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|error| format!("could not read standard input: {error}"))?;
        }
    }
    Ok(Some(text).filter(|text| !text.trim().is_empty()))
}

/// The request of a document; an item is put into one.
fn request(text: &str, context: Option<Context>) -> Result<(Signal, Vec<u8>), String> {
    let mut document: Value =
        serde_json::from_str(text).map_err(|error| format!("the document is not JSON: {error}"))?;
    let names = [
        (Signal::Traces, "resourceSpans", "scopeSpans", "spans", "spanId"),
        (Signal::Metrics, "resourceMetrics", "scopeMetrics", "metrics", "unit"),
        (Signal::Logs, "resourceLogs", "scopeLogs", "logRecords", "body"),
    ];
    let whole = names.iter().find(|(_, entries, ..)| document.get(entries).is_some());
    let signal = if let Some((signal, ..)) = whole {
        *signal
    } else {
        let is_kind = |signal: Signal| {
            context.is_some_and(|context| {
                !matches!(context, Context::Resource | Context::Scope)
                    && Context::of_signal(signal).contains(&context)
            })
        };
        let data = ["gauge", "sum", "histogram", "exponentialHistogram", "summary"];
        let (signal, entries, scopes, items, _) = names
            .iter()
            .find(|(signal, ..)| is_kind(*signal))
            .or_else(|| names.iter().find(|(.., field)| document.get(field).is_some()))
            .or_else(|| {
                names.iter().find(|(signal, ..)| {
                    *signal == Signal::Metrics
                        && data.iter().any(|kind| document.get(kind).is_some())
                })
            })
            .ok_or("the document is neither a request nor an item; name it by `--context`")?;
        let item = document.take();
        document = json!({*entries: [{*scopes: [{*items: [item]}]}]});
        *signal
    };
    let text = document.to_string();
    let body = otlp_json::to_protobuf(signal, text.as_bytes(), otlp_json::DEPTH_LIMIT)
        .map_err(|error| error.to_string())?;
    Ok((signal, body))
}

/// Compiles a statement or else a condition, for the first signal that it fits.
fn compiled(
    text: &str,
    context: Option<Context>,
    signals: &[Signal],
) -> Result<(Signal, Program, Vec<Located>), String> {
    let is_statement = text.trim_start().starts_with(|c: char| c.is_ascii_lowercase())
        && text.find('(').is_some_and(|at| {
            text[..at].trim().chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                && text[..at].trim() != "not"
        });
    let mut first = None;
    for signal in signals {
        let one = [text];
        let (conditions, statements): (&[&str], &[&str]) =
            if is_statement { (&[], &one) } else { (&one, &[]) };
        let group = Group { signal: *signal, context, conditions, statements };
        match Program::compile(&group) {
            Ok((program, warnings)) => return Ok((*signal, program, warnings)),
            Err(problems) => first = first.or(Some(problems)),
        }
    }
    let shown: Vec<String> = first
        .unwrap_or_default()
        .iter()
        .map(|located| {
            let kind = if located.problem.is_warning { "warning" } else { "error" };
            format!("{kind}: {}", located.problem.shown(text))
        })
        .collect();
    Err(shown.join("\n"))
}

/// What the program does to each item.
fn results(signal: Signal, program: &Program, body: &[u8]) -> String {
    let mut out = String::new();
    let mut count = 0;
    let how = Walk { signal, context: program.context(), request: None, prunes: false };
    let changed = walk(&how, body, &mut Purse::default(), &mut |item: &mut Item<'_>| {
        count += 1;
        let _ = writeln!(out, "{} {count}:", program.context().name());
        for line in program.why(item) {
            let _ = writeln!(out, "  {line}");
        }
        let mut failures = Vec::new();
        let before = item.version();
        program.run(item, ErrorMode::Ignore, &mut |failure| failures.push(failure.to_string()))?;
        for failure in &failures {
            let _ = writeln!(out, "  {failure}");
        }
        if program.has_statements() && failures.is_empty() {
            let is_same = item.version() == before;
            out.push_str(if is_same { "  unchanged\n" } else { "  changed\n" });
        }
        Ok(Fate::Keep)
    });
    match changed {
        Ok(Changed::Body(new)) => {
            let mut json = Vec::new();
            otlp_json::write(signal, &[Bytes::from(new)], &mut json);
            let shown: Option<Value> = serde_json::from_slice(&json).ok();
            let _ = writeln!(out, "{:#}", shown.unwrap_or_default());
        }
        Ok(Changed::Nothing | Changed::Empty) => {}
        Err(Stop::Fault(fault)) => {
            let _ = writeln!(out, "{fault}");
        }
        Err(Stop::Refused(_)) => out.push_str("the document is too large\n"),
    }
    out
}
