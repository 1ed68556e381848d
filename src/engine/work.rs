//! The workers: which jobs they have, the graph that they run, and how it is exchanged under them.

pub mod exchange;
pub mod graph;
pub mod job;
pub mod pool;
#[cfg(test)]
mod sharing;
pub mod worker;
