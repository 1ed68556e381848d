//! `sending_queue`, `retry_on_failure` and `timeout`, which all exporters share, with the
//! Collector's keys, defaults and checks.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    component::{Backoff, Delivery, Queue, QueueBatch, Sizer},
    config::{Interval, Node, Problems, Section, Severity},
};

/// `retry_on_failure`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetryOnFailure {
    /// Whether failed requests are sent again.
    pub enabled: bool,
    /// First pause.
    pub initial_interval: Interval,
    /// Each pause is drawn from `interval * (1 +- factor)`; 0 to 1.
    pub randomization_factor: f64,
    /// Growth from pause to pause.
    pub multiplier: f64,
    /// Longest pause before jitter.
    pub max_interval: Interval,
    /// Give up after this time; 0: never. Default: `5m`, or never if the data is on disk.
    pub max_elapsed_time: Option<Interval>,
}

impl Default for RetryOnFailure {
    fn default() -> Self {
        RetryOnFailure {
            enabled: true,
            initial_interval: Interval(Duration::from_secs(5)),
            randomization_factor: 0.5,
            multiplier: 1.5,
            max_interval: Interval(Duration::from_secs(30)),
            max_elapsed_time: None,
        }
    }
}

impl RetryOnFailure {
    /// For the engine.
    pub fn backoff(&self) -> Option<Backoff> {
        self.enabled.then_some(Backoff {
            initial_interval: self.initial_interval.0,
            randomization_factor: self.randomization_factor,
            multiplier: self.multiplier,
            max_interval: self.max_interval.0,
            max_elapsed_time: self.max_elapsed_time.map(|time| time.0),
        })
    }

    /// Checks beyond types; `at` is the exporter's body.
    pub fn validate(&self, at: &Node, problems: &mut Problems) {
        if !(0.0..=1.0).contains(&self.randomization_factor) {
            let at = at.at("retry_on_failure::randomization_factor");
            problems
                .error(at, "'randomization_factor' must be within [0, 1]")
                .help("write 0.5 for pauses between half and one and a half times the interval");
        }
        if !self.multiplier.is_finite() || self.multiplier < 0.0 {
            let at = at.at("retry_on_failure::multiplier");
            problems
                .error(at, "'multiplier' must be non-negative")
                .help("write 1.5: each pause is half as long again as the one before");
        }
        let elapsed = self.max_elapsed_time.map_or(Duration::from_mins(5), |time| time.0);
        if elapsed.is_zero() {
            return;
        }
        if elapsed < self.initial_interval.0 {
            let at = at.at("retry_on_failure::max_elapsed_time");
            problems
                .error(at, "'max_elapsed_time' must not be less than 'initial_interval'")
                .help("no second attempt would be made; write 0 to retry for ever");
        }
        if elapsed < self.max_interval.0 {
            let at = at.at("retry_on_failure::max_elapsed_time");
            problems
                .error(at, "'max_elapsed_time' must not be less than 'max_interval'")
                .help("lower `max_interval` (30s by default), or write 0 to retry for ever");
        }
    }
}

/// `sending_queue`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SendingQueue {
    /// If `false`, the sender waits for the backend's answer.
    pub enabled: bool,
    /// Requests sent at the same time.
    pub num_consumers: usize,
    /// Capacity in units of `sizer`, requests in flight included. Default: 1000; with `storage`,
    /// only the limit of the storage.
    pub queue_size: Option<u64>,
    /// What `queue_size` counts.
    pub sizer: QueueSizer,
    /// Let senders wait for room instead of refusing them.
    pub block_on_overflow: bool,
    /// The sender waits for the backend's answer.
    pub wait_for_result: bool,
    /// Join requests in the queue; the key alone turns it on.
    pub batch: Section<BatchSettings>,
    /// Id of an extension such as `file_storage`: the queue is on disk, and survives a crash.
    pub storage: Option<String>,
    /// Id of an extension such as `file_storage`, which keeps data that is permanently given up,
    /// see `skep dlq`. Items that a partial success rejects are not kept: it does not say which.
    pub dead_letters: Option<String>,
}

/// `sending_queue.batch`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BatchSettings {
    /// Longest time until a batch is sent.
    pub flush_timeout: Interval,
    /// A batch of so many units of `sizer` is sent at once.
    pub min_size: u64,
    /// A larger batch is split; 0: no limit.
    pub max_size: u64,
    /// `items` or `bytes`. Default: that of the queue, or `items` if that is `requests`.
    pub sizer: Option<QueueSizer>,
    /// Separate batches, by request headers.
    pub partition: PartitionSettings,
}

/// `sending_queue.batch.partition`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PartitionSettings {
    /// Request headers. There is a separate batch for each combination of their values.
    pub metadata_keys: Vec<String>,
}

impl Default for BatchSettings {
    fn default() -> Self {
        BatchSettings {
            flush_timeout: Interval(Duration::from_millis(200)),
            min_size: 8192,
            max_size: 0,
            sizer: None,
            partition: PartitionSettings::default(),
        }
    }
}

/// Units of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum QueueSizer {
    /// Batches as they arrive.
    #[default]
    Requests,
    /// Spans, data points, log records.
    Items,
    /// Bytes before compression.
    Bytes,
}

