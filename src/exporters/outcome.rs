//! The meaning of an OTLP backend's answer: delivered, delivered in part, to be sent again,
//! refused. The rules are those of the OTLP specification ("Failures", "OTLP/HTTP Response") and of
//! the Collector's exporters.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};

use super::masked::Secrets;
use crate::{
    component::{Denial, ExportError, Refusal, Retry, Sent},
    net::{
        client::{ANSWER_LIMIT, Answer},
        grpc::{self, Code, Status},
    },
};

/// The outcome of a gRPC call. `secrets` are masked in the backend's answer.
pub(super) fn of_grpc(answer: &Answer, secrets: &Secrets) -> Result<Sent, ExportError> {
    let status = answer
        .trailers
        .as_ref()
        .and_then(Status::from_headers)
        .or_else(|| Status::from_headers(&answer.headers))
        .unwrap_or_else(|| {
            let http = answer.status.as_u16();
            // A proxy in between may speak HTTP only.
            let retry_after = retry_after(&answer.headers, SystemTime::now());
            let message = format!("HTTP {http} without a gRPC status");
            Status { retry_after, ..Status::new(Code::from_http(http), message) }
        });
    if status.code == Code::Ok {
        let read = grpc_message(&answer.body).and_then(grpc::partial_success);
        return Ok(sent(read.ok_or("gRPC message"), answer, secrets));
    }
    let retry = match status.code {
        code if code.is_retryable() => Retry::After(status.retry_after),
        Code::ResourceExhausted if status.retry_after.is_some() => Retry::After(status.retry_after),
        Code::ResourceExhausted if status.message.contains("larger than") => Retry::Split,
        Code::Unauthenticated => Retry::Denied(Denial::Unauthenticated),
        Code::PermissionDenied => Retry::Denied(Denial::Forbidden),
        Code::Unimplemented => Retry::Denied(Denial::NotFound),
        _ => Retry::Never,
    };
    let is_unauthorised = matches!(status.code, Code::Unauthenticated | Code::PermissionDenied);
    let said = status.message.to_ascii_lowercase();
    let remedy = match status.code {
        Code::Unimplemented if said.contains("compress") || said.contains("encoding") => CODEC,
        code => remedy(is_unauthorised, code == Code::Unimplemented),
    };
    let message = format!("{}: {}{remedy}", status.code.name(), secrets.cover(&status.message));
    Err(ExportError { retry, message })
}

/// The outcome of an OTLP/HTTP request.
pub(super) fn of_http(answer: &Answer, secrets: &Secrets) -> Result<Sent, ExportError> {
    let code = answer.status.as_u16();
    if answer.status.is_success() {
        let read = if is_protobuf(&answer.headers) {
            grpc::partial_success(&answer.body).ok_or("protobuf message")
        } else {
            match json_partial_success(&answer.body) {
                None if is_promised(&answer.headers, b"application/json") => Err("JSON document"),
                // Some servers say `ok`: they are none that reject a part.
                read => Ok(read.unwrap_or_default()),
            }
        };
        let mut sent = sent(read, answer, secrets);
        sent.message = sent.message.or_else(|| is_page(answer).then(|| PAGE.to_owned()));
        return Ok(sent);
    }
    let retry = match code {
        429 | 503 => Retry::After(retry_after(&answer.headers, SystemTime::now())),
        502 | 504 => Retry::After(None),
        413 => Retry::Split,
        // Whatever is sent: another URL, another encoding or other credentials are needed.
        401 => Retry::Denied(Denial::Unauthenticated),
        403 => Retry::Denied(Denial::Forbidden),
        300..=399 | 404 | 405 | 415 => Retry::Denied(Denial::NotFound),
        _ => Retry::Never,
    };
    if answer.status.is_redirection() {
        let message = format!("HTTP {code}: {}", redirection(&answer.headers, secrets));
        return Err(ExportError { retry, message });
    }
    let said = said(answer, secrets);
    let remedy = match code {
        415 => CODEC,
        code => remedy(matches!(code, 401 | 403), matches!(code, 404 | 405)),
    };
    Err(ExportError { retry, message: format!("HTTP {code}{said}{remedy}") })
}

