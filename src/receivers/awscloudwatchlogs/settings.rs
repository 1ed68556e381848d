//! What can be configured.

use std::{net::IpAddr, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    config::{Interval, Node, Problems, Secret},
    net::{server, tls::ServerTls},
    receivers::journal::Journal,
};

/// Takes log events from clients of CloudWatch Logs.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `host:port`; port 4586 on loopback, in a container on all interfaces.
    pub endpoint: Option<String>,
    /// TLS; plaintext without it.
    pub tls: Option<ServerTls>,
    /// Largest body in bytes, before and after inflating; 8 MiB, since a full batch of 1 MiB may
    /// have six times as many bytes in JSON.
    pub max_request_body_size: u64,
    /// Answer a call only after the backends have its events.
    pub wait_for_export: bool,
    /// Write events down before they are answered, so that they survive a crash and an outage of
    /// the backends costs disk instead of memory.
    pub journal: Option<Journal>,
    /// Which clients may call.
    pub sigv4: SigV4,
    /// Turn a message that is a JSON object into a map; otherwise each message stays text.
    pub parse_json: bool,
    /// What `service.name` is, unless the client names a service (`entity`).
    pub service_name_from: ServiceName,
    /// Refuse events that CloudWatch would refuse for their time: older than 14 days or than their
    /// group keeps them, or more than 2 hours ahead.
    pub enforce_limits: bool,
    /// Account in ARNs, and in the answer to `GetCallerIdentity`.
    pub account_id: String,
}

/// `service_name_from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServiceName {
    /// The name of the log group.
    #[default]
    Group,
    /// The name of the log stream.
    Stream,
    /// Nothing.
    None,
}

/// `sigv4`: what is asked of the signatures of calls.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SigV4 {
    /// What is checked; without it `none` if there are no `keys`, `access_key` if they have no
    /// secrets, and `verify` otherwise.
    pub mode: Option<Mode>,
    /// Access keys of clients.
    pub keys: Vec<AccessKey>,
    /// How far the clock of a client may be off, with `verify`.
    pub max_clock_skew: Interval,
}

/// `sigv4::mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Nothing: any client may call, with any credentials or none.
    None,
    /// The id of the access key has to be one of `keys`. The id is not a secret.
    AccessKey,
    /// The signature has to be right.
    Verify,
}

/// An access key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AccessKey {
    /// Its id, such as `AKIA...`; clients have it in `AWS_ACCESS_KEY_ID`.
    pub access_key_id: String,
    /// Its secret, for `verify`; clients have it in `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: Secret,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            endpoint: None,
            tls: None,
            max_request_body_size: 8 << 20,
            wait_for_export: false,
            journal: None,
            sigv4: SigV4::default(),
            parse_json: true,
            service_name_from: ServiceName::Group,
            enforce_limits: true,
            account_id: "000000000000".to_owned(),
        }
    }
}

impl Default for SigV4 {
    fn default() -> Self {
        SigV4 { mode: None, keys: Vec::new(), max_clock_skew: Interval(Duration::from_mins(15)) }
    }
}

impl SigV4 {
    /// The mode that is meant if none is given.
    pub(super) fn mode(&self) -> Mode {
        let has_secret = |key: &AccessKey| !key.secret_access_key.expose().is_empty();
        self.mode.unwrap_or_else(|| match &self.keys[..] {
            [] => Mode::None,
            keys if keys.iter().any(has_secret) => Mode::Verify,
            _ => Mode::AccessKey,
        })
    }
}

impl Config {
    /// Bytes of the largest body.
    pub(super) fn max_body(&self) -> usize {
        usize::try_from(self.max_request_body_size).unwrap_or(usize::MAX)
    }
}

