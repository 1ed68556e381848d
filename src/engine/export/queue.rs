//! The queue in front of one exporter: what it takes, what it refuses, and how many of its payloads
//! are sent at the same time. How one is sent stands in `sender`.
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

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::{JoinError, JoinSet},
    time::Instant,
};

use crate::{
    component::{Delivery, Encodes, Exporter, Queue, Sizer},
    engine::{disk::stored::Read, export::offload::Offload},
    net::rate_limit::RateLimit,
    otlp::{
        Payload,
        payload::{Outcome, Reason, Wait},
    },
    storage::{Place, Stored},
    telemetry::{ExporterStats, Telemetry, oldest::Oldest},
};

use super::{
    dead_letters::DeadLetters,
    fill::{Fill, Gauge},
    gather::{self, Gather, Queued},
    outage::Outage,
    partial::Partial,
    sender::Sender,
    spool::{self, Spool, Spooled},
    workspace::Workspace,
};

/// Bytes that may wait in memory before senders are delayed. With batches of 4 MiB, four wait while
/// ten are being sent, which keeps the senders busy; `benches/loopback` shows the cost of more.
const BEHIND: u64 = 16 << 20;

/// Requests in flight where there is no queue to say how many.
const SYNCHRONOUS_CONSUMERS: usize = 64;

/// The queue of one exporter and signal. Workers put payloads in; its [`Dispatcher`] sends them.
pub struct ExportQueue {
    settings: Option<Queue>,
    spool: Option<Spool>,
    /// Bytes that this queue may hold in memory.
    share: AtomicU64,
    /// What it holds in memory. What is on disk the log counts: there it may also be dropped, or be
    /// lost to damage.
    gauge: Arc<Gauge>,
    /// Whether the last attempt failed.
    is_failing: Arc<AtomicBool>,
    closed: Arc<AtomicBool>,
    /// Whether another queue reads what is on disk.
    has_successor: AtomicBool,
    tx: mpsc::UnboundedSender<Message>,
    stats: Arc<ExporterStats>,
    /// How old its payloads are.
    oldest: Arc<Oldest>,
    /// When the log said last that data is dropped.
    dropping: RateLimit,
    telemetry: Arc<Telemetry>,
    /// `None` if the exporter makes no bytes.
    workspace: Option<Arc<Workspace>>,
}

enum Message {
    Payload(Queued),
    /// Nothing comes after this.
    Close,
}

impl ExportQueue {
    /// A queue that may hold `share` bytes, and the dispatcher that empties it.
    pub fn new(
        exporter: Arc<dyn Exporter>,
        delivery: Delivery,
        share: u64,
        around: Surroundings,
    ) -> (Arc<Self>, Dispatcher) {
        let Surroundings { stats, telemetry, offload, spool, dead_letters, is_guarded } = around;
        let (tx, rx) = mpsc::unbounded_channel();
        let capacity = delivery.queue.as_ref().and_then(|queue| queue.size);
        let unit = delivery.queue.as_ref().map_or(Sizer::Requests, |queue| queue.sizer);
        let log = spool.as_ref().map(|spool| Arc::clone(spool.store.stats()));
        stats.measure_queue(unit.name(), capacity.unwrap_or(0), log);
        let encodes = exporter.encodes();
        let consumers = consumers(delivery.queue.as_ref(), encodes);
        let oldest = stats.watch_queue(consumers);
        let workspace = Arc::new(Workspace::default());
        let mut delivery = delivery;
        if let Some(retry) = delivery.retry.as_mut().filter(|_| is_guarded) {
            // What is on disk can wait until its backend comes back.
            retry.max_elapsed_time = retry.max_elapsed_time.or(Some(Duration::ZERO));
        }
        // With a disk at hand it need not fill memory up to where senders are refused.
        let share = if spool.is_some() { share / 2 } else { share };
        let (is_failing, is_closed) = (Arc::default(), Arc::default());
        let queue = Arc::new(ExportQueue {
            settings: delivery.queue.clone(),
            spool,
            share: AtomicU64::new(share),
            has_successor: AtomicBool::new(false),
            gauge: Gauge::new(Arc::clone(&stats)),
            is_failing: Arc::clone(&is_failing),
            closed: Arc::clone(&is_closed),
            tx,
            stats: Arc::clone(&stats),
            oldest,
            dropping: RateLimit::default(),
            telemetry: Arc::clone(&telemetry),
            workspace: (encodes != Encodes::Inline).then(|| Arc::clone(&workspace)),
        });
        let sender = Sender {
            exporter,
            delivery,
            stats,
            telemetry,
            offload,
            workspace,
            dead_letters,
            is_guarded,
            is_closed,
            is_failing,
            outage: Outage::default(),
            partial: Partial::default(),
        };
        (Arc::clone(&queue), Dispatcher { queue, rx, sender: Arc::new(sender), consumers })
    }

