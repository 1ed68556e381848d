//! Events packed into requests by the limits of `PutLogEvents`: at most 10 000 events and 1 MiB
//! with 26 bytes more for each, in order of time, at most 24 hours from first to last.
//!
//! The text of all events of a stream is one buffer, which its batches share.
//!
//! The room for a piece pays for all that is needed to make its events and to send them, see
//! [`cost`].

use std::{collections::HashMap, ops::Range, sync::Arc};

use foldhash::fast::RandomState;

use super::left_out::LeftOut;
use crate::{
    component::{Piece, Work},
    otlp::content::Walk,
};

/// Bytes that AWS adds to each message when it counts the size of a batch.
const OVERHEAD: usize = 26;
/// Most bytes of a batch.
const BATCH_BYTES: usize = 1 << 20;
/// Most events of a batch.
const BATCH_EVENTS: usize = 10_000;
/// Most milliseconds from the first event of a batch to its last.
const SPAN: i64 = 24 * 60 * 60 * 1000;
/// Most bytes of a message that a batch can have.
pub(in super::super) const LONGEST_MESSAGE: usize = BATCH_BYTES - OVERHEAD;
/// The end of an event that was cut.
pub(in super::super) const CUT: &str = "[Truncated...]";

/// Bytes for an event besides its text: its entry here, its member of the call, and its JSON.
const EVENT: usize = 384;
/// Bytes for a stream besides its names, of which there are four copies.
const STREAM: usize = 1024;

/// Where an event goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in super::super) struct Target {
    pub(in super::super) group: String,
    pub(in super::super) stream: String,
}

/// The events of a piece by their streams.
#[derive(Debug)]
pub(in super::super) struct Gather {
    room: usize,
    held: usize,
    has_events: bool,
    streams: Vec<(Stream, Vec<Event>)>,
    places: HashMap<Target, usize, RandomState>,
    note: Note,
}

/// A stream, and the text of its events.
#[derive(Debug)]
struct Stream {
    target: Target,
    text: Vec<u8>,
}

/// An event as a part of the text of its stream.
#[derive(Debug, Clone, Copy)]
struct Event {
    /// Milliseconds since 1970; `None`: the time when it is sent.
    millis: Option<i64>,
    from: usize,
    to: usize,
}

impl Event {
    /// Bytes of a batch.
    fn size(&self) -> usize {
        self.to - self.from + OVERHEAD
    }
}

