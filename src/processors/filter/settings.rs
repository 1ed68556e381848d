//! The older forms: lists of conditions by context, and properties to match, which are older than
//! OTTL.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    config::{Ignored, Node, Problems},
    otlp::Signal,
    ottl::{Item, Tier},
    processors::select::{AttributeMatch, Match, MatchType, RegexpCache, Selector, SeverityNumber},
    statements::Texts,
};

/// `traces`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SpanConditions {
    /// Conditions on resources.
    pub resource: Texts,
    /// Conditions on spans.
    pub span: Texts,
    /// Conditions on span events.
    pub spanevent: Texts,
}

/// `metrics`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MetricConditions {
    /// Conditions on resources.
    pub resource: Texts,
    /// Conditions on metrics.
    pub metric: Texts,
    /// Conditions on data points.
    pub datapoint: Texts,
    /// Only metrics that match stay.
    pub include: Option<MetricMatch>,
    /// Metrics that match go; so do those of resources that match.
    pub exclude: Option<MetricMatch>,
    /// Has no effect: expressions are compiled once and need no cache of matches.
    pub regexp: Ignored<RegexpCache>,
}

/// `logs`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogConditions {
    /// Conditions on resources.
    pub resource: Texts,
    /// Conditions on log records.
    pub log_record: Texts,
    /// Only log records that match stay.
    pub include: Option<LogMatch>,
    /// Log records that match go.
    pub exclude: Option<LogMatch>,
}

/// `spans`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SpanProperties {
    /// Only spans that match stay.
    pub include: Option<Match>,
    /// Spans that match go.
    pub exclude: Option<Match>,
}

/// Properties of a metric.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MetricMatch {
    /// How names are compared.
    pub match_type: Option<MetricMatchType>,
    /// Has no effect: expressions are compiled once and need no cache of matches.
    pub regexp: Ignored<RegexpCache>,
    /// Names of metrics, of which one has to match.
    pub metric_names: Vec<String>,
    /// Attributes of the resource, all of which have to match.
    pub resource_attributes: Vec<AttributeMatch>,
    /// Refused: write `metric_conditions`.
    pub expressions: Vec<String>,
}

/// How metrics are matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MetricMatchType {
    /// By whole names.
    Strict,
    /// By regular expressions.
    Regexp,
    /// Refused.
    Expr,
}

/// Properties of a log record.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogMatch {
    /// How texts are compared.
    pub match_type: Option<MatchType>,
    /// Attributes of the resource, all of which have to match.
    pub resource_attributes: Vec<AttributeMatch>,
    /// Attributes of the record, all of which have to match.
    pub record_attributes: Vec<AttributeMatch>,
    /// Severity texts, of which one has to match.
    pub severity_texts: Vec<String>,
    /// Severity numbers.
    pub severity_number: Option<SeverityNumber>,
    /// Bodies that are text, of which one has to match.
    pub bodies: Vec<String>,
}

impl MetricMatch {
    fn matched(&self) -> Match {
        Match {
            match_type: self.match_type.map(|kind| match kind {
                MetricMatchType::Regexp => MatchType::Regexp,
                MetricMatchType::Strict | MetricMatchType::Expr => MatchType::Strict,
            }),
            resources: self.resource_attributes.clone(),
            metric_names: self.metric_names.clone(),
            ..Match::default()
        }
    }

    /// The names and the resource, each for itself.
    fn apart(&self) -> Vec<Match> {
        let all = self.matched();
        let names = Match { resources: Vec::new(), ..all.clone() };
        let resources = Match { metric_names: Vec::new(), ..all };
        let mut apart = vec![names, resources];
        apart.retain(|one| !one.metric_names.is_empty() || !one.resources.is_empty());
        apart
    }
}

impl LogMatch {
    fn matched(&self) -> Match {
        Match {
            match_type: self.match_type,
            resources: self.resource_attributes.clone(),
            attributes: self.record_attributes.clone(),
            log_severity_texts: self.severity_texts.clone(),
            log_severity_number: self.severity_number.clone(),
            log_bodies: self.bodies.clone(),
            ..Match::default()
        }
    }
}

