//! OTLP as tables: for each message its fields, with number, both spellings of the name, type and
//! presence. OTLP/JSON is read and written by walking these tables, so a field that OTLP gains is
//! one line here.
//!
//! Fields stand in the order of the `.proto` files, which is the order in which the Collector
//! writes them as JSON. A test encodes every field with the generated types and compares.

mod enums;

use super::Signal;
pub use enums::Enum;

/// One message type.
#[derive(Debug)]
pub struct Message {
    /// Name in the `.proto` file.
    pub name: &'static str,
    /// Its fields in the order of the `.proto` file.
    pub fields: &'static [Field],
}

impl Message {
    /// Position in `fields` of a field number.
    pub fn position(&self, number: u32) -> Option<usize> {
        self.fields.iter().position(|field| field.number == number)
    }

    /// Position in `fields` of a name in either spelling.
    pub fn position_of_name(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.json == name || field.name == name)
    }
}

/// One field of a message.
#[derive(Debug)]
pub struct Field {
    /// Field number.
    pub number: u32,
    /// Name in the `.proto` file: `trace_id`.
    pub name: &'static str,
    /// Name in JSON: `traceId`.
    pub json: &'static str,
    /// Type of its value, or of each value.
    pub kind: Kind,
    /// How often it may occur and what its absence means.
    pub presence: Presence,
}

/// How often a field may occur and what its absence means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Absent and zero are the same.
    Implicit,
    /// Absent and zero differ: `optional` fields and messages.
    Explicit,
    /// As explicit, and the Collector's JSON has it even where it is absent: `"status":{}`.
    Always,
    /// One of several; setting one clears the others. A message has at most one such group.
    OneOf,
    /// Any number of times; numbers may be packed.
    Repeated,
}

/// Type of a value.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// `string`.
    String,
    /// `bytes`, in JSON base64.
    Bytes,
    /// `bytes` of so many bytes or none, in JSON hexadecimal.
    Id(usize),
    /// `bool`.
    Bool,
    /// `int32`.
    Int32,
    /// `sint32`, zigzag on the wire.
    Sint32,
    /// `uint32`.
    Uint32,
    /// `fixed32`.
    Fixed32,
    /// `int64`, in JSON a string.
    Int64,
    /// `uint64`, in JSON a string.
    Uint64,
    /// `fixed64`, in JSON a string.
    Fixed64,
    /// `sfixed64`, in JSON a string.
    Sfixed64,
    /// `double`.
    Double,
    /// An enum, in JSON its number.
    Enum(&'static Enum),
    /// A message.
    Message(&'static Message),
}

/// The request message of a signal.
pub fn request(signal: Signal) -> &'static Message {
    match signal {
        Signal::Traces => &TRACES,
        Signal::Metrics => &METRICS,
        Signal::Logs => &LOGS,
    }
}

type Name = &'static str;

const fn field(number: u32, name: Name, json: Name, kind: Kind) -> Field {
    Field { number, name, json, kind, presence: Presence::Implicit }
}

const fn optional(number: u32, name: Name, json: Name, kind: Kind) -> Field {
    Field { number, name, json, kind, presence: Presence::Explicit }
}

const fn one_of(number: u32, name: Name, json: Name, kind: Kind) -> Field {
    Field { number, name, json, kind, presence: Presence::OneOf }
}

const fn repeated(number: u32, name: Name, json: Name, kind: Kind) -> Field {
    Field { number, name, json, kind, presence: Presence::Repeated }
}

const fn message(number: u32, name: Name, json: Name, of: &'static Message) -> Field {
    optional(number, name, json, Kind::Message(of))
}

const fn always(number: u32, name: Name, json: Name, of: &'static Message) -> Field {
    Field { number, name, json, kind: Kind::Message(of), presence: Presence::Always }
}

const fn messages(number: u32, name: Name, json: Name, of: &'static Message) -> Field {
    repeated(number, name, json, Kind::Message(of))
}

