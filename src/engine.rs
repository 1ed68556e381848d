//! The engine: runs a plan from the first socket to the last byte. The only place that spawns.
//!
//! ```text
//! tokio: accept -> permit -> body      workers: inflate, check, processors      tokio: queue -> client
//!                               \--- one queue for all workers ---/\--- one queue per exporter ---/
//! ```
//!
//! Start: everything is built, then every socket is opened, then workers, exporters and receivers
//! run. End: receivers stop and finish what they have begun, processors emit what they hold,
//! queues empty; what has not been delivered at the deadline is counted and named.

pub mod admission;
pub mod budget;
pub mod dead_letters;
pub mod door;
mod gather;
pub mod graph;
pub mod journal;
pub mod memory;
pub mod plan;
pub mod pool;
pub mod queue;
pub mod retry;
mod sender;
pub mod spool;
pub mod storages;
pub mod stored;
pub mod worker;

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

use crate::component::{Extension, Ingress, Listening, StartError, Stop};

use self::{
    door::{EngineDoor, Inside},
    plan::{Blueprint, Plan, Site},
    pool::Pool,
};

/// How to run.
pub struct Options {
    /// What the plan is built for.
    pub site: Site,
    /// Longest drain after the first SIGTERM or SIGINT. Containers are killed after 10 s (compose)
    /// or 30 s (ECS) by default.
    pub drain_timeout: Duration,
}

/// What runs, told once everything is open.
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
    /// Everything that was acknowledged has been delivered, or was dropped by decision.
    Clean,
    /// So many items could not be delivered before the deadline.
    Lost(u64),
    /// A second signal ended the drain.
    Interrupted,
    /// A worker panicked; the data that it held is lost.
    Panicked,
}

/// A named service that runs beside the pipelines: an extension, the metrics page, the control
/// plane.
pub type Service = (String, Box<dyn Extension>);

/// Builds, runs until a signal, drains. `on_started` is told when everything is open.
pub fn run(
    blueprint: &Blueprint,
    services: Vec<Service>,
    options: &Options,
    on_started: impl FnOnce(&Started),
) -> Result<Ended, StartError> {
    let runtime = build_runtime(options.site.workers).map_err(|error| start_error(&error))?;
    let ended = runtime.block_on(async {
        let plan = plan::plan(blueprint, &options.site)?;
        // Before a port is open: who sees it may send a signal at once.
        let mut signals = Signals::new().map_err(|error| start_error(&error))?;
        let mut running = Running::start(plan, services, options, on_started)?;
        let cause = running.wait(&mut signals).await;
        Ok(match cause {
            Cause::Panic => Ended::Panicked,
            Cause::Signal => tokio::select! {
                ended = running.drain(options.drain_timeout) => ended,
                () = signals.ended() => Ended::Interrupted,
            },
        })
    });
    // Before anything that is still held is dropped: that would look like its end.
    runtime.block_on(options.site.storages.close());
    // Nothing may hold up the exit: not an exporter in `send`, not a client that reads slowly.
    runtime.shutdown_background();
    ended
}

/// With one worker everything runs on the calling thread; else half as many io threads as cores,
/// since the workers do the work on the bytes.
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

/// The signals that end a run.
struct Signals {
    terminate: UnixSignal,
    interrupt: UnixSignal,
    hangup: UnixSignal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Ends at SIGTERM or SIGINT.
    async fn ended(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => tracing::warn!(
                    "SIGHUP does not reload the configuration; restart skep to apply a new one"
                ),
            }
        }
    }
}

/// Everything that runs.
struct Running {
    graph: Arc<graph::Graph>,
    pool: Arc<Pool>,
    inside: Arc<Inside>,
    telemetry: Arc<crate::telemetry::Telemetry>,
    panics: mpsc::UnboundedReceiver<usize>,
    stop_receivers: watch::Sender<bool>,
    receivers: JoinSet<()>,
    abandon: watch::Sender<bool>,
    dispatchers: JoinSet<u64>,
    stop_services: watch::Sender<bool>,
    services: JoinSet<()>,
    ticker: tokio::task::JoinHandle<()>,
}

