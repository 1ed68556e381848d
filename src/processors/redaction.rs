//! Deletes attributes that are not allowed, and masks values that must not leave.
//!
//! ```yaml
//! redaction:
//!   allow_all_keys: true
//!   blocked_key_patterns: ["(?i)token|password|authorization"]
//!   blocked_values:
//!     - "\\b4[0-9]{12}(?:[0-9]{3})?\\b"     # Visa
//!     - "\\b5[1-5][0-9]{14}\\b"             # Mastercard
//!   allowed_values: ["@example\\.com$"]
//!   summary: info
//! ```
//!
//! For each attribute, in this order: one of `ignored_keys` or `ignored_key_patterns` stays as it
//! is. Without `allow_all_keys`, one that is not among `allowed_keys` is deleted; without
//! `allowed_keys` all are. A value that one of `allowed_values` matches stays. Where one of
//! `blocked_key_patterns` matches the key, the value becomes `****`. In other values each match of
//! one of `blocked_values` becomes `****`. `hash_function` writes a hash in place of the stars, so
//! that equal values can still be told to be equal; an HMAC cannot be reversed by trying values.
//!
//! ```yaml
//! redaction/strict:
//!   allowed_keys: [http.request.method, http.route, http.response.status_code, service.name]
//!   ignored_key_patterns: ["^k8s\\."]
//!   blocked_values: ["[a-z]+@[a-z.]+"]
//!   hash_function: hmac-sha256
//!   hmac_key: ${env:REDACTION_KEY}
//! ```
//!
//! Attributes are those of resources, scopes, spans, span events and links, log records, data
//! points and exemplars. In the body of a log record maps and lists are searched at any depth; keys
//! in them count as those of attributes do, and a body that is text is masked as a value is. Only
//! texts are masked, unless `redact_all_types: true` masks the text form of other values, too.
//!
//! A text has no keys, also if it is JSON: in a body such as `{"password": "..."}` that is text,
//! `blocked_key_patterns` finds nothing. Let `transform` make a map of it, before this processor in
//! the pipeline:
//!
//! ```yaml
//! transform:
//!   error_mode: ignore
//!   log_statements:
//!     - set(log.body, ParseJSON(log.body)) where IsString(log.body) and IsMatch(log.body, "^[{]")
//! redaction/json:
//!   allow_all_keys: true
//!   blocked_key_patterns: ["(?i)password"]
//! ```
//!
//! `summary` adds attributes that say what was done: `redaction.redacted.count` of those deleted,
//! `redaction.masked.count`, `redaction.allowed.count` and `redaction.ignored.count`, and with
//! `debug` their keys (`redaction.masked.keys`); `redaction.body...` of bodies.
//!
//! Regular expressions are those of Go.
//!
//! Differs from the Collector:
//!
//! - Links, exemplars and the attributes of their owners are searched, too.
//! - A value of a blocked key is masked as a whole, also one of several lines. A value that is no
//!   text is not compared with `allowed_values`, unless `redact_all_types: true`.
//! - Numbers and booleans in a body stay as they are, unless `redact_all_types: true`.
//! - `url_sanitizer` and `db_sanitizer` are refused: the spans of an instrumentation that follows
//!   the semantic conventions have neither; `replace_pattern` of `transform` rewrites texts.

mod body;
mod mask;
mod rewrite;
mod settings;
mod summary;

pub use self::settings::Config;
use self::{mask::Rules, rewrite::redact, summary::Done};
use super::editing::edit_segments;
use crate::{
    component::{BuildContext, Entry, Output, Partition, Processor, ProcessorConfig, StartError},
    config::{Node, Problems},
    otlp::{Payload, Signal},
    ottl::regex,
    telemetry::{Counter, Desc},
};

const REDACTED: Desc = Desc::new(
    "skep_redaction_values",
    "{value}",
    "Attributes that were deleted, and values that were masked",
);

pub(super) const ENTRY: Entry<dyn ProcessorConfig> =
    Entry::of::<Config>("redaction", &[], &Signal::ALL, include_str!("redaction.rs"));

impl ProcessorConfig for Config {
    fn partition(&self) -> Partition {
        Partition::Any
    }

    fn validate(&self, at: &Node, problems: &mut Problems) {
        for (key, patterns) in self.patterns() {
            for (i, pattern) in patterns.iter().enumerate() {
                if let Err(words) = regex(pattern) {
                    problems.error(at.at(&format!("{key}::{i}")), words);
                }
            }
        }
        self.validate_hash(at, problems);
        self.validate_sanitizers(at, problems);
        if !self.allow_all_keys && self.allowed_keys.is_empty() {
            problems
                .warning(at, "no key is allowed, so all attributes are deleted")
                .help("set `allow_all_keys: true`, or list `allowed_keys`");
        }
    }

    fn build(&self, cx: &BuildContext) -> Result<Box<dyn Processor>, StartError> {
        let error = |message| StartError { component: format!("processor `{}`", cx.id), message };
        let meter = cx.metrics("processor");
        let counter = |action| meter.counter(&REDACTED, &[("action", action)]);
        Ok(Box::new(Redaction {
            rules: Rules::new(self).map_err(error)?,
            deleted: counter("deleted"),
            masked: counter("masked"),
        }))
    }
}

struct Redaction {
    rules: Rules,
    deleted: Counter,
    masked: Counter,
}

impl Processor for Redaction {
    fn process(&mut self, payload: Payload, out: &mut Output) {
        let signal = payload.signal;
        let mut done = Done::default();
        edit_segments(payload, 0, out, |segment, growth, purse| {
            redact(signal, segment, growth, purse, (&self.rules, &mut done))
        });
        self.deleted.add(done.deleted);
        self.masked.add(done.masked);
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
