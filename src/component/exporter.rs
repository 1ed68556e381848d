//! What sends data out, and what the engine does around it.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{AuthUse, BoxFuture, BuildContext, Progress, StartError};
use crate::{
    config::{Node, Problems},
    otlp::{
        Content, Signal,
        content::{Cursor, Walk},
        payload::{Body, Reason},
    },
};

/// Configuration of an exporter.
pub trait ExporterConfig: fmt::Debug + Send + Sync {
    /// See [`super::ProcessorConfig::validate`].
    fn validate(&self, _at: &Node, _problems: &mut Problems) {}

    /// The authenticator that it asks for, and what it is to authenticate.
    fn auth(&self) -> Option<AuthUse> {
        None
    }

    /// Whether its backend computes with the weights of sampled items.
    fn reads_weights(&self) -> bool {
        false
    }

    /// Queue, retry and timeout, which the engine puts around the exporter.
    fn delivery(&self) -> Delivery;

    /// Where data goes, for the start-up report: `https://api.honeycomb.io (dataset app)`.
    fn destination(&self) -> String;

    /// Builds the one instance for a signal. Opens nothing.
    fn build(&self, cx: &BuildContext) -> Result<Arc<dyn Exporter>, StartError>;
}

/// What the engine does around an exporter.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// None: synchronous export, one attempt, the caller gets the outcome.
    pub queue: Option<Queue>,
    /// None: one attempt.
    pub retry: Option<Backoff>,
    /// Per attempt; none: no limit.
    pub timeout: Option<Duration>,
}

/// `sending_queue`.
#[derive(Debug, Clone, PartialEq)]
pub struct Queue {
    /// Requests sent at the same time.
    pub consumers: usize,
    /// In units of `sizer`; what is in flight counts. None: the storage's limit alone counts.
    pub size: Option<u64>,
    /// What `size` counts.
    pub sizer: Sizer,
    /// Wait for room instead of refusing.
    pub block_on_overflow: bool,
    /// The caller waits for the outcome.
    pub wait_for_result: bool,
    /// Batching in the queue.
    pub batch: Option<QueueBatch>,
    /// Id of the storage extension that keeps the queue; none: it is in memory.
    pub storage: Option<String>,
    /// Id of the storage extension that keeps what is given up; none: it is counted and gone.
    pub dead_letters: Option<String>,
}

/// `sending_queue.batch`.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueBatch {
    /// Longest time in the making.
    pub flush_timeout: Duration,
    /// Sent as soon as it has so many.
    pub min_size: u64,
    /// Split above; 0: no limit.
    pub max_size: u64,
    /// Items or bytes.
    pub sizer: Sizer,
    /// Separate batches per values of these metadata keys.
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
    /// As in the configuration.
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
    /// Give up after; zero: never. None: after five minutes, and never where the data is on disk.
    pub max_elapsed_time: Option<Duration>,
}

/// A request ready to be sent: what `Exporter::encode` made of a payload or a part of it.
#[derive(Debug, Clone)]
pub struct Request {
    /// Signal of the items.
    pub signal: Signal,
    /// Items in it.
    pub items: u64,
    /// Bytes to send, in pieces.
    pub body: Body,
    /// What `encode` tells `send` beside the body: counts, of which the exporter knows the meaning.
    pub counts: [u64; 4],
    /// Kept from one attempt to the next.
    pub progress: Arc<Progress>,
}

/// How an exporter encodes: the one place that says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encodes {
    /// It pushes pointers: the requests share the bytes of their payload. Done on an io thread,
    /// given no room.
    Inline,
    /// It makes bytes, on a worker. The same place in a payload may be encoded again: for another
    /// attempt, or in the parts of a payload that was refused.
    OnWorker,
    /// The same, where what comes out depends on what was encoded before: payloads are encoded one
    /// after the other, and nothing is ever encoded again. A piece is kept until it is sent; one
    /// that is refused or too large is lost, and the next one follows.
    OrderedOnce,
}

/// What an exporter is to encode, and how much it may make of it.
#[derive(Debug, Clone, Copy)]
pub struct Work<'a> {
    /// The whole payload.
    pub content: &'a Content,
    /// Where this piece begins: what is before is done.
    pub from: Cursor,
    /// Most bytes that `encode` may allocate, together with what sending the request takes beside
    /// it. They are paid for already.
    pub room: usize,
}

impl<'a> Work<'a> {
    /// A whole payload, with room for everything.
    pub fn all(content: &'a Content) -> Self {
        Work { content, from: Cursor::default(), room: usize::MAX }
    }

