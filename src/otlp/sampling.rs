//! What samplers share: thresholds and randomness of consistent probability sampling, where they
//! are in `tracestate` (the chapter on probability sampling of the OpenTelemetry specification),
//! and how many items a kept one stands for.

mod said;
mod threshold;
mod tracestate;
mod weights;

pub(crate) use said::{RANDOMNESS, Said, THRESHOLD};
pub(crate) use threshold::{Randomness, Threshold};
pub(crate) use tracestate::TraceState;
pub(crate) use weights::{Answer, GROWTH, Weighing, Weights, rate};
