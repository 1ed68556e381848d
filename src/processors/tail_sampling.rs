//! Keeps the traces that matter: holds the spans of each trace until it is whole, then asks
//! policies.
//!
//! ```yaml
//! tail_sampling:
//!   decision_wait: 10s
//!   policies:
//!     - { name: health, type: drop, drop: { drop_sub_policy: [
//!         { type: string_attribute, string_attribute: { key: url.path, values: [^/health], enabled_regex_matching: true } } ] } }
//!     - { name: errors, type: status_code, status_code: { status_codes: [ERROR] } }
//!     - { name: slow, type: latency, latency: { threshold_ms: 2000 } }
//!     - { name: rest, type: probabilistic, probabilistic: { sampling_percentage: 5 } }
//! ```
//!
//! A trace is decided `decision_wait` after its first span, or sooner,
//! `decision_wait_after_root_received` after its root. It is kept if any policy samples it and no
//! `drop` policy matches; the first policy that sampled it gets the credit. Spans that come later
//! follow the decision as long as it is remembered. Kept spans leave as they came, grouped by
//! resource and scope; put `batch` after it.
//!
//! What each type of policy samples, as examples:
//!
//! ```yaml
//! tail_sampling:
//!   policies:
//!     # everything
//!     - { name: all, type: always_sample }
//!     # longer than 5 s from the first start to the last end; here and up to 10 s
//!     - { name: slow, type: latency, latency: { threshold_ms: 5000, upper_threshold_ms: 10000 } }
//!     # any span, or its resource, with a number from 500 to 599
//!     - { name: 5xx, type: numeric_attribute, numeric_attribute: { key: http.response.status_code, min_value: 500, max_value: 599 } }
//!     # any span, or its resource, with one of these texts; regular expressions match anywhere
//!     - { name: cart, type: string_attribute, string_attribute: { key: http.route, values: [^/cart, ^/pay], enabled_regex_matching: true } }
//!     # no span with this text
//!     - { name: others, type: string_attribute, string_attribute: { key: tenant, values: [test], invert_match: true } }
//!     # any span with this truth
//!     - { name: vip, type: boolean_attribute, boolean_attribute: { key: app.vip, value: true } }
//!     # 5 of 100, chosen by a hash of the trace id; by its random bits where `tracestate` has `ot=`
//!     - { name: some, type: probabilistic, probabilistic: { sampling_percentage: 5 } }
//!     # any span with this status
//!     - { name: errors, type: status_code, status_code: { status_codes: [ERROR, UNSET] } }
//!     # as long as no more than 100 spans a second come of it, 200 at once
//!     - { name: rate, type: rate_limiting, rate_limiting: { spans_per_second: 100 } }
//!     # the same by bytes
//!     - { name: bytes, type: bytes_limiting, bytes_limiting: { bytes_per_second: 1000000 } }
//!     # 3 to 10 spans
//!     - { name: middling, type: span_count, span_count: { min_spans: 3, max_spans: 10 } }
//!     # any span with this member of the W3C tracestate
//!     - { name: marked, type: trace_state, trace_state: { key: vendor, values: [important] } }
//!     # any span, or any event of a span, for which a condition in OTTL holds
//!     - { name: paid, type: ottl_condition, ottl_condition: {
//!         span: ['span.attributes["http.route"] == "/pay" and span.status.code != STATUS_CODE_OK'],
//!         spanevent: ['spanevent.name == "exception"'] } }
//!     # any span with the sampled flag
//!     - { name: head, type: trace_flags }
//!     # errors of one service: all of these, by whichever spans
//!     - { name: both, type: and, and: { and_sub_policy: [
//!         { type: status_code, status_code: { status_codes: [ERROR] } },
//!         { type: string_attribute, string_attribute: { key: service.name, values: [checkout] } } ] } }
//!     # what the policy in it would not sample
//!     - { name: fine, type: not, not: { not_sub_policy: { type: status_code, status_code: { status_codes: [ERROR] } } } }
//!     # never, whatever others say: all of these together
//!     - { name: probes, type: drop, drop: { drop_sub_policy: [
//!         { type: string_attribute, string_attribute: { key: url.path, values: [/ready] } } ] } }
//!     # the first of the order that samples it decides, if its share of 1000 spans a second has room
//!     - { name: shares, type: composite, composite: { max_total_spans_per_second: 1000, policy_order: [bad, any],
//!         composite_sub_policy: [ { name: bad, type: status_code, status_code: { status_codes: [ERROR] } }, { name: any, type: always_sample } ],
//!         rate_allocation: [ { policy: bad, percent: 80 }, { policy: any, percent: 20 } ] } }
//! ```
//!
//! **Weights.** A kept trace represents those that were not: with `weights` its spans say for how
//! many, in the attribute `SampleRate`, which Honeycomb reads, and as `ot=th:` in `tracestate`.
//! This is on where the pipeline ends in a `honeycomb` exporter. The weight is one over the
//! probability that a trace like it is kept by all policies together, chances and limits included,
//! so sums over kept traces are right; a rate or threshold that a span came with is composed with
//! it.
//!
//! **Why.** `skep explain <trace-id>` shows the decision on a trace with the vote of each policy,
//! `skep sample --watch` decisions as they are made; `explain` says how many are remembered. With
//! `record_policy` kept spans carry `tailsampling.policy`. With `dry_run` everything goes on, and
//! carries `tailsampling.dry_run.kept`.
//!
//! **Memory.** Spans and tables take at most `max_memory`, which is part of the budget of the
//! process. A large request stays in memory as it is while one of its traces waits; small ones are
//! copied. At the limit, or if more than `num_traces` wait, the oldest traces are decided at once
//! by the spans received so far; with `block_on_overflow` senders are asked to retry later instead.
//! If a request has so many tiny spans that there is no room for their index entries, it is refused
//! and may be sent again; if its resource is larger than an eighth of a worker's memory, it is
//! refused for good. Senders are answered when their spans have been taken in; with
//! `wait_for_export` when the kept spans are delivered, which is later than most senders wait
//! unless `decision_wait` is short.
//!
//! Differs from the Collector:
//!
//! - What it drops undecided on overflow is decided early. `num_traces` counts traces that wait,
//!   not decided ones, and limits nothing by default.
//! - Decisions are remembered by default: 50 000 of kept traces, 500 000 of dropped ones.
//! - `span-ingest` decides as soon as no later span can change the decision, by all spans so far,
//!   so both strategies keep the same traces; a `drop` policy that has not matched does not lose a
//!   trace.
//! - `latency` compares the whole duration, whatever the order of spans. `numeric_attribute` reads
//!   doubles too, and a bound of 0 is a bound. `boolean_attribute` matches only truths,
//!   `string_attribute` only texts that are not empty.
//! - In `and` and `drop` limits are asked last, so that nothing is spent on a trace that another
//!   condition refuses. Traces that are decided at the same time are let in by their random bits,
//!   not by their order.
//! - `composite`: the sum of all shares is limited; a sub-policy without an allocation gets an
//!   equal share.
//! - `ottl_condition` with `error_mode: propagate` does not sample a trace of which any span fails.
//!   Failures are counted in `skep_statement_failures`, and the first of each kind is logged.
//! - `probabilistic` goes by the random bits of the trace where `tracestate` has `rv` or `th`, else
//!   by the hash.
//! - `tailsampling.policy` is on spans, not on their scope. Sizes are those of the spans,
//!   without resources.
//! - Schema URLs and unknown fields of resources and scopes are kept. Traces are spread over all
//!   workers, so `num_shards` has no effect.

