//! Between the workers and the exporters: a queue for each exporter, in memory and on disk, and how
//! its payloads are encoded, sent, retried, and given up.

mod bug;
pub mod dead_letters;
mod fill;
mod gather;
pub mod offload;
mod outage;
mod partial;
pub mod queue;
pub mod retry;
mod sender;
pub mod spool;
pub mod workspace;