    /// Takes a payload, or refuses it. Called by workers; never waits.
    pub fn enqueue(&self, mut payload: Payload) {
        let (size, bytes) = (self.measure(&payload), payload.len() as u64);
        if self.closed.load(Ordering::SeqCst) {
            return self.refuse(payload, Reason::ShuttingDown);
        }
        if let Some(spool) = self.spool.as_ref().filter(|spool| spool.takes_all()) {
            return self.write_down(spool, payload, size, bytes);
        }
        let (mut fill, has_room) = self.reserve(size, bytes);
        let Some(settings) = &self.settings else {
            // Synchronous: the caller waits for the outcome, so nothing is accepted here.
            return self.push(payload, fill);
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
            // Taken, but not answered for: senders wait, and what they may hold is bounded by
            // the byte budget. The dispatcher accepts it when its turn comes.
            (false, true) => {}
            (true, _) if settings.wait_for_result => {}
            (true, _) => payload.accept(),
        }
        self.push(payload, fill);
    }

    /// Takes a payload that has to be on disk before it is answered for.
    fn write_down(&self, spool: &Spool, payload: Payload, size: u64, bytes: u64) {
        let (mut fill, size_before, bytes_before) = self.gauge.hold(size, bytes);
        if !self.fits(size_before, size) {
            if self.settings.as_ref().is_some_and(|settings| settings.block_on_overflow) {
                // The sender still waits, so the payload need not be on disk yet.
                return self.push(payload, fill);
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
        // For an instant it counts twice, so that no two find the same room.
        fill.is_written();
        match written {
            Spooled::InHand(payload) => self.push(payload, fill),
            Spooled::Waiting => {}
            Spooled::Refused(payload, reason) => {
                drop(fill);
                self.keep_or_refuse(payload, size, bytes, reason);
            }
        }
    }

    /// Keeps in memory what the disk has refused, if its senders were told already that it is
    /// taken, as behind a batch. Those who wait are refused.
    fn keep_or_refuse(&self, payload: Payload, size: u64, bytes: u64, reason: Reason) {
        let is_answered = payload.receipts.iter().all(|one| one.waits_for() == Wait::Delivery);
        let (fill, _, bytes_before) = self.gauge.hold(size, bytes);
        if is_answered && self.fits_share(bytes_before, bytes) {
            return self.push(payload, fill);
        }
        drop(fill);
        self.refuse(payload, reason);
    }

    /// Whether the next payload may find no room: at seven eighths or one below the limit, since
    /// requests on their way and unfinished batches come before it; or where the disk has just
    /// refused one. Never where senders are answered later than that.
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

    /// Whether so much waits in memory that more would only wait longer. Then senders are held up
    /// for a moment, before anybody reads what they have: a queue that is as long as it may be
    /// takes memory and time and delivers no more. Never where the backend fails, since that is
    /// what the queue is there for.
    pub fn is_behind(&self) -> bool {
        let most = BEHIND.min(self.share.load(Ordering::Relaxed) / 2);
        self.settings.is_some() && self.gauge.waiting_bytes() > most && !self.is_failing()
    }

    /// Ends when something has left the queue, or at `until`. Those who wait are called one by one:
    /// who finds room calls the next where there is much.
    pub(in crate::engine) async fn has_less(&self, until: Instant, is_crowded: impl Fn() -> bool) {
        let line = self.gauge.line();
        let called = line.called();
        if is_crowded() {
            // At the time limit the caller checks once more.
            let _ = tokio::time::timeout_at(until, called).await;
        }
    }

    /// Lets the next one who waits for room look for it, if there is plenty.
    pub(in crate::engine) fn call_next(&self) {
        if self.gauge.waiting_bytes() <= BEHIND / 2 {
            self.gauge.call_next();
        }
    }

    /// Whether the last attempt failed.
    pub fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Relaxed)
    }

    /// Sets how many bytes it may hold: a reload divides the budget anew.
    pub fn set_share(&self, share: u64) {
        let share = if self.spool.is_some() { share / 2 } else { share };
        self.share.store(share, Ordering::Relaxed);
    }

    /// What pays for the bytes that its exporter makes; `None` if it makes none.
    pub fn workspace(&self) -> Option<&Workspace> {
        self.workspace.as_deref()
    }

    /// Leaves what is on disk to a queue that takes its place.
    pub fn leave_disk(&self) {
        self.has_successor.store(true, Ordering::SeqCst);
    }

