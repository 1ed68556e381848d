//! Reads a request where it came in, while its bytes are in the cache: runs of spans, and in what they
//! stand, in one list for each owner of traces. Owners do not look at the spans again before they are
//! sent on, so nothing is copied from one core to the other.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use smallvec::SmallVec;

use super::{matcher::Matcher, program::Facts, traces::Says};
use crate::{
    otlp::{
        Payload,
        digest::{self, InnerField, Part},
        payload::Permit,
        share::{TraceHash, id_number},
        splice::messages,
    },
    processors::sampling::TraceState,
};

/// Spans of one trace that stand side by side.
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

/// In what the spans of a request stand.
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

/// Keeps the body of a request paid for, and counted among those that are lent, until the last owner
/// lets it go.
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

/// What one owner has to know of a request.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) places: Arc<Places>,
    pub(super) runs: Vec<Run>,
    /// Spans in them.
    pub(super) items: u64,
    /// Where the request is kept as it is, and for how many bytes this part of it counts.
    pub(super) loan: Option<(Arc<Loan>, usize)>,
}

/// Reads requests.
pub(super) struct Reader {
    pub(super) hash: TraceHash,
    pub(super) matcher: Matcher,
    /// Most bytes of a run of several spans.
    pub(super) run_limit: usize,
}

impl Reader {
    /// What each of `owners` has of a request. `loan` is what all of it counts for where it is kept.
    pub(super) fn read(
        &mut self,
        payload: &Payload,
        owners: usize,
        loan: Option<&(Arc<Loan>, usize)>,
    ) -> Vec<Reading> {
        let each = usize::try_from(payload.items).unwrap_or(usize::MAX).min(4096) / owners;
        let mut lists: Vec<Vec<Run>> = (0..owners).map(|_| Vec::with_capacity(each)).collect();
        let mut places = Places::default();
        for (segment, body) in payload.body.iter().enumerate() {
            for entry in messages(body, &[1]) {
                self.read_entry(entry.bytes(), (segment, body), &mut places, &mut lists);
            }
        }
        let places = Arc::new(places);
        let part = |runs: Vec<Run>| {
            let (items, bytes) = runs.iter().fold((0, 0), |(items, bytes), run| {
                (items + run.facts.spans, bytes + run.facts.bytes)
            });
            (runs, items, bytes)
        };
        let parts: Vec<_> = lists.into_iter().map(part).collect();
        let all = parts.iter().map(|(_, _, bytes)| *bytes).sum::<u64>().max(1);
        let reading = |(runs, items, bytes): (Vec<Run>, u64, u64)| {
            let share = |size: usize| {
                let share = u128::from(bytes) * size as u128 / u128::from(all);
                usize::try_from(share).unwrap_or(usize::MAX)
            };
            let loan = loan.map(|(loan, size)| (Arc::clone(loan), share(*size)));
            Reading { places: Arc::clone(&places), runs, items, loan }
        };
        parts.into_iter().map(reading).collect()
    }

    fn read_entry(
        &mut self,
        entry: &[u8],
        (segment, body): (usize, &[u8]),
        places: &mut Places,
        lists: &mut [Vec<Run>],
    ) {
        let mut scopes: SmallVec<[&[u8]; 4]> = SmallVec::new();
        let from = places.wrappers.len();
        for part in digest::parts(entry) {
            match part {
                Part::Inner(scope) => scopes.push(scope.inner),
                Part::Other(field) => places.wrappers.extend_from_slice(field),
            }
        }
        let resource = from..places.wrappers.len();
        for scope in scopes {
            let place = places.all.len();
            let from = places.wrappers.len();
            for part in digest::parts(scope) {
                match part {
                    Part::Inner(field) => self.read_span(field, body, place, lists),
                    Part::Other(field) => places.wrappers.extend_from_slice(field),
                }
            }
            let scope = from..places.wrappers.len();
            places.all.push(Place { segment, resource: resource.clone(), scope });
        }
    }

    /// Notes a span, with those before it if they are of its trace.
    #[inline]
    fn read_span(
        &mut self,
        field: InnerField<'_>,
        body: &[u8],
        place: usize,
        lists: &mut [Vec<Run>],
    ) {
        let (digest, bits) = self.matcher.span(field.inner);
        let id = id_number(digest.trace_id);
        let hash = self.hash.hash(id);
        let runs = &mut lists[TraceHash::owner(hash, lists.len())];
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
        match runs.last_mut() {
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
                runs.push(Run { id, hash, facts, place, from, to, root_at, says });
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
