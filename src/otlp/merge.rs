//! Joins resource entries with equal headers, and in them scope entries with equal headers. A batch
//! of many small requests of one sender repeats its resource for each; joined, it is sent once.
//!
//! Headers are compared as bytes without decoding, so equal headers in another encoding are not
//! joined. A header is everything but the children: the resource or scope, the schema URL, unknown
//! fields. Entries are in the order of their first occurrence, and the items of each in their
//! original order. Down to the items, all signals have the same shape.
//!
//! Memory: a copy of the request, each distinct header once, and two words for each run of adjacent
//! items. It is paid for in advance.

use std::{collections::HashMap, rc::Rc};

use bytes::Bytes;

use super::{
    purse::Purse,
    wire::{FieldValue, Fields, WireType, bytes_field_len, put_varint, tag},
};

/// Field numbers of the children: of a request, of a resource entry.
const LEVELS: [u32; 2] = [1, 2];

/// Field number of the items in a scope entry.
const ITEMS: u32 = 2;

/// The request in `segments` with equal entries joined, as one segment. `None` if no two are equal,
/// if `purse` cannot pay for it, or if the bytes are not protobuf.
pub fn merge_equal(segments: &[Bytes], purse: &mut Purse) -> Option<Bytes> {
    let mut request = Group::default();
    let mut joined = 0;
    let mut unknown = Vec::new();
    let all: usize = segments.iter().map(Bytes::len).sum();
    // The copy is not larger than the original.
    purse.pay(all + all / 8).ok()?;
    for segment in segments {
        request.add_children(segment, &LEVELS, &mut unknown, &mut joined, purse)?;
    }
    if joined == 0 {
        return None;
    }
    let mut out = Vec::with_capacity(request.len(&LEVELS) + unknown.len());
    request.write(&LEVELS, &mut out);
    out.extend_from_slice(&unknown);
    Some(out.into())
}

/// Bytes of a group without its header, including its entries in lists.
const GROUP: usize = 512;

/// Messages with one header, as one message.
#[derive(Debug, Default)]
struct Group<'a> {
    header: Rc<[u8]>,
    /// Where in `children` a header is.
    positions: HashMap<Rc<[u8]>, usize>,
    children: Vec<Group<'a>>,
    /// Runs of items, tags and all; only in scope entries.
    items: Vec<&'a [u8]>,
}

impl<'a> Group<'a> {
    /// Adds the children of `message`, which are in fields `levels[0]`, and appends all other
    /// fields to `header`. `None` if the bytes are not protobuf.
    fn add_children(
        &mut self,
        message: &'a [u8],
        levels: &[u32],
        header: &mut Vec<u8>,
        joined: &mut usize,
        purse: &mut Purse,
    ) -> Option<()> {
        let Some((number, below)) = levels.split_first() else {
            return self.add_items(message, header, purse);
        };
        for field in Fields::new(message) {
            let field = field.ok()?;
            let FieldValue::Len(child) = field.value else {
                keep(header, field.whole, purse)?;
                continue;
            };
            if field.number != *number {
                keep(header, field.whole, purse)?;
                continue;
            }
            // The header is read first, because it may come after the children.
            let children = below.first().copied().unwrap_or(ITEMS);
            let key = header_of(child, children, purse)?;
            let at = if let Some(at) = self.positions.get(&key[..]) {
                *joined += 1;
                *at
            } else {
                purse.pay(key.len() + GROUP).ok()?;
                self.begin(key.into())
            };
            let inner = &mut self.children[at];
            inner.add_children(child, below, &mut Vec::new(), joined, purse)?;
        }
        Some(())
    }

    fn begin(&mut self, header: Rc<[u8]>) -> usize {
        let at = self.children.len();
        self.positions.insert(Rc::clone(&header), at);
        self.children.push(Group { header, ..Group::default() });
        at
    }

    fn add_items(
        &mut self,
        message: &'a [u8],
        header: &mut Vec<u8>,
        purse: &mut Purse,
    ) -> Option<()> {
        let mut at = 0;
        let mut run = 0..0;
        for field in Fields::new(message) {
            let field = field.ok()?;
            let end = at + field.whole.len();
            if is_child(field.number, field.value, ITEMS) {
                let start = if run.end == at { run.start } else { at };
                if start == at && !run.is_empty() {
                    purse.push(&mut self.items, &message[run.clone()]).ok()?;
                }
                run = start..end;
            } else {
                keep(header, field.whole, purse)?;
            }
            at = end;
        }
        if !run.is_empty() {
            purse.push(&mut self.items, &message[run]).ok()?;
        }
        Some(())
    }

    fn len(&self, levels: &[u32]) -> usize {
        let items: usize = self.items.iter().map(|run| run.len()).sum();
        let Some((number, below)) = levels.split_first() else { return self.header.len() + items };
        let children = self.children.iter().map(|child| bytes_field_len(*number, child.len(below)));
        self.header.len() + children.sum::<usize>()
    }

