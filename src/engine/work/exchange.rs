//! The exchange: a new graph under the workers' feet, without a payload lost.
//!
//! The workers stand still, all of them, and one thread does what is left for them: jobs that are
//! under way in the old graph are run to their end, processors that do not survive emit what they
//! hold, upstream first, through the old graph and into the old queues. Then each worker gets the
//! new graph. Processors that survive are moved into it as they are, with all that they hold.
//!
//! Bodies that come meanwhile stay in the workers' queue. They find their way only when a worker
//! takes them up, so they need no care. With one worker there are no queues: the task that comes
//! waits for the lock.
//!
//! Why not let the old graph run empty beside the new one: a payload that is held twice, once by
//! each, would be split over two batches and two tail samplers, and both graphs would need all the
//! memory.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use crossbeam_channel::Receiver;

use super::{
    graph::{Graph, Target},
    job::{Job, Router},
    worker::{Standing, Worker},
};
use crate::component::{Processor, StartError};

/// Where the replicas of a stage come from.
enum Origin<At> {
    /// Out of the old graph.
    Kept(At),
    /// New.
    Built(Vec<Box<dyn Processor>>),
}

/// What takes the place of the running graph: everything that can fail has been done.
pub struct Next {
    graph: Arc<Graph>,
    /// `[pipeline][stage]`.
    stages: Vec<Vec<Origin<(usize, usize)>>>,
    connectors: Vec<Origin<usize>>,
    /// Done while the workers stand still.
    install: Box<dyn FnOnce() + Send>,
}

/// Which parts of a graph live on: a processor of the same pipeline with the same identity, a
/// connector with the same identity.
struct Survivors {
    /// Not yet found a place in the new graph.
    stages: Vec<(usize, usize)>,
    connectors: Vec<usize>,
}

