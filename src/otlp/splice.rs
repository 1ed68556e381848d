//! Edits OTLP bytes in place of decoding them: untouched ranges are copied verbatim, the lengths of
//! all ancestors are written anew as minimal varints, unknown fields survive.
//!
//! A message whose length changes is written after a gap of the length's most likely width; where
//! the width turns out different the message is moved by a byte, which happens only when a size
//! crosses 127, 16 383 or 2 097 151. What did not change is copied whole, and where nothing changed
//! nothing is returned, so the caller keeps its own bytes.

use super::wire::{FieldValue, Fields, WireType, put_bytes, put_varint, tag, varint_len};

/// What is left out of a list of attributes, and what is added to its end.
pub trait Edit {
    /// Whether to look at one attribute, given as its `KeyValue` bytes. `Some` replaces it: empty
    /// bytes remove it.
    fn replace(&mut self, attribute: &[u8]) -> Option<Vec<u8>>;
    /// `KeyValue` bytes to add, once all attributes have been seen.
    fn add(&mut self) -> Vec<Vec<u8>>;
}

/// Edits the attributes of every resource of a request, of whatever signal: down to the resource
/// all three have one shape. None: nothing changed.
pub fn edit_resources(body: &[u8], edit: &mut impl Edit) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(body.len() + body.len() / 16 + 64);
    let mut is_changed = false;
    for field in Fields::new(body).flatten() {
        let FieldValue::Len(entry) = field.value else {
            out.extend_from_slice(field.whole);
            continue;
        };
        if field.number != 1 {
            out.extend_from_slice(field.whole);
            continue;
        }
        let start = out.len();
        let edited = nested(&mut out, 1, entry.len() + 64, |out| entry_resource(entry, edit, out));
        if edited {
            is_changed = true;
        } else {
            out.truncate(start);
            out.extend_from_slice(field.whole);
        }
    }
    is_changed.then_some(out)
}

/// Writes a resource entry with its resource edited. An entry without a resource gets one where
/// there is something to add; several resources of one entry are one (protobuf merges them).
fn entry_resource(entry: &[u8], edit: &mut impl Edit, out: &mut Vec<u8>) -> bool {
    let resources = || {
        Fields::new(entry).flatten().filter(|field| field.number == 1).map(|field| field.bytes())
    };
    let mut merged = Vec::new();
    let resource = match (resources().next(), resources().nth(1)) {
        (None, _) => &[][..],
        (Some(only), None) => only,
        (Some(_), Some(_)) => {
            resources().for_each(|part| merged.extend_from_slice(part));
            &merged[..]
        }
    };
    let is_edited = nested(out, 1, resource.len() + 64, |out| attributes(resource, 1, edit, out));
    if !is_edited {
        return false;
    }
    for field in Fields::new(entry).flatten().filter(|field| field.number != 1) {
        out.extend_from_slice(field.whole);
    }
    true
}

/// Copies `message` with the attributes in its field `number` edited.
fn attributes(message: &[u8], number: u32, edit: &mut impl Edit, out: &mut Vec<u8>) -> bool {
    let mut is_changed = false;
    for field in Fields::new(message).flatten() {
        let replaced = match field.value {
            FieldValue::Len(attribute) if field.number == number => edit.replace(attribute),
            _ => None,
        };
        match replaced {
            None => out.extend_from_slice(field.whole),
            Some(new) => {
                is_changed = true;
                if !new.is_empty() {
                    put_bytes(out, number, &new);
                }
            }
        }
    }
    for new in edit.add() {
        is_changed = true;
        put_bytes(out, number, &new);
    }
    is_changed
}

/// Writes a length-delimited field whose content `write` appends. `likely` is its likely length.
fn nested(
    out: &mut Vec<u8>,
    number: u32,
    likely: usize,
    write: impl FnOnce(&mut Vec<u8>) -> bool,
) -> bool {
    put_varint(out, tag(number, WireType::Len));
    let gap_start = out.len();
    let gap = varint_len(likely as u64);
    out.resize(gap_start + gap, 0);
    let result = write(out);
    let len = out.len() - gap_start - gap;
    let mut width = Vec::with_capacity(10);
    put_varint(&mut width, len as u64);
    out.splice(gap_start..gap_start + gap, width);
    result
}
