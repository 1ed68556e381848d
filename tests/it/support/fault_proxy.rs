//! A proxy between the program and a backend, which fails as it is told, for HTTP/1.1 and for
//! HTTP/2 without TLS. It looks into requests of traces, so that it can say of each span whether it
//! was taken by the backend without the program having learned of it.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message as _;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The backend gets it, and its answer comes back.
    None,
    /// An HTTP status, with seconds of `Retry-After`.
    Status(u16, Option<u64>),
    /// A status of gRPC, with the milliseconds of a `RetryInfo`.
    Grpc(u16, Option<u16>),
    /// It is read, and nothing more is heard of it.
    Hang,
    /// The same, but the backend has it.
    HangTaken,
    /// The connection is reset once it is read.
    Reset,
    /// The backend takes it, and the connection is reset in the middle of the answer.
    ResetTaken,
    /// It is read a little at a time, then goes its way.
    Slow,
    /// The backend takes all but the last span, of which the answer says that it was refused.
    Partial,
}

impl Fault {
    /// Whether the program has to send the request again.
    pub(crate) fn costs_an_attempt(self) -> bool {
        !matches!(self, Fault::None | Fault::Slow | Fault::Partial)
    }
}

/// The protocol of a proxy and of the backend behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    Grpc,
}

/// Says what becomes of the n-th request, over all connections.
type Plan = Box<dyn FnMut(u64) -> Fault + Send>;

/// A running proxy; clones are the same.
#[derive(Clone)]
pub(crate) struct FaultProxy {
    pub(crate) port: u16,
    state: Arc<State>,
}

struct State {
    protocol: Protocol,
    backend: u16,
    plan: Mutex<Plan>,
    requests: AtomicU64,
    /// Requests whose fault made another attempt necessary.
    failed: AtomicU64,
    /// By the name of a span: how often the backend took it and the program could not know.
    unknown: Mutex<HashMap<String, u64>>,
    /// Names that were refused in a partial success.
    refused: Mutex<Vec<String>>,
    is_gone: watch::Sender<bool>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FaultProxy {
    /// A proxy in front of the backend on a port of loopback.
    pub(crate) fn start(
        protocol: Protocol,
        backend: u16,
        plan: impl FnMut(u64) -> Fault + Send + 'static,
    ) -> Self {
        let state = Arc::new(State {
            protocol,
            backend,
            plan: Mutex::new(Box::new(plan)),
            requests: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            unknown: Mutex::default(),
            refused: Mutex::default(),
            is_gone: watch::Sender::new(false),
        });
        let (told, port) = std::sync::mpsc::channel();
        let served = Arc::clone(&state);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                told.send(address.port()).unwrap();
                served.serve(listener, address).await;
            });
        });
        FaultProxy { port: port.recv().unwrap(), state }
    }

    /// Closes the port and every connection, or opens the port again.
    pub(crate) fn set_gone(&self, is_gone: bool) {
        self.state.is_gone.send_replace(is_gone);
    }

    /// Requests that arrived.
    pub(crate) fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// Requests that have to be made again for a fault of their own.
    pub(crate) fn failed(&self) -> u64 {
        self.state.failed.load(Ordering::SeqCst)
    }

    /// How often the backend took a span of this name and the program could not know.
    pub(crate) fn unknown(&self, name: &str) -> u64 {
        locked(&self.state.unknown).get(name).copied().unwrap_or_default()
    }

    /// Names of the spans that were refused in a partial success.
    pub(crate) fn refused(&self) -> Vec<String> {
        locked(&self.state.refused).clone()
    }
}

