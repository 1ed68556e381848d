//! The file `settled`: lists the segments and which of their records are settled. It is written as
//! a whole beside the old one and then renamed, so a complete file always exists. It may be older
//! than the segments; records whose settling it does not know yet are read again.
//!
//! It lists all segments and the number of the next record, so that lost segments are noticed: a
//! listed segment whose file is missing was removed by somebody else. When skep itself removes a
//! segment, the file stays under the name of a spare file until `settled` has been rewritten.
//!
//! Format: `skepset` and a version byte, the CRC32C of the rest, the number of the next record.
//! Then for each segment: its number, its marker, the number after its last record, its items and
//! bytes, its settled items and bytes, the number of runs of settled records, and for each run its
//! first number and the number after its last. All numbers are 64 bits, little-endian. Version 1
//! has neither the next record nor the ends, items and bytes of segments, and lists only segments
//! with settled records.

use super::record::Marker;

const MAGIC: [u8; 8] = *b"skepset\x02";
const FIRST_MAGIC: [u8; 8] = *b"skepset\x01";

/// Runs of numbers.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Runs(Vec<(u64, u64)>);

impl Runs {
    pub(super) fn push(&mut self, from: u64, to: u64) {
        self.0.push((from, to));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().copied()
    }
}

/// Contents of the file.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Contents {
    /// Number of the next record; `None` in version 1, which does not list all segments.
    pub(super) next: Option<u64>,
    pub(super) segments: Vec<OfSegment>,
}

impl Contents {
    /// The entry of a segment that was complete when the file was written.
    pub(super) fn finished(&self, base: u64, marker: Marker) -> Option<&OfSegment> {
        let next = self.next?;
        let found = self.segments.iter().find(|s| s.base == base && s.marker == marker);
        found.filter(|segment| segment.base < segment.end && segment.end < next)
    }
}

/// One segment, and what is settled of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OfSegment {
    pub(super) base: u64,
    /// Tells a segment from an older one of the same number.
    pub(super) marker: Marker,
    /// Number after its last record.
    pub(super) end: u64,
    /// Items and bytes of all its records.
    pub(super) all: (u64, u64),
    /// Items and bytes of the settled ones.
    pub(super) items: u64,
    pub(super) bytes: u64,
    pub(super) runs: Runs,
}

pub(super) fn encode(next: u64, segments: &[OfSegment]) -> Vec<u8> {
    let mut rest = next.to_le_bytes().to_vec();
    for segment in segments {
        let count = segment.runs.0.len() as u64;
        rest.extend_from_slice(&segment.base.to_le_bytes());
        rest.extend_from_slice(&segment.marker);
        let (items, bytes) = segment.all;
        for number in [segment.end, items, bytes, segment.items, segment.bytes, count] {
            rest.extend_from_slice(&number.to_le_bytes());
        }
        for (from, to) in segment.runs.iter() {
            rest.extend_from_slice(&from.to_le_bytes());
            rest.extend_from_slice(&to.to_le_bytes());
        }
    }
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&crc32c::crc32c(&rest).to_le_bytes());
    bytes.extend_from_slice(&rest);
    bytes
}

/// `None` if the bytes are damaged.
pub(super) fn decode(bytes: &[u8]) -> Option<Contents> {
    let is_first = bytes.starts_with(&FIRST_MAGIC);
    let magic = if is_first { &FIRST_MAGIC } else { &MAGIC };
    let (crc, mut rest) = bytes.strip_prefix(magic)?.split_first_chunk::<4>()?;
    if crc32c::crc32c(rest) != u32::from_le_bytes(*crc) {
        return None;
    }
    let mut next = None;
    if !is_first {
        let (number, after) = rest.split_first_chunk::<8>()?;
        (next, rest) = (Some(u64::from_le_bytes(*number)), after);
    }
    let mut segments = Vec::new();
    while !rest.is_empty() {
        let mut number = || {
            let (number, after) = rest.split_first_chunk::<8>()?;
            rest = after;
            Some(*number)
        };
        let base = u64::from_le_bytes(number()?);
        let marker = number()?;
        let (mut end, mut all) = (base, (0, 0));
        if !is_first {
            end = u64::from_le_bytes(number()?);
            all = (u64::from_le_bytes(number()?), u64::from_le_bytes(number()?));
        }
        let (items, bytes) = (u64::from_le_bytes(number()?), u64::from_le_bytes(number()?));
        let count = u64::from_le_bytes(number()?);
        let mut runs = Runs::default();
        for _ in 0..count {
            runs.push(u64::from_le_bytes(number()?), u64::from_le_bytes(number()?));
        }
        segments.push(OfSegment { base, marker, end, all, items, bytes, runs });
    }
    Some(Contents { next, segments })
}
