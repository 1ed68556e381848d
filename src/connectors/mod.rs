//! The connectors: one file each, one [`Entry`] each in [`ALL`]. What several share is in files
//! without one.

mod attributes;
pub mod count;
pub mod exceptions;
pub mod forward;
mod histogram;
mod metrics;
mod names;
mod payloads;
pub mod routing;
mod series;
pub mod servicegraph;
pub mod span_metrics;
pub mod sum;
mod tally;
#[cfg(test)]
mod trial;

use crate::component::{ConnectorConfig, Entry};

/// Every connector type, by canonical name.
pub const ALL: &[Entry<dyn ConnectorConfig>] = &[
    count::ENTRY,
    exceptions::ENTRY,
    forward::ENTRY,
    routing::ENTRY,
    servicegraph::ENTRY,
    span_metrics::ENTRY,
    sum::ENTRY,
];
