//! What can be configured, with the Collector's keys and defaults.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    config::{Interval, Node, Problems, Section},
    net::server::Tuning,
};

/// Receives OTLP over gRPC and HTTP.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Which protocols, each on its own port; at least one.
    pub protocols: Protocols,
    /// Answer a request only after the backends have its data.
    pub wait_for_export: bool,
}

/// The two transports.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Protocols {
    /// OTLP/gRPC; the mention alone turns it on.
    pub grpc: Section<GrpcSettings>,
    /// OTLP/HTTP; the mention alone turns it on.
    pub http: Section<HttpSettings>,
}

/// OTLP/gRPC.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GrpcSettings {
    /// `host:port`; port 4317 on loopback, in a container on all interfaces.
    pub endpoint: Option<String>,
    /// Largest message in MiB, before and after inflating; 0: 4 MiB.
    pub max_recv_msg_size_mib: u64,
    /// Streams at a time on a connection; 0: the library's limit.
    pub max_concurrent_streams: u32,
    /// Accepted for compatibility; buffers are sized by the engine.
    pub read_buffer_size: Option<u64>,
    /// Accepted for compatibility; buffers are sized by the engine.
    pub write_buffer_size: Option<u64>,
    /// Keepalive of connections.
    pub keepalive: Keepalive,
    /// Keep the request's headers for processors that ask for them.
    pub include_metadata: bool,
}

/// `keepalive`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Keepalive {
    /// What the server does.
    pub server_parameters: ServerParameters,
}

/// `keepalive.server_parameters`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerParameters {
    /// Ping an idle connection after so long; 2h.
    pub time: Option<Interval>,
    /// Close it when the ping is not answered in so long; 20s.
    pub timeout: Option<Interval>,
}

/// OTLP/HTTP.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// `host:port`; port 4318 on loopback, in a container on all interfaces.
    pub endpoint: Option<String>,
    /// Path of traces.
    pub traces_url_path: String,
    /// Path of metrics.
    pub metrics_url_path: String,
    /// Path of logs.
    pub logs_url_path: String,
    /// Largest body in bytes, before and after inflating; 20 MiB.
    pub max_request_body_size: u64,
    /// Keep the request's headers for processors that ask for them.
    pub include_metadata: bool,
    /// Web pages that may send from a browser.
    pub cors: Option<Cors>,
}

/// `cors`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cors {
    /// Origins such as `https://app.example.com`; `*` stands for any characters.
    pub allowed_origins: Vec<String>,
    /// Request headers that a page may set, besides those that are always allowed.
    pub allowed_headers: Vec<String>,
    /// Seconds for which a browser may remember the answer.
    pub max_age: u32,
}

impl Default for HttpSettings {
    fn default() -> Self {
        HttpSettings {
            endpoint: None,
            traces_url_path: "/v1/traces".to_owned(),
            metrics_url_path: "/v1/metrics".to_owned(),
            logs_url_path: "/v1/logs".to_owned(),
            max_request_body_size: 20 << 20,
            include_metadata: false,
            cors: None,
        }
    }
}

impl Config {
    pub(super) fn tuning(&self) -> Tuning {
        let mut tuning = Tuning::default();
        if let Some(grpc) = self.protocols.grpc.on() {
            let keepalive = &grpc.keepalive.server_parameters;
            if grpc.max_concurrent_streams > 0 {
                tuning.max_concurrent_streams = Some(grpc.max_concurrent_streams);
            }
            if let Some(time) = keepalive.time {
                tuning.keepalive_time = Some(time.0).filter(|time| *time > Duration::ZERO);
            }
            if let Some(timeout) = keepalive.timeout {
                tuning.keepalive_timeout = timeout.0;
            }
        }
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
        let bytes = self.protocols.http.on().map_or(default, |http| http.max_request_body_size);
        usize::try_from(if bytes == 0 { default } else { bytes }).unwrap_or(usize::MAX)
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
    let endpoints = [
        ("grpc", grpc.on().and_then(|grpc| grpc.endpoint.as_deref())),
        ("http", http.on().and_then(|http| http.endpoint.as_deref())),
    ];
    for (protocol, endpoint) in endpoints {
        let Some(endpoint) = endpoint else { continue };
        let port = endpoint.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(_))) {
            problems
                .error(
                    at.at(&format!("protocols::{protocol}::endpoint")),
                    format!("`{endpoint}` has no port"),
                )
                .help("write `host:port`, for instance `0.0.0.0:4317`");
        }
    }
}
