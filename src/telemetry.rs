//! What skep knows of itself: one counter block per component, shared by everything that shows
//! state (metrics page, health, zpages, control plane). Counters are added to once per payload,
//! never per item.

pub mod calendar;
pub mod datagrams;
pub mod decisions;
pub mod events;
pub mod histogram;
mod log_file;
pub mod logs;
pub mod oldest;
pub mod outlet;
pub mod process;
pub mod prometheus;
pub mod segments;
pub mod services;
pub mod storage;
pub mod strays;
pub mod tail_sampling;
pub mod verdict;

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use self::{
    datagrams::DatagramStats, decisions::Decisions, events::EventStats, histogram::Histogram,
    oldest::Oldest, segments::SegmentStats, services::Services, storage::LogStats,
    strays::StrayStats, tail_sampling::TailSamplingStats,
};
use crate::{
    config::shown::without_secrets,
    otlp::{Signal, payload::Reason},
};

/// A number that only grows, or a gauge; relaxed, since nobody orders anything by it.
#[derive(Debug, Default)]
pub struct Number(AtomicU64);

impl Number {
    /// Adds to a counter.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }
    /// Takes from a gauge.
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }
    /// Sets a gauge.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }
    /// Reads it.
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters of one receiver, signal and transport.
#[derive(Debug)]
pub struct ReceiverStats {
    /// Component id.
    pub id: String,
    /// Signal of the items.
    pub signal: Signal,
    /// `grpc`, `http` or `udp`.
    pub transport: &'static str,
    /// Items taken.
    pub accepted: Number,
    /// Requests whose items were taken.
    pub accepted_requests: Number,
    /// Items refused by the pipeline, or before they were read.
    pub refused: Number,
    /// Requests turned away before their items were known (malformed, too large, over budget).
    pub rejected_requests: Number,
    /// Services whose data has come.
    pub services: Services,
    /// Of those, requests that an authenticator refused.
    pub unauthenticated_requests: Number,
}

impl ReceiverStats {
    /// Counts a request that was taken.
    pub fn accept(&self, items: u64) {
        self.accepted.add(items);
        self.accepted_requests.add(1);
    }

    /// Counts the items of a request that was refused before anybody read it: as many as one that
    /// was taken has on average, at least one. The Collector refuses later and knows.
    pub fn refuse_unread(&self) {
        let average = self.accepted.read() / self.accepted_requests.read().max(1);
        self.refused.add(average.max(1));
    }
}

/// Why a sampler cannot decide upon an item.
pub const UNDECIDED: [&str; 2] = ["no_randomness", "inconsistent_threshold"];

/// Counters of one processor in one pipeline, all workers together.
#[derive(Debug)]
pub struct ProcessorStats {
    /// Component id.
    pub id: String,
    /// Pipeline id.
    pub pipeline: String,
    /// Signal of the items.
    pub signal: Signal,
    /// Items in.
    pub incoming: Number,
    /// Items out.
    pub outgoing: Number,
    /// Left out by decision.
    pub filtered: Number,
    /// Of those, left out because nothing could be decided, for each reason of [`UNDECIDED`].
    pub undecided: [Number; 2],
    /// Refused.
    pub refused: Number,
    /// Batches sent because of their size, where the processor batches.
    pub size_triggers: Number,
    /// Batches sent because of their age.
    pub timeout_triggers: Number,
    /// Distinct metadata combinations, where the processor batches.
    pub metadata_cardinality: Number,
    /// Items of each batch.
    pub batch_items: Histogram,
    /// Bytes of each batch.
    pub batch_bytes: Histogram,
}

