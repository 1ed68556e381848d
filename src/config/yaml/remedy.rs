//! What is most likely wrong with a text that is not YAML.

use std::ops::Range;

/// Words of the parser, and the remedy.
const REMEDIES: [(&str, &str); 9] = [
    ("simple key expected", "each key ends with a colon"),
    ("tab", "YAML is indented with spaces; replace the tab"),
    (
        "mapping values are not allowed",
        "check the indentation of this line and the one above, and that each key there ends with a \
         colon; a value with `: ` in it needs quotes",
    ),
    ("placement of ':'", "a bracket or brace above is not closed"),
    (
        "flow",
        "a bracket or brace is not closed, or a comma is missing; a value with one of \
         `[]{},` in it needs quotes",
    ),
    ("quoted scalar", "a quote above is not closed"),
    (
        "anchor",
        "`*name` repeats the value that `&name` marks above; put quotes around text that starts with `*`",
    ),
    ("character", "put quotes around a value that starts with it"),
    ("block", "check the indentation: keys of one map begin in the same column"),
];

/// What to do about an error of the parser.
pub(super) struct Remedy {
    /// The place of the mistake, if the parser found it only later.
    pub(super) range: Option<Range<usize>>,
    pub(super) help: Option<&'static str>,
}

impl Remedy {
    /// The parser says `message` at byte `at` of `text`.
    pub(super) fn of(message: &str, text: &str, at: usize) -> Remedy {
        let is_about_keys =
            ["simple key expected", "mapping values"].iter().any(|words| message.contains(words));
        let found = no_blank(text, at).or_else(|| no_colon(text, at).filter(|_| is_about_keys));
        if let Some((range, help)) = found {
            return Remedy { range: Some(range), help: Some(help) };
        }
        let known = REMEDIES.iter().find(|(words, _)| message.contains(words));
        Remedy { range: None, help: known.map(|(_, help)| *help) }
    }
}

/// The lines up to that of a byte, the last first: where each begins, and its text.
fn lines_before(text: &str, at: usize) -> impl Iterator<Item = (usize, &str)> {
    let at = text.floor_char_boundary(at);
    let mut end = Some(text[at..].find('\n').map_or(text.len(), |length| at + length));
    std::iter::from_fn(move || {
        let line_end = end?;
        let start = text[..line_end].rfind('\n').map_or(0, |before| before + 1);
        end = start.checked_sub(1);
        Some((start, &text[start..line_end]))
    })
}

/// Whether text can be a key: one word.
fn is_key(text: &str) -> bool {
    let is_in_key = |byte: u8| byte.is_ascii_alphanumeric() || b"_-/.".contains(&byte);
    !text.is_empty() && !text.starts_with('-') && text.bytes().all(is_in_key)
}

/// `key:{` or `key:[` in the line, where a blank is missing.
fn no_blank(text: &str, at: usize) -> Option<(Range<usize>, &'static str)> {
    let (start, line) = lines_before(text, at).next()?;
    let colon = [":{", ":["].iter().filter_map(|both| line.find(both)).min()?;
    let key = line[..colon].trim_start().trim_start_matches("- ");
    let range = start + colon..start + colon + 2;
    is_key(key).then_some((range, "put a space after the colon"))
}

/// A line above that is one word, where a colon is missing. The word is not in the remedy, since it
/// may be a secret.
fn no_colon(text: &str, at: usize) -> Option<(Range<usize>, &'static str)> {
    let is_empty = |line: &str| line.is_empty() || line.starts_with('#');
    let mut lines = lines_before(text, at).filter(|(_, line)| !is_empty(line.trim()));
    // The parser finds out at the word, or at the first key below it.
    let (start, word) = lines.by_ref().take(2).find_map(|(start, line)| {
        let word = line.trim();
        let indent = line.len() - line.trim_start().len();
        is_key(word).then_some((start + indent, word))
    })?;
    Some((start..start + word.len(), "put a colon after this key"))
}

#[cfg(test)]
mod tests {
    use crate::config::yaml::parse;

    #[test]
    fn the_key_without_its_colon_or_blank_is_found() {
        let table = [
            ("receivers:\n  otlp:\nexporters\n  debug:\n", "exporters"),
            ("receivers:\n  otlp:\nexporters\nservice:\n", "exporters"),
            ("receivers:\n  otlp\n    protocols:\n", "otlp"),
            ("a:\n  traces:{receivers: [otlp]}\n", ":{"),
            ("a:\n  traces:{receivers: [otlp], exporters: [debug]}\n", ":{"),
        ];
        for (text, place) in table {
            let problem = parse(0, text).unwrap_err();
            assert_eq!(&text[problem.place.unwrap().range], place, "{text}");
            let missing = if place.starts_with(':') { "space" } else { "colon" };
            assert!(problem.help.unwrap().contains(missing), "{text}");
        }
    }
}
