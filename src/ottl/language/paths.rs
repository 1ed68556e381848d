//! Every path of every context: its type when it is read, what may be written, and where it is in
//! the bytes.

use super::{super::types::Types, Context};

/// A path of a context.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Behind the name of the context: `status.code`.
    pub path: &'static str,
    pub access: Access,
    pub reads: Types,
    /// Empty if it is read only.
    pub writes: Types,
    /// Whether keys may follow.
    pub has_keys: bool,
}

/// Where a field is in its message, and how it is read and written. Numbers are field numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Access {
    Text(u32),
    /// A varint of 32 bits.
    Uint32(u32),
    Fixed32(u32),
    /// A varint of 32 signed bits.
    Enum(u32),
    Sint32(u32),
    /// Eight bytes, as an integer.
    Fixed64(u32),
    Time(u32),
    /// A double, 0 if it is absent.
    Double(u32),
    Bool(u32),
    Attributes(u32),
    /// An `AnyValue`.
    Any(u32),
    AnyText(u32),
    TraceId(u32),
    TraceIdText(u32),
    SpanId(u32),
    SpanIdText(u32),
    TraceState(u32),
    KindText(u32),
    KindOldText(u32),
    /// Repeated messages, to be counted and copied.
    Messages(u32, &'static str),
    /// One message, to be copied.
    Message(u32, &'static str),
    /// A field of a message.
    Within(u32, &'static Access),
    /// A repeated field of eight-byte integers.
    Fixed64s(u32),
    Doubles(u32),
    Varints(u32),
    /// `as_double`, and the number of `as_int`.
    NumberDouble(u32, u32),
    /// `as_int`, and the number of `as_double`.
    NumberInt(u32, u32),
    /// Position of an event.
    Index,
    MetricType,
    Temporality,
    IsMonotonic,
    DataPoints,
    /// A field whose number depends on the kind of the data point.
    Point(Point),
    /// The whole message is a URL.
    Schema,
    Request(RequestField),
}

/// Fields of data points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    Attributes,
    StartNanos,
    StartTime,
    Nanos,
    Time,
    ValueDouble,
    ValueInt,
    Exemplars,
    Flags,
    Count,
    Sum,
    BucketCounts,
    ExplicitBounds,
    Scale,
    ZeroCount,
    Positive,
    PositiveOffset,
    PositiveCounts,
    Negative,
    NegativeOffset,
    NegativeCounts,
    Quantiles,
}

impl Point {
    /// Where it is in a point of a metric whose data is in field `kind`.
    pub fn access(self, kind: u32) -> Option<Access> {
        let (number, histogram, exponential, summary) =
            (matches!(kind, 5 | 7), kind == 9, kind == 10, kind == 11);
        let when = |condition: bool, access: Access| condition.then_some(access);
        let attributes = match kind {
            9 => 9,
            10 => 1,
            _ => 7,
        };
        match self {
            Point::Attributes => Some(Access::Attributes(attributes)),
            Point::StartNanos => Some(Access::Fixed64(2)),
            Point::StartTime => Some(Access::Time(2)),
            Point::Nanos => Some(Access::Fixed64(3)),
            Point::Time => Some(Access::Time(3)),
            Point::ValueDouble => when(number, Access::NumberDouble(4, 6)),
            Point::ValueInt => when(number, Access::NumberInt(6, 4)),
            Point::Exemplars => when(!summary, Access::Messages(exemplars(kind), "exemplars")),
            Point::Flags => {
                let flags = if histogram || exponential { 10 } else { 8 };
                Some(Access::Uint32(flags))
            }
            Point::Count => when(!number, Access::Fixed64(4)),
            Point::Sum => when(!number, Access::Double(5)),
            Point::BucketCounts => when(histogram, Access::Fixed64s(6)),
            Point::ExplicitBounds => when(histogram, Access::Doubles(7)),
            Point::Scale => when(exponential, Access::Sint32(6)),
            Point::ZeroCount => when(exponential, Access::Fixed64(7)),
            Point::Positive => when(exponential, Access::Message(8, "buckets")),
            Point::PositiveOffset => when(exponential, Access::Within(8, &Access::Sint32(1))),
            Point::PositiveCounts => when(exponential, Access::Within(8, &Access::Varints(2))),
            Point::Negative => when(exponential, Access::Message(9, "buckets")),
            Point::NegativeOffset => when(exponential, Access::Within(9, &Access::Sint32(1))),
            Point::NegativeCounts => when(exponential, Access::Within(9, &Access::Varints(2))),
            Point::Quantiles => when(summary, Access::Messages(6, "quantile values")),
        }
    }
}

/// Number of the exemplars in a point of a kind.
pub(in crate::ottl) fn exemplars(kind: u32) -> u32 {
    match kind {
        9 => 8,
        10 => 11,
        _ => 5,
    }
}

/// Fields of the request that brought an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestField {
    Address,
    Auth,
    /// HTTP headers and gRPC metadata.
    Metadata,
}

