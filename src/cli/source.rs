//! The configuration of a running skep, read again for a reload.

use std::sync::Arc;

use super::{
    run::{budget, log_settings},
    services::{self, Deps},
};
use crate::{
    component::reload::Finding,
    config::{self, Problems, Severity, source::Loaded},
    document,
    engine::reload::{Candidate, Source},
    net::tls,
    telemetry::logs,
};

/// Reads the configuration from where it was read at the start.
pub(super) type Reread = Box<dyn Fn(&mut Problems) -> Loaded + Send + Sync>;

/// The source of configurations for reloads. `budget` is the byte budget of the process.
pub(super) fn source(reread: Reread, deps: Deps, budget: u64) -> Arc<dyn Source> {
    Arc::new(Files { reread, deps, budget })
}

struct Files {
    reread: Reread,
    deps: Deps,
    budget: u64,
}

impl Source for Files {
    fn read(&self) -> Result<Candidate, Vec<Finding>> {
        let mut problems = Problems::default();
        let loaded = (self.reread)(&mut problems);
        let document = loaded.root.as_ref().map(|root| document::load(root, &mut problems));
        let mut findings = findings(&problems, &loaded);
        let Some(document) = document.filter(|_| !problems.has_errors()) else {
            return Err(findings);
        };
        let logs = log_settings(&document, false);
        if budget(&document) != self.budget {
            findings.push(needs_restart(
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
            findings.push(needs_restart("service::telemetry::logs::encoding", message));
        }
        let services = match services::build(&document, &self.deps) {
            Ok(services) => services,
            Err(error) => {
                findings.push(Finding::new(Severity::Error, error.to_string()));
                return Err(findings);
            }
        };
        let inventory = services::inventory(&document);
        let telemetry = Arc::clone(&self.deps.telemetry);
        let on_applied = move || {
            telemetry.set_inventory(inventory);
            logs::change(&logs);
            tls::look_again();
        };
        Ok(Candidate { document, services, findings, on_applied: Box::new(on_applied) })
    }
}

/// A warning about a setting that a reload cannot change.
fn needs_restart(path: &str, message: String) -> Finding {
    let help = "restart skep to apply it".to_owned();
    let path = path.to_owned();
    Finding { severity: Severity::Warning, place: None, path, message, help }
}

/// The most important problems, and how many more there are.
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
