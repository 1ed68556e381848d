//! The engine: runs a plan, from opening the first socket to delivering the last byte. Only the
//! engine spawns tasks.
//!
//! ```text
//! tokio: accept -> permit -> body      workers: inflate, check, processors      tokio: queue -> client
//!                               \--- one queue for all workers ---/\--- one queue per exporter ---/
//! ```
//!
//! The rooms, each of which may use those before it in this list, and [`budget`] and [`panics`]:
//!
//! - [`disk`]: what is stored, and where.
//! - [`export`]: the queue before each exporter, and how its payloads are sent.
//! - [`work`]: the workers, the graph that they run, and how it is exchanged.
//! - [`intake`]: how requests come in: permits, checks, journals, routes.
//! - [`plan`]: from a document to a graph.
//!
//! Start: everything is built, then all sockets are opened, then workers, exporters and receivers
//! run. End: receivers stop after they have finished their requests, processors emit what they
//! hold, and queues are emptied; undelivered items at the deadline are counted and logged. In
//! between, SIGHUP and the control plane reload the configuration ([`reload`]).

pub mod budget;
pub mod disk;
pub mod export;
pub mod intake;
pub mod memory;
pub mod panics;
mod parts;
pub mod plan;
pub mod reload;
pub mod work;

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    runtime,
    signal::unix::{Signal as UnixSignal, SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::{
    component::{
        Extension, Listening, Sockets, StartError,
        reload::{Ask, Outcome},
    },
    otlp::payload::Reason,
};

use self::{
    intake::{door::Inside, routes::Routes},
    parts::{Departing, Leaving, RunningExporter, RunningReceiver, RunningService, Surroundings},
    plan::{Blueprint, Plan, Site},
    reload::Source,
    work::pool::Pool,
};

/// How to run.
pub struct Options {
    /// What the plan is built for.
    pub site: Site,
    /// Longest drain after the first SIGTERM or SIGINT, and of what a reload has removed.
    /// Containers are killed after 10 s (compose) or 30 s (ECS) by default.
    pub drain_timeout: Duration,
    /// How to reload the configuration; `None`: reloading is disabled.
    pub reloading: Option<Reloading>,
}

/// How to reload the configuration, and who may ask for it beside SIGHUP.
pub struct Reloading {
    /// Reads the configuration.
    pub source: Arc<dyn Source>,
    /// Requests of the control plane.
    pub asks: mpsc::Receiver<Ask>,
}

/// What runs, reported once everything is open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Started {
    /// Component and its listener.
    pub listening: Vec<(String, Listening)>,
    /// Exporter and where it sends to.
    pub exporting: Vec<(String, String)>,
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
    /// A worker, an exporter, a receiver or a storage panicked. The data that it held was not
    /// acknowledged, or is on disk, or is lost.
    Panicked,
}

/// A service beside the pipelines: an extension, the metrics page, the control plane.
pub struct Service {
    /// `health_check`.
    pub id: String,
    /// `extension health_check`.
    pub words: String,
    /// Identity for a reload; `None`: it always counts as changed.
    pub identity: Option<String>,
    /// The service itself.
    pub extension: Box<dyn Extension>,
}

