//! Reads the requests that wait in a journal back, in order, when there is room for them.

use std::{sync::Arc, time::Duration};

use super::{door::EngineDoor, journal::Journal};
use crate::{component::Stop, engine::disk::stored, otlp::payload::Wait};

/// Bytes that are read back at once.
const READ: u64 = 1 << 20;
/// How often to check whether there is room again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Does so until `stop` is raised.
pub async fn replay(journal: Arc<Journal>, door: Arc<EngineDoor>, mut stop: Stop) {
    let store = &journal.store;
    while !stop.is_raised() {
        if !store.has_waiting() {
            tokio::select! {
                () = store.waiting.notified() => {}
                () = stop.raised() => return,
            }
        }
        let paused = store.paused_until();
        if paused.is_some() || !door.has_room_for_replay() {
            let until = paused.unwrap_or_else(|| tokio::time::Instant::now() + LOOK_AGAIN);
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                () = stop.raised() => return,
            }
            continue;
        }
        let read = stored::read(Arc::clone(store), READ).await;
        for stored in read.into_iter().flatten() {
            let permit = door.owe(stored.body.len() + stored.note.len());
            door.replay(store.payload(stored, Some(permit), Wait::Durable));
        }
    }
}
