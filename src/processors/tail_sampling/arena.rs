//! Where spans wait: chunks that come one after the other and are given back in the same order.
//!
//! A chunk is the body of a request as it came in, lent for as long as a trace waits of which it
//! has spans; or, for small requests, a buffer into which spans are copied. Since traces wait for
//! the same time, nearly all of a request goes at once, and copying its spans (95 ns for 740 bytes
//! that go to memory outside of the caches) would buy nothing. What outlives its neighbours is
//! copied later, see `room`. Nothing in a chunk is ever freed alone: a chunk is given back when
//! every trace that has records in it has been decided (`shard` knows), so there are no reference
//! counts and no holes.
//!
//! A record is a run of spans of one trace, side by side, with the number of their
//! context and the place of the record before it in their trace. SDKs send the spans of a trace
//! together, so one search and one record do for several spans.
//!
//! The bytes of a chunk are paid for out of the budget of the process as long as it exists: those
//! of a request by what it paid at the door.

use std::{collections::VecDeque, sync::Arc};

use super::{claims::Group, read::Loan};
use crate::otlp::payload::{Permit, Receipt};
use bytes::Bytes;

/// Size of a chunk of copies, unless a record is larger or the arena very small.
const CHUNK: usize = 256 << 10;

/// A place in the arena: number of the chunk, then of the record in it, 32 bits each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position(u64);

impl Position {
    /// Before the first record of a trace.
    pub(super) const NONE: Position = Position(u64::MAX);

    pub(super) const fn chunk(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// A run of spans in the arena.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) before: Position,
    pub(super) context: u32,
    /// How many.
    pub(super) count: u32,
    /// Fields of the scope entry, tags and lengths included.
    pub(super) spans: &'a [u8],
}

/// A record as its chunk has it.
#[derive(Debug, Clone, Copy)]
struct Entry {
    before: Position,
    context: u32,
    count: u32,
    from: u32,
    len: u32,
}

#[derive(Debug)]
enum Storage {
    /// A request.
    Lent(Bytes, Arc<Loan>),
    /// Copies, and the permits that pay for them; empty if nothing is accounted for.
    Own(Vec<u8>, Option<Permit>),
}

#[derive(Debug)]
struct Chunk {
    storage: Storage,
    /// Bytes that it counts for: of a request its part of what was paid at the door.
    size: usize,
    records: Vec<Entry>,
    /// Contexts that were first used here since the chunk before.
    contexts: Vec<u32>,
    /// Receipts that wait for what is here.
    claims: Group,
    /// Number of the request whose claims came last.
    claimed_by: u64,
}

impl Chunk {
    fn new(storage: Storage, size: usize) -> Self {
        let (records, contexts, claims) = (Vec::new(), Vec::new(), Group::default());
        Chunk { storage, size, records, contexts, claims, claimed_by: 0 }
    }

    /// Bytes that may still be copied to it.
    fn room(&self) -> usize {
        match &self.storage {
            Storage::Lent(..) => 0,
            Storage::Own(bytes, _) => bytes.capacity() - bytes.len(),
        }
    }

    fn bytes(&self) -> &[u8] {
        match &self.storage {
            Storage::Lent(bytes, _) => bytes,
            Storage::Own(bytes, _) => bytes,
        }
    }

    /// Bytes beside those of spans.
    fn overhead(&self) -> usize {
        size_of::<Chunk>() + self.records.capacity() * size_of::<Entry>()
    }
}

/// The chunks.
#[derive(Debug)]
pub(super) struct Arena {
    chunks: VecDeque<Chunk>,
    /// Number of the first one.
    first: u32,
    /// Emptied ones for the next time: fresh memory costs a page fault for each 4 KiB, which is
    /// more than copying what goes into it.
    spare: Vec<Chunk>,
    chunk_size: usize,
    /// Bytes of all chunks.
    capacity: usize,
    /// Bytes beside them.
    overhead: usize,
    /// Whether the newest chunk is a request at hand, which stays.
    is_lending: bool,
}

impl Arena {
    pub(super) fn new(limit: usize) -> Self {
        Arena {
            chunks: VecDeque::new(),
            first: 0,
            spare: Vec::new(),
            chunk_size: (limit / 16).clamp(4 << 10, CHUNK),
            capacity: 0,
            overhead: 0,
            is_lending: false,
        }
    }

    /// Bytes of all chunks, whether they are in use or not.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes that it takes beside them.
    pub(super) fn overhead(&self) -> usize {
        self.overhead
    }

    /// Bytes of the notes on so many records of a request.
    pub(super) const fn records(count: usize) -> usize {
        count * size_of::<Entry>()
    }

    /// How large a chunk of copies is.
    pub(super) fn chunk_size(&self) -> usize {
        self.chunk_size
    }

