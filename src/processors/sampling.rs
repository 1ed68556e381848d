//! What samplers share: thresholds and randomness of consistent probability sampling, and where
//! they are in `tracestate` (the chapter on probability sampling of the OpenTelemetry
//! specification).

mod attribute;
mod threshold;
mod tracestate;

pub(super) use attribute::{put_attribute, put_text, put_truth};
pub(super) use threshold::{Randomness, Threshold};
pub(super) use tracestate::TraceState;
