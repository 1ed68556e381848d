//! Room for one more span. What the arena, the tables and the memory of decisions take together
//! stays below the limit, and chunks and tables are paid for out of the budget of the process. At
//! the limit, or where the budget has nothing left, the oldest traces are decided early, with what
//! has come of them.
//!
//! Chunks are given back in order. A trace that outlives its neighbours, since its root came late,
//! would hold them up: it is copied to the end when more than half of the arena waits for such
//! traces, so the arena is never more than twice what is alive.

use std::sync::atomic::Ordering;

use super::{
    arena::Position,
    shard::{Due, Shard, Spot},
};
use crate::{
    component::Output,
    otlp::{Payload, payload::Permit},
    telemetry::decisions::Trigger,
};

/// Bytes by which tables grow or shrink before that is paid for.
const TABLE_STEP: usize = 64 << 10;

/// Bytes of chunks whose traces are decided at once where memory is needed.
const EARLY_BYTES: usize = 1 << 20;

/// The part of the traces that is decided at once when a limit is reached.
const EARLY_PART: usize = 64;

impl Shard {
    /// Makes sure that there is room for `len` bytes of spans, and for their trace if it is new.
    /// True: traces were decided for it.
    #[inline]
    pub(super) fn make_room(&mut self, is_new: bool, len: usize, out: &mut Output) -> bool {
        let limit = self.settings.num_traces;
        let is_crowded = is_new && limit > 0 && self.traces.len() >= limit && !self.settings.blocks;
        if is_crowded {
            self.decide_oldest((limit / EARLY_PART).max(1), Trigger::TooManyTraces, out);
        } else if is_new && self.tables_grow() {
            while self.tables_grow() && self.traces.len() > 0 && self.is_at_limit() {
                self.decide_oldest_chunks(out);
            }
            if self.tables_grow() {
                self.fund(self.growth(), out);
            }
        }
        if self.arena.is_lending() || self.arena.missing(len) == 0 {
            return is_crowded;
        }
        self.grow(len, out);
        true
    }

    /// What a request counts for if it is kept as it is; `None` if copying is better: small ones,
    /// such as would take much of the memory at once, and such as keep alive, and paid for, much
    /// more than their bytes.
    pub(super) fn lent_size(&self, payload: &Payload) -> Option<usize> {
        let len = payload.len();
        let paid: u64 = payload.permits.iter().map(Permit::bytes).sum();
        let size = usize::try_from(paid).unwrap_or(usize::MAX).max(len);
        let is_worth_it = payload.body.iter().all(|one| one.len() >= self.arena.lent_from());
        let is_small_part = size <= self.settings.max_memory / 4;
        (is_worth_it && is_small_part && size <= len / 2 * 3).then_some(size)
    }

    /// Makes room for a request, or a part of one, of so many bytes that is kept as it is.
    pub(super) fn make_room_for(&mut self, size: usize, out: &mut Output) {
        loop {
            // The request is paid for; the next one may have to wait for what is held here.
            let fits =
                self.reserved() + size <= self.settings.max_memory && self.draw(size).is_ok();
            if fits || self.arena.capacity() == 0 {
                break;
            }
            self.arena.release_spare();
            if self.compact(out).is_some() {
                continue;
            }
            if self.traces.len() == 0 {
                self.release(out);
                break;
            }
            self.decide_oldest_chunks(out);
        }
        // Requests that another worker holds, too, are there until both let them go. All workers
        // help where that is too much.
        let lent = self.settings.lent.load(Ordering::Relaxed);
        if lent > self.settings.max_lent {
            self.decide_oldest_chunks(out);
        }
    }

    /// Whether one more trace makes a table larger.
    fn tables_grow(&self) -> bool {
        self.traces.grows()
            || self.waiting.len() == self.waiting.capacity()
            || self.order.len() == self.order.capacity()
            || self.settings.after_root.is_some() && self.rooted.len() == self.rooted.capacity()
    }

    fn is_at_limit(&self) -> bool {
        let queues = self.waiting.capacity() * (size_of::<Due>() + size_of::<(u32, u32)>());
        self.reserved() + self.traces.growth() + queues > self.settings.max_memory
    }

