//! Converters that parse text: JSON, CSV, pairs of keys and values; and levels of severity.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{
    super::{
        entries::Entries,
        fault::{Fault, What},
        node::{Argument, Call, Eval},
        types::Types,
        value::{Map, Value, elements, put_double},
    },
    Function, Special, Takes, converter, optional, parameter, value,
};
use crate::otlp::wire::{WireType, put_bytes, put_varint, tag};

const TEXT: Types = Types::TEXT;

pub(crate) const FUNCTIONS: &[Function] = &[
    converter(
        "ParseJSON",
        &[value("target", TEXT)],
        Types::MAP.or(Types::LIST),
        parse_json,
        "The map or list of a JSON text. All numbers are doubles.",
    ),
    converter(
        "ParseCSV",
        &[
            value("target", TEXT),
            value("header", TEXT),
            optional("delimiter", Takes::Literal(TEXT)),
            optional("header_delimiter", Takes::Literal(TEXT)),
            optional("mode", Takes::OneOf(&["strict", "lazyQuotes", "ignoreQuotes"])),
        ],
        Types::MAP,
        parse_csv,
        "A map of the columns of a line of CSV, named by a header.",
    ),
    Function {
        prepare: Some(check_key_value),
        ..converter(
            "ParseKeyValue",
            &[
                value("target", TEXT),
                optional("delimiter", Takes::Literal(TEXT)),
                optional("pair_delimiter", Takes::Literal(TEXT)),
            ],
            Types::MAP,
            parse_key_value,
            "A map of pairs: `a=1 b=\"two words\"`.",
        )
    },
    converter(
        "ParseSeverity",
        &[
            value("target", TEXT.or(Types::INT)),
            parameter("severity_mapping", Takes::Value(Types::MAP)),
        ],
        TEXT,
        parse_severity,
        "The name of the severity whose criteria a value meets: `{\"error\": [\"err\", {\"range\": \
         \"5xx\"}]}`.",
    ),
];

/// Appends the `AnyValue` of a JSON value.
struct Any<'o>(&'o mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for Any<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Any<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        put_varint(self.0, tag(2, WireType::Varint));
        put_varint(self.0, u64::from(value));
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "all numbers are doubles in this language")]
    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        put_double(self.0, 4, value as f64);
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "all numbers are doubles in this language")]
    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        put_double(self.0, 4, value as f64);
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        put_double(self.0, 4, value);
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        put_bytes(self.0, 1, value.as_bytes());
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let (mut list, mut any) = (Vec::new(), Vec::new());
        while seq.next_element_seed(Any(&mut any))?.is_some() {
            put_bytes(&mut list, 1, &any);
            any.clear();
        }
        put_bytes(self.0, 5, &list);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut entries = Entries::default();
        while let Some(key) = map.next_key::<String>()? {
            let mut any = Vec::new();
            map.next_value_seed(Any(&mut any))?;
            entries.put_bytes(key, any);
        }
        put_bytes(self.0, 6, &entries.into_list());
        Ok(())
    }
}

fn parse_json<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let text = call.text(eval, 0)?;
    let mut any = Vec::new();
    let mut from = serde_json::Deserializer::from_slice(&text);
    let parsed = Any(&mut any).deserialize(&mut from).and_then(|()| from.end());
    parsed.map_err(|error| What::owned(format!("invalid JSON: {error}")))?;
    match Value::read(&any) {
        value @ (Value::Map(_) | Value::List(_)) => Ok(value.into_owned()),
        _ => Err(What::text("the JSON is neither an object nor an array").into()),
    }
}

/// How quotes are taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    Strict,
    Lazy,
    Ignored,
}

