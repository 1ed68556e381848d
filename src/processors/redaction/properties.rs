//! The rewriting of bytes against the same rules on decoded messages.

use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{AnyValue, KeyValue, KeyValueList, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, span::Event},
};
use proptest::prelude::*;
use prost::Message as _;

use super::{mask::Rules, rewrite::redact, settings::Config, summary::Done};
use crate::{
    otlp::{Signal, purse::Purse},
    processors::editing::oracle::attributes,
};

fn rules() -> impl Strategy<Value = Config> {
    let keys = || prop::sample::subsequence(vec!["a", "b", "c", "d", "x"], 0..5);
    let owned = |keys: Vec<&str>| keys.into_iter().map(str::to_owned).collect::<Vec<_>>();
    (any::<bool>(), keys(), keys(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        move |(allow_all_keys, allowed, ignored, blocks_key, blocks_values, allows)| Config {
            allow_all_keys,
            allowed_keys: owned(allowed),
            ignored_keys: owned(ignored),
            blocked_key_patterns: if blocks_key { vec!["[bx]".to_owned()] } else { vec![] },
            blocked_values: if blocks_values { vec!["[ab]+".to_owned()] } else { vec![] },
            allowed_values: if allows { vec!["^a".to_owned()] } else { vec![] },
            ..Config::default()
        },
    )
}

fn is_text_with(value: Option<&AnyValue>, is_such: impl Fn(&str) -> bool) -> bool {
    match value.and_then(|any| any.value.as_ref()) {
        Some(Value::StringValue(text)) => is_such(text),
        _ => false,
    }
}

/// Every run of `a` and `b` as stars.
fn masked(text: &str) -> String {
    let mut out = String::new();
    let mut is_in = false;
    for c in text.chars() {
        if matches!(c, 'a' | 'b') {
            if !is_in {
                out.push_str("****");
            }
            is_in = true;
        } else {
            is_in = false;
            out.push(c);
        }
    }
    out
}

fn mask_value(config: &Config, any: &mut AnyValue) {
    if let Some(Value::StringValue(text)) = &mut any.value
        && !config.blocked_values.is_empty()
    {
        *text = masked(text);
    }
}

fn model(config: &Config, attributes: &mut Vec<KeyValue>) {
    let is_ignored = |key: &String| config.ignored_keys.contains(key);
    let is_allowed = |key: &String| config.allow_all_keys || config.allowed_keys.contains(key);
    attributes.retain(|one| is_ignored(&one.key) || is_allowed(&one.key));
    for one in attributes.iter_mut().filter(|one| !is_ignored(&one.key)) {
        if !config.allowed_values.is_empty()
            && is_text_with(one.value.as_ref(), |text| text.starts_with('a'))
        {
            continue;
        }
        if !config.blocked_key_patterns.is_empty() && matches!(&*one.key, "b" | "x") {
            one.value = Some(AnyValue { value: Some(Value::StringValue("****".to_owned())) });
        } else if let Some(any) = &mut one.value {
            mask_value(config, any);
        }
    }
}

/// The same in a body, where keys come before allowed values.
fn model_body(config: &Config, map: &mut Vec<KeyValue>) {
    let is_ignored = |key: &String| config.ignored_keys.contains(key);
    let is_allowed = |key: &String| config.allow_all_keys || config.allowed_keys.contains(key);
    map.retain(|one| is_ignored(&one.key) || is_allowed(&one.key));
    for one in map.iter_mut().filter(|one| !is_ignored(&one.key)) {
        if !config.blocked_key_patterns.is_empty() && matches!(&*one.key, "b" | "x") {
            one.value = Some(AnyValue { value: Some(Value::StringValue("****".to_owned())) });
            continue;
        }
        let is_allowed = !config.allowed_values.is_empty();
        let Some(any) = &mut one.value else { continue };
        match &mut any.value {
            Some(Value::KvlistValue(inner)) => model_body(config, &mut inner.values),
            Some(Value::ArrayValue(list)) => {
                for any in &mut list.values {
                    if !(is_allowed && is_text_with(Some(any), |text| text.starts_with('a'))) {
                        mask_value(config, any);
                    }
                }
            }
            Some(Value::StringValue(text)) if is_allowed && text.starts_with('a') => {}
            _ => mask_value(config, any),
        }
    }
}

fn redacted(signal: Signal, config: &Config, body: &[u8]) -> Vec<u8> {
    let (rules, mut done) = (Rules::new(config).unwrap(), Done::default());
    let new = redact(signal, body, 0, &mut Purse::default(), (&rules, &mut done)).unwrap();
    assert_eq!(new.is_some(), done.deleted + done.masked > 0);
    new.unwrap_or_else(|| body.to_vec())
}

proptest! {
    #[test]
    fn spans_are_rewritten_as_the_rules_say(
        config in rules(),
        resource in attributes(),
        spans in prop::collection::vec((attributes(), prop::collection::vec(attributes(), 0..3)), 0..4),
    ) {
        let span = |(attributes, events): (Vec<KeyValue>, Vec<Vec<KeyValue>>)| Span {
            attributes,
            name: "n".to_owned(),
            events: events.into_iter().map(|attributes| Event { attributes, ..Event::default() }).collect(),
            ..Span::default()
        };
        let mut request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(Resource { attributes: resource, ..Resource::default() }),
                scope_spans: vec![ScopeSpans {
                    spans: spans.into_iter().map(span).collect(),
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        };
        let body = redacted(Signal::Traces, &config, &request.encode_to_vec());
        let entry = &mut request.resource_spans[0];
        model(&config, &mut entry.resource.as_mut().unwrap().attributes);
        for span in &mut entry.scope_spans[0].spans {
            model(&config, &mut span.attributes);
            span.events.iter_mut().for_each(|event| model(&config, &mut event.attributes));
        }
        prop_assert_eq!(ExportTraceServiceRequest::decode(&*body).unwrap(), request);
    }

    #[test]
    fn bodies_are_rewritten_as_the_rules_say(
        config in rules(),
        outer in attributes(),
        inner in attributes(),
        attributes in attributes(),
    ) {
        let mut values = outer;
        let list = AnyValue { value: Some(Value::KvlistValue(KeyValueList { values: inner })) };
        values.push(KeyValue { key: "c".to_owned(), value: Some(list), ..KeyValue::default() });
        let map = Value::KvlistValue(KeyValueList { values });
        let record =
            LogRecord { body: Some(AnyValue { value: Some(map) }), attributes, ..LogRecord::default() };
        let mut request = ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs {
                scope_logs: vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }],
                ..ResourceLogs::default()
            }],
        };
        let body = redacted(Signal::Logs, &config, &request.encode_to_vec());
        let record = &mut request.resource_logs[0].scope_logs[0].log_records[0];
        model(&config, &mut record.attributes);
        if let Some(Value::KvlistValue(map)) = record.body.as_mut().and_then(|any| any.value.as_mut()) {
            model_body(&config, &mut map.values);
        }
        prop_assert_eq!(ExportLogsServiceRequest::decode(&*body).unwrap(), request);
    }
}
