//! How requests come in: permits out of the byte budget, checks, journals, and the routes into
//! pipelines.
//!
//! ```text
//! receiver -> door (permit, submit) -> arrival, on a worker (admission -> journal -> pipelines)
//! ```

mod admission;
pub mod arrival;
pub mod door;
mod first_data;
pub mod journal;
pub mod replay;
pub mod routes;
