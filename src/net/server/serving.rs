//! One connection: its first bytes say what it speaks, its requests are answered, and it ends.

use std::{
    convert::Infallible,
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite},
    sync::watch,
    time::Instant,
};

use super::{
    Connection, Place, Reply, Service, Shared,
    frames::{Frames, Kind},
    hints::{HANDSHAKE_FAILED, Hint, NOT_HTTP, PLAIN_ON_TLS, TLS_ON_PLAIN},
    seats::Activity,
    sniffed::Sniffed,
};
use crate::net::tls::Acceptor;

/// Read buffer of an HTTP/1.1 connection. The library's 400 KiB would be 40 MiB for a hundred busy
/// connections, outside the byte budget. With 64 KiB, 128 connections took up to 30 MiB more at
/// overload. Requests of 74 KB cost the same CPU, refused ones of 740 KB twice as much.
pub(super) const READ_BUFFER: usize = 16 * 1024;

/// How long an HTTP/1.1 connection may stay without a request after its listener has a successor.
const LINGER: Duration = Duration::from_secs(10);

/// First byte of a TLS record that opens a handshake.
pub(super) const TLS_HANDSHAKE: u8 = 22;

/// Largest headers of an HTTP/2 request, and most of an HTTP/1.1 one, whose limit is the read
/// buffer.
const MAX_HEADERS: u32 = 64 * 1024;

/// How long a connection that was flooded with frames is not read before it is closed. Otherwise
/// the client would connect again a few milliseconds later.
const PENALTY: Duration = Duration::from_secs(1);

/// Longest time for a TLS handshake, even if headers may take longer.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long a connection may take to close for another one: enough to send GOAWAY.
const LEAVE: Duration = Duration::from_millis(50);

/// The same for a connection without a request in its time limit.
const UNUSED: Duration = Duration::from_secs(5);

/// A connection of which nothing has been read yet. Its later state is on the heap, so that a
/// silent connection is small: it took 10 KiB otherwise.
pub(super) async fn connection<T, S>(mut stream: T, held: Place, shared: Arc<Shared<S>>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service,
{
    let Some(first) = first_bytes(&mut stream, &held, &shared).await else { return };
    let says_tls = first.starts_with(&[TLS_HANDSHAKE]);
    let stream = Sniffed { first, inner: stream };
    match (&shared.tls, says_tls) {
        (None, false) => serve(stream, held, shared).await,
        (None, true) => {
            shared.service.note_unserved(held.peer, TLS_ON_PLAIN);
            shared.hints.give(Hint::TlsOnPlain(held.peer));
        }
        (Some(_), false) => {
            shared.service.note_unserved(held.peer, PLAIN_ON_TLS);
            shared.hints.give(Hint::PlainOnTls(held.peer));
        }
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
        Ok(Err(error)) => {
            let words = format!("{HANDSHAKE_FAILED} ({error})");
            shared.service.note_unserved(held.peer, &words);
            return shared.hints.give(Hint::Handshake(held.peer, &error));
        }
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

/// Answers the requests of one connection. `stop` is given if clients have to be told to close.
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
    // Until then all of it is in memory, so it keeps its seat. Without this, clients that connected
    // again at once took 90 MiB with a budget of 64 MiB.
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
    // HTTP/2 announces the end by itself.
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
        served = serving.as_mut() => {
            if served.is_err_and(|error| error.is_parse()) {
                shared.service.note_unserved(held.peer, NOT_HTTP);
            }
            return;
        }
        grace = ended(&shared, &held.seat.activity, false) => grace,
    };
    // The client may be sending its next request just now. If there is a successor, it is answered
    // and told to close.
    let mut successor = shared.successor.clone();
    if successor.is_there() && *shared.stop.borrow() {
        tokio::select! {
            _ = serving.as_mut() => return,
            () = connection.asked() => {}
            () = successor.gone() => {}
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

/// Waits until a connection has to end: the process stops, or the connection is too old, was idle
/// for too long, had no request in its time limit, or has to make room. Returns how long open
/// requests may still take. HTTP/1.1 has a time limit of its own for the first request.
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
            // Its request came at the last moment, and is answered.
            None => None,
            // An HTTP/1.1 client without a request gets no response.
            Some(_) if !is_h2 && !activity.has_asked() => Some(Duration::ZERO),
            Some(_) => Some(LEAVE),
        }
    }
}

/// Reads the first three bytes: no HTTP/1.1 method is called PRI, and a TLS handshake begins with
/// 22. A silent client gets no response.
async fn first_bytes<T: AsyncRead + Unpin, S>(
    stream: &mut T,
    held: &Place,
    shared: &Shared<S>,
) -> Option<Bytes> {
    let mut first = [0; 3];
    // Received bytes are read before the connection has to leave.
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
