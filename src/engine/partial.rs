//! What is said of requests that a backend took in part, and how often: a note on a full success seldom and
//! quietly, each kind of rejection as a warning.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{component::Sent, net::seldom::Seldom};

/// The same kind is told once in so long; the counters have them all.
const PAUSE: Duration = Duration::from_mins(1);
/// Kinds that are told in that time.
const KINDS: usize = 16;
/// Characters that tell kinds apart.
const PREFIX: usize = 200;

/// What was said lately.
#[derive(Debug, Default)]
pub(super) struct Partial {
    notes: Seldom,
    /// Kinds of rejections: the backend's words without their numbers.
    told: Mutex<Vec<(String, Instant)>>,
}

impl Partial {
    /// Tells what a backend said of a request that it took, of which it rejected so many items.
    pub(super) fn tell(&self, exporter: &str, rejected: u64, sent: &Sent) {
        let reason = sent.message.as_deref().unwrap_or_default();
        if rejected > 0 {
            if self.is_new(reason) {
                tracing::warn!(
                    exporter,
                    rejected_items = rejected,
                    reason,
                    "Partial success response"
                );
            }
        } else if !reason.is_empty() && self.notes.is_due() {
            tracing::info!(exporter, note = reason, "The backend took everything, with a note");
        }
    }

    fn is_new(&self, reason: &str) -> bool {
        let kind: String = reason.chars().filter(|c| !c.is_ascii_digit()).take(PREFIX).collect();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|(_, since)| since.elapsed() < PAUSE);
        let is_new = told.len() < KINDS && told.iter().all(|(other, _)| *other != kind);
        if is_new {
            told.push((kind, Instant::now()));
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_kind_of_rejection_is_told_once_a_minute() {
        let partial = Partial::default();
        assert!(partial.is_new("span 17 is too old"));
        assert!(!partial.is_new("span 18 is too old"));
        assert!(partial.is_new("the dataset is full"), "another kind has its own turn");
        tokio::time::advance(PAUSE).await;
        assert!(partial.is_new("span 19 is too old"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_backend_that_never_says_the_same_fills_neither_log_nor_memory() {
        let partial = Partial::default();
        let told = (0..1000).filter(|n| partial.is_new(&"x".repeat(*n))).count();
        assert_eq!((told, partial.told.lock().unwrap().len()), (KINDS, KINDS));
    }
}
