//! Drops the spans, span events, metrics, data points and log records for which a condition holds.
//!
//! ```yaml
//! filter:
//!   trace_conditions:
//!     - IsMatch(span.name, "^GET /health")
//!     - resource.attributes["deployment.environment"] == "test" and span.status.code != STATUS_CODE_ERROR
//!     - spanevent.name == "grpc.message"
//!   metric_conditions:
//!     - metric.name == "process.runtime.jvm.gc.time"
//!     - datapoint.attributes["state"] == "idle"
//!   log_conditions:
//!     - log.severity_number < SEVERITY_NUMBER_INFO
//! ```
//!
//! Conditions are written in [OTTL](../ottl.md). An item goes if one of them holds; to ask for
//! several things at once, join them by `and`. What a condition runs on follows from its paths:
//! `resource`, `scope`, `span`, `spanevent`, `spanlink`, `metric`, `datapoint`, `exemplar`, `log`.
//! Conditions of a resource are looked at first, then those of scopes, then those of items, then
//! those of what is in items. What is empty afterwards goes too: a scope without items, a resource
//! without scopes, a metric without data points; a span without events stays. A request of which
//! everything stays is passed on as it is, without a copy.
//!
//! A group has its own context and `error_mode`, and is a pass of its own through all items:
//!
//! ```yaml
//! filter/groups:
//!   log_conditions:
//!     - context: log
//!       error_mode: silent
//!       conditions: ['ParseJSON(body)["level"] == "debug"']
//! ```
//!
//! The lists `traces`, `metrics` and `logs` are the older form, in which paths need no context:
//!
//! ```yaml
//! filter/older:
//!   traces:
//!     span: ['attributes["http.route"] == "/health"']
//!   metrics:
//!     metric: ['type == METRIC_DATA_TYPE_SUMMARY', 'HasAttrKeyOnDatapoint("debug")']
//!   logs:
//!     log_record: ['IsMatch(body, "password")']
//! ```
//!
//! `spans`, `metrics` and `logs` also have `include` and `exclude`, which are older than OTTL: only
//! what matches `include` stays, and what matches `exclude` goes.
//!
//! A condition that fails on an item does not hold for it, so the item stays. Failures are counted
//! by condition in `skep_statement_failures`; the first of each kind is logged. With `error_mode:
//! propagate` the request is refused for good.
//!
//! Differs from the Collector:
//!
//! - Conditions may look at span links and exemplars, too.
//! - `match_type: expr` of metrics is refused.
//! - The sender of a request that is refused by `propagate` is told not to send it again.

mod settings;

use schemars::JsonSchema;
use serde::Deserialize;

use self::settings::{
    LogConditions, MetricConditions, Properties, Selection, SpanConditions, SpanProperties,
};
use super::editing::walking::{Left, Pass, count, pass, reason};
use crate::{
    component::{
        BuildContext, Entry, Kind, Needs, Output, Partition, Processor, ProcessorConfig, StartError,
    },
    config::{Anything, Node, Problems},
    otlp::{Payload, Signal},
    ottl::{Context, ErrorMode, Fate},
    statements::{self, Blocks, Runner, Source, Text, Texts, texts},
    telemetry::{Counter, Desc},
};

// The Collector has the same counters.
const SPANS: Desc = Desc::new("otelcol_processor_filter_spans_filtered", "{span}", "Spans dropped");
const POINTS: Desc =
    Desc::new("otelcol_processor_filter_datapoints_filtered", "{datapoint}", "Data points dropped");
const LOGS: Desc =
    Desc::new("otelcol_processor_filter_logs_filtered", "{record}", "Log records dropped");

/// Drops items.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What happens when a condition fails on an item.
    pub error_mode: ErrorMode,
    /// Conditions on spans and what is around and in them.
    pub trace_conditions: Blocks<Conditions>,
    /// Conditions on metrics and data points.
    pub metric_conditions: Blocks<Conditions>,
    /// Conditions on log records.
    pub log_conditions: Blocks<Conditions>,
    /// Refused: skep has no profiles.
    pub profile_conditions: Option<Anything>,
    /// The older form of `trace_conditions`.
    pub traces: SpanConditions,
    /// The older form of `metric_conditions`.
    pub metrics: MetricConditions,
    /// The older form of `log_conditions`.
    pub logs: LogConditions,
    /// Refused: skep has no profiles.
    pub profiles: Option<Anything>,
    /// Properties of spans, older than conditions.
    pub spans: SpanProperties,
}

/// A group of conditions.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Conditions {
    /// What the conditions run on; without it, it follows from the paths.
    pub context: Option<String>,
    /// What happens when a condition or a statement of this group fails; without it, as the
    /// `error_mode` of the processor says.
    pub error_mode: Option<ErrorMode>,
    /// An item goes if one of them holds.
    pub conditions: Texts,
}

