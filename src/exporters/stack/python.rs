//! Python.

use std::borrow::Cow;

use super::{Exception, Frame, Trace, is_head, lines};

pub(super) const DURING: &str =
    "During handling of the above exception, another exception occurred:";
pub(super) const DIRECT: &str =
    "The above exception was the direct cause of the following exception:";

/// Innermost frames are last, and causes first. There are lines of source between frames, and from
/// 3.11 on lines of `^` and `~` below them.
pub(super) fn read<'a>(kind: &'a str, message: &'a str, trace: &'a str) -> Trace<'a> {
    let all: Vec<&str> = lines(trace).collect();
    let parts = all.split(|line| *line == DURING || *line == DIRECT);
    let parts: Vec<&[&str]> = parts.collect();
    let mut chain = Vec::new();
    let mut is_whole = true;
    for (at, part) in parts.iter().rev().enumerate() {
        let frames = frames(part);
        is_whole &= is_known(part);
        // After the last frame and its source comes the exception, at the beginning of its line.
        let after = &part[said_from(part)..];
        if at == 0 {
            is_whole &= is_head(&after.join("\n"), kind, message);
            chain.push(Exception::new(kind, message, frames));
            continue;
        }
        let mut words = after.iter();
        let first = words.next().copied().unwrap_or_default();
        let (kind, message) = first.split_once(": ").unwrap_or((first.trim_end_matches(':'), ""));
        let mut message = Cow::Borrowed(message);
        for line in words.filter(|line| !line.is_empty()) {
            message.to_mut().push('\n');
            message.to_mut().push_str(line);
        }
        chain.push(Exception { message, ..Exception::new(kind, "", frames) });
    }
    Trace { chain, is_whole }
}

/// The frames of a part, innermost first, each with the line of source below it.
fn frames<'a>(part: &[&'a str]) -> Vec<Frame<'a>> {
    let mut below = "";
    let mut found = Vec::new();
    for line in part.iter().rev() {
        if let Some(frame) = frame(line) {
            let code = below.strip_prefix("    ").unwrap_or_default().trim();
            found.push(Frame { code, ..frame });
        }
        below = line;
    }
    found
}

/// Where the exception begins: after the last frame and its source, at the beginning of a line.
fn said_from(part: &[&str]) -> usize {
    let last = part.iter().rposition(|line| frame(line).is_some()).map_or(0, |last| last + 1);
    let is_before =
        |line: &&&str| line.starts_with(' ') || line.is_empty() || line.starts_with("Traceback ");
    last + part[last..].iter().take_while(is_before).count()
}

/// Whether every line before the exception is a frame, or source below one.
fn is_known(part: &[&str]) -> bool {
    let mut is_below = false;
    part[..said_from(part)].iter().all(|line| {
        let is_frame = frame(line).is_some();
        is_below |= is_frame;
        is_frame
            || line.trim().is_empty()
            || *line == "Traceback (most recent call last):"
            || is_below && line.starts_with("    ")
    })
}

/// `  File "path", line 12, in function`. A path may have commas.
pub(super) fn frame(line: &str) -> Option<Frame<'_>> {
    let rest = line.strip_prefix("  File ")?;
    let (path, rest) = match rest.strip_prefix('"') {
        Some(quoted) => quoted.split_once("\", line ")?,
        None => rest.rsplit_once(", line ")?,
    };
    let (number, label) = rest.split_once(", in ").unwrap_or((rest, ""));
    Some(Frame::new(path, number.trim().parse().ok()?, label))
}
