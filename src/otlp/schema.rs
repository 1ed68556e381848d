//! OTLP as tables: for each message its fields, with number, both spellings of the name, type and
//! presence. The check and OTLP/JSON walk these tables, so a new field of OTLP is one line here.
//!
//! Fields are in the order of the `.proto` files, which is the order in which the Collector writes
//! them as JSON. A test encodes every field with the generated types and compares.
//!
//! The views do not use the tables: they read the few fields that they need by number, and their
//! tests compare each of them with the generated types.

mod enums;
mod table;

use super::Signal;
pub use enums::Enum;
pub use table::{Field, Kind, Layout, Message, Presence};
use table::{always, field, message, messages, one_of, optional, repeated};

/// The request message of a signal.
pub fn request(signal: Signal) -> &'static Message {
    match signal {
        Signal::Traces => &TRACES,
        Signal::Metrics => &METRICS,
        Signal::Logs => &LOGS,
    }
}

/// A repeated attribute, which the check recognises as a whole.
const fn key_values(number: u32, name: &'static str, json: &'static str) -> Field {
    messages(number, name, json, &KEY_VALUE).of_attributes()
}

const fn attributes(number: u32) -> Field {
    key_values(number, "attributes", "attributes")
}

const fn dropped_attributes(number: u32) -> Field {
    field(number, "dropped_attributes_count", "droppedAttributesCount", Kind::Uint32)
}

const fn schema_url(number: u32) -> Field {
    field(number, "schema_url", "schemaUrl", Kind::String)
}

const fn start_time(number: u32) -> Field {
    field(number, "start_time_unix_nano", "startTimeUnixNano", Kind::Fixed64)
}

const fn time(number: u32) -> Field {
    field(number, "time_unix_nano", "timeUnixNano", Kind::Fixed64)
}

const fn trace_id(number: u32) -> Field {
    field(number, "trace_id", "traceId", Kind::Id(16))
}

const fn span_id(number: u32) -> Field {
    field(number, "span_id", "spanId", Kind::Id(8))
}

const TEMPORALITY: Field = field(
    2,
    "aggregation_temporality",
    "aggregationTemporality",
    Kind::Enum(&enums::AGGREGATION_TEMPORALITY),
);

/// `opentelemetry.proto.common.v1.AnyValue`.
pub static ANY_VALUE: Message = Message::new(
    "AnyValue",
    &[
        one_of(1, "string_value", "stringValue", Kind::String),
        one_of(2, "bool_value", "boolValue", Kind::Bool),
        one_of(3, "int_value", "intValue", Kind::Int64),
        one_of(4, "double_value", "doubleValue", Kind::Double),
        one_of(5, "array_value", "arrayValue", Kind::Message(&ARRAY_VALUE)),
        one_of(6, "kvlist_value", "kvlistValue", Kind::Message(&KEY_VALUE_LIST)),
        one_of(7, "bytes_value", "bytesValue", Kind::Bytes),
        one_of(8, "string_value_strindex", "stringValueStrindex", Kind::Int32),
    ],
);

/// `opentelemetry.proto.common.v1.ArrayValue`.
pub static ARRAY_VALUE: Message =
    Message::new("ArrayValue", &[messages(1, "values", "values", &ANY_VALUE)]);

/// `opentelemetry.proto.common.v1.KeyValueList`.
pub static KEY_VALUE_LIST: Message =
    Message::new("KeyValueList", &[key_values(1, "values", "values")]);

/// `opentelemetry.proto.common.v1.KeyValue`.
pub static KEY_VALUE: Message = Message::new(
    "KeyValue",
    &[
        field(1, "key", "key", Kind::String),
        message(2, "value", "value", &ANY_VALUE),
        field(3, "key_strindex", "keyStrindex", Kind::Int32),
    ],
);

/// `opentelemetry.proto.common.v1.InstrumentationScope`.
pub static SCOPE: Message = Message::new(
    "InstrumentationScope",
    &[
        field(1, "name", "name", Kind::String),
        field(2, "version", "version", Kind::String),
        attributes(3),
        dropped_attributes(4),
    ],
);

