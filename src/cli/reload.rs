//! Reload: how a running skep reads its configuration again, and `skep reload`, which asks it to.

use std::{fmt::Write as _, sync::Arc};

use super::{
    CONFIG, control, print,
    run::{budget, log_settings},
    services::{self, Around},
};
use crate::{
    admin::proto::{Problem, ReloadRequest, ReloadResponse},
    component::reload::Finding,
    config::{self, Problems, Severity, shown::escaped, source::Loaded},
    document::{self, identity},
    engine::{
        plan::Blueprint,
        reload::{Candidate, Source},
    },
    net::tls,
    telemetry::logs,
};

/// Reads the configuration from where it was read at the start.
pub(super) type Again = Box<dyn Fn(&mut Problems) -> Loaded + Send + Sync>;

/// What the engine asks for another configuration; `budget` is that of the process.
pub(super) fn source(again: Again, around: Around, budget: u64) -> Arc<dyn Source> {
    Arc::new(Files { again, around, budget })
}

struct Files {
    again: Again,
    around: Around,
    budget: u64,
}

impl Source for Files {
    fn read(&self) -> Result<Candidate, Vec<Finding>> {
        let mut problems = Problems::default();
        let loaded = (self.again)(&mut problems);
        let document = loaded.root.as_ref().map(|root| document::load(root, &mut problems));
        let mut findings = findings(&problems, &loaded);
        let (Some(document), Some(root)) = (document, &loaded.root) else { return Err(findings) };
        if problems.has_errors() {
            return Err(findings);
        }
        let logs = log_settings(&document, false);
        if budget(&document) != self.budget {
            findings.push(stays(
                "processors::memory_limiter",
                format!(
                    "the byte budget stays at {} MiB; the limits in the configuration ask for {} MiB",
                    self.budget >> 20,
                    budget(&document) >> 20
                ),
            ));
        }
        if logs.has_other_format() {
            let message = "the encoding of the log stays as it is".to_owned();
            findings.push(stays("service::telemetry::logs::encoding", message));
        }
        let texts = identity::texts(root);
        let services = match services::build(&document, &texts, &self.around) {
            Ok(services) => services,
            Err(error) => {
                findings.push(Finding::new(Severity::Error, error.to_string()));
                return Err(findings);
            }
        };
        let inventory = services::inventory(&document);
        let telemetry = Arc::clone(&self.around.telemetry);
        let on_applied = move || {
            telemetry.set_inventory(inventory);
            logs::change(&logs);
            tls::look_again();
        };
        Ok(Candidate {
            blueprint: Blueprint { texts, ..Blueprint::from(document) },
            services,
            findings,
            on_applied: Box::new(on_applied),
        })
    }
}

/// What no reload can change.
fn stays(path: &str, message: String) -> Finding {
    let help = "restart skep to apply it".to_owned();
    let path = path.to_owned();
    Finding { severity: Severity::Warning, place: None, path, message, help }
}

/// Those that are shown, and how many more there are.
pub(super) fn findings(problems: &Problems, loaded: &Loaded) -> Vec<Finding> {
    let (shown, more) = problems.most_important();
    let mut findings: Vec<Finding> =
        shown.into_iter().map(|problem| finding(problem, loaded)).collect();
    if more > 0 {
        let message = format!("... and {more} more problems");
        findings.push(Finding::new(Severity::Warning, message));
    }
    findings
}

fn finding(problem: &config::Problem, loaded: &Loaded) -> Finding {
    let place = problem.place.as_ref().and_then(|place| {
        let source = loaded.sources.get(place.source)?;
        let before = source.text.get(..place.range.start)?;
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Some((source.name.clone(), line, column))
    });
    Finding {
        severity: problem.severity,
        place,
        path: problem.path.clone(),
        message: problem.message.clone(),
        help: problem.help.clone().unwrap_or_default(),
    }
}

/// Asks a running skep to read its configuration again.
pub(super) fn run(endpoint: &str) -> u8 {
    control::ask(endpoint, async |mut client| {
        let answer =
            control::Patience::long(endpoint).wait(client.reload(ReloadRequest {})).await?;
        let answer = answer.into_inner();
        let code = print::output(&story(&answer));
        Ok(if answer.applied { code } else { CONFIG })
    })
}

/// The answer for people.
fn story(answer: &ReloadResponse) -> String {
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
    fn the_answer_is_told_in_full() {
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
        insta::assert_snapshot!(story(&refused), @r"
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
        insta::assert_snapshot!(story(&applied), @r"
        applied; the pipelines stood still for 1500 us
          removed  processor batch in traces
          kept     receiver otlp
                   exporter otlp of traces
        ");
    }
}
