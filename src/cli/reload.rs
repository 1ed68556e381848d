//! `skep reload`: asks a running skep to read its configuration again, and prints what has changed.

use std::fmt::Write as _;

use super::{CONFIG, control, print};
use crate::{
    admin::proto::{Problem, ReloadRequest, ReloadResponse},
    config::shown::escaped,
};

/// Asks a running skep to read its configuration again.
pub(super) fn run(endpoint: &str) -> u8 {
    control::ask(endpoint, async |mut client| {
        let answer =
            control::Patience::long(endpoint).wait(client.reload(ReloadRequest {})).await?;
        let answer = answer.into_inner();
        let code = print::output(&text(&answer));
        Ok(if answer.applied { code } else { CONFIG })
    })
}

/// The response as text for people.
fn text(answer: &ReloadResponse) -> String {
    let mut text = answer.problems.iter().map(problem).collect::<String>();
    if !answer.applied {
        text.push_str("not applied: the running configuration stays in use\n");
        return text;
    }
    let _ = writeln!(text, "applied; the pipelines stood still for {} us", answer.pause_us);
    for (title, parts) in [
        ("changed", &answer.changed),
        ("added", &answer.added),
        ("removed", &answer.removed),
        ("kept", &answer.kept),
    ] {
        for (i, part) in parts.iter().enumerate() {
            let title = if i == 0 { title } else { "" };
            let _ = writeln!(text, "  {title:<9}{part}");
        }
    }
    text
}

fn problem(problem: &Problem) -> String {
    let title = if problem.error { "error" } else { "warning" };
    let mut text = format!("{title}: {}\n", escaped(&problem.message));
    let Problem { source, line, column, path, help, .. } = problem;
    let (source, path, help) = (escaped(source), escaped(path), escaped(help));
    if !source.is_empty() {
        let _ = writeln!(text, "  --> {source}:{line}:{column} {path}");
    } else if !path.is_empty() {
        let _ = writeln!(text, "  --> {path}");
    }
    if !help.is_empty() {
        let _ = writeln!(text, "  help: {help}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_response_is_printed() {
        let wrong = Problem {
            error: true,
            source: "skep.yaml".to_owned(),
            line: 3,
            column: 5,
            path: "exporters::otlp".to_owned(),
            message: "unknown key `endpont`".to_owned(),
            help: "did you mean `endpoint`?".to_owned(),
        };
        let refused = ReloadResponse { problems: vec![wrong], ..ReloadResponse::default() };
        insta::assert_snapshot!(text(&refused), @r"
        error: unknown key `endpont`
          --> skep.yaml:3:5 exporters::otlp
          help: did you mean `endpoint`?
        not applied: the running configuration stays in use
        ");
        let words = |all: &[&str]| all.iter().map(|word| (*word).to_owned()).collect();
        let applied = ReloadResponse {
            applied: true,
            kept: words(&["receiver otlp", "exporter otlp of traces"]),
            removed: words(&["processor batch in traces"]),
            pause_us: 1500,
            ..ReloadResponse::default()
        };
        insta::assert_snapshot!(text(&applied), @r"
        applied; the pipelines stood still for 1500 us
          removed  processor batch in traces
          kept     receiver otlp
                   exporter otlp of traces
        ");
    }
}