/// Builds everything, runs until a signal, and drains. Calls `on_started` when everything is open.
pub fn run(
    blueprint: &Blueprint,
    services: Vec<Service>,
    mut options: Options,
    on_started: impl FnOnce(&Started),
) -> Result<Ended, StartError> {
    let runtime = build_runtime(options.site.workers).map_err(|error| start_error(&error))?;
    let mut signalled = None;
    let ended = runtime.block_on(async {
        let plan = plan::plan(blueprint, &options.site)?;
        // Before a port is open: who sees it may send a signal at once.
        let mut signals = Signals::new().map_err(|error| start_error(&error))?;
        let reloading = options.reloading.take();
        let mut running = Running::start(plan, services, &options, on_started)?;
        // Requests for a reload after this are told that it is too late.
        let cause = Box::pin(running.wait(&mut signals, reloading)).await;
        signalled = Some(Instant::now());
        // Payloads that are still held are dropped unsettled. So their records stay on disk, if
        // they have any.
        Ok(match cause {
            Cause::Panic => Ended::Panicked,
            Cause::Signal => tokio::select! {
                ended = running.drain() => ended,
                () = signals.again() => {
                    tracing::error!(
                        bytes_in_memory = options.site.budget.used(),
                        "A second signal came during the shutdown: ending now. What is in memory \
                         and not delivered yet is lost."
                    );
                    Ended::Interrupted
                }
            },
        })
    });
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
    // The exit waits for nothing: neither for an exporter in `send` nor for a slow client.
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

/// The meaning of a signal.
enum Told {
    End,
    Reload,
}

/// The same number on every system that skep runs on.
const SIGXFSZ: i32 = 25;

/// The signals that end a run, or reload the configuration.
struct Signals {
    /// Taken so that it does not kill: a write beyond the limit of a file's size fails instead.
    _file_too_large: UnixSignal,
    terminate: UnixSignal,
    interrupt: UnixSignal,
    hangup: UnixSignal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Signals {
            _file_too_large: signal(SignalKind::from_raw(SIGXFSZ))?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::End,
            _ = self.interrupt.recv() => Told::End,
            _ = self.hangup.recv() => Told::Reload,
        }
    }

    /// Ends at SIGTERM or SIGINT.
    async fn ended(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Ends at SIGTERM or SIGINT during the drain; SIGHUP is only logged.
    async fn again(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => tracing::warn!("skep is ending; SIGHUP has no effect"),
            }
        }
    }
}

/// Everything that runs.
struct Running {
    site: Site,
    drain_timeout: Duration,
    pool: Arc<Pool>,
    inside: Arc<Inside>,
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
    ticker: tokio::task::JoinHandle<()>,
}

impl Running {
    fn start(
        plan: Plan,
        services: Vec<Service>,
        options: &Options,
        on_started: impl FnOnce(&Started),
    ) -> Result<Self, StartError> {
        let Plan { draft, ways } = plan;
        let site = options.site.clone();
        site.budget.set_aside(draft.shares.aside);
        let mut started = Started::default();
        let mut opened = Vec::new();
        for mut service in services {
            let mut sockets = Sockets::default();
            let open = service.extension.bind(&mut sockets)?;
            let named = open.into_iter().map(|listening| (service.id.clone(), listening));
            started.listening.extend(named);
            opened.push((service, sockets.finish().0));
        }
        let mut bound = Vec::new();
        for mut planned in draft.receivers {
            let mut sockets = Sockets::default();
            if let Some(receiver) = &mut planned.receiver {
                let open = receiver.bind(&mut sockets)?;
                let named = open.into_iter().map(|listening| (planned.id.clone(), listening));
                started.listening.extend(named);
            }
            bound.push((planned, sockets.finish().0));
        }
        let (pool, panics) = Pool::start(ways, Arc::clone(&draft.graph))?;
        let ticker = tokio::spawn({
            let pool = Arc::clone(&pool);
            let alarm = pool.panics().alarm("the timers of processors");
            async move {
                pool.tick().await;
                drop(alarm);
            }
        });
        let start = |planned| RunningExporter::start(planned, pool.panics());
        let exporters: Vec<_> = draft.exporters.into_iter().filter_map(start).collect();
        let services =
            opened.into_iter().map(|(service, held)| RunningService::start(service, held));
        let services = services.collect();
        let inside = Arc::new(Inside::default());
        let around = Surroundings { budget: &site.budget, pool: &pool, inside: &inside };
        let receivers = bound.into_iter().filter_map(|(mut planned, held)| {
            let routes = Routes::new(std::mem::take(&mut planned.routes));
            RunningReceiver::start(planned, held, routes, &around)
        });
        let receivers = receivers.collect();
        for exporter in &exporters {
            let stats = exporter.queue.stats();
            started.exporting.push((stats.id.clone(), stats.destination.clone()));
        }
        started.exporting.dedup();
        site.telemetry.set_ready(true);
        on_started(&started);
        tracing::info!("Everything is ready. Begin running and processing data.");
        Ok(Running {
            drain_timeout: options.drain_timeout,
            site,
            pool,
            inside,
            panics,
            receivers,
            exporters,
            services,
            leaving: Vec::new(),
            departing: Vec::new(),
            lost: 0,
            ticker,
        })
    }

