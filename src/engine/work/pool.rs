//! The workers as a whole: threads, timers, the drain, and the exchange of their graph.
//!
//! They start with an empty graph; every graph, also the first one, comes by an exchange.
//!
//! With one worker there are no threads and no queues: the task that has a job runs it, under a
//! lock that no other task wants. On one core a hop to another thread and back costs two wake-ups
//! (about 10 us in a virtual machine), several times the work on a request of 100 spans. Jobs that
//! are put off are run by the task that keeps the timers, after all other tasks that are ready.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, TryRecvError, after, bounded, never, select_biased};
use tokio::sync::{Notify, mpsc};

use super::{
    backlog::Backlog,
    exchange::{self, Next},
    graph::Graph,
    job::{Job, Router, Task},
    worker::{Worker, pause},
};
use crate::{
    component::StartError,
    engine::{
        export::offload::{HandOver, Offload},
        panics::Panics,
    },
    sync,
};

/// The workers.
pub struct Pool {
    mode: Mode,
    graph: Mutex<Arc<Graph>>,
    router: Router,
    panics: Panics,
}

#[expect(clippy::large_enum_variant, reason = "there is one in a process")]
enum Mode {
    /// One worker, run by the task that submits a job.
    Inline {
        worker: Mutex<Worker>,
        /// Jobs that were put off.
        later: Receiver<Job>,
        ticker: Ticker,
    },
    /// One thread each.
    Threads(Mutex<Vec<thread::JoinHandle<()>>>),
}

/// Wakes the ticking task of the inline worker when a timer has become due earlier than scheduled,
/// or a job was put off.
#[derive(Default)]
struct Ticker {
    earlier: Notify,
    later: Notify,
    scheduled: Mutex<Option<Instant>>,
}

impl Pool {
    /// Starts workers with an empty graph, as threads if there are several. Also returns the
    /// reports of panics: of workers, and of exporters that offload to them.
    pub fn start(
        workers: usize,
    ) -> Result<(Arc<Self>, mpsc::UnboundedReceiver<String>), StartError> {
        let (router, any, own) = Router::new(workers);
        let (panics, reports) = Panics::channel();
        let mode = if workers == 1 {
            let worker = Mutex::new(Worker::new(0, router.clone()));
            Mode::Inline { worker, later: any, ticker: Ticker::default() }
        } else {
            let threads = own.into_iter().enumerate().map(|(index, own)| {
                let worker = Worker::new(index, router.clone());
                let (any, backlog) = (any.clone(), Arc::clone(&router.backlog));
                spawn(worker, own, any, backlog, panics.clone())
            });
            Mode::Threads(Mutex::new(threads.collect::<Result<Vec<_>, _>>()?))
        };
        Ok((Arc::new(Pool { mode, graph: Mutex::default(), router, panics }), reports))
    }

    /// Runs a task with one worker, and queues it with several.
    pub fn submit(&self, task: Task) {
        self.accept(Job::Task(task));
    }

    fn accept(&self, job: Job) {
        match &self.mode {
            Mode::Threads(_) => self.router.to_any(job),
            Mode::Inline { .. } => self.with_worker(|worker, now| worker.run(job, now)),
        }
    }

