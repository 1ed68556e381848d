//! Takes payloads out of an exporter's queue and has them sent, at most `consumers` at a time.
//!
//! ```text
//! queue --+--------------------------+--> one task per payload: `sender`
//! disk ---+   (batch, if configured) |
//! ```
//!
//! It is one task, so its state needs no lock. It waits for seven kinds of events, see `Event`.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::{JoinError, JoinSet},
};

use super::{
    carrier::Carrier,
    desk,
    gather::{self, Gather, Queued},
    meter::Meter,
    outage::Outage,
    partial::Partial,
    queue::{Deps, ExportQueue, Message},
    sender::Sender,
    spool::{self, Spool},
    workspace::Workspace,
};
use crate::{
    component::{Delivery, Encodes, ErasedExporter, Queue},
    engine::disk::stored::Read,
    otlp::payload::Reason,
    storage::Stored,
    telemetry::ExporterStats,
};

/// Requests in flight if there is no queue to say how many.
const SYNCHRONOUS_CONSUMERS: usize = 64;

/// The task behind an exporter's queue.
pub struct Dispatcher {
    queue: Arc<ExportQueue>,
    messages: mpsc::UnboundedReceiver<Message>,
    sender: Arc<Sender>,
    consumers: usize,
}

impl Dispatcher {
    /// A queue that may hold `share` bytes, and the dispatcher that empties it.
    pub fn new(
        exporter: Arc<dyn ErasedExporter>,
        delivery: Delivery,
        share: u64,
        deps: Deps,
    ) -> (Arc<ExportQueue>, Dispatcher) {
        let mut delivery = delivery;
        if let Some(retry) = delivery.retry.as_mut().filter(|_| deps.is_guarded) {
            // Data on disk can wait until its backend comes back.
            retry.max_elapsed_time = retry.max_elapsed_time.or(Some(Duration::ZERO));
        }
        let encodes = exporter.encodes();
        let consumers = consumers(delivery.queue.as_ref(), encodes);
        let workspace = Arc::new(Workspace::default());
        let needed = (encodes != Encodes::Inline).then(|| Arc::clone(&workspace));
        let settings = delivery.queue.clone();
        let (queue, messages) = ExportQueue::new(settings, share, consumers, needed, &deps);
        let carrier = Carrier {
            exporter,
            retry: delivery.retry,
            timeout: delivery.timeout,
            stats: deps.stats,
            offload: deps.offload,
            workspace,
            is_guarded: deps.is_guarded,
            state: Arc::clone(queue.state()),
            outage: Outage::default(),
            partial: Partial::default(),
            meter: deps.monthly.map(|monthly| Meter::new(monthly.allowance, monthly.budget.count)),
        };
        let sender = Sender {
            carrier,
            queue: delivery.queue,
            telemetry: deps.telemetry,
            dead_letters: deps.dead_letters,
        };
        (Arc::clone(&queue), Dispatcher { queue, messages, sender: Arc::new(sender), consumers })
    }

    /// Runs until the queue is closed and empty, or until `abandon` is raised: then everything that
    /// is left is given up and counted. Returns the number of items given up.
    pub async fn run(self, abandon: watch::Receiver<bool>) -> u64 {
        let Dispatcher { queue, messages, sender, consumers } = self;
        let batch = queue.settings().and_then(|settings| settings.batch.clone());
        if let Some(letters) = &sender.dead_letters {
            desk::open(letters, &queue);
        }
        let mut preparing = JoinSet::new();
        preparing.spawn(sender.carrier.exporter.prepare());
        let run = Run {
            queue,
            messages,
            sender,
            places: Arc::new(Semaphore::new(consumers)),
            gather: batch.map(Gather::new),
            sending: JoinSet::new(),
            reading: JoinSet::new(),
            abandon,
            is_open: true,
            lost: 0,
        };
        let lost = run.run().await;
        // Preparing ends with the dispatcher, however far it has come.
        drop(preparing);
        lost
    }
}

