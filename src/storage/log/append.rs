//! Appends to a log: takes room, begins segments, and writes records that arrive together with one
//! write.
//!
//! Why together: each write has a fixed cost, and larger writes get larger pages in the page cache,
//! which are cheaper to look up, to mark and to write back. `engine/intake/journal.rs` says what
//! that saves.

use std::{
    io::{self, IoSlice},
    sync::Arc,
};

use super::{Active, Log, NEW, Writer, millis, segment_name};
use crate::{
    otlp::payload::Reason,
    storage::{
        AppendError, NewRecord, Overflow, Place, Ticket,
        disk::{File, append_all},
        record::{self, Marker, RecordHeader, SEGMENT_HEADER, SegmentHeader},
        segment::Segment,
    },
    sync,
};

/// A record before it has a number.
struct Ready<'a> {
    new: NewRecord<'a>,
    header: RecordHeader,
    size: u64,
}

/// Records that are written to one segment with one write. Their room is already taken.
#[derive(Default)]
struct Group<'a> {
    records: Vec<Ready<'a>>,
    size: u64,
}

impl<'a> Ready<'a> {
    fn new(new: NewRecord<'a>) -> Result<Self, AppendError> {
        let body: u64 = new.body.iter().map(|part| part.len() as u64).sum();
        let too_large = |_| AppendError::TooLarge(body);
        let header = RecordHeader {
            crc: record::checksum(
                std::iter::once(new.note).chain(new.body.iter().map(|part| &part[..])),
            ),
            number: 0,
            time: millis(new.time),
            signal: new.signal,
            items: u32::try_from(new.items).unwrap_or(u32::MAX),
            body: u32::try_from(body).map_err(too_large)?,
            note: u32::try_from(new.note.len()).map_err(too_large)?,
        };
        Ok(Ready { new, header, size: header.len() })
    }
}

impl Log {
    /// Appends a record. It survives the process from here on, and the machine after [`Log::sync`].
    pub fn append(&self, new: NewRecord<'_>) -> Result<Ticket, AppendError> {
        // There is one result, because there is one record.
        let mut appended = self.append_all(&[new]);
        appended.pop().unwrap_or_else(|| Err(io::Error::from(io::ErrorKind::Other).into()))
    }

