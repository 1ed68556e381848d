//! Dead letters: data that a backend refused for good. They are kept, with the reason, until an
//! operator sends them again or drops them.
//!
//! A *letterbox* is the log of one exporter and signal; a *letter* is an unsettled record in it.
//! Its note has the exporter, the reason and the backend's answer. A running engine gives the
//! letterbox a *desk*, which sends letters to the exporter again. Without a desk, letters can be
//! read and dropped.
//!
//! A letter that is refused again is appended as a new letter with the new answer, and only then is
//! the old one settled. So it is never lost, but may briefly exist twice.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt, io,
    str::FromStr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use prost::Message as _;

use super::{Log, Scan, Stored, proto::Note};
use crate::{
    otlp::{Signal, payload::Reason},
    sync,
};

/// The name of a letter: `otlp_http/backend:traces:17`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LetterId {
    /// Id of the exporter.
    pub exporter: String,
    /// Signal of the data.
    pub signal: Signal,
    /// Number of the record.
    pub number: u64,
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.exporter, self.signal, self.number)
    }
}

impl FromStr for LetterId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.trim().rsplitn(3, ':');
        let (number, signal, exporter) = (parts.next(), parts.next(), parts.next());
        let number = number.and_then(|number| number.parse().ok());
        let signal = Signal::ALL.into_iter().find(|one| Some(one.name()) == signal);
        match (exporter.filter(|exporter| !exporter.is_empty()), signal, number) {
            (Some(exporter), Some(signal), Some(number)) => {
                Ok(LetterId { exporter: exporter.to_owned(), signal, number })
            }
            _ => Err(format!(
                "`{text}` is not the id of a dead letter; `skep dlq list` shows them: `otlp_http:traces:17`"
            )),
        }
    }
}

/// A dead letter that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Letter {
    /// Its name.
    pub id: LetterId,
    /// The record, with the request in it.
    pub stored: Stored,
    /// The note of the record.
    pub note: Note,
}

/// Selects letters. Without conditions: all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only those of this exporter.
    pub exporter: Option<String>,
    /// Only these.
    pub ids: Vec<LetterId>,
    /// Only those that were given up before this time.
    pub before: Option<SystemTime>,
}

/// Totals of letters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Number of letters.
    pub letters: u64,
    /// Spans, data points and log records in them.
    pub items: u64,
    /// Bytes of the requests.
    pub bytes: u64,
}

impl Count {
    /// Adds a letter.
    pub fn add(&mut self, letter: &Letter) {
        self.letters += 1;
        self.items += letter.stored.ticket.items;
        self.bytes += letter.stored.ticket.bytes;
    }
}

/// Whether letters can be sent again now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeskState {
    /// Yes.
    Free,
    /// Not until the queue is emptier.
    Busy,
    /// The exporter does not run any more.
    Closed,
}

/// What became of a letter that was sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The backend has it; the letter is gone.
    Delivered,
    /// It was refused again, and is a new letter with the new reason.
    RefusedAgain(Reason),
    /// It was not sent, and stays as it was.
    Stayed(Reason),
}

/// Called once with the fate of a letter.
pub type Told = Box<dyn FnOnce(Fate) + Send + Sync>;

/// Sends letters to their exporter again.
pub trait Desk: Send + Sync {
    /// Whether it accepts a letter now.
    fn state(&self) -> DeskState;
    /// Sends a letter, whose record the caller has claimed; settles it or lets it wait again.
    fn resend(&self, letter: Stored, told: Told);
}

/// The dead letters of one exporter and signal.
pub struct Letterbox {
    exporter: String,
    signal: Signal,
    log: Arc<Log>,
    desk: Mutex<Option<Arc<dyn Desk>>>,
}

impl Letterbox {
    /// The letters of a log.
    pub fn new(exporter: &str, signal: Signal, log: Arc<Log>) -> Self {
        Letterbox { exporter: exporter.to_owned(), signal, log, desk: Mutex::default() }
    }