mod arena;
mod claims;
mod compile;
mod context;
mod decide;
mod emit;
mod limit;
mod mark;
mod matcher;
pub mod policy;
mod program;
mod questions;
mod read;
mod remembered;
mod room;
mod settings;
mod shard;
mod stats;
mod traces;
mod weight;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::{
    compile::{Program, compile},
    mark::Weights,
    policy::Policy,
    questions::Questions,
    remembered::{most_dropped_bytes, most_kept_bytes},
    settings::Settings,
    shard::Shard,
    stats::TailSamplingStats,
};
use crate::{
    component::{BuildContext, Entry, Needs, Partition, Processor, ProcessorConfig, StartError},
    config::{Ignored, Interval, Node, Problems},
    otlp::Signal,
    telemetry::decisions::Decisions,
};

/// Samples whole traces.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "the Collector's switches")]
pub struct Config {
    /// What is kept.
    pub policies: Vec<Policy>,
    /// Time from the first span of a trace to its decision, in steps of 100 ms.
    pub decision_wait: Interval,
    /// Time from its root to its decision, where that is sooner; 0: the root makes no difference.
    pub decision_wait_after_root_received: Interval,
    /// Most traces that wait; 0: as many as `max_memory` holds.
    pub num_traces: usize,
    /// Most bytes of waiting spans and of the tables about them; 0: half of the budget of the
    /// process. Not known to the Collector.
    pub max_memory: u64,
    /// Has no effect: tables grow as needed.
    pub expected_new_traces_per_sec: Ignored<u64>,
    /// How many decisions are remembered for spans that come late.
    pub decision_cache: DecisionCache,
    /// Ask no more policies once one has sampled a trace.
    pub sample_on_first_match: bool,
    /// At the end of the process, drop the traces that wait instead of deciding them.
    pub drop_pending_traces_on_shutdown: bool,
    /// At a limit, tell senders to come back later instead of deciding traces early.
    pub block_on_overflow: bool,
    /// Traces of more bytes are dropped at once; 0: no limit.
    pub maximum_trace_size_bytes: u64,
    /// When traces are decided.
    pub sampling_strategy: Strategy,
    /// Has no effect: traces are spread over all workers.
    pub num_shards: Ignored<u32>,
    /// Refused: spans wait in memory.
    pub tail_storage: Option<String>,
    /// How kept spans say how many they represent. Not known to the Collector.
    pub weights: WeightsConfig,
    /// Write the name of the policy into kept spans, as `tailsampling.policy`. In the Collector a
    /// feature gate.
    pub record_policy: bool,
    /// Decisions that are remembered for `skep explain` and `skep sample`; 0: none. Not known to
    /// the Collector.
    pub explain: usize,
    /// Keep everything, and mark what would have been kept. Not known to the Collector.
    pub dry_run: bool,
}

