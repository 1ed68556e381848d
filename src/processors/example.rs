//! Refuses requests that have too many items.
//!
//! ```yaml
//! item_limit:
//!   max_items: 10000
//! ```
//!
//! This processor exists for `docs/contributing.md` only, which walks through it. As a real one it
//! would be in `item_limit.rs`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    component::{BuildContext, Entry, Output, Partition, Processor, ProcessorConfig, StartError},
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
    use serde_json::json;

    use super::*;
    use crate::{
        otlp::plain::logs,
        processors::trial::{Trial, problems},
    };

    #[test]
    fn a_request_with_too_many_items_is_refused_and_counted() {
        let mut trial = Trial::of(&ENTRY, Signal::Logs, "{max_items: 2}");
        let mut counts = |items: usize| {
            let came = trial.send(&logs(&vec![json!({"body": "x"}); items]));
            (came.items, came.refused)
        };
        assert_eq!([counts(1), counts(2), counts(3)], [(1, 0), (2, 0), (0, 3)]);
        assert_eq!(trial.sum("skep_item_limit_refused_requests"), 1);
    }

    #[test]
    fn zero_items_are_an_error() {
        let [at, message, _] = &problems(&ENTRY, "{max_items: 0}")[0];
        assert_eq!((&**at, &**message), ("0", "`max_items` must be at least 1"));
        assert!(problems(&ENTRY, "{}").is_empty());
    }
}
