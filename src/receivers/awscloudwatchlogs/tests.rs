//! Events as records of OTLP, read back by an independent decoder.

use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value as Any},
    logs::v1::LogRecord,
};
use proptest::prelude::*;
use prost::Message as _;
use serde_json::{Value, json};

use super::{
    events::Put,
    groups::Wishes,
    record::{Around, translate},
    settings::ServiceName,
    translated,
};
use crate::otlp::{
    Signal,
    check::{self, Utf8},
};

fn request(body: &[u8]) -> ExportLogsServiceRequest {
    let (bytes, count) = translated(body).unwrap();
    assert_eq!(check::check(Signal::Logs, &bytes, Utf8::Strict).unwrap().items, count);
    ExportLogsServiceRequest::decode(&*bytes).unwrap()
}

fn records(messages: &[&str]) -> Vec<LogRecord> {
    let event = |message: &&str| json!({"timestamp": 1_700_000_000_123_i64, "message": message});
    let events: Vec<Value> = messages.iter().map(event).collect();
    let body = json!({"logGroupName": "/app", "logStreamName": "s", "logEvents": events});
    let request = request(body.to_string().as_bytes());
    request.resource_logs[0].scope_logs[0].log_records.clone()
}

fn text(value: Option<&AnyValue>) -> Option<&str> {
    match value?.value.as_ref()? {
        Any::StringValue(text) => Some(text),
        _ => None,
    }
}

fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a AnyValue> {
    attributes.iter().find(|one| one.key == key)?.value.as_ref()
}

#[test]
fn group_stream_and_service_are_in_the_resource() {
    let body = json!({
        "logGroupName": "/app", "logStreamName": "web/1",
        "logEvents": [{"timestamp": 1, "message": "a"}, {"timestamp": 2, "message": "b"}],
        "entity": {"keyAttributes": {"Name": "shop", "Environment": "prod"}},
    });
    let request = request(body.to_string().as_bytes());
    let [entry] = &request.resource_logs[..] else { panic!("one resource") };
    let attributes = &entry.resource.as_ref().unwrap().attributes;
    assert_eq!(text(attribute(attributes, "service.name")), Some("shop"));
    assert_eq!(text(attribute(attributes, "deployment.environment.name")), Some("prod"));
    assert_eq!(text(attribute(attributes, "cloud.region")), Some("eu-west-1"));
    for (key, name) in [("aws.log.group.names", "/app"), ("aws.log.stream.names", "web/1")] {
        let Some(Any::ArrayValue(names)) = &attribute(attributes, key).unwrap().value else {
            panic!("a list");
        };
        assert_eq!(
            names.values.iter().map(|one| text(Some(one))).collect::<Vec<_>>(),
            [Some(name)]
        );
    }
    let [scope] = &entry.scope_logs[..] else { panic!("one scope") };
    assert_eq!(scope.scope.as_ref().unwrap().name, "aws.cloudwatch_logs");
    assert_eq!(scope.log_records.len(), 2);
}

#[test]
fn what_clients_asked_for_a_group_travels_with_its_events() {
    let body =
        br#"{"logGroupName":"g","logStreamName":"s","logEvents":[{"timestamp":1,"message":"a"}]}"#;
    let put = Put::read(body).unwrap();
    let wishes = Wishes {
        retention_days: Some(30),
        class: Some("INFREQUENT_ACCESS".to_owned()),
        tags: [("team".to_owned(), "web".to_owned())].into(),
    };
    let around = Around {
        region: None,
        wishes: &wishes,
        service_name: ServiceName::Stream,
        parses_json: true,
        observed: 7,
    };
    let bytes = translate(&put, &put.log_events.kept, &around, usize::MAX).unwrap();
    let request = ExportLogsServiceRequest::decode(&*bytes).unwrap();
    let attributes = &request.resource_logs[0].resource.as_ref().unwrap().attributes;
    let days = attribute(attributes, "aws.log.group.retention_days").unwrap();
    assert_eq!(days.value, Some(Any::IntValue(30)));
    assert_eq!(text(attribute(attributes, "aws.log.group.class")), Some("INFREQUENT_ACCESS"));
    let tags = attribute(attributes, "aws.log.group.tags").unwrap();
    let Some(Any::KvlistValue(tags)) = &tags.value else { panic!("a map") };
    assert_eq!(text(attribute(&tags.values, "team")), Some("web"));
    assert_eq!(text(attribute(attributes, "service.name")), Some("s"));
    assert_eq!(attribute(attributes, "cloud.region"), None);
    for most in 0..bytes.len() {
        if let Some(other) = translate(&put, &put.log_events.kept, &around, most) {
            assert_eq!(other, bytes);
        }
    }
    assert_eq!(translate(&put, &put.log_events.kept, &around, 20), None);
}

#[test]
fn a_text_is_the_body_with_its_time() {
    let [record] = &records(&["WARNING:app:Gr\u{fc}\u{df}e"])[..] else { panic!("one record") };
    assert_eq!(record.time_unix_nano, 1_700_000_000_123_000_000);
    assert_eq!(record.observed_time_unix_nano, 1);
    assert_eq!(text(record.body.as_ref()), Some("WARNING:app:Gr\u{fc}\u{df}e"));
    assert_eq!((record.severity_number, &*record.severity_text), (13, "WARNING"));
}

#[test]
fn an_object_is_a_map_and_keeps_what_is_lifted() {
    let message = json!({
        "msg": "paid", "levelname": "ERROR", "amount": 3,
        "otelTraceID": "68f0a1b2c3d4e5f60718293a4b5c6d7e", "otelSpanID": "1112131415161718",
    });
    let [record] = &records(&[&message.to_string()])[..] else { panic!("one record") };
    let Some(Any::KvlistValue(map)) = &record.body.as_ref().unwrap().value else { panic!("a map") };
    assert_eq!(map.values.len(), 5);
    assert_eq!(attribute(&map.values, "amount").unwrap().value, Some(Any::IntValue(3)));
    assert_eq!((record.severity_number, &*record.severity_text), (17, "ERROR"));
    assert_eq!((record.trace_id[0], record.span_id[7]), (0x68, 0x18));
}

#[test]
fn tracebacks_become_exceptions_in_texts_and_objects() {
    let trace =
        "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nKeyError: 'card'";
    let object = json!({"msg": "failed", "exc_info": trace}).to_string();
    let message = format!("failed\n{trace}");
    for record in records(&[&message, &object]) {
        let value = |key: &str| text(attribute(&record.attributes, key)).map(str::to_owned);
        assert_eq!(value("exception.type").as_deref(), Some("KeyError"));
        assert_eq!(value("exception.message").as_deref(), Some("'card'"));
        assert_eq!(value("exception.stacktrace").as_deref(), Some(trace));
    }
}

proptest! {
    #[test]
    fn any_messages_become_as_many_valid_records(
        messages in prop::collection::vec(
            prop_oneof![
                ".{0,300}",
                "\\{\"[a-z_]{0,9}\":(\"[ -~]{0,200}\"|[0-9]{1,20}|-1|\\[-1,-1,\\[\\]\\])\\}",
                "(Traceback \\(most recent call last\\):\n|  File\n|Error: x|\\{\"a\":1\\}){0,6}",
            ],
            0..12,
        )
    ) {
        let messages: Vec<&str> = messages.iter().map(String::as_str).collect();
        let records = records(&messages);
        prop_assert_eq!(records.len(), messages.len());
        for (record, message) in records.iter().zip(messages) {
            if let Some(body) = text(record.body.as_ref()) {
                prop_assert_eq!(body, message);
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(body: Vec<u8>) {
        let _ = translated(&body);
    }
}
