//! Backends that misbehave, written by hand on sockets (HTTP/1.1) and on `h2` (gRPC). Each follows
//! a script: the n-th request, over all connections, meets the n-th act, and the last one repeats.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use h2::{Reason, RecvStream, server::SendResponse};
use http::{HeaderMap, Request, Response};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

const DEADLINE: Duration = Duration::from_secs(30);

/// What an HTTP/1.1 backend does with a request.
#[derive(Clone)]
pub(crate) enum Act {
    /// Reads it and writes this; empty: never answers.
    Say(Vec<u8>),
    /// Reads it, writes this and ends the connection in order.
    SayAndClose(Vec<u8>),
    /// Reads it, writes this and ends the connection with a reset.
    SayAndReset(Vec<u8>),
    /// Writes this at the sight of the head and never reads again; the connection stays.
    SayUnread(Vec<u8>),
    /// Reads it, writes the first part, then the second one for as long as somebody reads.
    SayForEver(Vec<u8>, Vec<u8>),
}

/// What a gRPC backend does with a request.
#[derive(Clone)]
pub(crate) enum Call {
    /// Reads it and answers with this message and these trailers.
    Answer(Vec<u8>, HeaderMap),
    /// The same, and tells the client that the connection takes no more.
    AnswerAndGoAway(Vec<u8>, HeaderMap),
    /// Answers with an HTTP status and nothing of gRPC.
    Plain(u16),
    /// Resets the stream.
    Reset(Reason),
    /// Never answers; the connection is alive.
    Hang,
    /// Stops to read and to write the connection, and leaves it open.
    Vanish,
}

/// A request as it arrived.
#[derive(Clone)]
pub(crate) struct Seen {
    /// Which connection it came on, from 1.
    pub(crate) connection: usize,
    /// Request line and headers in lower case; of HTTP/2 the headers only.
    pub(crate) head: String,
    /// Name of the first span; empty where the body was not read.
    pub(crate) name: String,
    /// When its head was there.
    pub(crate) at: Instant,
}

/// A running backend; clones are the same.
#[derive(Clone)]
pub(crate) struct Hostile<A> {
    /// Where it listens.
    pub(crate) port: u16,
    state: Arc<Mutex<State<A>>>,
}

struct State<A> {
    script: Vec<A>,
    acts: usize,
    connections: usize,
    ended: usize,
    seen: Vec<Seen>,
}

impl<A: Clone + Send + 'static> Hostile<A> {
    async fn listen(script: Vec<A>) -> (Self, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State { script, acts: 0, connections: 0, ended: 0, seen: Vec::new() };
        (Hostile { port, state: Arc::new(Mutex::new(state)) }, listener)
    }

    fn with<T>(&self, look: impl FnOnce(&mut State<A>) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is done with the next request.
    fn next(&self) -> A {
        self.with(|state| {
            let act = state.script[state.acts.min(state.script.len() - 1)].clone();
            state.acts += 1;
            act
        })
    }

    fn note(&self, connection: usize, head: String, body: &[u8], at: Instant) {
        let name = ExportTraceServiceRequest::decode(body).map_or_else(
            |_| String::new(),
            |request| {
                let spans = request.resource_spans.into_iter().flat_map(|r| r.scope_spans);
                spans.flat_map(|s| s.spans).next().map(|span| span.name).unwrap_or_default()
            },
        );
        self.with(|state| state.seen.push(Seen { connection, head, name, at }));
    }

    fn connected(&self) -> usize {
        self.with(|state| {
            state.connections += 1;
            state.connections
        })
    }

    /// Connections that were opened so far.
    pub(crate) fn connections(&self) -> usize {
        self.with(|state| state.connections)
    }

    /// Every request whose head arrived, in order.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.with(|state| state.seen.clone())
    }

    /// The names of the requests, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.name).collect()
    }

    /// Waits until so many connections have been ended by both sides.
    pub(crate) async fn ended(&self, connections: usize) {
        let wait = async {
            while self.with(|state| state.ended) < connections {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.unwrap();
    }
}

impl Hostile<Act> {
    /// A backend of HTTP/1.1.
    pub(crate) async fn http(script: Vec<Act>) -> Self {
        let (hostile, listener) = Self::listen(script).await;
        let served = hostile.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let served = served.clone();
                tokio::spawn(async move {
                    served.serve(stream).await;
                    served.with(|state| state.ended += 1);
                });
            }
        });
        hostile
    }

    async fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let connection = self.connected();
        let mut buffer = BytesMut::new();
        loop {
            let (head, at) = read_head(&mut stream, &mut buffer).await?;
            let act = self.next();
            let mut body = Bytes::new();
            if !matches!(act, Act::SayUnread(_)) {
                body = read_body(&mut stream, &mut buffer, &head).await?;
            }
            self.note(connection, head, &body, at);
            match act {
                Act::Say(answer) => stream.write_all(&answer).await.ok()?,
                Act::SayAndClose(answer) => {
                    stream.write_all(&answer).await.ok()?;
                    stream.shutdown().await.ok()?;
                    while stream.read_buf(&mut buffer).await.ok()? > 0 {}
                    return None;
                }
                Act::SayAndReset(answer) => {
                    stream.write_all(&answer).await.ok()?;
                    stream.set_zero_linger().ok()?;
                    return None;
                }
                Act::SayUnread(answer) => {
                    stream.write_all(&answer).await.ok()?;
                    std::future::pending::<()>().await;
                }
                Act::SayForEver(first, more) => {
                    stream.write_all(&first).await.ok()?;
                    while stream.write_all(&more).await.is_ok() {}
                    return None;
                }
            }
        }
    }
}

