//! Writes the field of a path.
//!
//! A value of the wrong type is an error, and so is a number that does not fit. What is nil empties
//! a map, a list or an attribute. Fields of a metric or point of another kind: those of a metric
//! stay as they are, those of a point are an error.

use super::{
    fault::What,
    item::{Item, Tier},
    language::{Access, RequestField},
    read::{DATA, KINDS, OLD_KINDS, data, points_name},
    text::from_hex,
    trace_state,
    types::Types,
    value::{Value, content, elements, put_double},
    wire::{
        Step, bytes, check_depth, child, fields, put_attribute, put_fixed32, put_fixed64,
        put_inside, put_number, replace, replace_child, replace_map, zigzag,
    },
};
use crate::otlp::wire::{bytes_field_len, put_bytes, put_header};

/// Sets a field, or what is behind the keys of a field.
pub(crate) fn write(
    item: &mut Item<'_>,
    tier: Tier,
    access: Access,
    steps: &[Step<'_>],
    value: &Value<'_>,
) -> Result<(), What> {
    let access = match access {
        Access::Point(point) => point
            .access(item.kind)
            .ok_or(What::text("a data point of this kind has no such field"))?,
        other => other,
    };
    if !steps.is_empty() {
        return write_inside(item, tier, access, steps, value);
    }
    item.edit(tier, |message, out| write_whole(message, access, value, out))
}

/// The `AnyValue` of what is to be stored.
pub(crate) fn stored(value: &Value<'_>) -> Result<Vec<u8>, What> {
    let mut any = Vec::new();
    if !value.encode(&mut any) {
        return Err(What::NotStored(value.types()));
    }
    if matches!(value, Value::Map(_) | Value::List(_)) {
        check_depth(&any)?;
    }
    Ok(any)
}

fn write_inside(
    item: &mut Item<'_>,
    tier: Tier,
    access: Access,
    steps: &[Step<'_>],
    value: &Value<'_>,
) -> Result<(), What> {
    match access {
        Access::Attributes(number) => {
            let any = stored(value)?;
            item.edit_indexed(tier, |from, out| put_attribute(from, number, steps, &any, out))
        }
        Access::Any(number) => {
            let any = stored(value)?;
            item.edit(tier, |message, out| {
                let old = child(message, number).unwrap_or_default();
                let found = Value::read(&old);
                if !matches!(found, Value::Map(_) | Value::List(_)) {
                    return Err(What::NoKeys(found.types()));
                }
                let mut new = Vec::new();
                put_inside(&old, steps, &any, &mut new)?;
                check_depth(&new)?;
                replace(message, &[number], out, |out| put_bytes(out, number, &new));
                Ok(())
            })
        }
        Access::TraceState(number) => {
            let (Value::Text(new), [Step::Key(key)]) = (value, steps) else {
                return Err(wrong(Types::TEXT, value));
            };
            item.edit(tier, |message, out| {
                let state = trace_state::with_member(bytes(message, number), key, new);
                let Some(state) = state else {
                    out.extend_from_slice(message);
                    return Ok(());
                };
                replace(message, &[number], out, |out| put_bytes(out, number, &state));
                Ok(())
            })
        }
        _ => Err(What::text("this path has no keys")),
    }
}

fn wrong(wanted: Types, value: &Value<'_>) -> What {
    What::Type { subject: "the value", wanted, found: value.types() }
}

fn integer(value: &Value<'_>) -> Result<i64, What> {
    match value {
        Value::Int(value) => Ok(*value),
        other => Err(wrong(Types::INT, other)),
    }
}

fn fits<T: TryFrom<i64>>(value: &Value<'_>) -> Result<T, What> {
    let value = integer(value)?;
    T::try_from(value).map_err(|_| What::owned(format!("{value} does not fit into the field")))
}

fn text<'v>(value: &'v Value<'_>) -> Result<&'v [u8], What> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(wrong(Types::TEXT, other)),
    }
}

