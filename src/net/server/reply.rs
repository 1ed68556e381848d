//! Response bodies: those of both OTLP transports, and streams of pages.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

use super::leaving::Exchange;

/// A response body: some bytes, then maybe trailers.
#[derive(Debug, Default)]
pub struct Reply {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
    stream: Option<Stream>,
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
        Reply { data: Some(data), trailers: Some(trailers), ..Reply::default() }
    }

    /// Parts that a future sends as long as it runs. The body runs the future when the client has
    /// room for more, so a client that does not read stops it, and one that has gone ends it.
    /// A response that has begun is no longer counted among those that wait to be sent.
    pub fn streamed(
        parts: mpsc::Receiver<Bytes>,
        feeding: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let stream = Stream { parts, feeding: Some(Box::pin(feeding)) };
        Reply { stream: Some(stream), ..Reply::default() }
    }
}

/// See [`Reply::streamed`].
struct Stream {
    parts: mpsc::Receiver<Bytes>,
    feeding: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}

impl Stream {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(feeding) = &mut self.feeding
            && feeding.as_mut().poll(cx).is_ready()
        {
            self.feeding = None;
        }
        self.parts.poll_recv(cx)
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.stream.is_some() {
            self.exchange = None;
        }
        if let Some(stream) = &mut self.stream {
            return stream.poll(cx).map(|part| part.map(|part| Ok(Frame::data(part))));
        }
        let data = self.data.take().map(Frame::data);
        Poll::Ready(data.or_else(|| self.trailers.take().map(Frame::trailers)).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.trailers.is_none() && self.stream.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.stream.is_some() {
            return SizeHint::default();
        }
        SizeHint::with_exact(self.data.as_ref().map_or(0, Bytes::len) as u64)
    }
}
