//! An exception of OpenTelemetry as traces of Rollbar: frames with the outermost first, and the
//! chain from the exception that was raised last to its causes.

use super::parts::{Known, Parts};
use crate::exporters::{
    json::Json,
    stack::{self, Exception, Frame, Trace},
};

/// Most bytes of a stack trace that are read; the memory for reading is in proportion to it.
pub(super) const STACK: usize = 128 << 10;

/// Frames that come before the code that has failed: they record the stack itself.
const RECORDERS: [&str; 5] = [
    "runtime/debug.Stack(",
    "runtime.gopanic(",
    "panic(",
    "go.opentelemetry.io/otel/sdk/trace.recordStackTrace(",
    "go.opentelemetry.io/otel/sdk/trace.(*recordingSpan).",
];

/// Writes `trace` or `trace_chain`; whether it says all that the stack trace says, of which `most`
/// bytes are read.
pub(super) fn write(json: &mut Json, parts: &Parts<'_>, language: &str, most: usize) -> bool {
    let [kind, message, trace] = texts(parts, most);
    let is_cut = trace.len() < parts.text(Known::Stack).unwrap_or_default().len();
    let Trace { chain, is_whole } = stack::read(language, kind, message, trace);
    let mut traces = chain.iter().peekable();
    let is_chain = chain.len() > 1;
    if is_chain {
        json.key(b"trace_chain");
        json.begin_list();
    } else {
        json.key(b"trace");
    }
    // The frames of the exception before, of which a cause may share the outer ones.
    let mut before: Vec<&Frame<'_>> = Vec::new();
    while let Some(exception) = traces.next() {
        let mut frames: Vec<&Frame<'_>> = exception.frames.iter().collect();
        let shared = before.len().saturating_sub(exception.shared);
        frames.extend_from_slice(&before[shared..]);
        write_trace(json, exception, &frames);
        before = if traces.peek().is_some() { frames } else { Vec::new() };
    }
    if is_chain {
        json.end_list();
    }
    is_whole && !is_cut
}

/// Type, message and stack trace. The door lets UTF-8 in only, unless it is told not to look.
fn texts<'a>(parts: &Parts<'a>, most: usize) -> [&'a str; 3] {
    let text = |known| {
        let text = parts.text(known).unwrap_or_default();
        match std::str::from_utf8(text) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&text[..error.valid_up_to()]).unwrap_or_default(),
        }
    };
    let trace = text(Known::Stack);
    let some = &trace[..trace.floor_char_boundary(most)];
    let end = if some.len() < trace.len() { some.rfind('\n').unwrap_or(0) } else { some.len() };
    [text(Known::Type), text(Known::Message), &some[..end]]
}

fn write_trace(json: &mut Json, exception: &Exception<'_>, frames: &[&Frame<'_>]) {
    json.begin();
    json.key(b"frames");
    json.begin_list();
    let is_recorder =
        |frame: &&&Frame<'_>| RECORDERS.iter().any(|recorder| frame.label.starts_with(recorder));
    let recorders = frames.iter().take_while(is_recorder).count();
    // A stack that is nothing but recorders stays as it is.
    let from = if recorders == frames.len() { 0 } else { recorders };
    for frame in frames[from..].iter().rev() {
        if json.is_over() {
            break;
        }
        json.begin();
        let path = if frame.path.is_empty() { "<unknown>" } else { frame.path };
        json.text_at("filename", path.as_bytes());
        for (name, number) in [("lineno", frame.line), ("colno", frame.column)] {
            if number > 0 {
                json.int_at(name, number);
            }
        }
        for (name, text) in [("method", frame.label), ("code", frame.code)] {
            if !text.is_empty() {
                json.text_at(name, text.as_bytes());
            }
        }
        json.end();
    }
    json.end_list();
    json.begin_at("exception");
    // Rollbar asks for a class.
    let class = if exception.kind.is_empty() { "Error" } else { &*exception.kind };
    json.text_at("class", class.as_bytes());
    json.text_at("message", exception.message.as_bytes());
    json.end();
    json.end();
}
