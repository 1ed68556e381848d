//! Opens a log: finds out which records it has, which of them are settled, and what is missing.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
};

use super::{
    DAMAGED, Held, Log, NEW, NEW_SETTLED, SETTLED, SPARE, State, Writer, is_missing, segment_name,
};
use crate::{
    storage::{
        Room, Settings,
        disk::{Disk, File, read_full},
        ranges::Ranges,
        reader::Reader,
        record::{self, Marker, RECORD_HEADER, SEGMENT_HEADER, SegmentHeader},
        segment::Segment,
        settled::{self, Contents},
    },
    sync,
    telemetry::storage::LogStats,
};

/// Largest file `settled` that is believed to be one.
const MAX_SETTLED: u64 = 256 << 20;

/// A file with the name of a segment, as described by its header.
struct Found {
    base: u64,
    size: u64,
    /// `None` if nothing in it can be read.
    segment: Option<Segment>,
    /// Items and bytes of everything before it; `None` if the header is damaged.
    before: Option<(u64, u64)>,
}

/// What the files contain.
#[derive(Default)]
struct Measured {
    segments: BTreeMap<u64, Segment>,
    /// Number, size and, if known, end of the segments in which nothing can be read.
    unreadable: Vec<(u64, u64, Option<u64>)>,
    /// Items and bytes of all records up to the end of each segment, by that.
    totals: BTreeMap<u64, (u64, u64)>,
    /// Items and bytes of all records before a segment, if its header says so.
    befores: BTreeMap<u64, (u64, u64)>,
}

impl Log {
    /// Opens the log in a folder. Records that are not settled wait to be taken; missing ones are
    /// counted and logged.
    pub fn open(
        disk: Arc<dyn Disk>,
        settings: Settings,
        room: Arc<Room>,
        stats: Arc<LogStats>,
    ) -> io::Result<Arc<Self>> {
        let names = disk.list()?;
        let damaged_files = names.iter().filter(|name| name.starts_with(DAMAGED)).count();
        // Files that were not finished.
        for name in names.iter().filter(|name| *name == NEW_SETTLED || name.starts_with(NEW)) {
            clear(&*disk, name)?;
        }
        let mut bases: Vec<u64> = names.iter().filter_map(|name| base_of(name)).collect();
        bases.sort_unstable();
        let found: Vec<Found> =
            bases.into_iter().map(|base| look(&*disk, base)).collect::<Result<_, _>>()?;
        let settled = read_settled(&*disk, &stats)?;
        let gone = gone(&settled, &names);
        let mut measured = measure(&*disk, found, &settled, &gone)?;
        let missing = lost(&measured, &settled, &gone);
        let next = next_number(&measured, &settled, &names);
        let (items, bytes) = measured.totals.values().next_back().copied().unwrap_or_default();
        let writer = Writer {
            next,
            items,
            bytes,
            synced_items: items,
            inherited: measured.segments.keys().copied().collect(),
            has_new_names: true,
            ..Writer::default()
        };
        let initial = State {
            segments: std::mem::take(&mut measured.segments),
            damaged_files,
            next,
            gone: spares(&*disk, &names),
            is_changed: true,
            ..State::default()
        };
        let log = Log {
            disk,
            settings,
            room,
            stats,
            reader: Mutex::new(None),
            writer: Mutex::new(writer),
            saving: Mutex::default(),
            state: Mutex::new(initial),
        };
        log.count();
        log.report(&measured, &missing)?;
        log.apply(&settled);
        if !missing.is_empty() || !measured.unreadable.is_empty() {
            // If this fails, the losses are reported again at the next start.
            let _ = log.save();
        }
        Ok(Arc::new(log))
    }

    /// Reports and counts what cannot be read and what is missing.
    fn report(&self, measured: &Measured, missing: &Ranges) -> io::Result<()> {
        for (base, size, _) in &measured.unreadable {
            self.unreadable(*base, *size)?;
        }
        for numbers in missing.iter() {
            let before = match numbers.start {
                0 => Some(&(0, 0)),
                start => measured.totals.get(&start),
            };
            let items = measured.befores.get(&numbers.end).zip(before);
            self.missing(numbers, items.map(|(after, before)| after.0.saturating_sub(before.0)));
        }
        Ok(())
    }

    /// Counts all records, and lets all of them wait.
    fn count(&self) {
        let mut state = sync::lock(&self.state);
        let mut held = Held::default();
        let State { segments, waiting, gone, .. } = &mut *state;
        for (_, size) in gone {
            self.room.take(*size);
            self.stats.disk_bytes.add(*size);
        }
        for segment in segments.values() {
            waiting.insert(segment.base..segment.end);
            self.room.take(segment.size);
            self.stats.disk_bytes.add(segment.size);
            held.add(segment.left(), segment.items, segment.bytes);
        }
        self.hold(&mut state, |now| *now = held);
    }

