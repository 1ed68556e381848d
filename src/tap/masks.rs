//! What a tap must not show: values whose keys look like secrets, or all values.
//!
//! Masking is done before anything else looks at an item, the condition included: who may tap could
//! otherwise learn a secret by asking whether it begins with `a`, then with `b`.

use regex::bytes::{Regex, RegexBuilder};

/// Parts of keys whose values are never shown; `set-cookie` is one of `cookie`.
const ALWAYS: &str = "authorization|cookie|password|passwd|secret|token|api[-_.]?key";

/// Keys that end so count tokens of a language model, and are no secret if they are numbers.
const COUNTED: &[u8] = b"tokens";

/// Most patterns of a tap beside those that are always there.
const PATTERNS: usize = 32;

/// Most characters of a pattern.
const PATTERN: usize = 256;

/// Most bytes of a compiled pattern.
const COMPILED: usize = 256 << 10;

/// Says which values are masked.
#[derive(Debug, Clone)]
pub struct Masks {
    patterns: Vec<Regex>,
    /// Only names and counts are shown.
    is_names_only: bool,
}

impl Masks {
    /// Those that are always there, and `more`: regular expressions that are looked for in keys,
    /// in any case. With `is_names_only` every value of an attribute or body is masked.
    pub fn new(more: &[String], is_names_only: bool) -> Result<Self, String> {
        if more.len() > PATTERNS {
            return Err(format!("at most {PATTERNS} patterns of keys can be masked"));
        }
        let mut patterns = vec![compiled(ALWAYS)?];
        for pattern in more {
            if pattern.len() > PATTERN {
                return Err(format!("a pattern of keys can have at most {PATTERN} characters"));
            }
            patterns.push(compiled(pattern)?);
        }
        Ok(Masks { patterns, is_names_only })
    }

    /// Whether only names and counts are shown.
    pub fn is_names_only(&self) -> bool {
        self.is_names_only
    }

    /// Whether the value of a key is masked. One that is not UTF-8 is: nobody knows what it says.
    pub fn hides(&self, key: &[u8], is_number: bool) -> bool {
        if self.is_names_only && key != b"service.name" {
            return true;
        }
        if is_number && key.ends_with(COUNTED) {
            return false;
        }
        str::from_utf8(key).is_err() || self.patterns.iter().any(|pattern| pattern.is_match(key))
    }
}

fn compiled(pattern: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(pattern).case_insensitive(true).size_limit(COMPILED).build();
    built.map_err(|error| {
        let words = error.to_string();
        let last = words.lines().last().unwrap_or_default().trim_start_matches("error: ");
        format!("`{pattern}` is not a regular expression: {last}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_their_keys() {
        let masks = Masks::new(&["^user\\.email$".to_owned()], false).unwrap();
        for key in [
            "http.request.header.authorization",
            "http.response.header.set-cookie",
            "db.PASSWORD",
            "aws.secret_access_key",
            "session_token",
            "x-api-key",
            "API_KEY",
            "apikey",
            "User.Email",
        ] {
            assert!(masks.hides(key.as_bytes(), false), "{key}");
        }
        for key in ["http.route", "user.id", "user.email.domain", "api.version"] {
            assert!(!masks.hides(key.as_bytes(), false), "{key}");
        }
        assert!(masks.hides(b"\xff", false));
    }

    #[test]
    fn numbers_of_tokens_are_no_secret() {
        let masks = Masks::new(&[], false).unwrap();
        assert!(!masks.hides(b"gen_ai.usage.input_tokens", true));
        assert!(masks.hides(b"gen_ai.usage.input_tokens", false));
        assert!(masks.hides(b"password", true));
    }

    #[test]
    fn patterns_have_limits_and_errors_name_them() {
        assert!(Masks::new(&["a(".to_owned()], false).unwrap_err().starts_with("`a(` is not"));
        assert!(Masks::new(&vec!["a".to_owned(); 33], false).unwrap_err().contains("at most 32"));
        assert!(Masks::new(&["a".repeat(257)], false).unwrap_err().contains("256 characters"));
    }
}
