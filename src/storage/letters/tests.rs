//! Letters on the simulated disk: found, selected, dropped, and gone through while the log lives.

use std::collections::BTreeSet;

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    super::{NewRecord, Overflow, Place, Room, Settings, Ticket, simulated::SimulatedDisk},
    *,
};
use crate::telemetry::storage::LogStats;

const SETTINGS: Settings = Settings { segment_size: 1500, overflow: Overflow::Block };

fn open(disk: &SimulatedDisk) -> Arc<Log> {
    let stats = Arc::new(LogStats::new("file_storage", "test"));
    Log::open(Arc::new(disk.clone()), SETTINGS, Arc::new(Room::new(u64::MAX)), stats).unwrap()
}

/// A letter given up at second `number`, with `number` bytes.
fn append(log: &Log, number: u64) -> Ticket {
    let note = Note { reason: "too_large".to_owned(), ..Note::default() }.encode_to_vec();
    let body = Bytes::from(vec![7; usize::try_from(number).unwrap()]);
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(number);
    let (signal, place) = (Signal::Traces, Place::Waiting);
    log.append(NewRecord { signal, items: number, note: &note, body: &[body], time, place })
        .unwrap()
}

fn fill(log: &Log, numbers: std::ops::Range<u64>) {
    for number in numbers {
        append(log, number);
    }
}

fn numbers(mut pick: Pick) -> Vec<u64> {
    let mut found = Vec::new();
    while let Some(letter) = pick.step().unwrap() {
        assert_eq!(letter.note.reason, "too_large");
        assert_eq!(letter.stored.body.len() as u64, letter.id.number);
        found.push(letter.id.number);
    }
    found
}

fn scanned(log: &Arc<Log>, from: u64) -> Vec<u64> {
    let mut scan = Scan::new(Arc::clone(log), from);
    std::iter::from_fn(|| scan.step().unwrap()).map(|stored| stored.ticket.number).collect()
}

fn id(number: u64) -> LetterId {
    LetterId { exporter: "otlp_http/home".to_owned(), signal: Signal::Traces, number }
}

fn letterbox(log: &Arc<Log>) -> Letterbox {
    Letterbox::new("otlp_http/home", Signal::Traces, Arc::clone(log))
}

#[test]
fn ids_are_read_as_they_are_shown() {
    assert_eq!(id(17).to_string(), "otlp_http/home:traces:17");
    for exporter in ["otlp_http", "otlp_http/a:b", "x/logs:1"] {
        let id = LetterId { exporter: exporter.to_owned(), ..id(3) };
        assert_eq!(id.to_string().parse(), Ok(id));
    }
    for wrong in ["", "17", "traces:17", ":traces:17", "a:spans:1", "a:traces:-1", "a:traces:"] {
        assert!(wrong.parse::<LetterId>().unwrap_err().contains("not the id"), "{wrong}");
    }
}

#[test]
fn letters_are_picked_by_exporter_id_and_time() {
    let log = open(&SimulatedDisk::new(1));
    fill(&log, 0..40);
    let letters = letterbox(&log);
    let all: Vec<u64> = (0..40).collect();
    assert_eq!(numbers(letters.pick(&Selection::default())), all);
    let by_exporter = |name: &str| {
        let exporter = Some(name.to_owned());
        numbers(letters.pick(&Selection { exporter, ..Selection::default() }))
    };
    assert_eq!((by_exporter("otlp_http/home"), by_exporter("otlp_http")), (all, vec![]));
    let mut ids: Vec<LetterId> = [39, 3, 99, 3, 17].map(id).into();
    ids.push(LetterId { signal: Signal::Logs, ..id(5) });
    ids.push(LetterId { exporter: "other".to_owned(), ..id(6) });
    let by_id = Selection { ids, ..Selection::default() };
    assert_eq!(numbers(letters.pick(&by_id)), [3, 17, 39]);
    let before = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(18));
    let by_both = Selection { before, ..by_id };
    assert_eq!(numbers(letters.pick(&by_both)), [3, 17]);

    let count = letters.drop_letters(&by_both).unwrap();
    assert_eq!(count, Count { letters: 2, items: 20, bytes: 20 });
    assert_eq!(letters.drop_letters(&by_both).unwrap(), Count::default());
    assert_eq!(letters.drop_letters(&Selection::default()).unwrap().letters, 38);
    assert_eq!(numbers(letters.pick(&Selection::default())), [0; 0]);
}

