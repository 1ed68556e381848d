//! What the engine keeps on disk: the logs of journals, queues and dead letters, and the
//! directories that they are in.

pub mod look;
pub(super) mod notes;
pub mod storages;
pub mod stored;
mod suspects;
