//! The engine: runs a configuration, from opening the first socket to delivering the last byte.
//! Only the engine spawns tasks.
//!
//! ```text
//! tokio: accept -> permit -> body      workers: inflate, check, processors      tokio: queue -> client
//!                               \--- one queue for all workers ---/\--- one queue per exporter ---/
//! ```
//!
//! The rooms, each of which may use those before it in this list, and [`budget`] and [`panics`]:
//!
//! - [`disk`]: logs on disk and their directories.
//! - [`export`]: the queue before each exporter, and how its payloads are sent.
//! - [`work`]: the workers, the graph that they run, and how it is exchanged.
//! - [`intake`]: how requests come in: inlets, admissions, journals, routes.
//! - [`plan`]: from a document to a graph.
//!
//! Start: the workers start with an empty graph, and the configuration is applied like a reload of
//! a process that has no parts yet (`transition`). Everything that can fail is done before the
//! first exporter or receiver runs. End: `drain`. In between, SIGHUP and the control plane reload
//! the configuration ([`reload`]).

pub mod budget;
mod changes;
pub mod disk;
mod drain;
pub mod export;
pub mod identity;
pub mod intake;
pub mod memory;
pub mod panics;
mod parts;
pub mod plan;
pub mod reload;
mod signals;
mod transition;
pub mod work;

pub use parts::Service;

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{runtime, sync::mpsc, task::JoinHandle};

use crate::{
    component::{Listening, StartError, reload::ReloadRequest},
    document::Document,
};

use self::{
    parts::{Departing, Leaving, RunningExporter, RunningReceiver, RunningService},
    plan::Site,
    reload::Source,
    signals::{Command, Signals},
    work::{backlog::Backlog, pool::Pool},
};

/// How to run.
pub struct Options {
    /// The process that the plan is built for.
    pub site: Site,
    /// Longest drain after the first SIGTERM or SIGINT, and of parts that a reload has removed.
    /// Containers are killed after 10 s (compose) or 30 s (ECS) by default.
    pub drain_timeout: Duration,
    /// How to reload the configuration; `None` disables reloading.
    pub reloading: Option<Reloading>,
}

/// How to reload the configuration.
pub struct Reloading {
    /// Reads the configuration.
    pub source: Arc<dyn Source>,
    /// Requests other than SIGHUP, from the control plane.
    pub requests: mpsc::Receiver<ReloadRequest>,
}

/// What is running, reported once everything is open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Started {
    /// Each component with its listener.
    pub listening: Vec<(String, Listening)>,
    /// Each exporter with its destinations.
    pub exporting: Vec<Exporting>,
}

/// Where an exporter sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exporting {
    /// Component id.
    pub exporter: String,
    /// What it sends there.
    pub signals: Vec<&'static str>,
    /// A URL or an address.
    pub destination: String,
}

/// How the run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Everything that was acknowledged was delivered, or dropped by the configuration.
    Clean,
    /// This many items were not delivered before the deadline and are not on disk.
    Lost(u64),
    /// A second signal ended the drain.
    Interrupted,
    /// A worker, an exporter, a receiver or a storage panicked. Its data was not acknowledged, or
    /// is on disk, or is lost.
    Panicked,
}

/// Builds everything, runs until a signal, and drains. Calls `on_started` when everything is open.
pub fn run(
    document: &Document,
    services: Vec<Service>,
    mut options: Options,
    on_started: impl FnOnce(&Started),
) -> Result<Ended, StartError> {
    let runtime = build_runtime(options.site.workers).map_err(|error| start_error(&error))?;
    let mut signalled = None;
    let ended = runtime.block_on(async {
        // Before a port is open, because a signal may come as soon as one is.
        let mut signals = Signals::new().map_err(|error| start_error(&error))?;
        let reloading = options.reloading.take();
        let mut running = Running::new(&options)?;
        running.start(document, services, &mut signals, on_started).await?;
        // Reload requests after this are refused, because their receiver is dropped.
        let cause = Box::pin(running.wait(&mut signals, reloading)).await;
        signalled = Some(Instant::now());
        // Payloads that are still held are dropped unsettled, so their records stay on disk.
        Ok(match cause {
            Cause::Panic => Ended::Panicked,
            Cause::Signal => tokio::select! {
                ended = running.drain() => ended,
                () = signals.second_end() => {
                    tracing::error!(
                        bytes_in_memory = options.site.budget.used(),
                        "A second signal came during the shutdown: ending now. Data that is in \
                         memory and not delivered yet is lost."
                    );
                    Ended::Interrupted
                }
            },
        })
    });
    options.site.budgets.close();
    if matches!(ended, Ok(Ended::Panicked)) {
        options.site.storages.note_panic();
    }
    let gone = runtime.block_on(options.site.storages.close());
    options.site.storages.tell_left();
    let ended = ended.map(|ended| match ended {
        Ended::Lost(lost) => {
            let lost = lost + gone;
            let took = signalled.map(|signalled| signalled.elapsed()).unwrap_or_default();
            tracing::info!(lost_items = lost, took = ?took, "Shutdown complete.");
            if lost > 0 { Ended::Lost(lost) } else { Ended::Clean }
        }
        other => other,
    });
    // The exit waits neither for an exporter in `send` nor for a slow client.
    runtime.shutdown_background();
    ended
}

