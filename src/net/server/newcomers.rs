//! Connections that have found all seats taken. They wait here until their first request has
//! arrived.
//!
//! A connection without a request should keep nobody out. So if no seat is free, a new connection
//! gets one only once it has sent a whole head: of HTTP/1.1, or the preface of HTTP/2, or the first
//! message of TLS. Until then its bytes stay in the kernel and are only peeked at. A newcomer
//! takes a task of a KiB and a descriptor, so there can be several for each seat. If there are too
//! many, the one that has been silent for longest is closed.
//!
//! Without this, 3000 connections that never ended their headers and came again made a new client
//! wait for two seconds in the median, on a port of 256 seats; with it 13 ms.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use rustix::net::{RecvFlags, recv};
use tokio::{io::Interest, sync::Notify};

use super::{
    descriptors::Ports,
    listener::Accepted,
    seats::{Seat, Seats},
    serving::{READ_BUFFER, TLS_HANDSHAKE},
};

use crate::sync;

/// Newcomers for each seat.
const FOR_EACH_SEAT: usize = 4;
/// At the limit one out of this many is told to leave, so that tasks are not switched for each.
const LEAVING: usize = 16;
/// The charge for a newcomer.
pub(super) const NEWCOMER: usize = 2 * 1024;

/// Bytes of a head that are looked at: as many as the read buffer of HTTP/1.1 has.
const LOOK: usize = READ_BUFFER;
/// The first bytes of an HTTP/2 client.
const PREFACE: usize = 24;

/// The newcomers of a listener.
#[derive(Debug)]
pub(super) struct Newcomers {
    most: usize,
    ports: Arc<Ports>,
    state: Mutex<State>,
    /// Notified when all that were told to leave have left.
    answered: Notify,
    /// Newcomers with a request get seats in turn.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// Those whose first request has not arrived, in order of arrival.
    silent: BTreeMap<u64, Arc<Notify>>,
    /// Those that were told to leave, unless their request arrives after all.
    told: usize,
    /// Those that wait for a seat.
    ready: usize,
}

