//! Reads the records of one segment in order, and finds its way over bytes that are none.

use std::{io, ops::Range, sync::Arc};

use bytes::Bytes;

use super::{
    disk::{File, read_full},
    record::{self, Marker, RECORD_HEADER, RecordHeader, SEGMENT_HEADER},
};

/// Bytes that are read at once to look at headers.
const WINDOW: usize = 16 << 10;

/// A place in a segment, and a window on the bytes there.
pub(super) struct Reader {
    file: Arc<dyn File>,
    pub(super) base: u64,
    marker: Marker,
    /// Where the next record should begin.
    offset: u64,
    /// The least number that it may have.
    pub(super) next: u64,
    window: Vec<u8>,
    window_at: u64,
}

/// What stands next in a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// Bytes before it that are no record.
    pub(super) skipped: Range<u64>,
    /// The record and where it begins; none: the segment ends.
    pub(super) record: Option<(RecordHeader, u64)>,
}

impl Reader {
    pub(super) fn new(file: Arc<dyn File>, marker: Marker, base: u64) -> Self {
        let offset = SEGMENT_HEADER as u64;
        Reader { file, base, marker, offset, next: base, window: Vec::new(), window_at: 0 }
    }

    /// Goes to the next record with a number below `end`, and behind it.
    pub(super) fn step(&mut self, end: u64) -> io::Result<Step> {
        let size = self.file.size()?;
        let (from, least, marker) = (self.offset, self.next, self.marker);
        let mut at = from;
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
            at = place + 1;
        }
    }

    /// Note and body of a record; none where they are not what was written.
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

    /// Bytes from a place on: at least a header of them, unless the file ends before.
    fn window(&mut self, at: u64) -> io::Result<&[u8]> {
        let end = self.window_at + self.window.len() as u64;
        let is_inside = at >= self.window_at && at + RECORD_HEADER as u64 <= end;
        if !is_inside {
            self.window.resize(WINDOW, 0);
            let read = read_full(&*self.file, &mut self.window, at);
            // After an error nothing of it is to be believed.
            self.window.truncate(*read.as_ref().unwrap_or(&0));
            self.window_at = at;
            read?;
        }
        let from = usize::try_from(at - self.window_at).unwrap_or(usize::MAX);
        Ok(self.window.get(from..).unwrap_or_default())
    }
}
