//! Joins small payloads into large ones: fewer requests to the backend, better compression.
//!
//! ```yaml
//! batch:
//!   send_batch_size: 8192
//!   timeout: 200ms
//! ```
//!
//! A batch is sent when it has `send_batch_size` items or when its first item is `timeout` old.
//! Joining copies nothing: a batch is a longer list of the same bytes. `send_batch_max_size`
//! splits what is larger; `send_batch_max_bytes` does so by bytes, for backends that limit
//! requests (gRPC servers take 4 MiB by default).
//!
//! With `merge_equal_resources` a batch holds each resource once, whichever requests its items came
//! in: smaller requests where senders send often, for one copy of the batch. Not known to the
//! Collector.
//!
//! With `metadata_keys` there is one batch per combination of these request headers, and it keeps
//! them. Otherwise a batch has no request context.
//!
//! Differs from the Collector: what is larger than `send_batch_max_size` is split into parts of
//! about the same size, and not into full ones and a rest: 35 items with a maximum of 10 are 9, 9,
//! 9 and 8.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    component::{
        BuildContext, Entry, Needs, Output, Partition, Processor, ProcessorConfig, StartError,
    },
    config::{Interval, Node, Problems, Severity},
    otlp::{
        Payload, Signal, merge,
        payload::{Context, Reason},
        purse::Purse,
        split,
    },
    telemetry::{Counter, Desc, Detail, Gauge, Histogram, Meter, histogram},
};

const SIZE_TRIGGERS: Desc = Desc::new(
    "otelcol_processor_batch_batch_size_trigger_send",
    "{batch}",
    "Batches sent because of their size",
);
const TIMEOUT_TRIGGERS: Desc = Desc::new(
    "otelcol_processor_batch_timeout_trigger_send",
    "{batch}",
    "Batches sent because of their age",
);
const CARDINALITY: Desc = Desc::new(
    "otelcol_processor_batch_metadata_cardinality",
    "{combination}",
    "Distinct combinations of metadata",
);
const ITEMS: Desc =
    Desc::new("otelcol_processor_batch_batch_send_size", "{item}", "Items of the batches")
        .at(Detail::Normal);
const BYTES: Desc = Desc::new("otelcol_processor_batch_batch_send_size_bytes", "By", "Their bytes")
    .at(Detail::Detailed);

/// Joins payloads.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Items (spans, data points, log records) that send a batch; 0: each payload at once.
    pub send_batch_size: u64,
    /// Longest time in the making; 0: each payload at once.
    pub timeout: Interval,
    /// Most items of a batch; 0: no limit.
    pub send_batch_max_size: u64,
    /// Most bytes of a batch before compression; 0: no limit. Not known to the Collector.
    pub send_batch_max_bytes: u64,
    /// Joins resource entries whose resource and schema URL are the same bytes, and in them scopes
    /// likewise; the first of them says the order. Not known to the Collector.
    pub merge_equal_resources: bool,
    /// Separate batches per values of these request headers.
    pub metadata_keys: Vec<String>,
    /// Most combinations of their values with a batch in the making; 0: no limit. What arrives with
    /// another one is refused. (The Collector counts all that were ever seen.)
    pub metadata_cardinality_limit: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            send_batch_size: 8192,
            timeout: Interval(Duration::from_millis(200)),
            send_batch_max_size: 0,
            send_batch_max_bytes: 0,
            merge_equal_resources: false,
            metadata_keys: Vec::new(),
            metadata_cardinality_limit: 1000,
        }
    }
}

pub(super) const ENTRY: Entry<dyn ProcessorConfig> =
    Entry::of::<Config>("batch", &[], &Signal::ALL, include_str!("batch.rs"));

impl ProcessorConfig for Config {
    fn partition(&self) -> Partition {
        Partition::Single
    }

    fn validate(&self, at: &Node, problems: &mut Problems) {
        if self.send_batch_max_size > 0 && self.send_batch_max_size < self.send_batch_size {
            let message = "send_batch_max_size must be greater or equal to send_batch_size";
            problems
                .error(at.at("send_batch_max_size"), message)
                .help("lower `send_batch_size` (8192 by default) too, or raise this");
        }
        let (keys, at) = (&self.metadata_keys, at.at("metadata_keys"));
        problems.repeated(Severity::Error, at, keys, str::to_ascii_lowercase);
    }

