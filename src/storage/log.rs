//! One log: appends records, reads waiting ones, settles them, and opens logs. `storage.rs`
//! describes the format on disk.
//!
//! Locks are always taken in this order: reader, writer, saving, state. Appending holds the
//! writer's lock during one write, settling only the state's, and syncing none while the disk
//! works.

mod apart;
mod append;
mod damage;
mod open;
mod scan;

use std::{
    collections::BTreeMap,
    io::{self, IoSlice},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard},
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
use crate::{otlp::payload::Reason, sync, telemetry::storage::LogStats};

pub use scan::Scan;

/// Spare files of a log.
const SPARES: usize = 2;

/// An append-only log in one folder. It can be shared between threads. All calls block while the
/// disk does.
pub struct Log {
    disk: Arc<dyn Disk>,
    settings: Settings,
    room: Arc<Room>,
    stats: Arc<LogStats>,
    reader: Mutex<Option<Reader>>,
    writer: Mutex<Writer>,
    /// Held while `settled` is written.
    saving: Mutex<()>,
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
    /// Files with bytes that may not be durable.
    unsynced: Vec<Arc<dyn File>>,
    /// The same of an earlier process.
    inherited: Vec<u64>,
    /// Whether names of files may not be durable.
    has_new_names: bool,
    /// Items of all records up to the last sync, and whether one has failed since.
    synced_items: u64,
    has_failed: bool,
}

/// The segment at the end.
struct Active {
    file: Arc<dyn File>,
    marker: Marker,
    base: u64,
    size: u64,
    is_synced: bool,
}

/// The unsettled contents of a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Records.
    pub records: u64,
    /// Items in them.
    pub items: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
}

/// What is where.
#[derive(Default)]
struct State {
    segments: BTreeMap<u64, Segment>,
    /// The sum of what the segments have left.
    held: Held,
    /// Records that wait for [`Log::take`].
    waiting: Ranges,
    /// See [`Log::lost`].
    lost: Vec<(Range<u64>, Reason)>,
    /// Number of the next record.
    next: u64,
    /// Whether `settled` is older than this.
    is_changed: bool,
    /// Files to write over, with their sizes.
    spares: Vec<(String, u64)>,
    /// Files of segments that are gone, which tell so until `settled` does.
    gone: Vec<(String, u64)>,
    damaged_files: usize,
}

impl Held {
    fn add(&mut self, records: u64, items: u64, bytes: u64) {
        self.records += records;
        self.items += items;
        self.bytes += bytes;
    }

