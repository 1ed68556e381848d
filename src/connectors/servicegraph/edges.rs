//! Calls of which one span has come, until the other one does or their time is over.
//!
//! They are in a queue in the order of their times, which are all of the same length, and in a map
//! by trace and span of the client. Completed calls leave the map at once and the queue later.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use foldhash::fast::RandomState;

use crate::otlp::purse::Purse;

/// Trace id and span id of the client; all zero where there is none.
pub(super) type Key = ([u8; 16], [u8; 8]);

/// What a call is made over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Connection {
    #[default]
    Unknown,
    Messaging,
    Database,
    Virtual,
}

impl Connection {
    pub(super) fn name(self) -> &'static str {
        match self {
            Connection::Unknown => "",
            Connection::Messaging => "messaging_system",
            Connection::Database => "database",
            Connection::Virtual => "virtual_node",
        }
    }
}

/// One side of a call.
#[derive(Debug, Clone, Default)]
pub(super) struct Side {
    /// Name of the service, an `AnyValue`; `None` until its span has come.
    pub(super) service: Option<Box<[u8]>>,
    pub(super) nanos: u64,
    /// Values of the dimensions, `AnyValue`s.
    pub(super) dimensions: Vec<Option<Box<[u8]>>>,
}

/// A call.
#[derive(Debug, Default)]
pub(super) struct Edge {
    pub(super) client: Side,
    pub(super) server: Side,
    pub(super) connection: Connection,
    pub(super) has_failed: bool,
    /// What the client says of the server, an `AnyValue`.
    pub(super) peer: Option<Box<[u8]>>,
    /// Pays for it while it waits.
    pub(super) purse: Purse,
}

impl Edge {
    pub(super) fn is_complete(&self) -> bool {
        self.client.service.is_some() && self.server.service.is_some()
    }
}

/// Calls that wait.
#[derive(Debug)]
pub(super) struct Edges {
    waiting: HashMap<Key, (Edge, u64), RandomState>,
    /// With a number each, because a key may wait a second time.
    queue: VecDeque<(Instant, Key, u64)>,
    number: u64,
    most: usize,
    ttl: Duration,
}

/// Why a call cannot wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Edges {
    pub(super) fn new(most: usize, ttl: Duration) -> Self {
        let (waiting, queue) = (HashMap::default(), VecDeque::new());
        Edges { waiting, queue, number: 0, most, ttl }
    }

    /// The call that waits for a key.
    pub(super) fn take(&mut self, key: &Key) -> Option<Edge> {
        self.waiting.remove(key).map(|(edge, _)| edge)
    }

    /// Whether there is room for one more, after what is over has gone.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= self.most
    }

    /// Lets a call wait.
    pub(super) fn put(&mut self, key: Key, edge: Edge, now: Instant) -> Result<(), Full> {
        if self.is_full() {
            return Err(Full);
        }
        self.number += 1;
        self.waiting.insert(key, (edge, self.number));
        self.queue.push_back((now + self.ttl, key, self.number));
        // Completed calls are at most half of the queue.
        if self.queue.len() > 2 * self.waiting.len() + 64 {
            let waiting = &self.waiting;
            self.queue.retain(|(_, key, number)| is_waiting(waiting, key, *number));
        }
        Ok(())
    }

    /// The next call whose time is over.
    pub(super) fn next_expired(&mut self, now: Instant) -> Option<(Key, Edge)> {
        while let Some((_, key, number)) = self.queue.pop_front_if(|(until, ..)| *until <= now) {
            if is_waiting(&self.waiting, &key, number) {
                return self.take(&key).map(|edge| (key, edge));
            }
        }
        None
    }

    /// The next call, whether its time is over or not.
    pub(super) fn next(&mut self) -> Option<(Key, Edge)> {
        while let Some((_, key, number)) = self.queue.pop_front() {
            if is_waiting(&self.waiting, &key, number) {
                return self.take(&key).map(|edge| (key, edge));
            }
        }
        None
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

fn is_waiting(waiting: &HashMap<Key, (Edge, u64), RandomState>, key: &Key, number: u64) -> bool {
    waiting.get(key).is_some_and(|(_, known)| *known == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u8) -> Key {
        ([id; 16], [id; 8])
    }

    #[test]
    fn calls_are_given_up_in_order_and_make_room() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut edges = Edges::new(2, Duration::from_secs(2));
        assert_eq!(edges.put(key(1), Edge::default(), at(0)), Ok(()));
        assert_eq!(edges.put(key(2), Edge::default(), at(1)), Ok(()));
        assert_eq!(edges.put(key(3), Edge::default(), at(1)), Err(Full));
        assert!(edges.next_expired(at(1)).is_none());
        assert!(edges.take(&key(1)).is_some() && edges.take(&key(1)).is_none());
        // The same key waits again, from now on.
        assert_eq!(edges.put(key(1), Edge::default(), at(2)), Ok(()));
        let expired = |edges: &mut Edges, now| edges.next_expired(now).map(|(key, _)| key);
        assert_eq!(expired(&mut edges, at(3)), Some(key(2)));
        assert_eq!(expired(&mut edges, at(3)), None);
        assert_eq!(expired(&mut edges, at(4)), Some(key(1)));
        assert!(edges.is_empty());
    }

    #[test]
    fn the_queue_does_not_grow_with_completed_calls() {
        let mut edges = Edges::new(10, Duration::from_secs(2));
        let now = Instant::now();
        for id in 0..=255 {
            edges.put(key(id), Edge::default(), now).unwrap();
            edges.take(&key(id)).unwrap();
        }
        assert!(edges.queue.len() < 70, "{}", edges.queue.len());
    }
}