impl Newcomers {
    /// Newcomers for this many seats.
    pub(super) fn new(seats: usize, ports: &Arc<Ports>) -> Arc<Self> {
        Arc::new(Newcomers {
            most: seats.saturating_mul(FOR_EACH_SEAT),
            ports: Arc::clone(ports),
            state: Mutex::default(),
            answered: Notify::new(),
            turn: tokio::sync::Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        sync::lock(&self.state)
    }

    /// A place for one more; `None` if all newcomers have a request, or there are no descriptors.
    pub(super) async fn enter(self: &Arc<Self>) -> Option<Newcomer> {
        loop {
            if let Some(newcomer) = self.take() {
                return Some(newcomer);
            }
            if !self.clear_some() {
                return None;
            }
            self.answered.notified().await;
        }
    }

    fn take(self: &Arc<Self>) -> Option<Newcomer> {
        let mut state = self.state();
        if state.silent.len() + state.told + state.ready >= self.most || !self.ports.claim() {
            return None;
        }
        let (number, leave) = (state.next, Arc::new(Notify::new()));
        state.next += 1;
        state.silent.insert(number, Arc::clone(&leave));
        Some(Newcomer { number, leave, is_ready: false, all: Arc::clone(self) })
    }

    /// Tells those that have been silent for longest to leave. Returns whether there are any.
    fn clear_some(&self) -> bool {
        let mut state = self.state();
        if state.told == 0 {
            for _ in 0..(self.most / LEAVING).max(1) {
                let Some((_, leave)) = state.silent.pop_first() else { break };
                state.told += 1;
                leave.notify_one();
            }
        }
        state.told > 0
    }

    /// Removes a newcomer from the silent ones.
    fn leaves_the_silent(&self, state: &mut State, number: u64) {
        if state.silent.remove(&number).is_none() {
            state.told -= 1;
            if state.told == 0 {
                self.answered.notify_one();
            }
        }
    }
}

/// One of [`Newcomers`].
#[derive(Debug)]
pub(super) struct Newcomer {
    number: u64,
    leave: Arc<Notify>,
    is_ready: bool,
    all: Arc<Newcomers>,
}

impl Newcomer {
    /// Waits for the first request; `None` if the connection ends or has to leave.
    pub(super) async fn asked(mut self, connection: &Accepted) -> Option<Self> {
        tokio::select! {
            biased;
            asked = has_asked(connection) => asked.ok()?,
            // The kernel may have the request before tokio knows. Otherwise, with thousands of
            // connections at once, good clients were closed unheard.
            () = self.leave.notified() => look_at(connection).ok()?,
        }
        {
            let mut state = self.all.state();
            self.all.leaves_the_silent(&mut state, self.number);
            state.ready += 1;
        }
        self.is_ready = true;
        Some(self)
    }

    /// Waits for a seat, in turn.
    pub(super) async fn seat(self, seats: &Arc<Seats>) -> Seat {
        let _turn = self.all.turn.lock().await;
        seats.wait().await
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        let mut state = self.all.state();
        if self.is_ready {
            state.ready -= 1;
        } else {
            self.all.leaves_the_silent(&mut state, self.number);
        }
        self.all.ports.give_back();
    }
}

/// Waits for the head of the first request; an error if the connection ends before.
async fn has_asked(connection: &Accepted) -> io::Result<()> {
    loop {
        let ready = match connection {
            Accepted::Tcp(stream, _) => stream.ready(Interest::READABLE).await?,
            Accepted::Unix(stream) => stream.ready(Interest::READABLE).await?,
        };
        let looked = match connection {
            Accepted::Tcp(stream, _) => stream.try_io(Interest::READABLE, || look(stream)),
            Accepted::Unix(stream) => stream.try_io(Interest::READABLE, || look(stream)),
        };
        match looked {
            // The rest will not arrive, and the socket stays readable.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && ready.is_read_closed() => {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
    }
}

fn look_at(connection: &Accepted) -> io::Result<()> {
    match connection {
        Accepted::Tcp(stream, _) => look(stream),
        Accepted::Unix(stream) => look(stream),
    }
}

/// Peeks at the received bytes; `WouldBlock` until they are a whole head.
fn look(socket: &impl std::os::fd::AsFd) -> io::Result<()> {
    let mut buffer = [0; LOOK];
    let (len, _) = recv(socket, &mut buffer[..], RecvFlags::PEEK)?;
    if len == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if is_head(&buffer[..len]) { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
}

fn is_head(bytes: &[u8]) -> bool {
    let has_line = |end: &[u8]| bytes.windows(end.len()).any(|window| window == end);
    match bytes {
        [TLS_HANDSHAKE, _, _, high, low, rest @ ..] => {
            rest.len() >= usize::from(u16::from_be_bytes([*high, *low])).min(LOOK - 5)
        }
        [TLS_HANDSHAKE, ..] => false,
        [b'P', b'R', b'I', ..] => bytes.len() >= PREFACE,
        _ => bytes.len() >= LOOK || has_line(b"\n\r\n") || has_line(b"\n\n"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::AsyncWriteExt as _,
        net::{TcpListener, TcpStream},
        time::timeout,
    };

    use super::*;

    #[test]
    fn a_head_is_whole_when_a_request_can_begin() {
        let hello = [&[22, 3, 1, 0, 4][..], &[1; 4]].concat();
        let heads: [&[u8]; 4] = [
            b"POST / HTTP/1.1\r\nhost: x\r\n\r\n",
            b"POST / HTTP/1.1\n\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            &hello,
        ];
        for head in heads {
            assert!(is_head(head) && is_head(&[head, b"more"].concat()));
            for len in 0..head.len() - 1 {
                assert!(!is_head(&head[..len]), "{:?}", &head[..len]);
            }
        }
        assert!(is_head(&[b'x'; LOOK]), "nobody waits for more than is read");
        assert!(is_head(&[&[22, 3, 1, 255, 255][..], &[1; LOOK - 5]].concat()));
    }

    /// A connection, as a listener has it, and the client's side.
    async fn connection(listener: &TcpListener) -> (Accepted, TcpStream) {
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (stream, peer) = accepted.unwrap();
        (Accepted::Tcp(stream, peer), client.unwrap())
    }

    #[tokio::test]
    async fn who_sends_a_head_gets_a_seat_and_who_does_not_goes_first() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ports = Ports::new(1000);
        let (seats, all) = (Seats::new(1, &ports), Newcomers::new(1, &ports));
        let mut slow = Vec::new();
        for _ in 0..FOR_EACH_SEAT {
            let (server, mut client) = connection(&listener).await;
            client.write_all(b"POST / HTTP/1.1\r\n").await.unwrap();
            slow.push((all.take().unwrap(), server, client));
        }
        let (server, mut client) = connection(&listener).await;
        let (first, its, its_client) = slow.remove(0);
        let (good, gone) = tokio::join!(all.enter(), first.asked(&its));
        assert!(gone.is_none(), "it had to go for the good one");
        drop(its_client);
        let good = good.expect("the first one has gone");
        client.write_all(b"POST / HTTP/1.1\r\n").await.unwrap();
        let seated = async {
            client.write_all(b"\r\n").await.unwrap();
            good.asked(&server).await
        };
        let seat = seated.await.expect("its head is there").seat(&seats).await;
        // The others are neither seated nor gone.
        let count = |state: MutexGuard<'_, State>| (state.silent.len(), state.ready);
        assert_eq!(count(all.state()), (FOR_EACH_SEAT - 1, 0));
        let (newcomer, server, client) = slow.remove(0);
        // With a part of its head unread.
        drop(client);
        assert!(newcomer.asked(&server).await.is_none(), "its client has gone");
        drop((slow, seat));
        assert!(all.state().silent.is_empty());
        let claimed: Vec<_> = std::iter::from_fn(|| ports.claim().then_some(())).collect();
        assert_eq!(claimed.len(), 750, "every descriptor is given back");
    }

    #[tokio::test]
    async fn who_is_told_to_go_stays_if_the_request_is_there_by_then() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ports = Ports::new(1000);
        let all = Newcomers::new(1, &ports);
        let mut told = Vec::new();
        for _ in 0..FOR_EACH_SEAT {
            let (server, mut client) = connection(&listener).await;
            client.write_all(b"POST / HTTP/1.1\r\n\r\n").await.unwrap();
            told.push((all.take().unwrap(), server, client));
        }
        assert!(all.take().is_none() && all.clear_some());
        assert_eq!(all.state().told, 1);
        for (newcomer, server, _client) in told {
            assert!(newcomer.asked(&server).await.is_some());
        }
        let state = all.state();
        assert_eq!((state.silent.len(), state.told, state.ready), (0, 0, 0));
        let claimed: Vec<_> = std::iter::from_fn(|| ports.claim().then_some(())).collect();
        assert_eq!(claimed.len(), 750, "every descriptor is given back");
    }

    #[tokio::test]
    async fn nobody_goes_whose_request_is_there() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ports = Ports::new(1000);
        let (seats, all) = (Seats::new(1, &ports), Newcomers::new(1, &ports));
        let sitting = seats.wait().await;
        let busy = sitting.activity.begin();
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..FOR_EACH_SEAT {
            let (server, mut client) = connection(&listener).await;
            client.write_all(b"POST / HTTP/1.1\r\n\r\n").await.unwrap();
            let (newcomer, seats) = (all.take().unwrap(), Arc::clone(&seats));
            waiting.spawn(async move {
                let _seat = newcomer.asked(&server).await?.seat(&seats).await;
                drop(client);
                Some(())
            });
        }
        let all_ready = async {
            while all.state().ready < FOR_EACH_SEAT {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_mins(1), all_ready).await.unwrap();
        assert!(all.enter().await.is_none(), "the next one waits in the kernel");
        drop((busy, sitting));
        assert_eq!(waiting.join_all().await, [Some(()); FOR_EACH_SEAT]);
    }
}
