//! The settings of a public port.

use std::time::Duration;

use http::HeaderName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::keys;
use crate::config::{Interval, Node, Problems, Secret};

/// A key of this length cannot be guessed (RFC 7518, section 3.2).
const LEAST_SECRET: usize = 32;

/// What is made of requests of clients that anybody can be.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Public {
    /// Value of `skep.source`, which every resource gets.
    pub source: String,
    /// Services that a page may name in `service.name`. Requests of others are refused. By default
    /// any name is taken.
    pub service_names: Vec<String>,
    /// Attributes that spans, events, links, log records and scopes may have: keys, or beginnings
    /// of keys with `*` behind them. Replaces the default, which has what the OpenTelemetry SDK
    /// for browsers writes.
    pub allowed_attributes: Vec<String>,
    /// Attributes that resources may have, in the same form.
    pub allowed_resource_attributes: Vec<String>,
    /// Largest body in bytes, before and after inflating, if `max_request_body_size` is not lower.
    pub max_body_size: u64,
    /// Most spans or log records of a request; one with more is refused.
    pub max_items: u64,
    /// Most attributes of each thing that has some; others are left out.
    pub max_attributes: usize,
    /// Longest text in bytes: values of attributes, names, messages. Longer ones are cut.
    pub max_value_bytes: usize,
    /// Most events of a span; others are left out.
    pub max_events: usize,
    /// Most links of a span; others are left out.
    pub max_links: usize,
    /// Requests that each client may send in a second, with bursts of ten times as many; 0: no
    /// limit. A client is an IPv4 address or an IPv6 network of 64 bits.
    pub requests_per_second_per_client: u32,
    /// Spans and log records that each client may send in a second, with bursts of ten times as
    /// many; 0: no limit.
    pub items_per_second_per_client: u32,
    /// Requests that all clients together may send in a second, with bursts of ten times as many;
    /// 0: no limit.
    pub requests_per_second: u32,
    /// Header that holds the address of the client, written by a proxy of yours in front of skep;
    /// its last address counts. By default the address of the connection.
    pub client_address_header: Option<String>,
    /// How much of a client's address is kept in `client.address`.
    pub client_address: AddressPrivacy,
    /// What is done about the clocks of pages.
    pub clock: ClockSettings,
    /// Tokens that name the user of a page, signed by the application.
    pub token: Option<Token>,
}

/// `public.client_address`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AddressPrivacy {
    /// The network: 24 bits of IPv4, 48 bits of IPv6.
    #[default]
    Network,
    /// All of it.
    Full,
    /// Nothing.
    None,
}

/// `public.clock`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClockSettings {
    /// If the latest time of a request is further ahead of its arrival, all its times are shifted.
    pub max_ahead: Interval,
    /// If the latest time of a request is further behind its arrival, all its times are shifted.
    pub max_behind: Interval,
    /// Times that are older, once they are shifted, cannot be.
    pub max_age: Interval,
}

impl Default for ClockSettings {
    fn default() -> Self {
        ClockSettings {
            max_ahead: Interval(Duration::from_secs(5)),
            max_behind: Interval(Duration::from_mins(10)),
            max_age: Interval(Duration::from_hours(1)),
        }
    }
}

/// `public.token`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Token {
    /// Header that holds the token; pages may always send it.
    pub header: String,
    /// Secrets with which the application signs (HS256), each at least 32 bytes long. With several
    /// of them one can be replaced by the next.
    pub secrets: Vec<Secret>,
    /// Claim that becomes `user.id`.
    pub claim: String,
    /// Refuse requests without a token. One with a wrong token is always refused.
    pub required: bool,
}

impl Default for Token {
    fn default() -> Self {
        Token {
            header: "x-skep-token".to_owned(),
            secrets: Vec::new(),
            claim: "sub".to_owned(),
            required: false,
        }
    }
}

