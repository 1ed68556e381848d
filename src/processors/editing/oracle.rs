//! What the editor of bytes is compared with: the Collector's rules on decoded attributes, as
//! simple as can be, and random actions and attributes to try them on.

use std::{sync::Arc, time::Instant};

use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value};
use proptest::prelude::*;

use super::{
    action::{Action, Type, Verb},
    value::AttributeValue,
};
use crate::{
    component::{Output, Processor},
    otlp::{Payload, Signal, payload::Context},
};

pub(crate) fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

pub(crate) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

pub(crate) fn run(
    processor: &mut dyn Processor,
    signal: Signal,
    body: Vec<u8>,
    items: u64,
) -> (Payload, Payload) {
    let mut before = Payload::unpaid(signal, body.into(), items);
    before.context = Some(Arc::new(Context {
        metadata: vec![("x-user".to_owned(), "ann".to_owned()), ("x-user".into(), "bob".into())],
        auth: vec![
            ("username".to_owned(), vec!["ann".to_owned()]),
            ("membership".to_owned(), vec!["a".to_owned(), "b".to_owned()]),
            ("nobody".to_owned(), Vec::new()),
        ],
        peer: Some("192.0.2.7:4000".parse().unwrap()),
        arrived: Instant::now(),
    }));
    let mut out = Output::at(Instant::now());
    processor.process(before.clone(), &mut out);
    (before, out.take().pop().unwrap())
}

fn any_value() -> impl Strategy<Value = AttributeValue> {
    prop_oneof![
        any::<bool>().prop_map(AttributeValue::Bool),
        (-9i64..999).prop_map(AttributeValue::Int),
        "[a-d0-9]{0,9}".prop_map(AttributeValue::Text),
        "[a-z0-9 ]{100,200}".prop_map(AttributeValue::Text),
        Just(AttributeValue::List(vec![AttributeValue::Int(1), AttributeValue::Text("x".into())])),
    ]
}

pub(crate) fn actions() -> impl Strategy<Value = Vec<Action>> {
    let key = "[a-d]";
    let setting = (key, 0..3usize, any_value(), 0..7usize, proptest::option::of(any_value()));
    let setting = setting.prop_map(|(key, verb, value, source, default_value)| {
        let action = [Verb::Insert, Verb::Update, Verb::Upsert][verb];
        let mut made = Action { key, action: Some(action), default_value, ..Action::default() };
        match source {
            0 => "b".clone_into(&mut made.from_attribute),
            1 => "metadata.x-user".clone_into(&mut made.from_context),
            2 => "client.address".clone_into(&mut made.from_context),
            3 => "auth.membership".clone_into(&mut made.from_context),
            4 => "auth.nobody".clone_into(&mut made.from_context),
            5 if made.default_value.is_some() => {}
            _ => made.value = Some(value),
        }
        made
    });
    let selecting = (key, any::<bool>(), 0..3usize).prop_map(|(key, deletes, pattern)| {
        let action = Some(if deletes { Verb::Delete } else { Verb::Hash });
        let pattern = ["", "^[cx]", "."][pattern].to_owned();
        Action { key, action, pattern, ..Action::default() }
    });
    let converting = (key, 0..3usize).prop_map(|(key, to)| Action {
        key,
        action: Some(Verb::Convert),
        converted_type: Some([Type::Int, Type::Double, Type::String][to]),
        ..Action::default()
    });
    let extracting = key.prop_map(|key| Action {
        key,
        action: Some(Verb::Extract),
        pattern: "^(?P<a>[a-z]*)(?P<new>[0-9]+)?".to_owned(),
        ..Action::default()
    });
    let one = prop_oneof![4 => setting, 2 => selecting, 1 => converting, 1 => extracting];
    proptest::collection::vec(one, 1..5)
}

pub(crate) fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let one =
        ("[a-dx]", proptest::option::weighted(0.9, any_value())).prop_map(|(key, v)| KeyValue {
            key,
            value: v.map(|v| AnyValue { value: Some(value(&v)) }),
            ..KeyValue::default()
        });
    proptest::collection::vec(one, 0..6)
}

pub(crate) fn value(value: &AttributeValue) -> Value {
    match value.clone() {
        AttributeValue::Bool(value) => Value::BoolValue(value),
        AttributeValue::Int(value) => Value::IntValue(value),
        AttributeValue::Double(value) => Value::DoubleValue(value),
        AttributeValue::Text(value) => Value::StringValue(value),
        AttributeValue::List(values) => {
            let values = values.iter().map(|v| AnyValue { value: Some(self::value(v)) });
            Value::ArrayValue(ArrayValue { values: values.collect() })
        }
        AttributeValue::Map(_) => unreachable!("no test makes maps"),
    }
}

