//! The queue in front of one exporter: what it takes and what it refuses. `dispatcher` takes
//! payloads out of it, and `sender` sends them.
//!
//! ```text
//! worker -- enqueue (room? accept) --> channel --> dispatcher -- one task per payload, at most
//!                                                  `consumers` --> encode, attempt, pause, ...
//! ```
//!
//! A queue refuses when it is full by its own measure or when it would hold more than its share
//! of the byte budget: a dead backend fills its own queue and nobody else's. The channel itself
//! needs no bound, since `enqueue` is the only way in. A queue may have a part on disk, see
//! `spool`.
//!
//! It decides by its own state, never by a counter of the metrics page. What each payload takes up
//! is a `Fill`, which is given back when it is dropped.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio::{sync::mpsc, time::Instant};

use super::{
    allowance::Allowance,
    dead_letters::DeadLetters,
    fill::{Fill, Gauge},
    gate::{Gate, Passed},
    gather::Queued,
    offload::Offload,
    spool::{Spool, Spooled},
    state::State,
    workspace::Workspace,
};
use crate::{
    component::{BudgetUse, Queue, Sizer},
    net::rate_limit::RateLimit,
    otlp::{
        Payload,
        payload::{Outcome, Reason, Wait},
    },
    storage::Place,
    telemetry::{ExporterStats, Telemetry, oldest::Oldest},
};

/// Bytes that may wait in memory before senders are delayed. With batches of 4 MiB, four wait while
/// ten are being sent, which keeps the senders busy; `benches/loopback` shows the cost of more.
const BEHIND: u64 = 16 << 20;

/// The queue of one exporter and signal. Workers put payloads in; its dispatcher takes them out.
pub struct ExportQueue {
    settings: Option<Queue>,
    spool: Option<Spool>,
    /// Bytes that this queue may hold in memory.
    share: AtomicU64,
    /// How full it is in memory. The log counts what is on disk, where payloads may also be dropped
    /// or be lost to damage.
    gauge: Arc<Gauge>,
    state: Arc<State>,
    /// Whether another queue reads what is on disk.
    pub(super) has_successor: AtomicBool,
    messages: mpsc::UnboundedSender<Message>,
    stats: Arc<ExporterStats>,
    /// How old its payloads are.
    pub(super) oldest: Arc<Oldest>,
    /// Limits how often the log says that data is dropped.
    dropping: RateLimit,
    telemetry: Arc<Telemetry>,
    /// `None` if the exporter makes no bytes.
    workspace: Option<Arc<Workspace>>,
    /// What the monthly budget of the exporter lets pass; `None` if there is no budget.
    gate: Option<Gate>,
}

/// What a queue hands to its dispatcher.
pub(super) enum Message {
    Payload(Queued),
    /// Nothing comes after this.
    Close,
}

/// What a queue and its dispatcher are connected to.
pub struct Deps {
    /// Counters of the exporter.
    pub stats: Arc<ExporterStats>,
    /// Counters of the process.
    pub telemetry: Arc<Telemetry>,
    /// Where encoding runs.
    pub offload: Offload,
    /// The part of the queue that is on disk.
    pub spool: Option<Spool>,
    /// Where data goes that has permanently failed.
    pub dead_letters: Option<Arc<DeadLetters>>,
    /// Whether all payloads are on disk, here or in a journal.
    pub is_guarded: bool,
    /// The monthly budget of the exporter.
    pub monthly: Option<Monthly>,
}

/// The monthly budget of an exporter, and how its units are counted.
#[derive(Clone)]
pub struct Monthly {
    /// What all queues of the exporter share.
    pub allowance: Arc<Allowance>,
    /// Its settings.
    pub budget: BudgetUse,
}

