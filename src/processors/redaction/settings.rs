//! What is deleted and masked, as it is written, and what can be wrong with it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{Node, Problems, Secret};

/// Deletes and masks.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Delete no attributes.
    pub allow_all_keys: bool,
    /// Keys of attributes that stay; all others are deleted.
    pub allowed_keys: Vec<String>,
    /// Keys of attributes that are not looked at.
    pub ignored_keys: Vec<String>,
    /// Regular expressions; attributes whose keys match are not looked at.
    pub ignored_key_patterns: Vec<String>,
    /// Regular expressions; values of matching keys are masked.
    pub blocked_key_patterns: Vec<String>,
    /// Regular expressions; what they match in values is masked. All of a value is, if finding
    /// every match in it would take more than linear time, as `a[^b]*b|a` can.
    pub blocked_values: Vec<String>,
    /// Regular expressions; values that they match stay.
    pub allowed_values: Vec<String>,
    /// Mask values that are no texts, too.
    pub redact_all_types: bool,
    /// What is written in place of a value; without it, `****`.
    pub hash_function: Option<HashFunction>,
    /// Key of `hmac-sha256`, at least 32 bytes, or of `hmac-sha512`, at least 64.
    pub hmac_key: Secret,
    /// What attributes say about it.
    pub summary: Summary,
    /// Refused: `replace_pattern` of `transform` rewrites URLs.
    pub url_sanitizer: Switch,
    /// Refused: `replace_pattern` of `transform` rewrites statements.
    pub db_sanitizer: DatabaseSwitches,
}

/// `hash_function`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HashFunction {
    /// MD5.
    Md5,
    /// SHA-1.
    Sha1,
    /// SHA3-256.
    Sha3,
    /// HMAC with SHA-256.
    HmacSha256,
    /// HMAC with SHA-512.
    HmacSha512,
}

/// `summary`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Summary {
    /// Nothing.
    #[default]
    Silent,
    /// Counts.
    Info,
    /// Counts and keys.
    Debug,
}

/// A sanitizer that skep does not have.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Switch {
    /// Refused if true.
    pub enabled: bool,
    /// Keys of attributes.
    pub attributes: Vec<String>,
    /// Whether names of spans are rewritten.
    pub sanitize_span_name: Option<bool>,
}

/// Sanitizers of database statements.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseSwitches {
    /// Statements of SQL.
    pub sql: Switch,
    /// Statements of Redis.
    pub redis: Switch,
    /// Statements of Valkey.
    pub valkey: Switch,
    /// Statements of Memcached.
    pub memcached: Switch,
    /// Statements of `MongoDB`.
    pub mongo: Switch,
    /// Statements of `OpenSearch`.
    pub opensearch: Switch,
    /// Statements of Elasticsearch.
    pub es: Switch,
    /// Whether statements of unknown systems are rewritten.
    pub allow_fallback_without_system: bool,
    /// Whether names of spans are rewritten.
    pub sanitize_span_name: Option<bool>,
}

impl Config {
    pub(super) fn patterns(&self) -> [(&'static str, &[String]); 4] {
        [
            ("ignored_key_patterns", &self.ignored_key_patterns),
            ("blocked_key_patterns", &self.blocked_key_patterns),
            ("blocked_values", &self.blocked_values),
            ("allowed_values", &self.allowed_values),
        ]
    }

    pub(super) fn validate_hash(&self, at: &Node, problems: &mut Problems) {
        let len = self.hmac_key.expose().len();
        let least = match self.hash_function {
            Some(HashFunction::HmacSha256) => 32,
            Some(HashFunction::HmacSha512) => 64,
            _ if len > 0 => {
                problems
                    .warning(at.at("hmac_key"), "`hmac_key` has no effect without an HMAC")
                    .help("set `hash_function: hmac-sha256`");
                return;
            }
            _ => return,
        };
        if len < least {
            problems
                .error(at.at("hmac_key"), format!("the key must have at least {least} bytes"))
                .help(format!("make one, for instance by `openssl rand -hex {}`", least / 2));
        }
    }

    pub(super) fn validate_sanitizers(&self, at: &Node, problems: &mut Problems) {
        let databases = &self.db_sanitizer;
        for (key, switch) in [
            ("url_sanitizer", &self.url_sanitizer),
            ("db_sanitizer::sql", &databases.sql),
            ("db_sanitizer::redis", &databases.redis),
            ("db_sanitizer::valkey", &databases.valkey),
            ("db_sanitizer::memcached", &databases.memcached),
            ("db_sanitizer::mongo", &databases.mongo),
            ("db_sanitizer::opensearch", &databases.opensearch),
            ("db_sanitizer::es", &databases.es),
        ] {
            if switch.enabled {
                let name = key.split("::").next().unwrap_or(key);
                problems.error(at.at(key), format!("`{name}` is not supported")).help(
                    "rewrite the attributes by `replace_pattern` in the processor `transform`",
                );
            }
        }
    }
}
