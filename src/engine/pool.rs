//! Workers and the ways to them: one queue that any worker takes from, and one queue per worker
//! for what only its owner may do.
//!
//! With one worker there are no threads and no queues: the task that has a job runs it, under a
//! lock that no other task wants. On one core a hop to another thread and back costs two wake-ups
//! (about 10 us in a virtual machine), several times the work on a request of 100 spans. What a job
//! puts off is done by the task that keeps the timers, after all other tasks that are ready.
//!
//! The queues need no bound of their own: what is in them was admitted by the byte budget.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{
    Receiver, Sender, TryRecvError, after, bounded, never, select_biased, unbounded,
};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::component::StartError;

use super::{
    exchange::{self, Next},
    graph::Graph,
    panics::Panics,
    worker::{Job, Worker},
};

/// Sends jobs to threads.
#[derive(Clone)]
pub struct Router {
    any: Sender<Job>,
    own: Arc<[Sender<Job>]>,
    backlog: Arc<Backlog>,
    /// Who is next to get what comes first.
    turn: Arc<AtomicUsize>,
}

/// Jobs that are queued or being done.
#[derive(Default)]
struct Backlog {
    jobs: AtomicUsize,
    empty: Notify,
}

impl Backlog {
    fn add(&self) {
        self.jobs.fetch_add(1, Ordering::SeqCst);
    }

    fn done(&self) {
        if self.jobs.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.empty.notify_waiters();
        }
    }

    async fn wait_until_empty(&self) {
        loop {
            let notified = self.empty.notified();
            if self.jobs.load(Ordering::SeqCst) == 0 {
                return;
            }
            notified.await;
        }
    }
}

impl Router {
    /// Hands a job to whichever worker is free first.
    pub fn to_any(&self, job: Job) {
        self.backlog.add();
        // This fails only after the workers have ended. Then the job's payload is dropped unsettled
        // and has failed.
        if self.any.send(job).is_err() {
            self.backlog.done();
        }
    }

    /// Hands a job to one worker.
    pub fn to_worker(&self, index: usize, job: Job) {
        self.backlog.add();
        if self.own[index].send(job).is_err() {
            self.backlog.done();
        }
    }

    /// Hands a job to whichever worker is free first, or to the next one in turn where others wait
    /// already, before them: what leaves makes room for what comes in. Without this four times the
    /// load left 85 to 105 % of the throughput, with it 92 to 107 % (`tests/goodput.rs`).
    fn to_any_first(&self, job: Job) {
        if self.any.is_empty() {
            return self.to_any(job);
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.to_worker(turn % self.own.len(), job);
    }

    /// Sends a job that is counted already.
    pub(super) fn again(&self, job: Job) {
        if self.any.send(job).is_err() {
            self.backlog.done();
        }
    }

    /// Counts a job as done.
    pub(super) fn done(&self) {
        self.backlog.done();
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.own.len()
    }
}

/// The queues before the workers exist: exporters need a way to workers, workers need exporters.
pub struct Ways {
    router: Router,
    any: Receiver<Job>,
    own: Vec<Receiver<Job>>,
    panics: (Panics, mpsc::UnboundedReceiver<String>),
}

impl Ways {
    /// Queues for so many workers.
    pub fn new(workers: usize) -> Self {
        let (any_tx, any) = unbounded();
        let (own_tx, own): (Vec<_>, Vec<_>) = (0..workers).map(|_| unbounded()).unzip();
        let (backlog, turn) = (Arc::default(), Arc::default());
        let router = Router { any: any_tx, own: own_tx.into(), backlog, turn };
        Ways { router, any, own, panics: Panics::channel() }
    }

    /// A way for work that needs no replica: encoding.
    pub fn offload(&self) -> Offload {
        let router = (self.router.workers() > 1).then(|| self.router.clone());
        Offload { router, panics: self.panics.0.clone() }
    }
}

/// Runs encoding: on a worker thread if there are any, otherwise in the caller's task.
#[derive(Clone)]
pub struct Offload {
    router: Option<Router>,
    panics: Panics,
}

impl Offload {
    /// Where panics of exporters are reported.
    pub(super) fn panics(&self) -> &Panics {
        &self.panics
    }

    /// Runs `work` and gives its result; none if the worker panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let Some(router) = &self.router else { return Some(work()) };
        let (tx, rx) = oneshot::channel();
        router.to_any_first(Job::Run(Box::new(move || {
            // The sender may have given up waiting.
            let _ = tx.send(work());
        })));
        rx.await.ok()
    }
}

