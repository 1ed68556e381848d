//! From the open chunk to one that never changes: attributes are numbered anew in the order of
//! their keys, those of each key are compressed together, and everything is copied into memory of
//! the exact size. The size is known before anything is allocated, so that it can be charged.

use super::{
    account::Charge,
    chunk::{ATTRIBUTE, Block, Chunk, Columns, OVERHEAD, Origin, Packed},
    dictionary::Strings,
    masks::{GROWTH, is_secret, put_entry},
    open::{Limits, Open},
};
use crate::otlp::attribute;

/// A block ends with the key that makes it so large. Smaller ones compress worse.
const BLOCK: usize = 64 << 10;
/// A key with so many bytes has a block of its own, so that others can be read without it.
const OWN_BLOCK: usize = 8 << 10;
/// What the compressor allocates for a while.
const COMPRESSOR: usize = 16 << 10;

/// How blocks are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    /// With lz4, to be kept.
    Lz4,
    /// As they are, for a reader who looks at the open chunk.
    Plain,
}

/// The workspace of sealing, allocated once.
#[derive(Debug)]
pub(super) struct Press {
    /// Number of an attribute by its number before.
    renumbered: Vec<u16>,
    /// Numbers before, in the new order.
    order: Vec<u16>,
    key_starts: Vec<u16>,
    /// Attributes of one block.
    raw: Vec<u8>,
    /// All blocks.
    packed: Box<[u8]>,
    /// Of each block: number of its first attribute, length before, end in `packed`.
    blocks: Vec<(u16, usize, usize)>,
    /// Length of the rest before, and its end in `packed`.
    rest: (usize, usize),
}

fn most_packed(limits: Limits) -> usize {
    lz4_flex::block::get_maximum_output_size(most_raw(limits) + limits.bytes) + 32 * blocks(limits)
}

/// Values with their lengths, which may take more than they took as attributes.
fn most_raw(limits: Limits) -> usize {
    limits.bytes + GROWTH * limits.different
}

/// Most blocks: small ones, and large ones between them.
fn blocks(limits: Limits) -> usize {
    2 * (most_raw(limits) / OWN_BLOCK) + 4
}

impl Press {
    pub(super) fn new(limits: Limits) -> Self {
        Press {
            renumbered: Vec::with_capacity(limits.different),
            order: Vec::with_capacity(limits.different),
            key_starts: Vec::with_capacity(limits.kinds() + 1),
            raw: Vec::with_capacity(most_raw(limits)),
            packed: vec![0; most_packed(limits)].into_boxed_slice(),
            blocks: Vec::with_capacity(blocks(limits)),
            rest: (0, 0),
        }
    }

    /// Bytes that it takes.
    pub(super) fn size(limits: Limits) -> usize {
        2 * limits.different * size_of::<u16>()
            + (limits.kinds() + 1) * size_of::<u16>()
            + most_raw(limits)
            + most_packed(limits)
            + blocks(limits) * size_of::<(u16, usize, usize)>()
            + COMPRESSOR
    }

    /// Compresses a chunk, and says how many bytes [`Press::finish`] will allocate.
    pub(super) fn prepare(&mut self, open: &Open, packing: Packing) -> usize {
        self.sort(open);
        self.blocks.clear();
        self.raw.clear();
        let mut packed_end = 0;
        let mut first = 0;
        let keys = open.keys.len();
        for key in 0..keys {
            let run = self.key_starts[key]..self.key_starts[key + 1];
            let before = self.raw.len();
            let number = u16::try_from(key).unwrap_or(u16::MAX);
            let name = open.keys.string(number);
            // Keys of other classes are ours.
            let is_secret = open.keys.class(number) == ATTRIBUTE && is_secret(name);
            for at in run.clone() {
                let old = self.order[usize::from(at)];
                put_value(open, old, (name, is_secret), &mut self.raw);
            }
            let is_large = self.raw.len() - before >= OWN_BLOCK;
            if is_large && before > 0 {
                // What came before it is a block without it.
                let tail = self.raw.len();
                packed_end = self.block(first, 0..before, packed_end, packing);
                self.raw.copy_within(before..tail, 0);
                self.raw.truncate(tail - before);
                first = run.start;
            }
            if is_large || self.raw.len() >= BLOCK {
                packed_end = self.block(first, 0..self.raw.len(), packed_end, packing);
                self.raw.clear();
                first = run.end;
            }
        }
        if !self.raw.is_empty() {
            packed_end = self.block(first, 0..self.raw.len(), packed_end, packing);
        }
        let rest_len = press(&open.rest, &mut self.packed[packed_end..], packing);
        self.rest = (open.rest.len(), packed_end + rest_len);
        self.needed(open)
    }

