//! The ledger on disk: two small text files that are written in turn.
//!
//! ```text
//! skep budget ledger 3
//! number 42                        the file with the higher number counts
//! clock 1764400000 1764400000 0    when it was written; `reached`, `behind`: see ledger.rs
//! wanted 0.01 0 7.7 1764400000123  units per second by class, and when that was true
//! outlook 10 0 99999.5 604800      units by class within so many seconds, see outlook.rs
//! left_out 512000 0                units that were left out: paced, at the ceiling
//! day 1764400000 123456            last second and units of a day
//! id 00f1e2d3c4b5a697 1764400000   what was counted once, and when
//! eater 40112000 0 shop GET%20/    units that somebody wanted, how many too many, service, name
//! without 512000 shop              units that were left out of a service
//! crc32c 89abcdef                  of all lines above
//! ```
//!
//! Version 1 had no eaters, version 2 neither an outlook nor what was left out; both are read.
//! Eaters and what was left out are looked up once a minute. Only the 64 that want most are kept,
//! and at most 64 services, so that a write stays small.
//!
//! If somebody removes the files or their folder while skep runs, both are made again at the next
//! write, which has all that the ledger knows.
//!
//! A write that is torn leaves the other file, whose claims are older: what the torn one was to
//! count was not sent, because a claim is granted after its write. Text, so that an operator can
//! read it.
//!
//! If one file is damaged, the other one is used, and a block is added that the damaged one may
//! have granted. If both are, `account.rs` assumes something cautious.

use std::{
    fmt::Write as _,
    fs, io,
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::{
    ledger::{Day, MOST_DAYS},
    left_out::{LeftOut, MOST_SERVICES},
    outlook::Outlook,
    who::{Eater, LONGEST_NAME, MOST_KEPT},
};

/// Most ids that a ledger remembers.
pub const MOST_IDS: usize = 65_536;
/// The longest file that is read: a line with an id has 31 bytes.
const LONGEST: u64 = 4 << 20;
const TITLE: &str = "skep budget ledger 3";
const OLD_TITLES: [&str; 2] = ["skep budget ledger 1", "skep budget ledger 2"];
/// What a name of an eater must not have, beside what is not ASCII.
const IN_NAMES: &AsciiSet = &CONTROLS.add(b' ').add(b'%');
/// How often [`Files::peek`] reads files that seem damaged.
const PEEKS: usize = 3;
const NAMES: [&str; 2] = ["ledger-a", "ledger-b"];

/// A ledger cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the ledger of a budget, `{path}`: {error}")]
pub struct OpenError {
    /// The file or folder.
    pub path: PathBuf,
    /// Why.
    pub error: io::Error,
}

/// What a file says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Contents {
    /// Counts the writes.
    pub number: u64,
    /// The clock when it was written, in seconds since 1970.
    pub seen: i64,
    /// The latest second that was gone by.
    pub reached: i64,
    /// Seconds that the clock has gone on while it was behind by more than a day.
    pub behind: i64,
    /// Units per second of each class that want to pass.
    pub wanted: [f64; 3],
    /// When that was true, in milliseconds since 1970.
    pub wanted_at: i64,
    /// What wanted to pass during the last week, about.
    pub outlook: Outlook,
    /// Units by day, in order.
    pub days: Vec<Day>,
    /// Ids, with the second in which they were counted; sorted.
    pub ids: Vec<(u64, i64)>,
    /// Who wants most of the period in which it was written, by service and name.
    pub eaters: Vec<Eater>,
    /// What was left out of that period.
    pub left_out: LeftOut,
}

impl Contents {
    /// As text.
    pub fn to_text(&self) -> String {
        let mut text = format!("{TITLE}\nnumber {}\n", self.number);
        let [error, slow, rest] = self.wanted;
        let _ = writeln!(text, "clock {} {} {}", self.seen, self.reached, self.behind);
        let _ = writeln!(text, "wanted {error} {slow} {rest} {}", self.wanted_at);
        let Outlook { units: [error, slow, rest], seconds } = self.outlook;
        let _ = writeln!(text, "outlook {error} {slow} {rest} {seconds}");
        let [paced, ceiling] = self.left_out.units;
        let _ = writeln!(text, "left_out {paced} {ceiling}");
        for day in &self.days {
            let _ = writeln!(text, "day {} {}", day.last, day.units);
        }
        for (id, at) in &self.ids {
            let _ = writeln!(text, "id {id:016x} {at}");
        }
        for Eater { service, name, wanted, error } in &self.eaters {
            let [service, name] = [service, name].map(|name| utf8_percent_encode(name, IN_NAMES));
            let _ = writeln!(text, "eater {wanted} {error} {service} {name}");
        }
        for (service, units) in &self.left_out.services {
            let _ = writeln!(text, "without {units} {}", utf8_percent_encode(service, IN_NAMES));
        }
        let crc = crc32c::crc32c(text.as_bytes());
        let _ = writeln!(text, "crc32c {crc:08x}");
        text
    }