/// The workers.
pub struct Pool {
    mode: Mode,
    graph: Mutex<Arc<Graph>>,
    router: Router,
    panics: Panics,
}

enum Mode {
    /// One worker, run by whoever submits.
    Inline {
        worker: Mutex<Worker>,
        /// Jobs that others have put off.
        later: Receiver<Job>,
        ticker: Ticker,
    },
    /// One thread each.
    Threads(Mutex<Vec<thread::JoinHandle<()>>>),
}

/// Wakes the ticking task of the inline worker when a timer is due earlier than it thinks, or a job
/// was put off.
#[derive(Default)]
struct Ticker {
    earlier: Notify,
    later: Notify,
    scheduled: Mutex<Option<Instant>>,
}

impl Pool {
    /// Builds all replicas, then starts the threads if there is more than one worker. Also gives
    /// the reports of panics: of workers, and of exporters that offload to them.
    pub fn start(
        ways: Ways,
        graph: Arc<Graph>,
    ) -> Result<(Arc<Self>, mpsc::UnboundedReceiver<String>), StartError> {
        let Ways { router, any, own, panics: (panics, reports) } = ways;
        let mut workers = Worker::build_all(router.workers(), &graph, &router)?;
        let mode = if workers.len() == 1 {
            let worker = Mutex::new(workers.swap_remove(0));
            Mode::Inline { worker, later: any, ticker: Ticker::default() }
        } else {
            let threads = workers.into_iter().zip(own).map(|(worker, own)| {
                let (any, backlog) = (any.clone(), Arc::clone(&router.backlog));
                spawn(worker, own, any, backlog, panics.clone())
            });
            let threads = Mutex::new(threads.collect::<Result<Vec<_>, _>>()?);
            Mode::Threads(threads)
        };
        Ok((Arc::new(Pool { mode, graph: Mutex::new(graph), router, panics }), reports))
    }

    /// Takes a job: done before this returns with one worker, queued with several.
    pub fn submit(&self, job: Job) {
        match &self.mode {
            Mode::Threads(_) => self.router.to_any(job),
            Mode::Inline { .. } => self.with_worker(|worker, now| worker.run(job, now)),
        }
    }

