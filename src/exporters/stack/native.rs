//! Languages that are compiled: .NET, Go, Rust, Swift.

use super::{Frame, Line, Trace, by_line, place};

/// `at label in path:line 12`, or `at label`.
pub(super) fn dotnet(line: &str) -> Option<Frame<'_>> {
    let frame = line.trim().strip_prefix("at ")?;
    let Some((label, text)) = frame.rsplit_once(" in ") else {
        return Some(Frame { label: frame, ..Frame::default() });
    };
    let place = text.rsplit_once(":line ");
    let place = place.and_then(|(path, number)| Some((path, number.trim().parse().ok()?)));
    let (path, line) = place.unwrap_or((text, 0));
    Some(Frame::new(path, line, label))
}

/// Pairs of lines, the function and `\tpath:12 +0x1d`, after `goroutine 1 [running]:`.
pub(super) fn go<'a>(kind: &'a str, message: &'a str, trace: &'a str) -> Trace<'a> {
    let mut read = by_line(kind, message, trace, |line| {
        if line.starts_with("goroutine ") && line.ends_with(':') {
            Line::Nothing
        } else if line.starts_with(['\t', ' ']) {
            let text = line.trim();
            let text = text.split_once(" +0x").map_or(text, |(text, _)| text);
            let (path, number) = place(text);
            Line::Place(path, number)
        } else if line.is_empty() || line.starts_with("panic: ") {
            Line::Other
        } else {
            Line::Frame(Frame { label: line.trim(), ..Frame::default() })
        }
    });
    // Without a place it is not a frame.
    let Some(exception) = read.chain.first_mut() else { return read };
    let before = exception.frames.len();
    exception.frames.retain(|frame| !frame.path.is_empty());
    read.is_whole &= exception.frames.len() == before;
    read
}

/// `   4: label`, and below it `             at path:12:5`, as `Backtrace` prints.
pub(super) fn rust<'a>(kind: &'a str, message: &'a str, trace: &'a str) -> Trace<'a> {
    by_line(kind, message, trace, |line| {
        if let Some(label) = rust_label(line) {
            Line::Frame(Frame { label, ..Frame::default() })
        } else if let Some(text) = line.trim_start().strip_prefix("at ") {
            let (path, number) = place(text);
            Line::Place(path, number)
        } else if line == "stack backtrace:" || line.starts_with("note: ") {
            Line::Nothing
        } else {
            Line::Other
        }
    })
}

/// The text after the number of a frame, without its address.
fn rust_label(line: &str) -> Option<&str> {
    let (number, label) = line.trim_start().split_once(": ")?;
    number.parse::<u32>().ok()?;
    let label = label.trim_start();
    match label.strip_prefix("0x").and_then(|text| text.split_once(" - ")) {
        Some((address, label)) if is_hex(address) => Some(label),
        _ => Some(label),
    }
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A line of a backtrace of Swift.
pub(super) fn swift_line(line: &str) -> Line<'_> {
    let is_title = line.starts_with("Thread ") && line.ends_with(':');
    match swift(line) {
        Some(frame) => Line::Frame(frame),
        None if is_title => Line::Nothing,
        None => Line::Other,
    }
}

/// `3   Image   0x0000000102e4c1a8 symbol + 123` of `Thread.callStackSymbols`, and
/// `3 [ra] 0x0000000000401234 symbol + 16 in image at /path/file.swift:12:5` of backtraces.
pub(super) fn swift(line: &str) -> Option<Frame<'_>> {
    let (number, rest) = line.trim_start().split_once(char::is_whitespace)?;
    number.parse::<u32>().ok()?;
    let at = rest.find("0x")?;
    let (before, rest) = (rest[..at].trim(), &rest[at + 2..]);
    let (address, label) = rest.split_once(char::is_whitespace)?;
    if !is_hex(address) {
        return None;
    }
    if !before.is_empty() && !before.starts_with('[') {
        return Some(Frame::new(before, 0, label));
    }
    match label.rsplit_once(" at ") {
        Some((label, text)) => {
            let (path, line) = place(text);
            Some(Frame::new(path, line, label))
        }
        None => Some(Frame::new("", 0, label)),
    }
}
