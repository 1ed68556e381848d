//! The data between two cursors, as requests: wrappers repeat all other fields of the messages
//! that are cut.

use bytes::Bytes;

use super::walk::{Cursor, KINDS, Level};
use crate::otlp::{
    payload::Body,
    wire::{Fields, put_bytes},
};

/// Appends the data between two cursors of a segment.
pub(super) fn segment(
    segment: &Bytes,
    from: Option<&Cursor>,
    to: Option<&Cursor>,
    body: &mut Body,
) {
    let first = from.map_or(&[][..], Cursor::levels);
    let last = to.map_or(&[][..], Cursor::levels);
    let start = from.map_or(0, |from| from.at);
    if is_same(first, last) {
        body.extend(cut(segment, first, last).map(|entry| request(&entry)));
        return;
    }
    body.extend(cut(segment, first, &[]).map(|entry| request(&entry)));
    let end = match (last.first(), to) {
        (Some(entry), _) => entry.field,
        (None, Some(to)) => to.at,
        (None, None) => segment.len(),
    };
    if start < end {
        body.push(segment.slice(start..end));
    }
    body.extend(cut(segment, &[], last).map(|entry| request(&entry)));
}

fn request(entry: &[u8]) -> Bytes {
    let mut request = Vec::with_capacity(entry.len() + 8);
    put_bytes(&mut request, 1, entry);
    request.into()
}

/// Whether the outermost messages that are open are the same.
fn is_same(first: &[Level], last: &[Level]) -> bool {
    matches!((first.first(), last.first()), (Some(first), Some(last)) if first.start == last.start)
}

/// The outermost of the open messages, with its header and those of its children that come after
/// what is open in `first` and before what is open in `last`. `None` if nothing is open.
fn cut(segment: &[u8], first: &[Level], last: &[Level]) -> Option<Vec<u8>> {
    let level = first.first().or(last.first())?;
    let message = &segment[level.start..level.end];
    if level.kind != 0 {
        let from = first.first().map_or(0, |level| level.children);
        let to = last.first().map_or(usize::MAX, |level| level.children);
        return Some(points(message, level, from..to));
    }
    let mut out = Vec::with_capacity(message.len());
    for field in Fields::new(message).map_while(Result::ok) {
        if field.number != 2 {
            out.extend_from_slice(field.whole);
        }
    }
    let (inner_first, inner_last) = (first.get(1..).unwrap_or(&[]), last.get(1..).unwrap_or(&[]));
    if is_same(inner_first, inner_last) {
        put_bytes(&mut out, 2, &cut(segment, inner_first, inner_last).unwrap_or_default());
        return Some(out);
    }
    if let Some(inner) = cut(segment, inner_first, &[]) {
        put_bytes(&mut out, 2, &inner);
    }
    let start = first.first().map_or(level.start, |level| level.at);
    let end = match (inner_last.first(), last.first()) {
        (Some(child), _) => child.field,
        (None, Some(level)) => level.at,
        (None, None) => level.end,
    };
    for field in Fields::new(segment.get(start..end).unwrap_or(&[])).map_while(Result::ok) {
        if field.number == 2 {
            out.extend_from_slice(field.whole);
        }
    }
    if let Some(inner) = cut(segment, &[], inner_last) {
        put_bytes(&mut out, 2, &inner);
    }
    Some(out)
}

/// A metric with some of its points, by their numbers.
fn points(metric: &[u8], level: &Level, wanted: std::ops::Range<usize>) -> Vec<u8> {
    let (mut out, mut data) = (Vec::new(), Vec::new());
    let (mut at, mut number) = (level.start, 0);
    for field in Fields::new(metric).map_while(Result::ok) {
        at += field.whole.len();
        if !KINDS.contains(&field.number) {
            out.extend_from_slice(field.whole);
        } else if at >= level.data_from {
            for field in Fields::new(field.bytes()).map_while(Result::ok) {
                let is_point = field.number == 1;
                if !is_point || wanted.contains(&number) {
                    data.extend_from_slice(field.whole);
                }
                number += usize::from(is_point);
            }
        }
    }
    put_bytes(&mut out, level.kind, &data);
    out
}