    /// Id of the exporter.
    pub fn exporter(&self) -> &str {
        &self.exporter
    }

    /// Signal of the letters.
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// The log that holds them.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Sets the desk, replacing the one before.
    pub fn set_desk(&self, desk: Arc<dyn Desk>) {
        *sync::lock(&self.desk) = Some(desk);
    }

    /// The desk.
    pub fn desk(&self) -> Option<Arc<dyn Desk>> {
        sync::lock(&self.desk).clone()
    }

    /// The selected letters, in order of their numbers.
    pub fn pick(&self, selection: &Selection) -> Pick {
        let mut scans = VecDeque::new();
        let is_meant = selection.exporter.as_ref().is_none_or(|name| *name == self.exporter);
        if is_meant && selection.ids.is_empty() {
            scans.push_back(Scan::new(Arc::clone(&self.log), 0));
        } else if is_meant {
            let is_here = |id: &&LetterId| id.exporter == self.exporter && id.signal == self.signal;
            let mut numbers: Vec<u64> =
                selection.ids.iter().filter(is_here).map(|id| id.number).collect();
            numbers.sort_unstable();
            numbers.dedup();
            for number in numbers {
                let mut scan = Scan::new(Arc::clone(&self.log), number);
                scan.until(number.saturating_add(1));
                scans.push_back(scan);
            }
        }
        Pick { exporter: self.exporter.clone(), scans, before: selection.before }
    }

    /// Drops the selected letters. Blocks.
    pub fn drop_letters(&self, selection: &Selection) -> io::Result<Count> {
        let mut count = Count::default();
        let mut pick = self.pick(selection);
        let dropped = loop {
            match pick.step() {
                Ok(Some(letter)) => {
                    self.log.settle(&letter.stored.ticket);
                    count.add(&letter);
                }
                Ok(None) => break Ok(count),
                Err(error) => break Err(error),
            }
        };
        // What was dropped before an error stays dropped.
        self.log.save()?;
        dropped
    }
}

/// Iterates over the selected letters.
pub struct Pick {
    exporter: String,
    scans: VecDeque<Scan>,
    before: Option<SystemTime>,
}

impl Pick {
    /// The next one. Blocks.
    pub fn step(&mut self) -> io::Result<Option<Letter>> {
        while let Some(scan) = self.scans.front_mut() {
            let Some(stored) = scan.step()? else {
                self.scans.pop_front();
                continue;
            };
            let time = SystemTime::UNIX_EPOCH + Duration::from_millis(stored.time);
            if self.before.is_some_and(|before| time >= before) {
                continue;
            }
            let id = LetterId {
                exporter: self.exporter.clone(),
                signal: stored.signal,
                number: stored.ticket.number,
            };
            // A note of a later version can be decoded, too. Even without a note the request is
            // useful.
            let note = Note::decode(&*stored.note).unwrap_or_default();
            return Ok(Some(Letter { id, stored, note }));
        }
        Ok(None)
    }
}

/// All letterboxes of a process, by exporter and signal.
#[derive(Default)]
pub struct Letterboxes(Mutex<BTreeMap<(String, Signal), Arc<Letterbox>>>);

impl Letterboxes {
    /// The letterbox around a log; made at the first call.
    pub fn open(&self, exporter: &str, signal: Signal, log: &Arc<Log>) -> Arc<Letterbox> {
        let mut all = sync::lock(&self.0);
        let made = all
            .entry((exporter.to_owned(), signal))
            .or_insert_with(|| Arc::new(Letterbox::new(exporter, signal, Arc::clone(log))));
        if !Arc::ptr_eq(made.log(), log) {
            // The exporter has another storage since a reload.
            *made = Arc::new(Letterbox::new(exporter, signal, Arc::clone(log)));
        }
        Arc::clone(made)
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Letterbox>> {
        sync::lock(&self.0).values().cloned().collect()
    }
}

#[cfg(test)]
mod tests;
