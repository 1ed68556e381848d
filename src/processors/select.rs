//! `include` and `exclude`, as several processors have them: which items they apply to.
//!
//! Properties of resource, scope and metric are judged once per entry; an entry that cannot match
//! is not walked into.

use std::{borrow::Cow, fmt};

use regex::bytes::Regex;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use crate::{
    config::{Ignored, Node, Problems},
    otlp::{
        Signal,
        wire::{FieldValue, Fields},
    },
};

use super::editing::{
    action::broken,
    value::{AttributeValue, Scalar, as_text, is_equal},
};

/// Properties of an item. Within one list any element has to match, of `attributes` and
/// `resources` all; all properties that are given have to match, and at least one has to be given.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// `strict` compares whole texts; `regexp` searches with regular expressions, which match
    /// anywhere unless anchored.
    pub match_type: Option<MatchType>,
    /// Has no effect: expressions are compiled once and need no cache of matches.
    pub regexp: Ignored<RegexpCache>,
    /// Values of the resource attribute `service.name`. Traces only.
    pub services: Vec<String>,
    /// Attributes of the resource.
    pub resources: Vec<AttributeMatch>,
    /// Instrumentation scopes.
    pub libraries: Vec<Library>,
    /// Attributes of the item.
    pub attributes: Vec<AttributeMatch>,
    /// Names of spans.
    pub span_names: Vec<String>,
    /// Kinds of spans: `SPAN_KIND_SERVER`, `SPAN_KIND_CLIENT`, ...
    pub span_kinds: Vec<String>,
    /// Bodies of log records that are text.
    pub log_bodies: Vec<String>,
    /// Severity texts of log records.
    pub log_severity_texts: Vec<String>,
    /// Severity numbers of log records.
    pub log_severity_number: Option<SeverityNumber>,
    /// Names of metrics.
    pub metric_names: Vec<String>,
}

/// How texts are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MatchType {
    /// As a whole.
    Strict,
    /// By regular expressions.
    Regexp,
}

/// The keys of `regexp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RegexpCache {
    pub cacheenabled: bool,
    pub cachemaxnumentries: u64,
}

/// An attribute and maybe its value.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AttributeMatch {
    /// Its key.
    pub key: String,
    /// Its value; any where it is not given. With `regexp` an expression.
    pub value: Option<AttributeValue>,
}

/// An instrumentation scope.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Library {
    /// Its name.
    pub name: String,
    /// Its version; any where it is not given.
    pub version: Option<String>,
}

/// A range of severities.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SeverityNumber {
    /// The lowest that matches: a number from 1 (`trace`) to 24 (`fatal4`), or one of `trace`,
    /// `debug`, `info`, `warn`, `error`, `fatal`, with 2, 3 or 4 after it, in any case.
    pub min: Severity,
    /// Whether records without a severity number match.
    pub match_undefined: bool,
}

/// A severity as a number or by its name.
#[derive(Debug, Clone, PartialEq)]
pub struct Severity(AttributeValue);

impl Default for Severity {
    fn default() -> Self {
        Severity(AttributeValue::Text(String::new()))
    }
}

impl Severity {
    /// From 1 to 24; `None` if it is no severity.
    fn number(&self) -> Option<u64> {
        match &self.0 {
            AttributeValue::Int(number) => u64::try_from(*number).ok(),
            AttributeValue::Text(text) => severity(text).or_else(|| text.parse().ok()),
            _ => None,
        }
        .filter(|number| (1..=24).contains(number))
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&as_text(&self.0.encode()))
    }
}

impl<'de> Deserialize<'de> for Severity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        AttributeValue::deserialize(deserializer).map(Severity)
    }
}

impl JsonSchema for Severity {
    fn schema_name() -> Cow<'static, str> {
        "severity".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["integer", "string"], "minimum": 1, "maximum": 24 })
    }
}

const KINDS: [&str; 6] = [
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];

/// The number of a severity name: 1 (`trace`) to 24 (`fatal4`).
pub(super) fn severity(name: &str) -> Option<u64> {
    let name = name.to_ascii_lowercase();
    let name = name.strip_prefix("severity_number_").unwrap_or(&name);
    let (base, step) = match name.strip_suffix(['2', '3', '4']) {
        Some(base) => (base, u64::from(name.as_bytes()[base.len()] - b'1')),
        None => (name, 0),
    };
    let levels = ["trace", "debug", "info", "warn", "error", "fatal"];
    let level = levels.iter().position(|level| *level == base)?;
    Some(level as u64 * 4 + 1 + step)
}

