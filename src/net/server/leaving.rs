//! Responses that have not been sent yet.
//!
//! An HTTP/2 client controls how much it receives. If it opens no window, its responses stay in
//! memory, and their streams too. Their number is limited by the streams of a connection, but no
//! permit pays for them. So from time to time each connection is charged for its waiting responses,
//! and a connection that sends nothing any more is closed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::otlp::payload::Permit;

/// How often a connection is checked. It is closed if two consecutive checks find responses and
/// none was sent in between.
const LOOK: Duration = Duration::from_secs(5);
/// The charge for a waiting response: a stream, a task, headers. Estimated, not measured.
const ANSWER: usize = 8 * 1024;

/// The waiting responses of a connection.
#[derive(Debug, Default)]
pub(super) struct Answers {
    begun: AtomicUsize,
    left: AtomicUsize,
}

impl Answers {
    /// Counts one more, until the returned value is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Leaving {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Leaving(Arc::clone(self))
    }

    /// Charges for waiting responses; completes when none is sent any more.
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

/// A response that has not been sent yet.
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
    async fn a_connection_that_sends_no_response_any_more_is_stuck() {
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
