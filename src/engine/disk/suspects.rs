//! Finds the records of a log whose processing panics, so that they do not end every process that
//! reads them.
//!
//! Records that a panic has dropped are *suspects*. If none was dropped, because a processor holds
//! its data outside of the call that panicked, all records in hand are. Their numbers are written
//! to a file. The next process reads everything else first, and then tries the suspects in at most
//! 16 groups, one group after another. If it panics again, only the suspects of that group are in
//! question, and the next process tries them in 16 smaller groups. A suspect that panics alone is
//! set aside: it becomes a file for the operator, and its record is settled. All others are
//! delivered.
//!
//! So a request that panics ends skep twice if it has up to 15 neighbours in its batch, and three
//! times if it has up to 255. Why not set all of them aside after the second panic: the neighbours
//! are good data, which somebody would have to send again by hand.
//!
//! ```text
//! delivered, refused, dropped <--+                      +--> set aside, if it was alone
//!                                |                      |
//! panic --> suspect --> waits until all else was read --> on trial --> panic --> suspect
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{storage::Log, sync};

/// Into how many groups the suspects of one panic are divided.
const GROUPS: u64 = 16;

/// The suspects of one log.
pub(super) struct Suspects {
    log: Arc<Log>,
    /// Whether there are any. Checked for each record that ends.
    are_any: AtomicBool,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// With how many others each suspect was tried when it panicked last, itself included; 0 if it
    /// was not on trial then. 1: it could not be set aside.
    suspects: BTreeMap<u64, u64>,
    /// Those that were never tried, as found at the start.
    untried: u64,
    on_trial: BTreeSet<u64>,
    /// How many were on trial when it began.
    group: u64,
    /// After a panic no trial begins in this process.
    has_panicked: bool,
    is_changed: bool,
}

impl Suspects {
    /// Reads the suspects of an earlier process, and sets aside those that panicked alone.
    pub(super) fn load(log: &Arc<Log>) -> Self {
        let list = log.suspects().unwrap_or_else(|error| {
            tracing::warn!(log = %log.stats().id, %error, "cannot read which records have panicked");
            Vec::new()
        });
        let mut known = Known { is_changed: !list.is_empty(), ..Known::default() };
        known.suspects = decode(&list).filter(|(number, _)| log.withhold(*number)).collect();
        known.suspects.retain(|number, group| *group != 1 || !set_aside(log, *number));
        known.untried = known.suspects.values().filter(|group| **group == 0).count() as u64;
        let are_any = AtomicBool::new(!known.suspects.is_empty());
        Suspects { log: Arc::clone(log), are_any, known: Mutex::new(known) }
    }

    /// Begins the next trial if nothing else waits to be read. Returns whether it has.
    pub(super) fn try_next(&self) -> bool {
        if !self.are_any.load(Ordering::Relaxed) || self.log.has_waiting() {
            return false;
        }
        let group = sync::lock(&self.known).next_group();
        self.log.release(&group);
        !group.is_empty()
    }

    /// A panic has dropped the record.
    pub(super) fn accuse(&self, number: u64) {
        sync::lock(&self.known).accuse(number);
        self.are_any.store(true, Ordering::Relaxed);
    }

    /// The process ends after a panic, by which no record was dropped: those on trial are suspects,
    /// or else all that are in hand.
    pub(super) fn accuse_in_hand(&self) {
        let on_trial: Vec<u64> = sync::lock(&self.known).on_trial.iter().copied().collect();
        let accused = if on_trial.is_empty() { self.log.in_hand() } else { on_trial };
        for number in accused {
            self.accuse(number);
        }
    }

    /// Whether this process has found suspects.
    pub(super) fn have_come(&self) -> bool {
        sync::lock(&self.known).has_panicked
    }

    /// The record was processed, or is gone.
    pub(super) fn acquit(&self, numbers: Range<u64>) {
        if self.are_any.load(Ordering::Relaxed) {
            sync::lock(&self.known).acquit(numbers);
        }
    }

