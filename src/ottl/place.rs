//! Problems of statements as problems of the configuration: at the line and column inside of the
//! statement, where that is known.

use super::problem::Problem;
use crate::config::{Place, Problems, tree::Node};

/// Records a problem of the statement `text`, which is the value of a node.
///
/// The text of a plain or quoted scalar is in the file as it is, unless it has escapes or several
/// lines. Then the whole value is marked, and the line of the statement is shown below. Only then
/// the message begins with the line and column in the statement: the place in the file says more.
pub fn report(problems: &mut Problems, node: &Node, text: &str, problem: &Problem) {
    let place = within(node.spot(), text, problem);
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
fn within(whole: &Place, text: &str, problem: &Problem) -> Option<Place> {
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
        config::{Value, yaml},
        otlp::Signal,
        ottl::{Context, Group, Program},
    };

    #[test]
    fn the_caret_is_inside_of_the_statement() {
        let text = "statements:\n  - 'set(log.attribtes[\"a\"], 1)'\n";
        let mut problems = Problems::default();
        let root = yaml::parse(0, text).unwrap();
        let node = match &root.get("statements").unwrap().value {
            Value::List(nodes) => nodes[0].clone(),
            _ => panic!("a list"),
        };
        let statement = "set(log.attribtes[\"a\"], 1)";
        let group = Group {
            signal: Signal::Logs,
            context: Some(Context::Log),
            conditions: &[],
            statements: &[statement],
        };
        let found = Program::compile(&group).unwrap_err();
        report(&mut problems, &node, statement, &found[0].problem);
        let range = problems.0[0].place.clone().unwrap().range;
        assert_eq!(&text[range], "attribtes");
        assert_eq!(problems.0[0].help.as_deref(), Some("did you mean `attributes`?"));
        assert_eq!(problems.0[0].message, "a log record has no field `attribtes`");
    }
}
