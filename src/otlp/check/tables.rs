//! What the check knows of each OTLP message: for each field its number, its name and its kind.
//! From opentelemetry-proto (`trace.proto`, `metrics.proto`, `logs.proto`, `common.proto`,
//! `resource.proto`); the tests compare them with the generated types.

/// How the value of a field is checked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// Not in the table: framing only.
    Unknown,
    /// Integers, booleans, enums.
    Varint,
    /// Any number of them, packed or not.
    Varints,
    /// `fixed64`, `sfixed64`, `double`.
    Fixed64,
    /// Any number of them, packed or not.
    Fixed64s,
    /// `fixed32`.
    Fixed32,
    /// UTF-8.
    String,
    /// Anything.
    Bytes,
    /// So many bytes, or none.
    Id(usize),
    /// An attribute.
    KeyValue,
    /// Another message.
    Message(&'static Message),
}

/// One field of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    /// As in the `.proto` file.
    pub(super) name: &'static str,
    /// How it is checked.
    pub(super) kind: Kind,
    /// Whether it may stand several times.
    pub(super) is_repeated: bool,
}

/// One message: its fields by number, with gaps where there is none.
#[derive(Debug)]
pub(super) struct Message {
    /// Whether it is a span, a data point or a log record.
    pub(super) is_item: bool,
    /// Kinds by field number, kept apart from the names: the walk touches one cache line or two.
    kinds: [Kind; 24],
    fields: &'static [(u32, Field)],
}

impl Message {
    #[inline]
    pub(super) fn kind(&self, number: u32) -> Kind {
        match self.kinds.get(number as usize) {
            Some(kind) => *kind,
            None => Kind::Unknown,
        }
    }

    pub(super) fn field(&self, number: u32) -> Option<&Field> {
        self.fields.iter().find(|(n, _)| *n == number).map(|(_, field)| field)
    }

    const fn new(fields: &'static [(u32, Field)]) -> Self {
        let mut kinds = [Kind::Unknown; 24];
        let mut i = 0;
        while i < fields.len() {
            kinds[fields[i].0 as usize] = fields[i].1.kind;
            i += 1;
        }
        Message { is_item: false, kinds, fields }
    }

    const fn item(fields: &'static [(u32, Field)]) -> Self {
        let mut message = Message::new(fields);
        message.is_item = true;
        message
    }
}

const fn one(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, is_repeated: false }
}

const fn many(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, is_repeated: true }
}

const fn message(name: &'static str, table: &'static Message) -> Field {
    one(name, Kind::Message(table))
}

const fn messages(name: &'static str, table: &'static Message) -> Field {
    many(name, Kind::Message(table))
}

const ATTRIBUTES: Field = many("attributes", Kind::KeyValue);
const DROPPED: Field = one("dropped_attributes_count", Kind::Varint);
const SCHEMA_URL: Field = one("schema_url", Kind::String);
const TRACE_ID: Field = one("trace_id", Kind::Id(16));
const SPAN_ID: Field = one("span_id", Kind::Id(8));

pub(super) static TRACES: Message =
    Message::new(&[(1, messages("resource_spans", &RESOURCE_SPANS))]);
pub(super) static METRICS: Message =
    Message::new(&[(1, messages("resource_metrics", &RESOURCE_METRICS))]);
pub(super) static LOGS: Message = Message::new(&[(1, messages("resource_logs", &RESOURCE_LOGS))]);

static RESOURCE_SPANS: Message = Message::new(&[
    (1, message("resource", &RESOURCE)),
    (2, messages("scope_spans", &SCOPE_SPANS)),
    (3, SCHEMA_URL),
]);
static RESOURCE_METRICS: Message = Message::new(&[
    (1, message("resource", &RESOURCE)),
    (2, messages("scope_metrics", &SCOPE_METRICS)),
    (3, SCHEMA_URL),
]);
static RESOURCE_LOGS: Message = Message::new(&[
    (1, message("resource", &RESOURCE)),
    (2, messages("scope_logs", &SCOPE_LOGS)),
    (3, SCHEMA_URL),
]);
static SCOPE_SPANS: Message =
    Message::new(&[(1, message("scope", &SCOPE)), (2, messages("spans", &SPAN)), (3, SCHEMA_URL)]);
