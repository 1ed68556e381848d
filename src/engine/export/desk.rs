//! Where dead letters are sent again: through the queue of their exporter.

use std::sync::{Arc, Weak};

use super::{
    dead_letters::{DeadLetters, Resent},
    queue::ExportQueue,
};
use crate::{
    engine::{budget::cost, disk::notes::context_of},
    otlp::{
        Payload,
        payload::{Outcome, Reason, Receipt, Wait},
    },
    storage::{
        Stored,
        letters::{Desk, DeskState, Told},
    },
};

/// From now on, letters are sent again through this queue.
pub(super) fn open(letters: &Arc<DeadLetters>, queue: &Arc<ExportQueue>) {
    let desk = QueueDesk { queue: Arc::downgrade(queue), letters: Arc::clone(letters) };
    letters.letterbox.set_desk(Arc::new(desk));
}

/// Sends letters through a queue, as long as it accepts payloads.
struct QueueDesk {
    queue: Weak<ExportQueue>,
    letters: Arc<DeadLetters>,
}

impl Desk for QueueDesk {
    fn state(&self) -> DeskState {
        let Some(queue) = self.queue.upgrade().filter(|queue| !queue.is_closed()) else {
            return DeskState::Closed;
        };
        let budget = &self.letters.budget;
        let has_memory = budget.used() <= budget.limit() / 4 * 3;
        if has_memory && !queue.is_nearly_full() { DeskState::Free } else { DeskState::Busy }
    }

    fn resend(&self, letter: Stored, told: Told) {
        let letters = Arc::clone(&self.letters);
        let Stored { ticket, signal, note, body, .. } = letter;
        let resent = Resent { ticket, unkept_before: letters.unkept() };
        // Its bytes are already in memory, so they are always charged.
        let permit = letters.budget.owe(cost(body.len() + note.len()));
        let claim = Receipt::new(
            Wait::Delivery,
            Box::new(move |outcome| told(letters.ended(&resent, outcome))),
        );
        let mut payload = Payload::new(signal, body, ticket.items, [permit]);
        payload.receipts.push(claim);
        payload.context = context_of(&note);
        match self.queue.upgrade() {
            // What it may cost is claimed when it is sent.
            Some(queue) => queue.enqueue_again(payload),
            None => payload.finish(Outcome::Failed(Reason::ShuttingDown)),
        }
    }
}
