//! What several tests of the whole program need: the program itself, free ports, waiting.

#[cfg(target_os = "linux")]
pub(crate) mod attack;
pub(crate) mod authority;
#[cfg(feature = "aws")]
pub(crate) mod aws_backend;
#[cfg(feature = "aws")]
pub(crate) mod aws_otlp_backend;
pub(crate) mod backend;
pub(crate) mod fault_proxy;
#[cfg(feature = "aws")]
pub(crate) mod honeycomb_backend;
pub(crate) mod hostile;
pub(crate) mod http_backend;
#[cfg(feature = "aws")]
pub(crate) mod logs_backend;
pub(crate) mod moody_backend;
#[cfg(feature = "aws")]
pub(crate) mod moto;
pub(crate) mod page;
#[cfg(target_os = "linux")]
pub(crate) mod reloading;
pub(crate) mod rollbar_backend;
pub(crate) mod sdk;
#[cfg(feature = "aws")]
pub(crate) mod segments;
#[cfg(feature = "aws")]
mod signature;
pub(crate) mod sink;
#[cfg(target_os = "linux")]
pub(crate) mod slow_backend;
pub(crate) mod stand_in;
#[cfg(target_os = "linux")]
pub(crate) mod steady;
pub(crate) mod test_proxy;
#[cfg(target_os = "linux")]
pub(crate) mod watch;

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStderr, Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const DEADLINE: Duration = Duration::from_mins(1);

/// Whether `SKEP_TEST_FULL` asks for the full number of rounds. `.ci/run` does; without it tests
/// that repeat something at random repeat it less often, so that `cargo test` stays short.
pub(crate) fn is_full() -> bool {
    std::env::var_os("SKEP_TEST_FULL").is_some_and(|value| !value.is_empty())
}

/// A port that is free and stays so until it is used. No other process of these tests gets it, as
/// its lock file is held until this process ends, and it is below the ports that the system gives
/// to outgoing connections.
pub(crate) fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    static LOCKS: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let folder = std::env::temp_dir().join("skep-test-ports");
    fs::create_dir_all(&folder).unwrap();
    loop {
        // Processes begin at different places.
        let next = std::process::id() * 101 + GIVEN.fetch_add(1, Ordering::Relaxed);
        let port = 10_000 + u16::try_from(next % 20_000).unwrap();
        let lock = File::create(folder.join(port.to_string())).unwrap();
        if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            LOCKS.lock().unwrap_or_else(PoisonError::into_inner).push(lock);
            return port;
        }
    }
}

/// Waits until something has happened.
pub(crate) fn wait_for(what: &str, mut happened: impl FnMut() -> bool) {
    wait_for_some(what, || happened().then_some(()));
}

/// Waits until something is there.
fn wait_for_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "{what} did not happen in time");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Prints a log. libtest keeps what threads of a test print, and shows it if the test fails.
#[expect(clippy::print_stderr, reason = "it is shown with a test that fails")]
fn show(log: ChildStderr) {
    thread::spawn(move || {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            eprintln!("{line}");
        }
    });
}

/// The program, ended with the test.
pub(crate) struct Skep(pub(crate) Child);

impl Drop for Skep {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Skep {
    /// Starts it and waits until it listens on `ports`.
    pub(crate) fn start(config: &str, ports: &[u16]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
        command.args(["--control-endpoint", "off", "--config", &format!("yaml:{config}")]);
        Self::run(command, ports)
    }

    /// The same with the caller's arguments and environment.
    pub(crate) fn run(mut command: Command, ports: &[u16]) -> Self {
        command.env_remove("SKEP_CONFIG");
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        show(child.stderr.take().unwrap());
        let mut skep = Skep(child);
        skep.listens(ports);
        skep
    }

    /// Waits until it listens on `ports`; fails if it ends instead.
    pub(crate) fn listens(&mut self, ports: &[u16]) {
        wait_for("the start of skep", || {
            let ended = self.0.try_wait().unwrap();
            assert!(ended.is_none(), "it ended instead of listening: {ended:?}");
            ports.iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok())
        });
    }

    /// SIGTERM; whether it ended without loss.
    pub(crate) fn stop(self) -> bool {
        self.end() == Some(0)
    }

    /// SIGTERM; the exit code.
    pub(crate) fn end(mut self) -> Option<i32> {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        wait_for_some("the end of skep", || self.0.try_wait().unwrap()).code()
    }
}