/// What the instrumentations of OpenTelemetry for browsers write, in both conventions, and what
/// describes a page, an exception, a session.
const ATTRIBUTES: [&str; 23] = [
    "app.*",
    "browser.*",
    "code.*",
    "component",
    "error.*",
    "event.*",
    "event_type",
    "exception.*",
    "feature_flag.*",
    "http.*",
    "location.href",
    "message",
    "navigation.*",
    "network.*",
    "screen.*",
    "server.*",
    "session.*",
    "target_element",
    "target_xpath",
    "url.*",
    "user_agent.*",
    "web_vital.*",
    "web_vitals.*",
];

const RESOURCE_ATTRIBUTES: [&str; 10] = [
    "app.*",
    "browser.*",
    "service.name",
    "service.namespace",
    "service.version",
    "session.*",
    "telemetry.distro.*",
    "telemetry.sdk.*",
    "user_agent.*",
    "screen.*",
];

impl Default for Public {
    fn default() -> Self {
        let owned = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        Public {
            source: "browser".to_owned(),
            service_names: Vec::new(),
            allowed_attributes: owned(&ATTRIBUTES),
            allowed_resource_attributes: owned(&RESOURCE_ATTRIBUTES),
            max_body_size: 1 << 20,
            max_items: 512,
            max_attributes: 64,
            max_value_bytes: 4096,
            max_events: 32,
            max_links: 8,
            requests_per_second_per_client: 10,
            items_per_second_per_client: 500,
            requests_per_second: 200,
            client_address_header: None,
            client_address: AddressPrivacy::default(),
            clock: ClockSettings::default(),
            token: None,
        }
    }
}

impl Public {
    /// `place` finds a key of the section.
    pub(in crate::receivers::otlp) fn validate<'n>(
        &self,
        place: impl Fn(&str) -> &'n Node,
        problems: &mut Problems,
    ) {
        for (list, patterns) in [
            ("allowed_attributes", &self.allowed_attributes),
            ("allowed_resource_attributes", &self.allowed_resource_attributes),
        ] {
            for (i, pattern) in patterns.iter().enumerate() {
                if let Some((message, remedy)) = keys::wrong(pattern) {
                    problems.error(place(&format!("{list}::{i}")), message).help(remedy);
                }
            }
        }
        for (key, value) in [
            ("max_body_size", self.max_body_size),
            ("max_items", self.max_items),
            ("max_attributes", self.max_attributes as u64),
            ("max_value_bytes", self.max_value_bytes as u64),
        ] {
            if value == 0 {
                let message = format!("`{key}` must be at least 1: nothing would be taken");
                problems.error(place(key), message).help("remove it for the default");
            }
        }
        if let Some(name) = &self.client_address_header
            && HeaderName::try_from(name.as_str()).is_err()
        {
            problems
                .error(place("client_address_header"), format!("`{name}` is not a header"))
                .help("write for instance `x-forwarded-for`");
        }
        if let Some(token) = &self.token {
            token.validate(place, problems);
        }
    }
}

impl Token {
    fn validate<'n>(&self, place: impl Fn(&str) -> &'n Node, problems: &mut Problems) {
        if HeaderName::try_from(self.header.as_str()).is_err() {
            problems
                .error(place("token::header"), format!("`{}` is not a header", self.header))
                .help("remove it: `x-skep-token` is the default");
        }
        if self.claim.is_empty() {
            problems
                .error(place("token::claim"), "the claim that names the user is empty")
                .help("remove it: `sub` is the default");
        }
        if self.secrets.is_empty() {
            problems
                .error(place("token"), "tokens cannot be checked without a secret")
                .help("add `secrets: [\"${env:SKEP_BROWSER_TOKEN_SECRET}\"]`, the one that the application signs with");
        }
        for (i, secret) in self.secrets.iter().enumerate() {
            if secret.expose().len() < LEAST_SECRET {
                let at = place(&format!("token::secrets::{i}"));
                let message = format!("the secret is shorter than {LEAST_SECRET} bytes");
                problems.error(at, message).help("make one with `openssl rand -hex 32`");
            }
        }
    }
}
