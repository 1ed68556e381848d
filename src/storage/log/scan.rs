//! Goes through the unsettled records of a log in order without taking them, with one record at a
//! time in memory. Records appended meanwhile are found, records settled meanwhile are not.
//!
//! Records that cannot be read are skipped, counted and kept for an operator, as by [`Log::take`].

use std::{io, sync::Arc};

use super::{Log, segment_name};
use crate::{
    storage::{
        Stored, Ticket,
        reader::{Reader, Step},
    },
    sync,
};

/// A place in a log, which goes on to its end.
pub struct Scan {
    log: Arc<Log>,
    reader: Option<Reader>,
    /// The least number that the next record may have.
    next: u64,
    /// The number after the last one that is looked at.
    end: u64,
}

impl Scan {
    /// Goes through the records with numbers of `from` on, up to those that there are now.
    pub fn new(log: Arc<Log>, from: u64) -> Self {
        let end =
            sync::lock(&log.state).segments.values().next_back().map_or(0, |segment| segment.end);
        Scan { log, reader: None, next: from, end }
    }

    /// Ends the scan before a number.
    pub fn until(&mut self, end: u64) {
        self.end = self.end.min(end);
    }

    /// The next record that is not settled; `None` if there is no such record.
    pub fn step(&mut self) -> io::Result<Option<Stored>> {
        while let Some((number, base)) = self.next_number() {
            let Some((Step { skipped, record }, end)) = self.look(number, base)? else { continue };
            let Some((header, at)) = record else {
                self.log.damaged(base, skipped, number..end);
                (self.next, self.reader) = (end, None);
                continue;
            };
            if header.number < number {
                // On the way to it.
                continue;
            }
            if header.number > number {
                self.log.damaged(base, skipped, number..header.number);
            }
            self.next = header.number + 1;
            if header.number >= self.end || self.is_settled(header.number) {
                continue;
            }
            let Some(reader) = &self.reader else { continue };
            let Some((note, body)) = reader.contents(&header, at)? else {
                let number = header.number;
                self.log.damaged(base, at..at + header.len(), number..number + 1);
                continue;
            };
            let ticket = Ticket {
                number: header.number,
                items: u64::from(header.items),
                bytes: u64::from(header.body),
            };
            let (signal, time) = (header.signal, header.time);
            return Ok(Some(Stored { ticket, signal, note, body, time }));
        }
        Ok(None)
    }

    /// The next number that is not settled, and its segment.
    fn next_number(&self) -> Option<(u64, u64)> {
        let state = sync::lock(&self.log.state);
        let first = state.segments.range(..=self.next).next_back().map_or(0, |(base, _)| *base);
        state.segments.range(first..).find_map(|(base, segment)| {
            let from = self.next.max(segment.base);
            let number = (from < segment.end).then(|| segment.first_left(from)).flatten()?;
            (number < self.end).then_some((number, *base))
        })
    }

    /// One step of the reader of a segment, and the number after the last of the segment at that
    /// time; `None` if the segment is gone.
    fn look(&mut self, number: u64, base: u64) -> io::Result<Option<(Step, u64)>> {
        let marker = sync::lock(&self.log.state).segments.get(&base).map(|s| (s.marker, s.end));
        let Some((marker, end)) = marker else { return Ok(None) };
        if self.reader.as_ref().is_none_or(|reader| reader.base != base || reader.next > number) {
            match self.log.disk.open(&segment_name(base)) {
                Ok(file) => self.reader = Some(Reader::new(file, marker, base)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // Removed a moment ago.
                    self.next = end;
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
        let step = self.reader.as_mut().map(|reader| reader.step(end)).transpose()?;
        Ok(step.map(|step| (step, end)))
    }

    fn is_settled(&self, number: u64) -> bool {
        sync::lock(&self.log.state).segment_of(number).is_none_or(|s| s.is_settled(number))
    }
}

impl Log {
    /// Takes a record that a scan has found into the hand; false where somebody else has it, or it
    /// is settled.
    pub fn claim(&self, ticket: &Ticket) -> bool {
        self.hand_out(ticket.number)
    }
}
