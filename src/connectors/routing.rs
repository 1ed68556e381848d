//! Sends data to one of several pipelines, by what is in it or in the request that brought it.
//!
//! ```yaml
//! routing:
//!   default_pipelines: [logs/other]
//!   table:
//!     - condition: log.severity_number >= SEVERITY_NUMBER_ERROR
//!       pipelines: [logs/errors]
//!     - condition: resource.attributes["team"] == "payments"
//!       pipelines: [logs/payments]
//!     - condition: otelcol.client.metadata["x-tenant"][0] == "acme"
//!       pipelines: [logs/acme, logs/archive]
//! ```
//!
//! Routes are tried in order, each on what is left. Data for which the condition holds is taken out
//! and sent to the pipelines of the route; with `action: copy` it is sent there, and later routes
//! see it, too. What no route takes goes to `default_pipelines`, or is left out if there are none;
//! the metrics page counts that in `skep_routing_unrouted_items`. Each pipeline that is named here
//! lists the connector among its `receivers`.
//!
//! Conditions are written in [OTTL](../ottl.md). What one looks at follows from its paths: a
//! condition on `resource` moves whole resources, one on `scope` whole scopes, one on `span`,
//! `metric`, `datapoint` or `log` single items, with a copy of their resource and scope. Paths
//! without a context, such as `attributes["team"]`, are those of the resource, unless the route has
//! a `context`:
//!
//! ```yaml
//! routing/older:
//!   table:
//!     - context: span
//!       condition: attributes["http.route"] == "/health"
//!       pipelines: [traces/cheap]
//!     - statement: delete_key(attributes, "X-Tenant") where attributes["X-Tenant"] == "acme"
//!       pipelines: [traces/acme]
//!     - context: request
//!       condition: request["X-Tenant"] == "ecorp"
//!       pipelines: [traces/ecorp]
//! ```
//!
//! A `statement` is the older form of a condition, `route() where ...`. With `delete_key` or
//! `delete_matching_keys` it edits what is sent to the pipelines of its route. Headers of requests,
//! `otelcol.client.metadata["..."]` or `request["..."]`, are there if the receiver has
//! `include_metadata: true` and no `batch` comes before.
//!
//! Data that goes to one place as a whole is passed on without a copy. A condition that fails on an
//! item does not hold for it. Failures are counted by condition in `skep_statement_failures`; the
//! first of each kind is logged. With `error_mode: propagate` the request is refused for good.
//!
//! Differs from the Collector:
//!
//! - Conditions may be on scopes.
//! - One connector may route several signals; a route is for those of its pipelines.
//! - A metric or resource that is empty stays with what is left.

mod divide;
mod route;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::{
    divide::{Divided, Segment, divide},
    route::{Form, Rule},
};
use crate::{
    component::{
        BuildContext, ConnectorConfig, Entry, Needs, Outlets, Output, Processor, StartError,
    },
    config::{Fixed, Node, Problems},
    otlp::{
        Payload, Signal,
        payload::{Outcome, Reason},
    },
    ottl::{ErrorMode, Stop},
    statements,
    telemetry::{Counter, Desc},
};

const UNROUTED: Desc = Desc::new(
    "skep_routing_unrouted_items",
    "{item}",
    "Items that no route took, without default_pipelines",
);
const REFUSED: Desc =
    Desc::new("skep_routing_refused_items", "{item}", "Items of requests that could not be routed");

/// Routes data.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The routes, in the order in which they are tried.
    pub table: Vec<Route>,
    /// Pipelines that get what no route has taken; without any it is left out.
    pub default_pipelines: Vec<String>,
    /// What happens when a condition fails on an item.
    pub error_mode: ErrorMode,
    /// Has no effect: what a route takes is not there for later ones. Instead: write `action: copy`
    /// in the route.
    pub match_once: Fixed<true>,
}

/// Where data goes for which a condition holds.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Route {
    /// What the condition runs on: `resource`, `scope`, `span`, `metric`, `datapoint`, `log` or
    /// `request`; without it, it follows from the paths.
    pub context: Option<String>,
    /// Which data takes this route.
    pub condition: Option<String>,
    /// The older form of `condition`.
    pub statement: Option<String>,
    /// Where the data goes.
    pub pipelines: Vec<String>,
    /// Whether later routes see the data, too.
    pub action: Action,
}

/// What happens to data that takes a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is gone for later routes.
    #[default]
    Move,
    /// It stays for later routes.
    Copy,
}

pub(super) const ENTRY: Entry<dyn ConnectorConfig> =
    Entry::of::<Config>("routing", &[], &Signal::ALL, include_str!("routing.rs"));

/// The signal of a pipeline's id: `traces/backend`.
fn signal_of(pipeline: &str) -> Option<Signal> {
    let name = pipeline.split('/').next()?;
    Signal::ALL.into_iter().find(|signal| signal.name() == name)
}

impl Route {
    /// Whether it is a route for data of a signal.
    fn is_for(&self, signal: Signal) -> bool {
        self.pipelines.iter().any(|pipeline| signal_of(pipeline) == Some(signal))
    }
}

