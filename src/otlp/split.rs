//! Cuts payloads by items or bytes, on bytes.
//!
//! Whole segments and whole resource entries are packed greedily and never copied: a part is a
//! list of slices. Only an entry that alone exceeds the limit is rewritten, by scopes, then by
//! items (for metrics by metrics, then by data points): each piece repeats all other fields of
//! its wrappers in order, so schema URLs and unknown fields survive.
//!
//! Invariants: the parts hold every item once, in order. A part exceeds the limit only if a single
//! item does. Repeated headers may enlarge an entry only by the factor `AMPLIFICATION`; otherwise
//! it stays whole. An entry also stays whole if the account has no room for its pieces, which are
//! paid for in advance.

use bytes::Bytes;
use smallvec::SmallVec;

use super::{
    Payload, Signal,
    payload::{Body, Permit},
    purse::Purse,
    wire::{Field, FieldValue, Fields, bytes_field_len, put_bytes},
};

/// An entry is not cut if its pieces together would be larger than this multiple of its size.
/// Otherwise a sender could turn a request with a huge resource into gigabytes.
const AMPLIFICATION: usize = 4;

/// Overhead of a part in bytes: the payload in growing lists, its permits, its buffer.
const PART: usize = 512;

/// Bytes of pieces that are made even if the account has no room.
const CREDIT: usize = 1 << 20;

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Items,
    Bytes,
}

/// One level of a request: which fields hold the next level.
#[derive(Debug)]
struct Level {
    children: &'static [u32],
    below: Option<&'static Level>,
    /// Whether the children are members of a oneof. If several are set the last one wins, and
    /// fields of the same member are merged.
    is_one_of: bool,
}

const fn level(below: Option<&'static Level>) -> Level {
    Level { children: &[2], below, is_one_of: false }
}

static SCOPES: Level = level(None);
static RESOURCES: Level = level(Some(&SCOPES));
static POINTS: Level = Level { children: &[1], below: None, is_one_of: false };
static METRICS: Level =
    Level { children: &[5, 7, 9, 10, 11], below: Some(&POINTS), is_one_of: true };
static METRIC_SCOPES: Level = level(Some(&METRICS));
static METRIC_RESOURCES: Level = level(Some(&METRIC_SCOPES));

fn entry_level(signal: Signal) -> &'static Level {
    match signal {
        Signal::Traces | Signal::Logs => &RESOURCES,
        Signal::Metrics => &METRIC_RESOURCES,
    }
}

/// Items in one segment of a signal; framing only, about 4 ns an item. As at the door, a metric
/// that sets its oneof to several kinds of data has the points of all, though the last kind wins.
pub fn count_items(signal: Signal, segment: &[u8]) -> u64 {
    children(segment, &[1]).map(|entry| count(Some(entry_level(signal)), entry)).sum()
}

fn count(level: Option<&Level>, message: &[u8]) -> u64 {
    let Some(level) = level else { return 1 };
    children(message, level.children).map(|child| count(level.below, child)).sum()
}

fn children<'a>(message: &'a [u8], numbers: &[u32]) -> impl Iterator<Item = &'a [u8]> {
    Fields::new(message).flatten().filter_map(move |field| match field.value {
        FieldValue::Len(bytes) if numbers.contains(&field.number) => Some(bytes),
        _ => None,
    })
}

/// Parts of at most `max` items each (at least 1).
pub fn by_items(payload: Payload, max: u64) -> Vec<Payload> {
    if payload.items <= max {
        return vec![payload];
    }
    split(payload, max.max(1), Unit::Items)
}

/// Parts of at most `max` bytes each; a single item above it goes alone.
pub fn by_bytes(payload: Payload, max: u64) -> Vec<Payload> {
    if payload.len() as u64 <= max {
        return vec![payload];
    }
    split(payload, max.max(1), Unit::Bytes)
}

/// Cuts a payload into two parts of about the same size: between segments if there are several,
/// otherwise by items. A payload with a single item is returned.
pub fn halve(mut payload: Payload) -> Result<[Payload; 2], Payload> {
    let Some(([first, second], paid)) = halves(&payload) else { return Err(payload) };
    let mut first = payload.split_off(first.0, first.1);
    (payload.body, payload.items) = second;
    first.permits.extend(paid.clone());
    payload.permits.extend(paid);
    Ok([first, payload])
}

fn halves(payload: &Payload) -> Option<([Part; 2], Option<Permit>)> {
    if payload.body.len() > 1 {
        let (left, right) = payload.body.split_at(payload.body.len() / 2);
        let items = left.iter().map(|segment| count_items(payload.signal, segment)).sum::<u64>();
        let rest = payload.items.saturating_sub(items);
        return Some(([(left.into(), items), (right.into(), rest)], None));
    }
    if payload.items < 2 {
        return None;
    }
    let (parts, paid) = parts(payload, payload.items.div_ceil(2), Unit::Items)?;
    let mut parts = parts.into_iter();
    let (first, mut second) = (parts.next()?, parts.next()?);
    for (body, items) in parts {
        second.0.extend(body);
        second.1 += items;
    }
    Some(([first, second], paid))
}

