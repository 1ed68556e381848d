//! Converters of lists and maps.

use std::{borrow::Cow, cmp::Ordering};

use super::{
    super::{
        arguments::made,
        compare::{as_double, compare},
        entries::Entries,
        fault::{Fault, What},
        node::{Argument, Call, Eval},
        syntax::Comparison,
        text::like,
        types::Types,
        value::{Value, elements},
    },
    Function, Special, Takes, converter, optional, parameter, value,
};
use crate::otlp::wire::put_bytes;

const LIST: Types = Types::LIST;
const TEXT: Types = Types::TEXT;

pub(crate) const FUNCTIONS: &[Function] = &[
    converter("Keys", &[value("target", Types::MAP)], LIST, keys, "The keys of a map in order."),
    converter(
        "Values",
        &[value("target", Types::MAP)],
        LIST,
        values,
        "The values of a map in order.",
    ),
    converter(
        "Sort",
        &[value("target", LIST), optional("order", Takes::OneOf(&["asc", "desc"]))],
        LIST,
        sort,
        "A sorted list. Numbers are sorted as numbers, mixed values as text.",
    ),
    converter(
        "SliceToMap",
        &[
            value("target", LIST),
            optional("key_path", Takes::Literal(LIST)),
            optional("value_path", Takes::Literal(LIST)),
        ],
        Types::MAP,
        slice_to_map,
        "A map of the elements of a list, by what is at `key_path` in each, or by their positions.",
    ),
    converter(
        "ContainsValue",
        &[value("target", LIST), value("item", Types::ALL)],
        Types::BOOL,
        contains_value,
        "Whether a list has an element that equals a value.",
    ),
    converter(
        "Index",
        &[value("target", TEXT.or(LIST)), value("value", Types::ALL)],
        Types::INT,
        index,
        "The position of a part in a text, or of an element in a list; -1 if it is not there.",
    ),
    Function {
        prepare: Some(check_coalesce),
        ..converter(
            "Coalesce",
            &[parameter("values", Takes::Value(LIST))],
            Types::ANY,
            coalesce,
            "The first value of a list that is not nil.",
        )
    },
    converter(
        "ToKeyValueString",
        &[
            value("target", Types::MAP),
            optional("delimiter", Takes::Value(TEXT)),
            optional("pair_delimiter", Takes::Value(TEXT)),
            optional("sort_output", Takes::Value(Types::BOOL)),
        ],
        TEXT,
        to_key_value,
        "A map as text: `a=1 b=\"two words\"`.",
    ),
];

fn keys<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let map = call.map(eval, 0)?;
    Ok(Value::texts(map.entries().map(|(key, _)| key)))
}

fn values<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let map = call.map(eval, 0)?;
    let mut list = Vec::new();
    map.entries().for_each(|(_, any)| put_bytes(&mut list, 1, &any));
    Ok(Value::List(Cow::Owned(list)))
}

fn sort<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let list = call.list(eval, 0)?;
    let is_descending = call.has(1) && *call.text(eval, 1)? == *b"desc";
    let mut found: Vec<(&[u8], Value<'_>)> =
        elements(&list).map(|any| (any, Value::read(any))).collect();
    let types = found.iter().fold(Types::NONE, |types, (_, value)| types.or(value.types()));
    if types.meets(Types::MAP.or(LIST).or(Types::BYTES)) {
        return Ok(Value::List(list));
    }
    let as_number = |value: &Value<'_>| match value {
        Value::Int(value) => as_double(*value),
        Value::Double(value) => *value,
        _ => 0.0,
    };
    let order = |a: &Value<'_>, b: &Value<'_>| -> Ordering {
        if Types::BOOL.has(types) || Types::INT.has(types) {
            return if compare(Comparison::Less, a, b) {
                Ordering::Less
            } else if compare(Comparison::Greater, a, b) {
                Ordering::Greater
            } else {
                Ordering::Equal
            };
        }
        if Types::NUMBER.has(types) {
            return as_number(a).total_cmp(&as_number(b));
        }
        let text = |value: &Value<'_>| like(value.clone()).unwrap_or_default().into_owned();
        text(a).cmp(&text(b))
    };
    found.sort_by(|a, b| if is_descending { order(&b.1, &a.1) } else { order(&a.1, &b.1) });
    let mut sorted = Vec::with_capacity(list.len());
    for (any, _) in &found {
        put_bytes(&mut sorted, 1, any);
    }
    Ok(Value::List(Cow::Owned(sorted)))
}

