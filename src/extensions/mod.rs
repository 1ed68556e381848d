//! The extensions: one file each, one [`Entry`] each in [`ALL`].

use crate::component::{Entry, ExtensionConfig};

/// Every extension type, by canonical name.
pub const ALL: &[Entry<dyn ExtensionConfig>] = &[];
