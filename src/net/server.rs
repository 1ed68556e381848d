//! Serves HTTP/1.1 and HTTP/2 on one port, told apart by the first bytes of a connection, with TLS
//! or without.
//!
//! A listener that stops lets what has begun end. Where somebody else listens on the same socket by
//! then ([`Sockets`]), it also waits for clients to ask once more: connections of which nothing was
//! read yet are served, and HTTP/1.1 clients are told to close with their next answer.

mod authority;
mod descriptors;
mod frames;
mod hints;
mod leaving;
mod listener;
mod newcomers;
mod reply;
mod seats;
mod sniffed;
mod sockets;
mod unread;

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite},
    sync::{Notify, watch},
    task::JoinSet,
    time::Instant,
};

use super::tls::Acceptor;
use crate::otlp::payload::Permit;
pub use descriptors::raise_descriptors;
use frames::{Frames, Kind};
use hints::{Hint, Hints};
use leaving::Answers;
use listener::Accepted;
pub use listener::{Family, Listener, check, explain_bind, listen, resolve};
use newcomers::{NEWCOMER, Newcomer, Newcomers};
pub use reply::Reply;
use seats::{Activity, Seat, Seats, Windows};
use sniffed::Sniffed;
use sockets::Heir;
pub use sockets::{Held, Sockets};
pub use unread::{discard, is_sent_anyway};

/// Read buffer of an HTTP/1.1 connection. The library's 400 KiB would be 40 MiB for a hundred busy
/// connections, outside the byte budget. With 64 KiB 128 connections took up to 30 MiB more at
/// overload; requests of 74 KB cost the same CPU, refused ones of 740 KB twice as much.
const READ_BUFFER: usize = 16 * 1024;

/// How long an HTTP/1.1 connection may stay without a request after its listener has a successor.
const LINGER: Duration = Duration::from_secs(10);

/// First byte of a TLS record that opens a handshake.
const TLS_HANDSHAKE: u8 = 22;

/// Largest headers of an HTTP/2 request, and most of an HTTP/1.1 one, whose limit is the read buffer.
const MAX_HEADERS: u32 = 64 * 1024;

/// After so long without a packet the kernel asks whether the other side is still there, as Go has it.
const TCP_KEEPALIVE: Duration = Duration::from_secs(15);

/// What a connection is charged as long as it is open: buffers, a task, a few streams. Measured
/// with thousands of them: 9 to 26 KiB.
pub const CONNECTION: usize = 32 * 1024;

/// How long a connection that was flooded with frames stays closed for reading before it ends. Who
/// comes again at once would cost a new connection a few milliseconds later.
const PENALTY: Duration = Duration::from_secs(1);
/// Longest time for a TLS handshake, where headers have longer.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long a connection that has to leave for another one may take: enough to say so.
const LEAVE: Duration = Duration::from_millis(50);
/// The same for one that never asked for anything in its time.
const UNUSED: Duration = Duration::from_secs(5);

/// How HTTP/2 and HTTP/1.1 connections are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuning {
    /// Bytes a stream may have on its way before we read them. HTTP/2 buffers up to this much per
    /// stream outside the byte budget.
    pub stream_window: u32,
    /// The same for a whole connection; more than one stream's, since one may wait unread.
    pub connection_window: u32,
    /// Largest frame we let a client send. Large frames mean one slice and no join per request.
    pub max_frame_size: u32,
    /// Bytes that the windows of all connections may have together, but for the least that HTTP/2
    /// knows: from then on a connection gets 64 KiB.
    pub all_windows: u64,
    /// Connections at a time. One more, and the quietest one goes.
    pub max_connections: usize,
    /// Streams at a time on a connection; none: 128, and fewer where its window is small.
    pub max_concurrent_streams: Option<u32>,
    /// Ping an idle HTTP/2 connection after so long.
    pub keepalive_time: Option<Duration>,
    /// Close it when the ping is not answered in so long.
    pub keepalive_timeout: Duration,
    /// Longest time for the headers of an HTTP/1.1 request, for the first request of an HTTP/2
    /// connection, and for a TLS handshake, which has ten seconds at most.
    pub header_timeout: Duration,
    /// Whether an HTTP/1.1 connection serves more than one request.
    pub keep_alive: bool,
    /// Close a connection that has had no request for so long.
    pub max_idle: Option<Duration>,
    /// Close a connection that is so old, give or take a tenth, once its requests are answered.
    pub max_age: Option<Duration>,
    /// Longest wait for those requests; none: as long as they take.
    pub max_age_grace: Option<Duration>,
}

