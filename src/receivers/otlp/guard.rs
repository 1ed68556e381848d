//! Asks an authenticator about each request of a port, before the body is read and before any of
//! the budget is taken.
//!
//! The authenticator belongs to the port and not to the protocol, since both ports take both
//! protocols: a port with `auth` takes nothing from anybody else.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Uri};
use percent_encoding::percent_decode_str;

use crate::{
    component::{Credentials, Denied, Identity, ServerAuthenticator},
    net::{
        grpc::{Code, Status},
        seldom::Seldom,
        server::Connection,
    },
    telemetry::ReceiverStats,
};

/// The authenticator of one port.
pub(super) struct Guard {
    authenticator: Arc<dyn ServerAuthenticator>,
    /// Id of the receiver, for the log.
    receiver: String,
    /// Query parameters that stand in for headers.
    request_params: Vec<String>,
    told: Seldom,
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
            told: Seldom::default(),
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

    /// What is known of the sender, or the refusal.
    pub(super) async fn admit(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
        connection: &Connection,
        stats: &ReceiverStats,
    ) -> Result<Identity, Status> {
        let parameters = parameters(uri.query().unwrap_or_default(), &self.request_params);
        let peer = connection.peer.map(|peer| peer.ip());
        let credentials = Credentials { headers, parameters: &parameters, peer };
        let denied = match self.authenticator.authenticate(credentials).await {
            Ok(identity) => return Ok(identity),
            Err(denied) => denied,
        };
        match denied {
            Denied::Unauthenticated(why) => {
                stats.unauthenticated_requests.add(1);
                if self.told.is_due() {
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

/// The first value of each query parameter that is `wanted`.
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

/// A name or value of a query, as forms encode it.
fn decoded(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_listed_parameters_count() {
        let wanted = ["token".to_owned(), "a b".to_owned()];
        let found = parameters("x=1&token=Bearer%20one+two&token=3&a+b=c%3Dd&e", &wanted);
        let expected = [("token", "Bearer one two"), ("a b", "c=d")];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(parameters("token=1", &[]), []);
        assert_eq!(parameters("", &wanted), []);
    }
}
