//! The `service` section: pipelines, what they refer to, and what is defined but not used.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
};

use super::{Document, Unknown, at, ids, unknown_key};
use crate::{
    component::{ComponentId, Kind},
    config::{Node, Place, Problems, Severity, Value, diagnostics::closest, tree::Member},
    otlp::Signal,
};

/// One pipeline.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// `traces/backend`.
    pub id: String,
    /// Before the slash.
    pub signal: Signal,
    /// Receivers, and connectors used as receivers.
    pub receivers: Vec<ComponentId>,
    /// In order.
    pub processors: Vec<ComponentId>,
    /// Exporters, and connectors used as exporters.
    pub exporters: Vec<ComponentId>,
    /// Where its id stands.
    pub place: Place,
    /// Where each of `receivers` stands.
    receiver_places: Vec<Place>,
    /// Where each of `exporters` stands.
    exporter_places: Vec<Place>,
}

impl Pipeline {
    /// Where a connector stands among the exporters, or among the receivers.
    fn reference(&self, id: &ComponentId, is_exporter: bool) -> &Place {
        let (ids, places) = if is_exporter {
            (&self.exporters, &self.exporter_places)
        } else {
            (&self.receivers, &self.receiver_places)
        };
        let found = ids.iter().position(|known| known == id);
        found.and_then(|at| places.get(at)).unwrap_or(&self.place)
    }
}

const KEYS: [&str; 3] = ["receivers", "processors", "exporters"];

const SERVICE_KEYS: [&str; 3] = ["extensions", "pipelines", "telemetry"];

/// Reads `service` into the document. `ignored` is what cannot be seen because of other errors.
pub(super) fn load(
    root: &Node,
    document: &mut Document,
    ignored: &Unknown,
    problems: &mut Problems,
) {
    let Some(service) = root.get("service") else {
        if !ignored.sections.contains(&"service") {
            problems
                .error(root, "the section `service` is missing")
                .help("add `service: pipelines:`");
        }
        return;
    };
    let mut has_misspelt_pipelines = false;
    if let Value::Map(members) = service.plain() {
        for Member { key, key_place, value } in members {
            if !SERVICE_KEYS.contains(&&**key) {
                has_misspelt_pipelines |= closest(key, SERVICE_KEYS) == Some("pipelines");
                unknown_key(key_place, &value.path, key, &SERVICE_KEYS, problems);
            }
        }
    }
    document.telemetry = super::telemetry::load(service, problems);
    extensions(service, document, ignored, problems);
    let pipelines = service.get("pipelines");
    let Some(Value::Map(members)) = pipelines.map(Node::plain) else {
        if !has_misspelt_pipelines {
            problems
                .error(pipelines.unwrap_or(service), "service must have at least one pipeline")
                .help("add `traces:` with `receivers` and `exporters` under `service: pipelines:`");
        }
        return;
    };
    if members.is_empty() {
        problems
            .error(pipelines.unwrap_or(service), "service must have at least one pipeline")
            .help("add `traces:` with `receivers` and `exporters` under `service: pipelines:`");
    }
    for member in members {
        let signal = match ids::pipeline(&member.key) {
            Ok(signal) => signal,
            Err(message) => {
                let mut problem = at(&member.key_place, &member.value.path);
                problem.message = message;
                problem.help = super::profiles::is_one(&member.key).then(super::profiles::remedy);
                problems.0.push(problem);
                continue;
            }
        };
        let misspelt = unknown_keys(&member.value, problems);
        let mut list = |key| references(&member.value, key, problems);
        let (receivers, processors, exporters) =
            (list("receivers"), list("processors"), list("exporters"));
        let places = |list: &[(ComponentId, Node)]| {
            list.iter().map(|(_, node)| node.place.clone()).collect()
        };
        let pipeline = Pipeline {
            id: member.key.trim().to_owned(),
            signal,
            receiver_places: places(&receivers),
            exporter_places: places(&exporters),
            receivers: receivers.into_iter().map(|(id, _)| id).collect(),
            processors: processors.into_iter().map(|(id, _)| id).collect(),
            exporters: exporters.into_iter().map(|(id, _)| id).collect(),
            place: member.key_place.clone(),
        };
        if matches!(member.value.plain(), Value::Unknown(_)) {
            continue;
        }
        if !matches!(member.value.plain(), Value::Map(_) | Value::Null) {
            problems
                .error(&member.value, format!("the pipeline `{}` must be a map", pipeline.id))
                .help("write `receivers: [...]` and `exporters: [...]` under it");
            continue;
        }
        check(&member.value, &pipeline, &misspelt, Scope { document, ignored }, problems);
        document.pipelines.push(pipeline);
    }
    connectors(document, problems);
    cycles(document, problems);
    super::auth::load(root, document, ignored, problems);
    super::storage::load(root, document, ignored, problems);
    // With an error in a pipeline, what it would have used only looks unused.
    if !problems.have_mistakes() {
        unused(document, problems);
        metadata(document, problems);
        super::auth::readers(document, problems);
    }
}

