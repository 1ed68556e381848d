//! Converters that match patterns.

use super::{
    super::{
        fault::{Fault, What},
        node::{Call, Eval},
        types::Types,
        value::{Map, Value, put_entry},
    },
    Function, Takes, converter, parameter, regex, value,
};

pub(crate) const FUNCTIONS: &[Function] = &[
    converter(
        "IsMatch",
        &[value("target", Types::ALL), parameter("pattern", Takes::Regex)],
        Types::BOOL,
        is_match,
        "Whether a regular expression matches anywhere in a value as text; nil matches nothing.",
    ),
    converter(
        "ExtractPatterns",
        &[value("target", Types::TEXT), parameter("pattern", Takes::Regex)],
        Types::MAP,
        extract_patterns,
        "A map of the named groups of a regular expression; empty if it does not match.",
    ),
];

fn is_match<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let Some(text) = call.like(eval, 0)? else { return Ok(Value::Bool(false)) };
    Ok(Value::Bool(regex(call, eval, 1)?.is_match(&text)))
}

fn extract_patterns<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let text = call.text(eval, 0)?;
    let regex = regex(call, eval, 1)?;
    if !regex.capture_names().any(|name| name.is_some()) {
        return Err(What::text("the pattern has no named group, such as `(?P<name>...)`").into());
    }
    let mut map = Vec::new();
    if let Some(captures) = regex.captures(&text) {
        for (i, name) in regex.capture_names().enumerate() {
            let Some(name) = name else { continue };
            let found = captures.get(i).map_or(&b""[..], |group| group.as_bytes());
            put_entry(&mut map, 1, name.as_bytes(), &Value::Text(found.into()));
        }
    }
    Ok(Value::Map(Map::made(map)))
}
