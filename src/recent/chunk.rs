//! A chunk: up to 4096 spans or log records that came one after another, as columns. Once it is
//! sealed it never changes; it is evicted as a whole, and a reader that holds it keeps its bytes
//! charged.
//!
//! ```text
//!  row  trace id parent start end name origin flags weight | attributes          | rest
//!   0     0   ..   ..    ..   ..   2     0      ..    1.0   | 17 4 302            | 85 01 ...
//!                                  |     |                     |
//!                       names -----+     +-- resource,         +-- a number in the dictionary of
//!                                            scope, service        all attributes of the chunk,
//!                                                                  sorted by key
//! ```
//!
//! Why not the items' own bytes, compressed: measured with `benches/recent.rs`, most of an item is
//! attributes that its neighbours have too, and a query reads one or two keys of a dozen. Here each
//! attribute of a chunk exists once, those of a key lie together in an lz4 block of their own, and
//! a `GROUP BY` unpacks that block and no other. What is not in a column (events, links, status,
//! `tracestate`, unknown fields) is kept verbatim as the *rest* of the item.

use std::{borrow::Cow, ops::Range};

pub(super) use super::dictionary::Class;
use super::{account::Charge, dictionary::Strings};
use crate::otlp::wire::varint;

/// No trace.
pub(super) const NO_TRACE: u16 = u16::MAX;

/// The item has a span id.
pub(super) const HAS_ID: u8 = 1 << 5;
/// The span has a parent.
pub(super) const HAS_PARENT: u8 = 1 << 6;
/// The item tells of an error: a span that failed, a record of severity `ERROR` or above.
pub(super) const IS_ERROR: u8 = 1 << 7;

/// Class of an attribute in the dictionary; its string is a `KeyValue` message.
pub(super) const ATTRIBUTE: Class = 0;
/// Class of the body of a log record, an `AnyValue` message.
pub(super) const BODY: Class = 1;
/// Class of the text of a severity.
pub(super) const SEVERITY: Class = 2;
/// Class of the name of an event.
pub(super) const EVENT: Class = 3;

/// Keys that every chunk has first, with their numbers; the rates are what weights are read from.
pub(super) const KEYS: [(Class, &str); 5] = [
    (BODY, "body"),
    (SEVERITY, "severity_text"),
    (EVENT, "event_name"),
    (ATTRIBUTE, "sampleRate"),
    (ATTRIBUTE, "SampleRate"),
];

/// What the rows of a chunk are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Spans,
    Records,
}

/// One value per row.
#[derive(Debug, Default, Clone)]
pub(super) struct Columns {
    /// Number in the chunk's list of traces.
    pub(super) trace: Vec<u16>,
    pub(super) id: Vec<u64>,
    pub(super) parent: Vec<u64>,
    /// Nanoseconds since 1970, as the sender says; of a record its time.
    pub(super) start: Vec<u64>,
    /// The same; of a record the time at which it was observed.
    pub(super) end: Vec<u64>,
    /// Number in the chunk's list of names.
    pub(super) name: Vec<u16>,
    /// Number in the chunk's list of origins.
    pub(super) origin: Vec<u16>,
    /// The low five bits: of a span its kind and, above it, its status; of a record its severity.
    pub(super) flags: Vec<u8>,
    /// How many items it stands for.
    pub(super) weight: Vec<f32>,
    /// Where its attributes end in `attributes`.
    pub(super) attributes_end: Vec<u32>,
    /// Where its rest ends.
    pub(super) rest_end: Vec<u32>,
    /// Numbers of attributes, in the order of the item.
    pub(super) attributes: Vec<u16>,
}

/// Bytes of a row in all columns but `attributes`.
pub(super) const ROW: usize = 2 + 4 * 8 + 2 + 2 + 1 + 4 + 4 + 4;

impl Columns {
    pub(super) fn with_capacity(rows: usize, attributes: usize) -> Self {
        Columns {
            trace: Vec::with_capacity(rows),
            id: Vec::with_capacity(rows),
            parent: Vec::with_capacity(rows),
            start: Vec::with_capacity(rows),
            end: Vec::with_capacity(rows),
            name: Vec::with_capacity(rows),
            origin: Vec::with_capacity(rows),
            flags: Vec::with_capacity(rows),
            weight: Vec::with_capacity(rows),
            attributes_end: Vec::with_capacity(rows),
            rest_end: Vec::with_capacity(rows),
            attributes: Vec::with_capacity(attributes),
        }
    }

