//! Answers that have not left yet.
//!
//! An HTTP/2 client decides how much it takes: one that gives no window has its answers kept here,
//! and its streams with them. They are few, since a connection has a limit of streams, but no body
//! pays for them. So from time to time each connection is charged for what it keeps, and one of
//! which nothing leaves any more is closed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::otlp::payload::Permit;

/// How often a connection is looked at. It is closed when nothing left between two looks that both
/// find answers.
const LOOK: Duration = Duration::from_secs(5);
/// What an answer is charged that waits: a stream, a task, headers. Estimated, not measured.
const ANSWER: usize = 8 * 1024;

/// The answers of a connection.
#[derive(Debug, Default)]
pub(super) struct Answers {
    begun: AtomicUsize,
    left: AtomicUsize,
}

impl Answers {
    /// One more, until that is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Leaving {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Leaving(Arc::clone(self))
    }

    /// Charges for what waits to leave; ends when nothing leaves any more.
    pub(super) async fn are_stuck(&self, charge: impl Fn(usize) -> Option<Permit>) {
        let mut left_before = None;
        loop {
            let left = self.left.load(Ordering::Relaxed);
            let waiting = self.begun.load(Ordering::Relaxed).saturating_sub(left);
            if waiting > 0 && left_before == Some(left) {
                return;
            }
            left_before = (waiting > 0).then_some(left);
            let _charge = if waiting > 0 { charge(waiting * ANSWER) } else { None };
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// An answer that has not left yet.
#[derive(Debug)]
pub(super) struct Leaving(Arc<Answers>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.left.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_of_which_nothing_leaves_is_stuck() {
        let answers = Arc::new(Answers::default());
        let charged = Cell::new(0);
        let charge = |bytes| {
            charged.set(bytes);
            None
        };
        let mut stuck = std::pin::pin!(answers.are_stuck(charge));
        let mut waiting = vec![answers.begin(), answers.begin()];
        for _ in 0..10 {
            assert!(timeout(LOOK / 2, stuck.as_mut()).await.is_err(), "some leave");
            waiting.remove(0);
            waiting.push(answers.begin());
        }
        assert_eq!(charged.get(), 2 * ANSWER);
        waiting.clear();
        assert!(timeout(LOOK * 10, stuck.as_mut()).await.is_err(), "none is there");
        waiting.push(answers.begin());
        assert!(timeout(LOOK * 3, stuck.as_mut()).await.is_ok());
    }
}
