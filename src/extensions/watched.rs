//! A file that is read again when it changes. It is looked at once a second at most, and only while
//! somebody asks for it.
//!
//! Opening a file may block: a pipe without a writer, a mount whose server is gone. So
//! only regular files are opened, and they are read and parsed on a thread for such work. The
//! request that finds a look due waits for it, a second at most; the others, and all of them while
//! a look hangs, go on with what the file said before. There is one look at a time, so a file that
//! hangs costs one thread.

use std::{
    fmt, fs,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant, SystemTime},
};

use crate::{config::source::read_file, net::rate_limit::RateLimit, sync::lock};

/// How often a file is looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a request waits for a look.
const WAIT: Duration = Duration::from_secs(1);
/// How long the start waits for a file.
const FIRST_WAIT: Duration = Duration::from_secs(5);

/// When a file was written last, and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version(SystemTime, u64);

impl Version {
    /// The state of a regular file. Other files are not opened, because that may block for ever.
    fn of(file: &str) -> Result<Self, String> {
        let explain = |error| format!("cannot read `{file}`: {error}");
        let about = fs::metadata(file).map_err(explain)?;
        if !about.is_file() {
            return Err(format!("cannot read `{file}`: it is not a regular file"));
        }
        Ok(Version(about.modified().map_err(explain)?, about.len()))
    }
}

type Parse<T> = Box<dyn Fn(&str) -> Result<T, String> + Send + Sync>;

/// What a file says, parsed.
pub(super) struct Watched<T>(Arc<Inner<T>>);

struct Inner<T> {
    file: String,
    parse: Parse<T>,
    state: Mutex<State<T>>,
    /// The task that holds it looks at the file.
    turn: Arc<tokio::sync::Mutex<()>>,
    told_fault: RateLimit,
    told_wait: RateLimit,
}

struct State<T> {
    value: Arc<T>,
    /// None: not yet.
    looked: Option<Instant>,
    /// The state of what was parsed last, with or without success.
    version: Option<Version>,
    /// Why the last look brought nothing.
    fault: Option<String>,
    /// Whether the value is of the file.
    is_read: bool,
}