const TEXT: Types = Types::TEXT;
const INT: Types = Types::INT;
const ANY: Types = Types::ANY;
const NIL: Types = Types::NIL;

const fn field(path: &'static str, access: Access, types: Types) -> Field {
    Field { path, access, reads: types, writes: types, has_keys: false }
}

/// A field that may have nothing.
const fn absent(path: &'static str, access: Access, types: Types) -> Field {
    Field { path, access, reads: types.or(NIL), writes: types, has_keys: false }
}

const fn attributes(number: u32) -> Field {
    keyed("attributes", Access::Attributes(number), Types::MAP)
}

const fn keyed(path: &'static str, access: Access, types: Types) -> Field {
    Field { path, access, reads: types, writes: types, has_keys: true }
}

const fn request(path: &'static str, access: RequestField, reads: Types, has_keys: bool) -> Field {
    Field { path, access: Access::Request(access), reads, writes: Types::NONE, has_keys }
}

const CACHE: Field = keyed("cache", Access::Attributes(1), Types::MAP);

const fn dropped(number: u32) -> Field {
    field("dropped_attributes_count", Access::Uint32(number), INT)
}

const SCHEMA: Field = field("schema_url", Access::Schema, TEXT);

const RESOURCE: &[Field] = &[CACHE, attributes(1), dropped(2), SCHEMA];

const SCOPE: &[Field] = &[
    CACHE,
    field("name", Access::Text(1), TEXT),
    field("version", Access::Text(2), TEXT),
    attributes(3),
    dropped(4),
    SCHEMA,
];

const SPAN: &[Field] = &[
    CACHE,
    field("trace_id", Access::TraceId(1), Types::TRACE_ID),
    field("trace_id.string", Access::TraceIdText(1), TEXT),
    field("span_id", Access::SpanId(2), Types::SPAN_ID),
    field("span_id.string", Access::SpanIdText(2), TEXT),
    field("parent_span_id", Access::SpanId(4), Types::SPAN_ID),
    field("parent_span_id.string", Access::SpanIdText(4), TEXT),
    keyed("trace_state", Access::TraceState(3), TEXT),
    field("name", Access::Text(5), TEXT),
    field("kind", Access::Enum(6), INT),
    field("kind.string", Access::KindText(6), TEXT),
    field("kind.deprecated_string", Access::KindOldText(6), TEXT),
    field("start_time_unix_nano", Access::Fixed64(7), INT),
    field("end_time_unix_nano", Access::Fixed64(8), INT),
    field("start_time", Access::Time(7), Types::TIME),
    field("end_time", Access::Time(8), Types::TIME),
    attributes(9),
    dropped(10),
    field("events", Access::Messages(11, "events"), Types::COLLECTION),
    field("dropped_events_count", Access::Uint32(12), INT),
    field("links", Access::Messages(13, "links"), Types::COLLECTION),
    field("dropped_links_count", Access::Uint32(14), INT),
    field("status", Access::Message(15, "status"), Types::COLLECTION),
    field("status.code", Access::Within(15, &Access::Enum(3)), INT),
    field("status.message", Access::Within(15, &Access::Text(2)), TEXT),
    field("flags", Access::Fixed32(16), INT),
];

const SPAN_EVENT: &[Field] = &[
    CACHE,
    field("time_unix_nano", Access::Fixed64(1), INT),
    field("time", Access::Time(1), Types::TIME),
    field("name", Access::Text(2), TEXT),
    attributes(3),
    dropped(4),
    Field { writes: Types::NONE, ..field("event_index", Access::Index, INT) },
];

const SPAN_LINK: &[Field] = &[
    CACHE,
    field("trace_id", Access::TraceId(1), Types::TRACE_ID),
    field("trace_id.string", Access::TraceIdText(1), TEXT),
    field("span_id", Access::SpanId(2), Types::SPAN_ID),
    field("span_id.string", Access::SpanIdText(2), TEXT),
    keyed("trace_state", Access::TraceState(3), TEXT),
    attributes(4),
    dropped(5),
    field("flags", Access::Fixed32(6), INT),
];

