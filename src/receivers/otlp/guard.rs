//! Authenticates each request of a port before the body is read.
//!
//! Most decisions take no time and cost nothing. A request that has to wait, for the keys of an
//! issuer or for its turn at a slow hash, keeps its headers in memory meanwhile, which may be as
//! large as the limit of HTTP/2 allows. They are charged to the byte budget during the wait, and a
//! request that finds no room gets 503. Before, 200 connections that sent headers of
//! 60 KB held 240 MiB beside a budget of 64 MiB. How many requests may wait is up to the
//! authenticator.
//!
//! The authenticator belongs to the port and not to the protocol, because both ports take both
//! protocols: a port with `auth` takes requests only from authenticated clients.

use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};

use http::{HeaderMap, HeaderValue, Uri};
use percent_encoding::percent_decode_str;

use crate::{
    component::{Asked, Credentials, Denied, Identity, Inlet, Rejection, ServerAuthenticator},
    net::{
        grpc::{Code, Status},
        rate_limit::RateLimit,
        server::Connection,
    },
    otlp::{
        Signal,
        payload::{Permit, Reason},
    },
    receivers::status::status,
    telemetry::ReceiverStats,
};

/// Memory that a header takes besides its name and value.
const HEADER: usize = 64;

/// The origin of a request, and the inlet that pays while it waits.
#[derive(Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) inlet: &'a Arc<dyn Inlet>,
    pub(super) signal: Signal,
    pub(super) connection: &'a Connection,
    pub(super) stats: &'a ReceiverStats,
}

impl Asker<'_> {
    /// Takes bytes from the budget if they are free now.
    fn pay(&self, bytes: usize) -> Result<Permit, Rejection> {
        let free = Arc::clone(self.inlet).admission(self.signal)?.try_permit(bytes)?;
        free.ok_or(Rejection::Unavailable(Reason::OverBudget, None))
    }
}

/// The authenticator of one port.
pub(super) struct Guard {
    authenticator: Arc<dyn ServerAuthenticator>,
    /// Id of the receiver, for the log.
    receiver: String,
    /// Query parameters that are read as headers.
    request_params: Vec<String>,
    limit: RateLimit,
}

impl Guard {
    pub(super) fn new(
        authenticator: Arc<dyn ServerAuthenticator>,
        receiver: &str,
        request_params: &[String],
    ) -> Self {
        Guard {
            authenticator,
            receiver: receiver.to_owned(),
            request_params: request_params.to_vec(),
            limit: RateLimit::default(),
        }
    }

    /// Fetches what the authenticator needs for the first request.
    pub(super) async fn prepare(&self) {
        Arc::clone(&self.authenticator).prepare().await;
    }

    /// `WWW-Authenticate`.
    pub(super) fn challenge(&self) -> HeaderValue {
        self.authenticator.challenge()
    }

    /// Returns the identity of the sender, or the refusal.
    pub(super) async fn admit(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
        caller: Asker<'_>,
    ) -> Result<Identity, Status> {
        let Asker { connection, stats, .. } = caller;
        let parameters = parameters(uri.query().unwrap_or_default(), &self.request_params);
        let peer = connection.peer.map(|peer| peer.ip());
        let credentials = Credentials { headers, parameters: &parameters, peer };
        let asked = self.authenticator.authenticate(credentials);
        let bytes = size(headers) + uri.path().len() + uri.query().map_or(0, str::len);
        let denied = match decided(asked, bytes, caller).await? {
            Ok(identity) => return Ok(identity),
            Err(denied) => denied,
        };
        match denied {
            Denied::Unauthenticated(why) => {
                stats.unauthenticated_requests.add(1);
                if self.limit.is_due() {
                    let client = connection.peer.map(|peer| peer.to_string()).unwrap_or_default();
                    tracing::warn!(
                        receiver = self.receiver,
                        client,
                        "a client was refused: {why:.400}; {}",
                        self.authenticator.remedy()
                    );
                }
                Err(Status::new(Code::Unauthenticated, why))
            }
            Denied::Unavailable(why) => Err(Status {
                retry_after: Some(Duration::from_secs(1)),
                ..Status::new(Code::Unavailable, why)
            }),
        }
    }
}

/// Waits for the decision of an authenticator. If it is not ready at once, the request pays for the
/// `bytes` that it holds until then.
async fn decided(
    mut asked: Asked<'_, Result<Identity, Denied>>,
    bytes: usize,
    caller: Asker<'_>,
) -> Result<Result<Identity, Denied>, Status> {
    let at_once = poll_fn(|context| Poll::Ready(asked.as_mut().poll(context)));
    if let Poll::Ready(decided) = at_once.await {
        return Ok(decided);
    }
    let _paid = caller.pay(bytes).map_err(|rejection| {
        caller.stats.refuse_unread();
        status(&rejection)
    })?;
    Ok(asked.await)
}

/// Bytes that the headers of a request take in memory.
fn size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + HEADER).sum()
}

/// The first value of each `wanted` query parameter.
fn parameters(query: &str, wanted: &[String]) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    if wanted.is_empty() {
        return found;
    }
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decoded(name);
        if wanted.contains(&name) && found.iter().all(|(known, _)| *known != name) {
            found.push((name, decoded(value)));
        }
    }
    found
}

/// Decodes a name or value of a query, as encoded by forms.
fn decoded(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests;
