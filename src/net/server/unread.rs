//! Reads and drops the rest of a body that is not wanted.

use std::time::Duration;

use http::{Request, Version, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

/// Longest time for which the rest of a body is read and dropped.
const TIME: Duration = Duration::from_secs(5);
/// Most bytes of it: several times the usual limit of a body.
const BYTES: usize = 64 << 20;

/// Whether the body of a request is sent whatever the response is: HTTP/2 resets a stream without
/// losing its response, and a client that waits for `100 Continue` will send nothing.
pub fn is_sent_anyway<B>(request: &Request<B>) -> bool {
    request.version() < Version::HTTP_2 && !request.headers().contains_key(header::EXPECT)
}

/// Reads and drops the rest of a refused HTTP/1.1 body while its response is being sent.
///
/// Many clients look for a response only after they have sent everything. If the connection were
/// closed with bytes unread, the kernel would reset it, and the client would see a broken pipe
/// instead of the status that tells it to stop, or when to come back (RFC 9112, section 9.6).
pub fn discard(mut body: Incoming) {
    if body.is_end_stream() {
        return;
    }
    tokio::spawn(tokio::time::timeout(TIME, async move {
        let mut left = BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            match left.checked_sub(frame.data_ref().map_or(0, bytes::Bytes::len)) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    }));
}
