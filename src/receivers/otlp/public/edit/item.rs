//! The second walk: writes an item anew where the first one has found something.

use std::fmt::Write as _;

use super::{
    super::{
        clock::Times,
        counts::Counted,
        keys::{Fate, Keys},
        quick,
    },
    AROUND, CLAIMED_END, CLAIMED_START, CLAIMED_USER, Editor, IMPLAUSIBLE, Seen, USER, cut_bytes,
    is_kind_of_page, put_attribute, put_text, take,
};
use crate::otlp::{
    Signal,
    splice::Splicer,
    view::{KeyValue, Message, Value},
    wire::{Field, FieldValue, Fields, WireType, bytes_field_len, put_bytes, put_varint, tag},
};

/// Bytes of a field with a time.
const TIME: usize = 9;

impl Editor<'_> {
    /// A span or a log record.
    pub(super) fn item<'a>(
        &mut self,
        item: &'a [u8],
        seen: &Seen,
        times: Times,
        out: &mut Splicer<'a>,
    ) {
        let rules = self.rules;
        let mut left = [rules.max_attributes, rules.max_events, rules.max_links];
        for field in Fields::new(item).flatten() {
            match self.signal {
                Signal::Logs => self.field_of_log(&field, times, &mut left[0], out),
                _ => self.field_of_span(&field, times, &mut left, out),
            }
        }
        self.append(seen, times, out);
    }

    /// The times of an item in which everything else is fine.
    pub(super) fn set_times<'a>(&self, item: &'a [u8], times: Times, out: &mut Splicer<'a>) {
        let is_log = self.signal == Signal::Logs;
        let mut rest = item;
        while !rest.is_empty() {
            let Some(after) = quick::skip(rest) else { return };
            let field = Fields::new(&rest[..rest.len() - after.len()]);
            let field = match rest[0] {
                // Times, and fields whose tags are longer than they could be.
                0x09 | quick::START | quick::END | 0x80.. => field.flatten().next(),
                _ => None,
            };
            rest = after;
            let Some(field) = field else { continue };
            match (field.number, field.value) {
                (1, FieldValue::Fixed64(time)) if is_log => {
                    set_time(&field, (time, times.start), out);
                }
                (7, FieldValue::Fixed64(time)) if !is_log => {
                    set_time(&field, (time, times.start), out);
                }
                (8, FieldValue::Fixed64(time)) if !is_log => {
                    set_time(&field, (time, times.end), out);
                }
                _ => {}
            }
        }
    }

    fn field_of_span<'a>(
        &mut self,
        field: &Field<'a>,
        times: Times,
        left: &mut [usize; 3],
        out: &mut Splicer<'a>,
    ) {
        let rules = self.rules;
        match (field.number, field.value) {
            (1 | 2 | 4 | 10 | 12 | 14 | 16, _) => {}
            (3, FieldValue::Len(_)) => self.trace_state(field, out),
            (5, FieldValue::Len(_)) => self.text(field, out),
            (6, FieldValue::Varint(kind)) => {
                if !is_kind_of_page(kind) {
                    self.counts.add(Counted::Kind);
                    // `SPAN_KIND_INTERNAL`.
                    out.replace(field.whole, 2, |out| out.extend_from_slice(&[6 << 3, 1]));
                }
            }
            (7, FieldValue::Fixed64(time)) => set_time(field, (time, times.start), out),
            (8, FieldValue::Fixed64(time)) => set_time(field, (time, times.end), out),
            (9, FieldValue::Len(_)) => self.attribute(field, &rules.item_keys, &mut left[0], out),
            (11, FieldValue::Len(_)) => {
                if take(&mut left[1]) {
                    out.inside(field, |out, event| self.event(event, out));
                } else {
                    self.counts.add(Counted::Event);
                    out.replace(field.whole, 0, |_| {});
                }
            }
            (13, FieldValue::Len(_)) => {
                if take(&mut left[2]) {
                    out.inside(field, |out, link| self.link(link, out));
                } else {
                    self.counts.add(Counted::Link);
                    out.replace(field.whole, 0, |_| {});
                }
            }
            (15, FieldValue::Len(_)) => out.inside(field, |out, status| {
                for field in Fields::new(status).flatten() {
                    match (field.number, field.value) {
                        (2, FieldValue::Len(_)) => self.text(&field, out),
                        (3, _) => {}
                        _ => self.leave_out(&field, out),
                    }
                }
            }),
            _ => self.leave_out(field, out),
        }
    }

    fn field_of_log<'a>(
        &mut self,
        field: &Field<'a>,
        times: Times,
        left: &mut usize,
        out: &mut Splicer<'a>,
    ) {
        let rules = self.rules;
        match (field.number, field.value) {
            (2 | 7..=10, _) => {}
            (1, FieldValue::Fixed64(time)) => set_time(field, (time, times.start), out),
            (11, FieldValue::Fixed64(time)) => {
                set_time(field, (time, self.facts.clock.of_event(time)), out);
            }
            (3 | 12, FieldValue::Len(_)) => self.text(field, out),
            (5, FieldValue::Len(body)) => {
                if body.len() > rules.max_value {
                    self.body(field, body, out);
                }
            }
            (6, FieldValue::Len(_)) => self.attribute(field, &rules.item_keys, left, out),
            _ => self.leave_out(field, out),
        }
    }

    /// The body of a log record that is too long: a text is cut, anything else left out.
    fn body<'a>(&mut self, field: &Field<'a>, body: &'a [u8], out: &mut Splicer<'a>) {
        self.counts.add(Counted::Value);
        let text = match Value::from(Message::new(body)) {
            Value::String(text) => cut_bytes(text.0, self.rules.max_value),
            _ => &[],
        };
        let len = bytes_field_len(1, text.len());
        out.replace(field.whole, bytes_field_len(5, len), |out| {
            put_varint(out, tag(5, WireType::Len));
            put_varint(out, len as u64);
            put_bytes(out, 1, text);
        });
    }

    fn event<'a>(&mut self, event: &'a [u8], out: &mut Splicer<'a>) {
        let (rules, mut left) = (self.rules, self.rules.max_attributes);
        for field in Fields::new(event).flatten() {
            match (field.number, field.value) {
                (1, FieldValue::Fixed64(time)) => {
                    set_time(&field, (time, self.facts.clock.of_event(time)), out);
                }
                (2, FieldValue::Len(_)) => self.text(&field, out),
                (3, FieldValue::Len(_)) => self.attribute(&field, &rules.item_keys, &mut left, out),
                (4, _) => {}
                _ => self.leave_out(&field, out),
            }
        }
    }

    fn link<'a>(&mut self, link: &'a [u8], out: &mut Splicer<'a>) {
        let (rules, mut left) = (self.rules, self.rules.max_attributes);
        for field in Fields::new(link).flatten() {
            match (field.number, field.value) {
                (1 | 2 | 5 | 6, _) => {}
                (3, FieldValue::Len(_)) => self.trace_state(&field, out),
                (4, FieldValue::Len(_)) => self.attribute(&field, &rules.item_keys, &mut left, out),
                _ => self.leave_out(&field, out),
            }
        }
    }

    /// The vendors' part of a trace context may hold the weight of a sampled span (`ot=th`).
    fn trace_state<'a>(&mut self, field: &Field<'a>, out: &mut Splicer<'a>) {
        if !field.bytes().is_empty() {
            self.counts.add(Counted::TraceState);
        }
        out.replace(field.whole, 0, |_| {});
    }

    /// A field with a text, cut if it is too long.
    pub(super) fn text<'a>(&mut self, field: &Field<'a>, out: &mut Splicer<'a>) {
        let (text, most) = (field.bytes(), self.rules.max_value);
        if text.len() > most {
            self.counts.add(Counted::Value);
            let text = cut_bytes(text, most);
            let len = bytes_field_len(field.number, text.len());
            out.replace(field.whole, len, |out| put_bytes(out, field.number, text));
        }
    }

    /// An attribute: kept, left out, cut, or kept as a claim.
    pub(super) fn attribute<'a>(
        &mut self,
        field: &Field<'a>,
        keys: &Keys,
        left: &mut usize,
        out: &mut Splicer<'a>,
    ) {
        let content = field.bytes();
        if !take(left) {
            return self.remove(field, Counted::TooManyAttributes, out);
        }
        if self.may_stay(content, keys) {
            return;
        }
        let attribute = KeyValue::from(Message::new(content));
        let key = match keys.fate(attribute.key.0) {
            Fate::Remove => return self.remove(field, Counted::Attribute, out),
            Fate::Keep => attribute.key.0,
            Fate::Claim => {
                self.counts.add(Counted::User);
                CLAIMED_USER.as_bytes()
            }
        };
        let most = self.rules.max_value;
        let (is_long, value) = match attribute.value {
            Some(Value::String(text)) => (text.0.len() > most, (1, cut_bytes(text.0, most))),
            Some(Value::Bytes(bytes)) => (bytes.len() > most, (7, &bytes[..bytes.len().min(most)])),
            _ => return self.remove(field, Counted::Value, out),
        };
        if is_long {
            self.counts.add(Counted::Value);
        }
        let len = key.len() + value.1.len() + 2 * AROUND;
        out.replace(field.whole, len, |out| put_attribute(out, field.number, key, &value));
    }

    fn remove<'a>(&mut self, field: &Field<'a>, why: Counted, out: &mut Splicer<'a>) {
        self.counts.add(why);
        out.replace(field.whole, 0, |_| {});
    }

    /// What skep knows of the item: its user, and the times that a page has claimed.
    pub(super) fn append(&mut self, seen: &Seen, times: Times, out: &mut Splicer<'_>) {
        let is_log = self.signal == Signal::Logs;
        let number = if is_log { 6 } else { 9 };
        if !is_log {
            missing_times(times, seen, out);
        }
        if let Some(user) = self.facts.user {
            let len = USER.len() + user.len() + 2 * AROUND;
            out.append(len, |out| put_text(out, number, USER, user));
        }
        let Some(why) = times.implausible else { return };
        self.counts.add(Counted::Time);
        let mut digits = String::with_capacity(20);
        let mut marks = Vec::with_capacity(160);
        put_text(&mut marks, number, IMPLAUSIBLE, why.name());
        for (key, time) in [(CLAIMED_START, seen.start), (CLAIMED_END, seen.end)] {
            digits.clear();
            let _ = write!(digits, "{time}");
            put_text(&mut marks, number, key, &digits);
        }
        out.append(marks.len(), |out| out.extend_from_slice(&marks));
    }
}

/// Adds times that a span does not have.
fn missing_times(times: Times, seen: &Seen, out: &mut Splicer<'_>) {
    for (number, was, is) in [(7, seen.start, times.start), (8, seen.end, times.end)] {
        if was == 0 {
            out.append(TIME, |out| put_time(out, number, is));
        }
    }
}

fn put_time(out: &mut Vec<u8>, number: u32, time: u64) {
    put_varint(out, tag(number, WireType::Fixed64));
    out.extend_from_slice(&time.to_le_bytes());
}

fn set_time<'a>(field: &Field<'a>, (was, is): (u64, u64), out: &mut Splicer<'a>) {
    if was != is {
        out.replace(field.whole, TIME, |out| put_time(out, field.number, is));
    }
}
