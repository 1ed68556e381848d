//! Where the fields and attributes of a message are: one scan finds them all, and further reads go
//! straight to them. Three conditions on attributes of a span take 180 ns so, and 280 ns if each
//! reads the span for itself (`benches/ottl.rs`).

use std::{borrow::Cow, cell::Cell, ops::Range};

use super::{
    value::{content, key_value},
    wire::{child, fields},
};
use crate::otlp::{
    attribute::usual,
    wire::{FieldValue, Fields},
};

/// Field numbers that are found; OTLP has none above in what items read.
const NUMBERS: usize = 17;

/// Attributes whose places are kept. Further ones are searched one by one.
const ATTRIBUTES: usize = 32;

/// What is kept of a key: its length and its last two bytes, since many keys begin alike.
type Sign = u32;

/// Stands for the sign of a key: the attribute has to be read to know its key.
const UNUSUAL: Sign = u32::MAX;

/// The last occurrence of each field of a message, and its attributes, found when one of them is
/// first asked for.
#[derive(Debug, Default)]
pub(crate) struct Index {
    state: Cell<State>,
    /// A bit for each number that occurs, and for each that occurs several times.
    seen: Cell<u32>,
    repeated: Cell<u32>,
    /// Where the fields that occur begin.
    starts: [Cell<usize>; NUMBERS],
    /// Number of the attributes. It is known once an attribute was asked for, and stays for the
    /// messages that follow.
    attributes: Cell<usize>,
    kept: Cell<usize>,
    /// Where the attributes begin, and the signs of their keys.
    places: [Cell<usize>; ATTRIBUTES],
    signs: [Cell<Sign>; ATTRIBUTES],
    /// Where the first attribute begins that is not kept.
    rest: Cell<Option<usize>>,
}

/// What an index knows of its message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Unknown,
    Known,
    /// All but the last edit. Often nothing is read after it.
    KnownBefore(Splice),
}

/// An attribute took the place of another, was added at the end, or was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Splice {
    /// Field number of the attributes.
    number: usize,
    at: usize,
    removed: usize,
    added: usize,
}

/// An attribute in its message.
#[derive(Debug)]
pub(crate) struct Attribute<'m> {
    /// The whole field.
    pub place: Range<usize>,
    /// Its `KeyValue` and its `AnyValue`.
    pub entry: &'m [u8],
    pub any: Cow<'m, [u8]>,
}

impl Index {
    /// Forgets what it knows, because the message has changed.
    pub(crate) fn clear(&self) {
        self.state.set(State::Unknown);
    }

    fn build(&self, message: &[u8]) {
        let attributes = self.attributes.get();
        let (mut seen, mut repeated, mut kept, mut at) = (0, 0, 0, 0);
        self.rest.set(None);
        while let Some(Outline { number, header, len }) = message.get(at..).and_then(outline) {
            let tag = message[at];
            let (mut last, mut header, mut len, mut is_run) = (at, header, len, false);
            // Attributes follow one another and are most of an item.
            loop {
                if number == attributes && number != 0 {
                    let entry = message.get(last + header..last + len).unwrap_or_default();
                    if let (Some(place), Some(sign)) = (self.places.get(kept), self.signs.get(kept))
                    {
                        place.set(last);
                        sign.set(sign_in(entry));
                        kept += 1;
                    } else if self.rest.get().is_none() {
                        self.rest.set(Some(last));
                    }
                }
                at = last + len;
                let Some([next, length @ 0..0x80, ..]) = message.get(at..) else { break };
                if *next != tag || tag & 0x87 != 2 {
                    break;
                }
                (last, header, len, is_run) = (at, 2, 2 + usize::from(*length), true);
            }
            if let Some(start) = self.starts.get(number) {
                repeated |= (seen | u32::from(is_run) << number) & 1 << number;
                seen |= 1 << number;
                start.set(last);
            }
        }
        self.seen.set(seen);
        self.repeated.set(repeated);
        self.kept.set(kept);
        self.state.set(State::Known);
    }

