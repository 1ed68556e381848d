//! Sends OTLP over HTTP with protobuf bodies.
//!
//! ```yaml
//! otlp_http:
//!   endpoint: https://otlp.example.com
//!   headers:
//!     authorization: Bearer ${env:OTLP_TOKEN}
//! ```
//!
//! `/v1/traces`, `/v1/metrics` or `/v1/logs` is appended to `endpoint`; `traces_endpoint` and its
//! siblings are used as they are. `otlphttp` is the older name of this exporter. `auth` names an
//! extension: `sigv4auth` (for the OTLP endpoints of AWS), `bearertokenauth` or `basicauth`.
//!
//! Where `HTTP_PROXY` (for `http://` URLs) or `HTTPS_PROXY` (for `https://`) names a proxy, and
//! `NO_PROXY` does not except the host, requests go through the proxy, as the Collector's do.
//! `proxy_url` comes before them, and has no exceptions.
//!
//! `budget` is a ceiling for each month in items: spans, log records and data points. Data points
//! are never sampled; they count first.

use std::{sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, de::IgnoredAny};

use super::{
    aws_otlp,
    budget::{self, Budget, Counted},
    compression::{CompressionParams, HttpCompression, validate_level},
    connection::{Headers, HttpKeepalive, MIDDLEWARES, REMOVE, check_proxy, refuse},
    delivery::{RetryOnFailure, SendingQueue, delivery},
    endpoint::{Endpoint, headers, with_path},
    post::{BodyEncoding, Post, way},
};
use crate::{
    budget::Unit,
    component::{
        Auth, AuthUse, BudgetUse, BudgetWeights, BuildContext, Count, Delivery, Entry,
        ErasedExporter, ExporterConfig, Protocol, StartError,
    },
    config::{Fixed, Ignored, Interval, Node, Problems, Secret, Section, refuse_beside_keepalive},
    net::{client::Tuning, proxy, tls::ClientTls},
    otlp::Signal,
};

/// Sends OTLP over HTTP.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Base URL; the path of the signal is appended.
    pub endpoint: String,
    /// URL for traces, used as it is.
    pub traces_endpoint: String,
    /// URL for metrics, used as it is.
    pub metrics_endpoint: String,
    /// URL for logs, used as it is.
    pub logs_endpoint: String,
    /// Has no effect: skep has no profiles.
    pub profiles_endpoint: Ignored<String>,
    /// Has no effect: skep has no profiles.
    pub profiles_url_path: Ignored<String>,
    /// TLS of an `https://` URL.
    pub tls: ClientTls,
    /// Longest time for one attempt.
    pub timeout: Interval,
    /// Compression of requests.
    pub compression: HttpCompression,
    /// Level of the compression.
    pub compression_params: CompressionParams,
    /// Headers of every request.
    pub headers: Headers,
    /// HTTP/2 connections to the backend, where it speaks HTTP/2.
    pub connections: usize,
    /// Form of the bodies: `proto` or `json`.
    pub encoding: BodyEncoding,
    /// Connections that wait for the next request. Replaces `max_idle_conns`,
    /// `max_idle_conns_per_host`, `idle_conn_timeout` and `disable_keep_alives`.
    pub keepalive: Option<HttpKeepalive>,
    /// Old form of `keepalive::max_idle_conns`.
    pub max_idle_conns: usize,
    /// Old form of `keepalive::max_idle_conns_per_host`.
    pub max_idle_conns_per_host: usize,
    /// Has no effect: there are as many connections as requests are sent at the same time. Instead:
    /// set `sending_queue::num_consumers`.
    pub max_conns_per_host: Ignored<usize>,
    /// Old form of `keepalive::idle_conn_timeout`.
    pub idle_conn_timeout: Interval,
    /// Old form of `keepalive::enabled: false`.
    pub disable_keep_alives: bool,
    /// Has no effect: HTTP/2 is spoken where the backend offers it.
    pub force_attempt_http2: Fixed<true>,
    /// Ping a quiet HTTP/2 connection after so long; 0: after a minute.
    pub http2_read_idle_timeout: Interval,
    /// Close it when the ping is not answered in so long.
    pub http2_ping_timeout: Interval,
    /// Has no effect: the HTTP library chooses the sizes.
    pub read_buffer_size: Ignored<u64>,
    /// Has no effect: the HTTP library chooses the sizes.
    pub write_buffer_size: Ignored<u64>,
    /// Proxy of all requests, such as `http://user:password@host:3128`, instead of that of the
    /// environment.
    pub proxy_url: Secret,
    /// Cookies are not supported.
    pub cookies: Option<Cookies>,
    /// Extension that authenticates the requests.
    pub auth: Option<Auth>,
    /// Middlewares are not supported.
    #[schemars(with = "serde_json::Value")]
    pub middlewares: Option<Vec<IgnoredAny>>,
    /// Queue in front of the backend.
    pub sending_queue: SendingQueue,
    /// Sending again after a failure.
    pub retry_on_failure: RetryOnFailure,
    /// Ceiling for each month in the unit that the vendor bills.
    pub budget: Section<Budget>,
}

