//! The protobuf wire format: tags, varints, and a cursor over the fields of one message. Knows
//! nothing of OTLP.
//!
//! Overlong varints are legal and read as what they mean. Groups (wire types 3 and 4) are of
//! proto2; as every parser does, one is taken for an unknown field. Nothing here panics on any
//! input.

/// How a field's value is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireType {
    /// Up to ten bytes, seven bits each.
    Varint = 0,
    /// Eight bytes, little endian.
    Fixed64 = 1,
    /// A length and so many bytes.
    Len = 2,
    /// Four bytes, little endian.
    Fixed32 = 5,
}

/// Why bytes are not a protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The message ends within a field.
    #[error("the bytes end within a field")]
    Truncated,
    /// A varint of more than ten bytes, or of more than 64 bits.
    #[error("a varint is longer than 64 bits")]
    VarintOverflow,
    /// Field numbers start at 1.
    #[error("field number 0")]
    FieldZero,
    /// A tag of more than 32 bits.
    #[error("a field number above 2^29 - 1")]
    TagOverflow,
    /// The end of a group that did not begin (wire type 4), 6 and 7.
    #[error("wire type {0} is not supported")]
    WireType(u8),
    /// Groups in groups beyond the limit.
    #[error("groups are nested more than {GROUPS} deep")]
    GroupDepth,
}

/// Deepest nesting of groups.
const GROUPS: usize = 64;

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldValue<'a> {
    /// Integers, booleans, enums.
    Varint(u64),
    /// `fixed64`, `sfixed64`, `double`.
    Fixed64(u64),
    /// Strings, bytes, messages, packed numbers.
    Len(&'a [u8]),
    /// `fixed32`, `sfixed32`, `float`.
    Fixed32(u32),
    /// The fields of a group, which is never a field that OTLP knows.
    Group(&'a [u8]),
}

/// One field as it is in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Field number, 1 to 2^29 - 1.
    pub number: u32,
    /// Its value.
    pub value: FieldValue<'a>,
    /// Tag, length and value, verbatim.
    pub whole: &'a [u8],
}

impl<'a> Field<'a> {
    /// The bytes of a length-delimited field; empty for any other.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        match self.value {
            FieldValue::Len(bytes) => bytes,
            _ => &[],
        }
    }

    /// The number of a field that holds one, whatever its layout; 0 for any other.
    #[inline]
    pub fn number_value(&self) -> u64 {
        match self.value {
            FieldValue::Varint(value) | FieldValue::Fixed64(value) => value,
            FieldValue::Fixed32(value) => u64::from(value),
            FieldValue::Len(_) | FieldValue::Group(_) => 0,
        }
    }
}

/// A cursor over the fields of one message. Ends after the last field or the first error.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Starts at the first byte of a message.
    #[inline]
    pub fn new(message: &'a [u8]) -> Self {
        Fields { rest: message }
    }

    /// What has not been read yet.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    fn read(&mut self) -> Result<Field<'a>, WireError> {
        let start = self.rest;
        let (tag, after_tag) = varint(start)?;
        let (number, wire_type) = split_tag(tag)?;
        let (value, rest) = match wire_type {
            0 => {
                let (value, rest) = varint(after_tag)?;
                (FieldValue::Varint(value), rest)
            }
            2 => {
                let (len, rest) = varint(after_tag)?;
                let len = usize::try_from(len).map_err(|_| WireError::Truncated)?;
                let (bytes, rest) = rest.split_at_checked(len).ok_or(WireError::Truncated)?;
                (FieldValue::Len(bytes), rest)
            }
            1 => {
                let (bytes, rest) = after_tag.split_first_chunk().ok_or(WireError::Truncated)?;
                (FieldValue::Fixed64(u64::from_le_bytes(*bytes)), rest)
            }
            5 => {
                let (bytes, rest) = after_tag.split_first_chunk().ok_or(WireError::Truncated)?;
                (FieldValue::Fixed32(u32::from_le_bytes(*bytes)), rest)
            }
            3 => {
                let (fields, rest) = group(number, after_tag)?;
                (FieldValue::Group(fields), rest)
            }
            other => return Err(WireError::WireType(other)),
        };
        self.rest = rest;
        let whole = &start[..start.len() - rest.len()];
        Ok(Field { number, value, whole })
    }
}

