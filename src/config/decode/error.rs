//! What serde says about a value that does not fit, in the words of a configuration: no names of
//! Rust, the valid choices, and no secret.

use std::fmt;

use serde::de::{self, Unexpected};

use crate::config::{
    diagnostics::closest,
    tree::{Node, Place, Value},
};

/// An error on its way out: it learns its place at the first level that knows one.
#[derive(Debug)]
pub(super) struct Error {
    pub(super) message: String,
    pub(super) help: Option<String>,
    pub(super) place: Option<Place>,
    /// Keys from the innermost out.
    pub(super) steps: Vec<String>,
    /// A null or an empty word in place of a value that has a default: not a problem.
    pub(super) is_null: bool,
    /// A [`Value::Unknown`], whose problem is recorded already.
    pub(super) is_unknown: bool,
    /// The key that is missing.
    pub(super) missing: Option<String>,
}

/// Between the message and the remedy in an error of serde, which has one text only.
const HELP: &str = "\u{1f}help\u{1f}";

/// An error of a type that decodes itself, with its remedy.
pub fn explained<E: de::Error>(message: &str, help: &str) -> E {
    E::custom(format_args!("{message}{HELP}{help}"))
}

pub(super) type Boxed = Box<Error>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

pub(super) fn error(message: String, help: Option<String>) -> Boxed {
    Box::new(Error {
        message,
        help,
        place: None,
        steps: Vec::new(),
        is_null: false,
        is_unknown: false,
        missing: None,
    })
}

/// Removes the value of a reference from the message: it may be a secret in the wrong place.
pub(super) fn without_value(mut error: Boxed, node: &Node) -> Boxed {
    if let (None, Value::Substituted { text, .. }) = (&error.place, &node.value) {
        for text in [text.clone(), text.to_lowercase()] {
            let quoted = format!("`{text}`");
            if error.message.contains(&quoted) {
                error.message = error.message.replace(&quoted, "the value of the reference");
            }
        }
    }
    error
}

pub(super) fn at(mut error: Boxed, place: &Place, step: &str) -> Boxed {
    error.place.get_or_insert_with(|| place.clone());
    error.steps.push(step.to_owned());
    error
}

/// A value that is missing and may have a default, which is not a problem in itself.
pub(super) fn empty() -> Boxed {
    let mut error = error("the value is empty".to_owned(), None);
    error.is_null = true;
    error
}

fn choices(wrong: &str, valid: &[&str]) -> String {
    let valid: Vec<&str> = valid.iter().copied().filter(|word| !word.is_empty()).collect();
    let list = valid.join(", ");
    match closest(wrong, valid.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? valid: {list}"),
        None => format!("valid: {list}"),
    }
}

/// A key that is none of those that are valid here.
pub(super) fn unknown_key(key: &str, valid: &[&str]) -> Boxed {
    let help =
        if valid.is_empty() { "there are no keys here".to_owned() } else { choices(key, valid) };
    error(format!("unknown key `{key}`"), Some(help))
}

impl de::Error for Boxed {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let message = message.to_string();
        if let Some((message, help)) = message.split_once(HELP) {
            return error(message.to_owned(), Some(help.to_owned()));
        }
        if message.starts_with("data did not match any variant") {
            return error("this has none of the forms that are allowed here".to_owned(), None);
        }
        error(message, None)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        unknown_key(field, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        error(format!("unknown value `{variant}`"), Some(choices(variant, expected)))
    }

    fn missing_field(field: &'static str) -> Self {
        let mut error = error(format!("the key `{field}` is missing"), None);
        error.missing = Some(field.to_owned());
        error
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let message =
            format!("expected {}, got {}", wanted(&expected.to_string()), in_words(&unexpected));
        let mut error = error(message, None);
        error.is_null = unexpected == Unexpected::Unit;
        error
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let wanted = wanted(&expected.to_string());
        error(format!("expected {wanted}, got {}", in_words(&unexpected)), None)
    }
}

/// Whether a text is like `timeout:1s`, which YAML reads as one word.
pub(super) fn is_key_and_value(text: &str) -> bool {
    text.split_once(':').is_some_and(|(key, value)| {
        !value.starts_with("//") && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
    })
}

/// What was expected, without names of Rust.
fn wanted(expected: &str) -> String {
    let words = match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" | "u64" | "u128" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "`true` or `false`",
        "a sequence" => "a list",
        "unit" => "nothing",
        _ if expected.starts_with("struct ") => "a map of settings",
        _ if expected.contains("enum ") => "one of a few words",
        _ => expected,
    };
    words.to_owned()
}

fn in_words(unexpected: &Unexpected<'_>) -> String {
    match unexpected {
        Unexpected::Bool(value) => format!("the boolean `{value}`"),
        Unexpected::Unsigned(value) => format!("the number `{value}`"),
        Unexpected::Signed(value) => format!("the number `{value}`"),
        Unexpected::Float(value) => format!("the number `{value}`"),
        Unexpected::Str(_) => "a string".to_owned(),
        Unexpected::Map => "a map".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
        other => other.to_string(),
    }
}