/// A body with its number of items.
type Part = (Body, u64);

fn split(payload: Payload, max: u64, unit: Unit) -> Vec<Payload> {
    let Some((parts, paid)) = parts(&payload, max, unit) else { return vec![payload] };
    let mut divided = payload.divide(parts);
    for part in &mut divided {
        part.permits.extend(paid.clone());
    }
    divided
}

/// Parts, with the permits for rewritten pieces; `None` if those cannot be paid for.
fn parts(payload: &Payload, max: u64, unit: Unit) -> Option<(Vec<Part>, Option<Permit>)> {
    let mut purse = Purse::new(payload.permits.first(), CREDIT);
    let size = if unit == Unit::Items { payload.items } else { payload.len() as u64 };
    // Two neighbouring parts together exceed the limit.
    let most = usize::try_from(2 * size.div_ceil(max) + 1).unwrap_or(usize::MAX);
    purse.pay(most.saturating_mul(PART)).ok()?;
    let mut packer = Packer {
        signal: payload.signal,
        max,
        unit,
        purse,
        written: 0,
        parts: Vec::new(),
        body: Body::new(),
        fill: 0,
        items: 0,
    };
    for segment in &payload.body {
        packer.segment(segment);
    }
    packer.flush();
    // Much of what was drawn is given back, because pieces were written level by level.
    let written = packer.written + packer.written / 8 + packer.parts.len() * PART;
    let paid = payload.permits.first().map(|account| account.more(written as u64));
    Some((packer.parts, paid))
}

struct Packer {
    signal: Signal,
    max: u64,
    unit: Unit,
    /// Pays for pieces.
    purse: Purse,
    /// Bytes of them.
    written: usize,
    parts: Vec<Part>,
    body: Body,
    /// Of `body`, in `unit`.
    fill: u64,
    items: u64,
}

impl Packer {
    fn measure(&self, bytes: usize, items: u64) -> u64 {
        match self.unit {
            Unit::Items => items,
            Unit::Bytes => bytes as u64,
        }
    }

    fn flush(&mut self) {
        if !self.body.is_empty() {
            let body = std::mem::take(&mut self.body);
            self.parts.push((body, self.items));
        }
        (self.fill, self.items) = (0, 0);
    }

    /// Adds bytes that are a valid request.
    fn add(&mut self, bytes: Bytes, items: u64) {
        let size = self.measure(bytes.len(), items);
        if self.fill + size > self.max {
            self.flush();
        }
        self.fill += size;
        self.items += items;
        self.body.push(bytes);
    }

    fn segment(&mut self, segment: &Bytes) {
        let signal = self.signal;
        let items = count_items(signal, segment);
        if self.fill + self.measure(segment.len(), items) <= self.max {
            return self.add(segment.clone(), items);
        }
        let level = entry_level(signal);
        // Adjacent bytes stay one slice.
        let (mut start, mut end, mut run_items) = (0, 0, 0);
        for field in Fields::new(segment).flatten() {
            let items = if field.number == 1 { count(Some(level), field.bytes()) } else { 0 };
            let run = self.measure(end - start + field.whole.len(), run_items + items);
            if self.fill + run > self.max {
                if end > start {
                    self.add(segment.slice(start..end), run_items);
                }
                (start, run_items) = (end, 0);
                if self.measure(field.whole.len(), items) > self.max {
                    let whole = segment.slice(end..end + field.whole.len());
                    match field.value {
                        FieldValue::Len(entry) if field.number == 1 => {
                            self.entry(whole, entry, items);
                        }
                        _ => self.add(whole, 0),
                    }
                    end += field.whole.len();
                    start = end;
                    continue;
                }
                self.flush();
            }
            end += field.whole.len();
            run_items += items;
        }
        if end > start {
            self.add(segment.slice(start..end), run_items);
        }
    }

    /// Adds an entry that alone exceeds the limit, in pieces.
    fn entry(&mut self, whole: Bytes, entry: &[u8], items: u64) {
        let mut cutter = Cutter {
            max: self.max,
            unit: self.unit,
            left: entry.len() * AMPLIFICATION + 65_536,
            purse: &mut self.purse,
        };
        match cutter.cut(entry_level(self.signal), entry, 16) {
            Some(pieces) => {
                for (piece, items) in pieces {
                    let mut bytes = Vec::with_capacity(piece.len() + 8);
                    put_bytes(&mut bytes, 1, &piece);
                    drop(piece);
                    self.written += bytes.len();
                    self.add(bytes.into(), items);
                }
            }
            None => self.add(whole, items),
        }
    }
}