/// Follows keys into a map.
fn follow<'v>(value: Value<'v>, path: &[Vec<u8>]) -> Result<Value<'v>, Fault> {
    path.iter().try_fold(value, |value, key| match value {
        Value::Map(map) => match map.get(key) {
            Some(value) => Ok(value),
            None => Err(What::Key(String::from_utf8_lossy(key).into()).into()),
        },
        other => Err(What::NoKeys(other.types()).into()),
    })
}

fn slice_to_map<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let list = call.list(eval, 0)?;
    let (key_path, value_path) = (call.texts(eval, 1)?, call.texts(eval, 2)?);
    let mut entries = Entries::default();
    for (i, any) in elements(&list).enumerate() {
        let key = if key_path.is_empty() {
            i.to_string().into_bytes()
        } else {
            match follow(Value::read(any), &key_path)? {
                Value::Text(text) => text.into_owned(),
                other => {
                    let (wanted, found) = (TEXT, other.types());
                    return Err(
                        What::Type { subject: "the key of an element", wanted, found }.into()
                    );
                }
            }
        };
        let mut found = Vec::new();
        follow(Value::read(any), &value_path)?.encode(&mut found);
        entries.put_bytes(key, found);
    }
    Ok(entries.into_value())
}

fn contains_value<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let list = call.list(eval, 0)?;
    let wanted = call.value(eval, 1)?;
    let found = Value::values(&list).any(|value| compare(Comparison::Equal, &value, &wanted));
    Ok(Value::Bool(found))
}

fn index<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let wanted = call.value(eval, 1)?;
    let at = match call.value(eval, 0)? {
        Value::Text(text) => {
            let Value::Text(part) = &wanted else { return Err(call.wrong(1, TEXT, &wanted)) };
            memchr::memmem::find(&text, part)
        }
        Value::List(list) => {
            Value::values(&list).position(|value| compare(Comparison::Equal, &value, &wanted))
        }
        other => return Err(call.wrong(0, TEXT.or(LIST), &other)),
    };
    Ok(Value::Int(at.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1)))
}

fn check_coalesce(arguments: &[Argument]) -> Result<Special, (usize, String)> {
    match arguments.first() {
        Some(Argument::Value(super::super::node::Node::List(nodes), _)) if nodes.is_empty() => {
            Err((0, "`values` is empty".to_owned()))
        }
        Some(Argument::Value(node, _)) => match node.constant() {
            Some(Value::List(list)) if list.is_empty() => Err((0, "`values` is empty".to_owned())),
            _ => Ok(Special::None),
        },
        _ => Ok(Special::None),
    }
}

fn coalesce<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    // Values behind the first one are not evaluated.
    if let Some(Argument::Value(super::super::node::Node::List(nodes), _)) = call.arguments.first()
    {
        for node in nodes {
            let value = node.eval(eval)?;
            if !value.is_nil() {
                return Ok(value);
            }
        }
        return Ok(Value::Nil);
    }
    let list = call.list(eval, 0)?;
    let first = Value::values(&list).find(|value| !value.is_nil());
    Ok(first.map_or(Value::Nil, Value::into_owned))
}

fn to_key_value<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let map = call.map(eval, 0)?;
    let (delimiter, pairs) = (call.text_or(eval, 1, "=")?, call.text_or(eval, 2, " ")?);
    if delimiter == pairs || delimiter.is_empty() || pairs.is_empty() {
        return Err(What::text("the delimiters must differ and cannot be empty").into());
    }
    let mut entries: Vec<_> = map.entries().collect();
    if call.bool_or(eval, 3, false)? {
        entries.sort_by(|a, b| a.0.cmp(b.0));
    }
    let mut out = Vec::new();
    let mut put = |text: &[u8]| {
        let needs = |part: &[u8]| memchr::memmem::find(text, part).is_some();
        if text.is_empty() || needs(&delimiter) || needs(&pairs) || needs(b"\"") {
            out.push(b'"');
            for c in text {
                if *c == b'"' {
                    out.push(b'\\');
                }
                out.push(*c);
            }
            out.push(b'"');
        } else {
            out.extend_from_slice(text);
        }
        out.len()
    };
    let mut marks = Vec::new();
    for (key, any) in &entries {
        marks.push(put(key));
        marks.push(put(&like(Value::read(any)).unwrap_or_default()));
    }
    // The delimiters go between what was written.
    let mut joined = Vec::new();
    let mut from = 0;
    for (i, mark) in marks.iter().enumerate() {
        if i > 0 {
            joined.extend_from_slice(if i % 2 == 1 { &delimiter } else { &pairs });
        }
        joined.extend_from_slice(&out[from..*mark]);
        from = *mark;
    }
    Ok(made(joined))
}
