//! Records that are damaged, missing, or possibly not on disk: counts and logs them, and keeps
//! damaged bytes for an operator.
//!
//! Damaged bytes are copied to `damaged-<segment>-<offset>`, as long as they are few. A file with
//! large damaged parts is renamed to `damaged-<segment>-whole`. skep never removes these files.

use std::{
    io::{self, IoSlice},
    ops::Range,
};

use super::{DAMAGED, Log, append_all, is_missing, segment_name};
use crate::{
    otlp::payload::Reason,
    storage::{Ticket, disk::read_full, segment::Segment},
    sync,
};

/// Limits of the copies: bytes of one copy, and number of copies.
const DAMAGED_BYTES: u64 = 4 << 20;
const DAMAGED_FILES: usize = 16;

impl Log {
    /// Counts records that cannot be read, keeps their bytes for an operator, and settles them.
    pub(super) fn damaged(&self, base: u64, bytes: Range<u64>, numbers: Range<u64>) {
        let len = bytes.end - bytes.start;
        let mut state = sync::lock(&self.state);
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
            // Only now is it known how many items the lost records had: all that are left.
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

    /// Renames the file of a segment, or a directory of that name, to a free name that skep never
    /// removes. Returns that name.
    pub(super) fn set_aside(&self, base: u64) -> io::Result<String> {
        let names = self.disk.list()?;
        let first = whole_name(base);
        let others = (2_u64..).map(|n| format!("{first}-{n}"));
        let mut free = std::iter::once(first.clone()).chain(others);
        let name = free.find(|name| !names.contains(name)).unwrap_or(first);
        self.disk.rename(&segment_name(base), &name)?;
        Ok(name)
    }

    /// Sets aside a segment of which nothing can be read. Its records are missing.
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

    /// Counts and logs records that have vanished; `items` is `None` if their number is unknown.
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
    /// or was truncated, or could not be synced since they were appended. Records in `elsewhere` do
    /// not count: a journal has them.
    pub fn at_risk(&self, elsewhere: &[Ticket]) -> u64 {
        let unsynced = {
            let writer = sync::lock(&self.writer);
            if writer.has_failed { writer.items - writer.synced_items } else { 0 }
        };
        let segments: Vec<_> = {
            let state = sync::lock(&self.state);
            let left = state.segments.values().filter(|segment| segment.left() > 0);
            let items_elsewhere = |segment: &Segment| {
                let numbers = segment.base..segment.end;
                let open = elsewhere.iter().filter(|ticket| {
                    numbers.contains(&ticket.number) && !segment.is_settled(ticket.number)
                });
                open.map(|ticket| ticket.items).sum::<u64>()
            };
            left.map(|s| (s.base, s.size, s.items - s.settled_items, items_elsewhere(s))).collect()
        };
        let has_folder = self.disk.check().is_ok();
        let is_whole = |base, size| match self.disk.open(&segment_name(base)) {
            Ok(file) => file.size().is_ok_and(|now| now >= size),
            // The file exists, but cannot be opened for another reason.
            Err(error) => !is_missing(&error),
        };
        let (mut all, mut all_elsewhere, mut gone) = (0, 0, 0);
        for (base, size, items, elsewhere) in segments {
            all += items;
            all_elsewhere += elsewhere;
            if !has_folder || !is_whole(base, size) {
                gone += items.saturating_sub(elsewhere);
            }
        }
        gone.max(unsynced.min(all).saturating_sub(all_elsewhere))
    }
}

fn whole_name(base: u64) -> String {
    format!("{DAMAGED}{base:020}-whole")
}