fn extensions(service: &Node, document: &mut Document, ignored: &Unknown, problems: &mut Problems) {
    for (id, node) in references(service, "extensions", problems) {
        if document.extensions.contains_key(&id) {
            document.enabled_extensions.push(id);
        } else if !ignored.may_define(Kind::Extension, &id) {
            let message = format!("references extension `{id}` which is not configured");
            let scope = Scope { document, ignored };
            let help = (!problems.are_many()).then(|| scope.remedy(Kind::Extension, &id));
            problems.error(&node, message).help = help;
        }
    }
}

/// Reports them, and returns the keys that were most likely meant.
fn unknown_keys(pipeline: &Node, problems: &mut Problems) -> Vec<&'static str> {
    let Value::Map(members) = pipeline.plain() else { return Vec::new() };
    let mut meant = Vec::new();
    for Member { key, key_place, value } in members {
        if !KEYS.contains(&&**key) {
            meant.extend(closest(key, KEYS));
            unknown_key(key_place, &value.path, key, &KEYS, problems);
        }
    }
    meant
}

/// What references are looked up in.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) document: &'a Document,
    pub(super) ignored: &'a Unknown,
}

impl Scope<'_> {
    /// What to do about an id that is not defined.
    fn remedy(self, kind: Kind, id: &ComponentId) -> String {
        fn ids<C: ?Sized>(
            components: &HashMap<ComponentId, super::Component<C>>,
        ) -> Vec<&ComponentId> {
            components.keys().collect()
        }
        let document = self.document;
        let all = [
            (Kind::Receiver, ids(&document.receivers)),
            (Kind::Processor, ids(&document.processors)),
            (Kind::Exporter, ids(&document.exporters)),
            (Kind::Connector, ids(&document.connectors)),
            (Kind::Extension, ids(&document.extensions)),
        ];
        let own = all.iter().filter(|(other, _)| *other == kind);
        let mut names: Vec<String> =
            own.flat_map(|(_, ids)| ids.iter().map(ToString::to_string)).collect();
        names.sort();
        let section = kind.section();
        if let Some(near) = closest(&id.to_string(), names.iter().map(|name| &**name)) {
            return format!("did you mean `{near}`? otherwise add `{id}:` under `{section}`");
        }
        let types = super::types(kind);
        if !types.contains(&&*id.kind_name)
            && let Some(near) = closest(&id.kind_name, types.iter().copied())
        {
            return format!("did you mean `{near}`? it also has to be defined under `{section}`");
        }
        match all.iter().find(|(_, ids)| ids.contains(&id)) {
            Some((Kind::Extension, _)) => {
                format!("`{id}` is an extension: list it under `service: extensions:`")
            }
            Some((other, _)) => {
                format!("`{id}` is defined under `{}`, which is not the same", other.section())
            }
            None => format!("add `{id}:` under `{section}`"),
        }
    }
}

/// The ids of a list, each with its node.
fn references(parent: &Node, key: &str, problems: &mut Problems) -> Vec<(ComponentId, Node)> {
    let Some(list) = parent.get(key) else { return Vec::new() };
    let nodes = match list.plain() {
        Value::List(nodes) => nodes.clone(),
        Value::Null | Value::Unknown(_) => return Vec::new(),
        Value::String(text) => text
            .split(',')
            .map(|part| Node { value: Value::String(part.trim().to_owned()), ..list.clone() })
            .collect(),
        _ => {
            problems
                .error(list, format!("`{key}` must be a list of ids"))
                .help(format!("write `{key}: [first, second]`"));
            return Vec::new();
        }
    };
    let mut ids = Vec::with_capacity(nodes.len());
    for node in nodes {
        if matches!(node.value, Value::Unknown(_)) {
            continue;
        }
        let (Value::String(text) | Value::Substituted { text, .. }) = &node.value else {
            problems.error(&node, "an id must be text, such as `otlp` or `otlp/second`");
            continue;
        };
        match ids::component(text) {
            Ok(id) => ids.push((id, node)),
            Err(message) => {
                problems.error(&node, message);
            }
        }
    }
    ids
}

