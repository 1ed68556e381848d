//! Bounds the memory that data may take: the Collector's settings, mapped onto the byte budget.
//!
//! ```yaml
//! memory_limiter:
//!   check_interval: 1s
//!   limit_mib: 512
//! ```
//!
//! skep acquires bytes before it reads a body, so nothing is sampled and nothing is forced: the
//! budget of the process is `limit_mib` (or `limit_percentage` of the memory there is), and above
//! `limit - spike_limit` this processor refuses what arrives, as the Collector's does. As the first
//! of a pipeline it costs nothing: receivers refuse at their door, before they read a body. The
//! keys that steer a garbage collector are accepted with a warning and have no effect.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    component::{
        BuildContext, Entry, MemoryBound, Needs, Output, Partition, Processor, ProcessorConfig,
        StartError,
    },
    config::{Ignored, Interval, Node, Problems},
    otlp::{
        Payload, Signal,
        payload::{Permit, Reason},
    },
    telemetry::{Counter, Desc},
};

const ACCEPTED: Desc =
    Desc::new("otelcol_processor_memory_limiter_accepted", "{item}", "Items let through");
const REFUSED: Desc =
    Desc::new("otelcol_processor_memory_limiter_refused", "{item}", "Items refused");

/// A pebibyte: what is above was meant in bytes.
const MIB_LIMIT: u64 = 1 << 30;

/// Limits memory.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Required by the Collector; skep accounts for every request and checks at no interval.
    pub check_interval: Interval,
    /// Limit in MiB; wins over the percentage.
    pub limit_mib: u64,
    /// Distance from the limit above which data is refused, in MiB; 0: a fifth of the limit.
    pub spike_limit_mib: u64,
    /// Limit in percent of the memory of the container, or of the host.
    pub limit_percentage: u64,
    /// Distance from the limit above which data is refused, in percent of the memory; 0: a fifth of
    /// the limit.
    pub spike_limit_percentage: u64,
    /// Has no effect: skep has no garbage collector that a ballast would delay.
    pub ballast_size_mib: Ignored<u64>,
    /// Has no effect: skep has no garbage collector.
    pub min_gc_interval_when_soft_limited: Ignored<Interval>,
    /// Has no effect: skep has no garbage collector.
    pub min_gc_interval_when_hard_limited: Ignored<Interval>,
    /// Has no effect: skep has no garbage collector.
    pub max_gc_interval_when_soft_limited: Ignored<Interval>,
    /// Has no effect: skep has no garbage collector.
    pub max_gc_interval_when_hard_limited: Ignored<Interval>,
}

pub(super) const ENTRY: Entry<dyn ProcessorConfig> =
    Entry::of::<Config>("memory_limiter", &[], &Signal::ALL, include_str!("memory_limiter.rs"));

impl Config {
    /// Limit and the part of it above which data is refused, given the memory there is.
    fn limits(&self, total: u64) -> (u64, u64) {
        let percent = |share: u64| total / 100 * share;
        let (limit, spike) = if self.limit_mib > 0 {
            (self.limit_mib << 20, self.spike_limit_mib << 20)
        } else {
            (percent(self.limit_percentage), percent(self.spike_limit_percentage))
        };
        let spike = if spike == 0 { limit / 5 } else { spike };
        (limit, limit.saturating_sub(spike))
    }
}

impl Config {
    fn warn_of_percentages(&self, at: &Node, problems: &mut Problems) {
        if self.limit_mib == 0 {
            return;
        }
        let shares = [
            ("limit_percentage", self.limit_percentage),
            ("spike_limit_percentage", self.spike_limit_percentage),
        ];
        for (key, _) in shares.iter().filter(|(_, share)| *share > 0) {
            let message = format!("`{key}` has no effect: `limit_mib` takes precedence");
            problems.warning(at.at(key), message).help(format!("remove `{key}` or `limit_mib`"));
        }
    }
}

impl MemoryBound for Config {
    fn limit(&self, total: u64) -> Option<u64> {
        Some(self.limits(total).0).filter(|limit| *limit > 0)
    }

    /// The budget is the smallest limit of all limiters, so a percentage is taken of what it makes
    /// of the budget.
    fn refuses_above(&self, budget: u64) -> Option<u64> {
        let Config { limit_mib, limit_percentage, spike_limit_percentage, .. } = *self;
        Some(if limit_mib > 0 {
            self.limits(0).1.min(budget)
        } else if spike_limit_percentage > 0 {
            let share = limit_percentage.saturating_sub(spike_limit_percentage);
            budget / limit_percentage.max(1) * share
        } else {
            budget / 5 * 4
        })
    }
}

impl ProcessorConfig for Config {
    fn partition(&self) -> Partition {
        Partition::Any
    }

