//! The TCP port that SDKs ask for sampling rules, as the X-Ray daemon's proxy.
//!
//! Only the calls that SDKs make are known: the daemon signs whatever comes with its own role,
//! which lets anybody who reaches it act for it. [`Source`] is where answers come from; forwarding
//! to AWS would be one more of them.

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::sampling::Sampling;
use crate::{
    component::Ingress,
    net::{
        seldom::Seldom,
        server::{self, Connection, Reply, Service},
    },
    otlp::Signal,
};

/// Largest request: reports on 25 rules have 4 KiB.
const MAX_BODY: usize = 256 * 1024;

/// A call that SDKs make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
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

/// Where answers come from.
pub(super) enum Source {
    /// Rules of the configuration.
    Local(Sampling),
    /// Nowhere: there are no rules, and nothing is forwarded to AWS.
    Nowhere(Seldom),
}

/// An answer: its status and its JSON.
type Answer = (StatusCode, Value);

impl Source {
    fn answer(&self, call: Call, body: &[u8]) -> Answer {
        let sampling = match self {
            Source::Local(sampling) => sampling,
            Source::Nowhere(told) => {
                if told.is_due() {
                    tracing::warn!(
                        "an X-Ray SDK asks for sampling rules, and there are none; it goes by its \
                         own. Give `rules` under `proxy_server` to set them here"
                    );
                }
                // Not 503: SDKs would try again at once, several times each ten seconds.
                return failure(
                    StatusCode::NOT_IMPLEMENTED,
                    "NotForwardedException",
                    "skep does not forward to AWS; set `rules`, `rules_file` or `mode: local` \
                     under `proxy_server` of the receiver `awsxray`",
                );
            }
        };
        let answer = match call {
            Call::Rules => Some(sampling.records()),
            Call::Targets => sampling.targets(body, SystemTime::now()),
            Call::Summaries => Some(json!({"SamplingStatisticSummaries": [], "NextToken": null})),
        };
        let malformed = "the body is not what the X-Ray API says";
        answer.map_or_else(
            || failure(StatusCode::BAD_REQUEST, "InvalidRequestException", malformed),
            |answer| (StatusCode::OK, answer),
        )
    }
}

fn failure(status: StatusCode, name: &str, message: &str) -> Answer {
    (status, json!({"__type": name, "message": message}))
}

/// Answers on the port.
pub(super) struct Proxy {
    pub(super) source: Source,
    pub(super) ingress: Ingress,
}

impl Proxy {
    async fn answer(&self, request: Request<&mut Incoming>) -> Answer {
        let Some(call) = Call::at(request.uri().path()) else {
            let message = "only /GetSamplingRules, /SamplingTargets and \
                           /SamplingStatisticSummaries are answered; segments come over UDP";
            return failure(StatusCode::FORBIDDEN, "AccessDeniedException", message);
        };
        if request.method() != Method::POST {
            let message = "calls of the X-Ray API are POST";
            return failure(StatusCode::METHOD_NOT_ALLOWED, "InvalidRequestException", message);
        }
        let announced = hyper::body::Body::size_hint(&**request.body()).exact();
        let size = announced.and_then(|size| usize::try_from(size).ok()).unwrap_or(MAX_BODY);
        if size > MAX_BODY {
            let message = format!("a body may have {MAX_BODY} bytes");
            return failure(StatusCode::PAYLOAD_TOO_LARGE, "InvalidRequestException", &message);
        }
        let Ok(Some(_permit)) = self.ingress.door.try_permit(Signal::Traces, size) else {
            let message = "no memory is free for this request";
            return failure(StatusCode::SERVICE_UNAVAILABLE, "ThrottledException", message);
        };
        match Limited::new(request.into_body(), MAX_BODY).collect().await {
            Ok(body) => self.source.answer(call, &body.to_bytes()),
            Err(error) => {
                let message = format!("the body could not be read: {error}");
                failure(StatusCode::BAD_REQUEST, "InvalidRequestException", &message)
            }
        }
    }
}

impl Service for Proxy {
    async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
        _connection: Arc<Connection>,
    ) -> Response<Reply> {
        let is_sent_anyway = server::is_sent_anyway(&request);
        let (parts, mut body) = request.into_parts();
        let (status, answer) = self.answer(Request::from_parts(parts, &mut body)).await;
        if is_sent_anyway && !status.is_success() {
            server::discard(body);
        }
        respond(status, &answer)
    }
}

fn respond(status: StatusCode, answer: &Value) -> Response<Reply> {
    let text = answer.to_string();
    let length = text.len();
    let mut response = Response::new(Reply::new(Bytes::from(text)));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        receivers::awsxray::{ProxyServer, sampling},
        telemetry::datagrams::DatagramStats,
    };

    fn source() -> Source {
        let rules = sampling::rules(&ProxyServer::default()).unwrap();
        let stats = Arc::new(DatagramStats::default());
        Source::Local(Sampling::new(rules, stats, SystemTime::now()))
    }

    #[test]
    fn only_the_calls_of_sdks_are_known() {
        assert_eq!(Call::at("/GetSamplingRules"), Some(Call::Rules));
        for path in ["/TraceSegments", "/", "/GetSamplingRules/", "/EncryptionConfig"] {
            assert_eq!(Call::at(path), None, "{path}");
        }
    }

    #[test]
    fn local_rules_are_answered_and_without_them_there_is_a_clear_error() {
        let (status, answer) = source().answer(Call::Rules, b"{}");
        assert_eq!(status, StatusCode::OK);
        assert_eq!(answer["SamplingRuleRecords"][0]["SamplingRule"]["RuleName"], "Default");
        assert_eq!(source().answer(Call::Targets, b"").0, StatusCode::BAD_REQUEST);
        assert_eq!(source().answer(Call::Summaries, b"").0, StatusCode::OK);
        let (status, answer) = Source::Nowhere(Seldom::default()).answer(Call::Rules, b"{}");
        assert_eq!(status, StatusCode::NOT_IMPLEMENTED);
        assert!(answer["message"].as_str().unwrap().contains("mode: local"), "{answer}");
    }
}
