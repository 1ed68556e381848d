//! Exceptions in the text of a traceback as Python prints it.
//!
//! ```text
//! cart failed
//! Traceback (most recent call last):
//!   File "shop.py", line 3, in pay
//!     charge(card)
//! KeyError: 'card'
//! ```
//!
//! Of a chain ("During handling of the above exception ...") the last one is the exception that was
//! logged, and the whole chain is its stack trace. A group of exceptions is one exception. Nothing
//! is read out of text that only resembles a traceback.

use memchr::memmem;

const HEAD: &str = "Traceback (most recent call last):";
const GROUP_HEAD: &str = "Exception Group Traceback (most recent call last):";
/// What `logging` appends for `stack_info=True`.
const STACK: &str = "\nStack (most recent call last):";

/// Longest name of a type.
const LONGEST_TYPE: usize = 300;

/// An exception within a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exception<'t> {
    /// Its type, with modules as Python prints them.
    pub(super) kind: &'t str,
    /// Its message, which may be empty and may have several lines.
    pub(super) message: &'t str,
    /// The traceback, with those of its causes.
    pub(super) trace: &'t str,
}

/// The exception whose traceback is in `text`.
pub(super) fn find(text: &str) -> Option<Exception<'_>> {
    let at = memmem::find(text.as_bytes(), HEAD.as_bytes())?;
    let end = text[at..].find(STACK).map_or(text.len(), |len| at + len);
    let text = &text[..end];
    let begin = text[..at].rfind('\n').map_or(0, |at| at + 1);
    let lead = text[begin..at].trim_start_matches([' ', '|', '+']);
    // Other words before it belong to the message of the log, not to the trace.
    let begin = if lead == "Exception Group " || lead.is_empty() { begin } else { at };
    let trace = text[begin..].trim_end();
    let last = match trace.find(GROUP_HEAD) {
        Some(group) => group,
        None => memmem::rfind(trace.as_bytes(), HEAD.as_bytes())?,
    };
    let (kind, message) = said(&trace[last..])?;
    Some(Exception { kind, message, trace })
}

/// Type and message, which follow the frames.
fn said(last: &str) -> Option<(&str, &str)> {
    let mut at = last.find('\n')? + 1;
    loop {
        let line = last[at..].lines().next().filter(|line| !line.is_empty())?;
        // Groups have a margin.
        let margin = line.len() - line.trim_start_matches([' ', '|']).len();
        let is_group = line[..margin].contains('|');
        let margin = if is_group { line[..margin].find('|')? + 2 } else { 0 };
        let line = line.get(margin..)?;
        if !line.starts_with([' ', '\t']) {
            at += margin;
            let rest = if is_group { line } else { &last[at..] };
            return split(rest);
        }
        at += last[at..].find('\n')? + 1;
    }
}

/// `shop.CardError: no money` in its parts.
fn split(text: &str) -> Option<(&str, &str)> {
    let len = text.find([':', '\n']).unwrap_or(text.len());
    let (kind, rest) = text.split_at(len);
    let kind = kind.trim_end();
    let is_name = |part: &str| {
        let part = part.strip_prefix('<').and_then(|part| part.strip_suffix('>')).unwrap_or(part);
        let is_letter = |letter: char| letter.is_alphanumeric() || letter == '_';
        !part.is_empty()
            && part.chars().all(is_letter)
            && !part.starts_with(|c: char| c.is_ascii_digit())
    };
    let is_type = kind.len() <= LONGEST_TYPE && kind.split('.').all(is_name);
    let message = rest.strip_prefix(':').unwrap_or(rest);
    is_type.then(|| (kind, message.trim()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIMPLE: &str = "cart failed\nTraceback (most recent call last):\n  File \"shop.py\", line 3, \
        in pay\n    charge(card)\n    ~~~~~~^^^^^^\nKeyError: 'card'";

    #[test]
    fn type_message_and_trace_are_found() {
        let found = find(SIMPLE).unwrap();
        assert_eq!((found.kind, found.message), ("KeyError", "'card'"));
        assert!(found.trace.starts_with(HEAD) && found.trace.ends_with("'card'"));
        let text = SIMPLE.replace("KeyError: 'card'", "app.<locals>.Bad: one\ntwo\n\nthree\n");
        let found = find(&text).unwrap();
        assert_eq!((found.kind, found.message), ("app.<locals>.Bad", "one\ntwo\n\nthree"));
        let bare = SIMPLE.replace("KeyError: 'card'", "KeyboardInterrupt");
        assert_eq!(find(&bare).map(|e| (e.kind, e.message)), Some(("KeyboardInterrupt", "")));
        let stack = format!("{SIMPLE}\nStack (most recent call last):\n  File \"x\", line 1");
        assert_eq!(find(&stack), find(SIMPLE));
        let lead = SIMPLE.replace("cart failed\n", "ERROR:root:");
        assert!(find(&lead).unwrap().trace.starts_with(HEAD));
    }

    #[test]
    fn the_last_of_a_chain_is_the_exception_and_all_are_its_trace() {
        let text = format!(
            "{SIMPLE}\n\nDuring handling of the above exception, another exception occurred:\n\n{}",
            SIMPLE.replace("cart failed\n", "").replace("KeyError: 'card'", "shop.Failed: no card"),
        );
        let found = find(&text).unwrap();
        assert_eq!((found.kind, found.message), ("shop.Failed", "no card"));
        assert!(found.trace.contains("KeyError") && found.trace.starts_with(HEAD));
    }

    #[test]
    fn a_group_is_one_exception() {
        let text = "failed\n  + Exception Group Traceback (most recent call last):\n  |   File \"a.py\", \
            line 1, in <module>\n  |     raise g\n  | ExceptionGroup: two (2 sub-exceptions)\n  \
            +-+---------------- 1 ----------------\n    | ValueError: 1\n    +---------------- 2 \
            ----------------\n    | Traceback (most recent call last):\n    |   File \"a.py\", line 2\n    \
            | KeyError: 2\n    +------------------------------------";
        let found = find(text).unwrap();
        assert_eq!((found.kind, found.message), ("ExceptionGroup", "two (2 sub-exceptions)"));
        assert!(found.trace.starts_with("  + Exception Group"));
    }

    #[test]
    fn what_only_resembles_a_traceback_is_none() {
        for text in [
            "",
            "an error",
            HEAD,
            "Traceback (most recent call last):\n",
            "Traceback (most recent call last):\n  File \"x\"",
            "Traceback (most recent call last):\nthis is no type",
            "Traceback (most recent call last):\n1: x",
        ] {
            assert_eq!(find(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(
            text in "(Traceback \\(most recent call last\\):|Exception Group |\n|  |\\| |\\+ |\u{e9}|: |[a-z.]{1,4}){0,30}"
        ) {
            if let Some(found) = find(&text) {
                prop_assert!(text.contains(found.kind) && text.contains(found.trace));
            }
        }
    }
}
