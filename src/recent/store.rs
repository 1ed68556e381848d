//! What is held: the chunks of spans and of log records, the list of traces, and what was left out.
//! Requests come in here; chunks are sealed when they are full and evicted when they are old, or
//! when there is no room for new ones.

use std::{collections::VecDeque, sync::Arc};

use super::{
    account::{Account, Charge},
    arrived::{Context, Item, RESOURCE, SCOPE, messages, put_around},
    chunk::{self, Chunk, Kind, NO_TRACE},
    fate::{LABEL_BYTES, Labels},
    item::{self, Around},
    meters::Meters,
    notes::Early,
    open::{Full, Limits, Open},
    seal::{Packing, Press},
    settings::Settings,
    slots::{Seen, Slots},
};
use crate::otlp::Signal;

/// A chunk is sealed after so many nanoseconds, so that what is old can be evicted.
const SEAL_AFTER: u64 = 30_000_000_000;
/// Metrics have this part of the budget.
const METRICS: usize = 8;
/// An error is kept as if the store left out so many powers of two less.
const ERRORS_FIRST: u8 = 3;

/// What has become of items so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Items that were offered and looked at.
    pub seen: u64,
    /// Items that were taken in.
    pub taken: u64,
    /// Items left out on purpose, since the store lags; those that are held count for them.
    pub sampled: u64,
    /// Items that are larger than a chunk may be.
    pub too_large: u64,
    /// Items for which there was no room, since readers held old chunks.
    pub no_room: u64,
    /// Items that were evicted to make room.
    pub evicted: u64,
    /// Items that were older than the store keeps them.
    pub expired: u64,
}

/// The chunks of one kind.
#[derive(Debug)]
struct Shelf {
    open: Option<Open>,
    /// The oldest first.
    sealed: VecDeque<Arc<Chunk>>,
    /// Of the open chunk, as readers see it.
    copy: Option<Arc<Chunk>>,
    bytes: usize,
    /// Of four parts of the budget, how many it may have when there is no room.
    share: usize,
}

impl Shelf {
    fn new(share: usize) -> Self {
        Shelf { open: None, sealed: VecDeque::new(), copy: None, bytes: 0, share }
    }
}

/// Everything that is held.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) account: Arc<Account>,
    limits: Limits,
    max_age: u64,
    pub(super) slots: Slots,
    pub(super) labels: Labels,
    pub(super) early: Early,
    press: Press,
    scratch: Scratch,
    shelves: [Shelf; 2],
    next: u32,
    pub(super) counts: Counts,
    pub(super) meters: Option<Meters>,
    meters_charge: Option<Charge>,
    /// When old series were last looked for.
    swept: u64,
    fixed: Charge,
}

/// Buffers of fixed size.
#[derive(Debug)]
struct Scratch {
    resource: Vec<u8>,
    scope: Vec<u8>,
    /// Spans of each trace of a chunk.
    spans: Vec<u32>,
}

impl Scratch {
    fn size(limits: Limits) -> usize {
        2 * limits.headers + limits.rows * size_of::<u32>()
    }
}

impl Store {
    /// An empty one. None if the budget is too small for the workspace.
    pub(super) fn new(settings: &Settings, account: &Arc<Account>) -> Option<Self> {
        let limits = Limits::of(settings.bytes);
        let fixed = LABEL_BYTES + Press::size(limits) + Scratch::size(limits);
        let charge = account.charge(fixed)?;
        let most_traces = settings.bytes / 6 / size_of::<super::slots::Slot>();
        Some(Store {
            account: Arc::clone(account),
            limits,
            max_age: u64::try_from(settings.age.as_nanos()).unwrap_or(u64::MAX),
            slots: Slots::new(account, most_traces)?,
            labels: Labels::new(),
            early: Early::default(),
            press: Press::new(limits),
            scratch: Scratch {
                resource: Vec::with_capacity(limits.headers),
                scope: Vec::with_capacity(limits.headers),
                spans: Vec::with_capacity(limits.rows),
            },
            shelves: [Shelf::new(3), Shelf::new(1)],
            next: 0,
            counts: Counts::default(),
            meters: None,
            meters_charge: None,
            swept: 0,
            fixed: charge,
        })
    }

