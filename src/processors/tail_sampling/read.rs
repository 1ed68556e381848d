//! Reads a request where it came in, while its bytes are in the cache: runs of spans, and in what
//! they stand, in one list for each owner of traces. Owners do not look at the spans again before
//! they are sent on, so nothing is copied from one core to the other.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use smallvec::SmallVec;

use super::{
    matcher::Matcher,
    program::Facts,
    questions::Questions,
    traces::{SAYS_BYTES, Says},
};
use crate::{
    otlp::{
        Payload,
        digest::{self, InnerField, Part},
        payload::{Permit, Reason},
        purse::Purse,
        share::{TraceHash, id_number},
        splice::messages,
    },
    ottl::{Item, Tier, enter_owner},
    processors::sampling::TraceState,
};

/// Spans of one trace, side by side.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) id: u128,
    pub(super) hash: u64,
    pub(super) facts: Facts,
    /// Number of the place.
    pub(super) place: usize,
    /// Where in the segment of the place.
    pub(super) from: usize,
    pub(super) to: usize,
    /// Where the root begins in them, if it is among them.
    pub(super) root_at: Option<u32>,
    pub(super) says: Option<Box<Says>>,
}

/// A scope entry.
#[derive(Debug)]
pub(super) struct Place {
    /// Number of the segment of the body.
    pub(super) segment: usize,
    resource: Range<usize>,
    scope: Range<usize>,
}

/// The resources and scopes of the spans of a request.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub(super) all: Vec<Place>,
    wrappers: Vec<u8>,
}

impl Places {
    /// The fields of a resource entry but its scope entries.
    pub(super) fn resource(&self, place: &Place) -> &[u8] {
        &self.wrappers[place.resource.clone()]
    }

    /// The fields of a scope entry but its spans.
    pub(super) fn scope(&self, place: &Place) -> &[u8] {
        &self.wrappers[place.scope.clone()]
    }
}

/// Keeps the body of a request paid for, and counted among those that are lent, until the last
/// owner lets it go.
#[derive(Debug)]
pub(super) struct Loan {
    bytes: u64,
    lent: Arc<AtomicU64>,
    permits: SmallVec<[Permit; 1]>,
}

impl Loan {
    pub(super) fn new(
        bytes: usize,
        permits: SmallVec<[Permit; 1]>,
        lent: &Arc<AtomicU64>,
    ) -> Arc<Self> {
        let bytes = bytes as u64;
        lent.fetch_add(bytes, Ordering::Relaxed);
        Arc::new(Loan { bytes, lent: Arc::clone(lent), permits })
    }

    pub(super) fn permit(&self) -> Option<&Permit> {
        self.permits.first()
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.lent.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What pays for the readings of a request, until the last owner has taken its own.
#[derive(Debug)]
pub(super) struct Paid {
    permits: SmallVec<[Permit; 1]>,
    owed: u64,
    /// Bytes of all readings.
    all_owed: Arc<AtomicU64>,
}

impl Drop for Paid {
    fn drop(&mut self) {
        self.all_owed.fetch_sub(self.owed, Ordering::Relaxed);
    }
}

/// What one owner has to know of a request.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) places: Arc<Places>,
    /// In lists of [`RUNS`] at most: one that grows would take three times its bytes.
    pub(super) runs: Vec<Vec<Run>>,
    pub(super) paid: Arc<Paid>,
    /// Spans in them.
    pub(super) items: u64,
    /// Where the request is kept as it is, and for how many bytes this part of it counts.
    pub(super) loan: Option<(Arc<Loan>, usize)>,
}

/// Runs of a list.
const RUNS: usize = 1024;

/// Bytes of a reading, and of all that are on their way, that may be a debt. Runs of spans of 700
/// bytes are a sixth of their request, those of the smallest twenty times as large as it.
const OWED: u64 = 128 << 10;
const ALL_OWED: u64 = 2 << 20;

/// Reads requests.
pub(super) struct Reader {
    pub(super) hash: TraceHash,
    pub(super) matcher: Matcher,
    pub(super) questions: Questions,
    /// Most bytes of a run of several spans.
    pub(super) run_limit: usize,
    /// Most bytes of a resource or scope: what is decided early repeats it again and again.
    pub(super) wrapper_limit: usize,
    /// Bytes of readings that are a debt.
    pub(super) owed: Arc<AtomicU64>,
}

/// A request that is read.
struct Reads<'a> {
    /// The span at hand, if there are questions about it.
    item: Option<Item<'a>>,
    places: Places,
    /// By owner.
    lists: Vec<Vec<Vec<Run>>>,
    /// Runs of the first list of an owner.
    each: usize,
    purse: Purse,
    refused: Option<Reason>,
}

