//! The rules, and what they say of a key and its value.

use std::{borrow::Cow, collections::HashSet};

use md5::{Digest as _, Md5};
use regex::bytes::Regex;
use ring::{digest, hmac};
use sha3::Sha3_256;

use super::settings::{Config, HashFunction, Summary};
use crate::{
    config::Secret,
    ottl::{
        self, Value,
        search::{Reading, Rescans},
    },
    processors::editing::value::as_text,
};

/// What is done to an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Keeps,
    Ignored,
    /// Its value is explicitly allowed.
    Allowed,
    Deleted,
    /// Its value is this text now.
    Masked(Vec<u8>),
    /// The new value could not be paid for.
    Unpaid,
}

/// Pays for bytes; false if that is refused.
pub(super) type Pays<'p> = &'p mut dyn FnMut(usize) -> bool;

/// Most bytes of JSON that a byte of a value becomes.
const JSON: usize = 6;

/// The configuration, compiled.
#[derive(Debug)]
pub(super) struct Rules {
    allowed_keys: Option<HashSet<Vec<u8>>>,
    ignored_keys: HashSet<Vec<u8>>,
    ignored_patterns: Vec<Regex>,
    blocked_keys: Vec<Regex>,
    blocked_values: Vec<Blocked>,
    allowed_values: Vec<Regex>,
    takes_all_types: bool,
    mask: Mask,
    pub(super) summary: Summary,
}

/// A pattern whose matches are masked.
#[derive(Debug)]
struct Blocked {
    pattern: Regex,
    rescans: Rescans,
}

impl Blocked {
    /// How often it occurs in a text; `None` if the searches for all matches would take longer than
    /// linear time.
    fn count(&self, text: &[u8]) -> Option<usize> {
        let mut reading = Reading::new(&self.pattern, &self.rescans, text);
        let (mut count, mut from) = (0, 0);
        for found in self.pattern.find_iter(text) {
            if !reading.goes_on(from, found.end()) {
                return None;
            }
            from = found.end();
            count += 1;
        }
        Some(count)
    }
}

/// What is written in place of a match.
#[derive(Debug)]
enum Mask {
    Stars,
    Hash(HashFunction),
    Hmac(hmac::Key),
}

impl Mask {
    fn new(function: Option<HashFunction>, key: &Secret) -> Self {
        let key = |algorithm| Mask::Hmac(hmac::Key::new(algorithm, key.expose().as_bytes()));
        match function {
            None => Mask::Stars,
            Some(HashFunction::HmacSha256) => key(hmac::HMAC_SHA256),
            Some(HashFunction::HmacSha512) => key(hmac::HMAC_SHA512),
            Some(function) => Mask::Hash(function),
        }
    }

    /// Bytes of what it writes.
    fn len(&self) -> usize {
        match self {
            Mask::Stars => 4,
            Mask::Hash(HashFunction::Md5) => 32,
            Mask::Hash(HashFunction::Sha1) => 40,
            Mask::Hash(_) => 64,
            Mask::Hmac(_) => 128,
        }
    }

    fn write(&self, text: &[u8], out: &mut Vec<u8>) {
        match self {
            Mask::Stars => out.extend_from_slice(b"****"),
            Mask::Hash(HashFunction::Md5) => put_hex(out, &Md5::digest(text)),
            Mask::Hash(HashFunction::Sha1) => {
                put_hex(out, digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text).as_ref());
            }
            Mask::Hash(_) => put_hex(out, &Sha3_256::digest(text)),
            Mask::Hmac(key) => put_hex(out, hmac::sign(key, text).as_ref()),
        }
    }
}

fn put_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

fn matches(patterns: &[Regex], text: &[u8]) -> bool {
    patterns.iter().any(|pattern| pattern.is_match(text))
}

impl Rules {
    pub(super) fn new(config: &Config) -> Result<Self, String> {
        let compiled = |patterns: &[String]| {
            patterns.iter().map(|pattern| ottl::regex(pattern)).collect::<Result<Vec<_>, _>>()
        };
        let set = |keys: &[String]| keys.iter().map(|key| key.as_bytes().to_vec()).collect();
        Ok(Rules {
            allowed_keys: (!config.allow_all_keys).then(|| set(&config.allowed_keys)),
            ignored_keys: set(&config.ignored_keys),
            ignored_patterns: compiled(&config.ignored_key_patterns)?,
            blocked_keys: compiled(&config.blocked_key_patterns)?,
            blocked_values: compiled(&config.blocked_values)?
                .into_iter()
                .map(|pattern| Blocked { pattern, rescans: Rescans::default() })
                .collect(),
            allowed_values: compiled(&config.allowed_values)?,
            takes_all_types: config.redact_all_types,
            mask: Mask::new(config.hash_function, &config.hmac_key),
            summary: config.summary,
        })
    }