    /// Takes in one request. `shift`: of 2 to the power of it traces, one is kept.
    pub(super) fn take(&mut self, signal: Signal, request: &[u8], shift: u8, now: u64) {
        let kind = match signal {
            Signal::Traces => Kind::Spans,
            Signal::Logs => Kind::Records,
            Signal::Metrics => return self.take_metrics(request, now),
        };
        self.expire(now);
        for entry in messages(request, 1) {
            let mut resource = std::mem::take(&mut self.scratch.resource);
            let is_whole = put_around(entry, RESOURCE, &mut resource);
            for scope_entry in messages(entry, 2) {
                let mut scope = std::mem::take(&mut self.scratch.scope);
                if is_whole && put_around(scope_entry, SCOPE, &mut scope) {
                    let context = Context::of(&resource, &scope, shift, now);
                    for bytes in messages(scope_entry, 2) {
                        self.counts.seen += 1;
                        self.item(kind, bytes, &context);
                    }
                } else {
                    let items = messages(scope_entry, 2).count() as u64;
                    self.counts.seen += items;
                    self.counts.too_large += items;
                }
                self.scratch.scope = scope;
            }
            self.scratch.resource = resource;
        }
    }

    /// Takes in metrics. Their part of the budget is set aside when the first ones come.
    fn take_metrics(&mut self, request: &[u8], now: u64) {
        self.expire(now);
        if self.meters.is_none() {
            let bytes = self.account.limit() / METRICS;
            self.meters_charge = self.make_room(bytes);
            self.meters = self.meters_charge.as_ref().and_then(|_| Meters::new(bytes));
        }
        let Some(meters) = &mut self.meters else { return };
        let header = &mut self.scratch.resource;
        for entry in messages(request, 1) {
            if !put_around(entry, RESOURCE, header) {
                continue;
            }
            let context = Context::of(header, &[], 0, now);
            for metric in messages(entry, 2).flat_map(|scope| messages(scope, 2)) {
                meters.take(metric, header, context.service, now);
            }
        }
    }

    fn item(&mut self, kind: Kind, bytes: &[u8], context: &Context<'_>) {
        // Most of what is left out is left out by the first field. Reading on would take 500 ns of
        // a span that is in no cache, all of the share of a CPU at 50 000 spans a second.
        if let (Kind::Spans, [0x0A, 16, rest @ ..]) = (kind, bytes)
            && let Some(id) = rest.first_chunk::<16>()
            && !self.is_sampled(id, context.shift.saturating_sub(ERRORS_FIRST))
        {
            self.counts.sampled += 1;
            return;
        }
        let item = Item::read(kind, bytes);
        let Some(shift) = self.shift(&item, context.shift) else {
            self.counts.sampled += 1;
            return;
        };
        let mut added = self.add(&item, shift, context);
        if added == Err(Full::Chunk) {
            // The next one is empty.
            self.seal(kind);
            added = self.add(&item, shift, context);
        }
        match added {
            Ok(()) => self.counts.taken += 1,
            Err(Full::Store) => self.counts.no_room += 1,
            Err(Full::Chunk) => {
                // What there is of it in the dictionaries would be in the way of others.
                self.seal(kind);
                self.counts.too_large += 1;
            }
        }
    }

    /// Whether what decides on an item is kept at a shift.
    fn is_sampled(&self, by: &[u8], shift: u8) -> bool {
        shift == 0 || self.slots.sampling_hash(by) & ((1 << shift.min(31)) - 1) == 0
    }

