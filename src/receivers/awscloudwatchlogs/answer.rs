//! Answers in the form of the AWS JSON protocol, with the headers that clients look for.
//!
//! The agent fluent-bit takes an answer without `x-amzn-RequestId` for none, and sends the events
//! again. No answer tells of sequence tokens: `InvalidSequenceTokenException` and
//! `DataAlreadyAcceptedException` make older clients send a batch twice. What may be sent again is
//! answered with `ThrottlingException`, at which the AWS SDKs have more patience than at a status
//! of 503: `boto3` goes on for 13 seconds instead of less than one.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::{
    net::{
        grpc::{Code, Status},
        server::Reply,
    },
    telemetry::Refused,
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    media_type: &'static str,
    body: Bytes,
    /// When the client should come back.
    pause: Option<Duration>,
    id: String,
}

/// Why a call fails; the message is for the client's log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) message: String,
    pub(super) pause: Option<Duration>,
}

/// The errors of the API that are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Serialization,
    InvalidParameter,
    AlreadyExists,
    NotFound,
    TooManyTags,
    Throttling,
    Internal,
    UnknownOperation,
    /// A call that reads events, which skep does not keep.
    Unsupported,
    /// No signature where one is needed.
    MissingToken,
    /// An access key that is not known.
    UnrecognizedClient,
    InvalidSignature,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Kind::Serialization => "SerializationException",
            Kind::InvalidParameter => "InvalidParameterException",
            Kind::AlreadyExists => "ResourceAlreadyExistsException",
            Kind::NotFound => "ResourceNotFoundException",
            Kind::TooManyTags => "TooManyTagsException",
            Kind::Throttling => "ThrottlingException",
            Kind::Internal => "InternalFailure",
            Kind::UnknownOperation => "UnknownOperationException",
            Kind::Unsupported => "UnsupportedOperationException",
            Kind::MissingToken => "MissingAuthenticationTokenException",
            Kind::UnrecognizedClient => "UnrecognizedClientException",
            Kind::InvalidSignature => "InvalidSignatureException",
        }
    }

    /// Whether the client is at fault, and not its access.
    pub(super) const fn is_malformed(self) -> bool {
        matches!(self, Kind::Serialization | Kind::InvalidParameter)
    }

    /// Who can change that a call fails.
    pub(super) const fn refused(self) -> Refused {
        match self {
            kind if kind.is_denied() => Refused::Denied,
            Kind::Throttling | Kind::Internal => Refused::NoRoom,
            _ => Refused::Wrong,
        }
    }

    /// Whether the client may not call.
    pub(super) const fn is_denied(self) -> bool {
        matches!(self, Kind::MissingToken | Kind::UnrecognizedClient | Kind::InvalidSignature)
    }
}

impl Fault {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Fault { kind, message: message.into(), pause: None }
    }

    /// A parameter that is not as the API wants it.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Fault::new(Kind::InvalidParameter, message)
    }

    /// What the OTLP receiver says of bodies and of the pipelines, in the words of this API.
    pub(super) fn of_status(status: &Status) -> Self {
        let kind = match status.code {
            Code::Unavailable => Kind::Throttling,
            Code::Internal => Kind::Internal,
            _ if status.retry_after.is_some() => Kind::Throttling,
            _ => Kind::InvalidParameter,
        };
        Fault { kind, message: status.message.clone(), pause: status.retry_after }
    }
}

impl Answer {
    /// 200 with JSON.
    pub(super) fn json(value: &Value) -> Self {
        Answer::new(StatusCode::OK, value.to_string())
    }

    /// 200 without content.
    pub(super) fn empty() -> Self {
        Answer::new(StatusCode::OK, "{}")
    }

