//! What is damaged, missing, or not known to be on disk: counted, said, and kept for a look.
//!
//! Damaged bytes are copied to `damaged-<segment>-<place>`, as long as they are few. A file that is
//! damaged in large parts, or as a whole, gets the name `damaged-<segment>-whole`; nothing removes
//! it but an operator.

use std::{
    io::{self, IoSlice},
    ops::Range,
};

use super::{DAMAGED, Log, append_all, is_missing, lock, segment_name};
use crate::{otlp::payload::Reason, storage::disk::read_full};

/// Largest part of damaged bytes that is copied, and how many such files.
const DAMAGED_BYTES: u64 = 4 << 20;
const DAMAGED_FILES: usize = 16;

impl Log {
    /// Counts records that cannot be read, keeps their bytes for a look, and settles them.
    pub(super) fn damaged(&self, base: u64, bytes: Range<u64>, numbers: Range<u64>) {
        let len = bytes.end - bytes.start;
        let mut state = lock(&self.state);
        state.lost.push((numbers.clone(), Reason::StorageFailed));
        let lost: Vec<u64> = numbers.filter(|n| state.waiting.remove(*n..*n + 1) == 1).collect();
        let count = lost.len() as u64;
        let may_copy = len <= DAMAGED_BYTES && state.damaged_files < DAMAGED_FILES;
        state.damaged_files += usize::from(may_copy && len > 0);
        let Some(segment) = state.segments.get_mut(&base) else { return };
        for number in &lost {
            segment.settle(*number);
        }
        let mut rest = (0, 0);
        if segment.left() == 0 {
            // What the lost ones had is known once nothing else is left.
            rest = (segment.items - segment.settled_items, segment.bytes - segment.settled_bytes);
            segment.settled_items = segment.items;
            segment.settled_bytes = segment.bytes;
        }
        let copies = may_copy && len > 0;
        let copy = copies.then(|| self.keep_damaged(base, &bytes).ok()).flatten();
        segment.is_damaged |= copy.is_none();
        state.is_changed = true;
        self.hold(&mut state, |held| held.take(count, rest.0, rest.1));
        self.stats.damaged_records.add(count);
        self.stats.damaged_bytes.add(len);
        tracing::error!(
            log = %self.stats.id,
            lost_records = count,
            damaged_bytes = len,
            segment = segment_name(base),
            kept_in = copy.unwrap_or_else(|| whole_name(base)),
            "The storage is damaged. Going on after the damaged bytes."
        );
        self.remove_if_done(state, base);
    }

    fn keep_damaged(&self, base: u64, bytes: &Range<u64>) -> io::Result<String> {
        let name = format!("{DAMAGED}{base:020}-{}", bytes.start);
        let mut copy = vec![0; usize::try_from(bytes.end - bytes.start).unwrap_or(0)];
        let file = self.disk.open(&segment_name(base))?;
        let read = read_full(&*file, &mut copy, bytes.start)?;
        let kept = self.disk.create(&name)?;
        append_all(&*kept, &mut [IoSlice::new(&copy[..read])])?;
        Ok(name)
    }

    /// Gives the file of a segment, or what has its name, a name under which it stays; which.
    pub(super) fn set_aside(&self, base: u64) -> io::Result<String> {
        let names = self.disk.list()?;
        let first = whole_name(base);
        let others = (2_u64..).map(|n| format!("{first}-{n}"));
        let mut free = std::iter::once(first.clone()).chain(others);
        let name = free.find(|name| !names.contains(name)).unwrap_or(first);
        self.disk.rename(&segment_name(base), &name)?;
        Ok(name)
    }

    /// A segment of which nothing can be read: its file is kept, and what it had is missing.
    pub(super) fn unreadable(&self, base: u64, size: u64) -> io::Result<()> {
        let kept_in = self.set_aside(base)?;
        self.stats.damaged_bytes.add(size);
        tracing::error!(
            log = %self.stats.id,
            damaged_bytes = size,
            segment = segment_name(base),
            kept_in,
            "The storage is damaged: no record of a file can be read."
        );
        Ok(())
    }

    /// Records that were there and are not; `items` as far as that is known.
    pub(super) fn missing(&self, numbers: Range<u64>, items: Option<u64>) {
        let count = numbers.end - numbers.start;
        self.stats.damaged_records.add(count);
        tracing::error!(
            log = %self.stats.id,
            lost_records = count,
            lost_items = items.map_or_else(|| "unknown".to_owned(), |items| items.to_string()),
            first = numbers.start,
            "The storage is damaged: records are missing."
        );
    }

    /// Items that are not settled and, as far as is known, not on disk either: their file is gone
    /// or has become shorter, or could not be synced since they came.
    pub fn at_risk(&self) -> u64 {
        let unsynced = {
            let writer = lock(&self.writer);
            if writer.has_failed { writer.items - writer.synced_items } else { 0 }
        };
        let segments: Vec<_> = {
            let state = lock(&self.state);
            let left = state.segments.values().filter(|segment| segment.left() > 0);
            left.map(|s| (s.base, s.size, s.items - s.settled_items)).collect()
        };
        let has_folder = self.disk.check().is_ok();
        let is_whole = |base, size| match self.disk.open(&segment_name(base)) {
            Ok(file) => file.size().is_ok_and(|now| now >= size),
            // What cannot be opened for another reason is there.
            Err(error) => !is_missing(&error),
        };
        let all: u64 = segments.iter().map(|(.., items)| items).sum();
        let gone = segments.iter().filter(|(base, size, _)| !has_folder || !is_whole(*base, *size));
        let gone: u64 = gone.map(|(.., items)| items).sum();
        gone.max(unsynced.min(all))
    }
}

fn whole_name(base: u64) -> String {
    format!("{DAMAGED}{base:020}-whole")
}
