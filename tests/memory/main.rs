//! What hostile requests make of memory. The allocator of this binary counts, so these tests are
//! alone in their process, and they take turns.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod budget;
mod expanding;
mod exporters;
mod processors;

use std::sync::{Mutex, MutexGuard, PoisonError};

use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// Whether a pair of a request and a component is looked at: every one if `SKEP_TEST_FULL` is set,
/// as `.ci/run` does it, else one in four, with every request and every component among them.
fn is_due(request: usize, component: usize) -> bool {
    let is_full = std::env::var_os("SKEP_TEST_FULL").is_some_and(|value| !value.is_empty());
    is_full || (request + component).is_multiple_of(4)
}

/// Waits until no other test runs: the peak is that of the process.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
