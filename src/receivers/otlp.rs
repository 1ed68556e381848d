//! Receives OTLP over gRPC and HTTP, the protocol of every OpenTelemetry SDK and Collector.
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
//! Both ports accept both protocols, so a client that uses the wrong port works.
//! Without an `endpoint` the receiver listens on loopback, in a container on all interfaces. With
//! `transport: unix` the endpoint is the path of a unix socket. `tls` turns on TLS, and with
//! `client_ca_file` clients need a certificate, too. Certificate files are read again when they
//! change.
//!
//! A request is acknowledged when every exporter queue, or a batch, has taken its data; with
//! `wait_for_export: true` when the backends have it. Requests wait before their body is read while
//! the byte budget is exhausted, or while the queue of an exporter with a slow backend is nearly
//! full. They wait at most three seconds, or three quarters of their `grpc-timeout`. Then they are
//! refused, and the sender should retry (`UNAVAILABLE` with `RetryInfo`, HTTP 503 with
//! `Retry-After`). If the pipeline begins with a `memory_limiter`, they are refused at once. While
//! 16 MiB or more wait in such a queue, each request is delayed by a quarter of a second, so that
//! senders keep pace with the backend. Requests that are refused before they are read count in
//! `otelcol_receiver_refused_*`, with the average number of items of accepted requests.
//!
//! With `journal: {storage: file_storage}` a request is acknowledged once it is on disk. It stays
//! there until all its data was delivered or dropped by the configuration. So it survives a crash,
//! and while the backends are down requests are stored on disk and not refused.
//!
//! With `auth: {authenticator: id}` under a protocol, its port takes requests only from clients
//! that the extension accepts: `basicauth`, `bearertokenauth` or `oidc`. It holds for the port,
//! whichever protocol a client speaks there. Others get `UNAUTHENTICATED` (HTTP 401 with
//! `WWW-Authenticate`) before their body is read; the connection stays open. They count in
//! `skep_receiver_unauthenticated_requests` and `skep_receiver_rejected_requests`, and once a
//! minute the log names one of them. Over HTTP, `request_params` lists query parameters that stand
//! in for headers. Preflight requests of browsers (CORS) need no credentials.
//!
//! Limits for requests. The headers of a request must arrive within 1 minute
//! (`read_header_timeout`), and have at most 16 KiB in HTTP/1.1 or 64 KiB in HTTP/2. A body must
//! arrive within 30 seconds (`read_timeout`); a sender that announces a large body and sends little
//! of it is disconnected after a sixth of that time. A body is charged to the byte budget when its
//! first bytes arrive; while its sender pauses for more than 100 ms, only the received bytes are
//! charged. Decompressed data, and data decoded from JSON, is charged as it grows. A gzip body has
//! at most 1024 members, an LZ4 body as many frames.
//!
//! Limits for connections. An HTTP/2 connection has at most 128 concurrent streams
//! (`max_concurrent_streams`), and fewer, down to 8, if there are many connections. It is closed if
//! it sends no request within the time for headers; a second after it has sent 32 frames (PING,
//! SETTINGS and others) before its first request, or 256 without another one; and after 5 to 10
//! seconds if it does not read its responses. A TLS handshake must end within 10 seconds. Each
//! connection is charged 32 KiB of the byte budget. The connections of a port may use an eighth of
//! the budget (256 connections with 64 MiB), but at least 64 are allowed. All ports together keep a
//! quarter of the file descriptors free, at most 1024; skep raises its soft limit of open files to
//! the hard one. At a limit, a new connection is let in once its first request has arrived. It then
//! replaces one that was idle for long, first of all one that has sent no request.
//!
//! With `public:` under `http`, the port is one that anybody may send to, as pages in browsers need
//! it. Put it into a receiver of its own, such as `otlp/browser`. It takes traces and logs over
//! HTTP. Each client (an IPv4 address, or an IPv6 network of 64 bits) and all of them together have
//! a rate; beyond it they get 429 with `Retry-After` before the body is read. Bodies of the port
//! use at most an eighth of the byte budget. Requests with too many items, or of a service that is
//! not in `service_names`, get 403. Everything else is edited: attributes that are not listed, the
//! weight of sampled spans (`tracestate`), fields that OTLP does not know and what exceeds a limit
//! are left out, long texts are cut, kinds of servers and queues become internal. Resources get
//! `skep.source`, `skep.trust: client`, `client.address` and `user_agent.original` from skep. A
//! page's own `user.id` is kept as `client.claimed.user.id`; with `token`, a claim that the
//! application has signed becomes `user.id` of each item.
//!
//! Clocks of pages may be wrong by hours. If the latest time of a request is far from its arrival,
//! all its times are shifted so that it is at the arrival; `skep.clock.shift_ms` on the resource
//! says by how much. An item whose times cannot be takes no time; `skep.clock.implausible` says
//! why, and `skep.clock.claimed_start` and `skep.clock.claimed_end` keep what the page has sent.
//! What was refused and changed is counted in `skep_public_refused_requests`,
//! `skep_public_refused_items` and `skep_public_changes`. The [guide to browsers](../browser.md)
//! shows a page and says what each guard is for.
//!
//! Names of encodings may be in upper or lower case, and `x-gzip` means `gzip`. On a unix socket
//! clients may send any `:authority`; gRPC clients in Python, C++ and Java send the path of the
//! socket.
//!
//! Differs from the Collector: the Collector limits neither connections nor the pace of a body, and
//! sends no `WWW-Authenticate`. It has nothing like `public`. Its `max_age` of CORS is 0 by
//! default, and it exposes no `Retry-After` by itself.

