//! Listening sockets that outlive the component that has opened them.
//!
//! A reload may replace a component by another one that listens on the same address. The new one
//! gets a copy of the open socket (`dup`), so the kernel's queue of connections goes on: no client
//! is refused, and none that waits to be accepted is reset, as would happen with a second socket
//! and `SO_REUSEPORT`. Both accept until the old one stops.
//!
//! [`Sockets`] opens the sockets of one component, or copies inherited ones. Each is kept as
//! [`Held`] beside the component. The port is open as long as this lives, so it is dropped before
//! the component is told to stop.

use std::{
    fs, io,
    net::SocketAddr,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::{
    net::{TcpListener, UdpSocket, UnixListener},
    sync::watch,
};

use super::{
    Listener,
    listener::{self, Socket, SocketFile, UnixSocket},
};

/// The requested address of a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Address {
    Tcp(SocketAddr),
    Udp(SocketAddr),
    Unix(PathBuf),
}

/// An open socket, kept for a successor.
#[derive(Debug)]
pub struct Held {
    address: Address,
    socket: OwnedFd,
    /// The file is removed with the last holder of the socket.
    file: Option<Arc<SocketFile>>,
    has_successor: Arc<watch::Sender<bool>>,
    /// The sender of the socket that this one is a copy of.
    predecessor: Option<Arc<watch::Sender<bool>>>,
}

impl Held {
    /// Tells the predecessor, if there is one, that clients find a successor, so that it can take
    /// its time to close their connections.
    pub fn take_over(&self) {
        if let Some(predecessor) = &self.predecessor {
            predecessor.send_replace(true);
        }
    }

    /// Whether this is a copy of a socket that was open before.
    pub fn is_inherited(&self) -> bool {
        self.predecessor.is_some()
    }

    /// Whether this is a copy of `other`.
    pub fn succeeds(&self, other: &Held) -> bool {
        self.predecessor
            .as_ref()
            .is_some_and(|successor| Arc::ptr_eq(successor, &other.has_successor))
    }

    /// Tells the owner whether a successor is listening on the same socket.
    pub fn successor(&self) -> Arc<watch::Sender<bool>> {
        Arc::clone(&self.has_successor)
    }
}

/// Whether a successor is listening on the same socket. If so, a listener that stops takes its time
/// to close connections, because clients find the other one.
#[derive(Debug, Clone)]
pub struct Successor(Option<watch::Receiver<bool>>);

impl Successor {
    /// There never is a successor.
    pub(super) fn none() -> Self {
        Successor(None)
    }

    /// Whether there is a successor.
    pub(super) fn is_there(&self) -> bool {
        self.0.as_ref().is_some_and(|successor| *successor.borrow())
    }

    /// Waits until there is no successor any more, or the process ends.
    pub(super) async fn gone(&mut self) {
        if let Some(successor) = &mut self.0 {
            let _ = successor.wait_for(|is_there| !is_there).await;
        }
    }
}

/// Opens the sockets of one component. Call within a tokio runtime.
#[derive(Debug, Default)]
pub struct Sockets {
    inherited: Vec<Arc<Held>>,
    opened: Vec<Arc<Held>>,
    /// Set for a look only.
    stand_ins: Option<Vec<StandIn>>,
}

/// A socket that was opened in the place of one whose address is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StandIn {
    /// The address in use.
    pub wanted: SocketAddr,
    /// The address of the socket.
    pub opened: SocketAddr,
}

impl Sockets {
    /// Sockets that may copy each of `inherited` once.
    pub fn with(inherited: Vec<Arc<Held>>) -> Self {
        Sockets { inherited, ..Sockets::default() }
    }

    /// Sockets for a look at what is free: nobody will be served, so where an address is in use,
    /// any free port is opened instead.
    pub fn for_a_look() -> Self {
        Sockets { stand_ins: Some(Vec::new()), ..Sockets::default() }
    }

    /// The addresses in use that such a look has found.
    pub fn stand_ins(&self) -> &[StandIn] {
        self.stand_ins.as_deref().unwrap_or_default()
    }

    /// The opened sockets, and the inherited ones that were not used.
    pub fn finish(self) -> (Vec<Arc<Held>>, Vec<Arc<Held>>) {
        (self.opened, self.inherited)
    }

