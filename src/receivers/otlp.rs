//! Receives OTLP over gRPC and HTTP: what every OpenTelemetry SDK and Collector sends.
//!
//! ```yaml
//! otlp:
//!   protocols:
//!     grpc:
//!       endpoint: 0.0.0.0:4317
//!     http:
//!       endpoint: 0.0.0.0:4318
//! ```
//!
//! Both protocols are accepted on either port: a client that is pointed at the wrong one works.
//! Without an `endpoint` the receiver listens on loopback, in a container on all interfaces.
//!
//! A request is answered when every exporter queue, or a batch, has taken its data; with
//! `wait_for_export: true` when the backends have it. While the byte budget is exhausted, requests
//! wait up to three seconds before their body is read, then are told to come back
//! (`UNAVAILABLE` with `RetryInfo`, HTTP 503 with `Retry-After`).

mod service;
mod settings;

use std::sync::Arc;

use tokio::net::TcpListener;

use crate::{
    component::{
        BoxFuture, BuildContext, Entry, Ingress, Listening, Receiver, ReceiverConfig, StartError,
        Stop,
    },
    config::{Node, Problems},
    net::server,
    otlp::Signal,
};
use service::OtlpService;
pub use settings::{Config, GrpcSettings, HttpSettings, Protocols};

pub(super) const ENTRY: Entry<dyn ReceiverConfig> = Entry {
    name: "otlp",
    aliases: &[],
    signals: &Signal::ALL,
    source: include_str!("otlp.rs"),
    decode: |node, problems| {
        crate::config::decode::<Config>(node, problems)
            .map(|config| Box::new(config) as Box<dyn ReceiverConfig>)
    },
    schema: |generator| generator.subschema_for::<Config>(),
};

impl ReceiverConfig for Config {
    fn validate(&self, at: &Node, problems: &mut Problems) {
        settings::validate(self, at, problems);
    }

    fn build(
        &self,
        cx: &BuildContext,
        signals: &[Signal],
    ) -> Result<Box<dyn Receiver>, StartError> {
        Ok(Box::new(OtlpReceiver {
            id: cx.id.to_string(),
            config: self.clone(),
            signals: signals.to_vec(),
            in_container: cx.in_container,
            ports: Vec::new(),
        }))
    }
}

/// One open port.
struct Port {
    protocol: &'static str,
    listener: TcpListener,
}

struct OtlpReceiver {
    id: String,
    config: Config,
    signals: Vec<Signal>,
    in_container: bool,
    ports: Vec<Port>,
}

impl OtlpReceiver {
    fn open(&mut self, protocol: &'static str, endpoint: &str) -> Result<Listening, StartError> {
        let listener =
            server::resolve(endpoint).and_then(server::listen).map_err(|error| StartError {
                component: format!("receiver `{}`", self.id),
                message: server::explain_bind(&error, endpoint),
            })?;
        let address =
            listener.local_addr().map_or_else(|_| endpoint.to_owned(), |open| open.to_string());
        self.ports.push(Port { protocol, listener });
        Ok(Listening { protocol, address, tls: false })
    }
}

impl Receiver for OtlpReceiver {
    fn bind(&mut self) -> Result<Vec<Listening>, StartError> {
        let mut open = Vec::new();
        let endpoints = [
            ("grpc", self.config.protocols.grpc.on().map(|grpc| (grpc.endpoint.clone(), 4317))),
            ("http", self.config.protocols.http.on().map(|http| (http.endpoint.clone(), 4318))),
        ];
        for (protocol, endpoint) in endpoints {
            if let Some((endpoint, port)) = endpoint {
                let default = crate::component::default_address(self.in_container, port);
                let endpoint = endpoint.unwrap_or_else(|| default.to_string());
                open.push(self.open(protocol, &endpoint)?);
            }
        }
        Ok(open)
    }

    fn run(self: Box<Self>, ingress: Ingress, stop: Stop) -> BoxFuture<()> {
        let service = Arc::new(OtlpService::new(&self.config, &self.signals, ingress));
        Box::pin(async move {
            let mut serving = tokio::task::JoinSet::new();
            for port in self.ports {
                let tuning = self.config.tuning();
                let service = Arc::clone(&service);
                let open = port.listener.local_addr().map(|open| open.to_string());
                tracing::info!(
                    receiver = %self.id,
                    endpoint = open.unwrap_or_default(),
                    "Starting {} server",
                    port.protocol.to_uppercase()
                );
                serving.spawn(server::run(port.listener, service, tuning, stop.subscribe()));
            }
            while serving.join_next().await.is_some() {}
        })
    }
}