/// Counters and state of one exporter and signal.
#[derive(Debug)]
pub struct ExporterStats {
    /// Component id.
    pub id: String,
    /// Signal of the items.
    pub signal: Signal,
    /// Where it sends to, in words.
    pub destination: String,
    /// Items that the backend took.
    pub sent: Number,
    /// Items lost after retries, or refused for good.
    pub failed: Number,
    /// Items of those that are kept as dead letters.
    pub dead_lettered: Number,
    /// Items that should have been kept so, and were not: the storage is full, or fails.
    pub dead_letters_unkept: Number,
    /// Items of partial successes that the backend did not take.
    pub rejected: Number,
    /// Items that found the queue full.
    pub enqueue_failed: Number,
    /// Attempts that will be made again.
    pub retries: Number,
    /// Requests being sent or waiting for their next attempt.
    pub in_flight: Number,
    /// What the queue holds that is on no disk, in the units of its sizer; see
    /// [`ExporterStats::queue_size`].
    pub queue_unwritten: Number,
    /// Limit of the queue in the same units.
    pub queue_capacity: Number,
    /// Bytes that the queue holds in memory, requests in flight included.
    pub queue_bytes: Number,
    /// Items of those payloads.
    pub queue_items: Number,
    /// Items of each payload that came into the queue.
    pub enqueued_items: Histogram,
    /// Its bytes.
    pub enqueued_bytes: Histogram,
    /// Items of each request that went out, attempts after the first not counted.
    pub sent_items: Histogram,
    /// Its bytes before compression.
    pub sent_bytes: Histogram,
    /// Milliseconds of each attempt, failed ones included.
    pub attempt_millis: Histogram,
    /// Unix milliseconds of the last success; 0: none yet.
    pub last_success: Number,
    /// 1 while the last failure is one that no retry can mend; see [`ExporterStats::denied`].
    pub permanent: Number,
    /// Last failure and its words, until the next success.
    last_error: Mutex<Option<(SystemTime, String)>>,
    /// What the queue is measured in.
    queue_unit: Mutex<&'static str>,
    /// The part of the queue that is on disk.
    queue_log: Mutex<Option<Arc<LogStats>>>,
    /// One for each queue: around a reload there may be two.
    oldest: Mutex<Vec<Weak<Oldest>>>,
}

impl ExporterStats {
    /// Notes a success.
    pub fn succeeded(&self, now: SystemTime) {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.last_success.set(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        self.permanent.set(0);
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Notes a failure that no retry can mend: the backend denies us or refuses the data.
    pub fn denied(&self, now: SystemTime, message: &str) {
        self.erred(now, message);
        self.permanent.set(1);
    }

    /// Notes a failure.
    pub fn erred(&self, now: SystemTime, message: &str) {
        self.permanent.set(0);
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((now, without_secrets(message).into_owned()));
    }

    /// Notes the unit and the limit of its queue, and its part on disk.
    pub fn measure_queue(&self, unit: &'static str, capacity: u64, log: Option<Arc<LogStats>>) {
        self.queue_capacity.set(capacity);
        *self.queue_unit.lock().unwrap_or_else(PoisonError::into_inner) = unit;
        *self.queue_log.lock().unwrap_or_else(PoisonError::into_inner) = log;
    }

    /// Fill of the queue in the units of its sizer, on disk and not.
    pub fn queue_size(&self) -> u64 {
        let log = self.queue_log.lock().unwrap_or_else(PoisonError::into_inner);
        let on_disk = log.as_ref().map_or(0, |log| log.fill(self.queue_unit()));
        self.queue_unwritten.read() + on_disk
    }

    /// `requests`, `items` or `bytes`; empty where no queue is built yet.
    pub fn queue_unit(&self) -> &'static str {
        *self.queue_unit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a queue notes how old its payloads are; forgotten with the queue.
    pub fn watch_queue(&self, consumers: usize) -> Arc<Oldest> {
        let oldest = Arc::new(Oldest::new(consumers));
        let mut all = self.oldest.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|one| one.strong_count() > 0);
        all.push(Arc::downgrade(&oldest));
        oldest
    }

    /// Time since the oldest payload came that is in memory; none where there is none.
    pub fn oldest_age(&self) -> Option<Duration> {
        let all = self.oldest.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter_map(Weak::upgrade).filter_map(|one| one.age()).max()
    }

    /// The last failure since the last success.
    pub fn last_error(&self) -> Option<(SystemTime, String)> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Traffic from one component to the next within a pipeline.
#[derive(Debug)]
pub struct EdgeStats {
    /// Pipeline id.
    pub pipeline: String,
    /// Kind and id: `receiver otlp`.
    pub from: String,
    /// Kind and id: `processor batch`.
    pub to: String,
    /// Payloads.
    pub payloads: Number,
    /// Items.
    pub items: Number,
    /// Bytes.
    pub bytes: Number,
}

/// One pipeline, in the words of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PipelineInfo {
    /// `traces/backend`.
    pub id: String,
    /// Ids of its receivers and of connectors in their place.
    pub receivers: Vec<String>,
    /// Ids of its processors, in order.
    pub processors: Vec<String>,
    /// Ids of its exporters and of connectors in their place.
    pub exporters: Vec<String>,
}

/// What runs, in the words of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// All pipelines.
    pub pipelines: Vec<PipelineInfo>,
    /// Ids of the extensions.
    pub extensions: Vec<String>,
}

