//! Reads stack traces, as languages print them, into exceptions with frames.
//!
//! Any text can be read. If a line is neither a frame nor a part of what the exception says about
//! itself, the reading is not whole, and an exporter keeps the text beside the frames. Addresses,
//! modules of Java and numbers of goroutines are left out; a reading without them is still whole.
//!
//! The exporters `awsxray` and `rollbar` share this file.

mod java;
mod native;
mod python;
mod scripts;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

/// An exception with its frames, innermost first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Exception<'a> {
    pub(super) kind: Cow<'a, str>,
    pub(super) message: Cow<'a, str>,
    pub(super) frames: Vec<Frame<'a>>,
    /// How many outer frames are not printed, because they are those of the exception that this
    /// one caused (Java's `... 12 more`).
    pub(super) shared: usize,
}

impl<'a> Exception<'a> {
    fn new(kind: &'a str, message: &'a str, frames: Vec<Frame<'a>>) -> Self {
        Exception { kind: kind.into(), message: message.into(), frames, shared: 0 }
    }
}

/// A frame.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) path: &'a str,
    /// 0 where it is not known.
    pub(super) line: i64,
    /// 0 where it is not known; the first column is 1.
    pub(super) column: i64,
    pub(super) label: &'a str,
    /// The line of source below the frame, if the trace has one.
    pub(super) code: &'a str,
}

impl<'a> Frame<'a> {
    fn new(path: &'a str, line: i64, label: &'a str) -> Self {
        Frame { path, line, label, ..Frame::default() }
    }
}

/// What a trace was read into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trace<'a> {
    /// The exception itself first, then what caused it, each the cause of the one before.
    pub(super) chain: Vec<Exception<'a>>,
    /// Whether the chain says all that the text says.
    pub(super) is_whole: bool,
}

impl Trace<'_> {
    fn frames(&self) -> usize {
        self.chain.iter().map(|exception| exception.frames.len()).sum()
    }
}

/// How a trace is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Java,
    Python,
    /// Node.js and browsers that have its engine.
    V8,
    /// Firefox and Safari.
    Gecko,
    DotNet,
    Go,
    Ruby,
    Rust,
    Swift,
}

/// Reads the trace of an exception. `language` is `telemetry.sdk.language`; where there is none, or
/// the text is not of it, the text tells its form.
pub(super) fn read<'a>(
    language: &str,
    kind: &'a str,
    message: &'a str,
    trace: &'a str,
) -> Trace<'a> {
    let declared = declared(language);
    let first = declared.map(|form| form.read(kind, message, trace));
    let is_whole = first.as_ref().is_some_and(|first| first.is_whole);
    let found = if is_whole { None } else { detect(trace) };
    let second =
        found.filter(|form| declared != Some(*form)).map(|form| form.read(kind, message, trace));
    let rank = |trace: &Trace<'_>| (trace.is_whole, trace.frames());
    let best = match (first, second) {
        (Some(first), Some(second)) if rank(&second) > rank(&first) => Some(second),
        (first, second) => first.or(second),
    };
    best.unwrap_or_else(|| Trace {
        chain: vec![Exception::new(kind, message, Vec::new())],
        is_whole: is_head(trace, kind, message),
    })
}

fn declared(language: &str) -> Option<Form> {
    Some(match language {
        "java" | "php" => Form::Java,
        "python" => Form::Python,
        "javascript" | "nodejs" | "webjs" => Form::V8,
        "dotnet" => Form::DotNet,
        "go" => Form::Go,
        "ruby" => Form::Ruby,
        "rust" => Form::Rust,
        "swift" => Form::Swift,
        _ => return None,
    })
}

/// The form of the first line that only one form has.
fn detect(trace: &str) -> Option<Form> {
    lines(trace).find_map(|line| {
        let text = line.trim_start();
        if line.starts_with("Traceback (most recent") || python::frame(line).is_some() {
            Some(Form::Python)
        } else if text.starts_with("at ") {
            Some(if scripts::is_v8(text) {
                Form::V8
            } else if java::is_frame(text) {
                Form::Java
            } else {
                Form::DotNet
            })
        } else if line.starts_with("goroutine ") {
            Some(Form::Go)
        } else if native::swift(line).is_some() {
            Some(Form::Swift)
        } else if text.starts_with("0: ") {
            Some(Form::Rust)
        } else if scripts::gecko(line).is_some() {
            Some(Form::Gecko)
        } else if scripts::is_ruby(line) {
            Some(Form::Ruby)
        } else {
            None
        }
    })
}

