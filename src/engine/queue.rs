//! The queue in front of one exporter: what it takes, what it refuses, and how many of its payloads are
//! sent at the same time. How one is sent stands in `sender`.
//!
//! ```text
//! worker -- enqueue (room? accept) --> channel --> dispatcher -- one task per payload, at most
//!                                                  `consumers` --> encode, attempt, pause, ...
//! ```
//!
//! A queue refuses when it is full by its own measure or when it would hold more than its share
//! of the byte budget: a dead backend fills its own queue and nobody else's. The channel itself
//! needs no bound, since `enqueue` is the only way in. A queue may have a part on disk, see `spool`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
    time::Instant,
};

use crate::{
    component::{Delivery, Exporter, Queue, Sizer},
    otlp::{
        Payload,
        payload::{Outcome, Reason},
    },
    storage::{Place, Stored},
    telemetry::{ExporterStats, Telemetry, oldest::Oldest},
};

use super::{
    dead_letters::DeadLetters,
    gather::{self, Gather, Queued},
    outage::Outage,
    partial::Partial,
    pool::Offload,
    sender::Sender,
    spool::{self, Spool, Spooled},
    stored::Read,
};

/// Requests in flight where there is no queue to say how many.
const SYNCHRONOUS_CONSUMERS: usize = 64;

/// The queue of one exporter and signal. Workers put payloads in; its [`Dispatcher`] sends them.
pub struct ExportQueue {
    settings: Option<Queue>,
    spool: Option<Spool>,
    /// Bytes that this queue may hold in memory.
    share: AtomicU64,
    /// What it holds that is on no disk, in the unit of its limit. What is on disk the log counts: there it may
    /// also be dropped, or be lost to damage.
    unwritten: AtomicU64,
    /// Bytes that it holds in memory.
    bytes: AtomicU64,
    closed: AtomicBool,
    /// Whether another queue reads what is on disk.
    has_successor: AtomicBool,
    tx: mpsc::UnboundedSender<Message>,
    stats: Arc<ExporterStats>,
    /// How old its payloads are.
    oldest: Arc<Oldest>,
    telemetry: Arc<Telemetry>,
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
        let oldest = stats.watch_queue(consumers(delivery.queue.as_ref()));
        let mut delivery = delivery;
        if let Some(retry) = delivery.retry.as_mut().filter(|_| is_guarded) {
            // What is on disk can wait until its backend comes back.
            retry.max_elapsed_time = retry.max_elapsed_time.or(Some(Duration::ZERO));
        }
        // With a disk at hand it need not fill memory up to where senders are refused.
        let share = if spool.is_some() { share / 2 } else { share };
        let queue = Arc::new(ExportQueue {
            settings: delivery.queue.clone(),
            spool,
            share: AtomicU64::new(share),
            has_successor: AtomicBool::new(false),
            unwritten: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            tx,
            stats: Arc::clone(&stats),
            oldest,
            telemetry: Arc::clone(&telemetry),
        });
        let sender = Sender {
            exporter,
            delivery,
            stats,
            telemetry,
            offload,
            dead_letters,
            is_guarded,
            outage: Outage::default(),
            partial: Partial::default(),
        };
        (Arc::clone(&queue), Dispatcher { queue, rx, sender: Arc::new(sender) })
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
        let has_room = self.reserve(size, bytes);
        let Some(settings) = &self.settings else {
            // Synchronous: the caller waits for the outcome, so nothing is accepted here.
            return self.push(payload, size, bytes);
        };
        if let Some(spool) = self.spool.as_ref().filter(|_| !has_room) {
            self.release(0, bytes);
            let written = spool.write(payload, Place::Waiting);
            self.release(size, 0);
            if let Spooled::Refused(payload, reason) = written {
                self.refuse(payload, reason);
            }
            return;
        }
        match (has_room, settings.block_on_overflow) {
            (false, false) => {
                self.release(size, bytes);
                return self.refuse(payload, Reason::QueueFull);
            }
            // Taken, but not answered for: senders wait, and what they may hold is bounded by
            // the byte budget. The dispatcher accepts it when its turn comes.
            (false, true) => {}
            (true, _) if settings.wait_for_result => {}
            (true, _) => payload.accept(),
        }
        self.push(payload, size, bytes);
    }

    /// Takes a payload that has to be on disk before it is answered for.
    fn write_down(&self, spool: &Spool, payload: Payload, size: u64, bytes: u64) {
        let fits = self.reserve_size(size);
        if !fits && self.settings.as_ref().is_some_and(|settings| settings.block_on_overflow) {
            // Its sender waits, so there is nothing to write down yet.
            self.reserve_bytes(bytes);
            return self.push(payload, size, bytes);
        }
        if !fits {
            self.release(size, 0);
            return self.refuse(payload, Reason::QueueFull);
        }
        let fits_memory = self.reserve_bytes(bytes) && !spool.store.has_waiting();
        if !fits_memory {
            self.release(0, bytes);
        }
        let place = if fits_memory { Place::InHand } else { Place::Waiting };
        let written = spool.write(payload, place);
        // For an instant it counts twice, so that no two find the same room.
        self.release(size, 0);
        match written {
            Spooled::InHand(payload) => self.push(payload, 0, bytes),
            Spooled::Waiting => {}
            Spooled::Refused(payload, reason) => {
                self.release(0, if fits_memory { bytes } else { 0 });
                self.refuse(payload, reason);
            }
        }
    }

    /// Whether what comes next may find no room: at seven eighths or one below the limit, since requests on their way and
    /// batches in the making come before it. Never where senders are answered later than that.
    pub fn is_nearly_full(&self) -> bool {
        let answers_later = |queue: &&Queue| queue.block_on_overflow || queue.wait_for_result;
        let Some(queue) = self.settings.as_ref().filter(|queue| !answers_later(queue)) else {
            return false;
        };
        let most = |limit: u64| (limit - (limit / 8).max(1).min(limit)).max(1);
        let takes_all = self.spool.as_ref().is_some_and(Spool::takes_all);
        let share = self.share.load(Ordering::Relaxed);
        (!takes_all && self.bytes.load(Ordering::Relaxed) >= most(share))
            || queue.size.is_some_and(|limit| {
                self.unwritten.load(Ordering::Relaxed) + self.on_disk() >= most(limit)
            })
    }

    /// Whether the last attempt failed.
    pub fn is_failing(&self) -> bool {
        self.stats.last_error().is_some()
    }

    /// Sets how many bytes it may hold: a reload divides the budget anew.
    pub fn set_share(&self, share: u64) {
        let share = if self.spool.is_some() { share / 2 } else { share };
        self.share.store(share, Ordering::Relaxed);
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
    fn reserve(&self, size: u64, bytes: u64) -> bool {
        let (fits, fits_share) = (self.reserve_size(size), self.reserve_bytes(bytes));
        fits && fits_share
    }

    fn reserve_size(&self, size: u64) -> bool {
        let before = self.unwritten.fetch_add(size, Ordering::SeqCst);
        self.stats.queue_unwritten.add(size);
        let limit = self.settings.as_ref().and_then(|queue| queue.size);
        limit.is_none_or(|limit| before + size + self.on_disk() <= limit)
    }

    /// What it holds on disk, in the unit of its limit.
    fn on_disk(&self) -> u64 {
        let unit = self.settings.as_ref().map_or(Sizer::Requests, |queue| queue.sizer);
        self.spool.as_ref().map_or(0, |spool| spool.store.stats().fill(unit.name()))
    }

    /// The first payload is always taken: a limit below one payload must not refuse for ever.
    fn reserve_bytes(&self, bytes: u64) -> bool {
        let before = self.bytes.fetch_add(bytes, Ordering::SeqCst);
        self.stats.queue_bytes.add(bytes);
        before == 0 || before + bytes <= self.share.load(Ordering::Relaxed)
    }

    fn release(&self, size: u64, bytes: u64) {
        self.unwritten.fetch_sub(size, Ordering::SeqCst);
        self.bytes.fetch_sub(bytes, Ordering::SeqCst);
        self.stats.queue_unwritten.sub(size);
        self.stats.queue_bytes.sub(bytes);
    }

    fn push(&self, payload: Payload, size: u64, bytes: u64) {
        self.stats.enqueued_items.record(payload.items);
        self.stats.enqueued_bytes.record(bytes);
        let message = Message::Payload(self.hold(payload, size, bytes));
        if let Err(mpsc::error::SendError(Message::Payload(queued))) = self.tx.send(message) {
            self.release(size, bytes);
            self.stats.queue_items.sub(queued.payload.items);
            self.refuse(queued.payload, Reason::ShuttingDown);
        }
    }

    /// A payload that came into memory just now.
    fn hold(&self, payload: Payload, size: u64, bytes: u64) -> Queued {
        self.stats.queue_items.add(payload.items);
        Queued { payload, size, bytes, arrived: Instant::now() }
    }

    fn refuse(&self, payload: Payload, reason: Reason) {
        self.stats.enqueue_failed.add(payload.items);
        self.telemetry.drop_items(reason, payload.items);
        payload.finish(Outcome::Failed(reason));
    }
}