    fn needed(&self, open: &Open) -> usize {
        let rows = open.rows();
        OVERHEAD
            + Columns::size(rows, open.columns.attributes.len())
            + open.traces.len() * 16
            + open.slots.len() * size_of::<u32>()
            + Strings::size(&open.names)
            + Strings::size(&open.headers)
            + open.origins.len() * size_of::<Origin>()
            + Strings::size(&open.keys)
            + self.key_starts.len() * size_of::<u16>()
            + self.blocks.len() * size_of::<Block>()
            + self.rest.1
    }

    /// Numbers attributes by key: a counting sort.
    #[expect(clippy::cast_possible_truncation, reason = "there are fewer than 2^16 attributes")]
    fn sort(&mut self, open: &Open) {
        let keys = open.keys.len();
        self.key_starts.clear();
        self.key_starts.resize(keys + 1, 0);
        for key in &open.attribute_keys {
            self.key_starts[usize::from(*key) + 1] += 1;
        }
        for key in 0..keys {
            self.key_starts[key + 1] += self.key_starts[key];
        }
        self.renumbered.clear();
        self.order.clear();
        self.order.resize(open.attribute_keys.len(), 0);
        for (before, key) in open.attribute_keys.iter().enumerate() {
            let at = &mut self.key_starts[usize::from(*key)];
            self.renumbered.push(*at);
            self.order[usize::from(*at)] = before as u16;
            *at += 1;
        }
        // Each start has moved to the end of its key.
        self.key_starts.copy_within(0..keys, 1);
        self.key_starts[0] = 0;
    }

    fn block(
        &mut self,
        first: u16,
        raw: std::ops::Range<usize>,
        start: usize,
        packing: Packing,
    ) -> usize {
        let len = raw.len();
        let end = start + press(&self.raw[raw], &mut self.packed[start..], packing);
        self.blocks.push((first, len, end));
        end
    }

    /// The chunk, paid for by a charge of what [`Press::prepare`] said.
    pub(super) fn finish(&self, open: &Open, charge: Charge) -> Chunk {
        let mut columns = open.columns.clone();
        for number in &mut columns.attributes {
            *number = self.renumbered[usize::from(*number)];
        }
        let mut start = 0;
        let mut part = |end: usize, len: usize| {
            let bytes = self.packed[start..end].into();
            start = end;
            Packed { bytes, len }
        };
        let mut blocks = Vec::with_capacity(self.blocks.len());
        for (first, len, end) in &self.blocks {
            blocks.push(Block { first: *first, packed: part(*end, *len) });
        }
        let (traces, _) = open.traces.parts();
        Chunk {
            kind: open.kind,
            number: open.number,
            columns,
            traces: traces.as_chunks::<16>().0.into(),
            slots: open.slots.as_slice().into(),
            names: Strings::of(&open.names),
            headers: Strings::of(&open.headers),
            origins: open.origins.as_slice().into(),
            keys: Strings::of(&open.keys),
            key_starts: self.key_starts.as_slice().into(),
            blocks: blocks.into_boxed_slice(),
            rest: part(self.rest.1, self.rest.0),
            times: open.times,
            arrivals: open.arrivals,
            charge,
        }
    }

    /// Bytes that are allocated, by looking.
    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        (self.renumbered.capacity() + self.order.capacity() + self.key_starts.capacity())
            * size_of::<u16>()
            + self.raw.capacity()
            + self.packed.len()
            + self.blocks.capacity() * size_of::<(u16, usize, usize)>()
            + COMPRESSOR
    }
}

/// Appends the value of an attribute with its length, secrets masked.
fn put_value(open: &Open, number: u16, (key, is_secret): (&[u8], bool), out: &mut Vec<u8>) {
    let bytes = open.attributes.string(number);
    if open.attributes.class(number) != ATTRIBUTE {
        put_entry(key, false, bytes, out);
    } else if let Some((_, any)) = attribute::usual(bytes) {
        put_entry(key, is_secret, any, out);
    } else {
        put_entry(key, is_secret, &attribute::key_value(bytes).1, out);
    }
}

/// Writes bytes compressed, or as they are where that is shorter; how many were written.
fn press(raw: &[u8], out: &mut [u8], packing: Packing) -> usize {
    if packing == Packing::Lz4 {
        match lz4_flex::block::compress_into(raw, out) {
            Ok(len) if len < raw.len() => return len,
            _ => {}
        }
    }
    out[..raw.len()].copy_from_slice(raw);
    raw.len()
}