    /// The shift under which an item is kept; none if it is left out. What is kept at one shift is
    /// kept at all smaller ones, so that traces stay whole while the shift does not change.
    fn shift(&self, item: &Item<'_>, shift: u8) -> Option<u8> {
        if shift == 0 {
            return Some(0);
        }
        let is_kept = |shift: u8| self.is_sampled(item.sampled_by(), shift);
        let less = shift.saturating_sub(ERRORS_FIRST);
        // Whether its trace has an error is only known of traces that are held, but others are not
        // kept either way: see the header of `governor.rs`.
        let is_first = is_kept(less)
            && (item.is_error()
                || item.trace_id().is_some_and(|id| {
                    self.slots.find(id).is_some_and(|slot| self.slots.at(slot).errors > 0)
                }));
        if is_first {
            return Some(less);
        }
        is_kept(shift).then_some(shift)
    }

    fn add(&mut self, item: &Item<'_>, shift: u8, context: &Context<'_>) -> Result<(), Full> {
        let kind = item.kind();
        self.open(kind)?;
        let at = kind as usize;
        let Some(open) = self.shelves[at].open.as_mut() else { return Err(Full::Store) };
        let origin = open.origin(context.resource, context.scope, context.service)?;
        let around = Around { origin, rate: context.rate, shift, arrival: context.now };
        let trace = match item.trace_id() {
            None => NO_TRACE,
            Some(id) => self.trace(kind, *id)?,
        };
        let Some(open) = self.shelves[at].open.as_mut() else { return Err(Full::Store) };
        let added = match item {
            Item::Span(bytes, digest) => item::add_span(open, bytes, digest, trace, around),
            Item::Record(bytes, view) => item::add_record(open, bytes, view, trace, around),
        };
        if added.is_err() {
            open.abandon();
            return added;
        }
        if let (Item::Span(_, digest), Some(slot)) = (item, open.slots.get(usize::from(trace))) {
            let row = u16::try_from(open.rows() - 1).unwrap_or(u16::MAX);
            self.slots.at_mut(*slot).see(Seen {
                chunk: open.number,
                row,
                start: chunk::time(
                    digest.start_time_unix_nano,
                    digest.end_time_unix_nano,
                    context.now,
                ),
                end: digest.end_time_unix_nano,
                is_root: digest.parent_span_id.is_empty(),
                is_error: digest.status_code == 2,
                shift,
            });
        }
        Ok(())
    }

    /// The number of a trace in the open chunk; a new one of spans takes a slot.
    fn trace(&mut self, kind: Kind, id: [u8; 16]) -> Result<u16, Full> {
        let at = kind as usize;
        let open = self.shelves[at].open.as_mut().ok_or(Full::Store)?;
        if let Some(known) = open.traces.find(0, &id) {
            return Ok(known);
        }
        if kind == Kind::Records {
            return open.traces.intern(0, &id).map(|(trace, _)| trace).ok_or(Full::Chunk);
        }
        let number = open.number;
        let mut slot = self.slots.hold(id, number);
        while slot.is_none() && self.evict(Kind::Spans) {
            slot = self.slots.hold(id, number);
        }
        let slot = slot.ok_or(Full::Store)?;
        let open = self.shelves[at].open.as_mut().ok_or(Full::Store)?;
        let Some((trace, _)) = open.traces.intern(0, &id) else {
            self.slots.release(slot, number, 0);
            return Err(Full::Chunk);
        };
        open.slots.push(slot);
        Ok(trace)
    }

    /// Makes sure that there is an open chunk.
    fn open(&mut self, kind: Kind) -> Result<(), Full> {
        if self.shelves[kind as usize].open.is_some() {
            return Ok(());
        }
        let charge = self.make_room(Open::size(self.limits)).ok_or(Full::Store)?;
        let open = Open::new(kind, self.limits, self.next, charge);
        self.next = self.next.wrapping_add(1);
        self.shelves[kind as usize].open = Some(open);
        Ok(())
    }

