//! Exporters, and what the engine does around them: queue, retry, timeout.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    AuthUse, BoxFuture, BudgetUse, BuildContext, ErasedExporter, Progress, Same, StartError,
};
use crate::{
    config::{Node, Problems},
    otlp::{
        Content, Signal,
        content::{Cursor, Walk},
        payload::{Body, Reason},
    },
};

impl<T: ExporterConfig + 'static> From<T> for Box<dyn ExporterConfig> {
    fn from(config: T) -> Self {
        Box::new(config)
    }
}

/// Configuration of an exporter.
pub trait ExporterConfig: fmt::Debug + Same {
    /// See [`super::ProcessorConfig::validate`].
    fn validate(&self, _at: &Node, _problems: &mut Problems) {}

    /// Checks what depends on the signals that pipelines send to it.
    fn validate_use(&self, _signals: &[Signal], _at: &Node, _problems: &mut Problems) {}

    /// The authenticator that it uses, and for which kind of client.
    fn auth(&self) -> Option<AuthUse> {
        None
    }

    /// Whether its backend computes with the weights of sampled items.
    fn reads_weights(&self) -> bool {
        false
    }

    /// How much it may send in a month; `None`: there is no limit.
    fn budget(&self) -> Option<BudgetUse> {
        None
    }

    /// Queue, retry and timeout, which the engine provides.
    fn delivery(&self) -> Delivery;

    /// Where data goes, for the start-up report: `https://api.honeycomb.io (dataset app)`.
    fn destination(&self) -> String;

    /// Builds the one instance for a signal. Opens nothing.
    fn build(&self, cx: &BuildContext) -> Result<Arc<dyn ErasedExporter>, StartError>;
}

/// What the engine does around an exporter.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// `None`: synchronous export, with one attempt, whose outcome the caller gets.
    pub queue: Option<Queue>,
    /// `None`: one attempt.
    pub retry: Option<Backoff>,
    /// Of one attempt; `None`: no limit.
    pub timeout: Option<Duration>,
}

/// `sending_queue`.
#[derive(Debug, Clone, PartialEq)]
pub struct Queue {
    /// Requests sent at the same time.
    pub consumers: usize,
    /// Limit in units of `sizer`, requests in flight included. `None`: only the storage's limit
    /// applies.
    pub size: Option<u64>,
    /// What `size` counts.
    pub sizer: Sizer,
    /// Wait for room instead of refusing.
    pub block_on_overflow: bool,
    /// The caller waits for the outcome.
    pub wait_for_result: bool,
    /// Batching in the queue.
    pub batch: Option<QueueBatch>,
    /// Id of the storage extension that keeps the queue; `None`: it is in memory.
    pub storage: Option<String>,
    /// Id of the storage extension that keeps refused data; `None`: it is counted and dropped.
    pub dead_letters: Option<String>,
}

/// `sending_queue.batch`.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueBatch {
    /// Longest time until a batch is sent.
    pub flush_timeout: Duration,
    /// A batch of this size is sent at once.
    pub min_size: u64,
    /// A larger batch is split; 0: no limit.
    pub max_size: u64,
    /// Items or bytes.
    pub sizer: Sizer,
    /// There is a separate batch for each combination of values of these metadata keys.
    pub metadata_keys: Vec<String>,
}

/// What a size counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sizer {
    /// Payloads.
    Requests,
    /// Spans, data points, log records.
    Items,
    /// Bytes before compression.
    Bytes,
}

impl Sizer {
    /// Name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Sizer::Requests => "requests",
            Sizer::Items => "items",
            Sizer::Bytes => "bytes",
        }
    }
}

/// `retry_on_failure`.
#[derive(Debug, Clone, PartialEq)]
pub struct Backoff {
    /// First pause.
    pub initial_interval: Duration,
    /// Each pause is drawn from `interval * (1 +- factor)`.
    pub randomization_factor: f64,
    /// Growth from pause to pause.
    pub multiplier: f64,
    /// Longest pause before jitter.
    pub max_interval: Duration,
    /// Retries end after this time; zero: never. `None`: after five minutes, or never if the data
    /// is on disk.
    pub max_elapsed_time: Option<Duration>,
}

