//! Makes deltas of cumulative sums and histograms: what was added since the point before.
//!
//! ```yaml
//! cumulative_to_delta:
//!   include:
//!     metrics: [system.network.io, http.server.request.duration]
//!     match_type: strict
//!   max_staleness: 10m
//! ```
//!
//! Monotonic cumulative sums, histograms and exponential histograms are converted, or those of them
//! that `include` matches and `exclude` does not; everything else goes on as it is. A delta begins
//! where the point before it ended. The first point of a series says what was added only if its
//! counting began while skep was there to see: with `initial_value: auto` it is kept if its start
//! time is after the start of the processor, and dropped otherwise; `keep` and `drop` decide
//! without looking. After a reset, when a value is less than before, counting goes on from the new
//! value, and nothing is sent for that point. Points that say that there is no value, and points
//! that are not newer than the last one, are dropped.
//!
//! ```yaml
//! cumulative_to_delta/sums:
//!   exclude: { metrics: ["^jvm\\."], match_type: regexp }
//!   include: { metric_types: [sum] }
//!   initial_value: drop
//! ```
//!
//! **State.** The last value of each series is in memory, which counts as memory of payloads. A
//! series that is silent for `max_staleness` is forgotten; a new one for which there is no memory
//! is dropped. All metrics of a pipeline go through one worker. `awsemf` converts by itself and
//! needs no deltas.
//!
//! Differs from the Collector:
//!
//! - A histogram whose count is less than before is dropped like a sum, not sent as it is.
//! - A point that is not newer than the last one is dropped.
//! - A histogram whose buckets have changed is counted and dropped without a line in the log.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use regex::bytes::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    editing::walking::{Left, Pass, count, pass, reason},
    series::{
        Identities, Owners, Remembered, Table,
        value::{PointValue, Unlike, has_no_value},
    },
};
use crate::{
    component::{BuildContext, Entry, Output, Partition, Processor, ProcessorConfig, StartError},
    config::{Interval, Node, Problems},
    otlp::{Payload, Signal, payload::Permit, wire::put_bytes},
    ottl::{
        Context, Fate, Item, Tier, content,
        message::{bytes, data, fields, number, put_number, replace_data},
        regex,
    },
    telemetry::{Counter, Desc, Gauge},
};

// The Collector has the same numbers.
const CONVERTED: Desc = Desc::new(
    "otelcol_cumulativetodelta_datapoints",
    "{datapoint}",
    "Data points of metrics that are converted",
);
const DROPPED: Desc = Desc::new(
    "otelcol_cumulativetodelta_datapoints_dropped",
    "{datapoint}",
    "Data points that were dropped, by reason",
);
const TRACKED: Desc =
    Desc::new("otelcol_cumulativetodelta_streams_tracked", "{stream}", "Series in memory");

/// Most series; each takes some 150 bytes, and its buckets.
const SERIES: usize = 1_000_000;

/// Makes deltas.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Only these metrics are converted.
    pub include: Metrics,
    /// These metrics are not converted, even where `include` matches too.
    pub exclude: Metrics,
    /// Series that are silent for so long are forgotten; 0: never.
    pub max_staleness: Interval,
    /// What happens to the first point of a series.
    pub initial_value: InitialValue,
}

/// A choice of metrics.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Names, or regular expressions, which match anywhere unless anchored.
    pub metrics: Vec<String>,
    /// How names are compared.
    pub match_type: Option<MatchType>,
    /// Kinds of metrics.
    pub metric_types: Vec<MetricType>,
}

/// `match_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MatchType {
    /// Whole names.
    Strict,
    /// Regular expressions.
    Regexp,
}

/// A kind of metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MetricType {
    /// Sums.
    Sum,
    /// Histograms with explicit bounds.
    Histogram,
    /// Exponential histograms.
    ExponentialHistogram,
}

impl MetricType {
    const ALL: [MetricType; 3] =
        [MetricType::Sum, MetricType::Histogram, MetricType::ExponentialHistogram];

    /// The kind of the data in a field.
    const fn of(kind: u32) -> Option<Self> {
        match kind {
            7 => Some(MetricType::Sum),
            9 => Some(MetricType::Histogram),
            10 => Some(MetricType::ExponentialHistogram),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            MetricType::Sum => "sum",
            MetricType::Histogram => "histogram",
            MetricType::ExponentialHistogram => "exponential_histogram",
        }
    }
}

/// `initial_value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum InitialValue {
    /// Kept if counting began after the start of the processor.
    #[default]
    Auto,
    /// Kept.
    Keep,
    /// Dropped.
    Drop,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            include: Metrics::default(),
            exclude: Metrics::default(),
            max_staleness: Interval(Duration::from_hours(1)),
            initial_value: InitialValue::Auto,
        }
    }
}

pub(super) const ENTRY: Entry<dyn ProcessorConfig> = Entry::of::<Config>(
    "cumulative_to_delta",
    &["cumulativetodelta"],
    &[Signal::Metrics],
    include_str!("cumulativetodelta.rs"),
);

