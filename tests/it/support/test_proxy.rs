//! A proxy for tests: `CONNECT` and requests with their whole URL, with credentials if asked for,
//! and TLS. It finds every host on loopback, as a network does that only the proxy sees into. It
//! shares no code with skep.

use std::{
    io::{self, BufRead as _, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio_rustls::TlsAcceptor;

/// A proxy that runs.
pub(crate) struct TestProxy {
    pub(crate) port: u16,
    seen: Arc<Mutex<Vec<String>>>,
}

impl TestProxy {
    /// Starts it; with `credentials` (the value of `Proxy-Authorization`) it asks for them.
    pub(crate) fn start(credentials: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let shared = Arc::clone(&seen);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let seen = Arc::clone(&shared);
                thread::spawn(move || serve(client, credentials, &seen));
            }
        });
        TestProxy { port, seen }
    }

    /// What was asked: `CONNECT host:port` or `POST http://host:port/path`, and ` 407` behind it
    /// where it was refused.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// Whether anything was asked that begins like this, and let through.
    pub(crate) fn has_passed(&self, what: &str) -> bool {
        self.seen().iter().any(|one| one.starts_with(what) && !one.ends_with(" 407"))
    }
}

/// Ends TLS in front of a port: certificate and key as PEM. Gives its own port.
pub(crate) fn tls_before(port: u16, (certificate, key): (String, String)) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let own = listener.local_addr().unwrap().port();
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    thread::spawn(move || {
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((client, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut client = acceptor.accept(client).await?;
                    let mut inner = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
                    tokio::io::copy_bidirectional(&mut client, &mut inner).await
                });
            }
        });
    });
    own
}

/// One connection of a client.
fn serve(client: TcpStream, credentials: Option<&str>, seen: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(client);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let mut words = head.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut body = vec![0; header(&head, "content-length").unwrap_or("0").parse().ok()?];
        reader.read_exact(&mut body).ok()?;
        let is_known =
            credentials.is_none_or(|own| header(&head, "proxy-authorization") == Some(own));
        let mark = if is_known { "" } else { " 407" };
        seen.lock().unwrap().push(format!("{method} {target}{mark}"));
        if !is_known {
            let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\n\
                           proxy-authenticate: Basic realm=x\r\ncontent-length: 0\r\n\r\n";
            reader.get_mut().write_all(refusal.as_bytes()).ok()?;
            continue;
        }
        if method == "CONNECT" {
            return tunnel(reader, &target);
        }
        forward(&mut reader, &method, &target, &head, &body)?;
    }
}

fn tunnel(mut client: BufReader<TcpStream>, target: &str) -> Option<()> {
    let Some(backend) = connect(target) else {
        let refusal = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n";
        return client.get_mut().write_all(refusal).ok();
    };
    client.get_mut().write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").ok()?;
    let (mut to_client, mut from_backend) =
        (client.get_ref().try_clone().ok()?, backend.try_clone().ok()?);
    thread::spawn(move || pump(&mut from_backend, &mut to_client));
    let mut to_backend = backend;
    pump(&mut client, &mut to_backend);
    Some(())
}

fn pump(from: &mut impl Read, to: &mut TcpStream) {
    let _ = io::copy(from, to);
    let _ = to.shutdown(Shutdown::Both);
}

/// A request with its whole URL: it goes on with its path alone, and its answer comes back.
fn forward(
    client: &mut BufReader<TcpStream>,
    method: &str,
    target: &str,
    head: &str,
    body: &[u8],
) -> Option<()> {
    let (authority, path) = target.strip_prefix("http://")?.split_once('/')?;
    let mut backend = connect(authority)?;
    write!(backend, "{method} /{path} HTTP/1.1\r\nconnection: close\r\n").ok()?;
    for line in head.lines().skip(1).filter(|line| !line.is_empty()) {
        let name = line.split(':').next()?.to_ascii_lowercase();
        if name != "connection" && !name.starts_with("proxy-") {
            write!(backend, "{line}\r\n").ok()?;
        }
    }
    backend.write_all(b"\r\n").ok()?;
    backend.write_all(body).ok()?;
    let mut answer = BufReader::new(backend);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && answer.read_line(&mut head).ok()? > 0 {}
    let mut body = vec![0; header(&head, "content-length").unwrap_or("0").parse().ok()?];
    answer.read_exact(&mut body).ok()?;
    for line in head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:")) {
        write!(client.get_mut(), "{line}\r\n").ok()?;
    }
    client.get_mut().write_all(&body).ok()
}

/// Every host is on loopback.
fn connect(authority: &str) -> Option<TcpStream> {
    let port: u16 = authority.rsplit_once(':')?.1.parse().ok()?;
    TcpStream::connect(("127.0.0.1", port)).ok()
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| {
        let (own, value) = line.split_once(':')?;
        own.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}
