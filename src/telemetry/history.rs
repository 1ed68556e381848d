//! What the counters of components were in the last minutes, so that pages and the control plane
//! can say what has happened in the last 60 seconds.
//!
//! A ring of readings, one a second, of what the engine counts about every component. Nothing is
//! added on the way of data: a background task reads the counters ([`keep`]). A reading has only
//! numbers; which block each belongs to is in a layout that readings share until components come or
//! go. Blocks are held weakly, so a component that is removed ends as before.
//!
//! The ring has [`READINGS`] readings or takes [`MOST_BYTES`], whichever is less: with a thousand
//! edges it reaches less far back.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    EdgeCounts, EdgeStats, ExporterCounts, ExporterStats, ProcessorCounts, ProcessorStats,
    ReceiverCounts, ReceiverStats, Telemetry,
};
use crate::sync::lock;

/// Time between two readings.
pub const STEP: Duration = Duration::from_secs(1);
/// Readings that are kept at most: five minutes.
pub const READINGS: usize = 300;
/// Bytes that all readings together may take.
pub const MOST_BYTES: usize = 4 << 20;
/// Counters of senders are read once in so many readings; see [`super::senders`].
const SENDERS: u64 = 5;

/// The ring.
#[derive(Debug)]
pub struct History {
    start: Instant,
    readings: Mutex<VecDeque<Arc<Reading>>>,
    /// Who keeps it; the next one waits.
    keeper: tokio::sync::Mutex<()>,
}

impl Default for History {
    fn default() -> Self {
        History {
            start: Instant::now(),
            readings: Mutex::default(),
            keeper: tokio::sync::Mutex::default(),
        }
    }
}

/// The blocks whose counters a reading has, in the same order.
#[derive(Debug, Default)]
struct Layout {
    receivers: Vec<Weak<ReceiverStats>>,
    processors: Vec<Weak<ProcessorStats>>,
    exporters: Vec<Weak<ExporterStats>>,
    edges: Vec<Weak<EdgeStats>>,
}

#[derive(Debug)]
struct Reading {
    at: Instant,
    layout: Arc<Layout>,
    receivers: Box<[ReceiverCounts]>,
    processors: Box<[ProcessorCounts]>,
    exporters: Box<[ExporterCounts]>,
    edges: Box<[EdgeCounts]>,
}

/// The blocks that there are now.
struct Blocks {
    receivers: Vec<Arc<ReceiverStats>>,
    processors: Vec<Arc<ProcessorStats>>,
    exporters: Vec<Arc<ExporterStats>>,
    edges: Vec<Arc<EdgeStats>>,
}

impl Blocks {
    fn of(telemetry: &Telemetry) -> Self {
        Blocks {
            receivers: telemetry.receivers(),
            processors: telemetry.processors(),
            exporters: telemetry.exporters(),
            edges: telemetry.edges(),
        }
    }

    fn are_those_of(&self, layout: &Layout) -> bool {
        fn same<T>(blocks: &[Arc<T>], known: &[Weak<T>]) -> bool {
            let is_same = |(block, known): (&Arc<T>, &Weak<T>)| is_it(known, block);
            blocks.len() == known.len() && blocks.iter().zip(known).all(is_same)
        }
        same(&self.receivers, &layout.receivers)
            && same(&self.processors, &layout.processors)
            && same(&self.exporters, &layout.exporters)
            && same(&self.edges, &layout.edges)
    }

    fn layout(&self) -> Layout {
        fn weak<T>(blocks: &[Arc<T>]) -> Vec<Weak<T>> {
            blocks.iter().map(Arc::downgrade).collect()
        }
        Layout {
            receivers: weak(&self.receivers),
            processors: weak(&self.processors),
            exporters: weak(&self.exporters),
            edges: weak(&self.edges),
        }
    }
}

/// Whether a block is the one that is known. The address of one that is gone is not given to
/// another as long as it is known.
fn is_it<T>(known: &Weak<T>, block: &Arc<T>) -> bool {
    std::ptr::eq(known.as_ptr(), Arc::as_ptr(block))
}

impl Reading {
    fn size(&self) -> usize {
        size_of::<Reading>()
            + size_of_val(&*self.receivers)
            + size_of_val(&*self.processors)
            + size_of_val(&*self.exporters)
            + size_of_val(&*self.edges)
    }
}