async fn read_head(stream: &mut TcpStream, buffer: &mut BytesMut) -> Option<(String, Instant)> {
    loop {
        if let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = buffer.split_to(end + 4);
            return Some((String::from_utf8_lossy(&head).to_lowercase(), Instant::now()));
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

async fn read_body(stream: &mut TcpStream, buffer: &mut BytesMut, head: &str) -> Option<Bytes> {
    let len = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let len = len.unwrap_or("0").parse().ok()?;
    while buffer.len() < len {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    Some(buffer.split_to(len).freeze())
}

impl Hostile<Call> {
    /// A backend of gRPC.
    pub(crate) async fn grpc(script: Vec<Call>) -> Self {
        let (hostile, listener) = Self::listen(script).await;
        let served = hostile.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let served = served.clone();
                tokio::spawn(async move {
                    served.serve(stream).await;
                    served.with(|state| state.ended += 1);
                });
            }
        });
        hostile
    }

    async fn serve(&self, stream: TcpStream) -> Option<()> {
        let connection = self.connected();
        let mut http2 = h2::server::handshake(stream).await.ok()?;
        while let Some(Ok((request, respond))) = http2.accept().await {
            let at = Instant::now();
            let call = self.next();
            match call {
                Call::Vanish => std::future::pending::<()>().await,
                Call::AnswerAndGoAway(..) => http2.graceful_shutdown(),
                _ => {}
            }
            let served = self.clone();
            // The connection moves on with the next `accept`, so the stream has its own task.
            tokio::spawn(
                async move { served.answer(connection, at, call, request, respond).await },
            );
        }
        None
    }

    async fn answer(
        self,
        connection: usize,
        at: Instant,
        call: Call,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
    ) -> Option<()> {
        let (parts, mut incoming) = request.into_parts();
        let mut body = BytesMut::new();
        while let Some(Ok(data)) = incoming.data().await {
            let _ = incoming.flow_control().release_capacity(data.len());
            body.extend_from_slice(&data);
        }
        let head = format!("{:?}", parts.headers);
        self.note(connection, head, body.get(5..).unwrap_or_default(), at);
        match call {
            Call::Answer(message, trailers) | Call::AnswerAndGoAway(message, trailers) => {
                let response = Response::builder().header("content-type", "application/grpc");
                let mut stream = respond.send_response(response.body(()).unwrap(), false).ok()?;
                let len = u32::try_from(message.len()).unwrap().to_be_bytes();
                let data = [&[0][..], &len, &message].concat();
                stream.send_data(Bytes::from(data), false).ok()?;
                stream.send_trailers(trailers).ok()?;
            }
            Call::Plain(status) => {
                let response = Response::builder().status(status).body(()).unwrap();
                respond.send_response(response, true).ok()?;
            }
            Call::Reset(reason) => respond.send_reset(reason),
            Call::Hang | Call::Vanish => std::future::pending::<()>().await,
        }
        Some(())
    }
}
