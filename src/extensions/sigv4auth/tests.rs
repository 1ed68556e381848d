use super::*;

fn config(region: &str, service: &str) -> Config {
    Config { region: region.to_owned(), service: service.to_owned(), ..Config::default() }
}

#[test]
fn a_host_that_says_everything_needs_no_keys_and_none_may_contradict_it() {
    let url = "https://xray.ca-central-1.amazonaws.com/v1/traces";
    let check = |config: Config, url| config.check(Protocol::Http, url);
    for known in [config("", ""), config("ca-central-1", ""), config("ca-central-1", "xray")] {
        assert_eq!(check(known, url), Ok(()));
    }
    let error = check(config("us-east-1", ""), url).unwrap_err();
    assert!(error.message.contains("its region is `ca-central-1`"), "{error:?}");
    let error = check(config("", "logs"), url).unwrap_err();
    assert!(error.message.contains("its service is `xray`"), "{error:?}");
    let other = "http://ann:pa55@collector.internal:4318/v1/traces";
    let error = check(config("us-east-1", ""), other).unwrap_err();
    assert!(error.help.contains("`service`") && !error.message.contains("pa55"), "{error:?}");
    assert_eq!(check(config("", "xray"), other), Ok(()), "the region is looked for elsewhere");
    assert!(config("", "xray").check(Protocol::Grpc, url).is_err());
}

#[test]
fn the_words_of_aws_are_known_in_every_form() {
    let fault = |words| Fault::of(words);
    assert_eq!(fault("ExpiredTokenException:http://x "), Some(Fault::Expired));
    assert_eq!(
        fault(r#" {"message":"The security token included in the request is expired"}"#),
        Some(Fault::Expired)
    );
    assert_eq!(fault("<Code>SignatureDoesNotMatch</Code>"), Some(Fault::Signature));
    let late = r#"InvalidSignatureException {"message":"Signature expired: 2026 is now earlier"}"#;
    assert_eq!(fault(late), Some(Fault::Signature));
    assert_eq!(fault("UnrecognizedClientException "), Some(Fault::Key));
    assert_eq!(fault("com.amazon#AccessDeniedException"), Some(Fault::Access));
    for other in ["", "InvalidRequestException bad span", "ThrottlingException"] {
        assert_eq!(fault(other), None, "{other}");
    }
}

fn opened() -> SigV4 {
    SigV4 {
        exporter: "otlp_http".to_owned(),
        endpoint: String::new(),
        access: Access::default(),
        region_from: None,
        service: "logs".to_owned(),
        signer: OnceCell::new(),
        skew: AtomicI64::new(0),
        asked: Mutex::new(None),
    }
}

#[test]
fn the_time_of_aws_is_taken_once() {
    let auth = opened();
    let ours = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
    let behind = shifted(ours, -3600);
    assert!(auth.is_corrected(behind, ours));
    assert!(!auth.is_corrected(shifted(behind, 2), ours), "it is corrected already");
    assert!(auth.is_corrected(shifted(ours, 7200), ours), "until it jumps again");
    assert!(!opened().is_corrected(shifted(ours, 30), ours), "AWS allows five minutes");
}

fn answer(status: u16, date: Option<&str>, body: &'static str) -> Answer {
    let mut headers = http::HeaderMap::new();
    if let Some(date) = date {
        headers.insert(header::DATE, date.parse().unwrap());
    }
    let status = http::StatusCode::from_u16(status).unwrap();
    Answer { status, headers, body: body.into(), trailers: None }
}

#[tokio::test]
async fn answers_say_whether_the_same_request_may_succeed() {
    let look = |status, date, body| async move { opened().look(&answer(status, date, body)).await };
    let skewed = look(403, Some("Thu, 01 Jan 1970 00:00:00 GMT"), "SignatureDoesNotMatch").await;
    assert!(matches!(skewed, Refusal::Again(_)), "{skewed:?}");
    let wrong = look(403, None, "SignatureDoesNotMatch").await;
    assert!(matches!(wrong, Refusal::Denied(words) if words.contains("secret key")), "{wrong:?}");
    let expired = look(400, None, "ExpiredTokenException").await;
    assert!(matches!(expired, Refusal::Again(_)), "{expired:?}");
    let denied = look(403, None, "").await;
    assert!(matches!(denied, Refusal::Denied(words) if words.contains("logs:PutLogEvents")));
    for status in [400, 413, 429, 503] {
        assert_eq!(look(status, None, "no").await, Refusal::Other, "{status}");
    }
}

proptest::proptest! {
    #[test]
    fn any_answer_is_looked_at_without_a_panic(body: Vec<u8>, date in ".{0,40}") {
        let mut answer = answer(403, None, "");
        answer.body = body.into();
        if let Ok(date) = date.parse() {
            answer.headers.insert(header::DATE, date);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(opened().look(&answer));
    }
}
