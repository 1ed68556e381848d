//! Logs on a disk that fails in every way that it can.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    simulated::{Fault, SimulatedDisk},
    *,
};
use crate::{otlp::payload::Reason, telemetry::storage::LogStats};

const SETTINGS: Settings = Settings { segment_size: 2000, overflow: Overflow::Block };

fn open(disk: &SimulatedDisk, settings: Settings, limit: u64) -> Arc<Log> {
    let stats = Arc::new(LogStats::new("file_storage", "test"));
    Log::open(Arc::new(disk.clone()), settings, Arc::new(Room::new(limit)), stats).unwrap()
}

/// A record that tells which one it is: its length differs, and every byte follows from its name.
fn body(name: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(name);
    let len = random.usize(8..300);
    let mut body = name.to_le_bytes().to_vec();
    body.extend(std::iter::repeat_with(|| random.u8(..)).take(len));
    body
}

fn append(log: &Log, name: u64, place: Place) -> Result<Ticket, AppendError> {
    append_all(log, name..name + 1, place).remove(0)
}

fn append_all(log: &Log, names: Range<u64>, place: Place) -> Vec<Result<Ticket, AppendError>> {
    let names: Vec<u64> = names.collect();
    let notes: Vec<String> = names.iter().map(u64::to_string).collect();
    let bodies: Vec<[Bytes; 3]> = names
        .iter()
        .map(|name| {
            let body = body(*name);
            let (first, second) = body.split_at(body.len() / 2);
            [Bytes::copy_from_slice(first), Bytes::new(), Bytes::copy_from_slice(second)]
        })
        .collect();
    let mut records = Vec::new();
    for ((name, note), body) in names.iter().zip(&notes).zip(&bodies) {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(*name);
        let (signal, note) = (Signal::Logs, note.as_bytes());
        records.push(NewRecord { signal, items: name % 5, note, body, time, place });
    }
    log.append_all(&records)
}

/// The name of a record; what it has must be what was written.
fn name(stored: &Stored) -> u64 {
    let name = u64::from_le_bytes(stored.body[..8].try_into().unwrap());
    assert_eq!(stored.body, body(name));
    assert_eq!(stored.note, name.to_string());
    assert_eq!((stored.signal, stored.ticket.items), (Signal::Logs, name % 5));
    assert_eq!(stored.time, name * 1000);
    name
}

fn take_all(log: &Log) -> Vec<(u64, Ticket)> {
    std::iter::from_fn(|| log.take().unwrap())
        .map(|stored| (name(&stored), stored.ticket))
        .collect()
}

