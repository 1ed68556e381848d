//! The workers as a whole: threads, timers, the drain, and the exchange of their graph.
//!
//! With one worker there are no threads and no queues: the task that has a job runs it, under a
//! lock that no other task wants. On one core a hop to another thread and back costs two wake-ups
//! (about 10 us in a virtual machine), several times the work on a request of 100 spans. What a job
//! puts off is done by the task that keeps the timers, after all other tasks that are ready.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, TryRecvError, after, bounded, never, select_biased};
use tokio::sync::{Notify, mpsc};

use super::{
    exchange::{self, Next},
    graph::{Graph, Target},
    job::{Backlog, Job, Router, Task},
    worker::{Worker, stand},
};
use crate::{
    component::StartError,
    engine::{
        export::offload::{HandOver, Offload},
        panics::Panics,
    },
};

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
        let (router, any, own) = Router::new(workers);
        Ways { router, any, own, panics: Panics::channel() }
    }

    /// A way for work that needs no replica: encoding.
    pub fn offload(&self) -> Offload {
        offload(self.router.workers() > 1, &self.router, &self.panics.0)
    }
}

/// Work of exporters goes to the workers where these are threads, before what comes in.
fn offload(has_threads: bool, router: &Router, panics: &Panics) -> Offload {
    let router = router.clone();
    let hand_over = move |work: Box<dyn FnOnce() + Send>| {
        router.to_any_first(Job::Task(Box::new(move |_: &mut Worker, _| work())));
    };
    let hand_over: Option<HandOver> = if has_threads { Some(Arc::new(hand_over)) } else { None };
    Offload::new(hand_over, panics.clone())
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

    /// Takes a task: done before this returns with one worker, queued with several.
    pub fn submit(&self, task: Task) {
        self.take(Job::Task(task));
    }

    fn take(&self, job: Job) {
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
    pub(in crate::engine) fn panics(&self) -> &Panics {
        &self.panics
    }

    /// A way for work that needs no replica, as [`Ways::offload`].
    pub fn offload(&self) -> Offload {
        offload(matches!(self.mode, Mode::Threads(_)), &self.router, &self.panics)
    }

    /// Puts another graph in the place of the one that runs, see [`crate::engine::work::exchange`].
    /// How long the workers stood still; none where one of them has panicked.
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
                if let Target::Connector(index) = end.target {
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
            Mode::Inline { .. } => self.take(job),
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
        Job::Exchange(asked) => return stand(worker, own, any, &asked),
        job => worker.run(job, now),
    }
    Some(worker)
}
