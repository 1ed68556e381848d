//! What all workers of one processor share, and what each counts by itself between two looks.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use super::{compile::Program, mark::Weights, stats::TailSamplingStats};
use crate::telemetry::decisions::{Decisions, Trigger, Vote};

/// Settings, read by all.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the configuration")]
pub(super) struct Settings {
    pub(super) program: Program,
    /// Ticks are counted from here.
    pub(super) epoch: Instant,
    pub(super) decision_wait: Duration,
    pub(super) after_root: Option<Duration>,
    /// Traces of one worker that may wait; 0: no limit.
    pub(super) num_traces: usize,
    /// Bytes of one worker.
    pub(super) max_memory: usize,
    /// Bytes of all requests that are kept as they came in, and what they may be.
    pub(super) lent: Arc<AtomicU64>,
    pub(super) max_lent: u64,
    /// Bytes of readings on their way that are a debt.
    pub(super) owed: Arc<AtomicU64>,
    /// Bytes of a trace; 0: no limit.
    pub(super) max_trace_bytes: u64,
    pub(super) stops_at_first: bool,
    pub(super) is_span_ingest: bool,
    pub(super) drops_pending: bool,
    pub(super) blocks: bool,
    /// How many decisions all workers together remember.
    pub(super) kept_remembered: usize,
    pub(super) dropped_remembered: usize,
    /// Bytes that one worker's part of these takes when it is full.
    pub(super) remembered_bytes: usize,
    pub(super) weights: Weights,
    pub(super) records_policy: bool,
    pub(super) is_dry_run: bool,
    /// `None` if decisions are not explained.
    pub(super) decisions: Option<Arc<Decisions>>,
    pub(super) stats: TailSamplingStats,
}

/// Counters of one worker, plain numbers until they are shown.
#[derive(Debug, Default)]
pub(super) struct Local {
    pub(super) new_traces: u64,
    pub(super) late_kept: u64,
    pub(super) late_dropped: u64,
    pub(super) unparseable: u64,
    pub(super) sampled: u64,
    pub(super) not_sampled: u64,
    pub(super) dropped: u64,
    pub(super) triggers: [u64; Trigger::ALL.len()],
    /// By policy and vote.
    pub(super) votes: Vec<[u64; 5]>,
    /// By policy.
    pub(super) spans: Vec<u64>,
    is_changed: bool,
}

impl Local {
    pub(super) fn new(settings: &Settings) -> Self {
        let policies = settings.program.rules.len();
        Local { votes: vec![[0; 5]; policies], spans: vec![0; policies], ..Local::default() }
    }

    /// Counts what the policies said of a trace.
    pub(super) fn count_votes(&mut self, votes: &[Vote]) {
        self.is_changed = true;
        for (counts, vote) in self.votes.iter_mut().zip(votes) {
            counts[*vote as usize] += 1;
        }
    }

    /// Adds everything to `stats`, and sets its gauges from what they had of this worker before.
    pub(super) fn flush(&mut self, stats: &TailSamplingStats, before: (u64, u64), now: (u64, u64)) {
        let take = std::mem::take::<u64>;
        for (number, gauge) in [(before.0, now.0), (before.1, now.1)]
            .into_iter()
            .zip([&stats.pending, &stats.memory])
            .filter(|((before, now), _)| before != now)
            .map(|((before, now), gauge)| (now.wrapping_sub(before), gauge))
        {
            gauge.add(number);
        }
        for (count, number) in [
            (&mut self.new_traces, &stats.new_traces),
            (&mut self.late_kept, &stats.late_kept),
            (&mut self.late_dropped, &stats.late_dropped),
            (&mut self.unparseable, &stats.unparseable),
        ] {
            if *count > 0 {
                number.add(take(count));
            }
        }
        if !std::mem::take(&mut self.is_changed) {
            return;
        }
        stats.sampled.add(take(&mut self.sampled));
        stats.not_sampled.add(take(&mut self.not_sampled));
        stats.dropped.add(take(&mut self.dropped));
        stats.too_large.add(self.triggers[Trigger::TooLarge as usize]);
        for (count, number) in self.triggers.iter_mut().zip(&stats.triggers) {
            number.add(take(count));
        }
        for ((votes, spans), policy) in
            self.votes.iter_mut().zip(&mut self.spans).zip(&stats.policies)
        {
            for (count, number) in votes.iter_mut().zip(&policy.votes) {
                number.add(take(count));
            }
            policy.spans.add(take(spans));
        }
    }
}
