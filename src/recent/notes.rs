//! What others note of traces: decisions and deliveries. A note may be made before the spans of its
//! trace are digested, so it waits until everything has been digested that was offered before it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crossbeam_channel::{Receiver, Sender};

use super::{
    fate::{Decision, Delivery, Labels},
    slots::Slots,
};

/// Most notes that wait.
const NOTES: usize = 8192;

#[derive(Debug)]
enum What {
    Decided(Decision),
    Delivered(Delivery),
}

/// One note.
#[derive(Debug)]
struct Note {
    trace: [u8; 16],
    what: What,
    /// Of the policy or exporter.
    name: Arc<str>,
    /// Requests that have to be digested before it.
    after: u64,
}

/// Notes that wait.
#[derive(Debug)]
pub(super) struct Notes {
    sender: Sender<Note>,
    receiver: Receiver<Note>,
    /// Requests that were offered and taken, and those that were digested.
    offered: AtomicU64,
    digested: AtomicU64,
    lost: AtomicU64,
}

/// The note that comes next, if it was taken out too early.
#[derive(Debug, Default)]
pub(super) struct Early(Option<Note>);

impl Notes {
    pub(super) fn new() -> Self {
        let (sender, receiver) = crossbeam_channel::bounded(NOTES);
        Notes {
            sender,
            receiver,
            offered: AtomicU64::new(0),
            digested: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }

    /// Bytes that they take.
    pub(super) const fn size() -> usize {
        // The channel keeps a stamp beside each.
        NOTES * (size_of::<Note>() + 8)
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// A request was offered and taken.
    pub(super) fn offered(&self) {
        self.offered.fetch_add(1, Ordering::Release);
    }

    /// A request was digested.
    pub(super) fn digested(&self) {
        self.digested.fetch_add(1, Ordering::Release);
    }

    pub(super) fn decided(&self, trace: &[u8; 16], decision: Decision, name: &Arc<str>) {
        self.add(trace, What::Decided(decision), name);
    }

    pub(super) fn delivered(&self, trace: &[u8; 16], delivery: Delivery, name: &Arc<str>) {
        self.add(trace, What::Delivered(delivery), name);
    }

    fn add(&self, trace: &[u8; 16], what: What, name: &Arc<str>) {
        let after = self.offered.load(Ordering::Acquire);
        let note = Note { trace: *trace, what, name: Arc::clone(name), after };
        if self.sender.try_send(note).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes down what may be written now. Notes on traces that are not held are dropped.
    pub(super) fn apply(&self, early: &mut Early, slots: &mut Slots, labels: &mut Labels) {
        let digested = self.digested.load(Ordering::Acquire);
        while let Some(note) = early.0.take().or_else(|| self.receiver.try_recv().ok()) {
            if note.after > digested {
                early.0 = Some(note);
                return;
            }
            let Some(slot) = slots.find(&note.trace) else { continue };
            let fate = &mut slots.at_mut(slot).fate;
            match note.what {
                What::Decided(decision) => labels.decide(fate, decision, &note.name),
                What::Delivered(delivery) => labels.deliver(fate, &note.name, delivery),
            }
        }
    }
}