impl Metrics {
    fn validate(&self, at: &Node, name: &str, problems: &mut Problems) {
        if self.metrics.is_empty() {
            return;
        }
        match self.match_type {
            None => {
                problems
                    .error(at.at(name), "the key `match_type` is missing")
                    .help("add `match_type: strict` or `match_type: regexp`");
            }
            Some(MatchType::Strict) => {}
            Some(MatchType::Regexp) => {
                for (i, pattern) in self.metrics.iter().enumerate() {
                    if let Err(words) = regex(pattern) {
                        problems.error(at.at(&format!("{name}::metrics::{i}")), words);
                    }
                }
            }
        }
    }

    fn names(&self) -> Result<Names, String> {
        let texts = self.metrics.iter();
        Ok(match self.match_type {
            Some(MatchType::Regexp) => {
                Names::Search(texts.map(|text| regex(text)).collect::<Result<_, _>>()?)
            }
            _ => Names::Whole(texts.map(|text| text.clone().into_bytes()).collect()),
        })
    }
}

/// Names to compare with.
#[derive(Debug)]
enum Names {
    Whole(Vec<Vec<u8>>),
    Search(Vec<Regex>),
}

impl Names {
    fn is_empty(&self) -> bool {
        match self {
            Names::Whole(names) => names.is_empty(),
            Names::Search(names) => names.is_empty(),
        }
    }

    fn matches(&self, name: &[u8]) -> bool {
        match self {
            Names::Whole(names) => names.iter().any(|known| known == name),
            Names::Search(names) => names.iter().any(|regex| regex.is_match(name)),
        }
    }
}

impl ProcessorConfig for Config {
    fn partition(&self) -> Partition {
        Partition::Single
    }

    fn validate(&self, at: &Node, problems: &mut Problems) {
        self.include.validate(at, "include", problems);
        self.exclude.validate(at, "exclude", problems);
    }

    fn build(&self, cx: &BuildContext) -> Result<Box<dyn Processor>, StartError> {
        let error = |message| StartError { component: format!("processor `{}`", cx.id), message };
        let stale = Some(self.max_staleness.0).filter(|stale| !stale.is_zero());
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Box::new(ToDelta {
            include: self.include.names().map_err(error)?,
            exclude: self.exclude.names().map_err(error)?,
            included: self.include.metric_types.clone(),
            excluded: self.exclude.metric_types.clone(),
            series: Series {
                initial: self.initial_value,
                started: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
                table: Table::new(SERIES, stale),
                identities: Identities::default(),
                stats: Stats::new(cx),
            },
            owners: Owners::default(),
        }))
    }
}

/// Why a point is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dropped {
    Initial = 0,
    Reset = 1,
    Buckets = 2,
    Late = 3,
    NoValue = 4,
    Limit = 5,
}

const REASONS: [&str; 6] = ["initial", "reset", "bucket_mismatch", "late", "no_value", "limit"];

#[derive(Debug)]
struct Stats {
    /// By kind of metric.
    converted: [Counter; 3],
    dropped: [[Counter; 6]; 3],
    tracked: Gauge,
    /// As yet uncounted.
    pending: ([u64; 3], [[u64; 6]; 3]),
}

impl Stats {
    fn new(cx: &BuildContext) -> Self {
        let meter = cx.metrics("processor");
        let converted =
            MetricType::ALL.map(|kind| meter.counter(&CONVERTED, &[("metric_type", kind.name())]));
        let dropped = MetricType::ALL.map(|kind| {
            REASONS.map(|reason| {
                meter.counter(&DROPPED, &[("metric_type", kind.name()), ("reason", reason)])
            })
        });
        let tracked = meter.gauge(&TRACKED, &[]);
        Stats { converted, dropped, tracked, pending: ([0; 3], [[0; 6]; 3]) }
    }

    fn flush(&mut self, tracked: usize) {
        let empty = ([0; 3], [[0; 6]; 3]);
        let (converted, dropped) = std::mem::replace(&mut self.pending, empty);
        for (counter, count) in self.converted.iter().zip(converted) {
            counter.add(count);
        }
        for (counter, count) in self.dropped.iter().flatten().zip(dropped.into_iter().flatten()) {
            if count > 0 {
                counter.add(count);
            }
        }
        self.tracked.set(tracked as u64);
    }
}

struct ToDelta {
    include: Names,
    exclude: Names,
    included: Vec<MetricType>,
    excluded: Vec<MetricType>,
    series: Series,
    owners: Owners,
}

/// The last value of a series.
#[derive(Debug)]
struct Last {
    value: PointValue,
    time: u64,
}

impl Remembered for Last {
    fn bytes(&self) -> usize {
        self.value.bytes()
    }
}

