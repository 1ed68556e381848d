//! The client side: connections to one backend, kept open, several if asked for. HTTP/2 for gRPC
//! and if ALPN selects it, otherwise HTTP/1.1 with keep-alive. Bodies are sent as their segments.
//! `client/connect.rs` makes the connections, through a proxy if one is configured.

mod connect;
mod head;

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, client::conn::http2};
use tokio::time::Instant;

use self::connect::{Connected, Http1};
use super::{proxy::Way, tls::Connector};

/// Limit of a response body. Longer ones are truncated.
pub const ANSWER_LIMIT: usize = 64 * 1024;
/// How much more of a gRPC response is read, because the status comes at its end.
const GRPC_ANSWER_LIMIT: usize = 4 * 1024 * 1024;
/// How long a kept HTTP/1.1 connection may take to be ready again. If the backend has answered
/// before it read the whole request, the connection may never be.
const SETTLE: Duration = Duration::from_millis(100);
/// Segments below are copied together: each HTTP/2 frame costs a write.
const COALESCE: usize = 16 * 1024;

/// Where a client connects to.
#[derive(Clone)]
pub struct Target {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Directly, through a unix socket, or through a proxy.
    pub way: Way,
    /// `None` means plaintext.
    pub tls: Option<Arc<Connector>>,
    /// Name in the certificate, if it is not `host`.
    pub server_name: Option<String>,
    /// Speak HTTP/2 without asking: gRPC.
    pub http2_only: bool,
    /// Timeouts and keep-alive.
    pub tuning: Tuning,
}

/// Timeouts and keep-alive of connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuning {
    /// Longest time for connecting, including TLS and the proxy.
    pub connect_timeout: Duration,
    /// Ping an idle HTTP/2 connection after this time.
    pub ping_after: Option<Duration>,
    /// Close it if the ping is not answered within this time.
    pub ping_timeout: Duration,
    /// Ping also while there is no request.
    pub pings_idle: bool,
    /// How many idle HTTP/1.1 connections are kept.
    pub max_idle: usize,
    /// How long they are kept; `None` means until the backend closes them.
    pub idle_timeout: Option<Duration>,
}

impl Default for Tuning {
    fn default() -> Self {
        Tuning {
            connect_timeout: Duration::from_secs(10),
            ping_after: Some(Duration::from_mins(1)),
            ping_timeout: Duration::from_secs(20),
            pings_idle: false,
            max_idle: 100,
            idle_timeout: Some(Duration::from_secs(90)),
        }
    }
}

/// Connections to one backend. Shared by all requests of an exporter.
pub struct Client {
    target: Target,
    slots: Vec<Slot>,
    next: AtomicUsize,
    /// Whether the backend is known to speak only HTTP/1.1. Then no request waits until another one
    /// has connected.
    is_http1: AtomicBool,
    /// Idle HTTP/1.1 connections, the latest last.
    idle: Mutex<Vec<(Http1, Instant)>>,
    /// Limit of a response body.
    answer_limit: usize,
}

/// One HTTP/2 connection. A request that opens it holds the lock. Others wait for it, because they
/// would have to connect as well.
#[derive(Default)]
struct Slot(tokio::sync::Mutex<Option<Shared>>);

/// An HTTP/2 connection that many requests share.
#[derive(Clone)]
struct Shared {
    open: http2::SendRequest<Segments>,
    /// Consecutive requests that timed out without an answer. Counted for each connection, because
    /// those of a dead connection say nothing about the next one.
    stalled: Arc<AtomicUsize>,
}

impl Shared {
    fn new(open: http2::SendRequest<Segments>) -> Self {
        Shared { open, stalled: Arc::default() }
    }

    fn is_usable(&self) -> bool {
        !self.open.is_closed() && self.stalled.load(Ordering::Relaxed) < STALLED
    }
}

/// After this many consecutive timeouts a connection is considered dead. Otherwise every request to
/// a peer that has vanished would wait for its timeout.
const STALLED: usize = 3;

/// Counts a request as timed out if it is dropped before the answer.
struct OnItsWay<'a>(&'a AtomicUsize);

impl Drop for OnItsWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl OnItsWay<'_> {
    fn answered(self) {
        self.0.store(0, Ordering::Relaxed);
        std::mem::forget(self);
    }
}

