//! Keeps a share of the spans or log records, chosen so that a trace stays whole.
//!
//! ```yaml
//! probabilistic_sampler:
//!   sampling_percentage: 15
//! ```
//!
//! `mode: hash_seed` (the default) compares a hash of the trace id with 16 384 buckets; collectors
//! with the same seed keep the same traces. `proportional` keeps the percentage of what comes in,
//! `equalizing` the percentage of what there was before anybody sampled: both compare 56 random
//! bits of the trace (`rv` of `tracestate`, else the last seven bytes of the trace id) with a
//! threshold. Every mode writes the threshold as `ot=th:...` into `tracestate`, or into
//! `sampling.threshold` of log records, so that a backend knows how many each kept item represents.
//!
//! A span whose attribute `sampling.priority` is 0 is dropped, one above 0 is kept. For log records
//! `sampling_priority` names an attribute with a percentage that replaces `sampling_percentage` for
//! that record, in every mode: 0 drops it, 100 and above keep it.
//!
//! For some items no decision is possible: they have no randomness (no trace id, and no value of
//! `from_attribute`), an invalid `tracestate`, or a threshold by which an earlier sampler should
//! have dropped them. With `fail_closed: true` they are dropped, unless the percentage is 100;
//! otherwise they are kept without a threshold, unless the percentage is 0. The first such drop is
//! logged, and all are counted by reason in `skep_processor_undecided_items`.
//!
//! Differs from the Collector:
//!
//! - Items that are kept without a decision get no threshold; the Collector writes `th:0`, which
//!   says that nothing was dropped.
//! - 100 percent keeps everything, 0 percent nothing, also where no decision is possible.
//! - `from_attribute` also counts in `proportional` and `equalizing`, for records without a trace
//!   id.
//! - A record of priority 0 is dropped, one above 100 is kept; the Collector takes both for records
//!   without a priority. A record without randomness is subject to `fail_closed` unless its
//!   priority is 0, 100 or above.

mod sampler;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::sampler::{Marker, Sampler};
use super::editing::edit_segments;
use crate::{
    component::{BuildContext, Entry, Output, Partition, Processor, ProcessorConfig, StartError},
    config::{Node, Problems},
    otlp::{
        Payload, Signal,
        filter::{self, Left},
        payload::Body,
        purse::Purse,
        splice,
    },
    telemetry::{Counter, Desc, Meter},
};

// The Collector counts items here, for traces under a name that says traces.
const SAMPLED_TRACES: Desc = Desc::new(
    "otelcol_processor_probabilistic_sampler_count_traces_sampled",
    "{item}",
    "Items kept and left out",
);
const SAMPLED_LOGS: Desc = Desc::new(
    "otelcol_processor_probabilistic_sampler_count_logs_sampled",
    "{item}",
    "Items kept and left out",
);
const UNDECIDED: Desc = Desc::new(
    "skep_processor_undecided_items",
    "{item}",
    "Items dropped because nothing could be decided (`fail_closed`)",
);

/// Why a sampler cannot decide upon an item.
const UNDECIDED_REASONS: [&str; 2] = ["no_randomness", "inconsistent_threshold"];

/// Samples by probability.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Share of items that are kept, in percent; 100 and above keep all.
    pub sampling_percentage: f32,
    /// How it is decided.
    pub mode: Mode,
    /// Seed of the hash; collectors that sample one after another need different ones.
    pub hash_seed: u32,
    /// Drop items that cannot be decided upon, instead of keeping them.
    pub fail_closed: bool,
    /// Hexadecimal digits of thresholds, 1 to 14.
    pub sampling_precision: u32,
    /// What of log records is hashed.
    pub attribute_source: Source,
    /// Attribute of log records that is hashed, with `attribute_source: record` or where a record
    /// has no trace id.
    pub from_attribute: String,
    /// Attribute of log records with the percentage that replaces `sampling_percentage` for them.
    pub sampling_priority: String,
}

/// `mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// By a hash of the trace id, in 16 384 steps.
    #[default]
    HashSeed,
    /// The percentage of what there was at first.
    Equalizing,
    /// The percentage of what comes in.
    Proportional,
}

/// `attribute_source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
pub enum Source {
    /// The trace id.
    #[default]
    #[serde(rename = "traceID")]
    TraceId,
    /// The attribute `from_attribute`.
    #[serde(rename = "record")]
    Record,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            sampling_percentage: 0.0,
            mode: Mode::HashSeed,
            hash_seed: 0,
            fail_closed: true,
            sampling_precision: 4,
            attribute_source: Source::TraceId,
            from_attribute: String::new(),
            sampling_priority: String::new(),
        }
    }
}

pub(super) const ENTRY: Entry<dyn ProcessorConfig> = Entry::of::<Config>(
    "probabilistic_sampler",
    &[],
    &[Signal::Traces, Signal::Logs],
    include_str!("probabilistic_sampler.rs"),
);

impl ProcessorConfig for Config {
    fn partition(&self) -> Partition {
        Partition::Any
    }

