//! Requests whose tasks have not ended, and responses that have not been sent.
//!
//! An HTTP/2 client controls how much it receives. If it opens no window, its responses stay in
//! memory, and their streams too. Their number is limited by the streams of a connection, but no
//! permit pays for them. So each connection is charged for its waiting responses, and a connection
//! that stops sending them is closed.
//!
//! A connection that has ended stays in memory until the tasks of its requests have ended.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::otlp::payload::Permit;

/// How often a connection is checked. It is closed if two consecutive checks find responses of
/// which none was sent in between.
const LOOK: Duration = Duration::from_secs(5);
/// When this many more responses wait, they are charged at once.
const STEP: usize = 8;
/// The charge for a waiting response: a stream, a task, headers. Measured: 6 KiB.
const ANSWER: usize = 8 * 1024;

/// The requests of a connection and their responses.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Requests whose tasks have not ended.
    open: AtomicUsize,
    ended: Notify,
    /// Responses, and how many of them were sent.
    begun: AtomicUsize,
    left: AtomicUsize,
    more: Notify,
}

impl Answers {
    /// Counts one more request.
    pub(super) fn open(self: &Arc<Self>) -> Exchange {
        self.open.fetch_add(1, Ordering::Relaxed);
        Exchange { answers: Arc::clone(self), has_response: false }
    }

    /// Completes when all tasks of requests have ended.
    pub(super) async fn have_ended(&self) {
        while self.open.load(Ordering::Acquire) > 0 {
            self.ended.notified().await;
        }
    }

    fn waiting(&self) -> usize {
        let left = self.left.load(Ordering::Relaxed);
        self.begun.load(Ordering::Relaxed).saturating_sub(left)
    }

    /// Charges for waiting responses; completes when they are no longer sent.
    pub(super) async fn are_stuck(&self, charge: impl Fn(usize) -> Option<Permit>) {
        let (mut left_before, mut look) = (None, Instant::now());
        loop {
            let (left, waiting) = (self.left.load(Ordering::Relaxed), self.waiting());
            if Instant::now() >= look {
                if waiting > 0 && left_before == Some(left) {
                    return;
                }
                left_before = (waiting > 0).then_some(left);
                look = Instant::now() + LOOK;
            }
            let _charge = if waiting > 0 { charge(waiting * ANSWER) } else { None };
            let more = pin!(self.more.notified());
            let _ = tokio::time::timeout_at(look, more).await;
        }
    }
}

/// A request and its response, until the task that has them ends.
#[derive(Debug)]
pub(super) struct Exchange {
    answers: Arc<Answers>,
    has_response: bool,
}

impl Exchange {
    /// Notes that there is a response to send.
    pub(super) fn respond(mut self) -> Self {
        self.has_response = true;
        self.answers.begun.fetch_add(1, Ordering::Relaxed);
        if self.answers.waiting().is_multiple_of(STEP) {
            self.answers.more.notify_one();
        }
        self
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.has_response {
            self.answers.left.fetch_add(1, Ordering::Relaxed);
        }
        if self.answers.open.fetch_sub(1, Ordering::Release) == 1 {
            self.answers.ended.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::timeout;

    use super::*;

    /// Notes the charge.
    fn note(charged: &Cell<usize>) -> impl Fn(usize) -> Option<Permit> {
        |bytes| {
            charged.set(bytes);
            None
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_sends_no_response_any_more_is_stuck() {
        let answers = Arc::new(Answers::default());
        let charged = Cell::new(0);
        let mut stuck = pin!(answers.are_stuck(note(&charged)));
        let mut waiting = vec![answers.open().respond(), answers.open().respond()];
        for _ in 0..10 {
            assert!(timeout(LOOK / 2, stuck.as_mut()).await.is_err(), "some leave");
            waiting.remove(0);
            waiting.push(answers.open().respond());
        }
        assert_eq!(charged.get(), 2 * ANSWER);
        waiting.clear();
        assert!(timeout(LOOK * 10, stuck.as_mut()).await.is_err(), "none is there");
        waiting.push(answers.open().respond());
        assert!(timeout(LOOK * 3, stuck.as_mut()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn many_responses_that_wait_are_charged_at_once() {
        let answers = Arc::new(Answers::default());
        let charged = Cell::new(0);
        let mut stuck = pin!(answers.are_stuck(note(&charged)));
        assert!(timeout(LOOK / 4, stuck.as_mut()).await.is_err());
        let waiting: Vec<_> = (0..STEP).map(|_| answers.open().respond()).collect();
        assert!(timeout(Duration::from_millis(1), stuck.as_mut()).await.is_err());
        assert_eq!(charged.get(), STEP * ANSWER);
        drop(waiting);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_there_until_its_last_request_has_ended() {
        let answers = Arc::new(Answers::default());
        let (asked, answered) = (answers.open(), answers.open().respond());
        let mut ended = pin!(answers.have_ended());
        drop(answered);
        assert!(timeout(LOOK, ended.as_mut()).await.is_err());
        drop(asked);
        ended.await;
    }
}
