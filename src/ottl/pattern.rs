//! Regular expressions and globs of the language, which are those of Go.
//!
//! The engine is Rust's, whose time is linear, too, for a single match; for all matches of a text
//! see `rescan`. What Go writes otherwise is translated: `\d`,
//! `\w`, `\s` and `\b` mean ASCII, `\Q...\E` quotes, and `[`, `&&`, `--` and `~~` inside of a class
//! are plain characters.

use std::{cell::RefCell, sync::Arc};

use regex::bytes::{Regex, RegexBuilder};

use super::fault::What;

/// Most bytes of a compiled expression.
const SIZE: usize = 4 << 20;

/// Longest text of an expression.
const LONGEST: usize = 16 << 10;

/// Dynamic expressions that are remembered by a call.
const REMEMBERED: usize = 8;

/// Compiles an expression of Go.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > LONGEST {
        return Err(format!("the regular expression has more than {LONGEST} bytes"));
    }
    let translated = translate(pattern);
    let compiled = RegexBuilder::new(&translated).size_limit(SIZE).dfa_size_limit(SIZE).build();
    compiled.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => "the regular expression is too large".to_owned(),
        other => {
            let words = other.to_string();
            let last = words.lines().last().unwrap_or("").trim_start_matches("error: ");
            format!("the regular expression is invalid: {last}")
        }
    })
}

/// Compiles a glob: `*` is any text, `?` one character, `[abc]`, `[!a-z]`, `{a,b}`, and `\` takes
/// the next character as it is.
pub(crate) fn compile_glob(glob: &str) -> Result<Regex, String> {
    let mut out = String::from("(?s)\\A(?:");
    let mut chars = glob.chars().peekable();
    let mut depth = 0;
    while let Some(c) = chars.next() {
        match c {
            '*' => out.push_str(".*"),
            '?' => out.push('.'),
            '\\' => push_literal(&mut out, chars.next().unwrap_or('\\')),
            '{' => {
                depth += 1;
                out.push_str("(?:");
            }
            '}' if depth > 0 => {
                depth -= 1;
                out.push(')');
            }
            ',' if depth > 0 => out.push('|'),
            '[' => {
                out.push('[');
                if chars.next_if_eq(&'!').is_some() {
                    out.push('^');
                }
                loop {
                    match chars.next() {
                        None => return Err("the glob has no closing `]`".to_owned()),
                        Some(']') => break,
                        Some('-') => out.push('-'),
                        Some('\\') => push_literal(&mut out, chars.next().unwrap_or('\\')),
                        Some(c) => push_literal(&mut out, c),
                    }
                }
                out.push(']');
            }
            c => push_literal(&mut out, c),
        }
    }
    if depth > 0 {
        return Err("the glob has no closing `}`".to_owned());
    }
    out.push_str(")\\z");
    RegexBuilder::new(&out).size_limit(SIZE).build().map_err(|_| "the glob is invalid".to_owned())
}

fn push_literal(out: &mut String, c: char) {
    let mut buffer = [0; 4];
    out.push_str(&regex::escape(c.encode_utf8(&mut buffer)));
}

/// An expression of Go as one of Rust.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars().peekable();
    let mut in_class = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('Q') => quoted(&mut chars, &mut out),
                Some(escaped) => push_escape(escaped, in_class, &mut out),
                None => out.push('\\'),
            },
            '[' if !in_class => {
                in_class = true;
                out.push('[');
                if chars.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                if chars.next_if_eq(&']').is_some() {
                    out.push_str("\\]");
                }
            }
            '[' if chars.peek() == Some(&':') => {
                out.push('[');
                for c in chars.by_ref() {
                    out.push(c);
                    if c == ']' {
                        break;
                    }
                }
            }
            '[' => out.push_str("\\["),
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
            }
            '-' if in_class && chars.peek() == Some(&'-') => out.push_str("\\-"),
            c => out.push(c),
        }
    }
    out
}

fn quoted(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) {
    while let Some(c) = chars.next() {
        if c == '\\' && chars.next_if_eq(&'E').is_some() {
            return;
        }
        push_literal(out, c);
    }
}

fn push_escape(escaped: char, in_class: bool, out: &mut String) {
    let class = match escaped {
        'd' => Some("0-9"),
        'w' => Some("0-9A-Za-z_"),
        's' => Some("\\t\\n\\x0C\\r "),
        'D' => Some("^0-9"),
        'W' => Some("^0-9A-Za-z_"),
        'S' => Some("^\\t\\n\\x0C\\r "),
        _ => None,
    };
    match (class, escaped) {
        (Some(class), _) if in_class && !class.starts_with('^') => out.push_str(class),
        (Some(class), _) => {
            out.push('[');
            out.push_str(class);
            out.push(']');
        }
        (None, 'b' | 'B') => {
            out.push_str("(?-u:\\");
            out.push(escaped);
            out.push(')');
        }
        (None, 'C') => out.push_str("(?s-u:.)"),
        (None, escaped) => {
            out.push('\\');
            out.push(escaped);
        }
    }
}

/// Expressions that a call has compiled for values of items, the last one used first.
#[derive(Debug, Clone, Default)]
pub struct Recent(RefCell<Vec<(Vec<u8>, Arc<Regex>)>>);

impl Recent {
    pub fn get(
        &self,
        pattern: Vec<u8>,
        compile: fn(&str) -> Result<Regex, String>,
    ) -> Result<Arc<Regex>, What> {
        let mut known = self.0.borrow_mut();
        if let Some(at) = known.iter().position(|(known, _)| *known == pattern) {
            known[..=at].rotate_right(1);
            return Ok(known[0].1.clone());
        }
        let regex = Arc::new(compile(&String::from_utf8_lossy(&pattern)).map_err(What::owned)?);
        known.truncate(REMEMBERED - 1);
        known.insert(0, (pattern, regex.clone()));
        Ok(regex)
    }
}
