//! Processors that are split by trace id: one worker reads a payload, and each worker gets the
//! spans of the traces that it owns.

use std::any::Any;

use super::{Output, Processor};
use crate::otlp::Payload;

/// What one worker owns of a payload.
pub struct Share {
    /// The whole body, with the items, receipts and permits of this owner only.
    pub payload: Payload,
    /// What the processor has read of the body, in its own form.
    pub reading: Box<dyn Any + Send>,
}

/// A processor with [`Partition::ByTrace`](super::Partition::ByTrace), on several workers.
pub trait ByTrace: Processor {
    /// Reads a payload on the worker where it arrived, and gives each of `owners` workers its
    /// share, or `None` if that worker owns nothing of it. Empty if the payload was refused.
    fn share(&mut self, payload: Payload, owners: usize, out: &mut Output) -> Vec<Option<Share>>;

    /// Takes the share of this worker, which another one may have read.
    fn take(&mut self, share: Share, out: &mut Output);
}
