//! How many processes it takes to find the records that panic, and what becomes of the others.

use std::time::SystemTime;

use bytes::Bytes;

use super::*;
use crate::{
    otlp::Signal,
    storage::{Disk as _, Folder, NewRecord, Overflow, Place, Room, Settings, Ticket},
};

fn open(directory: &tempfile::TempDir) -> Arc<Log> {
    let folder = Folder::open(directory.path(), 0o750).unwrap();
    let settings = Settings { segment_size: 4000, overflow: Overflow::Block };
    Log::open(Arc::new(folder), settings, Arc::new(Room::new(u64::MAX)), Arc::default()).unwrap()
}

fn append(log: &Log, text: &str) -> Ticket {
    let body = [Bytes::copy_from_slice(text.as_bytes())];
    log.append(NewRecord {
        signal: Signal::Logs,
        items: 1,
        note: &[],
        body: &body,
        time: SystemTime::now(),
        place: Place::InHand,
    })
    .unwrap()
}

/// A process that reads what waits. It ends with a panic if `panics` says so of one of those that
/// are processed together; `drops` is whether the panic drops them. Returns whether it has
/// panicked.
fn process(
    directory: &tempfile::TempDir,
    drops: bool,
    panics: impl Fn(u64) -> bool,
    delivered: &mut Vec<u64>,
) -> bool {
    let log = open(directory);
    let suspects = Suspects::load(&log);
    let mut is_first = true;
    let has_panicked = loop {
        let mut together = Vec::new();
        while let Some(stored) = log.take().unwrap() {
            together.push(stored.ticket);
        }
        if together.is_empty() && !suspects.try_next() {
            assert!(!is_first || delivered.is_empty() || log.held().records == 0);
            break false;
        }
        is_first = false;
        if together.iter().any(|ticket| panics(ticket.number)) {
            if drops {
                for ticket in &together {
                    suspects.accuse(ticket.number);
                }
            } else {
                suspects.accuse_in_hand();
            }
            assert!(suspects.have_come() && !suspects.try_next(), "the process ends");
            break true;
        }
        for ticket in together {
            log.settle(&ticket);
            suspects.acquit(ticket.number..ticket.number + 1);
            delivered.push(ticket.number);
        }
    };
    log.save().unwrap();
    suspects.save().unwrap();
    has_panicked
}

/// Returns how many processes have panicked until one did not.
fn panics_of(records: u64, drops: bool, bad: &[u64]) -> usize {
    let directory = tempfile::tempdir().unwrap();
    let log = open(&directory);
    for number in 0..records {
        append(&log, &format!("request {number}"));
    }
    log.sync().unwrap();
    log.save().unwrap();
    drop(log);
    let mut delivered = Vec::new();
    let run = |delivered: &mut Vec<u64>| {
        process(&directory, drops, |number| bad.contains(&number), delivered)
    };
    let count = (0..100).take_while(|_| run(&mut delivered)).count();
    delivered.sort_unstable();
    let good: Vec<u64> = (0..records).filter(|number| !bad.contains(number)).collect();
    assert_eq!(delivered, good, "each of the others is delivered once");
    for number in bad {
        let kept = directory.path().join(format!("panicked-{number}-logs.binpb"));
        assert_eq!(std::fs::read_to_string(kept).unwrap(), format!("request {number}"));
    }
    assert_eq!(open(&directory).held().records, 0);
    assert!(!directory.path().join("suspects").exists(), "there are none any more");
    count
}

#[test]
fn a_record_that_panics_is_found_in_a_few_processes_and_no_other_is_set_aside() {
    for drops in [true, false] {
        assert_eq!(panics_of(1, drops, &[0]), 2, "again, and once alone");
        assert_eq!(panics_of(16, drops, &[3]), 2);
        assert_eq!(panics_of(17, drops, &[16]), 2, "the odd one out is alone, too");
        assert_eq!(panics_of(17, drops, &[0]), 3);
        assert_eq!(panics_of(250, drops, &[249]), 3);
        assert_eq!(panics_of(3000, drops, &[1234]), 4);
        assert_eq!(panics_of(20, drops, &[]), 0);
        assert!(panics_of(100, drops, &[7, 8, 90]) <= 8);
    }
}

#[test]
fn the_first_panic_of_a_live_request_does_not_delay_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(&directory);
    let suspects = Suspects::load(&log);
    let tickets: Vec<Ticket> = (0..3).map(|n| append(&log, &n.to_string())).collect();
    suspects.accuse(tickets[0].number);
    suspects.save().unwrap();
    drop((log, suspects));
    let log = open(&directory);
    let suspects = Suspects::load(&log);
    assert!(!suspects.try_next(), "others wait");
    for ticket in &tickets[1..] {
        assert_eq!(log.take().unwrap().unwrap().ticket, *ticket);
    }
    assert_eq!(log.take().unwrap(), None);
    assert!(suspects.try_next() && !suspects.try_next());
    assert_eq!(log.take().unwrap().unwrap().ticket, tickets[0]);
    // It is put back, say because a queue is full, and stays on trial.
    log.put_back(&tickets[0]);
    assert_eq!(log.take().unwrap().unwrap().ticket, tickets[0]);
    suspects.accuse(tickets[0].number);
    suspects.save().unwrap();
    drop((log, suspects));
    let log = open(&directory);
    Suspects::load(&log);
    assert_eq!(log.stats().panicked_records.read(), 1);
    assert_eq!(log.held().records, 2);
}

#[test]
fn a_list_that_is_damaged_or_of_other_records_harms_none() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(&directory);
    append(&log, "a");
    append(&log, "b");
    log.save().unwrap();
    for list in ["0 1 2\n7 1\nx\n 1\n99999999999999999999 1\n", "\u{0}", "1\n0"] {
        std::fs::write(directory.path().join("suspects"), list).unwrap();
        let log = open(&directory);
        let suspects = Suspects::load(&log);
        let taken = [(); 3].map(|()| log.take().unwrap().map(|stored| stored.ticket.number));
        assert_eq!(taken, [Some(0), Some(1), None], "{list:?}");
        suspects.save().unwrap();
        assert!(!directory.path().join("suspects").exists());
    }
}

#[test]
fn a_record_that_cannot_be_set_aside_is_neither_lost_nor_processed() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(&directory);
    append(&log, "a");
    log.save().unwrap();
    drop(log);
    let file = directory.path().join("panicked-0-logs.binpb");
    std::fs::create_dir(&file).unwrap();
    std::fs::write(directory.path().join("suspects"), "0 1\n").unwrap();
    for _ in 0..2 {
        let log = open(&directory);
        let suspects = Suspects::load(&log);
        assert!(!suspects.try_next() && !log.has_waiting());
        assert_eq!(log.held().records, 1);
        suspects.save().unwrap();
        log.save().unwrap();
    }
    std::fs::remove_dir(&file).unwrap();
    let log = open(&directory);
    Suspects::load(&log);
    assert_eq!((log.held().records, std::fs::read_to_string(&file).unwrap()), (0, "a".to_owned()));
    assert!(Folder::open(directory.path(), 0o750).unwrap().check().is_ok());
}