mod answer;
mod guard;
mod pages;
pub mod public;
mod service;
mod settings;

use std::{collections::HashMap, path::Path, sync::Arc};

use crate::{
    component::{
        BoxFuture, BrowserPort, BuildContext, Entry, Inlet, JournalUse, Listening,
        Port as WantedPort, Receiver, ReceiverConfig, ServerAuthenticator, StartError, Stop,
    },
    config::{Node, Problems},
    net::{
        server::{self, Family, Listener, Sockets, Tuning},
        tls::{Acceptor, ServerTls},
    },
    otlp::Signal,
    receivers::{astray::Astray, journal::Journal},
};
use guard::Guard;
use service::{OtlpService, PortService, Stats};
use settings::Transport;
pub use settings::{Config, GrpcSettings, HttpSettings, Protocols};

/// The ports of OTLP (specification of the exporter, "Endpoint").
const GRPC_PORT: u16 = 4317;
const HTTP_PORT: u16 = 4318;

pub(super) const ENTRY: Entry<dyn ReceiverConfig> =
    Entry::of::<Config>("otlp", &[], &Signal::ALL, include_str!("otlp.rs"));

impl ReceiverConfig for Config {
    fn validate(&self, at: &Node, problems: &mut Problems) {
        settings::validate(self, at, problems);
    }

    fn auths(&self) -> Vec<(&'static str, String)> {
        Config::auths(self)
    }

    fn journal(&self) -> Option<JournalUse> {
        self.journal.as_ref().map(Journal::wanted)
    }

    fn ports(&self) -> Vec<WantedPort> {
        let grpc = self.protocols.grpc.on().filter(|grpc| grpc.transport != Transport::Unix);
        let http = self.protocols.http.on().filter(|http| http.transport != Transport::Unix);
        let grpc = grpc.map(|grpc| {
            WantedPort::tcp("protocols::grpc::endpoint", grpc.endpoint.as_ref(), GRPC_PORT)
        });
        let http = http.map(|http| {
            WantedPort::tcp("protocols::http::endpoint", http.endpoint.as_ref(), HTTP_PORT)
        });
        grpc.into_iter().chain(http).collect()
    }

    fn browser_port(&self, cx: &BuildContext) -> Option<BrowserPort> {
        let default = crate::component::default_address(cx.in_container, HTTP_PORT);
        self.for_pages(&default.to_string())
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
        if self.is_public() && signals.contains(&Signal::Metrics) {
            return Err(StartError {
                component: format!("receiver `{id}`"),
                message: "a public port takes traces and logs only; remove it from the pipelines \
                          of metrics"
                    .to_owned(),
            });
        }
        let planned = self.plan(cx)?;
        let stats = ["grpc", "http"].map(|transport| {
            Signal::ALL.map(|signal| cx.telemetry.receiver(&id, signal, transport))
        });
        let (config, signals) = (self.clone(), signals.to_vec());
        let astray = Astray::new(cx);
        let ports = Vec::new();
        Ok(Box::new(OtlpReceiver { id, config, signals, stats, astray, planned, ports }))
    }
}

