//! Problems of statements as problems of the configuration: at the line and column inside of the
//! statement, where that is known.

use super::problem::Problem;
use crate::config::{
    Place, Problems,
    tree::{Node, Value},
};

/// Records a problem of the statement `text`, which is the value of a node.
///
/// The text of a scalar is in the file as it is, line by line if it has several, unless it has
/// escapes or references. Then the whole value is marked, and the line of the statement is shown
/// below. Only then the message begins with the line and column in the statement: the place in the
/// file says more.
pub fn report(problems: &mut Problems, node: &Node, text: &str, problem: &Problem) {
    let place = within(node, text, problem);
    let message = if place.is_some() {
        problem.message.clone()
    } else {
        let (line, column) = problem.position(text);
        format!("{line}:{column}: {}", problem.message)
    };
    let recorded = if problem.is_warning {
        problems.warning(node, message)
    } else {
        problems.error(node, message)
    };
    match place {
        Some(place) => {
            recorded.place = Some(place);
            recorded.help.clone_from(&problem.help);
        }
        None => recorded.help = Some(shown(problem, text)),
    }
}

/// The part of a scalar that a problem is about.
fn within(node: &Node, text: &str, problem: &Problem) -> Option<Place> {
    let whole = node.spot();
    if let Some(pieces) = &node.pieces {
        let piece = pieces.iter().rev().find(|piece| piece.at <= problem.span.start)?;
        let inside = |at: usize| piece.start + (at - piece.at).min(piece.len);
        let (start, end) = (problem.span.start, problem.span.end.max(problem.span.start));
        return Some(Place { source: whole.source, range: inside(start)..inside(end) });
    }
    if matches!(node.value, Value::Substituted { .. }) {
        return None;
    }
    let quotes = whole.range.len().checked_sub(text.len())?;
    if !matches!(quotes, 0 | 2) || text.contains('\n') {
        return None;
    }
    let start = whole.range.start + quotes / 2;
    let end = (start + problem.span.end.max(problem.span.start + 1)).min(whole.range.end);
    Some(Place { source: whole.source, range: start + problem.span.start..end })
}

/// The line of the statement with a caret, and the remedy, a line each.
fn shown(problem: &Problem, text: &str) -> String {
    let shown = problem.shown(text).to_string();
    let lines = shown.lines().skip(1).map(|line| line.strip_prefix("  ").unwrap_or(line));
    lines.collect::<Vec<&str>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::yaml,
        otlp::Signal,
        ottl::{Context, Group, Program},
    };

    /// What is marked for the one problem of the statement in `yaml`, and its message.
    fn marked(yaml: &str) -> (&str, String) {
        let root = yaml::parse(0, yaml).unwrap();
        let node = root.at("statements::0");
        let Value::String(statement) = &node.value else { panic!("{node:?}") };
        let group = Group {
            signal: Signal::Logs,
            context: Some(Context::Log),
            conditions: &[],
            statements: &[statement],
        };
        let found = Program::compile(&group).unwrap_err();
        let mut problems = Problems::default();
        report(&mut problems, node, statement, &found[0].problem);
        let problem = &problems.0[0];
        (&yaml[problem.place.clone().unwrap().range], problem.message.clone())
    }

    const MISSPELT: &str = "a log record has no field `attribtes`";

    #[test]
    fn the_caret_is_inside_of_the_statement() {
        for yaml in [
            "statements:\n  - 'set(log.attribtes[\"a\"], 1)'\n",
            "statements:\n  - set(log.attribtes[\"a\"], 1)\n",
            // Folded, with and without line breaks at the end, and indented further.
            "statements:\n  - >\n    set(\n    log.attribtes[\"a\"],\n    1)\n",
            "statements:\n  - >-\n    set(log.attribtes[\"a\"], 1)\n\n",
            "statements:\n  - >-\n    set(\n      log.attribtes[\"a\"],\n\n      1)\n\n# end\n",
            // Literal.
            "statements:\n  - |\n    set(\n      log.attribtes[\"a\"], 1)\n",
            "statements:\n  - |2-\n    set(\n      log.attribtes[\"a\"], 1)\n",
            // Plain and quoted ones that go on in the next line.
            "statements:\n - set(body,\n  log.attribtes[\"a\"])\n",
            "statements:\n - 'set(body,\n\n     log.attribtes[\"a\"])'\n",
            "statements:\n - \"set(body,\n  \u{e9}log.attribtes)\"\n",
        ] {
            if yaml.contains('\u{e9}') {
                assert_eq!(marked(yaml).0, "\u{e9}", "{yaml}");
            } else {
                assert_eq!(marked(yaml), ("attribtes", MISSPELT.to_owned()), "{yaml}");
            }
        }
    }

    #[test]
    fn a_statement_with_escapes_is_marked_as_a_whole() {
        let yaml = "statements:\n  - \"set(body,\n    log.attribtes[\\\"a\\\"])\"\n";
        let (place, message) = marked(yaml);
        assert!(place.starts_with("\"set("), "{place}");
        assert_eq!(message, format!("1:15: {MISSPELT}"));
    }

    #[test]
    fn the_end_of_a_statement_is_the_end_of_its_last_line() {
        let (place, message) = marked("statements:\n  - >\n    set(body,\n      1\n  - ok\n");
        assert_eq!((place, message.contains("1:")), ("", false), "{message}");
    }
}
