//! Taps: how a person looks at the data on one edge while it passes.
//!
//! Each edge and each processor has a [`TapPoint`]. A worker asks it once per payload, by one
//! relaxed load ([`TapPoint::is_open`]), and goes on if no tap is there. If one is, the worker
//! shows what it has in its hands: the bytes are shared, and neither copied nor read here. A tap
//! never holds a worker up: it has a queue of a few payloads and bytes, and what does not fit is
//! counted as missed. What a tap shows holds no permit, so that a payload may grow or end as if
//! nobody looked; that is why the queue is small.

use std::{
    fmt,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::SystemTime,
};

use smallvec::SmallVec;
use tokio::sync::{Semaphore, mpsc};

use crate::{
    otlp::{Payload, content::Content, payload::Reason},
    sync::lock,
};

/// Most taps of a process. Each reads items on a thread beside the workers, and may keep a few MiB
/// that the budget of bytes does not know.
pub const MOST: usize = 4;

/// Most payloads that wait in the queue of a tap.
const QUEUE: usize = 256;

/// Most bytes that wait there, unless one payload alone has more.
const QUEUE_BYTES: u64 = 4 << 20;

/// What a worker shows of one call of a processor, or of one payload on an edge.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Wall clock time.
    pub at: SystemTime,
    /// What went in; `None` if the call brought nothing, such as that of a timer.
    pub input: Option<Content>,
    /// What came out, payload by payload.
    pub outputs: SmallVec<[Content; 2]>,
    /// Items that the call left out by decision.
    pub filtered: u64,
    /// Items that it refused.
    pub refused: u64,
    /// Why it refused the last of them.
    pub reason: Option<Reason>,
    /// Whether what comes out of a call went in with it, as a rule: the processor keeps nothing.
    pub is_direct: bool,
}

impl Seen {
    /// A payload on its way in.
    pub fn input(payload: &Payload) -> Self {
        Seen { input: Some(Content::of(payload)), ..Seen::nothing() }
    }

    /// A payload on its way out.
    pub fn output(payload: &Payload) -> Self {
        let mut seen = Seen::nothing();
        seen.outputs.push(Content::of(payload));
        seen
    }

    /// A call that brought nothing.
    pub fn nothing() -> Self {
        Seen {
            at: SystemTime::now(),
            input: None,
            outputs: SmallVec::new(),
            filtered: 0,
            refused: 0,
            reason: None,
            is_direct: false,
        }
    }

    /// Whether there is nothing to look at.
    pub fn is_empty(&self) -> bool {
        self.input.is_none() && self.outputs.is_empty()
    }

    /// Bytes that it keeps in memory.
    pub fn len(&self) -> u64 {
        self.contents().map(|content| content.len() as u64).sum()
    }

    /// Items in it; what went in and came out is counted once.
    pub fn items(&self) -> u64 {
        let out: u64 = self.outputs.iter().map(|content| content.items).sum();
        self.input.as_ref().map_or(0, |content| content.items).max(out)
    }

    fn contents(&self) -> impl Iterator<Item = &Content> {
        self.input.iter().chain(&self.outputs)
    }
}

/// The place where a tap can be.
#[derive(Debug, Default)]
pub struct TapPoint {
    is_open: AtomicBool,
    taps: Mutex<Vec<Inlet>>,
}

/// The end of a tap's queue that workers have.
#[derive(Debug, Clone)]
struct Inlet {
    sender: mpsc::Sender<Seen>,
    counts: Arc<Counts>,
}

/// What a tap counts on the side of the workers.
#[derive(Debug, Default)]
struct Counts {
    /// Bytes in the queue.
    bytes: AtomicU64,
    /// Items that did not fit.
    missed: AtomicU64,
}

impl TapPoint {
    /// Whether somebody looks. All that a closed tap costs: one relaxed load.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// Shows something to every tap. It never waits.
    #[cold]
    pub fn show(&self, seen: &Seen) {
        if seen.is_empty() {
            return;
        }
        let taps = lock(&self.taps);
        for inlet in taps.iter() {
            inlet.offer(seen);
        }
    }

    fn add(&self, inlet: Inlet) {
        let mut taps = lock(&self.taps);
        taps.push(inlet);
        self.is_open.store(true, Ordering::Relaxed);
    }

    fn remove(&self, counts: &Arc<Counts>) {
        let mut taps = lock(&self.taps);
        taps.retain(|inlet| !Arc::ptr_eq(&inlet.counts, counts));
        self.is_open.store(!taps.is_empty(), Ordering::Relaxed);
    }
}

impl Inlet {
    fn offer(&self, seen: &Seen) {
        let len = seen.len();
        let before = self.counts.bytes.fetch_add(len, Ordering::Relaxed);
        // One payload may be larger than the queue: then it is alone there.
        let fits = before == 0 || before + len <= QUEUE_BYTES;
        if !fits || self.sender.try_send(seen.clone()).is_err() {
            self.counts.bytes.fetch_sub(len, Ordering::Relaxed);
            self.counts.missed.fetch_add(seen.items(), Ordering::Relaxed);
        }
    }
}

