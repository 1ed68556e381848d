//! `skep validate`: everything that `run` does before the first socket.

use std::{collections::HashSet, sync::Arc};

use super::{CONFIG, Configuration, load, show};
use crate::{
    component::{BuildContext, ComponentId, Kind, StartError},
    config::{Place, Problem, Problems, Severity},
    document::{self, Document},
    engine::{
        budget::Budget,
        plan::{self, Blueprint, Site},
        storages::Storages,
    },
    otlp::Signal,
    telemetry::Telemetry,
};

/// Checks and builds; all problems at once.
pub(super) fn run(configuration: &Configuration, deny_warnings: bool) -> u8 {
    let mut problems = Problems::default();
    let (_, loaded) = load(configuration, &mut problems);
    if let Some(root) = &loaded.root {
        let document = document::load(root, &mut problems);
        if !problems.has_errors() {
            let told = HashSet::new();
            Builder { document: &document, problems: &mut problems, told }.each();
        }
        if !problems.has_errors() {
            whole(&Blueprint::from(document), &mut problems);
        }
    }
    show(&problems, &loaded);
    let is_denied = deny_warnings && !problems.0.is_empty();
    if problems.has_errors() || is_denied { CONFIG } else { 0 }
}

/// The graph as `run` builds it, for what no component sees alone.
fn whole(blueprint: &Blueprint, problems: &mut Problems) {
    let telemetry = Arc::new(Telemetry::default());
    let site = Site {
        workers: 1,
        budget: Budget::new(1 << 30, Arc::clone(&telemetry)),
        storages: Arc::new(Storages::dry(Arc::clone(&telemetry))),
        in_container: false,
        telemetry,
    };
    let built = plan::plan(blueprint, &site).and_then(|plan| plan.build_replicas());
    if let Err(error) = built {
        problems.0.push(Problem {
            severity: Severity::Error,
            place: None,
            path: String::new(),
            message: error.to_string(),
            help: None,
            related: None,
        });
    }
}

/// Builds each component by itself, so that one that cannot be built hides no other.
struct Builder<'a> {
    document: &'a Document,
    problems: &'a mut Problems,
    /// Errors that were noted.
    told: HashSet<(Kind, ComponentId, String)>,
}

impl Builder<'_> {
    fn each(&mut self) {
        let document = self.document;
        for pipeline in &document.pipelines {
            for id in &pipeline.receivers {
                let Some(receiver) = document.receivers.get(id) else { continue };
                let mut cx = context(id, pipeline);
                cx.server_auths = Arc::new(document.server_auths.clone());
                let built = receiver.config.build(&cx, &[pipeline.signal]);
                self.note(Kind::Receiver, id, &receiver.place, built.err());
            }
            for id in &pipeline.processors {
                let Some(processor) = document.processors.get(id) else { continue };
                let built = processor.config.build(&context(id, pipeline));
                self.note(Kind::Processor, id, &processor.place, built.err());
            }
            for id in &pipeline.exporters {
                let Some(exporter) = document.exporters.get(id) else { continue };
                let mut cx = context(id, pipeline);
                cx.auth = document.auths.get(id).cloned();
                let built = exporter.config.build(&cx);
                self.note(Kind::Exporter, id, &exporter.place, built.err());
            }
        }
        for id in &document.enabled_extensions {
            let Some(extension) = document.extensions.get(id) else { continue };
            let cx = BuildContext {
                id: id.clone(),
                pipeline: String::new(),
                signal: Signal::Traces,
                wants_weights: false,
                budget: 0,
                in_container: false,
                telemetry: Arc::new(Telemetry::default()),
                auth: None,
                server_auths: Arc::default(),
            };
            let built = extension.config.build(&cx);
            self.note(Kind::Extension, id, &extension.place, built.err());
        }
    }

    /// Once, although a component is built for each of its signals.
    fn note(&mut self, kind: Kind, id: &ComponentId, place: &Place, error: Option<StartError>) {
        let Some(error) = error else { return };
        let problem = Problem {
            severity: Severity::Error,
            place: Some(place.clone()),
            path: format!("{}::{id}", kind.section()),
            message: error.message,
            help: None,
            related: None,
        };
        if self.told.insert((kind, id.clone(), problem.message.clone())) {
            self.problems.0.push(problem);
        }
    }
}

fn context(id: &ComponentId, pipeline: &document::Pipeline) -> BuildContext {
    BuildContext {
        id: id.clone(),
        pipeline: pipeline.id.clone(),
        signal: pipeline.signal,
        wants_weights: false,
        budget: u64::MAX,
        in_container: false,
        telemetry: Arc::new(Telemetry::default()),
        auth: None,
        server_auths: Arc::default(),
    }
}
