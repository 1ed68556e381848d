//! Requests that an authenticator sees before they go out. What it learns from a refusal lets the
//! same request go out once more at once; everything else is for the queue.

use std::sync::Arc;

use http::{HeaderMap, Method, Request as HttpRequest, Uri, Version};

use super::{masked::Secrets, outcome};
use crate::{
    component::{Authenticator, BuildContext, ExportError, Outgoing, Refusal},
    net::client::{Answer, Client, Segments},
    otlp::payload::Body,
};

/// What stands before the body of every request.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) uri: Uri,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
}

/// Opens what `auth` names for a URL. The document has checked that it is there.
pub(super) fn open(cx: &BuildContext, uri: &Uri) -> Result<Option<Arc<dyn Authenticator>>, String> {
    cx.auth.as_ref().map(|auth| auth.open(&cx.id.to_string(), uri)).transpose()
}

/// Sends a request, twice at most. With an answer that is not a success comes what it means to the
/// authenticator, and with every answer what must not be shown of it.
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