/// The whole process.
#[derive(Debug, Default)]
pub struct Telemetry {
    receivers: Mutex<Vec<Arc<ReceiverStats>>>,
    processors: Mutex<Vec<Arc<ProcessorStats>>>,
    exporters: Mutex<Vec<Arc<ExporterStats>>>,
    edges: Mutex<Vec<Arc<EdgeStats>>>,
    tail_samplers: Mutex<Vec<Arc<TailSamplingStats>>>,
    decisions: Mutex<Vec<Arc<Decisions>>>,
    datagrams: Mutex<Vec<Arc<DatagramStats>>>,
    events: Mutex<Vec<Arc<EventStats>>>,
    segments: Mutex<Vec<Arc<SegmentStats>>>,
    strays: Mutex<Vec<Arc<StrayStats>>>,
    logs: Mutex<Vec<Arc<LogStats>>>,
    /// Byte budget: limit.
    pub budget_limit: Number,
    /// Byte budget: in use.
    pub budget_used: Number,
    /// Byte budget: requests waiting.
    pub budget_waiting: Number,
    /// Items dropped by reason, indexed by `Reason as usize`.
    pub dropped: [Number; Reason::ALL.len()],
    /// When and as what this process started.
    pub process: process::Identity,
    /// What runs, for pages; the engine writes it at start and at reload.
    inventory: Mutex<Arc<Inventory>>,
    /// Reloads of the configuration that were applied, and those that were refused.
    pub reloads: [Number; 2],
    /// 1 once the pipelines run, 0 before and from the start of the drain.
    pub ready: Number,
    /// Told of every change of `ready`.
    pub ready_changed: tokio::sync::Notify,
}

