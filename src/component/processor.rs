//! Processors and connectors: what the engine asks of their configuration, and how it runs them.

use std::{fmt, time::Instant};

use smallvec::SmallVec;

use super::{BuildContext, ByTrace, Same, StartError};
use crate::{
    config::{Node, Problems},
    otlp::{
        Payload, Signal,
        payload::{Outcome, Reason},
    },
};

/// Where a processor may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partition {
    /// Stateless: a replica on each worker, run wherever the payload is.
    Any,
    /// Split by trace id; each trace has one owning worker. Its replicas implement [`ByTrace`].
    ByTrace,
    /// One instance per pipeline on one owning worker.
    Single,
}

/// What a processor needs of the requests, receivers and exporters around it. Most need nothing.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a need of its own")]
pub struct Needs<'a> {
    /// Payloads must carry their request's [`Context`](crate::otlp::payload::Context) up to here.
    pub context: bool,
    /// It reads request headers, which a receiver has to keep for it.
    pub metadata: bool,
    /// It reads what an authenticator of the receiver knows about the client.
    pub auth: bool,
    /// Payloads that it emits do not have the headers of the requests that came in.
    pub drops_metadata: bool,
    /// It can write how many items each kept item represents, and does so by default if an
    /// exporter downstream [reads that](super::ExporterConfig::reads_weights).
    pub writes_weights: bool,
    /// It bounds the memory of the process.
    pub memory: Option<&'a dyn MemoryBound>,
}

/// A bound on the memory that payloads may take in the whole process.
pub trait MemoryBound: fmt::Debug {
    /// The byte budget of the process that it asks for, given the memory of the machine. The
    /// smallest one of all processors applies.
    fn limit(&self, total: u64) -> Option<u64>;

    /// Bytes of a `budget` in use above which it refuses everything. If it is the first processor
    /// of a pipeline, receivers refuse for it, before they read a body.
    fn refuses_above(&self, budget: u64) -> Option<u64>;
}

impl<T: ProcessorConfig + 'static> From<T> for Box<dyn ProcessorConfig> {
    fn from(config: T) -> Self {
        Box::new(config)
    }
}

/// Configuration of a processor, decoded.
pub trait ProcessorConfig: fmt::Debug + Same {
    /// Where replicas run.
    fn partition(&self) -> Partition;

    /// Checks beyond types. `at` is the body, so that a problem can point at its key.
    fn validate(&self, _at: &Node, _problems: &mut Problems) {}

    /// What it needs of its surroundings.
    fn needs(&self) -> Needs<'_> {
        Needs::default()
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

/// One replica of a processor, owned by a worker: plain synchronous Rust, no locks.
pub trait Processor: Send {
    /// Takes a payload and emits none, one or several through `out`.
    fn process(&mut self, payload: Payload, out: &mut Output);

    /// When [`Processor::tick`] wants to be called next; `None` if no timer is due.
    fn next_tick(&self) -> Option<Instant> {
        None
    }

    /// Called once `next_tick` has passed. `out.now` is the time.
    fn tick(&mut self, _out: &mut Output) {}

    /// Emits everything that is still held; the last call.
    fn drain(&mut self, _out: &mut Output) {}

    /// This replica as one that takes shares of payloads, if its partition is
    /// [`Partition::ByTrace`].
    fn by_trace(&mut self) -> Option<&mut dyn ByTrace> {
        None
    }
}

/// What a processor hands on.
#[derive(Debug)]
pub struct Output {
    /// Monotonic time of this call.
    pub now: Instant,
    emitted: SmallVec<[Payload; 2]>,
    /// What goes to one pipeline each, by its index in [`Outlets`].
    directed: Vec<(usize, Payload)>,
    /// Items left out by decision since the last call.
    filtered: u64,
    /// Items refused since the last call.
    refused: u64,
    /// Why the last of them were.
    reason: Option<Reason>,
}

impl Output {
    /// An empty output at a time.
    pub fn at(now: Instant) -> Self {
        Output {
            now,
            emitted: SmallVec::new(),
            directed: Vec::new(),
            filtered: 0,
            refused: 0,
            reason: None,
        }
    }

