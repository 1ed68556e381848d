//! Tests of the language as a whole: the cases of the Collector, what is found at the start, and
//! properties of random programs on random requests.

mod cases;
mod edges;
mod metrics;
pub(crate) mod oracle;
mod properties;
mod runs;
mod start;