/// How many payloads are sent at the same time.
fn consumers(settings: Option<&Queue>, encodes: Encodes) -> usize {
    match encodes {
        // The encoded form of a payload depends on the payloads before it.
        Encodes::OrderedOnce => 1,
        Encodes::Inline | Encodes::OnWorker => {
            settings.map_or(SYNCHRONOUS_CONSUMERS, |queue| queue.consumers)
        }
    }
}

/// What the dispatcher waits for.
enum Event {
    /// A payload has come into the queue.
    Arrived(Queued),
    /// No more payloads will come.
    Closed,
    /// A batch is old enough.
    BatchDue,
    /// Payloads have been read from disk.
    Read(Option<Read>),
    /// There may be payloads on disk, or room for them.
    DiskChanged,
    /// A delivery has ended.
    Delivered(Result<u64, JoinError>),
    /// Everything that is left is to be given up.
    Abandoned,
}

/// A dispatcher that runs.
struct Run {
    queue: Arc<ExportQueue>,
    messages: mpsc::UnboundedReceiver<Message>,
    sender: Arc<Sender>,
    /// One permit for each payload that may be sent at the same time.
    places: Arc<Semaphore>,
    gather: Option<Gather>,
    sending: JoinSet<u64>,
    /// At most one read from disk at a time.
    reading: JoinSet<Option<Read>>,
    abandon: watch::Receiver<bool>,
    is_open: bool,
    /// Items given up because skep is ending.
    lost: u64,
}

impl Run {
    async fn run(mut self) -> u64 {
        loop {
            self.read_ahead();
            if self.is_done() {
                break;
            }
            let ready = match self.next_event().await {
                Event::Arrived(queued) => self.gathered(vec![queued]),
                Event::Closed => {
                    self.is_open = false;
                    self.gather.as_mut().map(Gather::take_all).unwrap_or_default()
                }
                Event::BatchDue => self.gather.as_mut().map(Gather::take_due).unwrap_or_default(),
                Event::Read(read) => {
                    let payloads = self.read_back(read);
                    self.gathered(payloads)
                }
                Event::DiskChanged => continue,
                Event::Delivered(ended) => {
                    self.count_ended(ended);
                    continue;
                }
                Event::Abandoned => break,
            };
            self.send(ready).await;
        }
        self.finish().await
    }

    async fn next_event(&mut self) -> Event {
        let due = self.gather.as_ref().and_then(Gather::due);
        let is_reading = !self.reading.is_empty();
        tokio::select! {
            message = self.messages.recv() => match message {
                Some(Message::Payload(queued)) => Event::Arrived(queued),
                Some(Message::Close) | None => Event::Closed,
            },
            () = gather::until(due) => Event::BatchDue,
            Some(read) = self.reading.join_next() => Event::Read(read.ok().flatten()),
            () = spool::look_again(self.queue.spool()), if !is_reading => Event::DiskChanged,
            Some(ended) = self.sending.join_next() => Event::Delivered(ended),
            _ = self.abandon.wait_for(|raised| *raised) => Event::Abandoned,
        }
    }

    /// Starts to read from disk, if there is room in memory.
    fn read_ahead(&mut self) {
        let spool = self.queue.spool().filter(|_| self.reading.is_empty());
        if let Some(spool) = spool.filter(|spool| self.should_read(spool)) {
            self.reading.spawn(spool.clone().read());
        }
    }

    fn should_read(&self, spool: &Spool) -> bool {
        let (in_memory, share) = self.queue.memory();
        self.wants_more(spool) && spool.has_room(in_memory, share)
    }

    /// Whether there is something to read. At the end only as long as the backend accepts data.
    fn wants_more(&self, spool: &Spool) -> bool {
        let is_ours = !self.queue.has_successor.load(Ordering::SeqCst);
        is_ours && spool.is_readable() && (self.is_open || !self.queue.is_failing())
    }

