//! What the engine counts about each exporter and signal, and the state that pages and probes show.
//! The queue and the sender write it and decide nothing by it.

use std::{
    sync::{Arc, Mutex, Weak},
    time::{Duration, SystemTime},
};

use super::{
    histogram,
    metric::{Asked, Counter, Desc, Detail, Gauge, Histogram},
    oldest::Oldest,
    registry::{Kind, Meter},
    storage::LogStats,
};
use crate::{config::shown::without_secrets, otlp::Signal, sync::lock};

const SENT: Desc = Desc::new("otelcol_exporter_sent", "{item}", "Items that the backend took");
const FAILED: Desc = Desc::new(
    "otelcol_exporter_send_failed",
    "{item}",
    "Items lost after retries or refused for good",
);
const ENQUEUE_FAILED: Desc =
    Desc::new("otelcol_exporter_enqueue_failed", "{item}", "Items that found the queue full");
const DEAD_LETTERS: Desc = Desc::new(
    "skep_exporter_dead_letters",
    "{item}",
    "Items that failed and are kept as dead letters",
);
const DEAD_LETTERS_UNKEPT: Desc = Desc::new(
    "skep_exporter_dead_letters_unkept",
    "{item}",
    "Items that failed and could not be kept as dead letters",
);
const REJECTED: Desc =
    Desc::new("skep_exporter_rejected", "{item}", "Items not taken in a partial success");

const QUEUE_SIZE: Desc =
    Desc::new("otelcol_exporter_queue_size", "1", "Fill of the queue in its unit").newest();
const QUEUE_CAPACITY: Desc =
    Desc::new("otelcol_exporter_queue_capacity", "1", "Limit of the queue in its unit").newest();
const IN_FLIGHT: Desc = Desc::new(
    "otelcol_exporter_in_flight_requests",
    "{request}",
    "Requests being sent or waiting for their next attempt",
)
.newest();
const QUEUE_BYTES: Desc =
    Desc::new("skep_exporter_queue_bytes", "By", "Bytes that the queue holds in memory").newest();
const QUEUE_ITEMS: Desc =
    Desc::new("skep_exporter_queue_items", "{item}", "Items that the queue holds in memory")
        .newest();
const OLDEST_AGE: Desc = Desc::new(
    "skep_exporter_queue_oldest_age_ms",
    "ms",
    "Time since the oldest of them came into memory; 0: there are none",
)
.newest();
const RETRIES: Desc =
    Desc::new("skep_exporter_retries", "{attempt}", "Attempts to be made again").newest();
const LAST_SUCCESS: Desc = Desc::new(
    "skep_exporter_last_success_timestamp_milliseconds",
    "ms",
    "Unix time of the last success; 0: none yet",
)
.newest();
const FAILING: Desc =
    Desc::new("skep_exporter_failing", "1", "1 while the last attempt failed").newest();

const ATTEMPT_MILLIS: Desc = Desc::new(
    "skep_exporter_attempt_duration_milliseconds",
    "ms",
    "Time until a backend answered, or until it was too late",
)
.at(Detail::Normal);
const ENQUEUED_ITEMS: Desc =
    Desc::new("otelcol_exporter_enqueue_size", "{item}", "Items of what was queued")
        .at(Detail::Detailed);
const ENQUEUED_BYTES: Desc =
    Desc::new("otelcol_exporter_enqueue_size_bytes", "By", "Its bytes").at(Detail::Detailed);
const SENT_ITEMS: Desc =
    Desc::new("otelcol_exporter_queue_batch_send_size", "{item}", "Items of the requests")
        .at(Detail::Detailed);
const SENT_BYTES: Desc = Desc::new(
    "otelcol_exporter_queue_batch_send_size_bytes",
    "By",
    "Their bytes before compression",
)
.at(Detail::Detailed);