/// Runs the actions.
pub(crate) fn model(actions: &[Action], attributes: &mut Vec<KeyValue>) {
    for action in actions {
        let is_target = |a: &KeyValue| {
            let selects = |p: &str| !p.is_empty() && regex::Regex::new(p).unwrap().is_match(&a.key);
            a.key == action.key && !action.key.is_empty() || selects(&action.pattern)
        };
        match action.action.unwrap() {
            verb @ (Verb::Insert | Verb::Update | Verb::Upsert) => {
                let new = source(action, attributes);
                let default = action.default_value.as_ref();
                let default = || default.map(|v| AnyValue { value: Some(value(v)) });
                let Some(new) = new.or_else(default) else { continue };
                set(attributes, &action.key, new, verb != Verb::Update, verb != Verb::Insert);
            }
            Verb::Delete => attributes.retain(|a| !is_target(a)),
            Verb::Hash => {
                for attribute in attributes.iter_mut().filter(|a| is_target(a)) {
                    let text = hashed(attribute.value.clone().and_then(|v| v.value));
                    attribute.value = Some(AnyValue { value: Some(Value::StringValue(text)) });
                }
            }
            Verb::Extract => {
                let of = attributes.iter().find(|a| a.key == action.key).cloned();
                let Some(Value::StringValue(of)) = of.and_then(|a| a.value?.value) else {
                    continue;
                };
                let regex = regex::Regex::new(&action.pattern).unwrap();
                let Some(captures) = regex.captures(&of) else { continue };
                for name in regex.capture_names().flatten() {
                    let matched = captures.name(name).map_or("", |m| m.as_str()).to_owned();
                    let new = AnyValue { value: Some(Value::StringValue(matched)) };
                    set(attributes, name, new, true, true);
                }
            }
            Verb::Convert => {
                for attribute in attributes.iter_mut().filter(|a| a.key == action.key) {
                    let old = attribute.value.clone().and_then(|v| v.value);
                    if let Some(new) = converted(old, action.converted_type.unwrap()) {
                        attribute.value = Some(AnyValue { value: Some(new) });
                    }
                }
            }
        }
    }
}

/// What an action sets, without its default.
fn source(action: &Action, attributes: &[KeyValue]) -> Option<AnyValue> {
    let text = |text: &str| AnyValue { value: Some(Value::StringValue(text.to_owned())) };
    match (&action.value, action.from_context.as_str()) {
        (Some(new), _) => Some(AnyValue { value: Some(value(new)) }),
        (None, "") => attributes
            .iter()
            .find(|a| a.key == action.from_attribute)
            .map(|a| a.value.clone().unwrap_or_default()),
        (None, "x-user" | "metadata.x-user") => Some(text("ann;bob")),
        (None, "auth.membership") => Some(text("a;b")),
        (None, "client.address") => Some(text("192.0.2.7")),
        (None, _) => None,
    }
}

/// The hash of a value; empty if it has none.
fn hashed(value: Option<Value>) -> String {
    let bytes = match value {
        Some(Value::StringValue(text)) => text.into_bytes(),
        Some(Value::BoolValue(value)) => vec![u8::from(value)],
        Some(Value::IntValue(value)) => value.to_le_bytes().to_vec(),
        Some(Value::DoubleValue(value)) => value.to_le_bytes().to_vec(),
        _ => return String::new(),
    };
    let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
    digest.as_ref().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// A value in another type, where it changes.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "what a conversion between numbers is"
)]
fn converted(old: Option<Value>, to: Type) -> Option<Value> {
    match (to, old) {
        (Type::Int, Some(Value::StringValue(t))) => t.parse().ok().map(Value::IntValue),
        (Type::Int, Some(Value::DoubleValue(d))) => Some(Value::IntValue(d as i64)),
        (Type::Int, Some(Value::BoolValue(b))) => Some(Value::IntValue(b.into())),
        (Type::Double, Some(Value::BoolValue(b))) => {
            Some(Value::DoubleValue(if b { 1.0 } else { 0.0 }))
        }
        (Type::Double, Some(Value::StringValue(t))) => t.parse().ok().map(Value::DoubleValue),
        (Type::Double, Some(Value::IntValue(i))) => Some(Value::DoubleValue(i as f64)),
        (Type::String, Some(Value::IntValue(i))) => Some(Value::StringValue(i.to_string())),
        (Type::String, Some(Value::BoolValue(b))) => Some(Value::StringValue(b.to_string())),
        (Type::String, None) => Some(Value::StringValue(String::new())),
        // The only list and the only doubles that these tests make.
        (Type::String, Some(Value::ArrayValue(_))) => {
            Some(Value::StringValue("[1,\"x\"]".to_owned()))
        }
        (Type::String, Some(Value::DoubleValue(d))) => {
            Some(Value::StringValue((d as i64).to_string()))
        }
        _ => None,
    }
}

fn set(attributes: &mut Vec<KeyValue>, key: &str, new: AnyValue, inserts: bool, updates: bool) {
    let mut is_present = false;
    for attribute in attributes.iter_mut().filter(|a| a.key == key) {
        is_present = true;
        // A value that is not there and one with nothing in it are the same bytes.
        if updates && attribute.value.clone().unwrap_or_default() != new {
            attribute.value = Some(new.clone());
        }
    }
    if !is_present && inserts {
        let key = key.to_owned();
        attributes.push(KeyValue { key, value: Some(new), ..KeyValue::default() });
    }
}
