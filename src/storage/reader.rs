//! Reads the records of one segment in order, and skips bytes that are not records.

use std::{io, ops::Range, sync::Arc};

use bytes::Bytes;

use super::{
    disk::{File, read_full},
    record::{self, Marker, RECORD_HEADER, RecordHeader, SEGMENT_HEADER},
};

/// Bytes that are read at once when headers are read.
const WINDOW: usize = 16 << 10;

/// A place in a segment, and a window on the bytes there.
pub(super) struct Reader {
    file: Arc<dyn File>,
    pub(super) base: u64,
    marker: Marker,
    /// Where the next record should begin.
    offset: u64,
    /// The smallest number that it may have.
    pub(super) next: u64,
    window: Vec<u8>,
    window_at: u64,
}

/// The next record of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// Bytes before it that are not a record.
    pub(super) skipped: Range<u64>,
    /// The record and where it begins; `None` at the end of the segment.
    pub(super) record: Option<(RecordHeader, u64)>,
}

impl Reader {
    pub(super) fn new(file: Arc<dyn File>, marker: Marker, base: u64) -> Self {
        let offset = SEGMENT_HEADER as u64;
        Reader { file, base, marker, offset, next: base, window: Vec::new(), window_at: 0 }
    }

    /// Finds the next record with a number below `end`, and moves behind it.
    pub(super) fn step(&mut self, end: u64) -> io::Result<Step> {
        let size = self.file.size()?;
        let (from, least, marker) = (self.offset, self.next, self.marker);
        let (mut at, mut is_new) = (from, false);
        loop {
            let bytes = self.window(at)?;
            let found = if at == from { Some(0) } else { record::find(bytes, marker) };
            let Some(found) = found else {
                if bytes.is_empty() {
                    self.offset = size.max(from);
                    return Ok(Step { skipped: from..self.offset, record: None });
                }
                at += bytes.len() as u64;
                continue;
            };
            let place = at + found as u64;
            let header = RecordHeader::decode(self.window(place)?, marker);
            // Numbers grow by one, so there is room for all those before it.
            let before = (place - SEGMENT_HEADER as u64) / RECORD_HEADER as u64;
            let most = self.base.saturating_add(before);
            let header = header.filter(|header| {
                (least..end).contains(&header.number)
                    && header.number <= most
                    && place + header.len() <= size
            });
            if let Some(header) = header {
                self.offset = place + header.len();
                self.next = header.number + 1;
                return Ok(Step { skipped: from..place, record: Some((header, place)) });
            }
            if !std::mem::replace(&mut is_new, true) {
                // The window may be older than the file: a spare file is written over.
                self.window.clear();
                continue;
            }
            at = place + 1;
        }
    }

    /// Note and body of a record; `None` if they are damaged.
    pub(super) fn contents(
        &self,
        header: &RecordHeader,
        at: u64,
    ) -> io::Result<Option<(Bytes, Bytes)>> {
        let (note, body) = (header.note as usize, header.body as usize);
        let mut bytes = vec![0; note + body];
        let read = read_full(&*self.file, &mut bytes, at + RECORD_HEADER as u64)?;
        if read < bytes.len() || record::checksum([&*bytes]) != header.crc {
            return Ok(None);
        }
        let mut bytes = Bytes::from(bytes);
        let note = bytes.split_to(note);
        Ok(Some((note, bytes)))
    }

    /// The bytes at a position: at least as many as a header has, unless the file ends before.
    fn window(&mut self, at: u64) -> io::Result<&[u8]> {
        let end = self.window_at + self.window.len() as u64;
        let is_inside = at >= self.window_at && at + RECORD_HEADER as u64 <= end;
        if !is_inside {
            self.window.resize(WINDOW, 0);
            let read = read_full(&*self.file, &mut self.window, at);
            // After an error the contents of the window are unknown.
            self.window.truncate(*read.as_ref().unwrap_or(&0));
            self.window_at = at;
            read?;
        }
        let from = usize::try_from(at - self.window_at).unwrap_or(usize::MAX);
        Ok(self.window.get(from..).unwrap_or_default())
    }
}
