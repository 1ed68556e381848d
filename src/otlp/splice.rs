//! Edits OTLP bytes without decoding them. Untouched ranges are copied verbatim, unknown fields
//! survive, and the lengths of all ancestors are rewritten as minimal varints.
//!
//! A [`Splicer`] follows a walk down the message tree and remembers where each ancestor begins. It
//! writes nothing until something changes. Then it copies the bytes up to that point, in one piece
//! for each ancestor. If nothing changes, the caller keeps its own bytes.
//!
//! A message whose length changes is written after a gap as wide as the old length. If the new
//! length has another width the message is moved by a byte, which happens only when a size crosses
//! 127, 16 383 or 2 097 151.
//!
//! A copy is paid for before it is allocated and before it grows. If that is refused, nothing more
//! is written and the whole edit fails.

use smallvec::SmallVec;

use super::{
    Signal,
    payload::Reason,
    purse::Purse,
    wire::{
        Field, FieldValue, Fields, WireType, bytes_field_len, put_bytes, put_varint, tag,
        varint_len,
    },
};

/// Bytes by which the length of an open message may grow.
const MOVED: usize = 8;

/// An edited copy of a message, while it is being written.
#[derive(Debug)]
pub struct Splicer<'a> {
    source: &'a [u8],
    out: Vec<u8>,
    /// By how much `out` will probably be longer than `source`.
    growth: usize,
    /// Pays for `out`.
    purse: Purse,
    refused: Option<Reason>,
    /// `source` up to here was copied to `out` or left out.
    copied: usize,
    /// The open messages, from the outermost to the innermost.
    open: SmallVec<[Open; 8]>,
    /// How many of them, from the outermost on, have their header in `out`.
    begun: usize,
}

/// A message that the walk is in.
#[derive(Debug)]
struct Open {
    number: u32,
    /// Where its tag begins, where its content begins and ends in `source`.
    header: usize,
    content: usize,
    end: usize,
    /// Where its length begins in `out`, once it has been begun.
    gap: usize,
}

impl<'a> Splicer<'a> {
    /// Starts a copy of `source` that is likely to be longer by `growth` bytes; a wrong guess costs
    /// a second allocation.
    pub fn new(source: &'a [u8], growth: usize) -> Self {
        let (open, purse) = (SmallVec::new(), Purse::default());
        let out = Vec::new();
        Splicer { source, out, growth, purse, refused: None, copied: 0, open, begun: 0 }
    }

    /// The same, paid for by a purse, which [`Splicer::finish_into`] returns.
    pub(crate) fn paid(source: &'a [u8], growth: usize, purse: &mut Purse) -> Self {
        Splicer { purse: std::mem::take(purse), ..Self::new(source, growth) }
    }

    /// Pays for bytes that an edit needs beside the copy. If that is refused, returns `false`, and
    /// the edit fails.
    pub fn pays(&mut self, bytes: usize) -> bool {
        self.refused = self.refused.or(self.purse.pay(bytes).err());
        self.refused.is_none()
    }

    /// Makes sure that `out` has room for `len` bytes and the rest of `source`.
    #[inline]
    fn has_room(&mut self, len: usize) -> bool {
        let needed =
            self.out.len() + self.source.len() - self.copied + len + MOVED * self.open.len();
        needed <= self.out.capacity() || self.grow(needed)
    }

    #[inline(never)]
    fn grow(&mut self, needed: usize) -> bool {
        let likely = self.source.len() + self.growth;
        let capacity = if self.out.capacity() == 0 { needed.max(likely) } else { needed / 4 * 5 };
        // The allocator rounds up, as everywhere.
        if !self.pays(capacity + capacity / 8) {
            return false;
        }
        self.out.reserve_exact(capacity - self.out.len());
        true
    }

    /// Where a part of `source` begins in it.
    #[inline]
    fn offset(&self, part: &[u8]) -> usize {
        part.as_ptr().addr() - self.source.as_ptr().addr()
    }

