//! The signals that end a run or reload the configuration.

use std::io;

use tokio::signal::unix::{Signal as UnixSignal, SignalKind, signal};

/// What a signal asks for.
pub(super) enum Command {
    End,
    Reload,
}

/// The same number on every system that skep runs on.
const SIGXFSZ: i32 = 25;

/// Handlers of all signals that skep reacts to.
pub(super) struct Signals {
    /// Handled so that it does not kill: a write beyond the limit of a file's size then fails.
    _file_too_large: UnixSignal,
    terminate: UnixSignal,
    interrupt: UnixSignal,
    hangup: UnixSignal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Signals {
            _file_too_large: signal(SignalKind::from_raw(SIGXFSZ))?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) -> Command {
        tokio::select! {
            _ = self.terminate.recv() => Command::End,
            _ = self.interrupt.recv() => Command::End,
            _ = self.hangup.recv() => Command::Reload,
        }
    }

    /// Waits for SIGTERM or SIGINT; SIGHUP stays for the next call of [`Signals::next`].
    pub(super) async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for SIGTERM or SIGINT during the drain; SIGHUP is only logged.
    pub(super) async fn second_end(&mut self) {
        loop {
            match self.next().await {
                Command::End => return,
                Command::Reload => tracing::warn!("skep is ending; SIGHUP has no effect"),
            }
        }
    }
}