    /// Refuses everything from now on; the dispatcher ends when the queue is empty.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        // Fails where the dispatcher has ended already, which is what closing is for.
        let _ = self.tx.send(Message::Close);
        self.gauge.call_all();
    }

    /// Whether it refuses everything.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
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

    /// Adds to the fill in any case and says whether it was within the limits.
    fn reserve(&self, size: u64, bytes: u64) -> (Fill, bool) {
        let (fill, size_before, bytes_before) = self.gauge.hold(size, bytes);
        (fill, self.fits(size_before, size) && self.fits_share(bytes_before, bytes))
    }

    fn fits(&self, before: u64, size: u64) -> bool {
        let limit = self.settings.as_ref().and_then(|queue| queue.size);
        limit.is_none_or(|limit| before + size + self.on_disk() <= limit)
    }

    /// What it holds on disk, in the unit of its limit.
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

    fn push(&self, payload: Payload, fill: Fill) {
        self.stats.enqueued_items.record(payload.items);
        self.stats.enqueued_bytes.record(payload.len() as u64);
        let message = Message::Payload(Queued::new(payload, fill));
        if let Err(mpsc::error::SendError(Message::Payload(queued))) = self.tx.send(message) {
            self.refuse(queued.payload, Reason::ShuttingDown);
        }
    }

    /// Drops a payload. Its senders are told if they still wait; otherwise the log says it.
    fn refuse(&self, payload: Payload, reason: Reason) {
        if payload.receipts.is_empty() && self.dropping.is_due() {
            tracing::error!(
                exporter = %self.stats.id,
                reason = reason.name(),
                dropped_items = payload.items,
                "The queue takes no more. Dropping data whose senders were told that it is taken. \
                 `skep_dropped_items` has the total."
            );
        }
        self.stats.enqueue_failed.add(payload.items);
        self.telemetry.drop_items(reason, payload.items);
        payload.finish(Outcome::Failed(reason));
    }
}

/// How many payloads are sent at the same time.
fn consumers(settings: Option<&Queue>, encodes: Encodes) -> usize {
    match encodes {
        // One after the other: what is made of a payload follows from those before.
        Encodes::OrderedOnce => 1,
        Encodes::Inline | Encodes::OnWorker => {
            settings.map_or(SYNCHRONOUS_CONSUMERS, |queue| queue.consumers)
        }
    }
}

/// What a queue is connected to.
pub struct Surroundings {
    /// Counters of the exporter.
    pub stats: Arc<ExporterStats>,
    /// Counters of the process.
    pub telemetry: Arc<Telemetry>,
    /// Where encoding runs.
    pub offload: Offload,
    /// The part on disk.
    pub spool: Option<Spool>,
    /// Where goes what is given up for good.
    pub dead_letters: Option<Arc<DeadLetters>>,
    /// Whether all that comes is on disk, here or in a journal.
    pub is_guarded: bool,
}

/// Takes payloads out of the queue and sends them, so many at a time.
pub struct Dispatcher {
    queue: Arc<ExportQueue>,
    rx: mpsc::UnboundedReceiver<Message>,
    sender: Arc<Sender>,
    consumers: usize,
}

