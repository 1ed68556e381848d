//! Sampling calls that AWS answers, and their responses while AWS is unavailable.
//!
//! Each call goes to AWS first. If AWS cannot be reached, throttles or refuses skep, the rules that
//! it returned last are served, and reports on them are answered by skep, which shares their
//! reservoirs among its clients. Before AWS has returned any, the rules of the configuration are
//! used (`mode: merge`), or the client is told why there are none.

use std::{
    sync::{Arc, Mutex},
    time::SystemTime,
};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Value, json};

use super::{
    answer::{Answer, Failure},
    forward::Forward,
    proxy::Call,
    sampling::{self, Sampling},
};
use crate::{net::rate_limit::RateLimit, sync};

/// Most pages of rules that are read. An account has 25 rules unless its limit was raised.
const PAGES: usize = 32;

/// AWS behind the proxy.
pub(super) struct Upstream {
    forward: Arc<Forward>,
    /// The rules that AWS returned last.
    kept: Mutex<Option<Arc<Kept>>>,
    /// Rules of `mode: merge`.
    configured: Option<Sampling>,
    limit: RateLimit,
}

/// Rules of AWS.
struct Kept {
    answer: Answer,
    sampling: Sampling,
}

/// A request with its body.
pub(super) struct Asked {
    pub(super) method: Method,
    /// The path with its query.
    pub(super) path: String,
    pub(super) content_type: Option<HeaderValue>,
    pub(super) body: Bytes,
}

impl Upstream {
    pub(super) fn new(forward: Arc<Forward>, configured: Option<Sampling>) -> Self {
        Upstream { forward, kept: Mutex::default(), configured, limit: RateLimit::default() }
    }

    /// The response to a sampling call, or to any other that is allowed.
    pub(super) async fn answer(&self, call: Option<Call>, asked: Asked) -> Answer {
        let body = asked.body.clone();
        let answered = match call {
            Some(Call::Rules) => self.rules(asked).await,
            _ => self.pass(asked).await,
        };
        let (said, reason) = match answered {
            Ok(answer) if answer.status.is_success() => return answer,
            // The path of a sampling call is right, so this is not AWS but a substitute.
            Ok(answer) if answer.blames_client() && !(call.is_some() && is_unknown(&answer)) => {
                return answer;
            }
            Ok(answer) => {
                let reason = explain(&answer);
                (answer, reason)
            }
            Err(failure) => (failure.answer(), failure.reason),
        };
        let instead = call.and_then(|call| self.instead(call, &body));
        if self.limit.is_due() {
            tracing::warn!(
                reason,
                answered = instead.as_ref().map_or("with the error", |(_, by)| *by),
                "AWS does not answer an X-Ray SDK that asks what to sample"
            );
        }
        instead.map_or(said, |(answer, _)| answer)
    }

    async fn pass(&self, asked: Asked) -> Result<Answer, Failure> {
        let Asked { method, path, content_type, body } = asked;
        self.forward.call(&method, &path, content_type.as_ref(), body).await
    }

    /// Reads all pages of rules, because few SDKs ask for a second one.
    async fn rules(&self, asked: Asked) -> Result<Answer, Failure> {
        let wants_page = serde_json::from_slice::<Value>(&asked.body)
            .is_ok_and(|body| body.get("NextToken").is_some_and(|token| !token.is_null()));
        let Asked { method, path, content_type, body } = asked;
        let content_type = content_type.as_ref();
        let mut answer = self.forward.call(&method, &path, content_type, body).await?;
        if wants_page || !answer.status.is_success() {
            return Ok(answer);
        }
        let Some((mut records, mut next)) = page(&answer.body) else {
            return Err(Failure::broken("AWS answered something else than rules"));
        };
        for _ in 1..PAGES {
            let Some(token) = next else { break };
            let body = Bytes::from(json!({"NextToken": token}).to_string());
            let more = self.forward.call(&method, &path, content_type, body).await?;
            if !more.status.is_success() {
                return Ok(more);
            }
            let Some((others, after)) = page(&more.body) else { break };
            records.extend(others);
            next = after;
            let all = json!({"SamplingRuleRecords": &records, "NextToken": &next});
            answer.body = Bytes::from(all.to_string());
        }
        let rules = sampling::of_records(&records);
        let sampling = Sampling::new(rules, Vec::new(), SystemTime::now());
        let kept = Arc::new(Kept { answer: answer.clone(), sampling });
        *sync::lock(&self.kept) = Some(kept);
        Ok(answer)
    }

    /// The response instead of that of AWS, with its source.
    fn instead(&self, call: Call, body: &[u8]) -> Option<(Answer, &'static str)> {
        let kept = sync::lock(&self.kept).clone();
        if let Some(kept) = kept {
            let answer = match call {
                Call::Rules => kept.answer.clone(),
                _ => call.answer(&kept.sampling, body),
            };
            return Some((answer, "by the rules that AWS gave last"));
        }
        let configured = self.configured.as_ref()?;
        Some((call.answer(configured, body), "by the rules of the configuration"))
    }
}

/// The records of a page, and the token of the next page.
fn page(body: &[u8]) -> Option<(Vec<Value>, Option<Value>)> {
    let mut body: Value = serde_json::from_slice(body).ok()?;
    let Value::Array(records) = body.get_mut("SamplingRuleRecords")?.take() else { return None };
    let next = body.get_mut("NextToken").map(Value::take);
    Some((records, next.filter(|token| !token.is_null())))
}

/// Whether the path is unknown.
fn is_unknown(answer: &Answer) -> bool {
    answer.status == StatusCode::NOT_FOUND
}

/// A message with the remedy.
fn explain(answer: &Answer) -> String {
    let (code, message) = answer.said();
    let hint = match &*code {
        "AccessDeniedException" | "AccessDenied" => {
            "; allow xray:GetSamplingRules, xray:GetSamplingTargets and \
             xray:GetSamplingStatisticSummaries to the role or user of skep"
        }
        "UnrecognizedClientException" | "InvalidClientTokenId" => {
            "; AWS does not know this access key: it is mistyped or deleted"
        }
        "ExpiredTokenException" | "ExpiredToken" => {
            "; the session has ended: give new credentials, or a role"
        }
        _ if answer.doubts_signature() => "; the secret key is wrong",
        _ if is_unknown(answer) => "; whatever answers at this endpoint knows no sampling rules",
        _ => "",
    };
    let code = if code.is_empty() { code } else { format!(" {code}") };
    let message = if message.is_empty() { message } else { format!(": {message}") };
    format!("AWS answers {}{code}{message}{hint}", answer.status.as_u16())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_page_is_read_with_its_token() {
        let (records, next) = page(br#"{"SamplingRuleRecords":[{}],"NextToken":"t"}"#).unwrap();
        assert_eq!((records.len(), next), (1, Some(json!("t"))));
        let (_, next) = page(br#"{"SamplingRuleRecords":[],"NextToken":null}"#).unwrap();
        assert_eq!(next, None);
        assert!(page(b"{}").is_none());
    }

    proptest! {
        #[test]
        fn any_answer_of_aws_is_read_without_a_panic(body in ".{0,200}", name in "\\PC{0,8}") {
            let _ = page(body.as_bytes());
            let text = format!(
                r#"{{"SamplingRuleRecords":[{{"SamplingRule":{{"RuleName":{},"Priority":1,
                "FixedRate":2,"ReservoirSize":0}}}},{{}},7]}}"#,
                json!(name)
            );
            let (records, _) = page(text.as_bytes()).unwrap();
            prop_assert!(sampling::of_records(&records).len() <= 1);
        }
    }
}
