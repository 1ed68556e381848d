//! Requests to read the configuration again, and their outcome.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::config::Severity;

/// A problem that was found while a configuration was read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether it prevents the reload.
    pub severity: Severity,
    /// File, line and column, counted from 1; `None` if it concerns the whole configuration.
    pub place: Option<(String, usize, usize)>,
    /// Path of the key: `processors::batch::timeout`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// The remedy.
    pub help: String,
}

impl Finding {
    /// A finding about the whole configuration.
    pub fn new(severity: Severity, message: String) -> Self {
        let (path, help) = (String::new(), String::new());
        Finding { severity, place: None, path, message, help }
    }

    /// `file:line:column`; empty without a place.
    pub fn location(&self) -> String {
        let named =
            |(file, line, column): &(String, usize, usize)| format!("{file}:{line}:{column}");
        self.place.as_ref().map(named).unwrap_or_default()
    }
}

/// The parts of a process before and after a reload, by their labels, such as
/// `exporter otlp_grpc/b of traces`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Parts that stayed as they were.
    pub kept: Vec<String>,
    /// Parts that replaced one with the same label.
    pub changed: Vec<String>,
    /// Parts that are new.
    pub added: Vec<String>,
    /// Parts that are gone.
    pub removed: Vec<String>,
}

/// How a reload ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the new configuration is in force; if not, nothing has changed.
    pub is_applied: bool,
    /// What changed.
    pub changes: Changes,
    /// Warnings, and errors if it was not applied.
    pub findings: Vec<Finding>,
    /// For how long the workers were paused.
    pub pause: Duration,
}

/// A request for a reload; it is answered with the outcome.
pub type ReloadRequest = oneshot::Sender<Outcome>;

/// Sends requests for reloads, which are done one after the other.
#[derive(Debug, Clone)]
pub struct Reloads(mpsc::Sender<ReloadRequest>);

impl Reloads {
    /// The sender of requests, and their receiver.
    pub fn pair() -> (Self, mpsc::Receiver<ReloadRequest>) {
        let (sender, requests) = mpsc::channel(1);
        (Reloads(sender), requests)
    }

    /// Requests a reload and waits for its outcome; `None` if the process is ending.
    pub async fn ask(&self) -> Option<Outcome> {
        let (request, outcome) = oneshot::channel();
        self.0.send(request).await.ok()?;
        outcome.await.ok()
    }
}
