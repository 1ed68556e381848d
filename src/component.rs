//! The contracts of components: the traits of receivers, processors, exporters, connectors and
//! extensions, and what the engine gives to each. A component knows its configuration and its data,
//! nothing of threads, queues or sockets of others; those belong to the engine.
//!
//! A component is one file: docs with a YAML example, `Config`, build, behaviour, tests. Its
//! `Config` implements the `*Config` trait of its kind and has one [`Entry`] in the list of
//! its folder's `mod.rs`.

#![warn(missing_docs)]

mod auth;
mod erased;
mod exporter;
mod extension;
mod progress;
pub mod reload;
mod server_auth;
mod storage;

use std::{
    any::Any,
    collections::HashMap,
    fmt,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use smallvec::SmallVec;

use crate::{
    config::{Node, Problems},
    otlp::{
        Payload, Signal,
        check::Utf8,
        payload::{Context, Outcome, Permit, Reason, Wait},
    },
    telemetry::{ReceiverStats, Telemetry},
};

pub use auth::{
    Asked, Auth, AuthUse, Authenticator, ClientAuth, Outgoing, Protocol, Refusal, Unusable,
};
pub use erased::{ErasedExporter, Ready};
pub use exporter::{
    Backoff, Delivery, Denial, Encodes, ExportError, Exporter, ExporterConfig, Piece, Queue,
    QueueBatch, Retry, Sent, Sizer, Work,
};
pub use extension::{Extension, ExtensionConfig, Passive};
pub use progress::Progress;
pub use server_auth::{
    Credentials, Denied, GrpcServerAuth, HttpServerAuth, Identity, ServerAuth, ServerAuthenticator,
};
pub use storage::{JournalUse, Storage};

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

/// One line of a registry: how a component type is found, described and decoded.
///
/// `C` is the boxed configuration trait of the kind, for instance `dyn ProcessorConfig`.
pub struct Entry<C: ?Sized + 'static> {
    /// Canonical type name.
    pub name: &'static str,
    /// Other accepted spellings; they work with a warning that names the canonical one.
    pub aliases: &'static [&'static str],
    /// Signals it works with.
    pub signals: &'static [Signal],
    /// Source text of its file; documentation is generated from the `//!` header.
    pub source: &'static str,
    /// Decodes the body under the id. Problems are recorded with their places; `None` if nothing
    /// could be decoded.
    pub decode: fn(&Node, &mut Problems) -> Option<Box<C>>,
    /// JSON schema of the body.
    pub schema: fn(&mut schemars::SchemaGenerator) -> schemars::Schema,
}

/// What a component is given when it is built.
#[derive(Clone)]
pub struct BuildContext {
    /// Its id in the file.
    pub id: ComponentId,
    /// Pipeline it works in, for processors: `traces/backend`.
    pub pipeline: String,
    /// Signal it is built for; extensions ignore it.
    pub signal: Signal,
    /// Whether a processor that may write weights is to do so by default, see
    /// [`ProcessorConfig::may_write_weights`].
    pub wants_weights: bool,
    /// Bytes of the budget of the process.
    pub budget: u64,
    /// Whether the process runs in a container: decides the default bind address.
    pub in_container: bool,
    /// Counters of the whole process.
    pub telemetry: Arc<Telemetry>,
    /// What the exporter's `auth` names.
    pub auth: Option<Arc<dyn ClientAuth>>,
    /// The server authenticators that receivers' `auth` may name, by the id that the file has.
    pub server_auths: Arc<HashMap<String, Arc<dyn ServerAuth>>>,
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

// ---- processors ----------------------------------------------------------------------------

/// Where a processor may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partition {
    /// Stateless: a replica on each worker, run wherever the payload is.
    Any,
    /// Split by trace id; each trace has one owning worker.
    ByTrace,
    /// One instance per pipeline on one owning worker.
    Single,
}

/// Configuration of a processor, decoded.
pub trait ProcessorConfig: fmt::Debug + Send + Sync {
    /// Where replicas run.
    fn partition(&self) -> Partition;

    /// Checks beyond types. `at` is the body, so that a problem can point at its key.
    fn validate(&self, _at: &Node, _problems: &mut Problems) {}

    /// Whether payloads must carry their request's [`Context`] up to here.
    fn needs_context(&self) -> bool {
        false
    }

    /// Whether it looks at request headers, which a receiver has to keep for it.
    fn reads_metadata(&self) -> bool {
        false
    }

    /// Whether it reads the identity that an authenticator of the receiver has found.
    fn reads_auth(&self) -> bool {
        false
    }

    /// Whether payloads that it emits have the headers of the requests that came in.
    fn keeps_metadata(&self) -> bool {
        true
    }

    /// Whether it writes how many items each kept item counts for, if an exporter downstream reads
    /// that ([`ExporterConfig::reads_weights`]).
    fn may_write_weights(&self) -> bool {
        false
    }