impl Running {
    fn start(
        plan: Plan,
        mut services: Vec<Service>,
        options: &Options,
        on_started: impl FnOnce(&Started),
    ) -> Result<Self, StartError> {
        let Plan { graph, dispatchers, mut receivers, ways } = plan;
        let telemetry = Arc::clone(&options.site.telemetry);
        let budget = Arc::clone(&options.site.budget);
        let mut started = Started::default();
        for (id, service) in &mut services {
            let open = service.bind()?;
            started.listening.extend(open.into_iter().map(|listening| (id.clone(), listening)));
        }
        for planned in &mut receivers {
            let open = planned.receiver.bind()?;
            let id = &planned.id;
            started.listening.extend(open.into_iter().map(|listening| (id.clone(), listening)));
        }
        let (panic_tx, panics) = mpsc::unbounded_channel();
        let pool = Pool::start(ways, Arc::clone(&graph), panic_tx)?;
        let ticker = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.tick().await }
        });
        let (abandon, abandoned) = watch::channel(false);
        let mut sending = JoinSet::new();
        for dispatcher in dispatchers {
            sending.spawn(dispatcher.run(abandoned.clone()));
        }
        let (stop_services, services_stop) = Stop::pair();
        let mut serving = JoinSet::new();
        for (_, service) in services {
            serving.spawn(service.run(services_stop.clone()));
        }
        let (stop_receivers, receivers_stop) = Stop::pair();
        let inside = Arc::new(Inside::default());
        let mut receiving = JoinSet::new();
        for planned in receivers {
            let door = Arc::new(EngineDoor::new(
                Arc::clone(&budget),
                Arc::clone(&pool),
                planned.routes,
                Arc::clone(&inside),
            ));
            if let Some(journal) = planned.journal {
                let stop = receivers_stop.clone();
                receiving.spawn(journal::replay(journal, Arc::clone(&door), stop));
            }
            let ingress = Ingress { door };
            receiving.spawn(planned.receiver.run(ingress, receivers_stop.clone()));
        }
        for queue in &graph.queues {
            let stats = queue.stats();
            started.exporting.push((stats.id.clone(), stats.destination.clone()));
        }
        started.exporting.dedup();
        telemetry.set_ready(true);
        on_started(&started);
        tracing::info!("Everything is ready. Begin running and processing data.");
        Ok(Running {
            graph,
            pool,
            inside,
            telemetry,
            panics,
            stop_receivers,
            receivers: receiving,
            abandon,
            dispatchers: sending,
            stop_services,
            services: serving,
            ticker,
        })
    }

    /// Runs until a signal or a panic of a worker.
    async fn wait(&mut self, signals: &mut Signals) -> Cause {
        tokio::select! {
            () = signals.ended() => Cause::Signal,
            Some(worker) = self.panics.recv() => {
                self.telemetry.set_ready(false);
                tracing::error!(worker, "a worker panicked; the process ends");
                Cause::Panic
            }
        }
    }

    /// Stops in the order in which data flows, within `timeout`.
    async fn drain(mut self, timeout: Duration) -> Ended {
        let started = Instant::now();
        let left = || timeout.saturating_sub(started.elapsed());
        self.telemetry.set_ready(false);
        tracing::info!(timeout = ?timeout, "Starting shutdown...");
        let _ = self.stop_receivers.send(true);
        // Senders that do not finish get a third of the time; the rest belongs to what is here.
        let receivers = async {
            while self.receivers.join_next().await.is_some() {}
            self.inside.wait_until_empty().await;
        };
        if tokio::time::timeout(timeout / 3, receivers).await.is_err() {
            tracing::warn!("some senders did not finish their requests in time");
            self.receivers.abort_all();
        }
        let emptied = tokio::time::timeout(left(), self.pool.drain()).await.is_ok();
        for queue in &self.graph.queues {
            queue.close();
        }
        let mut lost = 0;
        let until_deadline = async {
            while let Some(done) = self.dispatchers.join_next().await {
                lost += done.unwrap_or(0);
            }
        };
        if tokio::time::timeout(left(), until_deadline).await.is_err() {
            let _ = self.abandon.send(true);
            while let Some(done) = self.dispatchers.join_next().await {
                lost += done.unwrap_or(0);
            }
        }
        self.ticker.abort();
        let _ = self.stop_services.send(true);
        let services = async { while self.services.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(Duration::from_millis(500), services).await;
        if emptied {
            self.pool.stop();
        }
        for queue in &self.graph.queues {
            let stats = queue.stats();
            let left = stats.queue_size.read();
            if left > 0 {
                tracing::error!(exporter = %stats.id, left, "not everything was delivered");
            }
        }
        tracing::info!(lost_items = lost, took = ?started.elapsed(), "Shutdown complete.");
        if lost > 0 { Ended::Lost(lost) } else { Ended::Clean }
    }
}

#[cfg(test)]
mod sharing;
#[cfg(test)]
mod simulation;
