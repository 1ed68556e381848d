//! What a queue tells of what it holds, with a backend that answers when it is told to.

mod outage;

use std::{sync::atomic::AtomicUsize, time::Duration};

use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::sleep,
};

use super::*;
use crate::{
    component::{
        BoxFuture, Delivery, ErasedExporter, ExportError, Exporter, Piece, Progress, QueueBatch,
        Retry, Sent, Work,
    },
    engine::{
        budget::Budget,
        disk::stored::Store,
        export::{dispatcher::Dispatcher, spool::Spooling},
        panics::Panics,
    },
    otlp::{
        Signal,
        payload::{Body, Receipt},
        wire::put_bytes,
    },
    storage::{Folder, Log, Overflow, Room, Settings},
};

/// Answers one request for each permit.
struct Backend(Arc<Semaphore>);

impl Exporter for Backend {
    type Encoded = Body;

    fn encode(&self, work: &Work<'_>) -> Result<Piece<Body>, ExportError> {
        Ok(work.last(work.rest(), 0))
    }

    fn send(&self, _: Body, _: &Arc<Progress>) -> BoxFuture<Result<Sent, ExportError>> {
        let answers = Arc::clone(&self.0);
        Box::pin(async move {
            answers.acquire_owned().await.unwrap().forget();
            Ok(Sent::default())
        })
    }
}

struct Rig {
    queue: Arc<ExportQueue>,
    answers: Arc<Semaphore>,
    abandon: watch::Sender<bool>,
    running: JoinSet<u64>,
}

/// A request with one span that has no fields.
const SPAN: &[u8] = &[0x0a, 4, 0x12, 2, 0x12, 0];

impl Rig {
    /// One request at a time.
    fn new(batch: Option<QueueBatch>) -> Self {
        Rig::with(batch, None)
    }

    fn with(batch: Option<QueueBatch>, spool: Option<Spool>) -> Self {
        let answers = Arc::new(Semaphore::new(0));
        Rig::of(Arc::new(Backend(Arc::clone(&answers))), answers, batch, spool)
    }

    fn of(
        exporter: Arc<dyn ErasedExporter>,
        answers: Arc<Semaphore>,
        batch: Option<QueueBatch>,
        spool: Option<Spool>,
    ) -> Self {
        let telemetry = Arc::new(Telemetry::default());
        let deps = Deps {
            stats: telemetry.exporter("home", Signal::Traces, "nowhere"),
            telemetry,
            offload: Offload::in_place(),
            spool,
            dead_letters: None,
            is_guarded: false,
            monthly: None,
        };
        let settings = Queue {
            consumers: 1,
            size: Some(100),
            sizer: Sizer::Items,
            block_on_overflow: false,
            wait_for_result: false,
            batch,
            storage: None,
            dead_letters: None,
        };
        let delivery = Delivery { queue: Some(settings), retry: None, timeout: None };
        let (queue, dispatcher) = Dispatcher::new(exporter, delivery, 1 << 20, deps);
        let (abandon, abandoned) = watch::channel(false);
        let mut running = JoinSet::new();
        running.spawn(dispatcher.run(abandoned));
        Rig { queue, answers, abandon, running }
    }

    fn send(&self) {
        let body = bytes::Bytes::from_static(SPAN);
        self.queue.enqueue(Payload::unpaid(Signal::Traces, body, 1));
    }

    /// Lets the backend answer one request.
    async fn answer(&self) {
        self.answers.add_permits(1);
        sleep(Duration::from_millis(1)).await;
    }

    /// Items, and the age of the oldest payload in seconds.
    fn holds(&self) -> (u64, Option<u64>) {
        let stats = self.queue.stats();
        (stats.queue_items.read(), stats.oldest_age().map(|age| age.as_secs()))
    }
}

/// A log of 12 000 bytes that takes whatever comes.
fn spool(directory: &std::path::Path, spooling: Spooling) -> Spool {
    spool_with(directory, spooling, Overflow::DropOldest)
}

fn spool_with(directory: &std::path::Path, spooling: Spooling, overflow: Overflow) -> Spool {
    let folder = Folder::open(directory, 0o750).unwrap();
    let settings = Settings { segment_size: 4000, overflow };
    let log = Log::open(Arc::new(folder), settings, Arc::new(Room::new(12_000)), Arc::default());
    let budget = Budget::new(1 << 20, Arc::new(Telemetry::default()));
    Spool { store: Store::new(log.unwrap(), Panics::channel().0), spooling, budget }
}

