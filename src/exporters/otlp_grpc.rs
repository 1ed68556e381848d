//! Sends OTLP over gRPC: to another Collector, to skep, to any backend that speaks it.
//!
//! ```yaml
//! otlp_grpc:
//!   endpoint: collector.example.com:4317
//! ```
//!
//! TLS is on unless `tls.insecure: true` (or an `http://` endpoint) turns it off. `otlp` is the
//! older name of this exporter. `auth` names an extension that authenticates the requests:
//! `bearertokenauth` or `basicauth`. `endpoint` may be a unix socket (`unix:path`, `unix:///path`,
//! `unix-abstract:name`), for which `tls` says as elsewhere whether TLS is spoken.
//!
//! Where `HTTPS_PROXY` names a proxy, and `NO_PROXY` does not except the host, connections go
//! through the proxy (`CONNECT`), with TLS and without, as those of gRPC in Go do.
//!
//! `budget` is a ceiling for each month in items: spans, log records and data points. Data points
//! are never sampled; they count first.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request as HttpRequest, Uri, Version, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::{
    authenticated::{self, Head},
    budget::{self, Budget, Counted},
    compression::{CompressionParams, compressed, validate_level},
    connection::{Headers, Keepalive, MIDDLEWARES, REMOVE, refuse},
    delivery::{RetryOnFailure, SendingQueue, delivery},
    endpoint::{Endpoint, headers, user_agent},
    masked::Secrets,
    outcome,
};
use crate::{
    budget::Unit,
    component::{
        Auth, AuthUse, Authenticator, BoxFuture, BudgetUse, BudgetWeights, BuildContext,
        Compression, Count, Delivery, Encodes, Entry, ErasedExporter, ExportError, Exporter,
        ExporterConfig, Piece, Progress, Protocol, Retry, Sent, StartError, Work,
    },
    config::{Fixed, Ignored, Interval, Node, Problems, Section},
    net::{
        client::{Client, Segments, Target},
        codec,
        grpc::{self, Prefix},
        proxy::{self, Destination, Way},
        tls::{ClientTls, Connector},
    },
    otlp::{Content, Signal, payload::Body},
};

/// Sends OTLP over gRPC.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `host:port`, with or without a scheme, or `unix:path`. Required.
    pub endpoint: String,
    /// TLS of the connection.
    pub tls: ClientTls,
    /// Older form of `tls::insecure`.
    pub insecure: Option<bool>,
    /// Older form of `tls::insecure_skip_verify`.
    pub insecure_skip_verify: Option<bool>,
    /// Older form of `tls::ca_file`.
    pub ca_file: Option<String>,
    /// Older form of `tls::cert_file`.
    pub cert_file: Option<String>,
    /// Older form of `tls::key_file`.
    pub key_file: Option<String>,
    /// Older form of `tls::server_name_override`.
    pub server_name_override: Option<String>,
    /// Longest time for one attempt.
    pub timeout: Interval,
    /// Compression of requests.
    pub compression: GrpcCompression,
    /// Level and other parameters of the compression.
    pub compression_params: CompressionParams,
    /// Headers of every request.
    pub headers: Headers,
    /// Connections to the backend; one is enough for a core.
    pub connections: usize,
    /// Pings of quiet connections; without it after a minute.
    pub keepalive: Option<Keepalive>,
    /// `:authority` of requests instead of the endpoint's.
    pub authority: String,
    /// `user-agent` of requests instead of skep's.
    pub user_agent: String,
    /// `round_robin` or `pick_first`; the connections to the endpoint are always used in turn.
    pub balancer_name: Balancer,
    /// Has no effect: requests that cannot be sent stay in the queue and are sent again.
    pub wait_for_ready: Fixed<false>,
    /// Has no effect: the HTTP/2 library chooses the sizes.
    pub read_buffer_size: Ignored<u64>,
    /// Has no effect: the HTTP/2 library chooses the sizes.
    pub write_buffer_size: Ignored<u64>,
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

/// How addresses are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balancer {
    /// In turn.
    #[default]
    RoundRobin,
    /// The first that answers.
    PickFirst,
}

/// Compression of gRPC requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GrpcCompression {
    /// RFC 1952.
    #[default]
    Gzip,
    /// RFC 8878.
    Zstd,
    /// Snappy block.
    Snappy,
    /// None at all.
    #[serde(alias = "")]
    None,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            endpoint: String::new(),
            tls: ClientTls::default(),
            insecure: None,
            insecure_skip_verify: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            server_name_override: None,
            timeout: Interval(Duration::from_secs(5)),
            compression: GrpcCompression::Gzip,
            compression_params: CompressionParams::default(),
            headers: Headers::default(),
            connections: 1,
            keepalive: None,
            authority: String::new(),
            user_agent: String::new(),
            balancer_name: Balancer::RoundRobin,
            wait_for_ready: Fixed,
            read_buffer_size: Ignored::default(),
            write_buffer_size: Ignored::default(),
            auth: None,
            middlewares: None,
            sending_queue: SendingQueue::default(),
            retry_on_failure: RetryOnFailure::default(),
            budget: Section::Off,
        }
    }
}

