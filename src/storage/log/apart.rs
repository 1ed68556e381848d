//! Records that are read apart from the others, or not at all, because a panic was blamed on them:
//! `engine/disk/suspects.rs` says which. Their list is the file `suspects`.
//!
//! A record that is set aside becomes the file `panicked-<number>-<signal>.binpb`, one valid OTLP
//! request. skep never removes such files.

use std::{
    io::{self, IoSlice},
    sync::Arc,
};

use super::{Log, Scan, State, append_all, is_missing};
use crate::{
    storage::{Stored, disk::read_full},
    sync,
};

/// The list of suspects, and its name while it is being written. Opening a log removes the latter.
const SUSPECTS: &str = "suspects";
const NEW_SUSPECTS: &str = "new-suspects";
/// Largest list that is believed to be one.
const MAX_LIST: u64 = 256 << 20;

impl Log {
    /// The list of suspects as it was written last; empty if there is none.
    pub fn suspects(&self) -> io::Result<Vec<u8>> {
        let file = match self.disk.open(SUSPECTS) {
            Ok(file) => file,
            Err(error) if is_missing(&error) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut bytes = vec![0; usize::try_from(file.size()?.min(MAX_LIST)).unwrap_or(0)];
        let read = read_full(&*file, &mut bytes, 0)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Replaces the list. An empty one is removed.
    pub fn write_suspects(&self, list: &[u8]) -> io::Result<()> {
        if list.is_empty() {
            return match self.disk.remove(SUSPECTS) {
                Err(error) if !is_missing(&error) => Err(error),
                _ => Ok(()),
            };
        }
        self.write_whole(NEW_SUSPECTS, list)?;
        self.disk.rename(NEW_SUSPECTS, SUSPECTS)
    }

    /// Takes a record out of the waiting ones without reading it; `false` if it does not wait.
    pub fn withhold(&self, number: u64) -> bool {
        self.hand_out(number)
    }

    /// Lets withheld records wait to be read.
    pub fn release(&self, numbers: &[u64]) {
        let mut state = sync::lock(&self.state);
        for number in numbers {
            let is_there = state.segment_of(*number).is_some_and(|s| !s.is_settled(*number));
            if is_there {
                state.waiting.insert(*number..*number + 1);
            }
        }
    }

    /// Records that neither wait nor are settled.
    pub fn in_hand(&self) -> Vec<u64> {
        let state = sync::lock(&self.state);
        let State { segments, waiting, .. } = &*state;
        let mut unread = waiting.iter().flatten().peekable();
        let left = segments.values().flat_map(|segment| {
            (segment.base..segment.end).filter(|number| !segment.is_settled(*number))
        });
        let is_in_hand = |number: &u64| {
            while unread.next_if(|waiting| waiting < number).is_some() {}
            unread.peek() != Some(number)
        };
        left.filter(is_in_hand).collect()
    }

    /// Copies a withheld record to a file of its own and settles it. Returns it with the path of
    /// the file; `None` if it cannot be read any more.
    pub fn set_record_aside(self: &Arc<Self>, number: u64) -> io::Result<Option<(Stored, String)>> {
        let mut scan = Scan::new(Arc::clone(self), number);
        scan.until(number + 1);
        let Some(stored) = scan.step()? else { return Ok(None) };
        let name = format!("panicked-{number}-{}.binpb", stored.signal);
        self.write_whole(&name, &stored.body)?;
        self.disk.sync()?;
        self.settle(&stored.ticket);
        Ok(Some((stored, self.disk.path_of(&name))))
    }

    /// Writes a file and makes its contents durable. One with that name is replaced.
    fn write_whole(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let _ = self.disk.remove(name);
        let file = self.disk.create(name)?;
        append_all(&*file, &mut [IoSlice::new(bytes)])?;
        file.sync()
    }
}
