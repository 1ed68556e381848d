//! Puts a new graph under the workers without losing a payload.
//!
//! All workers are paused, and one thread finishes their work: it runs the jobs that are under way
//! in the old graph to their end, and lets processors that do not survive emit what they hold,
//! upstream first, through the old graph and into the old queues. Then each worker gets the new
//! graph. Processors that survive are moved into it as they are, with all that they hold. The first
//! graph replaces an empty one.
//!
//! Bodies that arrive meanwhile stay in the workers' queue. A worker looks at their route when it
//! takes them up, so they need no care. With one worker there are no queues: the task with a job
//! waits for the lock.
//!
//! Why not let the old graph run empty beside the new one: data that both graphs hold would be
//! split over two batches and two tail samplers, and both graphs would need all the memory.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::Receiver;

use super::{
    graph::Graph,
    job::{Job, Router},
    replicas::{Replica, Replicas},
    worker::{PausedWorker, Worker},
};
use crate::component::{Processor, StartError};

/// Where the replicas of a stage come from.
enum Origin<Place> {
    /// A place in the old graph.
    Kept(Place),
    /// They are new.
    Built(Vec<Box<dyn Processor>>),
}

/// A graph that is ready to replace the running one: everything that can fail has been done.
pub struct Next {
    graph: Arc<Graph>,
    /// `[pipeline][stage]`.
    stages: Vec<Vec<Origin<(usize, usize)>>>,
    connectors: Vec<Origin<usize>>,
    /// Called while the workers are paused.
    install: Box<dyn FnOnce() + Send>,
}

/// Parts of the old graph that have no place in the new one yet. A processor survives if the new
/// graph has one of the same pipeline and identity, a connector if it has one of the same identity.
struct Candidates {
    stages: Vec<(usize, usize)>,
    connectors: Vec<usize>,
}

impl Next {
    /// Builds the parts of `new` that are not in `old`.
    pub fn prepare(
        old: &Graph,
        new: Arc<Graph>,
        workers: usize,
        install: Box<dyn FnOnce() + Send>,
    ) -> Result<Self, StartError> {
        let mut candidates = Candidates::all(old);
        let mut stages = Vec::with_capacity(new.pipelines.len());
        for pipeline in &new.pipelines {
            let mut origins = Vec::with_capacity(pipeline.stages.len());
            for stage in &pipeline.stages {
                let same = |(p, s): &(usize, usize)| {
                    let old_pipeline = &old.pipelines[*p];
                    stage.identity.is_some()
                        && old_pipeline.id == pipeline.id
                        && old_pipeline.stages[*s].identity == stage.identity
                };
                let found = candidates.stages.iter().position(same);
                let wanted = if stage.is_replicated() { workers } else { 1 };
                origins.push(match found {
                    Some(index) => Origin::Kept(candidates.stages.swap_remove(index)),
                    None => Origin::Built((stage.build)(wanted)?),
                });
            }
            stages.push(origins);
        }
        let mut connectors = Vec::with_capacity(new.connectors.len());
        for connector in &new.connectors {
            let same = |index: &usize| {
                connector.identity.is_some()
                    && old.connectors[*index].identity == connector.identity
            };
            let found = candidates.connectors.iter().position(same);
            connectors.push(match found {
                Some(index) => Origin::Kept(candidates.connectors.swap_remove(index)),
                None => Origin::Built((connector.build)(connector.replicas(workers))?),
            });
        }
        Ok(Next { graph: new, stages, connectors, install })
    }

    /// The new graph.
    pub fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }

    /// Whether a stage of the new graph is kept from the old one.
    pub(in crate::engine) fn has_kept_stage(&self, pipeline: usize, stage: usize) -> bool {
        matches!(self.stages[pipeline][stage], Origin::Kept(_))
    }

    /// Whether a connector of the new graph is kept from the old one.
    pub(in crate::engine) fn has_kept_connector(&self, index: usize) -> bool {
        matches!(self.connectors[index], Origin::Kept(_))
    }

    fn keeps_stage(&self, old: (usize, usize)) -> bool {
        let mut origins = self.stages.iter().flatten();
        origins.any(|origin| matches!(origin, Origin::Kept(from) if *from == old))
    }

    fn keeps_connector(&self, old: usize) -> bool {
        let mut origins = self.connectors.iter();
        origins.any(|origin| matches!(origin, Origin::Kept(from) if *from == old))
    }
}

impl Candidates {
    fn all(old: &Graph) -> Self {
        let stages = old.pipelines.iter().enumerate();
        let stages =
            stages.flat_map(|(p, pipeline)| (0..pipeline.stages.len()).map(move |s| (p, s)));
        Candidates { stages: stages.collect(), connectors: (0..old.connectors.len()).collect() }
    }
}

/// Waits until all workers are paused, exchanges their graph and resumes them. Returns for how long
/// the first one was paused; `None` if a worker has panicked.
pub(super) fn with_threads(
    paused: &Receiver<PausedWorker>,
    router: &Router,
    next: Next,
) -> Option<Duration> {
    let mut all: Vec<PausedWorker> = Vec::with_capacity(router.workers());
    let mut began = None;
    while all.len() < router.workers() {
        let Ok(one) = paused.recv() else { break };
        began.get_or_insert_with(Instant::now);
        all.push(one);
    }
    let is_complete = all.len() == router.workers();
    all.sort_by_key(|one| one.worker.index());
    let (mut workers, mut own, mut resume) = (Vec::new(), Vec::new(), Vec::new());
    let mut any = None;
    for one in all {
        workers.push(one.worker);
        own.push(one.own);
        resume.push(one.resume);
        any = Some(one.any);
    }
    if is_complete {
        let mut queued = Queued { own, any, router: router.clone(), tasks: VecDeque::new() };
        exchange(&mut workers, &mut queued, next, Instant::now());
        queued.put_tasks_back();
    }
    for (worker, resume) in workers.into_iter().zip(resume) {
        let _ = resume.send(worker);
    }
    let began = began.filter(|_| is_complete)?;
    Some(Instant::now().saturating_duration_since(began))
}

