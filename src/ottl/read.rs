//! Reads the field of a path from the bytes of an item.

use std::borrow::Cow;

use super::{
    fault::What,
    index::Indexed,
    item::{Item, Tier},
    language::{Access, Point, RequestField},
    text::{hex, plain},
    trace_state,
    value::{Collection, Map, Value},
    wire::{Step, fixed64s, last, last_of, number, step, unzigzag, varints},
};
use crate::otlp::wire::FieldValue;

/// Names of span kinds by number.
pub(super) const KINDS: [&str; 6] =
    ["Unspecified", "Internal", "Server", "Client", "Producer", "Consumer"];

/// The same in capitals.
pub(super) const OLD_KINDS: [&str; 6] = [
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];

/// Fields of a metric that hold its points.
pub(super) const DATA: [u32; 5] = [5, 7, 9, 10, 11];

/// Reads a field and follows the keys behind it.
pub(crate) fn read<'i>(
    item: &'i Item<'_>,
    tier: Tier,
    access: Access,
    steps: &[Step<'_>],
) -> Result<Value<'i>, What> {
    let access = match access {
        Access::Point(point) => match point.access(item.kind) {
            Some(access) => access,
            None => return Ok(Value::Nil),
        },
        other => other,
    };
    let indexed = item.indexed(tier);
    let (value, steps) = match (access, steps) {
        (Access::Attributes(number), [Step::Key(key), deeper @ ..]) => {
            let found = indexed.attribute(number, key).map(|found| found.any);
            (found.map_or(Value::Nil, Value::read_cow), deeper)
        }
        (Access::TraceState(number), [Step::Key(key), deeper @ ..]) => {
            (trace_state::member(indexed.bytes(number), key), deeper)
        }
        (Access::Request(field), _) => return read_request(item, field, steps),
        (Access::Any(number), [_, ..]) => {
            let body = indexed.child(number).map_or(Value::Nil, Value::read_cow);
            if body.is_nil() {
                return Err(What::NoKeys(body.types()));
            }
            (body, steps)
        }
        _ => (whole(item, indexed, access), steps),
    };
    steps.iter().try_fold(value, step)
}

/// Reads a field without keys.
fn whole<'i>(item: &Item<'_>, from: Indexed<'i>, access: Access) -> Value<'i> {
    let message = from.message;
    let collection = |name, bytes, number| Value::Collection(Collection { name, bytes, number });
    match access {
        Access::Text(n) | Access::TraceState(n) => Value::Text(Cow::Borrowed(from.bytes(n))),
        Access::Uint32(_)
        | Access::Enum(_)
        | Access::Sint32(_)
        | Access::Fixed32(_)
        | Access::Fixed64(_) => Value::Int(integer(from, access)),
        Access::Time(n) => Value::Time(from.number(n).cast_signed()),
        Access::Double(n) => Value::Double(f64::from_bits(from.number(n))),
        Access::Bool(n) => Value::Bool(from.number(n) != 0),
        Access::Attributes(number) => Value::Map(Map { bytes: Cow::Borrowed(message), number }),
        Access::Any(n) => from.child(n).map_or(Value::Nil, Value::read_cow),
        Access::AnyText(n) => Value::Text(plain(from.child(n).map_or(Value::Nil, Value::read_cow))),
        Access::TraceId(n) => Value::TraceId(id(from.bytes(n))),
        Access::SpanId(n) => Value::SpanId(id(from.bytes(n))),
        Access::TraceIdText(n) => Value::Text(hex(&id::<16>(from.bytes(n))).into()),
        Access::SpanIdText(n) => Value::Text(hex(&id::<8>(from.bytes(n))).into()),
        Access::KindText(n) => Value::text(kind_name(&KINDS, from.number(n))),
        Access::KindOldText(n) => Value::text(kind_name(&OLD_KINDS, from.number(n))),
        Access::Messages(n, name) => collection(name, Cow::Borrowed(message), n),
        Access::Message(n, name) => collection(name, from.child(n).unwrap_or_default(), 0),
        Access::Within(n, inner) => match from.child(n) {
            Some(Cow::Borrowed(child)) => whole(item, Indexed::plain(child), *inner),
            Some(Cow::Owned(child)) => whole(item, Indexed::plain(&child), *inner).into_owned(),
            None => whole(item, Indexed::plain(&[]), *inner),
        },
        Access::Fixed64s(n) => {
            Value::list(fixed64s(message, n).into_iter().map(|n| Value::Int(n.cast_signed())))
        }
        Access::Doubles(n) => {
            let doubles = fixed64s(message, n).into_iter().map(f64::from_bits);
            Value::list(doubles.map(Value::Double))
        }
        Access::Varints(n) => {
            Value::list(varints(message, n).into_iter().map(|n| Value::Int(n.cast_signed())))
        }
        Access::NumberDouble(own, other) => match from.last_of(&[own, other]) {
            Some((n, bits)) if n == own => Value::Double(f64::from_bits(bits)),
            _ => Value::Double(0.0),
        },
        Access::NumberInt(own, other) => match from.last_of(&[own, other]) {
            Some((n, bits)) if n == own => Value::Int(bits.cast_signed()),
            _ => Value::Int(0),
        },
        Access::Index => item.index.map_or(Value::Nil, |i| Value::Int(i.cast_signed() as i64)),
        Access::MetricType | Access::Temporality | Access::IsMonotonic | Access::DataPoints => {
            read_metric(message, access)
        }
        Access::Schema => Value::Text(Cow::Borrowed(message)),
        Access::Point(_) | Access::Request(_) => Value::Nil,
    }
}

