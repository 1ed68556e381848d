//! Where spans wait: chunks that are filled one after the other and given back in the same order.
//!
//! A record is a span as it came in, copied once, with the number of its context and the place of the
//! record before it in its trace. Nothing in a chunk is ever freed alone: a chunk is given back when
//! every trace that has records in it has been decided (`shard` knows), so there are no reference
//! counts and no holes, and the network buffer that brought a span is let go at once. Copying a span
//! of 740 bytes takes 30 to 60 ns; keeping a slice of the request alive would keep all of it, for a
//! span of 40 bytes 4 MiB.
//!
//! The bytes of a chunk are paid for out of the budget of the process as long as it exists.

use std::collections::VecDeque;

use crate::otlp::payload::Permit;

/// Size of a chunk, unless a record is larger or the arena very small.
pub(super) const CHUNK: usize = 1 << 20;

/// Bytes before a span: place of the record before, context, length.
pub(super) const HEADER: usize = 16;

/// A place in the arena: number of the chunk, then offset in it, 32 bits each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position(u64);

impl Position {
    /// Before the first record of a trace.
    pub(super) const NONE: Position = Position(u64::MAX);

    pub(super) const fn chunk(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// A span in the arena.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) before: Position,
    pub(super) context: u32,
    /// The field of the scope entry, tag and length included.
    pub(super) field: &'a [u8],
}

#[derive(Debug)]
struct Chunk {
    bytes: Vec<u8>,
    /// None where nobody keeps accounts.
    permit: Option<Permit>,
    /// Contexts that were first used here since the chunk before.
    contexts: Vec<u32>,
}

/// The chunks.
#[derive(Debug)]
pub(super) struct Arena {
    chunks: VecDeque<Chunk>,
    /// Number of the first one.
    first: u32,
    /// Emptied ones for the next time: fresh memory costs a page fault for each 4 KiB, which is more
    /// than copying what goes into it.
    spare: Vec<Chunk>,
    chunk_size: usize,
    /// Bytes of all chunks.
    capacity: usize,
}

impl Arena {
    pub(super) fn new(limit: usize) -> Self {
        let chunk_size = (limit / 16).clamp(4 << 10, CHUNK);
        Arena { chunks: VecDeque::new(), first: 0, spare: Vec::new(), chunk_size, capacity: 0 }
    }

    /// Bytes that it has, whether they are in use or not.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes that a record of a span of `len` bytes needs a new chunk for; 0: it has room.
    #[inline]
    pub(super) fn missing(&self, len: usize) -> usize {
        let needed = HEADER + len;
        let has_room = |chunk: &Chunk| chunk.bytes.capacity() - chunk.bytes.len() >= needed;
        if self.chunks.back().is_some_and(has_room) {
            return 0;
        }
        if self.spare.last().is_some_and(has_room) {
            return 0;
        }
        needed.max(self.chunk_size)
    }

    /// Adds a chunk of so many bytes, which `permit` pays for.
    pub(super) fn grow(&mut self, bytes: usize, permit: Option<Permit>) {
        let bytes = Vec::with_capacity(bytes);
        self.capacity += bytes.capacity();
        self.chunks.push_back(Chunk { bytes, permit, contexts: Vec::new() });
    }

    /// Copies a span. There has to be room, see [`Arena::missing`].
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a body is far below 4 GiB")]
    pub(super) fn push(&mut self, before: Position, context: u32, field: &[u8]) -> Position {
        let needed = HEADER + field.len();
        let is_full = |chunk: &Chunk| chunk.bytes.capacity() - chunk.bytes.len() < needed;
        if self.chunks.back().is_none_or(is_full)
            && let Some(spare) = self.spare.pop()
        {
            self.chunks.push_back(spare);
        }
        let number = self.first.wrapping_add(self.chunks.len() as u32 - 1);
        let Some(chunk) = self.chunks.back_mut() else { return Position::NONE };
        let offset = chunk.bytes.len();
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(&before.0.to_le_bytes());
        header[8..12].copy_from_slice(&context.to_le_bytes());
        header[12..].copy_from_slice(&(field.len() as u32).to_le_bytes());
        chunk.bytes.extend_from_slice(&header);
        chunk.bytes.extend_from_slice(field);
        Position(u64::from(number) << 32 | offset as u64)
    }

    /// Notes that a context is used in the newest chunk for the first time.
    pub(super) fn uses(&mut self, context: u32) {
        if let Some(chunk) = self.chunks.back_mut() {
            chunk.contexts.push(context);
        }
    }

    /// The record at a place.
    #[inline]
    pub(super) fn record(&self, at: Position) -> Option<Record<'_>> {
        let chunk = self.chunks.get(at.chunk().wrapping_sub(self.first) as usize)?;
        #[expect(clippy::cast_possible_truncation, reason = "an offset has 32 bits")]
        let (header, rest) =
            chunk.bytes.get(at.0 as u32 as usize..)?.split_first_chunk::<HEADER>()?;
        let before = Position(u64::from_le_bytes(*header.first_chunk()?));
        let context = u32::from_le_bytes(*header[8..].first_chunk()?);
        let len = u32::from_le_bytes(*header[12..].first_chunk()?) as usize;
        Some(Record { before, context, field: rest.get(..len)? })
    }

    /// Looks at where a record begins, to have that in the cache later.
    #[inline]
    pub(super) fn touch(&self, at: Position) -> u8 {
        let chunk = self.chunks.get(at.chunk().wrapping_sub(self.first) as usize);
        #[expect(clippy::cast_possible_truncation, reason = "an offset has 32 bits")]
        chunk.and_then(|chunk| chunk.bytes.get(at.0 as u32 as usize)).copied().unwrap_or(0)
    }

    /// Gives chunks back up to, and without, the one that `until` lies in; all of them where it is
    /// none. Shows the contexts of each.
    pub(super) fn release(&mut self, until: Option<Position>, mut forget: impl FnMut(u32, &[u32])) {
        while let Some(chunk) = self.chunks.front() {
            if until.is_some_and(|until| until.chunk() == self.first) {
                return;
            }
            forget(self.first, &chunk.contexts);
            let Some(chunk) = self.chunks.pop_front() else { return };
            self.first = self.first.wrapping_add(1);
            self.recycle(chunk);
        }
    }

    /// Keeps an eighth of the chunks for the next time; others go.
    fn recycle(&mut self, mut chunk: Chunk) {
        let is_usual = chunk.bytes.capacity() == self.chunk_size;
        if is_usual && self.spare.len() <= self.chunks.len() / 8 {
            chunk.bytes.clear();
            chunk.contexts.clear();
            self.spare.push(chunk);
        } else {
            self.capacity -= chunk.bytes.capacity();
        }
    }

    /// Gives back chunks that are kept for the next time, but so many.
    pub(super) fn release_spare(&mut self, but: usize) {
        for spare in self.spare.drain(but.min(self.spare.len())..) {
            self.capacity -= spare.bytes.capacity();
        }
    }

    /// How many chunks hold records.
    pub(super) fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// Any permit, to draw on the same account.
    pub(super) fn permit(&self) -> Option<&Permit> {
        self.chunks.back().or(self.spare.last()).and_then(|chunk| chunk.permit.as_ref())
    }
}
