//! How long the oldest payload of a queue has been in memory.
//!
//! A queue sends payloads in the order of their arrival, a fixed number at a time. Each one that is
//! being sent has its arrival time in a slot, which is cleared when sending ends. For those that
//! still wait, the dispatcher notes the arrival of the oldest one that it holds; what it has not
//! seen yet arrived later. This costs a few relaxed operations per payload and no lock; only a
//! reader looks at all slots.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// Most slots. Payloads that are sent beyond this number at the same time have no known age.
const MOST_SLOTS: usize = 1 << 16;

/// Times are milliseconds since `base`, counted from 1; 0 is a free slot.
#[derive(Debug)]
pub struct Oldest {
    base: Instant,
    waiting: AtomicU64,
    slots: Box<[AtomicU64]>,
    /// Where to look for a free slot first.
    next: AtomicUsize,
}

/// The slot of a payload that is being sent. Freed when dropped.
#[derive(Debug)]
pub struct Slot {
    oldest: Arc<Oldest>,
    index: Option<usize>,
}

impl Oldest {
    /// For a queue that sends `consumers` payloads at the same time.
    pub fn new(consumers: usize) -> Self {
        let slots = std::iter::repeat_with(AtomicU64::default);
        Oldest {
            base: Instant::now(),
            waiting: AtomicU64::new(0),
            slots: slots.take(consumers.min(MOST_SLOTS)).collect(),
            next: AtomicUsize::new(0),
        }
    }

    /// Notes when the oldest payload came in that is not being sent yet.
    pub fn wait(&self, arrived: Option<Instant>) {
        self.waiting.store(arrived.map_or(0, |arrived| self.stamp(arrived)), Ordering::Relaxed);
    }

    /// Notes that a payload is being sent.
    pub fn send(self: &Arc<Self>, arrived: Instant) -> Slot {
        let stamp = self.stamp(arrived);
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let take = |slot: &AtomicU64| {
            slot.compare_exchange(0, stamp, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        let count = self.slots.len();
        let mut tried = (0..count).map(|step| first.wrapping_add(step) % count);
        let index = tried.find(|index| take(&self.slots[*index]));
        Slot { oldest: Arc::clone(self), index }
    }

    /// Time since the oldest payload came in; `None` if there is none.
    pub fn age(&self) -> Option<Duration> {
        let stamps = self.slots.iter().chain([&self.waiting]);
        let stamps = stamps.map(|stamp| stamp.load(Ordering::Relaxed));
        let oldest = stamps.filter(|stamp| *stamp > 0).min()?;
        let now = Instant::now().saturating_duration_since(self.base);
        Some(now.saturating_sub(Duration::from_millis(oldest - 1)))
    }

    fn stamp(&self, arrived: Instant) -> u64 {
        let since = arrived.saturating_duration_since(self.base).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX).saturating_add(1)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(index) = self.index {
            self.oldest.slots[index].store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn the_oldest_is_found_in_whatever_order_they_end() {
        let oldest = Arc::new(Oldest::new(2));
        let begin = Instant::now();
        assert_eq!(oldest.age(), None);
        let (first, second) = (oldest.send(begin), oldest.send(begin + SECOND));
        oldest.wait(Some(begin + 2 * SECOND));
        let beyond = oldest.send(begin + SECOND);
        assert_eq!(beyond.index, None, "there are two slots");
        tokio::time::advance(10 * SECOND).await;
        assert_eq!(oldest.age(), Some(10 * SECOND));
        drop(first);
        assert_eq!(oldest.age(), Some(9 * SECOND));
        let third = oldest.send(begin + 4 * SECOND);
        drop(second);
        assert_eq!(oldest.age(), Some(8 * SECOND), "the waiting one");
        oldest.wait(None);
        assert_eq!(oldest.age(), Some(6 * SECOND));
        drop((third, beyond));
        assert_eq!(oldest.age(), None);
    }
}