/// `sampling_strategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// At the end of the wait.
    #[default]
    TraceComplete,
    /// As soon as no later span can change the decision.
    SpanIngest,
}

/// How many decisions are remembered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DecisionCache {
    /// Kept traces; 0: 50 000.
    pub sampled_cache_size: usize,
    /// Other traces; 0: 500 000.
    pub non_sampled_cache_size: usize,
}

/// What is written into kept spans; by default both where the pipeline ends in `honeycomb`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WeightsConfig {
    /// The attribute `SampleRate`, a whole number.
    pub sample_rate: Option<bool>,
    /// The threshold `ot=th:` in `tracestate`.
    pub tracestate: Option<bool>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            policies: Vec::new(),
            decision_wait: Interval(Duration::from_secs(30)),
            decision_wait_after_root_received: Interval::default(),
            num_traces: 0,
            max_memory: 0,
            expected_new_traces_per_sec: Ignored::default(),
            decision_cache: DecisionCache::default(),
            sample_on_first_match: false,
            drop_pending_traces_on_shutdown: false,
            block_on_overflow: false,
            maximum_trace_size_bytes: 0,
            sampling_strategy: Strategy::TraceComplete,
            num_shards: Ignored::default(),
            tail_storage: None,
            weights: WeightsConfig::default(),
            record_policy: false,
            explain: 10_000,
            dry_run: false,
        }
    }
}

pub(super) const ENTRY: Entry<dyn ProcessorConfig> =
    Entry::of::<Config>("tail_sampling", &[], &[Signal::Traces], include_str!("tail_sampling.rs"));

/// Least `max_memory`: what tables and a few requests take.
const LEAST_MEMORY: u64 = 256 << 10;

impl ProcessorConfig for Config {
    fn partition(&self) -> Partition {
        Partition::ByTrace
    }

    fn validate(&self, at: &Node, problems: &mut Problems) {
        if self.policies.is_empty() {
            problems
                .error(at.at("policies"), "there is no policy, so no trace would be kept")
                .help("add `policies: [{name: all, type: always_sample}]`, for instance");
        }
        let program = compile(&self.policies);
        for fault in &program.faults {
            let place = at.at(&format!("policies::{}", fault.path));
            let problem = if fault.is_warning {
                problems.warning(place, &*fault.message)
            } else {
                problems.error(place, &*fault.message)
            };
            problem.help(&*fault.help);
        }
        program.questions.iter().for_each(|question| question.check(at, problems));
        let has_limits = program.rules.iter().any(|rule| rule.test.has_limit());
        if self.sampling_strategy == Strategy::SpanIngest && has_limits {
            let message = "`span-ingest` cannot have limits of spans or bytes a second";
            problems
                .error(at.at("sampling_strategy"), message)
                .help("remove the limiting policies, or use `trace-complete`");
        }
        if self.decision_wait.0.is_zero() {
            problems
                .warning(
                    at.at("decision_wait"),
                    "without a wait, a trace is decided by its first spans",
                )
                .help("wait as long as a trace takes, for instance `decision_wait: 10s`");
        }
        if (1..LEAST_MEMORY).contains(&self.max_memory) {
            problems
                .error(
                    at.at("max_memory"),
                    format!("`max_memory` must be at least {LEAST_MEMORY} bytes"),
                )
                .help("write a number of bytes: 268435456 is 256 MiB");
        }
        if self.tail_storage.is_some() {
            problems
                .error(
                    at.at("tail_storage"),
                    "`tail_storage` is not supported: spans wait in memory",
                )
                .help("remove it; `max_memory` bounds the memory");
        }
    }

