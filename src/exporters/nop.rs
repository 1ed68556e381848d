//! Takes data and throws it away.
//!
//! ```yaml
//! nop:
//! ```

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    component::{
        BoxFuture, BuildContext, Delivery, Entry, ErasedExporter, ExportError, Exporter,
        ExporterConfig, Piece, Progress, Sent, StartError, Work,
    },
    otlp::Signal,
};

/// No keys.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {}

pub(super) const ENTRY: Entry<dyn ExporterConfig> =
    Entry::of::<Config>("nop", &[], &Signal::ALL, include_str!("nop.rs"));

impl ExporterConfig for Config {
    fn delivery(&self) -> Delivery {
        Delivery { queue: None, retry: None, timeout: None }
    }

    fn destination(&self) -> String {
        "nowhere".to_owned()
    }

    fn build(&self, _cx: &BuildContext) -> Result<Arc<dyn ErasedExporter>, StartError> {
        Ok(Arc::new(Nop))
    }
}

struct Nop;

impl Exporter for Nop {
    type Encoded = ();

    fn encode(&self, work: &Work<'_>) -> Result<Piece<()>, ExportError> {
        Ok(work.last((), 0))
    }

    fn probe(&self, _signal: Signal) -> BoxFuture<Result<String, ExportError>> {
        Box::pin(std::future::ready(Ok("data is thrown away".to_owned())))
    }

    fn send(&self, (): (), _: &Arc<Progress>) -> BoxFuture<Result<Sent, ExportError>> {
        Box::pin(std::future::ready(Ok(Sent::default())))
    }
}