/// Exchanges the graph of the one worker that has no thread.
pub(super) fn inline(worker: &mut Worker, router: &Router, next: Next, now: Instant) {
    let router = router.clone();
    let mut queued = Queued { own: Vec::new(), any: None, router, tasks: VecDeque::new() };
    exchange(std::slice::from_mut(worker), &mut queued, next, now);
}

/// Jobs in the queues of workers that are paused.
struct Queued {
    own: Vec<Receiver<Job>>,
    any: Option<Receiver<Job>>,
    router: Router,
    /// Jobs that belong to no graph, and wait until the workers go on.
    tasks: VecDeque<Job>,
}

impl Queued {
    /// Runs all jobs that belong to the graph, and those that result from them.
    fn finish(&mut self, workers: &mut [Worker], now: Instant) {
        loop {
            let mut is_quiet = true;
            for index in 0..self.own.len() {
                while let Ok(job) = self.own[index].try_recv() {
                    is_quiet &= !self.run(index, job, workers, now);
                }
            }
            // Only as many as there are now, because bodies keep arriving.
            for _ in 0..self.any.as_ref().map_or(0, Receiver::len) {
                let Some(Ok(job)) = self.any.as_ref().map(Receiver::try_recv) else { break };
                is_quiet &= !self.run(0, job, workers, now);
            }
            if is_quiet {
                return;
            }
        }
    }

    /// Runs a job if it belongs to the graph, and returns whether it does.
    fn run(&mut self, worker: usize, job: Job, workers: &mut [Worker], now: Instant) -> bool {
        let is_bound = job.is_bound_to_graph();
        if is_bound {
            workers[worker].run(job, now);
            self.router.done();
        } else {
            self.tasks.push_back(job);
        }
        is_bound
    }

    fn put_tasks_back(&mut self) {
        for job in self.tasks.drain(..) {
            self.router.put_back(job);
        }
    }
}

fn exchange(workers: &mut [Worker], queued: &mut Queued, next: Next, now: Instant) {
    queued.finish(workers, now);
    drain_removed(workers, queued, &next, now);
    let Next { graph, stages, connectors, install } = next;
    replace_replicas(workers, &graph, stages, connectors);
    for worker in workers.iter_mut() {
        worker.graph = Arc::clone(&graph);
    }
    install();
}

/// Lets the processors and connectors that do not survive emit what they hold, upstream first.
fn drain_removed(workers: &mut [Worker], queued: &mut Queued, next: &Next, now: Instant) {
    let Some(old) = workers.first().map(|worker| Arc::clone(&worker.graph)) else { return };
    for &pipeline in &old.downstream_order {
        for stage in 0..old.pipelines[pipeline].stages.len() {
            if next.keeps_stage((pipeline, stage)) {
                continue;
            }
            for worker in workers.iter_mut() {
                worker.run(Job::Drain { pipeline, stage }, now);
            }
            queued.finish(workers, now);
        }
        for index in old.fed_last_by(pipeline) {
            if next.keeps_connector(index) {
                continue;
            }
            for worker in workers.iter_mut() {
                worker.run(Job::DrainConnector(index), now);
            }
            queued.finish(workers, now);
        }
    }
}

/// Gives each worker its replicas for the new graph.
fn replace_replicas(
    workers: &mut [Worker],
    graph: &Graph,
    stages: Vec<Vec<Origin<(usize, usize)>>>,
    connectors: Vec<Origin<usize>>,
) {
    let mut old: Vec<Replicas> =
        workers.iter_mut().map(|worker| std::mem::take(&mut worker.replicas)).collect();
    let built = |all: Vec<Box<dyn Processor>>| -> VecDeque<Replica> {
        all.into_iter().map(Replica::new).collect()
    };
    for (pipeline, origins) in graph.pipelines.iter().zip(stages) {
        for worker in workers.iter_mut() {
            worker.replicas.begin_pipeline();
        }
        for (stage, origin) in pipeline.stages.iter().zip(origins) {
            let mut replicas: VecDeque<Replica> = match origin {
                Origin::Built(all) => built(all),
                Origin::Kept((p, s)) => {
                    old.iter_mut().filter_map(|replicas| replicas.take_stage(p, s)).collect()
                }
            };
            for worker in workers.iter_mut() {
                let is_here = stage.is_replicated() || stage.owner == worker.index();
                worker.replicas.push_stage(if is_here { replicas.pop_front() } else { None });
            }
        }
    }
    for (connector, origin) in graph.connectors.iter().zip(connectors) {
        let mut replicas: VecDeque<Replica> = match origin {
            Origin::Built(all) => built(all),
            Origin::Kept(index) => {
                old.iter_mut().filter_map(|replicas| replicas.take_connector(index)).collect()
            }
        };
        for worker in workers.iter_mut() {
            let is_here = connector.is_on(worker.index());
            worker.replicas.push_connector(if is_here { replicas.pop_front() } else { None });
        }
    }
}

#[cfg(test)]
mod tests;