const LOG: &[Field] = &[
    CACHE,
    field("time_unix_nano", Access::Fixed64(1), INT),
    field("observed_time_unix_nano", Access::Fixed64(11), INT),
    field("time", Access::Time(1), Types::TIME),
    field("observed_time", Access::Time(11), Types::TIME),
    field("severity_number", Access::Enum(2), INT),
    field("severity_text", Access::Text(3), TEXT),
    keyed("body", Access::Any(5), ANY),
    field("body.string", Access::AnyText(5), TEXT),
    attributes(6),
    dropped(7),
    field("flags", Access::Fixed32(8), INT),
    field("trace_id", Access::TraceId(9), Types::TRACE_ID),
    field("trace_id.string", Access::TraceIdText(9), TEXT),
    field("span_id", Access::SpanId(10), Types::SPAN_ID),
    field("span_id.string", Access::SpanIdText(10), TEXT),
    field("event_name", Access::Text(12), TEXT),
];

const METRIC: &[Field] = &[
    CACHE,
    field("name", Access::Text(1), TEXT),
    field("description", Access::Text(2), TEXT),
    field("unit", Access::Text(3), TEXT),
    field("type", Access::MetricType, INT),
    absent("aggregation_temporality", Access::Temporality, INT),
    absent("is_monotonic", Access::IsMonotonic, Types::BOOL),
    absent("data_points", Access::DataPoints, Types::COLLECTION),
    keyed("metadata", Access::Attributes(12), Types::MAP),
];

const DATA_POINT: &[Field] = &[
    CACHE,
    keyed("attributes", Access::Point(Point::Attributes), Types::MAP),
    field("start_time_unix_nano", Access::Point(Point::StartNanos), INT),
    field("time_unix_nano", Access::Point(Point::Nanos), INT),
    field("start_time", Access::Point(Point::StartTime), Types::TIME),
    field("time", Access::Point(Point::Time), Types::TIME),
    absent("value_double", Access::Point(Point::ValueDouble), Types::DOUBLE),
    absent("value_int", Access::Point(Point::ValueInt), INT),
    absent("exemplars", Access::Point(Point::Exemplars), Types::COLLECTION),
    field("flags", Access::Point(Point::Flags), INT),
    absent("count", Access::Point(Point::Count), INT),
    absent("sum", Access::Point(Point::Sum), Types::DOUBLE),
    absent("bucket_counts", Access::Point(Point::BucketCounts), Types::LIST),
    absent("explicit_bounds", Access::Point(Point::ExplicitBounds), Types::LIST),
    absent("scale", Access::Point(Point::Scale), INT),
    absent("zero_count", Access::Point(Point::ZeroCount), INT),
    absent("positive", Access::Point(Point::Positive), Types::COLLECTION),
    absent("positive.offset", Access::Point(Point::PositiveOffset), INT),
    absent("positive.bucket_counts", Access::Point(Point::PositiveCounts), Types::LIST),
    absent("negative", Access::Point(Point::Negative), Types::COLLECTION),
    absent("negative.offset", Access::Point(Point::NegativeOffset), INT),
    absent("negative.bucket_counts", Access::Point(Point::NegativeCounts), Types::LIST),
    absent("quantile_values", Access::Point(Point::Quantiles), Types::COLLECTION),
];

const EXEMPLAR: &[Field] = &[
    CACHE,
    field("time_unix_nano", Access::Fixed64(2), INT),
    field("time", Access::Time(2), Types::TIME),
    field("double_value", Access::NumberDouble(3, 6), Types::DOUBLE),
    field("int_value", Access::NumberInt(6, 3), INT),
    field("trace_id", Access::TraceId(5), Types::TRACE_ID),
    field("trace_id.string", Access::TraceIdText(5), TEXT),
    field("span_id", Access::SpanId(4), Types::SPAN_ID),
    field("span_id.string", Access::SpanIdText(4), TEXT),
    keyed("filtered_attributes", Access::Attributes(7), Types::MAP),
];

const REQUEST: &[Field] = &[
    request("client.addr", RequestField::Address, TEXT, false),
    request("client.auth.attributes", RequestField::Auth, ANY, true),
    request("client.metadata", RequestField::Metadata, ANY, true),
    request("grpc.metadata", RequestField::Metadata, ANY, true),
];

/// The paths of a context.
pub fn fields(context: Context) -> &'static [Field] {
    match context {
        Context::Resource => RESOURCE,
        Context::Scope => SCOPE,
        Context::Span => SPAN,
        Context::SpanEvent => SPAN_EVENT,
        Context::SpanLink => SPAN_LINK,
        Context::Metric => METRIC,
        Context::DataPoint => DATA_POINT,
        Context::Exemplar => EXEMPLAR,
        Context::Log => LOG,
        Context::Request => REQUEST,
    }
}
