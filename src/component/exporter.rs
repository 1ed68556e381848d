//! What sends data out, and what the engine does around it.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{AuthUse, BoxFuture, BuildContext, Progress, StartError};
use crate::{
    config::{Node, Problems},
    otlp::{
        Payload, Signal,
        payload::{Body, Context},
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

/// A request ready to be sent: what `Exporter::encode` made of a payload.
#[derive(Debug, Clone)]
pub struct Request {
    /// Signal of the items.
    pub signal: Signal,
    /// Items in it.
    pub items: u64,
    /// Bytes to send, in pieces.
    pub body: Body,
    /// Context of the payload, where the exporter works by metadata.
    pub context: Option<Arc<Context>>,
    /// Kept from one attempt to the next.
    pub progress: Arc<Progress>,
}

/// Sends data out. The engine calls `encode` on a worker and `send` on tokio, with queue, retry,
/// timeout, concurrency and metrics around them.
pub trait Exporter: Send + Sync {
    /// Turns a payload into what goes on the wire. Expensive work (compression, translation)
    /// belongs here. Called again for each part when a payload is split.
    fn encode(&self, payload: &Payload) -> Result<Request, ExportError>;

    /// Whether `encode` is cheap enough to run on an io thread (only pushes pointers).
    fn encodes_inline(&self) -> bool {
        true
    }

    /// Whether a payload is encoded once, however many attempts it takes: what comes out of it depends on what
    /// was encoded before.
    fn encodes_once(&self) -> bool {
        false
    }

    /// Called once at the start, beside everything else: finds what it needs before the first request,
    /// and says in the log what it found.
    fn prepare(&self) -> BoxFuture<()> {
        Box::pin(std::future::ready(()))
    }

    /// One harmless call that tells whether data would be taken; the answer is what was found. By itself
    /// a request without items.
    fn probe(&self, signal: Signal) -> BoxFuture<Result<String, ExportError>> {
        let nothing = Payload::unaccounted(signal, Bytes::new(), 0);
        match self.encode(&nothing).map(|request| self.send(request)) {
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
    /// Nothing will be taken until the configuration changes (401, 404, 415): not retried, not
    /// bisected.
    Denied,
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