impl ConnectorConfig for Config {
    fn outputs(&self, input: Signal) -> &'static [Signal] {
        input.only()
    }

    fn pipelines(&self) -> Vec<(String, &str)> {
        let default = self.default_pipelines.iter().enumerate();
        let default = default.map(|(at, id)| (format!("default_pipelines::{at}"), &**id));
        let table = self.table.iter().enumerate().flat_map(|(at, route)| {
            let ids = route.pipelines.iter().enumerate();
            ids.map(move |(i, id)| (format!("table::{at}::pipelines::{i}"), &**id))
        });
        default.chain(table).collect()
    }

    fn needs(&self) -> Needs<'_> {
        let mut needs = Needs::default();
        for (at, route) in self.table.iter().enumerate() {
            let own = match route::form(route, at) {
                Ok(Form::Request(_)) => Needs { context: true, metadata: true, ..needs },
                Ok(Form::Texts(texts)) => {
                    statements::needs(&[texts.source(Signal::Logs, None, self.error_mode)])
                }
                Err(_) => continue,
            };
            needs.context |= own.context;
            needs.metadata |= own.metadata;
            needs.auth |= own.auth;
        }
        needs
    }

    fn validate(&self, at: &Node, problems: &mut Problems) {
        if self.table.is_empty() {
            problems
                .error(at.at("table"), "the routing table is empty")
                .help("add `table: [{condition: ..., pipelines: [...]}]`");
        }
        let mut known: Vec<(&Route, usize)> = Vec::new();
        for (index, route) in self.table.iter().enumerate() {
            let node = at.at(&format!("table::{index}"));
            if route.pipelines.is_empty() {
                problems
                    .error(node, "the route has no pipelines")
                    .help("add `pipelines: [...]` with ids such as `traces/errors`");
            }
            if let Err(wrong) = route::form(route, index) {
                problems.error(at.at(&wrong.place), wrong.message).help(wrong.help);
                continue;
            }
            let is_same = |other: &Route| {
                (&other.context, &other.condition, &other.statement)
                    == (&route.context, &route.condition, &route.statement)
                    && other.action == Action::Move
                    && Signal::ALL
                        .iter()
                        .all(|signal| !route.is_for(*signal) || other.is_for(*signal))
            };
            if let Some((_, first)) = known.iter().find(|(other, _)| is_same(other)) {
                let message =
                    format!("route {} has the same condition, so this gets nothing", first + 1);
                problems.warning(node, message).help("remove it, or make it the earlier one");
            }
            known.push((route, index));
        }
    }

    fn validate_use(&self, inputs: &[Signal], at: &Node, problems: &mut Problems) {
        for (index, route) in self.table.iter().enumerate() {
            for signal in inputs.iter().filter(|signal| route.is_for(**signal)) {
                if let Ok(Form::Texts(texts)) = route::form(route, index) {
                    texts.check(*signal, at, problems);
                }
            }
        }
    }

    fn build(
        &self,
        cx: &BuildContext,
        outlets: &Outlets,
    ) -> Result<Box<dyn Processor>, StartError> {
        let signal = cx.signal;
        // Those of other signals are no outlets.
        let find = |ids: &[String]| ids.iter().filter_map(|id| outlets.find(id)).collect();
        let mut rules = Vec::new();
        for (at, route) in self.table.iter().enumerate().filter(|(_, it)| it.is_for(signal)) {
            let test = route::test(route, at, self.error_mode, cx)?;
            rules.push(Rule { test, action: route.action, outlets: find(&route.pipelines) });
        }
        let meter = cx.metrics("connector").with("signal", signal.name());
        Ok(Box::new(Router {
            rules,
            default: find(&self.default_pipelines),
            unrouted: meter.counter(&UNROUTED, &[]),
            refused: meter.counter(&REFUSED, &[]),
        }))
    }
}

struct Router {
    rules: Vec<Rule>,
    /// Outlets for what is left.
    default: Vec<usize>,
    unrouted: Counter,
    refused: Counter,
}

impl Processor for Router {
    fn process(&mut self, payload: Payload, out: &mut Output) {
        let divided = divide(&mut self.rules, &payload);
        self.rules.iter_mut().for_each(Rule::flush);
        match divided {
            Ok(divided) => self.send(payload, divided, out),
            Err(stop) => {
                self.refused.add(payload.items);
                let reason = match stop {
                    Stop::Fault(_) => Reason::StatementFailed,
                    Stop::Refused(reason) => reason,
                };
                out.refuse(payload, reason);
            }
        }
    }
}

impl Router {
    /// Sends each part to its outlets. All of them share the receipts.
    fn send(&self, payload: Payload, divided: Divided, out: &mut Output) {
        let Divided { taken, left } = divided;
        let mut parts: Vec<(&[usize], Vec<Segment>)> =
            taken.into_iter().map(|(at, part)| (&*self.rules[at].outlets, part)).collect();
        let mut outcome = Outcome::Delivered;
        if !left.is_empty() {
            if self.default.is_empty() {
                let items = if parts.is_empty() { payload.items } else { items(&payload, &left) };
                self.unrouted.add(items);
                out.count_filtered(items);
                outcome = Outcome::Filtered;
            } else {
                parts.push((&self.default, left));
            }
        }
        if let [(outlets, part)] = &*parts
            && let [only] = **outlets
            && outcome == Outcome::Delivered
            && divide::is_whole(&payload, part)
        {
            return out.emit_to(only, payload);
        }
        for (outlets, part) in parts {
            let items = items(&payload, &part);
            for outlet in outlets {
                out.emit_to(*outlet, divide::part(&payload, &part, items));
            }
        }
        payload.finish(outcome);
    }
}

/// Items of a part.
fn items(payload: &Payload, part: &[Segment]) -> u64 {
    if divide::is_whole(payload, part) {
        return payload.items;
    }
    part.iter().map(|segment| segment.items(payload.signal)).sum()
}

#[cfg(test)]
mod tests;