/// Why a request was not answered.
enum Failed {
    /// It was not sent, because the connection was closing.
    Unsent(Box<Request<Segments>>),
    Broken(CallError),
}

/// The response of a backend.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// The first 64 KiB of the body, or as many bytes as [`Client::keeping`] allows.
    pub body: Bytes,
    /// Trailers, if there are any.
    pub trailers: Option<HeaderMap>,
}

/// Why there is no answer: a sentence with the address, the cause and the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CallError {
    message: String,
    is_sent: bool,
}

impl CallError {
    fn new(message: String) -> Self {
        CallError { message, is_sent: false }
    }

    /// The same of a request that was sent.
    fn after_sending(self) -> Self {
        CallError { is_sent: true, ..self }
    }

    /// Whether the request was sent, so that the backend may have acted on it.
    pub fn is_sent(&self) -> bool {
        self.is_sent
    }
}

impl Client {
    /// A client of `connections` HTTP/2 connections at most; none is opened yet.
    pub fn new(target: Target, connections: usize) -> Self {
        let slots = (0..connections.max(1)).map(|_| Slot::default()).collect();
        let is_http1 = AtomicBool::new(target.tls.is_none() && !target.http2_only);
        let (next, idle) = (AtomicUsize::new(0), Mutex::default());
        Client { target, slots, next, is_http1, idle, answer_limit: ANSWER_LIMIT }
    }

    /// Sets the limit of a response body, which is 64 KiB by default.
    #[must_use]
    pub fn keeping(self, answer_limit: usize) -> Self {
        Client { answer_limit, ..self }
    }

    /// Sends one request and reads the whole response. If the backend closes the connection before
    /// the request is sent, it is sent again on another one.
    pub async fn call(&self, request: Request<Segments>) -> Result<Answer, CallError> {
        let mut request = request;
        loop {
            request = match self.attempt(request).await {
                Ok(answer) => return Ok(answer),
                Err(Failed::Unsent(unsent)) => *unsent,
                Err(Failed::Broken(error)) => return Err(error),
            };
        }
    }

    /// Sends a request on a kept connection, or on a new one, which cannot be closing.
    async fn attempt(&self, request: Request<Segments>) -> Result<Answer, Failed> {
        if !self.target.http2_only {
            while let Some(mut idle) = self.take_idle() {
                if let Ok(Ok(())) = tokio::time::timeout(SETTLE, idle.open.ready()).await {
                    return self.call_http1(idle, request, false).await;
                }
            }
        }
        if self.is_http1.load(Ordering::Relaxed) {
            return match self.target.connect().await.map_err(Failed::Broken)? {
                Connected::Http1(http1) => self.call_http1(http1, request, true).await,
                Connected::Http2(open) => self.call_http2(Shared::new(open), request, true).await,
            };
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.slots.len();
        let mut kept = self.slots[turn].0.lock().await;
        if let Some(shared) = kept.as_ref().filter(|shared| shared.is_usable()) {
            let shared = shared.clone();
            drop(kept);
            return self.call_http2(shared, request, false).await;
        }
        match self.target.connect().await.map_err(Failed::Broken)? {
            Connected::Http2(open) => {
                let shared = Shared::new(open);
                *kept = Some(shared.clone());
                drop(kept);
                self.call_http2(shared, request, true).await
            }
            Connected::Http1(http1) => {
                self.is_http1.store(true, Ordering::Relaxed);
                drop(kept);
                self.call_http1(http1, request, true).await
            }
        }
    }

    async fn call_http2(
        &self,
        shared: Shared,
        request: Request<Segments>,
        is_new: bool,
    ) -> Result<Answer, Failed> {
        let Shared { mut open, stalled } = shared;
        let on_its_way = OnItsWay(&stalled);
        if let Err(error) = open.ready().await {
            on_its_way.answered();
            return Err(self.unsent(&error, Some(request), is_new));
        }
        let response = match open.try_send_request(request).await {
            Ok(response) => response,
            Err(mut error) => {
                on_its_way.answered();
                let unsent = error.take_message();
                return Err(self.unsent(error.error(), unsent, is_new));
            }
        };
        let answer = self.read(response).await;
        on_its_way.answered();
        answer.map_err(Failed::Broken)
    }

    async fn call_http1(
        &self,
        mut http1: Http1,
        mut request: Request<Segments>,
        is_new: bool,
    ) -> Result<Answer, Failed> {
        let mut uri = std::mem::take(request.uri_mut());
        self.target.address(&mut uri, request.headers_mut());
        *request.uri_mut() = uri;
        http1.before_head.begin();
        let response = match http1.open.try_send_request(request).await {
            Ok(response) => response,
            Err(mut error) => {
                let unsent = error.take_message();
                return Err(self.unsent(error.error(), unsent, is_new));
            }
        };
        http1.before_head.end();
        if let Some(error) = self.target.refused_by_proxy(response.status()) {
            return Err(Failed::Broken(error));
        }
        let answer = self.read(response).await.map_err(Failed::Broken)?;
        if !http1.open.is_closed() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < self.target.tuning.max_idle {
                idle.push((http1, Instant::now()));
            }
        }
        Ok(answer)
    }

