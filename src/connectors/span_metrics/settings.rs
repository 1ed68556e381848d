//! The settings, and what is wrong with them.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    config::{Fixed, Ignored, Interval, Node, Problems, Section, diagnostics::closest},
    connectors::{histogram::default_bounds, series::LIMIT},
};

/// Makes metrics of spans.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Attributes of spans and resources by which all metrics are split.
    pub dimensions: Vec<Dimension>,
    /// More of them for `calls`.
    pub calls_dimensions: Vec<Dimension>,
    /// Attributes that points have by themselves and are to be left out.
    pub exclude_dimensions: Vec<String>,
    /// The metric `duration`.
    pub histogram: Histogram,
    /// Whether points count since their series began or since the last flush.
    pub aggregation_temporality: Temporality,
    /// Time from one flush to the next.
    pub metrics_flush_interval: Interval,
    /// Time without spans after which a resource is forgotten; 0: never.
    pub metrics_expiration: Interval,
    /// Time without spans after which a series is forgotten; 0: never.
    pub series_expiration: Interval,
    /// Has no effect: points with delta temporality begin where the last interval ended.
    pub metric_timestamp_cache_size: Ignored<u64>,
    /// Most resources.
    pub resource_metrics_cache_size: usize,
    /// Attributes that tell resources apart; without any, all do. A resource of metrics is the
    /// first of those that are the same.
    pub resource_metrics_key_attributes: Vec<String>,
    /// Has no effect: there is no such cache. Instead: limit the series with
    /// `aggregation_cardinality_limit`.
    pub dimensions_cache_size: Ignored<u64>,
    /// What the names of metrics begin with.
    pub namespace: String,
    /// Spans as examples of points.
    pub exemplars: Exemplars,
    /// The metric `events`.
    pub events: Events,
    /// Scopes whose name and version are dimensions of their spans:
    /// `span.instrumentation.scope.name` and `span.instrumentation.scope.version`.
    pub include_instrumentation_scope: Vec<String>,
    /// Most series of a metric for one resource; 0: no limit.
    pub aggregation_cardinality_limit: usize,
    /// Has no effect: metrics are under the resource of their spans.
    pub add_resource_attributes: Fixed<true>,
    /// Add the attribute `sampling.method`: `extrapolated` for spans that have a threshold in
    /// their `tracestate`, `counted` for others.
    pub enable_metrics_sampling_method: bool,
}

/// `aggregation_temporality`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
pub enum Temporality {
    /// Since the series began.
    #[default]
    #[serde(rename = "AGGREGATION_TEMPORALITY_CUMULATIVE")]
    Cumulative,
    /// Since the last flush.
    #[serde(rename = "AGGREGATION_TEMPORALITY_DELTA")]
    Delta,
}

/// Spans as examples of points.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Exemplars {
    /// Add them: the first spans since the last flush.
    pub enabled: bool,
    /// Most of a point.
    pub max_per_data_point: usize,
}

/// The metric `events`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Events {
    /// Make it.
    pub enabled: bool,
    /// Attributes of events by which it is split, beside those of spans.
    pub dimensions: Vec<Dimension>,
}

impl Default for Exemplars {
    fn default() -> Self {
        Exemplars { enabled: false, max_per_data_point: 5 }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            dimensions: Vec::new(),
            calls_dimensions: Vec::new(),
            exclude_dimensions: Vec::new(),
            histogram: Histogram::default(),
            aggregation_temporality: Temporality::Cumulative,
            metrics_flush_interval: Interval(Duration::from_mins(1)),
            metrics_expiration: Interval::default(),
            series_expiration: Interval::default(),
            metric_timestamp_cache_size: Ignored::default(),
            resource_metrics_cache_size: 1000,
            resource_metrics_key_attributes: Vec::new(),
            dimensions_cache_size: Ignored::default(),
            namespace: "traces.span.metrics".to_owned(),
            exemplars: Exemplars::default(),
            events: Events::default(),
            include_instrumentation_scope: Vec::new(),
            aggregation_cardinality_limit: LIMIT,
            add_resource_attributes: Fixed,
            enable_metrics_sampling_method: false,
        }
    }
}

/// An attribute, or a pattern of attributes.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Dimension {
    /// Its key.
    pub name: Option<String>,
    /// The value for spans without it; without a default it is left out.
    pub default: Option<String>,
    /// Instead of `name`: all attributes whose keys match, where `*` is any text and `?` any
    /// character.
    pub glob: Option<String>,
}

/// How durations are counted.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Histogram {
    /// Leave the metric out.
    pub disable: bool,
    /// Unit of durations.
    pub unit: Unit,
    /// With these bounds.
    pub explicit: Section<Explicit>,
    /// With bounds that follow from the durations.
    pub exponential: Section<Exponential>,
    /// More dimensions for this metric.
    pub dimensions: Vec<Dimension>,
}

/// Unit of durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Milliseconds.
    #[default]
    Ms,
    /// Seconds.
    S,
}

/// A histogram with explicit bounds.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Explicit {
    /// Upper bounds, ascending.
    pub buckets: Vec<Interval>,
}

/// An exponential histogram.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Exponential {
    /// Most buckets.
    pub max_size: u16,
}

impl Default for Explicit {
    fn default() -> Self {
        Explicit { buckets: default_bounds().into_iter().map(Interval).collect() }
    }
}

