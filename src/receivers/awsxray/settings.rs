//! The settings: the Collector's keys, and those of local sampling.

use schemars::JsonSchema;
use serde::Deserialize;

use super::forward;
use crate::{
    config::{Node, Problems, Secret, source::check_file},
    net::{aws_host::endpoint_url, proxy, server},
    receivers::journal::Journal,
};

/// Takes segments from AWS X-Ray SDKs.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `host:port` for datagrams; port 2000 on loopback, in a container on all interfaces.
    pub endpoint: Option<String>,
    /// Kind of socket.
    pub transport: Transport,
    /// Requested size of the socket's buffer in bytes; the kernel may allow less. 4 MiB by default.
    pub receive_buffer: u32,
    /// Datagrams that may wait to be translated; more are dropped.
    pub queue_size: u32,
    /// Write segments to disk before they are processed, so that they survive a crash, and an
    /// outage of the backends costs disk space instead of memory.
    pub journal: Option<Journal>,
    /// Where SDKs ask for sampling rules.
    pub proxy_server: ProxyServer,
}

/// `transport`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// The transport of all SDKs.
    #[default]
    Udp,
}

/// `proxy_server`: a TCP port that answers the sampling calls of the X-Ray API.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProxyServer {
    /// `host:port`. By default that of the datagrams, because SDKs have one address for both.
    pub endpoint: Option<String>,
    /// Source of the rules. By default `proxy`, or `local` with `rules` or a `rules_file`.
    pub mode: Option<Mode>,
    /// Rules for SDKs. The rule `Default` is for requests that no other rule matches (1 a second
    /// and 5 % unless it is set here).
    pub rules: Vec<Rule>,
    /// A JSON file with rules: local rules of an SDK (`"version": 2`), a response of
    /// `GetSamplingRules` (`SamplingRuleRecords`), or the input of `create-sampling-rule`
    /// (`SamplingRule`).
    pub rules_file: Option<String>,
    /// Do not ask the metadata of an EC2 instance for the region.
    pub local_mode: bool,
    /// Region. By default `AWS_REGION`, `AWS_DEFAULT_REGION`, that of the profile, the ECS task, or
    /// the instance.
    pub region: Option<String>,
    /// Role to assume for the calls.
    pub role_arn: Option<String>,
    /// Base URL of X-Ray instead of the region's.
    pub aws_endpoint: Option<String>,
    /// Name of the service in the URL and in signatures. By default `xray`.
    pub service_name: Option<String>,
    /// Sign and forward every path and method, not only the three sampling calls. Everybody who can
    /// reach the port then acts with the role of skep.
    pub allow_all_paths: bool,
    /// TLS of the connection to AWS.
    pub tls: Option<ProxyTls>,
    /// Proxy of the calls to AWS, such as `http://user:password@host:3128`, instead of that of the
    /// environment (`HTTPS_PROXY`).
    pub proxy_address: Secret,
}

/// `proxy_server.tls`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProxyTls {
    /// Accept any certificate.
    pub insecure: bool,
    /// Name that the certificate must have, if it is not the host of the URL.
    pub server_name_override: Option<String>,
}

/// `proxy_server.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// From AWS; while AWS is unavailable, the rules that it returned last.
    Proxy,
    /// From `rules` and `rules_file`, without an AWS account.
    Local,
    /// As `proxy`, but before AWS has returned any, from `rules` and `rules_file`.
    Merge,
}

impl Mode {
    pub(super) fn name(self) -> &'static str {
        match self {
            Mode::Proxy => "proxy",
            Mode::Local => "local",
            Mode::Merge => "merge",
        }
    }
}