/// `cookies`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cookies {
    /// Whether the backend's cookies are kept; only `false` is supported.
    pub enabled: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            endpoint: String::new(),
            traces_endpoint: String::new(),
            metrics_endpoint: String::new(),
            logs_endpoint: String::new(),
            profiles_endpoint: Ignored::default(),
            profiles_url_path: Ignored::default(),
            tls: ClientTls::default(),
            timeout: Interval(Duration::from_secs(30)),
            compression: HttpCompression::Gzip,
            compression_params: CompressionParams::default(),
            headers: Headers::default(),
            connections: 1,
            encoding: BodyEncoding::Proto,
            keepalive: None,
            max_idle_conns: 0,
            max_idle_conns_per_host: 0,
            max_conns_per_host: Ignored::default(),
            idle_conn_timeout: Interval(Duration::from_secs(90)),
            disable_keep_alives: false,
            force_attempt_http2: Fixed,
            http2_read_idle_timeout: Interval::default(),
            http2_ping_timeout: Interval(Duration::from_secs(15)),
            read_buffer_size: Ignored::default(),
            write_buffer_size: Ignored::default(),
            proxy_url: Secret::default(),
            cookies: None,
            auth: None,
            middlewares: None,
            sending_queue: SendingQueue::default(),
            retry_on_failure: RetryOnFailure::default(),
            budget: Section::Off,
        }
    }
}

/// Keys that `keepalive` replaces, and what is written in it instead.
const OLD_KEEPALIVE: [(&str, &str); 4] = [
    ("max_idle_conns", "max_idle_conns"),
    ("max_idle_conns_per_host", "max_idle_conns_per_host"),
    ("idle_conn_timeout", "idle_conn_timeout"),
    ("disable_keep_alives", "enabled: false"),
];

impl Config {
    fn tuning(&self) -> Tuning {
        let default = Tuning::default();
        let keepalive = self.keepalive.clone().unwrap_or(HttpKeepalive {
            enabled: !self.disable_keep_alives,
            idle_conn_timeout: self.idle_conn_timeout,
            max_idle_conns: self.max_idle_conns,
            max_idle_conns_per_host: self.max_idle_conns_per_host,
        });
        let limit = [keepalive.max_idle_conns, keepalive.max_idle_conns_per_host].into_iter();
        let max_idle = limit.filter(|limit| *limit > 0).min().unwrap_or(default.max_idle);
        let positive = |interval: Interval| Some(interval.0).filter(|time| !time.is_zero());
        Tuning {
            ping_after: positive(self.http2_read_idle_timeout).or(default.ping_after),
            ping_timeout: self.http2_ping_timeout.0,
            max_idle: if keepalive.enabled { max_idle } else { 0 },
            idle_timeout: positive(keepalive.idle_conn_timeout),
            ..default
        }
    }

    /// The URL of a signal.
    fn url(&self, signal: Signal) -> String {
        let own = match signal {
            Signal::Traces => &self.traces_endpoint,
            Signal::Metrics => &self.metrics_endpoint,
            Signal::Logs => &self.logs_endpoint,
        };
        if own.is_empty() {
            with_path(&self.endpoint, &format!("/v1/{signal}"))
        } else {
            own.clone()
        }
    }
}

pub(super) const ENTRY: Entry<dyn ExporterConfig> =
    Entry::of::<Config>("otlp_http", &["otlphttp"], &Signal::ALL, include_str!("otlp_http.rs"));

/// Warns of a base URL that has the path of a signal already.
fn warn_of_path(url: &str, at: &Node, problems: &mut Problems) {
    let url = url.trim_end_matches('/');
    for signal in Signal::ALL {
        let path = format!("/v1/{signal}");
        if let Some(base) = url.strip_suffix(&*path) {
            problems
                .warning(at, format!("`endpoint` is a base URL: requests go to `{url}{path}`"))
                .help(format!("write `endpoint: {base}`, or `{signal}_endpoint: {url}`"));
        }
    }
}

