//! The socket of the datagrams, and how they come to the workers.
//!
//! ```text
//! socket -> read: permit or drop -> bounded queue -> translate: all that wait -> one payload
//! ```
//!
//! Reading does nothing else, so that the kernel has to drop as little as possible. Senders never
//! get an answer, so every loss is counted: by the kernel in `/proc/net/udp`, by skep if the budget
//! or the queue has no room or the datagram makes no sense.

use std::{
    fs, io,
    net::SocketAddr,
    os::fd::{AsRawFd as _, RawFd},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::{
    net::UdpSocket,
    sync::mpsc::{Receiver, Sender},
    task::JoinSet,
    time::MissedTickBehavior,
};

use super::{segment, stats::DatagramStats};
use crate::{
    component::{Admission, Arrival, Caller, Inlet, Rejection, Stop},
    net::{rate_limit::RateLimit, server::Sockets},
    otlp::{
        Signal,
        payload::{Permit, Reason, Wait},
    },
    receivers::translated::Translated,
    telemetry::{ReceiverStats, Refused},
};

/// Largest datagram, and a byte more than IPv4 can carry.
const BUFFER: usize = 64 * 1024;

/// A payload is submitted when it has this many bytes, or when no datagram waits.
const ENOUGH: usize = 1 << 20;

/// Payloads that are submitted at a time.
const IN_FLIGHT: usize = 4;

/// Said of a datagram that found the queue of the receiver full.
const TOO_MANY: &str = "too many datagrams wait to be read; raise `queue_size`, or send less";

/// How often the kernel is asked for its drops.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// A datagram that waits to be translated.
#[derive(Debug)]
pub(super) struct Waiting {
    bytes: Bytes,
    peer: SocketAddr,
    permit: Permit,
}

/// Counters that the parts of a receiver share.
#[derive(Debug, Clone)]
pub(super) struct Counters {
    pub(super) requests: Arc<ReceiverStats>,
    pub(super) datagrams: Arc<DatagramStats>,
}

/// An open socket.
#[derive(Debug)]
pub(super) struct Datagrams {
    socket: UdpSocket,
    /// Bytes of its buffer, as the kernel counts them: twice what was asked for.
    pub(super) buffer: usize,
}

impl Datagrams {
    /// Opens a socket whose buffer has `buffer` bytes, or as many as the system allows. Call within
    /// a tokio runtime.
    pub(super) fn open(
        address: SocketAddr,
        buffer: usize,
        sockets: &mut Sockets,
    ) -> io::Result<Self> {
        let socket = sockets.udp(address, || {
            let domain = Domain::for_address(address);
            let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
            socket.set_nonblocking(true)?;
            socket.set_recv_buffer_size(buffer)?;
            socket.bind(&address.into())?;
            Ok(socket.into())
        })?;
        // A socket that was open before a reload may have another size.
        let kernel = SockRef::from(&socket);
        kernel.set_recv_buffer_size(buffer)?;
        let buffer = kernel.recv_buffer_size()?;
        Ok(Datagrams { socket, buffer })
    }

    /// The address that is open.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Reads until `stop` is raised, and then the datagrams that have already arrived.
    pub(super) async fn read(
        self,
        inlet: Arc<dyn Inlet>,
        counters: Counters,
        queue: Sender<Waiting>,
        mut stop: Stop,
    ) {
        let kernel = KernelDrops::new(self.socket.as_raw_fd());
        let mut buffer = vec![0; BUFFER];
        let mut look = tokio::time::interval(CHECK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let intake = Intake { inlet, counters, queue };
        loop {
            tokio::select! {
                received = self.socket.recv_from(&mut buffer) => match received {
                    Ok((len, peer)) => intake.take(&buffer[..len], peer),
                    // The kernel reports an ICMP message or a lack of memory; the socket stays
                    // open.
                    Err(error) => {
                        tracing::debug!(%error, "a datagram could not be read");
                        tokio::task::yield_now().await;
                    }
                },
                _ = look.tick() => kernel.count(&intake.counters.datagrams),
                () = stop.raised() => break,
            }
        }
        // The socket is read directly, since tokio may not know of the last datagrams yet.
        kernel.count(&intake.counters.datagrams);
        let Ok(socket) = self.socket.into_std() else { return };
        while let Ok((len, peer)) = socket.recv_from(&mut buffer) {
            intake.take(&buffer[..len], peer);
        }
        kernel.count(&intake.counters.datagrams);
    }
}

/// Takes datagrams that have been read.
struct Intake {
    inlet: Arc<dyn Inlet>,
    counters: Counters,
    queue: Sender<Waiting>,
}

impl Intake {
    fn take(&self, bytes: &[u8], peer: SocketAddr) {
        if bytes.is_empty() {
            return;
        }
        let stats = &self.counters.datagrams;
        stats.received.add(1);
        // Twice the bytes, because the datagram is held until its spans have been made.
        let admission = Arc::clone(&self.inlet).admission(Signal::Traces);
        let lost = match admission.and_then(|admission| admission.try_permit(bytes.len() * 2)) {
            Ok(Some(permit)) => {
                let bytes = Bytes::copy_from_slice(bytes);
                let sent = self.queue.try_send(Waiting { bytes, peer, permit });
                sent.is_err().then_some((&stats.queue_full, TOO_MANY))
            }
            Err(Rejection::Unavailable(reason @ Reason::QueueFull, _)) => {
                Some((&stats.queue_full, reason.sentence()))
            }
            Ok(None) | Err(_) => Some((&stats.over_budget, Reason::OverBudget.sentence())),
        };
        if let Some((number, words)) = lost {
            number.add(1);
            self.counters.requests.turn_away(&caller(peer), Refused::NoRoom, words);
        }
    }
}

/// What the table of senders is told of a client.
fn caller(peer: SocketAddr) -> Caller {
    let foreign = Some("segments");
    Caller { transport: "udp", peer: Some(peer), foreign, ..Caller::default() }
}

/// Turns waiting datagrams into payloads, until the socket is no longer read.
pub(super) async fn translate(
    mut queue: Receiver<Waiting>,
    inlet: Arc<dyn Inlet>,
    counters: Counters,
) {
    let mut in_flight = JoinSet::new();
    let wrong = RateLimit::default();
    while let Some(first) = queue.recv().await {
        let Some(gathered) = gather(first, &mut queue, &counters, &wrong) else { continue };
        if in_flight.len() >= IN_FLIGHT {
            in_flight.join_next().await;
        }
        match Arc::clone(&inlet).admission(Signal::Traces) {
            // The engine counts refusals.
            Ok(admission) => {
                let arrival = gathered.into_arrival(&*admission, Arc::clone(&counters.requests));
                drop(in_flight.spawn(admission.submit(arrival)));
            }
            Err(_) => counters.requests.rejected_requests.add(1),
        }
    }
    while in_flight.join_next().await.is_some() {}
}

/// The body of a payload, made from datagrams.
struct Gathered {
    body: Vec<u8>,
    permit: Permit,
    /// Sender of the first datagram.
    peer: SocketAddr,
}

impl Gathered {
    fn into_arrival(self, admission: &dyn Admission, stats: Arc<ReceiverStats>) -> Arrival {
        let made = Translated {
            signal: Signal::Traces,
            body: self.body.into(),
            permit: self.permit,
            caller: caller(self.peer),
            wait: Wait::Acceptance,
        };
        made.arrival(admission, stats)
    }
}

/// Makes one payload of the first datagram and those that wait behind it.
fn gather(
    first: Waiting,
    queue: &mut Receiver<Waiting>,
    counters: &Counters,
    wrong: &RateLimit,
) -> Option<Gathered> {
    let peer = first.peer;
    let paid = first.permit.clone();
    let mut permits = Vec::new();
    let mut body = Vec::new();
    let mut next = Some(first);
    while let Some(Waiting { bytes, peer, permit }) = next {
        permits.push(permit);
        let stats = &counters.datagrams;
        match segment::datagram(&bytes, &mut body) {
            Ok(translated) => {
                stats.repaired.add(translated.repairs);
                stats.skipped.add(translated.skipped);
            }
            Err(error) => {
                stats.malformed.add(1);
                let words = format!("a datagram is not a segment: {error}");
                counters.requests.turn_away(&caller(peer), Refused::Wrong, &words);
                if wrong.is_due() {
                    tracing::warn!(
                        receiver = %stats.id, %peer, %error,
                        "a datagram is not a segment; more of them are only counted for a minute"
                    );
                }
            }
        }
        next = if body.len() < ENOUGH { queue.try_recv().ok() } else { None };
    }
    if body.is_empty() {
        return None;
    }
    body.shrink_to_fit();
    // Needs no wait, because the datagrams are dropped in exchange. An eighth more, as `cost` has
    // it.
    let permit = paid.more((body.len() + body.len() / 8) as u64);
    drop((paid, permits));
    Some(Gathered { body, permit, peer })
}

/// Reads from the kernel how many datagrams of a socket it has dropped.
struct KernelDrops {
    /// The socket's inode; `None` without `/proc`.
    inode: Option<String>,
}

impl KernelDrops {
    fn new(socket: RawFd) -> Self {
        let link = fs::read_link(format!("/proc/self/fd/{socket}")).ok();
        let name = link.as_ref().and_then(|link| link.to_str());
        let inode = name.and_then(|name| name.strip_prefix("socket:[")?.strip_suffix(']'));
        KernelDrops { inode: inode.map(str::to_owned) }
    }

    fn count(&self, stats: &DatagramStats) {
        let Some(inode) = &self.inode else { return };
        let tables = ["/proc/self/net/udp", "/proc/self/net/udp6"];
        let mut tables = tables.iter().filter_map(|table| fs::read_to_string(table).ok());
        if let Some(drops) = tables.find_map(|table| drops(&table, inode)) {
            stats.kernel.set(drops);
        }
    }
}

/// The last column of a socket's line: datagrams that found its buffer full (Linux,
/// `udp4_format_sock`).
fn drops(table: &str, inode: &str) -> Option<u64> {
    let line = table.lines().find(|line| line.split_whitespace().nth(9) == Some(inode))?;
    line.split_whitespace().nth(12)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    };

    use super::*;
    use crate::{
        component::{BoxFuture, Reply},
        otlp::{
            check::{self, Utf8},
            payload::Ledger,
        },
        telemetry::Telemetry,
    };

    #[test]
    fn the_line_of_a_socket_is_found_by_its_inode() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
 1041: 0100007F:07D0 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 31415 2 0000000000000000 27
";
        assert_eq!(drops(table, "31415"), Some(27));
        assert_eq!(drops(table, "2"), None);
    }

    /// A budget, and what was handed in.
    #[derive(Debug, Default)]
    struct Engine {
        free: AtomicU64,
        arrivals: Mutex<Vec<(Bytes, u64)>>,
    }

    impl Ledger for Engine {
        fn try_charge(&self, bytes: u64) -> bool {
            let left = |free: u64| free.checked_sub(bytes);
            self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok()
        }

        fn charge(&self, bytes: u64) {
            self.free.fetch_sub(bytes, Ordering::Relaxed);
        }

        fn give_back(&self, bytes: u64) {
            self.free.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    struct FakeInlet(Arc<Engine>);

    impl Inlet for FakeInlet {
        fn admission(self: Arc<Self>, _: Signal) -> Result<Box<dyn Admission>, Rejection> {
            Ok(Box::new(FakeInlet(Arc::clone(&self.0))))
        }
    }

    impl Admission for FakeInlet {
        fn try_permit(&self, bytes: usize) -> Result<Option<Permit>, Rejection> {
            let engine: Arc<Engine> = Arc::clone(&self.0);
            let is_free = engine.try_charge(bytes as u64);
            Ok(is_free.then(|| Permit::charged(bytes as u64, engine)))
        }

        fn permit(&self, _: usize) -> BoxFuture<Result<Permit, Rejection>> {
            unreachable!("nothing waits")
        }

        fn submit(&self, arrival: Arrival) -> BoxFuture<Reply> {
            assert_eq!(arrival.stats.transport, "udp");
            let paid = arrival.permit.bytes();
            self.0.arrivals.lock().unwrap().push((arrival.body, paid));
            Box::pin(std::future::ready(Ok(())))
        }

        fn wants_context(&self) -> bool {
            false
        }
    }

    #[tokio::test]
    async fn what_waits_becomes_one_payload_and_what_is_lost_is_counted() {
        let engine = Arc::new(Engine { free: 10_000.into(), ..Engine::default() });
        let inlet: Arc<dyn Inlet> = Arc::new(FakeInlet(Arc::clone(&engine)));
        let datagrams = Arc::new(DatagramStats::default());
        let requests = Telemetry::default().receiver("awsxray", Signal::Traces, "udp");
        let counters = Counters { requests, datagrams: Arc::clone(&datagrams) };
        let (queue, waiting) = tokio::sync::mpsc::channel(4);
        let intake = Intake { inlet: Arc::clone(&inlet), counters: counters.clone(), queue };
        let peer = ([127, 0, 0, 1], 1).into();
        let segment = "{\"format\":\"json\",\"version\":1}\n{\"name\":\"n\",\"id\":\"1111111111111111\",\
            \"trace_id\":\"1-68f0a1b2-c3d4e5f60718293a4b5c6d7e\",\"start_time\":1}";
        intake.take(&[b'x'; 6000], peer);
        for _ in 0..3 {
            intake.take(segment.as_bytes(), peer);
        }
        intake.take(b"no segment", peer);
        intake.take(b"", peer);
        intake.take(b"no room", peer);
        let lost = |stats: &DatagramStats| {
            [&stats.received, &stats.over_budget, &stats.queue_full, &stats.malformed]
                .map(crate::telemetry::Counter::read)
        };
        assert_eq!(lost(&datagrams), [6, 1, 1, 0]);
        let requests = Arc::clone(&intake.counters.requests);
        drop(intake);
        translate(waiting, inlet, counters).await;
        assert_eq!(lost(&datagrams), [6, 1, 1, 1]);
        assert_eq!(requests.rejected_requests.read(), 3);
        let arrivals = engine.arrivals.lock().unwrap();
        let [(body, paid)] = &arrivals[..] else { panic!("one payload") };
        let checked = check::check(Signal::Traces, body, Utf8::Strict).unwrap();
        assert_eq!(checked.items, 3);
        assert!(*paid >= body.len() as u64);
        assert_eq!(engine.free.load(Ordering::Relaxed), 10_000, "all is given back");
    }

    #[tokio::test]
    async fn what_the_kernel_drops_is_counted() {
        let datagrams =
            Datagrams::open(([127, 0, 0, 1], 0).into(), 4096, &mut Sockets::default()).unwrap();
        let kernel = KernelDrops::new(datagrams.socket.as_raw_fd());
        let sender = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = datagrams.address().unwrap();
        for _ in 0..100 {
            sender.send_to(&[0; 2000], address).await.unwrap();
        }
        let mut read = 0;
        let socket = datagrams.socket.into_std().unwrap();
        while socket.recv(&mut [0; 2000]).is_ok() {
            read += 1;
        }
        let stats = DatagramStats::default();
        kernel.count(&stats);
        assert_eq!(stats.kernel.read() + read, 100);
        assert!(read < 100, "the buffer is small");
    }
}