    /// Walks into a message field of the innermost message; `walk` edits it.
    #[inline]
    pub fn inside(&mut self, field: &Field<'a>, walk: impl FnOnce(&mut Self, &'a [u8])) {
        let header = self.offset(field.whole);
        let (end, message) = (header + field.whole.len(), field.bytes());
        let content = end - message.len();
        self.open.push(Open { number: field.number, header, content, end, gap: 0 });
        walk(self, message);
        if self.begun == self.open.len() {
            self.copy_to(end);
            self.begun -= 1;
            self.close();
        }
        self.open.pop();
    }

    /// Writes the length of the innermost message, which is complete.
    fn close(&mut self) {
        let Some(open) = self.open.last() else { return };
        let width = varint_len((open.end - open.content) as u64);
        let len = (self.out.len() - open.gap - width) as u64;
        let new_width = varint_len(len);
        if new_width != width {
            let start = open.gap;
            self.out.splice(start..start + width, std::iter::repeat_n(0, new_width));
        }
        let mut at = open.gap;
        let mut rest = len;
        while rest >= 0x80 {
            self.out[at] = rest.to_le_bytes()[0] | 0x80;
            rest >>= 7;
            at += 1;
        }
        self.out[at] = rest.to_le_bytes()[0];
    }

    /// Writes the headers of the messages that are open and not begun yet.
    fn begin(&mut self) {
        for at in self.begun..self.open.len() {
            let Open { number, header, content, end, .. } = self.open[at];
            self.copy_to(header);
            put_varint(&mut self.out, tag(number, WireType::Len));
            self.open[at].gap = self.out.len();
            let width = varint_len((end - content) as u64);
            self.out.resize(self.out.len() + width, 0);
            self.copied = content;
        }
        self.begun = self.open.len();
    }

    #[inline]
    fn copy_to(&mut self, end: usize) {
        self.out.extend_from_slice(&self.source[self.copied..end]);
        self.copied = end;
    }

    /// Replaces `old`, a field of the innermost message behind all changes so far, by what `write`
    /// appends, at most `len` bytes.
    pub fn replace(&mut self, old: &[u8], len: usize, write: impl FnOnce(&mut Vec<u8>)) {
        if !self.has_room(len) {
            return;
        }
        let start = self.offset(old);
        self.begin();
        self.copy_to(start);
        self.copied = start + old.len();
        write(&mut self.out);
    }

    /// Adds what `write` appends, at most `len` bytes, at the end of the innermost message. After
    /// that the message cannot be changed any more.
    pub fn append(&mut self, len: usize, write: impl FnOnce(&mut Vec<u8>)) {
        if !self.has_room(len) {
            return;
        }
        self.begin();
        let end = self.open.last().map_or(self.source.len(), |open| open.end);
        self.copy_to(end);
        write(&mut self.out);
    }

    /// The copy; `None` if nothing changed.
    pub fn finish(mut self) -> Option<Vec<u8>> {
        if self.out.capacity() == 0 {
            return None;
        }
        self.copy_to(self.source.len());
        Some(self.out)
    }

    /// The copy and the purse that paid for it; an error if it could not be paid for.
    pub(crate) fn finish_into(mut self, purse: &mut Purse) -> Result<Option<Vec<u8>>, Reason> {
        *purse = std::mem::take(&mut self.purse);
        match self.refused {
            Some(reason) => Err(reason),
            None => Ok(self.finish()),
        }
    }
}

/// What is done to the items of a request. Each method that enters a level says whether anything
/// below it may be edited, by default yes; a level that is not entered stays as it is.
pub trait EditItems {
    /// A resource entry begins; `resource` is its `Resource` message, empty if it has none.
    fn enter_resource(&mut self, _resource: &[u8]) -> bool {
        true
    }

    /// A scope entry begins; `scope` is its `InstrumentationScope`, empty if it has none.
    fn enter_scope(&mut self, _scope: &[u8]) -> bool {
        true
    }

    /// A metric begins, given whole. Not called for spans and log records.
    fn enter_metric(&mut self, _metric: &[u8]) -> bool {
        true
    }

    /// Edits one item, the innermost message of `out`; its attributes are in field `attributes`.
    fn edit<'a>(&mut self, item: &'a [u8], attributes: u32, out: &mut Splicer<'a>);
}

/// Edits every item of a request. `growth` is the probable growth of the request; `purse` pays for
/// the copy. Returns `None` if nothing changed.
pub fn edit_items(
    signal: Signal,
    body: &[u8],
    growth: usize,
    purse: &mut Purse,
    edit: &mut impl EditItems,
) -> Result<Option<Vec<u8>>, Reason> {
    let mut out = Splicer::paid(body, growth, purse);
    each(&mut out, body, &[1], |out, _, entry| {
        let enters = with_merged(out, entry, |_, resource| edit.enter_resource(resource));
        if enters != Some(true) {
            return;
        }
        each(out, entry, &[2], |out, _, scopes| {
            let enters = with_merged(out, scopes, |_, scope| edit.enter_scope(scope));
            if enters != Some(true) {
                return;
            }
            match signal {
                Signal::Traces => each(out, scopes, &[2], |out, _, span| edit.edit(span, 9, out)),
                Signal::Logs => each(out, scopes, &[2], |out, _, log| edit.edit(log, 6, out)),
                Signal::Metrics => each(out, scopes, &[2], |out, _, metric| {
                    if edit.enter_metric(metric) {
                        points(metric, edit, out);
                    }
                }),
            }
        });
    });
    out.finish_into(purse)
}

