//! Events packed into requests by the limits of `PutLogEvents`: at most 10 000 events and 1 MiB
//! with 26 bytes more for each, in order of time, at most 24 hours from first to last.
//!
//! Each batch is one piece of a request: names and events one after the other, so that it can be
//! read back without a search.
//!
//! What events take is counted with what it takes to make and to send them, so that all of it is
//! within the room for a piece, see [`cost`].

use std::{collections::HashMap, ops::Range};

use bytes::{BufMut as _, Bytes};
use foldhash::fast::RandomState;

use super::left_out::LeftOut;
use crate::{
    component::{Piece, Work},
    otlp::content::Walk,
};

/// What each event counts for besides its message.
const OVERHEAD: usize = 26;
/// Most bytes of a batch.
const BATCH_BYTES: usize = 1 << 20;
/// Most events of a batch.
const BATCH_EVENTS: usize = 10_000;
/// Most milliseconds from the first event of a batch to its last.
const SPAN: i64 = 24 * 60 * 60 * 1000;
/// Most bytes of a message that a batch can have.
pub(in super::super) const LONGEST_MESSAGE: usize = BATCH_BYTES - OVERHEAD;
/// What an event that was cut ends with.
pub(in super::super) const CUT: &str = "[Truncated...]";

/// What an event takes beside its text: its place, twice, its member of the call, and its JSON.
const EVENT: usize = 384;
/// What a stream takes beside its names, of which there are four.
const STREAM: usize = 1024;

/// In the place of the time of an event that has none: that of its request.
const UNTIMED: i64 = i64::MIN;

/// Where an event goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in super::super) struct Target {
    pub(in super::super) group: String,
    pub(in super::super) stream: String,
}

/// The events of a piece by where they go.
#[derive(Debug)]
pub(in super::super) struct Gather {
    room: usize,
    held: usize,
    has_events: bool,
    targets: Vec<(Target, Events)>,
    places: HashMap<Target, usize, RandomState>,
    note: Note,
}

/// The events of one stream.
#[derive(Debug, Default)]
struct Events {
    text: Vec<u8>,
    all: Vec<Event>,
}

#[derive(Debug, Clone, Copy)]
struct Event {
    millis: i64,
    from: usize,
    to: usize,
}

impl Event {
    fn cost(&self) -> usize {
        self.to - self.from + OVERHEAD
    }
}

impl Gather {
    /// With room for so many bytes.
    pub(in super::super) fn within(room: usize) -> Self {
        Gather {
            room,
            held: 0,
            has_events: false,
            targets: Vec::new(),
            places: HashMap::default(),
            note: Note::default(),
        }
    }

    /// Bytes that are left.
    pub(in super::super) fn left(&self) -> usize {
        self.room.saturating_sub(self.held)
    }

    /// The number of a stream, for [`Gather::push`].
    pub(in super::super) fn target(&mut self, target: Target) -> usize {
        if let Some(place) = self.places.get(&target) {
            return *place;
        }
        let place = self.targets.len();
        self.held += STREAM + 4 * (target.group.len() + target.stream.len());
        self.places.insert(target.clone(), place);
        self.targets.push((target, Events::default()));
        place
    }

    /// Adds the message that `write` appends; `nanos` since 1970 is its time, 0: it has none.
    /// `write` is told how long it may be, and says whether it shortened it; what is above is cut
    /// on a character's boundary. False: there is no room for it behind other events, and nothing
    /// was added.
    pub(in super::super) fn push(
        &mut self,
        target: usize,
        nanos: u64,
        longest: usize,
        write: impl FnOnce(&mut Vec<u8>, usize) -> bool,
    ) -> bool {
        let left = self.left();
        // What is written may be twice as long in the call, and is first where it is too long.
        let longest = longest.min(self.room / 6);
        let most = longest.min(left / if self.has_events { 4 } else { 6 });
        let text = &mut self.targets[target].1.text;
        let from = text.len();
        let mut is_short = write(text, most);
        if text.len() - from > most {
            cut(text, from, most);
            is_short = true;
        }
        if text.len() == from {
            self.leave_out(LeftOut::Empty);
            return true;
        }
        let mut cost = cost(&text[from..]);
        if self.has_events && (cost > left || is_short && most < longest) {
            text.truncate(from);
            return false;
        }
        if cost > left {
            // Characters that become six in the call.
            let most = left.saturating_sub(EVENT) / 14;
            if text.len() - from > most {
                cut(text, from, most);
                is_short = true;
            }
            cost = left;
        }
        self.note.shortened += u64::from(is_short);
        let to = text.len();
        self.add(target, nanos, cost, from..to);
        true
    }

