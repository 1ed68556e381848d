//! The exporters: one file each, one [`Entry`] each in [`ALL`]. Files without an entry have what
//! several exporters share; no exporter uses the file of another one.

mod authenticated;
#[cfg(feature = "aws")]
mod aws;
mod aws_otlp;
#[cfg(feature = "aws")]
pub mod awscloudwatchlogs;
#[cfg(feature = "aws")]
pub mod awsemf;
#[cfg(feature = "aws")]
pub mod awsxray;
pub mod budget;
#[cfg(feature = "aws")]
mod cloudwatch;
mod compression;
pub mod connection;
pub mod debug;
pub mod delivery;
mod endpoint;
pub mod file;
pub mod honeycomb;
#[cfg(feature = "aws")]
mod ids;
#[cfg_attr(not(feature = "aws"), expect(dead_code, reason = "exporters to AWS use more of it"))]
mod json;
mod masked;
pub mod nop;
pub mod otlp_grpc;
pub mod otlp_http;
mod outcome;
mod post;
pub mod rollbar;
mod stack;

use crate::component::{Entry, ExporterConfig};

/// Every exporter type, by canonical name.
pub const ALL: &[Entry<dyn ExporterConfig>] = &[
    #[cfg(feature = "aws")]
    awscloudwatchlogs::ENTRY,
    #[cfg(feature = "aws")]
    awsemf::ENTRY,
    #[cfg(feature = "aws")]
    awsxray::ENTRY,
    debug::ENTRY,
    file::ENTRY,
    honeycomb::ENTRY,
    nop::ENTRY,
    otlp_grpc::ENTRY,
    otlp_http::ENTRY,
    rollbar::ENTRY,
];
