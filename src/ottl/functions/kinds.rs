//! Converters that ask what a value is, and that take the parts of maps and lists.

use super::{
    super::{
        fault::{Fault, What},
        language::Context,
        node::{Call, Eval},
        read::DATA,
        types::Types,
        value::{Value, count, elements},
        wire::last_of,
    },
    Function, Parameter, converter, value,
};

const VALUE: &[Parameter] = &[value("value", Types::ALL)];

pub(crate) const FUNCTIONS: &[Function] = &[
    converter("IsString", VALUE, Types::BOOL, is_string, "Whether a value is a text."),
    converter("IsMap", VALUE, Types::BOOL, is_map, "Whether a value is a map."),
    converter("IsList", VALUE, Types::BOOL, is_list, "Whether a value is a list."),
    converter("IsBool", VALUE, Types::BOOL, is_bool, "Whether a value is a boolean."),
    converter("IsInt", VALUE, Types::BOOL, is_int, "Whether a value is an integer."),
    converter("IsDouble", VALUE, Types::BOOL, is_double, "Whether a value is a double."),
    converter(
        "IsEmpty",
        VALUE,
        Types::BOOL,
        is_empty,
        "Whether a value is nil, zero, false, or has no content.",
    ),
    Function {
        contexts: &[Context::Span, Context::SpanEvent, Context::SpanLink],
        is_pure: false,
        ..converter("IsRootSpan", &[], Types::BOOL, is_root_span, "Whether a span has no parent.")
    },
    converter(
        "Len",
        &[value("target", LONG)],
        Types::INT,
        len,
        "Bytes of a text, or elements of a map, list or collection.",
    ),
    Function {
        contexts: &[Context::Metric],
        is_pure: false,
        ..converter(
            "HasAttrKeyOnDatapoint",
            &[value("key", Types::TEXT)],
            Types::BOOL,
            has_key,
            "Whether any data point of a metric has an attribute.",
        )
    },
    Function {
        contexts: &[Context::Metric],
        is_pure: false,
        ..converter(
            "HasAttrOnDatapoint",
            &[value("key", Types::TEXT), value("expected_value", Types::TEXT)],
            Types::BOOL,
            has_attribute,
            "Whether the first data point of a metric that has an attribute has this text in it.",
        )
    },
];

const LONG: Types =
    Types::TEXT.or(Types::BYTES).or(Types::MAP).or(Types::LIST).or(Types::COLLECTION);

fn is<'e>(call: &'e Call, eval: Eval<'e>, types: Types) -> Result<Value<'e>, Fault> {
    Ok(Value::Bool(call.value(eval, 0)?.types() == types))
}

fn is_string<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    is(call, eval, Types::TEXT)
}

fn is_map<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    is(call, eval, Types::MAP)
}

fn is_list<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    is(call, eval, Types::LIST)
}

fn is_bool<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    is(call, eval, Types::BOOL)
}

fn is_int<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    is(call, eval, Types::INT)
}

fn is_double<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    is(call, eval, Types::DOUBLE)
}

fn is_empty<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    Ok(Value::Bool(match call.value(eval, 0)? {
        Value::Nil => true,
        Value::Bool(value) => !value,
        Value::Int(value) | Value::Time(value) | Value::Duration(value) => value == 0,
        Value::Double(value) => value == 0.0,
        Value::Text(bytes) | Value::Bytes(bytes) => bytes.is_empty(),
        Value::List(list) => elements(&list).next().is_none(),
        Value::Map(map) => map.is_empty(),
        Value::TraceId(id) => id == [0; 16],
        Value::SpanId(id) => id == [0; 8],
        Value::Collection(found) => count(&found.bytes, found.number) == 0,
    }))
}

#[expect(clippy::unnecessary_wraps, reason = "every converter can fail")]
fn is_root_span<'e>(_: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let span = eval.item.indexed(Context::Span.tier());
    Ok(Value::Bool(span.bytes(4).iter().all(|byte| *byte == 0)))
}

fn len<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let len = match call.value(eval, 0)? {
        Value::Text(bytes) | Value::Bytes(bytes) => bytes.len(),
        Value::List(list) => elements(&list).count(),
        Value::Map(map) => map.len(),
        Value::Collection(found) if found.number != 0 => count(&found.bytes, found.number),
        other => return Err(call.wrong(0, LONG, &other)),
    };
    Ok(Value::Int(i64::try_from(len).unwrap_or(i64::MAX)))
}

/// The value of the first point of a metric that has an attribute.
fn on_points<'e>(eval: Eval<'e>, key: &[u8]) -> Result<Option<Value<'e>>, Fault> {
    let metric = eval.item.bytes(Context::Metric.tier());
    let Some((kind, _)) = last_of(metric, &DATA) else {
        return Err(What::text("the metric has no data").into());
    };
    let number = super::super::read::point_attributes(kind);
    let data = super::super::read::data(metric).map(|(_, data)| data).unwrap_or_default();
    for field in super::super::wire::fields(&data) {
        let Some(point) = super::super::value::content(&field, 1) else { continue };
        if let Some(any) = super::super::value::find(point, number, key) {
            return Ok(Some(Value::read(&any).into_owned()));
        }
    }
    Ok(None)
}

fn has_key<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let key = call.text(eval, 0)?;
    Ok(Value::Bool(on_points(eval, &key)?.is_some()))
}

fn has_attribute<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let (key, wanted) = (call.text(eval, 0)?, call.text(eval, 1)?);
    Ok(Value::Bool(match on_points(eval, &key)? {
        Some(Value::Text(text)) => text == wanted,
        Some(_) => wanted.is_empty(),
        None => false,
    }))
}