fn write_whole(
    message: &[u8],
    access: Access,
    value: &Value<'_>,
    out: &mut Vec<u8>,
) -> Result<(), What> {
    match access {
        Access::Text(n) | Access::TraceState(n) => {
            let new = String::from_utf8_lossy(text(value)?);
            replace(message, &[n], out, |out| put_bytes(out, n, new.as_bytes()));
        }
        Access::Uint32(_)
        | Access::Fixed32(_)
        | Access::Enum(_)
        | Access::Sint32(_)
        | Access::Fixed64(_)
        | Access::Time(_)
        | Access::Double(_)
        | Access::Bool(_) => return write_scalar(message, access, value, out),
        Access::Schema => out.extend(String::from_utf8_lossy(text(value)?).bytes()),
        Access::Within(n, inner) => {
            return replace_child(message, n, out, |child, new| {
                write_whole(child, *inner, value, new)
            });
        }
        Access::Attributes(_) | Access::Any(_) | Access::AnyText(_) => {
            return write_values(message, access, value, out);
        }
        Access::TraceId(_) | Access::TraceIdText(_) | Access::SpanId(_) | Access::SpanIdText(_) => {
            return write_id(message, access, value, out);
        }
        Access::KindText(n) => return write_kind(message, n, &KINDS, value, out),
        Access::KindOldText(n) => return write_kind(message, n, &OLD_KINDS, value, out),
        Access::Messages(..) | Access::Message(..) => {
            return write_collection(message, access, value, out);
        }
        Access::Fixed64s(_) | Access::Doubles(_) | Access::Varints(_) => {
            return write_numbers(message, access, value, out);
        }
        Access::NumberDouble(own, other) => match value {
            Value::Double(new) => {
                replace(message, &[own, other], out, |out| put_double(out, own, *new));
            }
            found => return Err(wrong(Types::DOUBLE, found)),
        },
        Access::NumberInt(own, other) => {
            let bits = integer(value)?.cast_unsigned();
            replace(message, &[own, other], out, |out| put_fixed64(out, own, bits));
        }
        Access::MetricType | Access::Temporality | Access::IsMonotonic | Access::DataPoints => {
            return write_metric(message, access, value, out);
        }
        Access::Index
        | Access::Point(_)
        | Access::Request(RequestField::Address | RequestField::Auth | RequestField::Metadata) => {
            return Err(What::text("the path is read only"));
        }
    }
    Ok(())
}

fn write_kind(
    message: &[u8],
    number: u32,
    names: &[&str],
    value: &Value<'_>,
    out: &mut Vec<u8>,
) -> Result<(), What> {
    let name = text(value)?;
    let kind = names.iter().position(|known| known.as_bytes() == name);
    let kind = kind.ok_or(What::text("the text is not the name of a span kind"))?;
    replace(message, &[number], out, |out| put_number(out, number, kind as u64));
    Ok(())
}

fn write_scalar(
    message: &[u8],
    access: Access,
    value: &Value<'_>,
    out: &mut Vec<u8>,
) -> Result<(), What> {
    match access {
        Access::Uint32(n) => {
            let new: u32 = fits(value)?;
            replace(message, &[n], out, |out| put_number(out, n, u64::from(new)));
        }
        Access::Fixed32(n) => {
            let new: u32 = fits(value)?;
            replace(message, &[n], out, |out| put_fixed32(out, n, new));
        }
        Access::Enum(n) => {
            let new: i32 = fits(value)?;
            let bits = i64::from(new).cast_unsigned();
            replace(message, &[n], out, |out| put_number(out, n, bits));
        }
        Access::Sint32(n) => {
            let new: i32 = fits(value)?;
            replace(message, &[n], out, |out| put_number(out, n, zigzag(i64::from(new))));
        }
        Access::Fixed64(n) => {
            let new: u64 = fits(value)?;
            replace(message, &[n], out, |out| put_fixed64(out, n, new));
        }
        Access::Time(n) => match value {
            Value::Time(new) => {
                replace(message, &[n], out, |out| put_fixed64(out, n, new.cast_unsigned()));
            }
            other => return Err(wrong(Types::TIME, other)),
        },
        Access::Double(n) => match value {
            Value::Double(new) => replace(message, &[n], out, |out| put_double(out, n, *new)),
            other => return Err(wrong(Types::DOUBLE, other)),
        },
        Access::Bool(n) => match value {
            Value::Bool(new) => {
                replace(message, &[n], out, |out| put_number(out, n, (*new).into()));
            }
            other => return Err(wrong(Types::BOOL, other)),
        },
        _ => {}
    }
    Ok(())
}

fn write_values(
    message: &[u8],
    access: Access,
    value: &Value<'_>,
    out: &mut Vec<u8>,
) -> Result<(), What> {
    match (access, value) {
        (Access::Attributes(n), Value::Map(map)) => {
            for (_, any) in map.entries() {
                check_depth(&any)?;
            }
            replace_map(message, n, map, out);
        }
        (Access::Attributes(n), Value::Nil) => replace(message, &[n], out, |_| {}),
        (Access::Attributes(_), other) => return Err(wrong(Types::MAP, other)),
        (Access::AnyText(n), _) => {
            let any = stored(&Value::Text(text(value)?.into()))?;
            replace(message, &[n], out, |out| put_bytes(out, n, &any));
        }
        (Access::Any(n), _) => {
            let any = stored(value)?;
            replace(message, &[n], out, |out| put_bytes(out, n, &any));
        }
        _ => {}
    }
    Ok(())
}

