//! Since when the oldest payload of a queue is in memory.
//!
//! A queue sends payloads in the order in which they came, so many at a time. Each that is being
//! sent writes the time at which it came into a place of its own, and takes it away when it ends;
//! of all others the dispatcher notes the oldest that it holds. What the dispatcher has not seen
//! yet is younger than what keeps it from looking. Costs a few relaxed operations per payload and
//! no lock; only who asks looks at all places.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// Most places: of payloads that are sent beyond so many at a time nobody knows the age.
const MOST_PLACES: usize = 1 << 16;

/// Times are milliseconds since `base`, from 1; 0: nothing.
#[derive(Debug)]
pub struct Oldest {
    base: Instant,
    waiting: AtomicU64,
    places: Box<[AtomicU64]>,
    /// Where to look for a free place first.
    next: AtomicUsize,
}

/// The place of a payload that is being sent. Free again when dropped.
#[derive(Debug)]
pub struct Place {
    oldest: Arc<Oldest>,
    index: Option<usize>,
}

impl Oldest {
    /// Of a queue that sends so many payloads at the same time.
    pub fn new(consumers: usize) -> Self {
        let places = std::iter::repeat_with(AtomicU64::default);
        Oldest {
            base: Instant::now(),
            waiting: AtomicU64::new(0),
            places: places.take(consumers.min(MOST_PLACES)).collect(),
            next: AtomicUsize::new(0),
        }
    }

    /// Notes when the oldest payload came in that is not being sent yet.
    pub fn wait(&self, arrived: Option<Instant>) {
        self.waiting.store(arrived.map_or(0, |arrived| self.stamp(arrived)), Ordering::Relaxed);
    }

    /// Notes that a payload is being sent.
    pub fn send(self: &Arc<Self>, arrived: Instant) -> Place {
        let stamp = self.stamp(arrived);
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let take = |place: &AtomicU64| {
            place.compare_exchange(0, stamp, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        let count = self.places.len();
        let mut tried = (0..count).map(|step| first.wrapping_add(step) % count);
        let index = tried.find(|index| take(&self.places[*index]));
        Place { oldest: Arc::clone(self), index }
    }

    /// Time since the oldest payload came in; none where there is none.
    pub fn age(&self) -> Option<Duration> {
        let stamps = self.places.iter().chain([&self.waiting]);
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

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(index) = self.index {
            self.oldest.places[index].store(0, Ordering::Relaxed);
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
        assert_eq!(beyond.index, None, "there are two places");
        tokio::time::advance(10 * SECOND).await;
        assert_eq!(oldest.age(), Some(10 * SECOND));
        drop(first);
        assert_eq!(oldest.age(), Some(9 * SECOND));
        let third = oldest.send(begin + 4 * SECOND);
        drop(second);
        assert_eq!(oldest.age(), Some(8 * SECOND), "the one that waits");
        oldest.wait(None);
        assert_eq!(oldest.age(), Some(6 * SECOND));
        drop((third, beyond));
        assert_eq!(oldest.age(), None);
    }
}
