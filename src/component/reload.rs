//! How one asks the process to read its configuration again, and what it answers.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::config::Severity;

/// Something that was found while a configuration was read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether it hinders the reload.
    pub severity: Severity,
    /// File, line and column, each from 1; `None` for what concerns the whole file.
    pub place: Option<(String, usize, usize)>,
    /// Path of the key: `processors::batch::timeout`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// The remedy.
    pub help: String,
}

impl Finding {
    /// One of the whole.
    pub fn new(severity: Severity, message: String) -> Self {
        let (path, help) = (String::new(), String::new());
        Finding { severity, place: None, path, message, help }
    }

    /// `file:line:column`; empty where there is none.
    pub fn location(&self) -> String {
        let named =
            |(file, line, column): &(String, usize, usize)| format!("{file}:{line}:{column}");
        self.place.as_ref().map(named).unwrap_or_default()
    }
}

/// What became of the parts of a process, each in words: `exporter otlp_grpc/b of traces`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Went on as they were.
    pub kept: Vec<String>,
    /// Took the place of one of the same name.
    pub changed: Vec<String>,
    /// Were not there before.
    pub added: Vec<String>,
    /// Are not there any more.
    pub removed: Vec<String>,
}

/// How a reload ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the new configuration runs; otherwise nothing has changed.
    pub is_applied: bool,
    /// What it meant to the parts.
    pub changes: Changes,
    /// Errors where it was not applied, and warnings.
    pub findings: Vec<Finding>,
    /// How long the workers stood still.
    pub pause: Duration,
}

/// Takes the outcome back to the one who asked.
pub type Ask = oneshot::Sender<Outcome>;

/// A way to ask for a reload. One is done after the other.
#[derive(Debug, Clone)]
pub struct Reloads(mpsc::Sender<Ask>);

impl Reloads {
    /// The way, and its end.
    pub fn pair() -> (Self, mpsc::Receiver<Ask>) {
        let (asks, end) = mpsc::channel(1);
        (Reloads(asks), end)
    }

    /// Asks and waits; `None` if the process is ending.
    pub async fn ask(&self) -> Option<Outcome> {
        let (told, outcome) = oneshot::channel();
        self.0.send(told).await.ok()?;
        outcome.await.ok()
    }
}