/// What the counters were at a moment.
#[derive(Debug, Clone)]
pub struct Past {
    /// Time since then.
    pub span: Duration,
    /// `None`: the process started then, and everything was zero.
    reading: Option<Arc<Reading>>,
}

/// The counts of one block in a reading; zero for a block that was not there yet.
fn find<T, C: Copy + Default>(blocks: &[Weak<T>], counts: &[C], block: &Arc<T>) -> C {
    let place = blocks.iter().position(|known| is_it(known, block));
    place.and_then(|place| counts.get(place)).copied().unwrap_or_default()
}

impl Past {
    /// What a receiver has counted since then.
    pub fn receiver(&self, stats: &Arc<ReceiverStats>) -> ReceiverCounts {
        let then = self.reading.as_ref();
        let then = then.map(|one| find(&one.layout.receivers, &one.receivers, stats));
        stats.counts().since(&then.unwrap_or_default())
    }

    /// What a processor has counted since then.
    pub fn processor(&self, stats: &Arc<ProcessorStats>) -> ProcessorCounts {
        let then = self.reading.as_ref();
        let then = then.map(|one| find(&one.layout.processors, &one.processors, stats));
        stats.counts().since(&then.unwrap_or_default())
    }

    /// What an exporter has counted since then.
    pub fn exporter(&self, stats: &Arc<ExporterStats>) -> ExporterCounts {
        let then = self.reading.as_ref();
        let then = then.map(|one| find(&one.layout.exporters, &one.exporters, stats));
        stats.counts().since(&then.unwrap_or_default())
    }

    /// What has passed an edge since then.
    pub fn edge(&self, stats: &Arc<EdgeStats>) -> EdgeCounts {
        let then = self.reading.as_ref();
        let then = then.map(|one| find(&one.layout.edges, &one.edges, stats));
        stats.counts().since(&then.unwrap_or_default())
    }
}

impl History {
    /// Reads all counters, unless they were read within the last half a step: two may keep the same
    /// history.
    pub fn note_counters(&self, telemetry: &Telemetry, now: Instant) {
        let mut readings = lock(&self.readings);
        let last = readings.back();
        if last.is_some_and(|last| now.saturating_duration_since(last.at) < STEP / 2) {
            return;
        }
        let blocks = Blocks::of(telemetry);
        let known = last.map(|last| Arc::clone(&last.layout));
        let layout = known
            .filter(|known| blocks.are_those_of(known))
            .unwrap_or_else(|| Arc::new(blocks.layout()));
        let reading = Reading {
            at: now,
            layout,
            receivers: blocks.receivers.iter().map(|one| one.counts()).collect(),
            processors: blocks.processors.iter().map(|one| one.counts()).collect(),
            exporters: blocks.exporters.iter().map(|one| one.counts()).collect(),
            edges: blocks.edges.iter().map(|one| one.counts()).collect(),
        };
        let most = (MOST_BYTES / reading.size()).clamp(2, READINGS);
        while readings.len() >= most {
            readings.pop_front();
        }
        readings.push_back(Arc::new(reading));
    }

    /// What the counters were `span` ago: the last reading before that, or else the first one. A
    /// process that is younger than `span` began at zero.
    pub fn before(&self, span: Duration, now: Instant) -> Past {
        let age = now.saturating_duration_since(self.start);
        if age <= span {
            return Past { span: age, reading: None };
        }
        let readings = lock(&self.readings);
        // A reading is hardly ever a whole number of steps old.
        let begin = |one: &&Arc<Reading>| now.saturating_duration_since(one.at) + STEP / 2 >= span;
        let reading = readings.iter().rev().find(begin).or(readings.front()).cloned();
        match reading {
            Some(reading) => {
                let span = now.saturating_duration_since(reading.at);
                Past { span, reading: Some(reading) }
            }
            None => Past { span: age, reading: None },
        }
    }
}

