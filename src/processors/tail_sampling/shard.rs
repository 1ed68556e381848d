//! One worker's share of the traces: spans in, decisions at their time, kept spans out.
//!
//! ```text
//! request -> read: runs of spans -> table: trace known?  -> arena, facts folded      tick -> votes -> kept: emitted
//!            (by any worker)     \-> remembered?  -> late: goes on, or is left out            \-> dropped: forgotten
//!                                 \-> new trace, deadline in a queue
//! ```
//!
//! The wait is constant, so deadlines are a queue, and so are traces by their first record: the
//! chunks before the first record of the oldest undecided trace are free.
//!
//! Memory stays within its limit: see `room`.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use smallvec::SmallVec;

use super::{
    arena::{Arena, Position},
    claims::Claims,
    context::{Contexts, Found},
    decide::Deciding,
    emit::Emitter,
    matcher::Matcher,
    questions::Questions,
    read::{Loan, Places, Reader, Reading, Run},
    remembered::{DroppedTraces, KeptTraces},
    settings::{Local, Settings},
    traces::Traces,
};
use crate::{
    component::{ByTrace, Output, Processor, Share},
    otlp::{
        Payload,
        payload::{Outcome, Permit, Reason, settle_all},
        share::TraceHash,
    },
    telemetry::decisions::Trigger,
};

/// Deadlines are rounded up to these.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// Runs of spans that are looked at together: their searches in the table overlap, and so do the
/// waits for memory.
const BATCH: usize = 64;

/// Bytes that are copied in a tick for the sake of chunks that a few traces hold.
const COMPACTED: usize = 4 << 20;

/// Traces that are decided together where no limit chooses among them.
const TOGETHER: usize = 1024;

/// Bytes that a resource or scope may have in any case.
const LEAST_WRAPPER: usize = 64 << 10;

/// Traces, and bytes of their spans, that are decided in one go; other work comes between two.
const STEP: usize = 1 << 16;
const STEP_BYTES: u64 = 4 << 20;

/// A trace whose time comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Due {
    number: u32,
    generation: u32,
    tick: u32,
}

/// The traces of one worker.
pub(super) struct Shard {
    pub(super) settings: Arc<Settings>,
    reader: Reader,
    pub(super) traces: Traces,
    pub(super) arena: Arena,
    pub(super) contexts: Contexts,
    pub(super) kept: KeptTraces,
    pub(super) dropped: DroppedTraces,
    pub(super) emitter: Emitter,
    pub(super) deciding: Deciding,
    pub(super) local: Local,
    /// By `decision_wait`.
    pub(super) waiting: VecDeque<Due>,
    /// By `decision_wait_after_root_received`.
    pub(super) rooted: VecDeque<Due>,
    /// By their oldest record: number and generation.
    pub(super) order: VecDeque<(u32, u32)>,
    /// Bytes of the spans of all that wait.
    pub(super) live: u64,
    /// Places of the request at hand.
    pub(super) payer: Option<Permit>,
    /// Receipts that wait for the outcome of the request at hand, and its number.
    pub(super) claims: Claims,
    pub(super) request: u64,
    /// Traces whose decision the request at hand made certain: number and generation.
    certain: Vec<(u32, u32)>,
    /// Pay for the tables, and for how many bytes of them.
    pub(super) tables_permits: SmallVec<[Permit; 2]>,
    pub(super) paid: usize,
    /// What the gauges have of this shard.
    shown: (u64, u64),
}

impl Shard {
    /// One of so many.
    pub(super) fn new(
        settings: Arc<Settings>,
        matcher: Matcher,
        questions: Questions,
        of: usize,
    ) -> Self {
        let share = |size: usize| size.div_ceil(of);
        let arena = Arena::new(settings.max_memory);
        let hash = TraceHash::of_process();
        Shard {
            reader: Reader {
                hash,
                matcher,
                questions,
                run_limit: arena.run_limit(),
                wrapper_limit: (settings.max_memory / 8).max(LEAST_WRAPPER),
                owed: Arc::clone(&settings.owed),
            },
            traces: Traces::new(),
            arena,
            contexts: Contexts::new(),
            kept: KeptTraces::new(share(settings.kept_remembered)),
            dropped: DroppedTraces::new(share(settings.dropped_remembered)),
            emitter: Emitter::default(),
            deciding: Deciding::new(&settings),
            local: Local::new(&settings),
            waiting: VecDeque::new(),
            rooted: VecDeque::new(),
            order: VecDeque::new(),
            live: 0,
            payer: None,
            claims: Claims::new(),
            request: 0,
            certain: Vec::new(),
            tables_permits: SmallVec::new(),
            paid: 0,
            shown: (0, 0),
            settings,
        }
    }

