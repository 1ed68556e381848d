//! Brings nothing in: a place holder for pipelines that are fed by nothing.
//!
//! ```yaml
//! nop:
//! ```

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    component::{
        BoxFuture, BuildContext, Entry, Ingress, Listening, Receiver, ReceiverConfig, Sockets,
        StartError, Stop,
    },
    otlp::Signal,
};

/// No keys.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {}

pub(super) const ENTRY: Entry<dyn ReceiverConfig> =
    Entry::of::<Config>("nop", &[], &Signal::ALL, include_str!("nop.rs"));

impl ReceiverConfig for Config {
    fn build(
        &self,
        _cx: &BuildContext,
        _signals: &[Signal],
    ) -> Result<Box<dyn Receiver>, StartError> {
        Ok(Box::new(Nop))
    }
}

struct Nop;

impl Receiver for Nop {
    fn bind(&mut self, _: &mut Sockets) -> Result<Vec<Listening>, StartError> {
        Ok(Vec::new())
    }

    fn run(self: Box<Self>, _ingress: Ingress, mut stop: Stop) -> BoxFuture<()> {
        Box::pin(async move { stop.raised().await })
    }
}
