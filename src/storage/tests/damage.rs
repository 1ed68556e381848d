//! Whole files that are damaged, empty, missing, or directories; and a folder that is removed while
//! its log is open.

use super::*;

/// A kind of damage to a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    Zeroed,
    Random,
    Emptied,
    Removed,
    Directory,
}

const HARMS: [Harm; 5] =
    [Harm::Zeroed, Harm::Random, Harm::Emptied, Harm::Removed, Harm::Directory];

impl Harm {
    fn happen(self, disk: &SimulatedDisk, name: &str) {
        match self {
            Harm::Zeroed => disk.edit(name, |bytes| bytes.fill(0)),
            Harm::Random => disk.edit(name, |bytes| fastrand::Rng::with_seed(1).fill(bytes)),
            Harm::Emptied => disk.edit(name, Vec::clear),
            Harm::Removed => disk.remove(name).unwrap(),
            Harm::Directory => disk.put_directory(name),
        }
    }
}

fn segments(disk: &SimulatedDisk) -> Vec<String> {
    disk.files().into_iter().filter(|name| name.strip_suffix(".seg").is_some()).collect()
}

fn base(segment: &str) -> u64 {
    segment.trim_end_matches(".seg").parse().unwrap()
}

fn kept(disk: &SimulatedDisk) -> Vec<String> {
    disk.files().into_iter().filter(|name| name.starts_with("damaged-")).collect()
}

/// A synced and saved log with 60 records.
fn written(seed: u64) -> (SimulatedDisk, Arc<Log>) {
    let disk = SimulatedDisk::new(seed);
    let log = open(&disk, SETTINGS, u64::MAX);
    assert!(append_all(&log, 0..60, Place::Waiting).iter().all(Result::is_ok));
    log.sync().unwrap();
    log.save().unwrap();
    (disk, log)
}

