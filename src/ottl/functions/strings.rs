//! Converters of text. Positions and lengths are in bytes, as in the Collector.

use std::borrow::Cow;

use super::{
    super::{
        arguments::{made, to_str},
        fault::{Fault, What},
        node::{Call, Eval},
        text::like,
        types::Types,
        value::{Value, elements},
    },
    Function, Parameter, Takes, converter,
    edit::floor_char,
    optional, parameter,
    replace::LARGEST,
    value,
};

const TEXT: Types = Types::TEXT;
const TARGET: &[Parameter] = &[value("target", TEXT)];

pub(crate) const FUNCTIONS: &[Function] = &[
    converter(
        "Concat",
        &[value("values", Types::LIST), value("delimiter", TEXT)],
        TEXT,
        concat,
        "Joins values as text. Nil becomes `<nil>`.",
    ),
    converter(
        "Split",
        &[value("target", TEXT), value("delimiter", TEXT)],
        Types::LIST,
        split,
        "The parts of a text between delimiters; with an empty delimiter its characters.",
    ),
    converter(
        "Substring",
        &[
            value("target", TEXT),
            value("start", Types::INT),
            value("length", Types::INT),
            optional("utf8_safe", Takes::Value(Types::BOOL)),
        ],
        TEXT,
        substring,
        "A part of a text. With `utf8_safe` it begins and ends at whole characters.",
    ),
    converter(
        "HasPrefix",
        &[value("value", TEXT), value("prefix", TEXT)],
        Types::BOOL,
        has_prefix,
        "Whether a text begins with another.",
    ),
    converter(
        "HasSuffix",
        &[value("value", TEXT), value("suffix", TEXT)],
        Types::BOOL,
        has_suffix,
        "Whether a text ends with another.",
    ),
    converter(
        "ConvertCase",
        &[
            value("target", TEXT),
            parameter("to_case", Takes::OneOf(&["lower", "upper", "snake", "camel"])),
        ],
        TEXT,
        convert_case,
        "A text in lower or upper case, as `snake_case` or as `CamelCase`.",
    ),
    converter("ToLowerCase", TARGET, TEXT, lower, "A text in lower case."),
    converter("ToUpperCase", TARGET, TEXT, upper, "A text in upper case."),
    converter("ToSnakeCase", TARGET, TEXT, snake, "A text as `snake_case`."),
    converter("ToCamelCase", TARGET, TEXT, camel, "A text as `CamelCase`."),
    converter(
        "Trim",
        &[value("target", TEXT), optional("replacement", Takes::Value(TEXT))],
        TEXT,
        trim,
        "A text without some characters, by default blanks, at both ends.",
    ),
    converter(
        "TrimPrefix",
        &[value("target", TEXT), value("prefix", TEXT)],
        TEXT,
        trim_prefix,
        "A text without a prefix.",
    ),
    converter(
        "TrimSuffix",
        &[value("target", TEXT), value("suffix", TEXT)],
        TEXT,
        trim_suffix,
        "A text without a suffix.",
    ),
    converter(
        "IsValidLuhn",
        &[value("value", Types::ALL)],
        Types::BOOL,
        is_luhn,
        "Whether digits have a valid Luhn check sum, as numbers of credit cards have.",
    ),
];

fn concat<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let list = call.list(eval, 0)?;
    let delimiter = call.text(eval, 1)?;
    let mut out = Vec::new();
    for (i, any) in elements(&list).enumerate() {
        if i > 0 {
            out.extend_from_slice(&delimiter);
        }
        match like(Value::read(any)) {
            Some(text) => out.extend_from_slice(&text),
            None => out.extend(b"<nil>"),
        }
        if out.len() > LARGEST {
            return Err(What::TooLarge.into());
        }
    }
    Ok(made(out))
}

fn split<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let (text, delimiter) = (call.str(eval, 0)?, call.str(eval, 1)?);
    if delimiter.is_empty() {
        let mut buffer = [0; 4];
        let chars: Vec<Vec<u8>> =
            text.chars().map(|c| c.encode_utf8(&mut buffer).as_bytes().to_vec()).collect();
        return Ok(Value::texts(chars.iter().map(Vec::as_slice)));
    }
    Ok(Value::texts(text.split(&*delimiter).map(str::as_bytes)))
}

