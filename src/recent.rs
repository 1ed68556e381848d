//! The recent past of telemetry in a fixed number of bytes: what the console's lists, traces and
//! boards read. It is not a backend: nothing of it outlives the process, and what is old goes.
//!
//! ```text
//!  door --offer--> queue --(one thread of low priority)--> open chunk --seal--> chunks --> evicted
//!   (a reference)    |  full: left out, counted                |                   |
//!                    +--> governor: 1 in 2^k traces            +-- a copy --+      | shared
//!                                                                           v      v
//!                                             list of traces, one trace, queries, export
//! ```
//!
//! - [`Settings::bytes`] is a limit that holds: whatever grows is charged before it is allocated
//!   (`recent/account.rs`), and chunks are evicted as a whole, the oldest first.
//! - Whoever offers a request never waits. If digesting lags, or takes more than its share of a
//!   CPU, whole traces are left out by a hash of their ids (`recent/governor.rs`). What is held
//!   counts for what was left out, and every answer says in [`Honesty`] how far to trust it.
//! - Items are kept in columns (`recent/chunk.rs`), not as the bytes that came.

#![warn(missing_docs)]

mod account;
mod aggregate;
mod answer;
pub mod boards;
mod cell;
mod chunk;
mod dictionary;
mod distinct;
mod export;
mod fate;
mod field;
mod filter;
mod governor;
mod groups;
mod heat;
mod histogram;
mod item;
mod logs;
mod meters;
mod metrics;
mod open;
mod query;
mod queue;
mod seal;
mod settings;
mod slots;
mod span;
mod store;
mod trace;
mod traces;
mod whole;

pub use self::{
    answer::{Answer, Limits, Row, Series},
    cell::trace_id,
    export::{ExportError, LoadError},
    fate::{Decision, Delivery, Told},
    heat::Heatmap,
    logs::{RecordFilter, RecordList, RecordMark, Similar, SimilarList},
    meters::MeterKind,
    metrics::{MetricList, MetricSeries, MetricSummary},
    query::{Query, QueryError},
    settings::{Honesty, Settings, TooSmall},
    span::{EventDetails, LinkDetails, RecordDetails, Source, SpanDetails},
    store::Counts,
    trace::{Events, Trace},
    traces::{Part, Summary, TraceFilter, TraceList},
    whole::{Recent, Status, now},
};

#[cfg(test)]
mod tests;
