//! What the engine counts about each processor in each pipeline, all workers together. What a
//! processor counts itself is in its own file.

use std::sync::Mutex;

use super::{
    metric::{Counter, Desc},
    registry::Meter,
    tap::{TapPoint, Tapped},
};
use crate::{
    otlp::{Signal, payload::Reason},
    sync::lock,
};

const INCOMING: Desc =
    Desc::new("otelcol_processor_incoming_items", "{item}", "Items that came in");
const OUTGOING: Desc =
    Desc::new("otelcol_processor_outgoing_items", "{item}", "Items that went on");
const FILTERED: Desc =
    Desc::new("skep_processor_filtered_items", "{item}", "Items left out by decision");
const REFUSED: Desc =
    Desc::new("skep_processor_refused_items", "{item}", "Items that could not go on");

#[derive(Debug)]
pub struct ProcessorStats {
    /// Component id.
    pub id: String,
    /// Pipeline id.
    pub pipeline: String,
    pub signal: Signal,
    /// Items in.
    pub incoming: Counter,
    /// Items out.
    pub outgoing: Counter,
    /// Items left out by decision.
    pub filtered: Counter,
    /// Items refused.
    pub refused: Counter,
    /// Who looks at what goes in and comes out.
    pub tap: TapPoint,
    /// Why the last items were refused.
    last_refusal: Mutex<Option<Reason>>,
}

/// What a processor has counted until a moment, or between two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessorCounts {
    pub incoming: u64,
    pub outgoing: u64,
    pub filtered: u64,
    pub refused: u64,
}

impl ProcessorCounts {
    /// What was counted after `then`.
    #[must_use]
    pub fn since(&self, then: &Self) -> Self {
        ProcessorCounts {
            incoming: self.incoming.saturating_sub(then.incoming),
            outgoing: self.outgoing.saturating_sub(then.outgoing),
            filtered: self.filtered.saturating_sub(then.filtered),
            refused: self.refused.saturating_sub(then.refused),
        }
    }
}

impl ProcessorStats {
    pub(super) fn new(meter: &Meter, id: &str, pipeline: &str, signal: Signal) -> Self {
        let by_signal = [("processor", id), ("otel_signal", signal.name())];
        let by_pipeline = [("processor", id), ("pipeline", pipeline)];
        ProcessorStats {
            id: id.to_owned(),
            pipeline: pipeline.to_owned(),
            signal,
            incoming: meter.counter(&INCOMING, &by_signal),
            outgoing: meter.counter(&OUTGOING, &by_signal),
            filtered: meter.counter(&FILTERED, &by_pipeline),
            refused: meter.counter(&REFUSED, &by_pipeline),
            tap: TapPoint::default(),
            last_refusal: Mutex::default(),
        }
    }

    /// Counts items that were refused.
    pub fn refuse(&self, items: u64, reason: Option<Reason>) {
        self.refused.add(items);
        if reason.is_some() {
            *lock(&self.last_refusal) = reason;
        }
    }

    /// Why the last items were refused; `None` if none were.
    pub fn last_refusal(&self) -> Option<Reason> {
        *lock(&self.last_refusal)
    }

    /// What is counted until now.
    pub fn counts(&self) -> ProcessorCounts {
        ProcessorCounts {
            incoming: self.incoming.read(),
            outgoing: self.outgoing.read(),
            filtered: self.filtered.read(),
            refused: self.refused.read(),
        }
    }
}

impl Tapped for ProcessorStats {
    fn tap(&self) -> &TapPoint {
        &self.tap
    }
}