impl Match {
    /// Lists of texts with their keys.
    fn texts(&self) -> [(&'static str, &[String]); 6] {
        [
            ("services", &self.services),
            ("span_names", &self.span_names),
            ("span_kinds", &self.span_kinds),
            ("log_bodies", &self.log_bodies),
            ("log_severity_texts", &self.log_severity_texts),
            ("metric_names", &self.metric_names),
        ]
    }

    /// Properties that are given and that items of `signal` do not have.
    pub(super) fn foreign(&self, signal: Signal) -> Vec<&'static str> {
        let severity = self.log_severity_number.is_some();
        let given = self.texts().map(|(key, texts)| (key, !texts.is_empty()));
        let belongs = |key: &str| match key {
            "services" | "span_names" | "span_kinds" => signal == Signal::Traces,
            "metric_names" => signal == Signal::Metrics,
            _ => signal == Signal::Logs,
        };
        let all = given.into_iter().chain([("log_severity_number", severity)]);
        all.filter(|(key, given)| *given && !belongs(key)).map(|(key, _)| key).collect()
    }

    /// Checks the section `name` of the body `at`.
    pub(super) fn validate(&self, at: &Node, name: &str, problems: &mut Problems) {
        let place = |key: &str| at.at(&format!("{name}::{key}"));
        let is_given = self.texts().iter().any(|(_, texts)| !texts.is_empty())
            || !self.resources.is_empty()
            || !self.libraries.is_empty()
            || !self.attributes.is_empty()
            || self.log_severity_number.is_some();
        if !is_given {
            problems.error(at.at(name), format!("`{name}` names no property to match")).help(
                "add one of services, resources, libraries, attributes, span_names, span_kinds, \
                 log_bodies, log_severity_texts, log_severity_number, metric_names",
            );
        }
        let Some(match_type) = self.match_type else {
            problems
                .error(at.at(name), "the key `match_type` is missing")
                .help("add `match_type: strict` or `match_type: regexp`");
            return;
        };
        if let Some(range) = &self.log_severity_number
            && range.min.number().is_none()
        {
            let message = format!("`{}` is not a severity", range.min);
            problems.error(place("log_severity_number::min"), message).help(
                "valid: 1 to 24, or trace, debug, info, warn, error, fatal, with 2, 3 or 4 \
                     after it",
            );
        }
        for (list, attributes) in [("attributes", &self.attributes), ("resources", &self.resources)]
        {
            for (i, attribute) in attributes.iter().enumerate() {
                if attribute.key.is_empty() {
                    problems.error(place(&format!("{list}::{i}")), "the key `key` is missing");
                }
            }
        }
        match match_type {
            MatchType::Regexp => self.validate_patterns(&place, problems),
            MatchType::Strict => {
                for (i, kind) in self.span_kinds.iter().enumerate() {
                    if !KINDS.contains(&kind.as_str()) {
                        problems
                            .error(place(&format!("span_kinds::{i}")), "not a kind of span")
                            .help(format!("valid: {}", KINDS.join(", ")));
                    }
                }
            }
        }
    }

    fn validate_patterns<'n>(&self, place: &impl Fn(&str) -> &'n Node, problems: &mut Problems) {
        let mut check = |at: String, pattern: &str| {
            if let Err(error) = Regex::new(pattern) {
                problems.error(place(&at), broken(&error));
            }
        };
        for (key, texts) in self.texts() {
            texts.iter().enumerate().for_each(|(i, text)| check(format!("{key}::{i}"), text));
        }
        for (i, library) in self.libraries.iter().enumerate() {
            check(format!("libraries::{i}::name"), &library.name);
            if let Some(version) = &library.version {
                check(format!("libraries::{i}::version"), version);
            }
        }
        for (list, attributes) in [("attributes", &self.attributes), ("resources", &self.resources)]
        {
            for (i, attribute) in attributes.iter().enumerate() {
                match &attribute.value {
                    Some(AttributeValue::Text(pattern)) => {
                        check(format!("{list}::{i}::value"), pattern);
                    }
                    None => {}
                    Some(_) => {
                        problems
                            .error(place(&format!("{list}::{i}::value")), "a pattern is text")
                            .help("write it in quotes");
                        return;
                    }
                }
            }
        }
    }
}

/// One text to compare with.
#[derive(Debug, Clone)]
enum Pattern {
    Whole(Vec<u8>),
    Search(Regex),
}

impl Pattern {
    fn new(match_type: MatchType, text: &str) -> Option<Self> {
        Some(match match_type {
            MatchType::Strict => Pattern::Whole(text.as_bytes().to_vec()),
            MatchType::Regexp => Pattern::Search(Regex::new(text).ok()?),
        })
    }

    fn matches(&self, text: &[u8]) -> bool {
        match self {
            Pattern::Whole(whole) => whole == text,
            Pattern::Search(regex) => regex.is_match(text),
        }
    }
}