    pub(super) fn size(rows: usize, attributes: usize) -> usize {
        rows * ROW + attributes * size_of::<u16>()
    }

    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        (self.trace.capacity() + self.name.capacity() + self.origin.capacity()) * size_of::<u16>()
            + self.attributes.capacity() * size_of::<u16>()
            + (self.id.capacity() + self.parent.capacity()) * size_of::<u64>()
            + (self.start.capacity() + self.end.capacity()) * size_of::<u64>()
            + self.flags.capacity()
            + self.weight.capacity() * size_of::<f32>()
            + (self.attributes_end.capacity() + self.rest_end.capacity()) * size_of::<u32>()
    }

    pub(super) fn rows(&self) -> usize {
        self.trace.len()
    }

    pub(super) fn clear(&mut self) {
        self.trace.clear();
        self.id.clear();
        self.parent.clear();
        self.start.clear();
        self.end.clear();
        self.name.clear();
        self.origin.clear();
        self.flags.clear();
        self.weight.clear();
        self.attributes_end.clear();
        self.rest_end.clear();
        self.attributes.clear();
    }

    /// The places of a row's attributes in `attributes`.
    #[inline]
    pub(super) fn attributes_of(&self, row: usize) -> &[u16] {
        &self.attributes[range(&self.attributes_end, row)]
    }
}

/// What lies between two ends.
#[inline]
pub(super) fn range(ends: &[u32], at: usize) -> Range<usize> {
    let start = at.checked_sub(1).map_or(0, |before| ends[before] as usize);
    start..ends[at] as usize
}

/// Where items come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    /// Number of the fields around the scope entries: resource and schema.
    pub(super) resource: u16,
    /// Number of the fields around the items: scope and schema.
    pub(super) scope: u16,
    /// Number of `service.name` in the chunk's list of names; the empty name if there is none.
    pub(super) service: u16,
}

/// Bytes, compressed where that makes them fewer.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) bytes: Box<[u8]>,
    /// Their number before.
    pub(super) len: usize,
}

impl Packed {
    /// The bytes as they were.
    pub(super) fn unpack(&self) -> Cow<'_, [u8]> {
        if self.bytes.len() == self.len {
            return Cow::Borrowed(&self.bytes);
        }
        let mut out = vec![0; self.len];
        // It was compressed here; if memory was spoilt since then, nothing is shown.
        match lz4_flex::block::decompress_into(&self.bytes, &mut out) {
            Ok(len) if len == self.len => Cow::Owned(out),
            _ => Cow::Owned(Vec::new()),
        }
    }
}

/// Attributes of some keys: each a length and an `AnyValue`.
#[derive(Debug)]
pub(super) struct Block {
    /// Number of its first attribute.
    pub(super) first: u16,
    pub(super) packed: Packed,
}

/// A sealed chunk, or a copy of the open one for readers.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) kind: Kind,
    /// Chunks are numbered in the order in which they were begun.
    pub(super) number: u32,
    pub(super) columns: Columns,
    /// Ids of the traces.
    pub(super) traces: Box<[[u8; 16]]>,
    /// Their places in the list of all traces; none for records.
    pub(super) slots: Box<[u32]>,
    pub(super) names: Strings,
    /// Fields around scope entries and items.
    pub(super) headers: Strings,
    pub(super) origins: Box<[Origin]>,
    pub(super) keys: Strings,
    /// Number of the first attribute of each key, and of the first one after all.
    pub(super) key_starts: Box<[u16]>,
    pub(super) blocks: Box<[Block]>,
    pub(super) rest: Packed,
    /// Times of the earliest and the latest item, nanoseconds since 1970.
    pub(super) times: (u64, u64),
    /// When the first and the last item came, nanoseconds since 1970.
    pub(super) arrivals: (u64, u64),
    pub(super) charge: Charge,
}

impl Chunk {
    pub(super) fn rows(&self) -> usize {
        self.columns.rows()
    }

