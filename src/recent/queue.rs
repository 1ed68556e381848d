//! The way in: requests are offered by reference, wait in a queue of fixed size, and are digested
//! by one thread of low priority. Offering never waits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::{
    account::{Account, Charge},
    whole::{self, Recent},
};
use crate::{
    otlp::{Signal, tee::Keep},
    sync,
};

/// Most requests that wait.
const REQUESTS: usize = 1024;
/// How often old chunks are looked for while nothing comes.
const IDLE: Duration = Duration::from_secs(5);
/// How long digesting waits for readers, and how often it looks.
const PATIENCE: Duration = Duration::from_millis(500);
const PEEK: Duration = Duration::from_millis(2);
/// How polite the thread is, from 0 to 19.
const NICE: i32 = 10;

/// A request that waits.
#[derive(Debug)]
struct Waiting {
    signal: Signal,
    body: Bytes,
    /// When it came, nanoseconds since 1970.
    arrival: u64,
    _charge: Charge,
}

/// Requests that wait, and those that could not.
#[derive(Debug)]
pub(super) struct Queue {
    sender: Sender<Waiting>,
    receiver: Receiver<Waiting>,
    account: Arc<Account>,
    refused: AtomicU64,
    started: Instant,
}

impl Queue {
    /// Room for so many bytes of requests, which the caller has set aside.
    pub(super) fn new(bytes: usize) -> Self {
        let (sender, receiver) = crossbeam_channel::bounded(REQUESTS);
        Queue {
            sender,
            receiver,
            account: Account::new(bytes),
            refused: AtomicU64::new(0),
            started: Instant::now(),
        }
    }

    /// Bytes that it takes beside those of requests.
    pub(super) const fn size() -> usize {
        // The channel keeps a stamp beside each.
        REQUESTS * (size_of::<Waiting>() + 8)
    }

    /// Requests for which there was no room.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// How much of it waits beside the request in hand.
    #[expect(clippy::cast_precision_loss, reason = "a fraction needs no exactness")]
    fn fullness(&self, in_hand: usize) -> f64 {
        let used = self.account.used().saturating_sub(in_hand);
        let bytes = used as f64 / self.account.limit().max(1) as f64;
        bytes.max(self.receiver.len() as f64 / REQUESTS as f64)
    }
}

/// What this thread has used of a CPU. Time on the wall would count what others take from it.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

impl Recent {
    /// Offers a request that has passed the check; the bytes are shared, not copied. If there is no
    /// room for it, it is left out and counted. Never waits.
    pub fn offer(&self, signal: Signal, body: &Bytes, arrival: u64) {
        let queue = &self.queue;
        let charge = queue.account.charge(body.len());
        let is_taken = charge.is_some_and(|charge| {
            let waiting = Waiting { signal, body: body.clone(), arrival, _charge: charge };
            queue.sender.try_send(waiting).is_ok()
        });
        if is_taken {
            self.notes.offered();
        } else {
            queue.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Digests what is offered until `is_over` says so, which is asked at least every five seconds.
    /// Meant for a thread of its own, whose priority is lowered.
    pub fn run(&self, is_over: impl Fn() -> bool) {
        // Where it is not allowed the thread is as any other.
        let _ = rustix::process::setpriority_process(None, NICE);
        while !is_over() {
            match self.queue.receiver.recv_timeout(IDLE) {
                Ok(waiting) => self.digest(&waiting),
                Err(RecvTimeoutError::Timeout) => self.locked().expire(whole::now()),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Digests what waits now, and returns.
    pub fn catch_up(&self) {
        while let Ok(waiting) = self.queue.receiver.try_recv() {
            self.digest(&waiting);
        }
    }

    fn digest(&self, waiting: &Waiting) {
        let full = self.queue.fullness(waiting.body.len());
        let begun = Instant::now();
        while sync::lock(&self.store).is_hindered() && begun.elapsed() < PATIENCE {
            thread::sleep(PEEK);
        }
        let shift = sync::lock(&self.governor).shift();
        let begun = cpu_time();
        sync::lock(&self.store).take(waiting.signal, &waiting.body, shift, waiting.arrival);
        self.notes.digested();
        // Notes that waited for it are written down before they fill their queue.
        drop(self.locked());
        let busy = cpu_time().saturating_sub(begun);
        sync::lock(&self.governor).note(self.queue.started.elapsed(), busy, full);
    }
}

impl Keep for Recent {
    fn keep(&self, signal: Signal, request: &Bytes) {
        self.offer(signal, request, whole::now());
    }
}

/// The thread that digests what is offered to a store. It ends when this is dropped.
#[derive(Debug)]
pub struct Digester {
    recent: Arc<Recent>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Digester {
    /// Starts it. The error is that of the system, which has no room for a thread.
    pub fn start(recent: &Arc<Recent>) -> std::io::Result<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let (digested, ends) = (Arc::clone(recent), Arc::clone(&is_over));
        let thread = thread::Builder::new()
            .name("recent".to_owned())
            .spawn(move || digested.run(|| ends.load(Ordering::Relaxed)))?;
        Ok(Digester { recent: Arc::clone(recent), is_over, thread: Some(thread) })
    }
}

impl Drop for Digester {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // It may sleep until something comes. If the queue is full, it does not sleep.
        self.recent.offer(Signal::Traces, &Bytes::new(), whole::now());
        if let Some(thread) = self.thread.take() {
            // A panic was reported where it happened.
            let _ = thread.join();
        }
    }
}
