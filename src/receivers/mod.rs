//! The receivers: one file each, one [`Entry`] each in [`ALL`].

mod astray;
mod attributes;
pub mod awscloudwatchlogs;
pub mod awsxray;
mod body;
pub mod cors;
mod http_port;
pub mod journal;
mod json;
pub mod nop;
pub mod otlp;
mod refusal;
pub mod rollbar;
mod status;
mod stray;
mod translated;

use crate::component::{Entry, ReceiverConfig};

/// Every receiver type, by canonical name.
pub const ALL: &[Entry<dyn ReceiverConfig>] =
    &[awscloudwatchlogs::ENTRY, awsxray::ENTRY, nop::ENTRY, otlp::ENTRY, rollbar::ENTRY];
