//! Bodies in the encoding `aws-chunked`: chunks with their size in hexadecimal digits, maybe
//! signed.
//!
//! ```text
//! 5;chunk-signature=ad80c7... CRLF
//! hello CRLF
//! 0;chunk-signature=b6c6ea... CRLF
//! x-amz-checksum-crc32:... CRLF
//! CRLF
//! ```
//!
//! Checksums behind the last chunk are passed over: the connection has its own.

use memchr::memmem;

/// Longest line before a chunk: its size and signature have 85 bytes.
const LONGEST_LINE: usize = 256;

/// What the chunks of a body are, one behind the other. `is_right` is shown each of them, the empty
/// one at the end included, with its signature in hexadecimal digits, which is empty if it has
/// none. `None` if the body is cut off, is not in this encoding, or a chunk is not right.
pub fn join(mut body: &[u8], mut is_right: impl FnMut(&[u8], &[u8]) -> bool) -> Option<Vec<u8>> {
    let mut joined = Vec::with_capacity(body.len());
    loop {
        let line = &body[..body.len().min(LONGEST_LINE)];
        let end = memmem::find(line, b"\r\n")?;
        let (line, rest) = (&body[..end], &body[end + 2..]);
        let mut parts = line.split(|byte| *byte == b';');
        let size = std::str::from_utf8(parts.next()?.trim_ascii()).ok()?;
        let is_size = (1..=16).contains(&size.len()) && size.bytes().all(|b| b.is_ascii_hexdigit());
        let size = usize::from_str_radix(size, 16).ok().filter(|_| is_size)?;
        let signature = parts.find_map(|part| part.strip_prefix(b"chunk-signature="));
        let (data, rest) = rest.split_at_checked(size)?;
        if !is_right(data, signature.unwrap_or_default()) {
            return None;
        }
        if size == 0 {
            return Some(joined);
        }
        joined.extend_from_slice(data);
        body = rest.strip_prefix(b"\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn chunks_are_read_with_their_signatures() {
        let body = b"5;chunk-signature=ad80\r\nhello\r\nA\r\n0123456789\r\n0;chunk-signature=00\r\nx:y\r\n\r\n";
        let mut parts = Vec::new();
        let joined = join(body, |data, signature| {
            parts.push((data.len(), String::from_utf8_lossy(signature).into_owned()));
            true
        });
        assert_eq!(joined.as_deref(), Some(&b"hello0123456789"[..]));
        assert_eq!(parts, [(5, "ad80".to_owned()), (10, String::new()), (0, "00".to_owned())]);
        assert_eq!(join(body, |data, _| !data.is_empty()), None, "a chunk is not right");
        for wrong in [
            &b""[..],
            b"5\r\nhello",
            b"5\r\nhello\r\n",
            b"5\r\nhel\r\n0\r\n",
            b"+5\r\nhello\r\n0\r\n\r\n",
            b"ffffffffffffffff\r\nx",
            b"{\"logGroupName\":\"g\"}",
        ] {
            assert_eq!(join(wrong, |_, _| true), None, "{}", String::from_utf8_lossy(wrong));
        }
    }

    proptest! {
        #[test]
        fn what_was_cut_into_chunks_is_joined_again(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..400), 0..8), at: usize
        ) {
            let mut body = Vec::new();
            for part in &parts {
                body.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                body.extend_from_slice(part);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"0\r\n\r\n");
            prop_assert_eq!(join(&body, |_, _| true), Some(parts.concat()));
            // Any part of it is read or refused.
            let _ = join(&body[at % body.len()..], |_, _| true);
        }
    }
}