impl Default for Tuning {
    fn default() -> Self {
        Tuning {
            stream_window: 1 << 20,
            connection_window: 2 << 20,
            max_frame_size: 1 << 20,
            all_windows: 8 << 20,
            max_connections: 1024,
            max_concurrent_streams: None,
            keepalive_time: Some(Duration::from_hours(2)),
            keepalive_timeout: Duration::from_secs(20),
            header_timeout: Duration::from_mins(1),
            keep_alive: true,
            max_idle: None,
            max_age: None,
            max_age_grace: None,
        }
    }
}

/// Answers the requests of a listener.
pub trait Service: Send + Sync + 'static {
    /// One request.
    fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: Arc<Connection>,
    ) -> impl Future<Output = Response<Reply>> + Send;

    /// Bytes that a connection is charged for beside its bodies, where somebody keeps an account.
    fn charge(&self, _bytes: usize) -> Option<Permit> {
        None
    }
}

/// A connection, as the service sees it.
#[derive(Debug)]
pub struct Connection {
    /// Address of the sender; none on a unix socket.
    pub peer: Option<SocketAddr>,
    has_waiting: AtomicBool,
    /// Requests being answered.
    open: AtomicUsize,
    /// Told of each that begins.
    begun: Notify,
    answers: Arc<Answers>,
}

impl Connection {
    pub(crate) fn new(peer: Option<SocketAddr>) -> Self {
        let (open, begun) = (AtomicUsize::new(0), Notify::new());
        let answers = Arc::default();
        Connection { peer, has_waiting: AtomicBool::new(false), open, begun, answers }
    }

    /// Ends when a request is being answered, at once where one is.
    async fn asked(&self) {
        let begun = self.begun.notified();
        let mut begun = pin!(begun);
        begun.as_mut().enable();
        if self.open.load(Ordering::SeqCst) == 0 {
            begun.await;
        }
    }

    /// Leave for a request to wait while nobody reads its body; one at a time has it. HTTP/2 streams
    /// share the window of their connection: if several waited, their bodies would fill it, and
    /// those that are being read, which hold the memory that is waited for, could not come in.
    pub fn wait(self: &Arc<Self>) -> Option<Waiting> {
        let was_waiting = self.has_waiting.swap(true, Ordering::Relaxed);
        (!was_waiting).then(|| Waiting(Arc::clone(self)))
    }
}

/// See [`Connection::wait`].
#[derive(Debug)]
pub struct Waiting(Arc<Connection>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.has_waiting.store(false, Ordering::Relaxed);
    }
}

/// What the connections of a listener share.
struct Shared<S> {
    service: Arc<S>,
    tuning: Tuning,
    tls: Option<Arc<Acceptor>>,
    stop: watch::Receiver<bool>,
    heir: Heir,
    hints: Hints,
    windows: Arc<Windows>,
}

impl<S> Shared<S> {
    /// Ends when a connection on which nothing has been asked has to go.
    async fn cut_off(&self) {
        let _ = self.stop.clone().wait_for(|raised| *raised).await;
        self.heir.clone().gone().await;
    }
}

/// What a connection holds while it is open.
struct Place {
    peer: Option<SocketAddr>,
    seat: Seat,
    _charge: Option<Permit>,
}

