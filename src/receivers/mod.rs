//! The receivers: one file each, one [`Entry`] each in [`ALL`].

mod astray;
pub mod awscloudwatchlogs;
pub mod awsxray;
pub mod journal;
pub mod nop;
pub mod otlp;
mod stray;

use crate::component::{Entry, ReceiverConfig};

/// Every receiver type, by canonical name.
pub const ALL: &[Entry<dyn ReceiverConfig>] =
    &[awscloudwatchlogs::ENTRY, awsxray::ENTRY, nop::ENTRY, otlp::ENTRY];