/// `opentelemetry.proto.common.v1.EntityRef`.
pub static ENTITY_REF: Message = Message::new(
    "EntityRef",
    &[
        schema_url(1),
        field(2, "type", "type", Kind::String),
        repeated(3, "id_keys", "idKeys", Kind::String),
        repeated(4, "description_keys", "descriptionKeys", Kind::String),
    ],
);

/// `opentelemetry.proto.resource.v1.Resource`.
pub static RESOURCE: Message = Message::new(
    "Resource",
    &[attributes(1), dropped_attributes(2), messages(3, "entity_refs", "entityRefs", &ENTITY_REF)],
);

/// `ExportTraceServiceRequest`.
pub static TRACES: Message = Message::new(
    "ExportTraceServiceRequest",
    &[messages(1, "resource_spans", "resourceSpans", &RESOURCE_SPANS)],
);

/// `opentelemetry.proto.trace.v1.ResourceSpans`.
pub static RESOURCE_SPANS: Message = Message::new(
    "ResourceSpans",
    &[
        always(1, "resource", "resource", &RESOURCE),
        messages(2, "scope_spans", "scopeSpans", &SCOPE_SPANS),
        schema_url(3),
    ],
);

/// `opentelemetry.proto.trace.v1.ScopeSpans`.
pub static SCOPE_SPANS: Message = Message::new(
    "ScopeSpans",
    &[always(1, "scope", "scope", &SCOPE), messages(2, "spans", "spans", &SPAN), schema_url(3)],
);

/// `opentelemetry.proto.trace.v1.Span`.
pub static SPAN: Message = Message::item(
    "Span",
    &[
        trace_id(1),
        span_id(2),
        field(3, "trace_state", "traceState", Kind::String),
        field(4, "parent_span_id", "parentSpanId", Kind::Id(8)),
        field(16, "flags", "flags", Kind::Fixed32),
        field(5, "name", "name", Kind::String),
        field(6, "kind", "kind", Kind::Enum(&enums::SPAN_KIND)),
        start_time(7),
        field(8, "end_time_unix_nano", "endTimeUnixNano", Kind::Fixed64),
        attributes(9),
        dropped_attributes(10),
        messages(11, "events", "events", &SPAN_EVENT),
        field(12, "dropped_events_count", "droppedEventsCount", Kind::Uint32),
        messages(13, "links", "links", &SPAN_LINK),
        field(14, "dropped_links_count", "droppedLinksCount", Kind::Uint32),
        always(15, "status", "status", &STATUS),
    ],
);

/// `opentelemetry.proto.trace.v1.Span.Event`.
pub static SPAN_EVENT: Message = Message::new(
    "Event",
    &[time(1), field(2, "name", "name", Kind::String), attributes(3), dropped_attributes(4)],
);

/// `opentelemetry.proto.trace.v1.Span.Link`.
pub static SPAN_LINK: Message = Message::new(
    "Link",
    &[
        trace_id(1),
        span_id(2),
        field(3, "trace_state", "traceState", Kind::String),
        attributes(4),
        dropped_attributes(5),
        field(6, "flags", "flags", Kind::Fixed32),
    ],
);

/// `opentelemetry.proto.trace.v1.Status`.
pub static STATUS: Message = Message::new(
    "Status",
    &[
        field(2, "message", "message", Kind::String),
        field(3, "code", "code", Kind::Enum(&enums::STATUS_CODE)),
    ],
);

/// `ExportLogsServiceRequest`.
pub static LOGS: Message = Message::new(
    "ExportLogsServiceRequest",
    &[messages(1, "resource_logs", "resourceLogs", &RESOURCE_LOGS)],
);

/// `opentelemetry.proto.logs.v1.ResourceLogs`.
pub static RESOURCE_LOGS: Message = Message::new(
    "ResourceLogs",
    &[
        always(1, "resource", "resource", &RESOURCE),
        messages(2, "scope_logs", "scopeLogs", &SCOPE_LOGS),
        schema_url(3),
    ],
);