/// Accepts until `stop` is raised, then lets open connections finish what they have begun.
pub async fn run<S: Service>(
    listener: Listener,
    tls: Option<Arc<Acceptor>>,
    service: Arc<S>,
    tuning: Tuning,
    mut stop: watch::Receiver<bool>,
) {
    let windows = Windows::new(tuning.all_windows);
    let seats = Seats::new(tuning.max_connections, &descriptors::PROCESS);
    let newcomers = Newcomers::new(tuning.max_connections, &descriptors::PROCESS);
    let (heir, hints) = (listener.heir(), Hints::default());
    let shared = Shared { service, tuning, tls, stop: stop.clone(), heir, hints, windows };
    let shared = Arc::new(shared);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            _ = stop.wait_for(|raised| *raised) => break,
        };
        match accepted {
            Ok(accepted) => {
                if let Some(crowd) = seats.crowd() {
                    shared.hints.give(Hint::Crowded(crowd));
                    if let Some(newcomer) = newcomers.enter().await {
                        let (seats, shared) = (Arc::clone(&seats), Arc::clone(&shared));
                        connections.spawn(come_later(accepted, newcomer, seats, shared));
                        continue;
                    }
                }
                let seat = tokio::select! {
                    seat = seats.wait() => seat,
                    () = shared.cut_off() => break,
                };
                connections.spawn(begin(accepted, seat, Arc::clone(&shared)));
            }
            // The client gave up before its turn came.
            Err(error) if is_of_client(&error) => {}
            Err(error) => {
                // Out of descriptors or memory: the next attempt would fail as well.
                shared.hints.give(Hint::Accept(&error));
                seats.make_room();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// A connection that has a seat.
async fn begin<S: Service>(accepted: Accepted, seat: Seat, shared: Arc<Shared<S>>) {
    let charge = shared.service.charge(CONNECTION);
    let held = |peer| Place { peer, seat, _charge: charge };
    match accepted {
        Accepted::Tcp(stream, peer) => {
            set_options(&stream);
            connection(stream, held(Some(peer)), shared).await;
        }
        Accepted::Unix(stream) => connection(stream, held(None), shared).await,
    }
}

/// A connection that gets a seat once its first request is there. The time limit of a request's
/// head ends with that: how long it waits for a seat is not its fault.
async fn come_later<S: Service>(
    accepted: Accepted,
    newcomer: Newcomer,
    seats: Arc<Seats>,
    shared: Arc<Shared<S>>,
) {
    let charge = shared.service.charge(NEWCOMER);
    let asked = tokio::select! {
        asked = newcomer.asked(&accepted) => asked,
        () = tokio::time::sleep(shared.tuning.header_timeout) => None,
        () = shared.cut_off() => None,
    };
    let Some(asked) = asked else { return };
    let seat = tokio::select! {
        seat = asked.seat(&seats) => seat,
        () = shared.cut_off() => return,
    };
    drop(charge);
    Box::pin(begin(accepted, seat, shared)).await;
}

/// Neither failing costs more than its use.
fn set_options(stream: &tokio::net::TcpStream) {
    let _ = stream.set_nodelay(true);
    let keepalive = socket2::TcpKeepalive::new().with_time(TCP_KEEPALIVE);
    let keepalive = keepalive.with_interval(TCP_KEEPALIVE);
    let _ = socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

/// Whether accepting failed for one connection, and may go well for the next.
fn is_of_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// A connection that nothing has been read of yet. What comes then is on the heap, so that one that
/// says nothing is small: it took 10 KiB otherwise.
async fn connection<T, S>(mut stream: T, held: Place, shared: Arc<Shared<S>>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service,
{
    let Some(first) = first_bytes(&mut stream, &held, &shared).await else { return };
    let says_tls = first.starts_with(&[TLS_HANDSHAKE]);
    let stream = Sniffed { first, inner: stream };
    match (&shared.tls, says_tls) {
        (None, false) => serve(stream, held, shared).await,
        (None, true) => shared.hints.give(Hint::TlsOnPlain(held.peer)),
        (Some(_), false) => shared.hints.give(Hint::PlainOnTls(held.peer)),
        (Some(acceptor), true) => {
            let acceptor = Arc::clone(acceptor);
            Box::pin(secure(stream, acceptor, held, shared)).await;
        }
    }
}

/// A connection that begins with TLS.
async fn secure<T, S>(
    stream: Sniffed<T>,
    acceptor: Arc<Acceptor>,
    held: Place,
    shared: Arc<Shared<S>>,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service,
{
    let handshake = acceptor.accept(stream, || held.seat.activity.work());
    let limit = shared.tuning.header_timeout.min(HANDSHAKE);
    let accepted = tokio::select! {
        biased;
        accepted = tokio::time::timeout(limit, handshake) => accepted,
        () = held.seat.activity.told_to_leave() => return,
    };
    let mut stream = match accepted {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return shared.hints.give(Hint::Handshake(held.peer, &error)),
        Err(_) => return,
    };
    let Some(first) = first_bytes(&mut stream, &held, &shared).await else { return };
    serve(Sniffed { first, inner: stream }, held, shared).await;
}

/// Serves one connection until it ends, the process stops, or its time is over.
async fn serve<T, S>(stream: Sniffed<T>, held: Place, shared: Arc<Shared<S>>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service,
{
    if stream.first.starts_with(b"PRI") {
        Box::pin(serve_h2(stream, held, shared)).await;
    } else {
        Box::pin(serve_h1(stream, held, shared)).await;
    }
}

/// Answers the requests of one connection. `stop` is given where clients have to be told to close.
fn answers<S: Service>(
    held: &Place,
    connection: &Arc<Connection>,
    stop: Option<watch::Receiver<bool>>,
    shared: &Shared<S>,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = Response<Reply>,
    Error = Infallible,
    Future = impl Future<Output = Result<Response<Reply>, Infallible>> + Send + use<S>,
> + use<S> {
    let connection = Arc::clone(connection);
    let activity = Arc::clone(&held.seat.activity);
    let service = Arc::clone(&shared.service);
    service_fn(move |request| {
        let service = Arc::clone(&service);
        let connection = Arc::clone(&connection);
        let busy = activity.begin();
        let stop = stop.clone();
        let exchange = connection.answers.open();
        connection.open.fetch_add(1, Ordering::SeqCst);
        connection.begun.notify_waiters();
        async move {
            let mut response = service.serve(request, Arc::clone(&connection)).await;
            if stop.is_some_and(|stop| *stop.borrow()) {
                response
                    .headers_mut()
                    .insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            response.body_mut().exchange = Some(exchange.respond());
            connection.open.fetch_sub(1, Ordering::SeqCst);
            drop(busy);
            Ok::<_, Infallible>(response)
        }
    })
}

async fn serve_h2<T, S>(stream: Sniffed<T>, held: Place, shared: Arc<Shared<S>>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service,
{
    let connection = Arc::new(Connection::new(held.peer));
    converse(stream, &held, &connection, &shared).await;
    // Until then all of it is in memory, so it keeps its seat. Without this, connections that ended
    // and came again at once took 90 MiB with a budget of 64 MiB.
    connection.answers.have_ended().await;
}

/// A connection of HTTP/2 until it is closed.
async fn converse<T, S>(
    stream: Sniffed<T>,
    held: &Place,
    connection: &Arc<Connection>,
    shared: &Arc<Shared<S>>,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service,
{
    let tuning = &shared.tuning;
    let window = shared.windows.take(tuning.connection_window);
    let stream_window = window.of_stream(tuning.stream_window);
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(stream_window)
        .initial_connection_window_size(window.bytes)
        .max_frame_size(tuning.max_frame_size.min(stream_window).max(16 * 1024))
        .max_header_list_size(MAX_HEADERS)
        .max_concurrent_streams(tuning.max_concurrent_streams.unwrap_or(window.streams()))
        .keep_alive_interval(tuning.keepalive_time)
        .keep_alive_timeout(tuning.keepalive_timeout);
    // HTTP/2 says by itself that it closes.
    let service = answers(held, connection, None, shared);
    let kind = if held.peer.is_some() { Kind::Remote } else { Kind::Unix };
    let is_flooded = Arc::new(AtomicBool::new(false));
    let stream = Frames::new(stream, kind, Arc::clone(&is_flooded));
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(serving);
    // Errors here are the client's: resets, garbage, time-outs. They end the connection only.
    let grace = tokio::select! {
        biased;
        _ = serving.as_mut() => {
            if is_flooded.load(Ordering::Relaxed) {
                shared.hints.give(Hint::Flood(held.peer));
                // Nothing is read any more, and the socket is closed when this ends.
                tokio::select! {
                    () = tokio::time::sleep(PENALTY) => {}
                    () = held.seat.activity.told_to_leave() => {}
                    () = shared.cut_off() => {}
                }
            }
            return;
        }
        grace = ended(shared, &held.seat.activity, true) => grace,
        () = connection.answers.are_stuck(|bytes| shared.service.charge(bytes)) => {
            return shared.hints.give(Hint::Stuck(held.peer));
        }
    };
    serving.as_mut().graceful_shutdown();
    within(grace, serving).await;
}

async fn serve_h1<T, S>(stream: Sniffed<T>, held: Place, shared: Arc<Shared<S>>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service,
{
    let tuning = &shared.tuning;
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(tuning.header_timeout)
        .keep_alive(tuning.keep_alive)
        .max_buf_size(READ_BUFFER);
    let connection = Arc::new(Connection::new(held.peer));
    let service = answers(&held, &connection, Some(shared.stop.clone()), &shared);
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(serving);
    let grace = tokio::select! {
        biased;
        _ = serving.as_mut() => return,
        grace = ended(&shared, &held.seat.activity, false) => grace,
    };
    // A client may be sending its next request just now. Where there is a successor, it is answered
    // and told to close.
    let mut heir = shared.heir.clone();
    if heir.is_there() && *shared.stop.borrow() {
        tokio::select! {
            _ = serving.as_mut() => return,
            () = connection.asked() => {}
            () = heir.gone() => {}
            () = held.seat.activity.told_to_leave() => {}
            () = tokio::time::sleep(LINGER) => {}
        }
    }
    serving.as_mut().graceful_shutdown();
    within(grace, serving).await;
}

async fn within<T>(grace: Option<Duration>, rest: impl Future<Output = T>) {
    match grace {
        Some(grace) => drop(tokio::time::timeout(grace, rest).await),
        None => drop(rest.await),
    }
}

/// Ends when a connection has to: the process stops, it is too old, was idle for too long, never
/// asked for anything in its time, or has to make room. Gives how long what is being answered may
/// still take. HTTP/1.1 has a time limit of its own for the first request.
async fn ended<S>(shared: &Shared<S>, activity: &Activity, is_h2: bool) -> Option<Duration> {
    let (tuning, mut stop) = (&shared.tuning, shared.stop.clone());
    let aged = async {
        match tuning.max_age {
            // A tenth more or less, so that connections opened together do not close together.
            Some(age) => tokio::time::sleep(age.mul_f64(0.9 + fastrand::f64() / 5.0)).await,
            None => std::future::pending().await,
        }
    };
    let idle = async {
        let Some(limit) = tuning.max_idle else { return std::future::pending().await };
        loop {
            let quiet = activity.quiet_since().unwrap_or_else(Instant::now);
            if quiet.elapsed() >= limit {
                return;
            }
            tokio::time::sleep_until(quiet + limit).await;
        }
    };
    let unused = async {
        if is_h2 {
            tokio::time::sleep(tuning.header_timeout).await;
        }
        if !is_h2 || activity.has_asked() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        _ = stop.wait_for(|raised| *raised) => None,
        () = aged => tuning.max_age_grace,
        () = idle => None,
        () = unused => Some(UNUSED),
        () = activity.told_to_leave() => match activity.quiet_since() {
            // It asked in the last moment, and is answered.
            None => None,
            // One of HTTP/1.1 that never asked is owed no word.
            Some(_) if !is_h2 && !activity.has_asked() => Some(Duration::ZERO),
            Some(_) => Some(LEAVE),
        }
    }
}

/// The first three bytes: no HTTP/1.1 method is called PRI, and a TLS handshake begins with 22. A
/// client that says nothing is owed nothing.
async fn first_bytes<T: AsyncRead + Unpin, S>(
    stream: &mut T,
    held: &Place,
    shared: &Shared<S>,
) -> Option<Bytes> {
    let mut first = [0; 3];
    // What is there already is read before anybody has to leave.
    tokio::select! {
        biased;
        read = tokio::time::timeout(shared.tuning.header_timeout, stream.read_exact(&mut first)) => {
            read.ok()?.ok()?;
            Some(Bytes::copy_from_slice(&first))
        }
        () = held.seat.activity.told_to_leave() => None,
        () = shared.cut_off() => None,
    }
}

#[cfg(test)]
mod handover_tests;
#[cfg(test)]
mod time_limit_tests;
