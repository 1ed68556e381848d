//! Reads back the requests that wait in a journal, in order, when there is room for them.

use std::{sync::Arc, time::Duration};

use super::{inlet::ReceiverInlet, journal::Journal};
use crate::{component::Stop, engine::disk::stored, otlp::payload::Wait};

/// Bytes that are read at once.
const READ: u64 = 1 << 20;
/// How often to check whether there is room again.
const CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// Replays the journal until `stop` is raised, and one read of it in any case: a process that is
/// stopped right after its start delivers what it has found.
pub async fn replay(journal: Arc<Journal>, inlet: Arc<ReceiverInlet>, mut stop: Stop) {
    let store = &journal.store;
    loop {
        if !store.has_waiting() {
            tokio::select! {
                () = store.waiting.notified() => {}
                () = stop.raised() => return,
            }
        }
        let paused = store.paused_until();
        if paused.is_some() || !inlet.has_room_for_replay() {
            let until = paused.unwrap_or_else(|| tokio::time::Instant::now() + CHECK_INTERVAL);
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                () = stop.raised() => return,
            }
            continue;
        }
        let read = stored::read(Arc::clone(store), READ).await;
        for stored in read.into_iter().flatten() {
            let permit = inlet.owe(stored.body.len() + stored.note.len());
            inlet.replay(store.payload(stored, Some(permit), Wait::Durable));
        }
        if stop.is_raised() {
            return;
        }
    }
}
