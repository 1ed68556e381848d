//! Requests read in place: borrowed views of every OTLP message that copy and allocate nothing and
//! cannot fail.
//!
//! A view reads its message once, when it is made, and keeps the scalars; repeated fields are
//! iterators that walk the bytes again. Protobuf's rules hold: the last value of a scalar
//! counts, setting one member of a oneof clears the others, the parts of a singular message are
//! merged, numbers may be packed or not, unknown fields are passed over.
//!
//! Views are for bytes that passed the check. Of others they show what comes before the first
//! fault of each message, and fields of another wire type are unknown.
//!
//! ```
//! use skep::otlp::view;
//!
//! let request = [0x0A, 6, 0x12, 4, 0x12, 2, 0x30, 2]; // one span of kind 2
//! for entry in view::traces(&request) {
//!     for scope in entry.scopes() {
//!         for span in scope.spans() {
//!             assert_eq!(span.kind, 2);
//!         }
//!     }
//! }
//! ```

mod entry;
mod log;
mod message;
mod metric;
mod point;
mod trace;
mod value;

pub use entry::{EntityRef, Entry, Resource, Scope, ScopeEntry};
pub use log::LogRecord;
pub use message::Message;
pub(in crate::otlp) use metric::Nature;
pub use metric::{
    Data, ExponentialHistogramPoints, HistogramPoints, Metric, Points, SummaryPoints, Temporality,
};
pub use point::{
    Buckets, Exemplar, ExponentialHistogramPoint, HistogramPoint, Number, NumberPoint, Quantile,
    SummaryPoint,
};
pub use trace::{Event, Link, Span, Status};
pub use value::{Array, KeyValue, KeyValues, Text, Value};

/// The resource entries of an `ExportTraceServiceRequest`.
pub fn traces(request: &[u8]) -> impl Iterator<Item = Entry<'_, Spans>> {
    entry::entries(request)
}

/// The resource entries of an `ExportMetricsServiceRequest`.
pub fn metrics(request: &[u8]) -> impl Iterator<Item = Entry<'_, Metrics>> {
    entry::entries(request)
}

/// The resource entries of an `ExportLogsServiceRequest`.
pub fn logs(request: &[u8]) -> impl Iterator<Item = Entry<'_, Logs>> {
    entry::entries(request)
}

/// Marks entries that hold spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spans {}

/// Marks entries that hold metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metrics {}

/// Marks entries that hold log records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logs {}

#[cfg(test)]
mod tests;