    fn needs(&self) -> Needs<'_> {
        let WeightsConfig { sample_rate, tracestate } = &self.weights;
        Needs {
            drops_metadata: true,
            writes_weights: sample_rate.is_none() || tracestate.is_none(),
            ..Needs::default()
        }
    }

    fn build(&self, cx: &BuildContext) -> Result<Box<dyn Processor>, StartError> {
        self.replicas(cx, 1)?.pop().ok_or_else(|| StartError {
            component: format!("processor `{}`", cx.id),
            message: "it was built for no worker".to_owned(),
        })
    }

    fn replicas(
        &self,
        cx: &BuildContext,
        count: usize,
    ) -> Result<Vec<Box<dyn Processor>>, StartError> {
        let settings = Arc::new(self.settings(cx, count));
        let shard = |_| {
            // Of its own: clones of an expression share scratch space, which workers would fight
            // for.
            let Program { matcher, questions, .. } = compile(&self.policies);
            let questions = Questions::new(&questions, cx)?;
            let shard = Shard::new(Arc::clone(&settings), matcher, questions, count);
            Ok(Box::new(shard) as Box<dyn Processor>)
        };
        (0..count).map(shard).collect()
    }
}

impl Config {
    /// How many decisions are remembered: what is asked for, as far as it takes a quarter of the
    /// memory each, or an eighth where nothing is said.
    fn remembered(&self, max_memory: usize) -> (usize, usize) {
        let size = |asked: usize, default: usize, bytes_of_64: usize| {
            let most = |part: usize| (max_memory / part).saturating_mul(64) / bytes_of_64;
            if asked == 0 { default.min(most(8)) } else { asked.min(most(4)) }
        };
        let DecisionCache { sampled_cache_size, non_sampled_cache_size } = self.decision_cache;
        (
            size(sampled_cache_size, 50_000, most_kept_bytes(64)),
            size(non_sampled_cache_size, 500_000, most_dropped_bytes(64)),
        )
    }

    fn settings(&self, cx: &BuildContext, count: usize) -> Settings {
        let program: Program = compile(&self.policies);
        let names: Vec<String> = program.rules.iter().map(|rule| rule.name.clone()).collect();
        let id = cx.id.to_string();
        let stats = TailSamplingStats::new(cx, &names);
        let decisions = (self.explain > 0).then(|| {
            let ring = Decisions::new(&id, &cx.pipeline, names, self.dry_run, self.explain);
            let ring = Arc::new(ring);
            cx.telemetry.add_decisions(Arc::clone(&ring));
            ring
        });
        let max_memory = match self.max_memory {
            0 => cx.budget / 2,
            bytes => bytes.min(cx.budget),
        };
        if self.max_memory > max_memory {
            tracing::warn!(
                processor = %cx.id,
                max_memory = self.max_memory,
                budget = cx.budget,
                "max_memory exceeds the budget of the process; the budget applies"
            );
        }
        let max_memory = to_usize(max_memory);
        let share = (max_memory / count).max(to_usize(LEAST_MEMORY));
        stats.memory_limit.set((share * count) as u64);
        let (kept, dropped) = self.remembered(max_memory);
        Settings {
            program,
            epoch: Instant::now(),
            decision_wait: self.decision_wait.0,
            after_root: Some(self.decision_wait_after_root_received.0)
                .filter(|wait| !wait.is_zero()),
            num_traces: self.num_traces.div_ceil(count),
            max_memory: share,
            lent: Arc::default(),
            max_lent: max_memory as u64,
            owed: Arc::default(),
            max_trace_bytes: self.maximum_trace_size_bytes,
            stops_at_first: self.sample_on_first_match,
            is_span_ingest: self.sampling_strategy == Strategy::SpanIngest,
            drops_pending: self.drop_pending_traces_on_shutdown,
            blocks: self.block_on_overflow,
            kept_remembered: kept,
            dropped_remembered: dropped,
            remembered_bytes: (most_kept_bytes(kept) + most_dropped_bytes(dropped)) / count,
            weights: Weights {
                sample_rate: self.weights.sample_rate.unwrap_or(cx.wants_weights),
                tracestate: self.weights.tracestate.unwrap_or(cx.wants_weights),
            },
            records_policy: self.record_policy,
            is_dry_run: self.dry_run,
            decisions,
            stats,
        }
    }
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod weighing;