    /// What is done to an attribute; `any` is its `AnyValue`.
    pub(super) fn attribute(&self, key: &[u8], any: &[u8], pays: Pays<'_>) -> Verdict {
        if let Some(verdict) = self.key(key) {
            return verdict;
        }
        let Ok(text) = self.text(any, pays) else { return Verdict::Unpaid };
        if text.as_ref().is_some_and(|text| matches(&self.allowed_values, text)) {
            return Verdict::Allowed;
        }
        if matches(&self.blocked_keys, key) {
            return self.whole(any, pays);
        }
        text.map_or(Verdict::Keeps, |text| self.value(&text, pays))
    }

    /// What is done to a value in a body below a key.
    pub(super) fn key_in_body(&self, key: &[u8], any: &[u8], pays: Pays<'_>) -> Option<Verdict> {
        let verdict = self.key(key);
        verdict.or_else(|| matches(&self.blocked_keys, key).then(|| self.whole(any, pays)))
    }

    /// What is done to a value in a body that is neither a map nor a list.
    pub(super) fn value_in_body(&self, any: &[u8], pays: Pays<'_>) -> Verdict {
        match self.text(any, pays) {
            Err(()) => Verdict::Unpaid,
            Ok(None) => Verdict::Keeps,
            Ok(Some(text)) if matches(&self.allowed_values, &text) => Verdict::Allowed,
            Ok(Some(text)) => self.value(&text, pays),
        }
    }

    /// What is done to an attribute whatever its value is.
    fn key(&self, key: &[u8]) -> Option<Verdict> {
        if self.ignored_keys.contains(key) || matches(&self.ignored_patterns, key) {
            return Some(Verdict::Ignored);
        }
        let is_allowed = self.allowed_keys.as_ref().is_none_or(|allowed| allowed.contains(key));
        (!is_allowed).then_some(Verdict::Deleted)
    }

    /// The text of a value that is searched; `None` if it has none, an error if it could not be
    /// paid for.
    fn text<'a>(&self, any: &'a [u8], pays: Pays<'_>) -> Result<Option<Cow<'a, [u8]>>, ()> {
        match Value::read(any) {
            Value::Text(text) => Ok(Some(text)),
            Value::Nil => Ok(None),
            _ if self.takes_all_types => as_json(any, pays).map(Some),
            _ => Ok(None),
        }
    }

    /// All of a value is masked.
    fn whole(&self, any: &[u8], pays: Pays<'_>) -> Verdict {
        let text = match Value::read(any) {
            Value::Text(text) => text,
            _ => match as_json(any, pays) {
                Ok(text) => text,
                Err(()) => return Verdict::Unpaid,
            },
        };
        let mut out = Vec::new();
        self.mask.write(&text, &mut out);
        Verdict::Masked(out)
    }

    /// What is blocked in a value is masked; all of it, if to find every match would take too long.
    fn value(&self, text: &[u8], pays: Pays<'_>) -> Verdict {
        let mut current: Option<Vec<u8>> = None;
        for blocked in &self.blocked_values {
            let old = current.as_deref().unwrap_or(text);
            let Some(found) = blocked.count(old) else {
                let mut new = Vec::new();
                self.mask.write(text, &mut new);
                return Verdict::Masked(new);
            };
            if found == 0 {
                continue;
            }
            let len = old.len().saturating_add(found.saturating_mul(self.mask.len()));
            if !pays(len) {
                return Verdict::Unpaid;
            }
            let mut new = Vec::with_capacity(len);
            let mut copied = 0;
            for found in blocked.pattern.find_iter(old) {
                new.extend_from_slice(&old[copied..found.start()]);
                self.mask.write(found.as_bytes(), &mut new);
                copied = found.end();
            }
            new.extend_from_slice(&old[copied..]);
            current = Some(new);
        }
        match current {
            Some(new) if new != text => Verdict::Masked(new),
            _ => Verdict::Keeps,
        }
    }
}

/// A value that is no text in its text form.
fn as_json<'a>(any: &[u8], pays: Pays<'_>) -> Result<Cow<'a, [u8]>, ()> {
    if !pays(JSON * any.len()) {
        return Err(());
    }
    Ok(as_text(any).into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_in_which_matches_are_too_hard_to_find_is_masked_whole() {
        let config = Config {
            allow_all_keys: true,
            blocked_values: vec!["a[^b]*b|a".into()],
            ..Config::default()
        };
        let rules = Rules::new(&config).unwrap();
        let masked = |text: &str| rules.value(text.as_bytes(), &mut |_| true);
        assert_eq!(masked("xaxa"), Verdict::Masked(b"x****x****".to_vec()));
        assert_eq!(masked(&"xa".repeat(20_000)), Verdict::Masked(b"****".to_vec()));
    }
}
