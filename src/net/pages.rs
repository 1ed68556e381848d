//! A small server of read-only pages: metrics, health, profiles. GET and HEAD only.
//!
//! Any web site that the user visits can reach a page on loopback by a name that it resolves to
//! 127.0.0.1 (DNS rebinding). A listener on loopback therefore answers only requests
//! whose `Host` is a loopback address or `localhost`. No page may be framed, sniffed or cached,
//! and none runs a script.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use hyper::body::Incoming;
use tokio::sync::watch;

use super::{
    server::{self, Connection, Listener, Reply, Service, Sockets, Tuning},
    tls::Acceptor,
};

/// The request for a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Path as it was sent: `/metrics`.
    pub path: String,
    query: String,
}

impl Ask {
    fn new(uri: &Uri) -> Self {
        Ask { path: uri.path().to_owned(), query: uri.query().unwrap_or_default().to_owned() }
    }

    /// Value of a query parameter, percent-decoded; empty if it has no `=`.
    pub fn parameter(&self, name: &str) -> Option<String> {
        self.query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_encoding::percent_decode_str(value).decode_utf8_lossy();
            (key == name).then(|| value.into_owned())
        })
    }

    /// Whether a parameter is present and not `false`.
    pub fn has(&self, name: &str) -> bool {
        self.parameter(name).is_some_and(|value| value != "false")
    }
}

/// The response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// HTTP status.
    pub status: StatusCode,
    /// Content type.
    pub content_type: &'static str,
    /// The whole body.
    pub body: Bytes,
}

impl Page {
    /// Plain text.
    pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Page { status, content_type: "text/plain; charset=utf-8", body: body.into() }
    }

    /// JSON.
    pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Page { status, content_type: "application/json", body: body.into() }
    }

    /// HTML.
    pub fn html(body: impl Into<Bytes>) -> Self {
        let content_type = "text/html; charset=utf-8";
        Page { status: StatusCode::OK, content_type, body: body.into() }
    }

    /// 404 with the paths that exist.
    pub fn missing(paths: &str) -> Self {
        Page::text(StatusCode::NOT_FOUND, format!("no such page; there is {paths}\n"))
    }
}

/// Answers the requests of a listener.
pub trait Site: Send + Sync + 'static {
    /// The page for a request.
    fn answer(&self, ask: Ask) -> impl Future<Output = Page> + Send;
}

/// An open listener of pages.
#[derive(Debug)]
pub struct Pages {
    listener: Listener,
    address: SocketAddr,
    tls: Option<Arc<Acceptor>>,
}

impl Pages {
    /// Opens the listener on an endpoint such as `localhost:8888`. The error has the remedy.
    /// Call within a tokio runtime.
    pub fn bind(endpoint: &str, sockets: &mut Sockets) -> Result<Self, String> {
        let mut open = |endpoint: &str| -> io::Result<Pages> {
            let listener = sockets.tcp(server::resolve(endpoint, server::Family::Any)?)?;
            let address = listener.address().parse().map_err(io::Error::other)?;
            Ok(Pages { listener, address, tls: None })
        };
        open(endpoint).map_err(|error| server::explain_bind(&error, endpoint))
    }

    /// Serves over TLS if an acceptor is given.
    #[must_use]
    pub fn over(self, tls: Option<Arc<Acceptor>>) -> Self {
        Pages { tls, ..self }
    }

    /// The address of the listener.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is raised.
    pub async fn run<S: Site>(self, site: S, stop: watch::Receiver<bool>) {
        let guarded = Guarded { site, is_loopback: self.address.ip().is_loopback() };
        let tuning = Tuning {
            stream_window: 64 * 1024,
            connection_window: 64 * 1024,
            max_frame_size: 16 * 1024,
            max_concurrent_streams: Some(8),
            header_timeout: Duration::from_secs(10),
            ..Tuning::default()
        };
        server::run(self.listener, self.tls, Arc::new(guarded), tuning, stop).await;
    }
}

struct Guarded<S> {
    site: S,
    is_loopback: bool,
}

impl<S: Site> Service for Guarded<S> {
    async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
        _connection: Arc<Connection>,
    ) -> Response<Reply> {
        let method = request.method().clone();
        if method != Method::GET && method != Method::HEAD {
            let page = Page::text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            let mut response = respond(page, &method);
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        if self.is_loopback && !names_loopback(request.uri(), request.headers()) {
            let words = "this page answers only to `localhost`, 127.0.0.1 and [::1]\n";
            return respond(Page::text(StatusCode::MISDIRECTED_REQUEST, words), &method);
        }
        let page = self.site.answer(Ask::new(request.uri())).await;
        respond(page, &method)
    }
}

fn respond(page: Page, method: &Method) -> Response<Reply> {
    let length = page.body.len();
    let body = if *method == Method::HEAD { Bytes::new() } else { page.body };
    let mut response = Response::new(Reply::new(body));
    *response.status_mut() = page.status;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, page.content_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

/// Whether the request was meant for this machine's loopback. HTTP/2 has the host in the URI.
fn names_loopback(uri: &Uri, headers: &HeaderMap) -> bool {
    let host = match (uri.authority(), headers.get(header::HOST)) {
        (Some(authority), _) => Some(authority.as_str()),
        (None, Some(value)) => value.to_str().ok(),
        (None, None) => None,
    };
    host.is_some_and(is_loopback_host)
}

fn is_loopback_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _port)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Escapes the characters that have a meaning in HTML.
pub fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
pub(crate) mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    use super::*;

    /// Sends a raw request and reads until the server closes.
    pub(crate) async fn raw(address: SocketAddr, head: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{head}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let reading = stream.read_to_end(&mut answer);
        tokio::time::timeout(Duration::from_secs(20), reading).await.unwrap().unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// GET of a path with the right host.
    pub(crate) async fn get(address: SocketAddr, path: &str) -> String {
        raw(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}")).await
    }

    struct Echo;

    impl Site for Echo {
        async fn answer(&self, ask: Ask) -> Page {
            Page::text(StatusCode::OK, format!("{} {:?}", ask.path, ask.parameter("q")))
        }
    }

    #[tokio::test]
    async fn pages_are_read_only_and_bound_to_their_host() {
        let (stop, stopped) = watch::channel(false);
        let pages = Pages::bind("127.0.0.1:0", &mut Sockets::default()).unwrap();
        let address = pages.address();
        let serving = tokio::spawn(pages.run(Echo, stopped));

        let page = get(address, "/a?q=b%20c").await;
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
        assert!(page.ends_with("\r\n\r\n/a Some(\"b c\")"), "{page}");
        assert!(page.contains("x-content-type-options: nosniff\r\n"), "{page}");

        let head = raw(address, "HEAD /a HTTP/1.1\r\nHost: localhost:1").await;
        assert!(head.contains("content-length: 7\r\n") && head.ends_with("\r\n\r\n"), "{head}");

        let post = raw(address, "POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0").await;
        assert!(post.starts_with("HTTP/1.1 405"), "{post}");
        assert!(post.contains("allow: GET, HEAD"), "{post}");

        let rebound = raw(address, "GET /a HTTP/1.1\r\nHost: evil.example").await;
        assert!(rebound.starts_with("HTTP/1.1 421"), "{rebound}");

        stop.send(true).unwrap();
        serving.await.unwrap();
    }

    #[test]
    fn hosts_are_told_apart() {
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1:8888", "127.9.9.9", "[::1]:1"] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in ["localhost.evil.example", "10.0.0.1", "[::2]:1", "", "127.0.0.1.example"] {
            assert!(!is_loopback_host(host), "{host}");
        }
    }
}