/// How an exporter encodes. This alone decides where the engine encodes, how many payloads at a
/// time, and whether it may encode the same data again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encodes {
    /// Encoding copies no data: requests share the bytes of their payload. It runs on an io thread
    /// and gets no room.
    Inline,
    /// Encoding makes new bytes, on a worker. The same items may be encoded again: for another
    /// attempt, or in the parts of a payload that was refused.
    OnWorker,
    /// Encoding makes new bytes, on a worker, and the result depends on what was encoded before. So
    /// payloads are encoded one after the other, and nothing is encoded twice. A piece is kept
    /// until it is sent; one that is refused or too large is given up, and the next one follows.
    OrderedOnce,
}

impl Encodes {
    /// Whether data may be encoded again: for another attempt, or in parts.
    pub const fn may_repeat(self) -> bool {
        !matches!(self, Encodes::OrderedOnce)
    }
}

/// What an exporter has to encode, and how many bytes it may make.
#[derive(Debug, Clone, Copy)]
pub struct Work<'a> {
    /// The whole payload.
    pub content: &'a Content,
    /// Where this piece begins; everything before is done.
    pub from: Cursor,
    /// Bytes that `encode` and the sending of the request may allocate together. They are already
    /// paid for.
    pub room: usize,
}

impl<'a> Work<'a> {
    /// A whole payload, with unlimited room.
    pub fn all(content: &'a Content) -> Self {
        Work { content, from: Cursor::default(), room: usize::MAX }
    }

    /// A walk through the items to encode.
    pub fn walk(&self) -> Walk<'a> {
        Walk::new(self.content, self.from)
    }

    /// The items to encode, as a body. Nothing is copied, unless an earlier piece ended inside a
    /// segment.
    pub fn rest(&self) -> Body {
        if self.from.is_at_start() {
            self.content.body.clone()
        } else {
            self.content.between(&self.from, None)
        }
    }

    /// A piece that ends at the position of `walk`; `held` as in [`Piece::held`].
    pub fn piece<T>(&self, encoded: T, held: usize, walk: &Walk<'_>) -> Piece<T> {
        let next = walk.cursor();
        let end = next.map_or(self.content.items, |next| next.items());
        Piece { encoded, items: end.saturating_sub(self.from.items()), next, held }
    }

    /// The last piece; `held` as in [`Piece::held`].
    pub fn last<T>(&self, encoded: T, held: usize) -> Piece<T> {
        let items = self.content.items.saturating_sub(self.from.items());
        Piece { encoded, items, next: None, held }
    }
}

/// What `encode` makes: one request, and where the next one begins.
#[derive(Debug, Clone)]
pub struct Piece<T> {
    /// What is sent.
    pub encoded: T,
    /// Items in it.
    pub items: u64,
    /// Where the next piece begins; `None` after the last one.
    pub next: Option<Cursor>,
    /// Bytes that were allocated for it and that sending it needs, at most the room. Bytes that it
    /// shares with the payload do not count.
    pub held: usize,
}

impl<T> Piece<T> {
    /// The same piece with something else made of what is sent.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Piece<U> {
        let Piece { encoded, items, next, held } = self;
        Piece { encoded: make(encoded), items, next, held }
    }
}

