//! Edits OTLP bytes in place of decoding them: untouched ranges are copied verbatim, the lengths of
//! all ancestors are written anew as minimal varints, unknown fields survive.
//!
//! A [`Splicer`] follows a walk down the message tree and remembers where each ancestor begins.
//! Nothing is written until something changes; then the run of bytes up to there is copied in one
//! piece per ancestor, and a caller that changes nothing gets nothing and keeps its own bytes.
//!
//! A message whose length changes is written after a gap of the old length's width; where the new
//! width is another the message is moved by a byte, which happens only when a size crosses 127,
//! 16 383 or 2 097 151.

use smallvec::SmallVec;

use super::{
    Signal,
    wire::{Field, FieldValue, Fields, WireType, put_bytes, put_varint, tag, varint_len},
};

/// A copy of a message in the making.
#[derive(Debug)]
pub struct Splicer<'a> {
    source: &'a [u8],
    out: Vec<u8>,
    /// What `out` is likely to have more than `source`.
    growth: usize,
    /// `source` up to here is in `out`, or left out.
    copied: usize,
    /// Messages that are open, from the outside in.
    open: SmallVec<[Open; 8]>,
    /// How many of them, from the outside, have their header in `out`.
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
        let open = SmallVec::new();
        Splicer { source, out: Vec::new(), growth, copied: 0, open, begun: 0 }
    }

    /// Where a part of `source` begins in it.
    #[inline]
    fn offset(&self, part: &[u8]) -> usize {
        part.as_ptr().addr() - self.source.as_ptr().addr()
    }

    /// Walks into a message field of the innermost message: what `walk` changes, changes there.
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
        if self.out.capacity() == 0 {
            self.out.reserve_exact(self.source.len() + self.growth);
        }
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

    /// Leaves `old` out, a field of the innermost message that comes after what has been changed so
    /// far, and puts there what `write` appends.
    pub fn replace(&mut self, old: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.offset(old);
        self.begin();
        self.copy_to(start);
        self.copied = start + old.len();
        write(&mut self.out);
    }

    /// Puts what `write` appends at the end of the innermost message. Nothing of it can be changed
    /// after that.
    pub fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.begin();
        let end = self.open.last().map_or(self.source.len(), |open| open.end);
        self.copy_to(end);
        write(&mut self.out);
    }

    /// The copy; none where nothing changed.
    pub fn finish(mut self) -> Option<Vec<u8>> {
        if self.out.capacity() == 0 {
            return None;
        }
        self.copy_to(self.source.len());
        Some(self.out)
    }
}

/// What is done to the items of a request. Each method that enters a level says whether anything
/// below it may be edited; a level that is not entered stays as it is.
pub trait EditItems {
    /// A resource entry begins; `resource` is its `Resource` message, empty where it has none.
    fn enter_resource(&mut self, resource: &[u8]) -> bool;
    /// A scope entry begins; `scope` is its `InstrumentationScope`, empty where it has none.
    fn enter_scope(&mut self, scope: &[u8]) -> bool;
    /// A metric begins, given whole. Not called for spans and log records.
    fn enter_metric(&mut self, metric: &[u8]) -> bool;
    /// Edits one item, the innermost message of `out`; its attributes stand in field `attributes`.
    fn edit<'a>(&mut self, item: &'a [u8], attributes: u32, out: &mut Splicer<'a>);
}

/// Edits every item of a request. `growth` is what the request is likely to grow by. None: nothing
/// changed.
pub fn edit_items(
    signal: Signal,
    body: &[u8],
    growth: usize,
    edit: &mut impl EditItems,
) -> Option<Vec<u8>> {
    let mut out = Splicer::new(body, growth);
    each(&mut out, body, &[1], |out, _, entry| {
        if !with_merged(entry, 1, |resource| edit.enter_resource(resource)) {
            return;
        }
        each(out, entry, &[2], |out, _, scopes| {
            if !with_merged(scopes, 1, |scope| edit.enter_scope(scope)) {
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
    out.finish()
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
        out.inside(&field, |out, content| walk(out, field.number, content));
    }
}

/// The message fields of a message that have one of these numbers, in order.
#[inline]
pub fn messages<'a>(message: &'a [u8], numbers: &[u32]) -> impl Iterator<Item = Field<'a>> {
    let is_message = |field: &Field<'_>| matches!(field.value, FieldValue::Len(_));
    Fields::new(message).flatten().filter(move |f| numbers.contains(&f.number) && is_message(f))
}

/// Edits every resource of a request, of whatever signal: down to the resource all three have one
/// shape. An entry without a resource is offered an empty one; several resources of one entry are
/// one, since protobuf merges them. `growth` is what one resource is likely to grow by. None:
/// nothing changed.
pub fn edit_resources(
    body: &[u8],
    growth: usize,
    mut edit: impl for<'r> FnMut(&'r [u8], &mut Splicer<'r>),
) -> Option<Vec<u8>> {
    let mut out = Splicer::new(body, growth);
    each(&mut out, body, &[1], |out, _, entry| {
        let mut resources = messages(entry, &[1]);
        match (resources.next(), resources.next()) {
            (Some(only), None) => out.inside(&only, |out, resource| edit(resource, out)),
            (None, _) => {
                let mut new = Splicer::new(&[], growth);
                edit(&[], &mut new);
                if let Some(resource) = new.finish() {
                    out.append(|out| put_bytes(out, 1, &resource));
                }
            }
            (Some(_), Some(_)) => with_merged(entry, 1, |resource| {
                let mut new = Splicer::new(resource, growth);
                edit(resource, &mut new);
                let Some(resource) = new.finish() else { return };
                for (i, part) in messages(entry, &[1]).enumerate() {
                    out.replace(part.whole, |out| {
                        if i == 0 {
                            put_bytes(out, 1, &resource);
                        }
                    });
                }
            }),
        }
    });
    out.finish()
}

/// The singular message in field `number`: where it stands several times, the parts together.
fn with_merged<R>(message: &[u8], number: u32, then: impl FnOnce(&[u8]) -> R) -> R {
    let mut parts = messages(message, std::slice::from_ref(&number));
    match (parts.next(), parts.next()) {
        (None, _) => then(&[]),
        (Some(only), None) => then(only.bytes()),
        (Some(first), Some(second)) => {
            let mut all = [first.bytes(), second.bytes()].concat();
            parts.for_each(|part| all.extend_from_slice(part.bytes()));
            then(&all)
        }
    }
}