pub(super) const ENTRY: Entry<dyn ProcessorConfig> =
    Entry::of::<Config>("filter", &[], &Signal::ALL, include_str!("filter.rs"));

/// The keys of a signal: the newer form, the older one, and where `include` and `exclude` are.
const fn keys(signal: Signal) -> (&'static str, &'static str, &'static str) {
    match signal {
        Signal::Traces => ("trace_conditions", "traces", "spans"),
        Signal::Metrics => ("metric_conditions", "metrics", "metrics"),
        Signal::Logs => ("log_conditions", "logs", "logs"),
    }
}

impl Config {
    fn blocks(&self, signal: Signal) -> &Blocks<Conditions> {
        match signal {
            Signal::Traces => &self.trace_conditions,
            Signal::Metrics => &self.metric_conditions,
            Signal::Logs => &self.log_conditions,
        }
    }

    fn source<'c>(
        &self,
        signal: Signal,
        context: Option<Context>,
        conditions: Vec<Text<'c>>,
    ) -> Source<'c> {
        Source { signal, context, conditions, statements: Vec::new(), mode: self.error_mode }
    }

    /// Conditions in the newer form. What a text runs on follows from that text alone.
    fn newer(&self, signal: Signal) -> Vec<Source<'_>> {
        let (key, ..) = keys(signal);
        match self.blocks(signal) {
            Blocks::Texts(list) => texts(key, list)
                .into_iter()
                .map(|text| self.source(signal, None, vec![text]))
                .collect(),
            Blocks::Groups(groups) => {
                let groups = groups.iter().enumerate();
                let sources = groups.map(|(at, group)| {
                    let path = format!("{key}::{at}::conditions");
                    let context = group.context.as_deref().and_then(Context::named);
                    let source = self.source(signal, context, texts(&path, &group.conditions));
                    Source { mode: group.error_mode.unwrap_or(self.error_mode), ..source }
                });
                sources.collect()
            }
        }
    }

    /// Conditions in the older form, from the outermost context to the innermost.
    fn older(&self, signal: Signal) -> Vec<Source<'_>> {
        let (_, key, _) = keys(signal);
        let lists = match signal {
            Signal::Traces => vec![
                ("resource", Context::Resource, &self.traces.resource),
                ("span", Context::Span, &self.traces.span),
                ("spanevent", Context::SpanEvent, &self.traces.spanevent),
            ],
            Signal::Metrics => vec![
                ("resource", Context::Resource, &self.metrics.resource),
                ("metric", Context::Metric, &self.metrics.metric),
                ("datapoint", Context::DataPoint, &self.metrics.datapoint),
            ],
            Signal::Logs => vec![
                ("resource", Context::Resource, &self.logs.resource),
                ("log_record", Context::Log, &self.logs.log_record),
            ],
        };
        let given = lists.into_iter().filter(|(_, _, list)| !list.0.is_empty());
        let sources = given.map(|(name, context, list)| {
            self.source(signal, Some(context), texts(&format!("{key}::{name}"), list))
        });
        sources.collect()
    }

    fn properties(&self, signal: Signal) -> Properties {
        match signal {
            Signal::Traces => Properties::of_spans(&self.spans),
            Signal::Metrics => Properties::of_metrics(&self.metrics),
            Signal::Logs => Properties::of_logs(&self.logs),
        }
    }

    fn sources(&self) -> Vec<Source<'_>> {
        let of = |signal| self.newer(signal).into_iter().chain(self.older(signal));
        Signal::ALL.into_iter().flat_map(of).collect()
    }

    /// Complains of forms that do not go together, and mentions the newer one.
    fn validate_forms(&self, signal: Signal, at: &Node, problems: &mut Problems) {
        let (newer, older, properties) = keys(signal);
        let has_newer = !self.blocks(signal).is_empty();
        let has_older = !self.older(signal).is_empty();
        let has_properties = self.properties(signal) != Properties::default();
        if has_newer && has_older {
            problems
                .error(at.at(older), format!("`{older}` and `{newer}` cannot be used together"))
                .help(format!("move the conditions of `{older}` to `{newer}`"));
        } else if (has_newer || has_older) && has_properties {
            let message = "`include` and `exclude` cannot be used together with conditions";
            problems.error(at.at(properties), message).help(format!("write them as `{newer}`"));
        } else if has_older || has_properties {
            let key = if has_older { older } else { properties };
            problems.warning(at.at(key), format!("`{key}` is the older form of `{newer}`")).help(
                "write conditions whose paths name their context, such as `resource.attributes`",
            );
        }
    }

    /// Checks what is beside the texts.
    fn validate_around(&self, at: &Node, problems: &mut Problems) {
        for (key, given) in
            [("profile_conditions", &self.profile_conditions), ("profiles", &self.profiles)]
        {
            if given.is_some() {
                problems.error(at.at(key), "skep has no profiles").help("remove it");
            }
        }
        for signal in Signal::ALL {
            self.validate_forms(signal, at, problems);
            if let Blocks::Groups(groups) = self.blocks(signal) {
                for (at_group, group) in groups.iter().enumerate() {
                    let node = at.at(&format!("{}::{at_group}", keys(signal).0));
                    statements::check_context(group.context.as_deref(), signal, node, problems);
                    if group.conditions.0.is_empty() {
                        problems
                            .error(node, "the group has no conditions")
                            .help("add `conditions: [...]`");
                    }
                }
            }
        }
        settings::validate_spans(&self.spans, at, problems);
        settings::validate_metrics(&self.metrics, at, problems);
        settings::validate_logs(&self.logs, at, problems);
        let is_empty = |signal| {
            self.blocks(signal).is_empty()
                && self.older(signal).is_empty()
                && self.properties(signal) == Properties::default()
        };
        if Signal::ALL.into_iter().all(is_empty) {
            problems
                .warning(at, "the filter has no conditions, so it drops nothing")
                .help("add `trace_conditions`, `metric_conditions` or `log_conditions`");
        }
    }
}