    /// Charges bytes, and evicts old chunks until there is room. `None` if there is still no room:
    /// then readers hold what was evicted, and evicting more would not help.
    fn make_room(&mut self, bytes: usize) -> Option<Charge> {
        loop {
            if let Some(charge) = self.account.charge(bytes) {
                return Some(charge);
            }
            let [spans, records] = &self.shelves;
            let larger = spans.bytes * records.share > records.bytes * spans.share;
            let kind = if larger { Kind::Spans } else { Kind::Records };
            let other = if larger { Kind::Records } else { Kind::Spans };
            if !self.evict(kind) && !self.evict(other) {
                return None;
            }
        }
    }

    /// Evicts the oldest chunk of a kind, unless there is none or a reader holds it.
    fn evict(&mut self, kind: Kind) -> bool {
        let rack = &mut self.shelves[kind as usize];
        rack.copy = None;
        let Some(oldest) = rack.sealed.pop_front_if(|chunk| Arc::strong_count(chunk) == 1) else {
            return false;
        };
        self.counts.evicted += oldest.rows() as u64;
        self.forget(kind, &oldest);
        true
    }

    /// Evicts what is older than the store keeps it, and seals what is open for long.
    pub(super) fn expire(&mut self, now: u64) {
        if let Some(meters) = &mut self.meters
            && now.saturating_sub(self.swept) > SEAL_AFTER
        {
            self.swept = now;
            meters.drop_before(now.saturating_sub(self.max_age));
        }
        for kind in [Kind::Spans, Kind::Records] {
            let rack = &mut self.shelves[kind as usize];
            if let Some(open) = &rack.open
                && open.rows() > 0
                && now.saturating_sub(open.arrivals.0) > SEAL_AFTER
            {
                self.seal(kind);
            }
            loop {
                let is_old =
                    |chunk: &mut Arc<Chunk>| now.saturating_sub(chunk.arrivals.1) > self.max_age;
                let sealed = &mut self.shelves[kind as usize].sealed;
                let Some(oldest) = sealed.pop_front_if(is_old) else { break };
                self.counts.expired += oldest.rows() as u64;
                self.forget(kind, &oldest);
            }
        }
    }

    fn forget(&mut self, kind: Kind, chunk: &Chunk) {
        let rack = &mut self.shelves[kind as usize];
        rack.bytes = rack.bytes.saturating_sub(chunk.charge.bytes());
        let spans = &mut self.scratch.spans;
        count(&chunk.columns.trace, chunk.slots.len(), spans);
        for (slot, spans) in chunk.slots.iter().zip(spans) {
            self.slots.release(*slot, chunk.number, *spans);
        }
    }

    /// Seals the open chunk and begins another one.
    fn seal(&mut self, kind: Kind) {
        let at = kind as usize;
        self.shelves[at].copy = None;
        let Some(open) = self.shelves[at].open.as_ref().filter(|open| open.rows() > 0) else {
            return self.reopen(kind);
        };
        let needed = self.press.prepare(open, Packing::Lz4);
        let charge = self.make_room(needed);
        let rack = &mut self.shelves[at];
        let Some(open) = &mut rack.open else { return };
        let Some(charge) = charge else {
            self.counts.no_room += open.rows() as u64;
            self.counts.taken -= open.rows() as u64;
            return self.reopen(kind);
        };
        let chunk = self.press.finish(open, charge);
        rack.bytes += chunk.charge.bytes();
        rack.sealed.push_back(Arc::new(chunk));
        open.clear(self.next);
        self.next = self.next.wrapping_add(1);
    }

    /// Empties the open chunk; what is in it is lost.
    fn reopen(&mut self, kind: Kind) {
        let rack = &mut self.shelves[kind as usize];
        rack.copy = None;
        let Some(open) = &mut rack.open else { return };
        let spans = &mut self.scratch.spans;
        count(&open.columns.trace, open.slots.len(), spans);
        for (slot, spans) in open.slots.iter().zip(spans) {
            self.slots.release(*slot, open.number, *spans);
        }
        open.clear(self.next);
        self.next = self.next.wrapping_add(1);
    }

