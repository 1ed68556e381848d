//! What an exporter's queue and its sender tell each other.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the queue is closed, and whether the exporter fails.
#[derive(Debug, Default)]
pub(super) struct State {
    is_closed: AtomicBool,
    is_failing: AtomicBool,
}

impl State {
    /// Closes the queue, for good.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
    }

    /// Whether the queue is closed. From then on, failed attempts are not repeated.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    /// Notes how the last attempt ended.
    pub(super) fn set_failing(&self, is_failing: bool) {
        self.is_failing.store(is_failing, Ordering::Relaxed);
    }

    /// Whether the last attempt failed.
    pub(super) fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Relaxed)
    }
}