#[test]
fn what_was_dropped_is_gone_after_a_restart() {
    let disk = SimulatedDisk::new(1);
    let log = open(&disk);
    fill(&log, 0..40);
    let ids = vec![id(0), id(20)];
    letterbox(&log).drop_letters(&Selection { ids, ..Selection::default() }).unwrap();
    let again = open(&disk);
    let left: Vec<u64> = (1..40).filter(|number| *number != 20).collect();
    assert_eq!(scanned(&again, 0), left);
}

#[test]
fn a_letter_is_claimed_by_one_only() {
    let log = open(&SimulatedDisk::new(1));
    let ticket = append(&log, 0);
    assert!(log.claim(&ticket));
    assert!(!log.claim(&ticket));
    assert_eq!(scanned(&log, 0), [0], "it can be seen all the same");
    log.put_back(&ticket);
    assert!(log.claim(&ticket));
    log.settle(&ticket);
    log.put_back(&ticket);
    assert!(!log.claim(&ticket));
    assert_eq!(scanned(&log, 0), [0; 0]);
}

#[test]
fn a_scan_goes_on_while_the_log_changes() {
    let log = open(&SimulatedDisk::new(1));
    let tickets: Vec<Ticket> = (0..60).map(|number| append(&log, number)).collect();
    let mut scan = Scan::new(Arc::clone(&log), 0);
    assert_eq!(scan.step().unwrap().unwrap().ticket.number, 0);
    // Whole segments go, the one that is being read among them, and others come.
    tickets[..50].iter().for_each(|ticket| log.settle(ticket));
    fill(&log, 60..90);
    let rest: Vec<u64> =
        std::iter::from_fn(|| scan.step().unwrap()).map(|stored| stored.ticket.number).collect();
    assert_eq!(rest, (50..60).collect::<Vec<_>>(), "what came later is not part of it");
    assert_eq!(scanned(&log, 70), (70..90).collect::<Vec<_>>());
}

#[test]
fn damage_costs_its_letter_and_a_scan_says_so() {
    let disk = SimulatedDisk::new(1);
    let log = open(&disk);
    fill(&log, 0..5);
    // The last byte of the last record.
    disk.edit("00000000000000000000.seg", |bytes| *bytes.last_mut().unwrap() ^= 1);
    assert_eq!(scanned(&log, 0), [0, 1, 2, 3]);
    assert_eq!((log.stats().damaged_records.read(), log.stats().records.read()), (1, 4));
    assert_eq!(scanned(&log, 0), [0, 1, 2, 3]);
    assert_eq!(log.stats().damaged_records.read(), 1, "it is counted once");
    append(&log, 5);
    assert_eq!(scanned(&log, 0), [0, 1, 2, 3, 5]);
}

proptest! {
    #[test]
    fn any_text_is_an_id_or_an_error(text in r"[a-z/: ]{0,9}:(traces|logs|x)?:[0-9+-]{0,22}") {
        if let Ok(id) = text.parse::<LetterId>() {
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    /// A scan finds what is not settled, from wherever it begins, before and after a restart.
    #[test]
    fn a_scan_finds_what_is_left(
        count in 0_u64..80,
        settled in prop::collection::btree_set(0_u64..80, 0..80),
        from in 0_u64..90,
    ) {
        let disk = SimulatedDisk::new(1);
        let log = open(&disk);
        let tickets: Vec<Ticket> = (0..count).map(|number| append(&log, number)).collect();
        for ticket in tickets.iter().filter(|ticket| settled.contains(&ticket.number)) {
            log.settle(ticket);
        }
        let left: BTreeSet<u64> = (from..count).filter(|n| !settled.contains(n)).collect();
        let left: Vec<u64> = left.into_iter().collect();
        prop_assert_eq!(&scanned(&log, from), &left);
        log.save().unwrap();
        prop_assert_eq!(&scanned(&open(&disk), from), &left);
        prop_assert_eq!(log.stats().damaged_records.read(), 0);
    }

    /// Whatever is overwritten: no panic, no letter twice, and those that are found are what was
    /// written.
    #[test]
    fn a_scan_passes_over_garbage(seed in any::<u64>()) {
        let mut random = fastrand::Rng::with_seed(seed);
        let disk = SimulatedDisk::new(seed);
        let log = open(&disk);
        fill(&log, 0..60);
        for file in disk.files() {
            disk.edit(&file, |bytes| {
                let from = random.usize(..bytes.len());
                let to = random.usize(from..=bytes.len().min(from + 200));
                bytes[from..to].iter_mut().for_each(|byte| *byte = random.u8(..));
            });
        }
        for log in [&log, &open(&disk)] {
            let found = numbers(letterbox(log).pick(&Selection::default()));
            prop_assert!(found.is_sorted_by(|a, b| a < b), "{:?}", found);
            prop_assert_eq!(&numbers(letterbox(log).pick(&Selection::default())), &found);
        }
    }
}