impl Telemetry {
    /// Forgets the counters that nobody adds to any more: their components have gone.
    pub fn forget_unused(&self) {
        fn sweep<T>(all: &Mutex<Vec<Arc<T>>>) {
            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|one| Arc::strong_count(one) > 1);
        }
        sweep(&self.receivers);
        sweep(&self.processors);
        sweep(&self.exporters);
        sweep(&self.edges);
        sweep(&self.tail_samplers);
        sweep(&self.decisions);
        sweep(&self.datagrams);
        sweep(&self.events);
        sweep(&self.segments);
        sweep(&self.strays);
    }

    /// Says that the pipelines run, or that the drain begins.
    pub fn set_ready(&self, is_ready: bool) {
        self.ready.set(is_ready.into());
        self.ready_changed.notify_waiters();
    }

    /// Notes what runs now.
    pub fn set_inventory(&self, inventory: Inventory) {
        *self.inventory.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(inventory);
    }

    /// What runs now; empty before the engine has noted it.
    pub fn inventory(&self) -> Arc<Inventory> {
        Arc::clone(&self.inventory.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts items that were dropped.
    pub fn drop_items(&self, reason: Reason, items: u64) {
        self.dropped[reason as usize].add(items);
    }

    /// The block of a receiver; made at the first call.
    pub fn receiver(
        &self,
        id: &str,
        signal: Signal,
        transport: &'static str,
    ) -> Arc<ReceiverStats> {
        let mut all = self.receivers.lock().unwrap_or_else(PoisonError::into_inner);
        let known =
            |s: &&Arc<ReceiverStats>| s.id == id && s.signal == signal && s.transport == transport;
        if let Some(stats) = all.iter().find(known) {
            return Arc::clone(stats);
        }
        let stats = Arc::new(ReceiverStats {
            id: id.to_owned(),
            signal,
            transport,
            accepted: Number::default(),
            accepted_requests: Number::default(),
            refused: Number::default(),
            rejected_requests: Number::default(),
            services: Services::default(),
            unauthenticated_requests: Number::default(),
        });
        all.push(Arc::clone(&stats));
        stats
    }

    /// The block of a processor; made at the first call.
    pub fn processor(&self, id: &str, pipeline: &str, signal: Signal) -> Arc<ProcessorStats> {
        let mut all = self.processors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stats) = all.iter().find(|s| s.id == id && s.pipeline == pipeline) {
            return Arc::clone(stats);
        }
        let stats = Arc::new(ProcessorStats {
            id: id.to_owned(),
            pipeline: pipeline.to_owned(),
            signal,
            incoming: Number::default(),
            outgoing: Number::default(),
            filtered: Number::default(),
            undecided: Default::default(),
            refused: Number::default(),
            size_triggers: Number::default(),
            timeout_triggers: Number::default(),
            metadata_cardinality: Number::default(),
            batch_items: Histogram::new(histogram::ITEMS),
            batch_bytes: Histogram::new(histogram::BYTES),
        });
        all.push(Arc::clone(&stats));
        stats
    }

    /// The block of an exporter; made at the first call, and for another destination.
    pub fn exporter(&self, id: &str, signal: Signal, destination: &str) -> Arc<ExporterStats> {
        let destination = &*without_secrets(destination);
        let mut all = self.exporters.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |s: &&Arc<ExporterStats>| {
            s.id == id && s.signal == signal && s.destination == destination
        };
        if let Some(stats) = all.iter().find(known) {
            return Arc::clone(stats);
        }
        let stats = Arc::new(ExporterStats {
            id: id.to_owned(),
            signal,
            destination: destination.to_owned(),
            sent: Number::default(),
            failed: Number::default(),
            dead_lettered: Number::default(),
            dead_letters_unkept: Number::default(),
            rejected: Number::default(),
            enqueue_failed: Number::default(),
            retries: Number::default(),
            in_flight: Number::default(),
            queue_unwritten: Number::default(),
            queue_log: Mutex::default(),
            queue_capacity: Number::default(),
            queue_bytes: Number::default(),
            queue_items: Number::default(),
            enqueued_items: Histogram::new(histogram::ITEMS),
            enqueued_bytes: Histogram::new(histogram::BYTES),
            sent_items: Histogram::new(histogram::ITEMS),
            sent_bytes: Histogram::new(histogram::BYTES),
            attempt_millis: Histogram::new(histogram::MILLISECONDS),
            last_success: Number::default(),
            permanent: Number::default(),
            last_error: Mutex::new(None),
            queue_unit: Mutex::default(),
            oldest: Mutex::default(),
        });
        all.push(Arc::clone(&stats));
        stats
    }

    /// The block of an edge; made at the first call.
    pub fn edge(&self, pipeline: &str, from: &str, to: &str) -> Arc<EdgeStats> {
        let mut all = self.edges.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |s: &&Arc<EdgeStats>| s.pipeline == pipeline && s.from == from && s.to == to;
        if let Some(stats) = all.iter().find(known) {
            return Arc::clone(stats);
        }
        let stats = Arc::new(EdgeStats {
            pipeline: pipeline.to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
            payloads: Number::default(),
            items: Number::default(),
            bytes: Number::default(),
        });
        all.push(Arc::clone(&stats));
        stats
    }

    /// The block of a tail sampler; made at the first call, and for other policies.
    pub fn tail_sampler(
        &self,
        id: &str,
        pipeline: &str,
        policies: &[String],
    ) -> Arc<TailSamplingStats> {
        let mut all = self.tail_samplers.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |s: &&Arc<TailSamplingStats>| {
            let names = s.policies.iter().map(|policy| &policy.name);
            s.id == id && s.pipeline == pipeline && names.eq(policies)
        };
        if let Some(stats) = all.iter().find(known) {
            return Arc::clone(stats);
        }
        let stats = Arc::new(TailSamplingStats::new(id, pipeline, policies));
        all.push(Arc::clone(&stats));
        stats
    }

    /// Puts the ring of a tail sampler where it is found, until nobody holds it any more.
    pub fn add_decisions(&self, decisions: Arc<Decisions>) {
        let mut all = self.decisions.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(decisions);
    }

    /// Puts the counters of a log where they are found.
    pub fn add_log(&self, log: Arc<LogStats>) {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).push(log);
    }

    /// All logs on disk.
    pub fn logs(&self) -> Vec<Arc<LogStats>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// All tail samplers.
    pub fn tail_samplers(&self) -> Vec<Arc<TailSamplingStats>> {
        self.tail_samplers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// The decisions of all tail samplers that keep them.
    pub fn decisions(&self) -> Vec<Arc<Decisions>> {
        self.decisions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// All receivers.
    pub fn receivers(&self) -> Vec<Arc<ReceiverStats>> {
        self.receivers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// All processors.
    pub fn processors(&self) -> Vec<Arc<ProcessorStats>> {
        self.processors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// All exporters.
    pub fn exporters(&self) -> Vec<Arc<ExporterStats>> {
        self.exporters.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// All edges.
    pub fn edges(&self) -> Vec<Arc<EdgeStats>> {
        self.edges.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