/// One open port.
struct Port {
    protocol: &'static str,
    listener: Listener,
    tls: Option<Arc<Acceptor>>,
    tuning: Tuning,
    guard: Option<Arc<Guard>>,
    public: Option<Arc<public::Guard>>,
}

/// A port before it is opened.
struct Planned {
    protocol: &'static str,
    endpoint: String,
    transport: Transport,
    tls: Option<Arc<Acceptor>>,
    tuning: Tuning,
    guard: Option<Arc<Guard>>,
    public: Option<Arc<public::Guard>>,
}

struct OtlpReceiver {
    id: String,
    config: Config,
    signals: Vec<Signal>,
    stats: Stats,
    astray: Astray,
    planned: Vec<Planned>,
    ports: Vec<Port>,
}

impl Config {
    fn is_public(&self) -> bool {
        self.protocols.http.on().is_some_and(|http| http.public.on().is_some())
    }

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
        let mut open = HashMap::new();
        let mut guard = |auth: Option<(&String, &[String])>| {
            auth.map(|(id, params)| guard(cx, id, params, &mut open)).transpose()
        };
        let mut planned = Vec::new();
        if let Some(grpc) = self.protocols.grpc.on() {
            planned.push(Planned {
                protocol: "grpc",
                endpoint: endpoint(&grpc.endpoint, GRPC_PORT),
                transport: grpc.transport,
                tls: acceptor("grpc", &grpc.tls)?,
                tuning: self.grpc_tuning(cx.budget),
                guard: guard(grpc.auth.as_ref().map(|auth| (&auth.authenticator, &[][..])))?,
                public: None,
            });
        }
        if let Some(http) = self.protocols.http.on() {
            planned.push(Planned {
                protocol: "http",
                endpoint: endpoint(&http.endpoint, HTTP_PORT),
                transport: http.transport,
                tls: acceptor("http", &http.tls)?,
                tuning: self.http_tuning(cx.budget),
                guard: guard(
                    http.auth.as_ref().map(|auth| (&auth.authenticator, &*auth.request_params)),
                )?,
                public: http.public.on().map(|public| {
                    let meter = cx.meter();
                    Arc::new(public::Guard::new(public, &cx.id.to_string(), cx.budget, &meter))
                }),
            });
        }
        Ok(planned)
    }
}

/// Opens an authenticator, which both ports share if they name the same one.
fn guard(
    cx: &BuildContext,
    id: &str,
    request_params: &[String],
    open: &mut HashMap<String, Arc<dyn ServerAuthenticator>>,
) -> Result<Arc<Guard>, StartError> {
    let wrong = |text: String| StartError {
        component: format!("receiver `{}`", cx.id),
        message: format!("authenticator `{id}`: {text}"),
    };
    let authenticator = if let Some(authenticator) = open.get(id) {
        Arc::clone(authenticator)
    } else {
        // The document has checked that it exists.
        let auth = cx.server_auths.get(id);
        let auth = auth.ok_or_else(|| wrong("there is no such extension".to_owned()))?;
        let authenticator = auth.open().map_err(wrong)?;
        open.insert(id.to_owned(), Arc::clone(&authenticator));
        authenticator
    };
    Ok(Arc::new(Guard::new(authenticator, &cx.id.to_string(), request_params)))
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
        let Planned { protocol, tls, tuning, guard, public, .. } = self;
        Ok(Port { protocol, listener, tls, tuning, guard, public })
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

    fn run(self: Box<Self>, inlet: Arc<dyn Inlet>, stop: Stop) -> BoxFuture<()> {
        let OtlpReceiver { config, signals, stats, astray, ports, .. } = *self;
        let service = OtlpService::new(&config, &signals, stats, astray, inlet);
        let service = Arc::new(service);
        Box::pin(async move {
            let mut serving = tokio::task::JoinSet::new();
            for port in ports {
                let guard = port.guard.clone();
                if let Some(guard) = guard.clone() {
                    serving.spawn(async move { guard.prepare().await });
                }
                let (service, public) = (Arc::clone(&service), port.public.clone());
                let service = Arc::new(PortService { service, guard, public });
                let stop = stop.subscribe();
                serving.spawn(server::run(port.listener, port.tls, service, port.tuning, stop));
            }
            while serving.join_next().await.is_some() {}
        })
    }
}