impl Form {
    fn read<'a>(self, kind: &'a str, message: &'a str, trace: &'a str) -> Trace<'a> {
        let of_frames = |frame: fn(&'a str) -> Option<Frame<'a>>| {
            by_line(kind, message, trace, |line| match frame(line) {
                Some(frame) => Line::Frame(frame),
                None => Line::Other,
            })
        };
        match self {
            Form::Java => java::read(kind, message, trace),
            Form::Python => python::read(kind, message, trace),
            Form::V8 => of_frames(scripts::v8),
            Form::Gecko => of_frames(scripts::gecko),
            Form::Ruby => scripts::ruby(kind, message, trace),
            Form::DotNet => of_frames(native::dotnet),
            Form::Go => native::go(kind, message, trace),
            Form::Rust => native::rust(kind, message, trace),
            Form::Swift => by_line(kind, message, trace, native::swift_line),
        }
    }
}

/// What a line is.
enum Line<'a> {
    Frame(Frame<'a>),
    /// Where the one before is: path and line.
    Place(&'a str, i64),
    /// Says nothing.
    Nothing,
    Other,
}

/// Reads a trace of one frame a line, below what the exception says of itself.
fn by_line<'a>(
    kind: &'a str,
    message: &'a str,
    trace: &'a str,
    read: impl Fn(&'a str) -> Line<'a>,
) -> Trace<'a> {
    let mut frames: Vec<Frame<'a>> = Vec::new();
    let mut head = 0..0;
    let mut is_whole = true;
    let mut at = 0;
    for line in trace.split_inclusive('\n') {
        at += line.len();
        match read(line.trim_end_matches(['\r', '\n'])) {
            Line::Frame(frame) => frames.push(frame),
            Line::Place(path, number) => match frames.last_mut() {
                Some(last) if last.path.is_empty() => (last.path, last.line) = (path, number),
                _ => is_whole = false,
            },
            Line::Nothing => {}
            Line::Other if line.trim().is_empty() => {}
            Line::Other if frames.is_empty() && head.end == at - line.len() => head.end = at,
            Line::Other => is_whole = false,
        }
    }
    is_whole &= is_head(&trace[head], kind, message);
    let chain = vec![Exception::new(kind, message, frames)];
    Trace { chain, is_whole }
}

fn lines(trace: &str) -> impl DoubleEndedIterator<Item = &str> {
    trace.lines().map(|line| line.trim_end_matches('\r'))
}

/// Whether a text says of an exception no more than its kind and message do.
fn is_head(text: &str, kind: &str, message: &str) -> bool {
    let (text, message) = (text.trim(), message.trim());
    if text.is_empty() || text == message {
        return true;
    }
    let of_kind = match text.strip_suffix(message) {
        Some(before) if !message.is_empty() => before.strip_suffix(": "),
        _ if message.is_empty() => Some(text.strip_suffix(':').unwrap_or(text)),
        _ => None,
    };
    of_kind.is_some_and(|of_kind| kind.ends_with(of_kind))
}

/// The column of `path:line:column`; 0 where there is none.
fn column(text: &str) -> i64 {
    let mut parts = text.rsplitn(3, ':').map(|part| part.trim().parse::<i64>().ok());
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some(column), Some(_)) => column,
        _ => 0,
    }
}

/// `path:line`; what follows the line, as in `path:line:column`, is left out.
fn place(text: &str) -> (&str, i64) {
    let (path, line) = text.rsplit_once(':').unwrap_or((text, ""));
    let number = |text: &str| text.trim().parse::<i64>().ok();
    match (number(line), path.rsplit_once(':')) {
        (Some(_), Some((path, line))) if number(line).is_some() => {
            (path, number(line).unwrap_or(0))
        }
        (Some(line), _) => (path, line),
        (None, _) => (text, 0),
    }
}
