//! The replicas of one worker, and when their timers are due.
//!
//! Invariant: `due` of a replica is what its processor answered after its last call, or nothing
//! after it was drained, and `next_tick` is the earliest of them. A processor changes its timer
//! only when it is called.

use std::time::Instant;

use crate::component::Processor;

/// One instance of a processor or connector.
pub(super) struct Replica {
    processor: Box<dyn Processor>,
    due: Option<Instant>,
}

impl Replica {
    pub(super) fn new(processor: Box<dyn Processor>) -> Self {
        let due = processor.next_tick();
        Replica { processor, due }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }
}

/// All replicas of one worker.
#[derive(Default)]
pub(super) struct Replicas {
    /// `[pipeline][stage]`; `None` if another worker owns the stage.
    stages: Vec<Vec<Option<Replica>>>,
    connectors: Vec<Option<Replica>>,
    next_tick: Option<Instant>,
}

impl Replicas {
    /// Adds a pipeline without stages.
    pub(super) fn begin_pipeline(&mut self) {
        self.stages.push(Vec::new());
    }

    /// Adds a stage to the last pipeline.
    pub(super) fn push_stage(&mut self, replica: Option<Replica>) {
        self.reschedule(None, replica.as_ref().and_then(|replica| replica.due));
        if let Some(pipeline) = self.stages.last_mut() {
            pipeline.push(replica);
        }
    }

    pub(super) fn push_connector(&mut self, replica: Option<Replica>) {
        self.reschedule(None, replica.as_ref().and_then(|replica| replica.due));
        self.connectors.push(replica);
    }

    /// Takes a replica out, to put it into another graph.
    pub(super) fn take_stage(&mut self, pipeline: usize, stage: usize) -> Option<Replica> {
        self.stages[pipeline][stage].take()
    }

    /// Takes a connector out, to put it into another graph.
    pub(super) fn take_connector(&mut self, index: usize) -> Option<Replica> {
        self.connectors[index].take()
    }

    pub(super) fn has_stage(&self, pipeline: usize, stage: usize) -> bool {
        self.stages[pipeline][stage].is_some()
    }

    pub(super) fn has_connector(&self, index: usize) -> bool {
        self.connectors[index].is_some()
    }

    /// The earliest timer.
    pub(super) fn next_tick(&self) -> Option<Instant> {
        self.next_tick
    }

    pub(super) fn is_stage_due(&self, pipeline: usize, stage: usize, now: Instant) -> bool {
        self.stages[pipeline][stage].as_ref().is_some_and(|replica| replica.is_due(now))
    }

    pub(super) fn is_connector_due(&self, index: usize, now: Instant) -> bool {
        self.connectors[index].as_ref().is_some_and(|replica| replica.is_due(now))
    }

    /// Calls a processor, if this worker has a replica of it.
    pub(super) fn call_stage(
        &mut self,
        pipeline: usize,
        stage: usize,
        action: impl FnOnce(&mut dyn Processor),
    ) {
        let (before, after) = call(&mut self.stages[pipeline][stage], action);
        self.reschedule(before, after);
    }

    /// Calls a connector.
    pub(super) fn call_connector(&mut self, index: usize, action: impl FnOnce(&mut dyn Processor)) {
        let (before, after) = call(&mut self.connectors[index], action);
        self.reschedule(before, after);
    }

    /// Stops the timer of a stage that has been drained, until it is called again: what a timer
    /// emits would find the queues closed.
    pub(super) fn rest_stage(&mut self, pipeline: usize, stage: usize) {
        let before = self.stages[pipeline][stage].as_mut().and_then(|replica| replica.due.take());
        self.reschedule(before, None);
    }

    /// The same for a connector.
    pub(super) fn rest_connector(&mut self, index: usize) {
        let before = self.connectors[index].as_mut().and_then(|replica| replica.due.take());
        self.reschedule(before, None);
    }

    /// Updates the earliest timer after one of them has changed.
    fn reschedule(&mut self, before: Option<Instant>, after: Option<Instant>) {
        if before == after {
            return;
        }
        self.next_tick = if before.is_some() && before == self.next_tick {
            self.earliest()
        } else {
            [self.next_tick, after].into_iter().flatten().min()
        };
    }

    fn earliest(&self) -> Option<Instant> {
        let all = self.stages.iter().flatten().chain(&self.connectors).flatten();
        all.filter_map(|replica| replica.due).min()
    }
}

/// Calls a replica, if it is there. Returns when its timer was due before and when it is now.
fn call(
    replica: &mut Option<Replica>,
    action: impl FnOnce(&mut dyn Processor),
) -> (Option<Instant>, Option<Instant>) {
    let Some(replica) = replica else { return (None, None) };
    let before = replica.due;
    action(&mut *replica.processor);
    replica.due = replica.processor.next_tick();
    (before, replica.due)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use super::*;
    use crate::{component::Output, otlp::Payload};

    /// Has a timer at a time that its calls set, and counts how often it was asked for it.
    struct Timed {
        due: Option<Instant>,
        asked: Arc<AtomicUsize>,
    }

    impl Processor for Timed {
        fn process(&mut self, _: Payload, _: &mut Output) {}

        fn next_tick(&self) -> Option<Instant> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            self.due
        }

        fn tick(&mut self, out: &mut Output) {
            self.due = Some(out.now + Duration::from_secs(1));
        }

        fn drain(&mut self, _: &mut Output) {
            self.due = None;
        }
    }

    #[test]
    fn the_earliest_timer_is_known_and_only_a_call_asks_for_it() {
        let asked: [Arc<AtomicUsize>; 3] = std::array::from_fn(|_| Arc::default());
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let replica = |index: usize, due| {
            let asked = Arc::clone(&asked[index]);
            Some(Replica::new(Box::new(Timed { due, asked })))
        };
        let mut replicas = Replicas::default();
        replicas.begin_pipeline();
        replicas.push_stage(replica(0, Some(at(5))));
        replicas.push_stage(None);
        replicas.begin_pipeline();
        replicas.push_stage(replica(1, None));
        replicas.push_connector(replica(2, Some(at(3))));
        assert_eq!(replicas.next_tick(), Some(at(3)));
        let tick =
            |second| move |timed: &mut dyn Processor| timed.tick(&mut Output::at(at(second)));
        // An earlier one, a later one, one that was the earliest, none.
        replicas.call_stage(1, 0, tick(0));
        assert_eq!(replicas.next_tick(), Some(at(1)));
        replicas.call_stage(1, 0, tick(9));
        assert_eq!(replicas.next_tick(), Some(at(3)));
        assert!(replicas.is_connector_due(0, at(3)) && !replicas.is_connector_due(0, at(2)));
        assert!(replicas.is_stage_due(0, 0, at(5)) && !replicas.is_stage_due(0, 1, at(5)));
        replicas.call_connector(0, tick(6));
        assert_eq!(replicas.next_tick(), Some(at(5)));
        replicas.call_stage(0, 0, |timed| timed.drain(&mut Output::at(start)));
        assert_eq!(replicas.next_tick(), Some(at(7)));
        replicas.rest_stage(0, 0);
        replicas.rest_connector(0);
        assert_eq!(replicas.next_tick(), Some(at(10)));
        replicas.rest_stage(1, 0);
        assert_eq!(replicas.next_tick(), None);
        replicas.call_stage(0, 1, |_| unreachable!("another worker has it"));
        let asked = asked.map(|asked| asked.load(Ordering::Relaxed));
        assert_eq!(asked, [2, 3, 2], "once when it is built, and after each call");
    }
}
