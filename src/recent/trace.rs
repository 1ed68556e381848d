//! One trace in the form that a waterfall draws: one value per span and column, spans in pre-order,
//! children after their parent by start. What is odd is mended and said: a parent that did not come
//! is a row of its own with its children below it, and a circle of parents is cut at its earliest
//! span.

use std::{collections::HashMap, sync::Arc, time::Instant};

use serde::Serialize;

use super::{
    chunk::{Chunk, HAS_ID, HAS_PARENT, Kind, range},
    fate::Told,
    settings::Honesty,
    traces::rows_of,
    whole::Recent,
};
use crate::otlp::{
    view::{Message, Span, Text},
    wire::{FieldValue, Fields},
};

/// Most spans that are shown; of a larger trace the earliest.
const SPANS: usize = 80_000;
/// Most events that are shown.
const EVENTS: usize = 20_000;

/// Bits 0 to 2 of a row's flags are its kind, bits 3 and 4 its status.
const STATUS: u32 = 3 << 3;
/// The row stands for a parent that did not come.
const IS_MISSING: u32 = 1 << 5;
/// The row had a parent that would have made a circle.
const IS_CUT: u32 = 1 << 6;
/// The span has links.
const HAS_LINKS: u32 = 1 << 7;

/// A trace in columns. All lists but `names`, `services` and `events` have one value per row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trace {
    /// Its id in hexadecimal.
    pub trace: String,
    /// Start of its earliest span, nanoseconds since 1970 as text; times count from it.
    pub base_ns: String,
    /// Rows.
    pub n: usize,
    /// Names that rows and events have.
    pub names: Vec<String>,
    /// Services that rows have.
    pub services: Vec<String>,
    /// Row of the parent; -1 for none.
    pub parent: Vec<i32>,
    /// Microseconds from the base.
    pub start: Vec<f64>,
    /// Microseconds.
    pub duration: Vec<f64>,
    /// Place in `names`.
    pub name: Vec<u32>,
    /// Place in `services`.
    pub service: Vec<u32>,
    /// Bits 0 to 2: kind. 3 and 4: status, 2 is an error. 5: a parent that did not come. 6: its
    /// parent was left out, since it made a circle. 7: it has links.
    pub flags: Vec<u32>,
    /// Where the span is held, for [`Recent::span`]; 0 for a parent that did not come.
    pub at: Vec<u64>,
    /// Id of the span in hexadecimal; empty if it has none.
    pub id: Vec<String>,
    /// Events of all rows.
    pub events: Events,
    /// Spans that are held but not shown, since there are too many.
    pub hidden: usize,
    /// Spans that have been evicted.
    pub gone: u32,
    /// Parents that did not come.
    pub missing: usize,
    /// Circles of parents that were cut.
    pub circles: usize,
    /// What became of it.
    pub fate: Told,
    /// How far this can be trusted.
    #[serde(flatten)]
    pub honesty: Honesty,
}

/// Events in columns.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Events {
    /// Row of the span.
    pub row: Vec<u32>,
    /// Microseconds from the base.
    pub time: Vec<f64>,
    /// Place in `names`.
    pub name: Vec<u32>,
    /// Events that are held but not shown, since there are too many.
    pub hidden: usize,
}

/// A span of the trace.
struct One<'c> {
    chunk: &'c Chunk,
    row: usize,
}

impl One<'_> {
    fn start(&self) -> u64 {
        self.chunk.columns.start[self.row]
    }

    fn id(&self) -> Option<u64> {
        self.chunk.has(self.row, HAS_ID).then(|| self.chunk.columns.id[self.row])
    }

    fn parent(&self) -> Option<u64> {
        self.chunk.has(self.row, HAS_PARENT).then(|| self.chunk.columns.parent[self.row])
    }
}

