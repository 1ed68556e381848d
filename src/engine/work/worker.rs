//! A worker: the synchronous loop body that runs tasks and processors. It owns `&mut`
//! replicas of the processors, so there is no lock between a payload and an edit.
//!
//! Time is an argument of every call, so tests run a worker in virtual time.

use std::{sync::Arc, time::Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use smallvec::SmallVec;

use super::{
    graph::{Graph, Pipeline, Target},
    job::{Job, Router, Task},
};
use crate::{
    component::{Output, Processor, StartError},
    otlp::Payload,
    telemetry::EdgeStats,
};

/// Of stages by pipeline, and of connectors.
pub(super) type Replicas = (Vec<Vec<Option<Box<dyn Processor>>>>, Vec<Option<Box<dyn Processor>>>);

type Work = SmallVec<[(usize, usize, Payload); 4]>;

/// With a payload of more items, a worker does other jobs between two processors. A processor takes
/// about 100 ns for an item, and a request of 20 MiB may have ten million empty ones.
pub(in crate::engine) const LARGE: u64 = 64 << 10;

/// One worker's replicas and its way to the others.
pub struct Worker {
    index: usize,
    pub(super) graph: Arc<Graph>,
    /// `[pipeline][stage]`; none where another worker owns the stage.
    pub(super) replicas: Vec<Vec<Option<Box<dyn Processor>>>>,
    pub(super) connectors: Vec<Box<dyn Processor>>,
    router: Router,
}

impl Worker {
    /// Builds all workers with their replicas.
    pub fn build_all(
        count: usize,
        graph: &Arc<Graph>,
        router: &Router,
    ) -> Result<Vec<Self>, StartError> {
        let new = |index| Worker {
            index,
            graph: Arc::clone(graph),
            replicas: Vec::new(),
            connectors: Vec::new(),
            router: router.clone(),
        };
        let mut workers: Vec<Worker> = (0..count).map(new).collect();
        for pipeline in &graph.pipelines {
            for worker in &mut workers {
                worker.replicas.push(Vec::new());
            }
            for stage in &pipeline.stages {
                let wanted = if stage.is_replicated() { count } else { 1 };
                let mut replicas = (stage.build)(wanted)?.into_iter();
                for worker in &mut workers {
                    let is_here = stage.is_replicated() || stage.owner == worker.index;
                    let replica = if is_here { replicas.next() } else { None };
                    if let Some(chain) = worker.replicas.last_mut() {
                        chain.push(replica);
                    }
                }
            }
        }
        for connector in &graph.connectors {
            let replicas = (connector.build)(count)?;
            for (worker, replica) in workers.iter_mut().zip(replicas) {
                worker.connectors.push(replica);
            }
        }
        Ok(workers)
    }

    /// Does one job.
    pub fn run(&mut self, job: Job, now: Instant) {
        match job {
            Job::Task(task) => task(self, now),
            Job::Payload { pipeline, stage, payload } => {
                self.advance(smallvec::smallvec![(pipeline, stage, payload)], now);
            }
            Job::Share { pipeline, stage, share } => {
                self.call(pipeline, stage, now, |processor, out| match processor.by_trace() {
                    Some(owner) => owner.take(share, out),
                    None => processor.process(share.payload, out),
                });
            }
            Job::Exchange(_) | Job::Stop => {}
            Job::Drain { pipeline, stage } => {
                self.call(pipeline, stage, now, |processor, out| processor.drain(out));
            }
            Job::DrainConnector(index) => {
                let mut out = Output::at(now);
                self.connectors[index].drain(&mut out);
                let work = self.distribute(index, &mut out);
                self.advance(work, now);
            }
        }
    }

    /// When `tick` is due; `None` while no processor holds anything.
    pub fn next_tick(&self) -> Option<Instant> {
        let chains = self.replicas.iter().flatten().flatten();
        chains.chain(&self.connectors).filter_map(|processor| processor.next_tick()).min()
    }

    /// Calls every processor whose time has come.
    pub fn tick(&mut self, now: Instant) {
        let graph = Arc::clone(&self.graph);
        for (p, pipeline) in graph.pipelines.iter().enumerate() {
            for s in 0..pipeline.stages.len() {
                let is_due = self.replicas[p][s]
                    .as_ref()
                    .and_then(|processor| processor.next_tick())
                    .is_some_and(|due| due <= now);
                if is_due {
                    self.call(p, s, now, |processor, out| processor.tick(out));
                }
            }
        }
        for index in 0..self.connectors.len() {
            if self.connectors[index].next_tick().is_some_and(|due| due <= now) {
                let mut out = Output::at(now);
                self.connectors[index].tick(&mut out);
                let work = self.distribute(index, &mut out);
                self.advance(work, now);
            }
        }
    }

    /// Hands a task to whichever worker is free first.
    pub fn later(&self, task: Task) {
        self.router.to_any(Job::Task(task));
    }

    /// Shows a payload to pipelines of the graph, each with the traffic into it.
    pub fn enter(
        &mut self,
        pipelines: &[(usize, Option<Arc<EdgeStats>>)],
        payload: Payload,
        now: Instant,
    ) {
        let mut work = Work::new();
        let last = pipelines.len().saturating_sub(1);
        let mut payload = Some(payload);
        for (i, (pipeline, edge)) in pipelines.iter().enumerate() {
            let copy = if i == last { payload.take() } else { payload.clone() };
            if let Some(copy) = copy {
                count(edge.as_deref(), &copy);
                work.push((*pipeline, 0, copy));
            }
        }
        self.advance(work, now);
    }

    /// Runs payloads until each is held, handed over, queued or ended.
    fn advance(&mut self, mut work: Work, now: Instant) {
        while let Some((p, s, payload)) = work.pop() {
            let graph = Arc::clone(&self.graph);
            let pipeline = &graph.pipelines[p];
            let Some(stage) = pipeline.stages.get(s) else {
                self.end(pipeline, payload, &mut work, now);
                continue;
            };
            if self.replicas[p][s].is_none() {
                self.router.to_worker(stage.owner, Job::Payload { pipeline: p, stage: s, payload });
                continue;
            }
            count(stage.edge.as_deref(), &payload);
            stage.stats.incoming.add(payload.items);
            if stage.is_shared_out() && self.router.workers() > 1 {
                self.share_out(p, s, payload, now, &mut work);
                continue;
            }
            let mut out = Output::at(now);
            if let Some(processor) = &mut self.replicas[p][s] {
                processor.process(payload, &mut out);
            }
            self.collect(p, s, &mut out, &mut work);
        }
    }

    /// Gives each worker its share of a payload, this one too.
    fn share_out(&mut self, p: usize, s: usize, payload: Payload, now: Instant, work: &mut Work) {
        let Some(processor) = &mut self.replicas[p][s] else { return };
        let mut out = Output::at(now);
        if let Some(owner) = processor.by_trace() {
            let shares = owner.share(payload, self.router.workers(), &mut out);
            for (worker, share) in shares.into_iter().enumerate() {
                let Some(share) = share else { continue };
                if worker == self.index {
                    owner.take(share, &mut out);
                } else {
                    self.router.to_worker(worker, Job::Share { pipeline: p, stage: s, share });
                }
            }
        } else {
            processor.process(payload, &mut out);
        }
        self.collect(p, s, &mut out, work);
    }

    /// Calls one processor outside the flow of a payload, then lets what it emits go on.
    fn call(
        &mut self,
        p: usize,
        s: usize,
        now: Instant,
        action: impl FnOnce(&mut Box<dyn Processor>, &mut Output),
    ) {
        let Some(processor) = &mut self.replicas[p][s] else { return };
        let mut out = Output::at(now);
        action(processor, &mut out);
        let mut work = Work::new();
        self.collect(p, s, &mut out, &mut work);
        self.advance(work, now);
    }

    fn collect(&mut self, p: usize, s: usize, out: &mut Output, work: &mut Work) {
        let pipeline = &self.graph.pipelines[p];
        let stats = &pipeline.stages[s].stats;
        let (filtered, refused) = out.take_counts();
        if filtered > 0 {
            stats.filtered.add(filtered);
        }
        if refused > 0 {
            stats.refused.add(refused);
        }
        // An owner hands what comes after it back to everybody: splitting and editing a batch is
        // work for any worker. With nothing but queues after it there is no work to share.
        let goes_on = pipeline.stages.len() > s + 1;
        let is_shared = !pipeline.stages[s].is_replicated() && self.router.workers() > 1;
        for payload in out.take() {
            stats.outgoing.add(payload.items);
            if goes_on && (is_shared || payload.items > LARGE) {
                self.router.to_any(Job::Payload { pipeline: p, stage: s + 1, payload });
            } else {
                work.push((p, s + 1, payload));
            }
        }
    }

    /// Gives a payload to everything at the end of its pipeline. Siblings share the bytes; none
    /// waits for another.
    fn end(&mut self, pipeline: &Pipeline, payload: Payload, work: &mut Work, now: Instant) {
        let last = pipeline.ends.len().saturating_sub(1);
        let mut payload = Some(payload);
        for (i, end) in pipeline.ends.iter().enumerate() {
            let copy = if i == last { payload.take() } else { payload.clone() };
            let Some(copy) = copy else { return };
            count(Some(&end.edge), &copy);
            match end.target {
                Target::Queue(queue) => self.graph.queues[queue].enqueue(copy),
                Target::Connector(index) => {
                    let mut out = Output::at(now);
                    self.connectors[index].process(copy, &mut out);
                    work.extend(self.distribute(index, &mut out));
                }
            }
        }
    }

    /// Distributes what a connector emitted over the pipelines that it feeds.
    fn distribute(&self, index: usize, out: &mut Output) -> Work {
        let targets = &self.graph.connectors[index].targets;
        let mut work = Work::new();
        for payload in out.take() {
            let mut payload = Some(payload);
            for (i, (pipeline, edge)) in targets.iter().enumerate() {
                let is_last = i + 1 == targets.len();
                let copy = if is_last { payload.take() } else { payload.clone() };
                let Some(copy) = copy else { break };
                count(edge.as_deref(), &copy);
                work.push((*pipeline, 0, copy));
            }
        }
        work
    }

    /// Takes all replicas out: of the stages and of the connectors.
    pub(super) fn take_replicas(&mut self) -> Replicas {
        let connectors = std::mem::take(&mut self.connectors).into_iter().map(Some).collect();
        (std::mem::take(&mut self.replicas), connectors)
    }

    /// Which worker this is.
    pub fn index(&self) -> usize {
        self.index
    }
}

/// A worker that stands still, with its queues.
pub struct Standing {
    pub(super) worker: Worker,
    pub(super) own: Receiver<Job>,
    pub(super) any: Receiver<Job>,
    pub(super) back: Sender<Worker>,
}

/// Called by a worker's thread: hands the worker out and waits for what comes back. None: whoever
/// had it has panicked.
pub(super) fn stand(
    worker: Worker,
    own: &Receiver<Job>,
    any: &Receiver<Job>,
    asked: &Sender<Standing>,
) -> Option<Worker> {
    let (back, returned) = bounded(1);
    let standing = Standing { worker, own: own.clone(), any: any.clone(), back };
    match asked.send(standing) {
        Ok(()) => returned.recv().ok(),
        // Nobody waits any more.
        Err(unsent) => Some(unsent.0.worker),
    }
}

fn count(edge: Option<&EdgeStats>, payload: &Payload) {
    let Some(edge) = edge else { return };
    edge.payloads.add(1);
    edge.items.add(payload.items);
    edge.bytes.add(payload.len() as u64);
}
