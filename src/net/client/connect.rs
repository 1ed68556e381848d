//! Makes a connection: first TCP, a unix socket or a proxy (a tunnel for TLS and for HTTP/2,
//! otherwise requests with their whole URL), then TLS, then HTTP.

use std::{error::Error, io};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri, header, uri};
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{
    CallError, Segments, Target,
    head::{Allowance, Limited},
};
use crate::net::{
    proxy::{self, Proxy, UnixAddress, Way},
    tls::{Connector, remedy},
};

/// A connection, ready for requests.
pub(super) enum Connected {
    Http1(Http1),
    Http2(http2::SendRequest<Segments>),
}

/// An HTTP/1.1 connection.
pub(super) struct Http1 {
    pub(super) open: http1::SendRequest<Segments>,
    /// Limits what may come before the head of a response.
    pub(super) before_head: Allowance,
}

/// Bytes in both directions.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// Any stream but TCP, which has a type of its own to avoid dynamic calls.
type Any = Box<dyn Stream>;

impl Target {
    pub(super) async fn connect(&self) -> Result<Connected, CallError> {
        let limit = self.tuning.connect_timeout;
        match tokio::time::timeout(limit, self.open()).await {
            Ok(connected) => connected,
            Err(_) => Err(self.unreachable(&format!(
                "no connection within {} s; is it behind a firewall?",
                limit.as_secs_f64()
            ))),
        }
    }

    async fn open(&self) -> Result<Connected, CallError> {
        match &self.way {
            Way::Direct => {
                let stream = self.tcp(&self.host, self.port, "server").await?;
                self.secure(stream).await
            }
            Way::Unix(address) => {
                let stream = unix(address).await.map_err(|error| {
                    self.unreachable(&format!("{error}; does the server listen there?"))
                })?;
                self.secure(stream).await
            }
            Way::Proxy(proxy) => {
                let stream = self.tcp(&proxy.host, proxy.port, "proxy").await?;
                let stream: Any = match &proxy.tls {
                    Some(tls) => Box::new(self.handshake_tls(tls, &proxy.host, stream).await?),
                    None => Box::new(stream),
                };
                if self.is_forwarded() {
                    return self.start(stream, false).await;
                }
                let stream = self.tunnel(proxy, stream).await?;
                self.secure(stream).await
            }
        }
    }

    /// Whether requests are sent to a proxy, with their whole URL.
    pub(super) fn is_forwarded(&self) -> bool {
        matches!(self.way, Way::Proxy(_)) && self.tls.is_none() && !self.http2_only
    }

    /// Sets the request target of HTTP/1.1: for a proxy the whole URL, and our credentials; for a
    /// server only the path.
    pub(super) fn address(&self, uri: &mut Uri, headers: &mut HeaderMap) {
        let Some(path) = uri.path_and_query().cloned() else { return };
        let Way::Proxy(proxy) = &self.way else {
            *uri = Uri::from(path);
            return;
        };
        if !self.is_forwarded() {
            *uri = Uri::from(path);
            return;
        }
        let mut parts = uri::Parts::default();
        parts.scheme = Some(uri::Scheme::HTTP);
        // The proxy connects to this authority. `Host` may be another one, because it is
        // configurable.
        parts.authority = proxy::authority(&self.host, self.port).parse().ok();
        parts.path_and_query = Some(path);
        if let Ok(whole) = Uri::from_parts(parts) {
            *uri = whole;
        }
        if let Some(credentials) = &proxy.authorization {
            headers.insert(header::PROXY_AUTHORIZATION, credentials.clone());
        }
    }

    /// The error for a response of the proxy itself.
    pub(super) fn refused_by_proxy(&self, status: StatusCode) -> Option<CallError> {
        let Way::Proxy(proxy) = &self.way else { return None };
        let is_refused = self.is_forwarded() && status == StatusCode::PROXY_AUTHENTICATION_REQUIRED;
        is_refused.then(|| self.unreachable(&refusal(proxy, status)))
    }

