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
//! - Offering a request never waits. If digesting lags, or takes more than its share of a
//!   CPU, whole traces are left out by a hash of their ids (`recent/governor.rs`). What is held
//!   counts for what was left out, and every answer says in [`Honesty`] how far to trust it.
//! - Values whose keys look like secrets are masked before anybody can ask (`recent/masks.rs`).
//! - Items are kept in columns (`recent/chunk.rs`), not as the bytes that came. What comes out
//!   means the same as what went in, which a property test shows.
//!
//! What it costs, of CPU, with 300 000 spans of 570 bytes and twelve attributes
//! (`benches/recent.rs`, medians on a busy machine of two cores):
//!
//! | | |
//! |---|---|
//! | digest a span | 1.3 to 2.8 us |
//! | hold a span, everything included | 259 bytes |
//! | the latest 50 of 75 000 traces, as JSON | 1.7 ms |
//! | those with a span that has an attribute; with a text anywhere | 13 ms; 67 ms |
//! | a trace of 10 000 spans, as JSON | 3.4 ms, 54 bytes a span |
//! | `COUNT` by an attribute with 5 values; 300 000 values | 8 ms; 51 ms |
//! | `AVG` and `MAX` by one with 5000 values | 54 ms |
//! | the usual settings at 50 000 spans a second | 2.4 % of a CPU, 1 trace in 32 |

#![warn(missing_docs)]

mod account;
mod aggregate;
mod answer;
mod arrived;
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
mod masks;
mod meters;
mod metrics;
mod notes;
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
    queue::Digester,
    settings::{Honesty, Settings, TooSmall},
    span::{EventDetails, LinkDetails, RecordDetails, Source, SpanDetails},
    store::Counts,
    trace::{Events, Trace},
    traces::{Part, Summary, TraceFilter, TraceList},
    whole::{Recent, Status, now},
};

#[cfg(test)]
mod tests;
