//! Which items a tap shows if it may not show all: whole traces, by a hash of their ids, so that
//! two taps at different places show the same ones.
//!
//! One trace in 2^k is chosen. k rises while more would be shown than the rate allows, and falls
//! again. The items of a trace that was chosen once are shown also when the rate is used up, and
//! the next traces wait until that is made up for.

use std::{
    collections::{HashSet, VecDeque},
    time::{Duration, Instant},
};

/// Traces that are remembered as chosen.
const REMEMBERED: usize = 4096;

/// Seconds of the rate by which chosen traces may exceed it.
const DEBT: f64 = 10.0;

/// Shortest time between two steps of k.
const STEP: Duration = Duration::from_millis(500);

/// So long nothing must have been turned away before k falls.
const CALM: Duration = Duration::from_secs(3);

/// Largest k.
const MOST: u32 = 24;

/// The choice of one tap.
#[derive(Debug)]
pub struct Choice {
    /// Items a second; 0: all.
    rate: f64,
    /// What may be shown now; negative while chosen traces have exceeded the rate.
    room: f64,
    filled: Instant,
    /// One trace in 2^k is chosen.
    k: u32,
    stepped: Instant,
    turned_away: Instant,
    known: HashSet<[u8; 16]>,
    order: VecDeque<[u8; 16]>,
}

impl Choice {
    /// At most so many items a second; 0: all of them.
    pub fn new(rate: u32, now: Instant) -> Self {
        let rate = f64::from(rate);
        Choice {
            rate,
            room: rate,
            filled: now,
            k: 0,
            stepped: now,
            turned_away: now,
            known: HashSet::new(),
            order: VecDeque::new(),
        }
    }

    /// One trace in so many is shown.
    pub fn one_in(&self) -> u64 {
        1 << self.k
    }

    /// Whether it is worth looking at an item: cheap, and of most items of a busy edge the end.
    pub fn may_take(&self, trace: Option<[u8; 16]>, hash: u64) -> bool {
        let is_known = trace.is_some_and(|trace| self.known.contains(&trace));
        is_known || hash.trailing_zeros() >= self.k
    }

    /// Takes an item, if there is room for it.
    pub fn take(&mut self, trace: Option<[u8; 16]>, now: Instant) -> bool {
        if self.rate == 0.0 {
            return true;
        }
        let is_known = trace.is_some_and(|trace| self.known.contains(&trace));
        let least = if is_known { -DEBT * self.rate } else { 1.0 };
        if self.room < least {
            self.turned_away = now;
            if !is_known && self.k < MOST && now.saturating_duration_since(self.stepped) >= STEP {
                self.k += 1;
                self.stepped = now;
            }
            return false;
        }
        self.room -= 1.0;
        if let Some(trace) = trace.filter(|_| !is_known) {
            if self.order.len() >= REMEMBERED
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
            self.known.insert(trace);
            self.order.push_back(trace);
        }
        true
    }

    /// Makes room as time goes by; call it often.
    pub fn tick(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled);
        self.filled = now;
        self.room = (self.room + self.rate * passed.as_secs_f64()).min(self.rate.max(1.0));
        let is_calm = now.saturating_duration_since(self.turned_away) >= CALM
            && now.saturating_duration_since(self.stepped) >= CALM;
        // Half of the room is used at most: twice as many items will fit.
        if self.k > 0 && is_calm && self.room >= self.rate / 2.0 {
            self.k -= 1;
            self.stepped = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;

    fn trace(number: u64) -> ([u8; 16], u64) {
        let mut id = [7; 16];
        id[..8].copy_from_slice(&number.to_le_bytes());
        (id, xxh3_64(&id))
    }

    /// Offers traces of four spans each, so many a second; returns for each chosen one how many
    /// spans were shown.
    fn run(rate: u32, traces: u64, seconds: u64) -> (Vec<u32>, Choice) {
        let start = Instant::now();
        let mut choice = Choice::new(rate, start);
        let mut shown = Vec::new();
        for second in 0..seconds {
            for number in 0..traces {
                let millis = 1000 * number / traces;
                let now = start + Duration::from_millis(1000 * second + millis);
                choice.tick(now);
                let (id, hash) = trace(second * traces + number);
                let is_shown =
                    |_: &u32| choice.may_take(Some(id), hash) && choice.take(Some(id), now);
                let spans = (0..4).filter(is_shown).count();
                shown.extend(u32::try_from(spans).ok().filter(|spans| *spans > 0));
            }
        }
        (shown, choice)
    }

    #[test]
    fn traces_are_shown_whole_and_the_rate_holds() {
        let (shown, choice) = run(20, 1000, 60);
        assert!(shown.iter().all(|spans| *spans == 4), "whole traces");
        let spans: u32 = shown.iter().sum();
        assert!((600..=1300).contains(&spans), "20 a second for a minute: {spans}");
        assert!(choice.one_in() >= 64, "{}", choice.one_in());
    }

    #[test]
    fn all_are_shown_while_they_are_few_and_again_once_they_are() {
        let (shown, choice) = run(20, 4, 20);
        assert_eq!((shown.len(), choice.one_in()), (80, 1));
        let (_, mut choice) = run(20, 1000, 10);
        assert!(choice.one_in() > 1);
        let mut now = choice.filled;
        for _ in 0..200 {
            now += Duration::from_secs(1);
            choice.tick(now);
        }
        assert_eq!(choice.one_in(), 1);
    }

    #[test]
    fn a_trace_without_end_does_not_take_all_of_the_room() {
        let now = Instant::now();
        let mut choice = Choice::new(10, now);
        let (id, _) = trace(1);
        let shown = (0..10_000).filter(|_| choice.take(Some(id), now)).count();
        assert_eq!(shown, 10 + 100 + 1);
    }

    #[test]
    fn two_taps_choose_the_same_traces() {
        let now = Instant::now();
        let (mut one, mut other) = (Choice::new(1, now), Choice::new(1, now));
        (one.k, other.k) = (3, 5);
        for number in 0..1000 {
            let (id, hash) = trace(number);
            assert!(!other.may_take(Some(id), hash) || one.may_take(Some(id), hash));
        }
        (one.rate, other.rate) = (0.0, 0.0);
        assert!(one.take(None, now) && other.take(None, now));
    }
}