impl ExportQueue {
    /// A queue that may hold `share` bytes, and the other end of its channel.
    pub(super) fn new(
        settings: Option<Queue>,
        share: u64,
        consumers: usize,
        workspace: Option<Arc<Workspace>>,
        deps: &Deps,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Message>) {
        let (messages, received) = mpsc::unbounded_channel();
        let capacity = settings.as_ref().and_then(|queue| queue.size);
        let unit = settings.as_ref().map_or(Sizer::Requests, |queue| queue.sizer);
        let log = deps.spool.as_ref().map(|spool| Arc::clone(spool.store.stats()));
        deps.stats.measure_queue(unit.name(), capacity.unwrap_or(0), log);
        let queue = ExportQueue {
            settings,
            spool: deps.spool.clone(),
            share: AtomicU64::new(0),
            has_successor: AtomicBool::new(false),
            gauge: Gauge::new(Arc::clone(&deps.stats)),
            state: Arc::default(),
            messages,
            stats: Arc::clone(&deps.stats),
            oldest: deps.stats.watch_queue(consumers),
            dropping: RateLimit::default(),
            telemetry: Arc::clone(&deps.telemetry),
            workspace,
            gate: deps.monthly.as_ref().map(|monthly| {
                let Monthly { allowance, budget } = monthly;
                Gate::new(Arc::clone(allowance), budget, deps.dead_letters.as_ref())
            }),
        };
        queue.set_share(share);
        (Arc::new(queue), received)
    }

    /// Takes a payload, or refuses it. Called by workers; never waits. What the budget of the
    /// exporter does not let pass ends here.
    pub fn enqueue(&self, payload: Payload) {
        let Some(gate) = self.gate.as_ref().filter(|_| !self.is_closed()) else {
            return self.take(payload, None);
        };
        match gate.pass(payload) {
            Passed::On(payload, units) => self.take(payload, units),
            Passed::LeftOut => {}
            Passed::Refused(payload, reason) => self.refuse(payload, reason),
        }
    }

    /// Takes a payload that has passed the gate before, as a dead letter has.
    pub(super) fn enqueue_again(&self, payload: Payload) {
        self.take(payload, None);
    }

    /// `units` are those of the monthly budget, if they are known.
    fn take(&self, mut payload: Payload, units: Option<u64>) {
        let (size, bytes) = (self.measure(&payload), payload.len() as u64);
        if self.is_closed() {
            return self.refuse(payload, Reason::ShuttingDown);
        }
        if let Some(spool) = self.spool.as_ref().filter(|spool| spool.takes_all()) {
            return self.write_down(spool, payload, (size, bytes), units);
        }
        let (mut fill, size_before, bytes_before) = self.gauge.hold(size, bytes);
        let has_room = self.fits(size_before, size) && self.fits_share(bytes_before, bytes);
        let Some(settings) = &self.settings else {
            // Synchronous: the caller waits for the outcome, so nothing is accepted here.
            return self.push(payload, fill, units);
        };
        if let Some(spool) = self.spool.as_ref().filter(|_| !has_room) {
            fill.leaves_memory();
            if let Spooled::Refused(payload, reason) = spool.write(payload, Place::Waiting) {
                self.refuse(payload, reason);
            }
            return;
        }
        match (has_room, settings.block_on_overflow) {
            (false, false) => {
                drop(fill);
                return self.refuse(payload, Reason::QueueFull);
            }
            // It is taken but not accepted yet: its senders wait, and the byte budget bounds what
            // they hold. The dispatcher accepts it when its turn comes.
            (false, true) => {}
            (true, _) if settings.wait_for_result => {}
            (true, _) => payload.accept(),
        }
        self.push(payload, fill, units);
    }

