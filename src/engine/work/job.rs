//! The jobs of workers and their queues: one queue that every worker takes from, and one for each
//! worker with jobs that only it may do.
//!
//! The queues need no bound of their own: the byte budget has admitted all that is in them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::{
    backlog::Backlog,
    worker::{PausedWorker, Worker},
};
use crate::{component::Share, otlp::Payload};

/// Work that refers to no place in the graph, such as a body that arrives or the encoding for an
/// exporter. It may run after the graph has been exchanged.
pub type Task = Box<dyn FnOnce(&mut Worker, Instant) + Send>;

/// What a worker is asked to do.
pub enum Job {
    /// See [`Task`].
    Task(Task),
    /// A payload that goes on at a stage of a pipeline.
    Payload {
        /// Index into the graph's pipelines.
        pipeline: usize,
        /// Index into its stages.
        stage: usize,
        /// The payload.
        payload: Payload,
    },
    /// The part of a payload that this worker owns, at a stage that is split by trace. The worker
    /// that split the payload has counted it.
    Share {
        /// Index into the graph's pipelines.
        pipeline: usize,
        /// Index into its stages.
        stage: usize,
        /// The part.
        share: Share,
    },
    /// A payload for a connector that this worker owns.
    Connector {
        /// Index into the graph's connectors.
        index: usize,
        /// The payload.
        payload: Payload,
    },
    /// Emit what a stage still holds.
    Drain {
        /// Index into the graph's pipelines.
        pipeline: usize,
        /// Index into its stages.
        stage: usize,
    },
    /// Emit what a connector still holds.
    DrainConnector(usize),
    /// Pause until the graph has been exchanged. Only for threads, like `Stop`.
    Pause(Sender<PausedWorker>),
    /// End the worker's thread.
    Stop,
}

impl Job {
    /// Whether it refers to a place in the graph, so that it must run before the graph changes.
    pub(super) fn is_bound_to_graph(&self) -> bool {
        match self {
            Job::Payload { .. }
            | Job::Share { .. }
            | Job::Connector { .. }
            | Job::Drain { .. }
            | Job::DrainConnector(_) => true,
            Job::Task(_) | Job::Pause(_) | Job::Stop => false,
        }
    }
}

/// Sends jobs to the workers' queues.
#[derive(Clone)]
pub struct Router {
    any: Sender<Job>,
    own: Arc<[Sender<Job>]>,
    pub(super) backlog: Arc<Backlog>,
    /// Counts the jobs that were sent to one worker after another.
    turn: Arc<AtomicUsize>,
}

impl Router {
    /// A router with the receiving ends of its queues: the common one, and one for each worker.
    pub(super) fn new(workers: usize) -> (Self, Receiver<Job>, Vec<Receiver<Job>>) {
        let (any_sender, any) = unbounded();
        let (own_senders, own): (Vec<_>, Vec<_>) = (0..workers).map(|_| unbounded()).unzip();
        let (backlog, turn) = (Arc::default(), Arc::default());
        (Router { any: any_sender, own: own_senders.into(), backlog, turn }, any, own)
    }

    /// Sends a job to the common queue.
    pub fn to_any(&self, job: Job) {
        self.backlog.add();
        // This fails only after the workers have ended. The job's payload is then dropped
        // unsettled, and so has failed.
        if self.any.send(job).is_err() {
            self.backlog.done();
        }
    }

    /// Sends a job to one worker.
    pub fn to_worker(&self, index: usize, job: Job) {
        self.backlog.add();
        if self.own[index].send(job).is_err() {
            self.backlog.done();
        }
    }

    /// Sends a job to the common queue, or, if other jobs wait there, past them to the next worker
    /// in turn: sending data makes room for new data. Without this, four times the sustainable load
    /// left 85 to 105 % of the throughput, with it 92 to 107 % (`tests/it/goodput.rs`).
    pub(super) fn to_any_first(&self, job: Job) {
        if self.any.is_empty() {
            return self.to_any(job);
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.to_worker(turn % self.own.len(), job);
    }

    /// Sends a job back that is already counted.
    pub(super) fn put_back(&self, job: Job) {
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
