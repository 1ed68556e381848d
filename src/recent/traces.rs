//! The list of traces: a pass over the sums of all traces that are held. Conditions on spans are
//! looked up in the chunks first; a trace meets them if one of its spans meets them all.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::Value as Json;

use super::{
    cell::Cell,
    chunk::{Chunk, IS_ERROR, Kind},
    fate::{Decision, Told},
    field::Field,
    filter::{Condition, Filter},
    query::{QueryError, condition, list, wrong},
    settings::Honesty,
    slots::Slot,
    store::Store,
    whole::Recent,
};
use crate::otlp::view::Text;

/// Most traces of a list, and how many there are if nothing is said.
const LIMIT: u64 = 1000;
const USUAL_LIMIT: u64 = 50;
/// Conditions on spans are looked for so long.
const TIME: Duration = Duration::from_millis(250);
/// Most services that are named of a trace.
const SERVICES: usize = 20;

/// By what a list is sorted, the largest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Sort {
    #[default]
    Start,
    Duration,
    Spans,
    Errors,
}

const SORTS: [(&str, Sort); 4] = [
    ("start", Sort::Start),
    ("duration", Sort::Duration),
    ("spans", Sort::Spans),
    ("errors", Sort::Errors),
];
const KEYS: &str =
    "service, name, errors, min_ms, max_ms, where, text, decision, from_s, to_s, sort, limit";

/// Which traces are listed, and in which order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TraceFilter {
    /// What one of its spans has to meet.
    spans: Filter,
    has_errors: Option<bool>,
    /// Nanoseconds.
    duration: (Option<u64>, Option<u64>),
    decision: Option<Decision>,
    /// Nanoseconds since 1970.
    range: (Option<u64>, Option<u64>),
    sort: Sort,
    limit: u64,
}

impl TraceFilter {
    /// Reads a filter: an object with some of `service`, `name` (texts that a span has exactly),
    /// `errors` (true or false), `min_ms`, `max_ms`, `where` (conditions as in a query), `text`,
    /// `decision` (`kept`, `dropped`, `waiting`, `unknown`), `from_s`, `to_s`, `sort` (`start`,
    /// `duration`, `spans`, `errors`), `limit` (at most 1000).
    pub fn read(json: &Json) -> Result<Self, QueryError> {
        let Some(map) = json.as_object() else { return wrong("filter", "it has to be an object") };
        let mut filter = TraceFilter { limit: USUAL_LIMIT, ..TraceFilter::default() };
        for (key, value) in map.iter().filter(|(_, value)| !value.is_null()) {
            match &**key {
                "service" => filter.is(Field::Service, text(key, value)?),
                "name" => filter.is(Field::Name, text(key, value)?),
                "text" => filter.spans.text = Some(text(key, value)?.to_owned()),
                "errors" => match value.as_bool() {
                    Some(has) => filter.has_errors = Some(has),
                    None => return wrong(key, "it has to be `true` or `false`"),
                },
                "min_ms" => filter.duration.0 = Some(nanos(key, value, 1e6)?),
                "max_ms" => filter.duration.1 = Some(nanos(key, value, 1e6)?),
                "from_s" => filter.range.0 = Some(nanos(key, value, 1e9)?),
                "to_s" => filter.range.1 = Some(nanos(key, value, 1e9)?),
                "where" => {
                    for (at, item) in list(map, "where", 50)?.iter().enumerate() {
                        let (_, condition) = condition(&format!("where.{at}"), item)?;
                        filter.spans.conditions.push(condition);
                    }
                }
                "decision" => filter.decision = Some(decision(key, value)?),
                "sort" => {
                    let name = text(key, value)?;
                    match SORTS.iter().find(|(known, _)| *known == name) {
                        Some((_, sort)) => filter.sort = *sort,
                        None => {
                            return wrong(
                                key,
                                "it has to be `start`, `duration`, `spans` or `errors`",
                            );
                        }
                    }
                }
                "limit" => match value.as_u64() {
                    Some(limit @ 1..=LIMIT) => filter.limit = limit,
                    _ => return wrong(key, format!("it has to be a number from 1 to {LIMIT}")),
                },
                _ => return wrong(key, format!("there is no such key; there are {KEYS}")),
            }
        }
        Ok(filter)
    }