    /// Takes a payload that has to be on disk before it is acknowledged.
    fn write_down(
        &self,
        spool: &Spool,
        payload: Payload,
        (size, bytes): (u64, u64),
        units: Option<u64>,
    ) {
        let (mut fill, size_before, bytes_before) = self.gauge.hold(size, bytes);
        if !self.fits(size_before, size) {
            if self.settings.as_ref().is_some_and(|settings| settings.block_on_overflow) {
                // The sender still waits, so the payload need not be on disk yet.
                return self.push(payload, fill, units);
            }
            drop(fill);
            return self.refuse(payload, Reason::QueueFull);
        }
        let fits_memory = self.fits_share(bytes_before, bytes) && !spool.store.has_waiting();
        if !fits_memory {
            fill.leaves_memory();
        }
        let place = if fits_memory { Place::InHand } else { Place::Waiting };
        let written = spool.write(payload, place);
        // For an instant it counts twice, so that no two payloads find the same room.
        fill.is_written();
        match written {
            Spooled::InHand(payload) => self.push(payload, fill, units),
            Spooled::Waiting => {}
            Spooled::Refused(payload, reason) => {
                drop(fill);
                self.keep_or_refuse(payload, (size, bytes), units, reason);
            }
        }
    }

    /// Keeps a payload in memory that the disk has refused, if its senders have already been told
    /// that it is taken, as behind a batch. Otherwise refuses it.
    fn keep_or_refuse(
        &self,
        payload: Payload,
        (size, bytes): (u64, u64),
        units: Option<u64>,
        reason: Reason,
    ) {
        let is_answered = payload.receipts.iter().all(|one| one.waits_for() == Wait::Delivery);
        let (fill, _, bytes_before) = self.gauge.hold(size, bytes);
        if is_answered && self.fits_share(bytes_before, bytes) {
            return self.push(payload, fill, units);
        }
        drop(fill);
        self.refuse(payload, reason);
    }

    /// Whether the next payload may find no room: at seven eighths or one below the limit, since
    /// requests on their way and unfinished batches come before it; or if the disk has just refused
    /// one. Never if senders are answered only later.
    pub fn is_nearly_full(&self) -> bool {
        let answers_later = |queue: &&Queue| queue.block_on_overflow || queue.wait_for_result;
        let Some(queue) = self.settings.as_ref().filter(|queue| !answers_later(queue)) else {
            return false;
        };
        let most = |limit: u64| (limit - (limit / 8).max(1).min(limit)).max(1);
        let takes_all = self.spool.as_ref().is_some_and(Spool::takes_all);
        if takes_all && self.spool.as_ref().is_some_and(|spool| spool.store.is_refusing()) {
            return true;
        }
        let share = self.share.load(Ordering::Relaxed);
        (!takes_all && self.gauge.bytes() >= most(share))
            || queue.size.is_some_and(|limit| self.gauge.size() + self.on_disk() >= most(limit))
    }

    /// Whether so much waits in memory that more would only wait longer. Then senders are delayed
    /// for a moment, before their bodies are read: a queue at its limit takes memory and time and
    /// delivers no more. Never if the backend fails, since that is what the queue is for.
    pub fn is_behind(&self) -> bool {
        let most = BEHIND.min(self.share.load(Ordering::Relaxed) / 2);
        self.settings.is_some() && self.gauge.waiting_bytes() > most && !self.is_failing()
    }

    /// Ends when something has left the queue, or at `until`. Waiting requests are woken one by
    /// one; each one that finds room wakes the next, see [`ExportQueue::call_next`].
    pub(in crate::engine) async fn has_less(&self, until: Instant, is_crowded: impl Fn() -> bool) {
        let line = self.gauge.line();
        let called = line.called();
        if is_crowded() {
            // At the time limit the caller checks once more.
            let _ = tokio::time::timeout_at(until, called).await;
        }
    }

    /// Wakes the next request that waits for room, if there is plenty.
    pub(in crate::engine) fn call_next(&self) {
        if self.gauge.waiting_bytes() <= BEHIND / 2 {
            self.gauge.call_next();
        }
    }

    /// Whether the last attempt failed.
    pub fn is_failing(&self) -> bool {
        self.state.is_failing()
    }

    /// Sets how many bytes it may hold: a reload divides the budget anew.
    pub fn set_share(&self, share: u64) {
        // With a disk it need not fill memory up to the point where senders are refused.
        let share = if self.spool.is_some() { share / 2 } else { share };
        self.share.store(share, Ordering::Relaxed);
    }

