//! From the body of a call, as it came, to the JSON in it; what that grows to is paid for.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};

use super::{
    answer::{Fault, Kind},
    chunked,
};
use crate::{
    net::codec::{self, Compression, Funds, InflateError},
    otlp::payload::Permit,
};

/// A body with all that pays for it.
#[derive(Debug)]
pub(super) struct Paid {
    pub(super) bytes: Bytes,
    pub(super) permits: Vec<Permit>,
}

impl Funds for Paid {
    fn grow(&mut self, bytes: usize) -> bool {
        let more = self.permits.first().and_then(|permit| permit.try_more(bytes as u64));
        more.map(|permit| self.permits.push(permit)).is_some()
    }

    fn borrow(&mut self, bytes: usize) -> bool {
        // Kept until the body is whole; codecs ask once or twice.
        self.grow(bytes)
    }
}

/// Memory is short; the client should come back.
pub(super) fn no_memory() -> Fault {
    Fault::new(Kind::Throttling, "no memory was free for this call; send it again later")
}

/// Undoes the encodings that `Content-Encoding` names, the last one first. A body has at most `max`
/// bytes after each.
pub(super) fn decode(headers: &HeaderMap, mut body: Paid, max: usize) -> Result<Paid, Fault> {
    for encoding in encodings(headers).iter().rev() {
        if encoding.eq_ignore_ascii_case("aws-chunked") {
            if !body.grow(body.bytes.len()) {
                return Err(no_memory());
            }
            let joined = chunked::join(&body.bytes, |_, _| true);
            let malformed = || Fault::new(Kind::Serialization, "the body is not `aws-chunked`");
            body.bytes = joined.ok_or_else(malformed)?.into();
            continue;
        }
        let Some(compression) = Compression::from_name(encoding) else {
            let message = format!("the content encoding `{encoding:.40}` is not supported");
            return Err(Fault::new(Kind::Serialization, message));
        };
        if compression != Compression::Identity {
            let packed = body.bytes.clone();
            body.bytes =
                codec::inflate(compression, &packed, max, &mut body).map_err(
                    |error| match error {
                        InflateError::OverBudget => no_memory(),
                        InflateError::TooLarge => Fault::invalid(format!(
                            "the body inflates to more than {max} bytes (max_request_body_size)"
                        )),
                        other => Fault::new(Kind::Serialization, other.to_string()),
                    },
                )?;
        }
    }
    Ok(body)
}

/// The encodings of a body, in the order in which they were applied.
pub(super) fn encodings(headers: &HeaderMap) -> Vec<&str> {
    let values = headers.get_all(header::CONTENT_ENCODING).iter();
    let values = values.map(|value| HeaderValue::to_str(value).unwrap_or("?"));
    values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::otlp::payload::Ledger;

    /// An account without a limit.
    #[derive(Debug)]
    struct Endless;

    impl Ledger for Endless {
        fn try_charge(&self, _: u64) -> bool {
            true
        }

        fn charge(&self, _: u64) {}

        fn give_back(&self, _: u64) {}
    }

    fn decoded(encoding: &'static str, body: &[u8]) -> Result<Bytes, Kind> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        let bytes = Bytes::copy_from_slice(body);
        let paid = Paid { bytes, permits: vec![Permit::charged(0, Arc::new(Endless))] };
        decode(&headers, paid, 1000).map(|paid| paid.bytes).map_err(|fault| fault.kind)
    }

    #[test]
    fn encodings_are_undone_from_the_last_to_the_first() {
        let text = b"{\"logGroupName\":\"g\"}";
        let mut packed = Vec::new();
        let mut encoder = flate2::write::GzEncoder::new(&mut packed, flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, text).unwrap();
        drop(encoder);
        let chunks = |body: &[u8]| {
            let size = format!("{:x}\r\n", body.len());
            [size.as_bytes(), body, b"\r\n0\r\n\r\n"].concat()
        };
        assert_eq!(decoded("", text).as_deref(), Ok(&text[..]));
        assert_eq!(decoded("gzip", &packed).as_deref(), Ok(&text[..]));
        assert_eq!(decoded("aws-chunked", &chunks(text)).as_deref(), Ok(&text[..]));
        assert_eq!(decoded("gzip, aws-chunked", &chunks(&packed)).as_deref(), Ok(&text[..]));
        assert_eq!(decoded("gzip", text), Err(Kind::Serialization));
        assert_eq!(decoded("aws-chunked", text), Err(Kind::Serialization));
        assert_eq!(decoded("br", text), Err(Kind::Serialization));
    }
}