/// Whether a backend took the request, in either protocol.
pub(super) fn is_success(answer: &Answer) -> bool {
    let all = [answer.trailers.as_ref(), Some(&answer.headers)];
    let status = all.into_iter().flatten().find_map(Status::from_headers);
    answer.status.is_success() && status.is_none_or(|status| status.code == Code::Ok)
}

/// The outcome of an OTLP/HTTP request that an authenticator has looked at.
pub(super) fn of_authenticated(
    answer: &Answer,
    refusal: Refusal,
    secrets: &Secrets,
) -> Result<Sent, ExportError> {
    let (retry, words) = match refusal {
        Refusal::Other => return of_http(answer, secrets),
        Refusal::Again(words) => (Retry::After(None), words),
        Refusal::Denied(words) => {
            let is_forbidden = answer.status == StatusCode::FORBIDDEN;
            let denial = if is_forbidden { Denial::Forbidden } else { Denial::Unauthenticated };
            (Retry::Denied(denial), words)
        }
    };
    let message = format!("HTTP {}{}{words}", answer.status.as_u16(), said(answer, secrets));
    Err(ExportError { retry, message })
}

/// What a success looks like where the endpoint is some other server.
const PAGE: &str = "the answer is a web page: this may be no OTLP receiver, check the endpoint's \
                    port and path";

fn is_page(answer: &Answer) -> bool {
    is_promised(&answer.headers, b"text/html") && !answer.body.is_empty()
}

/// Redirections are not followed: they would take the credentials elsewhere.
fn redirection(headers: &HeaderMap, secrets: &Secrets) -> String {
    let location = headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
    match location {
        Some(to) => {
            let to = secrets.cover(to);
            format!("the server redirects to `{to}`; set `endpoint` to where that leads")
        }
        None => {
            "the server redirects elsewhere; check the endpoint's scheme, host and path".to_owned()
        }
    }
}

/// What a backend says of a request that it took. Where that cannot be read (it should have been a
/// `form`), the status still was a success, and sending the data again would double it.
fn sent(read: Result<(u64, Option<String>), &str>, answer: &Answer, secrets: &Secrets) -> Sent {
    let is_long = answer.body.len() >= ANSWER_LIMIT;
    let read = match read {
        // The message may be in the part that was not read.
        Ok((0, None)) if is_long && !is_page(answer) => Err("OTLP answer"),
        read => read,
    };
    match read {
        Ok((rejected, message)) => {
            let message = message.map(|text| secrets.cover(&text));
            Sent { rejected, message, ..Sent::default() }
        }
        Err(form) => {
            let len = answer.body.len();
            let why = if is_long {
                format!("is longer than {} KiB", ANSWER_LIMIT >> 10)
            } else {
                format!("of {len} bytes is no {form}")
            };
            let message = format!(
                "the answer {why}: whether the backend rejected a part of the request is not known; \
                 does `endpoint` lead to an OTLP receiver?"
            );
            Sent { message: Some(message), is_unread: true, ..Sent::default() }
        }
    }
}

/// The message of a gRPC answer; an empty one where only trailers came.
fn grpc_message(body: &[u8]) -> Option<&[u8]> {
    let Some((prefix, message)) = body.split_first_chunk() else {
        return body.is_empty().then_some(body);
    };
    let prefix = grpc::Prefix::read(*prefix)?;
    (!prefix.is_compressed && prefix.len == message.len()).then_some(message)
}

