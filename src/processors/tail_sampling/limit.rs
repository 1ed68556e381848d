//! Limits of spans and bytes a second, which all workers share: one number each, changed by
//! compare-and-swap, so that no worker waits for another.

use std::sync::atomic::{AtomicU64, Ordering};

const SECOND: u64 = 1_000_000_000;

/// What a limit says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grant {
    /// It fits, and is spent.
    Given,
    /// There is not enough left.
    Spent,
    /// It is larger than all that there ever is.
    TooLarge,
}

/// A limit. Times are nanoseconds on one monotonic clock.
#[derive(Debug)]
pub(super) enum Limit {
    /// A bucket that fills up steadily.
    Bucket {
        /// Units a second.
        rate: u64,
        /// What it holds when it is full.
        burst: u64,
        /// When it will be full again.
        full_at: AtomicU64,
    },
    /// So many units in each second, together with siblings.
    Share {
        /// Units a second.
        rate: u64,
        /// The second, and what was spent in it, 32 bits each.
        spent: AtomicU64,
        /// The limit of all siblings, by number.
        total: Option<usize>,
    },
}

impl Limit {
    pub(super) fn bucket(rate: u64, burst: u64) -> Self {
        let burst = if burst == 0 { rate.saturating_mul(2) } else { burst };
        Limit::Bucket { rate, burst, full_at: AtomicU64::new(0) }
    }

    pub(super) fn share(rate: u64, total: Option<usize>) -> Self {
        let rate = rate.min(u64::from(u32::MAX));
        Limit::Share { rate, spent: AtomicU64::new(0), total }
    }

    /// Whether so much could ever be granted.
    pub(super) fn could_grant(&self, cost: u64) -> bool {
        match self {
            Limit::Bucket { rate, burst, .. } => *rate > 0 && cost <= *burst,
            Limit::Share { rate, .. } => cost <= *rate,
        }
    }

    fn try_spend(&self, now: u64, cost: u64) -> Grant {
        if !self.could_grant(cost) {
            return Grant::TooLarge;
        }
        match self {
            Limit::Bucket { rate, burst, full_at } => {
                let nanos = |units: u64| {
                    let nanos = u128::from(units) * u128::from(SECOND) / u128::from(*rate);
                    u64::try_from(nanos).unwrap_or(u64::MAX)
                };
                let spend = full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
                    let then = full_at.max(now).saturating_add(nanos(cost));
                    (then - now <= nanos(*burst)).then_some(then)
                });
                if spend.is_ok() { Grant::Given } else { Grant::Spent }
            }
            Limit::Share { rate, spent, .. } => {
                let second = (now / SECOND) << 32;
                let spend = spent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| {
                    let before = if state >> 32 << 32 == second { state & 0xFFFF_FFFF } else { 0 };
                    (before + cost <= *rate).then(|| second | (before + cost))
                });
                if spend.is_ok() { Grant::Given } else { Grant::Spent }
            }
        }
    }

    fn give_back(&self, cost: u64) {
        if let Limit::Share { spent, .. } = self {
            spent.fetch_sub(cost, Ordering::Relaxed);
        }
    }
}

/// Spends `cost` of one of `limits`, and of the total that it is a share of.
pub(super) fn try_spend(limits: &[Limit], index: usize, now: u64, cost: u64) -> Grant {
    let total = match &limits[index] {
        Limit::Share { total, .. } => total.map(|total| &limits[total]),
        Limit::Bucket { .. } => None,
    };
    if !limits[index].could_grant(cost) {
        return Grant::TooLarge;
    }
    if let Some(total) = total {
        match total.try_spend(now, cost) {
            Grant::Given => {}
            refusal => return refusal,
        }
    }
    let answer = limits[index].try_spend(now, cost);
    if let (Some(total), false) = (total, answer == Grant::Given) {
        total.give_back(cost);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_begins_full_and_fills_up_again() {
        let limits = [Limit::bucket(10, 0)];
        let now = 5 * SECOND;
        let answers = [10, 10, 10].map(|cost| try_spend(&limits, 0, now, cost));
        assert_eq!(answers, [Grant::Given, Grant::Given, Grant::Spent]);
        assert_eq!(try_spend(&limits, 0, now + SECOND, 10), Grant::Given);
        assert_eq!(try_spend(&limits, 0, now + SECOND, 1), Grant::Spent);
        assert_eq!(try_spend(&limits, 0, now + 9 * SECOND, 21), Grant::TooLarge);
    }

    #[test]
    fn shares_begin_anew_each_second_and_stay_within_their_total() {
        let limits = [Limit::share(10, None), Limit::share(8, Some(0)), Limit::share(8, Some(0))];
        assert_eq!(try_spend(&limits, 1, 1, 8), Grant::Given);
        assert_eq!(try_spend(&limits, 1, 1, 1), Grant::Spent);
        assert_eq!(try_spend(&limits, 2, 1, 3), Grant::Spent, "two are left of the total");
        assert_eq!(try_spend(&limits, 2, 1, 2), Grant::Given, "what was refused is not spent");
        assert_eq!(try_spend(&limits, 2, SECOND, 8), Grant::Given);
        assert_eq!(try_spend(&limits, 2, SECOND, 9), Grant::TooLarge);
    }

    #[test]
    fn workers_spend_no_more_than_there_is() {
        let limits = [Limit::bucket(1000, 1000)];
        let spent: u64 = std::thread::scope(|scope| {
            let spend = || (0..1000).filter(|_| try_spend(&limits, 0, 0, 1) == Grant::Given);
            let threads = [(); 4].map(|()| scope.spawn(move || spend().count() as u64));
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(spent, 1000);
    }
}
