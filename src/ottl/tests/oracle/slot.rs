//! A field of a decoded message, and the rules of reading and writing it.

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value as Any},
    logs::v1::LogRecord,
    metrics::v1::{
        Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint,
        SummaryDataPoint, exemplar::Value as Measured, metric::Data,
        number_data_point::Value as Number,
    },
    trace::v1::{
        Span, Status,
        span::{Event, Link},
    },
};

use super::value::{No, Res, Val, hex};

/// A field with its rules.
pub(super) enum Slot<'a> {
    Text(&'a mut String),
    Count(&'a mut u32),
    Enum(&'a mut i32),
    Fixed64(&'a mut u64),
    Time(&'a mut u64),
    Map(&'a mut Vec<KeyValue>),
    Any(&'a mut Option<AnyValue>),
    AnyText(&'a mut Option<AnyValue>),
    TraceId(&'a mut Vec<u8>),
    TraceText(&'a mut Vec<u8>),
    SpanId(&'a mut Vec<u8>),
    SpanText(&'a mut Vec<u8>),
    KindText(&'a mut i32, bool),
    Code(&'a mut Option<Status>),
    Message(&'a mut Option<Status>),
    NumberDouble(&'a mut Option<Number>),
    NumberInt(&'a mut Option<Number>),
    MeasuredDouble(&'a mut Option<Measured>),
    MeasuredInt(&'a mut Option<Measured>),
    MaybeDouble(&'a mut Option<f64>),
    Double(&'a mut f64),
    Bool(&'a mut bool),
    Counts(&'a mut Vec<u64>),
    Bounds(&'a mut Vec<f64>),
    /// Writing it is an error.
    Fixed(Val),
    /// Writing it does nothing.
    Quiet(Val),
}

const KINDS: [&str; 6] = ["Unspecified", "Internal", "Server", "Client", "Producer", "Consumer"];

fn old_kind(kind: &str) -> String {
    format!("SPAN_KIND_{}", kind.to_uppercase())
}

fn id<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().unwrap_or([0; N])
}

fn from_hex(text: &str, len: usize) -> Res<Vec<u8>> {
    if text.len() != 2 * len || !text.is_ascii() {
        return Err(No::Fails);
    }
    let digits = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap_or(""));
    digits.map(|pair| u8::from_str_radix(pair, 16).map_err(|_| No::Fails)).collect()
}

pub(super) fn trace_id(text: &str) -> Res<Val> {
    Ok(Val::TraceId(id(&from_hex(text, 16)?)))
}

pub(super) fn span_id(text: &str) -> Res<Val> {
    Ok(Val::SpanId(id(&from_hex(text, 8)?)))
}

impl Slot<'_> {
    pub(super) fn read(self) -> Res<Val> {
        Ok(match self {
            Slot::Text(text) => Val::Text(text.clone()),
            Slot::Count(count) => Val::Int((*count).into()),
            Slot::Enum(value) => Val::Int((*value).into()),
            Slot::Fixed64(value) => Val::Int(value.cast_signed()),
            Slot::Time(value) => Val::Time(value.cast_signed()),
            Slot::Map(map) => Val::Map(map.clone()),
            Slot::Any(any) => Val::of(any.as_ref()),
            Slot::AnyText(any) => Val::Text(Val::of(any.as_ref()).plain()?),
            Slot::TraceId(bytes) => Val::TraceId(id(bytes)),
            Slot::TraceText(bytes) => Val::Text(hex(&id::<16>(bytes))),
            Slot::SpanId(bytes) => Val::SpanId(id(bytes)),
            Slot::SpanText(bytes) => Val::Text(hex(&id::<8>(bytes))),
            Slot::KindText(kind, is_old) => {
                let name = usize::try_from(*kind).ok().and_then(|at| KINDS.get(at)).copied();
                let name = name.ok_or(No::Unsure)?;
                Val::Text(if is_old { old_kind(name) } else { name.to_owned() })
            }
            Slot::Code(status) => Val::Int(status.as_ref().map_or(0, |s| s.code).into()),
            Slot::Message(status) => {
                Val::Text(status.as_ref().map_or(String::new(), |s| s.message.clone()))
            }
            Slot::NumberDouble(Some(Number::AsDouble(value)))
            | Slot::MeasuredDouble(Some(Measured::AsDouble(value)))
            | Slot::Double(value) => Val::Double(*value),
            Slot::NumberDouble(_) | Slot::MeasuredDouble(_) => Val::Double(0.0),
            Slot::NumberInt(Some(Number::AsInt(value)))
            | Slot::MeasuredInt(Some(Measured::AsInt(value))) => Val::Int(*value),
            Slot::NumberInt(_) | Slot::MeasuredInt(_) => Val::Int(0),
            Slot::MaybeDouble(value) => Val::Double(value.unwrap_or(0.0)),
            Slot::Bool(value) => Val::Bool(*value),
            Slot::Counts(counts) => Val::List(list(counts, |n| Any::IntValue(n.cast_signed()))),
            Slot::Bounds(bounds) => Val::List(list(bounds, Any::DoubleValue)),
            Slot::Fixed(value) | Slot::Quiet(value) => value,
        })
    }

    pub(super) fn write(self, value: &Val) -> Res<()> {
        let value = value.clone();
        match (self, value) {
            (Slot::Text(place), Val::Text(text)) => *place = text,
            (Slot::Count(place), Val::Int(new)) => {
                *place = new.try_into().map_err(|_| No::Fails)?;
            }
            (Slot::Enum(place), Val::Int(new)) => *place = new.try_into().map_err(|_| No::Fails)?,
            (Slot::Fixed64(place), Val::Int(new)) => {
                *place = new.try_into().map_err(|_| No::Fails)?;
            }
            (Slot::Time(place), Val::Time(new)) => *place = new.cast_unsigned(),
            (Slot::Map(place), Val::Nil) => place.clear(),
            (Slot::Map(place), Val::Map(new)) => {
                Val::Map(new.clone()).stored()?;
                *place = new;
            }
            (Slot::Any(place), value) => *place = Some(value.stored()?),
            (Slot::AnyText(place), Val::Text(text)) => *place = Some(Val::Text(text).stored()?),
            (Slot::TraceId(place), Val::TraceId(new)) => *place = new.to_vec(),
            (Slot::SpanId(place), Val::SpanId(new)) => *place = new.to_vec(),
            (Slot::TraceText(place), Val::Text(text)) => *place = from_hex(&text, 16)?,
            (Slot::SpanText(place), Val::Text(text)) => *place = from_hex(&text, 8)?,
            (Slot::KindText(place, is_old), Val::Text(text)) => {
                let named =
                    |name: &&str| if is_old { old_kind(name) == text } else { **name == text };
                let kind = KINDS.iter().position(named).ok_or(No::Fails)?;
                *place = i32::try_from(kind).map_err(|_| No::Fails)?;
            }
            (Slot::Code(place), Val::Int(new)) => {
                let code = new.try_into().map_err(|_| No::Fails)?;
                place.get_or_insert_default().code = code;
            }
            (Slot::Message(place), Val::Text(text)) => place.get_or_insert_default().message = text,
            (Slot::NumberDouble(place), Val::Double(new)) => *place = Some(Number::AsDouble(new)),
            (Slot::NumberInt(place), Val::Int(new)) => *place = Some(Number::AsInt(new)),
            (Slot::MeasuredDouble(place), Val::Double(new)) => {
                *place = Some(Measured::AsDouble(new));
            }
            (Slot::MeasuredInt(place), Val::Int(new)) => *place = Some(Measured::AsInt(new)),
            (Slot::MaybeDouble(place), Val::Double(new)) => *place = Some(new),
            (Slot::Double(place), Val::Double(new)) => *place = new,
            (Slot::Bool(place), Val::Bool(new)) => *place = new,
            (Slot::Counts(place), Val::List(list)) => {
                let counts = list.iter().map(|any| Val::of(Some(any)).into_int());
                let counts = counts.map(|n| n.and_then(|n| n.try_into().map_err(|_| No::Fails)));
                *place = counts.collect::<Res<_>>()?;
            }
            (Slot::Bounds(place), Val::List(list)) => {
                let bounds = list.iter().map(|any| match Val::of(Some(any)) {
                    Val::Double(bound) => Ok(bound),
                    _ => Err(No::Fails),
                });
                *place = bounds.collect::<Res<_>>()?;
            }
            (Slot::Quiet(_), _) => {}
            _ => return Err(No::Fails),
        }
        Ok(())
    }
}

fn list<T: Copy>(values: &[T], any: impl Fn(T) -> Any) -> Vec<AnyValue> {
    values.iter().map(|value| AnyValue { value: Some(any(*value)) }).collect()
}

pub(super) fn span_slot<'a>(span: &'a mut Span, field: &str) -> Slot<'a> {
    match field {
        "trace_id" => Slot::TraceId(&mut span.trace_id),
        "trace_id.string" => Slot::TraceText(&mut span.trace_id),
        "span_id" => Slot::SpanId(&mut span.span_id),
        "span_id.string" => Slot::SpanText(&mut span.span_id),
        "parent_span_id" => Slot::SpanId(&mut span.parent_span_id),
        "parent_span_id.string" => Slot::SpanText(&mut span.parent_span_id),
        "trace_state" => Slot::Text(&mut span.trace_state),
        "name" => Slot::Text(&mut span.name),
        "kind" => Slot::Enum(&mut span.kind),
        "kind.string" => Slot::KindText(&mut span.kind, false),
        "kind.deprecated_string" => Slot::KindText(&mut span.kind, true),
        "start_time_unix_nano" => Slot::Fixed64(&mut span.start_time_unix_nano),
        "start_time" => Slot::Time(&mut span.start_time_unix_nano),
        "end_time_unix_nano" => Slot::Fixed64(&mut span.end_time_unix_nano),
        "end_time" => Slot::Time(&mut span.end_time_unix_nano),
        "attributes" => Slot::Map(&mut span.attributes),
        "dropped_attributes_count" => Slot::Count(&mut span.dropped_attributes_count),
        "dropped_events_count" => Slot::Count(&mut span.dropped_events_count),
        "dropped_links_count" => Slot::Count(&mut span.dropped_links_count),
        "status.code" => Slot::Code(&mut span.status),
        "status.message" => Slot::Message(&mut span.status),
        "flags" => Slot::Count(&mut span.flags),
        other => unreachable!("{other}"),
    }
}

pub(super) fn event_slot<'a>(event: &'a mut Event, index: i64, field: &str) -> Slot<'a> {
    match field {
        "name" => Slot::Text(&mut event.name),
        "time_unix_nano" => Slot::Fixed64(&mut event.time_unix_nano),
        "time" => Slot::Time(&mut event.time_unix_nano),
        "attributes" => Slot::Map(&mut event.attributes),
        "event_index" => Slot::Fixed(Val::Int(index)),
        _ => Slot::Count(&mut event.dropped_attributes_count),
    }
}

pub(super) fn link_slot<'a>(link: &'a mut Link, field: &str) -> Slot<'a> {
    match field {
        "trace_id" => Slot::TraceId(&mut link.trace_id),
        "trace_id.string" => Slot::TraceText(&mut link.trace_id),
        "span_id" => Slot::SpanId(&mut link.span_id),
        "span_id.string" => Slot::SpanText(&mut link.span_id),
        "trace_state" => Slot::Text(&mut link.trace_state),
        "attributes" => Slot::Map(&mut link.attributes),
        "flags" => Slot::Count(&mut link.flags),
        _ => Slot::Count(&mut link.dropped_attributes_count),
    }
}

pub(super) fn log_slot<'a>(log: &'a mut LogRecord, field: &str) -> Slot<'a> {
    match field {
        "time_unix_nano" => Slot::Fixed64(&mut log.time_unix_nano),
        "time" => Slot::Time(&mut log.time_unix_nano),
        "observed_time_unix_nano" => Slot::Fixed64(&mut log.observed_time_unix_nano),
        "observed_time" => Slot::Time(&mut log.observed_time_unix_nano),
        "severity_number" => Slot::Enum(&mut log.severity_number),
        "severity_text" => Slot::Text(&mut log.severity_text),
        "body" => Slot::Any(&mut log.body),
        "body.string" => Slot::AnyText(&mut log.body),
        "attributes" => Slot::Map(&mut log.attributes),
        "dropped_attributes_count" => Slot::Count(&mut log.dropped_attributes_count),
        "flags" => Slot::Count(&mut log.flags),
        "trace_id" => Slot::TraceId(&mut log.trace_id),
        "trace_id.string" => Slot::TraceText(&mut log.trace_id),
        "span_id" => Slot::SpanId(&mut log.span_id),
        "span_id.string" => Slot::SpanText(&mut log.span_id),
        "event_name" => Slot::Text(&mut log.event_name),
        other => unreachable!("{other}"),
    }
}

pub(super) fn metric_slot<'a>(metric: &'a mut Metric, field: &str) -> Slot<'a> {
    let kind = match &metric.data {
        None => 0,
        Some(Data::Gauge(_)) => 1,
        Some(Data::Sum(_)) => 2,
        Some(Data::Histogram(_)) => 3,
        Some(Data::ExponentialHistogram(_)) => 4,
        Some(Data::Summary(_)) => 5,
    };
    match (field, &mut metric.data) {
        ("name", _) => Slot::Text(&mut metric.name),
        ("description", _) => Slot::Text(&mut metric.description),
        ("unit", _) => Slot::Text(&mut metric.unit),
        ("metadata", _) => Slot::Map(&mut metric.metadata),
        ("type", _) => Slot::Quiet(Val::Int(kind)),
        ("is_monotonic", Some(Data::Sum(sum))) => Slot::Bool(&mut sum.is_monotonic),
        ("aggregation_temporality", Some(data)) => match data {
            Data::Sum(sum) => Slot::Enum(&mut sum.aggregation_temporality),
            Data::Histogram(one) => Slot::Enum(&mut one.aggregation_temporality),
            Data::ExponentialHistogram(one) => Slot::Enum(&mut one.aggregation_temporality),
            _ => Slot::Quiet(Val::Nil),
        },
        ("is_monotonic" | "aggregation_temporality", _) => Slot::Quiet(Val::Nil),
        (other, _) => unreachable!("{other}"),
    }
}

/// The fields that all points have.
macro_rules! of_all_points {
    ($point:ident, $field:ident) => {
        match $field {
            "attributes" => return Slot::Map(&mut $point.attributes),
            "start_time_unix_nano" => return Slot::Fixed64(&mut $point.start_time_unix_nano),
            "start_time" => return Slot::Time(&mut $point.start_time_unix_nano),
            "time_unix_nano" => return Slot::Fixed64(&mut $point.time_unix_nano),
            "time" => return Slot::Time(&mut $point.time_unix_nano),
            "flags" => return Slot::Count(&mut $point.flags),
            _ => {}
        }
    };
}

pub(super) fn number_slot<'a>(point: &'a mut NumberDataPoint, field: &str) -> Slot<'a> {
    of_all_points!(point, field);
    match field {
        "value_double" => Slot::NumberDouble(&mut point.value),
        "value_int" => Slot::NumberInt(&mut point.value),
        _ => Slot::Fixed(Val::Nil),
    }
}

pub(super) fn histogram_slot<'a>(point: &'a mut HistogramDataPoint, field: &str) -> Slot<'a> {
    of_all_points!(point, field);
    match field {
        "count" => Slot::Fixed64(&mut point.count),
        "sum" => Slot::MaybeDouble(&mut point.sum),
        "bucket_counts" => Slot::Counts(&mut point.bucket_counts),
        "explicit_bounds" => Slot::Bounds(&mut point.explicit_bounds),
        _ => Slot::Fixed(Val::Nil),
    }
}

pub(super) fn exponential_slot<'a>(
    point: &'a mut ExponentialHistogramDataPoint,
    field: &str,
) -> Slot<'a> {
    of_all_points!(point, field);
    match field {
        "count" => Slot::Fixed64(&mut point.count),
        "sum" => Slot::MaybeDouble(&mut point.sum),
        "scale" => Slot::Enum(&mut point.scale),
        "zero_count" => Slot::Fixed64(&mut point.zero_count),
        "positive.offset" => Slot::Enum(&mut point.positive.get_or_insert_default().offset),
        "positive.bucket_counts" => {
            Slot::Counts(&mut point.positive.get_or_insert_default().bucket_counts)
        }
        "negative.offset" => Slot::Enum(&mut point.negative.get_or_insert_default().offset),
        "negative.bucket_counts" => {
            Slot::Counts(&mut point.negative.get_or_insert_default().bucket_counts)
        }
        _ => Slot::Fixed(Val::Nil),
    }
}

pub(super) fn exemplar_slot<'a>(exemplar: &'a mut Exemplar, field: &str) -> Slot<'a> {
    match field {
        "time_unix_nano" => Slot::Fixed64(&mut exemplar.time_unix_nano),
        "time" => Slot::Time(&mut exemplar.time_unix_nano),
        "double_value" => Slot::MeasuredDouble(&mut exemplar.value),
        "int_value" => Slot::MeasuredInt(&mut exemplar.value),
        "trace_id" => Slot::TraceId(&mut exemplar.trace_id),
        "trace_id.string" => Slot::TraceText(&mut exemplar.trace_id),
        "span_id" => Slot::SpanId(&mut exemplar.span_id),
        "span_id.string" => Slot::SpanText(&mut exemplar.span_id),
        _ => Slot::Map(&mut exemplar.filtered_attributes),
    }
}

pub(super) fn summary_slot<'a>(point: &'a mut SummaryDataPoint, field: &str) -> Slot<'a> {
    of_all_points!(point, field);
    match field {
        "count" => Slot::Fixed64(&mut point.count),
        "sum" => Slot::Double(&mut point.sum),
        _ => Slot::Fixed(Val::Nil),
    }
}
