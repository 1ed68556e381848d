//! Ids as X-Ray writes them.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Lower-case hexadecimal digits of 8 bytes.
pub(super) fn hex(bytes: [u8; 8]) -> [u8; 16] {
    let mut text = [0; 16];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

/// The number of the segment around the call of a local root, see [`derived`].
pub(super) const SERVICE: u64 = u64::MAX;

/// An id that depends only on the id of a span and a number, so that a document is the same
/// whenever it is made: FNV-1a of both.
pub(super) fn derived(span_id: &[u8], number: u64) -> [u8; 16] {
    let bytes = span_id.iter().copied().chain(number.to_be_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hex(hash.max(1).to_be_bytes())
}

/// A span id; `None` if it is not valid.
pub(super) fn span(id: &[u8]) -> Option<[u8; 16]> {
    let id: [u8; 8] = id.try_into().ok()?;
    (id != [0; 8]).then(|| hex(id))
}

/// A trace id: `1-`, the first 4 bytes, `-`, the others. X-Ray does not ask that the first part is
/// a time any more (`PutTraceSegments`), so ids of any maker are taken.
pub(super) fn trace(id: &[u8]) -> Option<[u8; 35]> {
    let id: &[u8; 16] = id.try_into().ok()?;
    if *id == [0; 16] {
        return None;
    }
    let mut text = *b"1-00000000-000000000000000000000000";
    let places = (2..10).chain(11..35);
    let digits = id.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    for (place, digit) in places.zip(digits) {
        text[place] = DIGITS[usize::from(digit)];
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_in_two_parts() {
        let id = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes();
        assert_eq!(&trace(&id).unwrap(), b"1-4bf92f35-77b34da6a3ce929d0e0e4736");
        assert_eq!((trace(&[0; 16]), trace(&[1; 15])), (None, None));
        assert_eq!(span(&[0xAB; 8]), Some(*b"abababababababab"));
        assert_eq!((span(&[0; 8]), span(&[])), (None, None));
    }
}
