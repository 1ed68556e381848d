//! A worker: the synchronous code that runs tasks and processors. It owns its replicas of the
//! processors, so there is no lock between a payload and an edit.
//!
//! A processor is asked for its next timer only after it was called. The worker remembers the
//! answer and keeps the earliest of all, so a job costs nothing for processors that it does not
//! reach.
//!
//! Time is an argument of every call, so tests run a worker in virtual time.

use std::{sync::Arc, time::Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use smallvec::SmallVec;

use super::{
    graph::{Graph, Pipeline, Stage, Target},
    job::{Job, Router, Task},
    replicas::Replicas,
};
use crate::{
    component::{Output, Partition, Processor},
    otlp::{Payload, content::Content},
    telemetry::{EdgeStats, tap::Seen},
};

type Work = SmallVec<[(usize, usize, Payload); 4]>;

/// A call of a processor that somebody looks at; boxed, since nearly always nobody does.
type Look = Option<Box<Seen>>;

/// With a payload of more items, a worker does other jobs between two processors. A processor takes
/// about 100 ns for an item, and a request of 20 MiB may have ten million empty ones.
pub(in crate::engine) const LARGE: u64 = 64 << 10;

/// One worker: its replicas, and the router to the others.
pub struct Worker {
    index: usize,
    pub(super) graph: Arc<Graph>,
    pub(super) replicas: Replicas,
    router: Router,
}

impl Worker {
    /// A worker with an empty graph.
    pub(super) fn new(index: usize, router: Router) -> Self {
        Worker { index, graph: Arc::default(), replicas: Replicas::default(), router }
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
            Job::Connector { index, payload } => {
                self.call_connector(index, now, |connector, out| connector.process(payload, out));
            }
            Job::Pause(_) | Job::Stop => {}
            Job::Drain { pipeline, stage } => {
                self.call(pipeline, stage, now, |processor, out| processor.drain(out));
                self.replicas.rest_stage(pipeline, stage);
            }
            Job::DrainConnector(index) => {
                self.call_connector(index, now, |connector, out| connector.drain(out));
                self.replicas.rest_connector(index);
            }
        }
    }

    /// When `tick` is due; `None` while no processor has a timer.
    pub fn next_tick(&self) -> Option<Instant> {
        self.replicas.next_tick()
    }

    /// Calls every processor whose timer is due.
    pub fn tick(&mut self, now: Instant) {
        let graph = Arc::clone(&self.graph);
        for (p, pipeline) in graph.pipelines.iter().enumerate() {
            for s in 0..pipeline.stages.len() {
                if self.replicas.is_stage_due(p, s, now) {
                    self.call(p, s, now, |processor, out| processor.tick(out));
                }
            }
        }
        for index in 0..graph.connectors.len() {
            if self.replicas.is_connector_due(index, now) {
                self.call_connector(index, now, |connector, out| connector.tick(out));
            }
        }
    }

    /// Queues a task for any worker.
    pub fn later(&self, task: Task) {
        self.router.to_any(Job::Task(task));
    }

    /// Hands a payload to pipelines of the graph, and counts the traffic into each.
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
            if !self.replicas.has_stage(p, s) {
                self.router.to_worker(stage.owner, Job::Payload { pipeline: p, stage: s, payload });
                continue;
            }
            if let Some(edge) = &stage.edge {
                tally(edge, &payload);
            }
            stage.stats.incoming.add(payload.items);
            let look = look(stage, Some(&payload));
            if stage.is_shared_out() && self.router.workers() > 1 {
                // Other workers may be done with their shares before this one is.
                let look = look.map(|input| {
                    stage.stats.tap.show(&input);
                    Box::new(Seen::nothing())
                });
                self.share_out((p, s), payload, now, &mut work, look);
                continue;
            }
            let mut out = Output::at(now);
            self.replicas.call_stage(p, s, |processor| processor.process(payload, &mut out));
            self.collect(p, s, &mut out, &mut work, look);
        }
    }

    /// Gives each worker its share of a payload, this one too.
    fn share_out(
        &mut self,
        (p, s): (usize, usize),
        payload: Payload,
        now: Instant,
        work: &mut Work,
        look: Look,
    ) {
        let mut out = Output::at(now);
        let (index, router) = (self.index, &self.router);
        self.replicas.call_stage(p, s, |processor| {
            let Some(owner) = processor.by_trace() else {
                return processor.process(payload, &mut out);
            };
            let shares = owner.share(payload, router.workers(), &mut out);
            for (worker, share) in shares.into_iter().enumerate() {
                let Some(share) = share else { continue };
                if worker == index {
                    owner.take(share, &mut out);
                } else {
                    router.to_worker(worker, Job::Share { pipeline: p, stage: s, share });
                }
            }
        });
        self.collect(p, s, &mut out, work, look);
    }

    /// Calls a processor that is not in the flow of a payload, then passes on what it emits.
    fn call(
        &mut self,
        p: usize,
        s: usize,
        now: Instant,
        action: impl FnOnce(&mut dyn Processor, &mut Output),
    ) {
        let look = look(&self.graph.pipelines[p].stages[s], None);
        let mut out = Output::at(now);
        self.replicas.call_stage(p, s, |processor| action(processor, &mut out));
        let mut work = Work::new();
        self.collect(p, s, &mut out, &mut work, look);
        self.advance(work, now);
    }

    /// The same for a connector.
    fn call_connector(
        &mut self,
        index: usize,
        now: Instant,
        action: impl FnOnce(&mut dyn Processor, &mut Output),
    ) {
        let mut out = Output::at(now);
        self.replicas.call_connector(index, |connector| action(connector, &mut out));
        let work = self.distribute(index, &mut out);
        self.advance(work, now);
    }

    fn collect(&mut self, p: usize, s: usize, out: &mut Output, work: &mut Work, look: Look) {
        let pipeline = &self.graph.pipelines[p];
        let stats = &pipeline.stages[s].stats;
        let (filtered, refused) = out.take_counts();
        if let Some(seen) = look {
            let outputs = out.emitted().iter().map(Content::of).collect();
            stats.tap.show(&Seen { outputs, filtered, refused, reason: out.reason(), ..*seen });
        }
        if filtered > 0 {
            stats.filtered.add(filtered);
        }
        if refused > 0 {
            stats.refuse(refused, out.take_reason());
        }
        // After a stage with one owner, any worker goes on: splitting and editing a batch need not
        // burden the owner. If only queues follow, there is no work to share.
        let goes_on = pipeline.stages.len() > s + 1;
        let has_one_owner = !pipeline.stages[s].is_replicated() && self.router.workers() > 1;
        for payload in out.take() {
            stats.outgoing.add(payload.items);
            if goes_on && (has_one_owner || payload.items > LARGE) {
                self.router.to_any(Job::Payload { pipeline: p, stage: s + 1, payload });
            } else {
                work.push((p, s + 1, payload));
            }
        }
    }

    /// Gives a payload to all ends of its pipeline. They share the bytes, and none waits for
    /// another.
    fn end(&mut self, pipeline: &Pipeline, payload: Payload, work: &mut Work, now: Instant) {
        let last = pipeline.ends.len().saturating_sub(1);
        let mut payload = Some(payload);
        for (i, end) in pipeline.ends.iter().enumerate() {
            let copy = if i == last { payload.take() } else { payload.clone() };
            let Some(copy) = copy else { return };
            count(Some(&end.edge), &copy);
            match end.target {
                Target::Queue(queue) => self.graph.queues[queue].enqueue(copy),
                Target::Connector(index) if !self.replicas.has_connector(index) => {
                    let owner = self.graph.connectors[index].owner.unwrap_or(self.index);
                    self.router.to_worker(owner, Job::Connector { index, payload: copy });
                }
                Target::Connector(index) => {
                    let mut out = Output::at(now);
                    let connector = |c: &mut dyn Processor| c.process(copy, &mut out);
                    self.replicas.call_connector(index, connector);
                    work.extend(self.distribute(index, &mut out));
                }
            }
        }
    }

    /// Distributes what a connector emitted over the pipelines that it feeds.
    fn distribute(&self, index: usize, out: &mut Output) -> Work {
        let targets = &self.graph.connectors[index].targets;
        let mut work = Work::new();
        for (outlet, payload) in out.take_directed() {
            // A connector knows its outlets; a payload for another one is dropped, and so has
            // failed.
            let Some((pipeline, edge)) = targets.get(outlet) else { continue };
            count(edge.as_deref(), &payload);
            work.push((*pipeline, 0, payload));
        }
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

    /// Which worker this is.
    pub fn index(&self) -> usize {
        self.index
    }
}

