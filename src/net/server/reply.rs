//! Response bodies of both OTLP transports.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::leaving::Exchange;

/// A response body: some bytes, then maybe trailers.
#[derive(Debug, Default)]
pub struct Reply {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
    /// Counts the response among those of its connection until it is dropped.
    pub(super) exchange: Option<Exchange>,
}

impl Reply {
    /// Only bytes, or an empty body.
    pub fn new(data: impl Into<Bytes>) -> Self {
        let data = data.into();
        Reply { data: (!data.is_empty()).then_some(data), ..Reply::default() }
    }

    /// Bytes, then trailers.
    pub fn with_trailers(data: Bytes, trailers: HeaderMap) -> Self {
        Reply { data: Some(data), trailers: Some(trailers), exchange: None }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.data.take().map(Frame::data);
        Poll::Ready(data.or_else(|| self.trailers.take().map(Frame::trailers)).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, Bytes::len) as u64)
    }
}