impl State {
    async fn serve(self: Arc<Self>, mut listener: TcpListener, address: SocketAddr) {
        let mut gone = self.is_gone.subscribe();
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = async { drop(gone.wait_for(|is_gone| *is_gone).await) } => {
                    drop(listener);
                    connections.shutdown().await;
                    drop(gone.wait_for(|is_gone| !is_gone).await);
                    let socket = TcpSocket::new_v4().unwrap();
                    socket.set_reuseaddr(true).unwrap();
                    socket.bind(address).unwrap();
                    listener = socket.listen(64).unwrap();
                    continue;
                }
                Some(_) = connections.join_next() => continue,
            };
            let (stream, _) = accepted.unwrap();
            connections.spawn(Arc::clone(&self).connection(stream));
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream) {
        let protocol = self.protocol;
        let line = Arc::new(Line::default());
        let io = TokioIo::new(Wire { stream, line: Arc::clone(&line) });
        // Also where this task is aborted, what was just answered may still be in a buffer.
        let mut end = End { line: Arc::clone(&line), is_orderly: false };
        let service = service_fn(move |request| {
            let (state, line) = (Arc::clone(&self), Arc::clone(&line));
            async move { Ok::<_, Infallible>(state.answer(request, &line).await) }
        });
        // What ends it is what was asked for, or the program's end.
        let served = match protocol {
            Protocol::Http => {
                hyper::server::conn::http1::Builder::new().serve_connection(io, service).await
            }
            Protocol::Grpc => {
                let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                builder.serve_connection(io, service).await
            }
        };
        end.is_orderly = served.is_ok();
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        line: &Arc<Line>,
    ) -> Response<Said> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        let fault = locked(&self.plan)(number);
        if fault.costs_an_attempt() {
            self.failed.fetch_add(1, Ordering::SeqCst);
        }
        let (parts, mut incoming) = request.into_parts();
        let mut body = BytesMut::new();
        while let Some(frame) = incoming.frame().await {
            // The client is gone, and nobody waits for this answer.
            let Ok(frame) = frame else { return Response::default() };
            body.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
            if fault == Fault::Slow {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        match fault {
            Fault::Status(status, pause) => {
                let mut response = Response::new(Said::default());
                *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
                if let Some(pause) = pause {
                    response.headers_mut().insert("retry-after", HeaderValue::from(pause));
                }
                return response;
            }
            Fault::Grpc(code, pause) => return refusal(code, pause),
            Fault::Hang => std::future::pending().await,
            Fault::Reset => {
                line.cut();
                std::future::pending::<()>().await;
            }
            _ => {}
        }
        let prefix = if self.protocol == Protocol::Grpc { 5 } else { 0 };
        let mut wanted = ExportTraceServiceRequest::decode(&body[prefix..]).unwrap();
        let mut rejected = 0;
        if fault == Fault::Partial {
            let scopes = wanted.resource_spans.iter_mut().flat_map(|r| &mut r.scope_spans);
            if let Some(span) = scopes.last().and_then(|scope| scope.spans.pop()) {
                locked(&self.refused).push(span.name);
                rejected = 1;
            }
        }
        let taken = Taken::new(&self, &wanted, line);
        let (head, answer) = self.forward(parts, &wanted.encode_to_vec()).await;
        if fault == Fault::HangTaken {
            std::future::pending::<()>().await;
        }
        let mut response = Response::from_parts(head, Said::default());
        response.headers_mut().remove("content-length");
        let mut said =
            Said { taken: Some(taken), trailers: answer.trailers().cloned(), ..Said::default() };
        said.data = answer.to_bytes();
        if rejected > 0 {
            said.data = self.partial_success(rejected);
            let kind = if self.protocol == Protocol::Grpc {
                "application/grpc"
            } else {
                "application/x-protobuf"
            };
            response.headers_mut().insert("content-type", HeaderValue::from_static(kind));
        }
        if fault == Fault::ResetTaken {
            response
                .headers_mut()
                .insert("content-length", HeaderValue::from(said.data.len() + 100));
            said.cuts = true;
        }
        *response.body_mut() = said;
        response
    }

    /// What the backend says to a request, over a connection of its own.
    async fn forward(
        &self,
        mut parts: http::request::Parts,
        message: &[u8],
    ) -> (http::response::Parts, http_body_util::Collected<Bytes>) {
        let stream = TcpStream::connect(("127.0.0.1", self.backend)).await.unwrap();
        let io = TokioIo::new(stream);
        parts.headers.remove("content-length");
        let body = match self.protocol {
            Protocol::Http => message.to_vec(),
            Protocol::Grpc => framed(message),
        };
        let path = parts.uri.path().to_owned();
        let mut request = Request::post(path).body(Full::new(Bytes::from(body))).unwrap();
        *request.headers_mut() = parts.headers;
        let response = match self.protocol {
            Protocol::Http => {
                let (mut send, connection) =
                    hyper::client::conn::http1::handshake(io).await.unwrap();
                tokio::spawn(connection);
                send.send_request(request).await
            }
            Protocol::Grpc => {
                *request.uri_mut() =
                    format!("http://127.0.0.1:{}{}", self.backend, request.uri().path())
                        .parse()
                        .unwrap();
                let executor = TokioExecutor::new();
                let (mut send, connection) =
                    hyper::client::conn::http2::handshake(executor, io).await.unwrap();
                tokio::spawn(connection);
                send.send_request(request).await
            }
        };
        let (head, body) = response.unwrap().into_parts();
        (head, body.collect().await.unwrap())
    }

    fn partial_success(&self, rejected: i64) -> Bytes {
        let error_message = "one of them is wrong".to_owned();
        let partial = ExportTracePartialSuccess { rejected_spans: rejected, error_message };
        let answer = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
        match self.protocol {
            Protocol::Http => answer.into(),
            Protocol::Grpc => framed(&answer).into(),
        }
    }
}

