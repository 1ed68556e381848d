//! Converters that take a lambda: `Filter(attributes["list"], (_, value) => value > 1)`.
//!
//! A lambda of two names gets the index or key and the value of each element.

use std::borrow::Cow;

use super::{
    super::{
        entries::Entries,
        fault::{Fault, What},
        node::{Call, Eval, Lambda},
        types::Types,
        value::{Value, elements},
    },
    Function, Parameter, Takes, converter,
    edit::push,
    optional, parameter, value,
};

/// Bytes of values whose copies count as a step of their own.
const STEP: usize = 64;

const SOURCE: Types = Types::LIST.or(Types::MAP);
const PREDICATE: &[Parameter] =
    &[value("source", SOURCE), parameter("predicate", Takes::Lambda(2))];

pub(crate) const FUNCTIONS: &[Function] = &[
    converter(
        "All",
        PREDICATE,
        Types::BOOL,
        all,
        "Whether a condition holds for all elements of a list or map.",
    ),
    converter(
        "Any",
        PREDICATE,
        Types::BOOL,
        any,
        "Whether a condition holds for any element of a list or map.",
    ),
    converter(
        "Filter",
        PREDICATE,
        SOURCE,
        filter,
        "The elements of a list or map for which a condition holds.",
    ),
    converter(
        "Find",
        &[
            value("source", SOURCE),
            parameter("predicate", Takes::Lambda(2)),
            optional("mapper", Takes::Lambda(2)),
        ],
        Types::ANY,
        find,
        "The first element for which a condition holds, or nil.",
    ),
    converter(
        "MapEach",
        &[value("source", SOURCE), parameter("mapper", Takes::Lambda(2))],
        SOURCE,
        map_each,
        "A list or map with another value for each element.",
    ),
    converter(
        "MapKeys",
        &[value("source", Types::MAP), parameter("mapper", Takes::Lambda(2))],
        Types::MAP,
        map_keys,
        "A map with another key for each entry.",
    ),
    converter(
        "Reduce",
        &[
            value("source", SOURCE),
            value("seed", Types::ANY),
            parameter("reducer", Takes::Lambda(3)),
        ],
        Types::ANY,
        reduce,
        "One value from all elements: the lambda gets the value so far, the key and the element.",
    ),
    converter(
        "When",
        &[
            parameter("condition", Takes::Lambda(0)),
            value("then", Types::ALL),
            value("otherwise", Types::ALL),
        ],
        Types::ALL,
        when,
        "One of two values, by a condition.",
    ),
];

/// Calls a lambda.
fn run(lambda: &Lambda, eval: Eval<'_>, values: &[Value<'_>]) -> Result<Value<'static>, Fault> {
    let copied: usize = eval.locals.iter().chain(values).map(Value::content_len).sum();
    if !eval.item.takes_steps(1 + copied / STEP) {
        return Err(What::text("lambdas took too many steps for one item").into());
    }
    let mut locals: Vec<Value<'_>> = eval.locals.to_vec();
    locals.truncate(lambda.outer);
    locals.extend(values.iter().cloned());
    let inner = Eval { item: eval.item, locals: &locals };
    Ok(lambda.body.eval(inner)?.into_owned())
}

fn holds(lambda: &Lambda, eval: Eval<'_>, values: &[Value<'_>]) -> Result<bool, Fault> {
    match run(lambda, eval, values)? {
        Value::Bool(value) => Ok(value),
        other => {
            let (wanted, found) = (Types::BOOL, other.types());
            Err(What::Type { subject: "the result of the lambda", wanted, found }.into())
        }
    }
}

fn lambda(call: &Call, at: usize) -> Result<&Lambda, Fault> {
    call.lambda(at).ok_or_else(|| What::text("the argument is not a lambda").into())
}