    /// The hash of a trace id by which everything here goes.
    pub(super) fn hash_of(&self, id: u128) -> u64 {
        self.reader.hash.hash(id)
    }

    /// Ticks since the epoch of the processor, rounded up.
    pub(super) fn tick_of(&self, at: Instant) -> u32 {
        let since = at.saturating_duration_since(self.settings.epoch);
        u32::try_from(since.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u32::MAX)
    }

    /// Bytes that are held.
    pub(super) fn memory(&self) -> usize {
        self.arena.capacity() + self.tables()
    }

    pub(super) fn tables(&self) -> usize {
        self.traces.memory()
            + self.arena.overhead()
            + self.contexts.memory()
            + self.kept.memory()
            + self.dropped.memory()
            + (self.waiting.capacity() + self.rooted.capacity()) * size_of::<Due>()
            + self.order.capacity() * size_of::<(u32, u32)>()
            + self.traces.len() * self.deciding.bytes_each()
    }

    // ---- spans in --------------------------------------------------------------------------

    /// What each worker has of a request. Traces are decided early where that cannot be paid for.
    fn read(
        &mut self,
        payload: &Payload,
        owners: usize,
        out: &mut Output,
    ) -> Result<Vec<Reading>, Reason> {
        let size = self.lent_size(payload);
        let loan =
            size.map(|size| (Loan::new(size, payload.permits.clone(), &self.settings.lent), size));
        let read = self.reader.read(payload, owners, loan.as_ref());
        if !matches!(read, Err(Reason::OverBudget)) || self.traces.len() == 0 {
            return read;
        }
        self.decide_oldest_chunks(out);
        self.reader.read(payload, owners, loan.as_ref())
    }

    /// Takes spans in.
    fn ingest(&mut self, mut payload: Payload, reading: Reading, out: &mut Output) {
        // From here on skep answers for the spans; only who wants to know what becomes of them
        // waits.
        payload.accept();
        self.claims = std::mem::take(&mut payload.receipts);
        self.request += 1;
        self.payer = payload.permits.first().cloned();
        let Reading { places, mut runs, loan, paid, .. } = reading;
        let segment_of = |run: &Run| places.all[run.place].segment;
        let bytes = runs.iter().flatten().map(|run| run.to - run.from).sum::<usize>().max(1);
        let is_one = |a: &Run, b: &Run| segment_of(a) == segment_of(b);
        for runs in runs.iter_mut().flat_map(|list| list.chunk_by_mut(is_one)) {
            let Some(body) = runs.first().map(|run| &payload.body[segment_of(run)]) else {
                continue;
            };
            if let Some((loan, size)) = &loan {
                let own = runs.iter().map(|run| run.to - run.from).sum::<usize>();
                let size = size * own / bytes;
                self.make_room_for(size, out);
                self.fund(Arena::records(runs.len()), out);
                self.arena.lend(body.clone(), size, runs.len(), Arc::clone(loan));
            }
            let mut spot = Spot { places: &places, body, last: None };
            for runs in runs.chunks_mut(BATCH) {
                self.store(runs, &mut spot, out);
            }
            self.arena.end_lending();
        }
        drop((runs, paid));
        self.decide_certain(out);
        // A request all of whose traces were decided while it was read can go.
        self.release(out);
        self.contexts.forget_unused();
        self.settle_tables();
        self.payer = None;
        // The chunks answer for what was taken in; the rest was left out.
        settle_all(self.claims.drain(..), Outcome::Filtered);
        payload.finish(Outcome::Filtered);
        self.show();
    }

