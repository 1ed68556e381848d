//! Items that went into a processor and have not come out yet, in a window of memory.
//!
//! A processor may hold what it takes, for a moment (`batch`) or for a minute (`tail_sampling`), so
//! an item that does not come out at once is not lost: it is inside. It leaves the window when it
//! comes out, when a sampler has decided against its trace, or when the window is full: then
//! nobody can say any more what became of it.

use std::collections::{HashMap, HashSet, VecDeque};

use super::{items::Mark, single::Single};

/// Most bytes of the window.
const BYTES: usize = 4 << 20;

/// An item that went in.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// The item as it went in.
    pub item: Single,
    /// What identifies it.
    pub mark: Mark,
    /// Items of the payload in which it came.
    pub of: u64,
}

/// The window.
#[derive(Debug, Default)]
pub struct Pairs {
    /// By key, and within a key in order.
    waiting: HashMap<u64, VecDeque<(u64, Waiting)>>,
    /// Keys in the order in which they came, each with a number that counts up.
    order: VecDeque<(u64, u64)>,
    next: u64,
    count: usize,
    bytes: usize,
    /// Items that had to make room.
    pub forgotten: u64,
}

impl Pairs {
    /// Remembers an item that went in.
    pub fn insert(&mut self, waiting: Waiting) {
        self.bytes += waiting.item.size();
        let key = waiting.mark.key;
        self.waiting.entry(key).or_default().push_back((self.next, waiting));
        self.order.push_back((key, self.next));
        self.next += 1;
        self.count += 1;
        while self.bytes > BYTES {
            let Some((key, number)) = self.order.pop_front() else { break };
            let is_first = |queue: &VecDeque<(u64, Waiting)>| {
                queue.front().is_some_and(|(first, _)| *first == number)
            };
            if self.waiting.get(&key).is_some_and(is_first) && self.take(key).is_some() {
                self.forgotten += 1;
            }
        }
        // What has come out leaves its place in the order behind.
        if self.order.len() > 2 * self.count + 1024 {
            let waiting = &self.waiting;
            self.order.retain(|(key, number)| {
                let queue = waiting.get(key);
                queue.is_some_and(|queue| queue.iter().any(|(known, _)| known == number))
            });
        }
    }

    /// Takes the item of a key that has waited longest.
    pub fn take(&mut self, key: u64) -> Option<Waiting> {
        let queue = self.waiting.get_mut(&key)?;
        let (_, found) = queue.pop_front()?;
        if queue.is_empty() {
            self.waiting.remove(&key);
        }
        self.bytes -= found.item.size();
        self.count -= 1;
        Some(found)
    }

    /// Takes all items of some traces, in the order in which they came.
    pub fn take_traces(&mut self, traces: &HashSet<[u8; 16]>) -> Vec<Waiting> {
        self.take_where(|waiting| waiting.mark.trace.is_some_and(|trace| traces.contains(&trace)))
    }

    /// Takes all items, in the order in which they came.
    pub fn take_all(&mut self) -> Vec<Waiting> {
        self.take_where(|_| true)
    }

    fn take_where(&mut self, is_wanted: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
        let mut taken = Vec::new();
        self.waiting.retain(|_, queue| {
            for (number, waiting) in std::mem::take(queue) {
                if is_wanted(&waiting) {
                    taken.push((number, waiting));
                } else {
                    queue.push_back((number, waiting));
                }
            }
            !queue.is_empty()
        });
        taken.sort_by_key(|(number, _)| *number);
        let sizes = taken.iter().map(|(_, waiting)| waiting.item.size());
        self.bytes -= sizes.sum::<usize>();
        self.count -= taken.len();
        taken.into_iter().map(|(_, waiting)| waiting).collect()
    }

    /// All traces of which items wait.
    pub fn traces(&self) -> HashSet<[u8; 16]> {
        self.waiting.values().flatten().filter_map(|(_, waiting)| waiting.mark.trace).collect()
    }

    /// How many items wait.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::Signal;

    fn waiting(key: u64, trace: u8, bytes: usize) -> Waiting {
        let item = Single { signal: Signal::Traces, body: vec![0; bytes], masked: Vec::new() };
        Waiting { item, mark: Mark { trace: Some([trace; 16]), key, draw: 0 }, of: 1 }
    }

    #[test]
    fn items_of_one_key_come_out_in_the_order_in_which_they_went_in() {
        let mut pairs = Pairs::default();
        for trace in 1..=3 {
            pairs.insert(waiting(7, trace, 10));
        }
        let taken = pairs.take(7).unwrap();
        assert_eq!(taken.mark.trace, Some([1; 16]));
        assert_eq!(pairs.take_traces(&HashSet::from([[3; 16]])).len(), 1);
        assert_eq!((pairs.len(), pairs.traces()), (1, HashSet::from([[2; 16]])));
        assert_eq!(pairs.take_all().len(), 1);
        assert!(pairs.is_empty() && pairs.bytes == 0 && pairs.take(7).is_none());
    }

    #[test]
    fn the_window_has_a_limit_and_says_what_it_forgot() {
        let mut pairs = Pairs::default();
        for key in 0..6 {
            pairs.insert(waiting(key, 1, 1 << 20));
        }
        assert!(pairs.bytes <= BYTES);
        assert_eq!((pairs.forgotten, pairs.len()), (3, 3));
        assert!(pairs.take(0).is_none() && pairs.take(5).is_some());
        for key in 10..20_000 {
            pairs.insert(waiting(key, 1, 1));
            assert!(pairs.take(key).is_some());
        }
        assert!(pairs.order.len() < 2048);
    }
}