impl Default for Exponential {
    fn default() -> Self {
        Exponential { max_size: 160 }
    }
}

/// Attributes that points have by themselves.
pub(super) const OWN: [&str; 5] =
    ["service.name", "span.name", "span.kind", "status.code", "collector.instance.id"];

/// Most explicit bounds, and exemplars of a point: more is a mistake.
const BOUNDS: usize = 1000;
const EXEMPLARS: usize = 1000;

/// Checks everything beyond types.
pub(super) fn validate(config: &Config, at: &Node, problems: &mut Problems) {
    histogram(&config.histogram, at.at("histogram"), problems);
    dimensions(config, at, problems);
    if config.metrics_flush_interval.0.is_zero() {
        problems
            .error(at.at("metrics_flush_interval"), "`metrics_flush_interval` must not be 0")
            .help("remove it: `60s` is the default");
    }
    if config.resource_metrics_cache_size == 0 {
        problems
            .error(
                at.at("resource_metrics_cache_size"),
                "`resource_metrics_cache_size` must be at least 1",
            )
            .help("remove it: 1000 is the default");
    }
    if config.exemplars.max_per_data_point > EXEMPLARS {
        let message = format!("`max_per_data_point` must be at most {EXEMPLARS}");
        problems
            .error(at.at("exemplars::max_per_data_point"), message)
            .help("remove it: 5 is the default");
    }
    if config.events.enabled && config.events.dimensions.is_empty() {
        problems
            .error(at.at("events"), "no dimensions configured for events")
            .help("add `dimensions`, such as `[{name: exception.type}]`");
    }
    for (index, name) in config.exclude_dimensions.iter().enumerate() {
        if !OWN.contains(&&**name) {
            let message = format!("points have no `{name}` by themselves");
            let problem = problems.warning(at.at(&format!("exclude_dimensions::{index}")), message);
            match closest(name, OWN) {
                Some(near) => problem.help(format!("did you mean `{near}`?")),
                None => problem.help(format!("remove it; they have {}", OWN.join(", "))),
            };
        }
    }
}

fn histogram(histogram: &Histogram, at: &Node, problems: &mut Problems) {
    if histogram.explicit.on().is_some() && histogram.exponential.on().is_some() {
        problems
            .error(
                at.at("exponential"),
                "a histogram has either `explicit` or `exponential` buckets",
            )
            .help("remove one of them");
    }
    if let Some(Explicit { buckets }) = histogram.explicit.on() {
        ascending(buckets, at.at("explicit::buckets"), problems);
    }
    if histogram.exponential.on().is_some_and(|settings| settings.max_size < 2) {
        problems
            .error(at.at("exponential::max_size"), "`max_size` must be at least 2")
            .help("remove it: 160 is the default");
    }
}

/// Checks explicit bounds.
fn ascending(buckets: &[Interval], at: &Node, problems: &mut Problems) {
    if buckets.len() > BOUNDS {
        let message = format!("a histogram has at most {BOUNDS} buckets");
        problems.error(at, message).help("remove some, or use `exponential`");
    }
    let is_wrong = |at: &usize| buckets[at - 1] >= buckets[*at];
    if let Some(index) = (1..buckets.len()).find(is_wrong) {
        let (before, this) = (buckets[index - 1], buckets[index]);
        let message = format!("the bucket `{this}` comes after `{before}`");
        problems
            .error(at.at(&index.to_string()), message)
            .help("sort the buckets, and write each once");
    }
}

fn dimensions(config: &Config, at: &Node, problems: &mut Problems) {
    let own = |name: &&&str| !config.exclude_dimensions.iter().any(|other| other == **name);
    let mut known: Vec<&str> = OWN.iter().filter(own).copied().collect();
    list(&config.dimensions, at.at("dimensions"), &mut known, problems);
    let lists = [
        ("calls_dimensions", &config.calls_dimensions),
        ("histogram::dimensions", &config.histogram.dimensions),
        ("events::dimensions", &config.events.dimensions),
    ];
    for (path, dimensions) in lists {
        list(dimensions, at.at(path), &mut known.clone(), problems);
    }
}

fn list<'c>(
    dimensions: &'c [Dimension],
    at: &Node,
    known: &mut Vec<&'c str>,
    problems: &mut Problems,
) {
    for (index, dimension) in dimensions.iter().enumerate() {
        let node = at.at(&index.to_string());
        let (name, glob) = (dimension.name.as_deref(), dimension.glob.as_deref());
        match (name.filter(|it| !it.is_empty()), glob.filter(|it| !it.is_empty())) {
            (Some(name), None) => {
                if known.contains(&name) {
                    problems
                        .error(node, format!("duplicate dimension name `{name}`"))
                        .help("remove one");
                }
                known.push(name);
            }
            (None, Some(glob)) => {
                if glob.contains(['[', ']', '{', '}', '\\']) {
                    problems
                        .error(node.at("glob"), "a pattern has only `*` and `?`")
                        .help("write one pattern for each alternative");
                }
                if dimension.default.is_some() {
                    problems
                        .error(node.at("default"), "a pattern has no default")
                        .help("remove it, or give a `name`");
                }
            }
            _ => {
                problems
                    .error(node, "a dimension has either a `name` or a `glob`")
                    .help("write `- name: ...`");
            }
        }
    }
}
