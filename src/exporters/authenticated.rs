//! Sends requests that an authenticator adds credentials to. If it learns something from a refusal,
//! the request is sent once more at once; any other retry is left to the queue.

use std::sync::Arc;

use http::{HeaderMap, Method, Request as HttpRequest, Uri, Version};

use super::{masked::Secrets, outcome};
use crate::{
    component::{Authenticator, BuildContext, ExportError, Outgoing, Refusal},
    net::client::{Answer, Client, Segments},
    otlp::payload::Body,
};

/// Everything but the body, the same in every request.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) uri: Uri,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
}

/// Opens the authenticator that `auth` names, for a URL. The document has checked that it exists.
pub(super) fn open(cx: &BuildContext, uri: &Uri) -> Result<Option<Arc<dyn Authenticator>>, String> {
    cx.auth.as_ref().map(|auth| auth.open(&cx.id.to_string(), uri)).transpose()
}

/// Sends a request, twice at most. Returns the answer, its meaning for the authenticator if it is
/// not a success, and the secrets that must be masked in it.
pub(super) async fn call(
    client: &Client,
    auth: &dyn Authenticator,
    head: &Head,
    body: Body,
) -> Result<(Answer, Refusal, Secrets), ExportError> {
    let mut is_second = false;
    loop {
        let mut headers = head.headers.clone();
        let request =
            Outgoing { method: &Method::POST, uri: &head.uri, headers: &mut headers, body: &body };
        auth.authenticate(request).await?;
        let secrets = Secrets::of(&head.uri, &headers);
        let mut http = HttpRequest::new(Segments::new(body.clone()));
        *http.method_mut() = Method::POST;
        *http.uri_mut() = head.uri.clone();
        *http.version_mut() = head.version;
        *http.headers_mut() = headers;
        let answer = client.call(http).await.map_err(|error| outcome::of_failure(&error))?;
        if outcome::is_success(&answer) {
            return Ok((answer, Refusal::Other, secrets));
        }
        match auth.refused(&answer).await {
            Refusal::Again(_) if !is_second => is_second = true,
            refusal => return Ok((answer, refusal, secrets)),
        }
    }
}
