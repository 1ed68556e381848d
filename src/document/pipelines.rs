//! The `service` section: telemetry, extensions and pipelines, and what they refer to.

use std::collections::HashSet;

use super::{
    Document, auth, ids, profiles,
    references::{self, Reference, Scope},
    storage, telemetry,
    unknown::{Unknown, unknown_key},
    usage, wiring,
};
use crate::{
    component::{ComponentId, Kind},
    config::{Node, Place, Problem, Problems, Value, diagnostics::closest, tree::Member},
    otlp::Signal,
};

/// One pipeline.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// `traces/backend`.
    pub id: String,
    /// The part of the id before the slash.
    pub signal: Signal,
    /// Receivers, and connectors used as receivers.
    pub receivers: Vec<ComponentId>,
    /// In order.
    pub processors: Vec<ComponentId>,
    /// Exporters, and connectors used as exporters.
    pub exporters: Vec<ComponentId>,
    /// The position of its id.
    pub place: Place,
    /// The position of each of `receivers`.
    receiver_places: Vec<Place>,
    /// The position of each of `exporters`.
    exporter_places: Vec<Place>,
}

impl Pipeline {
    /// The position of an id among the receivers.
    pub(super) fn place_of_receiver(&self, id: &ComponentId) -> &Place {
        let at = self.receivers.iter().position(|known| known == id);
        at.and_then(|at| self.receiver_places.get(at)).unwrap_or(&self.place)
    }

    /// The position of an id among the exporters.
    pub(super) fn place_of_exporter(&self, id: &ComponentId) -> &Place {
        let at = self.exporters.iter().position(|known| known == id);
        at.and_then(|at| self.exporter_places.get(at)).unwrap_or(&self.place)
    }
}

const KEYS: [&str; 3] = ["receivers", "processors", "exporters"];

const SERVICE_KEYS: [&str; 3] = ["extensions", "pipelines", "telemetry"];

const ADD_A_PIPELINE: &str =
    "add `traces:` with `receivers` and `exporters` under `service: pipelines:`";

/// Reads `service` into the document.
pub(super) fn load(
    root: &Node,
    document: &mut Document,
    unknown: &Unknown,
    problems: &mut Problems,
) {
    let Some(service) = root.get("service") else {
        if !unknown.sections.contains(&"service") {
            problems
                .error(root, "the section `service` is missing")
                .help("add `service: pipelines:`");
        }
        return;
    };
    let misspelt = unknown_keys(service, &SERVICE_KEYS, problems);
    document.telemetry = telemetry::load(service, problems);
    document.enabled_extensions = extensions(service, Scope { document, unknown }, problems);
    let pipelines = service.get("pipelines");
    let Some(Value::Map(members)) = pipelines.map(Node::plain) else {
        if !misspelt.contains(&"pipelines") {
            problems
                .error(pipelines.unwrap_or(service), "service must have at least one pipeline")
                .help(ADD_A_PIPELINE);
        }
        return;
    };
    if members.is_empty() {
        problems
            .error(pipelines.unwrap_or(service), "service must have at least one pipeline")
            .help(ADD_A_PIPELINE);
    }
    for member in members {
        let pipeline = pipeline(member, Scope { document, unknown }, problems);
        document.pipelines.extend(pipeline);
    }
    wiring::check(root, document, problems);
    auth::load(root, document, unknown, problems);
    storage::load(root, document, unknown, problems);
    // With an error in a pipeline, what it would have used only looks unused.
    if !problems.have_mistakes() {
        usage::check(document, problems);
    }
}

/// The extensions that `service` lists and that are defined.
fn extensions(service: &Node, scope: Scope<'_>, problems: &mut Problems) -> Vec<ComponentId> {
    let mut enabled = Vec::new();
    for (id, node) in references::list(service, "extensions", problems) {
        if scope.document.extensions.contains_key(&id) {
            enabled.push(id);
        } else if !scope.unknown.may_define(Kind::Extension, &id) {
            let message = format!("references extension `{id}` which is not configured");
            let help = (!problems.are_many()).then(|| scope.remedy(Kind::Extension, &id));
            problems.error(&node, message).help = help;
        }
    }
    enabled
}