    fn needs(&self) -> Needs<'_> {
        let by_metadata = !self.metadata_keys.is_empty();
        Needs {
            context: by_metadata,
            metadata: by_metadata,
            drops_metadata: !by_metadata,
            ..Needs::default()
        }
    }

    fn build(&self, cx: &BuildContext) -> Result<Box<dyn Processor>, StartError> {
        let stats = Stats::new(&cx.metrics("processor"));
        Ok(Box::new(Batch {
            config: self.clone(),
            batches: HashMap::new(),
            deadlines: BTreeSet::new(),
            stats,
        }))
    }
}

/// Values of the metadata keys; a missing key differs from an empty value.
type Key = Vec<Option<Vec<String>>>;

struct Batch {
    config: Config,
    batches: HashMap<Key, Making>,
    /// When each batch in the making is sent however small it is, in order.
    deadlines: BTreeSet<(Instant, Key)>,
    stats: Stats,
}

struct Stats {
    /// Batches sent because of their size.
    size_triggers: Counter,
    /// Batches sent because of their age.
    timeout_triggers: Counter,
    /// Distinct combinations of metadata.
    cardinality: Gauge,
    /// Items of each batch.
    items: Histogram,
    /// Bytes of each batch.
    bytes: Histogram,
}

impl Stats {
    fn new(meter: &Meter) -> Self {
        Stats {
            size_triggers: meter.counter(&SIZE_TRIGGERS, &[]),
            timeout_triggers: meter.counter(&TIMEOUT_TRIGGERS, &[]),
            cardinality: meter.gauge(&CARDINALITY, &[]),
            items: meter.histogram(&ITEMS, histogram::ITEMS, &[]),
            bytes: meter.histogram(&BYTES, histogram::BYTES, &[]),
        }
    }
}

/// A batch in the making.
struct Making {
    /// None between two batches.
    payload: Option<Payload>,
    bytes: u64,
    /// Its entry in [`Batch::deadlines`], if it has a payload.
    due: Instant,
}

#[derive(Clone, Copy)]
enum Trigger {
    Size,
    Timeout,
}

impl Batch {
    fn key(&self, context: Option<&Context>) -> Key {
        let values = |key: &String| {
            let all: Vec<String> =
                context.iter().flat_map(|c| c.values(key)).map(ToOwned::to_owned).collect();
            (!all.is_empty()).then_some(all)
        };
        self.config.metadata_keys.iter().map(values).collect()
    }

    /// The context of a batch: the headers that it is batched by.
    fn context(&self, key: &Key, now: Instant) -> Option<Arc<Context>> {
        if self.config.metadata_keys.is_empty() {
            return None;
        }
        let mut metadata = Vec::new();
        for (name, values) in self.config.metadata_keys.iter().zip(key) {
            for value in values.iter().flatten() {
                metadata.push((name.to_lowercase(), value.clone()));
            }
        }
        Some(Arc::new(Context { metadata, auth: Vec::new(), peer: None, arrived: now }))
    }

    fn is_full(&self, making: &Making) -> bool {
        let items = making.payload.as_ref().map_or(0, |payload| payload.items);
        let max_bytes = self.config.send_batch_max_bytes;
        items >= self.config.send_batch_size
            || self.config.timeout.0.is_zero()
            || (max_bytes > 0 && making.bytes >= max_bytes)
    }

    fn send(&self, mut payload: Payload, trigger: Trigger, out: &mut Output) {
        if self.config.merge_equal_resources {
            // Where there is no room for the copy the batch goes as it is.
            let mut purse = Purse::new(payload.permits.first(), 0);
            if let Some(merged) = merge::merge_equal(&payload.body, &mut purse) {
                let body = std::iter::once(merged).collect();
                payload.exchange_body(body, purse.into_permits(), true);
            }
        }
        let counter = match trigger {
            Trigger::Size => &self.stats.size_triggers,
            Trigger::Timeout => &self.stats.timeout_triggers,
        };
        let Config { send_batch_max_size: max_items, send_batch_max_bytes: max_bytes, .. } =
            self.config;
        let parts = if max_items > 0 { split::by_items(payload, max_items) } else { vec![payload] };
        for part in parts {
            let parts = if max_bytes > 0 { split::by_bytes(part, max_bytes) } else { vec![part] };
            for part in parts {
                counter.add(1);
                self.stats.items.record(part.items);
                self.stats.bytes.record(part.len() as u64);
                out.emit(part);
            }
        }
    }
}

