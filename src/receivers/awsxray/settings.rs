//! What can be configured: the Collector's keys, and those of local sampling.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    config::{Node, Problems},
    net::server,
};

/// Takes segments from AWS X-Ray SDKs.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `host:port` for datagrams; port 2000 on loopback, in a container on all interfaces.
    pub endpoint: Option<String>,
    /// Kind of socket.
    pub transport: Transport,
    /// Bytes that the socket's buffer should have; the kernel may allow less. 4 MiB.
    pub receive_buffer: u32,
    /// Datagrams that may wait to be translated; more are dropped.
    pub queue_size: u32,
    /// Where SDKs ask for sampling rules.
    pub proxy_server: ProxyServer,
}

/// `transport`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// What every SDK sends.
    #[default]
    Udp,
}

/// `proxy_server`: a TCP port that answers two calls of the X-Ray API.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProxyServer {
    /// `host:port`; that of the datagrams, since SDKs are told one address for both.
    pub endpoint: Option<String>,
    /// Whether rules are those below.
    pub mode: Mode,
    /// Rules that SDKs are given; a rule `Default` takes what no other takes (1 a second and 5 %
    /// unless it is given here).
    pub rules: Vec<Rule>,
    /// A JSON file with rules: local rules of an SDK (`"version": 2`), or what `GetSamplingRules`
    /// answers (`SamplingRuleRecords`), or what `create-sampling-rule` is given (`SamplingRule`).
    pub rules_file: Option<String>,
    /// Answer without an AWS account, as `mode: local`.
    pub local_mode: bool,
    /// No effect: nothing is forwarded to AWS.
    pub proxy_address: Option<String>,
    /// No effect: nothing is forwarded to AWS.
    pub tls: Option<ProxyTls>,
    /// No effect: nothing is forwarded to AWS.
    pub region: Option<String>,
    /// No effect: nothing is forwarded to AWS.
    pub role_arn: Option<String>,
    /// No effect: nothing is forwarded to AWS.
    pub aws_endpoint: Option<String>,
    /// No effect: nothing is forwarded to AWS.
    pub service_name: Option<String>,
}

/// `proxy_server.tls`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProxyTls {
    /// No effect: nothing is forwarded to AWS.
    pub insecure: bool,
    /// No effect: nothing is forwarded to AWS.
    pub server_name_override: Option<String>,
}

/// `proxy_server.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// From AWS. This is not there yet: unless there are rules here, SDKs are told so, and use
    /// their own local rules.
    #[default]
    Proxy,
    /// From `rules` and `rules_file`, without an AWS account.
    Local,
}

/// A sampling rule. Of those that match a request, the one with the smallest priority counts;
/// `*` and `?` stand for any characters and for any one.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// Name of at most 32 characters; `Default` is the one for what no other takes.
    pub rule_name: String,
    /// 1 to 9999.
    pub priority: u32,
    /// Share of the requests that is sampled after the reservoir, 0 to 1.
    pub fixed_rate: f64,
    /// Requests a second that are sampled in any case, over all clients.
    pub reservoir_size: u32,
    /// Host header; any.
    pub host: String,
    /// Name of the service; any.
    pub service_name: String,
    /// Where the service runs, such as `AWS::ECS::Container`; any.
    pub service_type: String,
    /// HTTP method; any.
    pub http_method: String,
    /// Path of the URL; any.
    pub url_path: String,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            endpoint: None,
            transport: Transport::Udp,
            receive_buffer: 4 << 20,
            queue_size: 4096,
            proxy_server: ProxyServer::default(),
        }
    }
}

impl Default for Rule {
    fn default() -> Self {
        let any = || "*".to_owned();
        Rule {
            rule_name: String::new(),
            priority: 9000,
            fixed_rate: 0.05,
            reservoir_size: 1,
            host: any(),
            service_name: any(),
            service_type: any(),
            http_method: any(),
            url_path: any(),
        }
    }
}

/// Name of the rule for what no other takes.
pub(super) const DEFAULT: &str = "Default";

/// Priority of that rule.
const LAST: u32 = 10_000;

impl Rule {
    /// The rule for what no other takes, as AWS has it in a new account.
    pub(super) fn last() -> Self {
        Rule { rule_name: DEFAULT.to_owned(), priority: LAST, ..Rule::default() }
    }

    /// What is wrong with a rule, by key (limits of the X-Ray API, `SamplingRule`).
    pub(super) fn problems(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        for (key, text, limit) in [
            ("rule_name", &self.rule_name, 32),
            ("host", &self.host, 64),
            ("service_name", &self.service_name, 64),
            ("service_type", &self.service_type, 64),
            ("http_method", &self.http_method, 10),
            ("url_path", &self.url_path, 128),
        ] {
            let len = text.chars().count();
            if len > limit {
                found.push((key, format!("`{key}` has {len} characters, {limit} are allowed")));
            }
            if text.is_empty() {
                found.push((key, format!("`{key}` is empty")));
            }
        }
        if !(0.0..=1.0).contains(&self.fixed_rate) {
            found.push(("fixed_rate", "a rate is a share from 0 to 1".to_owned()));
        }
        if !(1..LAST).contains(&self.priority) && self.rule_name != DEFAULT {
            found.push(("priority", "priorities go from 1 to 9999".to_owned()));
        }
        found
    }
}

impl ProxyServer {
    /// Whether rules are given out here.
    pub(super) fn is_local(&self) -> bool {
        let has_rules = !self.rules.is_empty() || self.rules_file.is_some();
        self.mode == Mode::Local || self.local_mode || has_rules
    }
}

pub(super) fn validate(config: &Config, at: &Node, problems: &mut Problems) {
    let proxy = &config.proxy_server;
    for (key, endpoint) in
        [("endpoint", &config.endpoint), ("proxy_server::endpoint", &proxy.endpoint)]
    {
        if let Some(Err((message, remedy))) = endpoint.as_deref().map(server::check) {
            problems.error(at.at(key), message).help(remedy.replace("4317", "2000"));
        }
    }
    if config.queue_size == 0 {
        problems.error(at.at("queue_size"), "without room for a datagram all would be dropped");
    }
    let mut names: Vec<&str> = Vec::new();
    for (i, rule) in proxy.rules.iter().enumerate() {
        let place = |key: &str| at.at(&format!("proxy_server::rules::{i}::{key}"));
        for (key, message) in rule.problems() {
            problems.error(place(key), message);
        }
        if names.contains(&&*rule.rule_name) {
            let message = format!("there are two rules `{}`", rule.rule_name);
            problems.error(place("rule_name"), message);
        }
        names.push(&rule.rule_name);
    }
    for (key, is_set) in [
        ("proxy_address", proxy.proxy_address.is_some()),
        ("tls", proxy.tls.is_some()),
        ("region", proxy.region.is_some()),
        ("role_arn", proxy.role_arn.is_some()),
        ("aws_endpoint", proxy.aws_endpoint.is_some()),
        ("service_name", proxy.service_name.is_some()),
    ] {
        if is_set {
            let message = format!("`{key}` has no effect: nothing is forwarded to AWS yet");
            problems.warning(at.at(&format!("proxy_server::{key}")), message);
        }
    }
}