    pub(super) fn fault(fault: &Fault) -> Self {
        let status = match fault.kind {
            Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        let body = json!({"__type": fault.kind.name(), "message": fault.message});
        Answer { pause: fault.pause, ..Answer::new(status, body.to_string()) }
    }

    /// What STS answers to `GetCallerIdentity`.
    pub(super) fn identity(account: &str, key: &str) -> Self {
        let (id, key) = (request_id(), escaped(key));
        let body = format!(
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
             <GetCallerIdentityResult><Arn>arn:aws:iam::{account}:user/skep</Arn>\
             <UserId>{key}</UserId><Account>{account}</Account></GetCallerIdentityResult>\
             <ResponseMetadata><RequestId>{id}</RequestId></ResponseMetadata>\
             </GetCallerIdentityResponse>"
        );
        Answer { media_type: "text/xml", id, ..Answer::new(StatusCode::OK, body) }
    }

    /// An error of STS.
    pub(super) fn xml_fault(fault: &Fault) -> Self {
        let code = match fault.kind {
            Kind::UnrecognizedClient => "InvalidClientTokenId",
            Kind::InvalidSignature => "SignatureDoesNotMatch",
            Kind::MissingToken => "MissingAuthenticationToken",
            Kind::Throttling => "Throttling",
            _ => "InvalidAction",
        };
        let (id, message) = (request_id(), escaped(&fault.message));
        let body = format!(
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error>\
             <Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
             <RequestId>{id}</RequestId></ErrorResponse>"
        );
        let status =
            if fault.kind.is_denied() { StatusCode::FORBIDDEN } else { StatusCode::BAD_REQUEST };
        Answer { media_type: "text/xml", id, ..Answer::new(status, body) }
    }

    fn new(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Answer {
            status,
            media_type: "application/x-amz-json-1.1",
            body: body.into(),
            pause: None,
            id: request_id(),
        }
    }

    pub(super) fn is_success(&self) -> bool {
        self.status.is_success()
    }

    pub(super) fn respond(self) -> Response<Reply> {
        let mut response = Response::new(Reply::new(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        if let Ok(id) = HeaderValue::try_from(self.id) {
            headers.insert(REQUEST_ID, id);
        }
        if let Some(pause) = self.pause {
            let seconds = pause.as_millis().div_ceil(1000).max(1);
            let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// A random id in the form of a UUID, version 4.
fn request_id() -> String {
    let random = fastrand::u128(..) & !((0xF << 76) | (0x3 << 62));
    let bits = random | (4 << 76) | (2 << 62);
    let digits = format!("{bits:032x}");
    let [a, b, c, d] = [8, 12, 16, 20];
    format!(
        "{}-{}-{}-{}-{}",
        &digits[..a],
        &digits[a..b],
        &digits[b..c],
        &digits[c..d],
        &digits[d..]
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_has_an_id_of_its_own() {
        let (one, other) = (request_id(), request_id());
        assert_ne!(one, other);
        assert_eq!((one.len(), &one[14..15]), (36, "4"), "{one}");
        let response = Answer::empty().respond();
        assert!(response.headers().contains_key("x-amzn-requestid"));
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/x-amz-json-1.1");
    }

    #[test]
    fn what_may_be_sent_again_is_throttling() {
        let of = |code, retry_after| {
            let status = Status { retry_after, ..Status::new(code, "why") };
            Fault::of_status(&status).kind
        };
        let second = Some(Duration::from_secs(1));
        assert_eq!(of(Code::Unavailable, second), Kind::Throttling);
        assert_eq!(of(Code::ResourceExhausted, second), Kind::Throttling);
        assert_eq!(of(Code::ResourceExhausted, None), Kind::InvalidParameter);
        assert_eq!(of(Code::InvalidArgument, None), Kind::InvalidParameter);
        assert_eq!(of(Code::Internal, None), Kind::Internal);
        let fault = Fault { pause: second, ..Fault::new(Kind::Throttling, "full") };
        let response = Answer::fault(&fault).respond();
        assert_eq!(
            (response.status().as_u16(), &response.headers()[header::RETRY_AFTER]),
            (400, &HeaderValue::from(1))
        );
    }
}
