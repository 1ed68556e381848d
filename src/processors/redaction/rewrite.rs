//! Finds the attributes of a request and rewrites those that rules say something about. What is not
//! rewritten is copied as it is.

use super::{
    body::Body,
    mask::{Rules, Verdict},
    summary::{Done, Found, Kind, summarize},
};
use crate::{
    otlp::{
        Signal,
        payload::Reason,
        purse::Purse,
        splice::{Splicer, messages},
        wire::{Field, Fields, bytes_field_len, put_bytes},
    },
    ottl::{content, key_value},
};

/// Rewrites a request; `None` if nothing changes.
pub(super) fn redact(
    signal: Signal,
    body: &[u8],
    growth: usize,
    purse: &mut Purse,
    (rules, done): (&Rules, &mut Done),
) -> Result<Option<Vec<u8>>, Reason> {
    let mut out = Splicer::paid(body, growth, purse);
    let mut walk = Walk { rules, done };
    for entry in messages(body, &[1]) {
        out.inside(&entry, |out, entry| walk.entry(signal, entry, out));
    }
    out.finish_into(purse)
}

struct Walk<'r> {
    rules: &'r Rules,
    done: &'r mut Done,
}

/// Where the attributes of a message are, and what is in it that has some, too.
#[derive(Debug, Clone, Copy)]
struct Shape {
    attributes: u32,
    /// 0 if it has none.
    body: u32,
    children: &'static [(u32, Shape)],
}

const fn flat(attributes: u32) -> Shape {
    Shape { attributes, body: 0, children: &[] }
}

const EXEMPLAR: Shape = flat(7);
const SPAN: Shape = Shape { attributes: 9, body: 0, children: &[(11, flat(3)), (13, flat(4))] };
const LOG: Shape = Shape { attributes: 6, body: 5, children: &[] };
const NUMBER: Shape = Shape { attributes: 7, body: 0, children: &[(5, EXEMPLAR)] };
const HISTOGRAM: Shape = Shape { attributes: 9, body: 0, children: &[(8, EXEMPLAR)] };
const EXPONENTIAL: Shape = Shape { attributes: 1, body: 0, children: &[(11, EXEMPLAR)] };
const SUMMARY: Shape = flat(7);

/// A field of a message that changes.
pub(super) struct Edit<'a> {
    pub(super) field: Field<'a>,
    /// Its content from now on; nothing if it goes.
    pub(super) new: Option<Vec<u8>>,
}

/// Memory of an edit beside its content, in a list that grows.
const EDIT: usize = 3 * size_of::<Edit<'_>>();

/// What becomes of an attribute that does not stay.
enum Change {
    Removed,
    /// Another attribute is in its place.
    Replaced(Vec<u8>),
}

impl Change {
    fn into_bytes(self) -> Option<Vec<u8>> {
        match self {
            Change::Removed => None,
            Change::Replaced(bytes) => Some(bytes),
        }
    }
}

