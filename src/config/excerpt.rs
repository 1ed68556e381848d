//! Problems for people: message, `file:line:column`, the line with a caret, the remedy.
//!
//! Only lines that are shown are looked at, so that a thousand problems in a large file cost no
//! more than their own lines. Secrets in them are covered by a mask of one length, characters that
//! would steer a terminal are written out, and of a long line only the surroundings are shown.

use std::{fmt::Write as _, ops::Range};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::{
    diagnostics::{Problem, Problems, SHOWN, Severity},
    shown::{escaped, url_secrets, without_secrets},
};

/// In the place of a secret.
const MASK: &str = "*****";
/// Bytes of a line on each side of a problem that are shown, where the line is longer.
const CONTEXT: usize = 160;
/// Lines between two places of one problem that are kept, so that the gap looks as it is.
const GAP: usize = 8;

/// A text that was read, for excerpts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// File name, or `env:NAME`, `--set key`.
    pub name: String,
    /// What was read, secrets included.
    pub(crate) text: String,
    /// Where secrets stand in it.
    secrets: Vec<Range<usize>>,
}

impl Source {
    /// A text without known secrets.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Source { name: name.into(), text: text.into(), secrets: Vec::new() }
    }

    /// Covers a range in what is shown; a reference in it stays, since it is no secret.
    pub fn mask(&mut self, range: Range<usize>) {
        if self.text.get(range.clone()).is_some_and(|text| !text.is_empty()) {
            self.secrets.push(range);
        }
    }

    /// Covers the secrets of URLs in a range, of which there are `count`; all of it where they
    /// cannot be found because they are written another way.
    pub fn mask_urls(&mut self, range: Range<usize>, count: usize) {
        let Some(text) = self.text.get(range.clone()) else { return };
        let places = url_secrets(text);
        if places.len() < count {
            return self.mask(range);
        }
        let start = range.start;
        self.secrets.extend(places.into_iter().map(|at| start + at.start..start + at.end));
    }

    /// Covers what most likely is a secret in a text that cannot be read as YAML: secrets of URLs,
    /// what follows the colon of every key that contains one of `words`, and the lines under it.
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

    /// Covers what follows the equal sign of `a.b=value`.
    pub fn mask_value(&mut self) {
        let start = self.text.find('=').map_or(0, |at| at + 1);
        self.mask(start..self.text.len());
    }

    /// The whole text as it may be shown.
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

/// A secret as it is shown: references, line breaks and the quotes around it stay.
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

/// Whether a reference names a variable and has no default, which might be a secret itself.
fn is_variable(reference: &str) -> bool {
    reference.strip_prefix("env:").is_some_and(|name| !name.contains([':', '$']))
}

/// A source that is looked up often.
struct Pages<'s> {
    source: &'s Source,
    secrets: Vec<Range<usize>>,
    /// Where each line begins.
    lines: Vec<usize>,
}

/// Lines as they are shown.
struct Excerpt<'p, 's> {
    pages: &'p Pages<'s>,
    text: String,
    /// Line of the source that it begins with.
    first: usize,
    /// Offsets in the source that are looked for, and where they are found in the text.
    marks: Vec<(usize, Option<usize>)>,
}

impl<'s> Pages<'s> {
    fn new(source: &'s Source) -> Self {
        let breaks = memchr::memchr_iter(b'\n', source.text.as_bytes());
        let lines = std::iter::once(0).chain(breaks.map(|at| at + 1)).collect();
        Pages { source, secrets: source.merged(), lines }
    }

    /// The line that an offset stands in, from 0.
    fn line_of(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at).saturating_sub(1)
    }

    /// A line without its break.
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

    /// Shows the lines of `places`, which are each within a line, in one excerpt.
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

    /// What of a line is shown: all of it, or the surroundings of the places in it.
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

    /// Adds what is no secret.
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

    /// Where the place of an index came to stand.
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

/// A place as the excerpt has it, and as it is in the source, where they differ.
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
        // Where it stands in the source, which what is covered before it does not move.
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
        group = group.element(Level::HELP.message(words(help)));
    }
    (group, moved)
}

#[cfg(test)]
mod tests;
