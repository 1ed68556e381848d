//! Remembers the items that were taken lately by their uuid, so that one that a client sends again
//! is not taken twice.
//!
//! A client gives up after three seconds, and may send the item again while skep still works on it.
//! The second request then waits for the first: if that is taken, both are answered with success;
//! if not, the second one is the next try. The newest [`MOST`] items are remembered.

use std::{
    collections::{HashMap, VecDeque},
    hash::BuildHasher,
    sync::{Arc, Mutex},
};

use foldhash::fast::RandomState;
use tokio::sync::watch;

use crate::sync;

/// Items that are remembered: 32 bytes each.
const MOST: usize = 8192;

/// The items of a receiver. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    hasher: RandomState,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    items: HashMap<u64, State>,
    /// Those that were taken, the oldest first.
    taken: VecDeque<u64>,
}

#[derive(Debug)]
enum State {
    UnderWay(watch::Receiver<()>),
    Taken,
}

impl Seen {
    /// The turn of an item; `None` if it was taken already. Waits while another request has the
    /// turn of the same item.
    pub(super) async fn enter(&self, token: &str, uuid: &str) -> Option<Turn> {
        let key = self.0.hasher.hash_one((token, uuid));
        loop {
            let mut other = {
                let mut known = self.lock();
                match known.items.get(&key) {
                    Some(State::Taken) => return None,
                    Some(State::UnderWay(other)) => other.clone(),
                    None => {
                        let (end, ended) = watch::channel(());
                        known.items.insert(key, State::UnderWay(ended));
                        return Some(Turn { seen: self.clone(), key, is_taken: false, _end: end });
                    }
                }
            };
            // Ends with an error when the other turn is dropped.
            let _ = other.changed().await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        sync::lock(&self.0.known)
    }
}

/// The turn of one item. If it is dropped without [`Turn::taken`], the item is unknown again.
#[derive(Debug)]
pub(super) struct Turn {
    seen: Seen,
    key: u64,
    is_taken: bool,
    _end: watch::Sender<()>,
}

impl Turn {
    /// The item has been taken.
    pub(super) fn taken(mut self) {
        self.is_taken = true;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut known = self.seen.lock();
        if !self.is_taken {
            known.items.remove(&self.key);
            return;
        }
        known.items.insert(self.key, State::Taken);
        known.taken.push_back(self.key);
        if known.taken.len() > MOST
            && let Some(oldest) = known.taken.pop_front()
        {
            known.items.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_item_is_taken_once() {
        let seen = Seen::default();
        let first = seen.enter("t", "u").await.unwrap();
        let second = tokio::spawn({
            let seen = seen.clone();
            async move { seen.enter("t", "u").await.is_none() }
        });
        tokio::task::yield_now().await;
        assert!(!second.is_finished(), "it waits for the first");
        first.taken();
        assert!(second.await.unwrap());
        assert!(seen.enter("other", "u").await.is_some(), "another project");
    }

    #[tokio::test]
    async fn an_item_that_was_not_taken_can_be_sent_again() {
        let seen = Seen::default();
        let first = seen.enter("t", "u").await.unwrap();
        let second = tokio::spawn({
            let seen = seen.clone();
            async move { seen.enter("t", "u").await.is_some() }
        });
        tokio::task::yield_now().await;
        drop(first);
        assert!(second.await.unwrap());
    }

    #[tokio::test]
    async fn only_the_newest_are_remembered() {
        let seen = Seen::default();
        for number in 0..=MOST {
            seen.enter("t", &number.to_string()).await.unwrap().taken();
        }
        assert!(seen.enter("t", "1").await.is_none());
        assert!(seen.enter("t", "0").await.is_some());
        assert!(seen.lock().items.len() <= MOST + 1);
    }
}