    /// The byte budget that it asks for, given the total memory; the smallest one counts.
    fn memory_limit(&self, _total: u64) -> Option<u64> {
        None
    }

    /// Bytes of a `budget` in use above which it refuses everything. If it is the first of a
    /// pipeline, receivers refuse in its place, before they read a body.
    fn refuses_above(&self, _budget: u64) -> Option<u64> {
        None
    }

    /// Builds one replica.
    fn build(&self, cx: &BuildContext) -> Result<Box<dyn Processor>, StartError>;

    /// Builds one replica for each worker that runs it.
    fn replicas(
        &self,
        cx: &BuildContext,
        count: usize,
    ) -> Result<Vec<Box<dyn Processor>>, StartError> {
        (0..count).map(|_| self.build(cx)).collect()
    }
}

/// The part of a payload that one worker owns, at a processor that is split by trace.
pub struct Share {
    /// The body of all owners; items, receipts and permits for this one.
    pub payload: Payload,
    /// What the processor has read from it, in its own form.
    pub reading: Box<dyn Any + Send>,
}

/// One replica of a processor, owned by a worker: plain synchronous Rust, no locks.
pub trait Processor: Send {
    /// Takes a payload and emits none, one or several through `out`.
    fn process(&mut self, payload: Payload, out: &mut Output);

    /// Reads a payload on the worker that has it, and divides it among `owners`, if the processor
    /// is split by trace. `None` for owners of nothing; empty if the payload was refused.
    fn share(&mut self, payload: Payload, owners: usize, _out: &mut Output) -> Vec<Option<Share>> {
        let whole = Share { payload, reading: Box::new(()) };
        std::iter::once(Some(whole)).chain((1..owners).map(|_| None)).collect()
    }

    /// Takes a share that this or another worker has read.
    fn take(&mut self, share: Share, out: &mut Output) {
        self.process(share.payload, out);
    }

    /// When [`Processor::tick`] is to be called next; `None` without a timer. The answer may change
    /// only when another method of the processor is called, because a worker asks only then.
    fn next_tick(&self) -> Option<Instant> {
        None
    }

    /// Called once `next_tick` has passed. `out.now` is the time.
    fn tick(&mut self, _out: &mut Output) {}

    /// Emits everything that is still held; the last call.
    fn drain(&mut self, _out: &mut Output) {}
}

/// What a processor emits.
#[derive(Debug)]
pub struct Output {
    /// Monotonic time of this call.
    pub now: Instant,
    emitted: SmallVec<[Payload; 2]>,
    /// Items left out by decision since the last call.
    filtered: u64,
    /// Items refused since the last call.
    refused: u64,
}

impl Output {
    /// An empty output at a time.
    pub fn at(now: Instant) -> Self {
        Output { now, emitted: SmallVec::new(), filtered: 0, refused: 0 }
    }

    /// Hands a payload on to the next stage.
    pub fn emit(&mut self, payload: Payload) {
        self.emitted.push(payload);
    }

    /// Ends a payload by a decision of the configuration.
    pub fn filter(&mut self, payload: Payload) {
        self.filtered += payload.items;
        payload.finish(Outcome::Filtered);
    }

    /// Counts items that were left out of a payload that itself went on.
    pub fn count_filtered(&mut self, items: u64) {
        self.filtered += items;
    }

    /// Ends a payload that cannot go on.
    pub fn refuse(&mut self, payload: Payload, reason: Reason) {
        self.refused += payload.items;
        payload.finish(Outcome::Failed(reason));
    }

    /// Takes what was emitted, in order.
    pub fn take(&mut self) -> SmallVec<[Payload; 2]> {
        std::mem::take(&mut self.emitted)
    }

    /// Takes the counts of filtered and refused items.
    pub fn take_counts(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.filtered), std::mem::take(&mut self.refused))
    }
}

// ---- connectors ----------------------------------------------------------------------------

/// Configuration of a connector. A connector is a processor whose output enters other pipelines.
pub trait ConnectorConfig: fmt::Debug + Send + Sync {
    /// Output signal for an input signal; `None` if the pair is not supported.
    fn output(&self, input: Signal) -> Option<Signal>;

    /// See [`ProcessorConfig::validate`].
    fn validate(&self, _at: &Node, _problems: &mut Problems) {}

    /// Builds one replica for one pair of signals.
    fn build(&self, cx: &BuildContext) -> Result<Box<dyn Processor>, StartError>;
}

// ---- receivers -----------------------------------------------------------------------------

/// Configuration of a receiver.
pub trait ReceiverConfig: fmt::Debug + Send + Sync {
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

    /// Keys of endpoints that are not set, with their ports. Their addresses depend on the machine,
    /// see [`default_address`].
    fn default_endpoints(&self) -> Vec<(&'static str, u16)> {
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
    /// Refused for good by the pipeline.
    Failed(Reason),
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