impl Processor for Batch {
    fn process(&mut self, mut payload: Payload, out: &mut Output) {
        let key = self.key(payload.context.as_deref());
        let limit = self.config.metadata_cardinality_limit;
        let is_new = !self.batches.contains_key(&key);
        if is_new && limit > 0 && self.batches.len() >= limit {
            // Only combinations with a batch in the making count; the others make room.
            self.batches.retain(|_, making| making.payload.is_some());
        }
        if is_new && limit > 0 && self.batches.len() >= limit {
            return out.refuse(payload, Reason::TooManyMetadataValues);
        }
        payload.accept();
        payload.context = self.context(&key, out.now);
        let bytes = payload.len() as u64;
        let due = out.now + self.config.timeout.0;
        let mut making =
            self.batches.remove(&key).unwrap_or(Making { payload: None, bytes: 0, due });
        let was_empty = making.payload.is_none();
        match &mut making.payload {
            None => (making.payload, making.bytes, making.due) = (Some(payload), bytes, due),
            Some(held) => {
                held.absorb(payload);
                making.bytes += bytes;
            }
        }
        if self.is_full(&making) {
            if !was_empty {
                self.deadlines.remove(&(making.due, key.clone()));
            }
            if let Some(full) = making.payload.take() {
                self.send(full, Trigger::Size, out);
            }
            making.bytes = 0;
        } else if was_empty {
            self.deadlines.insert((making.due, key.clone()));
        }
        self.batches.insert(key, making);
        if is_new {
            self.stats.cardinality.set(self.batches.len() as u64);
        }
    }

    fn next_tick(&self) -> Option<Instant> {
        self.deadlines.first().map(|(due, _)| *due)
    }

    fn tick(&mut self, out: &mut Output) {
        while self.deadlines.first().is_some_and(|(due, _)| *due <= out.now) {
            let Some((_, key)) = self.deadlines.pop_first() else { return };
            let payload = self.batches.get_mut(&key).and_then(|making| making.payload.take());
            if let Some(payload) = payload {
                self.send(payload, Trigger::Timeout, out);
            }
        }
    }

