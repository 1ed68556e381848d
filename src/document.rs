//! A whole configuration file, decoded against the registries and checked across its parts.
//!
//! Every problem is recorded at its place and the rest is still looked at; only what cannot be
//! understood is left out of the result.

mod auth;
pub mod effective;
mod extension_of;
pub mod identity;
mod ids;
mod pipelines;
pub mod profiles;
pub mod schema;
mod storage;
pub mod telemetry;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use crate::{
    component::{
        ClientAuth, ComponentId, ConnectorConfig, Entry, ExporterConfig, ExtensionConfig, Kind,
        ProcessorConfig, ReceiverConfig, ServerAuth, Storage,
    },
    config::{
        Node, Place, Problem, Problems, Severity, Value,
        diagnostics::{Source, closest},
        source::Loaded,
    },
    connectors, exporters, extensions,
    otlp::Signal,
    processors, receivers,
};

pub use pipelines::Pipeline;

/// A component as it stands in the file.
#[derive(Debug)]
pub struct Component<C: ?Sized> {
    /// Its id.
    pub id: ComponentId,
    /// Where its id stands.
    pub place: Place,
    /// Signals its type works with.
    pub signals: &'static [Signal],
    /// Its decoded body.
    pub config: Arc<C>,
}

/// A configuration that can be built.
#[derive(Debug, Default)]
pub struct Document {
    /// By id.
    pub receivers: HashMap<ComponentId, Component<dyn ReceiverConfig>>,
    /// By id.
    pub processors: HashMap<ComponentId, Component<dyn ProcessorConfig>>,
    /// By id.
    pub exporters: HashMap<ComponentId, Component<dyn ExporterConfig>>,
    /// By id.
    pub connectors: HashMap<ComponentId, Component<dyn ConnectorConfig>>,
    /// By id.
    pub extensions: HashMap<ComponentId, Component<dyn ExtensionConfig>>,
    /// In the order of the file.
    pub pipelines: Vec<Pipeline>,
    /// Extensions that run, in order.
    pub enabled_extensions: Vec<ComponentId>,
    /// What exporters' `auth` names, by the exporter's id.
    pub auths: HashMap<ComponentId, Arc<dyn ClientAuth>>,
    /// What receivers' `auth` names, by the id as it stands in the file.
    pub server_auths: HashMap<String, Arc<dyn ServerAuth>>,
    /// What queues and journals name as their storage.
    pub storages: HashMap<String, Storage>,
    /// What skep says of itself.
    pub telemetry: telemetry::Telemetry,
}

const SECTIONS: [&str; 6] =
    ["receivers", "processors", "exporters", "connectors", "extensions", "service"];

/// Decodes and checks a document. The result is only complete where `problems` has no error.
pub fn load(root: &Node, problems: &mut Problems) -> Document {
    let mut document = Document::default();
    let Value::Map(sections) = &root.value else {
        problems
            .error(root, "empty configuration file")
            .help("a configuration needs `receivers`, `exporters` and `service`");
        return document;
    };
    let mut unknown = Unknown::default();
    for section in sections {
        if !SECTIONS.contains(&&*section.key) {
            if !problems.are_many() {
                unknown.sections.extend(closest(&section.key, SECTIONS));
            }
            unknown_key(&section.key_place, &section.key, &section.key, &SECTIONS, problems);
        }
    }
    document.receivers = components(root, Kind::Receiver, receivers::ALL, &mut unknown, problems);
    document.processors =
        components(root, Kind::Processor, processors::ALL, &mut unknown, problems);
    document.exporters = components(root, Kind::Exporter, exporters::ALL, &mut unknown, problems);
    document.connectors =
        components(root, Kind::Connector, connectors::ALL, &mut unknown, problems);
    document.extensions =
        components(root, Kind::Extension, extensions::ALL, &mut unknown, problems);
    unknown.report(problems);
    validate(root, &document, problems);
    pipelines::load(root, &mut document, &unknown, problems);
    document
}

/// A key that is not one of `valid`.
fn unknown_key(place: &Place, path: &str, key: &str, valid: &[&str], problems: &mut Problems) {
    let mut problem = at(place, path);
    problem.message = format!("unknown key `{key}`");
    let list = valid.join(", ");
    let near = (!problems.are_many()).then(|| closest(key, valid.iter().copied())).flatten();
    problem.help = Some(match near {
        Some(near) => format!("did you mean `{near}`? valid: {list}"),
        None => format!("valid: {list}"),
    });
    problems.0.push(problem);
}