/// Which versions of a file are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Those that were not parsed before.
    Changed,
    Any,
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("file", &self.0.file).finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// Reads the file for the first time. The error names it.
    pub(super) fn open(
        file: &str,
        parse: impl Fn(&str) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let name = file.to_owned();
        let (done, read) = crossbeam_channel::bounded(1);
        let reading = move || {
            // Asked before the file is read: a later change is seen the next time.
            let version = Version::of(&name);
            let text = version.and_then(|version| Ok((version, read_file(Path::new(&name))?)));
            // If the file came too late, there is no waiter any more.
            let _ = done.send(text);
        };
        let thread = std::thread::Builder::new().name("file".to_owned()).spawn(reading);
        thread.map_err(|error| format!("cannot read `{file}`: {error}"))?;
        let read = read.recv_timeout(FIRST_WAIT);
        let late = |_| format!("cannot read `{file}`: no data within {FIRST_WAIT:?}");
        let (version, text) = read.map_err(late)??;
        let value = parse(&text).map_err(|error| format!("`{file}` {error}"))?;
        let watched = Watched::unread(file, value, parse);
        {
            let mut state = watched.0.state();
            (state.looked, state.version) = (Some(Instant::now()), Some(version));
            state.is_read = true;
        }
        Ok(watched)
    }

    /// A file that is read on demand. Until then its content is `value`.
    pub(super) fn unread(
        file: &str,
        value: T,
        parse: impl Fn(&str) -> Result<T, String> + Send + Sync + 'static,
    ) -> Self {
        let value = Arc::new(value);
        let state = State { value, looked: None, version: None, fault: None, is_read: false };
        Watched(Arc::new(Inner {
            file: file.to_owned(),
            parse: Box::new(parse),
            state: Mutex::new(state),
            turn: Arc::default(),
            told_fault: RateLimit::default(),
            told_wait: RateLimit::default(),
        }))
    }

    /// What the file says. If it cannot be read any more, what it said before, with a warning.
    pub(super) async fn at(&self, now: Instant) -> Arc<T> {
        let (is_due, is_read) = {
            let mut state = self.0.state();
            let since = state.looked.map(|looked| now.saturating_duration_since(looked));
            let is_due = since.is_none_or(|since| since >= LOOK_EVERY);
            if is_due {
                state.looked = Some(now);
            }
            (is_due, state.is_read)
        };
        if is_due || !is_read {
            self.look(Look::Changed).await;
        }
        self.value()
    }

    /// What the file says at this moment, even if it seems to be the same file.
    pub(super) async fn renewed(&self) -> Arc<T> {
        self.look(Look::Any).await;
        self.value()
    }

    /// What the file said last.
    pub(super) fn value(&self) -> Arc<T> {
        Arc::clone(&self.0.state().value)
    }

    /// Why the last look brought nothing.
    pub(super) fn fault(&self) -> String {
        let fault = self.0.state().fault.clone();
        fault.unwrap_or_else(|| format!("`{}` has not been read yet", self.0.file))
    }

    async fn look(&self, look: Look) {
        let turn = Arc::clone(&self.0.turn).try_lock_owned().ok();
        if turn.is_none() && self.0.state().is_read && look == Look::Changed {
            return;
        }
        let looked = async {
            let turn = match turn {
                Some(turn) => turn,
                None => Arc::clone(&self.0.turn).lock_owned().await,
            };
            let inner = Arc::clone(&self.0);
            // The turn goes with the look, which outlasts a request that does not wait for it.
            let work = move || {
                inner.look(look);
                drop(turn);
            };
            // An error: the look has panicked, and the value is the old one.
            let _ = tokio::task::spawn_blocking(work).await;
        };
        if tokio::time::timeout(WAIT, looked).await.is_err() {
            self.0.tell_wait();
        }
    }
}

