//! The Collector's rules on decoded attributes, as simple as can be: what the editor of bytes is
//! compared with.

use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value};

use super::super::{Action, Type, Verb, value::AttributeValue};

pub(super) fn value(value: &AttributeValue) -> Value {
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

/// The Collector's rules on decoded attributes.
pub(crate) fn model(actions: &[Action], attributes: &mut Vec<KeyValue>) {
    for action in actions {
        let is_target = |a: &KeyValue| {
            let selects = |p: &str| !p.is_empty() && regex::Regex::new(p).unwrap().is_match(&a.key);
            a.key == action.key && !action.key.is_empty() || selects(&action.pattern)
        };
        match action.action.unwrap() {
            verb @ (Verb::Insert | Verb::Update | Verb::Upsert) => {
                let new = match (&action.value, action.from_context.as_str()) {
                    (Some(new), _) => Some(AnyValue { value: Some(value(new)) }),
                    (None, "") => attributes
                        .iter()
                        .find(|a| a.key == action.from_attribute)
                        .map(|a| a.value.clone().unwrap_or_default()),
                    (None, "x-user" | "metadata.x-user") => {
                        Some(AnyValue { value: Some(Value::StringValue("ann;bob".to_owned())) })
                    }
                    (None, "auth.membership") => {
                        Some(AnyValue { value: Some(Value::StringValue("a;b".to_owned())) })
                    }
                    (None, "client.address") => {
                        Some(AnyValue { value: Some(Value::StringValue("192.0.2.7".to_owned())) })
                    }
                    (None, _) => None,
                };
                let default = action.default_value.as_ref();
                let default = || default.map(|v| AnyValue { value: Some(value(v)) });
                let Some(new) = new.or_else(default) else { continue };
                set(attributes, &action.key, new, verb != Verb::Update, verb != Verb::Insert);
            }
            Verb::Delete => attributes.retain(|a| !is_target(a)),
            Verb::Hash => {
                for attribute in attributes.iter_mut().filter(|a| is_target(a)) {
                    let bytes = match attribute.value.clone().and_then(|v| v.value) {
                        Some(Value::StringValue(text)) => Some(text.into_bytes()),
                        Some(Value::BoolValue(value)) => Some(vec![u8::from(value)]),
                        Some(Value::IntValue(value)) => Some(value.to_le_bytes().to_vec()),
                        Some(Value::DoubleValue(value)) => Some(value.to_le_bytes().to_vec()),
                        _ => None,
                    };
                    let digits = |bytes: Vec<u8>| {
                        let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
                        let hex = |b: &u8| format!("{b:02x}");
                        digest.as_ref().iter().map(hex).collect::<String>()
                    };
                    let text = bytes.map_or_else(String::new, digits);
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