#[derive(Debug)]
pub struct ExporterStats {
    /// Component id.
    pub id: String,
    pub signal: Signal,
    /// Where it sends to, for people.
    pub destination: String,
    /// Items that the backend took.
    pub sent: Counter,
    /// Items lost after retries, or refused for good.
    pub failed: Counter,
    /// Items of those that are kept as dead letters.
    pub dead_lettered: Counter,
    /// Items that should have been kept so but were not: the storage is full, or fails.
    pub dead_letters_unkept: Counter,
    /// Items of partial successes that the backend did not take.
    pub rejected: Counter,
    /// Items that found the queue full.
    pub enqueue_failed: Counter,
    /// Attempts that will be made again.
    pub retries: Counter,
    /// Requests being sent or waiting for their next attempt.
    pub in_flight: Gauge,
    /// What the queue holds that is not on disk, in the units of its sizer; see
    /// [`ExporterStats::queue_size`].
    pub queue_unwritten: Gauge,
    /// Limit of the queue in the same units.
    pub queue_capacity: Gauge,
    /// Bytes that the queue holds in memory, requests in flight included.
    pub queue_bytes: Gauge,
    /// Items of those payloads.
    pub queue_items: Gauge,
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
    /// Unix milliseconds of the last success; 0 before the first.
    pub last_success: Gauge,
    /// 1 while the last failure is one that no retry can mend; see [`ExporterStats::denied`].
    pub permanent: Gauge,
    /// The failures since the last success.
    failure: Mutex<Option<Failure>>,
    queue_unit: Mutex<&'static str>,
    /// The part of the queue that is on disk.
    queue_log: Mutex<Option<Arc<LogStats>>>,
    /// One for each queue: around a reload there may be two.
    oldest: Mutex<Vec<Weak<Oldest>>>,
    /// What is computed on demand.
    _asked: [Asked; 3],
}

/// A metric that is computed when it is read.
type Column = (Desc, fn(&ExporterStats) -> u64);

impl ExporterStats {
    pub(super) fn new(meter: &Meter, id: &str, signal: Signal, destination: &str) -> Arc<Self> {
        let labels = [("exporter", id)];
        let typed = [("data_type", signal.name()), ("exporter", id)];
        let items = |desc: Desc| meter.counter(&desc.for_signal(signal), &labels);
        let gauge = |desc| meter.gauge(desc, &typed);
        let histogram = |desc, bounds| meter.histogram(desc, bounds, &typed);
        Arc::new_cyclic(|this| ExporterStats {
            id: id.to_owned(),
            signal,
            destination: destination.to_owned(),
            sent: items(SENT),
            failed: items(FAILED),
            dead_lettered: items(DEAD_LETTERS),
            dead_letters_unkept: items(DEAD_LETTERS_UNKEPT),
            rejected: items(REJECTED),
            enqueue_failed: items(ENQUEUE_FAILED),
            retries: meter.counter(&RETRIES, &typed),
            in_flight: gauge(&IN_FLIGHT),
            queue_unwritten: Gauge::default(),
            queue_capacity: gauge(&QUEUE_CAPACITY),
            queue_bytes: gauge(&QUEUE_BYTES),
            queue_items: gauge(&QUEUE_ITEMS),
            enqueued_items: histogram(&ENQUEUED_ITEMS, histogram::ITEMS),
            enqueued_bytes: histogram(&ENQUEUED_BYTES, histogram::BYTES),
            sent_items: histogram(&SENT_ITEMS, histogram::ITEMS),
            sent_bytes: histogram(&SENT_BYTES, histogram::BYTES),
            attempt_millis: histogram(&ATTEMPT_MILLIS, histogram::MILLISECONDS),
            last_success: gauge(&LAST_SUCCESS),
            permanent: Gauge::default(),
            failure: Mutex::new(None),
            queue_unit: Mutex::default(),
            queue_log: Mutex::default(),
            oldest: Mutex::default(),
            _asked: Self::asked(this, meter, &typed),
        })
    }