    /// From all lines but the last, which has the checksum; `None` if a line is not as it should
    /// be.
    pub fn from_lines(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let title = lines.next()?;
        if title != TITLE && !OLD_TITLES.contains(&title) {
            return None;
        }
        let [number] = fields(lines.next()?, "number")?;
        let [seen, reached, behind] = fields(lines.next()?, "clock")?;
        let [error, slow, rest, wanted_at] = fields(lines.next()?, "wanted")?;
        let mut contents = Contents {
            number: number.parse().ok()?,
            seen: seen.parse().ok()?,
            reached: reached.parse().ok()?,
            behind: behind.parse().ok()?,
            wanted: [estimate(error)?, estimate(slow)?, estimate(rest)?],
            wanted_at: wanted_at.parse().ok()?,
            ..Contents::default()
        };
        if title == TITLE {
            let [error, slow, rest, seconds] = fields(lines.next()?, "outlook")?;
            contents.outlook.units = [estimate(error)?, estimate(slow)?, estimate(rest)?];
            contents.outlook.seconds = estimate(seconds)?;
            let [paced, ceiling] = fields(lines.next()?, "left_out")?;
            contents.left_out.units = [paced.parse().ok()?, ceiling.parse().ok()?];
        } else {
            contents.outlook = Outlook::steady(contents.wanted);
        }
        for line in lines {
            if let Some([last, units]) = fields(line, "day") {
                contents.days.push(Day { last: last.parse().ok()?, units: units.parse().ok()? });
            } else if let Some(eater) = fields(line, "eater") {
                contents.eaters.push(eater_of(eater)?);
            } else if let Some([units, service]) = fields(line, "without") {
                let service = name_of(service)?;
                contents.left_out.services.insert(service, units.parse().ok()?);
            } else {
                let [id, at] = fields(line, "id")?;
                contents.ids.push((u64::from_str_radix(id, 16).ok()?, at.parse().ok()?));
            }
        }
        let is_bounded = contents.days.len() <= MOST_DAYS
            && contents.ids.len() <= MOST_IDS
            && contents.eaters.len() <= MOST_KEPT
            && contents.left_out.services.len() <= MOST_SERVICES;
        let are_times = contents.days.iter().all(|day| Timestamp::from_second(day.last).is_ok());
        let is_sorted = contents.days.is_sorted_by_key(|day| day.last)
            && contents.ids.is_sorted_by(|one, next| one.0 < next.0)
            && contents.eaters.is_sorted_by(|one, next| one.names() < next.names());
        (is_bounded && are_times && is_sorted).then_some(contents)
    }
}

/// Reads a file; `None` if it is damaged, or was written by a later version.
pub fn parse(bytes: &[u8]) -> Option<Contents> {
    let text = str::from_utf8(bytes).ok()?;
    let at = text.rfind("crc32c ")?;
    let (body, end) = text.split_at_checked(at)?;
    let crc = end.strip_prefix("crc32c ")?.strip_suffix('\n')?;
    if format!("{:08x}", crc32c::crc32c(body.as_bytes())) != crc {
        return None;
    }
    Contents::from_lines(body)
}

/// The fields of a line after its name.
fn fields<'a, const N: usize>(line: &'a str, name: &str) -> Option<[&'a str; N]> {
    let rest = line.strip_prefix(name)?.strip_prefix(' ')?;
    let mut fields = rest.split(' ');
    let mut found = [""; N];
    for field in &mut found {
        *field = fields.next()?;
    }
    fields.next().is_none().then_some(found)
}

fn name_of(text: &str) -> Option<Box<str>> {
    let name = percent_decode_str(text).decode_utf8().ok()?;
    (name.len() <= LONGEST_NAME).then(|| Box::from(&*name))
}

fn eater_of([wanted, error, service, name]: [&str; 4]) -> Option<Eater> {
    let (service, name) = (name_of(service)?, name_of(name)?);
    Some(Eater { service, name, wanted: wanted.parse().ok()?, error: error.parse().ok()? })
}

fn estimate(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)
}

/// What was found on disk.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing: the budget is new.
    Nothing,
    /// A ledger.
    Whole(Contents),
    /// The older of two files; the other one is damaged.
    Older(Contents),
    /// Only damaged files.
    Damaged,
}

/// The two files.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    /// Kept open, so that no other folder can get its inode number.
    opened: fs::File,
    both: [fs::File; 2],
    /// The one to write next.
    turn: usize,
}