    /// Removes settled records from those that wait.
    fn apply(&self, settled: &Contents) {
        let mut state = sync::lock(&self.state);
        let mut done = Vec::new();
        for of_segment in &settled.segments {
            let State { segments, waiting, .. } = &mut *state;
            let Some(segment) = segments.get_mut(&of_segment.base) else { continue };
            if segment.marker != of_segment.marker {
                continue;
            }
            let left = segment.left();
            for (from, to) in of_segment.runs.iter() {
                let (from, to) = (from.max(segment.base), to.min(segment.end));
                for number in from..to {
                    segment.settle(number);
                }
                waiting.remove(from..to.max(from));
            }
            segment.settled_items = of_segment.items.min(segment.items);
            segment.settled_bytes = of_segment.bytes.min(segment.bytes);
            let (items, bytes) = (segment.settled_items, segment.settled_bytes);
            let records = left - segment.left();
            self.hold(&mut state, |held| held.take(records, items, bytes));
        }
        done.extend(state.segments.values().filter(|s| s.is_done()).map(|s| s.base));
        drop(state);
        for base in done {
            self.remove_if_done(sync::lock(&self.state), base);
        }
    }
}

/// The number of the next record. New records get none of the numbers of an unreadable file, and
/// none of a segment that was removed: a file that is left of it would be taken for the end of the
/// new segment.
fn next_number(measured: &Measured, settled: &Contents, names: &[String]) -> u64 {
    let last = measured.segments.values().next_back().map_or(0, |segment| segment.end);
    let bases = measured.unreadable.iter().map(|(base, ..)| *base);
    let bases = bases.chain(names.iter().filter_map(|name| spare_base_of(name)));
    let next = bases.map(|base| base + 1).fold(last, u64::max);
    next.max(settled.next.unwrap_or(0))
}

/// Spare files and their sizes. They say which segments are gone, if `settled` does not.
fn spares(disk: &dyn Disk, names: &[String]) -> Vec<(String, u64)> {
    let size = |name: &String| disk.open(name).and_then(|file| file.size()).unwrap_or(0);
    let spares = names.iter().filter(|name| name.starts_with(SPARE));
    spares.map(|name| (name.clone(), size(name))).collect()
}

fn base_of(name: &str) -> Option<u64> {
    name.strip_suffix(".seg").filter(|number| number.len() == 20).and_then(number)
}

/// The number of the segment that a spare file was before.
fn spare_base_of(name: &str) -> Option<u64> {
    name.strip_prefix(SPARE).and_then(number)
}

fn number(digits: &str) -> Option<u64> {
    // Half of the numbers are left for new records.
    digits.parse().ok().filter(|number| *number <= u64::MAX / 2)
}

/// Removes a file that nobody needs. What is not a file is set aside.
fn clear(disk: &dyn Disk, name: &str) -> io::Result<()> {
    match disk.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            disk.rename(name, &format!("{DAMAGED}{name}")).map_err(|error| named(name, &error))
        }
        _ => Ok(()),
    }
}

fn named(name: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("`{name}`: {error}"))
}

fn read_settled(disk: &dyn Disk, stats: &LogStats) -> io::Result<Contents> {
    let read = || -> io::Result<Option<Contents>> {
        let file = disk.open(SETTLED)?;
        let mut bytes = vec![0; usize::try_from(file.size()?.min(MAX_SETTLED)).unwrap_or(0)];
        let read = read_full(&*file, &mut bytes, 0)?;
        Ok(settled::decode(&bytes[..read]))
    };
    match read() {
        Ok(Some(contents)) => Ok(contents),
        // No segment is removed before this file exists.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(Contents { next: Some(0), ..Contents::default() })
        }
        Ok(None) | Err(_) => {
            let kept_in = format!("{DAMAGED}{SETTLED}");
            disk.rename(SETTLED, &kept_in).map_err(|error| named(SETTLED, &error))?;
            tracing::warn!(
                log = %stats.id,
                kept_in,
                "cannot read what has been delivered; everything that is stored will be delivered again"
            );
            Ok(Contents::default())
        }
    }
}

/// Reads the header of a segment. If it is damaged, the marker is taken from the first record.
fn look(disk: &dyn Disk, base: u64) -> io::Result<Found> {
    let name = segment_name(base);
    let nothing = Found { base, size: 0, segment: None, before: None };
    let file = match disk.open(&name) {
        Ok(file) => file,
        Err(error) if is_missing(&error) => return Ok(nothing),
        Err(error) => return Err(named(&name, &error)),
    };
    let size = file.size().map_err(|error| named(&name, &error))?;
    let mut bytes = [0; SEGMENT_HEADER + RECORD_HEADER];
    let read = read_full(&*file, &mut bytes, 0).map_err(|error| named(&name, &error))?;
    let header = SegmentHeader::decode(&bytes[..read]).filter(|header| header.base == base);
    let (marker, before, made) = match header {
        Some(header) => {
            (header.marker, Some((header.items_before, header.bytes_before)), header.made)
        }
        None => match bytes.get(SEGMENT_HEADER..read).and_then(record::marker_of) {
            Some(marker) => (marker, None, 0),
            None => return Ok(Found { size, ..nothing }),
        },
    };
    let mut segment = Segment::new(marker, base, made);
    segment.size = size;
    segment.is_sealed = true;
    Ok(Found { base, size, segment: Some(segment), before })
}