/// All series.
struct Series {
    initial: InitialValue,
    /// When the processor was made, in nanoseconds since 1970.
    started: u64,
    table: Table<Last>,
    identities: Identities,
    stats: Stats,
}

impl ToDelta {
    fn converts(&self, name: &[u8], kind: MetricType) -> bool {
        (self.include.is_empty() || self.include.matches(name))
            && (self.included.is_empty() || self.included.contains(&kind))
            && !self.exclude.matches(name)
            && !self.excluded.contains(&kind)
    }

    fn metric(&mut self, item: &mut Item<'_>, now: Instant, payer: Option<&Permit>) -> Fate {
        let metric = item.bytes(Tier::Item);
        let Some((kind, data)) = data(metric) else { return Fate::Keep };
        let Some(of_kind) = MetricType::of(kind) else { return Fate::Keep };
        let is_monotonic = kind != 7 || number(&data, 3) == 1;
        let is_cumulative = number(&data, 2) == 2;
        if !is_cumulative || !is_monotonic || !self.converts(bytes(metric, 1), of_kind) {
            return Fate::Keep;
        }
        let scope = self.owners.scope(&mut self.series.identities, item);
        let owner = self.series.identities.metric(scope, metric, (kind, &data));
        let mut new = Vec::with_capacity(data.len() + 16);
        let (mut points, mut kept) = (0, 0);
        let mut out = Vec::new();
        for field in fields(&data) {
            if let Some(point) = content(&field, 1) {
                points += 1;
                let start = number(point, 2);
                let series = self.series.identities.point(owner, kind, point, start);
                out.clear();
                match self.series.point(series, (kind, point), (now, payer), &mut out) {
                    Ok(()) => {
                        kept += 1;
                        put_bytes(&mut new, 1, &out);
                    }
                    Err(why) => {
                        self.series.stats.pending.1[of_kind as usize][why as usize] += 1;
                    }
                }
            } else if field.number != 2 {
                new.extend_from_slice(field.whole);
            }
        }
        self.series.stats.pending.0[of_kind as usize] += points;
        if points == 0 {
            return Fate::Keep;
        }
        if kept == 0 {
            return Fate::Drop;
        }
        put_number(&mut new, 2, 1);
        let mut converted = Vec::new();
        replace_data(metric, kind, &new, &mut converted);
        item.put(Tier::Item, &converted);
        Fate::Keep
    }
}

impl Series {
    /// Writes what a point has added.
    fn point(
        &mut self,
        series: super::series::Series,
        (kind, point): (u32, &[u8]),
        (now, payer): (Instant, Option<&Permit>),
        out: &mut Vec<u8>,
    ) -> Result<(), Dropped> {
        if has_no_value(kind, point) {
            return Err(Dropped::NoValue);
        }
        let value = PointValue::read(kind, point).ok_or(Dropped::NoValue)?;
        if value.is_nan() {
            out.extend_from_slice(point);
            return Ok(());
        }
        let (start, time) = (number(point, 2), number(point, 3));
        let result = match self.table.hear(series, now) {
            Some(last) if time <= last.time => return Err(Dropped::Late),
            Some(last) => match value.since(&last.value) {
                Ok(added) => {
                    added.write(point, last.time, out);
                    Ok(())
                }
                Err(Unlike::Smaller) => Err(Dropped::Reset),
                Err(Unlike::Buckets) => Err(Dropped::Buckets),
            },
            None => {
                let is_kept = match self.initial {
                    InitialValue::Auto => start > self.started,
                    InitialValue::Keep => true,
                    InitialValue::Drop => false,
                };
                out.extend_from_slice(point);
                if is_kept { Ok(()) } else { Err(Dropped::Initial) }
            }
        };
        let remembered = self.table.put(series, Last { value, time }, now, payer);
        remembered.map_err(|_| Dropped::Limit)?;
        result
    }
}

impl Processor for ToDelta {
    fn process(&mut self, mut payload: Payload, out: &mut Output) {
        let (before, now) = (payload.items, out.now);
        let payer = payload.permits.first().cloned();
        let how = Pass { context: Context::Metric, prunes: false };
        let result =
            pass(how, &mut payload, &mut |item| Ok(self.metric(item, now, payer.as_ref())));
        drop(payer);
        self.series.stats.flush(self.series.table.len());
        match result {
            Err(stop) => return out.refuse(payload, reason(&stop)),
            Ok(Left::Nothing) => return out.filter(payload),
            Ok(Left::Same) => {}
            Ok(Left::Changed) => {
                payload.items = count(&payload);
                out.count_filtered(before.saturating_sub(payload.items));
            }
        }
        self.series.table.sweep(now);
        out.emit(payload);
    }

    fn next_tick(&self) -> Option<Instant> {
        self.series.table.next_sweep()
    }

    fn tick(&mut self, out: &mut Output) {
        self.series.table.sweep(out.now);
        self.series.stats.flush(self.series.table.len());
    }
}

#[cfg(test)]
mod tests;
