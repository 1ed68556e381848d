//! Exceptions of an item: their attributes, and a stack trace as their language prints one.
//!
//! The traces are kept whole as JSON, since frames have more than a stack trace says: columns,
//! lines of source around, local variables. Class and message of the first exception are not in
//! that JSON but in `exception.type` and `exception.message`, and processors may change them there.

use super::{
    envelope::Refused,
    item::{Kept, language, text_of},
};
use crate::{
    otlp::wire::put_bytes,
    receivers::json::{self, Json, Members, find},
};

/// Traces, the exception that was raised last first, then its causes.
pub(super) struct Chain<'m, 'a>(Vec<&'m Members<'a>>);

impl<'m, 'a> Chain<'m, 'a> {
    pub(super) fn of(
        traces: impl Iterator<Item = &'m Json<'a>>,
        kind: &'static str,
    ) -> Result<Self, Refused> {
        let of_map = |trace: &'m Json<'a>| match trace {
            Json::Map(members) => Ok(members),
            _ => Err(Refused::Shape(kind)),
        };
        let all: Vec<_> = traces.map(of_map).collect::<Result<_, _>>()?;
        if all.is_empty() { Err(Refused::Shape(kind)) } else { Ok(Chain(all)) }
    }
}

/// Writes a trace or a chain: attributes, and `class: message` as the body of the record.
pub(super) fn write_trace(
    chain: &Chain<'_, '_>,
    kind: &'static str,
    data: &Members<'_>,
    kept: &mut Kept<'_>,
    text: &mut Vec<u8>,
) -> Result<(), Refused> {
    let (first, causes) = chain.0.split_first().ok_or(Refused::Shape(kind))?;
    let Json::Map(exception) = find(first, "exception") else { return Err(Refused::NoClass) };
    let class = text_of(exception, "class").ok_or(Refused::NoClass)?;
    let names = &[("class", "exception.type"), ("message", "exception.message")];
    kept.keep_named("exception", exception, names);

    let mut trace = String::with_capacity(1024);
    let printed = if let Some(stack) = raw_stack(data) {
        stack
    } else {
        print(&chain.0, language(data).unwrap_or_default(), &mut trace);
        &*trace
    };
    kept.attributes.text("exception.stacktrace", printed);

    let mut traces = Vec::with_capacity(4096);
    if kind == "trace_chain" {
        traces.push(b'[');
    }
    json::write_map(first, "exception", &mut traces);
    for cause in causes {
        traces.push(b',');
        json::write_map(cause, "", &mut traces);
    }
    if kind == "trace_chain" {
        traces.push(b']');
    }
    kept.attributes.text(&format!("rollbar.body.{kind}"), &String::from_utf8_lossy(&traces));

    let mut said = String::new();
    head(class, text_of(exception, "message").unwrap_or_default(), &mut said);
    put_bytes(text, 1, said.as_bytes());
    Ok(())
}

/// The stack as the engine of JavaScript printed it, which rollbar.js adds in Node.js.
fn raw_stack<'m>(data: &'m Members<'_>) -> Option<&'m str> {
    let mut at = data;
    for name in ["notifier", "diagnostic", "raw_error"] {
        let Json::Map(inner) = find(at, name) else { return None };
        at = inner;
    }
    text_of(at, "stack")
}

/// How a stack trace is printed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Python,
    Java,
    Script,
}

/// Between a cause and what it caused, in Python.
const DIRECT: &str = "\nThe above exception was the direct cause of the following exception:\n\n";

fn print(chain: &[&Members<'_>], language: &str, out: &mut String) {
    let form = match language {
        "python" => Form::Python,
        "java" | "kotlin" | "scala" | "php" => Form::Java,
        _ => Form::Script,
    };
    if form == Form::Python {
        for (at, trace) in chain.iter().rev().enumerate() {
            if at > 0 {
                out.push_str(DIRECT);
            }
            out.push_str("Traceback (most recent call last):\n");
            for frame in frames(trace) {
                print_frame(frame, form, out);
            }
            let (class, message) = said(trace);
            head(class, message, out);
            out.push('\n');
        }
        return;
    }
    for (at, trace) in chain.iter().enumerate() {
        if at > 0 {
            out.push_str("\nCaused by: ");
        }
        let (class, message) = said(trace);
        head(class, message, out);
        for frame in frames(trace).iter().rev() {
            print_frame(frame, form, out);
        }
    }
}

/// The frames of a trace, the outermost first.
fn frames<'m, 'a>(trace: &'m Members<'a>) -> &'m [Json<'a>] {
    match find(trace, "frames") {
        Json::List(frames) => frames,
        _ => &[],
    }
}

/// The class and the message of a trace.
fn said<'m>(trace: &'m Members<'_>) -> (&'m str, &'m str) {
    let Json::Map(exception) = find(trace, "exception") else { return ("", "") };
    let text = |name| text_of(exception, name).unwrap_or_default();
    (text("class"), text("message"))
}

fn head(class: &str, message: &str, out: &mut String) {
    out.push_str(class);
    if !message.is_empty() {
        out.push_str(": ");
        out.push_str(message);
    }
}

fn print_frame(frame: &Json<'_>, form: Form, out: &mut String) {
    let Json::Map(frame) = frame else { return };
    let text = |name| text_of(frame, name).unwrap_or_default();
    let number = |name| find(frame, name).number().unwrap_or_default();
    let (file, method) = (text("filename"), text("method"));
    let (line, column) = (number("lineno"), number("colno"));
    let mut push = |parts: &[&str]| parts.iter().for_each(|part| out.push_str(part));
    match form {
        Form::Python => {
            let line = if line.is_empty() { "0" } else { line };
            push(&["  File \"", file, "\", line ", line]);
            if !method.is_empty() {
                push(&[", in ", method]);
            }
            push(&["\n"]);
            let code = text("code").trim();
            if !code.is_empty() {
                push(&["    ", code, "\n"]);
            }
        }
        Form::Java => {
            push(&["\n\tat "]);
            let class = text("className");
            if !class.is_empty() && !method.starts_with(class) {
                push(&[class, "."]);
            }
            push(&[method, "(", file]);
            if !line.is_empty() {
                push(&[":", line]);
            }
            push(&[")"]);
        }
        Form::Script => {
            push(&["\n    at "]);
            if !method.is_empty() {
                push(&[method, " ("]);
            }
            push(&[file]);
            for part in [line, column].into_iter().filter(|part| !part.is_empty()) {
                push(&[":", part]);
            }
            if !method.is_empty() {
                push(&[")"]);
            }
        }
    }
}