impl Config {
    /// All URLs, by their keys.
    fn urls(&self) -> [(&'static str, &String); 4] {
        [
            ("endpoint", &self.endpoint),
            ("traces_endpoint", &self.traces_endpoint),
            ("metrics_endpoint", &self.metrics_endpoint),
            ("logs_endpoint", &self.logs_endpoint),
        ]
    }

    fn validate_urls(&self, at: &Node, problems: &mut Problems) {
        let urls = self.urls();
        if urls.iter().all(|(_, url)| url.is_empty()) {
            problems
                .error(at, "at least one endpoint must be specified")
                .help("add `endpoint: https://host`");
        }
        let sending = aws_otlp::Sending {
            headers: &self.headers,
            has_auth: self.auth.is_some(),
            compression: self.compression.codec(),
        };
        for (key, url) in urls.into_iter().filter(|(_, url)| !url.is_empty()) {
            aws_otlp::validate(key, url, &sending, at, problems);
            match Endpoint::parse(url, None) {
                Ok(Endpoint { tls: Some(is_https), .. }) => {
                    if is_https && self.tls.insecure {
                        problems
                            .warning(at.at("tls::insecure"), format!("it has no effect: `{key}` is `https://`"))
                            .help("write `http://`, or `insecure_skip_verify: true` to accept any certificate");
                    }
                    if key == "endpoint" {
                        warn_of_path(url, at.at(key), problems);
                    }
                }
                Ok(_) => {
                    let message = format!("`{url}` has no scheme");
                    problems.error(at.at(key), message).help("write `http://` or `https://` first");
                }
                Err(message) => {
                    problems.error(at.at(key), message).help("write a URL such as `https://host`");
                }
            }
        }
    }
}

/// What a budget counts.
const COUNTED: Counted = Counted {
    exporter: "otlp_http",
    like: &[],
    unit: Unit::Items,
    count: Count::Items,
    weights: BudgetWeights { sample_rate: false, tracestate: true },
};

impl ExporterConfig for Config {
    fn validate(&self, at: &Node, problems: &mut Problems) {
        self.validate_urls(at, problems);
        if let Err(message) = headers(&self.headers) {
            problems.error(at.at("headers"), message);
        }
        let keeps_cookies = self.cookies.is_some_and(|cookies| cookies.enabled);
        let keys = [
            (self.middlewares.is_some(), "middlewares", MIDDLEWARES, REMOVE),
            (keeps_cookies, "cookies", "an OTLP backend needs no session", REMOVE),
        ];
        refuse(&keys, at, problems);
        check_proxy("proxy_url", &self.proxy_url, at, problems);
        if self.keepalive.is_some() {
            refuse_beside_keepalive(&OLD_KEEPALIVE, at, problems);
        }
        validate_level(self.compression.codec(), self.compression_params.level, at, problems);
        self.tls.validate(at.at("tls"), problems);
        self.sending_queue.validate(at, problems);
        self.retry_on_failure.validate(at, problems);
        budget::validate(&self.budget, &COUNTED, &self.sending_queue, at, problems);
    }

    fn auth(&self) -> Option<AuthUse> {
        let auth = self.auth.as_ref()?;
        Some(AuthUse::new(auth, Protocol::Http, self.urls().map(|(_, url)| url)))
    }

    fn budget(&self) -> Option<BudgetUse> {
        budget::budget(&self.budget, &COUNTED)
    }

    fn delivery(&self) -> Delivery {
        delivery(&self.sending_queue, &self.retry_on_failure, self.timeout)
    }

    fn destination(&self) -> String {
        let url = self.urls().into_iter().map(|(_, url)| url.clone()).find(|url| !url.is_empty());
        let url = url.unwrap_or_default();
        let way = way(&url, self.proxy_url.expose(), &self.tls);
        format!("{url}{}", proxy::in_words(way))
    }

    fn build(&self, cx: &BuildContext) -> Result<Arc<dyn ErasedExporter>, StartError> {
        let url = self.url(cx.signal);
        aws_otlp::check_signal(&url, cx.signal).map_err(|message| StartError {
            component: format!("exporter `{}`", cx.id),
            message,
        })?;
        let post = Post {
            url,
            headers: headers(&self.headers)
                .map_err(|message| StartError { component: cx.id.to_string(), message })?,
            tls: self.tls.clone(),
            compression: self.compression.codec(),
            level: self.compression_params.level,
            connections: self.connections,
            encoding: self.encoding,
            tuning: self.tuning(),
            proxy_url: self.proxy_url.clone(),
        };
        Ok(Arc::new(post.build(cx)?))
    }
}

#[cfg(test)]
mod tests;
