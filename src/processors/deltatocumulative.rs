//! Adds up deltas to cumulative sums and histograms.
//!
//! ```yaml
//! delta_to_cumulative:
//!   max_stale: 5m
//!   max_streams: 100000
//! ```
//!
//! Delta sums, histograms and exponential histograms are added up by series; everything else goes
//! on as it is. The sum of a series begins where its first delta did. A delta that is not newer
//! than the last one, or that began before the first one, is dropped. Exponential histograms are
//! brought to the lower scale of the two, and to one at which they have at most 160 buckets on each
//! side. A histogram with other bounds than before starts anew.
//!
//! Backends such as Prometheus need it where applications send deltas, or after a connector that
//! counts.
//!
//! **State.** The sum of each series is in memory, which counts as memory of payloads. A series
//! that is silent for `max_stale` is forgotten. New series above `max_streams`, or for which there
//! is no memory, are dropped. All metrics of a pipeline go through one worker; a restart begins
//! with new sums.
//!
//! Differs from the Collector:
//!
//! - `max_streams` is limited by default, to a million.

use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    editing::walking::{Left, Pass, count, pass, reason},
    series::{
        Identities, Owners, Remembered, Series, Table,
        value::{PointValue, has_no_value},
    },
};
use crate::{
    component::{BuildContext, Entry, Output, Partition, Processor, ProcessorConfig, StartError},
    config::{Interval, Node, Problems},
    otlp::{Payload, Signal, payload::Permit, wire::put_bytes},
    ottl::{
        Context, Fate, Item, Tier, content,
        message::{data, fields, number, put_number, replace_data},
    },
    telemetry::{Counter, Desc, Gauge},
};

// The Collector has the same numbers.
const POINTS: Desc = Desc::new(
    "otelcol_deltatocumulative_datapoints",
    "{datapoint}",
    "Deltas, by what was wrong with them",
);
const TRACKED: Desc =
    Desc::new("otelcol_deltatocumulative_streams_tracked", "{stream}", "Series in memory");
const LIMIT: Desc =
    Desc::new("otelcol_deltatocumulative_streams_limit", "{stream}", "Most series in memory");
const MAX_STALE: Desc = Desc::new(
    "otelcol_deltatocumulative_streams_max_stale",
    "s",
    "Seconds of silence after which a series is forgotten",
);

/// Adds up deltas.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Series that are silent for so long are forgotten.
    pub max_stale: Interval,
    /// Most series.
    pub max_streams: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config { max_stale: Interval(Duration::from_mins(5)), max_streams: 1_000_000 }
    }
}

pub(super) const ENTRY: Entry<dyn ProcessorConfig> = Entry::of::<Config>(
    "delta_to_cumulative",
    &["deltatocumulative"],
    &[Signal::Metrics],
    include_str!("deltatocumulative.rs"),
);

impl ProcessorConfig for Config {
    fn partition(&self) -> Partition {
        Partition::Single
    }

    fn validate(&self, at: &Node, problems: &mut Problems) {
        if self.max_stale.0.is_zero() {
            problems
                .error(at.at("max_stale"), "`max_stale` must be longer than 0")
                .help("write how long a series may be silent, such as `5m`");
        }
        if self.max_streams == 0 {
            problems
                .error(at.at("max_streams"), "`max_streams` must be at least 1")
                .help("remove it: 1000000 is the default");
        }
    }

    fn build(&self, cx: &BuildContext) -> Result<Box<dyn Processor>, StartError> {
        let limit = usize::try_from(self.max_streams).unwrap_or(usize::MAX);
        let stats = Stats::new(cx);
        stats.limit.set(self.max_streams);
        stats.max_stale.set(self.max_stale.0.as_secs());
        Ok(Box::new(ToCumulative {
            owners: Owners::default(),
            identities: Identities::default(),
            table: Table::new(limit, Some(self.max_stale.0)),
            stats,
        }))
    }
}

/// What came of a delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Added = 0,
    OutOfOrder = 1,
    OlderStart = 2,
    Limit = 3,
    NoValue = 4,
}

/// The words of the Collector for what is wrong.
const ERRORS: [&str; 5] = ["", "delta.ErrOutOfOrder", "delta.ErrOlderStart", "limit", "no_value"];

#[derive(Debug)]
struct Stats {
    points: [Counter; 5],
    pending: [u64; 5],
    tracked: Gauge,
    limit: Gauge,
    max_stale: Gauge,
}

