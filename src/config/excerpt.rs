//! Problems for people: message, `file:line:column`, the line with a caret, the remedy.
//!
//! Only the lines to show are processed, so a thousand problems in a large file cost no more than
//! their own lines. Secrets are replaced by a mask of fixed length, terminal control characters are
//! escaped, and of a long line only the part around the problem is shown.

use std::{fmt::Write as _, ops::Range};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::{
    diagnostics::{Problem, Problems, SHOWN, Severity},
    shown::{escaped, url_secrets, without_secrets},
};

/// Replaces a secret.
const MASK: &str = "*****";
/// Bytes that are shown on each side of a problem in a long line.
const CONTEXT: usize = 160;
/// Lines between two places of one problem that are kept, so that the gap is visible.
const GAP: usize = 8;

/// A source text, for excerpts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// File name, or `env:NAME`, `--set key`.
    pub name: String,
    /// The text, including secrets.
    pub(crate) text: String,
    /// The positions of secrets.
    secrets: Vec<Range<usize>>,
}

impl Source {
    /// A text without known secrets.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Source { name: name.into(), text: text.into(), secrets: Vec::new() }
    }

    /// Masks a range in what is shown. References in it stay, because they are not secret.
    pub fn mask(&mut self, range: Range<usize>) {
        if self.text.get(range.clone()).is_some_and(|text| !text.is_empty()) {
            self.secrets.push(range);
        }
    }

    /// Masks the `count` secrets of URLs in a range. If fewer are found, because they are written
    /// in another way, masks the whole range.
    pub fn mask_urls(&mut self, range: Range<usize>, count: usize) {
        let Some(text) = self.text.get(range.clone()) else { return };
        let places = url_secrets(text);
        if places.len() < count {
            return self.mask(range);
        }
        let start = range.start;
        self.secrets.extend(places.into_iter().map(|at| start + at.start..start + at.end));
    }

    /// Masks likely secrets in text that is not valid YAML: secrets of URLs, and the value of every
    /// key that contains one of `words`, with the indented lines below it.
    pub fn mask_lines(&mut self, words: &[&str]) {
        self.mask_urls(0..self.text.len(), 0);
        let mut found = Vec::new();
        let (mut start, mut under) = (0, None);
        for line in self.text.split_inclusive('\n') {
            let end = start + line.trim_end().len();
            let indent = line.len() - line.trim_start().len();
            if under.is_some_and(|outer| indent > outer || line.trim().is_empty()) {
                found.push(start + indent.min(line.len())..end);
            } else {
                under = None;
                let lower = line.to_ascii_lowercase();
                let first = words.iter().filter_map(|word| lower.find(word)).min();
                let colon = first.and_then(|at| Some(at + line[at..].find([':', '='])?));
                if let Some(at) = colon {
                    let value = &line[at + 1..];
                    let blanks = value.len() - value.trim_start().len();
                    found.push((start + at + 1 + blanks).min(end)..end);
                    under = Some(indent);
                }
            }
            start += line.len();
        }
        for range in found {
            self.mask(range);
        }
    }

    /// Masks the value of `a.b=value`.
    pub fn mask_value(&mut self) {
        let start = self.text.find('=').map_or(0, |at| at + 1);
        self.mask(start..self.text.len());
    }

    /// The whole text with secrets masked.
    pub fn shown(&self) -> String {
        let secrets = self.merged();
        let mut out = String::new();
        let mut at = 0;
        for secret in secrets {
            out.push_str(&self.text[at..secret.start]);
            cover(&self.text[secret.clone()], &mut out);
            at = secret.end;
        }
        out.push_str(&self.text[at..]);
        out
    }

    /// Secrets in order, without overlaps.
    fn merged(&self) -> Vec<Range<usize>> {
        let mut secrets = self.secrets.clone();
        secrets.sort_by_key(|range| range.start);
        let mut merged: Vec<Range<usize>> = Vec::with_capacity(secrets.len());
        for range in secrets {
            match merged.last_mut() {
                Some(last) if range.start < last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        merged
    }
}

/// The mask of a secret. References, line breaks and quotes stay.
fn cover(text: &str, out: &mut String) {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''));
    let mut rest = text.strip_prefix(|c| Some(c) == quote).unwrap_or(text);
    out.extend(quote);
    let last = quote.filter(|c| rest.ends_with(*c));
    rest = rest.strip_suffix(|c| Some(c) == last).unwrap_or(rest);
    let mut is_covered = false;
    while let Some(c) = rest.chars().next() {
        let name = rest.strip_prefix("${").and_then(|inner| Some(&inner[..inner.find('}')?]));
        let length = match name {
            Some(name) if !name.contains([':', '$']) || is_variable(name) => name.len() + 3,
            _ if c == '\n' => 1,
            _ => 0,
        };
        if length > 0 {
            out.push_str(&rest[..length]);
            is_covered = false;
        } else if !is_covered {
            out.push_str(MASK);
            is_covered = true;
        }
        rest = &rest[length.max(c.len_utf8())..];
    }
    out.extend(last);
}