impl<T> Inner<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        lock(&self.state)
    }

    /// Says that a look hangs.
    fn tell_wait(&self) {
        if self.state().is_read && self.told_wait.is_due() {
            tracing::warn!(
                file = self.file,
                "cannot read the file in time; its previous content stays in use"
            );
        }
    }

    /// Reads the file where it has changed.
    fn look(&self, look: Look) {
        // The lock is not held while the file is read.
        let known = self.state().version;
        let version = match Version::of(&self.file) {
            Ok(version) if Some(version) == known && look == Look::Changed => return,
            Ok(version) => version,
            Err(fault) => return self.keep(fault),
        };
        let text = match read_file(Path::new(&self.file)) {
            Ok(text) => text,
            Err(fault) => return self.keep(fault),
        };
        let parsed = (self.parse)(&text);
        let mut state = self.state();
        state.version = Some(version);
        match parsed {
            Ok(value) => {
                if state.is_read && known != Some(version) {
                    tracing::info!(file = self.file, "the file has changed and was read again");
                }
                (state.value, state.fault, state.is_read) = (Arc::new(value), None, true);
            }
            Err(error) => {
                // Once for this version: it is not parsed again.
                let fault = format!("`{}` {error}", self.file);
                tracing::warn!(error = fault, "the previous content of the file stays in use");
                state.fault = Some(fault);
            }
        }
    }

    fn keep(&self, fault: String) {
        let mut state = self.state();
        if state.is_read && self.told_fault.is_due() {
            tracing::warn!(error = fault, "the previous content of the file stays in use");
        }
        state.fault = Some(fault);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        sync::{
            Condvar,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use super::*;
    use crate::config::source::LIMIT;

    fn number(text: &str) -> Result<u32, String> {
        text.parse::<u32>().map_err(|_| "is no number".to_owned())
    }

    fn file(text: &str) -> (tempfile::NamedTempFile, String) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let name = file.path().to_str().unwrap().to_owned();
        (file, name)
    }

    #[tokio::test]
    async fn a_file_is_parsed_again_when_it_changes() {
        let (mut file, name) = file("1");
        let watched = Watched::open(&name, number).unwrap();
        let start = Instant::now() + LOOK_EVERY;
        assert_eq!(*watched.at(start).await, 1);
        file.write_all(b"2").unwrap();
        assert_eq!(*watched.at(start).await, 1, "it is not looked at for every request");
        assert_eq!(*watched.at(start + LOOK_EVERY).await, 12);
        file.write_all(b"x").unwrap();
        assert_eq!(*watched.at(start + 2 * LOOK_EVERY).await, 12, "what is wrong changes nothing");
        assert!(watched.fault().contains("is no number"), "{}", watched.fault());
        file.close().unwrap();
        assert_eq!(*watched.at(start + 3 * LOOK_EVERY).await, 12);
        let error = Watched::open(&name, number).unwrap_err();
        assert!(error.contains(&name), "{error}");
    }

    #[tokio::test]
    async fn each_version_of_a_file_is_parsed_once() {
        let (mut file, name) = file("1");
        let parsed = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&parsed);
        let watched = Watched::open(&name, move |text| {
            count.fetch_add(1, Ordering::SeqCst);
            number(text)
        });
        let watched = watched.unwrap();
        file.write_all(b"x").unwrap();
        let start = Instant::now();
        for i in 1..10 {
            assert_eq!(*watched.at(start + i * LOOK_EVERY).await, 1);
        }
        assert_eq!(parsed.load(Ordering::SeqCst), 2);
        watched.renewed().await;
        assert_eq!(parsed.load(Ordering::SeqCst), 3, "somebody knows better");
    }

    /// Opening a pipe without a writer blocks.
    #[tokio::test]
    async fn a_pipe_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let name = path.to_str().unwrap();
        let error = Watched::open(name, number).unwrap_err();
        assert!(error.contains("not a regular file"), "{error}");
        assert!(Watched::open("/dev/zero", number).is_err());

        // It may come in the place of a file.
        let (file, name) = file("1");
        let watched = Watched::open(&name, number).unwrap();
        fs::rename(&path, file.path()).unwrap();
        let begin = Instant::now();
        assert_eq!(*watched.at(begin + LOOK_EVERY).await, 1);
        assert!(begin.elapsed() < WAIT, "{:?}", begin.elapsed());
        assert!(watched.fault().contains("not a regular file"), "{}", watched.fault());
    }

    /// What hangs here is the parser; a read that hangs is no different.
    #[tokio::test]
    async fn nobody_waits_long_for_a_file_that_hangs() {
        let (mut file, name) = file("1");
        let gate = Arc::new((Mutex::new(true), Condvar::new()));
        let opened = Arc::clone(&gate);
        let watched = Watched::open(&name, move |text| {
            let open = gate.0.lock().unwrap();
            drop(gate.1.wait_while(open, |is_open| !*is_open).unwrap());
            number(text)
        });
        let watched = watched.unwrap();
        *opened.0.lock().unwrap() = false;
        file.write_all(b"2").unwrap();
        let begin = Instant::now();
        assert_eq!(*watched.at(begin + LOOK_EVERY).await, 1);
        let waited = begin.elapsed();
        assert!(waited >= WAIT && waited < WAIT * 4, "{waited:?}");
        for i in 2..100 {
            assert_eq!(*watched.at(begin + i * LOOK_EVERY).await, 1);
        }
        assert!(begin.elapsed() < waited + WAIT, "only the first one waits");
        *opened.0.lock().unwrap() = true;
        opened.1.notify_all();
        assert_eq!(*watched.renewed().await, 12);
    }

    #[tokio::test]
    async fn a_file_has_a_limit() {
        let (mut file, name) = file("1");
        let watched = Watched::open(&name, number).unwrap();
        file.write_all(&vec![b' '; LIMIT]).unwrap();
        assert_eq!(*watched.at(Instant::now() + LOOK_EVERY).await, 1);
        assert!(watched.fault().contains("larger than 4 MiB"), "{}", watched.fault());
        assert!(Watched::open(&name, number).is_err());
    }
}