fn names(log: &Log) -> Vec<u64> {
    take_all(log).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn records_wait_in_order_and_a_settled_one_is_gone() {
    let disk = SimulatedDisk::new(1);
    let log = open(&disk, SETTINGS, u64::MAX);
    for name in 0..30 {
        append(&log, name, Place::Waiting).unwrap();
    }
    let all = take_all(&log);
    assert_eq!(all.iter().map(|(name, _)| *name).collect::<Vec<_>>(), (0..30).collect::<Vec<_>>());
    for (name, ticket) in &all {
        if name % 3 > 0 {
            log.settle(ticket);
        }
    }
    log.put_back(&all[3].1);
    log.put_back(&all[4].1);
    assert_eq!(names(&log), [3], "what was put back, and not what was settled");
    log.save().unwrap();
    let again = open(&disk, SETTINGS, u64::MAX);
    assert_eq!(names(&again), (0..30).step_by(3).collect::<Vec<_>>());
    assert_eq!(again.stats().records.read(), 10);
    assert_eq!(again.stats().items.read(), (0..30).step_by(3).map(|name| name % 5).sum::<u64>());
}

#[test]
fn a_segment_goes_when_the_last_of_it_is_settled() {
    let disk = SimulatedDisk::new(1);
    let room = Arc::new(Room::new(1 << 20));
    let stats = Arc::new(LogStats::default());
    let log = Log::open(Arc::new(disk.clone()), SETTINGS, Arc::clone(&room), stats).unwrap();
    let tickets: Vec<Ticket> =
        (0..40).map(|name| append(&log, name, Place::InHand).unwrap()).collect();
    let before = disk.files().len();
    assert!(before > 3);
    for ticket in tickets.iter().rev() {
        log.settle(ticket);
    }
    log.save().unwrap();
    let files = disk.files();
    let count = |prefix: &str| files.iter().filter(|name| name.starts_with(prefix)).count();
    assert_eq!(
        (files.len() - count("settled"), count("spare-")),
        (3, 2),
        "the one that is written to stays, and two spare ones"
    );
    assert_eq!(room.used(), log.stats().disk_bytes.read());
    assert_eq!((log.stats().records.read(), log.stats().bytes.read()), (0, 0));
    let again = open(&disk, SETTINGS, u64::MAX);
    assert!(!again.has_waiting());
    assert!(disk.files().iter().all(|name| name == "settled" || name.starts_with("spare-")));
}

#[test]
fn a_full_storage_refuses_or_drops_the_oldest_as_it_is_told() {
    let disk = SimulatedDisk::new(1);
    let log = open(&disk, SETTINGS, 6000);
    let taken =
        (0..99).take_while(|name| append(&log, *name, Place::Waiting).is_ok()).count() as u64;
    let refused = append(&log, taken, Place::Waiting);
    assert!(matches!(refused, Err(AppendError::Full { limit: 6000, .. })));
    assert_eq!(names(&log), (0..taken).collect::<Vec<_>>());

    let disk = SimulatedDisk::new(1);
    let settings = Settings { overflow: Overflow::DropOldest, ..SETTINGS };
    let log = open(&disk, settings, 6000);
    for name in 0..100 {
        append(&log, name, Place::Waiting).unwrap();
    }
    let left = names(&log);
    assert_eq!(left, (100 - left.len() as u64..100).collect::<Vec<_>>());
    let dropped = log.stats().dropped_records.read();
    assert_eq!(dropped + left.len() as u64, 100);
    assert_eq!(log.stats().dropped_items.read(), (0..dropped).map(|name| name % 5).sum::<u64>());
    let too_large = NewRecord {
        signal: Signal::Logs,
        items: 1,
        note: &[],
        body: &[Bytes::from(vec![0; 7000])],
        time: SystemTime::UNIX_EPOCH,
        place: Place::Waiting,
    };
    assert!(matches!(log.append(too_large), Err(AppendError::Full { .. })));
}

#[test]
fn records_that_come_together_are_one_write_a_segment() {
    let disk = SimulatedDisk::new(1);
    let log = open(&disk, SETTINGS, u64::MAX);
    let tickets = append_all(&log, 0..60, Place::Waiting);
    let numbers: Vec<u64> = tickets.into_iter().map(|ticket| ticket.unwrap().number).collect();
    assert_eq!(numbers, (0..60).collect::<Vec<_>>());
    let segments = disk.files().len();
    assert!(segments > 4);
    assert_eq!(disk.writes(), segments, "a write each");
    assert_eq!(names(&log), (0..60).collect::<Vec<_>>());
    assert_eq!(names(&open(&disk, SETTINGS, u64::MAX)), (0..60).collect::<Vec<_>>());
}

#[test]
fn of_records_that_come_together_those_are_refused_that_find_no_room() {
    let disk = SimulatedDisk::new(1);
    let log = open(&disk, SETTINGS, 4000);
    let results = append_all(&log, 0..60, Place::Waiting);
    let taken: Vec<u64> =
        (0..60).zip(&results).filter(|(_, r)| r.is_ok()).map(|(n, _)| n).collect();
    assert!(taken.len() > 10 && taken.len() < 40, "{taken:?}");
    assert_eq!(names(&log), taken);
    assert!(log.stats().disk_bytes.read() <= 4000);
    disk.fail(&[(100, Fault::WriteError)]);
    let refused = append_all(&open(&disk, SETTINGS, u64::MAX), 60..70, Place::Waiting);
    assert!(refused.iter().all(|result| matches!(result, Err(AppendError::Io(_)))));
}

#[test]
fn what_cannot_be_read_any_more_is_said_once() {
    let disk = SimulatedDisk::new(1);
    let settings = Settings { overflow: Overflow::DropOldest, ..SETTINGS };
    let log = open(&disk, settings, 6000);
    for name in 0..100 {
        append(&log, name, Place::Waiting).unwrap();
    }
    let lost = log.lost();
    assert!(lost.iter().all(|(_, reason)| *reason == Reason::StorageFull));
    let lost: Vec<u64> = lost.into_iter().flat_map(|(numbers, _)| numbers).collect();
    assert_eq!(lost.len() as u64, log.stats().dropped_records.read());
    assert_eq!(lost, (0..lost.len() as u64).collect::<Vec<_>>());
    let segment = disk.files().into_iter().find(|name| name != "settled").unwrap();
    disk.edit(&segment, |bytes| bytes[64 + RECORD_HEADER + 3] ^= 1);
    let left = names(&log);
    let first = lost.len() as u64;
    assert_eq!(left, (first + 1..100).collect::<Vec<_>>());
    assert_eq!(log.lost(), [(first..first + 1, Reason::StorageFailed)]);
    assert_eq!(log.lost(), []);
}

#[test]
fn the_age_is_that_of_the_oldest_record_that_is_left() {
    let log = open(&SimulatedDisk::new(1), SETTINGS, u64::MAX);
    let tickets: Vec<Ticket> =
        (0..40).map(|name| append(&log, name, Place::InHand).unwrap()).collect();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
    assert_eq!(log.oldest(now), Some(100_000));
    tickets[..25].iter().for_each(|ticket| log.settle(ticket));
    assert_eq!(log.oldest(now), Some(75_000));
    tickets[25..].iter().for_each(|ticket| log.settle(ticket));
    assert_eq!(log.oldest(now), None);
}

#[test]
fn the_age_is_right_after_the_clock_was_set_back() {
    let log = open(&SimulatedDisk::new(1), SETTINGS, u64::MAX);
    let before = append(&log, 50, Place::InHand).unwrap();
    append(&log, 10, Place::InHand).unwrap();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(20);
    assert_eq!(log.oldest(now), Some(0), "it was taken in the future");
    log.settle(&before);
    assert_eq!(log.oldest(now), Some(10_000));
}

#[test]
fn a_number_that_is_given_again_is_not_taken_for_settled() {
    let disk = SimulatedDisk::new(1);
    let log = open(&disk, SETTINGS, u64::MAX);
    let ticket = append(&log, 1, Place::InHand).unwrap();
    append(&log, 2, Place::InHand).unwrap();
    log.settle(&ticket);
    log.save().unwrap();
    let segment = disk.files().into_iter().find(|name| name != "settled").unwrap();
    disk.remove(&segment).unwrap();
    let log = open(&disk, SETTINGS, u64::MAX);
    append(&log, 3, Place::Waiting).unwrap();
    let log = open(&disk, SETTINGS, u64::MAX);
    assert_eq!(names(&log), [3]);
}

#[test]
fn the_number_of_a_segment_that_is_gone_is_not_given_again() {
    let disk = SimulatedDisk::new(1);
    let log = open(&disk, SETTINGS, u64::MAX);
    disk.fail(&[(100, Fault::SyncError)]);
    let tickets = [0, 1, 2].map(|name| {
        let ticket = append(&log, name, Place::InHand).unwrap();
        // The segment ends here.
        log.sync().unwrap_err();
        ticket
    });
    disk.fail(&[]);
    tickets[1..].iter().for_each(|ticket| log.settle(ticket));
    // Killed before `settled` is written, and once more.
    let log = open(&disk, SETTINGS, u64::MAX);
    let numbers = append_all(&log, 3..6, Place::InHand);
    assert_eq!(
        numbers.into_iter().map(|ticket| ticket.unwrap().number).collect::<Vec<_>>(),
        [3, 4, 5]
    );
    assert_eq!(names(&open(&disk, SETTINGS, u64::MAX)), [0, 3, 4, 5]);
}

proptest! {
    /// A flipped bit in any byte of any file costs one record at most, and none is changed by it.
    #[test]
    fn a_flipped_bit_costs_one_record_at_most(seed in any::<u64>()) {
        let mut random = fastrand::Rng::with_seed(seed);
        let disk = SimulatedDisk::new(seed);
        let log = open(&disk, SETTINGS, u64::MAX);
        for name in 0..40 {
            let ticket = append(&log, name, Place::InHand).unwrap();
            if random.u8(..4) == 0 {
                log.settle(&ticket);
            }
        }
        log.save().unwrap();
        let expected: HashSet<u64> = names(&open(&disk.copy(), SETTINGS, u64::MAX)).into_iter().collect();
        for _ in 0..12 {
            let copy = disk.copy();
            let files = copy.files();
            let file = &files[random.usize(..files.len())];
            copy.edit(file, |bytes| {
                let at = random.usize(..bytes.len());
                bytes[at] ^= 1 << random.u8(..8);
            });
            let found: HashSet<u64> = names(&open(&copy, SETTINGS, u64::MAX)).into_iter().collect();
            let lost = expected.difference(&found).count();
            prop_assert!(lost <= 1, "{lost} records lost by a flip in {file}");
        }
    }

    /// Whatever is cut off or overwritten: no panic, no wrong record, and what comes next is kept.
    #[test]
    fn garbage_is_passed_over(seed in any::<u64>()) {
        let mut random = fastrand::Rng::with_seed(seed);
        let disk = SimulatedDisk::new(seed);
        let log = open(&disk, SETTINGS, u64::MAX);
        for name in 0..40 {
            append(&log, name, Place::Waiting).unwrap();
        }
        log.save().unwrap();
        for file in disk.files() {
            disk.edit(&file, |bytes| match random.u8(..4) {
                0 => bytes.truncate(random.usize(..bytes.len())),
                1 => bytes.extend(std::iter::repeat_with(|| random.u8(..)).take(700)),
                2 => {
                    let from = random.usize(..bytes.len());
                    let to = random.usize(from..=bytes.len());
                    bytes[from..to].iter_mut().for_each(|byte| *byte = random.u8(..));
                }
                _ => {
                    // A copy of one part over another: whole records at wrong places.
                    let len = random.usize(..bytes.len());
                    let from = random.usize(..bytes.len() - len);
                    let to = random.usize(..bytes.len() - len);
                    bytes.copy_within(from..from + len, to);
                }
            });
        }
        let log = open(&disk, SETTINGS, u64::MAX);
        for name in 40..60 {
            append(&log, name, Place::Waiting).unwrap();
        }
        let log = open(&disk, SETTINGS, u64::MAX);
        let found = names(&log);
        prop_assert!((40..60).all(|name| found.contains(&name)), "{found:?}");
    }
}

/// What a test knows of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Appended: it survives the process.
    Written,
    /// The same, and a sync failed: whether it survives the machine is not known.
    Doubtful,
    /// Synced: it survives the machine.
    Durable,
    /// Nobody needs it; it may come again.
    Settled,
}

