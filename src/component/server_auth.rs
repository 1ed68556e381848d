//! Server authenticators: extensions that decide which clients may send.
//!
//! The configuration of such an extension gives a [`ServerAuth`]. A receiver with
//! `auth: {authenticator: id}` gets the one with that id when it is built, and opens it. The result
//! is a [`ServerAuthenticator`], which decides on each request before the body is read.

use std::{borrow::Cow, fmt, net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Asked, BoxFuture, Unusable};

/// `auth` of a receiver that speaks gRPC.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GrpcServerAuth {
    /// Id of an extension that checks clients: `basicauth`, `bearertokenauth`, `oidc`.
    pub authenticator: String,
}

/// `auth` of a receiver that speaks HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpServerAuth {
    /// Id of an extension that checks clients: `basicauth`, `bearertokenauth`, `oidc`.
    pub authenticator: String,
    /// Query parameters that count as request headers of the same name, in place of those.
    pub request_params: Vec<String>,
}

/// What an authenticator knows about a client: `username` of a user and the like, each with its
/// values. Processors read it as `auth.<name>`.
pub type Identity = Vec<(String, Vec<String>)>;

/// What a request has to authenticate its sender.
#[derive(Debug, Clone, Copy)]
pub struct Credentials<'a> {
    /// Headers of the request.
    pub headers: &'a HeaderMap,
    /// Query parameters that are read as headers, decoded.
    pub parameters: &'a [(String, String)],
    /// Address of the connection; `None` on a unix socket.
    pub peer: Option<IpAddr>,
}

impl<'a> Credentials<'a> {
    /// The first value of a header, or of the query parameter that replaces it. The name may
    /// be in upper or lower case.
    pub fn value(&self, name: &str) -> Option<&'a [u8]> {
        let parameter = self.parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        if let Some((_, value)) = parameter {
            return Some(value.as_bytes());
        }
        self.headers.get(name).map(HeaderValue::as_bytes)
    }
}

/// Why a client may not send. The texts are for the client and for the log; they contain nothing of
/// the credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// The credentials are missing or wrong: `UNAUTHENTICATED`, HTTP 401.
    Unauthenticated(Cow<'static, str>),
    /// They cannot be checked now: `UNAVAILABLE`, HTTP 503. The client should retry.
    Unavailable(Cow<'static, str>),
}

/// What an extension offers to receivers.
pub trait ServerAuth: fmt::Debug + Send + Sync {
    /// Whether the extension is configured to check clients. It may be configured only for
    /// exporters.
    fn check(&self) -> Result<(), Unusable>;

    /// An authenticator for one receiver. Reads files. An error says which one is wrong.
    fn open(&self) -> Result<Arc<dyn ServerAuthenticator>, String>;
}

/// Checks the clients of one receiver.
pub trait ServerAuthenticator: Send + Sync {
    /// Called once when the receiver starts: fetches what is needed for the first request.
    fn prepare(self: Arc<Self>) -> BoxFuture<()> {
        Box::pin(std::future::ready(()))
    }

    /// `WWW-Authenticate` of a response with the status 401 (RFC 9110, section 11.6.1).
    fn challenge(&self) -> HeaderValue;

    /// What the client should send, for the log.
    fn remedy(&self) -> Cow<'_, str>;

    /// Decides on one request. It runs on the threads that read requests, so work of more than a
    /// millisecond has to be done on another thread.
    fn authenticate<'a>(
        &'a self,
        credentials: Credentials<'a>,
    ) -> Asked<'a, Result<Identity, Denied>>;
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    #[test]
    fn a_query_parameter_stands_in_for_a_header() {
        let mut headers = HeaderMap::new();
        headers.append(header::AUTHORIZATION, HeaderValue::from_static("one"));
        headers.append(header::AUTHORIZATION, HeaderValue::from_static("two"));
        let parameters = [("X-Token".to_owned(), "three".to_owned())];
        let mut credentials =
            Credentials { headers: &headers, parameters: &parameters, peer: None };
        assert_eq!(credentials.value("Authorization"), Some(&b"one"[..]));
        assert_eq!(credentials.value("x-token"), Some(&b"three"[..]));
        assert_eq!(credentials.value("x-other"), None);
        let parameters = [("authorization".to_owned(), "four".to_owned())];
        credentials.parameters = &parameters;
        assert_eq!(credentials.value("Authorization"), Some(&b"four"[..]));
    }
}