static SCOPE_METRICS: Message = Message::new(&[
    (1, message("scope", &SCOPE)),
    (2, messages("metrics", &METRIC)),
    (3, SCHEMA_URL),
]);
static SCOPE_LOGS: Message = Message::new(&[
    (1, message("scope", &SCOPE)),
    (2, messages("log_records", &LOG_RECORD)),
    (3, SCHEMA_URL),
]);

static RESOURCE: Message =
    Message::new(&[(1, ATTRIBUTES), (2, DROPPED), (3, messages("entity_refs", &ENTITY_REF))]);
static ENTITY_REF: Message = Message::new(&[
    (1, SCHEMA_URL),
    (2, one("type", Kind::String)),
    (3, many("id_keys", Kind::String)),
    (4, many("description_keys", Kind::String)),
]);
static SCOPE: Message = Message::new(&[
    (1, one("name", Kind::String)),
    (2, one("version", Kind::String)),
    (3, ATTRIBUTES),
    (4, DROPPED),
]);
pub(super) static KEY_VALUE: Message = Message::new(&[
    (1, one("key", Kind::String)),
    (2, message("value", &ANY_VALUE)),
    (3, one("key_strindex", Kind::Varint)),
]);
static ANY_VALUE: Message = Message::new(&[
    (1, one("string_value", Kind::String)),
    (2, one("bool_value", Kind::Varint)),
    (3, one("int_value", Kind::Varint)),
    (4, one("double_value", Kind::Fixed64)),
    (5, message("array_value", &ARRAY_VALUE)),
    (6, message("kvlist_value", &KEY_VALUE_LIST)),
    (7, one("bytes_value", Kind::Bytes)),
    (8, one("string_value_strindex", Kind::Varint)),
]);
static ARRAY_VALUE: Message = Message::new(&[(1, messages("values", &ANY_VALUE))]);
static KEY_VALUE_LIST: Message = Message::new(&[(1, many("values", Kind::KeyValue))]);

static SPAN: Message = Message::item(&[
    (1, TRACE_ID),
    (2, SPAN_ID),
    (3, one("trace_state", Kind::String)),
    (4, one("parent_span_id", Kind::Id(8))),
    (5, one("name", Kind::String)),
    (6, one("kind", Kind::Varint)),
    (7, one("start_time_unix_nano", Kind::Fixed64)),
    (8, one("end_time_unix_nano", Kind::Fixed64)),
    (9, ATTRIBUTES),
    (10, DROPPED),
    (11, messages("events", &EVENT)),
    (12, one("dropped_events_count", Kind::Varint)),
    (13, messages("links", &LINK)),
    (14, one("dropped_links_count", Kind::Varint)),
    (15, message("status", &STATUS)),
    (16, one("flags", Kind::Fixed32)),
]);
static EVENT: Message = Message::new(&[
    (1, one("time_unix_nano", Kind::Fixed64)),
    (2, one("name", Kind::String)),
    (3, ATTRIBUTES),
    (4, DROPPED),
]);
static LINK: Message = Message::new(&[
    (1, TRACE_ID),
    (2, SPAN_ID),
    (3, one("trace_state", Kind::String)),
    (4, ATTRIBUTES),
    (5, DROPPED),
    (6, one("flags", Kind::Fixed32)),
]);
static STATUS: Message =
    Message::new(&[(2, one("message", Kind::String)), (3, one("code", Kind::Varint))]);

static LOG_RECORD: Message = Message::item(&[
    (1, one("time_unix_nano", Kind::Fixed64)),
    (2, one("severity_number", Kind::Varint)),
    (3, one("severity_text", Kind::String)),
    (5, message("body", &ANY_VALUE)),
    (6, ATTRIBUTES),
    (7, DROPPED),
    (8, one("flags", Kind::Fixed32)),
    (9, TRACE_ID),
    (10, SPAN_ID),
    (11, one("observed_time_unix_nano", Kind::Fixed64)),
    (12, one("event_name", Kind::String)),
]);