    /// Adds an event whose text is there.
    fn add(&mut self, target: usize, nanos: u64, cost: usize, place: Range<usize>) {
        self.held += cost;
        self.has_events = true;
        let millis = (nanos / 1_000_000).cast_signed();
        let millis = if nanos == 0 { UNTIMED } else { millis };
        self.targets[target].1.all.push(Event { millis, from: place.start, to: place.end });
    }

    /// Adds a message that cannot be cut; whether there is room for it.
    pub(in super::super) fn push_whole(&mut self, target: usize, nanos: u64, text: &[u8]) -> bool {
        let fits = text.len() <= LONGEST_MESSAGE && cost(text) <= self.left();
        if fits {
            let all = &mut self.targets[target].1.text;
            let from = all.len();
            all.extend_from_slice(text);
            let to = all.len();
            self.add(target, nanos, cost(text), from..to);
        }
        fits
    }

    /// Counts an event that was written without a part of what it shares.
    pub(in super::super) fn shorten(&mut self) {
        self.note.shortened += 1;
    }

    /// All bytes that it may hold.
    pub(in super::super) fn room(&self) -> usize {
        self.room
    }

    /// All of it as a piece that ends where a walk is.
    pub(in super::super) fn finish(self, work: &Work<'_>, walk: &Walk<'_>) -> Piece {
        let held = self.held;
        let mut piece = work.piece(self.pieces().collect(), walk);
        let made: usize = piece.request.body.iter().map(Bytes::len).sum();
        piece.beside = held.saturating_sub(made);
        piece
    }

    /// Counts an item that becomes no event.
    pub(in super::super) fn leave_out(&mut self, reason: LeftOut) {
        self.note.left_out[reason as usize] += 1;
    }

    /// Counts names that were changed.
    pub(in super::super) fn rename(&mut self, names: u64) {
        self.note.renamed += names;
    }

    /// The pieces of a request: its [`Note`], then one for each batch.
    pub(super) fn pieces(mut self) -> impl Iterator<Item = Bytes> {
        let note = self.note.piece();
        let batches = std::mem::take(&mut self.targets).into_iter().flat_map(|(target, events)| {
            events.batches().into_iter().map(move |(text, all)| piece(&target, &text, &all))
        });
        std::iter::once(note).chain(batches)
    }
}

/// What the translation of a payload left out and changed: the first piece of a request.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(in super::super) struct Note {
    left_out: [u64; LeftOut::ALL.len()],
    pub(in super::super) renamed: u64,
    /// Events that were shortened.
    pub(in super::super) shortened: u64,
}

impl Note {
    fn piece(&self) -> Bytes {
        let numbers =
            self.left_out.iter().chain([&self.renamed, &self.shortened]).map(u64::to_string);
        numbers.collect::<Vec<_>>().join(" ").into()
    }

    pub(in super::super) fn read(piece: &[u8]) -> Self {
        let text = std::str::from_utf8(piece).unwrap_or_default();
        let mut numbers = text.split(' ').map(|number| number.parse().unwrap_or_default());
        let mut own = Note::default();
        let counts = own.left_out.iter_mut();
        for number in counts.chain([&mut own.renamed, &mut own.shortened]) {
            *number = numbers.next().unwrap_or_default();
        }
        own
    }

    pub(in super::super) fn left_out(&self, reason: LeftOut) -> u64 {
        self.left_out[reason as usize]
    }

    /// Items that are lost.
    #[cfg(test)]
    pub(in super::super) fn lost(&self) -> u64 {
        let reasons = LeftOut::ALL.into_iter().filter(|reason| reason.is_loss());
        reasons.map(|reason| self.left_out(reason)).sum()
    }
}

/// What an event takes at most while it is sent: here, in the call, and in its JSON, which grows by
/// doubling and escapes it. While it is made, its text takes no more.
fn cost(text: &[u8]) -> usize {
    let escapes = |some: &[u8]| -> usize {
        let is_two = |byte: u8| u8::from(byte == b'"') | u8::from(byte == b'\\');
        let of = |byte: u8| usize::from(is_two(byte)) + 5 * usize::from(byte < 0x20);
        some.iter().map(|byte| of(*byte)).sum()
    };
    4 * text.len() + 2 * escapes(text) + EVENT
}

