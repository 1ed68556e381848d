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
//! Without an `endpoint` the receiver listens on loopback, in a container on all interfaces. With
//! `transport: unix` the endpoint is the path of a unix socket. `tls` turns on TLS, and with
//! `client_ca_file` clients need a certificate, too; certificates are read again while running.
//!
//! A request is answered when every exporter queue, or a batch, has taken its data; with
//! `wait_for_export: true` when the backends have it. While the byte budget is exhausted, or the
//! queue of an exporter whose backend answers, only too slowly, is nearly full, requests wait up to
//! three seconds (or three quarters of their `grpc-timeout`) before their body is read. Then they
//! are told to come back (`UNAVAILABLE` with `RetryInfo`, HTTP 503 with `Retry-After`); at once
//! where the pipeline begins with a `memory_limiter`. Where 16 MiB wait in such a queue, requests
//! are held up for a quarter of a second, so that senders keep the pace of the backend. What is
//! refused before it is read counts in `otelcol_receiver_refused_*` with the average number of
//! items of the requests that were taken.
//!
//! With `journal: {storage: file_storage}` a request is answered once it is on disk, and stays there until all that
//! came of it was delivered, or dropped by a decision: it survives a crash, and while the backends are away
//! requests cost disk and are not refused.
//!
//! Limits that hold whatever clients do: the headers of a request have 1 minute (`read_header_timeout`)
//! and 16 KiB in HTTP/1.1 or 64 KiB in HTTP/2; a body has 30 seconds (`read_timeout`), and a sender
//! that announces much and sends little of it is cut off after a sixth of that. A body is charged
//! to the byte budget when the first of it is there, and one whose sender pauses for 100 ms is
//! charged for what came. A connection of HTTP/2 that never asks for anything ends after the time
//! for headers, one that sends 32 frames (PING, SETTINGS and others) before its first request, or 256
//! without another one, a second later, and one that does not take its answers after 5 to 10
//! seconds. A TLS handshake has 10 seconds. A connection is charged 32 KiB of the
//! byte budget, and the connections of a port have an eighth of it, at least 64 and with 64 MiB
//! 256; all ports together leave a quarter of the file descriptors free, 1024 at most. When one
//! connection more comes, it is let in once its first request is there, and one that was quiet for
//! long goes, first of all one that never asked. skep
//! raises its soft limit of open files to the hard one. A connection of HTTP/2 has 128 streams at a
//! time (`max_concurrent_streams`), and where there are many connections fewer, down to 8. What is
//! inflated or read from JSON is paid for as it grows; a gzip body has at most 1024 members, an LZ4
//! body as many frames.
//!
//! Names of encodings are taken in any case, and `x-gzip` is `gzip`. On a unix socket clients may
//! send any `:authority`: those of gRPC in Python, C++ and Java send the path of the socket.
//!
//! Differs from the Collector: it has no limit for connections, nor for the pace of a body.

mod answer;
mod astray;
mod body;
mod cors;
mod service;
mod settings;

use std::{path::Path, sync::Arc};

use crate::{
    component::{
        BoxFuture, BuildContext, Entry, Ingress, JournalUse, Listening, Receiver, ReceiverConfig,
        StartError, Stop,
    },
    config::{Node, Problems},
    net::{
        server::{self, Family, Listener, Sockets, Tuning},
        tls::{Acceptor, ServerTls},
    },
    otlp::Signal,
    receivers::journal::Journal,
};
use service::{OtlpService, Refusals};
use settings::Transport;
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

    fn journal(&self) -> Option<JournalUse> {
        self.journal.as_ref().map(Journal::wanted)
    }

    fn gives_metadata(&self) -> bool {
        let grpc = self.protocols.grpc.on().map(|grpc| grpc.include_metadata);
        let http = self.protocols.http.on().map(|http| http.include_metadata);
        [grpc, http].contains(&Some(true))
    }

    fn build(
        &self,
        cx: &BuildContext,
        signals: &[Signal],
    ) -> Result<Box<dyn Receiver>, StartError> {
        let id = cx.id.to_string();
        let planned = self.plan(cx)?;
        let refusals = ["grpc", "http"].map(|transport| {
            Signal::ALL.map(|signal| cx.telemetry.receiver(&id, signal, transport))
        });
        let (config, signals) = (self.clone(), signals.to_vec());
        Ok(Box::new(OtlpReceiver { id, config, signals, refusals, planned, ports: Vec::new() }))
    }
}

