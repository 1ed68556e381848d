//! Opening a log: what is there, what of it is settled, and where the next record goes.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
};

use super::{Log, NEW_SETTLED, SETTLED, State, Writer, segment_name};
use crate::{
    storage::{
        Room, Settings,
        disk::{Disk, File, read_full},
        ranges::Ranges,
        reader::Reader,
        record::{self, Marker, RECORD_HEADER, SEGMENT_HEADER, SegmentHeader},
        segment::Segment,
        settled::{self, OfSegment},
    },
    telemetry::storage::LogStats,
};

/// Largest file `settled` that is believed to be one.
const MAX_SETTLED: u64 = 256 << 20;

/// A segment as its header tells it.
struct Found {
    segment: Segment,
    size: u64,
    /// Items and bytes of everything before it; none: the header is damaged.
    before: Option<(u64, u64)>,
}

impl Log {
    /// Opens the log in a folder. What is not settled waits to be taken.
    pub fn open(
        disk: Arc<dyn Disk>,
        settings: Settings,
        room: Arc<Room>,
        stats: Arc<LogStats>,
    ) -> io::Result<Arc<Self>> {
        let names = disk.list()?;
        let damaged_files = names.iter().filter(|name| name.starts_with("damaged-")).count();
        if names.iter().any(|name| name == NEW_SETTLED) {
            let _ = disk.remove(NEW_SETTLED);
        }
        let mut bases: Vec<u64> = names.iter().filter_map(|name| base_of(name)).collect();
        bases.sort_unstable();
        let mut found = Vec::with_capacity(bases.len());
        for base in bases {
            match look(&*disk, base)? {
                Some(segment) => found.push(segment),
                // Not even one whole record: what was written before it was durable.
                None => disk.remove(&segment_name(base))?,
            }
        }
        let (segments, totals) = measure(&*disk, found)?;
        let next = segments.values().next_back().map_or(0, |segment| segment.end);
        let writer = Writer {
            next,
            items: totals.0,
            bytes: totals.1,
            inherited: segments.keys().copied().collect(),
            has_new_names: true,
            ..Writer::default()
        };
        let contents =
            State { segments, waiting: Ranges::default(), is_changed: false, damaged_files };
        let log = Log {
            disk,
            settings,
            room,
            stats,
            reader: Mutex::new(None),
            writer: Mutex::new(writer),
            state: Mutex::new(contents),
        };
        log.count();
        log.apply(&log.read_settled());
        Ok(Arc::new(log))
    }

    /// Counts what is there, and lets all of it wait.
    fn count(&self) {
        let mut state = super::lock(&self.state);
        let State { segments, waiting, .. } = &mut *state;
        for segment in segments.values() {
            waiting.insert(segment.base..segment.end);
            self.room.take(segment.size);
            self.stats.disk_bytes.add(segment.size);
            self.stats.records.add(segment.left());
            self.stats.items.add(segment.items);
            self.stats.bytes.add(segment.bytes);
        }
    }

    fn read_settled(&self) -> Vec<OfSegment> {
        let read = || -> io::Result<Option<Vec<OfSegment>>> {
            let file = self.disk.open(SETTLED)?;
            let mut bytes = vec![0; usize::try_from(file.size()?.min(MAX_SETTLED)).unwrap_or(0)];
            let read = read_full(&*file, &mut bytes, 0)?;
            Ok(settled::decode(&bytes[..read]))
        };
        match read() {
            Ok(Some(segments)) => segments,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Ok(None) | Err(_) => {
                tracing::warn!(
                    log = %self.stats.id,
                    "What has been delivered cannot be read; all that is stored is delivered again."
                );
                Vec::new()
            }
        }
    }

    /// Takes what is settled out of what waits.
    fn apply(&self, settled: &[OfSegment]) {
        let mut state = super::lock(&self.state);
        let mut done = Vec::new();
        for of_segment in settled {
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
            self.stats.records.sub(left - segment.left());
            self.stats.items.sub(segment.settled_items);
            self.stats.bytes.sub(segment.settled_bytes);
        }
        done.extend(state.segments.values().filter(|s| s.is_done()).map(|s| s.base));
        drop(state);
        for base in done {
            self.remove_if_done(super::lock(&self.state), base);
        }
    }
}

fn base_of(name: &str) -> Option<u64> {
    let base = name.strip_suffix(".seg").filter(|number| number.len() == 20)?.parse().ok()?;
    // Half of the numbers are left for what comes.
    (base <= u64::MAX / 2).then_some(base)
}

/// Reads the header of a segment. Where it is damaged the first record tells the marker; where there is no
/// record either, none.
fn look(disk: &dyn Disk, base: u64) -> io::Result<Option<Found>> {
    let file = disk.open(&segment_name(base))?;
    let size = file.size()?;
    let mut bytes = [0; SEGMENT_HEADER + RECORD_HEADER];
    let read = read_full(&*file, &mut bytes, 0)?;
    let header = SegmentHeader::decode(&bytes[..read]).filter(|header| header.base == base);
    let (marker, before, made) = match header {
        Some(header) => {
            (header.marker, Some((header.items_before, header.bytes_before)), header.made)
        }
        None => match bytes.get(SEGMENT_HEADER..read).and_then(record::marker_of) {
            Some(marker) => (marker, None, 0),
            None => return Ok(None),
        },
    };
    let mut segment = Segment::new(marker, base, made);
    segment.size = size;
    segment.is_sealed = true;
    Ok(Some(Found { segment, size, before }))
}

/// Where each segment ends and what it has: by the header of the next one, else by looking it through.
fn measure(disk: &dyn Disk, found: Vec<Found>) -> io::Result<(BTreeMap<u64, Segment>, (u64, u64))> {
    // A next segment that is too far away follows on one that is gone.
    let next = |pair: &[Found]| {
        let most = pair[0].segment.base.saturating_add(pair[0].size / RECORD_HEADER as u64);
        let (base, before) = (pair[1].segment.base, pair[1].before);
        (base <= most).then_some((base, before))
    };
    let nexts: Vec<_> = found.windows(2).map(next).collect();
    let mut segments = BTreeMap::new();
    let mut totals = (0, 0);
    for (index, Found { mut segment, size, before }) in found.into_iter().enumerate() {
        let next = nexts.get(index).copied().flatten();
        let before = before.unwrap_or(totals);
        match next {
            Some((end, Some(after))) => {
                segment.end = end;
                segment.items = after.0.saturating_sub(before.0);
                segment.bytes = after.1.saturating_sub(before.1);
            }
            next => {
                let end = next.map(|(end, _)| end);
                let file = disk.open(&segment_name(segment.base))?;
                let marker = segment.marker;
                look_through(file, marker, &mut segment, end)?;
            }
        }
        segment.size = size;
        totals = (before.0 + segment.items, before.1 + segment.bytes);
        if segment.end > segment.base {
            segments.insert(segment.base, segment);
        } else {
            disk.remove(&segment_name(segment.base))?;
        }
    }
    Ok((segments, totals))
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
