//! Writes text to outputs that may block: standard output, standard error, a file. A bounded buffer
//! takes the text and a separate thread writes it. So a pipe with a stuck reader costs lines, which
//! are counted, but never blocks a worker.
//!
//! Why not `tracing-appender`: its queue is limited by lines, not by bytes, and the wait at the end
//! is not limited.

use std::{
    io::{self, Write},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::sync::lock;

/// Limit of bytes in the buffer, including those that the thread is writing.
const LIMIT: usize = 1 << 20;
/// Largest write.
const PIECE: usize = 64 << 10;
/// After this time without progress, callers no longer wait for room.
const PATIENCE: Duration = Duration::from_secs(1);
/// At the end of the process: longest wait without progress, and in total.
const LAST_PATIENCE: Duration = Duration::from_millis(300);
const LAST_LIMIT: Duration = Duration::from_secs(2);

/// An output. Its thread ends when the last handle is dropped and everything is written.
#[derive(Debug)]
pub struct Outlet {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    state: Mutex<State>,
    /// There is something to write, or the end.
    filled: Condvar,
    /// Something was written.
    drained: Condvar,
    /// The same for tasks.
    has_room: Notify,
    lost: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// Bytes that the thread has taken and not written yet.
    in_hand: usize,
    /// Bytes written so far.
    written: u64,
    /// Lost lines that were not logged yet.
    untold: u64,
    /// Nothing was written for so long that callers no longer wait.
    is_stuck: bool,
    is_closed: bool,
    /// Why the last write failed.
    error: Option<io::Error>,
}

impl State {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.in_hand == 0
    }

    fn has_room(&self, len: usize) -> bool {
        self.waiting.len() + self.in_hand + len <= LIMIT
    }
}

/// The counters of lost lines, by the names of outlets.
static LOST: Mutex<Vec<(String, Arc<AtomicU64>)>> = Mutex::new(Vec::new());

/// Lines lost so far, by the names of outlets.
pub fn lost() -> Vec<(String, u64)> {
    let all = lock(&LOST);
    all.iter().map(|(name, count)| (name.clone(), count.load(Ordering::Relaxed))).collect()
}

fn counter(name: &str) -> Arc<AtomicU64> {
    let mut all = lock(&LOST);
    if let Some((_, counter)) = all.iter().find(|(known, _)| known == name) {
        return Arc::clone(counter);
    }
    let counter = Arc::new(AtomicU64::new(0));
    all.push((name.to_owned(), Arc::clone(&counter)));
    counter
}

/// Standard error of the process.
pub fn stderr() -> Arc<Outlet> {
    static OUTLET: OnceLock<Arc<Outlet>> = OnceLock::new();
    Arc::clone(OUTLET.get_or_init(|| Arc::new(Outlet::new("stderr", io::stderr()))))
}

/// Standard output of the process.
pub fn stdout() -> Arc<Outlet> {
    static OUTLET: OnceLock<Arc<Outlet>> = OnceLock::new();
    Arc::clone(OUTLET.get_or_init(|| Arc::new(Outlet::new("stdout", io::stdout()))))
}