    /// Hands a payload on to the next stage.
    pub fn emit(&mut self, payload: Payload) {
        self.emitted.push(payload);
    }

    /// Hands a payload of a connector on to one of its [`Outlets`].
    pub fn emit_to(&mut self, outlet: usize, payload: Payload) {
        self.directed.push((outlet, payload));
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
        self.reason = Some(reason);
        payload.finish(Outcome::Failed(reason));
    }

    /// Takes what was emitted, in order.
    pub fn take(&mut self) -> SmallVec<[Payload; 2]> {
        std::mem::take(&mut self.emitted)
    }

    /// Takes what was emitted to one outlet each, in order.
    pub fn take_directed(&mut self) -> Vec<(usize, Payload)> {
        std::mem::take(&mut self.directed)
    }

    /// What was emitted, in order, for those who only look.
    pub fn emitted(&self) -> &[Payload] {
        &self.emitted
    }

    /// Why items were refused last.
    pub fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// Takes the counts of filtered and refused items.
    pub fn take_counts(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.filtered), std::mem::take(&mut self.refused))
    }

    /// Takes the reason for which the last items were refused.
    pub fn take_reason(&mut self) -> Option<Reason> {
        self.reason.take()
    }
}

impl<T: ConnectorConfig + 'static> From<T> for Box<dyn ConnectorConfig> {
    fn from(config: T) -> Self {
        Box::new(config)
    }
}

/// Where the output of a connector goes: the pipelines of one signal that list it as a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlets {
    /// Signal of what the connector emits.
    pub signal: Signal,
    /// Ids of the pipelines, in the order of the file.
    pub pipelines: Vec<String>,
}

impl Outlets {
    /// The outlet to a pipeline, see [`Output::emit_to`].
    pub fn find(&self, pipeline: &str) -> Option<usize> {
        self.pipelines.iter().position(|known| known == pipeline)
    }
}

/// Configuration of a connector. A connector is a processor whose output enters other pipelines:
/// [`Output::emit`] hands a payload to all of them, [`Output::emit_to`] to one.
///
/// One that makes other data of what it takes ends the payload that came in as delivered. Its
/// engine counts traffic on both sides; what it refuses or leaves out it counts itself.
pub trait ConnectorConfig: fmt::Debug + Same {
    /// Output signals for an input signal; none if it does not take that signal.
    fn outputs(&self, input: Signal) -> &'static [Signal];

    /// Whether one instance on one worker takes everything, because it keeps state that must not be
    /// spread; otherwise each worker has a replica.
    fn is_single(&self, _output: Signal) -> bool {
        false
    }

    /// Pipelines that it names: the path of the value within its body, and the id. Each of them has
    /// to list the connector as a receiver.
    fn pipelines(&self) -> Vec<(String, &str)> {
        Vec::new()
    }

    /// What it needs of its surroundings.
    fn needs(&self) -> Needs<'_> {
        Needs::default()
    }

    /// See [`ProcessorConfig::validate`].
    fn validate(&self, _at: &Node, _problems: &mut Problems) {}

    /// Checks what depends on the signals that pipelines send to it.
    fn validate_use(&self, _inputs: &[Signal], _at: &Node, _problems: &mut Problems) {}

    /// Builds one replica for one pair of signals; that of the input is in `cx`.
    fn build(&self, cx: &BuildContext, outlets: &Outlets)
    -> Result<Box<dyn Processor>, StartError>;

    /// Builds one replica for each worker that runs it.
    fn replicas(
        &self,
        cx: &BuildContext,
        outlets: &Outlets,
        count: usize,
    ) -> Result<Vec<Box<dyn Processor>>, StartError> {
        (0..count).map(|_| self.build(cx, outlets)).collect()
    }
}
