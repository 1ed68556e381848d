//! One worker's share of the traces: spans in, decisions at their time, kept spans out.
//!
//! ```text
//! span -> digest, bits -> table: trace known?  -> arena, facts folded        tick -> votes -> kept: emitted
//!                             \-> remembered?  -> late: goes on, or is left out        \-> dropped: forgotten
//!                              \-> new trace, deadline in a queue
//! ```
//!
//! The wait is constant, so deadlines are a queue, and so are traces by their first record: the chunks
//! before the first record of the oldest undecided trace are free.
//!
//! Memory stays within its limit: see `room`.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    arena::{Arena, HEADER, Position},
    context::{Contexts, Found},
    decide::Deciding,
    emit::Emitter,
    matcher::Matcher,
    remembered::{DroppedTraces, KeptTraces},
    settings::{Local, Settings},
    traces::{Says, Traces},
};
use crate::{
    component::{Output, Processor},
    otlp::{
        Payload, digest,
        payload::{Permit, Reason},
        share::{TraceHash, id_number},
        splice::messages,
    },
    processors::sampling::TraceState,
    telemetry::decisions::Trigger,
};

/// Deadlines are rounded up to these.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// Spans that are looked at together: their searches in the table overlap, and so do the waits for
/// memory.
const BATCH: usize = 64;

/// Traces that are decided together where no limit chooses among them.
const TOGETHER: usize = 1024;

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
    hash: TraceHash,
    matcher: Matcher,
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
    /// Bytes of the records of all that wait.
    pub(super) live: u64,
    /// Of the request at hand.
    pub(super) payer: Option<Permit>,
    /// Traces whose decision the request at hand made certain: number and generation.
    certain: Vec<(u32, u32)>,
    /// Pays for the tables, and for how many bytes of them.
    pub(super) tables_permit: Option<Permit>,
    pub(super) paid: usize,
    /// What the gauges have of this shard.
    shown: (u64, u64),
}

/// A span of the request at hand.
struct Arrived<'a> {
    id: u128,
    hash: u64,
    bits: u128,
    start: u64,
    end: u64,
    is_root: bool,
    says: Option<Box<Says>>,
    /// Tag included.
    field: &'a [u8],
}

impl Shard {
    /// One of so many.
    pub(super) fn new(settings: Arc<Settings>, matcher: Matcher, of: usize) -> Self {
        let share = |size: usize| size.div_ceil(of);
        Shard {
            hash: TraceHash::of_process(),
            matcher,
            traces: Traces::new(),
            arena: Arena::new(settings.max_memory),
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
            certain: Vec::new(),
            tables_permit: None,
            paid: 0,
            shown: (0, 0),
            settings,
        }
    }

    /// The hash of a trace id by which everything here goes.
    pub(super) fn hash_of(&self, id: u128) -> u64 {
        self.hash.hash(id)
    }

    /// Ticks since the epoch of the processor, rounded up.
    fn tick_of(&self, at: Instant) -> u32 {
        let since = at.saturating_duration_since(self.settings.epoch);
        u32::try_from(since.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u32::MAX)
    }

    /// Bytes that are held.
    pub(super) fn memory(&self) -> usize {
        self.arena.capacity() + self.tables()
    }

    pub(super) fn tables(&self) -> usize {
        self.traces.memory()
            + self.contexts.memory()
            + self.kept.memory()
            + self.dropped.memory()
            + (self.waiting.capacity() + self.rooted.capacity()) * size_of::<Due>()
            + self.order.capacity() * size_of::<(u32, u32)>()
    }

    // ---- spans in --------------------------------------------------------------------------