    /// Looks at what the searches for these spans will look at: all of them wait for memory
    /// together, and not one after the other (70 ns a span with 500 000 traces).
    #[inline]
    fn touch(&self, runs: &[Run]) {
        let mut slots = [0; BATCH];
        for (slot, run) in slots.iter_mut().zip(runs) {
            *slot = self.traces.touch(upper(run.hash));
        }
        let touched = slots.iter().zip(runs).fold(0, |all, (slot, run)| {
            if upper(*slot) == upper(run.hash) {
                all ^ self.traces.touch_entry(*slot)
            } else {
                all ^ self.dropped.touch(run.hash) ^ self.kept.touch(run.hash)
            }
        });
        std::hint::black_box(touched);
    }

    /// Puts spans where they belong.
    fn store(&mut self, runs: &mut [Run], spot: &mut Spot<'_>, out: &mut Output) {
        self.keep_within_limit(out);
        self.touch(runs);
        let now = self.tick_of(out.now);
        for run in runs {
            if spot.last.is_none_or(|(place, ..)| place != run.place) {
                self.make_room_for_context(spot, run.place, out);
            }
            let mut known = self.traces.find(run.id, upper(run.hash));
            if self.make_room(known.is_none(), run.to - run.from, out) {
                // To make room the trace itself may have been decided.
                known = self.traces.find(run.id, upper(run.hash));
            }
            if known.is_none()
                && let Some(((), age)) = self.dropped.find(run.hash, now)
            {
                self.note_age(age);
                self.local.late_dropped += run.facts.spans;
                out.count_filtered(run.facts.spans);
                continue;
            }
            if known.is_none()
                && let Some((kept, age)) = self.kept.find(run.hash, now)
            {
                self.note_age(age);
                let scope = self.scope(spot, run.place);
                self.late(run.id, &spot.body[run.from..run.to], kept, scope.number);
                if self.emitter.is_full() {
                    self.flush(out);
                }
                continue;
            }
            let number = known.unwrap_or_else(|| self.begin(run, out));
            let scope = self.scope(spot, run.place);
            self.append(number, run, spot.body, scope, out);
        }
    }

    /// The context of the spans at hand. What was found before may have been given back meanwhile,
    /// and its number given to another.
    #[inline]
    fn scope(&mut self, spot: &mut Spot<'_>, place: usize) -> Found {
        match spot.last {
            Some((last, found, version)) if last == place && version == self.contexts.version() => {
                found
            }
            _ => self.find_scope(spot, place),
        }
    }

    #[inline(never)]
    fn find_scope(&mut self, spot: &mut Spot<'_>, number: usize) -> Found {
        let place = &spot.places.all[number];
        let resource = spot.places.resource(place);
        let resource = self.contexts.resource(resource, &mut self.reader.matcher);
        let found = self.contexts.scope(resource, spot.places.scope(place));
        spot.last = Some((number, found, self.contexts.version()));
        found
    }

    /// Notes that spans came so many ticks after the decision on their trace.
    fn note_age(&self, ticks: u32) {
        self.settings.stats.late_seconds.record((TICK * ticks).as_secs());
    }

    /// A trace begins.
    fn begin(&mut self, run: &Run, out: &mut Output) -> u32 {
        self.local.new_traces += 1;
        let due = self.tick_of(out.now + self.settings.decision_wait);
        let number = self.traces.insert(run.id, upper(run.hash), due);
        let generation = self.traces.entry(number).generation;
        self.waiting.push_back(Due { number, generation, tick: due });
        self.order.push_back((number, generation));
        number
    }

