//! What becomes of records that nobody can read any more, and of those that were read for nobody.

use bytes::Bytes;

use super::*;
use crate::{
    otlp::Signal,
    storage::{Folder, Overflow, Room, Settings},
};

/// Bytes of the body of a payload here.
const BODY: usize = 1000;

fn store(directory: &tempfile::TempDir, overflow: Overflow) -> Arc<Store> {
    let folder = Folder::open(directory.path(), 0o750).unwrap();
    let settings = Settings { segment_size: 4000, overflow };
    let room = Arc::new(Room::new(12_000));
    Store::new(Log::open(Arc::new(folder), settings, room, Arc::default()).unwrap())
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
fn whoever_waits_for_a_record_that_is_dropped_or_damaged_is_told() {
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
async fn what_was_read_and_not_taken_waits_again() {
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
fn many_payloads_are_written_as_one_and_each_has_its_answer() {
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
fn settling_what_is_gone_changes_nothing() {
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
