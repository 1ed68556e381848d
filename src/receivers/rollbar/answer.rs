//! Answers in the form of Rollbar's API: `{"err": 0, "result": {...}}`, or `{"err": 1, "message":
//! ...}` with the status of HTTP.

use std::time::{Duration, SystemTime};

use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::json;

use super::limit::Rate;
use crate::{
    component::Rejection,
    net::{grpc::Status, server::Reply},
    receivers::status::status,
    telemetry::Refused,
};

const LIMIT: HeaderName = HeaderName::from_static("x-rate-limit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-rate-limit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-rate-limit-reset");
const REMAINING_SECONDS: HeaderName = HeaderName::from_static("x-rate-limit-remaining-seconds");

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// The uuid of the item, or why it was not taken.
    pub(super) said: Result<String, String>,
    pub(super) rate: Option<Rate>,
    /// For a client that should come back later.
    pub(super) pause: Option<Duration>,
}

impl Answer {
    /// The item was taken.
    pub(super) fn taken(uuid: &str) -> Self {
        Answer { status: StatusCode::OK, said: Ok(uuid.to_owned()), rate: None, pause: None }
    }

    /// Who can change that the item was not taken.
    pub(super) fn at_fault(&self) -> Refused {
        match self.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Refused::Denied,
            StatusCode::TOO_MANY_REQUESTS => Refused::NoRoom,
            status if status.is_server_error() => Refused::NoRoom,
            _ => Refused::Wrong,
        }
    }

    pub(super) fn error(status: StatusCode, message: impl Into<String>) -> Self {
        Answer { status, said: Err(message.into()), rate: None, pause: None }
    }

    /// The token has sent too much.
    pub(super) fn limited(rate: Rate) -> Self {
        let message = format!(
            "more than {} items in a minute; the next one is taken in {} s",
            rate.limit,
            seconds(rate.ends_in)
        );
        let pause = Some(rate.ends_in);
        Answer { pause, rate: Some(rate), ..Answer::error(StatusCode::TOO_MANY_REQUESTS, message) }
    }

    /// What the engine refuses.
    pub(super) fn rejected(rejection: &Rejection) -> Self {
        let mut answer = Answer::refused(&status(rejection));
        match rejection {
            Rejection::Malformed(_) => answer.status = StatusCode::UNPROCESSABLE_ENTITY,
            Rejection::TooLarge { .. } => answer.status = StatusCode::PAYLOAD_TOO_LARGE,
            _ => {}
        }
        answer
    }

    /// A request that is refused with a status of gRPC. Where it should come back later, it is told
    /// so as for a rate limit: SDKs know no other reason to be quiet for a while.
    pub(super) fn refused(status: &Status) -> Self {
        let code = StatusCode::from_u16(status.code.to_http());
        let mut answer =
            Answer::error(code.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &*status.message);
        if let Some(pause) = status.retry_after {
            answer.status = StatusCode::TOO_MANY_REQUESTS;
            answer.pause = Some(pause);
        }
        answer
    }

    pub(super) fn respond(self) -> Response<Reply> {
        let body = match &self.said {
            Ok(uuid) => json!({"err": 0, "result": {"id": null, "uuid": uuid}}),
            Err(message) => json!({"err": 1, "message": message}),
        };
        let body = body.to_string();
        let length = body.len();
        let mut response = Response::new(Reply::new(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        let remaining = self.rate.map(|rate| rate.remaining);
        if let Some(rate) = self.rate {
            headers.insert(LIMIT, HeaderValue::from(rate.limit));
        }
        // rollbar.js is quiet only if nothing remains.
        let remaining = if self.pause.is_some() { Some(0) } else { remaining };
        if let Some(remaining) = remaining {
            headers.insert(REMAINING, HeaderValue::from(remaining));
        }
        if let Some(pause) = self.pause.or(self.rate.map(|rate| rate.ends_in)) {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            headers.insert(RESET, HeaderValue::from(now.as_secs() + seconds(pause)));
            headers.insert(REMAINING_SECONDS, HeaderValue::from(seconds(pause)));
        }
        response
    }
}

fn seconds(pause: Duration) -> u64 {
    u64::try_from(pause.as_millis().div_ceil(1000).max(1)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::payload::Reason;

    fn header<'r>(response: &'r Response<Reply>, name: &HeaderName) -> &'r str {
        response.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[test]
    fn a_full_queue_makes_clients_quiet() {
        let rejection =
            Rejection::Unavailable(Reason::QueueFull, Some(Duration::from_millis(1500)));
        let response = Answer::rejected(&rejection).respond();
        assert_eq!(response.status(), 429);
        assert_eq!(header(&response, &REMAINING), "0");
        assert_eq!(header(&response, &REMAINING_SECONDS), "2");
        assert!(header(&response, &RESET).parse::<u64>().unwrap() > 1_700_000_000);
    }

    #[test]
    fn answers_have_the_headers_of_the_rate_limit() {
        let rate =
            Rate { limit: 5, remaining: 3, ends_in: Duration::from_secs(40), is_over: false };
        let response = Answer { rate: Some(rate), ..Answer::taken("u") }.respond();
        let told =
            [LIMIT, REMAINING, REMAINING_SECONDS].map(|name| header(&response, &name).to_owned());
        assert_eq!((response.status().as_u16(), told), (200, ["5", "3", "40"].map(str::to_owned)));
        let response = Answer::limited(Rate { is_over: true, remaining: 0, ..rate }).respond();
        assert_eq!((response.status().as_u16(), header(&response, &REMAINING)), (429, "0"));
    }

    #[test]
    fn refusals_keep_their_kind() {
        let status = |rejection| Answer::rejected(&rejection).status.as_u16();
        assert_eq!(status(Rejection::Malformed(String::new())), 422);
        assert_eq!(status(Rejection::TooLarge { limit: 1 }), 413);
        assert_eq!(status(Rejection::Failed(Reason::Unaccounted)), 500);
    }
}
