//! Between the workers and the exporters: a queue for each exporter, in memory and on disk, and how
//! its payloads are encoded, sent, retried, and given up.
//!
//! ```text
//! gate --> queue (fill, spool) --> dispatcher (gather) --> sender: pieces, halves, dead letters
//!                                                          carrier: room, encode, attempt, pause
//! ```

pub mod allowance;
mod bug;
mod carrier;
pub mod dead_letters;
mod desk;
pub mod dispatcher;
mod fill;
pub mod gate;
mod gather;
mod meter;
pub mod offload;
mod outage;
mod partial;
pub mod queue;
pub mod retry;
mod sender;
pub mod spool;
mod state;
pub mod workspace;
