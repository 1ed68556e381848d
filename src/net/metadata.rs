//! One small request to a service of the platform: instance metadata, the ECS agent, the Docker
//! daemon. HTTP/1.1 without TLS over TCP or a unix socket, on a connection of its own.
//!
//! Why not `client`: that one keeps connections, speaks TLS and cuts answers at 64 KiB. Here it
//! matters whether there is a service at all, because silence means another platform, not a fault.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// Longest answer in bytes. The metadata of a task with ten containers has 20 KiB.
const ANSWER_LIMIT: usize = 1 << 20;

/// Where a service listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Service {
    /// `http://host:port/base`.
    Tcp {
        /// Name or address, without brackets.
        host: String,
        /// 80 if the URL has none.
        port: u16,
        /// Prefix of paths, without a slash at its end.
        base: String,
    },
    /// A unix socket.
    Unix(PathBuf),
}

impl Service {
    /// Reads `http://host:port/base`, or says what is wrong with it.
    pub fn parse(url: &str) -> Result<Service, String> {
        let wrong =
            |what: &str| format!("`{url}` {what}, write for instance `http://127.0.0.1:80`");
        let uri: Uri = url.parse().map_err(|_| wrong("is not a URL"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(wrong("asks for TLS, which is not supported here")),
            _ => return Err(wrong("does not begin with `http://`")),
        }
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        if host.is_empty() {
            return Err(wrong("has no host"));
        }
        let base = uri.path().trim_end_matches('/').to_owned();
        Ok(Service::Tcp { host: host.to_owned(), port: uri.port_u16().unwrap_or(80), base })
    }

    /// A path of it, for messages.
    pub fn show(&self, path: &str) -> String {
        match self {
            Service::Tcp { host, port, base } if host.contains(':') => {
                format!("http://[{host}]:{port}{base}{path}")
            }
            Service::Tcp { host, port: 80, base } => format!("http://{host}{base}{path}"),
            Service::Tcp { host, port, base } => format!("http://{host}:{port}{base}{path}"),
            Service::Unix(socket) => format!("{path} of {}", socket.display()),
        }
    }
}

/// A response with any status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// The whole body, at most 1 MiB.
    pub body: Bytes,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No connection could be made.
    #[error("cannot connect: {0}")]
    Unreachable(#[source] io::Error),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
}

/// Sends one request. Connecting takes at most `patience`; the response may take as long as the
/// caller waits.
pub async fn ask(
    service: &Service,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    patience: Duration,
) -> Result<Answer, Failure> {
    let late = || Failure::Unreachable(io::ErrorKind::TimedOut.into());
    match service {
        Service::Tcp { host, port, base } => {
            let connecting = TcpStream::connect((host.as_str(), *port));
            let connected = tokio::time::timeout(patience, connecting).await;
            let stream = connected.map_err(|_| late())?.map_err(Failure::Unreachable)?;
            let name = if host.contains(':') { format!("[{host}]") } else { host.clone() };
            let authority = if *port == 80 { name } else { format!("{name}:{port}") };
            exchange(stream, &authority, method, &format!("{base}{path}"), headers).await
        }
        Service::Unix(socket) => {
            let connected = tokio::time::timeout(patience, unix(socket)).await;
            let stream = connected.map_err(|_| late())?.map_err(Failure::Unreachable)?;
            exchange(stream, "localhost", method, path, headers).await
        }
    }
}

#[cfg(unix)]
async fn unix(socket: &Path) -> io::Result<tokio::net::UnixStream> {
    tokio::net::UnixStream::connect(socket).await
}

#[cfg(not(unix))]
async fn unix(_socket: &Path) -> io::Result<TcpStream> {
    Err(io::ErrorKind::Unsupported.into())
}

async fn exchange<S>(
    stream: S,
    authority: &str,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Answer, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut request = Request::builder()
        .method(method)
        .uri(if path.is_empty() { "/" } else { path })
        .header(header::HOST, authority)
        .header(header::CONTENT_LENGTH, 0);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request =
        request.body(Empty::<Bytes>::new()).map_err(|error| Failure::Broken(error.to_string()))?;
    let broken = |error: hyper::Error| Failure::Broken(error.to_string());
    let (mut open, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let exchanging = async {
        let (parts, body) = open.send_request(request).await.map_err(broken)?.into_parts();
        let body = Limited::new(body, ANSWER_LIMIT).collect().await;
        let body = body.map_err(|error| Failure::Broken(error.to_string()))?.to_bytes();
        Ok(Answer { status: parts.status, body })
    };
    // The connection is driven while the response is awaited, so no task is left behind.
    tokio::pin!(exchanging, connection);
    tokio::select! {
        answer = &mut exchanging => return answer,
        _ = &mut connection => {}
    }
    exchanging.await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_services_are_read() {
        let tcp = |host: &str, port, base: &str| {
            Ok(Service::Tcp { host: host.to_owned(), port, base: base.to_owned() })
        };
        assert_eq!(
            Service::parse("http://169.254.170.2/v4/abc"),
            tcp("169.254.170.2", 80, "/v4/abc")
        );
        assert_eq!(Service::parse("http://[fd00:ec2::254]:81/"), tcp("fd00:ec2::254", 81, ""));
        for wrong in ["", "https://a", "unix:///a", "http://", "127.0.0.1", "http://a b/"] {
            assert!(Service::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn addresses_are_shown_as_urls() {
        let show = |url: &str| Service::parse(url).unwrap().show("/a");
        assert_eq!(show("http://169.254.170.2/v4"), "http://169.254.170.2/v4/a");
        assert_eq!(show("http://[::1]:81"), "http://[::1]:81/a");
    }
}