impl Dispatcher {
    /// Runs until the queue is closed and empty, or until `abandon` is raised: then what is left
    /// is given up and counted. Returns the items given up.
    pub async fn run(mut self, mut abandon: watch::Receiver<bool>) -> u64 {
        let places = Arc::new(Semaphore::new(self.consumers));
        let batch = self.queue.settings.as_ref().and_then(|queue| queue.batch.clone());
        let mut gather = batch.map(Gather::new);
        let mut sending = JoinSet::new();
        if let Some(letters) = &self.sender.dead_letters {
            letters.open(&self.queue);
        }
        // Ends with this function, however far it has come.
        let mut preparing = JoinSet::new();
        preparing.spawn(self.sender.exporter.prepare());
        let spool = self.queue.spool.clone();
        // At most one part at a time is read from disk.
        let mut reading = JoinSet::new();
        let (mut lost, mut is_open) = (0, true);
        loop {
            let due = gather.as_ref().and_then(Gather::due);
            if reading.is_empty()
                && let Some(spool) = spool.as_ref().filter(|spool| self.reads(spool, is_open))
            {
                reading.spawn(spool.clone().read());
            }
            let waits = spool.as_ref().is_some_and(|spool| self.wants_more(spool, is_open));
            if !is_open && reading.is_empty() && !waits {
                break;
            }
            let mut ready = tokio::select! {
                next = self.rx.recv() => match (next, &mut gather) {
                    (Some(Message::Payload(queued)), None) => vec![queued],
                    (Some(Message::Payload(queued)), Some(gather)) => gather.push(queued),
                    (Some(Message::Close) | None, gather) => {
                        is_open = false;
                        gather.as_mut().map(Gather::take_all).unwrap_or_default()
                    }
                },
                () = gather::until(due) => {
                    gather.as_mut().map(Gather::take_due).unwrap_or_default()
                }
                Some(read) = reading.join_next() => {
                    let payloads = self.read_back(read.ok().flatten());
                    match &mut gather {
                        None => payloads,
                        Some(gather) => {
                            payloads.into_iter().flat_map(|queued| gather.push(queued)).collect()
                        }
                    }
                }
                () = spool::look_again(spool.as_ref()), if reading.is_empty() => continue,
                Some(done) = sending.join_next() => { lost += self.ended(done); continue; }
                _ = abandon.wait_for(|raised| *raised) => break,
            };
            // The first of those that are left is the oldest of them.
            ready.sort_by_key(|queued| queued.arrived);
            let gathered = gather.as_ref().and_then(Gather::oldest);
            for queued in ready {
                let oldest = gathered.map_or(queued.arrived, |held| held.min(queued.arrived));
                self.queue.oldest.wait(Some(oldest));
                let place = tokio::select! {
                    place = Arc::clone(&places).acquire_owned() => place,
                    _ = abandon.wait_for(|raised| *raised) => {
                        lost += self.give_up(queued);
                        continue;
                    }
                };
                let delivery = self.deliver(queued, abandon.clone());
                sending.spawn(async move {
                    let lost = delivery.await;
                    drop(place);
                    lost
                });
            }
            self.queue.oldest.wait(gathered);
            while let Some(done) = sending.try_join_next() {
                lost += self.ended(done);
            }
        }
        for queued in gather.as_mut().map(Gather::take_all).unwrap_or_default() {
            lost += self.give_up(queued);
        }
        self.queue.oldest.wait(None);
        while let Some(done) = sending.join_next().await {
            lost += self.ended(done);
        }
        while let Ok(message) = self.rx.try_recv() {
            if let Message::Payload(queued) = message {
                lost += self.give_up(queued);
            }
        }
        self.sender.exporter.shutdown().await;
        let is_followed = self.queue.has_successor.load(Ordering::SeqCst);
        if let Some(spool) = self.queue.spool.as_ref().filter(|_| is_followed) {
            // Its successor reads what is on disk.
            spool.store.waiting.notify_one();
        }
        lost
    }

    /// The items that a delivery has given up. Payloads that a panic has dropped have already
    /// failed.
    fn ended(&self, done: Result<u64, JoinError>) -> u64 {
        done.unwrap_or_else(|error| {
            let part = format!("exporter {}", self.sender.stats.id);
            self.sender.offload.panics().check(&part, &error);
            0
        })
    }

    /// Whether to read from disk now.
    fn reads(&self, spool: &Spool, is_open: bool) -> bool {
        let in_memory = self.queue.gauge.bytes();
        let share = self.queue.share.load(Ordering::Relaxed);
        self.wants_more(spool, is_open) && spool.has_room(in_memory, share)
    }

    /// Whether there is something to read. At the end only as long as the backend takes it.
    fn wants_more(&self, spool: &Spool, is_open: bool) -> bool {
        let is_ours = !self.queue.has_successor.load(Ordering::SeqCst);
        is_ours && spool.is_readable() && (is_open || !self.queue.is_failing())
    }

    /// What was read from disk, in memory again. The log goes on counting it.
    fn read_back(&self, read: Option<Read>) -> Vec<Queued> {
        let Some(spool) = &self.queue.spool else { return Vec::new() };
        let queued = |stored: Stored| {
            let payload = spool.payload(stored);
            let (fill, ..) = self.queue.gauge.hold(0, payload.len() as u64);
            Queued::new(payload, fill)
        };
        read.into_iter().flatten().map(queued).collect()
    }

    fn deliver(
        &self,
        mut queued: Queued,
        abandon: watch::Receiver<bool>,
    ) -> impl Future<Output = u64> + Send + 'static {
        let (queue, sender) = (Arc::clone(&self.queue), Arc::clone(&self.sender));
        let being_sent = queue.oldest.send(queued.arrived);
        async move {
            let is_accepted_now =
                queue.settings.as_ref().is_some_and(|settings| !settings.wait_for_result);
            if is_accepted_now {
                queued.payload.accept();
            }
            let Queued { payload, mut fill, .. } = queued;
            fill.is_sent();
            let _held = (fill, being_sent, InFlight::new(&sender.stats));
            sender.deliver(payload, abandon).await
        }
    }

    fn give_up(&self, queued: Queued) -> u64 {
        let items = queued.payload.items;
        self.sender.fail(queued.payload, Reason::ShuttingDown);
        if self.sender.is_guarded { 0 } else { items }
    }
}

/// A payload on its way to the backend, for the metrics page.
struct InFlight(Arc<ExporterStats>);

impl InFlight {
    fn new(stats: &Arc<ExporterStats>) -> Self {
        stats.in_flight.add(1);
        InFlight(Arc::clone(stats))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.sub(1);
    }
}

#[cfg(test)]
mod tests;