    /// Opens a listener on an address.
    pub fn tcp(&mut self, address: SocketAddr) -> io::Result<Listener> {
        let (listener, successor) = self.tcp_listener(address)?;
        Ok(Listener::new(Socket::Tcp(listener), successor))
    }

    /// Opens a listener for a server of a library.
    pub fn tcp_listener(&mut self, address: SocketAddr) -> io::Result<(TcpListener, Successor)> {
        let wanted = Address::Tcp(address);
        if let Some(held) = self.inherited(&wanted) {
            let std: std::net::TcpListener = held.socket.try_clone()?.into();
            let successor = self.keep(wanted, std.as_fd().try_clone_to_owned()?, None, Some(&held));
            return Ok((TcpListener::from_std(std)?, successor));
        }
        let listener = match listener::listen(address) {
            Err(error) if self.takes_another(&error) => {
                let listener = listener::listen((address.ip(), 0).into())?;
                self.note(address, listener.local_addr()?);
                listener
            }
            opened => opened.map_err(|error| self.explain(error, address))?,
        };
        let successor = self.keep(wanted, listener.as_fd().try_clone_to_owned()?, None, None);
        Ok((listener, successor))
    }

    /// Opens a socket for datagrams; `open` makes one if none can be copied.
    pub fn udp(
        &mut self,
        address: SocketAddr,
        open: impl FnOnce() -> io::Result<std::net::UdpSocket>,
    ) -> io::Result<UdpSocket> {
        let wanted = Address::Udp(address);
        let held = self.inherited(&wanted);
        let socket = match &held {
            Some(held) => held.socket.try_clone()?.into(),
            None => match open() {
                Err(error) if self.takes_another(&error) => {
                    let socket = std::net::UdpSocket::bind((address.ip(), 0))?;
                    socket.set_nonblocking(true)?;
                    self.note(address, socket.local_addr()?);
                    socket
                }
                opened => opened.map_err(|error| self.explain(error, address))?,
            },
        };
        self.keep(wanted, socket.as_fd().try_clone_to_owned()?, None, held.as_deref());
        UdpSocket::from_std(socket)
    }

