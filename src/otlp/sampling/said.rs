//! What an item says of how it was sampled before: spans in `tracestate`, log records, which have
//! none, in attributes.

use super::{Randomness, Threshold, TraceState};
use crate::otlp::view::{LogRecord, Span, Value};

/// Attributes of log records in place of `th` and `rv`.
pub(crate) const THRESHOLD: &str = "sampling.threshold";
pub(crate) const RANDOMNESS: &str = "sampling.randomness";

/// What an item says of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) threshold: Option<Threshold>,
    pub(crate) randomness: Option<Randomness>,
}

impl Said {
    /// What a span says; `None` if that cannot be read.
    pub(crate) fn by_span(span: &Span<'_>) -> Option<Self> {
        Said::by_trace_state(span.trace_state.0)
    }

    /// The same of a `tracestate`.
    pub(crate) fn by_trace_state(text: &[u8]) -> Option<Self> {
        if text.is_empty() {
            return Some(Said::default());
        }
        let state = TraceState::parse(text)?;
        Some(Said { threshold: state.threshold, randomness: state.randomness })
    }

    /// What a log record says; `None` if that cannot be read.
    pub(crate) fn by_record(record: &LogRecord<'_>) -> Option<Self> {
        let mut said = Said::default();
        for attribute in record.attributes() {
            let Some(Value::String(text)) = attribute.value else { continue };
            if text.is_empty() {
                continue;
            }
            if attribute.key == THRESHOLD {
                said.threshold = Some(Threshold::parse(text.0)?);
            } else if attribute.key == RANDOMNESS {
                said.randomness = Some(Randomness::parse(text.0)?);
            }
        }
        Some(said)
    }
}