    /// Bytes that it takes, by looking.
    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        let blocks = self.blocks.iter().map(|block| block.packed.bytes.len());
        OVERHEAD
            + self.columns.allocated()
            + self.traces.len() * 16
            + self.slots.len() * size_of::<u32>()
            + self.names.allocated()
            + self.headers.allocated()
            + self.origins.len() * size_of::<Origin>()
            + self.keys.allocated()
            + self.key_starts.len() * size_of::<u16>()
            + self.blocks.len() * size_of::<Block>()
            + blocks.sum::<usize>()
            + self.rest.bytes.len()
    }

    /// When an item happened, nanoseconds since 1970: as it says, or when it came.
    #[inline]
    pub(super) fn time(&self, row: usize) -> u64 {
        time(self.columns.start[row], self.columns.end[row], self.arrivals.0)
    }

    /// How long a span took, in nanoseconds.
    #[inline]
    pub(super) fn duration(&self, row: usize) -> u64 {
        match self.kind {
            Kind::Spans => self.columns.end[row].saturating_sub(self.columns.start[row]),
            Kind::Records => 0,
        }
    }

    #[inline]
    pub(super) fn has(&self, row: usize, flag: u8) -> bool {
        self.columns.flags[row] & flag != 0
    }

    /// The id of a row's trace.
    #[inline]
    pub(super) fn trace(&self, row: usize) -> Option<&[u8; 16]> {
        self.traces.get(usize::from(self.columns.trace[row]))
    }

    pub(super) fn origin(&self, row: usize) -> Origin {
        self.origins[usize::from(self.columns.origin[row])]
    }

    pub(super) fn name(&self, row: usize) -> &[u8] {
        self.names.get(usize::from(self.columns.name[row]))
    }

    pub(super) fn service(&self, row: usize) -> &[u8] {
        self.names.get(usize::from(self.origin(row).service))
    }

    /// The number of a trace in this chunk.
    pub(super) fn find_trace(&self, id: &[u8; 16]) -> Option<u16> {
        let at = self.traces.iter().position(|known| known == id)?;
        u16::try_from(at).ok()
    }

    /// The number of a key.
    pub(super) fn find_key(&self, class: Class, key: &[u8]) -> Option<usize> {
        if class != ATTRIBUTE {
            return KEYS.iter().position(|(known, _)| *known == class);
        }
        let first = KEYS.iter().position(|(class, _)| *class == ATTRIBUTE)?;
        (first..self.keys.len()).find(|at| self.keys.get(*at) == key)
    }

    /// The numbers of a key's attributes.
    pub(super) fn numbers(&self, key: usize) -> Range<u16> {
        match (self.key_starts.get(key), self.key_starts.get(key + 1)) {
            (Some(start), Some(end)) => *start..*end,
            _ => 0..0,
        }
    }

    /// Class and key of an attribute.
    pub(super) fn key_of(&self, number: u16) -> (Class, &[u8]) {
        let key = self.key_starts.partition_point(|start| *start <= number).saturating_sub(1);
        (KEYS.get(key).map_or(ATTRIBUTE, |(class, _)| *class), self.keys.get(key))
    }

    /// The values of attributes whose numbers are in one block.
    pub(super) fn values(&self, numbers: Range<u16>) -> Values<'_> {
        let at = self.blocks.partition_point(|block| block.first <= numbers.start);
        let Some(block) = at.checked_sub(1).and_then(|at| self.blocks.get(at)) else {
            return Values::default();
        };
        let bytes = block.packed.unpack();
        let mut ends = Vec::with_capacity(numbers.len());
        let mut rest = &bytes[..];
        for number in block.first..numbers.end {
            let Ok((len, tail)) = varint(rest) else { break };
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            let Some(after) = tail.get(len..) else { break };
            if number >= numbers.start {
                let start = bytes.len() - tail.len();
                ends.push((start, start + len));
            }
            rest = after;
        }
        Values { bytes, ends, first: numbers.start }
    }

    /// A reader of single attributes, which keeps the blocks that it has unpacked.
    pub(super) fn reader(&self) -> Reader<'_> {
        Reader { chunk: self, blocks: self.blocks.iter().map(|_| None).collect() }
    }
}

/// The structure itself, and what the list of chunks takes for it.
pub(super) const OVERHEAD: usize = size_of::<Chunk>() + 64;

/// When an item happened: when it began, else when it ended or was observed, else when it came.
pub(super) fn time(start: u64, end: u64, arrival: u64) -> u64 {
    [start, end].into_iter().find(|time| *time != 0).unwrap_or(arrival)
}

/// Values of consecutive attributes.
#[derive(Debug, Default)]
pub(super) struct Values<'c> {
    bytes: Cow<'c, [u8]>,
    ends: Vec<(usize, usize)>,
    first: u16,
}

impl Values<'_> {
    /// Bytes that they take until they are dropped.
    pub(super) fn size(&self) -> usize {
        let bytes = if matches!(self.bytes, Cow::Owned(_)) { self.bytes.len() } else { 0 };
        bytes + self.ends.len() * size_of::<(usize, usize)>()
    }

    /// The `AnyValue` at a place among them.
    pub(super) fn get(&self, at: usize) -> &[u8] {
        self.ends.get(at).map_or(&[], |(start, end)| &self.bytes[*start..*end])
    }

    /// The `AnyValue` of a number.
    pub(super) fn of(&self, number: u16) -> &[u8] {
        self.get(usize::from(number.wrapping_sub(self.first)))
    }
}

/// Reads single attributes.
pub(super) struct Reader<'c> {
    chunk: &'c Chunk,
    blocks: Vec<Option<Values<'c>>>,
}

impl<'c> Reader<'c> {
    /// Class, key and `AnyValue` of an attribute.
    pub(super) fn attribute(&mut self, number: u16) -> (Class, &'c [u8], &[u8]) {
        let (class, key) = self.chunk.key_of(number);
        let blocks = &self.chunk.blocks;
        let at = blocks.partition_point(|block| block.first <= number).saturating_sub(1);
        let end = blocks.get(at + 1).map(|next| next.first);
        let end = end.or(self.chunk.key_starts.last().copied()).unwrap_or(0);
        let (Some(block), Some(read)) = (blocks.get(at), self.blocks.get_mut(at)) else {
            return (class, key, &[]);
        };
        let values = read.get_or_insert_with(|| self.chunk.values(block.first..end));
        (class, key, values.of(number))
    }
}
