//! What a metric is, and the handles that components add to.
//!
//! A component describes each of its metrics by a [`Desc`] in its own file and gets a handle from
//! the [`Meter`](super::Meter) that it is built with. The series exists, at zero, from then on,
//! and ends when the last handle is dropped. An add costs one relaxed atomic operation; components
//! add once per payload, never per item.
//!
//! Handles can be read, because the control plane, health checks and `zpages` show the same
//! numbers. Nothing that happens to data may depend on what they read.
//!
//! Why not the handles of the `metrics` crate (0.24), given out by a recorder of our own? They
//! cannot be read, so every number that the control plane shows would exist twice. They have no
//! value that is computed on demand, as the age of a queue is. Their gauges and
//! distributions are `f64`, and every call goes through a vtable: an add to a counter costs 7.5 ns
//! instead of 6.8, a gauge that goes up and down again 36 instead of 16, a value of a distribution
//! 34 instead of 22 (`metric_*` in `benches/engine.rs` has handles of both shapes). A
//! program that embeds skep and records elsewhere can call
//! [`Registry::read`](super::Registry::read), which returns all of them with names, units, help and
//! labels.

use std::{fmt, sync::Arc};

use super::{histogram::Buckets, number::Number};
use crate::otlp::Signal;

/// How much is shown: `service::telemetry::metrics::level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Detail {
    /// No distributions.
    Basic,
    /// Distributions of batches and of the time that backends take.
    #[default]
    Normal,
    /// Distributions of queues, requests and bytes, too.
    Detailed,
}

impl Detail {
    /// By its name in any case; an unknown name means the default.
    pub fn named(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "basic" => Detail::Basic,
            "detailed" => Detail::Detailed,
            _ => Detail::Normal,
        }
    }
}

/// How values of the same labels become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Merge {
    Sum,
    /// The series that was registered last wins.
    Newest,
}

/// What a metric is: its name, its unit and what it counts.
#[derive(Debug, Clone, Copy)]
pub struct Desc {
    name: &'static str,
    /// The items of this signal are at the end of the name.
    items_of: Option<Signal>,
    /// In the notation of UCUM, as OpenTelemetry has it: `By`, `ms`, `{item}`.
    pub unit: &'static str,
    /// One line for people.
    pub help: &'static str,
    pub(super) detail: Detail,
    pub(super) merge: Merge,
}

impl Desc {
    /// A metric that is always shown. Series of several components that have the same labels are
    /// added up.
    pub const fn new(name: &'static str, unit: &'static str, help: &'static str) -> Self {
        let (detail, merge) = (Detail::Basic, Merge::Sum);
        Desc { name, items_of: None, unit, help, detail, merge }
    }

    /// The same metric with the items of a signal in its name: `..._spans`, `..._log_records`.
    #[must_use]
    pub const fn for_signal(self, signal: Signal) -> Self {
        Desc { items_of: Some(signal), ..self }
    }

    /// The same metric, shown at this level or above.
    #[must_use]
    pub const fn at(self, detail: Detail) -> Self {
        Desc { detail, ..self }
    }

    /// The same metric for values that must not be added up: of several series with the same
    /// labels, the newest one is shown. Around a reload there may be two.
    #[must_use]
    pub const fn newest(self) -> Self {
        Desc { merge: Merge::Newest, ..self }
    }

    /// The name as the metrics page has it.
    pub fn name(&self) -> String {
        match self.items_of {
            Some(signal) => format!("{}_{}", self.name, signal.items_name()),
            None => self.name.to_owned(),
        }
    }
}

/// A number that only grows. A default one is not registered, so that tests can do without.
#[derive(Debug, Clone, Default)]
pub struct Counter(pub(super) Arc<Number>);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.add(n);
    }

    /// For a total that is counted elsewhere, for instance by the kernel.
    pub fn set(&self, total: u64) {
        self.0.set(total);
    }

    pub fn read(&self) -> u64 {
        self.0.read()
    }
}

/// A number that goes up and down. Replicas of a processor share it, so they add and subtract; only
/// a component with one instance sets it.
#[derive(Debug, Clone, Default)]
pub struct Gauge(pub(super) Arc<Number>);

impl Gauge {
    pub fn add(&self, n: u64) {
        self.0.add(n);
    }

    pub fn sub(&self, n: u64) {
        self.0.sub(n);
    }

    pub fn set(&self, n: u64) {
        self.0.set(n);
    }

    pub fn read(&self) -> u64 {
        self.0.read()
    }
}

/// A distribution of values.
#[derive(Debug, Clone)]
pub struct Histogram(pub(super) Arc<Buckets>);

impl Histogram {
    pub fn record(&self, value: u64) {
        self.0.record(value);
    }

    pub fn read(&self) -> super::histogram::Distribution {
        self.0.read()
    }
}

/// Computes a value on demand; `None` leaves the series out.
pub(super) type Ask = dyn Fn() -> Option<u64> + Send + Sync;

/// A value that is computed on demand; shown while this handle exists.
#[derive(Clone)]
pub struct Asked(#[expect(dead_code, reason = "holding it keeps the series")] pub(super) Arc<Ask>);

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").finish_non_exhaustive()
    }
}
