//! The exporters: one file each, one [`Entry`] each in [`ALL`].

pub mod delivery;

use crate::component::{Entry, ExporterConfig};

/// Every exporter type, by canonical name.
pub const ALL: &[Entry<dyn ExporterConfig>] = &[];