#[test]
fn a_segment_that_is_damaged_as_a_whole_or_gone_is_counted_and_kept() {
    let count = segments(&written(1).0).len();
    for harm in HARMS {
        for index in [0, 1, count - 1] {
            let (disk, _) = written(1);
            let all = segments(&disk);
            let (from, to) = (base(&all[index]), all.get(index + 1).map_or(60, |next| base(next)));
            harm.happen(&disk, &all[index]);
            let log = open(&disk, SETTINGS, u64::MAX);
            assert_eq!(
                names(&log),
                (0..from).chain(to..60).collect::<Vec<_>>(),
                "{harm:?} {index}"
            );
            let counted = log.stats().damaged_records.read();
            assert_eq!(counted, to - from, "{harm:?} {index}");
            let is_kept = kept(&disk) == [format!("damaged-{from:020}-whole")];
            assert_eq!(is_kept, harm != Harm::Removed, "{:?}", disk.files());
            append(&log, 60, Place::Waiting).unwrap();
            let again = open(&disk, SETTINGS, u64::MAX);
            assert_eq!(again.stats().damaged_records.read(), 0, "it is said once");
            assert_eq!(names(&again), (0..from).chain(to..61).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_log_that_has_lost_every_segment_goes_on_with_new_numbers() {
    for harm in HARMS {
        let (disk, _) = written(1);
        for name in segments(&disk) {
            harm.happen(&disk, &name);
        }
        let log = open(&disk, SETTINGS, u64::MAX);
        assert_eq!(log.stats().damaged_records.read(), 60, "{harm:?}");
        assert_eq!(append(&log, 7, Place::Waiting).unwrap().number, 60);
        assert_eq!(names(&open(&disk, SETTINGS, u64::MAX)), [7]);
    }
}

#[test]
fn a_segment_that_vanishes_while_the_log_is_open_does_not_block_others() {
    for harm in [Harm::Removed, Harm::Directory] {
        let (disk, log) = written(1);
        let all = segments(&disk);
        harm.happen(&disk, &all[1]);
        let (from, to) = (base(&all[1]), base(&all[2]));
        assert_eq!(names(&log), (0..from).chain(to..60).collect::<Vec<_>>(), "{harm:?}");
        assert_eq!(log.stats().damaged_records.read(), to - from);
    }
}

#[test]
fn directories_with_the_names_of_files_are_set_aside() {
    let (disk, _) = written(1);
    for name in ["settled", "settled.new", "new-60"] {
        disk.put_directory(name);
    }
    let log = open(&disk, SETTINGS, u64::MAX);
    let all = take_all(&log);
    all.iter().skip(1).for_each(|(_, ticket)| log.settle(ticket));
    log.save().unwrap();
    assert_eq!(names(&open(&disk, SETTINGS, u64::MAX)), [0]);
    assert_eq!(kept(&disk), ["damaged-new-60", "damaged-settled", "damaged-settled.new"]);
}

#[test]
fn appends_fail_once_the_folder_is_found_missing() {
    let (disk, log) = written(1);
    assert_eq!(log.at_risk(&[]), 0);
    let (_, first) = take_all(&log)[2];
    append(&log, 62, Place::InHand).unwrap();
    disk.remove_all();
    log.sync().unwrap_err();
    assert!(matches!(append(&log, 63, Place::InHand), Err(AppendError::Io(_))));
    log.settle(&first);
    let items = (0..60).chain([62]).map(|name| name % 5).sum::<u64>() - first.items;
    assert_eq!(log.at_risk(&[]), items, "all that was not settled");
}

#[test]
fn a_removed_file_is_noticed_at_the_next_sync() {
    let (disk, log) = written(1);
    append(&log, 63, Place::InHand).unwrap();
    let last = segments(&disk).pop().unwrap();
    disk.remove(&last).unwrap();
    log.sync().unwrap_err();
    assert!(log.at_risk(&[]) > 0);
    append(&log, 64, Place::InHand).unwrap();
    log.sync().unwrap();
}

#[test]
fn a_clock_that_jumps_changes_neither_order_nor_contents() {
    let (disk, mut hands) = (SimulatedDisk::new(1), Vec::new());
    let far = Duration::from_secs(u64::from(u32::MAX));
    let times = [100, 50, 0, 4_000_000_000, 7, 200].map(Duration::from_secs);
    for (round, after) in times.into_iter().enumerate() {
        let log = open(&disk, SETTINGS, u64::MAX);
        for item in 0..20 {
            let name = 20 * round as u64 + item;
            let (time, note) = (SystemTime::UNIX_EPOCH + after, name.to_string());
            let body = [Bytes::copy_from_slice(&body(name))];
            let (signal, note, place) = (Signal::Logs, note.as_bytes(), Place::Waiting);
            log.append(NewRecord { signal, items: 1, note, body: &body, time, place }).unwrap();
        }
        for now in [SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + far] {
            assert!(log.oldest(now).is_some());
        }
        log.save().unwrap();
        hands = std::iter::from_fn(|| log.take().unwrap()).collect();
    }
    let found = hands.iter().map(|stored| u64::from_le_bytes(stored.body[..8].try_into().unwrap()));
    assert_eq!(found.collect::<Vec<_>>(), (0..120).collect::<Vec<_>>());
}

proptest! {
    /// Readable records are delivered and others are counted, whatever happens to whole files and
    /// in whatever order records are settled. Settled records are never counted as lost.
    #[test]
    fn every_record_is_settled_found_or_counted(seed in any::<u64>()) {
        let mut random = fastrand::Rng::with_seed(seed);
        let disk = SimulatedDisk::new(seed);
        let log = open(&disk, SETTINGS, u64::MAX);
        let mut left: HashSet<u64> = (0..80).collect();
        for name in 0..80 {
            let ticket = append(&log, name, Place::InHand).unwrap();
            // Some segments go as a whole.
            if name / 20 % 2 == seed % 2 || random.u8(..4) == 0 {
                log.settle(&ticket);
                left.remove(&name);
            }
            if random.u8(..8) == 0 {
                log.save().unwrap();
            }
        }
        log.sync().unwrap();
        log.save().unwrap();
        for name in segments(&disk) {
            if random.u8(..3) == 0 {
                HARMS[random.usize(..HARMS.len())].happen(&disk, &name);
            }
        }
        let log = open(&disk, SETTINGS, u64::MAX);
        let found: HashSet<u64> = names(&log).into_iter().collect();
        prop_assert!(found.is_subset(&left));
        let counted = log.stats().damaged_records.read();
        prop_assert_eq!(counted, (left.len() - found.len()) as u64);
    }
}
