//! Changes resources, scopes, spans, metrics, data points and log records by statements.
//!
//! ```yaml
//! transform:
//!   trace_statements:
//!     - set(span.attributes["tier"], "gold") where resource.attributes["customer"] == "acme"
//!     - replace_pattern(span.name, "/users/\\d+", "/users/{id}")
//!     - delete_key(span.attributes, "http.request.header.authorization")
//!   metric_statements:
//!     - convert_sum_to_gauge() where metric.name == "process.cpu.time"
//!   log_statements:
//!     - merge_maps(log.attributes, ParseJSON(log.body), "upsert") where IsMatch(log.body, "^\\{")
//! ```
//!
//! Statements are written in [OTTL](../ottl.md) and run in order on every item. A list of
//! statements is one group, with one context, which follows from the paths: what runs on spans can
//! also use `resource` and `scope`. Statements on different things are groups of their own:
//!
//! ```yaml
//! transform/groups:
//!   trace_statements:
//!     - statements:
//!         - set(resource.attributes["deployment.environment"], "production")
//!     - conditions: ['span.kind == SPAN_KIND_SERVER']
//!       statements:
//!         - set(span.cache["url"], URL(span.attributes["url.full"]))
//!         - set(span.attributes["server.address"], span.cache["url"]["url.domain"])
//!     - context: spanevent
//!       error_mode: silent
//!       statements:
//!         - truncate_all(attributes, 4096)
//! ```
//!
//! Groups run one after the other, each over all items of a request, so a later one sees what an
//! earlier one did. The statements of a group run on an item if one of its `conditions` holds or
//! there are none. With `context` paths need not name it. `cache` is a map that is empty for each
//! item; groups of one context with `shared_cache: true` share one for all items of a request, of
//! at most 64 KiB.
//!
//! A statement on an item of a resource can change the resource; the change holds for all its
//! items, and the last one counts.
//!
//! A statement that fails leaves its item as it is, and the next statement runs. Failures are
//! counted by statement in `skep_statement_failures`; the first of each kind is logged. With
//! `error_mode: propagate` the request is refused for good.
//!
//! An item that no statement changes keeps its bytes, and a request in which nothing changes keeps
//! its allocation.
//!
//! Differs from the Collector:
//!
//! - The sender of a request that is refused by `propagate` is told not to send it again.
//! - `flatten_data`, which the Collector has behind a feature gate, is refused.
//! - Groups can have the context `spanlink`.
//! - [What OTTL does differently](../ottl.md#differs-from-the-collector).

use schemars::JsonSchema;
use serde::Deserialize;

use super::editing::walking::{Left, Pass, count, pass, pass_sharing, reason};
use crate::{
    component::{
        BuildContext, Entry, Kind, Needs, Output, Partition, Processor, ProcessorConfig, StartError,
    },
    config::{Anything, Node, Problems},
    otlp::{Payload, Signal},
    ottl::{Context, ErrorMode, Fate, Item},
    statements::{self, Blocks, Runner, Source, Texts, texts},
};

/// Runs statements.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What happens when a statement or condition fails on an item.
    pub error_mode: ErrorMode,
    /// Statements on spans and what is around and in them.
    pub trace_statements: Blocks<Statements>,
    /// Statements on metrics and data points.
    pub metric_statements: Blocks<Statements>,
    /// Statements on log records.
    pub log_statements: Blocks<Statements>,
    /// Refused: skep has no profiles.
    pub profile_statements: Option<Anything>,
    /// Refused: give the statements a resource of their own by `groupbyattrs`.
    pub flatten_data: bool,
}

/// A group of statements.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Statements {
    /// What the statements run on; without it, it follows from the paths.
    pub context: Option<String>,
    /// What happens when a condition or a statement of this group fails; without it, as the
    /// `error_mode` of the processor says.
    pub error_mode: Option<ErrorMode>,
    /// The statements run on an item only if one of these holds.
    pub conditions: Texts,
    /// What to do, in order.
    pub statements: Texts,
    /// Share the cache with all items of a request, and with other such groups of this context.
    pub shared_cache: bool,
}

pub(super) const ENTRY: Entry<dyn ProcessorConfig> =
    Entry::of::<Config>("transform", &[], &Signal::ALL, include_str!("transform.rs"));

impl Config {
    fn blocks(&self, signal: Signal) -> (&'static str, &Blocks<Statements>) {
        match signal {
            Signal::Traces => ("trace_statements", &self.trace_statements),
            Signal::Metrics => ("metric_statements", &self.metric_statements),
            Signal::Logs => ("log_statements", &self.log_statements),
        }
    }

