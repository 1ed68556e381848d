//! A whole configuration file, decoded against the registries and checked across its parts.
//!
//! Every problem is recorded at its place, and the rest is still checked; only what cannot be
//! understood is left out of the result.

mod auth;
mod components;
pub mod effective;
mod elsewhere;
mod extension_of;
mod ids;
mod pipelines;
mod ports;
pub mod profiles;
mod references;
pub mod schema;
mod storage;
pub mod telemetry;
mod unknown;
mod usage;
mod values;
mod wiring;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::{
    component::{
        ClientAuth, ComponentId, ConnectorConfig, ExporterConfig, ExtensionConfig, Kind,
        ProcessorConfig, ReceiverConfig, ServerAuth, Storage,
    },
    config::{Node, Place, Problems, Value, diagnostics::closest, excerpt::Source, source::Loaded},
    connectors, exporters, extensions,
    otlp::Signal,
    processors, receivers,
};

pub use pipelines::Pipeline;
use unknown::{Unknown, unknown_key};

/// A component of the file.
#[derive(Debug, Clone)]
pub struct Component<C: ?Sized> {
    /// The id, as the file writes it.
    pub id: ComponentId,
    /// The position of the id.
    pub place: Place,
    /// Signals that its type works with.
    pub signals: &'static [Signal],
    /// The decoded body.
    pub config: Arc<C>,
}

/// A configuration. If no error was found, every id in it is defined, and the engine can be built
/// from it.
#[derive(Debug, Default)]
pub struct Document {
    pub receivers: HashMap<ComponentId, Component<dyn ReceiverConfig>>,
    pub processors: HashMap<ComponentId, Component<dyn ProcessorConfig>>,
    pub exporters: HashMap<ComponentId, Component<dyn ExporterConfig>>,
    pub connectors: HashMap<ComponentId, Component<dyn ConnectorConfig>>,
    pub extensions: HashMap<ComponentId, Component<dyn ExtensionConfig>>,
    /// In the order of the file.
    pub pipelines: Vec<Pipeline>,
    /// Extensions that run, in order.
    pub enabled_extensions: Vec<ComponentId>,
    /// The authenticators of exporters, by the exporter's id.
    pub auths: HashMap<ComponentId, Arc<dyn ClientAuth>>,
    /// The authenticators of receivers, by the text that names them in `auth`.
    pub server_auths: Arc<HashMap<String, Arc<dyn ServerAuth>>>,
    /// The storages of queues and journals, by the text that names them.
    pub storages: HashMap<String, Storage>,
    /// `service.telemetry`.
    pub telemetry: telemetry::Telemetry,
}

impl Document {
    /// The extension that `wanted` names.
    pub fn extension(&self, wanted: &str) -> Option<&Component<dyn ExtensionConfig>> {
        self.extensions.get(&ids::component(wanted).ok()?)
    }
}

const SECTIONS: [&str; 6] =
    ["receivers", "processors", "exporters", "connectors", "extensions", "service"];

/// Decodes and checks a document. The result is only complete if `problems` has no error.
pub fn load(root: &Node, problems: &mut Problems) -> Document {
    let mut document = Document::default();
    let Value::Map(sections) = &root.value else {
        problems
            .error(root, "empty configuration file")
            .help("a configuration needs `receivers`, `exporters` and `service`");
        return document;
    };
    let mut unknown = Unknown::default();
    let mut above = None;
    for section in sections {
        if SECTIONS.contains(&&*section.key) {
            above = Some(&*section.key);
            continue;
        }
        let near = if problems.are_many() { None } else { closest(&section.key, SECTIONS) };
        unknown.sections.extend(near);
        unknown_key(&section.key_place, &section.key, &section.key, &SECTIONS, problems);
        if near.is_none()
            && let Some(help) = unknown.too_shallow(&section.key, above)
            && let Some(problem) = problems.0.last_mut()
        {
            problem.help(help);
        }
    }
    let skipped = &mut unknown;
    document.receivers = components::load(root, Kind::Receiver, receivers::ALL, skipped, problems);
    document.processors =
        components::load(root, Kind::Processor, processors::ALL, skipped, problems);
    document.exporters = components::load(root, Kind::Exporter, exporters::ALL, skipped, problems);
    document.connectors =
        components::load(root, Kind::Connector, connectors::ALL, skipped, problems);
    document.extensions =
        components::load(root, Kind::Extension, extensions::ALL, skipped, problems);
    unknown.report(problems);
    let before = problems.0.len();
    components::validate(root, &document, problems);
    values::check(root, problems);
    in_file_order(problems, before);
    pipelines::load(root, &mut document, &unknown, problems);
    components::validate_use(root, &document, problems);
    ports::check(root, &document, problems);
    // A value behind an anchor is checked wherever the anchor is used.
    let mut seen = HashSet::new();
    problems.0.retain(|problem| seen.insert((problem.place.clone(), problem.message.clone())));
    document
}

/// Sorts the problems from an index on: maps have no order, but problems are shown in that of the
/// file.
fn in_file_order(problems: &mut Problems, from: usize) {
    problems.0[from..].sort_by_key(|problem| {
        problem.place.as_ref().map(|place| (place.source, place.range.start))
    });
}

/// The sources for excerpts, with their secrets masked: the values of secret keys and, in a text
/// that could not be read as YAML, the values of keys whose names sound like those of secrets.
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