static METRIC: Message = Message::new(&[
    (1, one("name", Kind::String)),
    (2, one("description", Kind::String)),
    (3, one("unit", Kind::String)),
    (5, message("gauge", &GAUGE)),
    (7, message("sum", &SUM)),
    (9, message("histogram", &HISTOGRAM)),
    (10, message("exponential_histogram", &EXPONENTIAL_HISTOGRAM)),
    (11, message("summary", &SUMMARY)),
    (12, many("metadata", Kind::KeyValue)),
]);
const TEMPORALITY: Field = one("aggregation_temporality", Kind::Varint);
static GAUGE: Message = Message::new(&[(1, messages("data_points", &NUMBER))]);
static SUM: Message = Message::new(&[
    (1, messages("data_points", &NUMBER)),
    (2, TEMPORALITY),
    (3, one("is_monotonic", Kind::Varint)),
]);
static HISTOGRAM: Message =
    Message::new(&[(1, messages("data_points", &HISTOGRAM_POINT)), (2, TEMPORALITY)]);
static EXPONENTIAL_HISTOGRAM: Message =
    Message::new(&[(1, messages("data_points", &EXPONENTIAL_POINT)), (2, TEMPORALITY)]);
static SUMMARY: Message = Message::new(&[(1, messages("data_points", &SUMMARY_POINT))]);

const START: Field = one("start_time_unix_nano", Kind::Fixed64);
const TIME: Field = one("time_unix_nano", Kind::Fixed64);
static NUMBER: Message = Message::item(&[
    (2, START),
    (3, TIME),
    (4, one("as_double", Kind::Fixed64)),
    (5, messages("exemplars", &EXEMPLAR)),
    (6, one("as_int", Kind::Fixed64)),
    (7, ATTRIBUTES),
    (8, one("flags", Kind::Varint)),
]);
static HISTOGRAM_POINT: Message = Message::item(&[
    (2, START),
    (3, TIME),
    (4, one("count", Kind::Fixed64)),
    (5, one("sum", Kind::Fixed64)),
    (6, many("bucket_counts", Kind::Fixed64s)),
    (7, many("explicit_bounds", Kind::Fixed64s)),
    (8, messages("exemplars", &EXEMPLAR)),
    (9, ATTRIBUTES),
    (10, one("flags", Kind::Varint)),
    (11, one("min", Kind::Fixed64)),
    (12, one("max", Kind::Fixed64)),
]);
static EXPONENTIAL_POINT: Message = Message::item(&[
    (1, ATTRIBUTES),
    (2, START),
    (3, TIME),
    (4, one("count", Kind::Fixed64)),
    (5, one("sum", Kind::Fixed64)),
    (6, one("scale", Kind::Varint)),
    (7, one("zero_count", Kind::Fixed64)),
    (8, message("positive", &BUCKETS)),
    (9, message("negative", &BUCKETS)),
    (10, one("flags", Kind::Varint)),
    (11, messages("exemplars", &EXEMPLAR)),
    (12, one("min", Kind::Fixed64)),
    (13, one("max", Kind::Fixed64)),
    (14, one("zero_threshold", Kind::Fixed64)),
]);
static BUCKETS: Message =
    Message::new(&[(1, one("offset", Kind::Varint)), (2, many("bucket_counts", Kind::Varints))]);
static SUMMARY_POINT: Message = Message::item(&[
    (2, START),
    (3, TIME),
    (4, one("count", Kind::Fixed64)),
    (5, one("sum", Kind::Fixed64)),
    (6, messages("quantile_values", &QUANTILE)),
    (7, ATTRIBUTES),
    (8, one("flags", Kind::Varint)),
]);
static QUANTILE: Message =
    Message::new(&[(1, one("quantile", Kind::Fixed64)), (2, one("value", Kind::Fixed64))]);
static EXEMPLAR: Message = Message::new(&[
    (2, TIME),
    (3, one("as_double", Kind::Fixed64)),
    (4, SPAN_ID),
    (5, TRACE_ID),
    (6, one("as_int", Kind::Fixed64)),
    (7, many("filtered_attributes", Kind::KeyValue)),
]);