    fn drain(&mut self, out: &mut Output) {
        self.deadlines.clear();
        let all: Vec<Payload> =
            self.batches.values_mut().filter_map(|making| making.payload.take()).collect();
        for payload in all {
            self.send(payload, Trigger::Timeout, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::wire::put_bytes;

    const NOTHING: [u64; 0] = [];

    fn spans(count: u64) -> Payload {
        let mut scope = Vec::new();
        for _ in 0..count {
            put_bytes(&mut scope, 2, &[]);
        }
        let mut entry = Vec::new();
        put_bytes(&mut entry, 2, &scope);
        let mut body = Vec::new();
        put_bytes(&mut body, 1, &entry);
        Payload::unpaid(Signal::Traces, body.into(), count)
    }

    fn from(tenant: &str, count: u64) -> Payload {
        let metadata = vec![("x-tenant".to_owned(), tenant.to_owned())];
        let context = Context { metadata, auth: Vec::new(), peer: None, arrived: Instant::now() };
        let mut payload = spans(count);
        payload.context = Some(Arc::new(context));
        payload
    }

    fn build(config: &Config) -> Box<dyn Processor> {
        let cx = BuildContext::test("batch", Signal::Traces);
        config.build(&cx).unwrap()
    }

    fn push(batch: &mut dyn Processor, payload: Payload, now: Instant) -> Vec<u64> {
        let mut out = Output::at(now);
        batch.process(payload, &mut out);
        out.take().iter().map(|payload| payload.items).collect()
    }

    fn tick(batch: &mut dyn Processor, now: Instant) -> Vec<u64> {
        let mut out = Output::at(now);
        batch.tick(&mut out);
        out.take().iter().map(|payload| payload.items).collect()
    }

    #[test]
    fn a_batch_goes_when_it_is_large_enough() {
        let mut batch = build(&Config { send_batch_size: 10, ..Config::default() });
        let now = Instant::now();
        assert_eq!(push(&mut *batch, spans(4), now), NOTHING);
        assert_eq!(push(&mut *batch, spans(4), now), NOTHING);
        assert_eq!(push(&mut *batch, spans(4), now), [12]);
        assert_eq!(batch.next_tick(), None);
    }

    #[test]
    fn a_batch_goes_when_it_is_old_enough_and_the_timer_starts_anew() {
        let mut batch = build(&Config::default());
        let now = Instant::now();
        push(&mut *batch, spans(1), now);
        let due = batch.next_tick().unwrap();
        assert_eq!(due, now + Duration::from_millis(200));
        assert_eq!(tick(&mut *batch, due.checked_sub(Duration::from_millis(1)).unwrap()), NOTHING);
        assert_eq!(tick(&mut *batch, due), [1]);
        push(&mut *batch, spans(1), due);
        assert_eq!(batch.next_tick().unwrap(), due + Duration::from_millis(200));
    }

    #[test]
    fn each_tenant_has_its_own_deadline() {
        let config = Config {
            metadata_keys: vec!["x-tenant".to_owned()],
            send_batch_size: 5,
            ..Config::default()
        };
        let mut batch = build(&config);
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        for (tenant, millis) in [("a", 0), ("b", 50), ("c", 100)] {
            assert_eq!(push(&mut *batch, from(tenant, 1), at(millis)), NOTHING);
        }
        assert_eq!(batch.next_tick(), Some(at(200)));
        // A full batch has no deadline any more, and the next one of its tenant has a new one.
        assert_eq!(push(&mut *batch, from("a", 4), at(120)), [5]);
        assert_eq!(batch.next_tick(), Some(at(250)));
        assert_eq!(push(&mut *batch, from("a", 2), at(130)), NOTHING);
        assert_eq!(tick(&mut *batch, at(250)), [1]);
        assert_eq!(batch.next_tick(), Some(at(300)));
        assert_eq!(tick(&mut *batch, at(330)), [1, 2]);
        assert_eq!(batch.next_tick(), None);
    }

    #[test]
    fn what_is_larger_than_the_maximum_is_split_and_nothing_is_dropped() {
        let config = Config { send_batch_size: 4, send_batch_max_size: 5, ..Config::default() };
        let mut batch = build(&config);
        assert_eq!(push(&mut *batch, spans(23), Instant::now()), [5, 5, 5, 5, 3]);
    }

    #[test]
    fn no_timeout_and_no_size_send_at_once() {
        let now = Instant::now();
        let mut batch = build(&Config { timeout: Interval::default(), ..Config::default() });
        assert_eq!(push(&mut *batch, spans(1), now), [1]);
        let mut batch = build(&Config { send_batch_size: 0, ..Config::default() });
        assert_eq!(push(&mut *batch, spans(1), now), [1]);
    }

    #[test]
    fn equal_resources_are_joined_where_that_is_asked_for() {
        for (merge_equal_resources, entries) in [(false, 2), (true, 1)] {
            let config = Config { send_batch_size: 6, merge_equal_resources, ..Config::default() };
            let mut batch = build(&config);
            let mut out = Output::at(Instant::now());
            batch.process(spans(3), &mut out);
            batch.process(spans(4), &mut out);
            let sent = out.take();
            let bytes = sent[0].body.concat();
            let found = crate::otlp::view::traces(&bytes);
            assert_eq!((sent.len(), sent[0].items, found.count()), (1, 7, entries));
            assert_eq!(split::count_items(Signal::Traces, &bytes), 7);
        }
    }

    #[test]
    fn tenants_are_batched_apart_up_to_the_limit() {
        let config = Config {
            send_batch_size: 4,
            metadata_keys: vec!["X-Tenant".to_owned()],
            metadata_cardinality_limit: 2,
            ..Config::default()
        };
        let mut batch = build(&config);
        let now = Instant::now();
        assert_eq!(push(&mut *batch, from("a", 3), now), NOTHING);
        assert_eq!(push(&mut *batch, from("b", 3), now), NOTHING);
        let mut out = Output::at(now);
        batch.process(from("a", 1), &mut out);
        let sent = out.take();
        let context = sent[0].context.as_ref().unwrap();
        assert_eq!((sent[0].items, context.values("x-tenant").next()), (4, Some("a")));
        batch.process(from("a", 1), &mut out);
        batch.process(from("c", 1), &mut out);
        assert_eq!(out.take_counts(), (0, 1), "two are in the making");
        batch.process(from("a", 3), &mut out);
        assert_eq!(out.take()[0].items, 4);
        // The batch of `a` has gone, so that there is room for another tenant.
        batch.process(from("d", 1), &mut out);
        assert_eq!(out.take_counts(), (0, 0));
        assert_eq!(batch.next_tick(), Some(now + Duration::from_millis(200)));
        batch.drain(&mut out);
        assert_eq!(out.take().iter().map(|payload| payload.items).sum::<u64>(), 4);
    }
}
