//! Sends items to Rollbar, one call each, and obeys its rate limit.
//!
//! Rollbar's windows hold for a whole access token, so one answer 429 makes all calls of the
//! exporter wait until the window has ended. An item that was sent twice is no harm: Rollbar drops
//! the second one by its uuid.

use std::{
    sync::Mutex,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use tokio::time::Instant;

use super::items::to_fit;
use crate::{
    component::{Denial, ExportError, Progress, Retry, Sent},
    exporters::{
        masked::Secrets,
        outcome::{of_failure, said},
    },
    net::client::{Answer, Client, Segments},
    sync,
};

/// Longest pause that is obeyed at a time; windows may be as long as 30 days, and a limit may be
/// raised meanwhile.
const LONGEST: Duration = Duration::from_hours(1);

/// Sends items.
pub(super) struct Sender {
    pub(super) client: Client,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    /// Until when Rollbar takes nothing.
    pub(super) closed_until: Mutex<Option<Instant>>,
}

/// What an answer means for an item.
#[derive(Debug)]
enum Verdict {
    Taken,
    /// Refused for good, for this reason.
    Refused(String),
    TooLarge(String),
    Failed(ExportError),
}

impl Sender {
    /// Sends those of a request that earlier attempts have not sent.
    pub(super) async fn send(
        &self,
        items: &[Bytes],
        progress: &Progress,
    ) -> Result<Sent, ExportError> {
        for (number, item) in items.iter().enumerate() {
            if progress.is_done(number) {
                continue;
            }
            let verdict = match self.post(item.clone()).await {
                Verdict::TooLarge(message) => self.post_half(item, message).await,
                verdict => verdict,
            };
            match verdict {
                Verdict::Taken => progress.finish(number, Sent::default()),
                Verdict::Refused(message) | Verdict::TooLarge(message) => {
                    let message = Some(message);
                    progress.finish(number, Sent { rejected: 1, message, ..Sent::default() });
                }
                Verdict::Failed(error) => return Err(error),
            }
        }
        Ok(progress.sent())
    }

    /// Sends an item again that was too large, with half of its size.
    async fn post_half(&self, item: &Bytes, message: String) -> Verdict {
        match to_fit(item.to_vec(), item.len() / 2) {
            Some(shorter) => self.post(shorter.into()).await,
            None => Verdict::TooLarge(message),
        }
    }

    async fn post(&self, item: Bytes) -> Verdict {
        if let Some(pause) = self.pause() {
            let message = "Rollbar's rate limit is used up; the item waits for the next window";
            let retry = Retry::After(Some(pause));
            return Verdict::Failed(ExportError { retry, message: message.to_owned() });
        }
        match self.call(item).await {
            Ok(answer) => {
                let secrets = Secrets::of(&self.uri, &self.headers);
                let verdict = verdict(&answer, &secrets, SystemTime::now());
                if answer.status == StatusCode::TOO_MANY_REQUESTS
                    && let Verdict::Failed(ExportError { retry: Retry::After(Some(pause)), .. }) =
                        &verdict
                {
                    let mut closed = sync::lock(&self.closed_until);
                    *closed = Some(Instant::now() + *pause);
                }
                verdict
            }
            Err(error) => Verdict::Failed(error),
        }
    }

    /// How long Rollbar takes nothing.
    fn pause(&self) -> Option<Duration> {
        let closed = sync::lock(&self.closed_until);
        let left = closed.map(|until| until.saturating_duration_since(Instant::now()));
        left.filter(|left| !left.is_zero())
    }

    async fn call(&self, item: Bytes) -> Result<Answer, ExportError> {
        let mut request = Request::new(Segments::new([item]));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        self.client.call(request).await.map_err(|error| of_failure(&error))
    }

    /// Sends an item that says nothing: Rollbar refuses it, but only after it has looked at the
    /// access token.
    pub(super) async fn probe(&self) -> Result<String, ExportError> {
        let answer = self.call(Bytes::from_static(b"{\"data\":{}}")).await?;
        let secrets = Secrets::of(&self.uri, &self.headers);
        match verdict(&answer, &secrets, SystemTime::now()) {
            Verdict::Taken | Verdict::Refused(_) | Verdict::TooLarge(_) => {
                Ok("Rollbar knows the access token".to_owned())
            }
            Verdict::Failed(error) => Err(error),
        }
    }
}

fn verdict(answer: &Answer, secrets: &Secrets, now: SystemTime) -> Verdict {
    let code = answer.status.as_u16();
    if answer.status.is_success() {
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        return match body["err"].as_i64() {
            None | Some(0) => Verdict::Taken,
            Some(_) => {
                Verdict::Refused(format!("Rollbar refused an item{}", said(answer, secrets)))
            }
        };
    }
    let words = format!("HTTP {code}{}", said(answer, secrets));
    let failed = |retry, message| Verdict::Failed(ExportError { retry, message });
    match code {
        413 => Verdict::TooLarge(format!("{words}; Rollbar found an item too large")),
        401 | 403 => {
            let denial = if code == 401 { Denial::Unauthenticated } else { Denial::Forbidden };
            let message = format!(
                "Rollbar refused the access token ({words}): it is mistyped, disabled, or lacks the \
                 scope `post_server_item`"
            );
            failed(Retry::Denied(denial), message)
        }
        300..=399 | 404 | 405 => {
            let message = format!("{words}; does `endpoint` lead to Rollbar's API?");
            failed(Retry::Denied(Denial::NotFound), message)
        }
        429 => {
            let message = format!("{words}; the rate limit of the access token is used up");
            failed(Retry::After(pause(&answer.headers, now)), message)
        }
        408 | 500..=599 => failed(Retry::After(pause(&answer.headers, now)), words),
        _ => Verdict::Refused(format!("Rollbar refused an item: {words}")),
    }
}

/// When the window of the rate limit ends.
fn pause(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let number = |name: &str| {
        let text = headers.get(name).and_then(|value| value.to_str().ok());
        text.and_then(|text| text.trim().parse::<u64>().ok())
    };
    let until_reset = || {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        number("x-rate-limit-reset").map(|reset| reset.saturating_sub(now))
    };
    let seconds = number("x-rate-limit-remaining-seconds")
        .or_else(until_reset)
        .or_else(|| number(header::RETRY_AFTER.as_str()));
    seconds.map(|seconds| Duration::from_secs(seconds.max(1)).min(LONGEST))
}

/// The headers of every call.
pub(super) fn headers(token: &str, agent: HeaderValue) -> Result<HeaderMap, String> {
    let mut token = HeaderValue::try_from(token)
        .map_err(|_| "the access token has characters that no header may have".to_owned())?;
    token.set_sensitive(true);
    let mut headers = HeaderMap::new();
    headers.insert("x-rollbar-access-token", token);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::USER_AGENT, agent);
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: u16, headers: &[(&'static str, &'static str)], body: &'static str) -> Answer {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_static(value));
        }
        Answer {
            status: StatusCode::from_u16(code).unwrap(),
            headers: map,
            body: Bytes::from_static(body.as_bytes()),
            trailers: None,
        }
    }

    fn judged(answer: &Answer) -> Verdict {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        verdict(answer, &Secrets::NONE, now)
    }

    fn retry(answer: &Answer) -> Retry {
        match judged(answer) {
            Verdict::Failed(error) => error.retry,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_headers_of_the_rate_limit_are_obeyed() {
        let after = |headers: &[_]| retry(&answer(429, headers, ""));
        let seconds = |seconds| Retry::After(Some(Duration::from_secs(seconds)));
        let reset = ("x-rate-limit-reset", "1090");
        assert_eq!(after(&[("x-rate-limit-remaining-seconds", "30"), reset]), seconds(30));
        assert_eq!(after(&[reset]), seconds(90));
        assert_eq!(after(&[("retry-after", "7")]), seconds(7));
        assert_eq!(after(&[("x-rate-limit-remaining-seconds", "2592000")]), seconds(3600));
        assert_eq!(after(&[("x-rate-limit-reset", "5")]), seconds(1));
        assert_eq!(after(&[]), Retry::After(None));
    }

    #[test]
    fn answers_are_told_apart() {
        assert!(matches!(judged(&answer(200, &[], r#"{"err":0,"result":{}}"#)), Verdict::Taken));
        assert!(matches!(
            judged(&answer(200, &[], r#"{"err":1,"message":"no"}"#)),
            Verdict::Refused(_)
        ));
        assert!(matches!(judged(&answer(422, &[], "")), Verdict::Refused(_)));
        assert!(matches!(judged(&answer(413, &[], "")), Verdict::TooLarge(_)));
        assert_eq!(retry(&answer(401, &[], "")), Retry::Denied(Denial::Unauthenticated));
        assert_eq!(retry(&answer(403, &[], "")), Retry::Denied(Denial::Forbidden));
        assert_eq!(retry(&answer(404, &[], "")), Retry::Denied(Denial::NotFound));
        assert_eq!(retry(&answer(502, &[], "")), Retry::After(None));
        let Verdict::Failed(error) = judged(&answer(403, &[], r#"{"err":1,"message":"scope"}"#))
        else {
            panic!("it is refused")
        };
        assert!(error.message.contains("(HTTP 403: scope)"), "{}", error.message);
    }

    #[test]
    fn the_access_token_prints_nowhere() {
        let headers = headers("very-secret", HeaderValue::from_static("skep")).unwrap();
        assert!(!format!("{headers:?}").contains("very-secret"));
        assert!(headers.get("x-rollbar-access-token").unwrap().is_sensitive());
        let error = super::headers("very\nsecret", HeaderValue::from_static("skep")).unwrap_err();
        assert!(!error.contains("secret"), "{error}");
    }
}
