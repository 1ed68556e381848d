//! What is counted and how: the configuration, compiled.

use std::{sync::Arc, time::Duration};

use regex::bytes::Regex;

use super::settings::{Config, Dimension, OWN, Temporality, Unit};
use crate::connectors::{
    attributes::{Wanted, any_text},
    histogram::{self, Shape},
    metrics::{self, Exemplar},
};

/// The configuration, compiled.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) own: Own,
    /// Attributes that are looked up by name, for all families.
    pub(super) wanted: Wanted,
    pub(super) service: usize,
    /// `calls` and `duration`, and `events`. Metrics with the same dimensions are one family.
    pub(super) families: Vec<Family>,
    pub(super) has_globs: bool,
    pub(super) has_events: bool,
    pub(super) shape: Shape,
    pub(super) unit: histogram::Unit,
    pub(super) temporality: metrics::Temporality,
    pub(super) interval: Duration,
    /// Time without spans after which resources and series go.
    pub(super) expires: (Option<Duration>, Option<Duration>),
    pub(super) most_resources: usize,
    pub(super) limit: usize,
    /// What tells resources apart; empty: all attributes.
    pub(super) identity: Vec<Box<[u8]>>,
    /// Most exemplars of a point.
    pub(super) exemplars: usize,
    pub(super) scopes: Vec<Box<[u8]>>,
    pub(super) has_method: bool,
}

/// Attributes that points have by themselves.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each may be left out")]
pub(super) struct Own {
    pub(super) service: bool,
    pub(super) name: bool,
    pub(super) kind: bool,
    pub(super) status: bool,
    pub(super) instance: Option<Arc<str>>,
}

/// Metrics with the same dimensions.
#[derive(Debug)]
pub(super) struct Family {
    /// Name of the sum, if there is one.
    pub(super) sum: Option<String>,
    /// Name of the histogram, if there is one.
    pub(super) histogram: Option<String>,
    /// Whether it counts events and not spans.
    pub(super) is_of_events: bool,
    pub(super) dimensions: Vec<Named>,
    pub(super) globs: Vec<Regex>,
}

/// A dimension that has a name.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) key: Box<[u8]>,
    /// Position among the attributes that are looked up.
    pub(super) at: usize,
    pub(super) default: Option<Vec<u8>>,
}

impl Plan {
    pub(super) fn new(config: &Config, instance: &str) -> Self {
        let has = |name: &str| !config.exclude_dimensions.iter().any(|other| other == name);
        let [service, name, kind, status, id] = OWN.map(has);
        let mut wanted = Wanted::default();
        let service_at = wanted.add("service.name");
        let families = families(config, &mut wanted);
        let settings = &config.histogram;
        let unit = match settings.unit {
            Unit::Ms => histogram::Unit::MILLISECONDS,
            Unit::S => histogram::Unit::SECONDS,
        };
        let shape = if let Some(exponential) = settings.exponential.on() {
            Shape::Exponential { max_size: exponential.max_size.into() }
        } else {
            let explicit = settings.explicit.on().cloned().unwrap_or_default();
            let bounds: Vec<Duration> = explicit.buckets.iter().map(|it| it.0).collect();
            Shape::explicit(&bounds, unit)
        };
        let after = |expiration: Duration| (!expiration.is_zero()).then_some(expiration);
        let bytes = |texts: &[String]| texts.iter().map(|text| text.as_bytes().into()).collect();
        Plan {
            own: Own { service, name, kind, status, instance: id.then(|| instance.into()) },
            service: service_at,
            has_globs: families.iter().any(|family| !family.globs.is_empty()),
            has_events: config.events.enabled,
            families,
            wanted,
            shape,
            unit,
            temporality: match config.aggregation_temporality {
                Temporality::Cumulative => metrics::Temporality::Cumulative,
                Temporality::Delta => metrics::Temporality::Delta,
            },
            interval: config.metrics_flush_interval.0,
            expires: (after(config.metrics_expiration.0), after(config.series_expiration.0)),
            most_resources: config.resource_metrics_cache_size,
            limit: config.aggregation_cardinality_limit,
            identity: bytes(&config.resource_metrics_key_attributes),
            exemplars: if config.exemplars.enabled {
                config.exemplars.max_per_data_point
            } else {
                0
            },
            scopes: bytes(&config.include_instrumentation_scope),
            has_method: config.enable_metrics_sampling_method,
        }
    }
}

impl Plan {
    /// Bytes that the value of a series takes beside its size, at most.
    pub(super) fn series_size(&self) -> usize {
        self.shape.size() + self.exemplars * size_of::<Exemplar>()
    }
}

fn families(config: &Config, wanted: &mut Wanted) -> Vec<Family> {
    let name = |metric: &str| match &*config.namespace {
        "" => metric.to_owned(),
        namespace => format!("{namespace}.{metric}"),
    };
    let calls = Some(name("calls"));
    let duration = (!config.histogram.disable).then(|| name("duration"));
    let common = &config.dimensions[..];
    let (of_calls, of_durations) = (&config.calls_dimensions[..], &config.histogram.dimensions[..]);
    let mut families = Vec::new();
    let is_one = of_calls == of_durations;
    let mut add = |sum, histogram, is_of_events, lists: [&[Dimension]; 2]| {
        let (dimensions, globs) = compiled(lists, wanted);
        families.push(Family { sum, histogram, is_of_events, dimensions, globs });
    };
    if is_one {
        add(calls, duration, false, [common, of_calls]);
    } else {
        add(calls, None, false, [common, of_calls]);
        if duration.is_some() {
            add(None, duration, false, [common, of_durations]);
        }
    }
    if config.events.enabled {
        add(Some(name("events")), None, true, [common, &config.events.dimensions]);
    }
    families
}

fn compiled(lists: [&[Dimension]; 2], wanted: &mut Wanted) -> (Vec<Named>, Vec<Regex>) {
    let (mut named, mut globs) = (Vec::new(), Vec::new());
    for dimension in lists.into_iter().flatten() {
        if let Some(name) = &dimension.name {
            let default = dimension.default.as_ref().map(|text| any_text(text.as_bytes()));
            named.push(Named { key: name.as_bytes().into(), at: wanted.add(name), default });
        }
        globs.extend(dimension.glob.as_deref().and_then(pattern));
    }
    (named, globs)
}

/// `*` is any text, `?` any character, and everything else itself.
fn pattern(glob: &str) -> Option<Regex> {
    let escaped = regex::escape(glob).replace(r"\*", ".*").replace(r"\?", ".");
    Regex::new(&format!("(?s)^{escaped}$")).ok()
}
