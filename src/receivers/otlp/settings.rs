//! The settings, with the Collector's keys and defaults.

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderName, HeaderValue, uri::PathAndQuery};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::IgnoredAny};

use crate::{
    component::{Compression, GrpcServerAuth, HttpServerAuth},
    config::{Ignored, Interval, Node, Problems, Secret, Section, refuse_beside_keepalive},
    net::{
        server::{self, CONNECTION, Tuning},
        tls::ServerTls,
    },
    receivers::{cors::Cors, journal::Journal, otlp::public::settings::Public},
};

/// A port may hold as many connections as this part of the budget pays for, and at least so many.
const CONNECTIONS_SHARE: u64 = 8;
const LEAST_CONNECTIONS: u64 = 64;

/// Receives OTLP over gRPC and HTTP.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Which protocols, each on its own port; at least one.
    pub protocols: Protocols,
    /// Answer a request only after the backends have its data.
    pub wait_for_export: bool,
    /// Write requests to disk before they are answered, so that they survive a crash, and an outage
    /// of the backends costs disk space instead of memory.
    pub journal: Option<Journal>,
    /// How to treat text that is not UTF-8.
    pub utf8: Utf8Check,
    /// Remove the attributes `skep.*` of resources, which only a receiver with `public` should
    /// write: for the ports of backends, if something downstream believes these marks.
    pub remove_public_marks: bool,
}

/// `utf8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Utf8Check {
    /// The request is refused and the place named, as protobuf demands: a backend would refuse the
    /// whole batch for it.
    #[default]
    Strict,
    /// It is passed on unchanged, for senders that cut texts within a character. The check of a
    /// request costs half as much.
    Unchecked,
}

/// The two transports.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Protocols {
    /// OTLP/gRPC; naming it turns it on.
    pub grpc: Section<GrpcSettings>,
    /// OTLP/HTTP; naming it turns it on.
    pub http: Section<HttpSettings>,
}

/// OTLP/gRPC.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GrpcSettings {
    /// `host:port`, or the path of a unix socket; port 4317 on loopback, in a container on all
    /// interfaces.
    pub endpoint: Option<String>,
    /// Kind of socket.
    pub transport: Transport,
    /// TLS; plaintext without it.
    pub tls: Option<ServerTls>,
    /// Largest message in MiB, before and after inflating; 0 means 4, too.
    pub max_recv_msg_size_mib: u64,
    /// Streams at a time on a connection. By default, and with 0, it is 128, or fewer if there are
    /// many connections.
    pub max_concurrent_streams: Option<u32>,
    /// Has no effect: the HTTP/2 library chooses the sizes.
    pub read_buffer_size: Ignored<u64>,
    /// Has no effect: the HTTP/2 library chooses the sizes.
    pub write_buffer_size: Ignored<u64>,
    /// Keepalive of connections.
    pub keepalive: Keepalive,
    /// Keep the request's headers for processors that ask for them.
    pub include_metadata: bool,
    /// Extension that decides which clients may send to this port. By default all may.
    pub auth: Option<GrpcServerAuth>,
    /// Middlewares are not supported.
    #[schemars(with = "serde_json::Value")]
    pub middlewares: Option<Vec<IgnoredAny>>,
}

impl Default for GrpcSettings {
    fn default() -> Self {
        GrpcSettings {
            endpoint: None,
            transport: Transport::default(),
            tls: None,
            max_recv_msg_size_mib: 4,
            max_concurrent_streams: None,
            read_buffer_size: Ignored::default(),
            write_buffer_size: Ignored::default(),
            keepalive: Keepalive::default(),
            include_metadata: false,
            auth: None,
            middlewares: None,
        }
    }
}

/// `transport`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// IPv4 or IPv6, as the endpoint says; IPv4 for a name that has both.
    #[default]
    Tcp,
    /// IPv4 only.
    Tcp4,
    /// IPv6 only.
    Tcp6,
    /// A unix socket; the endpoint is its path.
    Unix,
}

/// `keepalive`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Keepalive {
    /// What the server does.
    pub server_parameters: ServerParameters,
    /// Has no effect: pings have a limit of their own, 256 without a request and 20 a second.
    pub enforcement_policy: Ignored<EnforcementPolicy>,
}

/// The keys of `keepalive.enforcement_policy`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EnforcementPolicy {
    pub min_time: Option<Interval>,
    pub permit_without_stream: bool,
}

/// `keepalive.server_parameters`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerParameters {
    /// Close a connection that has had no request for this time. By default never.
    pub max_connection_idle: Option<Interval>,
    /// Close a connection of this age, give or take a tenth. By default never.
    pub max_connection_age: Option<Interval>,
    /// Longest wait for the requests of a connection that is too old. By default as long as they
    /// take.
    pub max_connection_age_grace: Option<Interval>,
    /// Ping an idle connection after this time. By default 2h.
    pub time: Option<Interval>,
    /// Close it if the ping is not answered within this time. By default 20s.
    pub timeout: Option<Interval>,
}