    fn is(&mut self, field: Field, value: &str) {
        self.spans.conditions.push(Condition::is(field, value));
    }

    /// Whether the sums of a trace meet it.
    fn has(&self, slot: &Slot) -> bool {
        let duration = slot.duration();
        slot.spans > 0
            && self.has_errors.is_none_or(|has| has == (slot.errors > 0))
            && self.duration.0.is_none_or(|least| duration >= least)
            && self.duration.1.is_none_or(|most| duration <= most)
            && self.range.0.is_none_or(|from| slot.end >= from)
            && self.range.1.is_none_or(|to| slot.start < to)
            && self.decision.is_none_or(|decision| decision == slot.fate.decision)
    }

    fn key(&self, slot: &Slot) -> u64 {
        match self.sort {
            Sort::Start => slot.start,
            Sort::Duration => slot.duration(),
            Sort::Spans => slot.spans.into(),
            Sort::Errors => slot.errors.into(),
        }
    }
}

pub(super) fn text<'j>(key: &str, value: &'j Json) -> Result<&'j str, QueryError> {
    value.as_str().map_or_else(|| wrong(key, "it has to be a text"), Ok)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float that is too large becomes the largest number"
)]
pub(super) fn nanos(key: &str, value: &Json, unit: f64) -> Result<u64, QueryError> {
    match value.as_f64() {
        Some(number) if number >= 0.0 => Ok((number * unit) as u64),
        _ => wrong(key, "it has to be a number that is not below 0"),
    }
}

fn decision(key: &str, value: &Json) -> Result<Decision, QueryError> {
    match value.as_str() {
        Some("kept") => Ok(Decision::Kept),
        Some("dropped") => Ok(Decision::Dropped),
        Some("waiting") => Ok(Decision::Waiting),
        Some("unknown") => Ok(Decision::Unknown),
        _ => wrong(key, "it has to be `kept`, `dropped`, `waiting` or `unknown`"),
    }
}

/// The part of a service in a trace.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Part {
    /// `service.name`; empty if there is none.
    pub service: String,
    /// Spans that are held.
    pub spans: u32,
    /// Those of them that failed.
    pub errors: u32,
}

/// A trace in a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Its id in hexadecimal.
    pub trace: String,
    /// Name of its root, else of its earliest span that is held.
    pub name: String,
    /// Service of that span.
    pub service: String,
    /// Whether its root has come.
    pub has_root: bool,
    /// Start of its earliest span, nanoseconds since 1970 as text.
    pub start_ns: String,
    /// From its first start to its last end.
    pub duration_ms: f64,
    /// Spans that have come.
    pub spans: u32,
    /// Those of them that failed.
    pub errors: u32,
    /// Spans that have been evicted since then.
    pub gone: u32,
    /// How many traces it stands for, since the store left out others.
    pub one_in: u32,
    /// Its services, those with the most spans first; 20 at most.
    pub services: Vec<Part>,
    /// What became of it.
    pub fate: Told,
}

/// Traces that meet a filter.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TraceList {
    /// The first ones in the order of the filter.
    pub traces: Vec<Summary>,
    /// How many there are in all.
    pub matched: usize,
    /// How far this can be trusted; `scanned` counts traces.
    #[serde(flatten)]
    pub honesty: Honesty,
}

impl Recent {
    /// The traces that meet a filter. `now`: nanoseconds since 1970.
    pub fn traces(&self, filter: &TraceFilter, now: u64) -> TraceList {
        let begun = Instant::now();
        let mut is_partial = false;
        let found = (!filter.spans.is_empty()).then(|| {
            let (chunks, _) = self.snapshot(Kind::Spans, now);
            find(&filter.spans, &chunks, begun + TIME, &mut is_partial)
        });
        let one_in = self.one_in();
        let store = &mut *self.locked();
        let chunks = store.snapshot(Kind::Spans, now);
        let mut matched: Vec<(u64, &Slot)> = store
            .slots
            .iter()
            .filter(|slot| filter.has(slot))
            .filter(|slot| found.as_ref().is_none_or(|found| found.contains(&slot.id)))
            .map(|slot| (filter.key(slot), slot))
            .collect();
        let count = matched.len();
        let limit = usize::try_from(filter.limit).unwrap_or(usize::MAX);
        // Equal ones by their ids, so that a list does not change its order by itself.
        let order = |(key, slot): &(u64, &Slot)| (std::cmp::Reverse(*key), slot.id);
        if count > limit {
            matched.select_nth_unstable_by_key(limit, order);
            matched.truncate(limit);
        }
        matched.sort_unstable_by_key(order);
        let traces = matched.iter().map(|(_, slot)| summary(store, &chunks, slot)).collect();
        let honesty = Honesty {
            held_from: store.held_from(Kind::Spans),
            scanned: store.slots.len() as u64,
            one_in,
            took_us: u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
            is_partial,
        };
        TraceList { traces, matched: count, honesty }
    }
}

