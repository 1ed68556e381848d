//! What becomes of records that nobody can read any more, and of those that were read for nobody.

use std::{panic::resume_unwind, path::Path};

use bytes::Bytes;

use super::*;
use crate::{
    engine::{
        budget::Budget,
        export::spool::{Spool, Spooled, Spooling},
    },
    otlp::Signal,
    storage::{Disk, File, Folder, Overflow, Room, Settings},
    sync::lock,
};

/// Bytes of the body of a payload here.
const BODY: usize = 1000;

fn store(directory: &tempfile::TempDir, overflow: Overflow) -> Arc<Store> {
    store_in(directory.path(), overflow)
}

fn store_in(directory: &Path, overflow: Overflow) -> Arc<Store> {
    let folder = Folder::open(directory, 0o750).unwrap();
    let settings = Settings { segment_size: 4000, overflow };
    let room = Arc::new(Room::new(12_000));
    let log = Log::open(Arc::new(folder), settings, room, Arc::default()).unwrap();
    Store::new(log, Panics::channel().0)
}

fn payload() -> Payload {
    Payload::unpaid(Signal::Logs, Bytes::from(vec![7; BODY]), 1)
}

/// Puts a payload on disk only, with somebody who waits for its delivery.
fn park(store: &Store, told: &Arc<Mutex<Vec<(u64, Outcome)>>>) {
    let mut parking = store.parking();
    let ticket = store.append(&payload(), Place::Waiting).unwrap();
    let (number, told) = (ticket.number, Arc::clone(told));
    let answer = Box::new(move |outcome| told.lock().unwrap().push((number, outcome)));
    parking.park(&ticket, smallvec::smallvec![Receipt::new(Wait::Delivery, answer)]);
}

#[test]
fn receipts_of_records_that_are_dropped_or_damaged_end() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory, Overflow::DropOldest);
    let told = Arc::default();
    for _ in 0..15 {
        park(&store, &told);
    }
    store.write_out(false);
    let dropped = store.stats().dropped_records.read();
    assert!(dropped > 3, "{dropped}");
    let mut ended = std::mem::take(&mut *told.lock().unwrap());
    ended.sort_by_key(|(number, _)| *number);
    let full = Outcome::Failed(Reason::StorageFull);
    assert_eq!(ended, (0..dropped).map(|number| (number, full)).collect::<Vec<_>>());
    assert_eq!(lock(&store.receipts).len() as u64, 15 - dropped);

    let segment = directory.path().join(format!("{dropped:020}.seg"));
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.len() / 10;
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    assert_eq!(store.take(BODY as u64)[0].ticket.number, dropped + 1);
    let failed = Outcome::Failed(Reason::StorageFailed);
    assert_eq!(*told.lock().unwrap(), [(dropped, failed)]);
}

#[tokio::test]
async fn records_that_were_read_and_not_taken_wait_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory, Overflow::Block);
    for _ in 0..3 {
        store.append(&payload(), Place::Waiting).unwrap();
    }
    let mut first = read(Arc::clone(&store), 10 * BODY as u64).await.unwrap();
    assert!(!store.has_waiting());
    let taken = first.next().unwrap().ticket;
    drop(first);
    let again: Vec<u64> = read(Arc::clone(&store), 10 * BODY as u64)
        .await
        .unwrap()
        .map(|s| s.ticket.number)
        .collect();
    assert_eq!((taken.number, again), (0, vec![1, 2]));

    // Nobody is there any more when the disk has answered.
    store.log.put_back(&taken);
    let reading = tokio::spawn(read(Arc::clone(&store), BODY as u64));
    reading.abort();
    let _ = reading.await;
    let woken = tokio::time::timeout(Duration::from_secs(10), async {
        while !store.has_waiting() {
            tokio::task::yield_now().await;
        }
    });
    assert!(woken.await.is_ok());
}

#[test]
fn many_payloads_are_written_as_one_with_one_result_each() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory, Overflow::Block);
    let payloads: Vec<Payload> = (0..20).map(|_| payload()).collect();
    let places = [Place::Waiting, Place::InHand].into_iter().cycle();
    let results = store.append_all(payloads.iter().zip(places));
    let taken = results.iter().filter(|result| result.is_ok()).count();
    assert!((9..=11).contains(&taken), "{taken} of 1060 bytes into 12000");
    assert!(results[taken..].iter().all(|result| *result == Err(Reason::StorageFull)));
    let waiting: Vec<u64> =
        store.take(u64::MAX).iter().map(|stored| stored.ticket.number).collect();
    assert_eq!(waiting, (0..taken as u64).step_by(2).collect::<Vec<_>>());
}

#[test]
fn settling_dropped_records_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory, Overflow::DropOldest);
    let claims: Vec<Receipt> = (0..30)
        .map(|_| store.claim(store.append(&payload(), Place::InHand).unwrap(), Wait::Delivery))
        .collect();
    let left = store.stats().records.read();
    assert!(left < 12, "the oldest were dropped");
    settle_all(claims, Outcome::Delivered);
    assert_eq!(store.stats().records.read(), 0);
    assert_eq!((store.stats().items.read(), store.stats().bytes.read()), (0, 0));
    assert!(!store.has_waiting());
}