impl Reads<'_> {
    /// Whether so many bytes may be used.
    fn pays(&mut self, bytes: usize) -> bool {
        self.refused = self.refused.or(self.purse.pay(bytes).err());
        self.refused.is_none()
    }

    /// Appends to the wrappers.
    fn wrap(&mut self, field: &[u8]) {
        let wrappers = &self.places.wrappers;
        let (len, capacity) = (wrappers.len() + field.len(), wrappers.capacity());
        if len > capacity {
            let capacity = len.max(2 * capacity);
            if !self.pays(capacity) {
                return;
            }
            let wrappers = &mut self.places.wrappers;
            wrappers.reserve_exact(capacity - wrappers.len());
        }
        self.places.wrappers.extend_from_slice(field);
    }

    /// Notes a scope entry.
    fn place(&mut self, place: Place) {
        let all = &self.places.all;
        if all.len() == all.capacity() {
            let more = all.len().max(8);
            if !self.pays(2 * more * size_of::<Place>()) {
                return;
            }
            self.places.all.reserve_exact(more);
        }
        self.places.all.push(place);
    }

    /// Notes a run of spans.
    #[inline]
    fn run(&mut self, owner: usize, run: Run) {
        let says = if run.says.is_some() { SAYS_BYTES } else { 0 };
        let is_full = self.lists[owner].last().is_none_or(|list| list.len() == list.capacity());
        if is_full || says > 0 {
            let runs = if is_full { self.each } else { 0 };
            if !self.pays(runs * size_of::<Run>() + says) {
                return;
            }
            if is_full {
                self.lists[owner].push(Vec::with_capacity(runs));
            }
        }
        if let Some(list) = self.lists[owner].last_mut() {
            list.push(run);
        }
    }
}

impl Reader {
    /// What each of `owners` has of a request. `loan` is what all of it counts for where it is
    /// kept. Refused where what it takes cannot be paid for.
    pub(super) fn read(
        &mut self,
        payload: &Payload,
        owners: usize,
        loan: Option<&(Arc<Loan>, usize)>,
    ) -> Result<Vec<Reading>, Reason> {
        let each = usize::try_from(payload.items).unwrap_or(usize::MAX).min(4 * RUNS) / owners;
        let may_owe = self.owed.load(Ordering::Relaxed) + OWED <= ALL_OWED;
        let owed = if may_owe { OWED } else { 0 };
        self.owed.fetch_add(owed, Ordering::Relaxed);
        let all_owed = Arc::clone(&self.owed);
        let credit = usize::try_from(owed).unwrap_or(0);
        let mut paid = Paid { permits: SmallVec::new(), owed, all_owed };
        let mut reads = Reads {
            item: (!self.questions.is_empty()).then(|| Item::new(None)),
            places: Places::default(),
            lists: (0..owners).map(|_| Vec::new()).collect(),
            each: each.clamp(1, RUNS),
            purse: Purse::new(payload.permits.first(), credit),
            refused: None,
        };
        for (segment, body) in payload.body.iter().enumerate() {
            for entry in messages(body, &[1]) {
                self.read_entry(entry.bytes(), (segment, body), &mut reads);
            }
        }
        self.questions.flush();
        let Reads { places, lists, purse, refused, .. } = reads;
        if let Some(reason) = refused {
            return Err(reason);
        }
        paid.permits = purse.into_permits();
        let (places, paid) = (Arc::new(places), Arc::new(paid));
        let part = |runs: Vec<Vec<Run>>| {
            let (items, bytes) = runs.iter().flatten().fold((0, 0), |(items, bytes), run| {
                (items + run.facts.spans, bytes + run.facts.bytes)
            });
            (runs, items, bytes)
        };
        let parts: Vec<_> = lists.into_iter().map(part).collect();
        let all = parts.iter().map(|(_, _, bytes)| *bytes).sum::<u64>().max(1);
        let reading = |(runs, items, bytes): (Vec<Vec<Run>>, u64, u64)| {
            let share = |size: usize| {
                let share = u128::from(bytes) * size as u128 / u128::from(all);
                usize::try_from(share).unwrap_or(usize::MAX)
            };
            let loan = loan.map(|(loan, size)| (Arc::clone(loan), share(*size)));
            let (places, paid) = (Arc::clone(&places), Arc::clone(&paid));
            Reading { places, runs, paid, items, loan }
        };
        Ok(parts.into_iter().map(reading).collect())
    }