impl ProcessorConfig for Config {
    fn partition(&self) -> Partition {
        Partition::Any
    }

    fn validate(&self, at: &Node, problems: &mut Problems) {
        self.validate_around(at, problems);
        for source in self.sources() {
            source.check(at, problems);
        }
    }

    fn needs(&self) -> Needs<'_> {
        statements::needs(&self.sources())
    }

    fn build(&self, cx: &BuildContext) -> Result<Box<dyn Processor>, StartError> {
        let signal = cx.signal;
        let mut steps: Vec<Step> = Vec::new();
        for source in self.older(signal).into_iter().chain(self.newer(signal)) {
            let runner = source.runner(cx, Kind::Processor)?;
            steps.push(Step { context: runner.context(), runners: vec![runner], selection: None });
        }
        if let Blocks::Texts(_) = self.blocks(signal) {
            steps = merged(steps);
        }
        if let Some(selection) = self.properties(signal).selection(signal) {
            let context = match signal {
                Signal::Traces => Context::Span,
                Signal::Metrics => Context::Metric,
                Signal::Logs => Context::Log,
            };
            steps.push(Step { context, runners: Vec::new(), selection: Some(selection) });
        }
        let desc = match signal {
            Signal::Traces => &SPANS,
            Signal::Metrics => &POINTS,
            Signal::Logs => &LOGS,
        };
        let filtered = cx.metrics("filter").counter(desc, &[]);
        Ok(Box::new(Filter { steps, filtered }))
    }
}

/// One step for each context, from the outermost to the innermost.
fn merged(mut steps: Vec<Step>) -> Vec<Step> {
    steps.sort_by_key(|step| step.context);
    let mut merged: Vec<Step> = Vec::new();
    for step in steps {
        match merged.last_mut().filter(|last| last.context == step.context) {
            Some(last) => last.runners.extend(step.runners),
            None => merged.push(step),
        }
    }
    merged
}

#[derive(Debug)]
struct Filter {
    steps: Vec<Step>,
    filtered: Counter,
}

/// What is asked of all items of one context. One yes is enough.
#[derive(Debug)]
struct Step {
    context: Context,
    runners: Vec<Runner>,
    selection: Option<Selection>,
}

impl Processor for Filter {
    fn process(&mut self, mut payload: Payload, out: &mut Output) {
        let before = payload.items;
        let mut left = Left::Same;
        for Step { context, runners, selection } in &mut self.steps {
            let how = Pass { context: *context, prunes: true };
            let result = pass(how, &mut payload, &mut |item| {
                if selection.as_ref().is_some_and(|selection| selection.drops(item)) {
                    return Ok(Fate::Drop);
                }
                for runner in &mut *runners {
                    if runner.matches(item)? {
                        return Ok(Fate::Drop);
                    }
                }
                Ok(Fate::Keep)
            });
            runners.iter_mut().for_each(Runner::flush);
            match result {
                Ok(Left::Same) => {}
                Ok(now) => left = now,
                Err(stop) => return out.refuse(payload, reason(&stop)),
            }
            if left == Left::Nothing {
                self.filtered.add(before);
                return out.filter(payload);
            }
        }
        if left == Left::Changed {
            payload.items = count(&payload);
            let filtered = before.saturating_sub(payload.items);
            out.count_filtered(filtered);
            self.filtered.add(filtered);
        }
        out.emit(payload);
    }
}

#[cfg(test)]
mod public;
#[cfg(test)]
mod tests;
