//! Edits what a page has sent, as bytes and in one pass: leaves out what it may not say, cuts what
//! is too long, sets the times right, and writes down what skep knows.
//!
//! Each item is read once. Most are fine, and are then copied with everything around them; only
//! one that is not is walked a second time, and written anew field by field.

mod item;

use super::{
    clock::{Clock, Times},
    counts::{Counted, Counts},
    keys::{Fate, Keys, LONGEST_KEY},
    quick,
};
use crate::otlp::{
    Signal, attribute,
    payload::Reason,
    purse::Purse,
    splice::{Splicer, messages},
    view::{KeyValue, Message, Value},
    wire::{
        Field, FieldValue, Fields, WireType, bytes_field_len, put_bytes, put_header, put_varint,
        tag,
    },
};

/// Marks that skep writes into the resource of everything that comes from a public port.
const SOURCE: &str = "skep.source";
const TRUST: &str = "skep.trust";
const CLIENT: &str = "client";
const SHIFT: &str = "skep.clock.shift_ms";
const ADDRESS: &str = "client.address";
const AGENT: &str = "user_agent.original";
/// Into items whose times cannot be.
const IMPLAUSIBLE: &str = "skep.clock.implausible";
const CLAIMED_START: &str = "skep.clock.claimed_start";
const CLAIMED_END: &str = "skep.clock.claimed_end";
/// Into items of a known user.
const USER: &str = "user.id";
/// What a page says of its user.
const CLAIMED_USER: &str = "client.claimed.user.id";

/// Bytes that a short attribute takes around its key and value.
const AROUND: usize = 16;

/// What an allowed attribute may have beside its value: the key, tags and lengths.
const BESIDE_VALUE: usize = LONGEST_KEY + AROUND;

/// What is allowed, and how much of it.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) resource_keys: Keys,
    pub(super) item_keys: Keys,
    /// Services that a page may name; if the list is empty, any.
    pub(super) services: Vec<String>,
    pub(super) source: String,
    pub(super) max_attributes: usize,
    pub(super) max_value: usize,
    pub(super) max_events: usize,
    pub(super) max_links: usize,
}

/// What skep knows of a request itself.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) clock: Clock,
    pub(super) address: Option<&'a str>,
    pub(super) agent: Option<&'a str>,
    pub(super) user: Option<&'a str>,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// It cannot be paid for.
    Unpaid(Reason),
    /// It is of a service that pages may not name.
    Service(String),
}

/// The edited request, and what was changed.
pub(super) fn edit(
    rules: &Rules,
    facts: &Facts<'_>,
    (signal, body): (Signal, &[u8]),
    purse: &mut Purse,
) -> Result<(Option<Vec<u8>>, Counts), Refused> {
    let marks = 256 + facts.address.map_or(0, str::len) + facts.agent.map_or(0, str::len);
    let mut out = Splicer::paid(body, marks + body.len() / 16, purse);
    let mut editor =
        Editor { rules, facts, signal, counts: Counts::default(), foreign_service: None };
    for entry in Fields::new(body).flatten() {
        match (entry.number, entry.value) {
            (1, FieldValue::Len(_)) => {
                out.inside(&entry, |out, entry| editor.entry(entry, out));
            }
            _ => editor.leave_out(&entry, &mut out),
        }
    }
    let edited = out.finish_into(purse).map_err(Refused::Unpaid)?;
    match editor.foreign_service {
        Some(name) => Err(Refused::Service(name)),
        None => Ok((edited, editor.counts)),
    }
}

struct Editor<'r> {
    rules: &'r Rules,
    facts: &'r Facts<'r>,
    signal: Signal,
    counts: Counts,
    foreign_service: Option<String>,
}

/// What a reading of an item has found.
#[derive(Default)]
struct Seen {
    start: u64,
    end: u64,
    /// Whether it has to be written anew.
    is_dirty: bool,
}

