//! Refuses requests that have too many items.
//!
//! ```yaml
//! item_limit:
//!   max_items: 10000
//! ```
//!
//! This processor exists for `docs/contributing.md` only, which walks through it. As a real one it
//! would be `src/processors/item_limit.rs`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{BuildContext, Entry, Output, Partition, Processor, ProcessorConfig, StartError};
use crate::{
    config::{Node, Problems},
    otlp::{Payload, Signal, payload::Reason},
    telemetry::{Counter, Desc},
};

const REFUSED: Desc =
    Desc::new("skep_item_limit_refused_requests", "{request}", "Requests with too many items");

/// Limits the items of a request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Most items of a request.
    pub max_items: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config { max_items: 10_000 }
    }
}

pub(super) const ENTRY: Entry<dyn ProcessorConfig> =
    Entry::of::<Config>("item_limit", &[], &Signal::ALL, include_str!("example.rs"));

impl ProcessorConfig for Config {
    fn partition(&self) -> Partition {
        Partition::Any
    }

    fn validate(&self, at: &Node, problems: &mut Problems) {
        if self.max_items == 0 {
            problems
                .error(at.at("max_items"), "`max_items` must be at least 1")
                .help("remove it: 10000 is the default");
        }
    }

    fn build(&self, cx: &BuildContext) -> Result<Box<dyn Processor>, StartError> {
        let refused = cx.metrics("processor").counter(&REFUSED, &[]);
        Ok(Box::new(ItemLimit { max_items: self.max_items, refused }))
    }
}

struct ItemLimit {
    max_items: u64,
    refused: Counter,
}

impl Processor for ItemLimit {
    fn process(&mut self, payload: Payload, out: &mut Output) {
        if payload.items > self.max_items {
            self.refused.add(1);
            out.refuse(payload, Reason::TooLarge);
        } else {
            out.emit(payload);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::config::yaml;

    fn decode(text: &str) -> (Option<Box<dyn ProcessorConfig>>, Problems) {
        let (node, mut problems) = (yaml::parse(0, text).unwrap(), Problems::default());
        let config = (ENTRY.decode)(&node, &mut problems);
        if let Some(config) = &config {
            config.validate(&node, &mut problems);
        }
        (config, problems)
    }

    #[test]
    fn a_request_with_too_many_items_is_refused_and_counted() {
        let cx = BuildContext::test("item_limit", Signal::Logs);
        let (config, _) = decode("{max_items: 2}");
        let mut processor = config.unwrap().build(&cx).unwrap();
        let mut out = Output::at(Instant::now());
        for items in [1, 2, 3] {
            let body = bytes::Bytes::new();
            processor.process(Payload::unpaid(Signal::Logs, body, items), &mut out);
        }
        let emitted: Vec<u64> = out.take().iter().map(|payload| payload.items).collect();
        assert_eq!(emitted, [1, 2]);
        assert_eq!(out.take_counts(), (0, 3), "items filtered and refused");
        assert_eq!(cx.telemetry.registry().sum("skep_item_limit_refused_requests"), 1);
    }

    #[test]
    fn zero_items_are_an_error() {
        assert!(decode("{max_items: 0}").1.has_errors());
        assert!(!decode("{}").1.has_errors());
    }
}
