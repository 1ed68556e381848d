//! The processors: one file each, one [`Entry`] each in [`ALL`].

use crate::component::{Entry, ProcessorConfig};

/// Every processor type, by canonical name.
pub const ALL: &[Entry<dyn ProcessorConfig>] = &[];