    /// With one worker: calls the timers that are due and runs the jobs that were put off, for
    /// ever. With threads each worker has its own timers, and this ends at once.
    pub async fn tick(&self) {
        let Mode::Inline { worker, later, ticker, .. } = &self.mode else { return };
        loop {
            let due = sync::lock(worker).next_tick();
            *sync::lock(&ticker.scheduled) = due;
            let due = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = ticker.earlier.notified() => {}
                () = due => self.with_worker(Worker::tick),
                () = ticker.later.notified() => {
                    // Other tasks that have become ready meanwhile come first.
                    tokio::task::yield_now().await;
                    while let Ok(job) = later.try_recv() {
                        self.with_worker(|worker, now| worker.run(job, now));
                        self.router.done();
                        // They also come between two jobs.
                        tokio::task::yield_now().await;
                    }
                }
            }
        }
    }

    fn with_worker(&self, action: impl FnOnce(&mut Worker, Instant)) {
        let Mode::Inline { worker, later, ticker } = &self.mode else { return };
        let now = now();
        let mut worker = sync::lock(worker);
        if catch_unwind(AssertUnwindSafe(|| action(&mut worker, now))).is_err() {
            return self.panics.report(worker_name(0));
        }
        if !later.is_empty() {
            ticker.later.notify_one();
        }
        if let Some(due) = worker.next_tick() {
            let scheduled = sync::lock(&ticker.scheduled);
            if scheduled.is_none_or(|scheduled| due < scheduled) {
                ticker.earlier.notify_one();
            }
        }
    }

    /// The graph that runs.
    pub fn graph(&self) -> Arc<Graph> {
        Arc::clone(&sync::lock(&self.graph))
    }

    /// Where panics are reported.
    pub(in crate::engine) fn panics(&self) -> &Panics {
        &self.panics
    }

    /// Runs the work of exporters: on the workers if they are threads, and before new requests.
    pub fn offload(&self) -> Offload {
        let hand_over = match &self.mode {
            Mode::Inline { .. } => None,
            Mode::Threads(_) => {
                let router = self.router.clone();
                let hand_over = move |work: Box<dyn FnOnce() + Send>| {
                    router.to_any_first(Job::Task(Box::new(move |_: &mut Worker, _| work())));
                };
                Some(Arc::new(hand_over) as HandOver)
            }
        };
        Offload::new(hand_over, self.panics.clone())
    }

    /// Replaces the running graph, see [`exchange`]. Returns for how long the workers were paused;
    /// `None` if one of them has panicked.
    pub async fn exchange(self: &Arc<Self>, next: Next) -> Option<Duration> {
        if let Mode::Inline { .. } = &self.mode {
            return self.exchange_here(next);
        }
        let pool = Arc::clone(self);
        tokio::task::spawn_blocking(move || pool.exchange_here(next)).await.ok().flatten()
    }

    /// The same on the calling thread, which it blocks until all workers have paused.
    pub fn exchange_here(&self, next: Next) -> Option<Duration> {
        let graph = Arc::clone(next.graph());
        let exchange = AssertUnwindSafe(|| match &self.mode {
            Mode::Inline { worker, ticker, .. } => {
                let mut worker = sync::lock(worker);
                let began = Instant::now();
                exchange::inline(&mut worker, &self.router, next, now());
                ticker.earlier.notify_one();
                Some(Instant::now().saturating_duration_since(began))
            }
            Mode::Threads(_) => {
                let (asked, paused) = bounded(self.router.workers());
                for worker in 0..self.router.workers() {
                    self.router.to_worker(worker, Job::Pause(asked.clone()));
                }
                drop(asked);
                exchange::with_threads(&paused, &self.router, next)
            }
        });
        let pause = catch_unwind(exchange).unwrap_or_else(|_| {
            self.panics.report("a worker, while the configuration was exchanged");
            None
        })?;
        *sync::lock(&self.graph) = graph;
        Some(pause)
    }

    /// Lets every processor emit what it holds, upstream first, and waits until all of it has
    /// reached the exporter queues. Receivers must have stopped.
    pub async fn drain(&self) {
        self.router.backlog.wait_until_empty().await;
        let graph = self.graph();
        for &pipeline in &graph.downstream_order {
            let plan = &graph.pipelines[pipeline];
            for (stage, settings) in plan.stages.iter().enumerate() {
                let workers = if settings.is_replicated() {
                    0..self.router.workers()
                } else {
                    settings.owner..settings.owner + 1
                };
                for worker in workers {
                    self.to_owner(worker, Job::Drain { pipeline, stage });
                }
                self.router.backlog.wait_until_empty().await;
            }
            for index in graph.fed_last_by(pipeline) {
                let connector = &graph.connectors[index];
                for worker in (0..self.router.workers()).filter(|at| connector.is_on(*at)) {
                    self.to_owner(worker, Job::DrainConnector(index));
                }
                self.router.backlog.wait_until_empty().await;
            }
        }
    }

    /// Ends the threads. Jobs in their queues are dropped unsettled, and so have failed.
    pub fn stop(&self) {
        let Mode::Threads(threads) = &self.mode else { return };
        let threads = std::mem::take(&mut *sync::lock(threads));
        for worker in 0..threads.len() {
            self.router.to_worker(worker, Job::Stop);
        }
        for thread in threads {
            // A panic was reported when it happened.
            let _ = thread.join();
        }
    }

    fn to_owner(&self, worker: usize, job: Job) {
        match &self.mode {
            Mode::Threads(_) => self.router.to_worker(worker, job),
            Mode::Inline { .. } => self.accept(job),
        }
    }
}

/// The monotonic clock that timers of processors run on. Tokio's, so that tests can pause it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn worker_name(index: usize) -> String {
    format!("worker {index}")
}

fn spawn(
    worker: Worker,
    own: Receiver<Job>,
    any: Receiver<Job>,
    backlog: Arc<Backlog>,
    panics: Panics,
) -> Result<thread::JoinHandle<()>, StartError> {
    let index = worker.index();
    let body = move || {
        // Outside, so that a panic drops the payloads of the call that it ends and not all that the
        // worker's processors hold: only the former are suspects (`engine/disk/suspects.rs`).
        let mut worker = Some(worker);
        let run = AssertUnwindSafe(|| work(&mut worker, &own, &any, &backlog));
        if catch_unwind(run).is_err() {
            panics.report(worker_name(index));
        }
    };
    thread::Builder::new().name(format!("worker-{index}")).spawn(body).map_err(|error| StartError {
        component: format!("worker {index}"),
        message: format!("the system refused a thread: {error}"),
    })
}

/// The loop of a worker thread: first its own queue, to finish what has begun, then the common one,
/// then its timers. It is parked while there is nothing to do, and woken only by a timer that is
/// due.
fn work(slot: &mut Option<Worker>, own: &Receiver<Job>, any: &Receiver<Job>, backlog: &Backlog) {
    while let Some(worker) = slot {
        let job = match own.try_recv() {
            Ok(job) => Some(job),
            Err(TryRecvError::Empty) => any.try_recv().ok(),
            Err(TryRecvError::Disconnected) => return,
        };
        let due = worker.next_tick();
        let now = Instant::now();
        if due.is_some_and(|due| due <= now) {
            worker.tick(now);
        }
        if let Some(job) = job {
            run(slot, job, now, (own, any));
            backlog.done();
            continue;
        }
        let timer = worker
            .next_tick()
            .map_or_else(never, |due| after(due.saturating_duration_since(Instant::now())));
        let job = select_biased! {
            recv(own) -> job => job,
            recv(any) -> job => job,
            recv(timer) -> _ => continue,
        };
        let Ok(job) = job else { return };
        run(slot, job, Instant::now(), (own, any));
        backlog.done();
    }
}

/// Does one job. At the end there is no worker any more.
fn run(
    slot: &mut Option<Worker>,
    job: Job,
    now: Instant,
    (own, any): (&Receiver<Job>, &Receiver<Job>),
) {
    match (job, slot.as_mut()) {
        (Job::Stop, _) | (_, None) => *slot = None,
        (Job::Pause(asked), _) => {
            *slot = slot.take().and_then(|worker| pause(worker, own, any, &asked));
        }
        (job, Some(worker)) => worker.run(job, now),
    }
}