/// Whether a field is an integer, also where it is absent.
pub(super) fn is_integer(access: Access) -> bool {
    match access {
        Access::Uint32(_)
        | Access::Enum(_)
        | Access::Sint32(_)
        | Access::Fixed32(_)
        | Access::Fixed64(_) => true,
        Access::Within(_, inner) => is_integer(*inner),
        _ => false,
    }
}

/// A field that is an integer.
#[inline]
pub(super) fn integer(from: Indexed<'_>, access: Access) -> i64 {
    match access {
        Access::Uint32(n) => i64::from(low_bits(from.number(n))),
        Access::Enum(n) => i64::from(low_bits(from.number(n)).cast_signed()),
        Access::Sint32(n) => unzigzag(u64::from(low_bits(from.number(n)))),
        Access::Fixed32(n) | Access::Fixed64(n) => from.number(n).cast_signed(),
        Access::Within(n, inner) => {
            let child = from.child(n).unwrap_or_default();
            integer(Indexed::plain(&child), *inner)
        }
        _ => 0,
    }
}

/// Protobuf takes the low 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "protobuf takes the low 32 bits")]
fn low_bits(bits: u64) -> u32 {
    bits as u32
}

fn kind_name(names: &'static [&'static str; 6], kind: u64) -> &'static str {
    usize::try_from(kind).ok().and_then(|kind| names.get(kind)).copied().unwrap_or("")
}

/// An id; one that is absent is all zero.
pub(super) fn id<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().unwrap_or([0; N])
}

/// The field that holds the points of a metric, and its content.
pub(crate) fn data(metric: &[u8]) -> Option<(u32, Cow<'_, [u8]>)> {
    let (kind, _) = last_of(metric, &DATA)?;
    // Parts before another kind of data do not count.
    let mut parts: Vec<&[u8]> = Vec::new();
    for field in super::wire::fields(metric).filter(|field| DATA.contains(&field.number)) {
        if field.number == kind {
            parts.push(field.bytes());
        } else {
            parts.clear();
        }
    }
    Some(match *parts {
        [only] => (kind, Cow::Borrowed(only)),
        _ => (kind, Cow::Owned(super::wire::joined(parts.into_iter()))),
    })
}

fn read_metric(metric: &[u8], access: Access) -> Value<'_> {
    let Some((kind, data)) = data(metric) else {
        return if access == Access::MetricType { Value::Int(0) } else { Value::Nil };
    };
    match access {
        Access::MetricType => Value::Int(match kind {
            5 => 1,
            7 => 2,
            9 => 3,
            10 => 4,
            _ => 5,
        }),
        Access::Temporality if matches!(kind, 7 | 9 | 10) => {
            Value::Int(i64::from(low_bits(number(&data, 2)).cast_signed()))
        }
        Access::IsMonotonic if kind == 7 => Value::Bool(number(&data, 3) != 0),
        Access::DataPoints => {
            Value::Collection(Collection { name: points_name(kind), bytes: data, number: 1 })
        }
        _ => Value::Nil,
    }
}

/// Points can be copied to a metric of the same kind only.
pub(super) fn points_name(kind: u32) -> &'static str {
    match kind {
        5 | 7 => "number data points",
        9 => "histogram data points",
        10 => "exponential histogram data points",
        _ => "summary data points",
    }
}

fn read_request<'i>(
    item: &'i Item<'_>,
    field: RequestField,
    steps: &[Step<'_>],
) -> Result<Value<'i>, What> {
    let Some(request) = item.request else {
        let nothing = if field == RequestField::Address { Value::text("") } else { Value::Nil };
        return Ok(nothing);
    };
    let value = match field {
        RequestField::Address => {
            let address = request.peer.map(|peer| peer.ip().to_string()).unwrap_or_default();
            Value::Text(Cow::Owned(address.into_bytes()))
        }
        RequestField::Auth => match steps {
            [Step::Key(key), ..] => {
                let name = std::str::from_utf8(key).unwrap_or("");
                match request.auth_values(name) {
                    Some([one]) => Value::text(one),
                    Some(many) => Value::texts(many.iter().map(String::as_bytes)),
                    None => Value::Nil,
                }
            }
            _ => Value::Nil,
        },
        RequestField::Metadata => match steps {
            [Step::Key(key), ..] => {
                let name = std::str::from_utf8(key).unwrap_or("");
                let values: Vec<&[u8]> = request.values(name).map(str::as_bytes).collect();
                if values.is_empty() { Value::Nil } else { Value::texts(values) }
            }
            _ => Value::Nil,
        },
    };
    steps.iter().skip(1).try_fold(value, step)
}

/// Whether a field is set.
pub(super) fn has(message: &[u8], number: u32) -> bool {
    matches!(last(message, number), Some(FieldValue::Fixed64(_)))
}

/// Where the attributes of a point are.
pub(crate) fn point_attributes(kind: u32) -> u32 {
    match Point::Attributes.access(kind) {
        Some(Access::Attributes(number)) => number,
        _ => 7,
    }
}