pub(super) const ENTRY: Entry<dyn ExporterConfig> =
    Entry::of::<Config>("otlp_grpc", &["otlp"], &Signal::ALL, include_str!("otlp_grpc.rs"));

/// What a budget counts.
const COUNTED: Counted = Counted {
    exporter: "otlp_grpc",
    like: &[],
    unit: Unit::Items,
    count: Count::Items,
    weights: BudgetWeights { sample_rate: false, tracestate: true },
};

impl ExporterConfig for Config {
    fn validate(&self, at: &Node, problems: &mut Problems) {
        if self.endpoint.is_empty() {
            problems
                .error(at, "requires a non-empty \"endpoint\"")
                .help("add `endpoint: host:4317`");
        } else if let Err(message) = Endpoint::parse_grpc(&self.endpoint) {
            problems.error(at.at("endpoint"), message).help("write `host:port`, or `unix:path`");
        }
        if let Err(message) = headers(&self.headers) {
            problems.error(at.at("headers"), message);
        }
        let keys = [(self.middlewares.is_some(), "middlewares", MIDDLEWARES, REMOVE)];
        refuse(&keys, at, problems);
        validate_level(self.codec(), self.compression_params.level, at, problems);
        self.warn_of_older_keys(at, problems);
        self.tls().validate(at.at("tls"), problems);
        self.sending_queue.validate(at, problems);
        self.retry_on_failure.validate(at, problems);
        budget::validate(&self.budget, &COUNTED, &self.sending_queue, at, problems);
    }

    fn auth(&self) -> Option<AuthUse> {
        Some(AuthUse::new(self.auth.as_ref()?, Protocol::Grpc, [&self.endpoint]))
    }

    fn budget(&self) -> Option<BudgetUse> {
        budget::budget(&self.budget, &COUNTED)
    }

    fn delivery(&self) -> Delivery {
        delivery(&self.sending_queue, &self.retry_on_failure, self.timeout)
    }

    fn destination(&self) -> String {
        let endpoint = Endpoint::parse_grpc(&self.endpoint);
        let way = endpoint.and_then(|endpoint| self.way(&endpoint));
        format!("{}{}", self.endpoint, proxy::in_words(way))
    }

    fn build(&self, cx: &BuildContext) -> Result<Arc<dyn ErasedExporter>, StartError> {
        let fail = |message| StartError { component: format!("exporter `{}`", cx.id), message };
        let endpoint = Endpoint::parse_grpc(&self.endpoint).map_err(fail)?;
        let settings = self.tls();
        let is_plain = endpoint.tls == Some(false) || (endpoint.tls.is_none() && settings.insecure);
        let server_name = settings.server_name_override.clone();
        let tls = (!is_plain).then(|| Connector::new(settings, &[b"h2"]));
        let tls = tls.transpose().map_err(fail)?;
        let compression = self.codec();
        let scheme = if is_plain { "http" } else { "https" };
        let authority = match self.authority.as_str() {
            "" => endpoint.authority(),
            own => own.to_owned(),
        };
        let uri = format!("{scheme}://{authority}{}", grpc::method(cx.signal));
        let uri: Uri =
            uri.parse().map_err(|_| fail(format!("`{}` is not an endpoint", self.endpoint)))?;
        let mut headers = headers(&self.headers).map_err(fail)?;
        headers.insert(header::CONTENT_TYPE, grpc::CONTENT_TYPE);
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::USER_AGENT, user_agent(&self.user_agent).map_err(fail)?);
        if compression != Compression::Identity {
            headers.insert(grpc::ENCODING, HeaderValue::from_static(compression.name()));
        }
        let way = self.way(&endpoint).map_err(fail)?;
        let target = Target {
            host: endpoint.host,
            port: endpoint.port,
            way,
            tls,
            server_name,
            http2_only: true,
            tuning: self.keepalive.as_ref().map(Keepalive::tuning).unwrap_or_default(),
        };
        let client = Arc::new(Client::new(target, self.connections));
        let level = self.compression_params.level;
        let auth = authenticated::open(cx, &uri).map_err(fail)?;
        let head = Arc::new(Head { uri, version: Version::HTTP_2, headers });
        Ok(Arc::new(OtlpGrpc { client, head, auth, compression, level }))
    }
}

impl Config {
    /// The settings of TLS, those in the older places included.
    fn tls(&self) -> ClientTls {
        let given = |own: &Option<String>, older: &Option<String>| {
            own.clone().or_else(|| older.clone().filter(|text| !text.is_empty()))
        };
        let tls = &self.tls;
        ClientTls {
            insecure: tls.insecure || self.insecure == Some(true),
            insecure_skip_verify: tls.insecure_skip_verify
                || self.insecure_skip_verify == Some(true),
            ca_file: given(&tls.ca_file, &self.ca_file),
            cert_file: given(&tls.cert_file, &self.cert_file),
            key_file: given(&tls.key_file, &self.key_file),
            server_name_override: given(&tls.server_name_override, &self.server_name_override),
            ..tls.clone()
        }
    }

