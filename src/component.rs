//! The contracts of components: the traits of receivers, processors, exporters, connectors and
//! extensions, and what the engine gives to each. A component knows its configuration and its data,
//! nothing of threads, queues or sockets of others; those belong to the engine.
//!
//! A component is one file: docs with a YAML example, `Config`, build, behaviour, tests. Its
//! `Config` implements the `*Config` trait of its kind and has one [`Entry`] in the list of its
//! folder's `mod.rs`.

#![warn(missing_docs)]

mod auth;
mod browser_port;
mod budget;
mod build;
mod by_trace;
mod erased;
mod exporter;
mod extension;
mod port;
mod processor;
mod progress;
pub mod reload;
mod same;
mod server_auth;
mod storage;
mod told;

use std::{borrow::Cow, fmt, future::Future, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    config::{Node, Problems},
    otlp::{
        Payload, Signal,
        check::Utf8,
        payload::{Context, Permit, Reason, Wait},
    },
    telemetry::{ReceiverStats, Refused},
};

pub use crate::telemetry::senders::Caller;
pub use auth::{
    Asked, Auth, AuthUse, Authenticator, ClientAuth, Outgoing, Protocol, Refusal, Unusable,
};
pub use browser_port::{BrowserPort, takes_strangers};
pub use budget::{BudgetUse, BudgetWeights, Count};
pub use build::{BuildContext, Entry};
pub use by_trace::{ByTrace, Share};
pub use erased::{ErasedExporter, Ready};
pub use exporter::{
    Backoff, Delivery, Denial, Encodes, ExportError, Exporter, ExporterConfig, Piece, Queue,
    QueueBatch, Retry, Sent, Sizer, Work,
};
pub use extension::{Extension, ExtensionConfig, Passive};
pub use port::Port;
pub use processor::{
    ConnectorConfig, MemoryBound, Needs, Outlets, Output, Partition, Processor, ProcessorConfig,
};
pub use progress::Progress;
pub use same::Same;
pub use server_auth::{
    Credentials, Denied, GrpcServerAuth, HttpServerAuth, Identity, ServerAuth, ServerAuthenticator,
};
pub use storage::{JournalUse, Storage};
pub use told::Told;

/// A future on the heap: once per request or per connection, never per item.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// One kind of component. Kinds are separate namespaces of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Brings data in.
    Receiver,
    /// Changes, drops or holds data.
    Processor,
    /// Sends data out.
    Exporter,
    /// Exporter of one pipeline and receiver of another.
    Connector,
    /// Serves the process rather than the data.
    Extension,
}

impl Kind {
    /// All kinds, in the order of data.
    pub const ALL: [Kind; 5] =
        [Kind::Receiver, Kind::Processor, Kind::Exporter, Kind::Connector, Kind::Extension];

    /// `receiver`, `processor`, ...
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Receiver => "receiver",
            Kind::Processor => "processor",
            Kind::Exporter => "exporter",
            Kind::Connector => "connector",
            Kind::Extension => "extension",
        }
    }

    /// The top-level key in YAML: `receivers`, `processors`, ...
    pub const fn section(self) -> &'static str {
        match self {
            Kind::Receiver => "receivers",
            Kind::Processor => "processors",
            Kind::Exporter => "exporters",
            Kind::Connector => "connectors",
            Kind::Extension => "extensions",
        }
    }

    /// A type that many files have, to show how a component is written.
    pub const fn example(self) -> &'static str {
        match self {
            Kind::Receiver => "otlp",
            Kind::Processor => "batch",
            Kind::Exporter => "otlp_http",
            Kind::Connector => "forward",
            Kind::Extension => "health_check",
        }
    }
}

/// `type` or `type/name` as it is written in the file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ComponentId {
    /// Before the slash, as the user wrote it (an alias stays an alias).
    pub kind_name: String,
    /// After the slash.
    pub name: Option<String>,
}

impl fmt::Display for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{}/{name}", self.kind_name),
            None => f.write_str(&self.kind_name),
        }
    }
}

/// The error if a component cannot be built or started, with the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{component}: {message}")]
pub struct StartError {
    /// Kind and id, for instance `receiver "otlp"`.
    pub component: String,
    /// Lower case, no full stop, with the remedy.
    pub message: String,
}

// ---- receivers -----------------------------------------------------------------------------