/// OTLP/HTTP.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// `host:port`, or the path of a unix socket; port 4318 on loopback, in a container on all
    /// interfaces.
    pub endpoint: Option<String>,
    /// Kind of socket.
    pub transport: Transport,
    /// TLS; plaintext without it.
    pub tls: Option<ServerTls>,
    /// Path of traces.
    pub traces_url_path: String,
    /// Path of metrics.
    pub metrics_url_path: String,
    /// Path of logs.
    pub logs_url_path: String,
    /// Has no effect: skep has no profiles.
    pub profiles_url_path: Ignored<String>,
    /// Largest body in bytes, before and after inflating; 20 MiB.
    pub max_request_body_size: u64,
    /// Keep the request's headers for processors that ask for them.
    pub include_metadata: bool,
    /// Web pages that may send from a browser.
    pub cors: Option<Cors>,
    /// The port is open to anybody, as pages need it: what comes is limited, corrected and marked.
    pub public: Section<Public>,
    /// Headers of every response.
    pub response_headers: BTreeMap<String, Secret>,
    /// Accepted content encodings, `""` for none. By default all that are supported.
    pub compression_algorithms: Option<Vec<String>>,
    /// Longest time for a whole request. By default, and with 0, it is 30s for the body. A body of
    /// which less than a twelfth has arrived after a sixth of it is given up.
    pub read_timeout: Option<Interval>,
    /// Longest time for the headers of a request. By default, and with 0, it is `read_timeout`, or
    /// 1m without that.
    pub read_header_timeout: Option<Interval>,
    /// Has no effect: a response is a single packet that does not block.
    pub write_timeout: Ignored<Interval>,
    /// Connections that wait for the next request. Replaces `idle_timeout` and
    /// `keep_alives_enabled`.
    pub keepalive: Option<HttpKeepalive>,
    /// Old form of `keepalive::idle_timeout`.
    pub idle_timeout: Interval,
    /// Old form of `keepalive::enabled`.
    pub keep_alives_enabled: bool,
    /// Extension that decides which clients may send to this port. By default all may.
    pub auth: Option<HttpServerAuth>,
    /// Middlewares are not supported.
    #[schemars(with = "serde_json::Value")]
    pub middlewares: Option<Vec<IgnoredAny>>,
}

/// `keepalive` of OTLP/HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpKeepalive {
    /// Whether a connection serves more than one request.
    pub enabled: bool,
    /// Close a connection that has had no request for this time; 0 means never.
    pub idle_timeout: Interval,
}

impl Default for HttpKeepalive {
    fn default() -> Self {
        HttpKeepalive { enabled: true, idle_timeout: Interval::default() }
    }
}

impl Default for HttpSettings {
    fn default() -> Self {
        HttpSettings {
            endpoint: None,
            transport: Transport::Tcp,
            tls: None,
            traces_url_path: "/v1/traces".to_owned(),
            metrics_url_path: "/v1/metrics".to_owned(),
            logs_url_path: "/v1/logs".to_owned(),
            profiles_url_path: Ignored::default(),
            max_request_body_size: 20 << 20,
            include_metadata: false,
            cors: None,
            public: Section::Off,
            response_headers: BTreeMap::new(),
            compression_algorithms: None,
            read_timeout: None,
            read_header_timeout: None,
            write_timeout: Ignored::default(),
            keepalive: None,
            idle_timeout: Interval::default(),
            keep_alives_enabled: true,
            auth: None,
            middlewares: None,
        }
    }
}

impl Config {
    /// The keys that name authenticators, with their values.
    pub(super) fn auths(&self) -> Vec<(&'static str, String)> {
        let grpc = self.protocols.grpc.on().and_then(|grpc| grpc.auth.as_ref());
        let http = self.protocols.http.on().and_then(|http| http.auth.as_ref());
        let grpc = grpc.map(|auth| ("protocols::grpc::auth", auth.authenticator.clone()));
        let http = http.map(|auth| ("protocols::http::auth", auth.authenticator.clone()));
        grpc.into_iter().chain(http).collect()
    }

    /// How the port of gRPC is served.
    pub(super) fn grpc_tuning(&self, budget: u64) -> Tuning {
        let mut tuning = tuning_for(budget);
        let Some(grpc) = self.protocols.grpc.on() else { return tuning };
        let keepalive = &grpc.keepalive.server_parameters;
        if let Some(most) = grpc.max_concurrent_streams.filter(|most| *most > 0) {
            tuning.max_concurrent_streams = Some(most);
        }
        if let Some(time) = keepalive.time {
            tuning.keepalive_time = positive(time);
        }
        if let Some(timeout) = keepalive.timeout {
            tuning.keepalive_timeout = timeout.0;
        }
        tuning.max_idle = keepalive.max_connection_idle.and_then(positive);
        tuning.max_age = keepalive.max_connection_age.and_then(positive);
        tuning.max_age_grace = keepalive.max_connection_age_grace.and_then(positive);
        tuning
    }

