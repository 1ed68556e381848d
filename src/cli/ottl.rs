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
    config::diagnostics::closest,
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
    let context = match arguments.context.as_deref().map(context).transpose() {
        Ok(context) => context,
        Err(words) => return complain(USAGE, &words),
    };
    let text = arguments.text.as_deref().unwrap_or_default();
    match checked(text, context, arguments.file.as_deref()) {
        Ok(checked) => output(&checked.shown(text)),
        Err((code, words)) => complain(code, &words),
    }
}

/// The context that is named; an error lists all.
fn context(name: &str) -> Result<Context, String> {
    let valid = || Context::ALL.into_iter().filter(|context| *context != Context::Request);
    Context::named(name).filter(|context| *context != Context::Request).ok_or_else(|| {
        let names: Vec<&str> = valid().map(Context::name).collect();
        let near = closest(name, names.iter().copied());
        let near = near.map_or_else(String::new, |near| format!("did you mean `{near}`? "));
        format!("error: `{name}` is not a context\n  = {near}valid: {}", names.join(", "))
    })
}

/// A program, and what it runs on.
struct Checked {
    signal: Signal,
    program: Program,
    warnings: Vec<Located>,
    /// The request; without a document there is none.
    body: Option<Vec<u8>>,
}

/// Compiles the text and reads the document. Mistakes of the text come first: from its paths
/// follows what the document is.
fn checked(
    text: &str,
    context: Option<Context>,
    file: Option<&str>,
) -> Result<Checked, (u8, String)> {
    let config = |words| (CONFIG, words);
    let (signal, program, warnings) =
        compiled(text, context, &signals(text, context)).map_err(config)?;
    let checked = Checked { signal, program, warnings, body: None };
    let Some(document) = document(file).map_err(|words| (IO, format!("error: {words}")))? else {
        return Ok(checked);
    };
    let runs_on = context.unwrap_or(checked.program.context());
    let (signal, body) =
        request(&document, runs_on).map_err(|words| (CONFIG, format!("error: {words}")))?;
    let checked = if signal == checked.signal {
        checked
    } else {
        let (signal, program, warnings) = compiled(text, context, &[signal]).map_err(config)?;
        Checked { signal, program, warnings, body: None }
    };
    Ok(Checked { body: Some(body), ..checked })
}

impl Checked {
    fn shown(&self, text: &str) -> String {
        let Checked { signal, program, warnings, body } = self;
        // Writing to a string cannot fail.
        let mut out = String::new();
        for line in program.explain() {
            let _ = writeln!(out, "compiled for {}: {line}", program.context().name());
        }
        for located in warnings {
            let _ = writeln!(out, "warning: {}", located.problem.shown(text));
        }
        if let Some(body) = body {
            out.push_str(&results(*signal, program, body));
        }
        out
    }
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

/// The request of a document; an item is put into one. What kind of item it is, `context` says
/// unless it is above items.
fn request(text: &str, context: Context) -> Result<(Signal, Vec<u8>), String> {
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
            !matches!(context, Context::Resource | Context::Scope | Context::Request)
                && Context::of_signal(signal).contains(&context)
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
            .ok_or(
                "nothing says whether the document is a span, a metric or a log record; \
                 add `--context span`, `metric` or `log`",
            )?;
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

/// The signals that the paths of a text may be about; all if it names none, or contexts of several.
fn signals(text: &str, context: Option<Context>) -> Vec<Signal> {
    let names = |context: &Context| {
        let name = format!("{}.", context.name());
        text.match_indices(&name).any(|(at, _)| {
            let is_within = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '"');
            !text[..at].ends_with(is_within)
        })
    };
    let known: Vec<Context> = match context {
        Some(context) => vec![context],
        // It is above the items of all signals.
        None => {
            Context::ALL.into_iter().filter(|one| *one != Context::Request && names(one)).collect()
        }
    };
    let fits =
        |signal: &Signal| known.iter().all(|context| Context::of_signal(*signal).contains(context));
    let fitting: Vec<Signal> = Signal::ALL.into_iter().filter(fits).collect();
    if fitting.is_empty() { Signal::ALL.to_vec() } else { fitting }
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
