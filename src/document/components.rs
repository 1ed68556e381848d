//! The sections of components: each body decoded by the entry of its type, and checked by its
//! configuration.

use std::collections::{BTreeSet, HashMap};

use super::{Component, Document, ids, in_file_order, unknown::Unknown};
use crate::{
    component::{ComponentId, Entry, Kind},
    config::{Node, Problem, Problems, Severity, Value, tree::Member},
    otlp::Signal,
};

/// A section that is being decoded.
struct Section<'a, C: ?Sized + 'static> {
    kind: Kind,
    registry: &'static [Entry<C>],
    components: HashMap<ComponentId, Component<C>>,
    unknown: &'a mut Unknown,
    problems: &'a mut Problems,
}

/// Decodes all components of a kind.
pub(super) fn load<C: ?Sized + 'static>(
    root: &Node,
    kind: Kind,
    registry: &'static [Entry<C>],
    unknown: &mut Unknown,
    problems: &mut Problems,
) -> HashMap<ComponentId, Component<C>> {
    let components = HashMap::new();
    let Some(section) = root.get(kind.section()) else { return components };
    let mut loading = Section { kind, registry, components, unknown, problems };
    match section.plain() {
        Value::Map(members) => {
            for member in members {
                loading.add(member);
            }
        }
        Value::Null => {}
        Value::Unknown(_) => loading.unknown.sections.push(kind.section()),
        _ => loading.refuse(section),
    }
    loading.components
}

impl<C: ?Sized + 'static> Section<'_, C> {
    /// Reports that the section is not a map.
    fn refuse(&mut self, section: &Node) {
        let name = self.kind.section();
        let written = match section.plain() {
            Value::String(text) => text,
            _ => "",
        };
        let is_written = |entry: &&Entry<C>| entry.name == written;
        let example =
            self.registry.iter().find(is_written).map_or(self.kind.example(), |entry| entry.name);
        self.problems
            .error(section, format!("`{name}` must be a map of components"))
            .help(format!("write `{name}:` and under it, indented, `{example}:`"));
        self.unknown.sections.push(name);
    }

    /// Decodes one component.
    fn add(&mut self, member: &Member) {
        let kind = self.kind;
        let id = match ids::component(&member.key) {
            Ok(id) => id,
            Err(message) => {
                let problem = Problem::at(&member.key_place, &member.value.path, message);
                self.problems.0.push(problem);
                self.unknown.sections.push(kind.section());
                return;
            }
        };
        let has_name = |entry: &&Entry<C>| {
            entry.name == id.kind_name || entry.aliases.contains(&&*id.kind_name)
        };
        let Some(entry) = self.registry.iter().find(has_name) else {
            let valid: Vec<&str> = self.registry.iter().map(|entry| entry.name).collect();
            self.unknown.add_foreign(kind, id, member, &valid, self.problems);
            return;
        };
        if entry.name != id.kind_name {
            self.unknown.add_renamed(kind, &id.kind_name, entry.name);
        }
        let before = self.problems.0.len();
        let decoded = (entry.decode)(&member.value, self.problems);
        for problem in &mut self.problems.0[before..] {
            self.unknown.note_too_deep(kind, &id, member, problem);
        }
        let Some(config) = decoded else {
            self.unknown.add_broken(kind, id);
            return;
        };
        let place = member.key_place.clone();
        let component =
            Component { id: id.clone(), place, signals: entry.signals, config: config.into() };
        let message = format!("duplicate name `{id}`");
        if let Some(first) = self.components.insert(id, component) {
            let mut problem = Problem::at(&member.key_place, &member.value.path, message);
            problem.help("remove or rename one of the two").relate(&first.place, "here first");
            self.problems.0.push(problem);
        }
    }
}

/// The bodies of components in the file, and which of them have errors already.
pub(super) struct Bodies<'a> {
    by_id: HashMap<(Kind, ComponentId), &'a Node>,
    /// Paths of the errors.
    broken: BTreeSet<String>,
}

impl<'a> Bodies<'a> {
    pub(super) fn new(root: &'a Node, problems: &Problems) -> Self {
        let mut by_id = HashMap::new();
        for kind in Kind::ALL {
            let Some(Value::Map(members)) = root.get(kind.section()).map(Node::plain) else {
                continue;
            };
            for member in members {
                if let Ok(id) = ids::component(&member.key) {
                    by_id.entry((kind, id)).or_insert(&member.value);
                }
            }
        }
        let is_error =
            |problem: &&Problem| problem.severity == Severity::Error || problem.is_absent;
        let errors = problems.0.iter().filter(is_error);
        Bodies { by_id, broken: errors.map(|problem| problem.path.clone()).collect() }
    }

    pub(super) fn get(&self, kind: Kind, id: &ComponentId) -> Option<&'a Node> {
        self.by_id.get(&(kind, id.clone())).copied()
    }

    /// Whether there is an error at a node or within it.
    pub(super) fn is_broken(&self, at: &Node) -> bool {
        let within = format!("{}::", at.path);
        self.broken.contains(&*at.path)
            || self.broken.range(within.clone()..).next().is_some_and(|at| at.starts_with(&within))
    }

    /// The bodies without errors of some components.
    fn sound<'c, C: ?Sized>(
        &self,
        kind: Kind,
        components: &'c HashMap<ComponentId, Component<C>>,
    ) -> impl Iterator<Item = (&'c Component<C>, &'a Node)> {
        components.values().filter_map(move |component| {
            let at = self.get(kind, &component.id)?;
            (!self.is_broken(at)).then_some((component, at))
        })
    }
}

/// Lets each configuration check itself, unless it has problems already.
pub(super) fn validate(root: &Node, document: &Document, problems: &mut Problems) {
    let bodies = Bodies::new(root, problems);
    for (receiver, at) in bodies.sound(Kind::Receiver, &document.receivers) {
        receiver.config.validate(at, problems);
    }
    for (processor, at) in bodies.sound(Kind::Processor, &document.processors) {
        processor.config.validate(at, problems);
    }
    for (exporter, at) in bodies.sound(Kind::Exporter, &document.exporters) {
        exporter.config.validate(at, problems);
    }
    for (connector, at) in bodies.sound(Kind::Connector, &document.connectors) {
        connector.config.validate(at, problems);
    }
    for (extension, at) in bodies.sound(Kind::Extension, &document.extensions) {
        extension.config.validate(at, problems);
    }
}

/// Lets each exporter and connector check the signals that pipelines send to it.
pub(super) fn validate_use(root: &Node, document: &Document, problems: &mut Problems) {
    let before = problems.0.len();
    let bodies = Bodies::new(root, problems);
    for (exporter, at) in bodies.sound(Kind::Exporter, &document.exporters) {
        let users = document.pipelines.iter().filter(|it| it.exporters.contains(&exporter.id));
        let signals: Vec<Signal> = users.map(|pipeline| pipeline.signal).collect();
        if !signals.is_empty() {
            exporter.config.validate_use(&signals, at, problems);
        }
    }
    for (connector, at) in bodies.sound(Kind::Connector, &document.connectors) {
        let sends = |signal: &Signal| {
            let mut pipelines = document.pipelines.iter();
            pipelines.any(|it| it.signal == *signal && it.exporters.contains(&connector.id))
        };
        let signals: Vec<Signal> = Signal::ALL.into_iter().filter(sends).collect();
        connector.config.validate_use(&signals, at, problems);
    }
    in_file_order(problems, before);
}