    #[inline]
    fn append(&mut self, number: u32, run: &mut Run, body: &[u8], scope: Found, out: &mut Output) {
        let place = run.from..run.to;
        if let Some(says) = run.says.take() {
            // Of several spans the first counts that says something.
            self.traces.says(number, says);
        }
        let trace = self.traces.entry_mut(number);
        let count = u32::try_from(run.facts.spans).unwrap_or(u32::MAX);
        let at = if self.arena.is_lending() {
            self.arena.note(trace.newest, scope.number, place, count)
        } else {
            self.arena.push(trace.newest, scope.number, &body[place], count)
        };
        self.arena.claim(self.request, &self.claims);
        self.contexts.hold(scope.number, at.chunk(), &mut self.arena);
        if trace.newest == Position::NONE {
            trace.oldest = at.chunk();
        }
        trace.newest = at;
        trace.facts.add(&run.facts);
        trace.facts.bits |= scope.bits;
        self.live += run.facts.bytes;
        let (bytes, generation) = (trace.facts.bytes, trace.generation);
        if let Some(root_at) = run.root_at {
            (trace.root, trace.root_at) = (at, root_at);
            if let Some(wait) = self.settings.after_root {
                let due = trace.due;
                let tick = self.tick_of(out.now + wait);
                if tick < due {
                    self.rooted.push_back(Due { number, generation, tick });
                }
            }
        }
        if self.settings.max_trace_bytes > 0 && bytes > self.settings.max_trace_bytes {
            self.decide(&[(number, Trigger::TooLarge)], out);
        } else if self.settings.is_span_ingest && self.is_certain(number) {
            self.certain.push((number, generation));
        }
    }

    // ---- decisions -------------------------------------------------------------------------

    pub(super) fn decide(&mut self, batch: &[(u32, Trigger)], out: &mut Output) {
        if batch.is_empty() {
            return;
        }
        for (number, _) in batch {
            self.live -= self.traces.entry(*number).facts.bytes;
        }
        // Limits choose among all that are decided at one moment; without them what is looked at
        // twice stays in the cache in between.
        let together = if self.deciding.has_limits { batch.len() } else { TOGETHER };
        // More than are remembered would only push each other out.
        let remembered = self.settings.decisions.as_ref().map_or(0, |decisions| decisions.size());
        let mut unseen = batch.len().saturating_sub(remembered);
        for part in batch.chunks(together) {
            self.decide_all(part, unseen.min(part.len()), out);
            unseen = unseen.saturating_sub(part.len());
        }
        self.release(out);
    }

    /// Decides what the request has made certain, all together: one payload goes on.
    fn decide_certain(&mut self, out: &mut Output) {
        let mut certain = std::mem::take(&mut self.certain);
        certain.sort_unstable();
        certain.dedup();
        let is_there = |(number, generation): &&(u32, u32)| {
            self.traces.current(*number, *generation).is_some()
        };
        let batch: Vec<_> =
            certain.iter().filter(is_there).map(|(n, _)| (*n, Trigger::Certain)).collect();
        self.decide(&batch, out);
        certain.clear();
        self.certain = certain;
    }

    /// Takes those whose time has come: of many the first, where no limit chooses among all of
    /// them.
    fn take_due(&mut self, tick: u32) -> Vec<(u32, Trigger)> {
        let mut batch: Vec<(u32, Trigger)> = Vec::new();
        let mut bytes = 0;
        let Shard { rooted, waiting, traces, deciding, .. } = self;
        for (queue, trigger) in [(rooted, Trigger::RootReceived), (waiting, Trigger::WaitElapsed)] {
            while let Some(due) = queue.front() {
                let is_there = traces.current(due.number, due.generation).is_some();
                if is_there && due.tick > tick {
                    break;
                }
                let is_enough = batch.len() >= STEP || bytes >= STEP_BYTES;
                if is_enough && !deciding.has_limits {
                    return batch;
                }
                // A trace that is in both queues is taken once.
                let is_new = is_there && traces.entry(due.number).due != u32::MAX;
                if is_new && due.tick <= tick {
                    let trace = traces.entry_mut(due.number);
                    trace.due = u32::MAX;
                    bytes += trace.facts.bytes;
                    batch.push((due.number, trigger));
                }
                queue.pop_front();
            }
        }
        batch
    }

    /// Adds what was counted to the shared counters.
    fn show(&mut self) {
        let now = (self.traces.len() as u64, self.memory() as u64);
        self.local.flush(&self.settings.stats, self.shown, now);
        self.shown = now;
    }
}