/// Takes nothing: whatever it is given is too large. Bytes that it was given.
#[derive(Default)]
struct Narrow(AtomicUsize);

impl Exporter for Narrow {
    type Encoded = Body;

    fn encode(&self, work: &Work<'_>) -> Result<Piece<Body>, ExportError> {
        self.0.fetch_add(work.content.len(), Ordering::SeqCst);
        Err(ExportError { retry: Retry::Split, message: "it is too large".to_owned() })
    }

    fn send(&self, _: Body, _: &Arc<Progress>) -> BoxFuture<Result<Sent, ExportError>> {
        Box::pin(std::future::ready(Ok(Sent::default())))
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_resource_is_not_repeated_for_every_item_that_is_too_large() {
    let narrow = Arc::new(Narrow::default());
    let exporter = Arc::clone(&narrow) as Arc<dyn ErasedExporter>;
    let rig = Rig::of(exporter, Arc::new(Semaphore::new(0)), None, None);
    let (mut entry, mut body) = (Vec::new(), Vec::new());
    put_bytes(&mut entry, 1, &[0x0a, 0].repeat(50_000));
    put_bytes(&mut entry, 2, &[0x12, 0].repeat(100));
    put_bytes(&mut body, 1, &entry);
    let len = body.len();
    rig.queue.enqueue(Payload::unpaid(Signal::Traces, body.into(), 100));
    seconds(1).await;
    assert_eq!(rig.queue.stats().failed.read(), 100);
    // The payload, and the halves of all that was cut.
    let seen = narrow.0.load(Ordering::SeqCst);
    assert!((10 * len..100 * len).contains(&seen), "{seen} bytes of {len}");
}

#[tokio::test(start_paused = true)]
async fn what_a_full_disk_refuses_stays_in_memory_if_its_sender_was_told_that_it_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let spooling = Spooling::All { fsync: false };
    let spool = spool_with(directory.path(), spooling, Overflow::Block);
    let log = Arc::clone(spool.store.stats());
    let rig = Rig::with(None, Some(spool));
    let payload = || {
        let body = [SPAN, &[0x1a, 0xe4, 0x07], &[7; 996]].concat();
        Payload::unpaid(Signal::Traces, body.into(), 1)
    };
    while !rig.queue.is_nearly_full() {
        rig.queue.enqueue(payload());
    }
    let (sent, on_disk) = (rig.queue.stats().queue_items.read() + 1, log.records.read());
    assert!(on_disk > 5 && sent > on_disk, "{on_disk} of {sent} found room");
    // Nobody has the next one but its sender.
    let (receipt, told) = std::sync::mpsc::channel();
    let waiting = move |outcome| receipt.send(outcome).unwrap();
    let mut refused = payload();
    refused.receipts.push(Receipt::new(Wait::Acceptance, Box::new(waiting)));
    rig.queue.enqueue(refused);
    assert_eq!(told.try_recv().unwrap(), Outcome::Failed(Reason::StorageFull));
    seconds(1).await;
    assert!(!rig.queue.is_nearly_full(), "another attempt a second later");
    for _ in 0..20 {
        rig.answer().await;
    }
    assert_eq!(rig.queue.stats().failed.read() + rig.queue.stats().enqueue_failed.read(), 1);
    assert_eq!((rig.holds().0, log.records.read()), (0, 0));
}

async fn seconds(count: u64) {
    sleep(Duration::from_secs(count)).await;
}

#[tokio::test(start_paused = true)]
async fn the_oldest_payload_ages_until_its_backend_has_it() {
    let rig = Rig::new(None);
    assert_eq!(rig.holds(), (0, None));
    assert_eq!(
        (rig.queue.stats().queue_unit(), rig.queue.stats().queue_capacity.read()),
        ("items", 100)
    );
    for pause in [1, 2, 7] {
        // At 0, 1 and 3 seconds: one is sent, one waits for its place, one has not been looked at.
        rig.send();
        seconds(pause).await;
    }
    assert_eq!(rig.holds(), (3, Some(10)));
    rig.answer().await;
    assert_eq!(rig.holds(), (2, Some(9)));
    rig.answer().await;
    assert_eq!(rig.holds(), (1, Some(7)));
    rig.answer().await;
    assert_eq!(rig.holds(), (0, None));
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_as_old_as_its_first_payload() {
    let batch = QueueBatch {
        flush_timeout: Duration::from_secs(5),
        min_size: 100,
        max_size: 0,
        sizer: Sizer::Items,
        metadata_keys: Vec::new(),
    };
    let rig = Rig::new(Some(batch));
    rig.send();
    seconds(2).await;
    rig.send();
    seconds(2).await;
    assert_eq!((rig.holds(), rig.queue.stats().in_flight.read()), ((2, Some(4)), 0));
    seconds(4).await;
    assert_eq!((rig.holds(), rig.queue.stats().in_flight.read()), ((2, Some(8)), 1));
    rig.answer().await;
    assert_eq!(rig.holds(), (0, None));
}

#[tokio::test(start_paused = true)]
async fn what_is_given_up_is_not_held_any_more() {
    let mut rig = Rig::new(None);
    for _ in 0..3 {
        rig.send();
    }
    seconds(1).await;
    assert_eq!(rig.holds(), (3, Some(1)));
    rig.abandon.send(true).unwrap();
    assert_eq!(rig.running.join_next().await.unwrap().unwrap(), 3);
    assert_eq!(rig.holds(), (0, None));
    rig.send();
    assert_eq!(rig.holds(), (0, None), "there is nobody to send it");
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_from_disk_takes_no_room_in_the_queue() {
    let directory = tempfile::tempdir().unwrap();
    let rig = Rig::with(None, Some(spool(directory.path(), Spooling::All { fsync: false })));
    let log = Arc::clone(rig.queue.spool.as_ref().unwrap().store.stats());
    rig.queue.set_share(5000);
    for _ in 0..30 {
        // 5 items each, of a queue of 100; there is room for eleven of them on the disk.
        let body = bytes::Bytes::from(vec![7; 1000]);
        rig.queue.enqueue(Payload::unpaid(Signal::Traces, body, 5));
    }
    let stats = Arc::clone(rig.queue.stats());
    assert_eq!(stats.enqueue_failed.read(), 0, "the queue was never full");
    assert_eq!((stats.queue_size(), stats.queue_unwritten.read()), (log.items.read(), 0));
    assert!(stats.queue_size() <= 11 * 5 && log.dropped_records.read() > 15);
    for _ in 0..40 {
        rig.answer().await;
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!((stats.queue_size(), rig.holds()), (0, (0, None)));
    assert!(!rig.queue.is_nearly_full());
}

#[tokio::test(start_paused = true)]
async fn a_queue_counts_what_is_on_disk_and_what_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let rig = Rig::with(None, Some(spool(directory.path(), Spooling::Overflow)));
    let stats = Arc::clone(rig.queue.stats());
    rig.queue.set_share(2 * 3 * SPAN.len() as u64);
    for _ in 0..5 {
        rig.send();
    }
    assert_eq!((stats.queue_size(), stats.queue_unwritten.read()), (5, 3), "two are on disk");
    for left in (0..5).rev() {
        rig.answer().await;
        sleep(Duration::from_millis(50)).await;
        assert_eq!(stats.queue_size(), left);
    }
}

#[tokio::test(start_paused = true)]
async fn a_queue_asks_the_log_what_it_holds_and_not_the_counters() {
    let directory = tempfile::tempdir().unwrap();
    let rig = Rig::with(None, Some(spool(directory.path(), Spooling::All { fsync: false })));
    let send = || {
        let body = bytes::Bytes::from_static(SPAN);
        rig.queue.enqueue(Payload::unpaid(Signal::Traces, body, 5));
    };
    (0..19).for_each(|_| send());
    let log = Arc::clone(rig.queue.spool.as_ref().unwrap().store.stats());
    assert_eq!(log.items.read(), 19 * 5);
    // Somebody who watches may begin anew.
    for number in [&log.records, &log.items, &log.bytes] {
        number.set(0);
    }
    assert!(rig.queue.is_nearly_full());
    (0..3).for_each(|_| send());
    assert_eq!(rig.queue.stats().enqueue_failed.read(), 2 * 5, "of 100 items");
    assert_eq!(log.items.read(), 20 * 5, "the counters show what there is again");
}
