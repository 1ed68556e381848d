//! Java, and PHP, whose SDK prints as Java does.

use super::{Exception, Frame, Trace, is_head, lines, place};

/// Frames are `\tat package.Class.method(File.java:12)`; `Caused by: Type: message` begins a cause.
pub(super) fn read<'a>(kind: &'a str, message: &'a str, trace: &'a str) -> Trace<'a> {
    let mut chain = vec![Exception::new(kind, message, Vec::new())];
    let mut is_whole = true;
    let mut head = String::new();
    // The text of the first exception, and messages of causes, go on until the first frame.
    let (mut in_head, mut in_message, mut is_suppressed) = (true, false, false);
    for line in lines(trace) {
        let Some(last) = chain.last_mut() else { continue };
        if let Some(frame) = frame(line) {
            (in_head, in_message) = (false, false);
            if !is_suppressed {
                last.frames.push(frame);
            }
        } else if let Some(cause) = line.strip_prefix("Caused by: ") {
            let (kind, message) = cause.split_once(':').unwrap_or((cause, ""));
            let (kind, message) = (kind.trim().into(), message.trim_start().into());
            chain.push(Exception { kind, message, ..Exception::default() });
            (in_head, in_message, is_suppressed) = (false, true, false);
        } else if line.trim_start().starts_with("Suppressed:") {
            (in_head, in_message, is_suppressed) = (false, false, true);
            is_whole = false;
        } else if in_head {
            if !head.is_empty() {
                head.push('\n');
            }
            head.push_str(line);
        } else if let Some(count) = rest(line) {
            if !is_suppressed {
                last.shared = count;
            }
            in_message = false;
        } else if line.trim().is_empty() && !in_message {
            // Says nothing.
        } else if in_message {
            let message = last.message.to_mut();
            message.push('\n');
            message.push_str(line);
        } else {
            is_whole = false;
        }
    }
    is_whole &= is_head(&head, kind, message);
    Trace { chain, is_whole }
}

/// The number of `... 12 more`: frames that are those of the exception before.
fn rest(line: &str) -> Option<usize> {
    let count = line.trim_start().strip_prefix("... ")?.strip_suffix(" more")?;
    count.parse::<u32>().ok().and_then(|count| usize::try_from(count).ok())
}

fn frame(line: &str) -> Option<Frame<'_>> {
    let frame = line.trim_start().strip_prefix("at ")?;
    let (label, rest) = frame.split_once('(')?;
    let (place_text, after) = rest.rsplit_once(')')?;
    if !after.trim().is_empty() {
        return None;
    }
    // `module/version/package.Class`: the part before the last slash is not part of the name.
    let label = label.rsplit('/').next().unwrap_or(label);
    let (path, line) = place(place_text);
    Some(Frame::new(path, line, label))
}

/// Whether a line, after its blanks, can only be a frame of Java: .NET has parameters there.
pub(super) fn is_frame(line: &str) -> bool {
    frame(line).is_some_and(|frame| {
        let has_line = frame.line > 0 && frame.path.contains('.');
        has_line
            || ["Native Method", "Unknown Source"].contains(&frame.path)
            || [".java", ".kt", ".scala", ".groovy", ".php"]
                .iter()
                .any(|end| frame.path.ends_with(end))
    })
}