/// Rewrites one message into pieces.
struct Cutter<'p> {
    max: u64,
    unit: Unit,
    /// Bytes that may still be written.
    left: usize,
    purse: &'p mut Purse,
}

type Pieces = SmallVec<[(Vec<u8>, u64); 2]>;

impl Cutter<'_> {
    /// The pieces of `message`, each with its number of items; `None` if they would amplify too
    /// much. `around` is what the outer wrappers add to each piece.
    fn cut(&mut self, level: &Level, message: &[u8], around: usize) -> Option<Pieces> {
        if level.is_one_of {
            self.purse.pay(2 * message.len()).ok()?;
        }
        let united = united(level, message);
        let message = united.as_deref().unwrap_or(message);
        let header = self.header(level, message)?;
        let around = around + header.len();
        let mut pieces = Pieces::new();
        let (mut piece, mut items) = (Vec::new(), 0);
        for field in Fields::new(message).flatten() {
            if !level.children.contains(&field.number) {
                continue;
            }
            let child_items = count(level.below, field.bytes());
            let size = self.size(around, field.whole.len(), child_items);
            let filled = self.size(
                around + piece.len().saturating_sub(header.len()),
                field.whole.len(),
                items + child_items,
            );
            if filled > self.max {
                // Wrappers without items that fill a piece are not worth a piece of their own.
                let full = std::mem::take(&mut piece);
                if items > 0 {
                    self.spend(full.len())?;
                    pieces.push((full, std::mem::take(&mut items)));
                }
            }
            match level.below {
                Some(below) if size > self.max => {
                    for (part, part_items) in self.cut(below, field.bytes(), around + 8)? {
                        pieces.push((self.wrap(&header, field.number, &part)?, part_items));
                    }
                }
                _ => {
                    if piece.is_empty() {
                        self.append(&mut piece, &header)?;
                    }
                    self.append(&mut piece, field.whole)?;
                    items += child_items;
                }
            }
        }
        if items > 0 || pieces.is_empty() {
            if piece.is_empty() {
                self.append(&mut piece, &header)?;
            }
            self.spend(piece.len())?;
            pieces.push((piece, items));
        }
        Some(pieces)
    }

    /// The fields of a message beside the next level, which every piece repeats.
    fn header(&mut self, level: &Level, message: &[u8]) -> Option<Vec<u8>> {
        let is_header = |field: &Field<'_>| !level.children.contains(&field.number);
        let fields = || Fields::new(message).flatten().filter(is_header);
        let len = fields().map(|field| field.whole.len()).sum();
        self.purse.pay(2 * len).ok()?;
        let mut header = Vec::with_capacity(len);
        for field in fields() {
            header.extend_from_slice(field.whole);
        }
        Some(header)
    }

    /// A piece of one field, which is a part of the field of the message.
    fn wrap(&mut self, header: &[u8], number: u32, part: &[u8]) -> Option<Vec<u8>> {
        let len = header.len() + bytes_field_len(number, part.len());
        self.spend(len)?;
        self.purse.pay(len).ok()?;
        let mut wrapped = Vec::with_capacity(len);
        wrapped.extend_from_slice(header);
        put_bytes(&mut wrapped, number, part);
        Some(wrapped)
    }

    fn size(&self, around: usize, bytes: usize, items: u64) -> u64 {
        match self.unit {
            Unit::Items => items,
            Unit::Bytes => (around + bytes) as u64,
        }
    }

    /// Counts a piece.
    fn spend(&mut self, bytes: usize) -> Option<()> {
        self.left = self.left.checked_sub(bytes)?;
        Some(())
    }

    /// Appends to a piece, which is paid for as it grows.
    fn append(&mut self, piece: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
        let len = piece.len() + bytes.len();
        if len > piece.capacity() {
            let capacity = len.max(2 * piece.capacity());
            self.purse.pay(capacity).ok()?;
            piece.reserve_exact(capacity - piece.len());
        }
        piece.extend_from_slice(bytes);
        Some(())
    }
}

/// For a message whose oneof is set several times: the message with the last member only, in one
/// field; `None` if it is set once. Otherwise each piece would have another member.
fn united(level: &Level, message: &[u8]) -> Option<Vec<u8>> {
    let is_child = |number| level.children.contains(&number);
    let fields = || Fields::new(message).flatten();
    if !level.is_one_of || fields().filter(|f| is_child(f.number)).count() < 2 {
        return None;
    }
    let (mut number, mut member, mut united) = (0, Vec::new(), Vec::new());
    for field in fields() {
        if !is_child(field.number) {
            united.extend_from_slice(field.whole);
            continue;
        }
        if number != field.number {
            (number, member) = (field.number, Vec::new());
        }
        member.extend_from_slice(field.bytes());
    }
    put_bytes(&mut united, number, &member);
    Some(united)
}

#[cfg(test)]
mod tests;
