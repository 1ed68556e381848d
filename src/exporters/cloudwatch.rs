//! What the exporters of CloudWatch Logs share: names made of attributes, events packed into
//! requests by the limits of `PutLogEvents`, groups and streams that are created when they are
//! missing.
//!
//! ```text
//! worker: event -> Gather, by group and stream -> sorted, cut into batches -> pieces of a request
//! tokio:  pieces -> streams side by side, the batches of each in order -> PutLogEvents
//! ```

pub(super) mod batch;
pub(super) mod group;
pub(super) mod left_out;
pub(super) mod name;
pub(super) mod put;
pub(super) mod streams;