    /// The groups of a signal, and whether they share their cache.
    fn sources(&self, signal: Signal) -> Vec<(Source<'_>, bool)> {
        let (key, blocks) = self.blocks(signal);
        let empty = Source {
            signal,
            context: None,
            conditions: Vec::new(),
            statements: Vec::new(),
            mode: self.error_mode,
        };
        match blocks {
            Blocks::Texts(list) if list.0.is_empty() => Vec::new(),
            Blocks::Texts(list) => vec![(Source { statements: texts(key, list), ..empty }, false)],
            Blocks::Groups(groups) => {
                let groups = groups.iter().enumerate();
                let sources = groups.map(|(at, group)| {
                    let of = |list: &'static str| format!("{key}::{at}::{list}");
                    let source = Source {
                        signal,
                        context: group.context.as_deref().and_then(Context::named),
                        conditions: texts(&of("conditions"), &group.conditions),
                        statements: texts(&of("statements"), &group.statements),
                        mode: group.error_mode.unwrap_or(self.error_mode),
                    };
                    (source, group.shared_cache)
                });
                sources.collect()
            }
        }
    }

    fn all_sources(&self) -> Vec<Source<'_>> {
        let of = |signal| self.sources(signal).into_iter().map(|(source, _)| source);
        Signal::ALL.into_iter().flat_map(of).collect()
    }
}

impl ProcessorConfig for Config {
    fn partition(&self) -> Partition {
        Partition::Any
    }

    fn validate(&self, at: &Node, problems: &mut Problems) {
        if self.profile_statements.is_some() {
            problems.error(at.at("profile_statements"), "skep has no profiles").help("remove it");
        }
        if self.flatten_data {
            problems
                .error(at.at("flatten_data"), "`flatten_data` is not supported")
                .help("remove it; `groupbyattrs` before this processor separates resources");
        }
        for signal in Signal::ALL {
            let (key, blocks) = self.blocks(signal);
            let Blocks::Groups(groups) = blocks else { continue };
            for (at_group, group) in groups.iter().enumerate() {
                let node = at.at(&format!("{key}::{at_group}"));
                statements::check_context(group.context.as_deref(), signal, node, problems);
                if group.statements.0.is_empty() {
                    problems
                        .error(node, "the group has no statements")
                        .help("add `statements: [...]`");
                }
            }
        }
        let sources = self.all_sources();
        for source in &sources {
            source.check(at, problems);
        }
        if sources.is_empty() && !problems.has_errors() {
            problems
                .warning(at, "the processor has no statements, so it changes nothing")
                .help("add `trace_statements`, `metric_statements` or `log_statements`");
        }
    }

    fn needs(&self) -> Needs<'_> {
        statements::needs(&self.all_sources())
    }

    fn build(&self, cx: &BuildContext) -> Result<Box<dyn Processor>, StartError> {
        let group = |(source, shares_cache): (Source<'_>, bool)| {
            Ok(Group { runner: source.runner(cx, Kind::Processor)?, shares_cache })
        };
        let groups = self.sources(cx.signal).into_iter().map(group).collect::<Result<_, _>>()?;
        Ok(Box::new(Transform { groups, caches: Vec::new() }))
    }
}

#[derive(Debug)]
struct Transform {
    groups: Vec<Group>,
    /// Shared caches by context, of the payload at hand.
    caches: Vec<(Context, Vec<u8>)>,
}

#[derive(Debug)]
struct Group {
    runner: Runner,
    shares_cache: bool,
}

impl Processor for Transform {
    fn process(&mut self, mut payload: Payload, out: &mut Output) {
        let Transform { groups, caches } = self;
        caches.clear();
        let mut is_changed = false;
        for Group { runner, shares_cache } in groups {
            let context = runner.context();
            let how = Pass { context, prunes: false };
            let mut visit = |item: &mut Item<'_>| {
                runner.run(item)?;
                Ok(Fate::Keep)
            };
            let result = if *shares_cache {
                let cache = cache_of(caches, context);
                pass_sharing(how, &mut payload, Some(cache), &mut visit)
            } else {
                pass(how, &mut payload, &mut visit)
            };
            runner.flush();
            match result {
                Ok(left) => is_changed |= left != Left::Same,
                Err(stop) => return out.refuse(payload, reason(&stop)),
            }
        }
        if is_changed && payload.signal == Signal::Metrics {
            // Statements add metrics and merge points.
            payload.items = count(&payload);
        }
        out.emit(payload);
    }
}

fn cache_of(caches: &mut Vec<(Context, Vec<u8>)>, context: Context) -> &mut Vec<u8> {
    let at = caches.iter().position(|(of, _)| *of == context).unwrap_or_else(|| {
        caches.push((context, Vec::new()));
        caches.len() - 1
    });
    &mut caches[at].1
}

#[cfg(test)]
mod public;
#[cfg(test)]
mod tests;
