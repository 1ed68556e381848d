//! Counters of a tail sampler, all workers together. They are added to once per tick or payload.

use super::{
    Number,
    decisions::{Trigger, Vote},
    histogram::{self, Histogram},
};

/// Counters of one processor in one pipeline.
#[derive(Debug)]
pub struct TailSamplingStats {
    /// Component id.
    pub id: String,
    /// Pipeline id.
    pub pipeline: String,
    /// Each policy, in the order in which they are asked.
    pub policies: Vec<PolicyStats>,
    /// Traces kept, not kept, and dropped by a policy.
    pub sampled: Number,
    /// See `sampled`.
    pub not_sampled: Number,
    /// See `sampled`.
    pub dropped: Number,
    /// Traces that began.
    pub new_traces: Number,
    /// Traces that wait.
    pub pending: Number,
    /// Bytes held for them, tables included.
    pub memory: Number,
    /// The most that may be held.
    pub memory_limit: Number,
    /// Decisions by what caused them, indexed by `Trigger as usize`.
    pub triggers: [Number; Trigger::ALL.len()],
    /// Late spans of kept traces.
    pub late_kept: Number,
    /// Late spans of traces that were not kept.
    pub late_dropped: Number,
    /// Spans whose `tracestate` cannot be read.
    pub unparseable: Number,
    /// Seconds between a decision and the spans that came after it; one value for each run of
    /// spans.
    pub late_seconds: Histogram,
    /// Milliseconds that a tick took.
    pub tick_millis: Histogram,
}

/// Counters of one policy: traces by vote.
#[derive(Debug)]
pub struct PolicyStats {
    /// Its name.
    pub name: String,
    /// Indexed by `Vote as usize`.
    pub votes: [Number; 5],
    /// Spans of the traces that it kept as the first that voted so.
    pub spans: Number,
}

impl PolicyStats {
    /// Traces with a vote.
    pub fn voted(&self, vote: Vote) -> u64 {
        self.votes[vote as usize].read()
    }
}

impl TailSamplingStats {
    /// All zero.
    pub fn new(id: &str, pipeline: &str, policies: &[String]) -> Self {
        let policy = |name: &String| PolicyStats {
            name: name.clone(),
            votes: Default::default(),
            spans: Number::default(),
        };
        TailSamplingStats {
            id: id.to_owned(),
            pipeline: pipeline.to_owned(),
            policies: policies.iter().map(policy).collect(),
            sampled: Number::default(),
            not_sampled: Number::default(),
            dropped: Number::default(),
            new_traces: Number::default(),
            pending: Number::default(),
            memory: Number::default(),
            memory_limit: Number::default(),
            triggers: Default::default(),
            late_kept: Number::default(),
            late_dropped: Number::default(),
            unparseable: Number::default(),
            late_seconds: Histogram::new(histogram::SECONDS),
            tick_millis: Histogram::new(histogram::MILLISECONDS),
        }
    }
}
