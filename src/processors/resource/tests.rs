//! The edits on bytes against the same edits on decoded messages.

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::{component::ComponentId, telemetry::Telemetry};

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

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

fn action(key: &str, action: Verb, value: Option<Scalar>) -> Action {
    Action { key: key.to_owned(), action, value }
}

fn run(actions: &[Action], request: &ExportTraceServiceRequest) -> (Payload, Payload) {
    let cx = BuildContext {
        id: ComponentId { kind_name: "resource".to_owned(), name: None },
        pipeline: "traces".to_owned(),
        signal: Signal::Traces,
        in_container: false,
        telemetry: std::sync::Arc::new(Telemetry::default()),
    };
    let before = Payload::unaccounted(Signal::Traces, request.encode_to_vec().into(), 1);
    let mut processor = Config { attributes: actions.to_vec() }.build(&cx).unwrap();
    let mut out = Output::at(std::time::Instant::now());
    processor.process(before.clone(), &mut out);
    (before, out.take().pop().unwrap())
}

fn value(scalar: &Scalar) -> Value {
    match scalar.clone() {
        Scalar::Bool(value) => Value::BoolValue(value),
        Scalar::Int(value) => Value::IntValue(value),
        Scalar::Double(value) => Value::DoubleValue(value),
        Scalar::Text(value) => Value::StringValue(value),
    }
}

/// What the Collector does, on decoded messages.
fn model(actions: &[Action], request: &mut ExportTraceServiceRequest) {
    for action in actions {
        for entry in &mut request.resource_spans {
            let present = entry
                .resource
                .as_ref()
                .is_some_and(|r| r.attributes.iter().any(|a| a.key == action.key));
            let new = action.value.as_ref().map(|v| attribute(&action.key, value(v)));
            match (action.action, new) {
                (Verb::Insert | Verb::Upsert, Some(new)) if !present => {
                    entry.resource.get_or_insert_default().attributes.push(new);
                }
                (Verb::Update | Verb::Upsert, Some(new)) if present => {
                    let resource = entry.resource.as_mut().unwrap();
                    for old in resource.attributes.iter_mut().filter(|a| a.key == action.key) {
                        *old = new.clone();
                    }
                }
                (Verb::Delete, _) if present => {
                    let resource = entry.resource.as_mut().unwrap();
                    resource.attributes.retain(|a| a.key != action.key);
                }
                _ => {}
            }
        }
    }
}

#[test]
fn what_does_not_change_is_the_same_allocation() {
    let request = request(vec![Some(vec![attribute("a", Value::IntValue(1))])]);
    let actions = [
        action("a", Verb::Insert, Some(Scalar::Int(2))),
        action("a", Verb::Upsert, Some(Scalar::Int(1))),
        action("b", Verb::Update, Some(Scalar::Int(2))),
        action("b", Verb::Delete, None),
    ];
    let (before, after) = run(&actions, &request);
    assert_eq!(before.body[0].as_ptr(), after.body[0].as_ptr());
}

#[test]
fn an_entry_without_a_resource_gets_one() {
    let actions = [action("k", Verb::Upsert, Some(Scalar::Text("v".to_owned())))];
    let (_, after) = run(&actions, &request(vec![None]));
    let decoded = ExportTraceServiceRequest::decode(&*after.body[0]).unwrap();
    let resource = decoded.resource_spans[0].resource.as_ref().unwrap();
    assert_eq!(resource.attributes, [attribute("k", Value::StringValue("v".to_owned()))]);
}

fn scalar() -> impl Strategy<Value = Scalar> {
    prop_oneof![
        any::<bool>().prop_map(Scalar::Bool),
        any::<i64>().prop_map(Scalar::Int),
        (-1000i32..1000).prop_map(|n| Scalar::Double(f64::from(n) / 8.0)),
        "[a-z]{0,200}".prop_map(Scalar::Text),
    ]
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let verb =
        prop_oneof![Just(Verb::Insert), Just(Verb::Update), Just(Verb::Upsert), Just(Verb::Delete)];
    let one = ("[a-c]", verb, scalar()).prop_map(|(key, verb, value)| {
        let value = (verb != Verb::Delete).then_some(value);
        action(&key, verb, value)
    });
    proptest::collection::vec(one, 1..5)
}

proptest! {
    #[test]
    fn edits_on_bytes_are_edits_on_messages(
        actions in actions(),
        resources in proptest::collection::vec(
            proptest::option::of(proptest::collection::vec(("[a-d]", scalar()), 0..5)), 0..4),
    ) {
        let resources = resources.into_iter().map(|attributes| {
            attributes.map(|all| all.iter().map(|(k, v)| attribute(k, value(v))).collect())
        }).collect();
        let mut request = request(resources);
        let (_, after) = run(&actions, &request);
        model(&actions, &mut request);
        let bytes = after.body.concat();
        prop_assert_eq!(ExportTraceServiceRequest::decode(&*bytes).unwrap(), request.clone());
        prop_assert_eq!(bytes.len(), request.encoded_len(), "lengths are minimal");
    }

    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>) {
        let step = Step { key: b"a".to_vec(), verb: Verb::Upsert, attribute: Some(vec![0x0A, 0]) };
        let mut edit = OneStep { step: &step, is_present: false };
        let _ = splice::edit_resources(&bytes, &mut edit);
    }
}