    fn attribute<'m>(&self, message: &'m [u8], number: u32, key: &[u8]) -> Option<Attribute<'m>> {
        self.know_attributes(message, number);
        let wanted = sign_of(key);
        let kept = self.places.iter().zip(&self.signs).take(self.kept.get());
        for (place, sign) in kept {
            if sign.get() == wanted || sign.get() == UNUSUAL {
                let found = first_attribute(message, place.get(), number);
                if let Some(found) = found.filter(|(known, _)| *known == key) {
                    return Some(found.1);
                }
            }
        }
        search(message, self.rest.get()?, number, key)
    }

    /// Whether the first attribute with a key is this text; `None` if an attribute has to be read
    /// that is not written as encoders write it.
    #[inline]
    fn is_text(&self, message: &[u8], number: u32, key: &[u8], text: &[u8]) -> Option<bool> {
        self.know_attributes(message, number);
        let wanted = sign_of(key);
        let kept = self.places.iter().zip(&self.signs).take(self.kept.get());
        for (place, sign) in kept {
            if sign.get() == UNUSUAL {
                return None;
            }
            if sign.get() == wanted {
                let (known, any) = usual_attribute(message.get(place.get()..)?)?;
                if known == key {
                    let [0x0A, len @ 0..0x80, found @ ..] = any else { return None };
                    return (usize::from(*len) == found.len()).then(|| found == text);
                }
            }
        }
        if self.rest.get().is_some() { None } else { Some(false) }
    }

    /// Finds the fields of a message, or catches up with its last edit.
    #[inline]
    fn know(&self, message: &[u8]) {
        match self.state.get() {
            State::Known => {}
            State::Unknown => self.build(message),
            State::KnownBefore(splice) => {
                if self.follow(message, splice).is_some() {
                    self.state.set(State::Known);
                } else {
                    self.build(message);
                }
            }
        }
    }

    /// The same with the attributes in the fields `number`.
    #[inline]
    fn know_attributes(&self, message: &[u8], number: u32) {
        let slot = usize::try_from(number).unwrap_or(0);
        if self.attributes.get() != slot {
            self.attributes.set(slot);
            self.build(message);
        }
        self.know(message);
    }

    /// Takes note that the attribute at `old` of `before` was replaced with one of a length. An
    /// empty place at the end of the message says that it was added, a length of zero that it was
    /// removed.
    pub(crate) fn splice(&self, before: &[u8], number: u32, old: &Range<usize>, added: usize) {
        if self.state.get() == State::Unknown {
            return;
        }
        self.know(before);
        let number = usize::try_from(number).unwrap_or(0);
        let splice = Splice { number, at: old.start, removed: old.len(), added };
        self.state.set(State::KnownBefore(splice));
    }

    /// Catches up with an edit; `None` if the message has to be read anew.
    fn follow(&self, message: &[u8], splice: Splice) -> Option<()> {
        let Splice { number, at, removed, added } = splice;
        if self.attributes.get() != number || self.rest.get().is_some() {
            return None;
        }
        let moved = |place: usize| if place > at { place - removed + added } else { place };
        for (number, start) in self.starts.iter().enumerate() {
            if self.seen.get() & 1 << number != 0 {
                start.set(moved(start.get()));
            }
        }
        let kept = self.kept.get();
        for place in self.places.iter().take(kept) {
            place.set(moved(place.get()));
        }
        if removed == 0 {
            return if at + added == message.len() { self.note_added(message, at) } else { None };
        }
        let changed = self.places[..kept].iter().position(|place| place.get() == at)?;
        if added > 0 {
            self.signs[changed].set(sign_at(message, at));
            return Some(());
        }
        // Which field of this number is the last one now, only the message knows.
        if self.starts.get(number)?.get() == at {
            return None;
        }
        for next in changed + 1..kept {
            self.places[next - 1].set(self.places[next].get());
            self.signs[next - 1].set(self.signs[next].get());
        }
        self.kept.set(kept - 1);
        Some(())
    }

    fn note_added(&self, message: &[u8], at: usize) -> Option<()> {
        let (number, kept) = (self.attributes.get(), self.kept.get());
        self.places.get(kept)?.set(at);
        self.signs.get(kept)?.set(sign_at(message, at));
        self.starts.get(number)?.set(at);
        self.kept.set(kept + 1);
        self.repeated.set(self.repeated.get() | self.seen.get() & 1 << number);
        self.seen.set(self.seen.get() | 1 << number);
        Some(())
    }
}

