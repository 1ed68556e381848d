//! Expands references: `${env:NAME:-default}`, `${file:PATH}`, `${yaml:TEXT}`. They may be nested.

use std::{cell::Cell, path::Path};

use super::{Environment, LIMIT, MOST_REFERENCES, OR_DEFAULT, read_file};

/// How often the result of a reference is expanded again.
const ROUNDS: usize = 100;

/// The sources of values, and what is left of the limits.
pub(super) struct References<'a> {
    /// `None`: nothing is looked up.
    env: Option<Environment<'a>>,
    bytes: Cell<usize>,
    count: Cell<usize>,
}

pub(super) enum Expanded {
    /// References within text, or none.
    Text(String),
    /// The whole scalar was one reference.
    Whole(String),
}

/// Why a reference is not replaced.
pub(super) struct Wrong {
    pub(super) message: String,
    pub(super) help: String,
    /// The variable or the file does not exist on this machine.
    pub(super) is_absent: bool,
}

fn wrong(message: impl Into<String>, help: impl Into<String>) -> Wrong {
    Wrong { message: message.into(), help: help.into(), is_absent: false }
}

impl<'a> References<'a> {
    pub(super) fn new(env: Environment<'a>) -> Self {
        References { env: Some(env), bytes: Cell::new(0), count: Cell::new(0) }
    }

    /// References that are not looked up.
    pub(super) fn closed() -> Self {
        References { env: None, bytes: Cell::new(0), count: Cell::new(0) }
    }

    /// Counts a reference and the text that it expands to.
    fn charge(&self, bytes: usize) -> Result<(), Wrong> {
        self.count.set(self.count.get() + 1);
        self.bytes.set(self.bytes.get() + bytes);
        let help = "find the variable that refers to others or to itself";
        if self.count.get() > MOST_REFERENCES {
            let message = format!("there are more than {MOST_REFERENCES} references");
            return Err(wrong(message, help));
        }
        if self.bytes.get() > LIMIT {
            let message = format!("references expand to more than {} MiB of text", LIMIT >> 20);
            return Err(wrong(message, help));
        }
        Ok(())
    }

    pub(super) fn expand(&self, text: &str, round: usize) -> Result<Expanded, Wrong> {
        if round > ROUNDS {
            return Err(wrong("too many recursive expansions", "a variable refers to itself"));
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            let after = &rest[at + 1..];
            if let Some(next) = after.strip_prefix('$') {
                out.push('$');
                rest = next;
            } else if let Some(inner) = after.strip_prefix('{') {
                let Some(end) = closing(inner) else {
                    return Err(wrong("`${` has no closing `}`", "write `$${` for the text"));
                };
                let value = self.lookup(&inner[..end], round)?;
                rest = &inner[end + 1..];
                if out.is_empty() && rest.is_empty() && at == 0 {
                    return Ok(Expanded::Whole(value));
                }
                out.push_str(&value);
            } else {
                out.push('$');
                rest = after;
            }
        }
        out.push_str(rest);
        Ok(Expanded::Text(out))
    }

    fn lookup(&self, reference: &str, round: usize) -> Result<String, Wrong> {
        let reference = match self.expand(reference, round + 1)? {
            Expanded::Text(text) | Expanded::Whole(text) => text,
        };
        let (scheme, rest) = match reference.split_once(':') {
            Some((scheme, rest)) if !rest.starts_with('-') => (scheme, rest),
            _ => ("env", &*reference),
        };
        let text = match (scheme, self.env) {
            ("env" | "file", None) => {
                let message = format!("`{reference}` is not looked up here");
                return Err(Wrong { is_absent: true, ..wrong(message, "") });
            }
            ("env", Some(env)) => variable(rest, env)?,
            ("file", _) => read_file(Path::new(rest)).map_err(|message| {
                let help = if Path::new(rest).is_relative() {
                    "the path is relative to the directory in which skep is started"
                } else {
                    "check the path"
                };
                Wrong { is_absent: !Path::new(rest).exists(), ..wrong(message, help) }
            })?,
            ("yaml", _) => rest.to_owned(),
            (other, _) => {
                let message = format!("scheme `{other}` is not supported for uri `{reference}`");
                return Err(wrong(message, "use env:, file: or yaml:"));
            }
        };
        self.charge(text.len())?;
        match self.expand(&text, round + 1)? {
            Expanded::Text(text) | Expanded::Whole(text) => Ok(text),
        }
    }
}

/// Position of the brace that closes the reference, nested ones skipped.
fn closing(inner: &str) -> Option<usize> {
    let mut depth = 0;
    let bytes = inner.as_bytes();
    for (i, byte) in bytes.iter().enumerate() {
        match byte {
            b'{' if i > 0 && bytes[i - 1] == b'$' => depth += 1,
            b'}' if depth == 0 => return Some(i),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn variable(reference: &str, env: Environment<'_>) -> Result<String, Wrong> {
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_name {
        let culprit = name.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '_');
        let message = match culprit {
            Some(culprit) => {
                format!(
                    "environment variable `{name}` has an invalid name: it contains `{culprit}`"
                )
            }
            None if name.is_empty() => "a reference without a name".to_owned(),
            None => format!("environment variable `{name}` has an invalid name"),
        };
        return Err(wrong(message, "names are letters, digits and `_`, not starting with a digit"));
    }
    match (env(name), default) {
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(Wrong {
            is_absent: true,
            ..wrong(
                format!("the environment variable `{name}` is not set"),
                format!("set it where skep runs{OR_DEFAULT}: `${{env:{name}:-value}}`"),
            )
        }),
    }
}