    /// Whether nothing will come from the queue or from disk any more.
    fn is_done(&self) -> bool {
        let waits_on_disk = self.queue.spool().is_some_and(|spool| self.wants_more(spool));
        !self.is_open && self.reading.is_empty() && !waits_on_disk
    }

    /// Payloads that were read from disk, in memory again. The log still counts them.
    fn read_back(&self, read: Option<Read>) -> Vec<Queued> {
        let Some(spool) = self.queue.spool() else { return Vec::new() };
        let queued = |stored: Stored| self.queue.read_back(spool.payload(stored));
        read.into_iter().flatten().map(queued).collect()
    }

    /// The batches that are complete with these payloads; without batching, the payloads.
    fn gathered(&mut self, payloads: Vec<Queued>) -> Vec<Queued> {
        match &mut self.gather {
            None => payloads,
            Some(gather) => payloads.into_iter().flat_map(|queued| gather.push(queued)).collect(),
        }
    }

    /// Starts to send payloads, as soon as each has a place.
    async fn send(&mut self, mut ready: Vec<Queued>) {
        // So each is the oldest one of those that are left.
        ready.sort_by_key(|queued| queued.arrived);
        let gathered = self.gather.as_ref().and_then(Gather::oldest);
        for queued in ready {
            let oldest = gathered.map_or(queued.arrived, |held| held.min(queued.arrived));
            self.queue.oldest.wait(Some(oldest));
            let place = tokio::select! {
                place = Arc::clone(&self.places).acquire_owned() => Some(place),
                _ = self.abandon.wait_for(|raised| *raised) => None,
            };
            let Some(place) = place else {
                self.give_up(queued);
                continue;
            };
            let delivery = self.deliver(queued);
            self.sending.spawn(async move {
                let lost = delivery.await;
                drop(place);
                lost
            });
        }
        self.queue.oldest.wait(gathered);
        while let Some(ended) = self.sending.try_join_next() {
            self.count_ended(ended);
        }
    }

    fn deliver(&self, mut queued: Queued) -> impl Future<Output = u64> + Send + 'static {
        let (queue, sender) = (Arc::clone(&self.queue), Arc::clone(&self.sender));
        let abandon = self.abandon.clone();
        let being_sent = queue.oldest.send(queued.arrived);
        async move {
            if queue.settings().is_some_and(|settings| !settings.wait_for_result) {
                queued.payload.accept();
            }
            let Queued { payload, mut fill, units, .. } = queued;
            fill.is_sent();
            let _held = (fill, being_sent, InFlight::new(&sender.carrier.stats));
            sender.deliver(payload, units, abandon).await
        }
    }

    /// Adds the items that a delivery has given up. Payloads that a panic has dropped have already
    /// failed.
    fn count_ended(&mut self, ended: Result<u64, JoinError>) {
        self.lost += ended.unwrap_or_else(|error| {
            let part = format!("exporter {}", self.sender.carrier.stats.id);
            self.sender.carrier.offload.panics().check(&part, &error);
            0
        });
    }

    fn give_up(&mut self, queued: Queued) {
        let items = queued.payload.items;
        self.sender.fail(queued.payload, Reason::ShuttingDown);
        if !self.sender.carrier.is_guarded {
            self.lost += items;
        }
    }

    /// Gives up what is left, and waits for the deliveries.
    async fn finish(mut self) -> u64 {
        for queued in self.gather.as_mut().map(Gather::take_all).unwrap_or_default() {
            self.give_up(queued);
        }
        self.queue.oldest.wait(None);
        while let Some(ended) = self.sending.join_next().await {
            self.count_ended(ended);
        }
        while let Ok(message) = self.messages.try_recv() {
            if let Message::Payload(queued) = message {
                self.give_up(queued);
            }
        }
        self.sender.carrier.exporter.shutdown().await;
        let is_followed = self.queue.has_successor.load(Ordering::SeqCst);
        if let Some(spool) = self.queue.spool().filter(|_| is_followed) {
            // The queue that takes its place reads what is on disk.
            spool.store.waiting.notify_one();
        }
        self.lost
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
