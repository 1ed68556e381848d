//! Excerpts of sources with secrets, with control characters, and with long lines.

use super::*;
use crate::config::tree::Place;

fn problem(range: Range<usize>) -> Problem {
    Problem {
        severity: Severity::Error,
        place: Some(Place { source: 0, range }),
        path: "a::b".to_owned(),
        message: "it is wrong".to_owned(),
        help: None,
        related: None,
        is_absent: false,
    }
}

fn rendered(source: &Source, problems: Vec<Problem>) -> String {
    render(&Problems(problems), std::slice::from_ref(source), false)
}

#[test]
fn masks_have_one_length_and_places_stay_true() {
    for secret in ["S", "a-much-longer-SECRET"] {
        let text = format!("a: {{key: '{secret}', b: 1}}\n");
        let mut source = Source::new("x.yaml", &*text);
        let at = text.find('\'').unwrap();
        source.mask(at..at + secret.len() + 2);
        let b = text.find("b:").unwrap();
        let shown = rendered(&source, vec![problem(b..b + 1)]);
        assert!(shown.contains("a: {key: '*****', b: 1}"), "{shown}");
        assert!(shown.contains(&format!(" --> x.yaml:1:{}\n", b + 1)), "{shown}");
        assert!(!shown.contains(":::"), "{shown}");
        let caret = shown.lines().find(|line| line.contains('^')).unwrap();
        let line = shown.lines().find(|line| line.contains("b: 1")).unwrap();
        assert_eq!(caret.find('^'), line.find("b: 1"), "{shown}");
        // The caret is under the secret itself.
        let shown = rendered(&source, vec![problem(at..at + secret.len() + 2)]);
        assert!(shown.contains("^^^^^^^ a::b"), "{shown}");
    }
}

#[test]
fn references_are_no_secrets_and_their_defaults_are() {
    let text = "Bearer ${env:TOKEN} ${X}${env:Y:-SECRET}";
    let mut source = Source::new("x", text);
    source.mask(0..text.len());
    assert_eq!(source.shown(), "*****${env:TOKEN}*****${X}*****");
}

#[test]
fn text_that_is_no_yaml_is_covered_by_its_keys() {
    let text =
        "a: 1\n  headers:\n    x-team: S\n    y: S\n  b: [\n  api_key=S\nurl: http://u:S@h?k=S x";
    let mut source = Source::new("x", text);
    source.mask_lines(&["header", "key"]);
    assert_eq!(
        source.shown(),
        "a: 1\n  headers:\n    *****\n    *****\n  b: [\n  api_key=*****\nurl: http://*****@h?k=***** x"
    );
}

#[test]
fn control_characters_are_written_out() {
    let mut wrong = problem(3..4);
    wrong.message = "in `\u{1b}[31m\n`".to_owned();
    let shown = rendered(&Source::new("\u{1b}.yaml", "a: \u{9b}\u{202e}b\r\n"), vec![wrong]);
    let dangerous = |c: char| crate::config::shown::is_dangerous(c) && c != '\n';
    assert!(!shown.contains(dangerous), "{shown:?}");
    assert!(shown.contains(r"\u{9b}\u{202e}b"), "{shown}");
}

#[test]
fn of_a_long_line_the_surroundings_are_shown() {
    let text = format!("k: [{}]\n", "\u{e9}, ".repeat(100_000));
    let at = 3 * 50_000 + 4;
    let at = text.floor_char_boundary(at);
    let column = text[..at].chars().count() + 1;
    let shown = rendered(&Source::new("x.yaml", text), vec![problem(at..at + 2)]);
    assert!(shown.len() < 2000 && shown.contains(&format!("x.yaml:1:{column}")), "{shown}");
}

#[test]
fn many_problems_are_shown_in_part_and_errors_first() {
    let source = Source::new("x.yaml", "a: b\n".repeat(100_000));
    let mut all: Vec<Problem> = (0..100_000).map(|i| problem(5 * i..5 * i + 1)).collect();
    for problem in &mut all[..99_990] {
        problem.severity = Severity::Warning;
    }
    let shown = rendered(&source, all);
    assert_eq!(shown.matches("error: ").count(), 10);
    assert_eq!(shown.matches("warning: ").count(), SHOWN - 10);
    assert!(shown.ends_with("... and 99900 more problems; the first 100 are shown\n\n"), "{shown}");
}