fn check(
    node: &Node,
    pipeline: &Pipeline,
    misspelt: &[&str],
    scope: Scope<'_>,
    problems: &mut Problems,
) {
    let document = scope.document;
    for (key, ids) in [("receiver", &pipeline.receivers), ("exporter", &pipeline.exporters)] {
        let is_misspelt = misspelt.iter().any(|meant| meant.starts_with(key));
        let is_wrong = !matches!(
            node.get(&format!("{key}s")).map(Node::plain),
            None | Some(Value::Null | Value::List(_) | Value::String(_))
        );
        let has_elements = matches!(
            node.get(&format!("{key}s")).map(Node::plain),
            Some(Value::List(nodes)) if !nodes.is_empty()
        );
        if ids.is_empty() && !is_misspelt && !is_wrong && !has_elements {
            problems
                .error(node, format!("must have at least one {key}"))
                .help(format!("add `{key}s: [...]` to `{}`", pipeline.id));
        }
    }
    let position = |key: &str, index: usize| node.at(&format!("{key}::{index}"));
    let connector_signals = |id: &ComponentId, is_output: bool| {
        document.connectors.get(id).map(|connector| {
            Signal::ALL.into_iter().any(|other| {
                let pair =
                    if is_output { (other, pipeline.signal) } else { (pipeline.signal, other) };
                connector.config.output(pair.0) == Some(pair.1)
            })
        })
    };
    for (i, id) in pipeline.receivers.iter().enumerate() {
        let supported = document
            .receivers
            .get(id)
            .map(|receiver| receiver.signals.contains(&pipeline.signal))
            .or_else(|| connector_signals(id, true));
        reference(
            position("receivers", i),
            Kind::Receiver,
            id,
            supported,
            pipeline,
            scope,
            problems,
        );
    }
    let mut seen = HashSet::new();
    for (i, id) in pipeline.processors.iter().enumerate() {
        let at = position("processors", i);
        let supported = document
            .processors
            .get(id)
            .map(|processor| processor.signals.contains(&pipeline.signal));
        reference(at, Kind::Processor, id, supported, pipeline, scope, problems);
        if !seen.insert(id) {
            let message = format!("references processor `{id}` multiple times");
            problems
                .error(at, message)
                .help(format!("remove one, or define a second one as `{}/2`", id.kind_name));
        }
    }
    for (i, id) in pipeline.exporters.iter().enumerate() {
        let supported = document
            .exporters
            .get(id)
            .map(|exporter| exporter.signals.contains(&pipeline.signal))
            .or_else(|| connector_signals(id, false));
        reference(
            position("exporters", i),
            Kind::Exporter,
            id,
            supported,
            pipeline,
            scope,
            problems,
        );
    }
}

/// One reference: `supported` is none where the id is not defined.
fn reference(
    at: &Node,
    kind: Kind,
    id: &ComponentId,
    supported: Option<bool>,
    pipeline: &Pipeline,
    scope: Scope<'_>,
    problems: &mut Problems,
) {
    match supported {
        Some(true) => {}
        Some(false) => {
            let message = format!("{} `{id}` does not support {}", kind.name(), pipeline.signal);
            problems.error(at, message).help(format!("remove it from `{}`", pipeline.id));
        }
        None => {
            if !scope.ignored.may_define(kind, id) {
                let message = format!("references {} `{id}` which is not configured", kind.name());
                let help = (!problems.are_many()).then(|| scope.remedy(kind, id));
                problems.error(at, message).help = help;
            }
        }
    }
}

/// Pipelines by the components at one of their ends.
type Users<'a> = HashMap<&'a ComponentId, Vec<usize>>;

fn users(pipelines: &[Pipeline], side: fn(&Pipeline) -> &Vec<ComponentId>) -> Users<'_> {
    let mut users = Users::new();
    for (index, pipeline) in pipelines.iter().enumerate() {
        for id in side(pipeline) {
            let known = users.entry(id).or_default();
            if known.last() != Some(&index) {
                known.push(index);
            }
        }
    }
    users
}

/// A connector must not share its id, and must be used on both sides.
fn connectors(document: &Document, problems: &mut Problems) {
    let before = problems.0.len();
    let pipelines = &document.pipelines;
    let (receiving, exporting) =
        (users(pipelines, |p| &p.receivers), users(pipelines, |p| &p.exporters));
    for (id, connector) in &document.connectors {
        for (kind, is_taken) in [
            (Kind::Receiver, document.receivers.contains_key(id)),
            (Kind::Exporter, document.exporters.contains_key(id)),
        ] {
            if is_taken {
                let mut problem = at(&connector.place, &format!("connectors::{id}"));
                problem.message =
                    format!("ambiguous ID: found both `{id}` {} and `{id}` connector", kind.name());
                problem.help = Some("change one of the ids".to_owned());
                problems.0.push(problem);
            }
        }
        let of = |users: &Users<'_>| users.get(id).cloned().unwrap_or_default();
        let (fed, feeding) = (of(&receiving), of(&exporting));
        let (used, other, users) = match (&*fed, &*feeding) {
            ([], [_, ..]) => ("exporter", "receiver", feeding),
            ([_, ..], []) => ("receiver", "exporter", fed),
            _ => continue,
        };
        let first = &pipelines[users[0]];
        let place = first.reference(id, used == "exporter");
        let mut problem = at(place, &format!("service::pipelines::{}::{used}s", first.id));
        let names: Vec<&str> = users.iter().map(|index| &*pipelines[*index].id).collect();
        problem.message = format!(
            "connector `{id}` used as {used} in [{}] pipeline but not used in any supported {other} \
             pipeline",
            names.join(" ")
        );
        problem.help = Some(format!("list it among the {other}s of another pipeline"));
        problems.0.push(problem);
    }
    super::in_file_order(problems, before);
}

