//! A message as it is on the wire, be it in several parts, and its repeated fields.

use crate::otlp::wire::{Field, FieldValue, Fields, varint};

/// One message. Where a singular message field occurs several times, its parts one after another
/// are the message; they are found again on each walk instead of being gathered.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// The message, or the message around its parts.
    bytes: &'a [u8],
    /// Numbers of the fields that lead from `bytes` to the parts; 0: no further. Two are enough:
    /// below that something is repeated, in every OTLP message.
    path: [u32; 2],
    /// Parts at the end of the path that do not count, since a later member of their oneof
    /// cleared them.
    cleared: usize,
}

impl<'a> Message<'a> {
    /// A message in one part.
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Message { bytes, path: [0, 0], cleared: 0 }
    }

    /// Its fields in order.
    #[inline]
    pub fn fields(self) -> impl Iterator<Item = Field<'a>> + use<'a> {
        let [first, second] = self.path;
        let (whole, outer) = if first == 0 { (Some(self.bytes), None) } else { (None, Some(self)) };
        let parts = outer.into_iter().flat_map(move |message| {
            contents(message.bytes, first).flat_map(move |part| {
                let direct = (second == 0).then_some(part);
                let inner = (second != 0).then(|| contents(part, second));
                direct.into_iter().chain(inner.into_iter().flatten())
            })
        });
        let parts = whole.into_iter().chain(parts.skip(self.cleared));
        parts.flat_map(|part| Fields::new(part).map_while(Result::ok))
    }

    /// Shows each of its fields in order. Nearly every message is in one part; without a way of its
    /// own for that, looking for one attribute of a span takes a fifth longer (`benches/otlp.rs`).
    #[inline]
    pub fn each(self, mut show: impl FnMut(Field<'a>)) {
        if self.path[0] == 0 {
            Fields::new(self.bytes).map_while(Result::ok).for_each(show);
        } else {
            self.fields().for_each(&mut show);
        }
    }

    /// Its bytes where it is in one part.
    #[inline]
    pub(super) fn whole(self) -> Option<&'a [u8]> {
        (self.path[0] == 0).then_some(self.bytes)
    }

    /// The messages of a repeated field.
    #[inline]
    pub(super) fn all<T: From<Message<'a>>>(
        self,
        number: u32,
    ) -> impl Iterator<Item = T> + use<'a, T> {
        self.contents(number).map(|content| T::from(Message::new(content)))
    }

    /// The contents of a repeated message, bytes or string field.
    #[inline]
    pub fn contents(self, number: u32) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.fields().filter_map(move |field| content(field, number))
    }

    /// The values of a repeated field of eight-byte numbers.
    pub(super) fn fixed64s(self, number: u32) -> impl Iterator<Item = u64> + use<'a> {
        self.fields().filter(move |field| field.number == number).flat_map(|field| {
            let (one, packed) = match field.value {
                FieldValue::Fixed64(value) => (Some(value), &[][..]),
                _ => (None, field.bytes().as_chunks::<8>().0),
            };
            one.into_iter().chain(packed.iter().map(|chunk| u64::from_le_bytes(*chunk)))
        })
    }

    /// The values of a repeated field of integers.
    pub(super) fn varints(self, number: u32) -> impl Iterator<Item = u64> + use<'a> {
        self.fields().filter(move |field| field.number == number).flat_map(|field| {
            let one = match field.value {
                FieldValue::Varint(value) => Some(value),
                _ => None,
            };
            let mut packed = field.bytes();
            one.into_iter().chain(std::iter::from_fn(move || {
                let (value, rest) = varint(packed).ok()?;
                packed = rest;
                Some(value)
            }))
        })
    }

    /// The member `number` of a oneof, whose `members` are all message fields or clear them.
    pub(super) fn member(self, number: u32, members: &[u32]) -> Message<'a> {
        let (mut first, mut count, mut cleared) = (None, 0, 0);
        for field in self.fields().filter(|field| members.contains(&field.number)) {
            if let Some(part) = content(field, number) {
                count += 1;
                first = first.or(Some(part));
            } else {
                (cleared, first) = (count, None);
            }
        }
        match first {
            Some(only) if count - cleared == 1 => Message::new(only),
            _ => self.split_child(number, cleared),
        }
    }

    #[cold]
    pub(in crate::otlp) fn split_child(self, number: u32, cleared: usize) -> Message<'a> {
        debug_assert_eq!(self.path[1], 0, "two steps are enough");
        let path = if self.path[0] == 0 { [number, 0] } else { [self.path[0], number] };
        Message { bytes: self.bytes, path, cleared }
    }
}

/// Gathers the parts of a singular message while the message around it is read.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Child<'a> {
    first: Option<&'a [u8]>,
    is_split: bool,
}

impl<'a> Child<'a> {
    #[inline]
    pub(super) fn add(&mut self, part: &'a [u8]) {
        self.is_split = self.first.is_some();
        self.first = self.first.or(Some(part));
    }

    /// The child, which is field `number` of `parent`.
    #[inline]
    pub(super) fn of(self, parent: Message<'a>, number: u32) -> Option<Message<'a>> {
        let only = self.first?;
        Some(if self.is_split { parent.split_child(number, 0) } else { Message::new(only) })
    }
}

impl<'a> From<&'a [u8]> for Message<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Message::new(bytes)
    }
}

#[inline]
fn content(field: Field<'_>, number: u32) -> Option<&[u8]> {
    match field.value {
        FieldValue::Len(bytes) if field.number == number => Some(bytes),
        _ => None,
    }
}

fn contents(bytes: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    Fields::new(bytes).map_while(Result::ok).filter_map(move |field| content(field, number))
}
