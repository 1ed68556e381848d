//! Hands data of one pipeline on to others of the same signal: to merge several pipelines into
//! one, or to share the first steps of several.
//!
//! ```yaml
//! forward:
//! ```

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    component::{BuildContext, ConnectorConfig, Entry, Outlets, Output, Processor, StartError},
    otlp::{Payload, Signal},
};

/// No keys.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {}

pub(super) const ENTRY: Entry<dyn ConnectorConfig> =
    Entry::of::<Config>("forward", &[], &Signal::ALL, include_str!("forward.rs"));

impl ConnectorConfig for Config {
    fn outputs(&self, input: Signal) -> &'static [Signal] {
        input.only()
    }

    fn build(&self, _: &BuildContext, _: &Outlets) -> Result<Box<dyn Processor>, StartError> {
        Ok(Box::new(Forward))
    }
}

struct Forward;

impl Processor for Forward {
    fn process(&mut self, payload: Payload, out: &mut Output) {
        out.emit(payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_in_goes_out_as_it_is() {
        let body = bytes::Bytes::from_static(b"\x0A\x00");
        let mut out = Output::at(std::time::Instant::now());
        Forward.process(Payload::unpaid(Signal::Logs, body.clone(), 0), &mut out);
        let emitted = out.take();
        assert_eq!(emitted.len(), 1);
        assert_eq!(emitted[0].body[0].as_ptr(), body.as_ptr());
    }
}
