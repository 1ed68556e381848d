//! The TCP port that SDKs ask for sampling rules, as the X-Ray daemon's proxy.
//!
//! Only the calls of SDKs are accepted. The daemon signs every request with its own role, so that
//! everybody who can reach it can use the role; `allow_all_paths` does the same. Responses come
//! from [`Source`].

use std::{net::SocketAddr, sync::Arc, time::SystemTime};

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::json;

use super::{
    answer::Answer,
    sampling::Sampling,
    upstream::{Asked, Upstream},
};
use crate::{
    component::Inlet,
    net::server::{self, Connection, Reply, Service},
    otlp::Signal,
    receivers::{
        astray::{self, Astray},
        stray::Stray,
    },
};

/// Largest request: reports on 25 rules have 4 KiB, fifty segments hardly more than this.
const MAX_BODY: usize = 1 << 20;

/// Bytes that reading and answering takes for each byte of a body: a report of 17 bytes becomes one
/// of 400.
const READING: usize = 32;

/// A call of SDKs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Rules,
    Targets,
    Summaries,
}

impl Call {
    fn at(path: &str) -> Option<Self> {
        match path {
            "/GetSamplingRules" => Some(Call::Rules),
            "/SamplingTargets" => Some(Call::Targets),
            "/SamplingStatisticSummaries" => Some(Call::Summaries),
            _ => None,
        }
    }
}

impl Call {
    /// The response with these rules.
    pub(super) fn answer(self, sampling: &Sampling, body: &[u8]) -> Answer {
        let answer = match self {
            Call::Rules => Some(sampling.records()),
            Call::Targets => sampling.targets(body, SystemTime::now()),
            Call::Summaries => Some(json!({"SamplingStatisticSummaries": [], "NextToken": null})),
        };
        let malformed = "the body is not what the X-Ray API says";
        answer.map_or_else(
            || Answer::error(StatusCode::BAD_REQUEST, "InvalidRequestException", malformed),
            |answer| Answer::json(&answer),
        )
    }
}

/// The source of responses.
pub(super) enum Source {
    /// Rules of the configuration.
    Local(Sampling),
    /// AWS.
    Aws(Box<Upstream>),
}

impl Source {
    async fn answer(&self, call: Option<Call>, asked: Asked) -> Answer {
        match (self, call) {
            (Source::Local(sampling), Some(call)) => call.answer(sampling, &asked.body),
            (Source::Local(_), None) => refused(),
            (Source::Aws(upstream), call) => upstream.answer(call, asked).await,
        }
    }
}

const REFUSED: &str = "only /GetSamplingRules, /SamplingTargets and /SamplingStatisticSummaries are \
                       answered; segments come over UDP";

fn refused() -> Answer {
    Answer::error(StatusCode::FORBIDDEN, "AccessDeniedException", REFUSED)
}

fn no_memory() -> Answer {
    let message = "no memory is free for this request";
    Answer::error(StatusCode::SERVICE_UNAVAILABLE, "ThrottledException", message)
}

/// The service on the port.
pub(super) struct Proxy {
    pub(super) source: Source,
    pub(super) allows_all: bool,
    pub(super) inlet: Arc<dyn Inlet>,
    pub(super) astray: Astray,
}

impl Proxy {
    async fn answer(&self, request: Request<&mut Incoming>, connection: &Connection) -> Answer {
        let call = Call::at(request.uri().path());
        if call.is_none()
            && let Some((kind, text)) =
                astray::misdirected_otlp(request.uri().path(), request.headers())
        {
            let caller = astray::caller("http", connection, request.headers());
            self.astray.note(kind, &caller, &text);
            return Answer::error(StatusCode::NOT_FOUND, "UnknownOperationException", &text);
        }
        if call.is_none() && !self.allows_all {
            if request.method() == Method::POST {
                let caller = astray::caller("http", connection, request.headers());
                self.astray.note(Stray::Path, &caller, REFUSED);
            }
            return refused();
        }
        if call.is_some() && request.method() != Method::POST {
            let message = "calls of the X-Ray API are POST";
            let status = StatusCode::METHOD_NOT_ALLOWED;
            return Answer::error(status, "InvalidRequestException", message);
        }
        let announced = hyper::body::Body::size_hint(&**request.body()).exact();
        let size = announced.and_then(|size| usize::try_from(size).ok()).unwrap_or(MAX_BODY);
        if size > MAX_BODY {
            let message = format!("a body may have {MAX_BODY} bytes");
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            return Answer::error(status, "InvalidRequestException", &message);
        }
        let admission = Arc::clone(&self.inlet).admission(Signal::Traces);
        let Ok(Some(permit)) = admission.and_then(|admission| admission.try_permit(size)) else {
            return no_memory();
        };
        let (parts, body) = request.into_parts();
        match Limited::new(body, MAX_BODY).collect().await {
            Ok(body) => {
                let body = body.to_bytes();
                let Some(_reading) = permit.try_more((body.len() * READING) as u64) else {
                    return no_memory();
                };
                let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
                let asked = Asked {
                    path: path.to_owned(),
                    content_type: parts.headers.get(header::CONTENT_TYPE).cloned(),
                    method: parts.method,
                    body,
                };
                self.source.answer(call, asked).await
            }
            Err(error) => {
                let message = format!("the body could not be read: {error}");
                Answer::error(StatusCode::BAD_REQUEST, "InvalidRequestException", &message)
            }
        }
    }
}

impl Service for Proxy {
    fn note_unserved(&self, peer: Option<SocketAddr>, words: &str) {
        self.astray.note_unserved(peer, words);
    }

    async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: Arc<Connection>,
    ) -> Response<Reply> {
        let is_sent_anyway = server::is_sent_anyway(&request);
        let (parts, mut body) = request.into_parts();
        let answer = self.answer(Request::from_parts(parts, &mut body), &connection).await;
        if is_sent_anyway && !answer.status.is_success() {
            server::discard(body);
        }
        answer.respond()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receivers::awsxray::{ProxyServer, sampling};

    fn source() -> Source {
        let rules = sampling::rules(&ProxyServer::default()).unwrap();
        Source::Local(Sampling::new(rules, Vec::new(), SystemTime::now()))
    }

    #[test]
    fn only_the_calls_of_sdks_are_known() {
        assert_eq!(Call::at("/GetSamplingRules"), Some(Call::Rules));
        for path in ["/TraceSegments", "/", "/GetSamplingRules/", "/EncryptionConfig"] {
            assert_eq!(Call::at(path), None, "{path}");
        }
    }

    #[tokio::test]
    async fn local_rules_are_answered() {
        let ask = async |source: Source, call, body: &'static [u8]| {
            let body = body.into();
            let (method, path) = (Method::POST, String::new());
            let answer =
                source.answer(call, Asked { method, path, content_type: None, body }).await;
            let value: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            (answer.status, value)
        };
        let (status, answer) = ask(source(), Some(Call::Rules), b"{}").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(answer["SamplingRuleRecords"][0]["SamplingRule"]["RuleName"], "Default");
        assert_eq!(ask(source(), Some(Call::Targets), b"").await.0, StatusCode::BAD_REQUEST);
        assert_eq!(ask(source(), Some(Call::Summaries), b"").await.0, StatusCode::OK);
        assert_eq!(ask(source(), None, b"").await.0, StatusCode::FORBIDDEN);
    }
}
