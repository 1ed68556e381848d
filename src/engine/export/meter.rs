//! Claims what is about to be sent from the monthly budget, piece by piece, before the first
//! attempt. What the backend has certainly not taken is given back; `allowance.rs` says what an
//! attempt without an answer costs.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    allowance::Allowance,
    gate::{key_of, service_of},
};
use crate::{
    budget::Why,
    component::{Count, Ready},
    otlp::{
        Content, Signal,
        digest::{self, spans},
        payload::Body,
        splice::messages,
        tally::Tally,
    },
};

/// What CloudWatch Logs counts for an event beside its message.
const EVENT: u64 = 26;

/// Claims for one exporter and signal.
pub(super) struct Meter {
    allowance: Arc<Allowance>,
    count: Count,
}

/// A piece that is about to be sent.
pub(super) struct Load<'l> {
    /// Its payload.
    pub(super) content: &'l Content,
    /// Its part of the payload.
    pub(super) body: Body,
    pub(super) items: u64,
    /// Whether it is all of the payload.
    pub(super) is_whole: bool,
    /// The units of the payload, if the gate has counted them.
    pub(super) known: Option<u64>,
    pub(super) encoded: &'l dyn Ready,
}

/// What is claimed for a piece.
#[derive(Debug)]
pub(super) struct Claim {
    units: u64,
    at: Timestamp,
    /// Traces that it counts.
    traces: Vec<u64>,
    /// Whether an attempt has ended without an answer, so that the backend may have the data. Then
    /// it is not given back.
    pub(super) may_be_taken: bool,
    /// Whether another attempt claims anew.
    pub(super) is_spent: bool,
}

impl Meter {
    pub(super) fn new(allowance: Arc<Allowance>, count: Count) -> Self {
        Meter { allowance, count }
    }

    /// Claims what a piece costs; `None` if the budget does not have it. May write a file.
    pub(super) fn claim(&self, load: &Load<'_>) -> Option<Claim> {
        let at = self.allowance.now();
        let (units, traces) = self.units(load);
        if units == 0 || self.allowance.budget().claim(units, at) {
            return Some(Claim { units, at, traces, may_be_taken: false, is_spent: false });
        }
        self.allowance.uncount_traces(&traces);
        self.allowance.budget().leave_out(Why::Ceiling, &service_of(&load.body), units);
        None
    }

    /// Gives back what was claimed for a piece, unless the backend may have taken it.
    pub(super) fn give_back(&self, claim: &Claim) {
        if !claim.may_be_taken {
            self.allowance.uncount_traces(&claim.traces);
            self.allowance.budget().give_back(claim.units, claim.at);
        }
    }

    fn units(&self, load: &Load<'_>) -> (u64, Vec<u64>) {
        let units = match self.count {
            Count::ByExporter => 0,
            Count::Items => load.items,
            Count::Events => match load.known.filter(|_| load.is_whole) {
                Some(known) => known,
                None => events(load.content.signal, &load.body),
            },
            Count::Traces => {
                let hasher = &self.allowance.hasher;
                let keys = trace_ids(&load.body).map(|id| key_of(hasher, id));
                let new = self.allowance.count_traces(keys);
                return (new.len() as u64, new);
            }
            Count::Bytes | Count::Occurrences => {
                let units = load.encoded.units().unwrap_or(0);
                if self.count == Count::Bytes && load.is_whole {
                    let bytes = load.content.len() as u64 + EVENT * load.items;
                    self.allowance.learn(units, bytes);
                }
                units
            }
        };
        (units, Vec::new())
    }
}

fn items(body: &Body) -> impl Iterator<Item = &[u8]> {
    let entries = body.iter().flat_map(|segment| messages(segment, &[1]));
    let scopes = entries.flat_map(|entry| messages(entry.bytes(), &[2]));
    scopes.flat_map(|scope| spans(scope.bytes())).map(|item| item.inner)
}

/// What Honeycomb counts: spans, their events and links, and log records.
fn events(signal: Signal, body: &Body) -> u64 {
    match signal {
        Signal::Traces => items(body)
            .map(Tally::of_span)
            .map(|tally| 1 + u64::from(tally.events) + u64::from(tally.links))
            .sum(),
        Signal::Logs => items(body).count() as u64,
        Signal::Metrics => 0,
    }
}

/// The trace ids in a body, one for each run of spans. Spans without one are not sent to X-Ray.
fn trace_ids(body: &Body) -> impl Iterator<Item = u128> {
    let id = |span| <[u8; 16]>::try_from(digest::trace_id(span)).ok();
    let mut last = 0;
    items(body).filter_map(id).map(u128::from_be_bytes).filter(move |id| {
        let is_next = *id != 0 && *id != last;
        last = *id;
        is_next
    })
}
