//! A queue on disk three ways: a plain segmented log (ours), an LSM tree (fjall) and a
//! copy-on-write B-tree (redb). Each takes the same records with a sync every 4 MiB, is opened
//! again with all of them in it, reads them in order, and removes each after it was read.
//!
//! Shown for each step: megabytes of payload a second, CPU seconds (user and system) a gigabyte,
//! and what went to the disk for each byte of payload.
//!
//! Measured on two shared cores and a virtual disk, medians of three runs of 512 MiB in records of
//! 64 KiB:
//!
//! | store         | append      | CPU of it     | written a byte | read back   | CPU of it     | open   |
//! |---------------|-------------|---------------|----------------|-------------|---------------|--------|
//! | segmented log | 490 MB/s    | 0.56 s/GB     | 1.00           | 2110 MB/s   | 0.34 s/GB     | < 1 ms |
//! | fjall 3.1     | 231 MB/s    | 2.29 s/GB     | 1.89           | 2041 MB/s   | 0.35 s/GB     | 91 ms  |
//! | redb 4        | 215 MB/s    | 2.50 s/GB     | 2.01           | 723 MB/s    | 0.93 s/GB     | 1 ms   |
//!
//! So the log is taken: a quarter of the CPU, and half of the bytes on the disk.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Instant, SystemTime},
};

use bytes::Bytes;
use fjall::{Database as FjallDatabase, KeyspaceCreateOptions, PersistMode};
use redb::{Database as RedbDatabase, Durability, ReadableDatabase as _, TableDefinition};
use skep::{
    otlp::Signal,
    storage::{Folder, Log, NewRecord, Overflow, Place, Room, Settings},
    telemetry::storage::LogStats,
};

const RECORD: usize = 64 << 10;
const GROUP: u64 = 64;

/// A queue: numbered records in, the same records out in order, each removed once it was read.
trait Queue: Sized {
    const NAME: &'static str;
    fn open(path: &Path) -> Self;
    fn append(&mut self, number: u64, body: &Bytes);
    fn sync(&mut self);
    /// Reads everything; the bytes.
    fn read(&mut self) -> u64;
    /// Removes so many from the beginning.
    fn remove(&mut self, count: u64);
}

struct OurLog {
    log: Arc<Log>,
    taken: Vec<skep::storage::Ticket>,
}

impl Queue for OurLog {
    const NAME: &'static str = "segmented log";

    fn open(path: &Path) -> Self {
        let disk = Arc::new(Folder::open(path, 0o750).expect("a folder"));
        let settings = Settings { segment_size: 64 << 20, overflow: Overflow::Block };
        let room = Arc::new(Room::new(u64::MAX));
        let log = Log::open(disk, settings, room, Arc::new(LogStats::default())).expect("a log");
        OurLog { log, taken: Vec::new() }
    }

    fn append(&mut self, _: u64, body: &Bytes) {
        let record = NewRecord {
            signal: Signal::Traces,
            items: 100,
            note: &[],
            body: std::slice::from_ref(body),
            time: SystemTime::now(),
            place: Place::Waiting,
        };
        self.log.append(record).expect("room");
    }

    fn sync(&mut self) {
        self.log.sync().expect("a sync");
    }

    fn read(&mut self) -> u64 {
        let mut bytes = 0;
        while let Some(stored) = self.log.take().expect("a record") {
            bytes += stored.body.len() as u64;
            self.taken.push(stored.ticket);
        }
        bytes
    }

    fn remove(&mut self, count: u64) {
        for (index, ticket) in self.taken.drain(..).take(count as usize).enumerate() {
            self.log.settle(&ticket);
            // As often as a second of such a load would.
            if index % 256 == 0 {
                self.log.save().expect("a save");
            }
        }
    }
}

struct Fjall {
    database: FjallDatabase,
    records: fjall::Keyspace,
}

impl Queue for Fjall {
    const NAME: &'static str = "fjall";

    fn open(path: &Path) -> Self {
        let database = FjallDatabase::builder(path).open().expect("a database");
        let records =
            database.keyspace("queue", KeyspaceCreateOptions::default).expect("a keyspace");
        Fjall { database, records }
    }

    fn append(&mut self, number: u64, body: &Bytes) {
        self.records.insert(number.to_be_bytes(), &body[..]).expect("an insert");
    }

    fn sync(&mut self) {
        self.database.persist(PersistMode::SyncData).expect("a sync");
    }

