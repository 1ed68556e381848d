//! A whole configuration file, decoded against the registries and checked across its parts.
//!
//! Every problem is recorded at its place and the rest is still looked at; only what cannot be
//! understood is left out of the result.

mod auth;
pub mod effective;
mod elsewhere;
mod extension_of;
pub mod identity;
mod ids;
mod pipelines;
pub mod profiles;
pub mod schema;
mod storage;
pub mod telemetry;
mod values;

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
        tree::Member,
    },
    connectors, exporters, extensions,
    otlp::Signal,
    processors, receivers,
};

use elsewhere::Elsewhere;
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
    /// The server authenticators that receivers' `auth` may name, by the id that the file has.
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
    validate_use(root, &document, problems);
    // What stands behind an anchor is looked at wherever it is used.
    values::check(root, problems);
    let mut seen = HashSet::new();
    problems.0.retain(|problem| seen.insert((problem.place.clone(), problem.message.clone())));
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

/// What cannot be seen in the file because of other errors, and names that are not as they should
/// be.
#[derive(Default)]
struct Unknown {
    /// Components of a type that skep does not have.
    missing: Vec<(Kind, ComponentId)>,
    /// Types with their old and their new name.
    renamed: Vec<(Kind, String, &'static str)>,
    /// Ids that exist in the file but not here; references to them are not reported again.
    ids: HashSet<(Kind, ComponentId)>,
    /// Sections that cannot be read, or whose name is misspelt.
    sections: Vec<&'static str>,
}

/// Most names that are listed in one problem.
const MOST_NAMED: usize = 30;

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

    /// Records a component whose type skep does not have.
    fn add(
        &mut self,
        kind: Kind,
        id: ComponentId,
        member: &Member,
        valid: &[&'static str],
        problems: &mut Problems,
    ) {
        let name = &*id.kind_name;
        let mut problem = at(&member.key_place, &member.value.path);
        problem.message = format!("unknown {} type `{name}`", kind.name());
        let of_collector = elsewhere::find(kind, name);
        if of_collector != Elsewhere::Nowhere {
            problem.message = format!("the {} `{id}` of the Collector is not in skep", kind.name());
            if let Elsewhere::Instead(instead) = of_collector {
                problem.help(format!("instead: {instead}"));
            }
            self.missing.push((kind, id.clone()));
        } else if let Some(other) = other_kind(kind, name) {
            let article =
                if other == Kind::Extension || other == Kind::Exporter { "an" } else { "a" };
            let (other, section) = (other.name(), other.section());
            problem.help(format!("`{name}` is {article} {other}: define it under `{section}`"));
        } else if !problems.are_many()
            && let Some(near) = closest(name, valid.iter().copied())
        {
            problem.help(format!("did you mean `{near}`?"));
            // References most likely have the right name.
            let meant = ComponentId { kind_name: near.to_owned(), name: id.name.clone() };
            self.ids.insert((kind, meant));
        } else {
            problem.help(format!("{}: {}", kind.section(), valid.join(", ")));
        }
        problems.0.push(problem);
        self.ids.insert((kind, id));
    }

    /// What is said once for the whole file.
    fn report(&self, problems: &mut Problems) {
        let list = |names: &mut dyn Iterator<Item = String>, count: usize| {
            let mut all: Vec<String> = names.take(MOST_NAMED).collect();
            if count > MOST_NAMED {
                all.push(format!("{} more", count - MOST_NAMED));
            }
            all.join(", ")
        };
        if self.missing.len() > 1 {
            let mut names = self.missing.iter().map(|(kind, id)| format!("{} `{id}`", kind.name()));
            let all = list(&mut names, self.missing.len());
            let mut problem = Problem::of_the_whole(format!(
                "{} components of the Collector are not in skep: {all}",
                self.missing.len()
            ));
            problem.help(
                "remove them from their sections and from the pipelines; for what only they can do, \
                 run a Collector beside skep and let it send OTLP to skep",
            );
            problems.0.push(problem);
        }
        if !self.renamed.is_empty() {
            let mut names = self
                .renamed
                .iter()
                .map(|(kind, old, new)| format!("{} `{old}` is now `{new}`", kind.name()));
            let all = list(&mut names, self.renamed.len());
            let mut problem = Problem::of_the_whole(format!("old names, which still work: {all}"));
            problem.severity = Severity::Warning;
            problems.0.push(problem);
        }
    }
}

/// The kind that has this type, where it is not the one it was looked for in.
fn other_kind(kind: Kind, name: &str) -> Option<Kind> {
    [Kind::Receiver, Kind::Processor, Kind::Exporter, Kind::Connector, Kind::Extension]
        .into_iter()
        .find(|other| *other != kind && types(*other).contains(&name))
}

/// The names of all types of a kind.
fn types(kind: Kind) -> Vec<&'static str> {
    fn names<C: ?Sized>(registry: &'static [Entry<C>]) -> Vec<&'static str> {
        registry.iter().map(|entry| entry.name).collect()
    }
    match kind {
        Kind::Receiver => names(receivers::ALL),
        Kind::Processor => names(processors::ALL),
        Kind::Exporter => names(exporters::ALL),
        Kind::Connector => names(connectors::ALL),
        Kind::Extension => names(extensions::ALL),
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
        is_absent: false,
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
        Value::Unknown(_) => {
            unknown.sections.push(kind.section());
            return all;
        }
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
            unknown.add(kind, id, member, &valid, problems);
            continue;
        };
        if entry.name != id.kind_name {
            let renamed = (kind, id.kind_name.clone(), entry.name);
            if !unknown.renamed.contains(&renamed) {
                unknown.renamed.push(renamed);
            }
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
        let is_error =
            |problem: &&Problem| problem.severity == Severity::Error || problem.is_absent;
        let errors = problems.0.iter().filter(is_error);
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

/// Lets each exporter check the signals that it gets.
fn validate_use(root: &Node, document: &Document, problems: &mut Problems) {
    let before = problems.0.len();
    let bodies = Bodies::of(root, problems);
    for exporter in document.exporters.values() {
        let users = document.pipelines.iter().filter(|it| it.exporters.contains(&exporter.id));
        let signals: Vec<Signal> = users.map(|pipeline| pipeline.signal).collect();
        if let Some(at) = bodies.get(Kind::Exporter, &exporter.id)
            && !signals.is_empty()
            && !bodies.is_broken(at)
        {
            exporter.config.validate_use(&signals, at, problems);
        }
    }
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
