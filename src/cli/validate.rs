//! `skep validate`: everything that `run` does before the first socket.

use std::{collections::HashSet, sync::Arc};

use super::{CONFIG, Configuration, load, print, show};
use crate::{
    component::{BuildContext, ComponentId, Kind, StartError},
    config::{Place, Problem, Problems, Severity},
    document::{self, Document},
    engine::{
        budget::Budget,
        disk::storages::Storages,
        export::offload::Offload,
        plan::{self, Kept, Site},
    },
    otlp::Signal,
    telemetry::Telemetry,
};

/// Checks and builds; all problems at once. What only does not exist on this machine, such as a
/// variable or a certificate, is a warning unless `is_strict`. Each of `files` is checked by
/// itself.
pub(super) fn run(
    configuration: &Configuration,
    files: &[String],
    deny_warnings: bool,
    is_strict: bool,
) -> u8 {
    let each = files
        .iter()
        .map(|file| Configuration { uris: vec![file.clone()], ..configuration.clone() });
    let all: Vec<Configuration> =
        if files.is_empty() { vec![configuration.clone()] } else { each.collect() };
    // All are checked, whatever is wrong with the first.
    all.iter().map(|one| check(one, deny_warnings, is_strict)).max().unwrap_or_default()
}

#[expect(clippy::print_stderr, reason = "this is the command line")]
fn check(configuration: &Configuration, deny_warnings: bool, is_strict: bool) -> u8 {
    let mut problems = Problems::default();
    let (origin, loaded) = load(configuration, &mut problems);
    let mut summary = String::new();
    if let Some(root) = &loaded.root {
        let document = document::load(root, &mut problems);
        if !problems.have_mistakes() {
            let told = HashSet::new();
            Builder { document: &document, problems: &mut problems, told }.each();
        }
        summary = summary_of(&document);
        if !problems.has_errors() {
            whole(&document, &mut problems);
        }
    }
    if !is_strict {
        problems.excuse_absent();
    }
    show(&problems, &loaded);
    let errors = problems.0.iter().filter(|problem| problem.severity == Severity::Error).count();
    let warnings = problems.0.len() - errors;
    let name = origin.name();
    if errors > 0 {
        eprintln!("{name} is not valid: {}", count(errors, "error"));
        return CONFIG;
    }
    if deny_warnings && warnings > 0 {
        eprintln!("{name} is refused for {} (--deny-warnings)", count(warnings, "warning"));
        return CONFIG;
    }
    let warnings = match warnings {
        0 => String::new(),
        some => format!(", with {}", count(some, "warning")),
    };
    print::output(&format!("{name} is valid{warnings}: {summary}\n"))
}

fn count(count: usize, name: &str) -> String {
    match count {
        1 => format!("1 {name}"),
        more => format!("{more} {name}s"),
    }
}

/// `2 pipelines (traces, logs/app), 1 receiver, 2 exporters`.
pub(super) fn summary_of(document: &Document) -> String {
    let pipelines: Vec<&str> = document.pipelines.iter().map(|pipeline| &*pipeline.id).collect();
    let mut parts =
        vec![format!("{} ({})", count(pipelines.len(), "pipeline"), pipelines.join(", "))];
    for (name, number) in [
        ("receiver", document.receivers.len()),
        ("processor", document.processors.len()),
        ("exporter", document.exporters.len()),
        ("connector", document.connectors.len()),
        ("extension", document.extensions.len()),
    ] {
        if number > 0 {
            parts.push(count(number, name));
        }
    }
    parts.join(", ")
}

/// The graph as `run` builds it, for what no component sees alone.
fn whole(document: &Document, problems: &mut Problems) {
    let telemetry = Arc::new(Telemetry::default());
    let site = Site {
        workers: 1,
        budget: Budget::new(1 << 30, Arc::clone(&telemetry)),
        storages: Arc::new(Storages::dry(Arc::clone(&telemetry))),
        budgets: Arc::default(),
        in_container: false,
        telemetry,
    };
    let built = plan::plan(document, &site, &Offload::in_place(), &Kept::default());
    let built = built.and_then(|plan| plan.build_replicas());
    if let Err(error) = built {
        problems.0.push(Problem::of_the_whole(error.to_string()));
    }
}

/// Builds each component on its own, so that all that cannot be built are found.
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
                cx.server_auths = Arc::clone(&document.server_auths);
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
            let cx = BuildContext::new(id.clone(), Signal::Traces, Arc::default());
            let built = extension.config.build(&cx);
            self.note(Kind::Extension, id, &extension.place, built.err());
        }
    }

    /// Once, although a component is built for each of its signals.
    fn note(&mut self, kind: Kind, id: &ComponentId, place: &Place, error: Option<StartError>) {
        let Some(error) = error else { return };
        let path = format!("{}::{id}", kind.section());
        // It cannot be built without a file that does not exist, which is said already.
        let within = format!("{path}::");
        let names = |known: &Problem| {
            let file = known.message.split('`').nth(1);
            file.is_some_and(|file| error.message.contains(&format!("`{file}`")))
        };
        let mut absent = self.problems.0.iter().filter(|known| known.is_absent);
        if absent.any(|known| known.path.starts_with(&within) || names(known)) {
            return;
        }
        let problem =
            Problem { path, place: Some(place.clone()), ..Problem::of_the_whole(error.message) };
        if self.told.insert((kind, id.clone(), problem.message.clone())) {
            self.problems.0.push(problem);
        }
    }
}

fn context(id: &ComponentId, pipeline: &document::Pipeline) -> BuildContext {
    BuildContext {
        pipeline: pipeline.id.clone(),
        ..BuildContext::new(id.clone(), pipeline.signal, Arc::default())
    }
}