/// Sends data out. The engine calls `encode` on a worker and `send` on tokio, with queue, retry,
/// timeout, concurrency and metrics around them.
///
/// A payload is sent in pieces. `encode` makes the first piece of what is left, the engine sends
/// it, with retries, and asks for the next one. The room limits what `encode` makes: a request
/// whose resource is repeated for many items must not need more memory than was set aside for it,
/// see `engine/export/workspace.rs`.
///
/// Why the exporter cuts and not the engine: the size of an item is known only once it is encoded.
/// Cutting by an upper bound before that (six bytes for each byte of text, the resource for each
/// record) made pieces of a sixth of what a backend takes in a request.
pub trait Exporter: Send + Sync + 'static {
    /// What `encode` makes and `send` sends: the body of an HTTP request, a list of documents. It
    /// is cloned only if this exporter encodes once.
    type Encoded: Clone + Send + 'static;

    /// Makes the first piece of `work`. It has at least one item, unless it is the last one. An
    /// item that does not fit into the whole room is shortened or left out, and counted. Expensive
    /// work (compression, translation) belongs here.
    fn encode(&self, work: &Work<'_>) -> Result<Piece<Self::Encoded>, ExportError>;

    /// Where `encode` runs, and whether it may run again for the same data.
    fn encodes(&self) -> Encodes {
        Encodes::Inline
    }

    /// The room to ask for before this content is encoded; the engine may give less. If `encode`
    /// makes bytes, ask for many times the length of the content: unused room is given back at
    /// once.
    fn room(&self, content: &Content) -> usize {
        content.len().saturating_mul(8).saturating_add(64 << 10)
    }

    /// Called once at the start, concurrently with everything else. Looks up what the first request
    /// needs, and logs what it found.
    fn prepare(&self) -> BoxFuture<()> {
        Box::pin(std::future::ready(()))
    }

    /// One harmless call that tells whether the backend would accept data. Returns what it found.
    /// By default it sends a request without items.
    fn probe(&self, signal: Signal) -> BoxFuture<Result<String, ExportError>> {
        let nothing = Content::new(signal, Bytes::new(), 0);
        match self.encode(&Work::all(&nothing)) {
            Ok(piece) => {
                let sending = self.send(piece.encoded, &Arc::default());
                Box::pin(
                    async move { sending.await.map(|_| "an empty request was taken".to_owned()) },
                )
            }
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    /// Makes one attempt. `progress` is that of earlier attempts on the same piece.
    fn send(
        &self,
        encoded: Self::Encoded,
        progress: &Arc<Progress>,
    ) -> BoxFuture<Result<Sent, ExportError>>;

    /// What the vendor will count for an encoded piece, in the unit of the exporter's budget.
    /// `None`: that is known without encoding, see [`Count`](super::Count).
    fn units(&self, _encoded: &Self::Encoded) -> Option<u64> {
        None
    }

    /// Called once after the last `send`: flush and close.
    fn shutdown(&self) -> BoxFuture<()> {
        Box::pin(std::future::ready(()))
    }
}

/// The backend's answer to a request that it accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent {
    /// Items that the backend rejected (partial success); they are never sent again.
    pub rejected: u64,
    /// The backend's message.
    pub message: Option<String>,
    /// The answer could not be read; `message` says why.
    pub is_unread: bool,
}

/// Whether a failed attempt may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The backend refuses this data for good; the engine bisects a batch of several segments.
    Never,
    /// The request was too large; the engine splits it.
    Split,
    /// The attempt may be repeated, after this pause if there is one.
    After(Option<Duration>),
    /// The attempt may be repeated at once. There was no answer to the request, so that the backend
    /// may have the data.
    Unanswered,
    /// The backend accepts nothing until the configuration changes: no retry, no bisection.
    Denied(Denial),
}

/// Why a backend accepts nothing from us. A sender that waits for delivery gets the same status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// It does not accept our credentials (401).
    Unauthenticated,
    /// It does not allow us to do this (403).
    Forbidden,
    /// There is no such endpoint (404), or it wants another method or encoding (405, 415).
    NotFound,
    /// Not the backend but the budget of the exporter has nothing left for this data.
    BudgetSpent,
}

impl Denial {
    /// The reason under which the data is counted.
    pub const fn reason(self) -> Reason {
        match self {
            Denial::Unauthenticated => Reason::Unauthenticated,
            Denial::Forbidden => Reason::Forbidden,
            Denial::NotFound => Reason::NotFound,
            Denial::BudgetSpent => Reason::BudgetSpent,
        }
    }
}

/// A failed attempt.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ExportError {
    /// What the engine may do about it.
    pub retry: Retry,
    /// One sentence with the cause, the backend's message and the remedy; without secrets.
    pub message: String,
}
