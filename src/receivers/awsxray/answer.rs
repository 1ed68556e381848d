//! Responses on the port of the proxy, made by skep or by AWS, and the meaning of those of AWS.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::net::server::Reply;

/// Headers of AWS that are passed on to the client.
const PASSED: [HeaderName; 4] = [
    header::CONTENT_TYPE,
    header::RETRY_AFTER,
    HeaderName::from_static("x-amzn-errortype"),
    HeaderName::from_static("x-amzn-requestid"),
];

/// A whole response.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why there is no response from AWS.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// The message for the client.
    pub(super) status: StatusCode,
    pub(super) reason: String,
}

impl Failure {
    /// AWS could not be reached, or did not respond.
    pub(super) fn broken(reason: impl Into<String>) -> Self {
        Failure { status: StatusCode::BAD_GATEWAY, reason: reason.into() }
    }

    pub(super) fn answer(&self) -> Answer {
        let name = match self.status {
            StatusCode::BAD_GATEWAY => "BadGatewayException",
            StatusCode::NOT_IMPLEMENTED => "NotForwardedException",
            _ => "ServiceUnavailableException",
        };
        Answer::error(self.status, name, &self.reason)
    }
}

impl Answer {
    /// 200 with JSON.
    pub(super) fn json(value: &Value) -> Self {
        Self::new(StatusCode::OK, value)
    }

    /// An error in the form of the API.
    pub(super) fn error(status: StatusCode, name: &str, message: &str) -> Self {
        Self::new(status, &json!({"__type": name, "message": message}))
    }

    fn new(status: StatusCode, value: &Value) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Answer { status, headers, body: Bytes::from(value.to_string()) }
    }

    /// The code and the message of an error; empty if it has none.
    pub(super) fn said(&self) -> (String, String) {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
        let header = self.headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok());
        let code = header.map(str::to_owned).or_else(|| text("__type")).or_else(|| text("code"));
        let code = code.unwrap_or_default();
        // `Name:http://...` in the header, `namespace#Name` in the body.
        let code = code.split(':').next().unwrap_or_default();
        let code = code.rsplit('#').next().unwrap_or_default().to_owned();
        (code, text("message").or_else(|| text("Message")).unwrap_or_default())
    }

    /// Whether the signature was refused, maybe because of its time.
    pub(super) fn doubts_signature(&self) -> bool {
        let codes = [
            "InvalidSignatureException",
            "SignatureDoesNotMatch",
            "RequestExpired",
            "RequestTimeTooSkewed",
        ];
        self.status.is_client_error() && codes.contains(&&*self.said().0)
    }

    /// Whether the client is at fault, so that AWS would refuse the call at any time.
    pub(super) fn blames_client(&self) -> bool {
        let codes = ["InvalidRequestException", "ValidationException", "SerializationException"];
        let is_unclear = matches!(self.status.as_u16(), 401 | 403 | 408 | 429);
        let code = self.said().0;
        self.status.is_client_error()
            && !is_unclear
            && (codes.contains(&&*code)
                || code.is_empty()
                || self.status != StatusCode::BAD_REQUEST)
    }

    /// The response for the client.
    pub(super) fn respond(self) -> Response<Reply> {
        let length = self.body.len();
        let mut response = Response::new(Reply::new(self.body));
        *response.status_mut() = self.status;
        for name in PASSED {
            if let Some(value) = self.headers.get(&name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, code: &str) -> Answer {
        Answer::error(StatusCode::from_u16(status).unwrap(), code, "why")
    }

    #[test]
    fn codes_are_read_in_both_forms() {
        assert_eq!(answer(403, "a.b#ExpiredTokenException").said().0, "ExpiredTokenException");
        let mut told = answer(429, "other");
        let value = HeaderValue::from_static("ThrottledException:http://internal/");
        told.headers.insert("x-amzn-errortype", value);
        assert_eq!(told.said(), ("ThrottledException".to_owned(), "why".to_owned()));
    }

    #[test]
    fn the_client_is_blamed_for_its_own_mistakes_only() {
        assert!(answer(400, "InvalidRequestException").blames_client());
        assert!(answer(400, "").blames_client());
        assert!(answer(404, "UnknownOperationException").blames_client());
        for (status, code) in [
            (400, "ThrottlingException"),
            (400, "UnrecognizedClientException"),
            (403, "AccessDeniedException"),
            (429, ""),
            (500, ""),
        ] {
            assert!(!answer(status, code).blames_client(), "{status} {code}");
        }
        assert!(answer(403, "SignatureDoesNotMatch").doubts_signature());
    }
}