    /// At most what is there: what a damaged record had is not always known.
    fn take(&mut self, records: u64, items: u64, bytes: u64) {
        self.records = self.records.saturating_sub(records);
        self.items = self.items.saturating_sub(items);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl State {
    fn segment_of(&mut self, number: u64) -> Option<&mut Segment> {
        let (_, segment) = self.segments.range_mut(..=number).next_back()?;
        (number < segment.end).then_some(segment)
    }
}

/// Whether there is no such file, or a directory has its name.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory)
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
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

/// Prefixes of names: of spare files, of segments without records yet, and of damaged files, which
/// are kept.
const SPARE: &str = "spare-";
const NEW: &str = "new-";
const DAMAGED: &str = "damaged-";

impl Log {
    // ---- durability ------------------------------------------------------------------------

    /// Makes everything durable that was appended before, and returns the number after it. After an
    /// error, records appended since the last success may be lost if the machine crashes. A new
    /// segment is begun then, because the kernel may have dropped pages that it could not write.
    pub fn sync(&self) -> io::Result<u64> {
        let (files, has_new_names, upto, items, last) = {
            let mut writer = sync::lock(&self.writer);
            let inherited = std::mem::take(&mut writer.inherited);
            let mut files = std::mem::take(&mut writer.unsynced);
            // A segment that is gone was fully settled or dropped.
            files.extend(
                inherited.into_iter().filter_map(|base| self.disk.open(&segment_name(base)).ok()),
            );
            if let Some(active) = writer.active.as_mut().filter(|active| !active.is_synced) {
                active.is_synced = true;
                files.push(Arc::clone(&active.file));
            }
            let last = writer.active.as_ref().map(|active| Arc::clone(&active.file));
            let has_new_names = std::mem::take(&mut writer.has_new_names);
            (files, has_new_names, writer.next, writer.items, last)
        };
        let names = if has_new_names { self.disk.sync() } else { Ok(()) };
        let synced = files.iter().try_for_each(|file| file.sync()).and(names);
        let synced = synced.and_then(|()| self.disk.check()).and_then(|()| self.check_last(last));
        let mut writer = sync::lock(&self.writer);
        writer.has_failed = synced.is_err();
        if let Err(error) = synced {
            self.stats.sync_errors.add(1);
            writer.has_new_names |= has_new_names;
            self.seal(&mut writer);
            return Err(error);
        }
        writer.synced_items = items;
        drop(writer);
        if !files.is_empty() {
            self.stats.syncs.add(1);
            // The next `settled` lists the synced records, too.
            sync::lock(&self.state).is_changed = true;
        }
        Ok(upto)
    }

    /// Fails if the directory was removed, or if another one has its path.
    pub fn check(&self) -> io::Result<()> {
        self.disk.check()
    }

    /// Fails if the file that is appended to was removed.
    fn check_last(&self, last: Option<Arc<dyn File>>) -> io::Result<()> {
        let Some(last) = last else { return Ok(()) };
        if last.has_name()? {
            return Ok(());
        }
        let writer = sync::lock(&self.writer);
        let Some(active) = writer.active.as_ref().filter(|now| Arc::ptr_eq(&now.file, &last))
        else {
            // It was dropped meanwhile to make room.
            return Ok(());
        };
        let message = format!("`{}` was removed by somebody else", segment_name(active.base));
        Err(io::Error::new(io::ErrorKind::NotFound, message))
    }

    /// Writes `settled`, if anything has changed since the last time.
    pub fn save(&self) -> io::Result<()> {
        let _saving = sync::lock(&self.saving);
        let (next, segments, gone) = {
            let mut state = sync::lock(&self.state);
            if !std::mem::take(&mut state.is_changed) {
                return Ok(());
            }
            let of_segment = |segment: &Segment| OfSegment {
                base: segment.base,
                marker: segment.marker,
                end: segment.end,
                all: (segment.items, segment.bytes),
                items: segment.settled_items,
                bytes: segment.settled_bytes,
                runs: segment.runs(),
            };
            let segments: Vec<OfSegment> = state.segments.values().map(of_segment).collect();
            (state.next, segments, std::mem::take(&mut state.gone))
        };
        let written = self.write_settled(next, &segments, !gone.is_empty());
        if written.is_err() {
            sync::lock(&self.state).is_changed = true;
        }
        match &written {
            Ok(()) => gone.into_iter().for_each(|(name, size)| self.spare_or_remove(name, size)),
            // Their names must stay, but on a full disk only emptying them makes room.
            Err(error) if is_full(error) => {
                let emptied = gone.into_iter().map(|(name, size)| self.empty(name, size));
                let emptied: Vec<(String, u64)> = emptied.collect();
                sync::lock(&self.state).gone.extend(emptied);
            }
            Err(_) => sync::lock(&self.state).gone.extend(gone),
        }
        written
    }

    /// Truncates a file whose name is still needed. Returns it with its new size.
    fn empty(&self, name: String, size: u64) -> (String, u64) {
        let emptied = self.disk.rewrite(&name).and_then(|file| file.cut(0));
        if emptied.is_err() {
            return (name, size);
        }
        self.room.give_back(size);
        self.stats.disk_bytes.sub(size);
        (name, 0)
    }

    /// Writes `settled` to get rid of files that wait for it. `false` if there are none, or on an
    /// error.
    fn clear_away(&self) -> bool {
        let has_gone = !sync::lock(&self.state).gone.is_empty();
        has_gone && self.save().is_ok()
    }

    /// With `has_gone`, files are removed afterwards, so `settled` is synced first.
    fn write_settled(&self, next: u64, segments: &[OfSegment], has_gone: bool) -> io::Result<()> {
        self.disk.check()?;
        // An earlier attempt may have left it behind.
        let _ = self.disk.remove(NEW_SETTLED);
        let file = self.disk.create(NEW_SETTLED)?;
        append_all(&*file, &mut [IoSlice::new(&settled::encode(next, segments))])?;
        if has_gone {
            file.sync()?;
        }
        self.disk.rename(NEW_SETTLED, SETTLED)
    }

    // ---- reading and settling --------------------------------------------------------------

    /// How much is not settled.
    pub fn held(&self) -> Held {
        sync::lock(&self.state).held
    }

    /// Changes how much is not settled, and shows it.
    fn hold(&self, state: &mut State, change: impl FnOnce(&mut Held)) {
        change(&mut state.held);
        self.stats.records.set(state.held.records);
        self.stats.items.set(state.held.items);
        self.stats.bytes.set(state.held.bytes);
    }

    /// Whether a record waits to be taken.
    pub fn has_waiting(&self) -> bool {
        !sync::lock(&self.state).waiting.is_empty()
    }

    /// Age of the oldest unsettled record in milliseconds, accurate to a second; `None` if there is
    /// none.
    pub fn oldest(&self, now: SystemTime) -> Option<u64> {
        let state = sync::lock(&self.state);
        let oldest = state.segments.values().find_map(Segment::oldest)?;
        Some(millis(now).saturating_sub(oldest))
    }

    /// Takes the first waiting record; `None` if there is none. Records that cannot be read are
    /// skipped and counted. After an error of the disk the record still waits.
    pub fn take(&self) -> io::Result<Option<Stored>> {
        let mut reader = sync::lock(&self.reader);
        loop {
            let (number, segment) = {
                let mut state = sync::lock(&self.state);
                let Some(number) = state.waiting.first() else { return Ok(None) };
                let segment = state.segment_of(number).map(|s| (s.base, s.marker, s.end));
                let Some(segment) = segment else {
                    // Its segment was dropped meanwhile.
                    state.waiting.remove(number..number + 1);
                    continue;
                };
                (number, segment)
            };
            let (base, marker, end) = segment;
            if reader.as_ref().is_none_or(|reader| reader.base != base || reader.next > number) {
                match self.disk.open(&segment_name(base)) {
                    Ok(file) => *reader = Some(Reader::new(file, marker, base)),
                    // While the whole folder is missing, it may come back.
                    Err(error) if is_missing(&error) && self.disk.check().is_ok() => {
                        self.damaged(base, 0..0, number..end);
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            let Some(place) = reader.as_mut() else { continue };
            let step = place.step(end)?;
            let Step { skipped, record } = step;
            let Some((header, at)) = record else {
                self.damaged(base, skipped, number..end);
                *reader = None;
                continue;
            };
            // Records before this one are missing, with or without other bytes in their place.
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

    /// Takes a record out of the waiting ones; `false` if it was dropped meanwhile or does not
    /// wait.
    fn hand_out(&self, number: u64) -> bool {
        sync::lock(&self.state).waiting.remove(number..number + 1) == 1
    }

    /// A record that was taken waits again.
    pub fn put_back(&self, ticket: &Ticket) {
        let mut state = sync::lock(&self.state);
        let is_there =
            state.segment_of(ticket.number).is_some_and(|s| !s.is_settled(ticket.number));
        if is_there {
            state.waiting.insert(ticket.number..ticket.number + 1);
        }
    }

    /// Numbers of the waiting records that were lost since the last call: dropped to make room, or
    /// damaged. They are settled.
    pub fn lost(&self) -> Vec<(Range<u64>, Reason)> {
        std::mem::take(&mut sync::lock(&self.state).lost)
    }

    /// Settles the record: it is no longer needed.
    pub fn settle(&self, ticket: &Ticket) {
        let mut state = sync::lock(&self.state);
        state.waiting.remove(ticket.number..ticket.number + 1);
        let Some(segment) = state.segment_of(ticket.number) else { return };
        if !segment.settle(ticket.number) {
            return;
        }
        segment.settled_items += ticket.items;
        segment.settled_bytes += ticket.bytes;
        let base = segment.base;
        state.is_changed = true;
        self.hold(&mut state, |held| held.take(1, ticket.items, ticket.bytes));
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

    /// Renames the file of a removed segment; the file stays until `settled` no longer lists the
    /// segment.
    fn remove_file(&self, segment: &Segment) {
        let Segment { base, size, .. } = *segment;
        let renamed = if segment.is_damaged {
            self.set_aside(base).map(|_| false)
        } else {
            self.disk.rename(&segment_name(base), &spare_name(base)).map(|()| true)
        };
        match renamed {
            Ok(true) => sync::lock(&self.state).gone.push((spare_name(base), size)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                // The next opening finds it again; until then its bytes count.
                tracing::warn!(log = %self.stats.id, %error, "A file of the storage cannot be removed");
            }
            Ok(false) | Err(_) => self.give_back(size),
        }
    }

    /// Keeps a large file as a spare if there are few spares; otherwise removes it.
    fn spare_or_remove(&self, name: String, size: u64) {
        let mut state = sync::lock(&self.state);
        if size >= self.settings.segment_size / 2 && state.spares.len() < SPARES {
            state.spares.push((name, size));
            return;
        }
        drop(state);
        match self.disk.remove(&name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(log = %self.stats.id, %error, "A file of the storage cannot be removed");
            }
            _ => self.give_back(size),
        }
    }

    fn give_back(&self, size: u64) {
        self.room.give_back(size);
        self.stats.disk_bytes.sub(size);
    }

    /// The counters.
    pub fn stats(&self) -> &Arc<LogStats> {
        &self.stats
    }
}

/// Name of the file with what is settled, and its name while it is being written.
const SETTLED: &str = "settled";
const NEW_SETTLED: &str = "settled.new";
