//! Sources of connections: TCP addresses and unix sockets.

use std::{
    fs, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _},
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

use super::sockets::Successor;

/// An open listener.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    successor: Successor,
}

#[derive(Debug)]
pub(super) enum Socket {
    /// An address.
    Tcp(TcpListener),
    /// A path.
    Unix(UnixSocket),
}

/// A unix socket and its file.
#[derive(Debug)]
pub(super) struct UnixSocket {
    pub(super) listener: UnixListener,
    pub(super) file: Arc<SocketFile>,
}

/// A path that is removed when its last listener is dropped.
#[derive(Debug)]
pub(super) struct SocketFile(PathBuf);

impl SocketFile {
    pub(super) fn at(path: &Path) -> Arc<Self> {
        Arc::new(SocketFile(path.to_owned()))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Whether a process that has ended left its socket at a path.
pub(super) fn is_stale(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    is_socket && std::os::unix::net::UnixStream::connect(path).is_err()
}

/// A new connection.
pub(super) enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Listener::new(Socket::Tcp(listener), Successor::none())
    }
}

impl Listener {
    pub(super) fn new(socket: Socket, successor: Successor) -> Self {
        Listener { socket, successor }
    }

    /// The address or the path of the listener.
    pub fn address(&self) -> String {
        match &self.socket {
            Socket::Tcp(listener) => {
                listener.local_addr().map_or_else(|_| String::new(), |address| address.to_string())
            }
            Socket::Unix(socket) => socket.file.0.display().to_string(),
        }
    }

    /// Whether another listener has the same socket.
    pub(super) fn successor(&self) -> Successor {
        self.successor.clone()
    }

    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        match &self.socket {
            Socket::Tcp(listener) => {
                listener.accept().await.map(|(stream, peer)| Accepted::Tcp(stream, peer))
            }
            Socket::Unix(socket) => {
                socket.listener.accept().await.map(|(stream, _)| Accepted::Unix(stream))
            }
        }
    }
}

/// The kinds of addresses that a listener may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Either. For a name with both kinds the IPv4 one is used, as in Go, so that clients that use
    /// `127.0.0.1` find a receiver on `localhost`, whatever the order of the hosts file.
    Any,
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// The address of an endpoint as the Collector writes it: `localhost:4317`, `0.0.0.0:4317`,
/// `[::]:4317`; `:4317` means all interfaces, IPv4 and, if available, IPv6.
pub fn resolve(endpoint: &str, family: Family) -> io::Result<SocketAddr> {
    if let Some(port) = endpoint.strip_prefix(':') {
        let invalid = |_| io::Error::new(io::ErrorKind::InvalidInput, "the port is not a number");
        let port: u16 = port.parse().map_err(invalid)?;
        let all = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let has_ipv6 = || std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok();
        let is_ipv6 = family == Family::V6 || (family == Family::Any && has_ipv6());
        return Ok(if is_ipv6 { all } else { (Ipv4Addr::UNSPECIFIED, port).into() });
    }
    let addresses: Vec<_> = endpoint.to_socket_addrs()?.collect();
    let first = |is_ipv4| addresses.iter().copied().find(|address| address.is_ipv4() == is_ipv4);
    match family {
        Family::Any => first(true).or(first(false)),
        Family::V4 => first(true),
        Family::V6 => first(false),
    }
    .ok_or_else(|| io::Error::other("the name has no address of the kind that `transport` says"))
}

/// Checks an endpoint. The error has the problem and the remedy.
pub fn check(endpoint: &str) -> Result<(), (String, String)> {
    check_like(endpoint, "0.0.0.0:4317")
}

/// Checks an endpoint; the remedy names `example`.
pub fn check_like(endpoint: &str, example: &str) -> Result<(), (String, String)> {
    let form = || format!("write `host:port`, for instance `{example}`");
    if let Some((scheme, address)) = endpoint.split_once("://") {
        // The text may contain a secret, so it is not shown.
        let address = address.split(['/', '?', '#']).next().unwrap_or_default();
        let address = address.rsplit('@').next().unwrap_or_default();
        return Err((
            format!("a listener has an address `host:port`, without `{scheme}://`"),
            format!("write `{address}`"),
        ));
    }
    let Some((_, port)) = endpoint.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) else {
        return Err((format!("`{endpoint}` has no port"), form()));
    };
    if port.parse::<u16>().is_ok() {
        return Ok(());
    }
    let port = port.split(['/', '?', '#', '@']).next().unwrap_or_default();
    Err((format!("`{port}` is not a port: ports are 0 to 65535"), form()))
}

/// Opens a listener. Call within a tokio runtime.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    // The maximum of Linux by default. With 1024, 10 000 connections at once filled the queue again
    // and again, and a client that met a full queue waited for a second.
    socket.listen(4096)
}

/// Why a listener could not be opened, with the remedy.
pub fn explain_bind(error: &io::Error, endpoint: &str) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("`{endpoint}` is in use by another process; stop it, or choose another address")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_resolved_as_go_does() {
        let at = |endpoint, family| resolve(endpoint, family).map(|a| a.to_string()).ok();
        assert_eq!(at("localhost:1", Family::Any).as_deref(), Some("127.0.0.1:1"));
        assert_eq!(at("[::1]:1", Family::Any).as_deref(), Some("[::1]:1"));
        assert_eq!(at("[::1]:1", Family::V4), None);
        assert_eq!(at("127.0.0.1:1", Family::V6), None);
        assert_eq!(at(":1", Family::V4).as_deref(), Some("0.0.0.0:1"));
        assert_eq!(at(":1", Family::V6).as_deref(), Some("[::]:1"));
        assert_eq!(at(":none", Family::Any), None);
    }
}
