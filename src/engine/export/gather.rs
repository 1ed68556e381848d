//! `sending_queue.batch`: what is on its way out of a queue is joined until it is large or old
//! enough. Joining copies nothing; what is larger than the maximum is split.

use std::collections::HashMap;

use tokio::time::Instant;

use super::fill::Fill;
use crate::{
    component::{QueueBatch, Sizer},
    otlp::{Payload, split},
};

/// A payload with what it takes up in its queue.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) payload: Payload,
    pub(super) fill: Fill,
    /// When it came into memory; of several that were joined, the first.
    pub(super) arrived: Instant,
    /// Units of the monthly budget, if they are known.
    pub(super) units: Option<u64>,
}

impl Queued {
    /// A payload that came into memory just now.
    pub(super) fn new(payload: Payload, mut fill: Fill) -> Self {
        fill.count(payload.items);
        Queued { payload, fill, arrived: Instant::now(), units: None }
    }
}

/// Values of the partition's metadata keys; a missing key differs from an empty value.
type Key = Vec<Vec<String>>;

/// The batches in the making, one for each combination of metadata values. A batch that is sent
/// leaves nothing behind.
#[derive(Debug)]
pub(super) struct Gather {
    settings: QueueBatch,
    making: HashMap<Key, (Queued, Instant)>,
}

impl Gather {
    pub(super) fn new(settings: QueueBatch) -> Self {
        Gather { settings, making: HashMap::new() }
    }

    /// Takes a payload and gives what is large enough now.
    pub(super) fn push(&mut self, queued: Queued) -> Vec<Queued> {
        let key = self.key(&queued.payload);
        let due = Instant::now() + self.settings.flush_timeout;
        let (joined, due) = match self.making.remove(&key) {
            None => (queued, due),
            Some((mut held, due)) => {
                held.payload.absorb(queued.payload);
                held.fill.join(queued.fill);
                held.arrived = held.arrived.min(queued.arrived);
                let units = held.units.zip(queued.units);
                held.units = units.map(|(held, new)| held.saturating_add(new));
                (held, due)
            }
        };
        let size = match self.settings.sizer {
            Sizer::Bytes => joined.payload.len() as u64,
            Sizer::Items | Sizer::Requests => joined.payload.items,
        };
        if size >= self.settings.min_size {
            return self.parts(joined);
        }
        self.making.insert(key, (joined, due));
        Vec::new()
    }

    /// When the oldest batch goes however small it is.
    pub(super) fn due(&self) -> Option<Instant> {
        self.making.values().map(|(_, due)| *due).min()
    }

    /// When the oldest payload came in that is held.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.making.values().map(|(queued, _)| queued.arrived).min()
    }

    /// Batches that are older than the time-out.
    pub(super) fn take_due(&mut self) -> Vec<Queued> {
        let now = Instant::now();
        let keys: Vec<Key> = self
            .making
            .iter()
            .filter(|(_, (_, due))| *due <= now)
            .map(|(k, _)| k.clone())
            .collect();
        let due: Vec<_> = keys.iter().filter_map(|key| self.making.remove(key)).collect();
        due.into_iter().flat_map(|(queued, _)| self.parts(queued)).collect()
    }

    /// Everything that is held.
    pub(super) fn take_all(&mut self) -> Vec<Queued> {
        let all = std::mem::take(&mut self.making);
        all.into_values().flat_map(|(queued, _)| self.parts(queued)).collect()
    }

    fn key(&self, payload: &Payload) -> Key {
        let values = |key: &String| -> Vec<String> {
            let context = payload.context.as_deref();
            context.into_iter().flat_map(|c| c.values(key)).map(str::to_owned).collect()
        };
        self.settings.metadata_keys.iter().map(values).collect()
    }

    /// The batch in parts of the largest size at most. What it takes up in the queue is spread over
    /// them by items, so that the queue is empty when the last one is gone.
    fn parts(&self, queued: Queued) -> Vec<Queued> {
        let max = self.settings.max_size;
        if max == 0 {
            return vec![queued];
        }
        let Queued { payload, mut fill, arrived, .. } = queued;
        let all_items = payload.items.max(1);
        let parts = match self.settings.sizer {
            Sizer::Bytes => split::by_bytes(payload, max),
            Sizer::Items | Sizer::Requests => split::by_items(payload, max),
        };
        let (size, bytes, _) = fill.parts();
        let count = parts.len();
        let part = |(i, payload): (usize, Payload)| {
            let share = |of: u64| {
                let share = u128::from(of) * u128::from(payload.items) / u128::from(all_items);
                u64::try_from(share).unwrap_or(of)
            };
            let is_last = i + 1 == count;
            let (size, bytes, items) =
                if is_last { fill.parts() } else { (share(size), share(bytes), payload.items) };
            Queued { payload, fill: fill.split(size, bytes, items), arrived, units: None }
        };
        parts.into_iter().enumerate().map(part).collect()
    }
}