    /// Returns a request to be sent again if it has not left on a connection that was kept.
    fn unsent(
        &self,
        error: &hyper::Error,
        request: Option<Request<Segments>>,
        is_new: bool,
    ) -> Failed {
        match request {
            Some(request) if !is_new => Failed::Unsent(Box::new(request)),
            Some(_) => Failed::Broken(self.target.broken(error)),
            None => Failed::Broken(self.target.broken(error).after_sending()),
        }
    }

    fn take_idle(&self) -> Option<Http1> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(limit) = self.target.tuning.idle_timeout {
            idle.retain(|(_, since)| since.elapsed() < limit);
        }
        idle.pop().map(|(http1, _)| http1)
    }

    /// Reads the response, up to a limit. A longer one costs the HTTP/1.1 connection; waiting for
    /// its end would run into the timeout, and the data would be sent again.
    async fn read(&self, response: http::Response<Incoming>) -> Result<Answer, CallError> {
        let (parts, mut incoming) = response.into_parts();
        let (mut body, mut trailers) = (BytesMut::new(), None);
        let limit = if self.target.http2_only { GRPC_ANSWER_LIMIT } else { self.answer_limit };
        let mut len = 0;
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|error| self.target.broken(&error).after_sending())?;
            match frame.into_data() {
                Ok(data) => {
                    let room = self.answer_limit.saturating_sub(body.len());
                    body.extend_from_slice(&data[..data.len().min(room)]);
                    len += data.len();
                    if len > limit {
                        break;
                    }
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        Ok(Answer { status: parts.status, headers: parts.headers, body: body.freeze(), trailers })
    }
}

/// A request body: segments that are sent one after the other. Only small ones are copied.
#[derive(Debug, Default)]
pub struct Segments {
    rest: std::collections::VecDeque<Bytes>,
    len: u64,
}

impl Segments {
    /// The pieces in order. Neighbours below 16 KiB are joined.
    pub fn new(pieces: impl IntoIterator<Item = Bytes>) -> Self {
        let mut segments = Segments::default();
        let mut small = BytesMut::new();
        for piece in pieces {
            segments.len += piece.len() as u64;
            if small.len() + piece.len() < COALESCE {
                small.extend_from_slice(&piece);
                continue;
            }
            if !small.is_empty() {
                segments.rest.push_back(small.split().freeze());
            }
            if piece.len() < COALESCE {
                small.extend_from_slice(&piece);
            } else {
                segments.rest.push_back(piece);
            }
        }
        if !small.is_empty() {
            segments.rest.push_back(small.freeze());
        }
        segments
    }
}

impl Body for Segments {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.rest.pop_front();
        Poll::Ready(piece.map(|piece| {
            self.len -= piece.len() as u64;
            Ok(Frame::data(piece))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_segments_are_not_copied_and_small_ones_are_joined() {
        let large = Bytes::from(vec![1; COALESCE]);
        let pieces = [
            Bytes::from_static(b"ab"),
            Bytes::from_static(b"cd"),
            large.clone(),
            Bytes::from_static(b"e"),
        ];
        let segments = Segments::new(pieces);
        let rest: Vec<&Bytes> = segments.rest.iter().collect();
        assert_eq!(rest.len(), 3);
        assert_eq!(&rest[0][..], b"abcd");
        assert_eq!(rest[1].as_ptr(), large.as_ptr());
        assert_eq!(segments.len, COALESCE as u64 + 5);
    }
}