/// Ids of traces with a span that meets the filter, the newest first until time is over.
fn find(
    filter: &Filter,
    chunks: &[Arc<Chunk>],
    deadline: Instant,
    is_partial: &mut bool,
) -> HashSet<[u8; 16], foldhash::fast::RandomState> {
    let mut found = HashSet::default();
    for chunk in chunks {
        if Instant::now() > deadline {
            *is_partial = true;
            break;
        }
        let rows = filter.rows(chunk).into_iter().enumerate();
        let rows = rows.filter(|(_, is_met)| *is_met);
        found.extend(rows.filter_map(|(row, _)| chunk.trace(row).copied()));
    }
    found
}

/// The chunk of a number, in a list with the newest first.
pub(super) fn chunk_of(chunks: &[Arc<Chunk>], number: u32) -> Option<&Chunk> {
    let at = chunks.partition_point(|chunk| chunk.number > number);
    chunks.get(at).filter(|chunk| chunk.number == number).map(|chunk| &**chunk)
}

/// Rows of a trace in a chunk.
pub(super) fn rows_of(chunk: &Chunk, trace: &[u8; 16]) -> impl Iterator<Item = usize> {
    let number = chunk.find_trace(trace);
    let traces = chunk.columns.trace.iter().enumerate();
    let traces = number.map(|number| traces.filter(move |(_, trace)| **trace == number));
    traces.into_iter().flatten().map(|(row, _)| row)
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds need no exactness")]
fn summary(store: &Store, chunks: &[Arc<Chunk>], slot: &Slot) -> Summary {
    let mut parts: BTreeMap<&[u8], Part> = BTreeMap::new();
    let mut head =
        slot.head.and_then(|(number, row)| Some((chunk_of(chunks, number)?, usize::from(row))));
    let (first, last) = slot.chunks;
    // Numbers begin again after the last one; then all chunks are looked at.
    let is_near = |chunk: &&Arc<Chunk>| first > last || (first..=last).contains(&chunk.number);
    for chunk in chunks.iter().filter(is_near) {
        for row in rows_of(chunk, &slot.id) {
            let part = parts.entry(chunk.service(row)).or_default();
            part.spans += 1;
            part.errors += u32::from(chunk.has(row, IS_ERROR));
            let is_earlier = |(chunk_of_head, row_of_head): (&Chunk, usize)| {
                chunk.columns.start[row] < chunk_of_head.columns.start[row_of_head]
            };
            // Its head was evicted: the earliest span that is left stands for it.
            if slot.head.is_none() && head.is_none_or(is_earlier) {
                head = Some((chunk, row));
            }
        }
    }
    let shown = |text: &[u8]| Text(text).to_str().into_owned();
    let mut services: Vec<Part> =
        parts.into_iter().map(|(service, part)| Part { service: shown(service), ..part }).collect();
    services.sort_by_key(|part| std::cmp::Reverse(part.spans));
    services.truncate(SERVICES);
    Summary {
        trace: Cell::TraceId(&slot.id).text().into_owned(),
        name: head.map_or_else(String::new, |(chunk, row)| shown(chunk.name(row))),
        service: head.map_or_else(String::new, |(chunk, row)| shown(chunk.service(row))),
        has_root: slot.has_root,
        start_ns: slot.start.to_string(),
        duration_ms: slot.duration() as f64 / 1e6,
        spans: slot.spans,
        errors: slot.errors,
        gone: slot.gone,
        one_in: 1 << slot.shift,
        services,
        fate: store.labels.told(slot.fate),
    }
}