/// Reads and checks one pipeline; `None` if it is not one.
fn pipeline(member: &Member, scope: Scope<'_>, problems: &mut Problems) -> Option<Pipeline> {
    let Member { key, key_place, value } = member;
    let signal = match ids::pipeline(key) {
        Ok(signal) => signal,
        Err(message) => {
            let mut problem = Problem::at(key_place, &value.path, message);
            problem.help = profiles::is_one(key).then(profiles::remedy);
            problems.0.push(problem);
            return None;
        }
    };
    let misspelt = unknown_keys(value, &KEYS, problems);
    let mut list = |key| references::list(value, key, problems);
    let (receivers, processors, exporters) =
        (list("receivers"), list("processors"), list("exporters"));
    let places =
        |list: &[(ComponentId, Node)]| list.iter().map(|(_, node)| node.place.clone()).collect();
    let pipeline = Pipeline {
        id: key.trim().to_owned(),
        signal,
        receiver_places: places(&receivers),
        exporter_places: places(&exporters),
        receivers: receivers.into_iter().map(|(id, _)| id).collect(),
        processors: processors.into_iter().map(|(id, _)| id).collect(),
        exporters: exporters.into_iter().map(|(id, _)| id).collect(),
        place: key_place.clone(),
    };
    match value.plain() {
        Value::Unknown(_) => return None,
        Value::Map(_) | Value::Null => {}
        _ => {
            problems
                .error(value, format!("the pipeline `{}` must be a map", pipeline.id))
                .help("write `receivers: [...]` and `exporters: [...]` under it");
            return None;
        }
    }
    has_both_ends(value, &pipeline, &misspelt, problems);
    check_references(value, &pipeline, scope, problems);
    Some(pipeline)
}

/// Reports the keys of a map that are not among `valid`. Returns the keys that were most likely
/// meant.
fn unknown_keys(
    node: &Node,
    valid: &'static [&'static str],
    problems: &mut Problems,
) -> Vec<&'static str> {
    let Value::Map(members) = node.plain() else { return Vec::new() };
    let mut meant = Vec::new();
    for Member { key, key_place, value } in members {
        if !valid.contains(&&**key) {
            meant.extend(closest(key, valid.iter().copied()));
            unknown_key(key_place, &value.path, key, valid, problems);
        }
    }
    meant
}

/// Checks that a pipeline has a receiver and an exporter. A list that is wrong or misspelt has its
/// own problem already.
fn has_both_ends(node: &Node, pipeline: &Pipeline, misspelt: &[&str], problems: &mut Problems) {
    for (key, ids) in [("receivers", &pipeline.receivers), ("exporters", &pipeline.exporters)] {
        let is_empty = match node.get(key).map(Node::plain) {
            None | Some(Value::Null | Value::String(_)) => ids.is_empty(),
            Some(Value::List(nodes)) => nodes.is_empty(),
            _ => false,
        };
        if is_empty && !misspelt.contains(&key) {
            problems
                .error(node, format!("must have at least one {}", key.trim_end_matches('s')))
                .help(format!("add `{key}: [...]` to `{}`", pipeline.id));
        }
    }
}

/// Checks that what a pipeline refers to is defined and works with its signal.
fn check_references(node: &Node, pipeline: &Pipeline, scope: Scope<'_>, problems: &mut Problems) {
    let document = scope.document;
    let signal = pipeline.signal;
    for (i, id) in pipeline.receivers.iter().enumerate() {
        let known = document.receivers.get(id);
        let connector = document.connectors.get(id);
        let supported = known.map(|receiver| receiver.signals.contains(&signal)).or_else(|| {
            let mut inputs = Signal::ALL.into_iter();
            connector.map(|connector| {
                inputs.any(|input| connector.config.outputs(input).contains(&signal))
            })
        });
        let at = node.at(&format!("receivers::{i}"));
        let reference = Reference { at, kind: Kind::Receiver, id, supported };
        reference.check(pipeline, scope, problems);
    }
    let mut seen = HashSet::new();
    for (i, id) in pipeline.processors.iter().enumerate() {
        let known = document.processors.get(id);
        let supported = known.map(|processor| processor.signals.contains(&signal));
        let at = node.at(&format!("processors::{i}"));
        let reference = Reference { at, kind: Kind::Processor, id, supported };
        reference.check(pipeline, scope, problems);
        if !seen.insert(id) {
            let message = format!("references processor `{id}` multiple times");
            problems
                .error(at, message)
                .help(format!("remove one, or define a second one as `{}/2`", id.kind_name));
        }
    }
    for (i, id) in pipeline.exporters.iter().enumerate() {
        let known = document.exporters.get(id);
        let connector = document.connectors.get(id);
        let supported = known
            .map(|exporter| exporter.signals.contains(&signal))
            .or_else(|| connector.map(|connector| !connector.config.outputs(signal).is_empty()));
        let at = node.at(&format!("exporters::{i}"));
        let reference = Reference { at, kind: Kind::Exporter, id, supported };
        reference.check(pipeline, scope, problems);
    }
}