    fn warn_of_older_keys(&self, at: &Node, problems: &mut Problems) {
        for (key, is_set) in [
            ("insecure", self.insecure.is_some()),
            ("insecure_skip_verify", self.insecure_skip_verify.is_some()),
            ("ca_file", self.ca_file.is_some()),
            ("cert_file", self.cert_file.is_some()),
            ("key_file", self.key_file.is_some()),
            ("server_name_override", self.server_name_override.is_some()),
        ] {
            if is_set {
                problems
                    .warning(at.at(key), format!("`{key}` is now under `tls`"))
                    .help(format!("move it there: `tls: {{{key}: ...}}`; both places work"));
            }
        }
    }

    /// Go's gRPC asks `HTTPS_PROXY` whether or not it speaks TLS.
    fn way(&self, endpoint: &Endpoint) -> Result<Way, String> {
        if let Some(address) = &endpoint.unix {
            return Ok(Way::Unix(address.clone()));
        }
        let Endpoint { host, port, .. } = endpoint;
        let destination = Destination { is_https: true, host, port: *port };
        proxy::way(destination, ("", ""), &self.tls())
    }

    fn codec(&self) -> Compression {
        match self.compression {
            GrpcCompression::Gzip => Compression::Gzip,
            GrpcCompression::Zstd => Compression::Zstd,
            GrpcCompression::Snappy => Compression::Snappy,
            GrpcCompression::None => Compression::Identity,
        }
    }
}

struct OtlpGrpc {
    client: Arc<Client>,
    head: Arc<Head>,
    auth: Option<Arc<dyn Authenticator>>,
    compression: Compression,
    level: Option<i32>,
}

impl Exporter for OtlpGrpc {
    type Encoded = Body;

    fn encode(&self, work: &Work<'_>) -> Result<Piece<Body>, ExportError> {
        let mut held = 0;
        let is_compressed = self.compression != Compression::Identity;
        let message: Body = if is_compressed {
            let bytes = compressed(self.compression, self.level, &work.rest(), work.room)?;
            held = bytes.capacity();
            smallvec::smallvec![Bytes::from(bytes)]
        } else {
            work.rest()
        };
        let len = message.iter().map(Bytes::len).sum();
        let prefix = Prefix { is_compressed, len }.write().ok_or_else(|| ExportError {
            retry: Retry::Split,
            message: "the request is larger than a gRPC message can be".to_owned(),
        })?;
        let mut body = Body::with_capacity(message.len() + 1);
        body.push(prefix);
        body.extend(message);
        Ok(work.last(body, held))
    }

    fn encodes(&self) -> Encodes {
        if self.compression == Compression::Identity { Encodes::Inline } else { Encodes::OnWorker }
    }

    fn room(&self, content: &Content) -> usize {
        codec::deflate_room(self.compression, content.len())
    }

    fn prepare(&self) -> BoxFuture<()> {
        match &self.auth {
            Some(auth) => Arc::clone(auth).prepare(),
            None => Box::pin(std::future::ready(())),
        }
    }

    fn send(&self, body: Body, _: &Arc<Progress>) -> BoxFuture<Result<Sent, ExportError>> {
        let client = Arc::clone(&self.client);
        if let Some(auth) = &self.auth {
            let (auth, head) = (Arc::clone(auth), Arc::clone(&self.head));
            return Box::pin(async move {
                let (answer, _, secrets) =
                    authenticated::call(&client, &*auth, &head, body).await?;
                outcome::of_grpc(&answer, &secrets)
            });
        }
        let mut http = HttpRequest::new(Segments::new(body));
        *http.method_mut() = Method::POST;
        *http.uri_mut() = self.head.uri.clone();
        *http.version_mut() = self.head.version;
        *http.headers_mut() = self.head.headers.clone();
        let secrets = Secrets::of(&self.head.uri, &self.head.headers);
        Box::pin(async move {
            let answer = client.call(http).await.map_err(|error| outcome::of_failure(&error))?;
            outcome::of_grpc(&answer, &secrets)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{decode, yaml};

    fn config(text: &str) -> Config {
        let mut problems = Problems::default();
        let config = decode(&yaml::parse(0, text).unwrap(), &mut problems);
        assert!(!problems.has_errors(), "{problems:?}");
        config.unwrap()
    }

    #[test]
    fn keys_of_tls_count_in_their_older_place_too() {
        let tls = config("{insecure: true, ca_file: old.pem, server_name_override: ''}").tls();
        let expected = ClientTls {
            insecure: true,
            ca_file: Some("old.pem".to_owned()),
            ..ClientTls::default()
        };
        assert_eq!(tls, expected);
        let tls = config("{tls: {ca_file: new.pem}, ca_file: old.pem, insecure: false}").tls();
        assert_eq!((tls.ca_file.as_deref(), tls.insecure), (Some("new.pem"), false));
    }

    #[test]
    fn an_empty_compression_is_none_and_no_compression_the_default() {
        assert_eq!(config("{compression: ''}").compression, GrpcCompression::None);
        assert_eq!(config("{}").compression, GrpcCompression::Gzip);
    }
}
