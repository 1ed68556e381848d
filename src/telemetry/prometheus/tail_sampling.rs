//! Families of tail samplers, in the Collector's names.

use std::sync::Arc;

use super::{Detail, Labels, Sums, Type, Writer};
use crate::telemetry::{
    Number, Telemetry,
    decisions::{Trigger, Vote},
    tail_sampling::TailSamplingStats,
};

const PREFIX: &str = "otelcol_processor_tail_sampling_";

type Simple = (&'static str, Type, &'static str, fn(&TailSamplingStats) -> &Number);

const SIMPLE: [Simple; 6] = [
    ("new_trace_id_received", Type::Counter, "Traces that began", |s| &s.new_traces),
    ("sampling_traces_on_memory", Type::Gauge, "Traces that wait", |s| &s.pending),
    (
        "count_spans_with_unparseable_tracestate",
        Type::Counter,
        "Kept spans whose tracestate cannot be read",
        |s| &s.unparseable,
    ),
    ("traces_dropped_too_large", Type::Counter, "Traces above the size limit", |s| {
        &s.triggers[Trigger::TooLarge as usize]
    }),
    ("skep_memory_bytes", Type::Gauge, "Bytes of waiting spans and tables", |s| &s.memory),
    ("skep_memory_limit_bytes", Type::Gauge, "The most that they may take", |s| &s.memory_limit),
];

pub(super) fn families(page: &mut Writer, telemetry: &Telemetry, detail: Detail) {
    let all = telemetry.tail_samplers();
    for (name, kind, help, number) in SIMPLE {
        let name = match name.strip_prefix("skep_") {
            Some(own) => format!("skep_tail_sampling_{own}"),
            None => format!("{PREFIX}{name}"),
        };
        page.numbers(&name, kind, help, sums(&all, |s, add| add(Vec::new(), number(s).read())));
    }
    let name = format!("{PREFIX}global_count_traces_sampled");
    let numbers = sums(&all, |s, add| {
        add(decided(true, "sampled"), s.sampled.read());
        add(decided(false, "not_sampled"), s.not_sampled.read());
        add(decided(false, "dropped"), s.dropped.read());
    });
    page.counters(&name, "Decisions", numbers);
    policies(page, &all);
    let name = format!("{PREFIX}early_releases_from_cache_decision");
    let numbers = sums(&all, |s, add| {
        add(vec![("sampled", "true".to_owned())], s.late_kept.read());
        add(vec![("sampled", "false".to_owned())], s.late_dropped.read());
    });
    page.counters(&name, "Late spans that followed a remembered decision", numbers);
    let numbers = sums(&all, |s, add| {
        for (trigger, number) in Trigger::ALL.into_iter().zip(&s.triggers) {
            add(vec![("reason", trigger.name().to_owned())], number.read());
        }
    });
    page.counters("skep_tail_sampling_decisions", "Decisions by what caused them", numbers);
    if detail >= Detail::Normal {
        let name = format!("{PREFIX}sampling_decision_timer_latency");
        let one = |s: &Arc<TailSamplingStats>| (labels(s), s.tick_millis.read());
        page.histograms(&name, "Milliseconds that ticks took", all.iter().map(one));
        let name = format!("{PREFIX}sampling_late_span_age");
        let one = |s: &Arc<TailSamplingStats>| (labels(s), s.late_seconds.read());
        page.histograms(&name, "Seconds from a decision to late spans", all.iter().map(one));
    }
}

fn policies(page: &mut Writer, all: &[Arc<TailSamplingStats>]) {
    let policy = |name: &str, mut labels: Labels| {
        labels.push(("policy", name.to_owned()));
        labels
    };
    let numbers = sums(all, |s, add| {
        for one in &s.policies {
            for (is_sampled, vote) in
                [(true, Vote::Sampled), (false, Vote::NotSampled), (false, Vote::Dropped)]
            {
                add(policy(&one.name, decided(is_sampled, vote.name())), one.voted(vote));
            }
        }
    });
    page.counters(&format!("{PREFIX}count_traces_sampled"), "Votes of each policy", numbers);
    let numbers = sums(all, |s, add| {
        for one in &s.policies {
            add(policy(&one.name, Vec::new()), one.voted(Vote::Error));
        }
    });
    let name = format!("{PREFIX}sampling_policy_evaluation_error");
    page.counters(&name, "Evaluations that went wrong", numbers);
    let numbers = sums(all, |s, add| {
        for one in &s.policies {
            add(policy(&one.name, vec![("sampled", "true".to_owned())]), one.spans.read());
        }
    });
    let help = "Spans of the traces that each policy was the first to sample";
    page.counters(&format!("{PREFIX}count_spans_sampled"), help, numbers);
}

fn decided(is_sampled: bool, decision: &str) -> Labels {
    vec![("sampled", is_sampled.to_string()), ("decision", decision.to_owned())]
}

fn labels(stats: &Arc<TailSamplingStats>) -> Labels {
    vec![("processor", stats.id.clone()), ("pipeline", stats.pipeline.clone())]
}

/// The samples of a family, each with the labels of its processor.
fn sums(
    all: &[Arc<TailSamplingStats>],
    show: impl Fn(&TailSamplingStats, &mut dyn FnMut(Labels, u64)),
) -> Sums {
    let mut sums = Sums::new();
    for stats in all {
        show(stats, &mut |more, value| {
            let mut labels = labels(stats);
            labels.extend(more);
            *sums.entry(labels).or_default() += value;
        });
    }
    sums
}