/// Cuts what comes after `from`, on a character's boundary, and marks it.
pub(in super::super) fn cut(text: &mut Vec<u8>, from: usize, longest: usize) {
    let mut end = text.len().min(from + longest.saturating_sub(CUT.len()));
    // A byte in the middle of a character begins with the bits 10.
    while end > from && text.get(end).is_some_and(|byte| byte & 0xC0 == 0x80) {
        end -= 1;
    }
    text.truncate(end);
    text.extend_from_slice(CUT.as_bytes());
}

impl Events {
    /// Cuts them into batches, in order.
    fn batches(mut self) -> Vec<(Bytes, Vec<Event>)> {
        // Stable: what is of the same time stays as it came.
        self.all.sort_by_key(|event| event.millis);
        let text = Bytes::from(self.text);
        let mut batches = Vec::new();
        let mut batch: Vec<Event> = Vec::new();
        let mut bytes = 0;
        for event in self.all {
            let is_within = batch.first().is_none_or(|first| {
                batch.len() < BATCH_EVENTS
                    && bytes + event.cost() <= BATCH_BYTES
                    && (first.millis == UNTIMED) == (event.millis == UNTIMED)
                    && event.millis.saturating_sub(first.millis) <= SPAN
            });
            if !is_within {
                batches.push((text.clone(), std::mem::take(&mut batch)));
                bytes = 0;
            }
            bytes += event.cost();
            batch.push(event);
        }
        if !batch.is_empty() {
            batches.push((text, batch));
        }
        batches
    }
}

fn piece(target: &Target, text: &[u8], events: &[Event]) -> Bytes {
    let names = target.group.len() + target.stream.len();
    let bytes: usize = events.iter().map(Event::cost).sum();
    let mut piece = Vec::with_capacity(names + bytes + 8);
    put(&mut piece, target.group.as_bytes());
    put(&mut piece, target.stream.as_bytes());
    for event in events {
        piece.put_i64(event.millis);
        put(&mut piece, &text[event.from..event.to]);
    }
    piece.into()
}

fn put(piece: &mut Vec<u8>, text: &[u8]) {
    // No message is longer than a batch.
    piece.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
    piece.extend_from_slice(text);
}

/// A piece that was read back.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Batch<'p> {
    pub(in super::super) group: &'p str,
    pub(in super::super) stream: &'p str,
    /// Milliseconds since 1970, and messages.
    pub(in super::super) events: Vec<(i64, &'p [u8])>,
}

impl<'p> Batch<'p> {
    /// Reads a piece; events without a time have that of `now`, in milliseconds.
    pub(in super::super) fn read(mut piece: &'p [u8], now: i64) -> Option<Self> {
        let group = std::str::from_utf8(take(&mut piece)?).ok()?;
        let stream = std::str::from_utf8(take(&mut piece)?).ok()?;
        let mut events = Vec::new();
        while let Some((millis, rest)) = piece.split_first_chunk() {
            piece = rest;
            let millis = i64::from_be_bytes(*millis);
            let millis = if millis == UNTIMED { now } else { millis };
            events.push((millis, take(&mut piece)?));
        }
        Some(Batch { group, stream, events })
    }
}

/// The names in a piece.
pub(super) fn names(mut piece: &[u8]) -> Option<(&[u8], &[u8])> {
    Some((take(&mut piece)?, take(&mut piece)?))
}