    /// Bytes that the next trace takes, with those of queues that are copied as they grow.
    fn growth(&self) -> usize {
        let dues = [&self.waiting, &self.rooted].into_iter().filter(|q| q.len() == q.capacity());
        let dues = dues.map(|queue| queue.capacity().max(4) * size_of::<Due>()).sum::<usize>();
        let is_full = self.order.len() == self.order.capacity();
        let order =
            if is_full { self.order.capacity().max(4) * size_of::<(u32, u32)>() } else { 0 };
        let traces = if self.traces.grows() { self.traces.growth() } else { 0 };
        traces + 2 * (dues + order)
    }

    /// Pays for so many bytes of tables before they are there. The oldest traces are decided where
    /// the account has not so many.
    pub(super) fn fund(&mut self, bytes: usize, out: &mut Output) {
        loop {
            let missing = (self.tables() + bytes).saturating_sub(self.paid);
            let permit = match self.draw(missing) {
                _ if missing == 0 => return,
                Ok(permit) => permit,
                Err(OutOfBytes) if self.traces.len() > 0 => {
                    self.decide_oldest_chunks(out);
                    self.arena.release_spare();
                    continue;
                }
                // A span has to have a place; what it overdraws is paid back before others pay.
                Err(OutOfBytes) => self.account().map(|account| account.more(missing as u64)),
            };
            self.tables_permits.extend(permit);
            self.paid += missing;
            return;
        }
    }

    /// Makes sure that there is room for the resources and scopes of the spans at hand.
    #[inline]
    pub(super) fn make_room_for_context(
        &mut self,
        spot: &Spot<'_>,
        place: usize,
        out: &mut Output,
    ) {
        let (resource, scope) = spot.wrappers(place);
        let growth = self.contexts.growth(resource, scope);
        if growth > 0 {
            self.fund(growth, out);
        }
    }

    /// Bytes that are held, or will be when the memory of decisions is full.
    fn reserved(&self) -> usize {
        let remembered = self.kept.memory() + self.dropped.memory();
        self.memory() - remembered + self.settings.remembered_bytes.max(remembered)
    }

    /// Contexts grow without a chunk: a resource may be as large as a request.
    #[inline]
    pub(super) fn keep_within_limit(&mut self, out: &mut Output) {
        while self.reserved() > self.settings.max_memory && self.traces.len() > 0 {
            self.decide_oldest_chunks(out);
            self.arena.release_spare();
        }
        self.settle_tables();
    }

    #[cold]
    fn grow(&mut self, len: usize, out: &mut Output) {
        loop {
            // What a compaction took for its time is given back first.
            if self.reserved() > self.settings.max_memory {
                self.arena.release_spare();
            }
            let missing = self.arena.missing(len);
            if missing == 0 {
                return;
            }
            if self.reserved() + missing <= self.settings.max_memory
                && let Ok(permit) = self.draw(missing)
            {
                return self.arena.grow(missing, permit);
            }
            if self.compact(out).is_some() {
                continue;
            }
            if self.traces.len() == 0 {
                self.release(out);
                if self.arena.missing(len) > 0 {
                    // A span has to have a place; what it overdraws is paid back before others pay.
                    let permit = self.account().map(|permit| permit.more(missing as u64));
                    self.arena.grow(missing, permit);
                }
                return;
            }
            self.decide_oldest_chunks(out);
        }
    }

    /// The account that pays: the one that the request at hand, or what is held, was paid from.
    pub(super) fn account(&self) -> Option<&Permit> {
        let held = self.arena.permit().or(self.tables_permits.first());
        self.payer.as_ref().or(held)
    }

    /// Bytes from the account, if it has so many. Nothing if there is no account.
    fn draw(&self, bytes: usize) -> Result<Option<Permit>, OutOfBytes> {
        match self.account() {
            None => Ok(None),
            Some(account) => account.try_more(bytes as u64).map(Some).ok_or(OutOfBytes),
        }
    }

    /// Pays for the tables as they are now, in steps. They exist already, so the account may be
    /// overdrawn by a step.
    pub(super) fn settle_tables(&mut self) {
        let now = self.tables();
        if now.abs_diff(self.paid) < TABLE_STEP {
            return;
        }
        let permit = self.account().map(|account| account.more(now as u64));
        self.tables_permits = permit.into_iter().collect();
        self.paid = now;
    }

    /// Gives back chunks of which no trace waits.
    pub(super) fn release(&mut self, out: &mut Output) {
        // What is on its way out may be in chunks that go.
        self.flush(out);
        while let Some((number, generation)) = self.order.front() {
            if let Some(trace) = self.traces.current(*number, *generation) {
                let oldest = trace.oldest;
                let contexts = &mut self.contexts;
                self.arena.release(Some(oldest), |chunk, used| contexts.forget(chunk, used));
                return;
            }
            self.order.pop_front();
        }
        let contexts = &mut self.contexts;
        self.arena.release(None, |chunk, used| contexts.forget(chunk, used));
    }

