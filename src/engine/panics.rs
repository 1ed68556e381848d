//! Reports that a part of the engine has panicked: a worker, a receiver, an exporter, a storage.
//! The engine then ends the process with a separate exit code, because a process that has lost a
//! part must not go on answering 200. Data that the part held is dropped unsettled: its senders are
//! refused, and its records stay on disk.

use tokio::{sync::mpsc, task::JoinError};

/// Reports panics. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Panics(mpsc::UnboundedSender<String>);

/// Reports a panic when a panic drops it.
#[derive(Debug)]
pub struct Alarm {
    panics: Panics,
    part: String,
}

impl Panics {
    /// A sender of reports, and the receiver for them.
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<String>) {
        let (tx, rx) = mpsc::unbounded_channel();
        (Panics(tx), rx)
    }

    /// Reports that `part` has panicked: `worker 0`, `exporter otlp`.
    pub fn report(&self, part: impl Into<String>) {
        // The receiver is gone if the process is already ending.
        let _ = self.0.send(part.into());
    }

    /// Reports a panic of `part` if its task ended with one.
    pub fn check(&self, part: &str, error: &JoinError) {
        if error.is_panic() {
            self.report(part);
        }
    }

    /// An alarm for `part`: if a panic drops it, the panic is reported.
    pub fn alarm(&self, part: impl Into<String>) -> Alarm {
        Alarm { panics: self.clone(), part: part.into() }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.panics.report(std::mem::take(&mut self.part));
        }
    }
}