/// What has a [`TapPoint`].
pub trait Tapped: fmt::Debug + Send + Sync {
    /// The point.
    fn tap(&self) -> &TapPoint;
}

/// Where a tap is: an edge, or a processor with both of its sides. It may go with a reload, so
/// nothing here keeps it.
pub type Place = Weak<dyn Tapped>;

fn with<T>(place: &Place, look: impl FnOnce(&TapPoint) -> T) -> Option<T> {
    place.upgrade().map(|place| look(place.tap()))
}

/// The reader's end of a tap. The tap is closed when this is dropped.
#[derive(Debug)]
pub struct Tap {
    places: Vec<Place>,
    counts: Arc<Counts>,
    queue: mpsc::Receiver<Seen>,
    /// One of [`MOST`].
    _seat: tokio::sync::OwnedSemaphorePermit,
}

/// The seats of all taps of a process.
#[derive(Debug, Clone)]
pub struct Seats(Arc<Semaphore>);

impl Default for Seats {
    fn default() -> Self {
        Seats(Arc::new(Semaphore::new(MOST)))
    }
}

impl Seats {
    /// Opens a tap at all `places`; `None` if [`MOST`] are open.
    pub fn open(&self, places: Vec<Place>) -> Option<Tap> {
        let seat = Arc::clone(&self.0).try_acquire_owned().ok()?;
        let (sender, queue) = mpsc::channel(QUEUE);
        let counts = Arc::<Counts>::default();
        for place in &places {
            let inlet = Inlet { sender: sender.clone(), counts: Arc::clone(&counts) };
            with(place, |point| point.add(inlet));
        }
        Some(Tap { places, counts, queue, _seat: seat })
    }
}

impl Tap {
    /// What the workers show next; `None` once every place is gone.
    pub async fn next(&mut self) -> Option<Seen> {
        let seen = self.queue.recv().await?;
        self.taken(&seen);
        Some(seen)
    }

    /// The same if it is there already.
    pub fn try_next(&mut self) -> Option<Seen> {
        let seen = self.queue.try_recv().ok()?;
        self.taken(&seen);
        Some(seen)
    }

    fn taken(&self, seen: &Seen) {
        self.counts.bytes.fetch_sub(seen.len(), Ordering::Relaxed);
    }

    /// Items that did not fit into the queue so far.
    pub fn missed(&self) -> u64 {
        self.counts.missed.load(Ordering::Relaxed)
    }

    /// Whether one of its components is there no more.
    pub fn is_gone(&self) -> bool {
        self.places.iter().any(|place| place.strong_count() == 0)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        for place in &self.places {
            with(place, |point| point.remove(&self.counts));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        otlp::Signal,
        telemetry::{EdgeStats, ProcessorStats, Telemetry},
    };

    fn seen(bytes: usize) -> Seen {
        let body = bytes::Bytes::from(vec![0; bytes]);
        Seen::input(&Payload::unpaid(Signal::Logs, body, 3))
    }

    #[test]
    fn a_tap_is_open_from_its_beginning_to_its_end_and_never_takes_more_than_fits() {
        let telemetry = Telemetry::default();
        let stats = telemetry.processor("batch", "logs", Signal::Logs);
        let place = || -> Place { Arc::<ProcessorStats>::downgrade(&stats) };
        assert!(!stats.tap.is_open());
        let mut tap = telemetry.taps.open(vec![place()]).unwrap();
        let other = telemetry.taps.open(vec![place()]).unwrap();
        assert!(stats.tap.is_open());
        for _ in 0..QUEUE + 2 {
            stats.tap.show(&seen(10));
        }
        assert_eq!((tap.missed(), other.missed()), (6, 6));
        drop(other);
        assert!(stats.tap.is_open(), "one is left");
        while tap.try_next().is_some() {}
        assert_eq!(tap.counts.bytes.load(Ordering::Relaxed), 0);
        // One that is larger than the queue is taken if it is alone.
        let large = usize::try_from(QUEUE_BYTES).unwrap() + 1;
        for bytes in [large, 1] {
            stats.tap.show(&seen(bytes));
        }
        assert_eq!(tap.missed(), 9);
        drop(tap);
        assert!(!stats.tap.is_open());
    }

    #[test]
    fn there_are_four_seats_and_a_place_that_goes_is_noticed() {
        let telemetry = Telemetry::default();
        let edge = telemetry.edge("logs", "receiver otlp", "exporter nop");
        let place = || -> Vec<Place> { vec![Arc::<EdgeStats>::downgrade(&edge)] };
        let mut open: Vec<Tap> = (0..MOST).filter_map(|_| telemetry.taps.open(place())).collect();
        assert_eq!(open.len(), MOST);
        assert!(telemetry.taps.open(place()).is_none());
        open.pop();
        let last = telemetry.taps.open(place()).unwrap();
        assert!(!last.is_gone());
        drop(edge);
        telemetry.forget_unused();
        assert!(last.is_gone());
    }
}
