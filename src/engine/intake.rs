//! How requests come in.
//!
//! ```text
//! receiver (tokio)                                     worker
//! inlet -> admission: room, permit -> read body -> arrival -> unpack -> [journal] -> pipelines
//!              \------------------------ route -----------------------/
//! ```
//!
//! Four words:
//!
//! - *inlet*: the engine as one receiver sees it ([`inlet`]).
//! - *admission*: the handle by which one request comes in. It waits for room, pays for the body
//!   and hands the arrival to the workers ([`inlet`]).
//! - *arrival*: a body as a receiver has read it, perhaps compressed and not yet checked
//!   ([`arrival`]).
//! - *route*: where the data of one receiver and signal goes ([`route`]). An admission looks it up
//!   once. A reload links the old route to its successor, so that a worker that takes up an arrival
//!   finds the route that belongs to its graph without a lock.

pub mod arrival;
pub mod inlet;
pub mod journal;
pub mod replay;
pub mod route;
mod seen;
mod unpack;