    /// How the port of HTTP is served.
    pub(super) fn http_tuning(&self, budget: u64) -> Tuning {
        let mut tuning = tuning_for(budget);
        let Some(http) = self.protocols.http.on() else { return tuning };
        let given = |timeout: Option<Interval>| timeout.and_then(positive);
        let of_request = given(http.read_header_timeout).or(given(http.read_timeout));
        tuning.header_timeout = of_request.unwrap_or(tuning.header_timeout);
        let old =
            HttpKeepalive { enabled: http.keep_alives_enabled, idle_timeout: http.idle_timeout };
        let keepalive = http.keepalive.unwrap_or(old);
        tuning.max_idle = positive(keepalive.idle_timeout);
        tuning.keep_alive = keepalive.enabled;
        tuning
    }

    /// Bytes of the largest gRPC message.
    pub(super) fn max_message(&self) -> usize {
        let mib = self.protocols.grpc.on().map_or(0, |grpc| grpc.max_recv_msg_size_mib);
        usize::try_from(if mib == 0 { 4 } else { mib } << 20).unwrap_or(usize::MAX)
    }

    /// Bytes of the largest HTTP body.
    pub(super) fn max_body(&self) -> usize {
        let default = HttpSettings::default().max_request_body_size;
        let http = self.protocols.http.on();
        let bytes = http.map_or(default, |http| http.max_request_body_size);
        let public = http.and_then(|http| http.public.on());
        let most = public.map_or(u64::MAX, |public| public.max_body_size);
        let bytes = if bytes == 0 { default } else { bytes }.min(most);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }
}

/// The limits of a port for this byte budget.
fn tuning_for(budget: u64) -> Tuning {
    let connections = (budget / CONNECTIONS_SHARE / CONNECTION as u64).max(LEAST_CONNECTIONS);
    let default = Tuning::default();
    Tuning {
        all_windows: (budget / CONNECTIONS_SHARE).min(default.all_windows),
        max_connections: usize::try_from(connections).unwrap_or(usize::MAX),
        ..default
    }
}

pub(super) fn validate(config: &Config, at: &Node, problems: &mut Problems) {
    let Protocols { grpc, http } = &config.protocols;
    if grpc.on().is_none() && http.on().is_none() {
        problems
            .error(
                at.at("protocols"),
                "must specify at least one protocol when using the OTLP receiver",
            )
            .help("add `grpc:` or `http:` under `protocols`");
    }
    if let Some(grpc) = grpc.on() {
        validate_grpc(grpc, at, problems);
    }
    if let Some(http) = http.on() {
        validate_http(http, at, problems);
    }
}

fn validate_grpc(grpc: &GrpcSettings, at: &Node, problems: &mut Problems) {
    let place = |key: &str| at.at(&format!("protocols::grpc::{key}"));
    endpoint(grpc.endpoint.as_deref(), grpc.transport, place("endpoint"), problems);
    refused(grpc.middlewares.is_some(), place("middlewares"), problems);
    if let Some(tls) = &grpc.tls {
        tls.validate(place("tls"), problems);
    }
}

fn validate_http(http: &HttpSettings, at: &Node, problems: &mut Problems) {
    let node = at.at("protocols::http");
    if http.keepalive.is_some() {
        let old = [("idle_timeout", "idle_timeout"), ("keep_alives_enabled", "enabled")];
        refuse_beside_keepalive(&old, node, problems);
    }
    let place = |key: &str| at.at(&format!("protocols::http::{key}"));
    for (key, path) in [
        ("traces_url_path", &http.traces_url_path),
        ("metrics_url_path", &http.metrics_url_path),
        ("logs_url_path", &http.logs_url_path),
    ] {
        if !is_path(path) {
            problems
                .error(place(key), format!("`{path}` is not the path of a URL"))
                .help("write for instance `/v1/logs`, without scheme, host or query");
        }
    }
    if let Some(public) = http.public.on() {
        public.validate(|key| node.at(&format!("public::{key}")), problems);
        validate_pages(node, problems);
    }
    if let Some(cors) = &http.cors {
        cors.validate(place("cors"), problems);
    }
    endpoint(http.endpoint.as_deref(), http.transport, place("endpoint"), problems);
    refused(http.middlewares.is_some(), place("middlewares"), problems);
    if let Some(tls) = &http.tls {
        tls.validate(place("tls"), problems);
    }
    for (i, name) in http.compression_algorithms.iter().flatten().enumerate() {
        if Compression::from_name(name).is_none() {
            problems
                .error(
                    place(&format!("compression_algorithms::{i}")),
                    format!("`{name}` is not a supported content encoding"),
                )
                .help("valid: \"\", gzip, zstd, zlib, snappy, deflate, lz4");
        }
    }
    for (name, value) in &http.response_headers {
        let is_valid = HeaderName::try_from(name.as_str()).is_ok()
            && HeaderValue::try_from(value.expose()).is_ok();
        if !is_valid {
            let message = format!("`{name}` is not a header that HTTP can carry");
            problems.error(place(&format!("response_headers::{name}")), message);
        }
    }
}

