//! The connectors: one file each, one [`Entry`] each in [`ALL`].

pub mod forward;

use crate::component::{ConnectorConfig, Entry};

/// Every connector type, by canonical name.
pub const ALL: &[Entry<dyn ConnectorConfig>] = &[forward::ENTRY];