/// An attribute to look for.
#[derive(Debug, Clone)]
struct Wanted {
    key: Vec<u8>,
    value: Option<WantedValue>,
}

#[derive(Debug, Clone)]
enum WantedValue {
    /// `AnyValue` bytes.
    Equal(Vec<u8>),
    Search(Regex),
}

impl Wanted {
    fn is_in(&self, message: &[u8], number: u32) -> bool {
        let any = attribute(message, number, &self.key);
        match (&self.value, any) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(WantedValue::Equal(wanted)), Some(any)) => is_equal(wanted, any),
            (Some(WantedValue::Search(regex)), Some(any)) => match Scalar::read(any) {
                Scalar::Text(text) => regex.is_match(text),
                Scalar::Empty | Scalar::Other => false,
                _ => regex.is_match(as_text(any).as_bytes()),
            },
        }
    }
}

/// The value of the first attribute with a key.
fn attribute<'a>(message: &'a [u8], number: u32, key: &[u8]) -> Option<&'a [u8]> {
    let attributes = Fields::new(message).flatten().filter(|field| field.number == number);
    attributes.map(|field| field.bytes()).find(|kv| bytes(kv, 1) == key).map(|kv| bytes(kv, 2))
}

/// The last value of a length-delimited field; empty where there is none.
fn bytes(message: &[u8], number: u32) -> &[u8] {
    let of = Fields::new(message).flatten().filter_map(|field| match field.value {
        FieldValue::Len(bytes) if field.number == number => Some(bytes),
        _ => None,
    });
    of.last().unwrap_or_default()
}

fn number(message: &[u8], number: u32) -> u64 {
    let of = Fields::new(message).flatten().filter(|field| field.number == number);
    of.last().map_or(0, |field| field.number_value())
}

/// A [`Match`] made ready for items of one signal.
#[derive(Debug, Clone)]
pub(super) struct Selector {
    signal: Signal,
    services: Vec<Pattern>,
    resources: Vec<Wanted>,
    libraries: Vec<(Pattern, Option<Pattern>)>,
    metric_names: Vec<Pattern>,
    attributes: Vec<Wanted>,
    /// Names of spans, or severity texts of log records.
    names: Vec<Pattern>,
    kinds: Vec<Pattern>,
    bodies: Vec<Pattern>,
    severity: Option<(u64, bool)>,
}

impl Selector {
    /// Compiles what [`Match::validate`] found right; `None` for others.
    pub(super) fn new(config: &Match, signal: Signal) -> Option<Self> {
        let match_type = config.match_type?;
        let patterns = |texts: &[String]| {
            texts.iter().map(|text| Pattern::new(match_type, text)).collect::<Option<Vec<_>>>()
        };
        let wanted = |attributes: &[AttributeMatch]| {
            let one = |attribute: &AttributeMatch| {
                let value = match (&attribute.value, match_type) {
                    (None, _) => None,
                    (Some(AttributeValue::Text(text)), MatchType::Regexp) => {
                        Some(WantedValue::Search(Regex::new(text).ok()?))
                    }
                    (Some(value), _) => Some(WantedValue::Equal(value.encode())),
                };
                Some(Wanted { key: attribute.key.as_bytes().to_vec(), value })
            };
            attributes.iter().map(one).collect::<Option<Vec<_>>>()
        };
        let library = |library: &Library| {
            let version = match &library.version {
                Some(version) => Some(Pattern::new(match_type, version)?),
                None => None,
            };
            Some((Pattern::new(match_type, &library.name)?, version))
        };
        let names = match signal {
            Signal::Traces => &config.span_names,
            _ => &config.log_severity_texts,
        };
        let severity_range =
            |range: &SeverityNumber| Some((range.min.number()?, range.match_undefined));
        Some(Selector {
            signal,
            services: patterns(&config.services)?,
            resources: wanted(&config.resources)?,
            libraries: config.libraries.iter().map(library).collect::<Option<_>>()?,
            metric_names: patterns(&config.metric_names)?,
            attributes: wanted(&config.attributes)?,
            names: patterns(names)?,
            kinds: patterns(&config.span_kinds)?,
            bodies: patterns(&config.log_bodies)?,
            severity: config.log_severity_number.as_ref().and_then(severity_range),
        })
    }

    pub(super) fn takes_resource(&self, resource: &[u8]) -> bool {
        let is_service = |name: &[u8]| self.services.iter().any(|pattern| pattern.matches(name));
        let takes_service = || match attribute(resource, 1, b"service.name").map(Scalar::read) {
            Some(Scalar::Text(name)) => is_service(name),
            // A service without a name matches nothing, not even an empty text.
            _ => false,
        };
        (self.services.is_empty() || takes_service())
            && self.resources.iter().all(|wanted| wanted.is_in(resource, 1))
    }

