//! Opening a log: what is there, what of it is settled, and where the next record goes.

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
    telemetry::storage::LogStats,
};

/// Largest file `settled` that is believed to be one.
const MAX_SETTLED: u64 = 256 << 20;

/// A file with the name of a segment, as its header tells it.
struct Found {
    base: u64,
    size: u64,
    /// None: nothing of it can be read.
    segment: Option<Segment>,
    /// Items and bytes of everything before it; `None` if the header is damaged.
    before: Option<(u64, u64)>,
}

/// What the files tell.
#[derive(Default)]
struct Measured {
    segments: BTreeMap<u64, Segment>,
    /// Number, size and, where it is known, end of those that hold nothing that can be read.
    unreadable: Vec<(u64, u64, Option<u64>)>,
    /// Items and bytes of all records up to the end of each segment, by that.
    totals: BTreeMap<u64, (u64, u64)>,
    /// Items and bytes of all records before a segment, where its header tells.
    befores: BTreeMap<u64, (u64, u64)>,
}

impl Log {
    /// Opens the log in a folder. What is not settled waits to be taken; what is missing is counted
    /// and said.
    pub fn open(
        disk: Arc<dyn Disk>,
        settings: Settings,
        room: Arc<Room>,
        stats: Arc<LogStats>,
    ) -> io::Result<Arc<Self>> {
        let names = disk.list()?;
        let damaged_files = names.iter().filter(|name| name.starts_with(DAMAGED)).count();
        // What was not finished.
        for name in names.iter().filter(|name| *name == NEW_SETTLED || name.starts_with(NEW)) {
            clear(&*disk, name)?;
        }
        let mut bases: Vec<u64> = names.iter().filter_map(|name| base_of(name)).collect();
        bases.sort_unstable();
        let found: Vec<Found> =
            bases.into_iter().map(|base| look(&*disk, base)).collect::<Result<_, _>>()?;
        let settled = read_settled(&*disk, &stats)?;
        let gone = gone(&settled, &names);
        let measured = measure(&*disk, found, &settled, &gone)?;
        let missing = lost(&measured, &settled, &gone);
        let Measured { segments, unreadable, totals, befores } = measured;
        let last = segments.values().next_back().map_or(0, |segment| segment.end);
        // New records get none of the numbers of an unreadable file, and none of a segment that was
        // removed: the file that is left of it would be taken for the end of the new segment.
        let bases = unreadable.iter().map(|unreadable| unreadable.0);
        let bases = bases.chain(names.iter().filter_map(|name| spare_base_of(name)));
        let next = bases.map(|base| base + 1).fold(last, u64::max);
        let next = next.max(settled.next.unwrap_or(0));
        let (items, bytes) = totals.values().next_back().copied().unwrap_or_default();
        let writer = Writer {
            next,
            items,
            bytes,
            synced_items: items,
            inherited: segments.keys().copied().collect(),
            has_new_names: true,
            ..Writer::default()
        };
        // Files that tell of segments which are gone, in case that `settled` does not.
        let size = |name: &String| disk.open(name).and_then(|file| file.size()).unwrap_or(0);
        let spares = names.iter().filter(|name| name.starts_with(SPARE));
        let gone: Vec<(String, u64)> = spares.map(|name| (name.clone(), size(name))).collect();
        let contents =
            State { segments, damaged_files, next, gone, is_changed: true, ..State::default() };
        let log = Log {
            disk,
            settings,
            room,
            stats,
            reader: Mutex::new(None),
            writer: Mutex::new(writer),
            saving: Mutex::default(),
            state: Mutex::new(contents),
        };
        log.count();
        for (base, size, _) in &unreadable {
            log.unreadable(*base, *size)?;
        }
        for numbers in missing.iter() {
            let before = match numbers.start {
                0 => Some(&(0, 0)),
                start => totals.get(&start),
            };
            let items = befores.get(&numbers.end).zip(before);
            log.missing(numbers, items.map(|(after, before)| after.0.saturating_sub(before.0)));
        }
        log.apply(&settled);
        if !missing.is_empty() || !unreadable.is_empty() {
            // Said once.
            let _ = log.save();
        }
        Ok(Arc::new(log))
    }

    /// Counts what is there, and lets all of it wait.
    fn count(&self) {
        let mut state = super::lock(&self.state);
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

    /// Takes what is settled out of what waits.
    fn apply(&self, settled: &Contents) {
        let mut state = super::lock(&self.state);
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
            self.remove_if_done(super::lock(&self.state), base);
        }
    }
}

fn base_of(name: &str) -> Option<u64> {
    name.strip_suffix(".seg").filter(|number| number.len() == 20).and_then(number)
}

/// The number of the segment that a spare file was before.
fn spare_base_of(name: &str) -> Option<u64> {
    name.strip_prefix(SPARE).and_then(number)
}

fn number(digits: &str) -> Option<u64> {
    // Half of the numbers are left for what comes.
    digits.parse().ok().filter(|number| *number <= u64::MAX / 2)
}

/// Removes what nobody needs; what is no file is set aside.
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
        // Nothing is removed before it is there.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(Contents { next: Some(0), ..Contents::default() })
        }
        Ok(None) | Err(_) => {
            let kept_in = format!("{DAMAGED}{SETTLED}");
            disk.rename(SETTLED, &kept_in).map_err(|error| named(SETTLED, &error))?;
            tracing::warn!(
                log = %stats.id,
                kept_in,
                "What has been delivered cannot be read; all that is stored is delivered again."
            );
            Ok(Contents::default())
        }
    }
}

/// Reads the header of a segment. Where it is damaged the first record tells the marker.
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

/// Where each segment ends and what it has: by the header of the next one, else by looking it
/// through.
fn measure(
    disk: &dyn Disk,
    found: Vec<Found>,
    settled: &Contents,
    gone: &[u64],
) -> io::Result<Measured> {
    // A next segment that is too far away follows on one that is gone.
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

/// Numbers of the segments that went after `settled` was written: their files tell of them.
fn gone(settled: &Contents, names: &[String]) -> Vec<u64> {
    let Some(next) = settled.next else { return Vec::new() };
    let is_new = |base: &u64| *base >= next || settled.segments.iter().any(|s| s.base == *base);
    names.iter().filter_map(|name| spare_base_of(name)).filter(is_new).collect()
}

/// Numbers of records that were there and are not: what `settled` tells of, and what came after it
/// was written, but for what lies in a file that can be read and what is gone as it should.
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
    // What nobody needed any more is not missing.
    for (from, to) in settled.segments.iter().flat_map(|segment| segment.runs.iter()) {
        lost.remove(from..to);
    }
    lost
}

/// Hops from header to header; `end` where it is known.
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
