//! What is wrong with a statement: where, what, and the remedy. A problem is shown with the line of
//! the statement and a caret under the place.

use std::fmt;

use super::syntax::Span;

/// A mistake in a statement, or a warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub span: Span,
    /// Lower case, no full stop.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// The statement can be run all the same.
    pub is_warning: bool,
}

impl Problem {
    pub(super) fn new(span: Span, message: impl Into<String>) -> Self {
        Problem { span, message: message.into(), help: None, is_warning: false }
    }

    pub(super) fn warning(span: Span, message: impl Into<String>) -> Self {
        Problem { is_warning: true, ..Problem::new(span, message) }
    }

    #[must_use]
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Suggests the candidate that is most like `wrong`, or lists all if they are few.
    #[must_use]
    pub(super) fn suggest<'a>(
        self,
        wrong: &str,
        candidates: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let mut all: Vec<&str> = candidates.into_iter().collect();
        if let Some(best) = closest(wrong, all.iter().copied()) {
            return self.help(format!("did you mean `{best}`?"));
        }
        all.sort_unstable();
        all.dedup();
        if all.is_empty() {
            return self;
        }
        let listed: Vec<String> = all.iter().map(|name| format!("`{name}`")).collect();
        self.help(format!("valid: {}", listed.join(", ")))
    }

    /// Line and column of the problem in the statement, from 1. Columns count characters.
    pub fn position(&self, text: &str) -> (usize, usize) {
        let before = before(text, self.span.start);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        (line, column)
    }

    /// Shows the problem with its line of the statement.
    pub fn shown<'a>(&'a self, text: &'a str) -> Shown<'a> {
        Shown { problem: self, text }
    }
}

/// The text up to a byte, which may be inside a character.
fn before(text: &str, mut at: usize) -> &str {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    &text[..at]
}

/// A problem together with its statement.
#[derive(Debug)]
pub struct Shown<'a> {
    problem: &'a Problem,
    text: &'a str,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shown { problem, text } = self;
        let (line, column) = problem.position(text);
        writeln!(f, "{line}:{column}: {}", problem.message)?;
        let shown = text.lines().nth(line - 1).unwrap_or("");
        writeln!(f, "  | {shown}")?;
        let rest = shown.chars().count() + 1 - (column - 1).min(shown.chars().count());
        let len = problem.span.end.saturating_sub(problem.span.start);
        let width =
            text.get(problem.span.start..problem.span.end).map_or(len, |t| t.chars().count());
        write!(f, "  | {}{}", " ".repeat(column - 1), "^".repeat(width.clamp(1, rest)))?;
        if let Some(help) = &problem.help {
            write!(f, "\n  = {help}")?;
        }
        Ok(())
    }
}

/// The candidate that is few edits away from `wrong`.
pub(super) fn closest<'a>(
    wrong: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    if wrong.len() > 100 {
        return None;
    }
    let limit = 1 + wrong.len() / 4;
    candidates
        .into_iter()
        .map(|candidate| (distance(wrong, candidate), candidate))
        .filter(|(edits, _)| *edits <= limit)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace) from one text to another, any case.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, one) in a.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(one != *other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