/// A worker that is paused, with its queues.
pub struct PausedWorker {
    pub(super) worker: Worker,
    pub(super) own: Receiver<Job>,
    pub(super) any: Receiver<Job>,
    pub(super) resume: Sender<Worker>,
}

/// Called by a worker's thread: hands the worker out and waits until it comes back; `None` if
/// the thread that took it has panicked.
pub(super) fn pause(
    worker: Worker,
    own: &Receiver<Job>,
    any: &Receiver<Job>,
    asked: &Sender<PausedWorker>,
) -> Option<Worker> {
    let (resume, resumed) = bounded(1);
    let paused = PausedWorker { worker, own: own.clone(), any: any.clone(), resume };
    match asked.send(paused) {
        Ok(()) => resumed.recv().ok(),
        // Nobody waits for it any more.
        Err(unsent) => Some(unsent.0.worker),
    }
}

/// What a tap on a processor is shown of a call; `None` if there is no tap, which takes one load.
#[inline]
fn look(stage: &Stage, input: Option<&Payload>) -> Look {
    let is_direct = stage.partition == Partition::Any;
    let seen = || input.map_or_else(Seen::nothing, Seen::input);
    stage.stats.tap.is_open().then(|| Box::new(Seen { is_direct, ..seen() }))
}

/// Counts what passes an edge from a source or to an end, and shows it if a tap is there.
#[inline]
fn count(edge: Option<&EdgeStats>, payload: &Payload) {
    let Some(edge) = edge else { return };
    tally(edge, payload);
    if edge.tap.is_open() {
        edge.tap.show(&Seen::input(payload));
    }
}

fn tally(edge: &EdgeStats, payload: &Payload) {
    edge.payloads.add(1);
    edge.items.add(payload.items);
    edge.bytes.add(payload.len() as u64);
}
