//! Listeners that serve HTTP/1.1 and HTTP/2 on one port, told apart by the first bytes of a
//! connection, and the response body that both OTLP transports need.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::{SocketAddr, ToSocketAddrs as _},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// Read buffer of an HTTP/1.1 connection. The library's 400 KiB would be 40 MiB for a hundred
/// busy connections, outside the byte budget.
const READ_BUFFER: usize = 64 * 1024;

/// How HTTP/2 and HTTP/1.1 connections are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuning {
    /// Bytes a stream may have on its way before we read them. HTTP/2 buffers up to this much per
    /// stream outside the byte budget, so it stays well under a large request.
    pub stream_window: u32,
    /// The same for a whole connection.
    pub connection_window: u32,
    /// Largest frame we let a client send. Large frames mean one slice and no join per request.
    pub max_frame_size: u32,
    /// Streams at a time on a connection; none: the library's 200.
    pub max_concurrent_streams: Option<u32>,
    /// Ping an idle HTTP/2 connection after so long.
    pub keepalive_time: Option<Duration>,
    /// Close it when the ping is not answered in so long.
    pub keepalive_timeout: Duration,
    /// Longest time for the headers of an HTTP/1.1 request.
    pub header_timeout: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Tuning {
            stream_window: 1 << 20,
            connection_window: 2 << 20,
            max_frame_size: 1 << 20,
            max_concurrent_streams: None,
            keepalive_time: Some(Duration::from_hours(2)),
            keepalive_timeout: Duration::from_secs(20),
            header_timeout: Duration::from_mins(1),
        }
    }
}

/// The addresses of an endpoint as the Collector writes it: `localhost:4317`, `0.0.0.0:4317`,
/// `[::]:4317`, `:4317` (all interfaces).
pub fn resolve(endpoint: &str) -> io::Result<SocketAddr> {
    let full =
        if endpoint.starts_with(':') { format!("0.0.0.0{endpoint}") } else { endpoint.into() };
    full.to_socket_addrs()?
        .next()
        .ok_or_else(|| io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address"))
}

/// Opens a listener. Call within a tokio runtime.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

/// Why a listener could not be opened, with the remedy.
pub fn explain_bind(error: &io::Error, endpoint: &str) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("`{endpoint}` is in use by another process; stop it, or set another `endpoint`")
        }
        io::ErrorKind::PermissionDenied => {
            format!("no permission to listen on `{endpoint}`; ports below 1024 need a privilege")
        }
        io::ErrorKind::AddrNotAvailable => format!(
            "`{endpoint}` is not an address of this machine; use `0.0.0.0` for all interfaces"
        ),
        _ => format!("cannot listen on `{endpoint}`: {error}"),
    }
}

/// Answers the requests of a listener.
pub trait Service: Send + Sync + 'static {
    /// One request. `peer` is the sender's address.
    fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> impl Future<Output = Response<Reply>> + Send;
}

/// Accepts until `stop` is raised, then lets open connections finish what they have begun.
pub async fn run<S: Service>(
    listener: TcpListener,
    service: Arc<S>,
    tuning: Tuning,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            _ = stop.wait_for(|raised| *raised) => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (service, tuning, stop) = (Arc::clone(&service), tuning.clone(), stop.clone());
                connections.spawn(connection(stream, peer, service, tuning, stop));
            }
            Err(error) => {
                // Out of descriptors or memory: the next attempt would fail as well.
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection<S: Service>(
    mut stream: TcpStream,
    peer: SocketAddr,
    service: Arc<S>,
    tuning: Tuning,
    stop: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let first = tokio::select! {
        first = tokio::time::timeout(tuning.header_timeout, first_bytes(&mut stream)) => first,
        // A client that has said nothing yet is owed nothing.
        () = raised(stop.clone()) => return,
    };
    let Ok(Ok(first)) = first else { return };
    let is_h2 = first.starts_with(b"PRI");
    let io = TokioIo::new(Sniffed { first, inner: stream });
    let service = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { Ok::<_, Infallible>(service.serve(request, peer).await) }
    });
    // Errors here are the client's: resets, garbage, time-outs. They end the connection only.
    if is_h2 {
        let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(tuning.stream_window)
            .initial_connection_window_size(tuning.connection_window)
            .max_frame_size(tuning.max_frame_size)
            .max_header_list_size(64 * 1024)
            .keep_alive_interval(tuning.keepalive_time)
            .keep_alive_timeout(tuning.keepalive_timeout);
        if let Some(streams) = tuning.max_concurrent_streams {
            builder.max_concurrent_streams(streams);
        }
        let mut serving = pin!(builder.serve_connection(io, service));
        let mut stop = pin!(raised(stop));
        tokio::select! {
            _ = serving.as_mut() => return,
            () = stop.as_mut() => serving.as_mut().graceful_shutdown(),
        }
        let _ = serving.await;
    } else {
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(tuning.header_timeout)
            .max_buf_size(READ_BUFFER);
        let mut serving = pin!(builder.serve_connection(io, service));
        let mut stop = pin!(raised(stop));
        tokio::select! {
            _ = serving.as_mut() => return,
            () = stop.as_mut() => serving.as_mut().graceful_shutdown(),
        }
        let _ = serving.await;
    }
}

async fn raised(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|raised| *raised).await;
}

/// The first three bytes: no HTTP/1.1 method is called PRI.
async fn first_bytes(stream: &mut TcpStream) -> io::Result<Bytes> {
    let mut first = [0; 3];
    stream.read_exact(&mut first).await?;
    Ok(Bytes::copy_from_slice(&first))
}

/// A stream whose first bytes have been read already.
struct Sniffed<S> {
    first: Bytes,
    inner: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Sniffed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, buffer);
        }
        let len = self.first.len().min(buffer.remaining());
        buffer.put_slice(&self.first.split_to(len));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Sniffed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

/// A response body: some bytes, then maybe trailers.
#[derive(Debug, Default)]
pub struct Reply {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Reply {
    /// Bytes alone; none where they are empty.
    pub fn new(data: impl Into<Bytes>) -> Self {
        let data = data.into();
        Reply { data: (!data.is_empty()).then_some(data), trailers: None }
    }

    /// Bytes, then trailers.
    pub fn with_trailers(data: Bytes, trailers: HeaderMap) -> Self {
        Reply { data: Some(data), trailers: Some(trailers) }
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
