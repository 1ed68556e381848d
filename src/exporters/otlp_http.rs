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
//! siblings are used as they are. `otlphttp` is the older name of this exporter.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request as HttpRequest, Uri, Version, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    delivery::{RetryOnFailure, SendingQueue, delivery},
    endpoint::{Endpoint, USER_AGENT, headers},
    otlp_grpc::CompressionParams,
    outcome,
};
use crate::{
    component::{
        BoxFuture, BuildContext, Compression, Delivery, Entry, ExportError, Exporter,
        ExporterConfig, Request, Retry, Sent, StartError,
    },
    config::{Interval, Node, Problems, Secret},
    net::{
        client::{Client, Segments, Target},
        codec,
        tls::ClientTls,
    },
    otlp::{Payload, Signal},
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
    /// TLS of an `https://` URL.
    pub tls: ClientTls,
    /// Longest time for one attempt.
    pub timeout: Interval,
    /// Compression of requests.
    pub compression: HttpCompression,
    /// Level of the compression.
    pub compression_params: CompressionParams,
    /// Headers of every request.
    pub headers: BTreeMap<String, Secret>,
    /// HTTP/2 connections to the backend, where it speaks HTTP/2.
    pub connections: usize,
    /// Queue in front of the backend.
    pub sending_queue: SendingQueue,
    /// Sending again after a failure.
    pub retry_on_failure: RetryOnFailure,
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
            tls: ClientTls::default(),
            timeout: Interval(Duration::from_secs(30)),
            compression: HttpCompression::Gzip,
            compression_params: CompressionParams::default(),
            headers: BTreeMap::new(),
            connections: 1,
            sending_queue: SendingQueue::default(),
            retry_on_failure: RetryOnFailure::default(),
        }
    }
}

impl Config {
    /// The URL of a signal.
    fn url(&self, signal: Signal) -> String {
        let own = match signal {
            Signal::Traces => &self.traces_endpoint,
            Signal::Metrics => &self.metrics_endpoint,
            Signal::Logs => &self.logs_endpoint,
        };
        if own.is_empty() {
            format!("{}/v1/{signal}", self.endpoint.trim_end_matches('/'))
        } else {
            own.clone()
        }
    }
}

pub(super) const ENTRY: Entry<dyn ExporterConfig> = Entry {
    name: "otlp_http",
    aliases: &["otlphttp"],
    signals: &Signal::ALL,
    source: include_str!("otlp_http.rs"),
    decode: |node, problems| {
        crate::config::decode::<Config>(node, problems)
            .map(|config| Box::new(config) as Box<dyn ExporterConfig>)
    },
    schema: |generator| generator.subschema_for::<Config>(),
};

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
        for (key, url) in urls.into_iter().filter(|(_, url)| !url.is_empty()) {
            match Endpoint::parse(url, None) {
                Ok(endpoint) if endpoint.tls.is_some() => {}
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
        self.sending_queue.validate(at, problems);
        self.retry_on_failure.validate(at, problems);
    }

    fn delivery(&self) -> Delivery {
        delivery(&self.sending_queue, &self.retry_on_failure, self.timeout)
    }

    fn destination(&self) -> String {
        let all =
            [&self.endpoint, &self.traces_endpoint, &self.metrics_endpoint, &self.logs_endpoint];
        all.into_iter().find(|url| !url.is_empty()).cloned().unwrap_or_default()
    }

    fn build(&self, cx: &BuildContext) -> Result<Arc<dyn Exporter>, StartError> {
        let post = Post {
            url: self.url(cx.signal),
            headers: headers(&self.headers)
                .map_err(|message| StartError { component: cx.id.to_string(), message })?,
            tls: self.tls.clone(),
            compression: self.compression.codec(),
            level: self.compression_params.level,
            connections: self.connections,
        };
        post.build(cx)
    }
}

/// An exporter that posts protobuf bodies to one URL; Honeycomb's is built on it.
pub(super) struct Post {
    pub(super) url: String,
    pub(super) headers: HeaderMap,
    pub(super) tls: ClientTls,
    pub(super) compression: Compression,
    pub(super) level: Option<i32>,
    pub(super) connections: usize,
}

impl Post {
    pub(super) fn build(self, cx: &BuildContext) -> Result<Arc<dyn Exporter>, StartError> {
        let fail = |message| StartError { component: format!("exporter `{}`", cx.id), message };
        let endpoint = Endpoint::parse(&self.url, None).map_err(fail)?;
        let tls = match endpoint.tls {
            Some(true) => Some(self.tls.build(&[b"h2", b"http/1.1"]).map_err(fail)?),
            _ => None,
        };
        let uri = self.url.parse().map_err(|_| fail(format!("`{}` is not a URL", self.url)))?;
        let mut headers = self.headers;
        let protobuf = HeaderValue::from_static("application/x-protobuf");
        headers.insert(header::CONTENT_TYPE, protobuf);
        headers.insert(header::USER_AGENT, USER_AGENT);
        if self.compression != Compression::Identity {
            let name = HeaderValue::from_static(self.compression.name());
            headers.insert(header::CONTENT_ENCODING, name);
        }
        let authority = HeaderValue::try_from(endpoint.authority())
            .map_err(|_| fail(format!("`{}` is not a host", endpoint.host)))?;
        let target = Target {
            host: endpoint.host,
            port: endpoint.port,
            tls,
            server_name: self.tls.server_name_override.clone(),
            http2_only: false,
        };
        Ok(Arc::new(OtlpHttp {
            client: Arc::new(Client::new(target, self.connections)),
            uri,
            authority,
            headers,
            compression: self.compression,
            level: self.level,
        }))
    }
}

struct OtlpHttp {
    client: Arc<Client>,
    uri: Uri,
    authority: HeaderValue,
    headers: HeaderMap,
    compression: Compression,
    level: Option<i32>,
}

impl Exporter for OtlpHttp {
    fn encode(&self, payload: &Payload) -> Result<Request, ExportError> {
        let body = if self.compression == Compression::Identity {
            payload.body.clone()
        } else {
            let fail = |error: std::io::Error| ExportError {
                retry: Retry::Never,
                message: format!("the request could not be compressed: {error}"),
            };
            let bytes =
                codec::deflate(self.compression, self.level, &payload.body).map_err(fail)?;
            smallvec::smallvec![Bytes::from(bytes)]
        };
        Ok(Request { signal: payload.signal, items: payload.items, body, context: None })
    }

    fn encodes_inline(&self) -> bool {
        self.compression == Compression::Identity
    }

    fn send(&self, request: Request) -> BoxFuture<Result<Sent, ExportError>> {
        let client = Arc::clone(&self.client);
        let mut http = HttpRequest::new(Segments::new(request.body));
        *http.method_mut() = Method::POST;
        *http.uri_mut() = self.uri.clone();
        *http.version_mut() = Version::HTTP_11;
        *http.headers_mut() = self.headers.clone();
        http.headers_mut().insert(header::HOST, self.authority.clone());
        Box::pin(async move {
            let answer = client.call(http).await.map_err(|error| outcome::of_failure(&error))?;
            outcome::of_http(&answer)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_the_signal_is_appended_to_the_base_only() {
        let config = Config {
            endpoint: "https://a/otlp/".to_owned(),
            logs_endpoint: "https://b/custom".to_owned(),
            ..Config::default()
        };
        assert_eq!(config.url(Signal::Traces), "https://a/otlp/v1/traces");
        assert_eq!(config.url(Signal::Logs), "https://b/custom");
    }
}
