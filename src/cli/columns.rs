//! Text in columns: how wide a line may be, how text is cut and wrapped, and colour where somebody
//! looks.

use std::io::IsTerminal as _;

/// Columns of a terminal that does not say how many it has.
const COLUMNS: usize = 80;

/// How long a line may be; there is no limit where nobody looks at it.
pub(super) fn width() -> usize {
    if !std::io::stdout().is_terminal() {
        return usize::MAX;
    }
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    columns.unwrap_or(COLUMNS).max(40)
}

/// Whether text on standard output may have colours.
pub(super) fn has_colour() -> bool {
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stdout().is_terminal() && !is_plain
}

/// At most so many characters.
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(3)).collect();
    format!("{}...", kept.trim_end())
}

/// Exactly so many characters, on the left.
pub(super) fn left(text: &str, columns: usize) -> String {
    format!("{:<columns$}", cut(text, columns))
}

/// The same, on the right.
pub(super) fn right(text: &str, columns: usize) -> String {
    format!("{:>columns$}", cut(text, columns))
}

/// Lines that begin with `indent` spaces, the first one excepted, and end before `width`. A word
/// that is longer than a line is not broken: it may be something to copy.
pub(super) fn wrapped(text: &str, indent: usize, width: usize) -> String {
    let room = width.saturating_sub(indent).max(20);
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split(' ') {
        let is_full = !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room;
        if is_full {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines.join(&format!("\n{}", " ".repeat(indent)))
}

/// How something is doing, for the eye.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Plain,
    Doubtful,
    Bad,
}

/// Text in the colour of its tone. It says the same without.
pub(super) fn toned(text: &str, tone: Tone, has_colour: bool) -> String {
    let code = match tone {
        _ if !has_colour => return text.to_owned(),
        Tone::Plain => return text.to_owned(),
        Tone::Good => 32,
        Tone::Doubtful => 33,
        Tone::Bad => 31,
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_wrapped_and_coloured() {
        assert_eq!(left("abc", 5), "abc  ");
        assert_eq!(right("abcdefgh", 6), "abc...");
        let text = wrapped("one two three four five six seven eight", 4, 24);
        assert_eq!(text, "one two three four\n    five six seven eight");
        let long = "x".repeat(50);
        assert_eq!(wrapped(&format!("a {long} b"), 2, 30), format!("a\n  {long}\n  b"));
        assert_eq!(wrapped("a b", 4, usize::MAX), "a b");
        assert_eq!(toned("STOP", Tone::Bad, true), "\u{1b}[31mSTOP\u{1b}[0m");
        assert_eq!(toned("STOP", Tone::Bad, false), "STOP");
    }
}