/// With one worker everything runs on the calling thread. Otherwise there are half as many io
/// threads as workers, because the workers process the data.
fn build_runtime(workers: usize) -> io::Result<runtime::Runtime> {
    if workers == 1 {
        return runtime::Builder::new_current_thread().enable_all().build();
    }
    runtime::Builder::new_multi_thread()
        .worker_threads((workers / 2).max(1))
        .thread_name("io")
        .enable_all()
        .build()
}

fn start_error(error: &io::Error) -> StartError {
    StartError { component: "engine".to_owned(), message: error.to_string() }
}

enum Cause {
    Signal,
    Panic,
}

/// Everything that runs.
struct Running {
    site: Site,
    drain_timeout: Duration,
    pool: Arc<Pool>,
    open_requests: Arc<Backlog>,
    panics: mpsc::UnboundedReceiver<String>,
    receivers: Vec<RunningReceiver>,
    exporters: Vec<RunningExporter>,
    services: Vec<RunningService>,
    /// Receivers and services that a reload has stopped.
    leaving: Vec<Leaving>,
    /// Exporters that a reload has removed, until their queues are empty.
    departing: Vec<Departing>,
    /// Items that these exporters could not deliver.
    lost: u64,
    ticker: JoinHandle<()>,
}

impl Running {
    /// Workers with an empty graph, and no other parts.
    fn new(options: &Options) -> Result<Self, StartError> {
        let (pool, panics) = Pool::start(options.site.workers)?;
        let ticker = tokio::spawn({
            let pool = Arc::clone(&pool);
            let alarm = pool.panics().alarm("the timers of processors");
            async move {
                pool.tick().await;
                drop(alarm);
            }
        });
        Ok(Running {
            site: options.site.clone(),
            drain_timeout: options.drain_timeout,
            pool,
            open_requests: Arc::default(),
            panics,
            receivers: Vec::new(),
            exporters: Vec::new(),
            services: Vec::new(),
            leaving: Vec::new(),
            departing: Vec::new(),
            lost: 0,
            ticker,
        })
    }

    /// Applies the first configuration.
    async fn start(
        &mut self,
        document: &Document,
        services: Vec<Service>,
        signals: &mut Signals,
        on_started: impl FnOnce(&Started),
    ) -> Result<(), StartError> {
        let transition = match self.prepare(document, services) {
            Ok(transition) => transition,
            Err(error) => {
                self.ticker.abort();
                self.pool.stop();
                return Err(error);
            }
        };
        // No part is removed, so no signal is awaited. If a worker has panicked, `wait` finds out.
        let applied = self.apply(transition, signals).await;
        self.site.telemetry.set_ready(true);
        on_started(&Started { listening: applied.listening, exporting: self.exporting() });
        tracing::info!("Everything is ready. Begin running and processing data.");
        Ok(())
    }

    /// Where the exporters send. An exporter has a part for each signal.
    fn exporting(&self) -> Vec<Exporting> {
        let mut all: Vec<Exporting> = Vec::new();
        for stats in self.exporters.iter().map(|exporter| exporter.queue.stats()) {
            let (exporter, destination) = (stats.id.clone(), stats.destination.clone());
            let is_it =
                |one: &&mut Exporting| one.exporter == exporter && one.destination == destination;
            match all.iter_mut().find(is_it) {
                Some(one) => one.signals.push(stats.signal.name()),
                None => {
                    all.push(Exporting {
                        exporter,
                        signals: vec![stats.signal.name()],
                        destination,
                    });
                }
            }
        }
        all
    }

    /// Runs until a signal or a panic, and reloads when asked to.
    async fn wait(&mut self, signals: &mut Signals, mut reloading: Option<Reloading>) -> Cause {
        loop {
            let request = tokio::select! {
                command = signals.next() => match command {
                    Command::End => return Cause::Signal,
                    Command::Reload => None,
                },
                Some(part) = self.panics.recv() => {
                    self.report_panic(&part);
                    return Cause::Panic;
                }
                request = next_request(reloading.as_mut()) => Some(request),
            };
            let Some(Reloading { source, .. }) = &reloading else {
                tracing::warn!("SIGHUP reloads nothing here; restart to apply other settings");
                continue;
            };
            let (outcome, has_ended) = self.reload(source, signals).await;
            if let Some(request) = request {
                // If the caller has gone away, the outcome is in the log.
                let _ = request.send(outcome);
            }
            if has_ended {
                return Cause::Signal;
            }
        }
    }

    fn report_panic(&self, part: &str) {
        self.site.telemetry.set_ready(false);
        tracing::error!(part, "a part of skep panicked; the process ends");
    }
}

/// Waits for the next reload request; pends forever if reloading is disabled.
async fn next_request(reloading: Option<&mut Reloading>) -> ReloadRequest {
    let request = match reloading {
        Some(reloading) => reloading.requests.recv().await,
        None => None,
    };
    match request {
        Some(request) => request,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod simulation;
