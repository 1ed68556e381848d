//! How a component type is registered, and what a component is given when it is built.

use std::{collections::HashMap, sync::Arc};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::{ClientAuth, ComponentId, ServerAuth, Told};
use crate::{
    budget::MonthlyBudget,
    config::{Node, Problems},
    otlp::Signal,
    telemetry::{Meter, Telemetry},
};

/// Decodes the body of a component.
type Decode<C> = fn(&Node, &mut Problems) -> Option<Box<C>>;

/// One line of a registry: how a component type is found, described and decoded.
///
/// `C` is the configuration trait of the kind, for instance `dyn ProcessorConfig`.
pub struct Entry<C: ?Sized + 'static> {
    /// Canonical type name.
    pub name: &'static str,
    /// Other accepted spellings; they work with a warning that names the canonical one.
    pub aliases: &'static [&'static str],
    /// Signals it works with.
    pub signals: &'static [Signal],
    /// Source text of its file; documentation is generated from the `//!` header.
    pub source: &'static str,
    /// Decodes the body under the id. Problems are recorded with their places; the result is `None`
    /// if nothing usable is left.
    pub decode: Decode<C>,
    /// JSON schema of the body.
    pub schema: fn(&mut schemars::SchemaGenerator) -> schemars::Schema,
}

impl<C: ?Sized + 'static> Entry<C> {
    /// The entry of a component whose configuration is the struct `T`. `source` is
    /// `include_str!` of its own file.
    pub const fn of<T>(
        name: &'static str,
        aliases: &'static [&'static str],
        signals: &'static [Signal],
        source: &'static str,
    ) -> Self
    where
        T: DeserializeOwned + JsonSchema + Into<Box<C>>,
    {
        let decode: Decode<C> =
            |node, problems| crate::config::decode::<T>(node, problems).map(Into::into);
        Entry::decoded_by::<T>(decode, name, aliases, signals, source)
    }

    /// The same for a body that takes more than serde to decode; its schema is that of `T`.
    pub const fn decoded_by<T: JsonSchema>(
        decode: Decode<C>,
        name: &'static str,
        aliases: &'static [&'static str],
        signals: &'static [Signal],
        source: &'static str,
    ) -> Self {
        // Not a definition: all structs are called `Config`, so definitions would be numbered, and
        // a new component would rename those behind it.
        Entry { name, aliases, signals, source, decode, schema: T::json_schema }
    }
}

/// What a component is given when it is built.
#[derive(Clone)]
pub struct BuildContext {
    /// Its id in the file.
    pub id: ComponentId,
    /// Pipeline it works in, for processors: `traces/backend`.
    pub pipeline: String,
    /// Signal it is built for; extensions ignore it.
    pub signal: Signal,
    /// Whether a processor that may write weights is to do so by default, see
    /// [`Needs::writes_weights`](super::Needs::writes_weights).
    pub wants_weights: bool,
    /// Bytes of the budget of the process.
    pub budget: u64,
    /// Whether the process runs in a container: decides the default bind address.
    pub in_container: bool,
    /// State of the whole process, for components that show it. For metrics of its own a component
    /// uses [`BuildContext::metrics`].
    pub telemetry: Arc<Telemetry>,
    /// The monthly budget of an exporter that claims units of it while it encodes.
    pub monthly: Option<Arc<MonthlyBudget>>,
    /// What the exporter's `auth` names.
    pub auth: Option<Arc<dyn ClientAuth>>,
    /// The server authenticators that receivers' `auth` may name, by the id that the file has.
    pub server_auths: Arc<HashMap<String, Arc<dyn ServerAuth>>>,
    /// What its replicas have logged; all of them get the same.
    pub told: Told,
}

impl BuildContext {
    /// The context of a component outside of any pipeline, without a limit on memory.
    pub fn new(id: ComponentId, signal: Signal, telemetry: Arc<Telemetry>) -> Self {
        BuildContext {
            id,
            pipeline: String::new(),
            signal,
            wants_weights: false,
            budget: u64::MAX,
            in_container: false,
            telemetry,
            monthly: None,
            auth: None,
            server_auths: Arc::default(),
            told: Told::default(),
        }
    }

    /// The context of one component that is tested or measured alone: `id` as in a file, in the
    /// default pipeline of the signal, with a budget of 1 GiB.
    pub fn test(id: &str, signal: Signal) -> Self {
        let (kind_name, name) = match id.split_once('/') {
            Some((kind_name, name)) => (kind_name, Some(name.to_owned())),
            None => (id, None),
        };
        let id = ComponentId { kind_name: kind_name.to_owned(), name };
        BuildContext {
            pipeline: signal.name().to_owned(),
            budget: 1 << 30,
            ..BuildContext::new(id, signal, Arc::default())
        }
    }

    /// Registers the metrics of this component, whose first label is its id: `processor`, for
    /// instance. Replicas of a processor share their metrics; two pipelines do not.
    pub fn metrics(&self, label: &'static str) -> Meter {
        self.meter().with(label, &self.id.to_string())
    }

    /// The same for metrics that have the id in another place, or not at all.
    pub fn meter(&self) -> Meter {
        self.telemetry.meter(&format!("{} {} {}", self.signal.name(), self.pipeline, self.id))
    }
}
