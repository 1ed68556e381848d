//! The workers: their jobs, the graph that they run, and how a reload exchanges it.

pub mod backlog;
#[cfg(test)]
mod connecting;
pub mod exchange;
pub mod graph;
pub mod job;
pub mod pool;
mod replicas;
#[cfg(test)]
mod sharing;
pub mod worker;
