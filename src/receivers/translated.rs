//! A request of OTLP that a receiver has made of something else, on its way to the engine.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    component::{Admission, Arrival, Caller, Compression, Encoding},
    otlp::{
        Signal,
        check::Utf8,
        payload::{Context, Permit, Wait},
    },
    telemetry::ReceiverStats,
};

/// Such a request, paid for.
#[derive(Debug)]
pub(super) struct Translated {
    pub(super) signal: Signal,
    pub(super) body: Bytes,
    pub(super) permit: Permit,
    /// The client whose data it is; `foreign` says what this was made of.
    pub(super) caller: Caller,
    pub(super) wait: Wait,
}

impl Translated {
    /// What the engine is given. Clients send no metadata here and have no authenticator.
    pub(super) fn arrival(self, admission: &dyn Admission, stats: Arc<ReceiverStats>) -> Arrival {
        let Translated { signal, body, permit, caller, wait } = self;
        let peer = caller.peer;
        let context = admission.wants_context().then(|| {
            let arrived = tokio::time::Instant::now().into_std();
            Arc::new(Context { metadata: Vec::new(), auth: Vec::new(), peer, arrived })
        });
        Arrival {
            signal,
            encoding: Encoding::Protobuf,
            compression: Compression::Identity,
            max_inflated: body.len(),
            body,
            permit,
            utf8: Utf8::Strict,
            context,
            wait,
            stats,
            vetting: None,
            caller,
        }
    }
}
