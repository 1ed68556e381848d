//! What OTLP is to skep: bytes that are checked once at the door and from then on read through
//! views and edited by splicing. Nothing in here knows pipelines, sockets or configuration.

#![warn(missing_docs)]

pub mod attribute;
pub mod check;
pub mod content;
pub mod custody;
pub mod digest;
pub mod filter;
pub mod json;
pub mod merge;
pub mod payload;
#[cfg(test)]
pub(crate) mod plain;
pub mod purse;
pub mod record;
pub(crate) mod sampling;
pub mod schema;
pub mod share;
pub mod splice;
pub mod split;
pub mod tally;
pub mod tee;
pub mod text;
pub mod view;
#[cfg(test)]
pub(crate) mod wild;
pub mod wire;

pub use content::Content;
pub use payload::{Payload, Signal};