/// A sampling rule. Of the rules that match a request, the one with the smallest priority number
/// counts; `*` matches any characters, `?` any single one.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// Name of at most 32 characters. `Default` is for requests that no other rule matches.
    pub rule_name: String,
    /// 1 to 9999.
    pub priority: u32,
    /// Fraction of requests that is sampled beyond the reservoir, 0 to 1.
    pub fixed_rate: f64,
    /// Requests a second that are always sampled, over all clients.
    pub reservoir_size: u32,
    /// Host header. By default any.
    pub host: String,
    /// Name of the service. By default any.
    pub service_name: String,
    /// Where the service runs, such as `AWS::ECS::Container`. By default any.
    pub service_type: String,
    /// HTTP method. By default any.
    pub http_method: String,
    /// Path of the URL. By default any.
    pub url_path: String,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            endpoint: None,
            transport: Transport::Udp,
            receive_buffer: 4 << 20,
            queue_size: 4096,
            journal: None,
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

/// Name of the rule for requests that no other rule matches.
pub(super) const DEFAULT: &str = "Default";

/// Priority of that rule.
const LAST: u32 = 10_000;

impl Rule {
    /// The rule for requests that no other rule matches, as in a new AWS account.
    pub(super) fn last() -> Self {
        Rule { rule_name: DEFAULT.to_owned(), priority: LAST, ..Rule::default() }
    }

    /// The problems of a rule, by key (limits of the X-Ray API, `SamplingRule`).
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
    /// The configured mode, or the default.
    pub(super) fn mode(&self) -> Mode {
        let has_rules = !self.rules.is_empty() || self.rules_file.is_some();
        self.mode.unwrap_or(if has_rules { Mode::Local } else { Mode::Proxy })
    }

    /// Checks the settings of AWS. `at` is the receiver.
    fn validate_aws(&self, at: &Node, problems: &mut Problems) {
        let at = |key: &str| at.at(&format!("proxy_server::{key}"));
        let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        if self.mode() == Mode::Local {
            for (key, is_set) in [
                ("region", given(&self.region)),
                ("role_arn", given(&self.role_arn)),
                ("aws_endpoint", given(&self.aws_endpoint)),
                ("service_name", given(&self.service_name)),
                ("allow_all_paths", self.allow_all_paths),
                ("tls", self.tls.is_some()),
                ("proxy_address", !self.proxy_address.expose().is_empty()),
            ] {
                if is_set {
                    let message = format!("`{key}` has no effect: rules are given out here");
                    problems
                        .warning(at(key), message)
                        .help("write `mode: merge` to ask AWS first, or remove it");
                }
            }
            return;
        }
        if self.mode.is_some() && !forward::IS_BUILT_IN {
            problems.error(at("mode"), "this skep is built without AWS, so it cannot ask it").help(
                "build it with the feature `aws`, which is on by default, or write `mode: local`",
            );
        }
        for (key, is_set) in
            [("rules", !self.rules.is_empty()), ("rules_file", self.rules_file.is_some())]
        {
            if is_set && self.mode() == Mode::Proxy {
                problems.error(at(key), format!("`{key}` has no effect with `mode: proxy`")).help(
                    "write `mode: merge` to use it where AWS cannot be asked, or `mode: local`",
                );
            }
        }
        if let Some(url) = self.aws_endpoint.as_ref().filter(|url| !url.is_empty())
            && let Err(message) = forward::check_url(&endpoint_url(url))
        {
            problems
                .error(at("aws_endpoint"), message)
                .help("write `https://host`, or leave it out and set `region`");
        }
        let proxy = self.proxy_address.expose();
        if let Err(message) = proxy::check(proxy)
            && !proxy.is_empty()
        {
            problems
                .error(at("proxy_address"), format!("the proxy cannot be used: {message}"))
                .help("write `http://host:port`, with `user:password@` before the host if it wants that");
        }
        if self.tls.as_ref().is_some_and(|tls| tls.insecure) {
            problems
                .warning(at("tls::insecure"), "any certificate is accepted, not only that of AWS")
                .help("remove it; for an own endpoint let SSL_CERT_FILE name its certificate");
        }
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
    if let Some(file) = &proxy.rules_file {
        check_file(at.at("proxy_server::rules_file"), file, problems);
    }
    proxy.validate_aws(at, problems);
}