    /// With one worker: calls the timers that are due and does what was put off, for ever. With
    /// threads each worker has its own timers and this ends at once.
    pub async fn tick(&self) {
        let Mode::Inline { worker, later, ticker, .. } = &self.mode else { return };
        loop {
            let due = worker.lock().unwrap_or_else(PoisonError::into_inner).next_tick();
            *ticker.scheduled.lock().unwrap_or_else(PoisonError::into_inner) = due;
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
                    // Once more round: whoever has become ready meanwhile comes first.
                    tokio::task::yield_now().await;
                    while let Ok(job) = later.try_recv() {
                        self.with_worker(|worker, now| worker.run(job, now));
                        self.router.done();
                        // And between two jobs.
                        tokio::task::yield_now().await;
                    }
                }
            }
        }
    }

    fn with_worker(&self, action: impl FnOnce(&mut Worker, Instant)) {
        let Mode::Inline { worker, later, ticker } = &self.mode else { return };
        let now = now();
        let mut worker = worker.lock().unwrap_or_else(PoisonError::into_inner);
        if catch_unwind(AssertUnwindSafe(|| action(&mut worker, now))).is_err() {
            return self.panics.report(worker_name(0));
        }
        if !later.is_empty() {
            ticker.later.notify_one();
        }
        if let Some(due) = worker.next_tick() {
            let scheduled = ticker.scheduled.lock().unwrap_or_else(PoisonError::into_inner);
            if scheduled.is_none_or(|scheduled| due < scheduled) {
                ticker.earlier.notify_one();
            }
        }
    }

    /// The graph that runs.
    pub fn graph(&self) -> Arc<Graph> {
        Arc::clone(&self.graph.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where panics are reported.
    pub(super) fn panics(&self) -> &Panics {
        &self.panics
    }

    /// A way for work that needs no replica, as [`Ways::offload`].
    pub fn offload(&self) -> Offload {
        let router = matches!(self.mode, Mode::Threads(_)).then(|| self.router.clone());
        Offload { router, panics: self.panics.clone() }
    }

    /// Puts another graph in the place of the one that runs, see [`super::exchange`]. How long the
    /// workers stood still; none where one of them has panicked.
    pub async fn exchange(&self, next: Next) -> Option<Duration> {
        let graph = Arc::clone(next.graph());
        let stood = match &self.mode {
            Mode::Inline { .. } => self.exchange_inline(next),
            Mode::Threads(_) => {
                let (asked, standing) = bounded(self.router.workers());
                for worker in 0..self.router.workers() {
                    self.router.to_worker(worker, Job::Exchange(asked.clone()));
                }
                drop(asked);
                let (router, panics) = (self.router.clone(), self.panics.clone());
                let exchange = move || {
                    let run = || exchange::among_threads(&standing, &router, next);
                    let ended = catch_unwind(AssertUnwindSafe(run));
                    ended.unwrap_or_else(|_| {
                        panics.report("a worker, while the configuration was exchanged");
                        None
                    })
                };
                tokio::task::spawn_blocking(exchange).await.ok().flatten()
            }
        };
        if stood.is_some() {
            *self.graph.lock().unwrap_or_else(PoisonError::into_inner) = graph;
        }
        stood
    }

    fn exchange_inline(&self, next: Next) -> Option<Duration> {
        let Mode::Inline { worker, ticker, .. } = &self.mode else { return None };
        let mut worker = worker.lock().unwrap_or_else(PoisonError::into_inner);
        let (began, now) = (Instant::now(), now());
        let run = || exchange::inline(&mut worker, &self.router, next, now);
        if catch_unwind(AssertUnwindSafe(run)).is_err() {
            self.panics.report(worker_name(0));
            return None;
        }
        ticker.earlier.notify_one();
        Some(Instant::now().saturating_duration_since(began))
    }

    /// Lets every processor emit what it holds, upstream first, and waits until all of it has
    /// reached the exporter queues. Receivers must have stopped.
    pub async fn drain(&self) {
        self.router.backlog.wait_until_empty().await;
        let graph = self.graph();
        for &pipeline in &graph.downstream_order {
            let plan = &graph.pipelines[pipeline];
            for (stage, settings) in plan.stages.iter().enumerate() {
                let replicas: Vec<usize> = if settings.is_replicated() {
                    (0..self.router.workers()).collect()
                } else {
                    vec![settings.owner]
                };
                for worker in replicas {
                    self.to_owner(worker, Job::Drain { pipeline, stage });
                }
                self.router.backlog.wait_until_empty().await;
            }
            for end in &plan.ends {
                if let super::graph::Target::Connector(index) = end.target {
                    for worker in 0..self.router.workers() {
                        self.to_owner(worker, Job::DrainConnector(index));
                    }
                    self.router.backlog.wait_until_empty().await;
                }
            }
        }
    }

    /// Ends the threads. What is still queued for them is dropped unsettled, and so has failed.
    pub fn stop(&self) {
        let Mode::Threads(threads) = &self.mode else { return };
        let threads = std::mem::take(&mut *threads.lock().unwrap_or_else(PoisonError::into_inner));
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
            Mode::Inline { .. } => self.submit(job),
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
        let run = AssertUnwindSafe(|| work(worker, &own, &any, &backlog));
        if catch_unwind(run).is_err() {
            panics.report(worker_name(index));
        }
    };
    thread::Builder::new().name(format!("worker-{index}")).spawn(body).map_err(|error| StartError {
        component: format!("worker {index}"),
        message: format!("the system refused a thread: {error}"),
    })
}

/// The loop of a worker thread: its own queue first (finish what is started), then the common
/// one, then its timers. Parked while there is nothing, and woken by no timer that is not due.
fn work(mut worker: Worker, own: &Receiver<Job>, any: &Receiver<Job>, backlog: &Backlog) {
    loop {
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
            let Some(after) = run(worker, job, now, (own, any)) else { return };
            worker = after;
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
        let Some(after) = run(worker, job, Instant::now(), (own, any)) else { return };
        worker = after;
        backlog.done();
    }
}

/// Does one job; the worker to go on with, none at the end.
fn run(
    mut worker: Worker,
    job: Job,
    now: Instant,
    (own, any): (&Receiver<Job>, &Receiver<Job>),
) -> Option<Worker> {
    match job {
        Job::Stop => return None,
        Job::Exchange(asked) => return exchange::stand(worker, own, any, &asked),
        job => worker.run(job, now),
    }
    Some(worker)
}