impl Recent {
    /// A trace by its id; none if no span of it is held. `now`: nanoseconds since 1970.
    pub fn trace(&self, id: &[u8; 16], now: u64) -> Option<Trace> {
        let begun = Instant::now();
        let (chunks, mut honesty) = self.snapshot(Kind::Spans, now);
        let mut spans: Vec<One<'_>> = Vec::new();
        for chunk in &chunks {
            spans.extend(rows_of(chunk, id).map(|row| One { chunk, row }));
        }
        if spans.is_empty() {
            return None;
        }
        honesty.scanned = spans.len() as u64;
        spans.sort_by_key(|span| (span.start(), span.chunk.number, span.row));
        let hidden = spans.len().saturating_sub(SPANS);
        spans.truncate(SPANS);
        let (fate, gone) = {
            let store = self.locked();
            let slot = store.slots.find(id).map(|slot| *store.slots.at(slot));
            let fate = slot.map(|slot| store.labels.told(slot.fate)).unwrap_or_default();
            (fate, slot.map_or(0, |slot| slot.gone))
        };
        let tree = Tree::of(&spans);
        let mut trace = Drawing::new(&spans, spans[0].start()).draw(&tree);
        trace.trace = format!("{:032x}", u128::from_be_bytes(*id));
        (trace.fate, trace.gone, trace.hidden) = (fate, gone, hidden);
        honesty.took_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        honesty.is_partial = hidden > 0;
        trace.honesty = honesty;
        Some(trace)
    }
}

/// A row: a span by its place, or a parent that did not come by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Span(usize),
    Missing(u64),
}

/// Rows in pre-order, each with the row of its parent.
struct Tree {
    rows: Vec<(Node, i32)>,
    /// For each span whether it was cut off its parent.
    is_cut: Vec<bool>,
    missing: usize,
    circles: usize,
}

const NO_PARENT: usize = usize::MAX;

impl Tree {
    /// `spans` are sorted by start.
    fn of(spans: &[One<'_>]) -> Self {
        let mut by_id: HashMap<u64, usize, foldhash::fast::RandomState> = HashMap::default();
        for (at, span) in spans.iter().enumerate().rev() {
            // Of several spans with one id the earliest has the children.
            span.id().map(|id| by_id.insert(id, at));
        }
        let mut tree =
            Tree { rows: Vec::new(), is_cut: vec![false; spans.len()], missing: 0, circles: 0 };
        let mut parents = vec![NO_PARENT; spans.len()];
        let mut tops: Vec<Node> = Vec::new();
        let mut orphans: HashMap<u64, Vec<usize>, foldhash::fast::RandomState> = HashMap::default();
        for (at, span) in spans.iter().enumerate() {
            match span.parent().map(|id| (id, by_id.get(&id))) {
                Some((_, Some(parent))) if *parent != at => parents[at] = *parent,
                // A span that is its own parent is the smallest circle.
                Some((_, Some(_))) => tree.cut(at, &mut tops),
                None => tops.push(Node::Span(at)),
                Some((id, None)) => {
                    let below = orphans.entry(id).or_default();
                    if below.is_empty() {
                        tops.push(Node::Missing(id));
                    }
                    below.push(at);
                }
            }
        }
        tree.missing = orphans.len();
        tree.cut_circles(&mut parents, &mut tops);
        let start = |node: &Node| match node {
            Node::Span(at) => *at,
            Node::Missing(id) => orphans.get(id).map_or(usize::MAX, |below| below[0]),
        };
        tops.sort_by_key(start);
        tree.order(&parents, &orphans, &tops);
        tree
    }

    fn cut(&mut self, at: usize, tops: &mut Vec<Node>) {
        self.is_cut[at] = true;
        self.circles += 1;
        tops.push(Node::Span(at));
    }

    /// Cuts every circle at its earliest span: from each span the way up is walked once.
    fn cut_circles(&mut self, parents: &mut [usize], tops: &mut Vec<Node>) {
        // 0: not walked; else the number of the walk, counted from 1.
        let mut walked = vec![0_usize; parents.len()];
        for begin in 0..parents.len() {
            let mut at = begin;
            while at != NO_PARENT && walked[at] == 0 {
                walked[at] = begin + 1;
                at = parents[at];
            }
            if at == NO_PARENT || walked[at] != begin + 1 {
                continue;
            }
            // This walk came back to itself.
            let mut earliest = at;
            let mut next = parents[at];
            while next != at {
                earliest = earliest.min(next);
                next = parents[next];
            }
            parents[earliest] = NO_PARENT;
            self.cut(earliest, tops);
        }
    }

    /// Pre-order without recursion: traces may be as deep as they are long.
    fn order(
        &mut self,
        parents: &[usize],
        orphans: &HashMap<u64, Vec<usize>, foldhash::fast::RandomState>,
        tops: &[Node],
    ) {
        let mut ends = vec![0_usize; parents.len() + 1];
        for parent in parents.iter().filter(|parent| **parent != NO_PARENT) {
            ends[parent + 1] += 1;
        }
        for at in 0..parents.len() {
            ends[at + 1] += ends[at];
        }
        let mut children = vec![0; ends[parents.len()]];
        let mut next = ends.clone();
        for (at, parent) in parents.iter().enumerate().filter(|(_, parent)| **parent != NO_PARENT) {
            children[next[*parent]] = at;
            next[*parent] += 1;
        }
        let mut stack: Vec<(Node, i32)> = tops.iter().rev().map(|top| (*top, -1)).collect();
        while let Some((node, parent)) = stack.pop() {
            let row = i32::try_from(self.rows.len()).unwrap_or(i32::MAX);
            self.rows.push((node, parent));
            let below = match node {
                Node::Span(at) => &children[ends[at]..ends[at + 1]],
                Node::Missing(id) => orphans.get(&id).map_or(&[][..], Vec::as_slice),
            };
            stack.extend(below.iter().rev().map(|child| (Node::Span(*child), row)));
        }
    }
}

/// The columns while they are filled.
struct Drawing<'s, 'c> {
    spans: &'s [One<'c>],
    base: u64,
    trace: Trace,
    names: Listed,
    services: Listed,
    /// The rests of chunks, by their numbers.
    rests: HashMap<u32, std::borrow::Cow<'c, [u8]>>,
}

