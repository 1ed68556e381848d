//! What hostile requests make of memory. The allocator of this binary counts, so these tests are
//! alone in their process, and they take turns.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod expanding;
mod exporters;
mod processors;

use std::sync::{Mutex, MutexGuard, PoisonError};

use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// Waits until no other test runs: the peak is that of the process.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
