//! Problems of a configuration: each with its place, its words and its remedy.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::tree::{Node, Place};

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// skep does not start.
    Error,
    /// skep starts; `validate --deny-warnings` fails.
    Warning,
}

/// One problem.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// Error or warning.
    pub severity: Severity,
    /// Where; none for problems of the whole.
    pub place: Option<Place>,
    /// Path of the node: `processors::batch::timeout`.
    pub path: String,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// What to do: did-you-mean, valid keys, the new form.
    pub help: Option<String>,
    /// Another place that matters, with its words. Boxed, since few problems have one.
    pub related: Option<Box<(Place, String)>>,
}

/// All problems found so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Records an error at a node.
    pub fn error(&mut self, at: &Node, message: impl Into<String>) -> &mut Problem {
        self.push(Severity::Error, at, message.into())
    }

    /// Records a warning at a node.
    pub fn warning(&mut self, at: &Node, message: impl Into<String>) -> &mut Problem {
        self.push(Severity::Warning, at, message.into())
    }

    /// Whether there is an error among them.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|problem| problem.severity == Severity::Error)
    }

    fn push(&mut self, severity: Severity, at: &Node, message: String) -> &mut Problem {
        self.0.push(Problem {
            severity,
            place: Some(at.place.clone()),
            path: at.path.to_string(),
            message,
            help: None,
            related: None,
        });
        self.0.last_mut().expect("a problem was pushed on the line above")
    }
}

impl Problem {
    /// Adds another place that matters.
    pub fn relate(&mut self, place: &Place, words: impl Into<String>) -> &mut Self {
        self.related = Some(Box::new((place.clone(), words.into())));
        self
    }

    /// Adds the remedy.
    pub fn help(&mut self, text: impl Into<String>) -> &mut Self {
        self.help = Some(text.into());
        self
    }
}

/// The candidate that `wrong` was most likely meant to be: few edits away for its length.
pub fn closest<'a>(wrong: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = 1 + wrong.len() / 4;
    candidates
        .into_iter()
        .map(|candidate| (distance(wrong, candidate), candidate))
        .filter(|(edits, _)| *edits <= limit)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace, swap neighbours) from one text to another, any case.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.to_lowercase().chars().collect();
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// A text that was read, for excerpts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// File name, or `env:NAME`, `--set key`.
    pub name: String,
    /// What was read.
    pub text: String,
}

impl Source {
    /// Covers a range; what is a reference in it stays, since it is no secret. Nothing moves.
    pub fn mask(&mut self, range: std::ops::Range<usize>) {
        let Some(text) = self.text.get(range.clone()) else { return };
        let mut covered = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let name = rest.strip_prefix("${").and_then(|inner| Some(&inner[..inner.find('}')?]));
            let length = match name {
                Some(name) if !name.contains([':', '$']) || is_variable(name) => name.len() + 3,
                _ => 0,
            };
            if length > 0 {
                covered.push_str(&rest[..length]);
                rest = &rest[length..];
            } else {
                let stays = c == '\n' || c == '"' || c == '\'';
                covered.extend(std::iter::repeat_n(if stays { c } else { '*' }, c.len_utf8()));
                rest = &rest[c.len_utf8()..];
            }
        }
        self.text.replace_range(range, &covered);
    }

    /// Covers what follows the colon of every line whose key contains one of `words`.
    pub fn mask_lines(&mut self, words: &[&str]) {
        let mut start = 0;
        while start < self.text.len() {
            let end = self.text[start..].find('\n').map_or(self.text.len(), |at| start + at);
            let line = &self.text[start..end];
            let colon = line.match_indices(':').find(|(at, _)| {
                let key = line[..*at].to_lowercase();
                words.iter().any(|word| key.contains(word))
            });
            if let Some((at, _)) = colon {
                let value = &line[at + 1..];
                let blanks = value.len() - value.trim_start().len();
                self.mask(start + at + 1 + blanks..end);
            }
            start = end + 1;
        }
    }
}

/// Whether a reference names a variable and has no default, which might be a secret itself.
fn is_variable(reference: &str) -> bool {
    reference.strip_prefix("env:").is_some_and(|name| !name.contains([':', '$']))
}

/// Renders problems for people: message, `file:line:column`, the line with a caret, the remedy.
pub fn render(problems: &Problems, sources: &[Source], with_color: bool) -> String {
    let renderer = if with_color { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    for problem in &problems.0 {
        let level = match problem.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(&*problem.message));
        let source = problem.place.as_ref().and_then(|p| Some((p, sources.get(p.source)?)));
        if let Some((place, source)) = source {
            let len = source.text.len();
            let (start, end) = (place.range.start.min(len), place.range.end.min(len));
            // A caret under the first line says enough; a whole map would be repeated.
            let end = source.text[start..end].find('\n').map_or(end, |at| start + at);
            let annotation = AnnotationKind::Primary.span(start..end.max(start));
            let annotation =
                if problem.path.is_empty() { annotation } else { annotation.label(&*problem.path) };
            let mut snippet =
                Snippet::source(&*source.text).path(&*source.name).annotation(annotation);
            if let Some((other, words)) = problem.related.as_deref()
                && other.source == place.source
                && other.range.end <= len
            {
                let span = AnnotationKind::Context.span(other.range.clone());
                snippet = snippet.annotation(span.label(&**words));
            }
            group = group.element(snippet);
        }
        if let Some(help) = &problem.help {
            group = group.element(Level::HELP.message(&**help));
        }
        out.push_str(&renderer.render(&[group]));
        out.push_str("\n\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_name_is_within_a_few_edits() {
        let names = ["timeout", "send_batch_size", "send_batch_max_size"];
        assert_eq!(closest("timout", names), Some("timeout"));
        assert_eq!(closest("send_batchsize", names), Some("send_batch_size"));
        assert_eq!(closest("TIMEOUT", names), Some("timeout"));
        assert_eq!(closest("endpoint", names), None);
    }
}