#[test]
fn a_disk_that_is_full_is_told_from_one_that_fails() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory, Overflow::Block);
    let reason = |kind: io::ErrorKind| store.reason(&AppendError::Io(kind.into()));
    assert_eq!(reason(io::ErrorKind::StorageFull), Reason::StorageFull);
    assert_eq!(reason(io::ErrorKind::QuotaExceeded), Reason::StorageFull);
    assert_eq!(reason(io::ErrorKind::NotConnected), Reason::StorageFailed);
}

/// A folder in which every operation but listing panics, once it is told to.
struct Panicking {
    folder: Folder,
    is_told: AtomicBool,
}

impl Panicking {
    fn folder(&self) -> &Folder {
        if self.is_told.load(Ordering::SeqCst) {
            // As `panic!`, without a line on stderr.
            resume_unwind(Box::new("a panic that the test asked for"));
        }
        &self.folder
    }
}

impl Disk for Panicking {
    fn list(&self) -> io::Result<Vec<String>> {
        self.folder.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.folder().create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.folder().open(name)
    }

    fn rewrite(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.folder().rewrite(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.folder().rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.folder().remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.folder().sync()
    }

    fn check(&self) -> io::Result<()> {
        self.folder().check()
    }
}

/// A store whose log panics once the flag is raised, and where that is reported.
fn panicking(
    directory: &tempfile::TempDir,
) -> (Arc<Store>, Arc<Panicking>, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let folder = Folder::open(directory.path(), 0o750).unwrap();
    let disk = Arc::new(Panicking { folder, is_told: AtomicBool::new(false) });
    let settings = Settings { segment_size: 4000, overflow: Overflow::Block };
    let (room, stats) = (Arc::new(Room::new(12_000)), Arc::new(LogStats::new("s", "queue")));
    let log = Log::open(Arc::<Panicking>::clone(&disk), settings, room, stats).unwrap();
    let (panics, reports) = Panics::channel();
    (Store::new(log, panics), disk, reports)
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_keeper_is_reported_and_refuses_those_who_wait_for_a_sync() {
    let directory = tempfile::tempdir().unwrap();
    let (store, disk, mut reports) = panicking(&directory);
    let told = Arc::new(Mutex::new(Vec::new()));
    store.append(&payload(), Place::InHand).unwrap();
    disk.is_told.store(true, Ordering::SeqCst);
    let tell = Arc::clone(&told);
    let sender = Receipt::new(Wait::Durable, Box::new(move |end| tell.lock().unwrap().push(end)));
    store.after_sync(true, Box::new(move |is_durable| sender.settle(durable(is_durable))));
    let (_open, closed) = watch::channel(false);
    store.keep(closed).await;
    assert_eq!(reports.try_recv().as_deref(), Ok("storage queue"));
    assert_eq!(*told.lock().unwrap(), [Outcome::Failed(Reason::Panicked)]);
}

#[tokio::test]
async fn a_panic_while_records_are_read_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let (store, disk, mut reports) = panicking(&directory);
    store.append(&payload(), Place::Waiting).unwrap();
    disk.is_told.store(true, Ordering::SeqCst);
    assert!(read(store, 1).await.is_none());
    assert_eq!(reports.try_recv().as_deref(), Ok("storage queue"));
}

#[test]
fn an_item_that_a_journal_and_a_queue_have_lost_counts_once() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("storage");
    let [journal, queue] = ["journal", "queue"].map(|n| store_in(&root.join(n), Overflow::Block));
    let spool = Spool {
        store: Arc::clone(&queue),
        spooling: Spooling::All { fsync: false },
        budget: Budget::new(1 << 20, Arc::default()),
    };
    let write = |is_journaled: bool| {
        let mut payload = payload();
        if is_journaled {
            let ticket = journal.append(&payload, Place::InHand).unwrap();
            payload.receipts.push(journal.claim(ticket, Wait::Durable));
        }
        assert!(matches!(spool.write(payload, Place::Waiting), Spooled::Waiting));
    };
    write(true);
    queue.write_out(true);
    assert_eq!(journal.stats().records.read(), 0, "it is safe in the queue");
    write(true);
    write(true);
    write(false);
    std::fs::remove_dir_all(&root).unwrap();
    queue.write_out(true);
    journal.write_out(true);
    assert_eq!((journal.tell_lost(), queue.tell_lost()), (2, 2));
}

/// Nothing is written to it, so no sync notices.
#[tokio::test(start_paused = true)]
async fn an_idle_store_notices_that_its_directory_is_gone_and_back() {
    let parent = tempfile::tempdir().unwrap();
    let (directory, aside) = (parent.path().join("log"), parent.path().join("aside"));
    let store = store_in(&directory, Overflow::Block);
    let (close, closed) = watch::channel(false);
    let keeper = tokio::spawn(Arc::clone(&store).keep(closed));
    let is_missing = async |missing| {
        let noticed = async {
            while store.stats().missing.read() != missing {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(2 * LOOK_INTERVAL, noticed).await.unwrap();
    };
    tokio::time::sleep(2 * LOOK_INTERVAL).await;
    assert_eq!(store.stats().missing.read(), 0);
    std::fs::rename(&directory, &aside).unwrap();
    is_missing(1).await;
    assert_eq!(store.append(&payload(), Place::InHand), Err(Reason::StorageFailed));
    std::fs::rename(&aside, &directory).unwrap();
    is_missing(0).await;
    assert!(store.append(&payload(), Place::InHand).is_ok());
    close.send(true).unwrap();
    keeper.await.unwrap();
}