/// The outline of a field: its number, and the lengths of what precedes its content and of all.
struct Outline {
    number: usize,
    header: usize,
    len: usize,
}

/// The outline of the first field; the usual short forms without reading it.
#[inline]
fn outline(message: &[u8]) -> Option<Outline> {
    let (tag, header, len) = match *message {
        [tag @ 0..0x80, len @ 0..0x80, ..] if tag & 7 == 2 => (tag, 2, 2 + usize::from(len)),
        [tag @ 0..0x80, 0..0x80, ..] if tag.trailing_zeros() >= 3 => (tag, 1, 2),
        [tag @ 0..0x80, ..] if tag & 7 == 1 => (tag, 1, 9),
        [tag @ 0..0x80, low, high @ 0..0x80, ..] if tag & 7 == 2 => {
            (tag, 3, 3 + (usize::from(low & 0x7F) | usize::from(high) << 7))
        }
        _ => return long_outline(message),
    };
    Some(Outline { number: usize::from(tag >> 3), header, len })
}

#[cold]
fn long_outline(message: &[u8]) -> Option<Outline> {
    let field = Fields::new(message).next()?.ok()?;
    let len = field.whole.len();
    let content = if let FieldValue::Len(bytes) = field.value { bytes.len() } else { 0 };
    Some(Outline { number: usize::try_from(field.number).ok()?, header: len - content, len })
}

/// The sign of the key of a `KeyValue`.
#[inline]
fn sign_in(entry: &[u8]) -> Sign {
    usual(entry).map_or(UNUSUAL, |(key, _)| sign_of(key))
}

/// The sign of a key. That of a long one is the same as of an attribute that has to be read.
#[inline]
fn sign_of(key: &[u8]) -> Sign {
    match u8::try_from(key.len()) {
        Ok(len @ 0..0x80) => {
            let [before, last] = key.last_chunk().copied().unwrap_or_default();
            u32::from_le_bytes([len, before, last, 0])
        }
        _ => UNUSUAL,
    }
}

/// The sign of the key of the attribute that begins at a place.
fn sign_at(message: &[u8], at: usize) -> Sign {
    let entry = message
        .get(at..)
        .and_then(outline)
        .and_then(|outline| message.get(at + outline.header..at + outline.len));
    entry.map_or(UNUSUAL, sign_in)
}

/// The attribute that begins at a place, with its key.
#[inline]
fn first_attribute(message: &[u8], at: usize, number: u32) -> Option<(&[u8], Attribute<'_>)> {
    let field = Fields::new(message.get(at..)?).next()?.ok()?;
    let entry = content(&field, number)?;
    let (key, any) = key_value(entry);
    Some((key, Attribute { place: at..at + field.whole.len(), entry, any }))
}

/// Key and `AnyValue` of the attribute with which a message begins, if it is written as encoders
/// write it.
#[inline]
fn usual_attribute(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = match message {
        [tag, len @ 0..0x80, rest @ ..] if tag & 0x87 == 2 => (usize::from(*len), rest),
        [tag, low, high @ 0..0x80, rest @ ..] if tag & 0x87 == 2 => {
            (usize::from(*low & 0x7F) | usize::from(*high) << 7, rest)
        }
        _ => return None,
    };
    usual(rest.get(..len)?)
}

/// Looks for an attribute from a place on.
fn search<'m>(message: &'m [u8], from: usize, number: u32, key: &[u8]) -> Option<Attribute<'m>> {
    let mut at = from;
    for field in fields(message.get(from..)?) {
        if field.number == number
            && let Some((known, found)) = first_attribute(message, at, number)
            && known == key
        {
            return Some(found);
        }
        at += field.whole.len();
    }
    None
}

/// A message with its index, if it has one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Indexed<'m> {
    pub message: &'m [u8],
    pub index: Option<&'m Index>,
}

impl<'m> Indexed<'m> {
    /// A message that is read once.
    pub(crate) fn plain(message: &'m [u8]) -> Self {
        Indexed { message, index: None }
    }

