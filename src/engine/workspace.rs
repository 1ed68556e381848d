//! What pays for the bytes that an exporter makes: room that is set aside out of the byte budget,
//! for each exporter its own.
//!
//! Payloads in queues hold the budget, and encoding takes from the workspace, so that nobody waits
//! for bytes while holding bytes of the same account: however full the queues are, encoding goes
//! on. Room is taken before a piece is encoded, cut down to what the request holds once it is made,
//! and given back when that was sent or failed; it is not held in the pause before another attempt,
//! except by an exporter that encodes once. Each has its own, so that one whose backend is slow
//! holds up nobody else.
//!
//! ```text
//! budget 64 MiB --+-- 56 MiB  bodies: receivers, processors, queues
//!                 +--  8 MiB  workspaces, for each exporter that makes bytes the same
//! ```
//!
//! Invariant: what exporters hold beside the bodies of their payloads is no more than their
//! workspaces. While a reload lets an exporter go, its workspace and that of its successor exist
//! side by side.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The part of the budget that all workspaces have together, unless they would be too small.
const PART: u64 = 8;
/// And where that is so.
const LARGEST_PART: u64 = 4;
/// No exporter needs more.
const MOST: u64 = 16 << 20;
/// With less pieces get small: a batch of CloudWatch Logs has 1 MiB.
const LEAST: u64 = 2 << 20;

/// Bytes of each workspace, where a budget is shared by so many exporters that need one.
pub fn size(budget: u64, exporters: u64) -> u64 {
    let Some(own) = (budget / PART).checked_div(exporters) else { return 0 };
    own.max(LEAST.min(budget / LARGEST_PART / exporters)).min(MOST)
}

/// The room of one exporter.
#[derive(Debug)]
pub struct Workspace(Mutex<Space>);

#[derive(Debug)]
struct Space {
    bytes: u32,
    free: Arc<Semaphore>,
}

impl Space {
    fn new(bytes: u64) -> Self {
        let bytes = u32::try_from(bytes.min(MOST)).unwrap_or(u32::MAX);
        Space { bytes, free: Arc::new(Semaphore::new(bytes as usize)) }
    }
}

impl Default for Workspace {
    fn default() -> Self {
        Workspace::new(LEAST)
    }
}

impl Workspace {
    /// One of so many bytes.
    pub fn new(bytes: u64) -> Self {
        Workspace(Mutex::new(Space::new(bytes)))
    }

    /// Changes its size. What is in use is given back to the room there was.
    pub fn resize(&self, bytes: u64) {
        let mut space = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if u64::from(space.bytes) != bytes.min(MOST) {
            *space = Space::new(bytes);
        }
    }

    /// Takes room, waiting for it: at most half of all, so that one piece is encoded while another
    /// one is sent.
    pub async fn take(&self, wanted: usize) -> Room {
        let (free, bytes) = {
            let space = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let most = space.bytes / 2;
            (Arc::clone(&space.free), u32::try_from(wanted).map_or(most, |wanted| wanted.min(most)))
        };
        // It is never closed.
        Room(free.acquire_many_owned(bytes).await.ok())
    }
}

/// Bytes of a workspace, given back when this is dropped.
#[derive(Debug)]
pub struct Room(Option<OwnedSemaphorePermit>);

impl Room {
    /// How many.
    pub fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// Gives back all but `bytes`.
    pub fn shrink(&mut self, bytes: usize) {
        let surplus = self.bytes().saturating_sub(bytes);
        drop(self.0.as_mut().and_then(|permit| permit.split(surplus)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn each_exporter_has_its_part_and_all_no_more_than_a_quarter() {
        assert_eq!(size(64 * MIB, 0), 0);
        assert_eq!(size(64 * MIB, 1), 8 * MIB);
        assert_eq!(size(64 * MIB, 6), 2 * MIB);
        assert_eq!(size(1024 * MIB, 3), MOST);
        for exporters in 1..40 {
            assert!(size(16 * MIB, exporters) * exporters <= 4 * MIB);
        }
    }

    #[tokio::test]
    async fn half_of_it_is_taken_at_most_and_what_is_not_used_is_for_others() {
        let workspace = Workspace::new(1000);
        let mut first = workspace.take(usize::MAX).await;
        let second = workspace.take(400).await;
        assert_eq!((first.bytes(), second.bytes()), (500, 400));
        let third = workspace.take(300);
        tokio::pin!(third);
        let is_waiting = tokio::time::timeout(std::time::Duration::ZERO, &mut third).await.is_err();
        assert!(is_waiting, "only 100 are free");
        first.shrink(200);
        assert_eq!((third.await.bytes(), first.bytes()), (300, 200));
    }

    #[tokio::test]
    async fn another_size_counts_from_the_next_piece_on() {
        let workspace = Workspace::new(1000);
        let before = workspace.take(500).await;
        workspace.resize(100);
        assert_eq!(workspace.take(500).await.bytes(), 50);
        drop(before);
        assert_eq!(workspace.take(500).await.bytes(), 50, "its bytes are not those of this room");
    }
}