/// `opentelemetry.proto.logs.v1.ScopeLogs`.
pub static SCOPE_LOGS: Message = Message::new(
    "ScopeLogs",
    &[
        always(1, "scope", "scope", &SCOPE),
        messages(2, "log_records", "logRecords", &LOG_RECORD),
        schema_url(3),
    ],
);

/// `opentelemetry.proto.logs.v1.LogRecord`.
pub static LOG_RECORD: Message = Message::item(
    "LogRecord",
    &[
        time(1),
        field(11, "observed_time_unix_nano", "observedTimeUnixNano", Kind::Fixed64),
        field(2, "severity_number", "severityNumber", Kind::Enum(&enums::SEVERITY_NUMBER)),
        field(3, "severity_text", "severityText", Kind::String),
        message(5, "body", "body", &ANY_VALUE),
        attributes(6),
        dropped_attributes(7),
        field(8, "flags", "flags", Kind::Fixed32),
        trace_id(9),
        span_id(10),
        field(12, "event_name", "eventName", Kind::String),
    ],
);

/// `ExportMetricsServiceRequest`.
pub static METRICS: Message = Message::new(
    "ExportMetricsServiceRequest",
    &[messages(1, "resource_metrics", "resourceMetrics", &RESOURCE_METRICS)],
);

/// `opentelemetry.proto.metrics.v1.ResourceMetrics`.
pub static RESOURCE_METRICS: Message = Message::new(
    "ResourceMetrics",
    &[
        always(1, "resource", "resource", &RESOURCE),
        messages(2, "scope_metrics", "scopeMetrics", &SCOPE_METRICS),
        schema_url(3),
    ],
);

/// `opentelemetry.proto.metrics.v1.ScopeMetrics`.
pub static SCOPE_METRICS: Message = Message::new(
    "ScopeMetrics",
    &[
        always(1, "scope", "scope", &SCOPE),
        messages(2, "metrics", "metrics", &METRIC),
        schema_url(3),
    ],
);

/// `opentelemetry.proto.metrics.v1.Metric`.
pub static METRIC: Message = Message::new(
    "Metric",
    &[
        field(1, "name", "name", Kind::String),
        field(2, "description", "description", Kind::String),
        field(3, "unit", "unit", Kind::String),
        one_of(5, "gauge", "gauge", Kind::Message(&GAUGE)),
        one_of(7, "sum", "sum", Kind::Message(&SUM)),
        one_of(9, "histogram", "histogram", Kind::Message(&HISTOGRAM)),
        one_of(
            10,
            "exponential_histogram",
            "exponentialHistogram",
            Kind::Message(&EXPONENTIAL_HISTOGRAM),
        ),
        one_of(11, "summary", "summary", Kind::Message(&SUMMARY)),
        key_values(12, "metadata", "metadata"),
    ],
);

/// `opentelemetry.proto.metrics.v1.Gauge`.
pub static GAUGE: Message =
    Message::new("Gauge", &[messages(1, "data_points", "dataPoints", &NUMBER_POINT)]);

/// `opentelemetry.proto.metrics.v1.Sum`.
pub static SUM: Message = Message::new(
    "Sum",
    &[
        messages(1, "data_points", "dataPoints", &NUMBER_POINT),
        TEMPORALITY,
        field(3, "is_monotonic", "isMonotonic", Kind::Bool),
    ],
);

/// `opentelemetry.proto.metrics.v1.Histogram`.
pub static HISTOGRAM: Message = Message::new(
    "Histogram",
    &[messages(1, "data_points", "dataPoints", &HISTOGRAM_POINT), TEMPORALITY],
);

/// `opentelemetry.proto.metrics.v1.ExponentialHistogram`.
pub static EXPONENTIAL_HISTOGRAM: Message = Message::new(
    "ExponentialHistogram",
    &[messages(1, "data_points", "dataPoints", &EXPONENTIAL_HISTOGRAM_POINT), TEMPORALITY],
);