/// What of a signal stays, by its properties.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Properties {
    include: Option<Match>,
    /// An item goes if one of these matches.
    exclude: Vec<Match>,
}

impl Properties {
    pub(super) fn of_spans(spans: &SpanProperties) -> Self {
        let exclude = spans.exclude.iter().cloned().collect();
        Properties { include: spans.include.clone(), exclude }
    }

    pub(super) fn of_metrics(metrics: &MetricConditions) -> Self {
        Properties {
            include: metrics.include.as_ref().map(MetricMatch::matched),
            exclude: metrics.exclude.as_ref().map(MetricMatch::apart).unwrap_or_default(),
        }
    }

    pub(super) fn of_logs(logs: &LogConditions) -> Self {
        Properties {
            include: logs.include.as_ref().map(LogMatch::matched),
            exclude: logs.exclude.iter().map(LogMatch::matched).collect(),
        }
    }

    /// Makes it ready; `None` if nothing is given.
    pub(super) fn selection(&self, signal: Signal) -> Option<Selection> {
        let selector = |one: &Match| Selector::new(one, signal);
        let include = self.include.as_ref().and_then(selector);
        let exclude: Vec<Selector> = self.exclude.iter().filter_map(selector).collect();
        let is_given = include.is_some() || !exclude.is_empty();
        is_given.then_some(Selection { signal, include, exclude })
    }
}

/// Checks the properties in the section `name` of the body `at`.
pub(super) fn validate_metrics(metrics: &MetricConditions, at: &Node, problems: &mut Problems) {
    for (key, section) in [("include", &metrics.include), ("exclude", &metrics.exclude)] {
        let Some(section) = section else { continue };
        let name = format!("metrics::{key}");
        if section.match_type == Some(MetricMatchType::Expr) || !section.expressions.is_empty() {
            problems.error(at.at(&name), "expressions on metrics are not supported").help(
                "write `metric_conditions`; `HasAttrKeyOnDatapoint` and \
                     `HasAttrOnDatapoint` look at the labels of a metric",
            );
        } else {
            section.matched().validate(at, &name, problems);
        }
    }
}

pub(super) fn validate_logs(logs: &LogConditions, at: &Node, problems: &mut Problems) {
    for (key, section) in [("include", &logs.include), ("exclude", &logs.exclude)] {
        if let Some(section) = section {
            section.matched().validate(at, &format!("logs::{key}"), problems);
        }
    }
}

pub(super) fn validate_spans(spans: &SpanProperties, at: &Node, problems: &mut Problems) {
    for (key, section) in [("include", &spans.include), ("exclude", &spans.exclude)] {
        let Some(section) = section else { continue };
        let name = format!("spans::{key}");
        section.validate(at, &name, problems);
        if let [foreign, ..] = &section.foreign(Signal::Traces)[..] {
            let node = at.at(&format!("{name}::{foreign}"));
            problems.error(node, format!("spans have no `{foreign}`")).help("remove it");
        }
    }
}

/// [`Properties`] made ready for items of one signal.
#[derive(Debug, Clone)]
pub(super) struct Selection {
    signal: Signal,
    include: Option<Selector>,
    exclude: Vec<Selector>,
}

impl Selection {
    /// Whether an item goes.
    pub(super) fn drops(&self, item: &Item<'_>) -> bool {
        let takes = |selector: &Selector| {
            let own = item.bytes(Tier::Item);
            selector.takes_resource(item.bytes(Tier::Resource))
                && selector.takes_scope(item.bytes(Tier::Scope))
                && match self.signal {
                    Signal::Traces => selector.takes_item(own, 9),
                    Signal::Logs => selector.takes_item(own, 6),
                    Signal::Metrics => selector.takes_metric(own),
                }
        };
        self.exclude.iter().any(takes) || !self.include.as_ref().is_none_or(takes)
    }
}