    /// From how many bytes on a request is kept and not copied.
    pub(super) fn lent_from(&self) -> usize {
        self.chunk_size / 16
    }

    /// Most bytes of a record of several spans: what is left empty at the end of a chunk is little
    /// then.
    pub(super) fn run_limit(&self) -> usize {
        self.chunk_size / 64
    }

    // ---- requests --------------------------------------------------------------------------

    /// Takes the body of a request with so many records, until [`Arena::end_lending`] as one at
    /// hand.
    pub(super) fn lend(&mut self, body: Bytes, size: usize, records: usize, loan: Arc<Loan>) {
        self.capacity += size;
        let mut chunk = Chunk::new(Storage::Lent(body, loan), size);
        chunk.records.reserve_exact(records);
        self.add(chunk);
        self.is_lending = true;
    }

    /// Nothing more of the request at hand comes. Where nothing came at all it goes.
    pub(super) fn end_lending(&mut self) {
        if !std::mem::take(&mut self.is_lending) {
            return;
        }
        if let Some(chunk) = self.chunks.pop_back_if(|chunk| chunk.records.is_empty()) {
            self.capacity -= chunk.size;
            self.overhead -= chunk.overhead();
        }
    }

    pub(super) fn is_lending(&self) -> bool {
        self.is_lending
    }

    // ---- copies ----------------------------------------------------------------------------

    /// Bytes that a copy of `len` bytes needs a new chunk for; 0: there is room.
    #[inline]
    pub(super) fn missing(&self, len: usize) -> usize {
        let has_room = |chunk: &Chunk| chunk.room() >= len;
        let is_there = self.chunks.back().is_some_and(has_room);
        if is_there || self.spare.last().is_some_and(has_room) {
            return 0;
        }
        len.max(self.chunk_size)
    }

    /// Adds a chunk of so many bytes, which `permit` pays for.
    pub(super) fn grow(&mut self, bytes: usize, permit: Option<Permit>) {
        let bytes = Vec::with_capacity(bytes);
        let size = bytes.capacity();
        self.capacity += size;
        self.add(Chunk::new(Storage::Own(bytes, permit), size));
    }

    fn add(&mut self, chunk: Chunk) {
        self.close();
        self.overhead += chunk.overhead();
        self.chunks.push_back(chunk);
    }

    /// Gives back what is left empty in the newest chunk, where that is much: nothing more is
    /// copied to it.
    fn close(&mut self) {
        let Some(chunk) = self.chunks.back_mut() else { return };
        let Storage::Own(bytes, permit) = &mut chunk.storage else { return };
        if bytes.len() >= bytes.capacity() / 4 * 3 {
            return;
        }
        bytes.shrink_to_fit();
        self.capacity -= chunk.size - bytes.capacity();
        chunk.size = bytes.capacity();
        *permit = permit.as_ref().map(|permit| permit.more(chunk.size as u64));
    }

    /// Copies a run of `count` spans. There has to be room, see [`Arena::missing`].
    #[inline]
    pub(super) fn push(
        &mut self,
        before: Position,
        context: u32,
        spans: &[u8],
        count: u32,
    ) -> Position {
        if self.chunks.back().is_none_or(|chunk| chunk.room() < spans.len())
            && let Some(spare) = self.spare.pop()
        {
            self.overhead -= spare.overhead();
            self.add(spare);
        }
        let Some(chunk) = self.chunks.back_mut() else { return Position::NONE };
        let Storage::Own(bytes, _) = &mut chunk.storage else { return Position::NONE };
        let from = bytes.len();
        bytes.extend_from_slice(spans);
        self.note(before, context, from..from + spans.len(), count)
    }

    /// Notes a run of `count` spans in the newest chunk.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a body is far below 4 GiB")]
    pub(super) fn note(
        &mut self,
        before: Position,
        context: u32,
        place: std::ops::Range<usize>,
        count: u32,
    ) -> Position {
        let number = self.first.wrapping_add(self.chunks.len() as u32 - 1);
        let Some(chunk) = self.chunks.back_mut() else { return Position::NONE };
        let at = Position(u64::from(number) << 32 | chunk.records.len() as u64);
        let had = chunk.records.capacity();
        let (from, len) = (place.start as u32, place.len() as u32);
        chunk.records.push(Entry { before, context, count, from, len });
        self.overhead += (chunk.records.capacity() - had) * size_of::<Entry>();
        at
    }

    // ---- receipts -------------------------------------------------------------------------

    /// Notes that those of a request wait for what is in the newest chunk.
    #[inline]
    pub(super) fn claim(&mut self, request: u64, claims: &[Receipt]) {
        if claims.is_empty() {
            return;
        }
        if let Some(chunk) = self.chunks.back_mut().filter(|chunk| chunk.claimed_by != request) {
            chunk.claimed_by = request;
            chunk.claims.join(claims.iter().cloned());
        }
    }