    fn write(&self, levels: &[u32], out: &mut Vec<u8>) {
        out.extend_from_slice(&self.header);
        for run in &self.items {
            out.extend_from_slice(run);
        }
        let Some((number, below)) = levels.split_first() else { return };
        for child in &self.children {
            put_varint(out, tag(*number, WireType::Len));
            put_varint(out, child.len(below) as u64);
            child.write(below, out);
        }
    }
}

fn is_child(number: u32, value: FieldValue<'_>, children: u32) -> bool {
    number == children && matches!(value, FieldValue::Len(_))
}

/// All fields of `message` but its children.
fn header_of(message: &[u8], children: u32, purse: &mut Purse) -> Option<Vec<u8>> {
    let mut header = Vec::new();
    for field in Fields::new(message) {
        let field = field.ok()?;
        if !is_child(field.number, field.value, children) {
            keep(&mut header, field.whole, purse)?;
        }
    }
    Some(header)
}

/// Appends a field, and pays for the growth unless it is small.
fn keep(header: &mut Vec<u8>, field: &[u8], purse: &mut Purse) -> Option<()> {
    let len = header.len() + field.len();
    if len > header.capacity() && len > GROUP {
        let capacity = len.max(2 * header.capacity());
        purse.pay(capacity).ok()?;
        header.reserve_exact(capacity - header.len());
    }
    header.extend_from_slice(field);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::wire::put_bytes;

    fn entry(resource: &[u8], scopes: &[(&[u8], &[&[u8]])]) -> Bytes {
        let mut entry = Vec::new();
        put_bytes(&mut entry, 1, resource);
        for (scope, items) in scopes {
            let mut scope_entry = Vec::new();
            put_bytes(&mut scope_entry, 1, scope);
            for item in *items {
                put_bytes(&mut scope_entry, 2, item);
            }
            put_bytes(&mut entry, 2, &scope_entry);
        }
        put_bytes(&mut entry, 3, b"schema");
        let mut request = Vec::new();
        put_bytes(&mut request, 1, &entry);
        request.into()
    }

    #[test]
    fn requests_of_one_sender_become_one_entry_with_one_scope() {
        let requests = [
            entry(b"\x10\x01", &[(b"", &[b"\x30\x01", b"\x30\x02"])]),
            entry(b"\x10\x02", &[(b"", &[b"\x30\x03"])]),
            entry(b"\x10\x01", &[(b"", &[b"\x30\x04"]), (b"\x20\x01", &[b"\x30\x05"])]),
        ];
        let merged = merge_equal(&requests, &mut Purse::default()).unwrap();
        let mut expected = Vec::new();
        // The header comes first.
        for (resource, scopes) in [
            (b"\x10\x01", &[(&b""[..], &[1, 2, 4][..]), (b"\x20\x01", &[5])][..]),
            (b"\x10\x02", &[(b"", &[3])]),
        ] {
            let mut entry = Vec::new();
            put_bytes(&mut entry, 1, resource);
            put_bytes(&mut entry, 3, b"schema");
            for (scope, items) in scopes {
                let mut scope_entry = Vec::new();
                put_bytes(&mut scope_entry, 1, scope);
                for item in *items {
                    put_bytes(&mut scope_entry, 2, &[0x30, *item]);
                }
                put_bytes(&mut entry, 2, &scope_entry);
            }
            put_bytes(&mut expected, 1, &entry);
        }
        assert_eq!(merged, expected);
    }

    #[test]
    fn nothing_is_copied_where_all_differ() {
        let requests = [entry(b"\x10\x01", &[(b"", &[b""])]), entry(b"\x10\x02", &[(b"", &[b""])])];
        assert_eq!(merge_equal(&requests, &mut Purse::default()), None);
        assert_eq!(merge_equal(&[], &mut Purse::default()), None);
    }

    #[test]
    fn items_apart_in_a_scope_and_unknown_fields_survive() {
        let mut scope = Vec::new();
        put_bytes(&mut scope, 2, b"\x30\x01");
        put_bytes(&mut scope, 99, b"unknown");
        put_bytes(&mut scope, 2, b"\x30\x02");
        let (mut resource, mut request) = (Vec::new(), Vec::new());
        put_bytes(&mut resource, 2, &scope);
        put_bytes(&mut request, 1, &resource);
        put_bytes(&mut request, 77, b"of the request");
        let merged =
            merge_equal(&[request.clone().into(), request.into()], &mut Purse::default()).unwrap();
        let count = |what: &[u8]| merged.windows(what.len()).filter(|w| *w == what).count();
        assert_eq!([count(b"\x30\x01"), count(b"\x30\x02"), count(b"unknown")], [2, 2, 1]);
        assert_eq!(count(b"of the request"), 2);
    }

    #[test]
    fn what_is_no_protobuf_is_left_alone() {
        assert_eq!(
            merge_equal(&[Bytes::from_static(&[0x0A, 0, 0x0A, 0, 0x0A, 5])], &mut Purse::default()),
            None
        );
    }
}