/// Most components that skep does not have that are named.
const MOST_NAMED: usize = 30;

/// Component types that skep does not have: one error for all of them.
#[derive(Default)]
struct Unknown {
    found: Vec<(Kind, String, Place, Vec<&'static str>)>,
    /// Ids that exist in the file but not here; references to them are not reported again.
    ids: HashSet<(Kind, ComponentId)>,
    /// Sections that cannot be read, or whose name is misspelt.
    sections: Vec<&'static str>,
}

impl Unknown {
    /// Whether an id may be defined where it cannot be seen, so that a reference to it is no
    /// further problem.
    fn may_define(&self, kind: Kind, id: &ComponentId) -> bool {
        let kinds: &[Kind] = match kind {
            Kind::Receiver | Kind::Exporter => &[kind, Kind::Connector],
            _ => &[kind],
        };
        kinds.iter().any(|kind| {
            self.sections.contains(&kind.section()) || self.ids.contains(&(*kind, id.clone()))
        })
    }

    fn report(&self, problems: &mut Problems) {
        let Some((kind, name, place, valid)) = self.found.first() else { return };
        let mut problem = at(place, kind.section());
        let named = &self.found[..self.found.len().min(MOST_NAMED)];
        let all: Vec<String> =
            named.iter().map(|(kind, name, ..)| format!("{} `{name}`", kind.name())).collect();
        let more = match self.found.len() - named.len() {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        if let [_] = all[..] {
            problem.message = format!("unknown {} type `{name}`", kind.name());
        } else {
            problem.message =
                format!("skep does not have these components: {}{more}", all.join(", "));
        }
        let mut help: Vec<String> = Vec::new();
        for (_, name, _, valid) in named {
            if name == "logging" {
                help.push("`logging` is now called `debug`".to_owned());
            } else if let Some(near) = closest(name, valid.iter().copied()) {
                help.push(format!("did you mean `{near}` instead of `{name}`?"));
            }
        }
        if help.is_empty() {
            help.push(format!("{} that it has: {}", kind.section(), valid.join(", ")));
        }
        problem.help = Some(help.join("; "));
        problems.0.push(problem);
    }
}

fn at(place: &Place, path: &str) -> Problem {
    Problem {
        severity: Severity::Error,
        place: Some(place.clone()),
        path: path.to_owned(),
        message: String::new(),
        help: None,
        related: None,
    }
}

fn components<C: ?Sized>(
    root: &Node,
    kind: Kind,
    registry: &'static [Entry<C>],
    unknown: &mut Unknown,
    problems: &mut Problems,
) -> HashMap<ComponentId, Component<C>> {
    let mut all = HashMap::new();
    let Some(section) = root.get(kind.section()) else { return all };
    let members = match section.plain() {
        Value::Map(members) => members,
        Value::Null => return all,
        _ => {
            let message = format!("`{}` must be a map of components", kind.section());
            let example = registry.first().map_or("type", |entry| entry.name);
            problems
                .error(section, message)
                .help(format!("write `{}:` and under it, indented, `{example}:`", kind.section()));
            unknown.sections.push(kind.section());
            return all;
        }
    };
    for member in members {
        let id = match ids::component(&member.key) {
            Ok(id) => id,
            Err(message) => {
                let mut problem = at(&member.key_place, &member.value.path);
                problem.message = message;
                problems.0.push(problem);
                unknown.sections.push(kind.section());
                continue;
            }
        };
        let entry = registry
            .iter()
            .find(|entry| entry.name == id.kind_name || entry.aliases.contains(&&*id.kind_name));
        let Some(entry) = entry else {
            let valid: Vec<&str> = registry.iter().map(|entry| entry.name).collect();
            // References most likely have the right name.
            let near =
                (!problems.are_many()).then(|| closest(&id.kind_name, valid.iter().copied()));
            if let Some(near) = near.flatten() {
                let meant = ComponentId { kind_name: near.to_owned(), name: id.name.clone() };
                unknown.ids.insert((kind, meant));
            }
            unknown.found.push((kind, id.kind_name.clone(), member.key_place.clone(), valid));
            unknown.ids.insert((kind, id));
            continue;
        };
        if entry.name != id.kind_name {
            let mut problem = at(&member.key_place, &member.value.path);
            problem.severity = Severity::Warning;
            problem.message = format!("`{}` is now called `{}`", id.kind_name, entry.name);
            problem.help = Some("both names work".to_owned());
            problems.0.push(problem);
        }
        let config = (entry.decode)(&member.value, problems);
        let place = member.key_place.clone();
        if let Some(config) = config {
            let component =
                Component { id: id.clone(), place, signals: entry.signals, config: config.into() };
            if let Some(first) = all.insert(id.clone(), component) {
                let mut problem = at(&member.key_place, &member.value.path);
                problem.message = format!("duplicate name `{id}`");
                problem.help("remove or rename one of the two").relate(&first.place, "here first");
                problems.0.push(problem);
            }
        } else {
            unknown.ids.insert((kind, id));
        }
    }
    all
}

/// The bodies of components in the file, and which of them have errors already.
struct Bodies<'a> {
    by_id: HashMap<(Kind, ComponentId), &'a Node>,
    /// Paths of the errors.
    broken: BTreeSet<String>,
}

impl<'a> Bodies<'a> {
    fn of(root: &'a Node, problems: &Problems) -> Self {
        let mut by_id = HashMap::new();
        for kind in
            [Kind::Receiver, Kind::Processor, Kind::Exporter, Kind::Connector, Kind::Extension]
        {
            let Some(Value::Map(members)) = root.get(kind.section()).map(Node::plain) else {
                continue;
            };
            for member in members {
                if let Ok(id) = ids::component(&member.key) {
                    by_id.entry((kind, id)).or_insert(&member.value);
                }
            }
        }
        let errors = problems.0.iter().filter(|problem| problem.severity == Severity::Error);
        Bodies { by_id, broken: errors.map(|problem| problem.path.clone()).collect() }
    }