    fn needs(&self) -> Needs<'_> {
        Needs { memory: Some(self), ..Needs::default() }
    }

    fn validate(&self, at: &Node, problems: &mut Problems) {
        if self.check_interval.0 == Duration::ZERO {
            problems
                .error(at.at("check_interval"), "'check_interval' must be greater than zero")
                .help("add `check_interval: 1s`");
        }
        if self.limit_mib == 0 && self.limit_percentage == 0 {
            let message = "'limit_mib' or 'limit_percentage' must be greater than zero";
            problems.error(at, message).help("add `limit_mib: 512`");
        }
        if self.limit_mib > MIB_LIMIT {
            let message = format!("'limit_mib' is larger than any machine: {}", self.limit_mib);
            problems.error(at.at("limit_mib"), message).help("it counts MiB, not bytes");
        }
        if self.limit_mib > 0 && self.spike_limit_mib >= self.limit_mib {
            let message = "'spike_limit_mib' must be smaller than 'limit_mib'";
            problems.error(at.at("spike_limit_mib"), message);
        }
        if self.limit_percentage > 100 || self.spike_limit_percentage > 100 {
            let message = "'limit_percentage' and 'spike_limit_percentage' must be greater than \
                           zero and less than or equal to hundred";
            problems.error(at.at("limit_percentage"), message);
        } else if self.limit_percentage > 0 && self.spike_limit_percentage >= self.limit_percentage
        {
            let message = "'spike_limit_percentage' must be smaller than 'limit_percentage'";
            problems.error(at.at("spike_limit_percentage"), message);
        }
        self.warn_of_percentages(at, problems);
    }

    fn build(&self, cx: &BuildContext) -> Result<Box<dyn Processor>, StartError> {
        let meter = cx.metrics("processor");
        Ok(Box::new(MemoryLimiter {
            refuses_above: self.refuses_above(cx.budget),
            accepted: meter.counter(&ACCEPTED.for_signal(cx.signal), &[]),
            refused: meter.counter(&REFUSED.for_signal(cx.signal), &[]),
        }))
    }
}

struct MemoryLimiter {
    /// The limit less the spike, in bytes of the budget in use.
    refuses_above: Option<u64>,
    accepted: Counter,
    refused: Counter,
}

impl MemoryLimiter {
    /// Whether more bytes of the budget are in use than the limit less the spike.
    fn is_above(&self, payload: &Payload) -> bool {
        let used = payload.permits.first().map_or(0, Permit::used_of_ledger);
        self.refuses_above.is_some_and(|bytes| used > bytes)
    }
}

impl Processor for MemoryLimiter {
    fn process(&mut self, payload: Payload, out: &mut Output) {
        if self.is_above(&payload) {
            self.refused.add(payload.items);
            out.refuse(payload, Reason::Limited);
        } else {
            self.accepted.add(payload.items);
            out.emit(payload);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::otlp::payload::Ledger;

    /// An account of which so many bytes are in use.
    struct InUse(u64);

    impl Ledger for InUse {
        fn used(&self) -> u64 {
            self.0
        }

        fn try_charge(&self, _: u64) -> bool {
            false
        }

        fn charge(&self, _: u64) {}

        fn give_back(&self, _: u64) {}
    }

    const MIB: u64 = 1 << 20;

    fn refuses(config: &Config, budget: u64, used: u64) -> bool {
        let cx = BuildContext { budget, ..BuildContext::test("memory_limiter", Signal::Traces) };
        let mut limiter = config.build(&cx).unwrap();
        let mut out = Output::at(std::time::Instant::now());
        let permit = Permit::charged(1, Arc::new(InUse(used)));
        let payload = Payload::new(Signal::Traces, bytes::Bytes::new(), 3, [permit]);
        limiter.process(payload, &mut out);
        let is_emitted = !out.take().is_empty();
        assert_eq!(out.take_counts().1, if is_emitted { 0 } else { 3 });
        !is_emitted
    }

    #[test]
    fn refuses_above_the_limit_less_the_spike() {
        let config = Config { limit_mib: 100, spike_limit_mib: 30, ..Config::default() };
        assert!(!refuses(&config, 100 * MIB, 70 * MIB));
        assert!(refuses(&config, 100 * MIB, 70 * MIB + 1));
        let config = Config { limit_mib: 100, ..Config::default() };
        assert!(!refuses(&config, 100 * MIB, 80 * MIB));
        assert!(refuses(&config, 100 * MIB, 81 * MIB));
    }

    #[test]
    fn percentages_are_of_the_memory_there_is() {
        let config =
            Config { limit_percentage: 50, spike_limit_percentage: 10, ..Config::default() };
        assert_eq!(config.limit(1000 * MIB), Some(1000 * MIB / 100 * 50));
        assert!(!refuses(&config, 500 * MIB, 400 * MIB));
        assert!(refuses(&config, 500 * MIB, 401 * MIB));
    }

    #[test]
    fn a_percentage_beside_a_limit_is_named() {
        let warnings = |yaml: &str| {
            let node = crate::config::yaml::parse(0, yaml).unwrap();
            let mut problems = Problems::default();
            let config = crate::config::decode::<Config>(&node, &mut problems).unwrap();
            config.validate(&node, &mut problems);
            assert!(!problems.has_errors(), "{problems:?}");
            problems.0.into_iter().map(|problem| problem.path).collect::<Vec<_>>()
        };
        assert!(warnings("{check_interval: 1s, limit_percentage: 50}").is_empty());
        let both = "{check_interval: 1s, limit_mib: 512, limit_percentage: 50}";
        assert_eq!(warnings(both), ["limit_percentage"]);
    }
}
