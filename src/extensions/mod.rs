//! The extensions: one file each, one [`Entry`] each in [`ALL`].

pub mod health_check;
mod pages;
pub mod pprof;
pub mod zpages;

use crate::component::{Entry, ExtensionConfig};

/// Every extension type, by canonical name.
pub const ALL: &[Entry<dyn ExtensionConfig>] =
    &[health_check::ENTRY, health_check::ENTRY_V2, pprof::ENTRY, zpages::ENTRY];
