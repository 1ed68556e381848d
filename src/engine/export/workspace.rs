//! Memory that is set aside from the byte budget for encoding: each exporter has a workspace of
//! its own.
//!
//! Payloads in queues are paid for by the budget, and encoded bytes by the workspace. So an encoder
//! never waits for bytes while it holds bytes of the same account, and encoding goes on however
//! full the queues are. An exporter takes room before it encodes a piece, keeps as much as the
//! request needs, and gives it back when the request was sent or has failed. During the pause
//! before another attempt it holds no room, unless it encodes only once. Because workspaces are
//! separate, a slow backend does not delay other exporters.
//!
//! ```text
//! budget 64 MiB --+-- 56 MiB  bodies: receivers, processors, queues
//!                 +--  8 MiB  workspaces, for each exporter that makes bytes the same
//! ```
//!
//! Invariant: beside the bodies of their payloads, exporters hold no more bytes than their
//! workspaces. While a reload replaces an exporter, the old and the new workspace both exist.

use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::sync;

/// All workspaces together are one eighth of the budget.
const PART: u64 = 8;
/// If that is less than [`LEAST`] for each, they are at most one quarter.
const LARGEST_PART: u64 = 4;
/// Largest workspace; no exporter needs more.
const MOST: u64 = 16 << 20;
/// Smallest workspace, if the budget allows: a batch of CloudWatch Logs has 1 MiB, and smaller
/// workspaces would make smaller batches.
const LEAST: u64 = 2 << 20;

/// Bytes of each workspace if `exporters` exporters need one.
pub fn size(budget: u64, exporters: u64) -> u64 {
    let Some(own) = (budget / PART).checked_div(exporters) else { return 0 };
    own.max(LEAST.min(budget / LARGEST_PART / exporters)).min(MOST)
}

/// The workspace of one exporter.
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
    /// A workspace of `bytes` bytes.
    pub fn new(bytes: u64) -> Self {
        Workspace(Mutex::new(Space::new(bytes)))
    }

    /// Changes the size. Room that is in use now returns to the old workspace.
    pub fn resize(&self, bytes: u64) {
        let mut space = sync::lock(&self.0);
        if u64::from(space.bytes) != bytes.min(MOST) {
            *space = Space::new(bytes);
        }
    }

    /// Waits for `wanted` bytes and takes them. Takes at most half of the workspace, so that one
    /// piece can be encoded while another is sent.
    pub async fn take(&self, wanted: usize) -> Room {
        let (free, bytes) = {
            let space = sync::lock(&self.0);
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
    /// Number of bytes.
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
    async fn a_piece_takes_at_most_half_and_returns_what_it_does_not_use() {
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
    async fn a_new_size_applies_from_the_next_piece_on() {
        let workspace = Workspace::new(1000);
        let before = workspace.take(500).await;
        workspace.resize(100);
        assert_eq!(workspace.take(500).await.bytes(), 50);
        drop(before);
        assert_eq!(
            workspace.take(500).await.bytes(),
            50,
            "the old bytes do not return to the new workspace"
        );
    }
}