    /// Those who wait for what was in the chunk at `from` wait for the newest one, too. What was
    /// copied within one chunk is waited for already; a group among its own members would never
    /// end.
    pub(super) fn inherit(&mut self, from: Position) {
        if self.age(from.chunk()) as usize + 1 == self.chunks.len() {
            return;
        }
        let Some(claims) = self.claims(from.chunk()).filter(|claims| !claims.is_empty()) else {
            return;
        };
        let claims: Vec<Receipt> = claims.receipts().collect();
        if let Some(chunk) = self.chunks.back_mut() {
            chunk.claims.join(claims.into_iter());
        }
    }

    /// Receipts that wait for what is in a chunk.
    pub(super) fn claims(&self, chunk: u32) -> Option<&Group> {
        self.chunks.get(chunk.wrapping_sub(self.first) as usize).map(|chunk| &chunk.claims)
    }

    // ---- what is there -----------------------------------------------------------------------

    /// Notes that a context is used in the newest chunk for the first time.
    pub(super) fn uses(&mut self, context: u32) {
        if let Some(chunk) = self.chunks.back_mut() {
            chunk.contexts.push(context);
        }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the number of a record has 32 bits")]
    fn find(&self, at: Position) -> Option<(&Chunk, &Entry)> {
        let chunk = self.chunks.get(at.chunk().wrapping_sub(self.first) as usize)?;
        Some((chunk, chunk.records.get(at.0 as u32 as usize)?))
    }

    /// The record at a place.
    #[inline]
    pub(super) fn record(&self, at: Position) -> Option<Record<'_>> {
        let (chunk, entry) = self.find(at)?;
        let spans = chunk.bytes().get(entry.from as usize..)?.get(..entry.len as usize)?;
        Some(Record { before: entry.before, context: entry.context, count: entry.count, spans })
    }

    /// Looks at what a record says of itself, to have that in the cache later.
    #[inline]
    pub(super) fn touch(&self, at: Position) -> u32 {
        self.find(at).map_or(0, |(_, entry)| entry.context)
    }

    /// Looks at the first byte of its spans, likewise.
    #[inline]
    pub(super) fn touch_spans(&self, at: Position) -> u8 {
        self.record(at).and_then(|record| record.spans.first().copied()).unwrap_or(0)
    }

    /// Gives chunks back up to, and without, the one of this number; all of them where it is none.
    /// Shows the contexts of each.
    pub(super) fn release(&mut self, until: Option<u32>, mut forget: impl FnMut(u32, &[u32])) {
        while let Some(chunk) = self.chunks.front() {
            if until == Some(self.first) || self.is_lending && self.chunks.len() == 1 {
                return;
            }
            forget(self.first, &chunk.contexts);
            let Some(mut chunk) = self.chunks.pop_front() else { return };
            chunk.claims.release();
            self.first = self.first.wrapping_add(1);
            self.recycle(chunk);
        }
    }

    /// Keeps an eighth of what is in use for the next time.
    fn recycle(&mut self, mut chunk: Chunk) {
        if chunk.size == self.chunk_size
            && (self.spare.len() + 1) * self.chunk_size <= self.capacity / 8
            && let Storage::Own(bytes, _) = &mut chunk.storage
        {
            bytes.clear();
            chunk.records.clear();
            chunk.contexts.clear();
            chunk.claimed_by = 0;
            self.spare.push(chunk);
        } else {
            self.capacity -= chunk.size;
            self.overhead -= chunk.overhead();
        }
    }

    /// Gives back what is kept for the next time.
    pub(super) fn release_spare(&mut self) {
        for spare in self.spare.drain(..) {
            self.capacity -= spare.size;
            self.overhead -= spare.overhead();
        }
    }

    /// How many of the oldest chunks have so many bytes together; all of them where there are
    /// fewer.
    pub(super) fn chunks_with(&self, bytes: usize) -> u32 {
        let mut all = 0;
        let is_less = |chunk: &&Chunk| {
            let is_less = all < bytes;
            all += chunk.size;
            is_less
        };
        u32::try_from(self.chunks.iter().take_while(is_less).count()).unwrap_or(u32::MAX)
    }

    /// How many chunks are older than the one of this number.
    pub(super) fn age(&self, chunk: u32) -> u32 {
        chunk.wrapping_sub(self.first)
    }

    /// Any permit, to draw on the same account.
    pub(super) fn permit(&self) -> Option<&Permit> {
        match &self.chunks.back().or(self.spare.last())?.storage {
            Storage::Lent(_, loan) => loan.permit(),
            Storage::Own(_, permit) => permit.as_ref(),
        }
    }
}
