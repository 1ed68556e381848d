//! What is in a payload: its traces, each with its class and its units, and which trace each item
//! belongs to. One walk over the bytes.
//!
//! A trace is as bad as the worst of its items in the payload: one error makes all of it an error.
//! An item without a trace is a trace of its own.

use std::{collections::HashMap, hash::BuildHasher as _};

use foldhash::fast::RandomState;

use crate::{
    budget::{Class, stride},
    component::Count,
    otlp::{
        Payload, Signal, digest,
        payload::Reason,
        purse::Purse,
        sampling::{Randomness, Said, Threshold},
        splice::messages,
        tally::Tally,
        view::{LogRecord, Message},
    },
};

/// What CloudWatch Logs counts for an event beside its message.
pub(super) const EVENT: u64 = 26;

/// A trace, as far as it is in this payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trace {
    /// A keyed hash of its id, 0 for an item without a trace.
    pub(super) key: u64,
    pub(super) randomness: Option<Randomness>,
    /// The lowest threshold that one of its items was sampled by before.
    pub(super) sampled: Threshold,
    pub(super) class: Class,
    /// Items of it in this payload.
    pub(super) items: u32,
    pub(super) units: u64,
}

/// Who wants units: the resource entry and the item that are noted, with their units.
pub(super) type Note<'n> = &'n mut dyn FnMut(&[u8], &[u8], u64);

/// A payload, measured.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) traces: Vec<Trace>,
    /// The trace of each item, in the order of the items.
    pub(super) of_items: Vec<u32>,
}

/// How items are measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    pub(super) count: Count,
    /// Nanoseconds from which on a span is slow.
    pub(super) slow: u64,
}

struct Measuring<'p> {
    scale: Scale,
    hasher: &'p RandomState,
    purse: &'p mut Purse,
    measured: Measured,
    known: HashMap<u128, u32, RandomState>,
    /// The trace of the last item: spans of a trace mostly follow one another.
    last: (u128, u32),
}

/// Bytes of an entry of the table of traces, about.
const ENTRY: usize = 48;

/// Measures the spans or the log records of a payload. `purse` pays for what that takes. Shows
/// every so many items to `note`, as [`stride`] says, with the units of so many.
pub(super) fn measure(
    payload: &Payload,
    scale: Scale,
    hasher: &RandomState,
    purse: &mut Purse,
    note: Note<'_>,
) -> Result<Measured, Reason> {
    let last = (0, u32::MAX);
    let (measured, known) = (Measured::default(), HashMap::default());
    let mut measuring = Measuring { scale, hasher, purse, measured, known, last };
    let stride = stride(usize::try_from(payload.items).unwrap_or(usize::MAX));
    let mut before_note = 0;
    for segment in &payload.body {
        for entry in messages(segment, &[1]) {
            for scope in messages(entry.bytes(), &[2]) {
                for item in digest::spans(scope.bytes()) {
                    let units = if payload.signal == Signal::Traces {
                        measuring.span(item.inner)?
                    } else {
                        measuring.record(item.inner)?
                    };
                    if before_note == 0 {
                        before_note = stride;
                        note(entry.bytes(), item.inner, units.saturating_mul(stride as u64));
                    }
                    before_note -= 1;
                }
            }
        }
    }
    Ok(measuring.measured)
}

impl Measuring<'_> {
    /// Adds a span; returns its units.
    #[inline]
    fn span(&mut self, span: &[u8]) -> Result<u64, Reason> {
        let tally = Tally::of_span(span);
        let class = if tally.is_error() {
            Class::Error
        } else if tally.nanos >= self.scale.slow {
            Class::Slow
        } else {
            Class::Rest
        };
        let units = match self.scale.count {
            Count::Events => 1 + u64::from(tally.events) + u64::from(tally.links),
            Count::Occurrences => u64::from(tally.exceptions),
            // Of traces one each, which is counted where they are known.
            Count::Traces | Count::ByExporter => 0,
            Count::Items => 1,
            Count::Bytes => span.len() as u64 + EVENT,
        };
        let said = match tally.trace_state {
            [] => Said::default(),
            text => Said::by_trace_state(text).unwrap_or_default(),
        };
        self.add(tally.trace_id, class, units, said)
    }

    /// Adds a log record; returns its units.
    fn record(&mut self, record: &[u8]) -> Result<u64, Reason> {
        let tally = Tally::of_record(record);
        let class = if tally.has_failed { Class::Error } else { Class::Rest };
        let units = match self.scale.count {
            Count::Events | Count::Items => 1,
            Count::Occurrences => u64::from(tally.has_failed || has_exception(record)),
            Count::Bytes => record.len() as u64 + EVENT,
            Count::Traces | Count::ByExporter => 0,
        };
        // Records say it in attributes, so it is looked for only where one is a candidate.
        let said = if has_word(record, b"sampling.") {
            Said::by_record(&LogRecord::from(Message::new(record))).unwrap_or_default()
        } else {
            Said::default()
        };
        self.add(tally.trace_id, class, units, said)
    }

    #[inline]
    fn add(&mut self, id: &[u8], class: Class, units: u64, said: Said) -> Result<u64, Reason> {
        let traces = self.measured.traces.len();
        let at = self.trace(id)?;
        self.purse.push(&mut self.measured.of_items, at)?;
        let trace = &mut self.measured.traces[at as usize];
        trace.class = trace.class.min(class);
        trace.units += units;
        trace.items += 1;
        trace.sampled = trace.sampled.min(said.threshold.unwrap_or(Threshold::ALWAYS));
        trace.randomness = said.randomness.or(trace.randomness);
        let is_first = self.measured.traces.len() > traces;
        Ok(if self.scale.count == Count::Traces { u64::from(is_first) } else { units })
    }

    /// The place of a trace.
    #[inline]
    fn trace(&mut self, id: &[u8]) -> Result<u32, Reason> {
        let id = <[u8; 16]>::try_from(id).map_or(0, u128::from_be_bytes);
        if id != 0 && self.last.0 == id {
            return Ok(self.last.1);
        }
        let at = u32::try_from(self.measured.traces.len()).map_err(|_| Reason::TooLarge)?;
        if id != 0 {
            let known = &mut self.known;
            if known.len() == known.capacity() {
                self.purse.pay(known.len().max(16) * ENTRY)?;
            }
            let place = *known.entry(id).or_insert(at);
            self.last = (id, place);
            if place != at {
                return Ok(place);
            }
        }
        let (key, randomness) = match id {
            0 => (0, None),
            #[expect(clippy::cast_possible_truncation, reason = "the last 56 bits are random")]
            id => (key_of(self.hasher, id), Some(Randomness::from_bits(id as u64))),
        };
        let (class, sampled) = (Class::Rest, Threshold::NEVER);
        let trace = Trace { key, randomness, sampled, class, items: 0, units: 0 };
        self.purse.push(&mut self.measured.traces, trace)?;
        Ok(at)
    }
}

/// What a trace is known by: nobody outside can make two that are the same.
pub(in crate::engine::export) fn key_of(hasher: &RandomState, id: u128) -> u64 {
    hasher.hash_one(id).max(1)
}

/// Whether a log record may tell of an exception, by its attributes.
fn has_exception(record: &[u8]) -> bool {
    let is_named = |key: &[u8]| matches!(key, b"exception.type" | b"exception.message");
    has_word(record, b"exception.")
        && LogRecord::from(Message::new(record)).attributes().any(|one| is_named(one.key.0))
}

/// Whether a word is anywhere in a message.
fn has_word(message: &[u8], word: &[u8]) -> bool {
    memchr::memmem::find(message, word).is_some()
}