    /// What pays for the bytes that its exporter allocates; `None` if it allocates none.
    pub fn workspace(&self) -> Option<&Workspace> {
        self.workspace.as_deref()
    }

    /// Leaves what is on disk to a queue that takes its place.
    pub fn leave_disk(&self) {
        self.has_successor.store(true, Ordering::SeqCst);
    }

    /// Refuses everything from now on; the dispatcher ends when the queue is empty.
    pub fn close(&self) {
        self.state.close();
        // Fails if the dispatcher has ended already, which is what closing is for.
        let _ = self.messages.send(Message::Close);
        self.gauge.call_all();
    }

    /// Whether it refuses everything.
    pub(super) fn is_closed(&self) -> bool {
        self.state.is_closed()
    }

    pub(super) fn state(&self) -> &Arc<State> {
        &self.state
    }

    pub(super) fn settings(&self) -> Option<&Queue> {
        self.settings.as_ref()
    }

    pub(super) fn spool(&self) -> Option<&Spool> {
        self.spool.as_ref()
    }

    /// Bytes that it holds in memory, and that it may hold there.
    pub(super) fn memory(&self) -> (u64, u64) {
        (self.gauge.bytes(), self.share.load(Ordering::Relaxed))
    }

    /// A payload from disk, which takes up memory again.
    pub(super) fn read_back(&self, payload: Payload) -> Queued {
        let (fill, ..) = self.gauge.hold(0, payload.len() as u64);
        Queued::new(payload, fill)
    }

    /// The exporter's counters.
    pub fn stats(&self) -> &Arc<ExporterStats> {
        &self.stats
    }

    fn measure(&self, payload: &Payload) -> u64 {
        match self.settings.as_ref().map(|queue| queue.sizer) {
            None | Some(Sizer::Requests) => 1,
            Some(Sizer::Items) => payload.items,
            Some(Sizer::Bytes) => payload.len() as u64,
        }
    }

    fn fits(&self, before: u64, size: u64) -> bool {
        let limit = self.settings.as_ref().and_then(|queue| queue.size);
        limit.is_none_or(|limit| before + size + self.on_disk() <= limit)
    }

    /// How much it holds on disk, in the unit of its limit.
    fn on_disk(&self) -> u64 {
        let Some(spool) = &self.spool else { return 0 };
        let held = spool.store.held();
        match self.settings.as_ref().map(|queue| queue.sizer) {
            None | Some(Sizer::Requests) => held.records,
            Some(Sizer::Items) => held.items,
            Some(Sizer::Bytes) => held.bytes,
        }
    }

    /// The first payload is always taken: a limit below one payload must not refuse for ever.
    fn fits_share(&self, before: u64, bytes: u64) -> bool {
        before == 0 || before + bytes <= self.share.load(Ordering::Relaxed)
    }

    fn push(&self, payload: Payload, fill: Fill, units: Option<u64>) {
        self.stats.enqueued_items.record(payload.items);
        self.stats.enqueued_bytes.record(payload.len() as u64);
        let message = Message::Payload(Queued { units, ..Queued::new(payload, fill) });
        if let Err(mpsc::error::SendError(Message::Payload(queued))) = self.messages.send(message) {
            self.refuse(queued.payload, Reason::ShuttingDown);
        }
    }

    /// Drops a payload. Senders that still wait are told so; otherwise it is logged.
    fn refuse(&self, payload: Payload, reason: Reason) {
        if payload.receipts.is_empty() && self.dropping.is_due() {
            tracing::error!(
                exporter = %self.stats.id,
                reason = reason.name(),
                dropped_items = payload.items,
                "The queue takes no more. Dropping data that was already acknowledged to its \
                 senders. `skep_dropped_items` has the total."
            );
        }
        self.stats.enqueue_failed.add(payload.items);
        self.telemetry.drop_items(reason, payload.items);
        payload.finish(Outcome::Failed(reason));
    }
}

#[cfg(test)]
mod tests;
