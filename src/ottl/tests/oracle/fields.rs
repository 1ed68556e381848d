//! The fields that programs use, with what they give.

use crate::{otlp::Signal, ottl::Context};

/// What an expression gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Any,
    Text,
    Int,
    Double,
    Bool,
    Map,
    List,
    Time,
    TraceId,
    SpanId,
}

const RESOURCE: &[(&str, Kind)] = &[
    ("attributes", Kind::Map),
    ("dropped_attributes_count", Kind::Int),
    ("schema_url", Kind::Text),
];
const SCOPE: &[(&str, Kind)] = &[
    ("attributes", Kind::Map),
    ("dropped_attributes_count", Kind::Int),
    ("schema_url", Kind::Text),
    ("name", Kind::Text),
    ("version", Kind::Text),
];
const SPAN: &[(&str, Kind)] = &[
    ("attributes", Kind::Map),
    ("trace_id", Kind::TraceId),
    ("trace_id.string", Kind::Text),
    ("span_id", Kind::SpanId),
    ("span_id.string", Kind::Text),
    ("parent_span_id", Kind::SpanId),
    ("parent_span_id.string", Kind::Text),
    ("trace_state", Kind::Text),
    ("name", Kind::Text),
    ("kind", Kind::Int),
    ("kind.string", Kind::Text),
    ("kind.deprecated_string", Kind::Text),
    ("start_time_unix_nano", Kind::Int),
    ("start_time", Kind::Time),
    ("end_time_unix_nano", Kind::Int),
    ("end_time", Kind::Time),
    ("dropped_attributes_count", Kind::Int),
    ("dropped_events_count", Kind::Int),
    ("dropped_links_count", Kind::Int),
    ("status.code", Kind::Int),
    ("status.message", Kind::Text),
    ("flags", Kind::Int),
];
const EVENT: &[(&str, Kind)] = &[
    ("attributes", Kind::Map),
    ("name", Kind::Text),
    ("time_unix_nano", Kind::Int),
    ("time", Kind::Time),
    ("event_index", Kind::Int),
    ("dropped_attributes_count", Kind::Int),
];
const LINK: &[(&str, Kind)] = &[
    ("attributes", Kind::Map),
    ("trace_id", Kind::TraceId),
    ("trace_id.string", Kind::Text),
    ("span_id", Kind::SpanId),
    ("span_id.string", Kind::Text),
    ("trace_state", Kind::Text),
    ("flags", Kind::Int),
    ("dropped_attributes_count", Kind::Int),
];
const LOG: &[(&str, Kind)] = &[
    ("attributes", Kind::Map),
    ("body", Kind::Any),
    ("body.string", Kind::Text),
    ("time_unix_nano", Kind::Int),
    ("time", Kind::Time),
    ("observed_time_unix_nano", Kind::Int),
    ("observed_time", Kind::Time),
    ("severity_number", Kind::Int),
    ("severity_text", Kind::Text),
    ("dropped_attributes_count", Kind::Int),
    ("flags", Kind::Int),
    ("trace_id", Kind::TraceId),
    ("trace_id.string", Kind::Text),
    ("span_id", Kind::SpanId),
    ("span_id.string", Kind::Text),
    ("event_name", Kind::Text),
];
const METRIC: &[(&str, Kind)] = &[
    ("metadata", Kind::Map),
    ("name", Kind::Text),
    ("description", Kind::Text),
    ("unit", Kind::Text),
    ("type", Kind::Int),
    ("aggregation_temporality", Kind::Int),
    ("is_monotonic", Kind::Bool),
];
const POINT: &[(&str, Kind)] = &[
    ("attributes", Kind::Map),
    ("start_time_unix_nano", Kind::Int),
    ("start_time", Kind::Time),
    ("time_unix_nano", Kind::Int),
    ("time", Kind::Time),
    ("value_double", Kind::Double),
    ("value_int", Kind::Int),
    ("flags", Kind::Int),
    ("count", Kind::Int),
    ("sum", Kind::Double),
    ("bucket_counts", Kind::List),
    ("explicit_bounds", Kind::List),
    ("scale", Kind::Int),
    ("zero_count", Kind::Int),
    ("positive.offset", Kind::Int),
    ("positive.bucket_counts", Kind::List),
    ("negative.offset", Kind::Int),
    ("negative.bucket_counts", Kind::List),
];
const EXEMPLAR: &[(&str, Kind)] = &[
    ("filtered_attributes", Kind::Map),
    ("time_unix_nano", Kind::Int),
    ("time", Kind::Time),
    ("double_value", Kind::Double),
    ("int_value", Kind::Int),
    ("trace_id", Kind::TraceId),
    ("trace_id.string", Kind::Text),
    ("span_id", Kind::SpanId),
    ("span_id.string", Kind::Text),
];

/// The fields of a context, with what they give.
pub(super) fn fields(context: Context) -> &'static [(&'static str, Kind)] {
    match context {
        Context::Resource => RESOURCE,
        Context::Scope => SCOPE,
        Context::Span => SPAN,
        Context::SpanEvent => EVENT,
        Context::SpanLink => LINK,
        Context::Log => LOG,
        Context::Metric => METRIC,
        Context::Exemplar => EXEMPLAR,
        _ => POINT,
    }
}

/// Where programs run.
pub(super) const CONTEXTS: [(Signal, Context); 14] = [
    (Signal::Traces, Context::Resource),
    (Signal::Logs, Context::Scope),
    (Signal::Traces, Context::Span),
    (Signal::Traces, Context::Span),
    (Signal::Traces, Context::SpanEvent),
    (Signal::Traces, Context::SpanLink),
    (Signal::Logs, Context::Log),
    (Signal::Logs, Context::Log),
    (Signal::Metrics, Context::Metric),
    (Signal::Metrics, Context::Metric),
    (Signal::Metrics, Context::Metric),
    (Signal::Metrics, Context::DataPoint),
    (Signal::Metrics, Context::DataPoint),
    (Signal::Metrics, Context::Exemplar),
];
