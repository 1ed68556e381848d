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

pub(super) const ENTRY: Entry<dyn ReceiverConfig> = Entry {
    name: "nop",
    aliases: &[],
    signals: &Signal::ALL,
    source: include_str!("nop.rs"),
    decode: |node, problems| {
        crate::config::decode::<Config>(node, problems)
            .map(|config| Box::new(config) as Box<dyn ReceiverConfig>)
    },
    schema: |generator| generator.subschema_for::<Config>(),
};

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
