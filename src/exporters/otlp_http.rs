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

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request as HttpRequest, Uri, Version, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::{
    authenticated::{self, Head},
    aws_otlp,
    compressed::compressed,
    connection::{
        Headers, HttpKeepalive, MIDDLEWARES, REMOVE, check_proxy, refuse, validate_level,
    },
    delivery::{RetryOnFailure, SendingQueue, delivery},
    endpoint::{Endpoint, headers, user_agent, with_path},
    masked::Secrets,
    otlp_grpc::CompressionParams,
    outcome,
};
use crate::{
    component::{
        Auth, AuthUse, Authenticator, BoxFuture, BuildContext, Compression, Delivery, Encodes,
        Entry, ExportError, Exporter, ExporterConfig, Piece, Protocol, Request, Sent, StartError,
        Work,
    },
    config::{Ignored, Interval, Node, Problems, Secret, refuse_beside_keepalive},
    net::{
        client::{Answer, Client, Segments, Target, Tuning},
        codec,
        proxy::{self, Destination, Way},
        tls::{ClientTls, Connector},
    },
    otlp::{
        Content, Signal,
        json::{self, Extent},
    },
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
    /// Has no effect: there are no profiles here.
    pub profiles_endpoint: Ignored<String>,
    /// Has no effect: there are no profiles here.
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
    /// Connections that wait for the next request; instead of the four older keys below.
    pub keepalive: Option<HttpKeepalive>,
    /// Old form of `keepalive::max_idle_conns`.
    pub max_idle_conns: usize,
    /// Old form of `keepalive::max_idle_conns_per_host`.
    pub max_idle_conns_per_host: usize,
    /// Has no effect: as many as requests are sent at the same time
    /// (`sending_queue.num_consumers`).
    pub max_conns_per_host: Ignored<usize>,
    /// Old form of `keepalive::idle_conn_timeout`.
    pub idle_conn_timeout: Interval,
    /// Old form of `keepalive::enabled: false`.
    pub disable_keep_alives: bool,
    /// HTTP/2 is spoken where the backend offers it; `false` has no effect.
    pub force_attempt_http2: bool,
    /// Ping a quiet HTTP/2 connection after so long; 0: after a minute.
    pub http2_read_idle_timeout: Interval,
    /// Close it when the ping is not answered in so long.
    pub http2_ping_timeout: Interval,
    /// Has no effect: sizes are the HTTP library's.
    pub read_buffer_size: Ignored<u64>,
    /// Has no effect: sizes are the HTTP library's.
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
}

/// `cookies`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cookies {
    /// Whether the backend's cookies are kept; only `false` is supported.
    pub enabled: bool,
}

/// Form of the bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BodyEncoding {
    /// Binary protobuf, forwarded as it is.
    #[default]
    Proto,
    /// OTLP/JSON, written from it: some thirty times the CPU. Large requests become several, and an
    /// item that has no room is left out and counted.
    Json,
}

/// Compression of HTTP requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HttpCompression {
    /// RFC 1952.
    #[default]
    Gzip,
    /// RFC 8878.
    Zstd,
    /// Snappy block.
    Snappy,
    /// Snappy framed format.
    #[serde(rename = "x-snappy-framed")]
    SnappyFramed,
    /// RFC 1950.
    Zlib,
    /// RFC 1950 under its HTTP name.
    Deflate,
    /// LZ4 frame.
    Lz4,
    /// None at all.
    #[serde(alias = "")]
    None,
}