/// A pipeline on the path of the search: its current connector, and the pipelines behind it.
struct Step<'a> {
    pipeline: usize,
    ways: Box<dyn Iterator<Item = (&'a ComponentId, usize)> + 'a>,
    through: Option<&'a ComponentId>,
}

/// Checks that pipelines do not feed themselves through connectors. Visits each pipeline and each
/// reference once.
fn cycles(document: &Document, problems: &mut Problems) {
    let pipelines = &document.pipelines;
    let fed = users(pipelines, |p| &p.receivers);
    let step = |pipeline: usize| {
        let connectors = pipelines[pipeline].exporters.iter();
        let connectors = connectors.filter(|id| document.connectors.contains_key(*id));
        let fed = &fed;
        let ways = connectors
            .flat_map(move |id| fed.get(id).into_iter().flatten().map(move |to| (id, *to)));
        Step { pipeline, ways: Box::new(ways), through: None }
    };
    let mut is_done = vec![false; pipelines.len()];
    let mut on_trail = vec![false; pipelines.len()];
    for start in 0..pipelines.len() {
        let mut trail = if is_done[start] { Vec::new() } else { vec![step(start)] };
        while let Some(last) = trail.last_mut() {
            on_trail[last.pipeline] = true;
            let Some((connector, to)) = last.ways.next() else {
                on_trail[last.pipeline] = false;
                is_done[last.pipeline] = true;
                trail.pop();
                continue;
            };
            last.through = Some(connector);
            if on_trail[to] {
                let first = trail.iter().position(|step| step.pipeline == to).unwrap_or(0);
                let mut words = pipelines[to].id.clone();
                for (i, step) in trail[first..].iter().enumerate() {
                    let next = trail.get(first + i + 1).map_or(to, |next| next.pipeline);
                    if let Some(connector) = step.through {
                        let id = &pipelines[next].id;
                        let _ = write!(words, " -> connector `{connector}` -> {id}");
                    }
                }
                // The reference that closes the cycle.
                let from = &pipelines[trail.last().map_or(to, |step| step.pipeline)];
                let place = from.reference(connector, true);
                let mut problem = at(place, &format!("service::pipelines::{}::exporters", from.id));
                problem.message = format!("cycle detected: {words}");
                problem.help = Some("take the connector out of one of the pipelines".to_owned());
                problems.0.push(problem);
                return;
            }
            if !is_done[to] {
                trail.push(step(to));
            }
        }
    }
}

/// Warns of processors that look at request headers which nobody kept for them.
fn metadata(document: &Document, problems: &mut Problems) {
    for pipeline in &document.pipelines {
        let given = |id: &ComponentId| match document.receivers.get(id) {
            Some(receiver) => receiver.config.gives_metadata(),
            // What comes through a connector is seen in the pipelines before it.
            None => true,
        };
        let is_given = pipeline.receivers.iter().any(given);
        let mut dropped_by = None;
        for id in &pipeline.processors {
            let Some(processor) = document.processors.get(id) else { continue };
            if processor.config.needs().metadata {
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
                    let mut problem = at(&processor.place, &format!("processors::{id}"));
                    problem.severity = Severity::Warning;
                    problem.message = format!(
                        "processor `{id}` looks at request headers, but in the pipeline `{}` {why}",
                        pipeline.id
                    );
                    problem.help = Some(remedy);
                    problems.0.push(problem);
                }
            }
            if processor.config.needs().drops_metadata {
                dropped_by = Some(id);
            }
        }
    }
}

/// Warns of what is defined and never used.
fn unused(document: &Document, problems: &mut Problems) {
    let before = problems.0.len();
    let mut warn = |place: &Place, kind: Kind, id: &ComponentId, remedy: &str| {
        let mut problem = at(place, &format!("{}::{id}", kind.section()));
        problem.severity = Severity::Warning;
        problem.message = format!("{} `{id}` is defined but not used", kind.name());
        problem.help = Some(remedy.to_owned());
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
    for component in document.extensions.values() {
        if !enabled.contains(&component.id) {
            let remedy = "list it under `service: extensions:`, or remove it";
            warn(&component.place, Kind::Extension, &component.id, remedy);
        }
    }
    super::in_file_order(problems, before);
}