impl Files {
    /// Opens the files in a folder. If none is there, makes both and begins the ledger, so that
    /// files without a content have lost it.
    pub(super) fn open(folder: &Path) -> Result<(Self, Found), OpenError> {
        let failed = |path: &Path, error| OpenError { path: path.to_owned(), error };
        fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
        let (mut texts, mut files) = (Vec::new(), Vec::new());
        let is_new = NAMES.iter().all(|name| !folder.join(name).exists());
        for name in NAMES {
            let path = folder.join(name);
            let (file, bytes) = read(&path).map_err(|error| failed(&path, error))?;
            texts.push(bytes);
            files.push(file);
        }
        let opened = fs::File::open(folder).and_then(|opened| opened.sync_all().map(|()| opened));
        let opened = opened.map_err(|error| failed(folder, error))?;
        let files = files.try_into().map_err(|_| io::ErrorKind::InvalidData.into());
        let files = files.map_err(|error| failed(folder, error))?;
        let (newest, found) = judge(&texts);
        let turn = 1 - newest;
        let mut files = Files { folder: folder.to_owned(), opened, both: files, turn };
        if is_new {
            // If the disk is full, the next writes fail, too, and tell.
            let _ = files.write(&Contents::default());
            return Ok((files, Found::Nothing));
        }
        Ok((files, found))
    }

    /// Reads the files in a folder, and makes nothing. Another process may be writing them, so a
    /// file that seems damaged is read again.
    pub(super) fn peek(folder: &Path) -> Result<Found, OpenError> {
        let mut found = Found::Nothing;
        for _ in 0..PEEKS {
            let (mut texts, mut missing) = (Vec::new(), 0);
            for name in NAMES {
                let path = folder.join(name);
                let bytes = match fs::File::open(&path).and_then(|file| bytes_of(&file)) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        missing += 1;
                        Vec::new()
                    }
                    other => other.map_err(|error| OpenError { path, error })?,
                };
                texts.push(bytes);
            }
            found = if missing == NAMES.len() { Found::Nothing } else { judge(&texts).1 };
            if matches!(found, Found::Nothing | Found::Whole(_)) {
                break;
            }
        }
        Ok(found)
    }

    /// Whether somebody has removed a file or the folder, so that a write would be lost.
    pub(super) fn are_gone(&self) -> bool {
        let is_same = || {
            let (now, opened) = (fs::metadata(&self.folder)?, self.opened.metadata()?);
            io::Result::Ok((now.dev(), now.ino()) == (opened.dev(), opened.ino()))
        };
        let is_there = |file: &fs::File| file.metadata().is_ok_and(|file| file.nlink() > 0);
        !is_same().unwrap_or(false) || !self.both.iter().all(is_there)
    }

    /// Makes them again if they are gone. Returns whether they were.
    pub(super) fn restore(&mut self) -> io::Result<bool> {
        let are_gone = self.are_gone();
        if are_gone {
            (*self, _) = Files::open(&self.folder).map_err(|error| error.error)?;
        }
        Ok(are_gone)
    }

    /// Writes the next file. The contents are durable when this returns.
    pub(super) fn write(&mut self, contents: &Contents) -> io::Result<()> {
        let text = contents.to_text();
        let file = &mut self.both[self.turn];
        file.rewind()?;
        file.write_all(text.as_bytes())?;
        file.set_len(text.len() as u64)?;
        file.sync_data()?;
        // After an error the same file is tried again, so that the other one stays whole.
        self.turn = 1 - self.turn;
        Ok(())
    }

    /// Exchanges the file that is written next.
    #[cfg(test)]
    pub(super) fn exchange(&mut self, file: fs::File) -> fs::File {
        std::mem::replace(&mut self.both[self.turn], file)
    }

    /// Where they are.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Which of the two files is the newer one, and what both say.
fn judge(texts: &[Vec<u8>]) -> (usize, Found) {
    let parsed: Vec<Option<Contents>> = texts.iter().map(|text| parse(text)).collect();
    let number = |at: usize| parsed[at].as_ref().map(|contents| contents.number);
    let newest = usize::from(number(1) >= number(0));
    // One that was made and has not been written yet is not damaged: the other one has the ledger.
    let is_damaged = (0..2).any(|at| parsed[at].is_none() && !texts[at].is_empty());
    let found = match parsed.into_iter().nth(newest).flatten() {
        Some(contents) if is_damaged => Found::Older(contents),
        Some(contents) => Found::Whole(contents),
        None => Found::Damaged,
    };
    (newest, found)
}

fn read(path: &Path) -> io::Result<(fs::File, Vec<u8>)> {
    let mut options = fs::OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
    let bytes = bytes_of(&file)?;
    Ok((file, bytes))
}

fn bytes_of(file: &fs::File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