    async fn tcp(&self, host: &str, port: u16, whose: &str) -> Result<TcpStream, CallError> {
        let stream = TcpStream::connect((host, port))
            .await
            .map_err(|error| self.unreachable(&explain_connect(&error, whose)))?;
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    /// Asks the proxy for a connection to the backend.
    async fn tunnel(&self, proxy: &Proxy, stream: Any) -> Result<Any, CallError> {
        let broken = |error: hyper::Error| {
            self.unreachable(&format!("the proxy ended the connection: {}", cause(&error)))
        };
        let authority = proxy::authority(&self.host, self.port);
        let mut request = Request::connect(&authority)
            .header(header::HOST, &authority)
            .body(Empty::<Bytes>::new())
            .map_err(|error| self.unreachable(&error.to_string()))?;
        if let Some(credentials) = &proxy.authorization {
            request.headers_mut().insert(header::PROXY_AUTHORIZATION, credentials.clone());
        }
        let (stream, before_head) = Limited::new(stream);
        let (mut open, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        before_head.begin();
        // This completes when the tunnel exists, or when the proxy refuses.
        tokio::spawn(connection.with_upgrades());
        let response = open.send_request(request).await.map_err(broken)?;
        before_head.end();
        if !response.status().is_success() {
            return Err(self.unreachable(&refusal(proxy, response.status())));
        }
        let tunnel = hyper::upgrade::on(response).await.map_err(broken)?;
        Ok(Box::new(TokioIo::new(tunnel)))
    }

    /// Does the TLS handshake if the target uses TLS, then starts HTTP.
    async fn secure<S: Stream>(&self, stream: S) -> Result<Connected, CallError> {
        let Some(tls) = &self.tls else { return self.start(stream, self.http2_only).await };
        let name = self.server_name.as_deref().unwrap_or(&self.host);
        let stream = self.handshake_tls(tls, name, stream).await?;
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        self.start(stream, is_h2 || self.http2_only).await
    }

    async fn handshake_tls<S: Stream>(
        &self,
        tls: &Connector,
        name: &str,
        stream: S,
    ) -> Result<tokio_rustls::client::TlsStream<S>, CallError> {
        let server = ServerName::try_from(name.to_owned())
            .map_err(|_| self.unreachable(&format!("`{name}` is not a server name")))?;
        tls.current().connect(server, stream).await.map_err(|error| {
            let remedy = remedy::find(&error).map(|text| format!("; {text}")).unwrap_or_default();
            self.unreachable(&format!("the TLS handshake failed: {error}{remedy}"))
        })
    }

    async fn start<S: Stream>(&self, stream: S, is_h2: bool) -> Result<Connected, CallError> {
        // The task ends when the peer closes the connection, or when the last handle is dropped.
        if is_h2 {
            let io = TokioIo::new(stream);
            let tuning = &self.tuning;
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
        let (stream, before_head) = Limited::new(stream);
        let io = TokioIo::new(stream);
        let (open, connection) = http1::handshake(io).await.map_err(|error| self.broken(&error))?;
        tokio::spawn(connection);
        Ok(Connected::Http1(Http1 { open, before_head }))
    }

    /// The target, for messages.
    fn place(&self) -> String {
        let authority = proxy::authority(&self.host, self.port);
        match &self.way {
            Way::Direct => authority,
            Way::Unix(address) => address.to_string(),
            Way::Proxy(proxy) => format!("{authority} through the proxy {proxy}"),
        }
    }

    fn unreachable(&self, cause: &str) -> CallError {
        CallError::new(format!("cannot connect to {}: {cause}", self.place()))
    }

    pub(super) fn broken(&self, error: &hyper::Error) -> CallError {
        let hint = if let Some(remedy) = remedy::find(error) {
            format!("; {remedy}")
        } else if self.tls.is_none() && self.http2_only {
            "; if the server speaks TLS remove `tls.insecure: true`, if it speaks HTTP/1.1 use \
             otlp_http"
                .to_owned()
        } else {
            String::new()
        };
        CallError::new(format!("the connection to {} broke: {}{hint}", self.place(), cause(error)))
    }
}

fn cause(error: &hyper::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// The error for a refusal of a proxy, with the remedy.
fn refusal(proxy: &Proxy, status: StatusCode) -> String {
    let code = status.as_u16();
    let remedy = match code {
        407 if proxy.authorization.is_some() => {
            "the proxy rejects the credentials in its URL: correct them"
        }
        407 => "the proxy wants credentials: add `user:password@` before the host in its URL",
        403 | 405 => "the proxy forbids this host: allow it there, or add the host to NO_PROXY",
        502..=504 => "the proxy cannot reach it: check `endpoint`, or add the host to NO_PROXY",
        _ => "is it a proxy?",
    };
    format!("the proxy answered HTTP {code}; {remedy}")
}

fn explain_connect(error: &io::Error, whose: &str) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!("connection refused; does the {whose} listen there?")
        }
        io::ErrorKind::TimedOut => "timed out; is it behind a firewall?".to_owned(),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            "the network is unreachable".to_owned()
        }
        _ if error.to_string().contains("lookup") => {
            let where_it_is = if whose == "proxy" { "the proxy's URL" } else { "`endpoint`" };
            format!(
                "the name does not resolve; check {where_it_is} for a typo, and DNS on this machine"
            )
        }
        _ => "the system refused the connection".to_owned(),
    }
}

#[cfg(unix)]
async fn unix(address: &UnixAddress) -> io::Result<Any> {
    use tokio::net::UnixStream;
    match address {
        UnixAddress::Path(path) => Ok(Box::new(UnixStream::connect(path).await?)),
        #[cfg(target_os = "linux")]
        UnixAddress::Abstract(name) => {
            use std::os::{linux::net::SocketAddrExt as _, unix::net as unix};
            let address = unix::SocketAddr::from_abstract_name(name)?;
            let stream = unix::UnixStream::connect_addr(&address)?;
            stream.set_nonblocking(true)?;
            Ok(Box::new(UnixStream::from_std(stream)?))
        }
        #[cfg(not(target_os = "linux"))]
        UnixAddress::Abstract(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

#[cfg(not(unix))]
async fn unix(_address: &UnixAddress) -> io::Result<Any> {
    Err(io::ErrorKind::Unsupported.into())
}
