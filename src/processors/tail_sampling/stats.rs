//! Counters of a tail sampler, all workers together. They are added to once per tick or payload.

use crate::{
    component::BuildContext,
    telemetry::{
        Counter, Desc, Detail, Gauge, Histogram, Meter,
        decisions::{Trigger, Vote},
        histogram,
    },
};

const NEW_TRACES: Desc = Desc::new(
    "otelcol_processor_tail_sampling_new_trace_id_received",
    "{trace}",
    "Traces that began",
);
const PENDING: Desc = Desc::new(
    "otelcol_processor_tail_sampling_sampling_traces_on_memory",
    "{trace}",
    "Traces that wait",
);
const UNPARSEABLE: Desc = Desc::new(
    "otelcol_processor_tail_sampling_count_spans_with_unparseable_tracestate",
    "{span}",
    "Kept spans whose tracestate cannot be read",
);
const TOO_LARGE: Desc = Desc::new(
    "otelcol_processor_tail_sampling_traces_dropped_too_large",
    "{trace}",
    "Traces above the size limit",
);
const MEMORY: Desc =
    Desc::new("skep_tail_sampling_memory_bytes", "By", "Bytes of waiting spans and tables");
const MEMORY_LIMIT: Desc =
    Desc::new("skep_tail_sampling_memory_limit_bytes", "By", "The most that they may take");
const DECISIONS: Desc = Desc::new(
    "otelcol_processor_tail_sampling_global_count_traces_sampled",
    "{trace}",
    "Decisions",
);
const TRIGGERS: Desc =
    Desc::new("skep_tail_sampling_decisions", "{trace}", "Decisions by what caused them");
const VOTES: Desc = Desc::new(
    "otelcol_processor_tail_sampling_count_traces_sampled",
    "{trace}",
    "Votes of each policy",
);
const ERRORS: Desc = Desc::new(
    "otelcol_processor_tail_sampling_sampling_policy_evaluation_error",
    "{error}",
    "Evaluations that went wrong",
);
const SPANS: Desc = Desc::new(
    "otelcol_processor_tail_sampling_count_spans_sampled",
    "{span}",
    "Spans of the traces that each policy was the first to sample",
);
const LATE: Desc = Desc::new(
    "otelcol_processor_tail_sampling_early_releases_from_cache_decision",
    "{span}",
    "Late spans that followed a remembered decision",
);
const LATE_AGE: Desc = Desc::new(
    "otelcol_processor_tail_sampling_sampling_late_span_age",
    "s",
    "Seconds from a decision to late spans",
)
.at(Detail::Normal);
const TICK: Desc = Desc::new(
    "otelcol_processor_tail_sampling_sampling_decision_timer_latency",
    "ms",
    "Milliseconds that ticks took",
)
.at(Detail::Normal);

/// Counters of one processor in one pipeline.
#[derive(Debug)]
pub(super) struct TailSamplingStats {
    /// Each policy, in the order in which they are asked.
    pub(super) policies: Vec<PolicyStats>,
    /// Traces kept, not kept, and dropped by a policy.
    pub(super) sampled: Counter,
    /// See `sampled`.
    pub(super) not_sampled: Counter,
    /// See `sampled`.
    pub(super) dropped: Counter,
    /// Traces that began.
    pub(super) new_traces: Counter,
    /// Traces that wait.
    pub(super) pending: Gauge,
    /// Bytes held for them, tables included.
    pub(super) memory: Gauge,
    /// The most that may be held.
    pub(super) memory_limit: Gauge,
    /// Decisions by what caused them, indexed by `Trigger as usize`.
    pub(super) triggers: [Counter; Trigger::ALL.len()],
    /// Traces above the size limit.
    pub(super) too_large: Counter,
    /// Late spans of kept traces.
    pub(super) late_kept: Counter,
    /// Late spans of traces that were not kept.
    pub(super) late_dropped: Counter,
    /// Spans whose `tracestate` cannot be read.
    pub(super) unparseable: Counter,
    /// Seconds between a decision and the spans that came after it; one value for each run of
    /// spans.
    pub(super) late_seconds: Histogram,
    /// Milliseconds that a tick took.
    pub(super) tick_millis: Histogram,
}

/// Counters of one policy: traces by vote.
#[derive(Debug)]
pub(super) struct PolicyStats {
    /// Indexed by `Vote as usize`.
    pub(super) votes: [Counter; 5],
    /// Spans of the traces that it kept as the first that voted so.
    pub(super) spans: Counter,
}

impl PolicyStats {
    fn new(meter: &Meter, policy: &str) -> Self {
        let vote = |sampled, vote: Vote| {
            let labels = [("sampled", sampled), ("decision", vote.name()), ("policy", policy)];
            meter.counter(&VOTES, &labels)
        };
        let not_asked = Counter::default();
        PolicyStats {
            votes: [
                not_asked,
                vote("true", Vote::Sampled),
                vote("false", Vote::NotSampled),
                vote("false", Vote::Dropped),
                meter.counter(&ERRORS, &[("policy", policy)]),
            ],
            spans: meter.counter(&SPANS, &[("sampled", "true"), ("policy", policy)]),
        }
    }
}

impl TailSamplingStats {
    pub(super) fn new(cx: &BuildContext, policies: &[String]) -> Self {
        let meter = cx.metrics("processor").with("pipeline", &cx.pipeline);
        let decided = |sampled, decision| {
            meter.counter(&DECISIONS, &[("sampled", sampled), ("decision", decision)])
        };
        let late = |sampled| meter.counter(&LATE, &[("sampled", sampled)]);
        let trigger = |trigger: Trigger| meter.counter(&TRIGGERS, &[("reason", trigger.name())]);
        let policy = |name: &String| PolicyStats::new(&meter, name);
        TailSamplingStats {
            policies: policies.iter().map(policy).collect(),
            sampled: decided("true", "sampled"),
            not_sampled: decided("false", "not_sampled"),
            dropped: decided("false", "dropped"),
            new_traces: meter.counter(&NEW_TRACES, &[]),
            pending: meter.gauge(&PENDING, &[]),
            memory: meter.gauge(&MEMORY, &[]),
            memory_limit: meter.gauge(&MEMORY_LIMIT, &[]),
            triggers: Trigger::ALL.map(trigger),
            too_large: meter.counter(&TOO_LARGE, &[]),
            late_kept: late("true"),
            late_dropped: late("false"),
            unparseable: meter.counter(&UNPARSEABLE, &[]),
            late_seconds: meter.histogram(&LATE_AGE, histogram::SECONDS, &[]),
            tick_millis: meter.histogram(&TICK, histogram::MILLISECONDS, &[]),
        }
    }
}