    fn read_entry<'a>(
        &mut self,
        entry: &'a [u8],
        (segment, body): (usize, &[u8]),
        reads: &mut Reads<'a>,
    ) {
        if let Some(item) = &mut reads.item {
            enter_owner(item, Tier::Resource, entry);
        }
        let mut scopes = 0;
        let from = reads.places.wrappers.len();
        for part in digest::parts(entry) {
            match part {
                Part::Inner(_) => scopes += 1,
                Part::Other(field) => reads.wrap(field),
            }
        }
        let resource = from..reads.places.wrappers.len();
        let has_places = reads.places.all.len();
        for part in digest::parts(entry).filter(|_| scopes > 0) {
            let Part::Inner(scope) = part else { continue };
            let place = reads.places.all.len();
            let from = reads.places.wrappers.len();
            if let Some(item) = &mut reads.item {
                enter_owner(item, Tier::Scope, scope.inner);
            }
            let mut spans = 0;
            for part in digest::parts(scope.inner) {
                if reads.refused.is_some() {
                    return;
                }
                match part {
                    Part::Inner(field) => {
                        self.read_span(field, body, place, reads);
                        spans += 1;
                    }
                    Part::Other(field) => reads.wrap(field),
                }
            }
            if spans == 0 {
                // No policy asks for it.
                reads.places.wrappers.truncate(from);
                continue;
            }
            let scope = from..reads.places.wrappers.len();
            if resource.len().max(scope.len()) > self.wrapper_limit {
                reads.refused = reads.refused.or(Some(Reason::TooLarge));
            }
            reads.place(Place { segment, resource: resource.clone(), scope });
        }
        if reads.places.all.len() == has_places {
            reads.places.wrappers.truncate(resource.start);
        }
    }

    /// Notes a span, with those before it if they are of its trace.
    #[inline]
    fn read_span<'a>(
        &mut self,
        field: InnerField<'a>,
        body: &[u8],
        place: usize,
        reads: &mut Reads<'a>,
    ) {
        let (digest, mut bits) = self.matcher.span(field.inner);
        if let Some(item) = &mut reads.item {
            bits |= self.questions.bits(item, field.inner);
        }
        let id = id_number(digest.trace_id);
        let hash = self.hash.hash(id);
        let owner = TraceHash::owner(hash, reads.lists.len());
        let from = field.whole.as_ptr().addr() - body.as_ptr().addr();
        let to = from + field.whole.len();
        let facts = Facts {
            bits,
            start: digest.start_time_unix_nano,
            end: digest.end_time_unix_nano,
            spans: 1,
            bytes: field.whole.len() as u64,
        };
        let is_root = digest.parent_span_id.is_empty();
        let says = if digest.trace_state.is_empty() { None } else { says(digest.trace_state) };
        match reads.lists[owner].last_mut().and_then(|list| list.last_mut()) {
            Some(run)
                if run.id == id
                    && run.place == place
                    && run.to == from
                    && to - run.from <= self.run_limit =>
            {
                run.facts.add(&facts);
                run.to = to;
                if is_root {
                    run.root_at = u32::try_from(from - run.from).ok();
                }
                if run.says.is_none() {
                    run.says = says;
                }
            }
            _ => {
                let root_at = is_root.then_some(0);
                reads.run(owner, Run { id, hash, facts, place, from, to, root_at, says });
            }
        }
    }
}

/// What a `tracestate` says of sampling, if anything.
#[cold]
fn says(trace_state: &[u8]) -> Option<Box<Says>> {
    let state = TraceState::parse(trace_state)?;
    let says = Says { threshold: state.threshold, randomness: state.randomness };
    (says.threshold.is_some() || says.randomness.is_some()).then(|| Box::new(says))
}
