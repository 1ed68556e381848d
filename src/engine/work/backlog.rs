//! Counts work that has begun and not ended: jobs of the workers, and requests that wait for their
//! answer. The drain waits until there is none.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// The number of pieces of work that are under way.
#[derive(Default)]
pub struct Backlog {
    pending: AtomicUsize,
    empty: Notify,
}

/// One piece of work; it ends when this is dropped.
pub struct Entered(Arc<Backlog>);

impl Backlog {
    /// Counts a piece of work until the result is dropped.
    pub fn enter(backlog: &Arc<Self>) -> Entered {
        backlog.add();
        Entered(Arc::clone(backlog))
    }

    pub(super) fn add(&self) {
        self.pending.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn done(&self) {
        if self.pending.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.empty.notify_waiters();
        }
    }

    /// Waits until nothing is under way.
    pub async fn wait_until_empty(&self) {
        loop {
            let notified = self.empty.notified();
            if self.pending.load(Ordering::SeqCst) == 0 {
                return;
            }
            notified.await;
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.done();
    }
}