#[cfg(test)]
thread_local! {
    /// Fields that this thread has read, for tests of how much work something is.
    pub(crate) static READ: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, WireError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        #[cfg(test)]
        READ.with(|read| read.set(read.get() + 1));
        let field = self.read();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// Field number and wire type of a tag.
#[inline]
pub fn split_tag(tag: u64) -> Result<(u32, u8), WireError> {
    let tag = u32::try_from(tag).map_err(|_| WireError::TagOverflow)?;
    let number = tag >> 3;
    if number == 0 {
        return Err(WireError::FieldZero);
    }
    Ok((number, (tag & 7) as u8))
}

/// Reads a varint and returns it with what comes after. One byte is the common case.
#[inline]
pub fn varint(bytes: &[u8]) -> Result<(u64, &[u8]), WireError> {
    match bytes {
        [first, rest @ ..] if *first < 0x80 => Ok((u64::from(*first), rest)),
        [first, second, rest @ ..] if *second < 0x80 => {
            Ok((u64::from(*first & 0x7F) | u64::from(*second) << 7, rest))
        }
        _ => long_varint(bytes),
    }
}

#[cold]
fn long_varint(bytes: &[u8]) -> Result<(u64, &[u8]), WireError> {
    let mut value = 0;
    for (i, byte) in bytes.iter().enumerate().take(10) {
        let bits = u64::from(byte & 0x7F);
        if i == 9 && bits > 1 {
            return Err(WireError::VarintOverflow);
        }
        value |= bits << (7 * i);
        if byte & 0x80 == 0 {
            return Ok((value, &bytes[i + 1..]));
        }
    }
    Err(if bytes.len() < 10 { WireError::Truncated } else { WireError::VarintOverflow })
}

/// The fields of a group with this number, whose first one begins at `bytes`, and what comes after
/// its end.
#[cold]
pub(super) fn group(number: u32, bytes: &[u8]) -> Result<(&[u8], &[u8]), WireError> {
    let mut open = vec![number];
    let mut rest = bytes;
    loop {
        let end = bytes.len() - rest.len();
        let (tag, after_tag) = varint(rest)?;
        let (number, wire_type) = split_tag(tag)?;
        let skip = |len: usize, from: &'_ [u8]| {
            let rest = from.len().checked_sub(len).ok_or(WireError::Truncated)?;
            Ok(bytes.len() - rest)
        };
        let next = match wire_type {
            0 => bytes.len() - varint(after_tag)?.1.len(),
            1 => skip(8, after_tag)?,
            2 => {
                let (len, content) = varint(after_tag)?;
                skip(usize::try_from(len).map_err(|_| WireError::Truncated)?, content)?
            }
            5 => skip(4, after_tag)?,
            3 if open.len() == GROUPS => return Err(WireError::GroupDepth),
            3 => {
                open.push(number);
                skip(0, after_tag)?
            }
            4 if open.pop() == Some(number) => {
                if open.is_empty() {
                    return Ok((&bytes[..end], after_tag));
                }
                skip(0, after_tag)?
            }
            other => return Err(WireError::WireType(other)),
        };
        rest = &bytes[next..];
    }
}

/// The tag of a field.
#[inline]
pub const fn tag(number: u32, wire: WireType) -> u64 {
    ((number as u64) << 3) | wire as u64
}

/// Appends a minimal varint.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low seven bits are what is written")]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes of a minimal varint: 1 to 10.
#[inline]
pub const fn varint_len(value: u64) -> usize {
    // Each seven bits take a byte; zero takes one too.
    ((64 - (value | 1).leading_zeros()) as usize).div_ceil(7)
}

/// Appends a length-delimited field.
#[inline]
pub fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_varint(out, tag(number, WireType::Len));
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends the tag and the length of a length-delimited field, whose `len` bytes are to follow.
#[inline]
pub fn put_header(out: &mut Vec<u8>, number: u32, len: usize) {
    put_varint(out, tag(number, WireType::Len));
    put_varint(out, len as u64);
}