/// One open port.
struct Port {
    protocol: &'static str,
    listener: Listener,
    tls: Option<Arc<Acceptor>>,
    tuning: Tuning,
}

/// A port before it is opened.
struct Planned {
    protocol: &'static str,
    endpoint: String,
    transport: Transport,
    tls: Option<Arc<Acceptor>>,
    tuning: Tuning,
}

struct OtlpReceiver {
    id: String,
    config: Config,
    signals: Vec<Signal>,
    /// Requests turned away before the engine knows of them, by transport and signal.
    refusals: Refusals,
    planned: Vec<Planned>,
    ports: Vec<Port>,
}

impl Config {
    fn plan(&self, cx: &BuildContext) -> Result<Vec<Planned>, StartError> {
        let acceptor = |protocol: &str, tls: &Option<ServerTls>| match tls {
            None => Ok(None),
            Some(tls) => {
                Acceptor::new(tls.clone()).map(|tls| Some(Arc::new(tls))).map_err(|text| {
                    let component = format!("receiver `{}`", cx.id);
                    StartError {
                        component,
                        message: format!("`protocols::{protocol}::tls`: {text}"),
                    }
                })
            }
        };
        let endpoint = |configured: &Option<String>, port| {
            let default = || crate::component::default_address(cx.in_container, port).to_string();
            configured.clone().unwrap_or_else(default)
        };
        let mut planned = Vec::new();
        if let Some(grpc) = self.protocols.grpc.on() {
            planned.push(Planned {
                protocol: "grpc",
                endpoint: endpoint(&grpc.endpoint, 4317),
                transport: grpc.transport,
                tls: acceptor("grpc", &grpc.tls)?,
                tuning: self.grpc_tuning(cx.budget),
            });
        }
        if let Some(http) = self.protocols.http.on() {
            planned.push(Planned {
                protocol: "http",
                endpoint: endpoint(&http.endpoint, 4318),
                transport: http.transport,
                tls: acceptor("http", &http.tls)?,
                tuning: self.http_tuning(cx.budget),
            });
        }
        Ok(planned)
    }
}

impl Planned {
    fn open(self, sockets: &mut Sockets) -> std::io::Result<Port> {
        let listener = match self.transport {
            Transport::Unix => {
                let path = self.endpoint.strip_prefix("unix://").unwrap_or(&self.endpoint);
                sockets.unix(Path::new(path))?
            }
            Transport::Tcp => self.tcp(Family::Any, sockets)?,
            Transport::Tcp4 => self.tcp(Family::V4, sockets)?,
            Transport::Tcp6 => self.tcp(Family::V6, sockets)?,
        };
        let Planned { protocol, tls, tuning, .. } = self;
        Ok(Port { protocol, listener, tls, tuning })
    }

    fn tcp(&self, family: Family, sockets: &mut Sockets) -> std::io::Result<Listener> {
        sockets.tcp(server::resolve(&self.endpoint, family)?)
    }
}

impl Receiver for OtlpReceiver {
    fn bind(&mut self, sockets: &mut Sockets) -> Result<Vec<Listening>, StartError> {
        let mut open = Vec::new();
        for planned in self.planned.drain(..) {
            let endpoint = planned.endpoint.clone();
            let port = planned.open(sockets).map_err(|error| StartError {
                component: format!("receiver `{}`", self.id),
                message: server::explain_bind(&error, &endpoint),
            })?;
            let (protocol, tls) = (port.protocol, port.tls.is_some());
            open.push(Listening { protocol, address: port.listener.address(), tls });
            self.ports.push(port);
        }
        Ok(open)
    }

    fn run(self: Box<Self>, ingress: Ingress, stop: Stop) -> BoxFuture<()> {
        let OtlpReceiver { id, config, signals, refusals, ports, .. } = *self;
        let service = Arc::new(OtlpService::new(&config, &signals, refusals, ingress));
        Box::pin(async move {
            let mut serving = tokio::task::JoinSet::new();
            for port in ports {
                let service = Arc::clone(&service);
                tracing::info!(
                    receiver = %id,
                    endpoint = port.listener.address(),
                    tls = port.tls.is_some(),
                    "Starting {} server",
                    port.protocol.to_uppercase()
                );
                let stop = stop.subscribe();
                serving.spawn(server::run(port.listener, port.tls, service, port.tuning, stop));
            }
            while serving.join_next().await.is_some() {}
        })
    }
}