impl<T: ReceiverConfig + 'static> From<T> for Box<dyn ReceiverConfig> {
    fn from(config: T) -> Self {
        Box::new(config)
    }
}

/// Configuration of a receiver.
pub trait ReceiverConfig: fmt::Debug + Same {
    /// See [`ProcessorConfig::validate`].
    fn validate(&self, _at: &Node, _problems: &mut Problems) {}

    /// Whether payloads carry the headers of their requests.
    fn gives_metadata(&self) -> bool {
        false
    }

    /// Authenticators of its clients: the key of the body that names one, and its id.
    fn auths(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// The ports that it opens; not the unix sockets.
    fn ports(&self) -> Vec<Port> {
        Vec::new()
    }

    /// Files that it reads when it is built. A reload builds it again if one has changed.
    fn files(&self) -> Vec<String> {
        Vec::new()
    }

    /// Where requests are written before they are answered; `None` if they are not.
    fn journal(&self) -> Option<JournalUse> {
        None
    }

    /// Its port for pages in browsers; `None` if no page may send.
    fn browser_port(&self, _cx: &BuildContext) -> Option<BrowserPort> {
        None
    }

    /// Builds the one instance that serves all `signals` whose pipelines list it. Opens nothing.
    fn build(&self, cx: &BuildContext, signals: &[Signal])
    -> Result<Box<dyn Receiver>, StartError>;
}

/// A listener that is open, for the start-up report: `otlp grpc 127.0.0.1:4317`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// Name of the protocol: `grpc`, `http`.
    pub protocol: &'static str,
    /// Address, or path of a unix socket.
    pub address: String,
    /// Whether TLS is on.
    pub tls: bool,
}

/// Brings data in. It is bound first, so that a port in use ends the start, and run later.
pub trait Receiver: Send {
    /// Opens the sockets (in a tokio context), out of `sockets`. Nothing is accepted yet.
    fn bind(&mut self, sockets: &mut Sockets) -> Result<Vec<Listening>, StartError>;

    /// Serves until `stop` is raised, then stops accepting, finishes requests in flight and ends.
    fn run(self: Box<Self>, inlet: Arc<dyn Inlet>, stop: Stop) -> BoxFuture<()>;
}

/// How a body is encoded when it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Binary protobuf.
    Protobuf,
    /// OTLP/JSON.
    Json,
}

pub use crate::net::{codec::Compression, server::Sockets};

/// A request body as a receiver read it from its socket: maybe compressed, not yet checked.
#[derive(Debug)]
pub struct Arrival {
    /// What the path or method said.
    pub signal: Signal,
    /// What the content type said.
    pub encoding: Encoding,
    /// What the content encoding or the gRPC flag said.
    pub compression: Compression,
    /// The bytes as they were received.
    pub body: Bytes,
    /// Charged for `body` before it was read.
    pub permit: Permit,
    /// Largest body in bytes after inflating.
    pub max_inflated: usize,
    /// Whether strings must be UTF-8.
    pub utf8: Utf8,
    /// The request, if [`Admission::wants_context`].
    pub context: Option<Arc<Context>>,
    /// When the sender is answered: `Delivery` if the receiver has `wait_for_export: true`.
    pub wait: Wait,
    /// The counters of the receiver for this signal and transport, which the engine updates.
    pub stats: Arc<ReceiverStats>,
    /// What the receiver does with the data of a sender that it does not trust.
    pub vetting: Option<Box<dyn Vetting>>,
    /// Its sender, for the table of senders.
    pub caller: Caller,
}

/// What a receiver does with a request once a worker has unpacked it, before the journal and the
/// pipelines see it: judges and edits it.
pub trait Vetting: fmt::Debug + Send + Sync {
    /// Edits the payload, or says why it is not taken. The payload is one segment.
    fn vet(&self, payload: &mut Payload) -> Result<(), Rejection>;
}

/// Why a request was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// The bytes are wrong; sending them again is useless. The text says what is wrong where.
    Malformed(String),
    /// Larger than a limit, after inflating.
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// Not taken now, with the reason and when to come back.
    Unavailable(Reason, Option<Duration>),
    /// Its sender sends more than it may.
    TooMany {
        /// Of what.
        text: &'static str,
        /// When to come back.
        pause: Duration,
    },
    /// The receiver takes no such data from its sender; the text says what it would have to change.
    NotAllowed(String),
    /// Refused for good by the pipeline.
    Failed(Reason),
}