impl<'s, 'c> Drawing<'s, 'c> {
    fn new(spans: &'s [One<'c>], base: u64) -> Self {
        let mut rests = HashMap::new();
        for span in spans {
            rests.entry(span.chunk.number).or_insert_with(|| span.chunk.rest.unpack());
        }
        let (names, services) = (Listed::default(), Listed::default());
        Drawing { spans, base, trace: Trace::empty(base), names, services, rests }
    }

    #[expect(clippy::cast_precision_loss, reason = "microseconds of a trace")]
    fn since(&self, time: u64) -> f64 {
        time.saturating_sub(self.base) as f64 / 1e3
    }

    #[expect(clippy::cast_precision_loss, reason = "microseconds of a trace")]
    fn draw(mut self, tree: &Tree) -> Trace {
        for (row, (node, parent)) in tree.rows.iter().enumerate() {
            self.trace.parent.push(*parent);
            match node {
                Node::Missing(id) => self.missing(*id, tree, row),
                Node::Span(at) => {
                    let One { chunk, row: held } = self.spans[*at];
                    let cut = if tree.is_cut[*at] { IS_CUT } else { 0 };
                    let number = self.names.add(chunk.name(held));
                    let service = self.services.add(chunk.service(held));
                    let start = self.since(chunk.columns.start[held]);
                    let flags = u32::from(chunk.columns.flags[held]) & (7 | STATUS);
                    let links = self.events(row, chunk, held);
                    let trace = &mut self.trace;
                    trace.start.push(start);
                    trace.duration.push(chunk.duration(held) as f64 / 1e3);
                    trace.name.push(number);
                    trace.service.push(service);
                    trace.flags.push(flags | cut | links);
                    trace.at.push(u64::from(chunk.number) << 16 | held as u64);
                    let id = self.spans[*at].id();
                    trace.id.push(id.map_or_else(String::new, |id| format!("{id:016x}")));
                }
            }
        }
        self.trace.n = tree.rows.len();
        (self.trace.missing, self.trace.circles) = (tree.missing, tree.circles);
        self.trace.names = self.names.shown();
        self.trace.services = self.services.shown();
        self.trace
    }

    /// A row for a parent that did not come: as long as its children.
    fn missing(&mut self, id: u64, tree: &Tree, row: usize) {
        let own = i32::try_from(row).unwrap_or(i32::MAX);
        // Its children come right after it, with what is below them in between.
        let below = tree.rows[row + 1..].iter().take_while(|(_, parent)| *parent >= own);
        let children = below.filter(|(_, parent)| *parent == own);
        let (mut start, mut end, mut service) = (u64::MAX, 0, None);
        for (node, _) in children {
            let Node::Span(at) = node else { continue };
            let One { chunk, row } = &self.spans[*at];
            start = start.min(chunk.columns.start[*row]);
            end = end.max(chunk.columns.end[*row]);
            service = service.or(Some(chunk.service(*row)));
        }
        let (start, end) = (self.since(start), self.since(end));
        let name = self.names.add(b"missing parent");
        let service = self.services.add(service.unwrap_or_default());
        let trace = &mut self.trace;
        trace.start.push(start);
        trace.duration.push((end - start).max(0.0));
        trace.name.push(name);
        trace.service.push(service);
        trace.flags.push(IS_MISSING);
        trace.at.push(0);
        trace.id.push(format!("{id:016x}"));
    }

    /// Lists the events of a span, and says whether it has links.
    fn events(&mut self, row: usize, chunk: &'c Chunk, held: usize) -> u32 {
        let Some(rest) = self.rests.get(&chunk.number) else { return 0 };
        let rest = rest.get(range(&chunk.columns.rest_end, held)).unwrap_or_default();
        let (mut events, mut links) = (false, 0);
        for field in Fields::new(rest).map_while(Result::ok) {
            match (field.number, field.value) {
                (11, FieldValue::Len(_)) => events = true,
                (13, FieldValue::Len(_)) => links = HAS_LINKS,
                _ => {}
            }
        }
        if !events {
            return links;
        }
        let found: Vec<(f64, String)> = Span::from(Message::new(rest))
            .events()
            .map(|event| (self.since(event.time_unix_nano), event.name.to_str().into_owned()))
            .collect();
        for (time, name) in found {
            if self.trace.events.row.len() == EVENTS {
                self.trace.events.hidden += 1;
                continue;
            }
            let name = self.names.add(name.as_bytes());
            self.trace.events.row.push(u32::try_from(row).unwrap_or(u32::MAX));
            self.trace.events.time.push(time);
            self.trace.events.name.push(name);
        }
        links
    }
}

