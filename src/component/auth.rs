//! Client authenticators: extensions that authenticate exporters to their backends.
//!
//! The configuration of such an extension gives a [`ClientAuth`]. An exporter with `auth:
//! {authenticator: id}` gets the one with that id when it is built, and opens it for each URL that
//! it sends to. The result is an [`Authenticator`], which sees every whole request with its encoded
//! body, and every response that is not a success. It may learn from a response, so that the same
//! request succeeds at once.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{BoxFuture, ExportError};
use crate::net::client::Answer;

/// `auth` of an exporter.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Id of an extension: `sigv4auth`, `bearertokenauth`, `basicauth`.
    pub authenticator: String,
}

/// How an exporter sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP/HTTP.
    Http,
    /// OTLP/gRPC.
    Grpc,
}

/// What an exporter asks an authenticator for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthUse {
    /// Id as it is written in the file.
    pub authenticator: String,
    /// How it sends.
    pub protocol: Protocol,
    /// Where to.
    pub urls: Vec<String>,
}

impl AuthUse {
    /// Made from a configuration; empty URLs are left out.
    pub fn new<'u>(
        auth: &Auth,
        protocol: Protocol,
        urls: impl IntoIterator<Item = &'u String>,
    ) -> Self {
        let urls = urls.into_iter().filter(|url| !url.is_empty()).cloned().collect();
        AuthUse { authenticator: auth.authenticator.clone(), protocol, urls }
    }
}

/// Why an exporter cannot use an authenticator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// Lower case, no full stop.
    pub message: String,
    /// The remedy.
    pub help: String,
}

/// What an extension offers to exporters.
pub trait ClientAuth: fmt::Debug + Send + Sync {
    /// Whether requests to `url` can be authenticated.
    fn check(&self, _protocol: Protocol, _url: &str) -> Result<(), Unusable> {
        Ok(())
    }

    /// Whether the backends speak HTTP/1.1 only, whatever their TLS offers.
    fn needs_http1(&self) -> bool {
        false
    }

    /// An authenticator of requests to `url`. `exporter` is for the log. Opens nothing.
    fn open(&self, exporter: &str, url: &Uri) -> Result<Arc<dyn Authenticator>, String>;
}

/// A request before it is sent.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// `POST`.
    pub method: &'a Method,
    /// The whole URL.
    pub uri: &'a Uri,
    /// To be added to.
    pub headers: &'a mut HeaderMap,
    /// The encoded body, in pieces.
    pub body: &'a [Bytes],
}

/// What a response other than a success means to an authenticator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing: it is about the data.
    Other,
    /// Something was learnt, so the same request may succeed at once. If it does not, the text is
    /// appended to the message of the backend.
    Again(&'static str),
    /// It will be refused again. The text is appended, too.
    Denied(&'static str),
}

/// A future that borrows: once per request.
pub type Asked<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Authenticates the requests of one exporter to one URL.
pub trait Authenticator: Send + Sync {
    /// Called once at the start: finds what it needs, and says in the log what it found.
    fn prepare(self: Arc<Self>) -> BoxFuture<()> {
        Box::pin(std::future::ready(()))
    }

    /// Adds the credentials.
    fn authenticate<'a>(&'a self, request: Outgoing<'a>) -> Asked<'a, Result<(), ExportError>>;

    /// Handles a response that is not a success.
    fn refused<'a>(&'a self, _answer: &'a Answer) -> Asked<'a, Refusal> {
        Box::pin(std::future::ready(Refusal::Other))
    }
}