    /// Writes the suspects down, if they have changed.
    pub(super) fn save(&self) -> io::Result<()> {
        let list = {
            let mut known = sync::lock(&self.known);
            if !std::mem::take(&mut known.is_changed) {
                return Ok(());
            }
            encode(&known.suspects)
        };
        let written = self.log.write_suspects(list.as_bytes());
        if written.is_err() {
            sync::lock(&self.known).is_changed = true;
        }
        written
    }

    /// Says after a panic what the next start does.
    pub(super) fn tell(&self) {
        let known = sync::lock(&self.known);
        if known.has_panicked {
            tracing::error!(
                log = %self.log.stats().id,
                suspects = known.suspects.len(),
                "Stored requests were being processed during the panic. The next start delivers everything \
                 else first, then tries them in small groups, and sets aside the one that panics."
            );
        }
    }
}

impl Known {
    /// Chooses those that are tried next: of the smallest group that has panicked.
    fn next_group(&mut self) -> Vec<u64> {
        if self.has_panicked || !self.on_trial.is_empty() {
            return Vec::new();
        }
        let groups = self.suspects.values().copied().filter(|group| *group != 1);
        let Some(from) = groups.min_by_key(|group| group.wrapping_sub(1)) else {
            return Vec::new();
        };
        let whole = if from == 0 { self.untried } else { from };
        let size = usize::try_from(whole.div_ceil(GROUPS).max(1)).unwrap_or(usize::MAX);
        let of_group = self.suspects.iter().filter(|(_, group)| **group == from);
        let next: Vec<u64> = of_group.map(|(number, _)| *number).take(size).collect();
        self.on_trial.extend(&next);
        self.group = next.len() as u64;
        next
    }

    fn accuse(&mut self, number: u64) {
        let group = if self.on_trial.contains(&number) { self.group } else { 0 };
        let known = self.suspects.entry(number).or_insert(group);
        if group > 0 {
            *known = group;
        }
        (self.has_panicked, self.is_changed) = (true, true);
    }

    fn acquit(&mut self, numbers: Range<u64>) {
        let ended: Vec<u64> = self.suspects.range(numbers).map(|(number, _)| *number).collect();
        self.is_changed |= !ended.is_empty();
        for number in ended {
            self.suspects.remove(&number);
            self.on_trial.remove(&number);
        }
    }
}

/// Sets a withheld record aside. Returns whether nothing is left to do for it.
fn set_aside(log: &Arc<Log>, number: u64) -> bool {
    let id = &log.stats().id;
    match log.set_record_aside(number) {
        Ok(Some((stored, kept_in))) => {
            log.stats().panicked_records.add(1);
            tracing::error!(
                log = %id,
                items = stored.ticket.items,
                kept_in,
                "Processing a stored request has ended skep again and again, so it was set aside. Report the \
                 panic; once it is repaired, send the file with `curl --data-binary @FILE -H 'content-type: \
                 application/x-protobuf' http://ADDRESS/v1/{}`.",
                stored.signal,
            );
            true
        }
        // Damaged: counted and kept by the log.
        Ok(None) => true,
        Err(error) => {
            tracing::error!(
                log = %id,
                number,
                %error,
                "A stored request that ends skep cannot be set aside; it stays where it is and is not processed"
            );
            false
        }
    }
}

/// One line for each suspect: its number and the size of its group.
fn encode(suspects: &BTreeMap<u64, u64>) -> String {
    let mut list = String::new();
    for (number, group) in suspects {
        let _ = writeln!(list, "{number} {group}");
    }
    list
}

/// Lines that are damaged are left out; their records are read as others are.
fn decode(list: &[u8]) -> impl Iterator<Item = (u64, u64)> {
    let lines = str::from_utf8(list).unwrap_or_default().lines();
    lines.filter_map(|line| {
        let (number, group) = line.split_once(' ')?;
        Some((number.parse().ok()?, group.parse().ok()?))
    })
}

#[cfg(test)]
mod tests;
