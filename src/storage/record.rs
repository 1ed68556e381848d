//! The format of segments and records: writes and reads headers, and finds the next record after
//! bytes that are not a record. `storage.rs` has the picture.

use crate::otlp::Signal;

/// Bytes of a segment's header.
pub(super) const SEGMENT_HEADER: usize = 64;
/// Bytes of a record's header.
pub const RECORD_HEADER: usize = 48;
/// First bytes of a segment: the name, and in the last byte the version of the format.
const MAGIC: [u8; 8] = *b"skeplog\x01";
/// Largest body and note of a record. A payload is at most as large as a request may be.
const MAX_PART: u32 = 1 << 30;

/// Eight random bytes at the beginning of every record of one segment. After damage, the next
/// record is found by them. So bytes inside a payload, even a copy of another segment, are not
/// taken for a record.
pub(super) type Marker = [u8; 8];

/// The header of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) marker: Marker,
    /// Number of its first record.
    pub(super) base: u64,
    /// Items of all records before it, since the log was created.
    pub(super) items_before: u64,
    /// Bytes of their bodies.
    pub(super) bytes_before: u64,
    /// Unix milliseconds.
    pub(super) made: u64,
}

/// The header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordHeader {
    /// CRC32C of note and body.
    pub(super) crc: u32,
    pub(super) number: u64,
    /// Unix milliseconds.
    pub(super) time: u64,
    pub(super) signal: Signal,
    pub(super) items: u32,
    pub(super) body: u32,
    pub(super) note: u32,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut bytes = [0; SEGMENT_HEADER];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.marker);
        bytes[16..24].copy_from_slice(&self.base.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.items_before.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.bytes_before.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.made.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None` if the bytes are not an intact header.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..SEGMENT_HEADER)?;
        let is_whole = crc32c::crc32c(&bytes[..60]) == u32_at(bytes, 60);
        (is_whole && bytes.starts_with(&MAGIC)).then(|| SegmentHeader {
            marker: marker_at(bytes, 8),
            base: u64_at(bytes, 16),
            items_before: u64_at(bytes, 24),
            bytes_before: u64_at(bytes, 32),
            made: u64_at(bytes, 40),
        })
    }
}

impl RecordHeader {
    pub(super) fn encode(&self, marker: Marker) -> [u8; RECORD_HEADER] {
        let mut bytes = [0; RECORD_HEADER];
        bytes[..8].copy_from_slice(&marker);
        bytes[12..16].copy_from_slice(&self.crc.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.time.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.items.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.body.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.note.to_le_bytes());
        bytes[44] = match self.signal {
            Signal::Traces => 1,
            Signal::Metrics => 2,
            Signal::Logs => 3,
        };
        let crc = crc32c::crc32c(&bytes[12..]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None` if the bytes are not an intact header of a record with this marker.
    pub(super) fn decode(bytes: &[u8], marker: Marker) -> Option<Self> {
        let bytes = bytes.get(..RECORD_HEADER)?;
        if bytes[..8] != marker || crc32c::crc32c(&bytes[12..]) != u32_at(bytes, 8) {
            return None;
        }
        let header = RecordHeader {
            crc: u32_at(bytes, 12),
            number: u64_at(bytes, 16),
            time: u64_at(bytes, 24),
            items: u32_at(bytes, 32),
            body: u32_at(bytes, 36),
            note: u32_at(bytes, 40),
            signal: match bytes[44] {
                1 => Signal::Traces,
                2 => Signal::Metrics,
                3 => Signal::Logs,
                _ => return None,
            },
        };
        (header.body <= MAX_PART && header.note <= MAX_PART).then_some(header)
    }

    /// Bytes of the whole record.
    pub(super) fn len(&self) -> u64 {
        RECORD_HEADER as u64 + u64::from(self.note) + u64::from(self.body)
    }
}

/// What the checksum of a record covers, in pieces.
pub(super) fn checksum<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    pieces.into_iter().fold(0, crc32c::crc32c_append)
}

/// The position of the first marker in `bytes`, or of the beginning of one at their end.
pub(super) fn find(bytes: &[u8], marker: Marker) -> Option<usize> {
    memchr::memmem::find(bytes, &marker).or_else(|| {
        let from = bytes.len().saturating_sub(marker.len() - 1);
        (from..bytes.len()).find(|at| marker.starts_with(&bytes[*at..]))
    })
}

/// The marker that a record at the beginning of `bytes` seems to have, where a segment has lost its
/// header.
pub(super) fn marker_of(bytes: &[u8]) -> Option<Marker> {
    let marker = marker_at(bytes.get(..RECORD_HEADER)?, 0);
    RecordHeader::decode(bytes, marker).map(|_| marker)
}

fn marker_at(bytes: &[u8], at: usize) -> Marker {
    let mut marker = [0; 8];
    marker.copy_from_slice(&bytes[at..at + 8]);
    marker
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(marker_at(bytes, at))
}