/// The items that a backend rejected, by its answer in JSON; `None` if it is not JSON. No answer is
/// a full success.
fn json_partial_success(body: &[u8]) -> Option<(u64, Option<String>)> {
    if body.is_empty() {
        return Some((0, None));
    }
    let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    let partial = &answer["partialSuccess"];
    let mut rejected = ["rejectedSpans", "rejectedDataPoints", "rejectedLogRecords"].into_iter();
    let rejected = rejected.find_map(|key| match &partial[key] {
        serde_json::Value::String(text) => text.parse().ok(),
        number => number.as_u64(),
    });
    let message = partial["errorMessage"].as_str().filter(|text| !text.is_empty());
    Some((rejected.unwrap_or_default(), message.map(str::to_owned)))
}

/// Nothing came back: the connection failed. Always worth another attempt.
pub(super) fn of_failure(error: &crate::net::client::CallError) -> ExportError {
    let retry = if error.is_sent() { Retry::Unanswered } else { Retry::After(None) };
    ExportError { retry, message: error.to_string() }
}

/// A server that does not know our compression says so in its own words.
const CODEC: &str = "; the server does not take this encoding: set `compression: none`";

fn remedy(is_denied: bool, is_unknown: bool) -> &'static str {
    match (is_denied, is_unknown) {
        (true, _) => {
            "; the credentials are missing, wrong or not for this backend: check `headers`"
        }
        (_, true) => "; the server does not take OTLP there: check the endpoint's port and path",
        _ => "",
    }
}

/// Most bytes of a text that are shown.
const SHOWN: usize = 1024;

