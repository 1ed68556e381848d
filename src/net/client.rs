//! The client side: connections to one backend, kept open, several if asked for. HTTP/2 for gRPC
//! and where ALPN says so, HTTP/1.1 with keep-alive otherwise. Bodies go out as their segments.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, time::Instant};

use super::tls::Connector;

/// What is kept of an answer: what a backend says, not what it may send.
const ANSWER_LIMIT: usize = 64 * 1024;
/// How much more of an answer of gRPC is read, because its status stands at the end.
const GRPC_ANSWER_LIMIT: usize = 4 * 1024 * 1024;
/// How long a kept HTTP/1.1 connection may need to be ready. One that was answered before the
/// backend had read its request may never be.
const SETTLE: Duration = Duration::from_millis(100);
/// Segments below are copied together: each HTTP/2 frame costs a write.
const COALESCE: usize = 16 * 1024;
/// Longest time to connect, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a client connects to.
#[derive(Clone)]
pub struct Target {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// None: plaintext.
    pub tls: Option<Arc<Connector>>,
    /// Name in the certificate, where it is not `host`.
    pub server_name: Option<String>,
    /// Speak HTTP/2 without asking: gRPC.
    pub http2_only: bool,
    /// How connections are kept.
    pub tuning: Tuning,
}

/// How connections are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuning {
    /// Ping a quiet HTTP/2 connection after so long.
    pub ping_after: Option<Duration>,
    /// Close it when the ping is not answered in so long.
    pub ping_timeout: Duration,
    /// Ping also while no request is on its way.
    pub pings_idle: bool,
    /// HTTP/1.1 connections that may wait for a request; 0: none is kept.
    pub max_idle: usize,
    /// How long they wait; none: until the backend closes them.
    pub idle_timeout: Option<Duration>,
}

impl Default for Tuning {
    fn default() -> Self {
        Tuning {
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
    /// Whether the backend is known to speak HTTP/1.1 only: then no request waits for another
    /// one's connection.
    is_http1: AtomicBool,
    /// HTTP/1.1 connections that wait for a request, the latest last.
    idle: Mutex<Vec<(http1::SendRequest<Segments>, Instant)>>,
    /// Bytes that are kept of an answer.
    answer_limit: usize,
}

/// One HTTP/2 connection. Whoever opens it holds the lock, and others wait: they would have to
/// connect as well.
#[derive(Default)]
struct Slot(tokio::sync::Mutex<Option<Shared>>);

/// An HTTP/2 connection that many requests share.
#[derive(Clone)]
struct Shared {
    open: http2::SendRequest<Segments>,
    /// Requests given up in a row, none of which was answered. Counted by connection: those that
    /// were on the way on a dead one say nothing of its successor.
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

/// So many requests given up in a row, and a connection is taken for dead: a peer that vanished
/// without a word would hold every request until its time-out.
const STALLED: usize = 3;

/// Counts a request that is dropped before it was answered.
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
    /// It did not leave: the connection was closing.
    Unsent(Box<Request<Segments>>),
    Broken(CallError),
}

/// What a backend answered.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// The first 64 KiB of the body, or what [`Client::keeping`] says.
    pub body: Bytes,
    /// Trailers, where there are any.
    pub trailers: Option<HeaderMap>,
}

/// Why there is no answer: a sentence with the address, the cause and the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CallError(String);

enum Connected {
    Http1(http1::SendRequest<Segments>),
    Http2(http2::SendRequest<Segments>),
}

impl Client {
    /// A client of `connections` HTTP/2 connections at most; none is opened yet.
    pub fn new(target: Target, connections: usize) -> Self {
        let slots = (0..connections.max(1)).map(|_| Slot::default()).collect();
        let is_http1 = AtomicBool::new(target.tls.is_none() && !target.http2_only);
        let (next, idle) = (AtomicUsize::new(0), Mutex::default());
        Client { target, slots, next, is_http1, idle, answer_limit: ANSWER_LIMIT }
    }

    /// Keeps so many bytes of an answer instead of 64 KiB.
    #[must_use]
    pub fn keeping(self, answer_limit: usize) -> Self {
        Client { answer_limit, ..self }
    }

    /// Sends one request and reads the whole answer. A request that meets a connection as the
    /// backend closes it goes out once more on another one.
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

