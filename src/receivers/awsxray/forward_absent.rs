//! Replaces `forward.rs` if skep is built without AWS.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use tokio::sync::watch;

use super::{
    answer::{Answer, Failure},
    settings::ProxyServer,
};

/// Whether calls to AWS are compiled in.
pub(super) const IS_BUILT_IN: bool = false;

/// Calls to AWS, none of which is made.
pub(super) struct Forward;

/// Accepts any URL, because none is called.
#[expect(clippy::unnecessary_wraps, reason = "the one that calls has errors")]
pub(super) fn check_url(_url: &str) -> Result<(), String> {
    Ok(())
}

impl Forward {
    pub(super) fn new(_settings: &ProxyServer, _receiver: &str) -> Self {
        Forward
    }

    /// Looks up nothing.
    pub(super) async fn prepare(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let _ = stop.wait_for(|raised| *raised).await;
    }

    /// Returns the error that AWS is not compiled in.
    #[expect(clippy::unused_async, reason = "the one that calls waits")]
    pub(super) async fn call(
        &self,
        _method: &Method,
        _path: &str,
        _content_type: Option<&HeaderValue>,
        _body: Bytes,
    ) -> Result<Answer, Failure> {
        let reason = "this skep is built without AWS; set `rules`, `rules_file` or `mode: local` \
                      under `proxy_server` of the receiver `awsxray`";
        // Not 503: SDKs would try again at once, several times each ten seconds.
        Err(Failure { status: StatusCode::NOT_IMPLEMENTED, reason: reason.to_owned() })
    }
}
