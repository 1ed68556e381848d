//! Problems of a configuration with their places in words, for what outlives its text.

use std::sync::Arc;

use crate::{
    component::reload::Finding,
    config::{self, Problems, Severity, source::Loaded},
};

/// Reads the configuration from where it was read at the start.
pub(super) type Reread = Arc<dyn Fn(&mut Problems) -> Loaded + Send + Sync>;

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