/// Bytes that [`put_bytes`] appends for a value of `len` bytes.
#[inline]
pub const fn bytes_field_len(number: u32, len: usize) -> usize {
    varint_len(tag(number, WireType::Len)) + varint_len(len as u64) + len
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(message: &[u8]) -> Result<Vec<Field<'_>>, WireError> {
        Fields::new(message).collect()
    }

    #[test]
    fn overlong_varints_mean_what_they_say() {
        assert_eq!(varint(&[0x81, 0x80, 0x80, 0x00, 7]), Ok((1, &[7][..])));
    }

    #[test]
    fn a_negative_int_takes_ten_bytes() {
        let bytes = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01];
        assert_eq!(varint(&bytes), Ok((u64::MAX, &[][..])));
    }

    #[test]
    fn a_varint_above_64_bits_is_refused() {
        let bytes = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x02];
        assert_eq!(varint(&bytes), Err(WireError::VarintOverflow));
        assert_eq!(varint(&[0x80; 11]), Err(WireError::VarintOverflow));
    }

    #[test]
    fn field_number_zero_is_refused() {
        assert_eq!(all(&[0x00, 0x01]), Err(WireError::FieldZero));
    }

    #[test]
    fn a_tag_above_32_bits_is_refused() {
        let mut message = Vec::new();
        put_varint(&mut message, 1 << 35);
        message.push(0);
        assert_eq!(all(&message), Err(WireError::TagOverflow));
    }

    #[test]
    fn a_length_above_what_is_left_is_refused_without_allocating() {
        let mut message = vec![0x0A];
        put_varint(&mut message, (1 << 31) + 5);
        assert_eq!(all(&message), Err(WireError::Truncated));
        let mut message = vec![0x0A];
        put_varint(&mut message, u64::MAX);
        assert_eq!(all(&message), Err(WireError::Truncated));
    }

    #[test]
    fn a_group_is_one_field_with_all_that_is_in_it() {
        // Field 1: a group of a varint, another group, four bytes, and eight; then field 2.
        let fields =
            [0x08, 5, 0x13, 0x1A, 1, 0x0C, 0x14, 0x0D, 1, 2, 3, 4, 0x09, 0, 0, 0, 0, 0, 0, 0, 0];
        let message = [&[0x0B][..], &fields, &[0x0C, 0x10, 7]].concat();
        let found = all(&message).unwrap();
        assert_eq!((found[0].number, found[0].value), (1, FieldValue::Group(&fields)));
        assert_eq!(found[0].whole, &message[..message.len() - 2]);
        assert_eq!((found[1].number, found[1].value), (2, FieldValue::Varint(7)));
        assert_eq!(all(&[0x0B, 0x0C]).unwrap()[0].value, FieldValue::Group(&[]));
        for (bytes, error) in [
            (&[0x0C][..], WireError::WireType(4)),
            (&[0x0B, 0x14], WireError::WireType(4)),
            (&[0x0B, 0x0E], WireError::WireType(6)),
            (&[0x0B], WireError::Truncated),
            (&[0x0B, 0x0A, 9, 0x0C], WireError::Truncated),
            (&[0x0B; GROUPS + 1], WireError::GroupDepth),
        ] {
            assert_eq!(all(bytes), Err(error), "{bytes:?}");
        }
    }

    #[test]
    fn a_field_knows_its_own_bytes() {
        let fields = all(&[0x0A, 0x02, b'h', b'i', 0x10, 0x05]).unwrap();
        assert_eq!(fields[0].whole, [0x0A, 0x02, b'h', b'i']);
        assert_eq!((fields[1].number, fields[1].value), (2, FieldValue::Varint(5)));
    }

    proptest! {
        #[test]
        fn varints_survive_a_round_trip_at_their_minimal_length(value: u64) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            prop_assert_eq!(out.len(), varint_len(value));
            prop_assert_eq!(varint(&out), Ok((value, &[][..])));
        }

        #[test]
        fn any_bytes_either_end_or_err_and_the_fields_are_the_bytes(bytes: Vec<u8>) {
            let mut seen = Vec::new();
            let mut is_whole = true;
            for field in Fields::new(&bytes) {
                match field {
                    Ok(field) => seen.extend_from_slice(field.whole),
                    Err(_) => is_whole = false,
                }
            }
            prop_assert!(bytes.starts_with(&seen));
            prop_assert!(!is_whole || seen.len() == bytes.len());
        }
    }
}