    /// A walk through the items that are to be encoded.
    pub fn walk(&self) -> Walk<'a> {
        Walk::new(self.content, self.from)
    }

    /// What is to be encoded, as a body; none of it is copied unless an earlier piece ended within
    /// it.
    pub fn rest(&self) -> Body {
        if self.from.is_at_start() {
            self.content.body.clone()
        } else {
            self.content.between(&self.from, None)
        }
    }

    /// A piece that ends where a walk is.
    pub fn piece(&self, body: Body, walk: &Walk<'_>) -> Piece {
        let next = walk.cursor();
        let upto = next.map_or(self.content.items, |next| next.items());
        Piece {
            request: self.request(body, upto.saturating_sub(self.from.items())),
            next,
            beside: 0,
        }
    }

    /// The last piece.
    pub fn last(&self, body: Body) -> Piece {
        let items = self.content.items.saturating_sub(self.from.items());
        Piece { request: self.request(body, items), next: None, beside: 0 }
    }

    fn request(&self, body: Body, items: u64) -> Request {
        let signal = self.content.signal;
        Request { signal, items, body, counts: [0; 4], progress: Arc::default() }
    }
}

/// A request, and where to go on.
#[derive(Debug, Clone)]
pub struct Piece {
    /// What is sent next.
    pub request: Request,
    /// Where the next piece begins; `None` after the last one.
    pub next: Option<Cursor>,
    /// Bytes that sending takes beside the body of the request, within the room.
    pub beside: usize,
}

/// Sends data out. The engine calls `encode` on a worker and `send` on tokio, with queue, retry,
/// timeout, concurrency and metrics around them.
///
/// A payload goes out in pieces. `encode` makes the first piece of what is left, the engine sends
/// it, again where that fails, and asks for the next one. What `encode` makes is bounded by the
/// room that it is given, so that a request whose resource is shared by many items never becomes
/// more in memory than was set aside for it, see `engine/workspace.rs`.
///
/// Why the exporter and not the engine cuts: what an item becomes is known when it is written.
/// Cutting before it by an upper bound (six bytes for a byte of text, the resource for each record)
/// made pieces of a sixth of what a backend takes in a request.
pub trait Exporter: Send + Sync {
    /// Makes the first piece of `work`. It has at least one item, or is the last one; an item that
    /// does not fit into the whole room is shortened or left out, and counted. Expensive work
    /// (compression, translation) belongs here.
    fn encode(&self, work: &Work<'_>) -> Result<Piece, ExportError>;

    /// Where `encode` runs, and whether it may run again for the same data.
    fn encodes(&self) -> Encodes {
        Encodes::Inline
    }

    /// The room that is asked for to encode this content; there may be less. Where `encode` makes
    /// bytes, many times the length of the content, since what is not used is given back at once.
    fn room(&self, content: &Content) -> usize {
        content.len().saturating_mul(8).saturating_add(64 << 10)
    }

    /// Called once at the start, beside everything else: finds what it needs before the first request,
    /// and says in the log what it found.
    fn prepare(&self) -> BoxFuture<()> {
        Box::pin(std::future::ready(()))
    }

    /// One harmless call that tells whether data would be taken; the answer is what was found. By itself
    /// a request without items.
    fn probe(&self, signal: Signal) -> BoxFuture<Result<String, ExportError>> {
        let nothing = Content::new(signal, Bytes::new(), 0);
        match self.encode(&Work::all(&nothing)).map(|piece| self.send(piece.request)) {
            Ok(sending) => {
                Box::pin(
                    async move { sending.await.map(|_| "an empty request was taken".to_owned()) },
                )
            }
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    /// One attempt.
    fn send(&self, request: Request) -> BoxFuture<Result<Sent, ExportError>>;

    /// Called once after the last `send`: flush and close.
    fn shutdown(&self) -> BoxFuture<()> {
        Box::pin(std::future::ready(()))
    }
}

/// What the backend said of a request that it took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent {
    /// Items that the backend did not take (partial success); never sent again.
    pub rejected: u64,
    /// Its words.
    pub message: Option<String>,
}

/// Whether an attempt may be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The backend refuses this data for good; the engine bisects a batch of several segments.
    Never,
    /// The request was too large; the engine splits it.
    Split,
    /// Yes, not before this pause if there is one.
    After(Option<Duration>),
    /// Nothing will be taken until the configuration changes: not retried, not bisected.
    Denied(Denial),
}

/// Why a backend takes nothing from us. A sender that waits for its answer is told the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// It does not know who we are (401).
    Unauthenticated,
    /// We may not do this (403).
    Forbidden,
    /// There is no such place (404), or it takes other methods or encodings (405, 415).
    NotFound,
}

impl Denial {
    /// What the data is counted under.
    pub const fn reason(self) -> Reason {
        match self {
            Denial::Unauthenticated => Reason::Unauthenticated,
            Denial::Forbidden => Reason::Forbidden,
            Denial::NotFound => Reason::NotFound,
        }
    }
}

/// A failed attempt.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ExportError {
    /// What the engine may do about it.
    pub retry: Retry,
    /// One sentence with the cause and the remedy, the backend's words included; no secrets.
    pub message: String,
}