fn take<'p>(piece: &mut &'p [u8]) -> Option<&'p [u8]> {
    let (len, rest) = piece.split_first_chunk()?;
    let (text, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)?;
    *piece = rest;
    Some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MILLI: u64 = 1_000_000;
    const HOUR: u64 = 60 * 60 * 1000;

    fn target(stream: &str) -> Target {
        Target { group: "g".to_owned(), stream: stream.to_owned() }
    }

    fn write(text: &str) -> impl FnOnce(&mut Vec<u8>, usize) -> bool {
        move |out, _| {
            out.extend_from_slice(text.as_bytes());
            false
        }
    }

    fn gathered(events: &[(u64, &str)]) -> Vec<Bytes> {
        let mut gather = Gather::within(usize::MAX);
        let place = gather.target(target("s"));
        for (millis, text) in events {
            assert!(gather.push(place, millis * MILLI, LONGEST_MESSAGE, write(text)));
        }
        gather.pieces().collect()
    }

    fn sizes(pieces: &[Bytes]) -> Vec<usize> {
        pieces[1..].iter().map(|piece| Batch::read(piece, 7).unwrap().events.len()).collect()
    }

    /// L01.
    #[test]
    fn a_batch_has_ten_thousand_events() {
        assert_eq!(sizes(&gathered(&vec![(1, "x"); 10_001])), [10_000, 1]);
    }

    /// L03.
    #[test]
    fn a_batch_spans_a_day_to_the_millisecond() {
        assert_eq!(sizes(&gathered(&[(1, "a"), (1 + 24 * HOUR, "b")])), [2]);
        assert_eq!(sizes(&gathered(&[(1, "a"), (2 + 24 * HOUR, "b")])), [1, 1]);
    }

    #[test]
    fn a_batch_is_full_to_the_byte() {
        let half = "x".repeat(BATCH_BYTES / 2 - OVERHEAD);
        assert_eq!(sizes(&gathered(&[(1, &half), (1, &half)])), [2]);
        assert_eq!(sizes(&gathered(&[(1, &half), (1, &half), (1, "x")])), [2, 1]);
    }

    #[test]
    fn a_message_is_cut_between_characters() {
        let mut gather = Gather::within(usize::MAX);
        let place = gather.target(target("s"));
        let text = "\u{20ac}".repeat(20);
        assert!(gather.push(place, MILLI, 40, write(&text)));
        let pieces: Vec<Bytes> = gather.pieces().collect();
        let batch = Batch::read(&pieces[1], 7).unwrap();
        let cut = std::str::from_utf8(batch.events[0].1).unwrap();
        assert_eq!(cut, format!("{}{CUT}", "\u{20ac}".repeat(8)));
        assert_eq!(Note::read(&pieces[0]).shortened, 1);
    }

    #[test]
    fn what_has_no_room_waits_and_what_has_none_at_all_is_cut() {
        let mut gather = Gather::within(10_000);
        let place = gather.target(target("s"));
        let controls = "\u{1}".repeat(3000);
        assert!(gather.push(place, MILLI, LONGEST_MESSAGE, write(&controls)));
        assert!(!gather.push(place, MILLI, LONGEST_MESSAGE, write("x")));
        let pieces: Vec<Bytes> = gather.pieces().collect();
        let batch = Batch::read(&pieces[1], 7).unwrap();
        let [(_, message)] = batch.events[..] else { panic!() };
        assert!((500..700).contains(&message.len()), "{}", message.len());
        assert!(message.ends_with(CUT.as_bytes()));
    }

    #[test]
    fn events_without_a_time_have_a_batch_of_their_own_and_without_a_text_none() {
        let pieces = gathered(&[(5, "b"), (0, "x"), (3, "a"), (4, "")]);
        assert_eq!(Note::read(&pieces[0]).left_out(LeftOut::Empty), 1);
        let batches: Vec<Batch<'_>> =
            pieces[1..].iter().map(|piece| Batch::read(piece, 7).unwrap()).collect();
        assert_eq!(batches[0].events, [(7, &b"x"[..])]);
        assert_eq!(batches[1].events, [(3, &b"a"[..]), (5, &b"b"[..])]);
    }

    proptest! {
        #[test]
        fn all_that_was_pushed_is_read_back_within_the_limits(
            events in prop::collection::vec((0..200 * HOUR, "[a-z]{0,20}", 0..3_usize), 0..300)
        ) {
            let mut gather = Gather::within(usize::MAX);
            for (millis, text, stream) in &events {
                let place = gather.target(target(&stream.to_string()));
                gather.push(place, millis * MILLI, LONGEST_MESSAGE, write(text));
            }
            let pieces: Vec<Bytes> = gather.pieces().collect();
            let mut back = Vec::new();
            for piece in &pieces[1..] {
                let batch = Batch::read(piece, 0).unwrap();
                let times: Vec<i64> = batch.events.iter().map(|(millis, _)| *millis).collect();
                prop_assert!(times.is_sorted());
                prop_assert!(times[times.len() - 1] - times[0] <= SPAN);
                for (millis, text) in batch.events {
                    let text = String::from_utf8(text.to_vec()).unwrap();
                    back.push((millis.unsigned_abs(), text, batch.stream.parse().unwrap()));
                }
            }
            let mut sent: Vec<(u64, String, usize)> = events;
            let empty = sent.iter().filter(|(_, text, _)| text.is_empty()).count() as u64;
            sent.retain(|(_, text, _)| !text.is_empty());
            prop_assert_eq!(Note::read(&pieces[0]).left_out(LeftOut::Empty), empty);
            back.sort();
            sent.sort();
            prop_assert_eq!(back, sent);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = Batch::read(&bytes, 0);
        }
    }
}
