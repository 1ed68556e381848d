//! Reload: another configuration without a restart, and without a request refused or lost.
//!
//! The configuration is read again and checked, then applied as `transition` describes. An error
//! changes nothing, and is reported like at the start. A part that has ended by itself, such as a
//! page whose port was taken, is opened again.
//!
//! Measured (`tests/it/reload.rs`: 500 reloads in a build without optimisation, senders at full
//! speed on the same two cores): the workers are paused for 0.2 ms with two threads (99 of 100:
//! 6 ms, until the other one has ended its job) and for 0.1 ms with one. Processors that are
//! removed add the time in which they emit what they hold.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Running, parts::Service, signals::Signals, transition::Applied};
use crate::{
    component::{
        Listening,
        reload::{Finding, Outcome},
    },
    config::Severity,
    document::Document,
};

/// Reads the configuration again.
pub trait Source: Send + Sync {
    /// The configuration to run, or why it cannot run. May block.
    fn read(&self) -> Result<Candidate, Vec<Finding>>;
}

/// What is done once a configuration runs, with its components that have opened ports.
pub type OnApplied = Box<dyn FnOnce(&[(String, Listening)]) + Send>;

/// A configuration that is to run.
pub struct Candidate {
    /// The pipelines.
    pub document: Document,
    /// The services beside them.
    pub services: Vec<Service>,
    /// Warnings.
    pub findings: Vec<Finding>,
    /// Called once it runs, with the components that have opened ports, and these.
    pub on_applied: OnApplied,
}

/// Names for the log; `None` leaves the field out.
fn listed(names: &[String]) -> Option<String> {
    (!names.is_empty()).then(|| names.join(", "))
}

/// A time for the log: in milliseconds, if it has some.
fn rounded(time: Duration) -> Duration {
    let (ms, us) = (time.as_millis(), time.as_micros());
    let (ms, us) = (u64::try_from(ms).unwrap_or(u64::MAX), u64::try_from(us).unwrap_or(u64::MAX));
    if ms > 0 { Duration::from_millis(ms) } else { Duration::from_micros(us) }
}

impl Running {
    /// Reads the configuration again and applies it, or says why not. Also returns whether a signal
    /// has come that ends the process.
    pub(super) async fn reload(
        &mut self,
        source: &Arc<dyn Source>,
        signals: &mut Signals,
    ) -> (Outcome, bool) {
        let began = Instant::now();
        tracing::info!("Reloading the configuration...");
        self.reap().await;
        let source = Arc::clone(source);
        // A file may be on a mount that hangs, or be a pipe, so signals must act meanwhile.
        let read = tokio::select! {
            read = tokio::task::spawn_blocking(move || source.read()) => read,
            () = signals.end() => return (Outcome::default(), true),
        };
        let candidate = match read {
            Ok(Ok(candidate)) => candidate,
            Ok(Err(findings)) => return (self.refuse(findings), false),
            Err(panic) => {
                let message = format!("reading the configuration failed: {panic}");
                return (self.refuse(vec![Finding::new(Severity::Error, message)]), false);
            }
        };
        let Candidate { document, services, mut findings, on_applied } = candidate;
        let transition = match self.prepare(&document, services) {
            Ok(transition) => transition,
            Err(error) => {
                findings.push(Finding::new(Severity::Error, error.to_string()));
                return (self.refuse(findings), false);
            }
        };
        let Applied { changes, listening, pause, has_ended } =
            self.apply(transition, signals).await;
        let Some(pause) = pause else {
            let message = "a worker panicked".to_owned();
            findings.push(Finding::new(Severity::Error, message));
            return (self.refuse(findings), has_ended);
        };
        for (component, Listening { protocol, address, tls }) in &listening {
            tracing::info!(component, protocol, address, tls, "Listening");
        }
        on_applied(&listening);
        self.site.telemetry.reloads[0].add(1);
        self.site.telemetry.forget_unused();
        log(&findings);
        tracing::info!(
            kept = changes.kept.len(),
            changed = listed(&changes.changed),
            added = listed(&changes.added),
            removed = listed(&changes.removed),
            pause_us = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX),
            took = ?rounded(began.elapsed()),
            "The configuration was reloaded."
        );
        (Outcome { is_applied: true, changes, findings, pause }, has_ended)
    }

    /// Forgets parts that have ended since the last reload.
    async fn reap(&mut self) {
        self.leaving.retain(|leaving| !leaving.is_finished());
        let mut departing = Vec::new();
        for one in self.departing.drain(..) {
            if one.task.is_finished() {
                self.lost += one.task.await.unwrap_or(0);
            } else {
                departing.push(one);
            }
        }
        self.departing = departing;
    }

    fn refuse(&self, findings: Vec<Finding>) -> Outcome {
        // Parts that were built and dropped again have registered counters.
        self.site.telemetry.forget_unused();
        log(&findings);
        self.site.telemetry.reloads[1].add(1);
        tracing::error!("The configuration was not reloaded; the running one stays in use.");
        Outcome { findings, ..Outcome::default() }
    }
}

/// Logs each finding with its place.
pub fn log(findings: &[Finding]) {
    for finding in findings {
        let Finding { path, message, help, .. } = finding;
        let place = finding.location();
        match finding.severity {
            Severity::Error => tracing::error!(place, path, help, "{message}"),
            Severity::Warning => tracing::warn!(place, path, help, "{message}"),
        }
    }
}
