//! Reports that a part of the engine has panicked. The engine then ends the process with an exit
//! code of its own, since a process that has lost a part must not go on answering 200. What the part
//! held is dropped unsettled: its senders are refused, and its records stay on disk.

use tokio::{sync::mpsc, task::JoinError};

/// Reports panics. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Panics(mpsc::UnboundedSender<String>);

/// Reports a panic if it is dropped by one.
#[derive(Debug)]
pub struct Alarm {
    panics: Panics,
    part: String,
}

impl Panics {
    /// Reports, and where they arrive.
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<String>) {
        let (tx, rx) = mpsc::unbounded_channel();
        (Panics(tx), rx)
    }

    /// Reports that `part` has panicked: `worker 0`, `exporter otlp`.
    pub fn report(&self, part: impl Into<String>) {
        // Nobody listens once the process ends.
        let _ = self.0.send(part.into());
    }

    /// Reports the panic of a task of `part`, if that is how it ended.
    pub fn check(&self, part: &str, error: &JoinError) {
        if error.is_panic() {
            self.report(part);
        }
    }

    /// To be held by what must not panic.
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