/// The data points of a metric: gauge 5, sum 7, histogram 9, exponential histogram 10, summary 11.
fn points<'a>(metric: &'a [u8], edit: &mut impl EditItems, out: &mut Splicer<'a>) {
    each(out, metric, &[5, 7, 9, 10, 11], |out, kind, data| {
        let attributes = match kind {
            9 => 9,
            10 => 1,
            _ => 7,
        };
        each(out, data, &[1], |out, _, point| edit.edit(point, attributes, out));
    });
}

/// Walks into each of some message fields.
#[inline]
fn each<'a>(
    out: &mut Splicer<'a>,
    message: &'a [u8],
    numbers: &[u32],
    mut walk: impl FnMut(&mut Splicer<'a>, u32, &'a [u8]),
) {
    for field in messages(message, numbers) {
        if out.refused.is_some() {
            return;
        }
        out.inside(&field, |out, content| walk(out, field.number, content));
    }
}

/// The message fields of a message that have one of these numbers, in order.
#[inline]
pub fn messages<'a>(message: &'a [u8], numbers: &[u32]) -> impl Iterator<Item = Field<'a>> {
    let is_message = |field: &Field<'_>| matches!(field.value, FieldValue::Len(_));
    Fields::new(message).flatten().filter(move |f| numbers.contains(&f.number) && is_message(f))
}

/// Edits every resource of a request of any signal: down to the resource all three have the same
/// shape. An entry without a resource is edited as if it had an empty one; several resources of one
/// entry are edited as one, because protobuf merges them. `growth` is the probable growth of the
/// request; `purse` pays for the copy. Returns `None` if nothing changed.
pub fn edit_resources(
    body: &[u8],
    growth: usize,
    purse: &mut Purse,
    mut edit: impl for<'r> FnMut(&'r [u8], &mut Splicer<'r>),
) -> Result<Option<Vec<u8>>, Reason> {
    let mut out = Splicer::paid(body, growth, purse);
    each(&mut out, body, &[1], |out, _, entry| {
        let mut resources = messages(entry, &[1]);
        match (resources.next(), resources.next()) {
            (Some(only), None) => out.inside(&only, |out, resource| edit(resource, out)),
            (None, _) => {
                if let Some(resource) = edited_apart(out, &[], &mut edit) {
                    let len = bytes_field_len(1, resource.len());
                    out.append(len, |out| put_bytes(out, 1, &resource));
                }
            }
            (Some(_), Some(_)) => {
                let new = with_merged(out, entry, |out, all| edited_apart(out, all, &mut edit));
                let Some(resource) = new.flatten() else { return };
                let len = bytes_field_len(1, resource.len());
                for (i, part) in messages(entry, &[1]).enumerate() {
                    out.replace(part.whole, if i == 0 { len } else { 0 }, |out| {
                        if i == 0 {
                            put_bytes(out, 1, &resource);
                        }
                    });
                }
            }
        }
    });
    out.finish_into(purse)
}

/// Edits a resource that is split into several fields in a separate copy, which the purse of `out`
/// pays for.
fn edited_apart(
    out: &mut Splicer<'_>,
    resource: &[u8],
    edit: &mut impl for<'r> FnMut(&'r [u8], &mut Splicer<'r>),
) -> Option<Vec<u8>> {
    let mut new = Splicer::paid(resource, 0, &mut out.purse);
    edit(resource, &mut new);
    let edited = new.finish_into(&mut out.purse);
    out.refused = out.refused.or(edited.as_ref().err().copied());
    edited.ok().flatten()
}

/// The singular message in field 1. If there are several fields, they are joined, and the purse of
/// `out` pays for that; `None` if it is refused.
fn with_merged<'a, R>(
    out: &mut Splicer<'a>,
    message: &[u8],
    then: impl FnOnce(&mut Splicer<'a>, &[u8]) -> R,
) -> Option<R> {
    let mut parts = messages(message, &[1]);
    match (parts.next(), parts.next()) {
        (None, _) => Some(then(out, &[])),
        (Some(only), None) => Some(then(out, only.bytes())),
        (Some(_), Some(_)) => {
            let len = messages(message, &[1]).map(|part| part.bytes().len()).sum();
            if !out.pays(len) {
                return None;
            }
            let mut all = Vec::with_capacity(len);
            messages(message, &[1]).for_each(|part| all.extend_from_slice(part.bytes()));
            Some(then(out, &all))
        }
    }
}