impl Default for SendingQueue {
    fn default() -> Self {
        SendingQueue {
            enabled: true,
            num_consumers: 10,
            queue_size: None,
            sizer: QueueSizer::Requests,
            block_on_overflow: false,
            wait_for_result: false,
            batch: Section::Off,
            storage: None,
            dead_letters: None,
        }
    }
}

impl SendingQueue {
    /// For the engine.
    pub fn queue(&self) -> Option<Queue> {
        self.enabled.then_some(Queue {
            consumers: self.num_consumers,
            size: self.capacity(),
            sizer: match self.sizer {
                QueueSizer::Requests => Sizer::Requests,
                QueueSizer::Items => Sizer::Items,
                QueueSizer::Bytes => Sizer::Bytes,
            },
            block_on_overflow: self.block_on_overflow,
            wait_for_result: self.wait_for_result,
            batch: self.batch.on().map(|batch| self.queue_batch(batch)),
            storage: self.storage.clone(),
            dead_letters: self.dead_letters.clone(),
        })
    }

    fn capacity(&self) -> Option<u64> {
        let default = self.storage.is_none().then_some(QUEUE_SIZE);
        self.queue_size.or(default)
    }

    fn batch_sizer(&self, batch: &BatchSettings) -> QueueSizer {
        match (batch.sizer, self.sizer) {
            (Some(own), _) => own,
            (None, QueueSizer::Requests) => QueueSizer::Items,
            (None, of_queue) => of_queue,
        }
    }

    fn queue_batch(&self, batch: &BatchSettings) -> QueueBatch {
        QueueBatch {
            flush_timeout: batch.flush_timeout.0,
            min_size: batch.min_size,
            max_size: batch.max_size,
            sizer: match self.batch_sizer(batch) {
                QueueSizer::Bytes => Sizer::Bytes,
                QueueSizer::Items | QueueSizer::Requests => Sizer::Items,
            },
            metadata_keys: batch.partition.metadata_keys.clone(),
        }
    }

    fn validate_batch(&self, batch: &BatchSettings, at: &Node, problems: &mut Problems) {
        let place = |key: &str| at.at(&format!("sending_queue::batch::{key}"));
        if batch.sizer == Some(QueueSizer::Requests) {
            problems
                .error(place("sizer"), "`batch` supports only `items` or `bytes` sizer")
                .help("write `items` to batch by spans, data points and log records");
        }
        if batch.flush_timeout.0.is_zero() {
            problems
                .error(place("flush_timeout"), "`flush_timeout` must be positive")
                .help("write 200ms, or remove `batch` to send requests as they come");
        }
        let BatchSettings { min_size, max_size, .. } = *batch;
        if max_size > 0 && max_size < min_size {
            let message = format!(
                "`max_size` ({max_size}) must be greater or equal to `min_size` ({min_size})"
            );
            problems.error(place("max_size"), message).help("raise `max_size` or lower `min_size`");
        }
        if self.batch_sizer(batch) == self.sizer
            && self.capacity().is_some_and(|size| min_size > size)
        {
            let message = "`min_size` must be less than or equal to `queue_size`";
            problems
                .error(place("min_size"), message)
                .help("such a batch would never fill; lower `min_size` or raise `queue_size`");
        }
        let (keys, at) = (&batch.partition.metadata_keys, place("partition::metadata_keys"));
        problems.repeated(Severity::Error, at, keys, str::to_ascii_lowercase);
    }

    /// Checks beyond types; `at` is the exporter's body.
    pub fn validate(&self, at: &Node, problems: &mut Problems) {
        if !self.enabled && self.dead_letters.is_some() {
            let message = "`dead_letters` has no effect without a queue";
            problems
                .error(at.at("sending_queue::dead_letters"), message)
                .help("remove `enabled: false`, or remove `dead_letters`: the sender is told and still has the data");
        }
        if !self.enabled {
            return;
        }
        if self.storage.is_some() && self.wait_for_result {
            let message = "`wait_for_result` is not supported with a persistent queue";
            problems
                .error(at.at("sending_queue::wait_for_result"), message)
                .help("remove it: data on disk is acknowledged at once");
        }
        if let Some(batch) = self.batch.on() {
            self.validate_batch(batch, at, problems);
        }
        if self.num_consumers == 0 {
            let at = at.at("sending_queue::num_consumers");
            problems
                .error(at, "`num_consumers` must be positive")
                .help("write 10, or `enabled: false` to send without a queue");
        }
        if self.queue_size == Some(0) {
            problems
                .error(at.at("sending_queue::queue_size"), "`queue_size` must be positive")
                .help("write 1000, or `enabled: false` to send without a queue");
        }
    }
}

/// Default capacity of a queue in memory.
const QUEUE_SIZE: u64 = 1000;

/// All three together.
pub fn delivery(queue: &SendingQueue, retry: &RetryOnFailure, timeout: Interval) -> Delivery {
    Delivery {
        queue: queue.queue(),
        retry: retry.backoff(),
        timeout: Some(timeout.0).filter(|timeout| !timeout.is_zero()),
    }
}