/// Reads all counters once a second, until it is dropped. If somebody does so already, it waits
/// and takes over.
pub async fn keep(telemetry: &Telemetry) {
    let _only = telemetry.history.keeper.lock().await;
    let mut ticks = tokio::time::interval(STEP);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for number in 0.. {
        let now = ticks.tick().await;
        telemetry.history.note_counters(telemetry, now);
        if number % SENDERS == 0 {
            telemetry.senders.note_counters(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::Signal;

    #[tokio::test(start_paused = true)]
    async fn one_keeps_it_and_the_next_one_takes_over() {
        let telemetry = Arc::new(Telemetry::default());
        let keeper = || {
            let telemetry = Arc::clone(&telemetry);
            tokio::spawn(async move { keep(&telemetry).await })
        };
        let readings = || lock(&telemetry.history.readings).len();
        let first = keeper();
        tokio::time::sleep(STEP * 3 / 5).await;
        let second = keeper();
        tokio::time::sleep(STEP * 10).await;
        assert_eq!(readings(), 11, "the second one waits");
        first.abort();
        tokio::time::sleep(STEP * 10).await;
        assert!((20..=22).contains(&readings()), "it goes on: {}", readings());
        second.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn counters_of_the_last_minute_are_told() {
        let telemetry = Arc::new(Telemetry::default());
        let receiver = telemetry.receiver("otlp", Signal::Traces, "grpc");
        let edge = telemetry.edge("traces", "receiver otlp", "exporter debug");
        let minute = Duration::from_mins(1);
        let task = tokio::spawn({
            let telemetry = Arc::clone(&telemetry);
            async move { keep(&telemetry).await }
        });
        let seconds = async |seconds: u64, items: u64| {
            for _ in 0..seconds {
                receiver.accept(items);
                edge.items.add(items);
                tokio::time::sleep(STEP).await;
            }
        };
        seconds(30, 10).await;
        let young = telemetry.history.before(minute, Instant::now());
        assert_eq!((young.receiver(&receiver).accepted, young.span), (300, minute / 2));
        seconds(270, 1).await;
        let past = telemetry.history.before(minute, Instant::now());
        let span = past.span.as_secs();
        assert!((59..=61).contains(&span), "{span}");
        let counts = past.receiver(&receiver);
        // The reading and the request of the same second come in either order.
        assert!(counts.accepted.abs_diff(span) <= 1, "{counts:?} in {span} s");
        assert_eq!((past.edge(&edge).items, counts.requests), (counts.accepted, counts.accepted));
        // The ring ends after five minutes.
        seconds(200, 0).await;
        let far = telemetry.history.before(minute * 60, Instant::now());
        assert_eq!(far.span.as_secs(), 500, "all that there is");
        tokio::time::sleep(minute * 60).await;
        let far = telemetry.history.before(minute * 60, Instant::now());
        assert!((299..=301).contains(&far.span.as_secs()), "{:?}", far.span);
        task.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_component_that_comes_later_began_at_zero_and_one_that_goes_is_not_kept() {
        let telemetry = Telemetry::default();
        let gone = telemetry.exporter("old", Signal::Logs, "a");
        for _ in 0..100 {
            telemetry.history.note_counters(&telemetry, Instant::now());
            tokio::time::advance(STEP).await;
        }
        drop(gone);
        telemetry.forget_unused();
        assert!(telemetry.exporters().is_empty(), "the history holds no block");
        let new = telemetry.exporter("new", Signal::Logs, "b");
        new.sent.add(7);
        let past = telemetry.history.before(Duration::from_mins(1), Instant::now());
        assert_eq!(past.exporter(&new).sent, 7);
        let processor = telemetry.processor("batch", "logs", Signal::Logs);
        assert_eq!(past.processor(&processor), ProcessorCounts::default());
    }

    #[tokio::test(start_paused = true)]
    async fn many_edges_do_not_take_more_memory() {
        let telemetry = Telemetry::default();
        let edges: Vec<_> =
            (0..2000).map(|i| telemetry.edge("traces", "a", &i.to_string())).collect();
        for _ in 0..200 {
            telemetry.history.note_counters(&telemetry, Instant::now());
            tokio::time::advance(STEP).await;
        }
        let readings = lock(&telemetry.history.readings);
        let bytes: usize = readings.iter().map(|one| one.size()).sum();
        assert!(readings.len() < 100 && bytes <= MOST_BYTES, "{} {bytes}", readings.len());
        drop((edges, readings));
    }
}
