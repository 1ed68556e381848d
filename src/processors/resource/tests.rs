//! The edits on bytes against the same edits on decoded messages.

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use proptest::prelude::*;
use prost::Message as _;

use super::{
    super::editing::{
        action::Verb,
        oracle::{actions, attribute, attributes, model, run},
        value::AttributeValue,
    },
    *,
};
use crate::otlp::wire::put_bytes;

fn request(resources: Vec<Option<Vec<KeyValue>>>) -> ExportTraceServiceRequest {
    let entry = |attributes: Option<Vec<KeyValue>>| ResourceSpans {
        resource: attributes.map(|attributes| Resource {
            attributes,
            dropped_attributes_count: 3,
            ..Resource::default()
        }),
        scope_spans: vec![ScopeSpans {
            spans: vec![Span { name: "kept".to_owned(), ..Span::default() }],
            ..ScopeSpans::default()
        }],
        schema_url: "url".to_owned(),
    };
    ExportTraceServiceRequest { resource_spans: resources.into_iter().map(entry).collect() }
}

fn upsert(key: &str, value: &str) -> Action {
    Action {
        key: key.to_owned(),
        action: Some(Verb::Upsert),
        value: Some(AttributeValue::Text(value.to_owned())),
        ..Action::default()
    }
}

fn edited(actions: &[Action], body: Vec<u8>) -> (Payload, Payload) {
    let config = Config { attributes: actions.to_vec() };
    let mut processor = config.build(&BuildContext::test("resource", Signal::Traces)).unwrap();
    run(&mut *processor, Signal::Traces, body, 1)
}

#[test]
fn what_does_not_change_is_the_same_allocation() {
    let same = Value::StringValue("1".to_owned());
    let request = request(vec![Some(vec![attribute("a", same)])]);
    let (before, after) = edited(&[upsert("a", "1")], request.encode_to_vec());
    assert_eq!(before.body[0].as_ptr(), after.body[0].as_ptr());
}

#[test]
fn an_entry_without_a_resource_gets_one() {
    let (_, after) = edited(&[upsert("k", "v")], request(vec![None]).encode_to_vec());
    let decoded = ExportTraceServiceRequest::decode(&*after.body[0]).unwrap();
    let resource = decoded.resource_spans[0].resource.as_ref().unwrap();
    assert_eq!(resource.attributes, [attribute("k", Value::StringValue("v".to_owned()))]);
}

#[test]
fn a_resource_in_two_parts_becomes_one() {
    let part = |key: &str| {
        let attributes = vec![attribute(key, Value::IntValue(1))];
        Resource { attributes, ..Resource::default() }.encode_to_vec()
    };
    let mut entry = Vec::new();
    put_bytes(&mut entry, 1, &part("a"));
    put_bytes(&mut entry, 3, b"url");
    put_bytes(&mut entry, 1, &part("b"));
    let mut body = Vec::new();
    put_bytes(&mut body, 1, &entry);
    let (_, after) = edited(&[upsert("a", "new"), upsert("c", "added")], body);
    let decoded = ExportTraceServiceRequest::decode(&*after.body[0]).unwrap();
    assert_eq!(decoded.resource_spans[0].schema_url, "url");
    let text = |key, value: &str| attribute(key, Value::StringValue(value.to_owned()));
    let expected = [text("a", "new"), attribute("b", Value::IntValue(1)), text("c", "added")];
    assert_eq!(decoded.resource_spans[0].resource.as_ref().unwrap().attributes, expected);
}

proptest! {
    #[test]
    fn edits_on_bytes_are_edits_on_messages(
        actions in actions(),
        resources in proptest::collection::vec(proptest::option::of(attributes()), 0..4),
    ) {
        let mut request = request(resources);
        let (_, after) = edited(&actions, request.encode_to_vec());
        for entry in &mut request.resource_spans {
            let mut attributes = entry.resource.clone().unwrap_or_default().attributes;
            model(&actions, &mut attributes);
            if entry.resource.is_some() || !attributes.is_empty() {
                entry.resource.get_or_insert_default().attributes = attributes;
            }
        }
        let bytes = after.body.concat();
        // A resource that was added is at the end of its entry; decoding does not mind.
        prop_assert_eq!(ExportTraceServiceRequest::decode(&*bytes).unwrap(), request.clone());
        prop_assert_eq!(bytes.len(), request.encoded_len(), "lengths are minimal");
    }

    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>) {
        edited(&[upsert("a", "b")], bytes);
    }
}