    fn get(&self, kind: Kind, id: &ComponentId) -> Option<&'a Node> {
        self.by_id.get(&(kind, id.clone())).copied()
    }

    /// Whether there is an error at a node or within it.
    fn is_broken(&self, at: &Node) -> bool {
        let within = format!("{}::", at.path);
        self.broken.contains(&*at.path)
            || self.broken.range(within.clone()..).next().is_some_and(|at| at.starts_with(&within))
    }
}

/// Lets each configuration check itself, unless it has problems already.
fn validate(root: &Node, document: &Document, problems: &mut Problems) {
    let before = problems.0.len();
    let bodies = Bodies::of(root, problems);
    macro_rules! each {
        ($components:expr, $kind:expr) => {
            for component in $components.values() {
                if let Some(at) = bodies.get($kind, &component.id) {
                    if !bodies.is_broken(at) {
                        component.config.validate(at, problems);
                    }
                }
            }
        };
    }
    each!(document.receivers, Kind::Receiver);
    each!(document.processors, Kind::Processor);
    each!(document.exporters, Kind::Exporter);
    each!(document.connectors, Kind::Connector);
    each!(document.extensions, Kind::Extension);
    in_file_order(problems, before);
}

/// Maps have no order; problems are shown in the order of the file.
fn in_file_order(problems: &mut Problems, from: usize) {
    problems.0[from..].sort_by_key(|problem| {
        problem.place.as_ref().map(|place| (place.source, place.range.start))
    });
}

/// The sources with their secrets covered, for excerpts: what a secret key holds, and, in a text
/// that could not be read as YAML, what follows a key that sounds like one.
pub fn masked_sources(loaded: &Loaded) -> Vec<Source> {
    let mut sources = loaded.sources.clone();
    let mut is_read = vec![false; sources.len()];
    for (index, tree) in &loaded.trees {
        is_read[*index] = true;
        effective::cover_secrets(tree, schema::Schemas::shared(), &mut sources);
    }
    for (source, is_read) in sources.iter_mut().zip(is_read) {
        if !is_read && source.name == "--set" {
            source.mask_value();
        } else if !is_read {
            source.mask_lines(&effective::SECRET_WORDS);
        }
    }
    sources
}

#[cfg(test)]
mod large;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod tests;