    /// Runs until a signal or a panic, and reloads when asked to.
    async fn wait(&mut self, signals: &mut Signals, mut reloading: Option<Reloading>) -> Cause {
        loop {
            let ask = tokio::select! {
                told = signals.next() => match told {
                    Told::End => return Cause::Signal,
                    Told::Reload => None,
                },
                Some(part) = self.panics.recv() => {
                    self.has_panicked(&part);
                    return Cause::Panic;
                }
                ask = next_ask(reloading.as_mut()) => Some(ask),
            };
            let Some(Reloading { source, .. }) = &reloading else {
                tracing::warn!("SIGHUP reloads nothing here; restart to apply other settings");
                continue;
            };
            let (outcome, has_ended): (Outcome, bool) = self.reload(source, signals).await;
            if let Some(ask) = ask {
                // If the caller has gone away, the outcome is in the log.
                let _ = ask.send(outcome);
            }
            if has_ended {
                return Cause::Signal;
            }
        }
    }

    fn has_panicked(&self, part: &str) {
        self.site.telemetry.set_ready(false);
        tracing::error!(part, "a part of skep panicked; the process ends");
    }

    /// Stops the parts in the order of the data flow, within the timeout.
    async fn drain(mut self) -> Ended {
        let started = Instant::now();
        let timeout = self.drain_timeout;
        let left = || timeout.saturating_sub(started.elapsed());
        self.site.telemetry.set_ready(false);
        tracing::info!(timeout = ?timeout, "Starting shutdown...");
        let mut receiving: Vec<Leaving> = std::mem::take(&mut self.leaving);
        for leaving in &receiving {
            leaving.hurry();
        }
        receiving.extend(self.receivers.drain(..).map(RunningReceiver::leave));
        // Unfinished senders get a third of the time; the rest is for the data that was received.
        let receivers = async {
            for leaving in &mut receiving {
                leaving.ended().await;
            }
            self.inside.wait_until_empty().await;
        };
        if tokio::time::timeout(timeout / 3, receivers).await.is_err() {
            tracing::warn!("some senders did not finish their requests in time");
            for leaving in &receiving {
                leaving.abort();
            }
        }
        let emptied = tokio::select! {
            drained = tokio::time::timeout(left(), self.pool.drain()) => drained.is_ok(),
            Some(part) = self.panics.recv() => {
                self.has_panicked(&part);
                return Ended::Panicked;
            }
        };
        let mut departing = std::mem::take(&mut self.departing);
        departing.extend(self.exporters.drain(..).map(RunningExporter::close));
        let abandon: Vec<Arc<watch::Sender<bool>>> =
            departing.iter().map(|one| Arc::clone(&one.abandon)).collect();
        let mut sending = JoinSet::new();
        for one in departing {
            sending.spawn(async move { one.task.await.unwrap_or(0) });
        }
        let mut lost = self.lost;
        let until_deadline = async {
            while let Some(done) = sending.join_next().await {
                lost += done.unwrap_or(0);
            }
        };
        let is_late = tokio::time::timeout(left(), until_deadline).await.is_err();
        if is_late {
            for one in abandon {
                one.send_replace(true);
            }
            while let Some(done) = sending.join_next().await {
                lost += done.unwrap_or(0);
            }
        }
        self.ticker.abort();
        let mut serving: Vec<Leaving> =
            self.services.drain(..).map(RunningService::leave).collect();
        let services = async {
            for leaving in &mut serving {
                leaving.ended().await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_millis(500), services).await;
        // At the deadline a worker may still encode something that nobody waits for.
        if emptied && !is_late {
            self.pool.stop();
        }
        if let Ok(part) = self.panics.try_recv() {
            self.has_panicked(&part);
            return Ended::Panicked;
        }
        let unaccounted = self.site.telemetry.dropped[Reason::Unaccounted as usize].read();
        if unaccounted > 0 {
            tracing::error!(
                items = unaccounted,
                "the outcome of some items is unknown; this is a defect in skep, please report it"
            );
            lost += unaccounted;
        }
        Ended::Lost(lost)
    }
}

/// Waits for the next reload request; never completes if reloading is disabled.
async fn next_ask(reloading: Option<&mut Reloading>) -> Ask {
    let asked = match reloading {
        Some(reloading) => reloading.asks.recv().await,
        None => None,
    };
    match asked {
        Some(ask) => ask,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod simulation;