pub(super) fn validate(config: &Config, at: &Node, problems: &mut Problems) {
    if let Some(endpoint) = &config.endpoint {
        if let Err((message, remedy)) = server::check(endpoint) {
            problems.error(at.at("endpoint"), message).help(remedy.replace("4317", "4586"));
        } else if !is_loopback(endpoint)
            && config.sigv4.mode.is_none()
            && config.sigv4.keys.is_empty()
        {
            problems.warning(at.at("endpoint"), "anyone who can reach this port can write logs").help(
                "add `sigv4` with `keys`, or write `sigv4: {mode: none}` if this is what you want",
            );
        }
    }
    if let Some(tls) = &config.tls {
        tls.validate(at.at("tls"), problems);
    }
    if config.max_request_body_size == 0 {
        problems
            .error(at.at("max_request_body_size"), "without room for a body no call can be taken")
            .help("write 8388608, or leave it out");
    }
    let is_account = |id: &str| id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_digit());
    if !is_account(&config.account_id) {
        problems
            .error(at.at("account_id"), "an account of AWS has 12 digits")
            .help("write it in quotes, for instance \"000000000000\"");
    }
    let sigv4 = &config.sigv4;
    let mode = sigv4.mode();
    match (mode, sigv4.keys.is_empty()) {
        (Mode::None, false) => {
            problems
                .warning(at.at("sigv4::keys"), "`keys` has no effect with `mode: none`")
                .help("write `mode: verify`, or remove the keys");
        }
        (Mode::AccessKey | Mode::Verify, true) => {
            problems
                .error(at.at("sigv4::mode"), "without `keys` no client may call")
                .help("add `keys: [{access_key_id: ..., secret_access_key: ...}]`");
        }
        _ => {}
    }
    for (index, key) in sigv4.keys.iter().enumerate() {
        let place = |name: &str| at.at(&format!("sigv4::keys::{index}::{name}"));
        if key.access_key_id.is_empty() {
            problems.error(place("access_key_id"), "a key needs an `access_key_id`");
        }
        if mode == Mode::Verify && key.secret_access_key.expose().is_empty() {
            problems
                .error(
                    place("secret_access_key"),
                    "a signature cannot be verified without a secret",
                )
                .help("add `secret_access_key`, or write `mode: access_key`");
        }
    }
}

/// Whether only programs of this machine reach an endpoint.
fn is_loopback(endpoint: &str) -> bool {
    let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host);
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::yaml;

    fn read(text: &str) -> (Config, Vec<String>) {
        let node = yaml::parse(0, text).unwrap();
        let mut problems = Problems::default();
        let config = crate::config::decode::<Config>(&node, &mut problems).unwrap();
        validate(&config, &node, &mut problems);
        (config, problems.0.into_iter().map(|problem| problem.message).collect())
    }

    #[test]
    fn the_mode_follows_from_the_keys() {
        let mode = |text: &str| {
            let (config, problems) = read(text);
            assert_eq!(problems, [""; 0], "{text}");
            config.sigv4.mode()
        };
        assert_eq!(mode("endpoint: localhost:1"), Mode::None);
        assert_eq!(mode("sigv4: {keys: [{access_key_id: a}]}"), Mode::AccessKey);
        let keys = "keys: [{access_key_id: a, secret_access_key: b}]";
        assert_eq!(mode(&format!("sigv4: {{{keys}}}")), Mode::Verify);
        assert_eq!(mode(&format!("sigv4: {{mode: access_key, {keys}}}")), Mode::AccessKey);
        assert_eq!(mode("{endpoint: '0.0.0.0:1', sigv4: {mode: none}}"), Mode::None);
    }

    #[test]
    fn mistakes_are_told() {
        for (text, words) in [
            ("endpoint: 0.0.0.0:1", "anyone who can"),
            ("endpoint: '1'", "no port"),
            ("account_id: abc", "12 digits"),
            ("max_request_body_size: 0", "no call"),
            ("sigv4: {mode: verify}", "no client"),
            ("sigv4: {mode: none, keys: [{access_key_id: a}]}", "no effect"),
            ("sigv4: {mode: verify, keys: [{access_key_id: a}]}", "without a secret"),
            ("sigv4: {keys: [{}]}", "needs an"),
        ] {
            let problems = read(text).1;
            assert!(problems.len() == 1 && problems[0].contains(words), "{text}: {problems:?}");
        }
        assert_eq!(read("endpoint: '[::1]:1'").1, [""; 0]);
    }
}