    /// The last occurrence of a scalar.
    #[inline]
    pub(crate) fn last(self, number: u32) -> Option<FieldValue<'m>> {
        let slot = usize::try_from(number).ok();
        let (Some(index), Some(slot)) = (self.index, slot.filter(|slot| *slot < NUMBERS)) else {
            return super::wire::last(self.message, number);
        };
        index.know(self.message);
        if index.seen.get() & 1 << slot == 0 {
            return None;
        }
        let field = self.message.get(index.starts[slot].get()..)?;
        if let [0..0x80, number @ 0..0x80, ..] = field
            && field[0].trailing_zeros() >= 3
        {
            return Some(FieldValue::Varint(u64::from(*number)));
        }
        Some(Fields::new(field).next()?.ok()?.value)
    }

    /// The first attribute with a key among the `KeyValue` fields `number`.
    #[inline]
    pub(crate) fn attribute(self, number: u32, key: &[u8]) -> Option<Attribute<'m>> {
        match self.index {
            Some(index) => index.attribute(self.message, number, key),
            None => search(self.message, 0, number, key),
        }
    }

    /// Whether the first attribute with a key is this text; `None` if it has to be read for that.
    #[inline]
    pub(crate) fn is_text(self, number: u32, key: &[u8], text: &[u8]) -> Option<bool> {
        self.index?.is_text(self.message, number, key, text)
    }

    /// Bytes of a field, empty if it is absent.
    #[inline]
    pub(crate) fn bytes(self, number: u32) -> &'m [u8] {
        match self.last(number) {
            Some(FieldValue::Len(bytes)) => bytes,
            _ => &[],
        }
    }

    /// Number of a field, 0 if it is absent.
    #[inline]
    pub(crate) fn number(self, number: u32) -> u64 {
        match self.last(number) {
            Some(FieldValue::Varint(bits) | FieldValue::Fixed64(bits)) => bits,
            Some(FieldValue::Fixed32(bits)) => u64::from(bits),
            _ => 0,
        }
    }

    /// A singular message field; its parts are joined.
    pub(crate) fn child(self, number: u32) -> Option<Cow<'m, [u8]>> {
        match (self.last(number)?, self.index) {
            (FieldValue::Len(only), Some(index)) if index.repeated.get() & (1 << number) == 0 => {
                Some(Cow::Borrowed(only))
            }
            _ => child(self.message, number),
        }
    }

    /// The last of several fields.
    pub(crate) fn last_of(self, numbers: &[u32]) -> Option<(u32, u64)> {
        let mut found = None;
        for field in fields(self.message).filter(|field| numbers.contains(&field.number)) {
            found = Some((field.number, field.number_value()));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{Value, wire::last},
        *,
    };
    use crate::otlp::{
        Signal,
        splice::messages,
        wild::{self, OneOfs},
        wire::put_bytes,
    };

    fn spans(request: &[u8]) -> Vec<&[u8]> {
        let inner = |message| messages(message, &[2]).map(|field| field.bytes());
        let entries = messages(request, &[1]).map(|field| field.bytes());
        entries.flat_map(inner).flat_map(inner).collect()
    }

    fn key_value_bytes(key: &[u8]) -> Vec<u8> {
        let mut entry = Vec::new();
        put_bytes(&mut entry, 1, key);
        put_bytes(&mut entry, 2, &[0x0A, 1, b'x']);
        entry
    }

    proptest! {
        #[test]
        fn fields_and_attributes_are_those_of_the_message(seed: u64, more in 0_usize..80) {
            let request = wild::request(Signal::Traces, seed, OneOfs::Mixed);
            let index = Index::default();
            for span in spans(&request) {
                let mut span = span.to_vec();
                for n in 0..more {
                    put_bytes(&mut span, 9, &key_value_bytes(format!("key.{}", n % 50).as_bytes()));
                }
                index.clear();
                let (plain, indexed) =
                    (Indexed::plain(&span), Indexed { message: &span, index: Some(&index) });
                for number in 0..20 {
                    prop_assert_eq!(indexed.last(number), last(&span, number));
                    prop_assert_eq!(indexed.child(number), child(&span, number));
                }
                let entries = fields(&span).filter_map(|field| content(&field, 9).map(key_value));
                let keys: Vec<&[u8]> = entries.map(|(key, _)| key).chain([&b"absent"[..]]).collect();
                for key in keys {
                    for text in [&b"x"[..], b"y"] {
                        let is_so = plain.attribute(9, key).is_some_and(|one| {
                            matches!(Value::read(&one.any), Value::Text(found) if *found == *text)
                        });
                        prop_assert_eq!(indexed.is_text(9, key, text).unwrap_or(is_so), is_so);
                    }
                    let (found, expected) = (indexed.attribute(9, key), plain.attribute(9, key));
                    let shown = |one: Option<Attribute<'_>>| {
                        one.map(|one| (one.place, one.entry.to_vec(), one.any.into_owned()))
                    };
                    prop_assert_eq!(shown(found), shown(expected));
                }
            }
        }

        #[test]
        fn an_index_follows_edits_of_attributes(
            seed: u64,
            more in 0_usize..40,
            edits in proptest::collection::vec((0_usize..60, 0_usize..4, any::<bool>()), 1..12),
        ) {
            let request = wild::request(Signal::Traces, seed, OneOfs::Mixed);
            let index = Index::default();
            for span in spans(&request).into_iter().take(3) {
                let mut span = span.to_vec();
                for n in 0..more {
                    put_bytes(&mut span, 9, &key_value_bytes(format!("key.{n}").as_bytes()));
                }
                index.clear();
                for (key, change, is_read) in &edits {
                    let key = format!("key.{key}");
                    let indexed = Indexed { message: &span, index: Some(&index) };
                    let end = span.len()..span.len();
                    let old = indexed.attribute(9, key.as_bytes()).map_or(end, |one| one.place);
                    let mut new = Vec::new();
                    match change {
                        0 => {}
                        // Of another length, with another key, and as it is.
                        1 => put_bytes(&mut new, 9, &key_value_bytes(&[b'k'; 150])),
                        2 => put_bytes(&mut new, 9, &key_value_bytes(b"key.7")),
                        _ => put_bytes(&mut new, 9, &key_value_bytes(key.as_bytes())),
                    }
                    if old.is_empty() && new.is_empty() {
                        continue;
                    }
                    index.splice(&span, 9, &old, new.len());
                    span.splice(old, new);
                    if !is_read {
                        continue;
                    }
                    let (plain, indexed) =
                        (Indexed::plain(&span), Indexed { message: &span, index: Some(&index) });
                    for number in 0..20 {
                        prop_assert_eq!(indexed.last(number), last(&span, number));
                        prop_assert_eq!(indexed.child(number), child(&span, number));
                    }
                    for key in (0..60).map(|n| format!("key.{n}")) {
                        let found = indexed.attribute(9, key.as_bytes()).map(|one| one.place);
                        let expected = plain.attribute(9, key.as_bytes()).map(|one| one.place);
                        prop_assert_eq!(found, expected);
                    }
                }
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>, number in 0_u32..20) {
            let index = Index::default();
            let indexed = Indexed { message: &bytes, index: Some(&index) };
            let key = b"x";
            let found = indexed.attribute(number, key).map_or(0, |found| found.place.end);
            prop_assert!(found <= bytes.len());
            prop_assert!(indexed.bytes(number).len() <= bytes.len());
        }
    }

    #[test]
    fn the_first_of_several_attributes_with_a_key_is_found_also_beyond_those_kept() {
        let mut span = Vec::new();
        for n in 0..100 {
            put_bytes(&mut span, 9, &key_value_bytes(format!("k{n:02}").as_bytes()));
        }
        put_bytes(&mut span, 9, &key_value_bytes(b"k70"));
        let index = Index::default();
        let indexed = Indexed { message: &span, index: Some(&index) };
        let len = span.len() / 101;
        for n in [0, 31, 32, 70, 99] {
            let found = indexed.attribute(9, format!("k{n:02}").as_bytes());
            assert_eq!(found.map(|found| found.place), Some(n * len..(n + 1) * len));
        }
    }
}
