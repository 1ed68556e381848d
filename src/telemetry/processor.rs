//! What the engine counts about each processor in each pipeline, all workers together. What a
//! processor counts itself is in its own file.

use super::{
    metric::{Counter, Desc},
    registry::Meter,
    tap::{TapPoint, Tapped},
};
use crate::otlp::Signal;

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
        }
    }
}

impl Tapped for ProcessorStats {
    fn tap(&self) -> &TapPoint {
        &self.tap
    }
}
