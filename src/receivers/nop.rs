//! Receives nothing: a placeholder for pipelines without a source.
//!
//! ```yaml
//! nop:
//! ```

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    component::{
        BoxFuture, BuildContext, Entry, Inlet, Listening, Receiver, ReceiverConfig, Sockets,
        StartError, Stop,
    },
    otlp::Signal,
    telemetry::ReceiverStats,
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
        cx: &BuildContext,
        signals: &[Signal],
    ) -> Result<Box<dyn Receiver>, StartError> {
        let id = cx.id.to_string();
        let counted = ["grpc", "http"].into_iter().flat_map(|transport| {
            signals.iter().map(|signal| cx.telemetry.receiver(&id, *signal, transport))
        });
        Ok(Box::new(Nop { _stats: counted.collect() }))
    }
}

struct Nop {
    /// Shown as long as it runs, though nothing is ever counted.
    _stats: Vec<Arc<ReceiverStats>>,
}

impl Receiver for Nop {
    fn bind(&mut self, _: &mut Sockets) -> Result<Vec<Listening>, StartError> {
        Ok(Vec::new())
    }

    fn run(self: Box<Self>, _inlet: Arc<dyn Inlet>, mut stop: Stop) -> BoxFuture<()> {
        Box::pin(async move {
            stop.raised().await;
            // Its metrics are shown as long as it runs.
            drop(self);
        })
    }
}