/// How many payloads are sent at the same time.
fn consumers(settings: Option<&Queue>) -> usize {
    settings.map_or(SYNCHRONOUS_CONSUMERS, |queue| queue.consumers)
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
}

impl Dispatcher {
    /// Runs until the queue is closed and empty, or until `abandon` is raised: then what is left
    /// is given up and counted. Returns the items given up.
    pub async fn run(mut self, mut abandon: watch::Receiver<bool>) -> u64 {
        let places = Arc::new(Semaphore::new(consumers(self.queue.settings.as_ref())));
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
                Some(done) = sending.join_next() => { lost += done.unwrap_or(0); continue; }
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
                lost += done.unwrap_or(0);
            }
        }
        for queued in gather.as_mut().map(Gather::take_all).unwrap_or_default() {
            lost += self.give_up(queued);
        }
        self.queue.oldest.wait(None);
        while let Some(done) = sending.join_next().await {
            lost += done.unwrap_or(0);
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

    /// Whether to read from disk now.
    fn reads(&self, spool: &Spool, is_open: bool) -> bool {
        let in_memory = self.queue.bytes.load(Ordering::SeqCst);
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
            let bytes = payload.len() as u64;
            self.queue.reserve_bytes(bytes);
            self.queue.hold(payload, 0, bytes)
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
            let stats = Arc::clone(&sender.stats);
            stats.in_flight.add(1);
            let items = queued.payload.items;
            let lost = sender.deliver(queued.payload, abandon).await;
            stats.in_flight.sub(1);
            stats.queue_items.sub(items);
            drop(being_sent);
            queue.release(queued.size, queued.bytes);
            lost
        }
    }

    fn give_up(&self, queued: Queued) -> u64 {
        let items = queued.payload.items;
        self.queue.release(queued.size, queued.bytes);
        self.queue.stats.queue_items.sub(items);
        self.sender.fail(queued.payload, Reason::ShuttingDown);
        if self.sender.is_guarded { 0 } else { items }
    }
}

#[cfg(test)]
mod tests;