impl HttpCompression {
    pub(super) fn codec(self) -> Compression {
        match self {
            HttpCompression::Gzip => Compression::Gzip,
            HttpCompression::Zstd => Compression::Zstd,
            HttpCompression::Snappy => Compression::Snappy,
            HttpCompression::SnappyFramed => Compression::SnappyFramed,
            HttpCompression::Zlib | HttpCompression::Deflate => Compression::Zlib,
            HttpCompression::Lz4 => Compression::Lz4,
            HttpCompression::None => Compression::Identity,
        }
    }
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
            force_attempt_http2: true,
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

impl ExporterConfig for Config {
    fn validate(&self, at: &Node, problems: &mut Problems) {
        let urls = [
            ("endpoint", &self.endpoint),
            ("traces_endpoint", &self.traces_endpoint),
            ("metrics_endpoint", &self.metrics_endpoint),
            ("logs_endpoint", &self.logs_endpoint),
        ];
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
                Ok(endpoint) if endpoint.tls.is_some() => {
                    if endpoint.tls == Some(true) && self.tls.insecure {
                        problems
                            .warning(at.at("tls::insecure"), format!("it has no effect: `{key}` is `https://`"))
                            .help("write `http://`, or `insecure_skip_verify: true` to take any certificate");
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
        let consumers = "there are as many as `sending_queue::num_consumers` needs";
        let library = "sizes are the HTTP library's";
        let profiles = "there are no profiles here";
        self.profiles_endpoint.warn("profiles_endpoint", profiles, at, problems);
        self.profiles_url_path.warn("profiles_url_path", profiles, at, problems);
        if self.keepalive.is_some() {
            refuse_beside_keepalive(&OLD_KEEPALIVE, at, problems);
        }
        self.max_conns_per_host.warn("max_conns_per_host", consumers, at, problems);
        self.read_buffer_size.warn("read_buffer_size", library, at, problems);
        self.write_buffer_size.warn("write_buffer_size", library, at, problems);
        if !self.force_attempt_http2 {
            let message = "`force_attempt_http2: false` has no effect: HTTP/2 is spoken where the \
                           backend offers it";
            problems.warning(at.at("force_attempt_http2"), message).help(REMOVE);
        }
        validate_level(self.compression.codec(), self.compression_params.level, at, problems);
        self.tls.validate(at.at("tls"), problems);
        self.sending_queue.validate(at, problems);
        self.retry_on_failure.validate(at, problems);
    }

    fn auth(&self) -> Option<AuthUse> {
        let auth = self.auth.as_ref()?;
        let urls =
            [&self.endpoint, &self.traces_endpoint, &self.metrics_endpoint, &self.logs_endpoint];
        Some(AuthUse::new(auth, Protocol::Http, urls))
    }

    fn delivery(&self) -> Delivery {
        delivery(&self.sending_queue, &self.retry_on_failure, self.timeout)
    }

    fn destination(&self) -> String {
        let all =
            [&self.endpoint, &self.traces_endpoint, &self.metrics_endpoint, &self.logs_endpoint];
        let url = all.into_iter().find(|url| !url.is_empty()).cloned().unwrap_or_default();
        let way = way(&url, self.proxy_url.expose(), &self.tls);
        format!("{url}{}", proxy::in_words(way))
    }

    fn build(&self, cx: &BuildContext) -> Result<Arc<dyn Exporter>, StartError> {
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
        post.build(cx)
    }
}

/// By which way requests to a URL go.
pub(super) fn way(url: &str, proxy_url: &str, tls: &ClientTls) -> Result<Way, String> {
    let Endpoint { tls: scheme, host, port, .. } = Endpoint::parse(url, None)?;
    let destination = Destination { is_https: scheme == Some(true), host: &host, port };
    proxy::way(destination, ("proxy_url", proxy_url), tls)
}

/// An exporter that posts protobuf bodies to one URL; Honeycomb's is built on it.
pub(super) struct Post {
    pub(super) url: String,
    pub(super) headers: HeaderMap,
    pub(super) tls: ClientTls,
    pub(super) compression: Compression,
    pub(super) level: Option<i32>,
    pub(super) connections: usize,
    pub(super) encoding: BodyEncoding,
    pub(super) tuning: Tuning,
    pub(super) proxy_url: Secret,
}

impl Post {
    pub(super) fn build(self, cx: &BuildContext) -> Result<Arc<dyn Exporter>, StartError> {
        let fail = |message| StartError { component: format!("exporter `{}`", cx.id), message };
        let endpoint = Endpoint::parse(&self.url, None).map_err(fail)?;
        let has_tls = endpoint.tls == Some(true);
        let needs_http1 = cx.auth.as_ref().is_some_and(|auth| auth.needs_http1());
        let protocols: &[&[u8]] = if needs_http1 { &[b"http/1.1"] } else { &[b"h2", b"http/1.1"] };
        let tls = has_tls.then(|| Connector::new(self.tls.clone(), protocols));
        let tls = tls.transpose().map_err(fail)?;
        let mut headers = self.headers;
        let media_type = match self.encoding {
            BodyEncoding::Proto => "application/x-protobuf",
            BodyEncoding::Json => "application/json",
        };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        if !headers.contains_key(header::USER_AGENT) {
            headers.insert(header::USER_AGENT, user_agent("").map_err(fail)?);
        }
        if self.compression != Compression::Identity {
            let name = HeaderValue::from_static(self.compression.name());
            headers.insert(header::CONTENT_ENCODING, name);
        }
        // A configured host is what the backend is told, in either version of HTTP.
        let authority = match headers.remove(header::HOST) {
            Some(host) => host,
            None => HeaderValue::try_from(endpoint.host_header())
                .map_err(|_| fail(format!("`{}` is not a host", endpoint.host)))?,
        };
        let scheme = if endpoint.tls == Some(true) { "https" } else { "http" };
        let uri = Uri::builder()
            .scheme(scheme)
            .authority(authority.as_bytes())
            .path_and_query(if endpoint.path.is_empty() { "/" } else { &endpoint.path })
            .build()
            .map_err(|_| fail(format!("`{}` is not a URL", self.url)))?;
        let way = way(&self.url, self.proxy_url.expose(), &self.tls).map_err(fail)?;
        let target = Target {
            host: endpoint.host,
            port: endpoint.port,
            way,
            tls,
            server_name: self.tls.server_name_override.clone(),
            http2_only: false,
            tuning: self.tuning,
        };
        let auth = authenticated::open(cx, &uri).map_err(fail)?;
        let is_xray = aws_otlp::is_xray(&self.url);
        headers.insert(header::HOST, authority);
        Ok(Arc::new(OtlpHttp {
            client: Arc::new(Client::new(target, self.connections)),
            head: Arc::new(Head { uri, version: Version::HTTP_11, headers }),
            auth,
            is_xray,
            compression: self.compression,
            level: self.level,
            encoding: self.encoding,
        }))
    }
}

struct OtlpHttp {
    client: Arc<Client>,
    head: Arc<Head>,
    auth: Option<Arc<dyn Authenticator>>,
    is_xray: bool,
    compression: Compression,
    level: Option<i32>,
    encoding: BodyEncoding,
}

/// A JSON document has this part of the room: while it is written it takes five times its length,
/// then twice its length, beside what it is compressed to.
const JSON: usize = 5;
const COMPRESSED_JSON: usize = 8;
/// Bytes of JSON for one of protobuf that are asked for: most have a third of it.
const GROWTH: usize = 4;

impl OtlpHttp {
    /// The next items as a document.
    fn json(&self, work: &Work<'_>) -> Result<Piece, ExportError> {
        let is_compressed = self.compression != Compression::Identity;
        let most = work.room / if is_compressed { COMPRESSED_JSON } else { JSON };
        let mut text = Vec::with_capacity(work.content.len().saturating_mul(2).min(most));
        let mut walk = work.walk();
        let left_out = json::write_page(&mut walk, Extent::Entries, most, &mut text);
        if is_compressed {
            let (text_room, body) = (text.capacity(), [text.into()]);
            let room = work.room.saturating_sub(text_room);
            text = compressed(self.compression, self.level, &body, room)?;
        }
        let beside = text.capacity() - text.len();
        let mut piece = work.piece(smallvec::smallvec![Bytes::from(text)], &walk);
        piece.request.counts[0] = left_out;
        piece.beside = beside;
        Ok(piece)
    }
}

impl Exporter for OtlpHttp {
    fn encode(&self, work: &Work<'_>) -> Result<Piece, ExportError> {
        if self.encoding == BodyEncoding::Json {
            return self.json(work);
        }
        if self.compression == Compression::Identity {
            return Ok(work.last(work.rest()));
        }
        let bytes = compressed(self.compression, self.level, &work.rest(), work.room)?;
        let beside = bytes.capacity() - bytes.len();
        Ok(Piece { beside, ..work.last(smallvec::smallvec![Bytes::from(bytes)]) })
    }

    fn encodes(&self) -> Encodes {
        let is_forwarded =
            self.compression == Compression::Identity && self.encoding == BodyEncoding::Proto;
        if is_forwarded { Encodes::Inline } else { Encodes::OnWorker }
    }

    fn room(&self, content: &Content) -> usize {
        match self.encoding {
            BodyEncoding::Proto => codec::deflate_room(self.compression, content.len()),
            BodyEncoding::Json => {
                content.len().saturating_mul(GROWTH * COMPRESSED_JSON).saturating_add(64 << 10)
            }
        }
    }

    fn prepare(&self) -> BoxFuture<()> {
        match &self.auth {
            Some(auth) => Arc::clone(auth).prepare(),
            None => Box::pin(std::future::ready(())),
        }
    }

    fn send(&self, request: Request) -> BoxFuture<Result<Sent, ExportError>> {
        let client = Arc::clone(&self.client);
        let is_xray = self.is_xray;
        let [left_out, ..] = request.counts;
        let explain = move |error, answer: &Answer| {
            if is_xray { aws_otlp::explain(error, answer) } else { error }
        };
        if let Some(auth) = &self.auth {
            let (auth, head) = (Arc::clone(auth), Arc::clone(&self.head));
            return Box::pin(async move {
                let (answer, refusal, secrets) =
                    authenticated::call(&client, &*auth, &head, request.body).await?;
                outcome::of_authenticated(&answer, refusal, &secrets)
                    .map(|sent| with_left_out(sent, left_out))
                    .map_err(|error| explain(error, &answer))
            });
        }
        let mut http = HttpRequest::new(Segments::new(request.body));
        *http.method_mut() = Method::POST;
        *http.uri_mut() = self.head.uri.clone();
        *http.version_mut() = self.head.version;
        *http.headers_mut() = self.head.headers.clone();
        let secrets = Secrets::of(&self.head.uri, &self.head.headers);
        Box::pin(async move {
            let answer = client.call(http).await.map_err(|error| outcome::of_failure(&error))?;
            outcome::of_http(&answer, &secrets)
                .map(|sent| with_left_out(sent, left_out))
                .map_err(|error| explain(error, &answer))
        })
    }
}

/// What a backend said of a request that lacks some of its items.
fn with_left_out(sent: Sent, left_out: u64) -> Sent {
    if left_out == 0 {
        return sent;
    }
    let own = format!("{left_out} items were not sent: {}", json::NO_ROOM);
    let message = sent.message.map_or(own.clone(), |message| format!("{own}; {message}"));
    Sent { rejected: sent.rejected.saturating_add(left_out), message: Some(message), ..sent }
}

#[cfg(test)]
mod tests;