/// Finds the end and the contents of each segment: by the header of the next one, or by reading all
/// of it.
fn measure(
    disk: &dyn Disk,
    found: Vec<Found>,
    settled: &Contents,
    gone: &[u64],
) -> io::Result<Measured> {
    // If the next segment is too far away, one between them is gone.
    let next = |pair: &[Found]| {
        let most = pair[0].base.saturating_add(pair[0].size / RECORD_HEADER as u64);
        let (base, before) = (pair[1].base, pair[1].before);
        (base <= most).then_some((base, before))
    };
    let nexts: Vec<_> = found.windows(2).map(next).collect();
    let mut measured = Measured::default();
    let mut totals = (0, 0);
    for (index, Found { base, segment, size, before }) in found.into_iter().enumerate() {
        let next = nexts.get(index).copied().flatten();
        // One that is gone may have followed.
        let first_gone = gone.iter().copied().filter(|gone| *gone > base).min();
        let next = match first_gone {
            Some(gone) if next.is_some_and(|(next, _)| gone < next) => Some((gone, None)),
            _ => next,
        };
        measured.befores.extend(before.map(|before| (base, before)));
        let before = before.unwrap_or(totals);
        let end = next.map(|(end, _)| end);
        let Some(mut segment) = segment else {
            measured.unreadable.push((base, size, end));
            continue;
        };
        let known = settled.finished(base, segment.marker);
        match next {
            _ if known.is_some() => {
                let all = known.map_or((0, 0), |known| known.all);
                segment.end = known.map_or(base, |known| known.end);
                (segment.items, segment.bytes) = all;
            }
            Some((end, Some(after))) => {
                segment.end = end;
                segment.items = after.0.saturating_sub(before.0);
                segment.bytes = after.1.saturating_sub(before.1);
            }
            _ => {
                let name = segment_name(base);
                let marker = segment.marker;
                disk.open(&name)
                    .and_then(|file| look_through(file, marker, &mut segment, end))
                    .map_err(|error| named(&name, &error))?;
            }
        }
        totals = (before.0 + segment.items, before.1 + segment.bytes);
        if segment.end > segment.base {
            measured.totals.insert(segment.end, totals);
            measured.segments.insert(base, segment);
        } else {
            measured.unreadable.push((base, size, end));
        }
    }
    Ok(measured)
}

/// Numbers of the segments that were removed after `settled` was written; spare files name them.
fn gone(settled: &Contents, names: &[String]) -> Vec<u64> {
    let Some(next) = settled.next else { return Vec::new() };
    let is_new = |base: &u64| *base >= next || settled.segments.iter().any(|s| s.base == *base);
    names.iter().filter_map(|name| spare_base_of(name)).filter(is_new).collect()
}

/// Numbers of records that are missing: those in `settled` and those that came after it was
/// written, without those in readable files and those that were removed on purpose.
fn lost(measured: &Measured, settled: &Contents, gone: &[u64]) -> Ranges {
    let mut lost = Ranges::default();
    let files = measured.segments.values().map(|segment| (segment.base, segment.end));
    let newest = files.clone().map(|(_, end)| end).max().unwrap_or(0);
    if let Some(next) = settled.next {
        lost.insert(next..newest.max(next));
        settled.segments.iter().for_each(|segment| lost.insert(segment.base..segment.end));
    } else {
        let ends = measured.unreadable.iter().filter_map(|(base, _, end)| Some(*base..(*end)?));
        ends.for_each(|numbers| lost.insert(numbers));
    }
    for (base, end) in files {
        lost.remove(base..end);
    }
    let files = measured.segments.keys().chain(measured.unreadable.iter().map(|(base, ..)| base));
    let bases: Vec<u64> = files.chain(gone).copied().collect();
    for gone in gone {
        let known = settled.segments.iter().find(|segment| segment.base == *gone);
        let known = known.and_then(|known| settled.finished(*gone, known.marker));
        let next = bases.iter().copied().filter(|base| base > gone).min();
        let end = known.map_or_else(|| next.unwrap_or(u64::MAX), |known| known.end);
        lost.remove(*gone..end);
    }
    // Settled records are not missing.
    for (from, to) in settled.segments.iter().flat_map(|segment| segment.runs.iter()) {
        lost.remove(from..to);
    }
    lost
}

/// Reads the headers of all records, up to `end` if it is known.
fn look_through(
    file: Arc<dyn File>,
    marker: Marker,
    segment: &mut Segment,
    end: Option<u64>,
) -> io::Result<()> {
    let mut reader = Reader::new(file, marker, segment.base);
    while let Some((header, _)) = reader.step(end.unwrap_or(u64::MAX))?.record {
        segment.items += u64::from(header.items);
        segment.bytes += u64::from(header.body);
        segment.end = header.number + 1;
    }
    segment.end = end.unwrap_or(segment.end);
    Ok(())
}