    fn read(&mut self) -> u64 {
        self.records.iter().map(|entry| entry.value().expect("a value").len() as u64).sum()
    }

    fn remove(&mut self, count: u64) {
        for number in 0..count {
            self.records.remove(number.to_be_bytes()).expect("a removal");
            if number % GROUP == 0 {
                self.database.persist(PersistMode::Buffer).expect("a write");
            }
        }
    }
}

struct Redb {
    database: RedbDatabase,
    open: Option<redb::WriteTransaction>,
}

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("queue");

impl Queue for Redb {
    const NAME: &'static str = "redb";

    fn open(path: &Path) -> Self {
        fs::create_dir_all(path).expect("a folder");
        let database = RedbDatabase::create(path.join("queue.redb")).expect("a database");
        Redb { database, open: None }
    }

    fn append(&mut self, number: u64, body: &Bytes) {
        let open = self.open.take();
        let open = open.unwrap_or_else(|| self.database.begin_write().expect("a transaction"));
        open.open_table(TABLE).expect("a table").insert(number, &body[..]).expect("an insert");
        self.open = Some(open);
    }

    fn sync(&mut self) {
        if let Some(open) = self.open.take() {
            open.commit().expect("a commit");
        }
    }

    fn read(&mut self) -> u64 {
        let Ok(transaction) = self.database.begin_read() else { return 0 };
        let table = transaction.open_table(TABLE).expect("a table");
        let all = table.range::<u64>(..).expect("a range");
        all.map(|entry| entry.expect("an entry").1.value().len() as u64).sum()
    }

    fn remove(&mut self, count: u64) {
        for first in (0..count).step_by(GROUP as usize) {
            let mut open = self.database.begin_write().expect("a transaction");
            open.set_durability(Durability::None).expect("a durability");
            {
                let mut table = open.open_table(TABLE).expect("a table");
                for number in first..count.min(first + GROUP) {
                    table.remove(number).expect("a removal");
                }
            }
            open.commit().expect("a commit");
        }
    }
}

/// CPU seconds and bytes that went to the disk, of this process so far.
fn usage() -> (f64, u64) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks: f64 = stat
        .rsplit(')')
        .next()
        .map(|rest| rest.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok()).sum())
        .unwrap_or_default();
    let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    (ticks / 100.0, line.and_then(|n| n.trim().parse().ok()).unwrap_or_default())
}

fn step<T>(name: &str, bytes: u64, work: impl FnOnce() -> T) -> T {
    let (before, began) = (usage(), Instant::now());
    let result = work();
    let (seconds, after) = (began.elapsed().as_secs_f64(), usage());
    let written = (after.1 - before.1) as f64 / bytes as f64;
    println!(
        "  {name:8} {:7.0} MB/s {:7.3} s {:6.2} CPU s/GB {written:6.2} bytes written a byte",
        bytes as f64 / seconds / 1e6,
        seconds,
        (after.0 - before.0) / (bytes as f64 / 1e9),
    );
    result
}

fn measure<Q: Queue>(root: &Path, records: u64) {
    println!("{}", Q::NAME);
    let path = root.join(Q::NAME.replace(' ', "-"));
    let _ = fs::remove_dir_all(&path);
    let mut random = fastrand::Rng::with_seed(7);
    let body = Bytes::from(std::iter::repeat_with(|| random.u8(..)).take(RECORD).collect::<Vec<_>>());
    let bytes = records * RECORD as u64;
    let mut queue = Q::open(&path);
    step("append", bytes, || {
        for number in 0..records {
            queue.append(number, &body);
            if number % GROUP == GROUP - 1 {
                queue.sync();
            }
        }
        queue.sync();
    });
    drop(queue);
    let mut queue = step("open", bytes, || Q::open(&path));
    let read = step("read", bytes, || queue.read());
    assert_eq!(read, bytes);
    step("remove", bytes, || queue.remove(records));
    step("close", bytes, || drop(queue));
    let _ = fs::remove_dir_all(&path);
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let root = arguments.next().unwrap_or_else(|| "target/stores".to_owned());
    let records: u64 = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(16 << 10);
    let root = Path::new(&root);
    fs::create_dir_all(root).expect("a folder");
    for run in 1..=3 {
        println!("run {run}: {} MB in records of {} KiB", (records * RECORD as u64) / 1_000_000, RECORD >> 10);
        measure::<OurLog>(root, records);
        measure::<Fjall>(root, records);
        measure::<Redb>(root, records);
    }
}