    /// All spans of a segment.
    fn ingest<'a>(&mut self, body: &'a [u8], arrived: &mut Vec<Arrived<'a>>, out: &mut Output) {
        for entry in messages(body, &[1]) {
            for scope in messages(entry.bytes(), &[2]) {
                let mut place = Place::new(entry.bytes(), scope.bytes());
                for field in digest::spans(scope.bytes()) {
                    self.take(field.whole, field.inner, arrived, &mut place, out);
                }
                self.store(arrived, &mut place, out);
            }
        }
    }

    #[inline]
    fn take<'a>(
        &mut self,
        field: &'a [u8],
        span: &'a [u8],
        arrived: &mut Vec<Arrived<'a>>,
        place: &mut Place<'a>,
        out: &mut Output,
    ) {
        let (digest, bits) = self.matcher.span(span);
        let id = id_number(digest.trace_id);
        arrived.push(Arrived {
            id,
            hash: self.hash.hash(id),
            bits,
            start: digest.start_time_unix_nano,
            end: digest.end_time_unix_nano,
            is_root: digest.parent_span_id.is_empty(),
            says: if digest.trace_state.is_empty() { None } else { says(digest.trace_state) },
            field,
        });
        if arrived.len() == BATCH {
            self.store(arrived, place, out);
        }
    }

    /// Looks at what the searches for these spans will look at: all of them wait for memory together,
    /// and not one after the other (70 ns a span with 500 000 traces).
    #[inline]
    fn touch(&self, arrived: &[Arrived<'_>]) {
        let mut places = [(0, 0); BATCH];
        let mut count = 0;
        let mut last = None;
        for span in arrived.iter().filter(|span| last.replace(span.hash) != Some(span.hash)) {
            places[count] = (self.traces.touch(upper(span.hash)), span.hash);
            count += 1;
        }
        let touched = places[..count].iter().fold(0, |all, (slot, hash)| match slot {
            0 => all ^ self.dropped.touch(*hash),
            slot => all ^ self.traces.touch_entry(*slot),
        });
        std::hint::black_box(touched);
    }

    /// Puts spans where they belong.
    fn store(&mut self, arrived: &mut Vec<Arrived<'_>>, place: &mut Place<'_>, out: &mut Output) {
        self.keep_within_limit(out);
        self.touch(arrived);
        let mut last: Option<(u128, u32, u32)> = None;
        for span in arrived.drain(..) {
            let mut known = match last {
                Some((id, number, generation))
                    if id == span.id && self.traces.current(number, generation).is_some() =>
                {
                    Some(number)
                }
                _ => self.traces.find(span.id, upper(span.hash)),
            };
            if self.make_room(known.is_none(), span.field.len(), out) {
                // To make room the trace itself may have been decided.
                known = self.traces.find(span.id, upper(span.hash));
            }
            let number = match known {
                Some(number) => number,
                None if self.dropped.contains(span.hash) => {
                    self.local.late_dropped += 1;
                    out.count_filtered(1);
                    continue;
                }
                None => match self.kept.find(span.id) {
                    Some(kept) => {
                        let scope = self.scope(place);
                        self.late(span.id, span.field, kept, scope.number);
                        continue;
                    }
                    None => self.begin(&span, out),
                },
            };
            let scope = self.scope(place);
            last = Some((span.id, number, self.traces.entry(number).generation));
            self.append(number, span, scope, out);
        }
    }

    /// The context of the spans at hand. What was found before may have been given back meanwhile, and
    /// its number given to another.
    #[inline]
    fn scope(&mut self, place: &mut Place<'_>) -> Found {
        match place.found {
            Some((found, version)) if version == self.contexts.version() => found,
            _ => self.find_scope(place),
        }
    }

    #[inline(never)]
    fn find_scope(&mut self, place: &mut Place<'_>) -> Found {
        let resource = self.contexts.resource(place.entry, &mut self.matcher);
        let found = self.contexts.scope(resource, place.scope);
        place.found = Some((found, self.contexts.version()));
        found
    }

    /// A trace begins.
    fn begin(&mut self, span: &Arrived<'_>, out: &mut Output) -> u32 {
        self.local.new_traces += 1;
        let due = self.tick_of(out.now + self.settings.decision_wait);
        let number = self.traces.insert(span.id, upper(span.hash), due);
        let generation = self.traces.entry(number).generation;
        self.waiting.push_back(Due { number, generation, tick: due });
        self.order.push_back((number, generation));
        number
    }

    #[inline]
    fn append(&mut self, number: u32, span: Arrived<'_>, scope: Found, out: &mut Output) {
        let field = span.field;
        let trace = self.traces.entry_mut(number);
        let at = self.arena.push(trace.newest, scope.number, field);
        self.contexts.hold(scope.number, at.chunk(), &mut self.arena);
        if trace.newest == Position::NONE {
            trace.oldest = at;
        }
        trace.newest = at;
        let facts = &mut trace.facts;
        facts.bits |= span.bits | scope.bits;
        facts.start = facts.start.min(span.start);
        facts.end = facts.end.max(span.end);
        facts.spans += 1;
        facts.bytes += field.len() as u64;
        self.live += (HEADER + field.len()) as u64;
        let (bytes, generation) = (facts.bytes, trace.generation);
        if let Some(says) = span.says {
            // Of several spans the first counts that says something.
            trace.says.get_or_insert(says);
        }
        if span.is_root {
            trace.root = at;
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
            let facts = &self.traces.entry(*number).facts;
            self.live -= facts.bytes + facts.spans * HEADER as u64;
        }
        // Limits choose among all that are decided at one moment; without them what is looked at twice
        // stays in the cache in between.
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

    /// Takes those whose time has come.
    fn take_due(&mut self, tick: u32) -> Vec<(u32, Trigger)> {
        let mut batch: Vec<(u32, Trigger)> = Vec::new();
        let Shard { rooted, waiting, traces, .. } = self;
        for (queue, trigger) in [(rooted, Trigger::RootReceived), (waiting, Trigger::WaitElapsed)] {
            while let Some(due) = queue.front() {
                let is_there = traces.current(due.number, due.generation).is_some();
                if is_there && due.tick > tick {
                    break;
                }
                // A trace that stands in both queues is taken once.
                let is_new = is_there && traces.entry(due.number).due != u32::MAX;
                if is_new && due.tick <= tick {
                    traces.entry_mut(due.number).due = u32::MAX;
                    batch.push((due.number, trigger));
                }
                queue.pop_front();
            }
        }
        batch
    }

    /// Writes what was counted into what everybody sees.
    fn show(&mut self) {
        let now = (self.traces.len() as u64, self.memory() as u64);
        self.local.flush(&self.settings.stats, self.shown, now);
        self.shown = now;
    }
}

/// Where the spans at hand stand.
struct Place<'a> {
    entry: &'a [u8],
    scope: &'a [u8],
    /// Their context, and the version of the contexts then.
    found: Option<(Found, u64)>,
}