    /// Opens a unix socket. A file that an earlier process has left behind is replaced, unless a
    /// process listens on it.
    pub fn unix(&mut self, path: &Path) -> io::Result<Listener> {
        let wanted = Address::Unix(path.to_owned());
        if let Some(held) = self.inherited(&wanted) {
            let std: std::os::unix::net::UnixListener = held.socket.try_clone()?.into();
            let file = held.file.clone();
            let copy = std.as_fd().try_clone_to_owned()?;
            let successor = self.keep(wanted, copy, file.clone(), Some(&held));
            let file = file.unwrap_or_else(|| SocketFile::at(path));
            let socket = UnixSocket { listener: UnixListener::from_std(std)?, file };
            return Ok(Listener::new(Socket::Unix(socket), successor));
        }
        if listener::is_stale(path) {
            fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        let file = SocketFile::at(path);
        let copy = listener.as_fd().try_clone_to_owned()?;
        let successor = self.keep(wanted, copy, Some(Arc::clone(&file)), None);
        Ok(Listener::new(Socket::Unix(UnixSocket { listener, file }), successor))
    }

    /// Takes an inherited socket.
    fn inherited(&mut self, wanted: &Address) -> Option<Arc<Held>> {
        let index = self.inherited.iter().position(|held| held.address == *wanted)?;
        Some(self.inherited.remove(index))
    }

    fn keep(
        &mut self,
        address: Address,
        socket: OwnedFd,
        file: Option<Arc<SocketFile>>,
        predecessor: Option<&Held>,
    ) -> Successor {
        let (has_successor, successor) = watch::channel(false);
        let predecessor = predecessor.map(Held::successor);
        let has_successor = Arc::new(has_successor);
        self.opened.push(Arc::new(Held { address, socket, file, has_successor, predecessor }));
        Successor(Some(successor))
    }

    fn takes_another(&self, error: &io::Error) -> bool {
        self.stand_ins.is_some() && error.kind() == io::ErrorKind::AddrInUse
    }

    fn note(&mut self, wanted: SocketAddr, opened: SocketAddr) {
        self.stand_ins.get_or_insert_default().push(StandIn { wanted, opened });
    }

    /// An address may be taken by another one that is closed only later: `0.0.0.0` takes them all.
    fn explain(&self, error: io::Error, wanted: SocketAddr) -> io::Error {
        if error.kind() != io::ErrorKind::AddrInUse {
            return error;
        }
        let covers = |held: &&Arc<Held>| match held.address {
            Address::Tcp(open) | Address::Udp(open) => {
                open.port() == wanted.port() && open.ip() != wanted.ip()
            }
            Address::Unix(_) => false,
        };
        match self.inherited.iter().find(covers).map(|held| &held.address) {
            Some(Address::Tcp(open) | Address::Udp(open)) => io::Error::other(format!(
                "`{open}` is open until the part that has it has gone, and one excludes the other; \
                 restart skep, or reload with another port in between"
            )),
            _ => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpStream, UnixStream};

    use super::*;
    use crate::net::server::listener::Accepted;

    fn any() -> SocketAddr {
        ([127, 0, 0, 1], 0).into()
    }

    async fn greet(listener: &Listener, word: &[u8]) {
        match listener.accept().await.unwrap() {
            Accepted::Tcp(mut stream, _) => stream.write_all(word).await.unwrap(),
            Accepted::Unix(mut stream) => stream.write_all(word).await.unwrap(),
        }
    }

    #[tokio::test]
    async fn who_waits_to_be_accepted_is_accepted_by_the_successor() {
        let mut sockets = Sockets::default();
        let old = sockets.tcp(any()).unwrap();
        let address = old.address();
        let mut client = TcpStream::connect(&address).await.unwrap();
        let (held, _) = sockets.finish();
        let mut sockets = Sockets::with(held.clone());
        let new = sockets.tcp(any()).unwrap();
        assert_eq!(new.address(), address);
        assert!(!old.successor().is_there());
        let (successor, rest) = sockets.finish();
        assert!(successor[0].is_inherited() && rest.is_empty());
        successor[0].take_over();
        assert!(old.successor().is_there());
        drop((old, held));
        greet(&new, b"new").await;
        let mut word = String::new();
        client.read_to_string(&mut word).await.unwrap();
        assert_eq!(word, "new");
    }

    #[tokio::test]
    async fn a_port_is_copied_once_and_closed_with_its_last_holder() {
        let mut sockets = Sockets::default();
        let first = sockets.tcp(any()).unwrap();
        let open: SocketAddr = first.address().parse().unwrap();
        let (held, _) = sockets.finish();
        let mut sockets = Sockets::with(held.clone());
        let second = sockets.tcp(any()).unwrap();
        assert_ne!(sockets.tcp(any()).unwrap().address(), first.address());
        drop((first, second, held, sockets));
        assert!(TcpStream::connect(open).await.is_err());
    }

    #[tokio::test]
    async fn an_address_that_covers_another_is_named() {
        let mut sockets = Sockets::default();
        let all = sockets.tcp(([0, 0, 0, 0], 0).into()).unwrap();
        let port = all.address().rsplit(':').next().unwrap().parse().unwrap();
        let (mut held, _) = sockets.finish();
        let of_all = Address::Tcp(([0, 0, 0, 0], port).into());
        Arc::get_mut(&mut held[0]).unwrap().address = of_all;
        let error = Sockets::with(held).tcp(([127, 0, 0, 1], port).into()).unwrap_err();
        assert!(error.to_string().contains("restart skep"), "{error}");
    }

    #[tokio::test]
    async fn the_file_of_a_unix_socket_goes_with_its_last_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        let mut sockets = Sockets::default();
        let old = sockets.unix(&path).unwrap();
        let (held, _) = sockets.finish();
        let mut sockets = Sockets::with(held.clone());
        let new = sockets.unix(&path).unwrap();
        let (successor, _) = sockets.finish();
        drop((old, held));
        let mut client = UnixStream::connect(&path).await.unwrap();
        greet(&new, b"hi").await;
        let mut word = String::new();
        client.read_to_string(&mut word).await.unwrap();
        assert_eq!(word, "hi");
        drop((new, successor));
        assert!(!path.exists());
    }
}