/// The message of an answer: a status message, or the beginning of a text. Secrets are masked
/// before the text is cut, so that no part of one is left.
pub(super) fn said(answer: &Answer, secrets: &Secrets) -> String {
    let text = if is_protobuf(&answer.headers) {
        Status::from_bytes(&answer.body).message
    } else {
        String::from_utf8_lossy(&answer.body).into_owned()
    };
    let text = message(&text).unwrap_or(text);
    let text = secrets.cover(text.trim());
    let text = &text[..text.floor_char_boundary(SHOWN)];
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

/// What an answer in JSON says of the error.
fn message(text: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let said = ["message", "error"].into_iter().find_map(|key| value.get(key)?.as_str());
    said.map(str::to_owned)
}

fn is_protobuf(headers: &HeaderMap) -> bool {
    is_promised(headers, b"application/x-protobuf")
}

/// Whether the answer has a media type by its headers.
fn is_promised(headers: &HeaderMap, media_type: &[u8]) -> bool {
    let value = headers.get(header::CONTENT_TYPE);
    value.is_some_and(|value| value.as_bytes().starts_with(media_type))
}

/// `Retry-After` in seconds or as a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(u64::from(seconds)));
    }
    httpdate::parse_http_date(text).ok().map(|date| date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderValue, StatusCode};

    use super::*;

    static NONE: Secrets = Secrets::NONE;

    fn http(code: u16, retry_after: Option<&'static str>, body: &'static str) -> Answer {
        let mut headers = HeaderMap::new();
        if let Some(text) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(text));
        }
        let status = StatusCode::from_u16(code).unwrap();
        Answer { status, headers, body: Bytes::from_static(body.as_bytes()), trailers: None }
    }

    fn grpc(status: &Status) -> Answer {
        let trailers = Some(status.to_headers());
        Answer { trailers, ..http(200, None, "") }
    }

    #[test]
    fn partial_success_is_read_from_json_and_garbage_is_none() {
        let body = r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"too old"}}"#;
        assert_eq!(json_partial_success(body.as_bytes()), Some((3, Some("too old".to_owned()))));
        let body = br#"{"partialSuccess":{"rejectedLogRecords":2}}"#;
        assert_eq!(json_partial_success(body), Some((2, None)));
        for body in ["", "{}", r#"{"partialSuccess":{}}"#, "[1]"] {
            assert_eq!(json_partial_success(body.as_bytes()), Some((0, None)), "{body}");
        }
        assert_eq!(json_partial_success(b"ok"), None);
    }

    /// The beginning of what is said of an answer that cannot be read.
    fn unread(sent: &Sent) -> Option<&str> {
        assert_eq!((sent.rejected, sent.is_unread), (0, sent.message.is_some()));
        sent.message.as_deref().map(|text| text.split(':').next().unwrap_or_default())
    }

    #[test]
    fn what_cannot_be_read_is_no_silent_success() {
        let of = |media_type: &'static str, body: Vec<u8>| {
            let mut answer = Answer { body: body.into(), ..http(200, None, "") };
            answer.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
            of_http(&answer, &NONE).unwrap()
        };
        let (protobuf, json) = ("application/x-protobuf", "application/json");
        assert_eq!(unread(&of(protobuf, Vec::new())), None);
        assert_eq!(unread(&of(json, b"{}".to_vec())), None);
        assert_eq!(unread(&of("text/plain", b"ok".to_vec())), None);
        let garbage = "the answer of 9 bytes is no protobuf message";
        assert_eq!(unread(&of(protobuf, vec![0xff; 9])), Some(garbage));
        let cut = "the answer of 5 bytes is no JSON document";
        assert_eq!(unread(&of(json, b"{\"a\":".to_vec())), Some(cut));
        for media_type in [protobuf, json, "text/plain"] {
            let long = of(media_type, vec![b'x'; ANSWER_LIMIT]);
            assert_eq!(unread(&long), Some("the answer is longer than 64 KiB"), "{media_type}");
        }
        let of = |body: &'static [u8]| {
            let body = Bytes::from_static(body);
            of_grpc(&Answer { body, ..grpc(&Status::new(Code::Ok, "")) }, &NONE).unwrap()
        };
        assert_eq!(unread(&of(&[0, 0, 0, 0, 0])), None);
        for body in [&[0, 0][..], &[1, 0, 0, 0, 0], &[0, 0, 0, 0, 2, 9], &[0, 0, 0, 0, 1, 255]] {
            assert!(unread(&of(body)).is_some_and(|text| text.ends_with("no gRPC message")));
        }
    }

    #[test]
    fn words_of_backends_are_covered_and_escaped_before_they_are_cut() {
        let mut headers = HeaderMap::new();
        let mut key = HeaderValue::from_static("SECRETKEY123");
        key.set_sensitive(true);
        headers.insert("x-key", key);
        let secrets = Secrets::of(&http::Uri::from_static("/"), &headers);
        let echo = "denied: key SECRETKEY123\n\u{1b}[31m";
        let covered = "denied: key [REDACTED]\\n\\x1b[31m";
        let message = of_http(&http(400, None, echo), &secrets).unwrap_err().message;
        assert_eq!(message, format!("HTTP 400: {covered}"));
        let in_json = r#"{"message":"denied: key SECRETKEY123\n\u001b[31m"}"#;
        let message = of_http(&http(400, None, in_json), &secrets).unwrap_err().message;
        assert_eq!(message, format!("HTTP 400: {covered}"));
        let status = Status::new(Code::InvalidArgument, echo);
        let message = of_grpc(&grpc(&status), &secrets).unwrap_err().message;
        assert_eq!(message, format!("INVALID_ARGUMENT: {covered}"));
        let partial = r#"{"partialSuccess":{"rejectedSpans":1,"errorMessage":"not SECRETKEY123"}}"#;
        let sent = of_http(&http(200, None, partial), &secrets).unwrap();
        assert_eq!(sent.message.as_deref(), Some("not [REDACTED]"));
        let long = Bytes::from(format!("{}SECRETKEY123", "x".repeat(SHOWN - 4)));
        let answer = Answer { body: long, ..http(400, None, "") };
        assert!(!said(&answer, &secrets).contains("SEC"));
    }

    #[test]
    fn http_statuses_are_sent_again_as_otlp_says() {
        let retry = |code, after| of_http(&http(code, after, ""), &NONE).unwrap_err().retry;
        assert_eq!(retry(429, Some("7")), Retry::After(Some(Duration::from_secs(7))));
        assert_eq!(retry(503, None), Retry::After(None));
        assert_eq!(retry(502, Some("7")), Retry::After(None));
        assert_eq!(retry(504, None), Retry::After(None));
        assert_eq!(retry(400, None), Retry::Never);
        assert_eq!(retry(500, None), Retry::Never);
        assert_eq!(retry(413, None), Retry::Split);
        for code in [301, 308, 401, 403, 404, 405, 415] {
            assert!(matches!(retry(code, None), Retry::Denied(_)), "{code}");
        }
    }

    #[test]
    fn a_redirection_names_its_goal() {
        let mut answer = http(308, None, "<html>moved</html>");
        let location = HeaderValue::from_static("https://b/v1/traces");
        answer.headers.insert(header::LOCATION, location);
        assert_eq!(
            of_http(&answer, &NONE).unwrap_err().message,
            "HTTP 308: the server redirects to `https://b/v1/traces`; set `endpoint` to where \
             that leads"
        );
    }

    #[test]
    fn a_web_page_is_no_answer_of_a_backend() {
        let mut answer = http(200, None, "<!doctype html>");
        assert_eq!(of_http(&answer, &NONE).unwrap().message, None);
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        answer.headers.insert(header::CONTENT_TYPE, html);
        assert_eq!(of_http(&answer, &NONE).unwrap().message.as_deref(), Some(PAGE));
    }

    #[test]
    fn the_pause_of_a_proxy_counts_for_grpc_too() {
        let error = of_grpc(&http(503, Some("7"), ""), &NONE).unwrap_err();
        assert_eq!(error.retry, Retry::After(Some(Duration::from_secs(7))));
        let error = of_grpc(&http(404, None, ""), &NONE).unwrap_err();
        assert_eq!(error.retry, Retry::Denied(Denial::NotFound));
    }

    #[test]
    fn retry_after_may_be_a_date() {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT");
        headers.insert(header::RETRY_AFTER, value);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_767);
        assert_eq!(retry_after(&headers, now), Some(Duration::from_secs(10)));
        let later = now + Duration::from_mins(1);
        assert_eq!(retry_after(&headers, later), Some(Duration::ZERO));
    }

    #[test]
    fn a_401_says_what_to_do() {
        let answer = http(401, None, "unknown API key - check your credentials");
        let error = of_http(&answer, &NONE).unwrap_err();
        assert_eq!(
            error.message,
            "HTTP 401: unknown API key - check your credentials; the credentials are missing, \
             wrong or not for this backend: check `headers`"
        );
    }

    #[test]
    fn grpc_statuses_are_sent_again_as_otlp_says() {
        let retry = |status: &Status| of_grpc(&grpc(status), &NONE).unwrap_err().retry;
        assert_eq!(retry(&Status::new(Code::Unavailable, "")), Retry::After(None));
        let pause = Some(Duration::from_secs(2));
        let throttled = Status { retry_after: pause, ..Status::new(Code::ResourceExhausted, "") };
        assert_eq!(retry(&throttled), Retry::After(pause));
        assert_eq!(retry(&Status::new(Code::ResourceExhausted, "quota")), Retry::Never);
        let large = "grpc: received message larger than max (5 vs. 4)";
        assert_eq!(retry(&Status::new(Code::ResourceExhausted, large)), Retry::Split);
        assert_eq!(retry(&Status::new(Code::InvalidArgument, "")), Retry::Never);
        let unauthenticated = Retry::Denied(Denial::Unauthenticated);
        assert_eq!(retry(&Status::new(Code::Unauthenticated, "")), unauthenticated);
        assert_eq!(of_grpc(&grpc(&Status::new(Code::Ok, "")), &NONE), Ok(Sent::default()));
    }

    impl PartialEq for ExportError {
        fn eq(&self, other: &Self) -> bool {
            self.retry == other.retry && self.message == other.message
        }
    }
}
