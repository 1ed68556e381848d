//! Where the fields of a message are: one scan finds them all, and further reads go straight to
//! them. A condition on `kind` takes half the time so, and each further one a few nanoseconds
//! (`benches/ottl.rs`).

use std::{borrow::Cow, cell::Cell};

use super::wire::{child, fields};
use crate::otlp::wire::{FieldValue, Fields};

/// Field numbers that are found; OTLP has none above in what items read.
const NUMBERS: usize = 17;

/// The last occurrence of each field of a message, found when it is first asked for.
#[derive(Debug, Default)]
pub(crate) struct Index {
    is_built: Cell<bool>,
    /// One more than where a field begins; 0 if it is absent.
    starts: [Cell<u32>; NUMBERS],
    /// A bit for each number that occurs several times.
    repeated: Cell<u32>,
}

impl Index {
    /// Forgets what it knows, because the message has changed.
    pub(crate) fn clear(&self) {
        self.is_built.set(false);
    }

    fn build(&self, message: &[u8]) {
        self.starts.iter().for_each(|start| start.set(0));
        let mut repeated = 0;
        let mut at = 0;
        while let Some(len) = field_len(&message[at..]) {
            let number = usize::from(message[at] >> 3);
            let number = if message[at] < 0x80 { number } else { long_number(&message[at..]) };
            if let (Some(start), Ok(place)) = (self.starts.get(number), u32::try_from(at + 1)) {
                if start.get() != 0 {
                    repeated |= 1 << number;
                }
                start.set(place);
            }
            at += len;
        }
        self.repeated.set(repeated);
        self.is_built.set(true);
    }
}

/// Bytes of the field at the start; the usual short forms without reading it.
#[inline]
fn field_len(message: &[u8]) -> Option<usize> {
    let len = match message {
        [] => return None,
        [tag @ ..0x80, second @ ..0x80, ..] if tag & 7 == 2 => 2 + usize::from(*second),
        [tag @ ..0x80, ..0x80, ..] if tag.trailing_zeros() >= 3 => 2,
        [tag @ ..0x80, ..] if tag & 7 == 1 => 9,
        _ => usize::MAX,
    };
    if len <= message.len() { Some(len) } else { long_len(message) }
}

#[cold]
fn long_len(message: &[u8]) -> Option<usize> {
    Some(Fields::new(message).next()?.ok()?.whole.len())
}

#[cold]
fn long_number(message: &[u8]) -> usize {
    let field = Fields::new(message).next().and_then(Result::ok);
    field.and_then(|field| usize::try_from(field.number).ok()).unwrap_or(NUMBERS)
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
        if !index.is_built.get() {
            index.build(self.message);
        }
        let start = usize::try_from(index.starts[slot].get()).ok()?.checked_sub(1)?;
        Some(Fields::new(self.message.get(start..)?).next()?.ok()?.value)
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
