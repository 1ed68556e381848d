//! JavaScript of all engines, and Ruby.

use super::{Exception, Frame, Trace, column, is_head, place};

/// `    at label (path:line:column)` or `    at path:line:column`.
pub(super) fn v8(line: &str) -> Option<Frame<'_>> {
    let frame = line.trim_start().strip_prefix("at ")?;
    let (label, text) = match frame.rsplit_once(" (") {
        Some((label, text)) => (label.trim(), text.trim_end().trim_end_matches(')')),
        None => ("", frame.trim_end()),
    };
    let (path, number) = place(text);
    if number == 0 && text == "native" {
        return Some(Frame::new("native", 0, label));
    }
    Some(Frame { column: column(text), ..Frame::new(path, number, label) })
}

/// Whether a line, after its blanks, can only be a frame of V8: with a column, or without a place.
pub(super) fn is_v8(line: &str) -> bool {
    let place = line.rsplit_once(" (").map_or(line, |(_, place)| place).trim_end_matches(')');
    has_column(place) || line.ends_with(" (<anonymous>)") || line.ends_with(" (native)")
}

fn has_column(text: &str) -> bool {
    let mut parts = text.rsplitn(3, ':');
    let mut is_number = || parts.next().is_some_and(|part| part.parse::<u32>().is_ok());
    is_number() && is_number() && parts.next().is_some_and(|path| !path.is_empty())
}

/// `label@url:line:column`, also without a label. URLs may contain `@`, too.
pub(super) fn gecko(line: &str) -> Option<Frame<'_>> {
    let line = line.trim();
    if line == "[native code]" {
        return Some(Frame { path: line, ..Frame::default() });
    }
    let (label, text) = line.split_once('@')?;
    if text == "[native code]" {
        return Some(Frame::new(text, 0, label));
    }
    if !has_column(text) {
        return None;
    }
    let (path, line) = place(text);
    Some(Frame { column: column(text), ..Frame::new(path, line, label) })
}

/// A frame of Ruby, and the text after it.
struct Of<'a> {
    frame: Frame<'a>,
    rest: &'a str,
}

/// ``path:12:in `label'``, from Ruby 3.4 on `path:12:in 'label'`.
fn ruby_frame(line: &str) -> Option<Of<'_>> {
    let text = line.trim_start();
    let text = text.strip_prefix("from ").unwrap_or(text);
    let (before, after) = text.split_once(":in ")?;
    let (path, number) = before.rsplit_once(':')?;
    let after = after.strip_prefix(['`', '\''])?;
    let (label, rest) = after.split_once('\'')?;
    let frame = Frame::new(path, number.parse().ok()?, label);
    Some(Of { frame, rest })
}

/// `\tfrom path:12`, outside of methods.
fn ruby_bare(line: &str) -> Option<Of<'_>> {
    let (path, number) = line.trim_start().strip_prefix("from ")?.rsplit_once(':')?;
    let frame = Frame::new(path, number.trim().parse().ok()?, "");
    Some(Of { frame, rest: "" })
}

pub(super) fn is_ruby(line: &str) -> bool {
    ruby_frame(line).is_some()
}

/// The first frame of an exception contains it: `frame: message (Type)`; the message may have more
/// lines. Causes follow.
pub(super) fn ruby<'a>(kind: &'a str, message: &'a str, trace: &'a str) -> Trace<'a> {
    let own = Exception::new(kind, message, Vec::new());
    let mut chain = vec![own];
    let mut is_whole = true;
    // The text behind a frame, and the lines on which it goes on.
    let mut said: Vec<String> = vec![String::new()];
    for line in super::lines(trace) {
        let Some(Of { frame, rest }) = ruby_frame(line).or_else(|| ruby_bare(line)) else {
            match said.last_mut().filter(|said| !said.is_empty()) {
                _ if line.trim().is_empty() => {}
                Some(said) if chain.last().is_some_and(|last| last.frames.len() == 1) => {
                    said.push('\n');
                    said.push_str(line);
                }
                _ => is_whole = false,
            }
            continue;
        };
        let rest = rest.strip_prefix(": ").unwrap_or(rest);
        if !rest.is_empty() && chain.last().is_some_and(|last| !last.frames.is_empty()) {
            chain.push(Exception::default());
            said.push(String::new());
        }
        if let (Some(last), Some(said)) = (chain.last_mut(), said.last_mut()) {
            last.frames.push(frame);
            said.push_str(rest);
        }
    }
    for (at, (exception, said)) in chain.iter_mut().zip(&said).enumerate() {
        let (text, of_kind) = ruby_said(said);
        if at == 0 {
            is_whole &= is_head(&text, "", message) && kind.ends_with(of_kind);
        } else {
            (exception.kind, exception.message) = (of_kind.to_owned().into(), text.into());
        }
    }
    Trace { chain, is_whole }
}

/// The message, and the type at the end of its first line.
fn ruby_said(said: &str) -> (String, &str) {
    let first = said.split('\n').next().unwrap_or_default();
    match first.rsplit_once(" (").and_then(|(text, kind)| Some((text, kind.strip_suffix(')')?))) {
        Some((text, kind)) => (format!("{text}{}", &said[first.len()..]), kind),
        None => (said.to_owned(), ""),
    }
}