    fn validate(&self, at: &Node, problems: &mut Problems) {
        let percentage = self.sampling_percentage;
        if !percentage.is_finite() || percentage < 0.0 {
            problems
                .error(at.at("sampling_percentage"), "sampling percentage cannot be negative")
                .help("write a number from 0 (nothing) to 100 (everything)");
        } else if percentage == 0.0 {
            problems
                .warning(at.at("sampling_percentage"), "0 percent: everything is dropped")
                .help("write how many of a hundred traces are to be kept");
        }
        if !(1..=14).contains(&self.sampling_precision) {
            problems
                .error(at.at("sampling_precision"), "sampling precision must be from 1 to 14")
                .help("write 4: that many hexadecimal digits are within a ten-thousandth");
        }
        if self.attribute_source == Source::Record && self.from_attribute.is_empty() {
            problems
                .error(at.at("attribute_source"), "`record` needs the attribute to look at")
                .help("add `from_attribute: <key>`");
        }
    }

    fn build(&self, cx: &BuildContext) -> Result<Box<dyn Processor>, StartError> {
        let sampler = Sampler::new(self, cx.signal);
        let (id, pipeline) = (cx.id.to_string(), cx.pipeline.clone());
        let stats = Stats::new(&pipeline, cx.signal, &cx.metrics("processor"));
        Ok(Box::new(Probabilistic { id, pipeline, sampler, stats }))
    }
}

struct Probabilistic {
    id: String,
    pipeline: String,
    sampler: Sampler,
    stats: Stats,
}

struct Stats {
    /// Items that went on.
    kept: Counter,
    /// Items that were left out.
    left_out: Counter,
    /// Of those, items that could not be decided upon, for each reason of [`UNDECIDED_REASONS`].
    undecided: [Counter; 2],
}

impl Stats {
    fn new(pipeline: &str, signal: Signal, meter: &Meter) -> Self {
        let desc = if signal == Signal::Traces { &SAMPLED_TRACES } else { &SAMPLED_LOGS };
        let sampled = |is_so| meter.counter(desc, &[("sampled", is_so)]);
        let undecided =
            |reason| meter.counter(&UNDECIDED, &[("pipeline", pipeline), ("reason", reason)]);
        Stats {
            kept: sampled("true"),
            left_out: sampled("false"),
            undecided: UNDECIDED_REASONS.map(undecided),
        }
    }
}

impl Probabilistic {
    /// Counts what was dropped only because it could not be decided upon; says so the first time.
    fn note(&self, undecided: [u64; 2]) {
        if undecided == [0; 2] {
            return;
        }
        let counters = &self.stats.undecided;
        if counters.iter().all(|counter| counter.read() == 0) {
            tracing::warn!(
                component = self.id,
                pipeline = self.pipeline,
                no_randomness = undecided[0],
                inconsistent_threshold = undecided[1],
                "items that cannot be sampled are dropped; to keep them set `fail_closed: false`, \
                 or name an attribute to hash with `from_attribute` where records have no trace id"
            );
        }
        for (counter, items) in counters.iter().zip(undecided) {
            counter.add(items);
        }
    }
}

impl Processor for Probabilistic {
    fn process(&mut self, mut payload: Payload, out: &mut Output) {
        let mut purse = Purse::for_copy_of(&payload);
        let mut body = Body::new();
        let (mut items, mut is_whole) = (0, true);
        let mut undecided = [0; 2];
        let mut keeps = |item: &[u8]| {
            let decision = self.sampler.decide(item);
            if let Some(why) = decision.unfit {
                undecided[why as usize] += 1;
            }
            decision.is_kept
        };
        for segment in &payload.body {
            match filter::retain_items(segment, &mut purse, &mut keeps) {
                Ok(Left::Nothing) => {}
                Ok(Left::All(all)) => {
                    items += all;
                    is_whole = false;
                    body.push(segment.clone());
                }
                Ok(Left::Some { body: some, items: kept }) => {
                    items += kept;
                    body.push(some.into());
                }
                Err(reason) => return out.refuse(payload, reason),
            }
        }
        self.note(undecided);
        if items == 0 && payload.items > 0 {
            self.stats.left_out.add(payload.items);
            return out.filter(payload);
        }
        if items < payload.items {
            payload.exchange_body(body, purse.into_permits(), is_whole);
        }
        let left_out = payload.items.saturating_sub(items);
        out.count_filtered(left_out);
        self.stats.left_out.add(left_out);
        payload.items = items;
        let growth = usize::try_from(items).unwrap_or(usize::MAX);
        let growth = growth.saturating_mul(self.sampler.growth());
        let signal = payload.signal;
        let is_emitted = edit_segments(payload, growth, out, |segment, growth, purse| {
            splice::edit_items(signal, segment, growth, purse, &mut Marker(&self.sampler))
        });
        if is_emitted {
            self.stats.kept.add(items);
        }
    }
}

#[cfg(test)]
mod tests;