    /// Copies the traces that hold the oldest chunk to the end, where that frees more than it
    /// costs. Gives the bytes that were copied.
    pub(super) fn compact(&mut self, out: &mut Output) -> Option<usize> {
        let in_use = self.arena.capacity();
        if self.live * 2 > in_use as u64 || in_use < 4 * self.arena.chunk_size() {
            return None;
        }
        let first = self.front().map(|number| self.traces.entry(number).oldest)?;
        let mut copied = 0;
        while let Some(number) = self.front() {
            if self.traces.entry(number).oldest != first {
                break;
            }
            copied += self.relocate(number);
        }
        self.release(out);
        Some(copied)
    }

    /// The trace with the oldest record.
    pub(super) fn front(&mut self) -> Option<u32> {
        while let Some((number, generation)) = self.order.front() {
            if self.traces.current(*number, *generation).is_some() {
                return Some(*number);
            }
            self.order.pop_front();
        }
        None
    }

    /// Copies the spans of a trace to the end of the arena. Gives their bytes.
    fn relocate(&mut self, number: u32) -> usize {
        let trace = self.traces.entry(number);
        let (generation, root) = (trace.generation, trace.root);
        let mut copied = 0;
        let mut records = Vec::new();
        let mut at = trace.newest;
        while let Some(record) = self.arena.record(at) {
            records.push(at);
            at = record.before;
        }
        let mut spans = Vec::new();
        let mut before = Position::NONE;
        let mut inherited = (before.chunk(), before.chunk());
        let mut oldest = None;
        let mut new_root = Position::NONE;
        for old in records.into_iter().rev() {
            let Some(record) = self.arena.record(old) else { continue };
            let (context, count) = (record.context, record.count);
            spans.clear();
            spans.extend_from_slice(record.spans);
            if self.arena.missing(spans.len()) > 0 {
                // A new chunk for now; at least one is given back for it when this is over.
                let missing = self.arena.missing(spans.len());
                let permit = self.arena.permit().map(|permit| permit.more(missing as u64));
                self.arena.grow(missing, permit);
            }
            copied += spans.len();
            before = self.arena.push(before, context, &spans, count);
            if inherited != (old.chunk(), before.chunk()) {
                inherited = (old.chunk(), before.chunk());
                self.arena.inherit(old);
            }
            self.contexts.hold(context, before.chunk(), &mut self.arena);
            oldest.get_or_insert(before.chunk());
            if old == root {
                new_root = before;
            }
        }
        let trace = self.traces.entry_mut(number);
        (trace.newest, trace.root) = (before, new_root);
        trace.oldest = oldest.unwrap_or_default();
        self.order.pop_front();
        self.order.push_back((number, generation));
        copied
    }

    /// Decides the traces that hold the oldest chunks: so many that what is kept of them is worth a
    /// request, since each decision hands on its own.
    pub(super) fn decide_oldest_chunks(&mut self, out: &mut Output) {
        let chunks = self.arena.chunks_with((self.settings.max_memory / 16).min(EARLY_BYTES));
        let mut batch = Vec::new();
        while let Some(number) = self.front() {
            let age = self.arena.age(self.traces.entry(number).oldest);
            if age >= chunks && !batch.is_empty() {
                break;
            }
            batch.push((number, Trigger::OutOfMemory));
            self.order.pop_front();
        }
        self.decide(&batch, out);
    }

    fn decide_oldest(&mut self, count: usize, trigger: Trigger, out: &mut Output) {
        let mut batch = Vec::with_capacity(count);
        while batch.len() < count
            && let Some(number) = self.front()
        {
            batch.push((number, trigger));
            self.order.pop_front();
        }
        self.decide(&batch, out);
    }

    /// Whether a payload of so many bytes would lead to early decisions.
    pub(super) fn is_full(&self, bytes: usize) -> bool {
        let many = self.settings.num_traces;
        let is_crowded = many > 0 && self.traces.len() >= many;
        let needed = self.reserved() + bytes + bytes / 8;
        self.traces.len() > 0 && (is_crowded || needed > self.settings.max_memory)
    }
}

/// The account is empty.
struct OutOfBytes;