/// Whether a reference has no default. A default may itself be a secret.
fn is_variable(reference: &str) -> bool {
    reference.strip_prefix("env:").is_some_and(|name| !name.contains([':', '$']))
}

/// A source with an index of its lines.
struct Pages<'s> {
    source: &'s Source,
    secrets: Vec<Range<usize>>,
    /// The start of each line.
    lines: Vec<usize>,
}

/// Lines as they are shown.
struct Excerpt<'p, 's> {
    pages: &'p Pages<'s>,
    text: String,
    /// The first line, as a number in the source.
    first: usize,
    /// Offsets in the source, and the same positions in the shown text.
    marks: Vec<(usize, Option<usize>)>,
}

impl<'s> Pages<'s> {
    fn new(source: &'s Source) -> Self {
        let breaks = memchr::memchr_iter(b'\n', source.text.as_bytes());
        let lines = std::iter::once(0).chain(breaks.map(|at| at + 1)).collect();
        Pages { source, secrets: source.merged(), lines }
    }

    /// The line of an offset, counted from 0.
    fn line_of(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at).saturating_sub(1)
    }

    /// A line without its line break.
    fn line(&self, line: usize) -> Range<usize> {
        let start = self.lines[line];
        let text = &self.source.text;
        let end = self.lines.get(line + 1).map_or(text.len(), |next| next - 1).max(start);
        let line = &text[start..end];
        start..start + line.strip_suffix('\r').unwrap_or(line).len()
    }

    /// A range within the text, cut at the end of its first line: a caret under the first line
    /// says enough, a whole map would be repeated.
    fn first_line(&self, range: &Range<usize>) -> Range<usize> {
        let text = &self.source.text;
        let start = text.floor_char_boundary(range.start);
        let end = text.ceil_char_boundary(range.end.max(start));
        start..end.min(self.line(self.line_of(start)).end).max(start)
    }

    /// Shows the lines of `places` in one excerpt. Each place is within one line.
    fn excerpt(&self, places: &[Range<usize>]) -> Excerpt<'_, 's> {
        let mut lines: Vec<usize> = places.iter().map(|place| self.line_of(place.start)).collect();
        lines.sort_unstable();
        lines.dedup();
        let mut excerpt = Excerpt {
            pages: self,
            text: String::new(),
            first: lines[0],
            marks: places.iter().flat_map(|at| [(at.start, None), (at.end, None)]).collect(),
        };
        for (i, line) in lines.iter().enumerate() {
            if i > 0 {
                let before = lines[i - 1];
                for between in before + 1..*line {
                    excerpt.text.push('\n');
                    if line - before <= GAP {
                        excerpt.add(self.window(between, places));
                    }
                }
                excerpt.text.push('\n');
            }
            excerpt.add(self.window(*line, places));
        }
        excerpt
    }

    /// The part of a line to show: all of it, or the text around the places in it.
    fn window(&self, line: usize, places: &[Range<usize>]) -> Range<usize> {
        let whole = self.line(line);
        if whole.len() <= 2 * CONTEXT {
            return whole;
        }
        let inside = |place: &&Range<usize>| whole.start <= place.start && place.start <= whole.end;
        let first = places.iter().find(inside).map_or(whole.start, |place| place.start);
        let text = &self.source.text;
        let start = text.floor_char_boundary(first.saturating_sub(CONTEXT).max(whole.start));
        start..text.ceil_char_boundary((first + CONTEXT).min(whole.end))
    }
}

impl Excerpt<'_, '_> {
    /// Adds a part of the source.
    fn add(&mut self, window: Range<usize>) {
        let source = &self.pages.source.text;
        let line = self.pages.line(self.pages.line_of(window.start));
        if window.start > line.start {
            self.text.push_str("...");
        }
        let mut at = window.start;
        let secrets = &self.pages.secrets;
        let from = secrets.partition_point(|secret| secret.end <= at);
        for secret in secrets[from..].iter().take_while(|secret| secret.start < window.end) {
            self.plain(at..secret.start.max(at));
            let (start, end) = (secret.start.max(at), secret.end.min(window.end));
            let before = self.text.len();
            cover(&source[start..end], &mut self.text);
            let after = self.text.len();
            for (mark, found) in &mut self.marks {
                if *mark >= start && *mark < end {
                    found.get_or_insert(before);
                } else if *mark == end {
                    found.get_or_insert(after);
                }
            }
            at = end;
        }
        self.plain(at..window.end);
        if window.end < line.end {
            self.text.push_str("...");
        }
    }