impl Trace {
    fn empty(base: u64) -> Self {
        Trace {
            trace: String::new(),
            base_ns: base.to_string(),
            n: 0,
            names: Vec::new(),
            services: Vec::new(),
            parent: Vec::new(),
            start: Vec::new(),
            duration: Vec::new(),
            name: Vec::new(),
            service: Vec::new(),
            flags: Vec::new(),
            at: Vec::new(),
            id: Vec::new(),
            events: Events::default(),
            hidden: 0,
            gone: 0,
            missing: 0,
            circles: 0,
            fate: Told::default(),
            honesty: Honesty::default(),
        }
    }
}

/// Texts with their places.
#[derive(Default)]
struct Listed {
    places: HashMap<Vec<u8>, u32, foldhash::fast::RandomState>,
    texts: Vec<String>,
}

impl Listed {
    fn add(&mut self, text: &[u8]) -> u32 {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let place = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        self.places.insert(text.to_vec(), place);
        self.texts.push(Text(text).to_str().into_owned());
        place
    }

    fn shown(self) -> Vec<String> {
        self.texts
    }
}

/// Chunks with the newest first, for those who look for a place.
pub(super) fn place(chunks: &[Arc<Chunk>], at: u64) -> Option<(&Chunk, usize)> {
    let number = u32::try_from(at >> 16).ok()?;
    let chunk = super::traces::chunk_of(chunks, number)?;
    let row = usize::try_from(at & 0xFFFF).ok()?;
    (row < chunk.rows()).then_some((chunk, row))
}
