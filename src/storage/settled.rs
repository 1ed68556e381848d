//! The file `settled`: which records of the segments that are there nobody needs any more. Written as a
//! whole beside the old one, then renamed, so there is always one that is complete. It may be older than the
//! segments; what it does not say is read again.
//!
//! Form: `skepset` and a version byte, the CRC32C of the rest, then for each segment its number, its marker, the settled
//! items and bytes, the number of runs, and for each run its first number and the one after its last.
//! All numbers are 64 bits, little-endian.

use super::record::Marker;

const MAGIC: [u8; 8] = *b"skepset\x01";

/// Runs of numbers.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Runs(Vec<(u64, u64)>);

impl Runs {
    pub(super) fn push(&mut self, from: u64, to: u64) {
        self.0.push((from, to));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().copied()
    }
}

/// What is settled of one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OfSegment {
    pub(super) base: u64,
    /// Tells a segment from an older one of the same number.
    pub(super) marker: Marker,
    pub(super) items: u64,
    pub(super) bytes: u64,
    pub(super) runs: Runs,
}

pub(super) fn encode(segments: &[OfSegment]) -> Vec<u8> {
    let mut rest = Vec::new();
    for segment in segments {
        let count = segment.runs.0.len() as u64;
        rest.extend_from_slice(&segment.base.to_le_bytes());
        rest.extend_from_slice(&segment.marker);
        for number in [segment.items, segment.bytes, count] {
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

/// None where the bytes are not what was written.
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<OfSegment>> {
    let (crc, mut rest) = bytes.strip_prefix(&MAGIC)?.split_first_chunk::<4>()?;
    if crc32c::crc32c(rest) != u32::from_le_bytes(*crc) {
        return None;
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
        let (items, bytes) = (u64::from_le_bytes(number()?), u64::from_le_bytes(number()?));
        let count = u64::from_le_bytes(number()?);
        let mut runs = Runs::default();
        for _ in 0..count {
            runs.push(u64::from_le_bytes(number()?), u64::from_le_bytes(number()?));
        }
        segments.push(OfSegment { base, marker, items, bytes, runs });
    }
    Some(segments)
}