/// A message of gRPC, not compressed.
fn framed(message: &[u8]) -> Vec<u8> {
    let len = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0][..], &len, message].concat()
}

/// An answer of gRPC that is a status only.
fn refusal(code: u16, pause: Option<u16>) -> Response<Said> {
    let mut response = Response::new(Said::default());
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(code));
    if let Some(millis) = pause {
        // Status { details: Any { type_url, value: RetryInfo { retry_delay: { nanos } } } }
        let field = |number: u8, bytes: &[u8]| {
            let len = u8::try_from(bytes.len()).unwrap();
            [&[number << 3 | 2, len][..], bytes].concat()
        };
        let mut delay = vec![0x10];
        prost::encoding::encode_varint(u64::from(millis) * 1_000_000, &mut delay);
        let url = field(1, b"type.googleapis.com/google.rpc.RetryInfo");
        let any = [url, field(2, &field(1, &delay))].concat();
        let text = STANDARD_NO_PAD.encode(field(3, &any));
        headers.insert("grpc-status-details-bin", HeaderValue::try_from(text).unwrap());
    }
    response
}

/// A request that the backend has.
struct Taken {
    state: Arc<State>,
    line: Arc<Line>,
    names: Vec<String>,
    is_told: bool,
}

impl Taken {
    fn new(state: &Arc<State>, request: &ExportTraceServiceRequest, line: &Arc<Line>) -> Self {
        let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        let names = scopes.flat_map(|scope| &scope.spans).map(|span| span.name.clone()).collect();
        Taken { state: Arc::clone(state), line: Arc::clone(line), names, is_told: false }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if !self.is_told {
            return self.state.note_unknown(&self.names);
        }
        // It may still wait in a buffer, and be lost if the connection is cut.
        let told = (Instant::now(), Arc::clone(&self.state), std::mem::take(&mut self.names));
        let mut recently = locked(&self.line.told);
        if self.line.is_cut.load(Ordering::SeqCst) {
            return told.1.note_unknown(&told.2);
        }
        recently.retain(|(at, _, _)| at.elapsed() < RECENT);
        recently.push(told);
    }
}

impl State {
    fn note_unknown(&self, names: &[String]) {
        let mut unknown = locked(&self.unknown);
        for name in names {
            *unknown.entry(name.clone()).or_default() += 1;
        }
    }
}

/// An answer that was given so long ago has left.
const RECENT: Duration = Duration::from_millis(200);

/// The body of an answer.
#[derive(Default)]
struct Said {
    data: Bytes,
    trailers: Option<HeaderMap>,
    taken: Option<Taken>,
    /// Cuts the connection in place of its end.
    cuts: bool,
}

impl Body for Said {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if !self.data.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.data)))));
        }
        if self.cuts {
            if let Some(taken) = &self.taken {
                taken.line.cut();
            }
            return Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())));
        }
        if let Some(taken) = &mut self.taken {
            taken.is_told = true;
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none() && self.taken.is_none()
    }
}

/// Answers of a connection that were given just now.
type Told = Vec<(Instant, Arc<State>, Vec<String>)>;

/// What is known of a connection.
#[derive(Default)]
struct Line {
    is_cut: AtomicBool,
    told: Mutex<Told>,
    /// Of whoever serves it.
    waker: Mutex<Option<Waker>>,
}

impl Line {
    fn cut(&self) {
        let mut told = locked(&self.told);
        if !self.is_cut.swap(true, Ordering::SeqCst) {
            for (at, state, names) in told.drain(..) {
                if at.elapsed() < RECENT {
                    state.note_unknown(&names);
                }
            }
            if let Some(waker) = locked(&self.waker).take() {
                waker.wake();
            }
        }
    }
}

/// The end of a connection: nothing of its last answers is known unless it was orderly.
struct End {
    line: Arc<Line>,
    is_orderly: bool,
}

impl Drop for End {
    fn drop(&mut self) {
        if !self.is_orderly {
            self.line.cut();
        }
    }
}

/// A connection that can be reset.
struct Wire {
    stream: TcpStream,
    line: Arc<Line>,
}

impl Wire {
    fn check(&self, cx: &Context<'_>) -> io::Result<()> {
        if self.line.is_cut.load(Ordering::SeqCst) {
            let _ = self.stream.set_zero_linger();
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        *locked(&self.line.waker) = Some(cx.waker().clone());
        Ok(())
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