impl Stats {
    fn new(cx: &BuildContext) -> Self {
        let meter = cx.metrics("processor");
        Stats {
            points: ERRORS.map(|error| meter.counter(&POINTS, &[("error", error)])),
            pending: [0; 5],
            tracked: meter.gauge(&TRACKED, &[]),
            limit: meter.gauge(&LIMIT, &[]),
            max_stale: meter.gauge(&MAX_STALE, &[]),
        }
    }

    fn flush(&mut self, tracked: usize) {
        for (counter, pending) in self.points.iter().zip(std::mem::take(&mut self.pending)) {
            if pending > 0 {
                counter.add(pending);
            }
        }
        self.tracked.set(tracked as u64);
    }
}

/// The sum of a series.
#[derive(Debug, Clone)]
struct Sum {
    value: PointValue,
    start: u64,
    time: u64,
}

impl Remembered for Sum {
    fn bytes(&self) -> usize {
        self.value.bytes()
    }
}

struct ToCumulative {
    owners: Owners,
    identities: Identities,
    table: Table<Sum>,
    stats: Stats,
}

impl ToCumulative {
    fn metric(&mut self, item: &mut Item<'_>, now: Instant, payer: Option<&Permit>) -> Fate {
        let metric = item.bytes(Tier::Item);
        let Some((kind, data)) = data(metric) else { return Fate::Keep };
        if !matches!(kind, 7 | 9 | 10) || number(&data, 2) != 1 {
            return Fate::Keep;
        }
        let scope = self.owners.scope(&mut self.identities, item);
        let owner = self.identities.metric(scope, metric, (kind, &data));
        let mut new = Vec::with_capacity(data.len() + 16);
        let (mut points, mut kept) = (0, 0);
        let mut out = Vec::new();
        for field in fields(&data) {
            if let Some(point) = content(&field, 1) {
                points += 1;
                let series = self.identities.point(owner, kind, point, 0);
                out.clear();
                let verdict = self.point(series, (kind, point), (now, payer), &mut out);
                self.stats.pending[verdict as usize] += 1;
                if verdict == Verdict::Added {
                    kept += 1;
                    put_bytes(&mut new, 1, &out);
                }
            } else if field.number != 2 {
                new.extend_from_slice(field.whole);
            }
        }
        match (points, kept) {
            (0, _) => return Fate::Keep,
            (_, 0) => return Fate::Drop,
            _ => {}
        }
        put_number(&mut new, 2, 2);
        let mut converted = Vec::new();
        replace_data(metric, kind, &new, &mut converted);
        item.put(Tier::Item, &converted);
        Fate::Keep
    }

    /// Adds a delta to its series and writes the sum.
    fn point(
        &mut self,
        series: Series,
        (kind, point): (u32, &[u8]),
        (now, payer): (Instant, Option<&Permit>),
        out: &mut Vec<u8>,
    ) -> Verdict {
        if has_no_value(kind, point) {
            return Verdict::NoValue;
        }
        let Some(value) = PointValue::read(kind, point) else { return Verdict::NoValue };
        let (start, time) = (number(point, 2), number(point, 3));
        let sum = match self.table.hear(series, now) {
            Some(sum) if start < sum.start => return Verdict::OlderStart,
            Some(sum) if time <= sum.time => return Verdict::OutOfOrder,
            Some(sum) => {
                let mut total = sum.clone();
                total.value.add(value);
                Sum { time, ..total }
            }
            None => Sum { value: value.bounded(), start, time },
        };
        sum.value.write(point, sum.start, out);
        match self.table.put(series, sum, now, payer) {
            Ok(()) => Verdict::Added,
            Err(_) => Verdict::Limit,
        }
    }
}

impl Processor for ToCumulative {
    fn process(&mut self, mut payload: Payload, out: &mut Output) {
        let (before, now) = (payload.items, out.now);
        let payer = payload.permits.first().cloned();
        let how = Pass { context: Context::Metric, prunes: false };
        let result =
            pass(how, &mut payload, &mut |item| Ok(self.metric(item, now, payer.as_ref())));
        drop(payer);
        self.stats.flush(self.table.len());
        match result {
            Err(stop) => return out.refuse(payload, reason(&stop)),
            Ok(Left::Nothing) => return out.filter(payload),
            Ok(Left::Same) => {}
            Ok(Left::Changed) => {
                payload.items = count(&payload);
                out.count_filtered(before.saturating_sub(payload.items));
            }
        }
        self.table.sweep(now);
        out.emit(payload);
    }

    fn next_tick(&self) -> Option<Instant> {
        self.table.next_sweep()
    }

    fn tick(&mut self, out: &mut Output) {
        self.table.sweep(out.now);
        self.stats.flush(self.table.len());
    }
}

#[cfg(test)]
mod tests;