/// Ends when a batch is due; never where none is in the making.
pub(super) async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::{
        engine::export::fill::Gauge,
        otlp::{Signal, payload::Context, wire::put_bytes},
        telemetry::Telemetry,
    };

    /// Settings for tests: ten items, two hundred milliseconds.
    fn settings() -> QueueBatch {
        QueueBatch {
            flush_timeout: Duration::from_millis(200),
            min_size: 10,
            max_size: 0,
            sizer: Sizer::Items,
            metadata_keys: Vec::new(),
        }
    }

    fn spans(count: u64, tenant: &str) -> Queued {
        let mut scope = Vec::new();
        for _ in 0..count {
            put_bytes(&mut scope, 2, &[]);
        }
        let (mut entry, mut body) = (Vec::new(), Vec::new());
        put_bytes(&mut entry, 2, &scope);
        put_bytes(&mut body, 1, &entry);
        let stats = Telemetry::default().exporter("otlp", Signal::Traces, "nowhere");
        let (fill, ..) = Gauge::new(stats).hold(count, body.len() as u64);
        let mut payload = Payload::unpaid(Signal::Traces, body.into(), count);
        let metadata = vec![("x-tenant".to_owned(), tenant.to_owned())];
        let arrived = std::time::Instant::now();
        payload.context =
            Some(Arc::new(Context { metadata, auth: Vec::new(), peer: None, arrived }));
        Queued::new(payload, fill)
    }

    fn items(all: &[Queued]) -> Vec<u64> {
        all.iter().map(|queued| queued.payload.items).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_goes_when_it_is_large_or_old_enough() {
        let mut gather = Gather::new(settings());
        assert!(gather.push(spans(4, "a")).is_empty());
        assert_eq!(items(&gather.push(spans(6, "a"))), [10]);
        assert_eq!(gather.due(), None);
        assert!(gather.push(spans(3, "a")).is_empty());
        assert!(gather.take_due().is_empty(), "too young");
        until(gather.due()).await;
        assert_eq!(items(&gather.take_due()), [3]);
    }

    #[tokio::test(start_paused = true)]
    async fn tenants_are_batched_apart() {
        let metadata_keys = vec!["x-tenant".to_owned()];
        let mut gather = Gather::new(QueueBatch { metadata_keys, ..settings() });
        assert!(gather.push(spans(6, "a")).is_empty());
        assert!(gather.push(spans(6, "b")).is_empty());
        assert_eq!(items(&gather.push(spans(6, "a"))), [12]);
        assert_eq!(items(&gather.take_all()), [6]);
    }

    #[tokio::test(start_paused = true)]
    async fn parts_take_up_in_the_queue_what_the_whole_did() {
        let mut gather = Gather::new(QueueBatch { max_size: 4, ..settings() });
        let parts = gather.push(spans(11, "a"));
        assert_eq!(items(&parts), [4, 4, 3]);
        let whole = spans(11, "a").fill.parts();
        let fills = parts.iter().map(|part| part.fill.parts());
        let sum = fills.reduce(|a, b| (a.0 + b.0, a.1 + b.1, a.2 + b.2));
        assert_eq!(sum, Some(whole));
    }
}