fn parse_csv<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let (line, header) = (call.str(eval, 0)?, call.str(eval, 1)?);
    let delimiter = one_char(&call.text_or(eval, 2, ",")?)?;
    let header_delimiter = if call.has(3) { one_char(&call.text(eval, 3)?)? } else { delimiter };
    let quotes = match &*call.text_or(eval, 4, "strict")? {
        b"strict" => Quotes::Strict,
        b"lazyQuotes" => Quotes::Lazy,
        _ => Quotes::Ignored,
    };
    let names: Vec<&str> = header.split(header_delimiter).collect();
    let columns = columns(&line, delimiter, quotes)?;
    if columns.len() != names.len() {
        let message =
            format!("the line has {} columns, but the header {}", columns.len(), names.len());
        return Err(What::owned(message).into());
    }
    let mut entries = Entries::default();
    for (name, column) in names.iter().zip(columns) {
        entries.put_text(*name, column);
    }
    Ok(entries.into_value())
}

fn one_char(text: &[u8]) -> Result<char, Fault> {
    let text = String::from_utf8_lossy(text);
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(c), None) => Ok(c),
        _ => Err(What::text("a delimiter of CSV must be one character").into()),
    }
}

fn columns(line: &str, delimiter: char, quotes: Quotes) -> Result<Vec<String>, Fault> {
    if quotes == Quotes::Ignored {
        return Ok(line.split(delimiter).map(str::to_owned).collect());
    }
    let is_lazy = quotes == Quotes::Lazy;
    let mut columns = Vec::new();
    let mut chars = line.chars().peekable();
    loop {
        let mut column = String::new();
        let is_quoted = chars.next_if_eq(&'"').is_some();
        let ended = loop {
            match chars.next() {
                None if is_quoted && !is_lazy => {
                    return Err(What::text("a quote in the line is not closed").into());
                }
                None => break true,
                Some('"') if is_quoted => match chars.peek() {
                    Some('"') => {
                        chars.next();
                        column.push('"');
                    }
                    Some(next) if *next == delimiter => {
                        chars.next();
                        break false;
                    }
                    None => break true,
                    Some(_) if is_lazy => column.push('"'),
                    Some(_) => return Err(What::text("there is text behind a quote").into()),
                },
                Some('"') if !is_lazy => {
                    return Err(What::text("there is a quote inside of a column").into());
                }
                Some(c) if c == delimiter && !is_quoted => break false,
                Some('\n' | '\r') if !is_quoted && chars.peek().is_none_or(|c| *c == '\n') => {
                    if chars.peek().is_none() {
                        break true;
                    }
                }
                Some(c) => column.push(c),
            }
        };
        columns.push(column);
        if ended {
            return Ok(columns);
        }
    }
}

fn check_key_value(arguments: &[Argument]) -> Result<Special, (usize, String)> {
    let constant = |at: usize, otherwise: &str| match arguments.get(at) {
        Some(Argument::Value(node, _)) => match node.constant() {
            Some(Value::Text(text)) => text.to_vec(),
            _ => otherwise.as_bytes().to_vec(),
        },
        _ => otherwise.as_bytes().to_vec(),
    };
    let (delimiter, pairs) = (constant(1, "="), constant(2, " "));
    if delimiter.is_empty() || pairs.is_empty() {
        return Err((1, "a delimiter is empty".to_owned()));
    }
    if delimiter == pairs {
        return Err((1, "the delimiters are the same".to_owned()));
    }
    Ok(Special::None)
}

fn parse_key_value<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let text = call.text(eval, 0)?;
    let (delimiter, pairs) = (call.text_or(eval, 1, "=")?, call.text_or(eval, 2, " ")?);
    if text.is_empty() {
        return Err(What::text("the text is empty").into());
    }
    let mut entries = Entries::default();
    for pair in unquoted_parts(&text, &pairs)? {
        let pair = pair.trim_ascii();
        if pair.is_empty() {
            continue;
        }
        let Some(at) = memchr::memmem::find(pair, &delimiter) else {
            let shown: String = String::from_utf8_lossy(pair).chars().take(50).collect();
            return Err(What::owned(format!("`{shown}` has no delimiter")).into());
        };
        let (key, value) = (&pair[..at], &pair[at + delimiter.len()..]);
        entries.put_text(bare(key.trim_ascii()), bare(value.trim_ascii()));
    }
    Ok(entries.into_value())
}