#[derive(Debug, Clone, Copy)]
enum Act {
    /// So many at once.
    Append(Place, u64),
    Take,
    Settle,
    PutBack,
    Sync,
    Save,
    Restart,
    Crash,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => Just(Act::Append(Place::InHand, 1)),
        6 => Just(Act::Append(Place::Waiting, 1)),
        3 => (2_u64..20).prop_map(|many| Act::Append(Place::InHand, many)),
        3 => (2_u64..20).prop_map(|many| Act::Append(Place::Waiting, many)),
        5 => Just(Act::Take),
        8 => Just(Act::Settle),
        2 => Just(Act::PutBack),
        3 => Just(Act::Sync),
        2 => Just(Act::Save),
        1 => Just(Act::Restart),
        1 => Just(Act::Crash),
    ];
    prop::collection::vec(act, 1..250)
}

/// What a log must hold, by what is known about its records.
fn held(known: &HashMap<u64, Known>) -> Held {
    let mut held = Held::default();
    for (name, _) in known.iter().filter(|(_, known)| **known != Known::Settled) {
        held.records += 1;
        held.items += name % 5;
        held.bytes += body(*name).len() as u64;
    }
    held
}

/// Runs acts on a disk that fails as it is told. After each start every record that has to be there
/// is found.
fn live(seed: u64, acts: &[Act], faults: &[(u8, Fault)]) {
    let keeps_promises = !faults.iter().any(|(_, fault)| *fault == Fault::LostSync);
    let disk = SimulatedDisk::new(seed);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut log = open(&disk, SETTINGS, u64::MAX);
    disk.fail(faults);
    let mut known: HashMap<u64, Known> = HashMap::new();
    let mut hands: Vec<(u64, Ticket)> = Vec::new();
    let (mut next, mut has_crashed) = (0, false);
    for act in acts.iter().chain(&[Act::Restart]) {
        match act {
            Act::Append(place, many) => {
                for ticket in append_all(&log, next..next + many, *place) {
                    if let Ok(ticket) = ticket {
                        known.insert(next, Known::Written);
                        if *place == Place::InHand {
                            hands.push((next, ticket));
                        }
                    }
                    next += 1;
                }
            }
            Act::Take => {
                if let Ok(Some(stored)) = log.take() {
                    hands.push((name(&stored), stored.ticket));
                }
            }
            Act::Settle if !hands.is_empty() => {
                let (name, ticket) = hands.swap_remove(random.usize(..hands.len()));
                log.settle(&ticket);
                known.insert(name, Known::Settled);
            }
            Act::PutBack if !hands.is_empty() => {
                let (_, ticket) = hands.swap_remove(random.usize(..hands.len()));
                log.put_back(&ticket);
            }
            Act::Settle | Act::PutBack => {}
            Act::Sync => {
                let after = if log.sync().is_ok() { Known::Durable } else { Known::Doubtful };
                let written = known.values_mut().filter(|known| **known == Known::Written);
                written.for_each(|known| *known = after);
            }
            Act::Save => {
                let _ = log.save();
            }
            Act::Restart | Act::Crash => {
                let is_crash = matches!(act, Act::Crash);
                if is_crash {
                    disk.crash();
                }
                disk.fail(&[]);
                has_crashed |= is_crash;
                log = open(&disk, SETTINGS, u64::MAX);
                hands = take_all(&log);
                let damaged = log.stats().damaged_records.read();
                assert!(damaged == 0 || has_crashed, "{damaged} records are said to be lost");
                let found: HashSet<u64> = hands.iter().map(|(name, _)| *name).collect();
                assert_eq!(found.len(), hands.len(), "a record is there twice");
                for (name, known) in &known {
                    let must_be_there = match known {
                        Known::Written | Known::Doubtful => !is_crash,
                        Known::Durable => keeps_promises || !is_crash,
                        Known::Settled => false,
                    };
                    assert!(found.contains(name) || !must_be_there, "{name} {known:?} is lost");
                }
                known.retain(|name, _| found.contains(name));
                // What was settled and comes again is not settled.
                let again = known.values_mut().filter(|known| **known == Known::Settled);
                again.for_each(|known| *known = Known::Written);
                assert_eq!(log.held().records, hands.len() as u64);
                disk.fail(faults);
            }
        }
        if faults.is_empty() && !has_crashed {
            assert_eq!(log.held(), held(&known));
        }
    }
}

