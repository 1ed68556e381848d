use serde_json::{Value, json};

use super::*;
use crate::{
    otlp::plain::{logs, metrics, record, span, spans},
    processors::trial::{Trial, examples, problems},
};

fn redacted(signal: Signal, settings: &str, request: &Value) -> Value {
    Trial::of(&ENTRY, signal, settings).send(request).only()
}

/// The attributes of a span after it.
fn attributes(settings: &str, attributes: &Value) -> Value {
    let request = spans(&[json!({"name": "a", "attributes": attributes})]);
    let mut settings = settings.to_owned();
    // The resource has an attribute, too.
    settings.insert_str(1, "ignored_keys: [host.name], ");
    span(&redacted(Signal::Traces, &settings, &request))["attributes"].clone()
}

#[test]
fn only_allowed_keys_stay() {
    let all = json!({"group": "g", "id": 5, "name": "n", "credit_card": "4111111111111111"});
    let left = attributes("{allowed_keys: [group, id, name]}", &all);
    assert_eq!(left, json!({"group": "g", "id": 5, "name": "n"}));
    assert_eq!(attributes("{allow_all_keys: true}", &all), all);
    assert_eq!(attributes("{allow_all_keys: false}", &all), Value::Null);
    let left = attributes("{ignored_key_patterns: ['^cred'], blocked_values: ['4[0-9]+']}", &all);
    assert_eq!(left, json!({"credit_card": "4111111111111111"}));
}

#[test]
fn values_are_masked_in_order() {
    let visa = "'4[0-9]{12}(?:[0-9]{3})?'";
    let all =
        json!({"name": "placeholder 4111111111111111 52000", "mystery": "52000", "id": 52000});
    let settings = format!(
        "{{allow_all_keys: true, summary: debug, blocked_values: [{visa}, '\\b52[0-9]+']}}"
    );
    assert_eq!(
        attributes(&settings, &all),
        json!({
            "name": "placeholder **** ****", "mystery": "****", "id": 52000,
            "redaction.masked.keys": "mystery,name", "redaction.masked.count": 2,
        })
    );
    let settings = "{allow_all_keys: true, redact_all_types: true, blocked_values: ['^5']}";
    assert_eq!(attributes(settings, &json!({"id": 52000}))["id"], "****2000");
}

#[test]
fn allowed_values_win_and_blocked_keys_are_masked_whole() {
    let settings = "{allow_all_keys: true, allowed_values: ['@corp$'], blocked_key_patterns: [token], \
                    blocked_values: ['[a-z]+@[a-z]+'], summary: info}";
    let all = json!({"a": "x@corp", "b": "x@other", "token": "one\ntwo", "token.n": 7, "token.ok": "y@corp"});
    let left = attributes(settings, &all);
    assert_eq!((&left["a"], &left["b"]), (&json!("x@corp"), &json!("****")));
    assert_eq!((&left["token"], &left["token.n"]), (&json!("****"), &json!("****")));
    assert_eq!(left["token.ok"], "y@corp");
    assert_eq!(left["redaction.allowed.count"], 2);
    assert_eq!(left["redaction.masked.count"], 3);
    assert_eq!(left.get("redaction.masked.keys"), None);
}

#[test]
fn hashes_take_the_place_of_stars() {
    let hash = |settings: &str| {
        let settings = format!("{{allow_all_keys: true, blocked_values: ['s.*t'], {settings}}}");
        attributes(&settings, &json!({"a": "a secret b"}))["a"].clone()
    };
    assert_eq!(hash("hash_function: md5"), "a 5ebe2294ecd0e0f08eab7690d2a6ee69 b");
    assert_eq!(hash("hash_function: sha1"), "a e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4 b");
    assert_eq!(
        hash("hash_function: sha3"),
        "a f5a5207a8729b1f709cb710311751eb2fc8acad5a1fb8ac991b736e69b6529a3 b"
    );
    let key = "k".repeat(64);
    let sha256 = hash(&format!("hash_function: hmac-sha256, hmac_key: {key}"));
    let sha512 = hash(&format!("hash_function: hmac-sha512, hmac_key: {key}"));
    assert_eq!(sha256.as_str().map(str::len), Some(2 + 64 + 2));
    assert_eq!(sha512.as_str().map(str::len), Some(2 + 128 + 2));
}

#[test]
fn a_second_processor_counts_up() {
    let first = "{allow_all_keys: true, blocked_values: [one], summary: debug}";
    let second = "{allow_all_keys: true, blocked_values: [two], summary: debug}";
    let request = spans(&[json!({"attributes": {"a": "one", "b": "two", "c": "one two"}})]);
    let once = redacted(Signal::Traces, first, &request);
    let twice = span(&redacted(Signal::Traces, second, &once));
    assert_eq!(
        twice["attributes"],
        json!({"a": "****", "b": "****", "c": "**** ****",
               "redaction.masked.keys": "a,b,c,c", "redaction.masked.count": 4})
    );
}