/// `opentelemetry.proto.metrics.v1.Summary`.
pub static SUMMARY: Message =
    Message::new("Summary", &[messages(1, "data_points", "dataPoints", &SUMMARY_POINT)]);

/// `opentelemetry.proto.metrics.v1.NumberDataPoint`.
pub static NUMBER_POINT: Message = Message::item(
    "NumberDataPoint",
    &[
        attributes(7),
        start_time(2),
        time(3),
        one_of(4, "as_double", "asDouble", Kind::Double),
        one_of(6, "as_int", "asInt", Kind::Sfixed64),
        messages(5, "exemplars", "exemplars", &EXEMPLAR),
        field(8, "flags", "flags", Kind::Uint32),
    ],
);

/// `opentelemetry.proto.metrics.v1.HistogramDataPoint`.
pub static HISTOGRAM_POINT: Message = Message::item(
    "HistogramDataPoint",
    &[
        attributes(9),
        start_time(2),
        time(3),
        field(4, "count", "count", Kind::Fixed64),
        optional(5, "sum", "sum", Kind::Double),
        repeated(6, "bucket_counts", "bucketCounts", Kind::Fixed64),
        repeated(7, "explicit_bounds", "explicitBounds", Kind::Double),
        messages(8, "exemplars", "exemplars", &EXEMPLAR),
        field(10, "flags", "flags", Kind::Uint32),
        optional(11, "min", "min", Kind::Double),
        optional(12, "max", "max", Kind::Double),
    ],
);

/// `opentelemetry.proto.metrics.v1.ExponentialHistogramDataPoint`.
pub static EXPONENTIAL_HISTOGRAM_POINT: Message = Message::item(
    "ExponentialHistogramDataPoint",
    &[
        attributes(1),
        start_time(2),
        time(3),
        field(4, "count", "count", Kind::Fixed64),
        optional(5, "sum", "sum", Kind::Double),
        field(6, "scale", "scale", Kind::Sint32),
        field(7, "zero_count", "zeroCount", Kind::Fixed64),
        message(8, "positive", "positive", &BUCKETS),
        message(9, "negative", "negative", &BUCKETS),
        field(10, "flags", "flags", Kind::Uint32),
        messages(11, "exemplars", "exemplars", &EXEMPLAR),
        optional(12, "min", "min", Kind::Double),
        optional(13, "max", "max", Kind::Double),
        field(14, "zero_threshold", "zeroThreshold", Kind::Double),
    ],
);

/// `opentelemetry.proto.metrics.v1.ExponentialHistogramDataPoint.Buckets`.
pub static BUCKETS: Message = Message::new(
    "Buckets",
    &[
        field(1, "offset", "offset", Kind::Sint32),
        repeated(2, "bucket_counts", "bucketCounts", Kind::Uint64),
    ],
);

/// `opentelemetry.proto.metrics.v1.SummaryDataPoint`.
pub static SUMMARY_POINT: Message = Message::item(
    "SummaryDataPoint",
    &[
        attributes(7),
        start_time(2),
        time(3),
        field(4, "count", "count", Kind::Fixed64),
        field(5, "sum", "sum", Kind::Double),
        messages(6, "quantile_values", "quantileValues", &VALUE_AT_QUANTILE),
        field(8, "flags", "flags", Kind::Uint32),
    ],
);

/// `opentelemetry.proto.metrics.v1.SummaryDataPoint.ValueAtQuantile`.
pub static VALUE_AT_QUANTILE: Message = Message::new(
    "ValueAtQuantile",
    &[field(1, "quantile", "quantile", Kind::Double), field(2, "value", "value", Kind::Double)],
);

/// `opentelemetry.proto.metrics.v1.Exemplar`.
pub static EXEMPLAR: Message = Message::new(
    "Exemplar",
    &[
        key_values(7, "filtered_attributes", "filteredAttributes"),
        time(2),
        one_of(3, "as_double", "asDouble", Kind::Double),
        one_of(6, "as_int", "asInt", Kind::Sfixed64),
        span_id(4),
        trace_id(5),
    ],
);

#[cfg(test)]
mod tests;