    /// On a connection that is kept, or on a new one, which cannot be closing.
    async fn attempt(&self, request: Request<Segments>) -> Result<Answer, Failed> {
        if !self.target.http2_only {
            while let Some(mut idle) = self.take_idle() {
                if let Ok(Ok(())) = tokio::time::timeout(SETTLE, idle.ready()).await {
                    return self.call_http1(idle, request, false).await;
                }
            }
        }
        if self.is_http1.load(Ordering::Relaxed) {
            return match self.connect().await.map_err(Failed::Broken)? {
                Connected::Http1(open) => self.call_http1(open, request, true).await,
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
        match self.connect().await.map_err(Failed::Broken)? {
            Connected::Http2(open) => {
                let shared = Shared::new(open);
                *kept = Some(shared.clone());
                drop(kept);
                self.call_http2(shared, request, true).await
            }
            Connected::Http1(open) => {
                self.is_http1.store(true, Ordering::Relaxed);
                drop(kept);
                self.call_http1(open, request, true).await
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
        mut open: http1::SendRequest<Segments>,
        mut request: Request<Segments>,
        is_new: bool,
    ) -> Result<Answer, Failed> {
        // Origin form: only a proxy is sent the whole URL.
        if let Some(path) = request.uri().path_and_query() {
            *request.uri_mut() = Uri::from(path.clone());
        }
        let response = match open.try_send_request(request).await {
            Ok(response) => response,
            Err(mut error) => {
                let unsent = error.take_message();
                return Err(self.unsent(error.error(), unsent, is_new));
            }
        };
        let answer = self.read(response).await.map_err(Failed::Broken)?;
        if !open.is_closed() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < self.target.tuning.max_idle {
                idle.push((open, Instant::now()));
            }
        }
        Ok(answer)
    }

    /// A request comes back to be sent again where it has not left on a connection that was kept.
    fn unsent(
        &self,
        error: &hyper::Error,
        request: Option<Request<Segments>>,
        is_new: bool,
    ) -> Failed {
        match request {
            Some(request) if !is_new => Failed::Unsent(Box::new(request)),
            _ => Failed::Broken(self.broken(error)),
        }
    }

    fn take_idle(&self) -> Option<http1::SendRequest<Segments>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(limit) = self.target.tuning.idle_timeout {
            idle.retain(|(_, since)| since.elapsed() < limit);
        }
        idle.pop().map(|(open, _)| open)
    }

    /// The whole answer, or as much as is read of a huge one: the rest of it costs the HTTP/1.1
    /// connection, where waiting for its end would cost the time-out and send the data again.
    async fn read(&self, response: http::Response<Incoming>) -> Result<Answer, CallError> {
        let (parts, mut incoming) = response.into_parts();
        let (mut body, mut trailers) = (BytesMut::new(), None);
        let limit = if self.target.http2_only { GRPC_ANSWER_LIMIT } else { self.answer_limit };
        let mut len = 0;
        while let Some(frame) = incoming.frame().await {
            match frame.map_err(|error| self.broken(&error))?.into_data() {
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

    async fn connect(&self) -> Result<Connected, CallError> {
        match tokio::time::timeout(CONNECT_TIMEOUT, self.open()).await {
            Ok(connected) => connected,
            Err(_) => Err(self.unreachable("no connection within 10 s; is it behind a firewall?")),
        }
    }

    async fn open(&self) -> Result<Connected, CallError> {
        let Target { host, port, .. } = &self.target;
        let tcp = TcpStream::connect((host.as_str(), *port))
            .await
            .map_err(|error| self.unreachable(explain_connect(&error)))?;
        let _ = tcp.set_nodelay(true);
        let Some(tls) = &self.target.tls else {
            let io = TokioIo::new(tcp);
            return self.handshake(io, self.target.http2_only).await;
        };
        let name = self.target.server_name.as_deref().unwrap_or(host).to_owned();
        let server = ServerName::try_from(name.clone())
            .map_err(|_| self.unreachable(&format!("`{name}` is not a server name")))?;
        let stream = tls
            .current()
            .connect(server, tcp)
            .await
            .map_err(|error| self.unreachable(&explain_tls(&error)))?;
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        self.handshake(TokioIo::new(stream), is_h2 || self.target.http2_only).await
    }

    async fn handshake<T>(&self, io: T, is_h2: bool) -> Result<Connected, CallError>
    where
        T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        // A connection ends with its last handle or with the peer; the task ends with it.
        if is_h2 {
            let tuning = &self.target.tuning;
            let (open, connection) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .initial_stream_window_size(1 << 20)
                .initial_connection_window_size(4 << 20)
                .max_frame_size(1 << 20)
                .max_send_buf_size(4 << 20)
                .keep_alive_interval(tuning.ping_after)
                .keep_alive_timeout(tuning.ping_timeout)
                .keep_alive_while_idle(tuning.pings_idle)
                .handshake(io)
                .await
                .map_err(|error| self.broken(&error))?;
            tokio::spawn(connection);
            return Ok(Connected::Http2(open));
        }
        let (open, connection) = http1::handshake(io).await.map_err(|error| self.broken(&error))?;
        tokio::spawn(connection);
        Ok(Connected::Http1(open))
    }

    fn unreachable(&self, cause: &str) -> CallError {
        CallError(format!("cannot connect to {}:{}: {cause}", self.target.host, self.target.port))
    }

    fn broken(&self, error: &hyper::Error) -> CallError {
        use std::error::Error as _;
        let Target { host, port, tls, http2_only, .. } = &self.target;
        let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        let hint = if tls.is_none() && *http2_only {
            "; if the server speaks TLS remove `tls.insecure: true`, if it speaks HTTP/1.1 use \
             otlp_http"
        } else {
            ""
        };
        CallError(format!("the connection to {host}:{port} broke: {cause}{hint}"))
    }
}

fn explain_connect(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused; does the server listen there?",
        io::ErrorKind::TimedOut => "timed out; is it behind a firewall?",
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            "there is no way to the network"
        }
        _ if error.to_string().contains("lookup") => {
            "the name does not resolve; check `endpoint` for a typo"
        }
        _ => "the system refused the connection",
    }
}

fn explain_tls(error: &io::Error) -> String {
    let text = error.to_string();
    let remedy = if text.contains("UnknownIssuer") {
        "; the certificate's authority is not trusted, name it in `tls.ca_file`"
    } else if text.contains("NotValidForName") {
        "; the certificate is for another name, set `tls.server_name_override`"
    } else if text.contains("InvalidContentType") || text.contains("corrupt message") {
        "; the server does not speak TLS there, set `tls.insecure: true` or use another port"
    } else {
        ""
    };
    format!("the TLS handshake failed: {text}{remedy}")
}

/// A request body: segments that go out one after the other, none copied but the small ones.
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