impl<'a> Place<'a> {
    fn new(entry: &'a [u8], scope: &'a [u8]) -> Self {
        Place { entry, scope, found: None }
    }
}

impl Processor for Shard {
    fn process(&mut self, mut payload: Payload, out: &mut Output) {
        if self.settings.blocks && self.is_full(payload.len()) {
            return out.refuse(payload, Reason::Limited);
        }
        // From here on skep answers for the spans; nobody is made to wait for a decision.
        payload.receipts.clear();
        self.payer = payload.permits.first().cloned();
        let mut arrived = Vec::with_capacity(BATCH);
        for segment in &payload.body {
            self.ingest(segment, &mut arrived, out);
        }
        self.decide_certain(out);
        self.flush(out);
        self.contexts.forget_unused();
        self.settle_tables();
        self.payer = None;
        self.show();
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
        // A few chunks each time, so that nobody waits long.
        let _ = (0..8).all(|_| self.compact(out));
        if self.traces.len() == 0 {
            self.arena.release_spare(0);
        }
        self.settle_tables();
        self.show();
    }

    fn drain(&mut self, out: &mut Output) {
        let mut batch = Vec::new();
        while let Some(number) = self.front() {
            batch.push((number, Trigger::Shutdown));
            self.order.pop_front();
        }
        self.decide(&batch, out);
        self.show();
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[inline]
fn upper(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// What a `tracestate` says of sampling, if anything.
#[cold]
fn says(trace_state: &[u8]) -> Option<Box<Says>> {
    let state = TraceState::parse(trace_state)?;
    let says = Says { threshold: state.threshold, randomness: state.randomness };
    (says.threshold.is_some() || says.randomness.is_some()).then(|| Box::new(says))
}
