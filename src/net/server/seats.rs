//! Limits the connections of a listener, and decides which one is closed for another one.
//!
//! A connection costs memory that no body pays for, and a file descriptor, so there is a limit for
//! a port and one for all ports of the process ([`Ports`]). At the limit those are closed that have
//! been quiet for longest, first of all those that never sent a request: a client that opens silent
//! connections pushes out its own. A connection with an open request stays, and so does one that
//! was quiet only for a moment: if all are like that, the newcomer waits, and those behind it wait
//! in the kernel. With half a second as the moment, 3000 connections that never ended their headers
//! made a new client wait for two seconds.
//!
//! HTTP/2 may hold bytes that have not been read, up to the window of each connection. The windows
//! of a listener together have a limit, too: the first connections get large ones, and if there are
//! many, each gets the minimum of the protocol.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::descriptors::Ports;

use crate::sync;

/// The smallest window of a connection in HTTP/2, less one byte.
const LEAST_WINDOW: u32 = 64 * 1024;
/// A stream takes its share of the window; fewer bytes would not be worth a request.
const BYTES_PER_STREAM: u32 = 16 * 1024;
/// Streams at a time on a connection with a large window: the library's number.
const MOST_STREAMS: u32 = 200;
/// Streams at a time on any connection.
const LEAST_STREAMS: u32 = 8;
/// A connection that is quiet for less than this may be about to send a request: most clients do so
/// as soon as they are connected. With 50 ms, a client on a busy machine that was a little late was
/// sometimes closed unheard. With 500 ms and 10 000 connections of one request each, a new client
/// waited for four seconds, with 100 ms for one and a half.
const MOMENT: Duration = Duration::from_millis(100);
/// How often waiting connections look for one that has become quiet.
const LOOK: Duration = Duration::from_millis(5);
/// At the limit one out of this many is closed, so that the list is not read for each newcomer.
const LEAVING: usize = 16;

/// The connections of a listener.
#[derive(Debug)]
pub(super) struct Seats {
    most: usize,
    next: AtomicU64,
    taken: Mutex<HashMap<u64, Arc<Activity>>>,
    freed: Notify,
    ports: Arc<Ports>,
}

/// The limit that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crowd {
    /// The number of connections of a port, which the byte budget pays for.
    Port(usize),
    /// The connections of all ports, with the number of descriptors.
    Process(usize),
}

impl Seats {
    /// At most this many, and not more than `ports` allow together.
    pub(super) fn new(most: usize, ports: &Arc<Ports>) -> Arc<Self> {
        let (next, taken, ports) = (AtomicU64::new(0), Mutex::default(), Arc::clone(ports));
        let seats = Arc::new(Seats { most: most.max(1), next, taken, freed: Notify::new(), ports });
        seats.ports.add(&seats);
        seats
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<u64, Arc<Activity>>> {
        sync::lock(&self.taken)
    }

    /// Current connections.
    pub(super) fn len(&self) -> usize {
        self.taken().len()
    }

    /// The limit because of which another connection has to be closed for the next one.
    pub(super) fn crowd(&self) -> Option<Crowd> {
        if self.len() >= self.most {
            return Some(Crowd::Port(self.most));
        }
        self.ports.are_full().then(|| Crowd::Process(self.ports.descriptors()))
    }

    /// Closes some connections of any port, because no descriptors are left.
    pub(super) fn make_room(&self) {
        self.ports.clear_some();
    }

    /// Waits for a seat for a new connection.
    pub(super) async fn wait(self: &Arc<Self>) -> Seat {
        loop {
            if let Some(seat) = self.take() {
                return seat;
            }
            let _ = tokio::time::timeout(LOOK, self.freed.notified()).await;
        }
    }

    /// A seat for a new connection; `None` if all others have, or just had, a request.
    fn take(self: &Arc<Self>) -> Option<Seat> {
        match self.crowd() {
            Some(Crowd::Port(_)) => self.clear_some(),
            Some(Crowd::Process(_)) => self.ports.clear_some(),
            None => {}
        }
        let activity = Arc::new(Activity::default());
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut taken = self.taken();
        if taken.len() >= self.most || !self.ports.claim() {
            return None;
        }
        taken.insert(number, Arc::clone(&activity));
        Some(Seat { number, activity, seats: Arc::clone(self) })
    }

    /// Tells those that have been quiet for longest to leave.
    pub(super) fn clear_some(&self) {
        let mut taken = self.taken();
        let some = (taken.len() / LEAVING).max(1);
        let quiet = taken.iter().filter_map(|(number, activity)| {
            let since = activity.quiet_since().filter(|since| since.elapsed() >= MOMENT)?;
            Some((activity.has_asked(), since, *number))
        });
        let mut quiet: Vec<_> = quiet.collect();
        quiet.sort_unstable();
        for (_, _, number) in quiet.into_iter().take(some) {
            if let Some(activity) = taken.remove(&number) {
                self.ports.give_back();
                activity.leave.notify_one();
            }
        }
    }
}

/// One connection among [`Seats`]; free when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    number: u64,
    pub(super) activity: Arc<Activity>,
    seats: Arc<Seats>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.seats.taken().remove(&self.number).is_some() {
            self.seats.ports.give_back();
        }
        self.seats.freed.notify_one();
    }
}

