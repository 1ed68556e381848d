//! Warnings about how pipelines use components: components that nothing uses, and processors and
//! connectors that need data which no receiver keeps for them.

use std::collections::HashSet;

use super::{Document, Pipeline, in_file_order};
use crate::{
    component::{ComponentId, Kind, Needs},
    config::{Place, Problem, Problems, Severity},
};

/// Warns of all of these. There must be no error in the document.
pub(super) fn check(document: &Document, problems: &mut Problems) {
    unused(document, problems);
    for pipeline in &document.pipelines {
        metadata(document, pipeline, problems);
    }
    for pipeline in &document.pipelines {
        authentication(document, pipeline, problems);
    }
}

/// Warns of components that are defined and never used.
fn unused(document: &Document, problems: &mut Problems) {
    let before = problems.0.len();
    let mut warn = |place: &Place, kind: Kind, id: &ComponentId, remedy: &str| {
        let message = format!("{} `{id}` is defined but not used", kind.name());
        let mut problem = Problem::at(place, &format!("{}::{id}", kind.section()), message);
        problem.severity = Severity::Warning;
        problem.help(remedy);
        problems.0.push(problem);
    };
    let used = |side: fn(&Pipeline) -> &Vec<ComponentId>| {
        document.pipelines.iter().flat_map(side).collect::<HashSet<_>>()
    };
    let (receivers, processors, exporters) =
        (used(|p| &p.receivers), used(|p| &p.processors), used(|p| &p.exporters));
    let remedy = "list it in a pipeline under `service: pipelines:`, or remove it";
    for component in document.receivers.values().filter(|c| !receivers.contains(&c.id)) {
        warn(&component.place, Kind::Receiver, &component.id, remedy);
    }
    for component in document.processors.values().filter(|c| !processors.contains(&c.id)) {
        warn(&component.place, Kind::Processor, &component.id, remedy);
    }
    for component in document.exporters.values().filter(|c| !exporters.contains(&c.id)) {
        warn(&component.place, Kind::Exporter, &component.id, remedy);
    }
    let enabled: HashSet<&ComponentId> = document.enabled_extensions.iter().collect();
    for component in document.extensions.values().filter(|c| !enabled.contains(&c.id)) {
        let remedy = "list it under `service: extensions:`, or remove it";
        warn(&component.place, Kind::Extension, &component.id, remedy);
    }
    in_file_order(problems, before);
}

/// Processors of a pipeline in order, and the connectors at its end, with their needs.
fn readers<'a>(
    document: &'a Document,
    pipeline: &'a Pipeline,
) -> impl Iterator<Item = (Kind, &'a ComponentId, &'a Place, Needs<'a>)> {
    let processors = pipeline.processors.iter().filter_map(|id| document.processors.get(id));
    let connectors = pipeline.exporters.iter().filter_map(|id| document.connectors.get(id));
    let processors =
        processors.map(|one| (Kind::Processor, &one.id, &one.place, one.config.needs()));
    let connectors =
        connectors.map(|one| (Kind::Connector, &one.id, &one.place, one.config.needs()));
    processors.chain(connectors)
}

/// Warns of readers of request headers which the receivers or an earlier processor drop.
fn metadata(document: &Document, pipeline: &Pipeline, problems: &mut Problems) {
    let gives = |id: &ComponentId| match document.receivers.get(id) {
        Some(receiver) => receiver.config.gives_metadata(),
        // Data of a connector is checked in the pipelines before it.
        None => true,
    };
    let is_given = pipeline.receivers.iter().any(gives);
    let mut dropped_by = None;
    for (kind, id, place, needs) in readers(document, pipeline) {
        if needs.metadata {
            let why = match (is_given, dropped_by) {
                (false, _) => Some((
                    "no receiver keeps them".to_owned(),
                    "add `include_metadata: true` to the protocol of the receiver".to_owned(),
                )),
                (true, Some(batch)) => Some((
                    format!("`{batch}` before it does not keep them"),
                    format!("list it before `{batch}`, or the headers in its `metadata_keys`"),
                )),
                (true, None) => None,
            };
            if let Some((why, remedy)) = why {
                let message = format!(
                    "{} `{id}` looks at request headers, but in the pipeline `{}` {why}",
                    kind.name(),
                    pipeline.id
                );
                problems.0.push(warning(kind, id, place, message, remedy));
            }
        }
        if needs.drops_metadata {
            dropped_by = Some(id);
        }
    }
}

/// Warns of readers of attributes of an authenticator in a pipeline without one.
fn authentication(document: &Document, pipeline: &Pipeline, problems: &mut Problems) {
    let authenticates = |id: &ComponentId| match document.receivers.get(id) {
        Some(receiver) => !receiver.config.auths().is_empty(),
        // Data of a connector is checked in the pipelines before it.
        None => true,
    };
    if pipeline.receivers.iter().any(authenticates) {
        return;
    }
    for (kind, id, place, needs) in readers(document, pipeline) {
        if needs.auth {
            let message = format!(
                "{} `{id}` looks at attributes of the authenticator, but in the pipeline `{}` no \
                 receiver has one",
                kind.name(),
                pipeline.id
            );
            let remedy = "add `auth` to a protocol of the receiver".to_owned();
            problems.0.push(warning(kind, id, place, message, remedy));
        }
    }
}

fn warning(
    kind: Kind,
    id: &ComponentId,
    place: &Place,
    message: String,
    remedy: String,
) -> Problem {
    let path = format!("{}::{id}", kind.section());
    let mut problem = Problem::at(place, &path, message);
    problem.severity = Severity::Warning;
    problem.help(remedy);
    problem
}