impl Editor<'_> {
    fn leave_out(&mut self, field: &Field<'_>, out: &mut Splicer<'_>) {
        self.counts.add(Counted::UnknownField);
        out.replace(field.whole, 0, |_| {});
    }

    /// `ResourceSpans` or `ResourceLogs`.
    fn entry<'a>(&mut self, entry: &'a [u8], out: &mut Splicer<'a>) {
        let (mut has_marks, mut has_service, mut left) = (false, false, self.rules.max_attributes);
        // Parts of a resource are one; the last one gets the marks.
        let last = messages(entry, &[1]).last().map(|part| part.whole.as_ptr());
        for field in Fields::new(entry).flatten() {
            match (field.number, field.value) {
                (1, FieldValue::Len(_)) => out.inside(&field, |out, resource| {
                    has_service |= self.resource(resource, &mut left, out);
                    if last == Some(field.whole.as_ptr()) {
                        let marks = self.marks();
                        out.append(marks.len(), |out| out.extend_from_slice(&marks));
                        has_marks = true;
                    }
                }),
                (2, FieldValue::Len(_)) => {
                    out.inside(&field, |out, scopes| self.scopes(scopes, out));
                }
                (3, FieldValue::Len(url)) => self.schema_url(&field, url, out),
                _ => self.leave_out(&field, out),
            }
        }
        if !has_service && !self.rules.services.is_empty() {
            self.foreign_service.get_or_insert_default();
        }
        if !has_marks {
            let marks = self.marks();
            let len = bytes_field_len(1, marks.len());
            out.append(len, |out| put_bytes(out, 1, &marks));
        }
    }

    /// One part of a resource; returns whether it names its service.
    fn resource<'a>(&mut self, part: &'a [u8], left: &mut usize, out: &mut Splicer<'a>) -> bool {
        let mut has_service = false;
        let rules = self.rules;
        for field in Fields::new(part).flatten() {
            match (field.number, field.value) {
                (1, FieldValue::Len(content)) => {
                    let attribute = KeyValue::from(Message::new(content));
                    if attribute.key == "service.name" {
                        has_service = true;
                        self.check_service(&attribute);
                    }
                    // Skep writes the agent itself.
                    if attribute.key == AGENT && self.facts.agent.is_some() {
                        out.replace(field.whole, 0, |_| {});
                    } else {
                        self.attribute(&field, &rules.resource_keys, left, out);
                    }
                }
                (2, _) => {}
                _ => self.leave_out(&field, out),
            }
        }
        has_service
    }

    fn check_service(&mut self, attribute: &KeyValue<'_>) {
        let name = match attribute.value {
            Some(Value::String(text)) => text.to_str(),
            _ => "".into(),
        };
        let services = &self.rules.services;
        if !services.is_empty() && !services.iter().any(|known| *known == name) {
            let short: String = name.chars().take(100).collect();
            self.foreign_service.get_or_insert(short);
        }
    }

    /// The attributes that skep adds to a resource.
    fn marks(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        put_text(&mut out, 1, SOURCE, &self.rules.source);
        put_text(&mut out, 1, TRUST, CLIENT);
        if self.facts.clock.shift_ms != 0 {
            put_int(&mut out, 1, SHIFT, self.facts.clock.shift_ms);
        }
        for (key, text) in [(ADDRESS, self.facts.address), (AGENT, self.facts.agent)] {
            if let Some(text) = text {
                put_text(&mut out, 1, key, cut(text, self.rules.max_value));
            }
        }
        out
    }

    fn schema_url<'a>(&mut self, field: &Field<'a>, url: &[u8], out: &mut Splicer<'a>) {
        if url.len() > self.rules.max_value {
            self.counts.add(Counted::Value);
            out.replace(field.whole, 0, |_| {});
        }
    }

    /// `ScopeSpans` or `ScopeLogs`.
    fn scopes<'a>(&mut self, scopes: &'a [u8], out: &mut Splicer<'a>) {
        let mut left = self.rules.max_attributes;
        for field in Fields::new(scopes).flatten() {
            match (field.number, field.value) {
                (1, FieldValue::Len(_)) => {
                    out.inside(&field, |out, scope| self.scope(scope, &mut left, out));
                }
                (2, FieldValue::Len(item)) => {
                    let seen = self.seen(item);
                    let times = self.times(&seen);
                    let is_moved = is_moved(&seen, times);
                    if seen.is_dirty {
                        out.inside(&field, |out, item| self.item(item, &seen, times, out));
                    } else if is_moved || self.facts.user.is_some() {
                        out.inside(&field, |out, item| {
                            if is_moved {
                                self.set_times(item, times, out);
                            }
                            self.append(&seen, times, out);
                        });
                    }
                }
                (3, FieldValue::Len(url)) => self.schema_url(&field, url, out),
                _ => self.leave_out(&field, out),
            }
        }
    }

    fn scope<'a>(&mut self, scope: &'a [u8], left: &mut usize, out: &mut Splicer<'a>) {
        let rules = self.rules;
        for field in Fields::new(scope).flatten() {
            match (field.number, field.value) {
                (1 | 2, FieldValue::Len(_)) => self.text(&field, out),
                (3, FieldValue::Len(_)) => self.attribute(&field, &rules.item_keys, left, out),
                (4, _) => {}
                _ => self.leave_out(&field, out),
            }
        }
    }

    /// Reads an item.
    fn seen(&self, item: &[u8]) -> Seen {
        let mut seen = Seen::default();
        let mut left = [self.rules.max_attributes, self.rules.max_events, self.rules.max_links];
        let mut rest = item;
        while !rest.is_empty() {
            if self.signal == Signal::Traces
                && let Some(after) = self.usual_in_span(rest, &mut seen, &mut left)
            {
                rest = after;
                continue;
            }
            let mut fields = Fields::new(rest);
            let Some(Ok(field)) = fields.next() else { break };
            rest = fields.rest();
            let is_fine = match self.signal {
                Signal::Logs => self.is_fine_in_log(&field, &mut seen, &mut left[0]),
                _ => self.is_fine_in_span(&field, &mut seen, &mut left),
            };
            seen.is_dirty |= !is_fine;
        }
        seen
    }

    /// Reads the first field if it is a usual one in its usual form; returns what comes after it.
    #[inline]
    fn usual_in_span<'a>(
        &self,
        rest: &'a [u8],
        seen: &mut Seen,
        left: &mut [usize; 3],
    ) -> Option<&'a [u8]> {
        match *rest.first()? {
            quick::ATTRIBUTE => {
                let (content, after) = quick::short(rest)?;
                seen.is_dirty |= !(take(&mut left[0]) && self.is_fine_attribute(content));
                Some(after)
            }
            quick::TRACE_ID | quick::SPAN_ID | quick::PARENT_ID => {
                quick::short(rest).map(|(_, after)| after)
            }
            quick::NAME | quick::STATUS => {
                let (content, after) = quick::short(rest)?;
                seen.is_dirty |= content.len() > self.rules.max_value;
                Some(after)
            }
            quick::FLAGS => quick::flags(rest),
            quick::KIND => {
                let (kind, after) = quick::small(rest)?;
                seen.is_dirty |= !is_kind_of_page(kind);
                Some(after)
            }
            quick::START => {
                let (time, after) = quick::fixed(rest)?;
                seen.start = time;
                Some(after)
            }
            quick::END => {
                let (time, after) = quick::fixed(rest)?;
                seen.end = time;
                Some(after)
            }
            _ => None,
        }
    }

    #[inline]
    fn is_fine_in_span(&self, field: &Field<'_>, seen: &mut Seen, left: &mut [usize; 3]) -> bool {
        match (field.number, field.value) {
            (1 | 2 | 4 | 10 | 12 | 14 | 16, _) => true,
            (3, FieldValue::Len(state)) => state.is_empty(),
            (5 | 15, FieldValue::Len(text)) => text.len() <= self.rules.max_value,
            (6, FieldValue::Varint(kind)) => is_kind_of_page(kind),
            (7, FieldValue::Fixed64(time)) => {
                seen.start = time;
                true
            }
            (8, FieldValue::Fixed64(time)) => {
                seen.end = time;
                true
            }
            (9, FieldValue::Len(content)) => take(&mut left[0]) && self.is_fine_attribute(content),
            (11, FieldValue::Len(event)) => take(&mut left[1]) && self.is_fine_event(event),
            (13, FieldValue::Len(link)) => take(&mut left[2]) && self.is_fine_link(link),
            _ => false,
        }
    }

    #[inline]
    fn is_fine_in_log(&self, field: &Field<'_>, seen: &mut Seen, left: &mut usize) -> bool {
        match (field.number, field.value) {
            (2 | 7..=10, _) => true,
            (1, FieldValue::Fixed64(time)) => {
                (seen.start, seen.end) = (time, time);
                true
            }
            (11, FieldValue::Fixed64(time)) => self.facts.clock.of_event(time) == time,
            (3 | 5 | 12, FieldValue::Len(text)) => text.len() <= self.rules.max_value,
            (6, FieldValue::Len(content)) => take(left) && self.is_fine_attribute(content),
            _ => false,
        }
    }

    /// Whether an event needs no edit, its time included.
    fn is_fine_event(&self, event: &[u8]) -> bool {
        let mut left = self.rules.max_attributes;
        Fields::new(event).flatten().all(|field| match (field.number, field.value) {
            (1, FieldValue::Fixed64(time)) => self.facts.clock.of_event(time) == time,
            (2, FieldValue::Len(name)) => name.len() <= self.rules.max_value,
            (3, FieldValue::Len(content)) => take(&mut left) && self.is_fine_attribute(content),
            (4, _) => true,
            _ => false,
        })
    }

    fn is_fine_link(&self, link: &[u8]) -> bool {
        let mut left = self.rules.max_attributes;
        Fields::new(link).flatten().all(|field| match (field.number, field.value) {
            (1 | 2 | 5 | 6, _) => true,
            (3, FieldValue::Len(state)) => state.is_empty(),
            (4, FieldValue::Len(content)) => take(&mut left) && self.is_fine_attribute(content),
            _ => false,
        })
    }

    /// Whether an attribute of an item may stay as it is.
    #[inline]
    fn is_fine_attribute(&self, content: &[u8]) -> bool {
        self.may_stay(content, &self.rules.item_keys)
    }

    #[inline]
    fn may_stay(&self, content: &[u8], keys: &Keys) -> bool {
        let key = match attribute::usual(content) {
            Some((key, _)) => key,
            None => KeyValue::from(Message::new(content)).key.0,
        };
        keys.fate(key) == Fate::Keep
            && (content.len() <= self.rules.max_value || self.fits(content))
    }

    /// Whether a long attribute is still within the limit.
    #[cold]
    fn fits(&self, content: &[u8]) -> bool {
        let len = match KeyValue::from(Message::new(content)).value {
            Some(Value::String(text)) => text.0.len(),
            Some(Value::Bytes(bytes)) => bytes.len(),
            _ => content.len().saturating_sub(BESIDE_VALUE),
        };
        // Where the whole is much longer than the value, something is in it that no reader sees.
        len <= self.rules.max_value && content.len() <= len + BESIDE_VALUE
    }

    fn times(&self, seen: &Seen) -> Times {
        match self.signal {
            Signal::Logs => self.facts.clock.of_record(seen.start),
            _ => self.facts.clock.of_span(seen.start, seen.end),
        }
    }
}

