//! The contexts of the language: what a statement runs on, and which paths and enums it can use.
//!
//! The tables of paths are in [`paths`]; how their fields are laid out in OTLP is an [`Access`].

mod enums;
mod paths;

pub(crate) use enums::enums;
pub(super) use paths::exemplars;
pub(crate) use paths::{Access, Point, RequestField};
pub use paths::{Field, fields};

use super::item::Tier;
use crate::otlp::Signal;

/// What a statement runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Context {
    Resource,
    Scope,
    Span,
    SpanEvent,
    SpanLink,
    Metric,
    DataPoint,
    Exemplar,
    Log,
    /// The request that brought an item. Read only, and no statement runs on it alone.
    Request,
}

/// For inference: the first of these that a statement names is its context.
const PRIORITY: [Context; 9] = [
    Context::Log,
    Context::Exemplar,
    Context::DataPoint,
    Context::Metric,
    Context::SpanEvent,
    Context::SpanLink,
    Context::Span,
    Context::Scope,
    Context::Resource,
];

impl Context {
    pub const ALL: [Context; 10] = [
        Context::Resource,
        Context::Scope,
        Context::Span,
        Context::SpanEvent,
        Context::SpanLink,
        Context::Metric,
        Context::DataPoint,
        Context::Exemplar,
        Context::Log,
        Context::Request,
    ];

    /// Its name in paths.
    pub const fn name(self) -> &'static str {
        match self {
            Context::Resource => "resource",
            Context::Scope => "scope",
            Context::Span => "span",
            Context::SpanEvent => "spanevent",
            Context::SpanLink => "spanlink",
            Context::Metric => "metric",
            Context::DataPoint => "datapoint",
            Context::Exemplar => "exemplar",
            Context::Log => "log",
            Context::Request => "otelcol",
        }
    }

    /// The context of a name, in any case; `instrumentation_scope` is an older name of `scope`.
    pub fn named(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case("instrumentation_scope") {
            return Some(Context::Scope);
        }
        Context::ALL.into_iter().find(|context| context.name().eq_ignore_ascii_case(name))
    }

    /// Where its message is in an item.
    pub(super) const fn tier(self) -> Tier {
        match self {
            Context::Resource => Tier::Resource,
            Context::Scope => Tier::Scope,
            Context::Span | Context::Metric | Context::Log => Tier::Item,
            Context::SpanEvent | Context::SpanLink | Context::DataPoint => Tier::Child,
            Context::Exemplar => Tier::Exemplar,
            Context::Request => Tier::Request,
        }
    }

    /// The contexts above it that its statements can use, too.
    pub const fn above(self) -> &'static [Context] {
        const SHARED: &[Context] = &[Context::Resource, Context::Scope, Context::Request];
        match self {
            Context::Request => &[],
            Context::Resource => &[Context::Request],
            Context::Scope => &[Context::Resource, Context::Request],
            Context::Span | Context::Metric | Context::Log => SHARED,
            Context::SpanEvent | Context::SpanLink => {
                &[Context::Span, Context::Resource, Context::Scope, Context::Request]
            }
            Context::DataPoint => {
                &[Context::Metric, Context::Resource, Context::Scope, Context::Request]
            }
            Context::Exemplar => &[
                Context::DataPoint,
                Context::Metric,
                Context::Resource,
                Context::Scope,
                Context::Request,
            ],
        }
    }

    /// Whether its statements can use paths of `other`.
    pub fn reaches(self, other: Context) -> bool {
        self == other || self.above().contains(&other)
    }

    /// The contexts of a signal's items.
    pub const fn of_signal(signal: Signal) -> &'static [Context] {
        use Context::{
            DataPoint, Exemplar, Log, Metric, Resource, Scope, Span, SpanEvent, SpanLink,
        };
        match signal {
            Signal::Traces => &[Resource, Scope, Span, SpanEvent, SpanLink],
            Signal::Metrics => &[Resource, Scope, Metric, DataPoint, Exemplar],
            Signal::Logs => &[Resource, Scope, Log],
        }
    }

    /// The contexts to try for statements that name some contexts, the likeliest first.
    pub fn candidates(named: &[Context]) -> Vec<Context> {
        let Some(first) = PRIORITY.iter().position(|context| named.contains(context)) else {
            return Vec::new();
        };
        let picked = PRIORITY[first];
        let mut all = vec![picked];
        // Contexts below the picked one reach its paths, too, and may have the functions it lacks.
        all.extend(PRIORITY.iter().rev().copied().filter(|other| {
            *other != picked && named.iter().all(|context| other.reaches(*context))
        }));
        all
    }
}