fn write_id(
    message: &[u8],
    access: Access,
    value: &Value<'_>,
    out: &mut Vec<u8>,
) -> Result<(), What> {
    let not_hex =
        |digits: usize| What::owned(format!("the id must have {digits} hexadecimal digits"));
    let mut put = |n: u32, id: &[u8]| replace(message, &[n], out, |out| put_bytes(out, n, id));
    match (access, value) {
        (Access::TraceId(n), Value::TraceId(id)) => put(n, id),
        (Access::SpanId(n), Value::SpanId(id)) => put(n, id),
        (Access::TraceIdText(n), Value::Text(digits)) => {
            put(n, &from_hex::<16>(digits).ok_or_else(|| not_hex(32))?);
        }
        (Access::SpanIdText(n), Value::Text(digits)) => {
            put(n, &from_hex::<8>(digits).ok_or_else(|| not_hex(16))?);
        }
        (Access::TraceId(_), other) => return Err(wrong(Types::TRACE_ID, other)),
        (Access::SpanId(_), other) => return Err(wrong(Types::SPAN_ID, other)),
        (_, other) => return Err(wrong(Types::TEXT, other)),
    }
    Ok(())
}

fn write_collection(
    message: &[u8],
    access: Access,
    value: &Value<'_>,
    out: &mut Vec<u8>,
) -> Result<(), What> {
    let (Access::Messages(n, name) | Access::Message(n, name)) = access else { return Ok(()) };
    let Value::Collection(found) = value else { return Err(wrong(Types::COLLECTION, value)) };
    if found.name != name {
        return Err(What::owned(format!("the value is {}, but must be {name}", found.name)));
    }
    replace(message, &[n], out, |out| {
        if matches!(access, Access::Message(..)) {
            return put_bytes(out, n, &found.bytes);
        }
        for field in fields(&found.bytes) {
            if let Some(one) = content(&field, found.number) {
                put_bytes(out, n, one);
            }
        }
    });
    Ok(())
}

/// Writes a repeated field of numbers, packed.
fn write_numbers(
    message: &[u8],
    access: Access,
    value: &Value<'_>,
    out: &mut Vec<u8>,
) -> Result<(), What> {
    let Value::List(list) = value else { return Err(wrong(Types::LIST, value)) };
    let mut packed = Vec::new();
    for element in elements(list).map(Value::read) {
        match (access, &element) {
            (Access::Doubles(_), Value::Double(value)) => packed.extend(value.to_le_bytes()),
            (Access::Fixed64s(_), _) => packed.extend(fits::<u64>(&element)?.to_le_bytes()),
            (Access::Varints(_), _) => {
                crate::otlp::wire::put_varint(&mut packed, fits::<u64>(&element)?);
            }
            _ => return Err(wrong(Types::DOUBLE, &element)),
        }
    }
    let (Access::Fixed64s(n) | Access::Doubles(n) | Access::Varints(n)) = access else {
        return Ok(());
    };
    replace(message, &[n], out, |out| put_bytes(out, n, &packed));
    Ok(())
}

fn write_metric(
    message: &[u8],
    access: Access,
    value: &Value<'_>,
    out: &mut Vec<u8>,
) -> Result<(), What> {
    let is_type = access == Access::MetricType;
    let Some((kind, old)) = data(message).filter(|_| !is_type) else {
        out.extend_from_slice(message);
        return Ok(());
    };
    let mut new = Vec::new();
    match access {
        Access::Temporality if matches!(kind, 7 | 9 | 10) => {
            let bits = i64::from(fits::<i32>(value)?).cast_unsigned();
            replace(&old, &[2], &mut new, |new| put_number(new, 2, bits));
        }
        Access::IsMonotonic if kind == 7 => match value {
            Value::Bool(flag) => {
                replace(&old, &[3], &mut new, |new| put_number(new, 3, (*flag).into()));
            }
            other => return Err(wrong(Types::BOOL, other)),
        },
        Access::DataPoints => {
            write_collection(&old, Access::Messages(1, points_name(kind)), value, &mut new)?;
        }
        _ => {
            out.extend_from_slice(message);
            return Ok(());
        }
    }
    replace_data(message, kind, &new, out);
    Ok(())
}

/// Copies a metric with other data.
pub(crate) fn replace_data(metric: &[u8], kind: u32, data: &[u8], out: &mut Vec<u8>) {
    out.reserve(metric.len() + bytes_field_len(kind, data.len()));
    replace(metric, &DATA, out, |out| {
        put_header(out, kind, data.len());
        out.extend_from_slice(data);
    });
}