/// The parts between delimiters that are not in quotes.
pub(super) fn unquoted_parts<'t>(text: &'t [u8], delimiter: &[u8]) -> Result<Vec<&'t [u8]>, Fault> {
    let mut parts = Vec::new();
    let (mut start, mut at) = (0, 0);
    let mut quote = None;
    while at < text.len() {
        match (quote, text[at]) {
            (Some(open), c) if c == open => quote = None,
            (None, c @ (b'"' | b'\'')) => quote = Some(c),
            (None, _) if text[at..].starts_with(delimiter) => {
                parts.push(&text[start..at]);
                at += delimiter.len();
                start = at;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    if quote.is_some() {
        return Err(What::text("a quote in the text is not closed").into());
    }
    parts.push(&text[start..]);
    Ok(parts)
}

/// A text without the quotes around it.
fn bare(text: &[u8]) -> &[u8] {
    match text {
        [b'"', inner @ .., b'"'] | [b'\'', inner @ .., b'\''] => inner,
        other => other,
    }
}

fn parse_severity<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let target = call.value(eval, 0)?;
    if !matches!(target, Value::Text(_) | Value::Int(_)) {
        return Err(call.wrong(0, TEXT.or(Types::INT), &target));
    }
    let mapping = call.map(eval, 1)?;
    for (level, any) in mapping.entries() {
        let criteria = match Value::read(&any) {
            Value::List(list) => list.into_owned(),
            other => {
                let mut list = Vec::new();
                super::edit::push(&mut list, &other)?;
                list
            }
        };
        for criterion in elements(&criteria).map(Value::read) {
            if meets(&target, &criterion)? {
                return Ok(Value::Text(level.to_vec().into()));
            }
        }
    }
    Err(What::text("no severity of the mapping fits the value").into())
}

fn meets(target: &Value<'_>, criterion: &Value<'_>) -> Result<bool, Fault> {
    match criterion {
        Value::Text(text) => {
            Ok(is_in_class(target, text) || matches!(target, Value::Text(t) if t == text))
        }
        Value::Int(number) => Ok(matches!(target, Value::Int(value) if value == number)),
        Value::Map(map) => {
            let equals = match map.get(b"equals") {
                Some(Value::List(list)) => Value::values(&list)
                    .any(|wanted| super::super::compare::is_same(target, &wanted)),
                Some(_) => return Err(What::text("`equals` must be a list").into()),
                None => false,
            };
            Ok(equals || in_range(target, map)?)
        }
        _ => Err(What::text("a criterion must be a text, an integer or a map").into()),
    }
}

fn in_range(target: &Value<'_>, criterion: &Map<'_>) -> Result<bool, Fault> {
    match criterion.get(b"range") {
        None => Ok(false),
        Some(Value::Text(class)) => Ok(is_in_class(target, &class)),
        Some(Value::Map(range)) => match (range.get(b"min"), range.get(b"max")) {
            (Some(Value::Int(min)), Some(Value::Int(max))) => {
                Ok(matches!(target, Value::Int(value) if (min..=max).contains(value)))
            }
            _ => Err(What::text("`range` needs the integers `min` and `max`").into()),
        },
        Some(_) => Err(What::text("`range` must be a map or a text such as `5xx`").into()),
    }
}

/// Whether a number is of a class of HTTP statuses, such as `5xx`.
fn is_in_class(target: &Value<'_>, class: &[u8]) -> bool {
    match (target, class) {
        (Value::Int(value), [digit @ b'1'..=b'5', b'x' | b'X', b'x' | b'X']) => {
            value / 100 == i64::from(digit - b'0')
        }
        _ => false,
    }
}
