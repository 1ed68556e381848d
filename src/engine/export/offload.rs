//! Where requests are encoded and compressed.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::engine::panics::Panics;

/// Hands work to the workers.
pub type HandOver = Arc<dyn Fn(Box<dyn FnOnce() + Send>) + Send + Sync>;

/// Runs encoding: on a worker thread if there are any, otherwise in the caller's task.
#[derive(Clone)]
pub struct Offload {
    hand_over: Option<HandOver>,
    panics: Panics,
}

impl Offload {
    /// Without `hand_over` the caller does the work.
    pub fn new(hand_over: Option<HandOver>, panics: Panics) -> Self {
        Offload { hand_over, panics }
    }

    /// Runs all work in the caller's task and reports panics to nobody: for a plan that is only
    /// validated, and for tests.
    pub fn in_place() -> Self {
        Offload::new(None, Panics::channel().0)
    }

    /// Where panics of exporters are reported.
    pub(in crate::engine) fn panics(&self) -> &Panics {
        &self.panics
    }

    /// Runs `work` and gives its result; none if the worker panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let Some(hand_over) = &self.hand_over else { return Some(work()) };
        let (result, awaited) = oneshot::channel();
        hand_over(Box::new(move || {
            // The caller may have given up waiting.
            let _ = result.send(work());
        }));
        awaited.await.ok()
    }
}
