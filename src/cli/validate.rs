//! `skep validate`: everything that `run` does before the first socket.

use std::sync::Arc;

use super::{CONFIG, Configuration, load, show};
use crate::{
    config::{Problem, Problems, Severity},
    document,
    engine::plan::{self, Blueprint, Site},
    telemetry::Telemetry,
};

/// Checks and builds; all problems at once.
pub(super) fn run(configuration: &Configuration, deny_warnings: bool) -> u8 {
    let mut problems = Problems::default();
    let (_, loaded) = load(configuration, &mut problems);
    if let Some(root) = &loaded.root {
        let document = document::load(root, &mut problems);
        if !problems.has_errors() {
            build(&Blueprint::from(document), &mut problems);
        }
    }
    show(&problems, &loaded.sources);
    let is_denied = deny_warnings && !problems.0.is_empty();
    if problems.has_errors() || is_denied { CONFIG } else { 0 }
}

fn build(blueprint: &Blueprint, problems: &mut Problems) {
    let site = Site {
        workers: 1,
        budget: 1 << 30,
        in_container: false,
        telemetry: Arc::new(Telemetry::default()),
    };
    let built = plan::plan(blueprint, &site).and_then(|plan| plan.build_replicas());
    if let Err(error) = built {
        problems.0.push(Problem {
            severity: Severity::Error,
            place: None,
            path: String::new(),
            message: error.to_string(),
            help: None,
        });
    }
}
