//! The signals that end a run or reload the configuration.
//!
//! SIGHUP reloads, as for every daemon. It also says that the terminal of a process was closed;
//! then nobody can see or end a skep that was started there, so it ends. With `nohup` and under a
//! supervisor there is no terminal that could be closed.

use std::io::{self, IsTerminal as _};

use tokio::signal::unix::{Signal as UnixSignal, SignalKind, signal};

/// What a signal asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    End,
    Reload,
}

impl Command {
    /// What SIGHUP asks for, by whether there was a terminal at the start and is one now.
    fn of_hangup(began_in_terminal: bool, is_in_terminal: bool) -> Self {
        if began_in_terminal && !is_in_terminal { Command::End } else { Command::Reload }
    }
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
    /// Whether skep was started in a terminal.
    began_in_terminal: bool,
}

/// Whether a standard stream is a terminal; one that was closed is none any more.
fn has_terminal() -> bool {
    io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal()
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Signals {
            _file_too_large: signal(SignalKind::from_raw(SIGXFSZ))?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            began_in_terminal: has_terminal(),
        })
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) -> Command {
        tokio::select! {
            _ = self.terminate.recv() => Command::End,
            _ = self.interrupt.recv() => Command::End,
            _ = self.hangup.recv() => Command::of_hangup(self.began_in_terminal, has_terminal()),
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
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                // A terminal that is closed may send it twice.
                _ = self.hangup.recv() => {
                    tracing::warn!("skep is ending; SIGHUP has no effect");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_terminal_that_was_closed_ends_the_run() {
        assert_eq!(Command::of_hangup(true, false), Command::End);
        assert_eq!(Command::of_hangup(true, true), Command::Reload);
        assert_eq!(Command::of_hangup(false, false), Command::Reload, "nohup, a supervisor");
    }
}