proptest! {
    #[test]
    fn nothing_written_is_lost_with_the_process_and_nothing_durable_with_the_machine(
        seed in any::<u64>(), acts in acts()
    ) {
        live(seed, &acts, &[]);
    }

    #[test]
    fn nor_when_the_disk_fails(seed in any::<u64>(), acts in acts()) {
        let faults = [
            (10, Fault::ShortWrite),
            (10, Fault::NoSpace),
            (10, Fault::WriteError),
            (20, Fault::SyncError),
            (5, Fault::ReadError),
        ];
        live(seed, &acts, &faults);
    }

    #[test]
    fn a_disk_that_lies_about_syncs_makes_no_wrong_records(seed in any::<u64>(), acts in acts()) {
        live(seed, &acts, &[(50, Fault::LostSync), (10, Fault::ShortWrite)]);
    }
}

#[test]
fn a_record_that_is_missing_altogether_is_not_waited_for() {
    let disk = SimulatedDisk::new(1);
    let log = open(&disk, Settings { segment_size: 1 << 20, ..SETTINGS }, u64::MAX);
    let sizes: Vec<usize> = (0..5)
        .map(|name| {
            append(&log, name, Place::Waiting).unwrap();
            RECORD_HEADER + 1 + body(name).len()
        })
        .collect();
    let from = 64 + sizes[0] + sizes[1];
    disk.edit("00000000000000000000.seg", |bytes| drop(bytes.drain(from..from + sizes[2])));
    let log = open(&disk, SETTINGS, u64::MAX);
    assert_eq!(names(&log), [0, 1, 3, 4]);
    assert_eq!(log.stats().damaged_records.read(), 1);
}

#[test]
fn opening_reads_the_header_of_each_segment_and_the_last_one() {
    let disk = SimulatedDisk::new(1);
    let log = open(&disk, SETTINGS, u64::MAX);
    for name in 0..2000 {
        append(&log, name, Place::Waiting).unwrap();
    }
    let segments = disk.files().len();
    assert!(segments > 150);
    let before = disk.read();
    let log = open(&disk, SETTINGS, u64::MAX);
    let read = disk.read() - before;
    assert!(
        read <= segments * (64 + RECORD_HEADER) + 20_000,
        "{read} bytes of {segments} segments"
    );
    assert_eq!(log.stats().records.read(), 2000);
    assert_eq!(log.stats().items.read(), (0..2000).map(|name| name % 5).sum::<u64>());
}

#[test]
fn a_file_left_behind_by_a_failed_attempt_is_replaced() {
    let disk = SimulatedDisk::new(1);
    let log = open(&disk, SETTINGS, u64::MAX);
    disk.create("00000000000000000000.seg").unwrap();
    disk.create("new-0").unwrap();
    append(&log, 7, Place::Waiting).unwrap();
    assert_eq!(names(&open(&disk, SETTINGS, u64::MAX)), [7]);
}

mod damage;