/// The open requests of a connection, and when the last one ended.
#[derive(Debug)]
pub(super) struct Activity {
    open: AtomicUsize,
    has_asked: AtomicBool,
    quiet_since: Mutex<Instant>,
    leave: Notify,
}

impl Default for Activity {
    fn default() -> Self {
        Activity {
            open: AtomicUsize::new(0),
            has_asked: AtomicBool::new(false),
            quiet_since: Mutex::new(Instant::now()),
            leave: Notify::new(),
        }
    }
}

impl Activity {
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.has_asked.store(true, Ordering::Relaxed);
        self.work()
    }

    /// Counts work before the first request, during which the connection is not quiet.
    pub(super) fn work(self: &Arc<Self>) -> Busy {
        self.open.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// Whether there was a request.
    pub(super) fn has_asked(&self) -> bool {
        self.has_asked.load(Ordering::Relaxed)
    }

    /// Since when there has been no request; `None` while there is one.
    pub(super) fn quiet_since(&self) -> Option<Instant> {
        let since = *sync::lock(&self.quiet_since);
        (self.open.load(Ordering::Relaxed) == 0).then_some(since)
    }

    /// Waits until the connection has to be closed for another one.
    pub(super) async fn told_to_leave(&self) {
        self.leave.notified().await;
    }
}

/// An open request, or other work.
pub(super) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        *sync::lock(&self.0.quiet_since) = Instant::now();
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The bytes that are left for the windows of HTTP/2 connections.
#[derive(Debug)]
pub(super) struct Windows(AtomicU64);

impl Windows {
    pub(super) fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Windows(AtomicU64::new(bytes)))
    }

    /// The window of a new connection: a quarter of the rest, but at most `most`.
    pub(super) fn take(self: &Arc<Self>, most: u32) -> Window {
        let least = LEAST_WINDOW.min(most);
        let share = |left: u64| (left / 4).clamp(u64::from(least), u64::from(most));
        let update = |left: u64| Some(left.saturating_sub(share(left)));
        let left = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
        let left = left.unwrap_or_else(|left| left);
        let bytes = u32::try_from(share(left)).unwrap_or(most);
        Window { bytes, taken: share(left).min(left), windows: Arc::clone(self) }
    }
}

/// See [`Windows::take`].
#[derive(Debug)]
pub(super) struct Window {
    /// Bytes of the connection that may be in flight.
    pub(super) bytes: u32,
    /// Bytes to give back.
    taken: u64,
    windows: Arc<Windows>,
}

impl Window {
    /// The window of one stream: half of it, because one may wait unread.
    pub(super) fn of_stream(&self, most: u32) -> u32 {
        (self.bytes / 2).min(most)
    }