    pub(super) fn takes_scope(&self, scope: &[u8]) -> bool {
        let is = |(name, version): &(Pattern, Option<Pattern>)| {
            name.matches(bytes(scope, 1))
                && version.as_ref().is_none_or(|version| version.matches(bytes(scope, 2)))
        };
        self.libraries.is_empty() || self.libraries.iter().any(is)
    }

    pub(super) fn takes_metric(&self, metric: &[u8]) -> bool {
        any(&self.metric_names, || bytes(metric, 1))
    }

    /// Whether the item matches, given that its resource, scope and metric do.
    pub(super) fn takes_item(&self, item: &[u8], attributes: u32) -> bool {
        let of_signal = match self.signal {
            Signal::Traces => {
                any(&self.names, || bytes(item, 5))
                    && any(&self.kinds, || {
                        let kind = usize::try_from(number(item, 6)).unwrap_or(usize::MAX);
                        KINDS.get(kind).unwrap_or(&KINDS[0]).as_bytes()
                    })
            }
            Signal::Logs => {
                any(&self.names, || bytes(item, 3))
                    && self.takes_body(item)
                    && self.takes_severity(item)
            }
            Signal::Metrics => true,
        };
        of_signal && self.attributes.iter().all(|wanted| wanted.is_in(item, attributes))
    }

    fn takes_body(&self, log: &[u8]) -> bool {
        self.bodies.is_empty()
            || match Scalar::read(bytes(log, 5)) {
                Scalar::Text(text) => self.bodies.iter().any(|pattern| pattern.matches(text)),
                _ => false,
            }
    }

    fn takes_severity(&self, log: &[u8]) -> bool {
        let Some((min, takes_undefined)) = self.severity else { return true };
        match number(log, 2) {
            0 => takes_undefined,
            severity => severity >= min,
        }
    }
}

/// Whether any pattern matches; no pattern is no condition.
fn any<'a>(patterns: &[Pattern], text: impl FnOnce() -> &'a [u8]) -> bool {
    if patterns.is_empty() {
        return true;
    }
    let text = text();
    patterns.iter().any(|pattern| pattern.matches(text))
}

/// `include` and `exclude` on a walk through a request: only what `include` takes is chosen, and
/// nothing that `exclude` takes.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    include: Option<Selector>,
    exclude: Option<Selector>,
    /// What around the current item matches `exclude`.
    excludes_resource: bool,
    excludes_scope: bool,
    excludes_metric: bool,
}

impl Choice {
    /// Compiles sections that [`Match::validate`] found right.
    pub(super) fn new(
        include: Option<&Match>,
        exclude: Option<&Match>,
        signal: Signal,
    ) -> Option<Self> {
        let selector = |section: Option<&Match>| match section {
            Some(section) => Selector::new(section, signal).map(Some),
            None => Some(None),
        };
        Some(Choice {
            include: selector(include)?,
            exclude: selector(exclude)?,
            excludes_resource: false,
            excludes_scope: false,
            excludes_metric: false,
        })
    }

    /// A resource begins. Whether an item below it may be chosen.
    pub(super) fn enter_resource(&mut self, resource: &[u8]) -> bool {
        self.excludes_resource = self.exclude.as_ref().is_some_and(|s| s.takes_resource(resource));
        self.include.as_ref().is_none_or(|selector| selector.takes_resource(resource))
    }

    /// The same of a scope.
    pub(super) fn enter_scope(&mut self, scope: &[u8]) -> bool {
        self.excludes_scope = self.exclude.as_ref().is_some_and(|s| s.takes_scope(scope));
        self.excludes_metric = true;
        self.include.as_ref().is_none_or(|selector| selector.takes_scope(scope))
    }

    /// The same of a metric.
    pub(super) fn enter_metric(&mut self, metric: &[u8]) -> bool {
        self.excludes_metric = self.exclude.as_ref().is_some_and(|s| s.takes_metric(metric));
        self.include.as_ref().is_none_or(|selector| selector.takes_metric(metric))
    }

    /// Whether an item is chosen; its attributes are in field `attributes`.
    #[inline]
    pub(super) fn takes(&self, item: &[u8], attributes: u32) -> bool {
        let takes = |selector: &Selector| selector.takes_item(item, attributes);
        let is_excluded = self.excludes_resource
            && self.excludes_scope
            && self.excludes_metric
            && self.exclude.as_ref().is_some_and(takes);
        !is_excluded && self.include.as_ref().is_none_or(takes)
    }
}