fn is_moved(seen: &Seen, times: Times) -> bool {
    times.implausible.is_some() || (times.start, times.end) != (seen.start, seen.end)
}

/// Takes one of so many.
#[inline]
fn take(left: &mut usize) -> bool {
    let has = *left > 0;
    *left = left.saturating_sub(1);
    has
}

/// A page has spans of its own work and of its calls, and none of a server or of a queue.
#[inline]
fn is_kind_of_page(kind: u64) -> bool {
    // An enum is the low half of its varint.
    matches!(kind & u64::from(u32::MAX), 0 | 1 | 3)
}

/// The longest beginning of a text that has at most `most` bytes.
fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// The same for bytes, which are UTF-8 unless the receiver does not check that.
fn cut_bytes(bytes: &[u8], most: usize) -> &[u8] {
    let mut end = bytes.len().min(most);
    while end > 0 && end < bytes.len() && bytes[end] & 0xC0 == 0x80 {
        end -= 1;
    }
    &bytes[..end]
}

/// Appends an attribute with a text as field `number`.
fn put_text(out: &mut Vec<u8>, number: u32, key: &str, text: &str) {
    put_attribute(out, number, key.as_bytes(), &(1, text.as_bytes()));
}

/// A text is member 1 of `AnyValue`, bytes are member 7.
fn put_attribute(out: &mut Vec<u8>, number: u32, key: &[u8], (member, value): &(u32, &[u8])) {
    let value_len = bytes_field_len(*member, value.len());
    put_header(out, number, attribute::len(key.len(), value_len));
    put_bytes(out, 1, key);
    put_header(out, 2, value_len);
    put_bytes(out, *member, value);
}

fn put_int(out: &mut Vec<u8>, number: u32, key: &str, value: i64) {
    attribute::put_with(out, number, key, |any| {
        put_varint(any, tag(3, WireType::Varint));
        put_varint(any, value.cast_unsigned());
    });
}

#[cfg(test)]
mod tests;
