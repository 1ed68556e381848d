//! Counts how full an exporter's queue is. Every payload in the queue holds a [`Fill`], its part of
//! the count. Dropping the fill subtracts it, however the payload ends.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use tokio::sync::{Notify, futures::Notified};

use crate::telemetry::ExporterStats;

/// What a queue holds in memory. The metrics page shows a copy.
#[derive(Debug)]
pub(super) struct Gauge {
    /// Fill that is not on disk, in the unit of the queue's limit.
    size: AtomicU64,
    bytes: AtomicU64,
    /// The bytes among them that are being sent.
    sending: AtomicU64,
    /// Wakes those who wait for room; `waiting` is their number.
    freed: Notify,
    waiting: AtomicUsize,
    stats: Arc<ExporterStats>,
}

impl Gauge {
    pub(super) fn new(stats: Arc<ExporterStats>) -> Arc<Self> {
        Arc::new(Gauge {
            size: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            sending: AtomicU64::new(0),
            freed: Notify::new(),
            waiting: AtomicUsize::new(0),
            stats,
        })
    }

    /// Bytes in memory that are not being sent.
    pub(super) fn waiting_bytes(&self) -> u64 {
        self.bytes().saturating_sub(self.sending.load(Ordering::SeqCst))
    }

    /// Joins the line of those who wait for room.
    pub(super) fn line(&self) -> Line<'_> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        Line(self)
    }

    /// Wakes the first in the line, which then checks whether there is room.
    pub(super) fn call_next(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.freed.notify_one();
        }
    }

    /// Wakes everyone in the line, because nothing will leave the queue any more.
    pub(super) fn call_all(&self) {
        self.freed.notify_waiters();
    }

    /// Payloads, items or bytes that are not on disk.
    pub(super) fn size(&self) -> u64 {
        self.size.load(Ordering::SeqCst)
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::SeqCst)
    }

    /// Adds to the fill, even beyond the limit. Also returns the size and the bytes before, so that
    /// only one of two concurrent callers finds the last free place.
    pub(super) fn hold(self: &Arc<Self>, size: u64, bytes: u64) -> (Fill, u64, u64) {
        let size_before = self.size.fetch_add(size, Ordering::SeqCst);
        let bytes_before = self.bytes.fetch_add(bytes, Ordering::SeqCst);
        self.stats.queue_unwritten.add(size);
        self.stats.queue_bytes.add(bytes);
        (self.fill(size, bytes, 0), size_before, bytes_before)
    }

    fn fill(self: &Arc<Self>, size: u64, bytes: u64, items: u64) -> Fill {
        Fill { gauge: Arc::clone(self), size, bytes, items, sending: 0 }
    }
}

/// A place in the line of those who wait for room.
pub(super) struct Line<'a>(&'a Gauge);

impl Line<'_> {
    /// Completes when there may be room. Create it before you check for room, so that no wake-up is
    /// lost in between.
    pub(super) fn called(&self) -> Notified<'_> {
        self.0.freed.notified()
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A payload's part of a queue's fill.
#[derive(Debug)]
pub(super) struct Fill {
    gauge: Arc<Gauge>,
    size: u64,
    bytes: u64,
    items: u64,
    /// Bytes that are counted as being sent.
    sending: u64,
}

impl Fill {
    /// Notes that the payload is being sent.
    pub(super) fn is_sent(&mut self) {
        self.sending = self.bytes;
        self.gauge.sending.fetch_add(self.sending, Ordering::SeqCst);
        self.gauge.call_next();
    }

    /// Adds the items of a payload that is now in memory.
    pub(super) fn count(&mut self, items: u64) {
        self.items += items;
        self.gauge.stats.queue_items.add(items);
    }

    /// Notes that the payload is on disk, where the log counts it.
    pub(super) fn is_written(&mut self) {
        drop(self.split(self.size, 0, 0));
    }

    /// Notes that the payload has left memory, or found no room there.
    pub(super) fn leaves_memory(&mut self) {
        drop(self.split(0, self.bytes, self.items));
    }

    /// Takes over the fill of another payload.
    pub(super) fn join(&mut self, mut other: Fill) {
        self.size += std::mem::take(&mut other.size);
        self.bytes += std::mem::take(&mut other.bytes);
        self.items += std::mem::take(&mut other.items);
    }

    /// Splits off a part, at most the whole fill.
    pub(super) fn split(&mut self, size: u64, bytes: u64, items: u64) -> Fill {
        let (size, bytes, items) =
            (size.min(self.size), bytes.min(self.bytes), items.min(self.items));
        self.size -= size;
        self.bytes -= bytes;
        self.items -= items;
        self.gauge.fill(size, bytes, items)
    }

    /// Size in the unit of the queue's limit, bytes, and items.
    pub(super) fn parts(&self) -> (u64, u64, u64) {
        (self.size, self.bytes, self.items)
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        self.gauge.size.fetch_sub(self.size, Ordering::SeqCst);
        self.gauge.bytes.fetch_sub(self.bytes, Ordering::SeqCst);
        self.gauge.sending.fetch_sub(self.sending, Ordering::SeqCst);
        self.gauge.call_next();
        self.gauge.stats.queue_unwritten.sub(self.size);
        self.gauge.stats.queue_bytes.sub(self.bytes);
        self.gauge.stats.queue_items.sub(self.items);
    }
}
