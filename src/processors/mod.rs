//! The processors: one file each, one [`Entry`] each in [`ALL`].

pub mod attributes;
pub mod batch;
pub mod cumulativetodelta;
pub mod deltatocumulative;
pub mod editing;
#[cfg(test)]
pub mod example;
pub mod filter;
pub mod groupbyattrs;
pub mod logdedup;
pub mod memory_limiter;
pub mod metricstransform;
pub mod probabilistic_sampler;
pub mod redaction;
pub mod resource;
pub mod resourcedetection;
mod sampling;
pub mod select;
mod series;
pub mod span;
pub mod tail_sampling;
pub mod transform;
#[cfg(test)]
mod trial;

use crate::component::{Entry, ProcessorConfig};

/// Every processor type, by canonical name.
pub const ALL: &[Entry<dyn ProcessorConfig>] = &[
    attributes::ENTRY,
    batch::ENTRY,
    cumulativetodelta::ENTRY,
    deltatocumulative::ENTRY,
    filter::ENTRY,
    groupbyattrs::ENTRY,
    logdedup::ENTRY,
    memory_limiter::ENTRY,
    metricstransform::ENTRY,
    probabilistic_sampler::ENTRY,
    redaction::ENTRY,
    resource::ENTRY,
    resourcedetection::ENTRY,
    span::ENTRY,
    tail_sampling::ENTRY,
    transform::ENTRY,
];