    /// Adds text that is not secret.
    fn plain(&mut self, range: Range<usize>) {
        let source = &self.pages.source.text;
        let mut at = range.start;
        let mut stops: Vec<usize> =
            self.marks.iter().map(|(mark, _)| *mark).filter(|mark| range.contains(mark)).collect();
        stops.push(range.end);
        stops.sort_unstable();
        for stop in stops {
            // Tabs are widened by the renderer.
            for (i, part) in source[at..stop].split('\t').enumerate() {
                self.text.push_str(if i > 0 { "\t" } else { "" });
                self.text.push_str(&escaped(part));
            }
            at = stop;
            let here = self.text.len();
            for (mark, found) in &mut self.marks {
                if *mark == at {
                    found.get_or_insert(here);
                }
            }
        }
    }

    /// The position of a place in the shown text.
    fn span(&self, index: usize) -> Range<usize> {
        let found = |mark: usize| self.marks[mark].1;
        let end = self.text.len();
        let start = found(2 * index).unwrap_or(end);
        start..found(2 * index + 1).unwrap_or(end).max(start)
    }
}

/// Renders problems for people; errors first where there are more than [`SHOWN`].
pub fn render(problems: &Problems, sources: &[Source], with_color: bool) -> String {
    let renderer = if with_color { Renderer::styled() } else { Renderer::plain() };
    let pages: Vec<Pages<'_>> = sources.iter().map(Pages::new).collect();
    let (shown, more) = problems.most_important();
    let mut out = String::new();
    for problem in shown {
        let (group, moved) = group(problem, &pages);
        let mut text = renderer.render(&[group]);
        // The renderer only knows the column in the excerpt.
        if let Some((shown, real)) = moved {
            text = text.replacen(&shown, &real, 1);
        }
        out.push_str(&text);
        out.push_str("\n\n");
    }
    if more > 0 {
        // Writing to a string cannot fail.
        let _ = write!(out, "... and {more} more problems; the first {SHOWN} are shown\n\n");
    }
    out
}

fn words(text: &str) -> String {
    escaped(&without_secrets(text)).into_owned()
}

/// A place in the excerpt and in the source, if they differ.
type Moved = Option<(String, String)>;

fn group<'a>(problem: &Problem, pages: &[Pages<'_>]) -> (Group<'a>, Moved) {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut moved = None;
    let mut group = Group::with_title(level.primary_title(words(&problem.message)));
    let place = problem.place.as_ref().and_then(|place| Some((place, pages.get(place.source)?)));
    if let Some((place, pages)) = place {
        let text = &pages.source.text;
        let len = text.len();
        let clamped =
            |range: &Range<usize>| pages.first_line(&(range.start.min(len)..range.end.min(len)));
        let mut places = vec![clamped(&place.range)];
        let related = problem.related.as_deref();
        let related = related.filter(|(other, _)| other.source == place.source);
        places.extend(related.map(|(other, _)| clamped(&other.range)));
        let excerpt = pages.excerpt(&places);
        let span = excerpt.span(0);
        let mut annotation = AnnotationKind::Primary.span(span.clone());
        if !problem.path.is_empty() {
            annotation = annotation.label(words(&problem.path));
        }
        // The column in the source, because masks before it change the column in the excerpt.
        let line = pages.line_of(places[0].start);
        let column = text[pages.lines[line]..places[0].start].chars().count();
        let shown_line = excerpt.text[..span.start].rfind('\n').map_or(0, |at| at + 1);
        let shown_column = excerpt.text[shown_line..span.start].chars().count();
        let name = words(&pages.source.name);
        let mut snippet = Snippet::source(excerpt.text.clone())
            .line_start(excerpt.first + 1)
            .annotation(annotation);
        if let Some((_, words_of_other)) = related {
            let annotation = AnnotationKind::Context.span(excerpt.span(1));
            snippet = snippet.annotation(annotation.label(words(words_of_other)));
        }
        if column != shown_column {
            let at = |column: usize| format!("{name}:{}:{}", line + 1, column + 1);
            moved = Some((at(shown_column), at(column)));
        }
        group = group.element(snippet.path(name));
    }
    if let Some(help) = &problem.help {
        // Only skep writes line breaks here: a statement of several lines is shown line by line.
        let lines: Vec<String> = help.lines().map(words).collect();
        group = group.element(Level::HELP.message(lines.join("\n")));
    }
    (group, moved)
}

#[cfg(test)]
mod tests;