    /// Streams at a time.
    pub(super) fn streams(&self) -> u32 {
        (self.bytes / BYTES_PER_STREAM).clamp(LEAST_STREAMS, MOST_STREAMS)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.windows.0.fetch_add(self.taken, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn later() {
        tokio::time::advance(Duration::from_secs(1)).await;
    }

    async fn has_to_leave(seat: &Seat) -> bool {
        tokio::time::timeout(Duration::ZERO, seat.activity.told_to_leave()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn the_quietest_goes_and_first_of_all_who_never_asked() {
        let seats = Seats::new(3, &Ports::new(1000));
        let asked = seats.take().unwrap();
        drop(asked.activity.begin());
        later().await;
        let silent = seats.take().unwrap();
        later().await;
        let newer = seats.take().unwrap();
        assert_eq!(seats.crowd(), Some(Crowd::Port(3)));
        let _first = seats.take().unwrap();
        assert!(has_to_leave(&silent).await && !has_to_leave(&newer).await);
        later().await;
        let _second = seats.take().unwrap();
        assert!(has_to_leave(&newer).await && !has_to_leave(&asked).await, "who asked goes last");
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_are_busy_or_just_were_the_newcomer_waits() {
        let seats = Seats::new(2, &Ports::new(1000));
        let (one, two) = (seats.take().unwrap(), seats.take().unwrap());
        let (busy, _busy) = (one.activity.begin(), two.activity.begin());
        later().await;
        assert!(seats.take().is_none());
        drop(busy);
        assert!(seats.take().is_none());
        let begin = Instant::now();
        drop(seats.wait().await);
        assert!(begin.elapsed() >= MOMENT && begin.elapsed() < MOMENT + 2 * LOOK);
        assert!(has_to_leave(&one).await && !has_to_leave(&two).await);
        drop(two);
        assert_eq!(seats.crowd(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn connections_without_a_request_are_closed_after_a_moment() {
        let seats = Seats::new(1, &Ports::new(1000));
        let silent = seats.take().unwrap();
        assert!(seats.take().is_none());
        let begin = Instant::now();
        drop(seats.wait().await);
        assert!(begin.elapsed() < MOMENT + 2 * LOOK && has_to_leave(&silent).await);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_goes_who_waits_for_us() {
        let seats = Seats::new(1, &Ports::new(1000));
        let shaking_hands = seats.take().unwrap();
        let work = shaking_hands.activity.work();
        later().await;
        assert!(seats.take().is_none());
        drop(work);
        assert!(seats.take().is_none(), "it has its moment to go on");
        drop(seats.wait().await);
        assert!(has_to_leave(&shaking_hands).await, "it did not ask");
    }

    #[tokio::test(start_paused = true)]
    async fn ports_share_the_descriptors_and_the_largest_makes_room() {
        let ports = Ports::new(12);
        let (large, small) = (Seats::new(100, &ports), Seats::new(100, &ports));
        let own = small.take().unwrap();
        let mut others: Vec<_> = (0..8).map(|_| large.take().unwrap()).collect();
        assert_eq!(small.crowd(), Some(Crowd::Process(12)));
        later().await;
        let newcomer = small.take().unwrap();
        assert!(has_to_leave(&others.remove(0)).await && !has_to_leave(&own).await);
        assert_eq!((small.len(), large.len()), (2, 7));
        drop((own, newcomer, others));
        assert_eq!((small.crowd(), small.len(), large.len()), (None, 0, 0));
        // All of them can be had again.
        let again: Vec<_> = (0..9).map(|_| small.take().unwrap()).collect();
        assert!(small.take().is_none() && again.len() == 9);
    }

    #[test]
    fn windows_shrink_with_the_number_of_connections_and_come_back() {
        let windows = Windows::new(8 << 20);
        let many: Vec<Window> = (0..100).map(|_| windows.take(2 << 20)).collect();
        assert_eq!((many[0].bytes, many[0].of_stream(1 << 20)), (2 << 20, 1 << 20));
        assert_eq!((many[0].streams(), many[99].streams()), (128, LEAST_STREAMS));
        assert_eq!(many[99].bytes, LEAST_WINDOW);
        let sum: u64 = many.iter().map(|window| u64::from(window.bytes)).sum();
        assert!(sum <= (8 << 20) + 100 * u64::from(LEAST_WINDOW), "{sum}");
        drop(many);
        assert_eq!(windows.0.load(Ordering::Relaxed), 8 << 20);
    }
}