/// Shows every element to `show`, with its key, until that says to stop.
fn each(
    call: &Call,
    eval: Eval<'_>,
    mut show: impl FnMut(Value<'_>, &[u8]) -> Result<bool, Fault>,
) -> Result<bool, Fault> {
    match call.value(eval, 0)? {
        Value::List(list) => {
            for (i, any) in elements(&list).enumerate() {
                let index = i64::try_from(i).unwrap_or(i64::MAX);
                if !show(Value::Int(index), any)? {
                    break;
                }
            }
            Ok(true)
        }
        Value::Map(map) => {
            for (key, any) in map.entries() {
                if !show(Value::Text(Cow::Borrowed(key)), &any)? {
                    break;
                }
            }
            Ok(false)
        }
        other => Err(call.wrong(0, SOURCE, &other)),
    }
}

fn all<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let lambda = lambda(call, 1)?;
    let mut result = true;
    each(call, eval, |key, any| {
        result = holds(lambda, eval, &[key, Value::read(any)])?;
        Ok(result)
    })?;
    Ok(Value::Bool(result))
}

fn any<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let lambda = lambda(call, 1)?;
    let mut result = false;
    each(call, eval, |key, any| {
        result = holds(lambda, eval, &[key, Value::read(any)])?;
        Ok(!result)
    })?;
    Ok(Value::Bool(result))
}

/// The elements that a function makes, as a list or as a map.
struct Made {
    list: Vec<u8>,
    map: Entries,
}

impl Made {
    fn add(&mut self, key: &Value<'_>, value: &Value<'_>) -> Result<(), Fault> {
        match key {
            Value::Text(key) => self.map.put(key.to_vec(), value),
            _ => push(&mut self.list, value)?,
        }
        if self.list.len() > super::replace::LARGEST {
            return Err(What::TooLarge.into());
        }
        Ok(())
    }

    fn finish<'e>(self, is_list: bool) -> Value<'e> {
        if is_list { Value::List(Cow::Owned(self.list)) } else { self.map.into_value() }
    }
}

fn filter<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let lambda = lambda(call, 1)?;
    let mut made = Made { list: Vec::new(), map: Entries::default() };
    let is_list = each(call, eval, |key, any| {
        if holds(lambda, eval, &[key.clone(), Value::read(any)])? {
            made.add(&key, &Value::read(any))?;
        }
        Ok(true)
    })?;
    Ok(made.finish(is_list))
}

fn find<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let lambda = lambda(call, 1)?;
    let mut found = Value::Nil;
    each(call, eval, |key, any| {
        let values = [key, Value::read(any)];
        if !holds(lambda, eval, &values)? {
            return Ok(true);
        }
        found = match call.lambda(2) {
            Some(mapper) => run(mapper, eval, &values)?,
            None => Value::read(any).into_owned(),
        };
        Ok(false)
    })?;
    Ok(found)
}

fn map_each<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let lambda = lambda(call, 1)?;
    let mut made = Made { list: Vec::new(), map: Entries::default() };
    let is_list = each(call, eval, |key, any| {
        let value = run(lambda, eval, &[key.clone(), Value::read(any)])?;
        made.add(&key, &value)?;
        Ok(true)
    })?;
    Ok(made.finish(is_list))
}

fn map_keys<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let lambda = lambda(call, 1)?;
    let mut entries = Entries::default();
    each(call, eval, |key, any| {
        match run(lambda, eval, &[key, Value::read(any)])? {
            Value::Text(key) => entries.put_bytes(key.into_owned(), any),
            other => {
                let (wanted, found) = (Types::TEXT, other.types());
                return Err(What::Type { subject: "the new key", wanted, found }.into());
            }
        }
        Ok(true)
    })?;
    Ok(entries.into_value())
}

fn reduce<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let lambda = lambda(call, 2)?;
    let mut so_far = call.value(eval, 1)?.into_owned();
    each(call, eval, |key, any| {
        let new = run(lambda, eval, &[so_far.clone(), key, Value::read(any)])?;
        if let Value::Text(bytes) | Value::List(bytes) = &new
            && bytes.len() > super::replace::LARGEST
        {
            return Err(What::TooLarge.into());
        }
        so_far = new;
        Ok(true)
    })?;
    Ok(so_far)
}

fn when<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let is_true = holds(lambda(call, 0)?, eval, &[])?;
    call.value(eval, if is_true { 1 } else { 2 })
}