impl Walk<'_> {
    fn entry<'a>(&mut self, signal: Signal, entry: &'a [u8], out: &mut Splicer<'a>) {
        for field in messages(entry, &[1, 2]) {
            out.inside(&field, |out, message| {
                if field.number == 1 {
                    self.message(message, flat(1), out);
                } else {
                    self.scope(signal, message, out);
                }
            });
        }
    }

    fn scope<'a>(&mut self, signal: Signal, scope: &'a [u8], out: &mut Splicer<'a>) {
        for field in messages(scope, &[1, 2]) {
            out.inside(&field, |out, message| match (field.number, signal) {
                (1, _) => self.message(message, flat(3), out),
                (_, Signal::Traces) => self.message(message, SPAN, out),
                (_, Signal::Logs) => self.message(message, LOG, out),
                (_, Signal::Metrics) => self.metric(message, out),
            });
        }
    }

    fn metric<'a>(&mut self, metric: &'a [u8], out: &mut Splicer<'a>) {
        for data in messages(metric, &[5, 7, 9, 10, 11]) {
            let shape = match data.number {
                9 => HISTOGRAM,
                10 => EXPONENTIAL,
                11 => SUMMARY,
                _ => NUMBER,
            };
            out.inside(&data, |out, data| {
                for point in messages(data, &[1]) {
                    out.inside(&point, |out, point| self.message(point, shape, out));
                }
            });
        }
    }

    /// Rewrites the attributes of a message and of those in it.
    ///
    /// All edits are known before the first is made, because the summary that a processor before
    /// this one has left is counted up where it is.
    fn message<'a>(&mut self, message: &'a [u8], shape: Shape, out: &mut Splicer<'a>) {
        let level = self.rules.summary;
        let (mut own, mut inside) = (Found::new(level), Found::new(level));
        let mut edits: Vec<Edit<'a>> = Vec::new();
        for field in Fields::new(message).map_while(Result::ok) {
            let change = if let Some(entry) = content(&field, shape.attributes) {
                self.attribute(entry, &mut own, out).map(Change::into_bytes)
            } else if shape.body != 0
                && let Some(body) = content(&field, shape.body)
            {
                Body::new(self.rules, &mut inside, out, body).rewritten(body).map(Some)
            } else {
                continue;
            };
            if let Some(new) = change {
                if !out.pays(EDIT + new.as_ref().map_or(0, Vec::len)) {
                    return;
                }
                edits.push(Edit { field, new });
            }
        }
        self.done.add(&own);
        self.done.add(&inside);
        let mut added = Vec::new();
        for (prefix, found) in [("redaction.", &own), ("redaction.body.", &inside)] {
            summarize(prefix, found, (message, shape.attributes), &mut edits, &mut added);
        }
        self.write(message, shape, edits, out);
        for entry in added {
            let len = bytes_field_len(shape.attributes, entry.len());
            out.append(len, |out| put_bytes(out, shape.attributes, &entry));
        }
    }

    /// What becomes of an attribute; `None`: it stays.
    fn attribute(&self, entry: &[u8], found: &mut Found, out: &mut Splicer<'_>) -> Option<Change> {
        let (key, any) = key_value(entry);
        let (kind, change) = match self.rules.attribute(key, &any, &mut |bytes| out.pays(bytes)) {
            Verdict::Keeps | Verdict::Unpaid => return None,
            Verdict::Ignored => (Kind::Ignored, None),
            Verdict::Allowed => (Kind::Allowed, None),
            Verdict::Deleted => (Kind::Deleted, Some(Change::Removed)),
            Verdict::Masked(text) => {
                let mut any = Vec::with_capacity(text.len() + 8);
                put_bytes(&mut any, 1, &text);
                let mut new = Vec::with_capacity(key.len() + any.len() + 16);
                put_bytes(&mut new, 1, key);
                put_bytes(&mut new, 2, &any);
                (Kind::Masked, Some(Change::Replaced(new)))
            }
        };
        found.add(kind, key, out);
        change
    }

    /// Makes the edits, and rewrites what is in the message.
    fn write<'a>(
        &mut self,
        message: &'a [u8],
        shape: Shape,
        mut edits: Vec<Edit<'a>>,
        out: &mut Splicer<'a>,
    ) {
        if edits.is_empty() && shape.children.is_empty() {
            return;
        }
        edits.sort_by_key(|edit| edit.field.whole.as_ptr());
        let mut edits = edits.into_iter().peekable();
        for field in Fields::new(message).map_while(Result::ok) {
            let at = field.whole.as_ptr();
            if let Some(edit) = edits.next_if(|edit| edit.field.whole.as_ptr() == at) {
                let len =
                    edit.new.as_ref().map_or(0, |new| bytes_field_len(field.number, new.len()));
                out.replace(field.whole, len, |out| {
                    if let Some(new) = &edit.new {
                        put_bytes(out, field.number, new);
                    }
                });
                continue;
            }
            let is_this = |(number, _): &&(u32, Shape)| content(&field, *number).is_some();
            if let Some((_, inner)) = shape.children.iter().find(is_this) {
                out.inside(&field, |out, message| self.message(message, *inner, out));
            }
        }
    }
}