/// Where the spans at hand are.
pub(super) struct Spot<'a> {
    places: &'a Places,
    /// The segment.
    body: &'a [u8],
    /// The last place, its context, and the version of the contexts then.
    last: Option<(usize, Found, u64)>,
}

impl Spot<'_> {
    /// The resource and the scope of a place.
    pub(super) fn wrappers(&self, place: usize) -> (&[u8], &[u8]) {
        let place = &self.places.all[place];
        (self.places.resource(place), self.places.scope(place))
    }
}

impl Processor for Shard {
    fn process(&mut self, payload: Payload, out: &mut Output) {
        if self.settings.blocks && self.is_full(payload.len()) {
            return out.refuse(payload, Reason::Limited);
        }
        match self.read(&payload, 1, out).map(|mut readings| readings.pop()) {
            Ok(Some(reading)) => self.ingest(payload, reading, out),
            Ok(None) => payload.finish(Outcome::Filtered),
            Err(reason) => out.refuse(payload, reason),
        }
    }

    fn next_tick(&self) -> Option<Instant> {
        let due = [self.waiting.front(), self.rooted.front()].into_iter().flatten();
        let tick = due.map(|due| due.tick).min()?;
        Some(self.settings.epoch + TICK * tick)
    }

    fn tick(&mut self, out: &mut Output) {
        let since = out.now.saturating_duration_since(self.settings.epoch);
        let tick = u32::try_from(since.as_nanos() / TICK.as_nanos()).unwrap_or(u32::MAX);
        let began = Instant::now();
        let batch = self.take_due(tick);
        if !batch.is_empty() {
            self.decide(&batch, out);
            self.settings.stats.tick_millis.record(millis(began));
        }
        // A limited part each time, so that payloads do not wait long.
        let mut copied = 0;
        while copied < COMPACTED
            && let Some(bytes) = self.compact(out)
        {
            copied += bytes + COMPACTED / 1024;
        }
        if self.traces.len() == 0 {
            self.arena.release_spare();
        }
        self.settle_tables();
        self.show();
    }

    fn drain(&mut self, out: &mut Output) {
        // In parts, so that what is copied out of goes before more is copied.
        let part = if self.deciding.has_limits { usize::MAX } else { STEP };
        loop {
            let (mut batch, mut bytes) = (Vec::new(), 0);
            while let Some(number) = self.front()
                && batch.len() < part
                && (bytes < STEP_BYTES || self.deciding.has_limits)
            {
                bytes += self.traces.entry(number).facts.bytes;
                batch.push((number, Trigger::Shutdown));
                self.order.pop_front();
            }
            if batch.is_empty() {
                break;
            }
            self.decide(&batch, out);
        }
        self.show();
    }

    fn by_trace(&mut self) -> Option<&mut dyn ByTrace> {
        Some(self)
    }
}

impl ByTrace for Shard {
    fn share(&mut self, payload: Payload, owners: usize, out: &mut Output) -> Vec<Option<Share>> {
        if self.settings.blocks && self.is_full(payload.len() / owners) {
            out.refuse(payload, Reason::Limited);
            return Vec::new();
        }
        let readings = match self.read(&payload, owners, out) {
            Ok(readings) => readings,
            Err(reason) => {
                out.refuse(payload, reason);
                return Vec::new();
            }
        };
        let with_items = readings.iter().map(|reading| reading.items).filter(|items| *items > 0);
        let bodies: Vec<_> = with_items.map(|items| (payload.body.clone(), items)).collect();
        let mut parts = payload.divide(bodies).into_iter();
        let share = |reading: Reading| {
            let payload = (reading.items > 0).then(|| parts.next()).flatten()?;
            Some(Share { payload, reading: Box::new(reading) })
        };
        readings.into_iter().map(share).collect()
    }

    fn take(&mut self, share: Share, out: &mut Output) {
        match share.reading.downcast::<Reading>() {
            Ok(reading) => self.ingest(share.payload, *reading, out),
            // Read by another kind of processor: this one cannot read it.
            Err(_) => out.refuse(share.payload, Reason::Unaccounted),
        }
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[inline]
fn upper(hash: u64) -> u32 {
    (hash >> 32) as u32
}
