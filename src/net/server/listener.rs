//! Where connections come from: TCP addresses and unix sockets.

use std::{
    fs, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _},
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
};

use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

/// An open listener.
#[derive(Debug)]
pub enum Listener {
    /// An address.
    Tcp(TcpListener),
    /// A path, which is removed when the listener goes.
    Unix(UnixSocket),
}

/// A unix socket and its file.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A new connection.
pub(super) enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl Listener {
    /// Opens a unix socket. A file that an earlier process left behind goes; one that somebody
    /// listens on stays.
    pub fn unix(path: &Path) -> io::Result<Self> {
        let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
        if is_socket && std::os::unix::net::UnixStream::connect(path).is_err() {
            fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        Ok(Listener::Unix(UnixSocket { listener, path: path.to_owned() }))
    }

    /// The address or the path that is open.
    pub fn address(&self) -> String {
        match self {
            Listener::Tcp(listener) => {
                listener.local_addr().map_or_else(|_| String::new(), |address| address.to_string())
            }
            Listener::Unix(socket) => socket.path.display().to_string(),
        }
    }

    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Listener::Tcp(listener) => {
                listener.accept().await.map(|(stream, peer)| Accepted::Tcp(stream, peer))
            }
            Listener::Unix(socket) => {
                socket.listener.accept().await.map(|(stream, _)| Accepted::Unix(stream))
            }
        }
    }
}

/// The addresses of an endpoint as the Collector writes it: `localhost:4317`, `0.0.0.0:4317`,
/// `[::]:4317`; `:4317` is all interfaces, IPv6 and IPv4 where there is IPv6.
pub fn resolve(endpoint: &str) -> io::Result<SocketAddr> {
    if let Some(port) = endpoint.strip_prefix(':') {
        let invalid = |_| io::Error::new(io::ErrorKind::InvalidInput, "the port is not a number");
        let port: u16 = port.parse().map_err(invalid)?;
        let all = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let has_ipv6 = std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok();
        return Ok(if has_ipv6 { all } else { (Ipv4Addr::UNSPECIFIED, port).into() });
    }
    endpoint
        .to_socket_addrs()?
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