    /// Appends many records: one result each, and one write for all that fit into one segment.
    pub fn append_all(&self, new: &[NewRecord<'_>]) -> Vec<Result<Ticket, AppendError>> {
        // Checksums first: they take as long as the write, and need no lock.
        let ready: Vec<_> = new.iter().map(|new| Ready::new(*new)).collect();
        let mut results = Vec::with_capacity(new.len());
        let mut writer = sync::lock(&self.writer);
        let mut group = Group::default();
        for record in ready {
            let record = record.and_then(|record| {
                if !self.fits(&writer, group.size + record.size) {
                    self.write(&mut writer, &mut group, &mut results);
                    self.seal(&mut writer);
                }
                // The first record of a group may need a new segment, with a header.
                let header = if group.size == 0 { SEGMENT_HEADER as u64 } else { 0 };
                self.make_room(&mut writer, record.size + header)?;
                Ok(record)
            });
            match record {
                Ok(record) => {
                    group.size += record.size;
                    group.records.push(record);
                }
                Err(error) => {
                    self.write(&mut writer, &mut group, &mut results);
                    results.push(Err(error));
                }
            }
        }
        self.write(&mut writer, &mut group, &mut results);
        results
    }

    /// Writes a group, and empties it.
    fn write(
        &self,
        writer: &mut Writer,
        group: &mut Group<'_>,
        results: &mut Vec<Result<Ticket, AppendError>>,
    ) {
        let Group { mut records, size } = std::mem::take(group);
        let Some(first) = records.first() else { return };
        let time = first.header.time;
        for (number, record) in (writer.next..).zip(&mut records) {
            record.header.number = number;
        }
        let written = match &writer.active {
            Some(active) => write_records(&*active.file, active.marker, &[], &records),
            None => self.begin_segment(writer, &records, time),
        };
        self.room.give_back(SEGMENT_HEADER as u64);
        if let Err(error) = written {
            self.room.give_back(size);
            self.stats.write_errors.add(1);
            self.take_back(writer);
            results.extend(records.iter().map(|_| Err(same(&error).into())));
            return;
        }
        let mut state = sync::lock(&self.state);
        state.next = writer.next + records.len() as u64;
        for record in records {
            let (number, time) = (record.header.number, record.header.time);
            let (items, bytes) = (record.new.items, u64::from(record.header.body));
            writer.next = number + 1;
            writer.items += items;
            writer.bytes += bytes;
            let segment =
                writer.active.as_ref().and_then(|active| state.segments.get_mut(&active.base));
            if let Some(segment) = segment {
                segment.grow(record.size, items, bytes, time);
            }
            if record.new.place == Place::Waiting {
                state.waiting.insert(number..number + 1);
            }
            self.hold(&mut state, |held| held.add(1, items, bytes));
            results.push(Ok(Ticket { number, items, bytes }));
        }
        if let Some(active) = &mut writer.active {
            active.size += size;
            active.is_synced = false;
        }
        self.stats.appended_bytes.add(size);
        self.stats.disk_bytes.add(size);
    }

    /// Whether `size` more bytes fit into the current segment.
    fn fits(&self, writer: &Writer, size: u64) -> bool {
        let before = writer.active.as_ref().map_or(SEGMENT_HEADER as u64, |active| active.size);
        before + size <= self.settings.segment_size
    }

    /// Takes room for `size` bytes. If there is none, the policy of the log decides.
    fn make_room(&self, writer: &mut Writer, size: u64) -> Result<(), AppendError> {
        while !self.room.try_take(size) {
            if self.drop_spare() || self.clear_away() {
                continue;
            }
            let is_dropped =
                self.settings.overflow == Overflow::DropOldest && self.drop_oldest(writer);
            if !is_dropped {
                self.stats.full.add(1);
                return Err(AppendError::Full { used: self.room.used(), limit: self.room.limit() });
            }
        }
        Ok(())
    }

    /// Removes the oldest segment, with its unread records; `false` if there is none.
    fn drop_oldest(&self, writer: &mut Writer) -> bool {
        let mut state = sync::lock(&self.state);
        let Some(base) = state.segments.keys().next().copied() else { return false };
        if writer.active.as_ref().is_some_and(|active| active.base == base) {
            writer.active = None;
        }
        let Some(segment) = state.segments.remove(&base) else { return false };
        state.is_changed = true;
        let unread = state.waiting.remove(segment.base..segment.end);
        let (items, bytes) =
            (segment.items - segment.settled_items, segment.bytes - segment.settled_bytes);
        self.hold(&mut state, |held| held.take(segment.left(), items, bytes));
        self.stats.dropped_records.add(unread);
        if unread > 0 {
            state.lost.push((segment.base..segment.end, Reason::StorageFull));
            self.stats.dropped_items.add(items);
            tracing::warn!(
                log = %self.stats.id,
                dropped_items = items,
                "The storage is full. Dropping the oldest data."
            );
        }
        drop(state);
        self.remove_file(&segment);
        true
    }

    /// Begins a segment with its first records. The file gets its name only once they are written.
    /// So a segment without a record is damaged, at whatever moment the process was killed.
    fn begin_segment(
        &self,
        writer: &mut Writer,
        records: &[Ready<'_>],
        time: u64,
    ) -> io::Result<()> {
        self.disk.check()?;
        let header = SegmentHeader {
            marker: fastrand::u64(1..).to_le_bytes(),
            base: writer.next,
            items_before: writer.items,
            bytes_before: writer.bytes,
            made: time,
        };
        let (name, file) = self.new_file(header.base)?;
        let begun = write_records(&*file, header.marker, &header.encode(), records)
            .and_then(|()| self.disk.rename(&name, &segment_name(header.base)));
        if let Err(error) = begun {
            let _ = self.disk.remove(&name);
            return Err(error);
        }
        writer.has_new_names = true;
        let size = SEGMENT_HEADER as u64;
        self.room.take(size);
        self.stats.disk_bytes.add(size);
        writer.active =
            Some(Active { file, marker: header.marker, base: header.base, size, is_synced: false });
        let mut segment = Segment::new(header.marker, header.base, time);
        segment.size = size;
        let mut state = sync::lock(&self.state);
        state.segments.insert(header.base, segment);
        state.is_changed = true;
        Ok(())
    }

    /// A file for a new segment, with its preliminary name. Uses a spare file if there is one.
    fn new_file(&self, base: u64) -> io::Result<(String, Arc<dyn File>)> {
        let spare = sync::lock(&self.state).spares.pop();
        if let Some((spare, size)) = spare {
            self.room.give_back(size);
            self.stats.disk_bytes.sub(size);
            if let Ok(file) = self.disk.rewrite(&spare) {
                return Ok((spare, file));
            }
        }
        let name = format!("{NEW}{base}");
        // An earlier attempt may have failed half-way.
        let _ = self.disk.remove(&name);
        let file = self.disk.create(&name)?;
        Ok((name, file))
    }

    /// Removes a spare file; `false` if there is none.
    fn drop_spare(&self) -> bool {
        let Some((name, size)) = sync::lock(&self.state).spares.pop() else { return false };
        if self.disk.remove(&name).is_ok() {
            self.room.give_back(size);
            self.stats.disk_bytes.sub(size);
        }
        true
    }

    /// Ends the current segment: nothing more is appended to it.
    pub(super) fn seal(&self, writer: &mut Writer) {
        let Some(active) = writer.active.take() else { return };
        if !active.is_synced {
            writer.unsynced.push(active.file);
        }
        let mut state = sync::lock(&self.state);
        let Some(segment) = state.segments.get_mut(&active.base) else { return };
        segment.is_sealed = true;
        self.remove_if_done(state, active.base);
    }

    /// After a write that failed half-way, truncates the file and ends the segment, because a
    /// reader may already have seen the bytes. If truncating fails, the bytes have no valid number.
    fn take_back(&self, writer: &mut Writer) {
        if let Some(active) = &writer.active {
            let _ = active.file.cut(active.size);
        }
        self.seal(writer);
    }
}

/// Appends the bytes `before` and then the records to a file, with one write.
fn write_records(
    file: &dyn File,
    marker: Marker,
    before: &[u8],
    records: &[Ready<'_>],
) -> io::Result<()> {
    let headers: Vec<_> = records.iter().map(|record| record.header.encode(marker)).collect();
    let mut slices = Vec::with_capacity(1 + 3 * records.len());
    slices.push(IoSlice::new(before));
    for (header, record) in headers.iter().zip(records) {
        slices.extend([IoSlice::new(header), IoSlice::new(record.new.note)]);
        slices.extend(record.new.body.iter().map(|part| IoSlice::new(part)));
    }
    append_all(file, &mut slices)
}

/// A copy of an error, for each record of a failed write.
fn same(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}