impl Outlet {
    /// Writes to `writer` in a thread of its own.
    pub fn new(name: &str, writer: impl Write + Send + 'static) -> Self {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            state: Mutex::default(),
            filled: Condvar::new(),
            drained: Condvar::new(),
            has_room: Notify::new(),
            lost: counter(name),
        });
        let its = Arc::clone(&shared);
        let started =
            thread::Builder::new().name("skep-log".to_owned()).spawn(move || its.write_all(writer));
        if let Err(error) = started {
            let mut state = shared.lock();
            state.is_closed = true;
            state.error = Some(error);
        }
        Outlet { shared }
    }

    /// Takes whole lines and never waits. If there is no room for all of them they are dropped.
    /// That is counted, and logged when lines are written again.
    pub fn push(&self, lines: &[u8]) {
        let mut state = self.shared.lock();
        if state.is_closed || !state.has_room(lines.len()) {
            self.shared.lose(&mut state, lines);
        } else {
            state.waiting.extend_from_slice(lines);
            self.shared.filled.notify_one();
        }
    }

    /// Waits until there is room, while there is progress.
    pub async fn room(&self, len: usize) {
        let len = len.min(LIMIT);
        loop {
            let drained = self.shared.has_room.notified();
            let before = {
                let state = self.shared.lock();
                if state.has_room(len) || state.is_stuck || state.is_closed {
                    return;
                }
                state.written
            };
            if tokio::time::timeout(PATIENCE, drained).await.is_err() {
                let mut state = self.shared.lock();
                state.is_stuck |= state.written == before;
            }
        }
    }

    /// Waits until everything is written, while there is progress.
    pub async fn written(&self) {
        loop {
            let drained = self.shared.has_room.notified();
            if self.shared.lock().is_empty() {
                return;
            }
            if tokio::time::timeout(LAST_PATIENCE, drained).await.is_err() {
                return;
            }
        }
    }

    /// The same at the end of the process, without a runtime, for two seconds at most.
    pub fn flush(&self) {
        let begin = Instant::now();
        let mut state = self.shared.lock();
        while !state.is_empty() && !state.is_closed && begin.elapsed() < LAST_LIMIT {
            let waited = self.shared.drained.wait_timeout(state, LAST_PATIENCE);
            let (next, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = next;
            if timeout.timed_out() {
                return;
            }
        }
    }

    /// The error of the last write; returned once.
    pub fn take_error(&self) -> Option<io::Error> {
        self.shared.lock().error.take()
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.filled.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn lose(&self, state: &mut State, lines: &[u8]) {
        let count = memchr::memchr_iter(b'\n', lines).count() as u64;
        state.untold += count;
        self.lost.fetch_add(count, Ordering::Relaxed);
    }

    /// Runs the thread.
    fn write_all(&self, mut writer: impl Write) {
        let mut text = Vec::new();
        loop {
            {
                let mut state = self.lock();
                while state.waiting.is_empty() && !state.is_closed {
                    state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                if state.waiting.is_empty() {
                    return;
                }
                text.clear();
                text.shrink_to(PIECE);
                std::mem::swap(&mut text, &mut state.waiting);
                state.in_hand = text.len();
            }
            let written = self.write(&mut writer, &text);
            let untold = {
                let mut state = self.lock();
                if let Err((error, at)) = written {
                    self.lose(&mut state, &text[at..]);
                    state.error = Some(error);
                    state.in_hand = 0;
                    0
                } else {
                    std::mem::take(&mut state.untold)
                }
            };
            self.drained.notify_all();
            self.has_room.notify_waiters();
            if untold > 0 {
                tracing::warn!(
                    output = self.name,
                    lines = untold,
                    "Lines were dropped because the output was too slow"
                );
            }
        }
    }

    /// The error includes how much was written before it.
    fn write(&self, writer: &mut impl Write, text: &[u8]) -> Result<(), (io::Error, usize)> {
        let mut at = 0;
        while at < text.len() {
            let piece = &text[at..text.len().min(at + PIECE)];
            match writer.write(piece) {
                Ok(0) => return Err((io::ErrorKind::WriteZero.into(), at)),
                Ok(count) => at += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err((error, at)),
            }
            let mut state = self.lock();
            state.in_hand = text.len() - at;
            state.written += 1;
            state.is_stuck = false;
            drop(state);
            self.drained.notify_all();
            self.has_room.notify_waiters();
        }
        writer.flush().map_err(|error| (error, at))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read as _,
        os::{fd::OwnedFd, unix::net::UnixStream},
    };

    use super::*;

    /// Both ends of a pipe that holds some kilobytes and then blocks.
    fn pipe() -> (std::fs::File, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (OwnedFd::from(ours).into(), theirs)
    }

    const LINE: &[u8; 100] = &{
        let mut line = [b'x'; 100];
        line[99] = b'\n';
        line
    };

    #[test]
    fn a_reader_that_is_stuck_costs_lines_and_they_are_counted() {
        let (writer, mut reader) = pipe();
        let outlet = Outlet::new("stuck", writer);
        let count = 5 * LIMIT / LINE.len();
        let begin = Instant::now();
        for _ in 0..count {
            outlet.push(LINE);
        }
        outlet.flush();
        assert!(begin.elapsed() < LAST_LIMIT + PATIENCE, "{:?}", begin.elapsed());
        let lost = outlet.shared.lost.load(Ordering::Relaxed);
        assert!(lost > 0 && outlet.shared.lock().waiting.capacity() <= 2 * LIMIT, "{lost}");
        // Buffered lines are written as soon as the reader continues.
        drop(outlet);
        let mut text = Vec::new();
        reader.read_to_end(&mut text).unwrap();
        assert_eq!(text.len() / LINE.len() + usize::try_from(lost).unwrap(), count);
    }

    #[test]
    fn the_last_lines_come_out_where_somebody_reads() {
        let (writer, mut reader) = pipe();
        let outlet = Outlet::new("read", writer);
        let reading = thread::spawn(move || {
            let mut text = Vec::new();
            reader.read_to_end(&mut text).unwrap();
            text.len()
        });
        for _ in 0..1000 {
            outlet.push(LINE);
        }
        outlet.flush();
        assert!(outlet.shared.lock().is_empty());
        drop(outlet);
        assert_eq!(reading.join().unwrap(), 1000 * LINE.len());
    }

    #[tokio::test(start_paused = true)]
    async fn room_is_waited_for_as_long_as_anything_is_written() {
        let (writer, mut reader) = pipe();
        let outlet = Outlet::new("slow", writer);
        let count = 3 * LIMIT / LINE.len();
        let reading = thread::spawn(move || {
            let mut text = Vec::new();
            reader.read_to_end(&mut text).unwrap();
            text.len()
        });
        // With a paused clock, time would jump ahead while only the thread works.
        tokio::time::resume();
        for _ in 0..count {
            outlet.room(LINE.len()).await;
            outlet.push(LINE);
        }
        outlet.written().await;
        drop(outlet);
        assert_eq!(reading.join().unwrap(), count * LINE.len());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_twice_for_a_reader_that_is_stuck() {
        let (writer, _reader) = pipe();
        let outlet = Outlet::new("stuck twice", writer);
        while outlet.shared.lock().has_room(LIMIT / 2) {
            outlet.push(&LINE.repeat(1000));
        }
        let begin = tokio::time::Instant::now();
        for _ in 0..3 {
            outlet.room(LIMIT).await;
        }
        assert!(begin.elapsed() >= PATIENCE && begin.elapsed() < 3 * PATIENCE);
    }

    #[test]
    fn an_error_is_told_once_and_its_lines_are_lost() {
        let (writer, reader) = pipe();
        drop(reader);
        let outlet = Outlet::new("broken", writer);
        outlet.push(LINE);
        outlet.flush();
        assert_eq!(outlet.take_error().unwrap().kind(), io::ErrorKind::BrokenPipe);
        assert!(outlet.take_error().is_none());
        assert_eq!(outlet.shared.lost.load(Ordering::Relaxed), 1);
    }
}
