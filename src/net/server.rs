//! Serves HTTP/1.1 and HTTP/2 on one port, told apart by the first bytes of a connection, with TLS
//! or without.
//!
//! A listener that stops lets open requests finish. If another listener has its socket by then
//! ([`Sockets`]), it also waits for one more request of each client: connections of which nothing
//! was read yet are served, and HTTP/1.1 clients are told to close with their next response.

mod authority;
mod descriptors;
mod frames;
mod hints;
mod leaving;
mod listener;
mod newcomers;
mod reply;
mod seats;
mod serving;
mod sniffed;
mod sockets;
mod unread;

use std::{
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

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};

use super::tls::Acceptor;
use crate::otlp::payload::Permit;
pub use descriptors::raise_descriptors;
use hints::{Hint, Hints};
use leaving::Answers;
use listener::Accepted;
pub use listener::{Family, Listener, check, check_like, explain_bind, listen, resolve};
use newcomers::{NEWCOMER, Newcomer, Newcomers};
pub use reply::Reply;
use seats::{Seat, Seats, Windows};
use serving::connection;
use sockets::Successor;
pub use sockets::{Held, Sockets, StandIn};
pub use unread::{discard, is_sent_anyway};

/// After this time without a packet the kernel checks whether the peer is still there, as in Go.
const TCP_KEEPALIVE: Duration = Duration::from_secs(15);

/// The charge for an open connection: buffers, a task, a few streams. Measured with thousands of
/// them: 9 to 26 KiB.
pub const CONNECTION: usize = 32 * 1024;

/// How HTTP/2 and HTTP/1.1 connections are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuning {
    /// Bytes of a stream that may be in flight before they are read. HTTP/2 buffers up to this much
    /// per stream outside the byte budget.
    pub stream_window: u32,
    /// The same for a whole connection; more than one stream's, because one may wait unread.
    pub connection_window: u32,
    /// Largest frame that a client may send. With large frames a request is one slice.
    pub max_frame_size: u32,
    /// Bytes that the windows of all connections may have together. Once they are used up, a
    /// connection gets 64 KiB, the minimum of HTTP/2.
    pub all_windows: u64,
    /// Connections at a time. For one more, the quietest one is closed.
    pub max_connections: usize,
    /// Streams at a time on a connection; `None` means 128, or fewer if its window is small.
    pub max_concurrent_streams: Option<u32>,
    /// Ping an idle HTTP/2 connection after this time.
    pub keepalive_time: Option<Duration>,
    /// Close it if the ping is not answered within this time.
    pub keepalive_timeout: Duration,
    /// Longest time for the headers of an HTTP/1.1 request, for the first request of an HTTP/2
    /// connection, and for a TLS handshake, which has ten seconds at most.
    pub header_timeout: Duration,
    /// Whether an HTTP/1.1 connection serves more than one request.
    pub keep_alive: bool,
    /// Close a connection that has had no request for this time.
    pub max_idle: Option<Duration>,
    /// Close a connection of this age, give or take a tenth, once its requests are answered.
    pub max_age: Option<Duration>,
    /// Longest wait for those requests; `None` means as long as they take.
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
    /// Answers one request.
    fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: Arc<Connection>,
    ) -> impl Future<Output = Response<Reply>> + Send;

    /// Charges bytes for a connection besides its bodies; `None` if nobody keeps an account.
    fn charge(&self, _bytes: usize) -> Option<Permit> {
        None
    }

    /// Notes a connection that ends because its client speaks another protocol, with the reason and
    /// the remedy in words.
    fn note_unserved(&self, _peer: Option<SocketAddr>, _words: &str) {}
}

/// A connection, as the service sees it.
#[derive(Debug)]
pub struct Connection {
    /// Address of the client; `None` on a unix socket.
    pub peer: Option<SocketAddr>,
    has_waiting: AtomicBool,
    /// Requests being answered.
    open: AtomicUsize,
    /// Notified when a request begins.
    begun: Notify,
    answers: Arc<Answers>,
}

impl Connection {
    pub(crate) fn new(peer: Option<SocketAddr>) -> Self {
        let (open, begun) = (AtomicUsize::new(0), Notify::new());
        let answers = Arc::default();
        Connection { peer, has_waiting: AtomicBool::new(false), open, begun, answers }
    }

    /// Waits until a request is being answered.
    async fn asked(&self) {
        let begun = self.begun.notified();
        let mut begun = pin!(begun);
        begun.as_mut().enable();
        if self.open.load(Ordering::SeqCst) == 0 {
            begun.await;
        }
    }

    /// Permission for one request of the connection to wait while its body is not read. HTTP/2
    /// streams share the window of their connection: the bodies of several waiting requests would
    /// fill it, and the bodies that are being read, which hold the memory, could not arrive.
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

/// State that the connections of a listener share.
struct Shared<S> {
    service: Arc<S>,
    tuning: Tuning,
    tls: Option<Arc<Acceptor>>,
    stop: watch::Receiver<bool>,
    successor: Successor,
    hints: Hints,
    windows: Arc<Windows>,
}

impl<S> Shared<S> {
    /// Waits until a connection without a request has to be closed.
    async fn cut_off(&self) {
        let _ = self.stop.clone().wait_for(|raised| *raised).await;
        self.successor.clone().gone().await;
    }
}

/// Resources that a connection holds while it is open.
struct Place {
    peer: Option<SocketAddr>,
    seat: Seat,
    _charge: Option<Permit>,
}

/// Accepts until `stop` is raised, then lets open connections finish their requests.
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
    let (successor, hints) = (listener.successor(), Hints::default());
    let shared = Shared { service, tuning, tls, stop: stop.clone(), successor, hints, windows };
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

/// A connection that gets a seat once its first request has arrived. The time limit for a request's
/// head ends then, because the wait for a seat is not the client's fault.
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

/// Failing to set either option does no harm.
fn set_options(stream: &tokio::net::TcpStream) {
    let _ = stream.set_nodelay(true);
    let keepalive = socket2::TcpKeepalive::new().with_time(TCP_KEEPALIVE);
    let keepalive = keepalive.with_interval(TCP_KEEPALIVE);
    let _ = socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

/// Whether accepting failed for one connection only, so that the next may succeed.
fn is_of_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod handover_tests;
#[cfg(test)]
mod time_limit_tests;