fn substring<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let text = call.text(eval, 0)?;
    let (start, length) = (call.int(eval, 1)?, call.int(eval, 2)?);
    let is_safe = call.bool_or(eval, 3, false)?;
    if start < 0 {
        return Err(What::text("start cannot be negative").into());
    }
    if length <= 0 {
        return Err(What::text("length must be above 0").into());
    }
    let to = |number: i64| usize::try_from(number).unwrap_or(usize::MAX);
    let (mut from, mut end) = (to(start), to(start.saturating_add(length)));
    if end > text.len() {
        let message = format!("start and length exceed the text, which has {} bytes", text.len());
        return Err(What::owned(message).into());
    }
    if is_safe {
        while from < end && text[from] & 0xC0 == 0x80 {
            from += 1;
        }
        end = floor_char(&text, end).max(from);
    }
    Ok(Value::Text(match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[from..end]),
        Cow::Owned(text) => Cow::Owned(text[from..end].to_vec()),
    }))
}

fn has_prefix<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    Ok(Value::Bool(call.text(eval, 0)?.starts_with(&call.text(eval, 1)?)))
}

fn has_suffix<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    Ok(Value::Bool(call.text(eval, 0)?.ends_with(&call.text(eval, 1)?)))
}

fn convert_case<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    match &*call.text(eval, 1)? {
        b"lower" => lower(call, eval),
        b"upper" => upper(call, eval),
        b"snake" => snake(call, eval),
        _ => camel(call, eval),
    }
}

fn lower<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    Ok(made(call.str(eval, 0)?.to_lowercase()))
}

fn upper<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    Ok(made(call.str(eval, 0)?.to_uppercase()))
}

/// Words end before a capital that follows a small letter or precedes one, and at blanks, `_`, `-`
/// and `.`.
fn words(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut words = vec![String::new()];
    for (i, c) in chars.iter().enumerate() {
        if c.is_whitespace() || matches!(c, '_' | '-' | '.') {
            words.push(String::new());
            continue;
        }
        let before = i.checked_sub(1).map(|i| chars[i]);
        let after = chars.get(i + 1);
        let begins = c.is_uppercase()
            && before.is_some_and(|before| {
                before.is_lowercase()
                    || before.is_numeric()
                    || (before.is_uppercase() && after.is_some_and(|after| after.is_lowercase()))
            });
        if begins {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(*c);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn snake<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let text = call.str(eval, 0)?;
    let words: Vec<String> = words(&text).iter().map(|word| word.to_lowercase()).collect();
    Ok(made(words.join("_")))
}

fn camel<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let text = call.str(eval, 0)?;
    let mut out = String::new();
    for word in words(&text) {
        let mut chars = word.chars();
        out.extend(chars.next().into_iter().flat_map(char::to_uppercase));
        out.push_str(chars.as_str());
    }
    Ok(made(out))
}

fn trim<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let text = call.str(eval, 0)?;
    let characters = to_str(call.text_or(eval, 1, " ")?);
    Ok(made(text.trim_matches(|c| characters.contains(c))))
}

fn trim_prefix<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let (text, prefix) = (call.text(eval, 0)?, call.text(eval, 1)?);
    Ok(match text.strip_prefix(&*prefix) {
        Some(rest) => made(rest),
        None => Value::Text(text),
    })
}

fn trim_suffix<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let (text, suffix) = (call.text(eval, 0)?, call.text(eval, 1)?);
    Ok(match text.strip_suffix(&*suffix) {
        Some(rest) => made(rest),
        None => Value::Text(text),
    })
}

fn is_luhn<'e>(call: &'e Call, eval: Eval<'e>) -> Result<Value<'e>, Fault> {
    let value = call.like(eval, 0)?.ok_or_else(|| call.wrong(0, TEXT, &Value::Nil))?;
    let digits: Vec<u8> = value.iter().copied().filter(|c| *c != b' ').collect();
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(What::text("the value has other characters than digits and blanks").into());
    }
    let sum: u32 = digits.iter().rev().enumerate().fold(0, |sum, (i, digit)| {
        let digit = u32::from(digit - b'0') << (i % 2);
        (sum + if digit > 9 { digit - 9 } else { digit }) % 10
    });
    Ok(Value::Bool(!digits.is_empty() && sum == 0))
}