    /// Whether the next chunk might have no room since a reader holds the oldest one. Whoever takes
    /// in requests had better wait a little.
    pub(super) fn is_hindered(&self) -> bool {
        let left = self.account.limit() - self.account.used();
        let is_held =
            |rack: &Shelf| rack.sealed.front().is_some_and(|chunk| Arc::strong_count(chunk) > 1);
        let is_short = left < 2 * self.limits.bytes || self.slots.free() < self.limits.rows;
        is_short && self.shelves.iter().any(is_held)
    }

    /// The chunks of a kind as they are now, the newest first. The open one is copied, unless there
    /// is no room for that.
    pub(super) fn snapshot(&mut self, kind: Kind, now: u64) -> Vec<Arc<Chunk>> {
        self.expire(now);
        let newest = self.copy(kind);
        let sealed = self.shelves[kind as usize].sealed.iter().rev().cloned();
        newest.into_iter().chain(sealed).collect()
    }

    fn copy(&mut self, kind: Kind) -> Option<Arc<Chunk>> {
        let at = kind as usize;
        let open = self.shelves[at].open.as_ref().filter(|open| open.rows() > 0)?;
        let copy = &self.shelves[at].copy;
        if let Some(copy) = copy.as_ref().filter(|copy| copy.rows() == open.rows()) {
            return Some(Arc::clone(copy));
        }
        self.shelves[at].copy = None;
        let open = self.shelves[at].open.as_ref()?;
        let needed = self.press.prepare(open, Packing::Plain);
        let charge = self.make_room(needed)?;
        let open = self.shelves[at].open.as_ref()?;
        let copy = Arc::new(self.press.finish(open, charge));
        self.shelves[at].copy = Some(Arc::clone(&copy));
        Some(copy)
    }

    /// Items that are held.
    pub(super) fn held(&self, kind: Kind) -> u64 {
        let rack = &self.shelves[kind as usize];
        let sealed: usize = rack.sealed.iter().map(|chunk| chunk.rows()).sum();
        (sealed + rack.open.as_ref().map_or(0, Open::rows)) as u64
    }

    /// When the oldest item that is held came; none if there is none.
    pub(super) fn held_from(&self, kind: Kind) -> Option<u64> {
        let rack = &self.shelves[kind as usize];
        let open = rack.open.as_ref().filter(|open| open.rows() > 0);
        let sealed = rack.sealed.front().map(|chunk| chunk.arrivals.0);
        sealed.or(open.map(|open| open.arrivals.0))
    }

    /// Bytes that are taken even if nothing is held: the workspace and the open chunks.
    pub(super) fn fixed(&self) -> usize {
        let open = self.shelves.iter().filter_map(|rack| rack.open.as_ref());
        self.fixed.bytes() + open.map(Open::charged).sum::<usize>()
    }

    /// What is charged for everything here, and what it takes by looking.
    #[cfg(test)]
    pub(super) fn audit(&self) -> (usize, usize) {
        let fixed = LABEL_BYTES + self.press.allocated() + Scratch::size(self.limits);
        let mut charged = self.fixed() + self.slots.charged();
        let mut allocated = fixed + self.slots.allocated();
        if let (Some(meters), Some(charge)) = (&self.meters, &self.meters_charge) {
            assert_eq!(meters.used(), meters.allocated());
            charged += charge.bytes();
            allocated += charge.bytes();
        }
        for rack in &self.shelves {
            if let Some(open) = &rack.open {
                allocated += open.allocated();
            }
            for chunk in rack.sealed.iter().chain(&rack.copy) {
                charged += chunk.charge.bytes();
                allocated += chunk.allocated();
            }
        }
        (charged, allocated)
    }
}

/// Counts how often each trace of a chunk occurs.
fn count(traces: &[u16], different: usize, counts: &mut Vec<u32>) {
    counts.clear();
    counts.resize(different, 0);
    for trace in traces {
        if let Some(count) = counts.get_mut(usize::from(*trace)) {
            *count += 1;
        }
    }
}