impl Rejection {
    /// Who can change it.
    pub fn refused(&self) -> Refused {
        match self {
            Rejection::Malformed(_) | Rejection::TooLarge { .. } => Refused::Wrong,
            Rejection::NotAllowed(_) => Refused::Denied,
            Rejection::Unavailable(..) | Rejection::TooMany { .. } => Refused::NoRoom,
            Rejection::Failed(_) => Refused::Failed,
        }
    }

    /// It in words for people.
    pub fn words(&self) -> Cow<'_, str> {
        match self {
            Rejection::Malformed(words) | Rejection::NotAllowed(words) => words.into(),
            Rejection::TooLarge { limit } => {
                format!("the message is larger than the limit of {limit} bytes").into()
            }
            Rejection::Unavailable(reason, _) | Rejection::Failed(reason) => {
                reason.sentence().into()
            }
            Rejection::TooMany { text, .. } => (*text).into(),
        }
    }
}

/// The answer to the sender.
pub type Reply = Result<(), Rejection>;

/// The engine as one receiver sees it.
pub trait Inlet: Send + Sync {
    /// The admission of one request. It keeps the route that is in force now, because a reload may
    /// replace it meanwhile. Fails if no pipeline takes this signal from this receiver.
    fn admission(self: Arc<Self>, signal: Signal) -> Result<Box<dyn Admission>, Rejection>;

    /// Charges bytes whether they are free or not, for something other than a body that has a limit
    /// of its own: a connection.
    fn charge(&self, _bytes: usize) -> Option<Permit> {
        None
    }
}

/// The handle by which one request comes into the engine. The methods are in the order of their
/// use.
pub trait Admission: Send + Sync {
    /// Whether a component downstream wants the request's [`Context`].
    fn wants_context(&self) -> bool;

    /// The wait for room if an exporter queue is full or long; `None` if there is room. It takes at
    /// most `patience`, or as long as a sender may be expected to wait. Call it before any byte of
    /// the body is read, so that a waiting request holds no memory. Afterwards a full queue may
    /// still refuse.
    fn room(&self, _patience: Option<Duration>) -> Option<BoxFuture<Result<(), Rejection>>> {
        None
    }

    /// Refuses a body that would find no room even if it were alone; charges nothing.
    fn fits(&self, _bytes: usize) -> Result<(), Rejection> {
        Ok(())
    }

    /// Takes bytes for a body of known length if they are free now; `None` if waiting may help.
    /// Acquire once per request before any byte is held; grow only with `Permit::try_more`.
    fn try_permit(&self, bytes: usize) -> Result<Option<Permit>, Rejection>;

    /// Waits for the bytes, at most a few seconds (`Unavailable` afterwards).
    fn permit(&self, bytes: usize) -> BoxFuture<Result<Permit, Rejection>>;

    /// Hands a body to the workers. The future ends when a part of skep answers for the data or,
    /// with [`Wait::Delivery`], when the backends have it.
    fn submit(&self, arrival: Arrival) -> BoxFuture<Reply>;
}

/// Raised once when a component has to stop.
#[derive(Debug, Clone)]
pub struct Stop(tokio::sync::watch::Receiver<bool>);

impl Stop {
    /// A stop and the handle that raises it.
    pub fn pair() -> (tokio::sync::watch::Sender<bool>, Stop) {
        let (tx, rx) = tokio::sync::watch::channel(false);
        (tx, Stop(rx))
    }

    /// Ends when the stop is raised, or its handle is gone.
    pub async fn raised(&mut self) {
        let _ = self.0.wait_for(|raised| *raised).await;
    }

    /// The same stop for code that knows nothing of components.
    pub fn subscribe(&self) -> tokio::sync::watch::Receiver<bool> {
        self.0.clone()
    }

    /// Whether it is raised already.
    pub fn is_raised(&self) -> bool {
        *self.0.borrow()
    }
}

/// An address that a listener may have by default: all interfaces in a container, else loopback.
pub fn default_address(in_container: bool, port: u16) -> SocketAddr {
    if in_container {
        SocketAddr::from(([0, 0, 0, 0], port))
    } else {
        SocketAddr::from(([127, 0, 0, 1], port))
    }
}