impl Gather {
    /// Takes at most `room` bytes.
    pub(in super::super) fn within(room: usize) -> Self {
        Gather {
            room,
            held: 0,
            has_events: false,
            streams: Vec::new(),
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
        let place = self.streams.len();
        self.held += STREAM + 4 * (target.group.len() + target.stream.len());
        self.places.insert(target.clone(), place);
        self.streams.push((Stream { target, text: Vec::new() }, Vec::new()));
        place
    }

    /// Adds the message that `write` appends; its time is `nanos` since 1970, or unknown if that is
    /// 0. `write` gets the longest length that the message may have, and returns whether it
    /// shortened the message. A longer message is cut between two characters. Returns false, and
    /// adds nothing, if there is no room for it behind other events.
    pub(in super::super) fn push(
        &mut self,
        target: usize,
        nanos: u64,
        longest: usize,
        write: impl FnOnce(&mut Vec<u8>, usize) -> bool,
    ) -> bool {
        let left = self.left();
        // In the call the message may be twice as long; a first message that is too long is cut.
        let longest = longest.min(self.room / 6);
        let most = longest.min(left / if self.has_events { 4 } else { 6 });
        let text = &mut self.streams[target].0.text;
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
            // Each character may become six in the call.
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

    /// Adds an event whose text has been written.
    fn add(&mut self, target: usize, nanos: u64, cost: usize, place: Range<usize>) {
        self.held += cost;
        self.has_events = true;
        let millis = (nanos > 0).then_some((nanos / 1_000_000).cast_signed());
        self.streams[target].1.push(Event { millis, from: place.start, to: place.end });
    }

    /// Adds a message that cannot be cut. Returns whether there was room for it.
    pub(in super::super) fn push_whole(&mut self, target: usize, nanos: u64, text: &[u8]) -> bool {
        let fits = text.len() <= LONGEST_MESSAGE && cost(text) <= self.left();
        if fits {
            let all = &mut self.streams[target].0.text;
            let from = all.len();
            all.extend_from_slice(text);
            let to = all.len();
            self.add(target, nanos, cost(text), from..to);
        }
        fits
    }

    /// Counts an event that was written without a part of its resource or scope.
    pub(in super::super) fn shorten(&mut self) {
        self.note.shortened += 1;
    }

    /// All bytes that it may hold.
    pub(in super::super) fn room(&self) -> usize {
        self.room
    }

    /// All of it as a piece that ends at the position of `walk`.
    pub(in super::super) fn finish(self, work: &Work<'_>, walk: &Walk<'_>) -> Piece<Arc<Batches>> {
        let held = self.held;
        work.piece(Arc::new(self.batches()), held, walk)
    }

    /// Counts an item that becomes no event.
    pub(in super::super) fn leave_out(&mut self, reason: LeftOut) {
        self.note.left_out[reason as usize] += 1;
    }

    /// Counts names that were changed.
    pub(in super::super) fn rename(&mut self, names: u64) {
        self.note.renamed += names;
    }

    pub(super) fn batches(self) -> Batches {
        let mut all = Vec::new();
        for (stream, events) in self.streams {
            cut_into_batches(stream, events, &mut all);
        }
        Batches { note: self.note, all }
    }
}

/// What is sent of a piece.
#[derive(Debug, Default)]
pub(in super::super) struct Batches {
    pub(in super::super) note: Note,
    /// Batches of one stream are next to each other, in order.
    pub(in super::super) all: Vec<Batch>,
}

impl Batches {
    /// What CloudWatch Logs bills: the bytes of all messages, with 26 more for each.
    pub(in super::super) fn billed(&self) -> u64 {
        let events = self.all.iter().flat_map(|batch| &batch.events);
        events.map(|event| event.size() as u64).sum()
    }

    /// The batches of each stream.
    pub(super) fn streams(&self) -> impl Iterator<Item = Range<usize>> {
        let mut end = 0;
        self.all.chunk_by(Batch::has_stream_of).map(move |stream| {
            let begin = end;
            end += stream.len();
            begin..end
        })
    }
}

/// Events for one call of `PutLogEvents`.
#[derive(Debug)]
pub(in super::super) struct Batch {
    stream: Arc<Stream>,
    events: Vec<Event>,
}

impl Batch {
    pub(in super::super) fn target(&self) -> &Target {
        &self.stream.target
    }

    /// Times in milliseconds since 1970, and messages. An event without a time has that of `now`.
    pub(in super::super) fn events(&self, now: i64) -> impl ExactSizeIterator<Item = (i64, &[u8])> {
        let event = move |event: &Event| {
            (event.millis.unwrap_or(now), &self.stream.text[event.from..event.to])
        };
        self.events.iter().map(event)
    }

    fn has_stream_of(&self, other: &Batch) -> bool {
        Arc::ptr_eq(&self.stream, &other.stream)
    }
}

/// What the translation of a piece left out and changed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(in super::super) struct Note {
    left_out: [u64; LeftOut::ALL.len()],
    /// Names that were changed.
    pub(in super::super) renamed: u64,
    /// Events that were shortened.
    pub(in super::super) shortened: u64,
}

impl Note {
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

/// Most bytes that an event takes while it is sent: its text here, in the call, and in JSON, which
/// is escaped and whose buffer grows by doubling. Making the event takes no more.
fn cost(text: &[u8]) -> usize {
    let escapes = |some: &[u8]| -> usize {
        let is_two = |byte: u8| u8::from(byte == b'"') | u8::from(byte == b'\\');
        let of = |byte: u8| usize::from(is_two(byte)) + 5 * usize::from(byte < 0x20);
        some.iter().map(|byte| of(*byte)).sum()
    };
    4 * text.len() + 2 * escapes(text) + EVENT
}

/// Cuts the text after `from` between two characters, and marks its end.
pub(in super::super) fn cut(text: &mut Vec<u8>, from: usize, longest: usize) {
    let mut end = text.len().min(from + longest.saturating_sub(CUT.len()));
    // A byte in the middle of a character begins with the bits 10.
    while end > from && text.get(end).is_some_and(|byte| byte & 0xC0 == 0x80) {
        end -= 1;
    }
    text.truncate(end);
    text.extend_from_slice(CUT.as_bytes());
}

/// Appends the events of a stream as batches, in order of time.
fn cut_into_batches(mut stream: Stream, mut events: Vec<Event>, all: &mut Vec<Batch>) {
    // The sort is stable: events of the same time keep their order.
    events.sort_by_key(|event| event.millis);
    stream.text.shrink_to_fit();
    let stream = Arc::new(stream);
    let (mut batch, mut bytes): (Vec<Event>, usize) = (Vec::new(), 0);
    let mut end = |events| all.push(Batch { stream: Arc::clone(&stream), events });
    for event in events {
        let is_within = batch.first().is_none_or(|first| {
            batch.len() < BATCH_EVENTS
                && bytes + event.size() <= BATCH_BYTES
                && is_near(first.millis, event.millis)
        });
        if !is_within {
            end(std::mem::take(&mut batch));
            bytes = 0;
        }
        bytes += event.size();
        batch.push(event);
    }
    if !batch.is_empty() {
        end(batch);
    }
}

/// Whether events of these times may be in one batch.
fn is_near(first: Option<i64>, last: Option<i64>) -> bool {
    match (first, last) {
        (Some(first), Some(last)) => last.saturating_sub(first) <= SPAN,
        (None, None) => true,
        _ => false,
    }
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

    fn gathered(events: &[(u64, &str)]) -> Batches {
        let mut gather = Gather::within(usize::MAX);
        let place = gather.target(target("s"));
        for (millis, text) in events {
            assert!(gather.push(place, millis * MILLI, LONGEST_MESSAGE, write(text)));
        }
        gather.batches()
    }

    fn sizes(batches: &Batches) -> Vec<usize> {
        batches.all.iter().map(|batch| batch.events(7).len()).collect()
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
        let batches = gather.batches();
        let cut = std::str::from_utf8(batches.all[0].events(7).next().unwrap().1).unwrap();
        assert_eq!(cut, format!("{}{CUT}", "\u{20ac}".repeat(8)));
        assert_eq!(batches.note.shortened, 1);
    }

    #[test]
    fn what_has_no_room_waits_and_what_has_none_at_all_is_cut() {
        let mut gather = Gather::within(10_000);
        let place = gather.target(target("s"));
        let controls = "\u{1}".repeat(3000);
        assert!(gather.push(place, MILLI, LONGEST_MESSAGE, write(&controls)));
        assert!(!gather.push(place, MILLI, LONGEST_MESSAGE, write("x")));
        let batches = gather.batches();
        let events: Vec<_> = batches.all[0].events(7).collect();
        let [(_, message)] = events[..] else { panic!() };
        assert!((500..700).contains(&message.len()), "{}", message.len());
        assert!(message.ends_with(CUT.as_bytes()));
    }

    #[test]
    fn events_without_a_time_have_a_batch_of_their_own_and_without_a_text_none() {
        let batches = gathered(&[(5, "b"), (0, "x"), (3, "a"), (4, "")]);
        assert_eq!(batches.note.left_out(LeftOut::Empty), 1);
        let events: Vec<Vec<_>> =
            batches.all.iter().map(|batch| batch.events(7).collect()).collect();
        assert_eq!(events, [vec![(7, &b"x"[..])], vec![(3, &b"a"[..]), (5, &b"b"[..])]]);
    }

    proptest! {
        #[test]
        fn all_that_was_pushed_is_in_a_batch_within_the_limits(
            events in prop::collection::vec((0..200 * HOUR, "[a-z]{0,20}", 0..3_usize), 0..300)
        ) {
            let mut gather = Gather::within(usize::MAX);
            for (millis, text, stream) in &events {
                let place = gather.target(target(&stream.to_string()));
                gather.push(place, millis * MILLI, LONGEST_MESSAGE, write(text));
            }
            let batches = gather.batches();
            let mut back = Vec::new();
            for batch in &batches.all {
                let times: Vec<i64> = batch.events(0).map(|(millis, _)| millis).collect();
                prop_assert!(times.is_sorted());
                prop_assert!(times[times.len() - 1] - times[0] <= SPAN);
                for (millis, text) in batch.events(0) {
                    let text = String::from_utf8(text.to_vec()).unwrap();
                    let stream = batch.target().stream.parse().unwrap();
                    back.push((millis.unsigned_abs(), text, stream));
                }
            }
            let streams: Vec<_> = batches.streams().collect();
            prop_assert_eq!(streams.iter().map(Range::len).sum::<usize>(), batches.all.len());
            for stream in streams.windows(2) {
                let [one, next] = [0, 1].map(|at| batches.all[stream[at].start].target());
                prop_assert_ne!(one, next);
            }
            let mut sent: Vec<(u64, String, usize)> = events;
            let empty = sent.iter().filter(|(_, text, _)| text.is_empty()).count() as u64;
            sent.retain(|(_, text, _)| !text.is_empty());
            prop_assert_eq!(batches.note.left_out(LeftOut::Empty), empty);
            back.sort();
            sent.sort();
            prop_assert_eq!(back, sent);
        }
    }
}