const fn attributes(number: u32) -> Field {
    messages(number, "attributes", "attributes", &KEY_VALUE)
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
pub static ANY_VALUE: Message = Message {
    name: "AnyValue",
    fields: &[
        one_of(1, "string_value", "stringValue", Kind::String),
        one_of(2, "bool_value", "boolValue", Kind::Bool),
        one_of(3, "int_value", "intValue", Kind::Int64),
        one_of(4, "double_value", "doubleValue", Kind::Double),
        one_of(5, "array_value", "arrayValue", Kind::Message(&ARRAY_VALUE)),
        one_of(6, "kvlist_value", "kvlistValue", Kind::Message(&KEY_VALUE_LIST)),
        one_of(7, "bytes_value", "bytesValue", Kind::Bytes),
        one_of(8, "string_value_strindex", "stringValueStrindex", Kind::Int32),
    ],
};

/// `opentelemetry.proto.common.v1.ArrayValue`.
pub static ARRAY_VALUE: Message =
    Message { name: "ArrayValue", fields: &[messages(1, "values", "values", &ANY_VALUE)] };

/// `opentelemetry.proto.common.v1.KeyValueList`.
pub static KEY_VALUE_LIST: Message =
    Message { name: "KeyValueList", fields: &[messages(1, "values", "values", &KEY_VALUE)] };

/// `opentelemetry.proto.common.v1.KeyValue`.
pub static KEY_VALUE: Message = Message {
    name: "KeyValue",
    fields: &[
        field(1, "key", "key", Kind::String),
        message(2, "value", "value", &ANY_VALUE),
        field(3, "key_strindex", "keyStrindex", Kind::Int32),
    ],
};

/// `opentelemetry.proto.common.v1.InstrumentationScope`.
pub static SCOPE: Message = Message {
    name: "InstrumentationScope",
    fields: &[
        field(1, "name", "name", Kind::String),
        field(2, "version", "version", Kind::String),
        attributes(3),
        dropped_attributes(4),
    ],
};

/// `opentelemetry.proto.common.v1.EntityRef`.
pub static ENTITY_REF: Message = Message {
    name: "EntityRef",
    fields: &[
        schema_url(1),
        field(2, "type", "type", Kind::String),
        repeated(3, "id_keys", "idKeys", Kind::String),
        repeated(4, "description_keys", "descriptionKeys", Kind::String),
    ],
};

/// `opentelemetry.proto.resource.v1.Resource`.
pub static RESOURCE: Message = Message {
    name: "Resource",
    fields: &[
        attributes(1),
        dropped_attributes(2),
        messages(3, "entity_refs", "entityRefs", &ENTITY_REF),
    ],
};

/// `ExportTraceServiceRequest`.
pub static TRACES: Message = Message {
    name: "ExportTraceServiceRequest",
    fields: &[messages(1, "resource_spans", "resourceSpans", &RESOURCE_SPANS)],
};

/// `opentelemetry.proto.trace.v1.ResourceSpans`.
pub static RESOURCE_SPANS: Message = Message {
    name: "ResourceSpans",
    fields: &[
        always(1, "resource", "resource", &RESOURCE),
        messages(2, "scope_spans", "scopeSpans", &SCOPE_SPANS),
        schema_url(3),
    ],
};

/// `opentelemetry.proto.trace.v1.ScopeSpans`.
pub static SCOPE_SPANS: Message = Message {
    name: "ScopeSpans",
    fields: &[
        always(1, "scope", "scope", &SCOPE),
        messages(2, "spans", "spans", &SPAN),
        schema_url(3),
    ],
};

/// `opentelemetry.proto.trace.v1.Span`.
pub static SPAN: Message = Message {
    name: "Span",
    fields: &[
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
};

/// `opentelemetry.proto.trace.v1.Span.Event`.
pub static SPAN_EVENT: Message = Message {
    name: "Event",
    fields: &[
        time(1),
        field(2, "name", "name", Kind::String),
        attributes(3),
        dropped_attributes(4),
    ],
};

/// `opentelemetry.proto.trace.v1.Span.Link`.
pub static SPAN_LINK: Message = Message {
    name: "Link",
    fields: &[
        trace_id(1),
        span_id(2),
        field(3, "trace_state", "traceState", Kind::String),
        attributes(4),
        dropped_attributes(5),
        field(6, "flags", "flags", Kind::Fixed32),
    ],
};

/// `opentelemetry.proto.trace.v1.Status`.
pub static STATUS: Message = Message {
    name: "Status",
    fields: &[
        field(2, "message", "message", Kind::String),
        field(3, "code", "code", Kind::Enum(&enums::STATUS_CODE)),
    ],
};

/// `ExportLogsServiceRequest`.
pub static LOGS: Message = Message {
    name: "ExportLogsServiceRequest",
    fields: &[messages(1, "resource_logs", "resourceLogs", &RESOURCE_LOGS)],
};

/// `opentelemetry.proto.logs.v1.ResourceLogs`.
pub static RESOURCE_LOGS: Message = Message {
    name: "ResourceLogs",
    fields: &[
        always(1, "resource", "resource", &RESOURCE),
        messages(2, "scope_logs", "scopeLogs", &SCOPE_LOGS),
        schema_url(3),
    ],
};

/// `opentelemetry.proto.logs.v1.ScopeLogs`.
pub static SCOPE_LOGS: Message = Message {
    name: "ScopeLogs",
    fields: &[
        always(1, "scope", "scope", &SCOPE),
        messages(2, "log_records", "logRecords", &LOG_RECORD),
        schema_url(3),
    ],
};

/// `opentelemetry.proto.logs.v1.LogRecord`.
pub static LOG_RECORD: Message = Message {
    name: "LogRecord",
    fields: &[
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
};

/// `ExportMetricsServiceRequest`.
pub static METRICS: Message = Message {
    name: "ExportMetricsServiceRequest",
    fields: &[messages(1, "resource_metrics", "resourceMetrics", &RESOURCE_METRICS)],
};

/// `opentelemetry.proto.metrics.v1.ResourceMetrics`.
pub static RESOURCE_METRICS: Message = Message {
    name: "ResourceMetrics",
    fields: &[
        always(1, "resource", "resource", &RESOURCE),
        messages(2, "scope_metrics", "scopeMetrics", &SCOPE_METRICS),
        schema_url(3),
    ],
};

/// `opentelemetry.proto.metrics.v1.ScopeMetrics`.
pub static SCOPE_METRICS: Message = Message {
    name: "ScopeMetrics",
    fields: &[
        always(1, "scope", "scope", &SCOPE),
        messages(2, "metrics", "metrics", &METRIC),
        schema_url(3),
    ],
};

/// `opentelemetry.proto.metrics.v1.Metric`.
pub static METRIC: Message = Message {
    name: "Metric",
    fields: &[
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
        messages(12, "metadata", "metadata", &KEY_VALUE),
    ],
};

/// `opentelemetry.proto.metrics.v1.Gauge`.
pub static GAUGE: Message =
    Message { name: "Gauge", fields: &[messages(1, "data_points", "dataPoints", &NUMBER_POINT)] };

/// `opentelemetry.proto.metrics.v1.Sum`.
pub static SUM: Message = Message {
    name: "Sum",
    fields: &[
        messages(1, "data_points", "dataPoints", &NUMBER_POINT),
        TEMPORALITY,
        field(3, "is_monotonic", "isMonotonic", Kind::Bool),
    ],
};

/// `opentelemetry.proto.metrics.v1.Histogram`.
pub static HISTOGRAM: Message = Message {
    name: "Histogram",
    fields: &[messages(1, "data_points", "dataPoints", &HISTOGRAM_POINT), TEMPORALITY],
};

/// `opentelemetry.proto.metrics.v1.ExponentialHistogram`.
pub static EXPONENTIAL_HISTOGRAM: Message = Message {
    name: "ExponentialHistogram",
    fields: &[messages(1, "data_points", "dataPoints", &EXPONENTIAL_HISTOGRAM_POINT), TEMPORALITY],
};

/// `opentelemetry.proto.metrics.v1.Summary`.
pub static SUMMARY: Message = Message {
    name: "Summary",
    fields: &[messages(1, "data_points", "dataPoints", &SUMMARY_POINT)],
};

/// `opentelemetry.proto.metrics.v1.NumberDataPoint`.
pub static NUMBER_POINT: Message = Message {
    name: "NumberDataPoint",
    fields: &[
        attributes(7),
        start_time(2),
        time(3),
        one_of(4, "as_double", "asDouble", Kind::Double),
        one_of(6, "as_int", "asInt", Kind::Sfixed64),
        messages(5, "exemplars", "exemplars", &EXEMPLAR),
        field(8, "flags", "flags", Kind::Uint32),
    ],
};

/// `opentelemetry.proto.metrics.v1.HistogramDataPoint`.
pub static HISTOGRAM_POINT: Message = Message {
    name: "HistogramDataPoint",
    fields: &[
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
};

/// `opentelemetry.proto.metrics.v1.ExponentialHistogramDataPoint`.
pub static EXPONENTIAL_HISTOGRAM_POINT: Message = Message {
    name: "ExponentialHistogramDataPoint",
    fields: &[
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
};

/// `opentelemetry.proto.metrics.v1.ExponentialHistogramDataPoint.Buckets`.
pub static BUCKETS: Message = Message {
    name: "Buckets",
    fields: &[
        field(1, "offset", "offset", Kind::Sint32),
        repeated(2, "bucket_counts", "bucketCounts", Kind::Uint64),
    ],
};

/// `opentelemetry.proto.metrics.v1.SummaryDataPoint`.
pub static SUMMARY_POINT: Message = Message {
    name: "SummaryDataPoint",
    fields: &[
        attributes(7),
        start_time(2),
        time(3),
        field(4, "count", "count", Kind::Fixed64),
        field(5, "sum", "sum", Kind::Double),
        messages(6, "quantile_values", "quantileValues", &VALUE_AT_QUANTILE),
        field(8, "flags", "flags", Kind::Uint32),
    ],
};

/// `opentelemetry.proto.metrics.v1.SummaryDataPoint.ValueAtQuantile`.
pub static VALUE_AT_QUANTILE: Message = Message {
    name: "ValueAtQuantile",
    fields: &[
        field(1, "quantile", "quantile", Kind::Double),
        field(2, "value", "value", Kind::Double),
    ],
};

/// `opentelemetry.proto.metrics.v1.Exemplar`.
pub static EXEMPLAR: Message = Message {
    name: "Exemplar",
    fields: &[
        messages(7, "filtered_attributes", "filteredAttributes", &KEY_VALUE),
        time(2),
        one_of(3, "as_double", "asDouble", Kind::Double),
        one_of(6, "as_int", "asInt", Kind::Sfixed64),
        span_id(4),
        trace_id(5),
    ],
};

#[cfg(test)]
mod tests;