    fn asked(this: &Weak<Self>, meter: &Meter, labels: &[(&'static str, &str)]) -> [Asked; 3] {
        let columns: [Column; 3] = [
            (QUEUE_SIZE, Self::queue_size),
            (OLDEST_AGE, |stats| {
                let age = stats.oldest_age().unwrap_or_default();
                u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
            }),
            (FAILING, |stats| stats.last_error().is_some().into()),
        ];
        columns.map(|(desc, read)| {
            let this = Weak::clone(this);
            meter
                .asked(Kind::Gauge, &desc, labels, move || this.upgrade().map(|stats| read(&stats)))
        })
    }

    /// Notes a success.
    pub fn succeeded(&self, now: SystemTime) {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.last_success.set(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        self.permanent.set(0);
        *lock(&self.failure) = None;
    }

    /// Notes a failure that no retry can mend: the backend denies us or refuses the data.
    pub fn denied(&self, now: SystemTime, message: &str) {
        self.erred(now, message);
        self.permanent.set(1);
    }

    /// Notes a failure.
    pub fn erred(&self, now: SystemTime, message: &str) {
        self.permanent.set(0);
        let text = without_secrets(message).into_owned();
        let mut failure = lock(&self.failure);
        let (since, attempts) =
            failure.as_ref().map_or((now, 0), |known| (known.since, known.attempts));
        *failure = Some(Failure { since, last: now, attempts: attempts + 1, text });
    }

    /// Notes the unit and the limit of its queue, and its part on disk.
    pub fn measure_queue(&self, unit: &'static str, capacity: u64, log: Option<Arc<LogStats>>) {
        self.queue_capacity.set(capacity);
        *lock(&self.queue_unit) = unit;
        *lock(&self.queue_log) = log;
    }

    /// Fill of the queue in the units of its sizer, in memory and on disk.
    pub fn queue_size(&self) -> u64 {
        let log = lock(&self.queue_log).clone();
        let on_disk = log.map_or(0, |log| log.fill(self.queue_unit()));
        self.queue_unwritten.read() + on_disk
    }

    /// `requests`, `items` or `bytes`; empty before a queue is built.
    pub fn queue_unit(&self) -> &'static str {
        *lock(&self.queue_unit)
    }

    /// Where a queue notes how old its payloads are; forgotten with the queue.
    pub fn watch_queue(&self, consumers: usize) -> Arc<Oldest> {
        let oldest = Arc::new(Oldest::new(consumers));
        let mut all = lock(&self.oldest);
        all.retain(|one| one.strong_count() > 0);
        all.push(Arc::downgrade(&oldest));
        oldest
    }

    /// Time since the oldest payload in memory arrived; `None` if there is none.
    pub fn oldest_age(&self) -> Option<Duration> {
        let all = lock(&self.oldest);
        all.iter().filter_map(Weak::upgrade).filter_map(|one| one.age()).max()
    }

    /// The last failure since the last success.
    pub fn last_error(&self) -> Option<(SystemTime, String)> {
        let failure = self.failure()?;
        Some((failure.last, failure.text))
    }

    /// The failures since the last success.
    pub fn failure(&self) -> Option<Failure> {
        lock(&self.failure).clone()
    }

    /// What is counted until now.
    pub fn counts(&self) -> ExporterCounts {
        let attempts = self.attempt_millis.read();
        ExporterCounts {
            sent: self.sent.read(),
            failed: self.failed.read(),
            rejected: self.rejected.read(),
            enqueue_failed: self.enqueue_failed.read(),
            dead_lettered: self.dead_lettered.read(),
            attempts: attempts.counts.iter().sum(),
            attempt_millis: attempts.sum,
        }
    }
}

/// Failures of a backend without a success in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// When the first one was.
    pub since: SystemTime,
    /// When the last one was.
    pub last: SystemTime,
    /// How many there were.
    pub attempts: u64,
    /// What the last one was.
    pub text: String,
}

/// What an exporter has counted until a moment, or between two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExporterCounts {
    /// Items that the backend took.
    pub sent: u64,
    /// Items lost after retries, or refused for good.
    pub failed: u64,
    /// Items of partial successes that the backend did not take.
    pub rejected: u64,
    /// Items that found the queue full.
    pub enqueue_failed: u64,
    /// Items that are kept as dead letters.
    pub dead_lettered: u64,
    /// Attempts that have ended, and the time that they took together.
    pub attempts: u64,
    pub attempt_millis: u64,
}

impl ExporterCounts {
    /// What was counted after `then`.
    #[must_use]
    pub fn since(&self, then: &Self) -> Self {
        ExporterCounts {
            sent: self.sent.saturating_sub(then.sent),
            failed: self.failed.saturating_sub(then.failed),
            rejected: self.rejected.saturating_sub(then.rejected),
            enqueue_failed: self.enqueue_failed.saturating_sub(then.enqueue_failed),
            dead_lettered: self.dead_lettered.saturating_sub(then.dead_lettered),
            attempts: self.attempts.saturating_sub(then.attempts),
            attempt_millis: self.attempt_millis.saturating_sub(then.attempt_millis),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Telemetry;

    #[test]
    fn failures_are_told_since_the_last_success() {
        let telemetry = Telemetry::default();
        let exporter = telemetry.exporter("otlp", Signal::Traces, "backend");
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        exporter.erred(at(1), "refused");
        exporter.denied(at(5), "401");
        let failure = exporter.failure().unwrap();
        let told = (failure.since, failure.last, failure.attempts, &*failure.text);
        assert_eq!(told, (at(1), at(5), 2, "401"));
        exporter.succeeded(at(6));
        assert_eq!(exporter.failure(), None);
        exporter.erred(at(7), "refused");
        assert_eq!(exporter.failure().unwrap().since, at(7));
    }
}
