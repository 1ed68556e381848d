//! What the exporters of CloudWatch Logs share: names made of attributes, events packed into
//! requests by the limits of `PutLogEvents`, groups and streams that are created if they are
//! missing.
//!
//! ```text
//! worker: event -> Gather, by group and stream -> sorted, cut -> Batches
//! tokio:  Batches -> streams in parallel, the batches of each in order -> PutLogEvents
//! ```

pub(super) mod batch;
pub(super) mod group;
pub(super) mod left_out;
pub(super) mod name;
pub(super) mod put;
pub(super) mod streams;