impl Next {
    /// Builds what `new` has and `old` has not.
    pub fn prepare(
        old: &Graph,
        new: Arc<Graph>,
        workers: usize,
        install: Box<dyn FnOnce() + Send>,
    ) -> Result<Self, StartError> {
        let mut rest = Survivors::of(old);
        let mut stages = Vec::with_capacity(new.pipelines.len());
        for pipeline in &new.pipelines {
            let mut origins = Vec::with_capacity(pipeline.stages.len());
            for stage in &pipeline.stages {
                let same = |(p, s): &(usize, usize)| {
                    let of_old = &old.pipelines[*p];
                    stage.identity.is_some()
                        && of_old.id == pipeline.id
                        && of_old.stages[*s].identity == stage.identity
                };
                let found = rest.stages.iter().position(same);
                let wanted = if stage.is_replicated() { workers } else { 1 };
                origins.push(match found {
                    Some(index) => Origin::Kept(rest.stages.swap_remove(index)),
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
            let found = rest.connectors.iter().position(same);
            connectors.push(match found {
                Some(index) => Origin::Kept(rest.connectors.swap_remove(index)),
                None => Origin::Built((connector.build)(workers)?),
            });
        }
        Ok(Next { graph: new, stages, connectors, install })
    }

    /// The graph to come.
    pub fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }

    /// Whether a stage of it is an old one.
    pub(in crate::engine) fn has_kept_stage(&self, pipeline: usize, stage: usize) -> bool {
        matches!(self.stages[pipeline][stage], Origin::Kept(_))
    }

    /// The same of a connector.
    pub(in crate::engine) fn has_kept_connector(&self, index: usize) -> bool {
        matches!(self.connectors[index], Origin::Kept(_))
    }

    fn keeps_stage(&self, at: (usize, usize)) -> bool {
        let is_it = |origin: &Origin<_>| matches!(origin, Origin::Kept(from) if *from == at);
        self.stages.iter().flatten().any(is_it)
    }

    fn keeps_connector(&self, at: usize) -> bool {
        let is_it = |origin: &Origin<_>| matches!(origin, Origin::Kept(from) if *from == at);
        self.connectors.iter().any(is_it)
    }
}

impl Survivors {
    fn of(old: &Graph) -> Self {
        let stages = old.pipelines.iter().enumerate();
        let stages =
            stages.flat_map(|(p, pipeline)| (0..pipeline.stages.len()).map(move |s| (p, s)));
        Survivors { stages: stages.collect(), connectors: (0..old.connectors.len()).collect() }
    }
}

/// Waits until all workers stand, exchanges their graph and lets them go on. The time for which the
/// first one stood; none where one of them is gone.
pub(super) fn among_threads(
    standing: &Receiver<Standing>,
    router: &Router,
    next: Next,
) -> Option<std::time::Duration> {
    let mut all: Vec<Standing> = Vec::with_capacity(router.workers());
    let mut began = None;
    while all.len() < router.workers() {
        let Ok(one) = standing.recv() else { break };
        began.get_or_insert_with(Instant::now);
        all.push(one);
    }
    let is_complete = all.len() == router.workers();
    all.sort_by_key(|one| one.worker.index());
    let (mut workers, mut own, mut back) = (Vec::new(), Vec::new(), Vec::new());
    let mut any = None;
    for one in all {
        workers.push(one.worker);
        own.push(one.own);
        back.push(one.back);
        any = Some(one.any);
    }
    if is_complete {
        let mut rest = Rest { own, any, router: router.clone(), aside: VecDeque::new() };
        exchange(&mut workers, &mut rest, next, Instant::now());
        rest.put_back();
    }
    for (worker, back) in workers.into_iter().zip(back) {
        let _ = back.send(worker);
    }
    let began = began.filter(|_| is_complete)?;
    Some(Instant::now().saturating_duration_since(began))
}

/// The same with one worker that has no thread.
pub(super) fn inline(worker: &mut Worker, router: &Router, next: Next, now: Instant) {
    let router = router.clone();
    let mut rest = Rest { own: Vec::new(), any: None, router, aside: VecDeque::new() };
    exchange(std::slice::from_mut(worker), &mut rest, next, now);
}

/// Jobs that wait for workers that stand still.
struct Rest {
    own: Vec<Receiver<Job>>,
    any: Option<Receiver<Job>>,
    router: Router,
    /// What belongs to no graph.
    aside: VecDeque<Job>,
}

impl Rest {
    /// Runs all that belongs to the graph, and what comes of it.
    fn settle(&mut self, workers: &mut [Worker], now: Instant) {
        loop {
            let mut is_quiet = true;
            for index in 0..self.own.len() {
                while let Ok(job) = self.own[index].try_recv() {
                    is_quiet &= !self.run(index, job, workers, now);
                }
            }
            // No more than there are now: bodies go on coming.
            for _ in 0..self.any.as_ref().map_or(0, Receiver::len) {
                let Some(Ok(job)) = self.any.as_ref().map(Receiver::try_recv) else { break };
                is_quiet &= !self.run(0, job, workers, now);
            }
            if is_quiet {
                return;
            }
        }
    }

    /// Whether it was a job of the graph.
    fn run(&mut self, worker: usize, job: Job, workers: &mut [Worker], now: Instant) -> bool {
        let is_of_graph = job.is_of_graph();
        if is_of_graph {
            workers[worker].run(job, now);
            self.router.done();
        } else {
            self.aside.push_back(job);
        }
        is_of_graph
    }

    fn put_back(&mut self) {
        for job in self.aside.drain(..) {
            self.router.again(job);
        }
    }
}

fn exchange(workers: &mut [Worker], rest: &mut Rest, next: Next, now: Instant) {
    let Some(old) = workers.first().map(|worker| Arc::clone(&worker.graph)) else { return };
    rest.settle(workers, now);
    for &pipeline in &old.downstream_order {
        for stage in 0..old.pipelines[pipeline].stages.len() {
            if next.keeps_stage((pipeline, stage)) {
                continue;
            }
            for worker in workers.iter_mut() {
                worker.run(Job::Drain { pipeline, stage }, now);
            }
            rest.settle(workers, now);
        }
        for end in &old.pipelines[pipeline].ends {
            let Target::Connector(index) = end.target else { continue };
            if next.keeps_connector(index) {
                continue;
            }
            for worker in workers.iter_mut() {
                worker.run(Job::DrainConnector(index), now);
            }
            rest.settle(workers, now);
        }
    }
    let Next { graph, stages, connectors, install } = next;
    let mut before: Vec<_> = workers.iter_mut().map(Worker::take_replicas).collect();
    for (pipeline, origins) in graph.pipelines.iter().zip(stages) {
        for worker in workers.iter_mut() {
            worker.replicas.push(Vec::new());
        }
        for (stage, origin) in pipeline.stages.iter().zip(origins) {
            let mut replicas: VecDeque<Box<dyn Processor>> = match origin {
                Origin::Built(replicas) => replicas.into(),
                Origin::Kept((p, s)) => {
                    before.iter_mut().filter_map(|(all, _)| all[p][s].take()).collect()
                }
            };
            for worker in workers.iter_mut() {
                let is_here = stage.is_replicated() || stage.owner == worker.index();
                let replica = if is_here { replicas.pop_front() } else { None };
                if let Some(chain) = worker.replicas.last_mut() {
                    chain.push(replica);
                }
            }
        }
    }
    for origin in connectors {
        let mut replicas: VecDeque<Box<dyn Processor>> = match origin {
            Origin::Built(replicas) => replicas.into(),
            Origin::Kept(index) => {
                before.iter_mut().filter_map(|(_, all)| all[index].take()).collect()
            }
        };
        for worker in workers.iter_mut() {
            worker.connectors.extend(replicas.pop_front());
        }
    }
    for worker in workers.iter_mut() {
        worker.graph = Arc::clone(&graph);
    }
    install();
}

#[cfg(test)]
mod tests;
