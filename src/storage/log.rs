//! One log: appending, reading what waits, settling, opening. The form on disk is told in the parent.
//!
//! Three locks, always taken in this order: the reader's, the writer's, the state's. Whoever appends holds
//! the writer's for one write; whoever settles only the state's; syncing holds none while the disk works.

mod append;
mod open;
mod scan;

use std::{
    collections::BTreeMap,
    io::{self, IoSlice},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use super::{
    Room, Settings, Stored, Ticket,
    disk::{Disk, File, append_all},
    ranges::Ranges,
    reader::{Reader, Step},
    record::Marker,
    segment::Segment,
    settled::{self, OfSegment},
};
use crate::{otlp::payload::Reason, telemetry::storage::LogStats};

pub use scan::Scan;

/// Largest part of damaged bytes that is kept for a look, and how many such files.
const DAMAGED_BYTES: u64 = 4 << 20;
const DAMAGED_FILES: usize = 16;

/// Spare files of a log.
const SPARES: usize = 2;

/// An append-only log in one folder. Shared; all calls block for as long as the disk does.
pub struct Log {
    disk: Arc<dyn Disk>,
    settings: Settings,
    room: Arc<Room>,
    stats: Arc<LogStats>,
    reader: Mutex<Option<Reader>>,
    writer: Mutex<Writer>,
    state: Mutex<State>,
}

/// What appends.
#[derive(Default)]
struct Writer {
    active: Option<Active>,
    /// Number of the next record.
    next: u64,
    /// Items and bytes of all records so far.
    items: u64,
    bytes: u64,
    /// Files that have bytes which may not be durable.
    unsynced: Vec<Arc<dyn File>>,
    /// The same of an earlier process.
    inherited: Vec<u64>,
    /// Whether names of files may not be durable.
    has_new_names: bool,
}

/// The segment at the end.
struct Active {
    file: Arc<dyn File>,
    marker: Marker,
    base: u64,
    size: u64,
    is_synced: bool,
}

/// What is where.
#[derive(Default)]
struct State {
    segments: BTreeMap<u64, Segment>,
    /// Records that wait for [`Log::take`].
    waiting: Ranges,
    /// See [`Log::lost`].
    lost: Vec<(Range<u64>, Reason)>,
    /// Whether `settled` is older than this.
    is_changed: bool,
    /// Files to write over, with their sizes.
    spares: Vec<(String, u64)>,
    damaged_files: usize,
}

impl State {
    fn segment_of(&mut self, number: u64) -> Option<&mut Segment> {
        let (_, segment) = self.segments.range_mut(..=number).next_back()?;
        (number < segment.end).then_some(segment)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn segment_name(base: u64) -> String {
    format!("{base:020}.seg")
}

fn spare_name(base: u64) -> String {
    format!("{SPARE}{base}")
}

/// How names of spare files begin.
const SPARE: &str = "spare-";

impl Log {
    // ---- durability ------------------------------------------------------------------------

    /// Makes everything durable that was appended before; the number after it. After an error what was
    /// appended since the last success may be lost with the machine, and a new segment is begun: the
    /// system may have thrown away what it could not write.
    pub fn sync(&self) -> io::Result<u64> {
        let (files, has_new_names, upto) = {
            let mut writer = lock(&self.writer);
            let inherited = std::mem::take(&mut writer.inherited);
            let mut files = std::mem::take(&mut writer.unsynced);
            // One that is gone has nothing that anybody needs.
            files.extend(
                inherited.into_iter().filter_map(|base| self.disk.open(&segment_name(base)).ok()),
            );
            if let Some(active) = writer.active.as_mut().filter(|active| !active.is_synced) {
                active.is_synced = true;
                files.push(Arc::clone(&active.file));
            }
            (files, std::mem::take(&mut writer.has_new_names), writer.next)
        };
        let names = if has_new_names { self.disk.sync() } else { Ok(()) };
        let synced = files.iter().try_for_each(|file| file.sync()).and(names);
        if let Err(error) = synced {
            self.stats.sync_errors.add(1);
            let mut writer = lock(&self.writer);
            writer.has_new_names |= has_new_names;
            self.seal(&mut writer);
            return Err(error);
        }
        if !files.is_empty() {
            self.stats.syncs.add(1);
        }
        Ok(upto)
    }

    /// Writes down what is settled, if anything was since the last time.
    pub fn save(&self) -> io::Result<()> {
        let segments: Vec<OfSegment> = {
            let mut state = lock(&self.state);
            if !std::mem::take(&mut state.is_changed) {
                return Ok(());
            }
            let of_segment = |segment: &Segment| OfSegment {
                base: segment.base,
                marker: segment.marker,
                items: segment.settled_items,
                bytes: segment.settled_bytes,
                runs: segment.runs(),
            };
            state.segments.values().map(of_segment).filter(|s| !s.runs.is_empty()).collect()
        };
        let written = self.write_settled(&segments);
        if written.is_err() {
            lock(&self.state).is_changed = true;
        }
        written
    }

    fn write_settled(&self, segments: &[OfSegment]) -> io::Result<()> {
        // What an earlier attempt has left behind.
        let _ = self.disk.remove(NEW_SETTLED);
        let file = self.disk.create(NEW_SETTLED)?;
        append_all(&*file, &mut [IoSlice::new(&settled::encode(segments))])?;
        self.disk.rename(NEW_SETTLED, SETTLED)
    }

    // ---- reading and settling --------------------------------------------------------------

    /// Whether a record waits to be taken.
    pub fn has_waiting(&self) -> bool {
        !lock(&self.state).waiting.is_empty()
    }

    /// Milliseconds since the oldest record was taken that is not settled, to a second; none: there is none.
    pub fn oldest(&self, now: SystemTime) -> Option<u64> {
        let state = lock(&self.state);
        let oldest = state.segments.values().find_map(Segment::oldest)?;
        Some(millis(now).saturating_sub(oldest))
    }

    /// Takes the first record that waits; none: none does. What cannot be read is left out and counted. After an
    /// error of the disk the record still waits.
    pub fn take(&self) -> io::Result<Option<Stored>> {
        let mut reader = lock(&self.reader);
        loop {
            let (number, segment) = {
                let mut state = lock(&self.state);
                let Some(number) = state.waiting.first() else { return Ok(None) };
                let segment = state.segment_of(number).map(|s| (s.base, s.marker, s.end));
                let Some(segment) = segment else {
                    // Its segment is gone: it was dropped meanwhile.
                    state.waiting.remove(number..number + 1);
                    continue;
                };
                (number, segment)
            };
            let (base, marker, end) = segment;
            if reader.as_ref().is_none_or(|reader| reader.base != base || reader.next > number) {
                let file = self.disk.open(&segment_name(base))?;
                *reader = Some(Reader::new(file, marker, base));
            }
            let Some(place) = reader.as_mut() else { continue };
            let step = place.step(end)?;
            let Step { skipped, record } = step;
            let Some((header, at)) = record else {
                self.damaged(base, skipped, number..end);
                *reader = None;
                continue;
            };
            // What should have stood before it does not, whether or not there are other bytes.
            if !skipped.is_empty() || header.number > number {
                self.damaged(base, skipped, number..header.number.max(number));
            }
            if header.number < number {
                continue;
            }
            match place.contents(&header, at)? {
                Some((note, body)) if self.hand_out(header.number) => {
                    let ticket = Ticket {
                        number: header.number,
                        items: u64::from(header.items),
                        bytes: u64::from(header.body),
                    };
                    let (signal, time) = (header.signal, header.time);
                    return Ok(Some(Stored { ticket, signal, note, body, time }));
                }
                Some(_) => {}
                None => {
                    let number = header.number;
                    self.damaged(base, at..at + header.len(), number..number + 1);
                }
            }
        }
    }

    /// From waiting into somebody's hands; false where it was dropped meanwhile, or does not wait.
    fn hand_out(&self, number: u64) -> bool {
        lock(&self.state).waiting.remove(number..number + 1) == 1
    }

    /// A record that was taken waits again.
    pub fn put_back(&self, ticket: &Ticket) {
        let mut state = lock(&self.state);
        let is_there =
            state.segment_of(ticket.number).is_some_and(|s| !s.is_settled(ticket.number));
        if is_there {
            state.waiting.insert(ticket.number..ticket.number + 1);
        }
    }

    /// Numbers of records that were to be read and cannot be any more, since the last call: dropped to make room,
    /// or damaged. They are settled.
    pub fn lost(&self) -> Vec<(Range<u64>, Reason)> {
        std::mem::take(&mut lock(&self.state).lost)
    }

    /// Nobody needs the record any more.
    pub fn settle(&self, ticket: &Ticket) {
        let mut state = lock(&self.state);
        state.waiting.remove(ticket.number..ticket.number + 1);
        let Some(segment) = state.segment_of(ticket.number) else { return };
        if !segment.settle(ticket.number) {
            return;
        }
        segment.settled_items += ticket.items;
        segment.settled_bytes += ticket.bytes;
        let base = segment.base;
        state.is_changed = true;
        self.stats.records.sub(1);
        self.stats.items.sub(ticket.items);
        self.stats.bytes.sub(ticket.bytes);
        self.remove_if_done(state, base);
    }

    fn remove_if_done(&self, mut state: MutexGuard<'_, State>, base: u64) {
        if !state.segments.get(&base).is_some_and(Segment::is_done) {
            return;
        }
        state.is_changed = true;
        let Some(segment) = state.segments.remove(&base) else { return };
        drop(state);
        self.remove_file(&segment);
    }

    fn remove_file(&self, segment: &Segment) {
        if self.spare(segment) {
            return;
        }
        if let Err(error) = self.disk.remove(&segment_name(segment.base)) {
            // It is found again at the next opening; until then its bytes count.
            tracing::warn!(log = %self.stats.id, %error, "A file of the storage cannot be removed");
            return;
        }
        self.room.give_back(segment.size);
        self.stats.disk_bytes.sub(segment.size);
    }

    /// Keeps the file of a segment to write over it, where it is large and there are few.
    fn spare(&self, segment: &Segment) -> bool {
        let mut state = lock(&self.state);
        let is_large = segment.size >= self.settings.segment_size / 2;
        if !is_large || state.spares.len() >= SPARES {
            return false;
        }
        let name = spare_name(segment.base);
        let is_kept = self.disk.rename(&segment_name(segment.base), &name).is_ok();
        if is_kept {
            state.spares.push((name, segment.size));
        }
        is_kept
    }

    /// Counts records that cannot be read, keeps their bytes for a look, and settles them.
    fn damaged(&self, base: u64, bytes: Range<u64>, numbers: Range<u64>) {
        let mut state = lock(&self.state);
        state.lost.push((numbers.clone(), Reason::StorageFailed));
        let lost: Vec<u64> = numbers.filter(|n| state.waiting.remove(*n..*n + 1) == 1).collect();
        let count = lost.len() as u64;
        let Some(segment) = state.segments.get_mut(&base) else { return };
        for number in &lost {
            segment.settle(*number);
        }
        if segment.left() == 0 {
            // What the lost ones had is known once nothing else is left.
            self.stats.items.sub(segment.items - segment.settled_items);
            self.stats.bytes.sub(segment.bytes - segment.settled_bytes);
            segment.settled_items = segment.items;
            segment.settled_bytes = segment.bytes;
        }
        state.is_changed = true;
        let may_keep = state.damaged_files < DAMAGED_FILES;
        state.damaged_files += usize::from(may_keep);
        self.stats.records.sub(count);
        self.stats.damaged_records.add(count);
        self.stats.damaged_bytes.add(bytes.end - bytes.start);
        let kept = may_keep.then(|| self.keep_damaged(base, &bytes)).transpose();
        tracing::error!(
            log = %self.stats.id,
            lost_records = count,
            damaged_bytes = bytes.end - bytes.start,
            segment = segment_name(base),
            kept_in = kept.ok().flatten().unwrap_or_default(),
            "The storage is damaged. Going on after the damaged bytes."
        );
        self.remove_if_done(state, base);
    }

    fn keep_damaged(&self, base: u64, bytes: &Range<u64>) -> io::Result<String> {
        let name = format!("damaged-{base:020}-{}", bytes.start);
        let len = (bytes.end - bytes.start).min(DAMAGED_BYTES);
        let mut copy = vec![0; usize::try_from(len).unwrap_or(0)];
        let file = self.disk.open(&segment_name(base))?;
        let read = super::disk::read_full(&*file, &mut copy, bytes.start)?;
        let kept = self.disk.create(&name)?;
        append_all(&*kept, &mut [IoSlice::new(&copy[..read])])?;
        Ok(name)
    }

    /// The counters.
    pub fn stats(&self) -> &Arc<LogStats> {
        &self.stats
    }
}

/// What is settled, and the file that it is written to first.
const SETTLED: &str = "settled";
const NEW_SETTLED: &str = "settled.new";