#[test]
fn everything_with_attributes_is_searched() {
    let secret = json!({"k": "secret"});
    let request = json!({"resourceSpans": [{
        "resource": {"attributes": secret},
        "scopeSpans": [{"scope": {"attributes": secret}, "spans": [{
            "attributes": secret, "events": [{"name": "e", "attributes": secret}],
            "links": [{"traceId": "0102030405060708090a0b0c0d0e0f10", "attributes": secret}],
        }]}],
    }]});
    let settings = "{allow_all_keys: true, blocked_values: [secret]}";
    let mut trial = Trial::of(&ENTRY, Signal::Traces, settings);
    let text = trial.send(&request).only().to_string();
    assert_eq!((text.matches("secret").count(), text.matches("****").count()), (0, 5), "{text}");
    assert_eq!(trial.sum("skep_redaction_values"), 5);
    let point = json!({"asInt": "1", "attributes": secret});
    let sum = json!({"name": "s", "sum": {"dataPoints": [
        {"asInt": "1", "attributes": secret, "exemplars": [{"asInt": "1", "filteredAttributes": secret}]}]}});
    let histogram = json!({"name": "h", "histogram": {"dataPoints": [{"attributes": secret}]}});
    let exponential =
        json!({"name": "e", "exponentialHistogram": {"dataPoints": [{"attributes": secret}]}});
    let summary = json!({"name": "q", "summary": {"dataPoints": [{"attributes": secret}]}});
    let gauge = json!({"name": "g", "gauge": {"dataPoints": [point]}});
    let request = metrics(&[sum, histogram, exponential, summary, gauge]);
    let text = redacted(Signal::Metrics, settings, &request).to_string();
    assert_eq!((text.matches("secret").count(), text.matches("****").count()), (0, 6), "{text}");
}

#[test]
fn bodies_are_searched_at_any_depth() {
    let settings = "{allow_all_keys: true, blocked_values: [secret], blocked_key_patterns: [^token$], \
                    ignored_keys: [safe], summary: debug}";
    let body = json!({
        "a": ["x", "a secret", {"token": 5, "n": 1}],
        "safe": "secret", "ok": true, "deep": {"deeper": {"v": "secret"}},
    });
    let after = record(&redacted(Signal::Logs, settings, &logs(&[json!({"body": body})])));
    assert_eq!(
        after["body"],
        json!({
            "a": ["x", "a ****", {"token": "****", "n": 1}],
            "safe": "secret", "ok": true, "deep": {"deeper": {"v": "****"}},
        })
    );
    assert_eq!(
        after["attributes"],
        json!({
            "redaction.body.masked.keys": "a.[1],a.[2].token,deep.deeper.v",
            "redaction.body.masked.count": 3, "redaction.body.ignored.count": 1,
        })
    );
    let after = record(&redacted(Signal::Logs, settings, &logs(&[json!({"body": "a secret"})])));
    assert_eq!(after["body"], "a ****");
    assert_eq!(after["attributes"]["redaction.body.masked.keys"], "body");
    let settings = "{allowed_keys: [a, host.name]}";
    let body = json!({"a": {"b": 1, "a": 2}, "c": 3});
    let after = record(&redacted(Signal::Logs, settings, &logs(&[json!({"body": body})])));
    assert_eq!(after["body"], json!({"a": {"a": 2}}));
}

#[test]
fn what_has_nothing_to_hide_is_the_same_allocation() {
    let settings =
        "{allow_all_keys: true, blocked_values: [secret], blocked_key_patterns: [token]}";
    let request = spans(&[json!({"attributes": {"a": "b"}, "events": [{"attributes": {"c": 1}}]})]);
    let came = Trial::of(&ENTRY, Signal::Traces, settings).send(&request);
    assert!(came.is_same);
}

#[test]
fn mistakes_are_shown() {
    for (settings, at, message) in [
        ("{blocked_values: ['('], allow_all_keys: true}", "'('", "regular expression is invalid"),
        (
            "{hash_function: hmac-sha256, hmac_key: short, allow_all_keys: true}",
            "short",
            "at least 32",
        ),
        ("{hash_function: hmac-sha512, allow_all_keys: true}", "", "at least 64"),
        ("{hmac_key: abc, allow_all_keys: true}", "abc", "no effect"),
        ("{url_sanitizer: {enabled: true}}", "url_sanitizer", "not supported"),
        ("{db_sanitizer: {sql: {enabled: true}}}", "sql", "not supported"),
        ("{hash_function: crc}", "crc", "unknown value"),
        ("{}", "", "all attributes are deleted"),
    ] {
        let found = problems(&ENTRY, settings);
        assert!(
            found.iter().any(|[place, words, _]| place.contains(at) && words.contains(message)),
            "{settings}: {found:?}"
        );
    }
}

#[test]
fn the_examples_do_what_they_say() {
    let [main, strict, ..] = &examples(&ENTRY)[..] else { panic!("two examples") };
    let all = json!({
        "card": "4111111111111111", "mail": "jo@example.com", "Authorization": "Bearer x",
        "k8s.pod.name": "jo@corp.com", "http.route": "/jo@corp.com",
    });
    let request = spans(&[json!({"attributes": all})]);
    let after = span(&redacted(Signal::Traces, main, &request))["attributes"].clone();
    assert_eq!((&after["card"], &after["mail"]), (&json!("****"), &json!("jo@example.com")));
    assert_eq!(
        (&after["Authorization"], &after["redaction.masked.count"]),
        (&json!("****"), &json!(2))
    );
    let strict = strict.replace("${env:REDACTION_KEY}", &"k".repeat(32));
    let after = span(&redacted(Signal::Traces, &strict, &request))["attributes"].clone();
    assert_eq!(after.as_object().map(serde_json::Map::len), Some(2));
    assert_eq!(after["k8s.pod.name"], "jo@corp.com");
    assert_eq!(after["http.route"].as_str().map(str::len), Some(1 + 64));
}
