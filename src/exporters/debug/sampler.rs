//! So many payloads per second, then every n-th.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use crate::sync;

/// Counts the payloads of the current second.
pub(super) struct Sampler {
    initial: u64,
    thereafter: u64,
    second: Mutex<Option<(Instant, u64)>>,
}

impl Sampler {
    /// Takes `initial` payloads of each second, then every `thereafter`-th; 0: none.
    pub(super) fn new(initial: u64, thereafter: u64) -> Self {
        Sampler { initial, thereafter, second: Mutex::new(None) }
    }

    /// Whether the payload that came at `now` is taken.
    pub(super) fn takes(&self, now: Instant) -> bool {
        let mut second = sync::lock(&self.second);
        let (start, count) = match *second {
            Some((start, count)) if now.duration_since(start) < Duration::from_secs(1) => {
                (start, count + 1)
            }
            _ => (now, 1),
        };
        *second = Some((start, count));
        match count.checked_sub(self.initial) {
            None | Some(0) => true,
            Some(over) => self.thereafter > 0 && over.is_multiple_of(self.thereafter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(initial: u64, thereafter: u64) -> String {
        let sampler = Sampler::new(initial, thereafter);
        let start = Instant::now();
        let mark = |at: u64| {
            if sampler.takes(start + Duration::from_millis(at)) { 'x' } else { '.' }
        };
        (0..8).chain(1000..1004).map(mark).collect()
    }

    #[test]
    fn after_the_first_ones_every_nth_of_a_second_is_taken() {
        assert_eq!(taken(2, 1), "xxxxxxxxxxxx");
        assert_eq!(taken(2, 3), "xx..x..xxx..");
        assert_eq!(taken(2, 0), "xx......xx..");
        assert_eq!(taken(0, 2), ".x.x.x.x.x.x");
    }
}