/// Warns of a public port without a list of the pages that may send to it. An empty list says that
/// there are only pages of the same origin.
fn validate_pages(http: &Node, problems: &mut Problems) {
    let says_which = http.get("cors").is_some_and(|cors| cors.get("allowed_origins").is_some());
    if !says_which {
        let message = "only pages that come from this port's own origin can send here: no other \
                       origin is allowed";
        problems.warning(http.at("public"), message).help(
            "add `cors: {allowed_origins: [https://shop.example]}` beside `public`, with the origin \
             of your pages; if a proxy serves pages and this port under one origin, write \
             `allowed_origins: []`",
        );
    }
}

/// Whether requests can have this path. A missing slash at the front is added; a colon in the first
/// part would make it the scheme of a URL (RFC 3986, section 4.2).
fn is_path(path: &str) -> bool {
    let first = path.split('/').next().unwrap_or_default();
    let is_relative = !path.starts_with('/');
    let whole = if is_relative { format!("/{path}") } else { path.to_owned() };
    let parsed = whole.parse::<PathAndQuery>();
    parsed.is_ok_and(|parsed| parsed.as_str() == whole && parsed.query().is_none())
        && !whole.contains('#')
        && !(is_relative && first.contains(':'))
}

fn endpoint(endpoint: Option<&str>, transport: Transport, at: &Node, problems: &mut Problems) {
    if transport == Transport::Unix {
        if endpoint.is_none_or(|path| !path.contains('/')) {
            problems
                .error(at, "a unix socket needs a path")
                .help("for instance `endpoint: /run/skep/otlp.sock`");
        }
        return;
    }
    let Some(endpoint) = endpoint else { return };
    if let Err((message, remedy)) = server::check(endpoint) {
        let tls = if endpoint.contains("://") { "; `tls` says whether it speaks TLS" } else { "" };
        problems.error(at, message).help(format!("{remedy}{tls}"));
    }
}

/// Refuses keys that need extensions that skep does not have.
fn refused(has_middlewares: bool, at: &Node, problems: &mut Problems) {
    if has_middlewares {
        problems
            .error(at, "middlewares are not supported")
            .help("for `memory_limiter` remove it: the byte budget refuses before a body is read");
    }
}

fn positive(interval: Interval) -> Option<Duration> {
    Some(interval.0).filter(|duration| !duration.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::yaml;

    fn read(http: &str) -> (Config, Vec<String>) {
        let node = yaml::parse(0, &format!("protocols: {{http: {http}}}")).unwrap();
        let mut problems = Problems::default();
        let config = crate::config::decode::<Config>(&node, &mut problems).unwrap();
        validate(&config, &node, &mut problems);
        (config, problems.0.into_iter().map(|problem| problem.message).collect())
    }

    #[test]
    fn keepalive_replaces_the_older_keys() {
        let tuning = |http: &str| {
            let (config, problems) = read(http);
            assert_eq!(problems, [""; 0], "{http}");
            let Tuning { max_idle, keep_alive, .. } = config.http_tuning(1 << 30);
            (max_idle.map(|time| time.as_secs()), keep_alive)
        };
        assert_eq!(tuning("{}"), (None, true));
        assert_eq!(tuning("{keepalive: {idle_timeout: 10s}}"), (Some(10), true));
        assert_eq!(tuning("{keepalive: {enabled: false}}"), (None, false));
        assert_eq!(tuning("{idle_timeout: 9s, keep_alives_enabled: false}"), (Some(9), false));
        let (_, problems) = read("{idle_timeout: 9s, keepalive: {idle_timeout: 10s}}");
        assert_eq!(problems, ["`idle_timeout` and `keepalive` cannot be used together"]);
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for path in ["/v1/logs", "v1/logs", "/a:b", "a/b:c", "/"] {
            assert_eq!(read(&format!("{{logs_url_path: '{path}'}}")).1, [""; 0], "{path}");
        }
        for path in [":invalid", "http://host/v1/logs", "/a b", "/a?b", "/a#b"] {
            let message = format!("`{path}` is not the path of a URL");
            assert_eq!(read(&format!("{{logs_url_path: '{path}'}}")).1, [message]);
        }
    }
}
